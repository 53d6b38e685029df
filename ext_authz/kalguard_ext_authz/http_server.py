"""Serve an ASGI app over HTTP/1.1 inside the running event loop, to peers that may wish us ill.

uvicorn (with httptools) does the parsing; this module adds what a server in reach of agents needs and uvicorn
leaves to a proxy in front: a deadline for the head, limits on its size, one meaning for every head, and an
answer that arrives although the peer is still sending.

Rules of this file:
- It decides nothing about agents. A head that could be read in two ways is answered 400 and closed.
- One request at a time on a connection. A pipelined one is never started: the connection closes after the
  answer (RFC 9112 9.3.2 tells clients to expect that), so nobody can queue work without waiting for it.
- Closing while the peer still sends makes the kernel reset the connection, which discards our answer on its
  way. So a close lingers (RFC 9112 9.6): we stop writing, discard what comes, bounded in bytes and time.
- Nothing waits without a timer: head, idle, rest of a refused body, lingering, stalled writes. The body that
  the app asks for has its deadline in the app.
"""

from __future__ import annotations

import asyncio
import errno
from asyncio.events import TimerHandle
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import httptools
import orjson
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from kalguard_core.codes import STATUS, ErrorCode

from .unix_listener import inode, listen_unix

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# Key in `scope["state"]`: set when the body can't be read on (broken chunk, trailer); the app must refuse it.
BODY_BROKEN: Final = "kalguard.body_broken"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may cost us. Times in seconds.

    `head_bytes`: request line and headers together (Node: 16 KiB, nginx: 32 KiB, Envoy: 60 KiB).
    `head_count`: number of headers (Envoy and Apache: 100).
    `header_timeout`: from connecting, or the first byte of a later request, to the end of the head.
    `keep_alive`: a connection without a request. `drain_bytes`, `drain_timeout`: the rest of a body that was
    answered unread, on a connection that stays open. `linger_bytes`, `linger_timeout`: what is discarded after
    the last answer. `write_timeout`: an answer that the peer does not take.
    `max_connections`: above it a new connection gets 429 and is closed.
    """

    head_bytes: int = 32 * 1024
    head_count: int = 100
    header_timeout: float = 10.0
    keep_alive: float = 75.0
    drain_bytes: int = 64 * 1024
    drain_timeout: float = 5.0
    linger_bytes: int = 16 * 1024 * 1024
    linger_timeout: float = 5.0
    write_timeout: float = 30.0
    max_connections: int = 1000


@dataclass(frozen=True, slots=True)
class Unread:
    """What was answered without ever becoming a request, because its head could not be read or came too late.

    `peer`: host:port or "unix". There is no method, path or agent to speak of.
    """

    request_id: str
    peer: str
    code: ErrorCode
    reason: str


# Connections over the limit that may wait for their 429 to be read; more are reset at once.
_OVERFLOW: Final = 64
# A connection that has asked nothing for this many seconds gives way to a new one when there are too many.
_EVICT_AFTER: Final = 1.0


class HttpServer:
    """One listening address. `await start()`, `await stop(grace)`; both inside the loop that serves.

    Give `host` and `port` (0 picks a free one), or `uds`: the path of a Unix socket, made with mode 0660.
    Signal handlers and logging are left alone; forwarded headers are not believed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str | None = None,
        port: int | None = None,
        uds: str | PathLike[str] | None = None,
        limits: Limits | None = None,
        header_timeout: float | None = None,
        max_connections: int | None = None,
        keep_alive: float | None = None,
        on_unread: Callable[[Unread], None] | None = None,
    ) -> None:
        """`header_timeout`, `max_connections` and `keep_alive` override the same fields of `limits`.

        `on_unread` is told about every answer that the app never saw, so that it can be counted and audited.

        Raises `ValueError` unless exactly one kind of address is given.
        """
        if (uds is None) == (host is None or port is None):
            raise ValueError("give either host and port, or uds")
        base = limits or Limits()
        self._limits = replace(
            base,
            header_timeout=base.header_timeout if header_timeout is None else header_timeout,
            max_connections=base.max_connections if max_connections is None else max_connections,
            keep_alive=base.keep_alive if keep_alive is None else keep_alive,
        )
        self._app = app
        self._on_unread = on_unread
        self._host = host
        self._port = port
        self._uds = None if uds is None else Path(uds)
        self._uds_inode: tuple[int, int] | None = None
        self._server: asyncio.Server | None = None
        self._state = ServerState()

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._state.connections)

    @property
    def port(self) -> int | None:
        """The TCP port in use once started; None for a Unix socket."""
        return self._port if self._uds is None else None

    async def start(self) -> str:
        """Listen. Returns the actual address: `127.0.0.1:9292`, `[::1]:9292` or `unix:/path`.

        Raises `OSError` whose text names the address and what is wrong with it.
        """
        loop = asyncio.get_running_loop()
        config = Config(
            self._app,
            http=_Protocol,
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=self._limits.keep_alive,  # type: ignore[arg-type]  # handed to call_later as it is
        )
        config.load()

        def protocol() -> _Protocol:
            return _Protocol(config, self._state, self._limits, loop, self._on_unread)

        if self._uds is not None:
            listener = listen_unix(self._uds)
            self._uds_inode = inode(self._uds)
            self._server = await loop.create_unix_server(protocol, sock=listener, backlog=1024)
            return f"unix:{self._uds}"
        try:
            self._server = await loop.create_server(
                protocol, self._host, self._port or 0, backlog=1024, reuse_address=True
            )
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {self._host}:{self._port}: {_why(error)}") from error
        host, self._port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    async def stop(self, grace: float = 10.0) -> None:
        """Accept nothing more, let requests in flight finish for `grace` seconds, then cut what is left."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._busy() and loop.time() < deadline:  # noqa: ASYNC110 - uvicorn's sets tell nobody
            await asyncio.sleep(0.01)
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._state.connections):
            assert isinstance(connection, _Protocol)
            connection.abort()
        while self._state.connections:  # noqa: ASYNC110 - aborted: gone within an iteration or two
            await asyncio.sleep(0)
        if self._uds is not None and self._uds_inode == inode(self._uds):
            self._uds.unlink(missing_ok=True)
        self._server = None

    def _busy(self) -> bool:
        # a peer that reads its last answer slowly is waited for; one that merely lingers is not worth the grace
        return bool(self._state.tasks) or any(
            isinstance(connection, _Protocol) and connection.unsent for connection in self._state.connections
        )


class _RefusedHead(Exception):
    """Raised inside a parser callback; httptools turns it into a parser error. The reason is in the protocol."""


class _Transport(asyncio.Transport):
    """What uvicorn writes to. Only `close` differs from the transport below: it lingers where it must."""

    __slots__ = ("_close", "_closing", "_raw", "write")

    def __init__(self, raw: asyncio.Transport, close: Callable[[], None], closing: Callable[[], bool]) -> None:
        self._raw = raw
        self._close = close
        self._closing = closing
        self.write = raw.write  # type: ignore[method-assign]  # twice an answer: no detour

    def close(self) -> None:
        self._close()

    def is_closing(self) -> bool:
        return self._closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._raw.get_extra_info(name, default)


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with limits. States of a connection, in order:

    head      waiting for a head or inside one (`_head_done` is false); header or keep-alive timer
    request   the app is asked (`cycle`); the body's deadline is the app's
    drain     answered, but the body is not over; drain timer and byte budget, then `head` again
    deaf      nothing more is parsed (refused head, pipelined request); what comes is discarded, counted
    lingering deaf, our side closed; linger timer
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        on_unread: Callable[[Unread], None] | None,
    ) -> None:
        super().__init__(config, server_state, {}, loop)
        self.access_log = False  # audit and metrics say more, and an access log would hold query strings
        self._limits = limits
        self._on_unread = on_unread
        self._raw: asyncio.Transport
        self._head_done = False
        self._head_bytes = 0
        self._discarded = 0
        self._deaf = False
        self._lingering = False
        self._peer_done = False
        self._reason = ""
        self._timer: TimerHandle | None = None
        self._write_timer: TimerHandle | None = None

    # ---- connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._raw = transport
        self.transport = _Transport(transport, self._close, self._closing)
        self._idle_since: float | None = self.loop.time()
        over = len(self.connections) - self._limits.max_connections
        if over > 0 and self._evict_idle():
            over -= 1
        if over > _OVERFLOW:
            transport.abort()
        elif over > 0:
            self._answer_and_close(ErrorCode.RATE_LIMIT_EXCEEDED, "too many connections")
        else:
            self._set_timer(self._limits.header_timeout, self._head_timed_out)

    def _evict_idle(self) -> bool:
        """Make room by closing the connection that has waited longest without asking anything.

        Without this, whoever opens connections and stays silent would lock out everybody else, probes included.
        """
        latest = self.loop.time() - _EVICT_AFTER
        idle = [
            (connection._idle_since, connection)
            for connection in self.connections
            if isinstance(connection, _Protocol) and connection._idle_since is not None and connection is not self
        ]
        if not idle:
            return False
        since, oldest = min(idle, key=lambda pair: pair[0])
        if since > latest:
            return False
        oldest._idle_since = None
        oldest.abort()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_timer()
        self._unset_keepalive_if_required()
        if self._write_timer is not None:
            self._write_timer.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        self._peer_done = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body or self._lingering:
            return None  # nothing that the peer could still want: the transport closes itself
        # half-closed by a client that has said all and now listens: it gets its answer
        cycle.keep_alive = False
        return True

    def abort(self) -> None:
        """Close at once, without sending what is buffered."""
        self._raw.abort()

    @property
    def unsent(self) -> int:
        """Bytes of answers that the peer has not taken yet."""
        return self._raw.get_write_buffer_size()

    # ---- bytes in

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._unreadable()
            return
        if not self._head_done:
            self._wait_for_head(len(data))
        elif self.cycle.response_complete and not self._lingering:
            self._count_drained(len(data))

    def _wait_for_head(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > self._limits.head_bytes:
            self._answer_and_close(ErrorCode.BAD_REQUEST, f"request head over {self._limits.head_bytes} bytes")
        elif self._timer is None:
            self._set_timer(self._limits.header_timeout, self._head_timed_out)

    def _count_drained(self, more: int) -> None:
        self._discarded += more
        if self._discarded > self._limits.drain_bytes:
            self._close()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self._limits.linger_bytes:
            self._raw.abort()

    # ---- parser callbacks

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._refuse_head("pipelined")
        self._head_done = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            # uvicorn would add a trailer to the headers of a request that is being decided
            self._refuse_head("trailers are not accepted")
        if len(self.headers) >= self._limits.head_count:
            self._refuse_head(f"more than {self._limits.head_count} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        problem = self._head_problem()
        if problem:
            self._refuse_head(problem)
        self._head_done = True
        self._idle_since = None
        self._clear_timer()
        self._unset_keepalive_if_required()
        super().on_headers_complete()
        # as it was sent: uvicorn's URL reader drops what it takes for a fragment
        self.scope["raw_path"], _, self.scope["query_string"] = self.url.partition(b"?")

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle.response_complete:
            self.cycle.more_body = False
            self._await_next_head()

    def _refuse_head(self, reason: str) -> None:
        self._reason = reason
        raise _RefusedHead(reason)

    def _head_problem(self) -> str:
        """Why this head is refused, "" if it has one meaning only. llhttp has refused the rest already."""
        if not self.url.startswith(b"/"):
            return "the request target must be a path"
        if b"#" in self.url:
            return "the request target must not hold a fragment"
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            return "HTTP/1.1 or HTTP/1.0 is needed"
        if self.parser.should_upgrade():
            # llhttp skips the body of such a request
            return "upgrade is not supported"
        size = len(self.url)
        hosts = lengths = codings = 0
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                lengths += 1
            elif name == b"transfer-encoding":
                codings += 1
                if value.lower() != b"chunked":
                    return "transfer-encoding must be chunked"
        if size > self._limits.head_bytes:
            return f"request head over {self._limits.head_bytes} bytes"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return "exactly one host header is needed"
        if lengths + codings > 1 or (codings and version == "1.0"):
            return "the length of the body is ambiguous"
        return ""

    def _unreadable(self) -> None:
        """The parser can't go on: after a refused head, a broken body, or a second request too early."""
        reason, self._reason = self._reason or "malformed HTTP request", ""
        cycle = self.cycle
        in_flight = cycle is not None and not cycle.response_complete
        if not in_flight:
            if self._head_done:
                self._close()  # the rest of a body that is answered already
            else:
                self._answer_and_close(ErrorCode.BAD_REQUEST, reason)
            return
        self._deaf = True
        cycle.keep_alive = False
        if cycle.more_body:
            cycle.scope["state"][BODY_BROKEN] = reason
            cycle.message_event.set()

    # ---- answers and the end of a connection

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.cycle.body = bytearray()  # what was never read must not live as long as the connection
        if self._closing():
            return
        if not self.cycle.more_body:
            self._await_next_head()
            return
        self._unset_keepalive_if_required()
        self._discarded = 0
        self._set_timer(self._limits.drain_timeout, self._close)

    def _await_next_head(self) -> None:
        self._clear_timer()
        self._idle_since = self.loop.time()
        self._head_done = False
        self._head_bytes = 0
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _answer_and_close(self, code: ErrorCode, reason: str) -> None:
        """Answer what never became a request: there is nothing to decide."""
        self._deaf = True
        request_id = "req_" + token_hex(12)
        peer = f"{self.client[0]}:{self.client[1]}" if self.client else "unix"
        # at debug, as anybody who reaches the port could fill a log with these
        _log.debug("http_unread", peer=peer, code=code.value, reason=reason, request_id=request_id)
        if self._on_unread is not None:
            self._on_unread(Unread(request_id, peer, code, reason))
        body = orjson.dumps(
            {
                "allowed": False,
                "decision": "deny",
                "message": reason,
                "requestId": request_id,
                "errorCode": code.value,
                "ok": False,
                "reason": reason,
            }
        )
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\ncache-control: no-store\r\n"
            f"x-kalguard-request-id: {request_id}\r\nconnection: close\r\n"
        )
        if code is ErrorCode.RATE_LIMIT_EXCEEDED:
            head += "retry-after: 1\r\n"
        self._raw.write(STATUS_LINE[STATUS[code]] + head.encode() + b"\r\n" + body)
        self._close()

    def _close(self) -> None:
        """Close so that the peer can read our last answer."""
        if self._closing():
            return
        self._unset_keepalive_if_required()
        patience = self._limits.write_timeout if self.flow.write_paused else self._limits.linger_timeout
        self._set_timer(patience, self._raw.abort)
        cycle = self.cycle
        peer_may_send = self._deaf or cycle is None or cycle.more_body
        if self._peer_done or not peer_may_send or not self._raw.can_write_eof():
            self._raw.close()
            return
        self._deaf = self._lingering = True
        self._discarded = 0
        self._raw.write_eof()
        self.flow.resume_reading()

    def _closing(self) -> bool:
        return self._lingering or self._raw.is_closing()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for too long."""
        self._close()

    def _head_timed_out(self) -> None:
        if self._head_bytes:
            self._answer_and_close(ErrorCode.REQUEST_TIMEOUT, "request head timed out")
        else:
            self._raw.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self._limits.write_timeout, self._raw.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _set_timer(self, seconds: float, action: Callable[[], None]) -> None:
        self._clear_timer()
        self._timer = self.loop.call_later(seconds, action)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is in use; stop the other program or choose another port"
    if error.errno == errno.EACCES:
        return "not permitted; ports below 1024 need a privilege"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or str(error)

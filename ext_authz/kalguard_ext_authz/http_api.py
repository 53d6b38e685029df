"""The HTTP API as an ASGI app: requests become `AgentRequest`s, answers become responses, probes are answered here.

Rules of this file: it decides nothing. Anything that is no probe goes to the answerer, whatever its method and
path, so that each such request is authenticated, decided and audited in one place. A body is read only when
the pipeline asks for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from secrets import token_hex
from typing import Any, Final

import orjson
import structlog

from kalguard_core.codes import ErrorCode
from kalguard_core.decision import Reply
from kalguard_core.request import AgentRequest, BufferedBody, Peer, Refusal

from .answer import Answerer
from .health import Health
from .http_server import BODY_BROKEN, ASGIApp, Receive, Send
from .openapi import document

MAX_BODY_BYTES: Final = 5 * 1024 * 1024
REQUEST_ID_HEADER: Final = "x-kalguard-request-id"
# Unread bodies announced up to this size are left to the server to skip; above it the connection closes.
_SKIPPABLE_BYTES: Final = 64 * 1024
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_JSON: Final = (b"content-type", b"application/json")
_NO_STORE: Final = (b"cache-control", b"no-store")
_CLOSE: Final = (b"connection", b"close")
_EMPTY: Final = BufferedBody()

RawHeaders = Iterable[tuple[bytes, bytes]]
_log = structlog.get_logger(__name__)


class StreamedBody:
    """A body that is still on its way. Holds no more than `limit` bytes, and nothing before it is read.

    `deadline`: seconds for the whole body, from the first read.
    """

    __slots__ = ("_data", "_deadline", "_limit", "_receive", "_refusal", "_state", "length", "unread")

    def __init__(
        self,
        receive: Receive,
        *,
        length: int | None,
        limit: int,
        deadline: float,
        state: Mapping[str, Any],
    ) -> None:
        self.length = length
        self.unread = True
        self._receive = receive
        self._limit = limit
        self._deadline = deadline
        self._state = state
        self._data: bytes | None = None
        self._refusal: Refusal | None = None

    @property
    def size_hint(self) -> int:
        """The announced length. A body without one (chunked) counts as the largest: its agent may make it so."""
        return self._limit if self.length is None else self.length

    @property
    def refused(self) -> bool:
        """Whether a read was refused."""
        return self._refusal is not None

    async def read(self) -> bytes:
        """All bytes, the same ones each time. Raises `Refusal`, the same one each time."""
        if self._data is not None:
            return self._data
        if self._refusal is not None:
            raise self._refusal
        try:
            self._data = await self._read()
        except Refusal as refusal:
            self._refusal = refusal
            raise
        self.unread = False
        return self._data

    async def _read(self) -> bytes:
        if self.size_hint > self._limit:
            raise _too_large(self._limit)
        try:
            async with asyncio.timeout(self._deadline):
                return await self._collect()
        except TimeoutError:
            raise Refusal(ErrorCode.REQUEST_TIMEOUT, "request body timed out") from None

    async def _collect(self) -> bytes:
        data, more = await self._next()
        if not more:
            if len(data) > self._limit:
                raise _too_large(self._limit)
            return data
        collected = bytearray(data)
        while more:
            if len(collected) > self._limit:
                raise _too_large(self._limit)
            data, more = await self._next()
            collected += data
        if len(collected) > self._limit:
            raise _too_large(self._limit)
        return bytes(collected)

    async def _next(self) -> tuple[bytes, bool]:
        message = await self._receive()
        broken = self._state.get(BODY_BROKEN)
        if broken is not None:
            raise Refusal(ErrorCode.BAD_REQUEST, broken)
        if message["type"] != "http.request":
            raise Refusal(ErrorCode.BAD_REQUEST, "the client went away before the body was complete")
        return message.get("body", b""), message.get("more_body", False)


def create_api(
    answerer: Answerer,
    health: Health,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    body_timeout: float = 10.0,
    now: Callable[[], float],
    monotonic: Callable[[], float],
    unsigned_tokens: bool = False,
) -> ASGIApp:
    """The ASGI app of the HTTP API.

    `max_body_bytes`: one more is 413. `body_timeout`: seconds for a whole body, then 408. `now`: Unix seconds;
    `monotonic`: seconds of a clock that never steps. `unsigned_tokens`: `/health` warns about them.
    """
    return _Api(answerer, health, max_body_bytes, body_timeout, now, monotonic, unsigned_tokens)


class _Api:
    def __init__(
        self,
        answerer: Answerer,
        health: Health,
        max_body_bytes: int,
        body_timeout: float,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        unsigned_tokens: bool,
    ) -> None:
        self._answerer = answerer
        self._health = health
        self._max_body_bytes = max_body_bytes
        self._body_timeout = body_timeout
        self._now = now
        self._monotonic = monotonic
        self._warning = {"warning": "unsigned tokens are accepted"} if unsigned_tokens else {}
        self._openapi = orjson.dumps(document(max_body_bytes))
        self._probes: Mapping[bytes, Callable[[str], Reply]] = {
            b"/health": self._answer_health,
            b"/livez": _answer_livez,
            b"/readyz": self._answer_readyz,
            b"/openapi.json": self._answer_openapi,
        }

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # a WebSocket that is never accepted is closed by the server
        raw_path: bytes = scope["raw_path"]
        probe = self._probes.get(raw_path)
        if probe is not None and scope["method"] in ("GET", "HEAD"):
            request_id = _request_id(*_read_headers(scope["headers"]))
            await _send(send, probe(request_id), request_id, close=False)
            return
        headers, repeated_id = _read_headers(scope["headers"])
        request_id = _request_id(headers, repeated_id)
        body = self._body(headers, scope, receive)
        reply = await self._answer(self._request(scope, headers, request_id, body), request_id)
        await _send(send, reply, request_id, close=_must_close(body, headers))

    def _body(
        self, headers: Mapping[str, str], scope: MutableMapping[str, Any], receive: Receive
    ) -> BufferedBody | StreamedBody:
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            return _EMPTY
        return StreamedBody(
            receive,
            # the server's parser has checked it; another server's may not have
            length=int(length) if length is not None and length.isascii() and length.isdigit() else None,
            limit=self._max_body_bytes,
            deadline=self._body_timeout,
            state=scope.get("state") or {},
        )

    async def _answer(self, request: AgentRequest, request_id: str) -> Reply:
        try:
            answer = await self._answerer.answer(request, transport="http")
        except Exception:  # noqa: BLE001 - the last wall: an answerer must not raise, and if it does nobody passes
            _log.exception("answerer_failed", request_id=request_id)
            return _internal(request_id)
        if answer.reply is None:
            _log.error("answer_without_reply", request_id=request_id)
            return _internal(request_id)
        return answer.reply

    def _answer_health(self, request_id: str) -> Reply:
        return Reply(200, orjson.dumps({"status": "ok", "requestId": request_id, **self._warning}))

    def _answer_readyz(self, _request_id: str) -> Reply:
        report = self._health.report()
        return Reply(report.http_status, orjson.dumps(report.as_dict()))

    def _answer_openapi(self, _request_id: str) -> Reply:
        return Reply(200, self._openapi)

    def _request(
        self,
        scope: MutableMapping[str, Any],
        headers: Mapping[str, str],
        request_id: str,
        body: BufferedBody | StreamedBody,
    ) -> AgentRequest:
        """The request as the core sees it. Nothing here is believed: no principal, no context."""
        query: bytes = scope["query_string"]
        target: bytes = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        client = scope.get("client")
        return AgentRequest(
            id=request_id,
            kind="api",
            method=scope["method"],
            host=headers.get("host", ""),
            path=target.decode("latin-1"),
            headers=headers,
            time=self._now(),
            monotonic=self._monotonic(),
            body=body,
            peer=Peer(f"{client[0]}:{client[1]}" if client else "unix"),
            can_rewrite=True,  # the caller gets the sanitized messages in the answer
        )


def _answer_livez(_request_id: str) -> Reply:
    return Reply(200, b'{"status":"ok"}')


def _internal(request_id: str) -> Reply:
    body = {
        "allowed": False,
        "decision": "deny",
        "message": "Internal error",
        "requestId": request_id,
        "errorCode": ErrorCode.INTERNAL.value,
        "ok": False,
        "reason": "Internal error",
    }
    return Reply(500, orjson.dumps(body))


def _too_large(limit: int) -> Refusal:
    return Refusal(ErrorCode.PAYLOAD_TOO_LARGE, "Payload Too Large", detail=f"the limit is {limit} bytes")


def _read_headers(raw: RawHeaders) -> tuple[dict[str, str], bool]:
    """Headers by lower-case name, repeated ones joined with ","; and whether the request id was repeated."""
    headers: dict[str, str] = {}
    repeated_id = False
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1")
        value = raw_value.decode("latin-1")
        if name in headers:
            headers[name] += "," + value
            repeated_id |= name == REQUEST_ID_HEADER
        else:
            headers[name] = value
    return headers, repeated_id


def _request_id(headers: Mapping[str, str], repeated: bool) -> str:
    """The caller's id if it is one harmless word, else one of ours."""
    sent = headers.get(REQUEST_ID_HEADER)
    if sent is not None and not repeated and _REQUEST_ID.fullmatch(sent):
        return sent
    return "req_" + token_hex(12)


def _must_close(body: BufferedBody | StreamedBody, headers: Mapping[str, str]) -> bool:
    """Whether what is left of the body makes the connection useless: more of it than is worth reading, or a
    client that waits for "100 Continue" and may or may not send it now."""
    if not isinstance(body, StreamedBody) or not body.unread:
        return False
    return body.refused or body.size_hint > _SKIPPABLE_BYTES or "expect" in headers


async def _send(send: Send, reply: Reply, request_id: str, *, close: bool) -> None:
    headers = [(b"content-length", b"%d" % len(reply.body)), _NO_STORE]
    headers.append((REQUEST_ID_HEADER.encode(), request_id.encode()))
    own = ("content-length", "cache-control", REQUEST_ID_HEADER, "connection", "transfer-encoding")
    typed = False
    for name, value in reply.headers.items():
        lowered = name.lower()
        typed |= lowered == "content-type"
        if lowered not in own:
            headers.append((lowered.encode("latin-1"), _header_value(value)))
    if not typed:
        headers.append(_JSON)
    if close:
        headers.append(_CLOSE)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _header_value(value: str) -> bytes:
    if not value.isprintable():  # a line break would end the header
        value = "".join(character if character.isprintable() else " " for character in value)
    return value.encode("latin-1", "replace")

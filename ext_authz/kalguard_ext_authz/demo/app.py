"""The demo upstream as one ASGI application: OpenAI chat completions, MCP, and what was seen.

| path | what |
|---|---|
| `/v1/chat/completions`, `/v1/models` | OpenAI-compatible |
| `/mcp` | MCP over streamable HTTP |
| `/echo` | the request as it arrived: method, path, headers, size and digest of the body |
| `/requests` | the last requests as they arrived (proof of what an upstream is told), without those to this path |
| `/healthz` | ready |
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import orjson

from . import chat
from .mcp import McpServer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY: Final = 64 << 20
_CHUNK_DELAY: Final = 0.02  # seconds between the chunks of a streamed completion
_REMEMBERED: Final = 256
_MARK: Final = (b"x-demo-upstream", b"kalguard-demo")


class DemoUpstream:
    """The ASGI application."""

    def __init__(self) -> None:
        self._mcp = McpServer()
        self._seen: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the demo upstream speaks HTTP, not {scope['type']}")
        method, path = scope["method"], scope["path"]
        body = await _read(receive)
        if body is None:
            await _json(send, 413, _error("the demo upstream reads at most 64 MiB"))
            return
        seen = _seen(scope, body)
        if path != "/requests":
            self._seen.append(seen)
        match (method, path):
            case ("GET", "/healthz"):
                await _json(send, 200, {"status": "ok", "server": "kalguard-demo"})
            case ("GET", "/requests"):
                await _json(send, 200, {"server": "kalguard-demo", "requests": list(self._seen)})
            case ("GET", "/v1/models"):
                await _json(send, 200, chat.MODELS)
            case ("POST", "/v1/chat/completions"):
                await self._chat(body, send)
            case (_, "/echo"):
                await _json(send, 200, {"server": "kalguard-demo", **seen})
            case (_, "/mcp"):
                reply = self._mcp.answer(method, dict(scope["headers"]), body)
                await _respond(send, reply.status, reply.body, reply.headers)
            case _:
                await _json(send, 404, _error(f"the demo upstream has no {method} {path}"))

    async def _chat(self, body: bytes, send: Send) -> None:
        try:
            asked = chat.read(body)
        except ValueError as error:
            await _json(send, 400, _error(str(error)))
            return
        if not asked.stream:
            await _json(send, 200, chat.completion(asked))
            return
        headers = [
            _MARK,
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for index, event in enumerate(chat.events(asked)):
            if index:
                await asyncio.sleep(_CHUNK_DELAY)
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _seen(scope: Scope, body: bytes) -> dict[str, Any]:
    query = scope["query_string"].decode("latin-1")
    return {
        "method": scope["method"],
        "path": scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "bodyBytes": len(body),
        "bodySha256": hashlib.sha256(body).hexdigest(),
    }


def _error(message: str) -> dict[str, Any]:
    return {
        "error": {"message": f"kalguard-demo: {message}", "type": "invalid_request_error", "code": None},
    }


async def _read(receive: Receive) -> bytes | None:
    """The body, None when it is larger than a demo needs."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _json(send: Send, status: int, value: Any) -> None:
    await _respond(send, status, orjson.dumps(value), [(b"content-type", b"application/json")])


async def _respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_MARK, length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})

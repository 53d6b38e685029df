"""What the HTTP tests share: a real server on loopback or a Unix socket, a small answerer, a raw client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

from kalguard_core.codes import ErrorCode, Outcome
from kalguard_core.decision import Decision, Reply
from kalguard_core.request import AgentRequest, Refusal
from kalguard_ext_authz.answer import Answer
from kalguard_ext_authz.health import Health
from kalguard_ext_authz.http_api import create_api
from kalguard_ext_authz.http_server import ASGIApp, HttpServer

HOST = b"Host: kalguard\r\n"


class EchoAnswerer:
    """Answers with what it was asked. Reads the body, unless the request says `x-read: no`."""

    def __init__(self) -> None:
        self.seen: list[AgentRequest] = []
        self.read_bytes = 0
        self.hold: asyncio.Event | None = None

    async def answer(self, request: AgentRequest, *, transport: str) -> Answer:
        self.seen.append(request)
        if self.hold is not None:
            await self.hold.wait()
        try:
            if request.headers.get("x-read") == "no":
                raise Refusal(ErrorCode.AUTH_FAILED, "Unauthorized")
            body = await request.body.read()
        except Refusal as refusal:
            decision = Decision(request.id, Outcome.DENY, refusal.reason, refusal.code)
            why = orjson.dumps({"errorCode": refusal.code, "message": refusal.reason})
            return Answer(decision, Reply(refusal.status, why))
        self.read_bytes += len(body)
        told = {
            "transport": transport,
            "method": request.method,
            "path": request.path,
            "host": request.host,
            "kind": request.kind,
            "headers": dict(request.headers),
            "peer": request.peer.address,
            "principal": request.peer.principal,
            "length": len(body),
            "body": body[:200].decode("latin-1"),
        }
        return Answer(Decision(request.id, Outcome.ALLOW, "OK"), Reply(200, orjson.dumps(told)))


def api(answerer: Any, health: Health | None = None, **options: Any) -> ASGIApp:
    return create_api(answerer, health or Health(), now=time.time, monotonic=time.monotonic, **options)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, **options: Any) -> AsyncIterator[HttpServer]:
    """The app on a free port of 127.0.0.1, or at `uds`."""
    if "uds" not in options:
        options = {"host": "127.0.0.1", "port": 0, **options}
    server = HttpServer(app, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


async def connect(server: HttpServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port)


async def exchange(server: HttpServer, data: bytes, *, within: float = 5.0) -> bytes:
    """Send `data` whatever happens, then read until the server closes. The connection being reset is a failure."""
    reader, writer = await connect(server)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return await asyncio.wait_for(reader.read(), within)
    finally:
        writer.close()


def status(answer: bytes) -> int:
    """The status of a raw answer; 0 when there was none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def head(answer: bytes) -> dict[str, str]:
    """The headers of a raw answer."""
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def told(answer: bytes) -> dict[str, Any]:
    """The JSON body of a raw answer."""
    loaded = orjson.loads(answer.partition(b"\r\n\r\n")[2])
    assert isinstance(loaded, dict)
    return loaded

"""The calls that are measured: the same bytes for every server, and a client that times them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import jwt
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from servers import SECRET, Server

CHECK = "/envoy.service.auth.v3.Authorization/Check"
Call = Callable[[], Awaitable[None]]


def token(agent: str) -> str:
    """A token as an agent would hold it."""
    now = int(time.time())
    claims = {
        "sub": agent,
        "iss": "benchmark",
        "iat": now,
        "exp": now + 86_400,
        "capabilities": ["prompt:send", "llm:call", "tool:execute", "tool:read"],
    }
    return jwt.encode(claims, SECRET, algorithm="HS256")


def check_request(body: bytes, path: str, context: dict[str, str], agent: str) -> bytes:
    """A CheckRequest with the headers that a browser-grade client and Envoy send."""
    message = CheckRequest()
    http = message.attributes.request.http
    http.id, http.method, http.scheme, http.protocol = "1234567890123456789", "POST", "http", "HTTP/1.1"
    http.path, http.host, http.size, http.raw_body = path, "127.0.0.1:10000", len(body), body
    http.headers.update(
        {
            ":authority": "127.0.0.1:10000",
            ":method": "POST",
            ":path": path,
            ":scheme": "http",
            "accept": "application/json, text/event-stream",
            "accept-encoding": "gzip, deflate",
            "authorization": f"Bearer {token(agent)}",
            "content-length": str(len(body)),
            "content-type": "application/json",
            "user-agent": "OpenAI/Python 1.0.0",
            "x-forwarded-proto": "http",
            "x-request-id": "0f5c4b8a-6d0e-4a55-9d46-5a8b6d4f7c11",
        }
    )
    message.attributes.context_extensions.update(context)
    message.attributes.source.address.socket_address.address = "127.0.0.1"
    message.attributes.source.address.socket_address.port_value = 50000
    data: bytes = message.SerializeToString()
    return data


def tool_call() -> bytes:
    """An MCP tools/call."""
    params = {"name": "search", "arguments": {"query": "weather in Lisbon tomorrow"}}
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()


def prompt(size: int) -> bytes:
    """A check API prompt whose body has about `size` bytes of plain English."""
    sentence = "The committee met on Tuesday and agreed on the budget for the coming year. "
    text = (sentence * (size // len(sentence) + 1))[: max(1, size - 60)]
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()


def chat(size: int) -> bytes:
    """An OpenAI chat completion request of about `size` bytes."""
    return json.dumps({"model": "gpt-demo", **json.loads(prompt(size))}).encode()


@dataclass
class Timing:
    """What a run of calls took."""

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float


async def timed(call: Call, server: Server, calls: int, concurrency: int) -> Timing:
    """Do `calls` calls with `concurrency` at a time, each as soon as the one before it is answered."""
    latencies: list[float] = []

    async def worker(count: int) -> None:
        for _ in range(count):
            begin = time.perf_counter()
            await call()
            latencies.append(time.perf_counter() - begin)

    await asyncio.gather(*(worker(max(1, calls // concurrency // 20)) for _ in range(concurrency)))
    latencies.clear()
    cpu, begin = server.cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(worker(calls // concurrency) for _ in range(concurrency)))
    seconds, cpu = time.perf_counter() - begin, server.cpu_seconds() - cpu
    done = len(latencies)
    latencies.sort()
    return Timing(done / seconds, latencies[done // 2] * 1e6, latencies[int(done * 0.99)] * 1e6, cpu / done * 1e6)


def grpc_call(channel: Any, data: bytes, expect: bytes | None = None) -> Call:
    """A Check with prepared bytes; `expect` must be in the answer's bytes (an answer that is wrong is not fast)."""
    method = channel.unary_unary(CHECK)

    async def call() -> None:
        answer = await method(data)
        if expect is not None and expect not in answer:
            raise RuntimeError(f"unexpected answer: {answer[:300]!r}")

    return call


def channel_to(address: str) -> Any:
    """A channel without limits on what we send."""
    return grpc.aio.insecure_channel(address, options=(("grpc.max_send_message_length", -1),))


class HttpClient:
    """A minimal keep-alive HTTP/1.1 client: the client must not cost more than the server that is measured."""

    def __init__(self, host: str, port: int, path: str, body: bytes, agent: str, status: bytes = b"200") -> None:
        self._host, self._port, self._status = host, port, status
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {token(agent)}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._bytes = head.encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __call__(self) -> None:
        reader, writer = (
            self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port, limit=1 << 20)
        )
        writer.write(self._bytes)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 " + self._status):
            raise RuntimeError(f"unexpected answer: {head!r}")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        await reader.readexactly(length)
        self._idle.append((reader, writer))

    def close(self) -> None:
        """Close idle connections."""
        for _, writer in self._idle:
            writer.close()

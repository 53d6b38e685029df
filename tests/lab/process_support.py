"""What the tests of a whole server process share: calls over HTTP, gRPC and Unix sockets, and patience."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import httpx
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support import KalGuardProcess, make_token

T = TypeVar("T")

ALLOW_ALL = "rules: [{id: all, decision: allow}]\n"
TOKEN = make_token()
# A default TLS context reads all certificates of the machine, 20 ms a call, for plain HTTP.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ARGUMENTS = {"get_weather": {"location": "Oslo"}, "search": {"query": "tea"}}


def eventually(look: Callable[[], T], seconds: float = 10.0) -> T:
    """The first truthy result of `look()`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s; the last look found {found!r}"
        time.sleep(0.01)


async def comes_true(look: Callable[[], Awaitable[T]], seconds: float = 10.0) -> T:
    """`eventually`, for coroutines."""
    async with asyncio.timeout(seconds):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.005)


def over_unix(address: str, method: str, path: str) -> httpx.Response:
    """One request to a server on a Unix socket (`unix:/path`)."""
    transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"), verify=NO_TLS)
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=20) as client:
        return client.request(method, path)


def admin(server: KalGuardProcess, method: str, path: str) -> httpx.Response:
    """One request to the admin API."""
    return over_unix(server.addresses["admin"], method, path)


def metrics(server: KalGuardProcess) -> dict[str, float]:
    """All samples by name and labels, as in `name{label="value"}`."""
    lines = over_unix(server.addresses["metrics"], "GET", "/metrics").text.splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def readyz(server: KalGuardProcess) -> tuple[int, dict[str, Any]]:
    """Status of `/readyz` and its body."""
    answer = httpx.get(f"{server.http}/readyz", timeout=20, verify=NO_TLS)
    return answer.status_code, answer.json()


def check_of(server: KalGuardProcess, name: str) -> tuple[str, str]:
    """Status and detail of one health check."""
    found = readyz(server)[1]["checks"][name]
    return found["status"], found["detail"]


def log_lines(server: KalGuardProcess) -> list[dict[str, Any]]:
    """The log so far. A line that is no JSON (a stack trace) fails the test."""
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def tool_call(server: KalGuardProcess, tool: str = "search", token: str = TOKEN) -> httpx.Response:
    """Ask the HTTP API about one tool call."""
    return httpx.post(
        f"{server.http}/v1/tool/check",
        json={"toolName": tool, "arguments": ARGUMENTS[tool]},
        headers={"authorization": f"Bearer {token}"},
        timeout=20,
        verify=NO_TLS,
    )


def check_request(
    kind: str,
    path: str,
    body: bytes,
    *,
    token: str | None = TOKEN,
    principal: str = "",
    context: Mapping[str, str] | None = None,
) -> CheckRequest:
    """A CheckRequest as Envoy sends it."""
    message = CheckRequest()
    http = message.attributes.request.http
    http.method, http.path, http.host, http.raw_body, http.size = "POST", path, "upstream", body, len(body)
    http.headers.update({"content-type": "application/json", "content-length": str(len(body))})
    if token is not None:
        http.headers["authorization"] = f"Bearer {token}"
    message.attributes.source.principal = principal
    message.attributes.context_extensions.update({"kind": kind, **(context or {})})
    return message


def mcp_call(tool: str = "search", **options: Any) -> CheckRequest:
    """An MCP tools/call with id 7."""
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": ARGUMENTS[tool]}}
    return check_request("mcp", "/mcp", json.dumps(call).encode(), context={"prefix": "/mcp"}, **options)


def chat_call(text: str = "good morning", **options: Any) -> CheckRequest:
    """An OpenAI chat completion."""
    call = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    return check_request(
        "openai", "/openai/v1/chat/completions", json.dumps(call).encode(), context={"prefix": "/openai"}, **options
    )


class Envoy:
    """The gRPC side of Envoy: one channel."""

    def __init__(self, channel: Any) -> None:
        self._check = channel.unary_unary(
            "/envoy.service.auth.v3.Authorization/Check",
            request_serializer=CheckRequest.SerializeToString,
            response_deserializer=CheckResponse.FromString,
        )
        self._health = health_pb2_grpc.HealthStub(channel)

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Ask. Raises `grpc.aio.AioRpcError` if the call is dropped."""
        answer = await self._check(request, timeout=20)
        assert isinstance(answer, CheckResponse)
        return answer

    async def serving(self) -> bool:
        """What a health check of Envoy sees."""
        answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def envoy_of(server: KalGuardProcess) -> AsyncIterator[Envoy]:
    """A channel to the gRPC server of `server`."""
    options = (("grpc.max_send_message_length", -1),)
    async with grpc.aio.insecure_channel(server.grpc, options=options) as channel:
        yield Envoy(channel)


def ask_once(server: KalGuardProcess, request: CheckRequest) -> CheckResponse:
    """One Check, for tests without an event loop of their own."""

    async def ask() -> CheckResponse:
        async with envoy_of(server) as envoy:
            return await envoy.check(request)

    return asyncio.run(ask())

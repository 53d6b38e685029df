"""The parts beside a real Envoy in its tests: a running demo upstream, and a tiny ext_authz server."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse


@dataclass(frozen=True)
class Demo:
    """A running demo upstream, as its own process."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def seen(self) -> list[dict[str, object]]:
        """The last requests as they arrived there."""
        requests: list[dict[str, object]] = httpx.get(f"{self.url}/requests").json()["requests"]
        return requests


class AuthzStub:
    """Allows everything, remembers what it was asked, and denies when told to. It stands in for our server
    where only Envoy's behaviour is under test; it serves on a Unix socket, in a thread with its own loop."""

    def __init__(self, path: Path) -> None:
        self.requests: list[CheckRequest] = []
        self.denial: tuple[int, bytes] | None = None
        self._path = path
        self._stopped: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.result(10)

    def close(self) -> None:
        """Stop serving and remove the socket."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 << 20)])
        handler = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=CheckRequest.FromString,
            response_serializer=CheckResponse.SerializeToString,
        )
        service = "envoy.service.auth.v3.Authorization"
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Check": handler})])
        server.add_insecure_port(f"unix://{self._path}")
        await server.start()
        self._started.set_result(None)
        await self._stopped.wait()
        await server.stop(None)

    async def _check(self, request: CheckRequest, _: Any) -> CheckResponse:
        self.requests.append(request)
        response = CheckResponse()
        response.dynamic_metadata["decision"] = "deny" if self.denial else "allow"
        response.dynamic_metadata["risk"] = 7
        if self.denial is None:
            response.ok_response.headers_to_remove.append("authorization")
            return response
        response.status.code = 7
        response.denied_response.status.code = self.denial[0]
        response.denied_response.body = self.denial[1].decode()
        json = HeaderValue(key="content-type", value="application/json")
        response.denied_response.headers.append(HeaderValueOption(header=json))
        return response

"""The servers that are measured, each in a process of its own, and the empty ones beside them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECRET = "benchmark-secret-0123456789abcdef0123456789abcdef"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

POLICY = """
rules:
  - {id: nobody, match: {agentIds: [somebody-else]}, decision: deny}
  - {id: prompts, match: {agentIds: ["bench-*"], actions: ["prompt:check"]}, decision: allow}
  - {id: tools, match: {agentIds: ["bench-*"], tools: [search, get_weather]}, decision: allow}
  - {id: mcp, match: {agentIds: ["bench-*"], actions: ["mcp:*"]}, decision: allow}
"""
TOOLS = """
tools:
  search: {schema: {type: object, properties: {query: {type: string}}, required: [query]}}
  get_weather: {schema: {type: object, properties: {location: {type: string}}, required: [location]}}
"""


class Server:
    """A running server process."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process = process
        self.address = address

    def cpu_seconds(self) -> float:
        """User and system time of the process so far (resolution 10 ms)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def rss_mib(self) -> float:
        """Resident memory in MiB."""
        return _status(self.process.pid, "VmRSS") / 1024

    def children_rss_mib(self) -> float:
        """Resident memory in MiB of the processes that it started."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return sum(_status(pid, "VmRSS") for pid in pids if _status(pid, "PPid") == self.process.pid) / 1024


def _status(pid: int, name: str) -> int:
    """A number of /proc/PID/status; 0 for a process that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


@contextmanager
def started(command: list[str], address: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    """Run a server until the block ends. Waits for its line `ready` (or `{"ready": …`) on stdout."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **(env or {})})
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        if "ready" not in line:
            raise RuntimeError(f"{command[:4]} did not start: {line!r}")
        yield Server(process, address)
    finally:
        process.terminate()
        process.wait(15)


@contextmanager
def kalguard(folder: Path, http_port: int) -> Iterator[Server]:
    """`kalguard serve` with JWT, policy, catalog and an audit file, as in production."""
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "tools.yaml").write_text(TOOLS)
    env = {
        "KALGUARD_TOKEN_SECRET": SECRET,
        "KALGUARD_POLICY_PATH": str(folder / "policy.yaml"),
        "KALGUARD_TOOLS_PATH": str(folder / "tools.yaml"),
        "KALGUARD_AUDIT_LOG_PATH": str(folder / "audit.log"),
        "KALGUARD_GRPC_ADDRESS": f"unix://{folder}/authz.sock",
        "KALGUARD_ADMIN_ADDRESS": f"unix://{folder}/admin.sock",
        "KALGUARD_METRICS_ADDRESS": "off",
        "KALGUARD_HOST": "127.0.0.1",
        "KALGUARD_PORT": str(http_port),
        "KALGUARD_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "kalguard_ext_authz", "serve", "--json"]
    with started(command, f"unix:{folder}/authz.sock", env) as server:
        yield server


@contextmanager
def empty(kind: str, folder: Path, port: int) -> Iterator[Server]:
    """An empty gRPC ("grpc") or ASGI ("asgi") handler on the same libraries and the same event loop."""
    address = f"unix:{folder}/empty.sock" if kind == "grpc" else f"127.0.0.1:{port}"
    with started([sys.executable, __file__, kind, address], address) as server:
        yield server


async def _serve_grpc(address: str) -> None:
    import grpc
    from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

    async def check(_request: Any, _context: Any) -> Any:
        return CheckResponse()

    server = grpc.aio.server(options=(("grpc.max_receive_message_length", 8 << 20),))
    method = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=CheckRequest.FromString,
        response_serializer=CheckResponse.SerializeToString,
    )
    service = "envoy.service.auth.v3.Authorization"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Check": method}),))
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


async def _serve_asgi(address: str) -> None:
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    host, _, port = address.rpartition(":")
    config = uvicorn.Config(
        app,
        host=host,
        port=int(port),
        log_level="error",
        http="httptools",
        lifespan="off",
        timeout_keep_alive=600,  # rows wait for each other longer than the default of 5 s
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await task


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A short path: a Unix socket's may have 107 characters at most."""
    return tempfile.TemporaryDirectory(prefix="kgb-")


if __name__ == "__main__":
    import uvloop

    serve = {"grpc": _serve_grpc, "asgi": _serve_asgi}[sys.argv[1]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[2]))

"""The whole gate as a user runs it: a real Envoy, a real `kalguard serve`, the demo upstream behind them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalguard_ext_authz.envoy.process import EnvoyProcess
from kalguard_ext_authz.envoy.render import render
from kalguard_ext_authz.envoy.sidecar import Sidecar
from kalguard_ext_authz.envoy.targets import Pipe, Socket, Upstream
from support import KalGuardProcess, free_port, start_kalguard

POLICY = """
rules:
  - {id: never-delete, match: {tools: [delete_file]}, decision: deny, reason: deleting files is not allowed}
  - {id: ask-first, match: {agentIds: [careful]}, decision: require_approval}
  - {id: agents, match: {agentIds: [agent-1, "load-*"]}, decision: allow}
"""
TOOLS = """
tools:
  get_weather: {schema: {location: {type: string, required: true}}}
  search: {schema: {query: {type: string, required: true}}}
  read_file: {schema: {path: {type: string, required: true}}}
  delete_file: {schema: {path: {type: string, required: true}}}
"""


@dataclass
class Stack:
    """Where everything is."""

    envoy: EnvoyProcess
    kalguard: KalGuardProcess
    port: int
    access_log: Path

    @property
    def url(self) -> str:
        """What an agent talks to."""
        return f"http://127.0.0.1:{self.port}"

    def access_lines(self, wanted: int | None = None) -> list[dict[str, Any]]:
        """Envoy's access log; waits (10 s at most) until there are `wanted` lines."""
        deadline = time.monotonic() + 10
        while True:
            text = self.access_log.read_text() if self.access_log.exists() else ""
            lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
            if wanted is None or len(lines) >= wanted or time.monotonic() > deadline:
                return lines
            time.sleep(0.05)


@contextmanager
def running_stack(folder: Path, envoy_binary: Path, upstream: str, **options: Any) -> Iterator[Stack]:
    """Start it, and stop it. `options`: `policy`, `tools`, `env` for KalGuard; `authz`, `authz_timeout`, `upstreams`
    (instead of the demo's) and `sidecar` (other fields of `Sidecar`) for Envoy."""
    sidecar = options.pop("sidecar", {})
    upstreams = options.pop("upstreams", None) or (
        Upstream.parse("openai", f"openai={upstream}"),
        Upstream.parse("mcp", f"tools={upstream}/mcp", internal=True),
        Upstream.parse("http", f"web={upstream}"),
    )
    authz = options.pop("authz", None)
    authz_timeout = options.pop("authz_timeout", 2.0)
    serving = folder / "kalguard"
    serving.mkdir()
    kalguard = start_kalguard(
        serving, policy=options.pop("policy", POLICY), tools=options.pop("tools", TOOLS), **options
    )
    try:
        port = free_port()
        access_log = folder / "access.log"
        config = render(
            Sidecar(
                upstreams=upstreams,
                listen=Socket("127.0.0.1", port),
                authz=authz or Pipe(str(serving / "authz.sock")),
                http_api=Socket("127.0.0.1", int(kalguard.addresses["http"].rpartition(":")[2])),
                admin=Pipe(str(folder / "envoy.sock")),
                access_log=str(access_log),
                authz_timeout=authz_timeout,
                **sidecar,
            )
        )
        with EnvoyProcess(envoy_binary, config, folder) as envoy:
            yield Stack(envoy, kalguard, port, access_log)
    finally:
        kalguard.stop()

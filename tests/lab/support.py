"""What several rooms of tests share: a real `kalguard serve` process, free ports, tokens."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt

SECRET = "test-secret-0123456789abcdef0123456789abcdef"
ALL_CAPABILITIES = ("llm:call", "tool:execute", "tool:read", "tool:write", "network:outbound", "prompt:send")

TOOLS = """
tools:
  get_weather: {schema: {location: {type: string, required: true}}}
  search: {schema: {query: {type: string, required: true}}}
  read_file: {schema: {path: {type: string, required: true}}}
"""


def _own_ports() -> Iterator[int]:
    """Ports below those that outgoing connections get (Linux: from 32768), a part for each worker of the tests.

    A port that the system picks is gone again before a slow server has it: each connection may take it.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = (32_700 - 12_000) // workers
    first = 12_000 + number * share
    offset = os.getpid() * 97  # another place in each run: the last one's connections may still be closing
    return (first + (offset + step) % share for step in itertools.count())


_ports = _own_ports()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on; another one at each call."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable")


def make_token(agent: str = "agent-1", capabilities: tuple[str, ...] = ALL_CAPABILITIES, **claims: Any) -> str:
    """A valid HS256 token of `agent`, signed with `SECRET`."""
    now = int(time.time())
    payload = {"sub": agent, "iss": "tests", "iat": now, "exp": now + 3600, "capabilities": list(capabilities)}
    return jwt.encode({**payload, **claims}, SECRET, algorithm="HS256")


@dataclass
class KalGuardProcess:
    """A running `kalguard serve`."""

    process: subprocess.Popen[bytes]
    folder: Path
    addresses: dict[str, str]
    log: Path
    policy: Path | None = field(default=None)
    tools: Path | None = field(default=None)
    audit: Path | None = field(default=None)

    @property
    def http(self) -> str:
        """Base URL of the HTTP API."""
        return f"http://{self.addresses['http']}"

    @property
    def grpc(self) -> str:
        """gRPC target."""
        address = self.addresses["grpc"]
        return "unix:" + address.removeprefix("unix://") if address.startswith("unix") else address

    @property
    def admin_socket(self) -> str:
        """Path of the admin socket."""
        return self.addresses["admin"].removeprefix("unix:").removeprefix("//")

    def audit_events(self) -> list[dict[str, Any]]:
        """All events of the audit file so far."""
        assert self.audit is not None
        return [json.loads(line) for line in self.audit.read_text().splitlines()]

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(20)


class StartFailed(Exception):
    """`kalguard serve` ended before it was ready. `str()` is what it said."""


def start_kalguard(
    folder: Path,
    *,
    policy: str | None = None,
    tools: str | None = TOOLS,
    env: Mapping[str, str] | None = None,
    audit: bool = True,
) -> KalGuardProcess:
    """Start a server whose files are all in `folder`. Raises `StartFailed`."""
    settings = {
        "KALGUARD_TOKEN_SECRET": SECRET,
        "KALGUARD_HOST": "127.0.0.1",
        "KALGUARD_PORT": "0",
        "KALGUARD_GRPC_ADDRESS": f"unix://{folder}/authz.sock",
        "KALGUARD_ADMIN_ADDRESS": f"unix://{folder}/admin.sock",
        "KALGUARD_METRICS_ADDRESS": f"unix://{folder}/metrics.sock",
    }
    files = {}
    for name, text in (("policy", policy), ("tools", tools)):
        if text is not None:
            files[name] = folder / f"{name}.yaml"
            files[name].write_text(text)
            settings[f"KALGUARD_{name.upper()}_PATH"] = str(files[name])
    if audit:
        settings["KALGUARD_AUDIT_LOG_PATH"] = str(folder / "audit.log")
    settings.update(env or {})
    log = folder / "kalguard.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KALGUARD_")}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "kalguard_ext_authz", "serve", "--json"],
            env={**clean, **settings},
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    told = json.loads(line) if line.startswith(b"{") else {}
    if not told.get("ready"):
        process.wait(10)
        raise StartFailed(f"{line.decode()}{log.read_text()}")
    return KalGuardProcess(
        process, folder, told["addresses"], log, files.get("policy"), files.get("tools"), folder / "audit.log"
    )

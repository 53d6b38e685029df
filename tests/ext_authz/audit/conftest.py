"""A log on a real file, clocks that tests move, and what `kalguard audit verify` would say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kalguard_core.action import Action
from kalguard_core.codes import Outcome
from kalguard_core.decision import Decision, Verdict
from kalguard_core.identity import Identity
from kalguard_core.request import AgentRequest
from kalguard_ext_authz.audit_log import AuditLog
from kalguard_ext_authz.cli.audit import audit as audit_command
from kalguard_ext_authz.sinks import FileSink
from kalguard_ext_authz.state import State


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Bench:
    """An audit log under test."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "audit.log"
        self.clock = Clock(1_767_225_600.0)
        self.monotonic = Clock(1000.0)
        self.log: AuditLog
        self.sink: FileSink

    async def start(self, **options: Any) -> AuditLog:
        """A new process, so to speak, on the same files."""
        sink_options = {name: options.pop(name) for name in ("fsync", "rotate_bytes", "keep_files") if name in options}
        self.sink = FileSink(self.path, monotonic=self.monotonic, **sink_options)
        self.log = AuditLog(
            self.sink,
            state=State.open(self.path.with_name("audit.log.state"), self.clock.now),
            clock=self.clock,
            monotonic=self.monotonic,
            checkpoint_path=options.pop("checkpoint_path", self.path.with_name("audit.log.checkpoints")),
            **options,
        )
        await self.log.open()
        return self.log

    async def record(self, name: str = "a") -> None:
        await self.log.record(*an_answer(name), transport="grpc", latency_us=10)

    def wait(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.monotonic.now += seconds

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    @property
    def kinds(self) -> list[str]:
        """The events in short: the tool of an answer, the type of the others."""
        return [event.get("tool") or event["type"] for event in self.events]

    def verify(self, *arguments: str) -> dict[str, Any]:
        """What the command says about the log."""
        result = CliRunner().invoke(audit_command, ["verify", "--json", str(self.path), *arguments])
        report: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == {"ok": 0, "tampered": 1, "unproven": 2}[report["verdict"]]
        return report


def an_answer(name: str = "a") -> tuple[AgentRequest, Decision]:
    request = AgentRequest(f"req_{name}", "mcp", "POST", "tools", "/mcp", {}, 1_767_225_600.0, 1.0)
    verdict = Verdict(Action("tool:execute", (), tool=name), Outcome.ALLOW, "allowed", rule="r1")
    return request, Decision(request.id, Outcome.ALLOW, "allowed", identity=Identity("agent-1"), verdicts=(verdict,))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def answer() -> Callable[[str], tuple[AgentRequest, Decision]]:
    return an_answer

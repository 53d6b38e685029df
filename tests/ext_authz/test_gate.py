"""The gate: no answer without its line, and no exception leaves."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from kalguard_core.codes import ErrorCode, Outcome
from kalguard_core.decision import Decision
from kalguard_core.guard import PipelineFailure
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_ext_authz.audit_log import AuditLog
from kalguard_ext_authz.gate import Gate
from kalguard_ext_authz.http_server import Unread
from kalguard_ext_authz.metrics import Metrics
from kalguard_ext_authz.sinks import MemorySink
from kalguard_ext_authz.state import State


class Nobody:
    """Stands for the authenticator of a snapshot."""

    def authenticate(self, _request: AgentRequest) -> Any:
        raise Refusal(ErrorCode.AUTH_FAILED, "Unauthorized")


class FakeGuard:
    """A guard that answers, fails or waits, as the test says."""

    def __init__(self, answer: Decision | Exception | None) -> None:
        self.answer = answer
        self.snapshot = self
        self.authenticator = Nobody()

    async def decide(self, _request: AgentRequest) -> Decision:
        if self.answer is None:
            await asyncio.sleep(60)
        if isinstance(self.answer, Exception):
            raise self.answer
        assert isinstance(self.answer, Decision)
        return self.answer


async def a_gate(answer: Decision | Exception | None) -> tuple[Gate, MemorySink]:
    sink = MemorySink(100)
    audit = AuditLog(sink, state=State.ephemeral())
    await audit.open()
    return Gate(FakeGuard(answer), audit, Metrics(), PROTOCOLS, time.perf_counter), sink  # type: ignore[arg-type]


def a_request(kind: str = "openai") -> AgentRequest:
    return AgentRequest(
        id="req-1", kind=kind, method="POST", host="h", path="/", headers={}, time=1000.0, monotonic=0.0
    )


def events(sink: MemorySink) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, sink.lines) if event["type"] != "audit_started"]


async def test_an_allow_is_forwarded_and_recorded() -> None:
    gate, sink = await a_gate(Decision("req-1", Outcome.ALLOW, "ok"))
    answer = await gate.answer(a_request(), transport="grpc")
    assert answer.reply is None
    assert [event["decision"] for event in events(sink)] == ["allow"]


async def test_a_failure_inside_is_a_denial_that_tells_the_agent_nothing() -> None:
    failure = PipelineFailure(None, "openai.chat")
    failure.__cause__ = ZeroDivisionError("secret internals")
    gate, sink = await a_gate(failure)
    answer = await gate.answer(a_request(), transport="grpc")
    assert answer.reply is not None
    assert answer.reply.status == 500
    assert b"secret" not in answer.reply.body
    assert b"ZeroDivision" not in answer.reply.body
    assert events(sink)[0]["errorCode"] == "INTERNAL"


async def test_a_call_whose_caller_went_away_is_in_the_log() -> None:
    gate, sink = await a_gate(None)
    call = asyncio.create_task(gate.answer(a_request(), transport="grpc"))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (event,) = events(sink)
    assert (event["decision"], event["errorCode"], event["requestId"]) == ("deny", "REQUEST_TIMEOUT", "req-1")
    assert "went away" in event["reason"]


async def test_what_the_http_server_answers_unread_is_in_the_log() -> None:
    gate, sink = await a_gate(None)
    gate.unread(Unread("req-9", "127.0.0.1:5", ErrorCode.BAD_REQUEST, "malformed HTTP request"), 1000.0)
    (event,) = events(sink)
    assert (event["requestId"], event["errorCode"], event["peer"]) == ("req-9", "BAD_REQUEST", "127.0.0.1:5")

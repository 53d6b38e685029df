"""The gate: what every transport calls. Decide, audit, count, render.

Rule of this file: no answer without its audit line. If the line can't be written, an allow becomes a 503; if
the pipeline fails, the answer is a denial; no exception leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog
from msgspec.structs import replace

from kalguard_core.codes import ErrorCode, Outcome
from kalguard_core.decision import Decision
from kalguard_core.guard import Guard, PipelineFailure
from kalguard_core.request import AgentRequest, Peer, Refusal
from kalguard_core.wire.base import WireProtocol

from .answer import Answer
from .audit_log import AuditLog, AuditUnavailable
from .http_server import Unread
from .metrics import Metrics

_log = structlog.get_logger("kalguard.gate")


class Gate:
    """Implements `Answerer`. `timer` is a clock in seconds for latencies."""

    def __init__(
        self,
        guard: Guard,
        audit: AuditLog,
        metrics: Metrics,
        protocols: Mapping[str, WireProtocol],
        timer: Callable[[], float],
    ) -> None:
        self._guard = guard
        self._audit = audit
        self._metrics = metrics
        self._protocols = protocols
        self._timer = timer

    async def answer(self, request: AgentRequest, *, transport: str) -> Answer:
        """See `Answerer.answer`."""
        started = self._timer()
        try:
            decision = await self._decide(request)
        except asyncio.CancelledError:
            self._abandoned(request, transport, self._timer() - started)
            raise
        latency = self._timer() - started
        decision = await self._record(request, decision, transport, latency)
        self._metrics.observe(
            transport,
            decision.route,
            decision.outcome,
            decision.code or "",
            latency,
        )
        for verdict in decision.verdicts:
            if verdict.categories:
                self._metrics.found(verdict.categories, verdict.outcome)
        protocol = self._protocols.get(request.kind, self._protocols["http"])
        if decision.allowed and not protocol.answers_itself:
            return Answer(decision, None)
        return Answer(decision, protocol.reply(request, decision))

    def unread(self, answered: Unread, now: float) -> None:
        """Record an answer to what never became a request: a head that could not be read or came too late."""
        request = AgentRequest(
            id=answered.request_id,
            kind="api",
            method="",
            host="",
            path="",
            headers={},
            time=now,
            monotonic=0.0,
            peer=Peer(answered.peer),
        )
        decision = Decision(answered.request_id, Outcome.DENY, answered.reason, answered.code)
        self._metrics.observe("http", "", decision.outcome.value, answered.code.value, 0.0)
        self._append(request, decision, "http", 0.0)

    def _append(self, request: AgentRequest, decision: Decision, transport: str, latency: float) -> None:
        """Record an answer that nobody waits for."""
        try:
            self._audit.append(request, decision, transport=transport, latency_us=int(latency * 1e6))
        except AuditUnavailable as error:
            self._unrecorded(request.id, error)
            return
        self._metrics.audit_events.inc()

    def _abandoned(self, request: AgentRequest, transport: str, latency: float) -> None:
        """Record a call whose caller went away before its answer: whoever asks for much and waits for nothing
        must be found in the log, and Envoy has answered such a call with a denial of its own."""
        try:
            identity = self._guard.snapshot.authenticator.authenticate(request)
        except Refusal:
            identity = None
        reason = "the caller went away before the answer"
        decision = Decision(request.id, Outcome.DENY, reason, ErrorCode.REQUEST_TIMEOUT, identity=identity)
        self._metrics.observe(transport, "", decision.outcome.value, ErrorCode.REQUEST_TIMEOUT.value, latency)
        self._append(request, decision, transport, latency)

    async def _decide(self, request: AgentRequest) -> Decision:
        try:
            return await self._guard.decide(request)
        except PipelineFailure as failure:
            cause = failure.__cause__
            _log.error("pipeline_failed", request_id=request.id, kind=request.kind, exc_info=cause)
            return Decision(
                request_id=request.id,
                outcome=Outcome.DENY,
                reason="internal error",
                code=ErrorCode.INTERNAL,
                identity=failure.identity,
                detail=f"{type(cause).__name__} inside the pipeline; the log has more",
                route=failure.route,
            )

    async def _record(self, request: AgentRequest, decision: Decision, transport: str, latency: float) -> Decision:
        try:
            await self._audit.record(request, decision, transport=transport, latency_us=int(latency * 1e6))
        except AuditUnavailable as error:
            self._unrecorded(request.id, error)
            return _without_audit(decision) if decision.allowed else decision
        self._metrics.audit_events.inc(max(1, len(decision.verdicts)))
        return decision

    def _unrecorded(self, request_id: str, error: AuditUnavailable) -> None:
        self._metrics.audit_unrecorded.inc()
        if error.__cause__ is not None:  # an event that can't be written is a bug
            _log.error("event_not_written", request_id=request_id, exc_info=error.__cause__)
            return
        # The audit log itself says once that it fails, and how much it missed when it is back; a line an answer
        # would let agents fill the disk that may just be what is full.
        _log.debug("answer_not_recorded", request_id=request_id, error=str(error))


def _without_audit(decision: Decision) -> Decision:
    """The denial that an allow becomes when nobody would ever know of it."""
    reason = "audit log unavailable; nothing is allowed without it"
    return replace(
        decision,
        outcome=Outcome.DENY,
        code=ErrorCode.AUDIT_UNAVAILABLE,
        reason=reason,
        retry_after=1.0,
        verdicts=tuple(
            replace(
                verdict,
                outcome=Outcome.DENY,
                code=ErrorCode.AUDIT_UNAVAILABLE,
                reason=reason,
                retry_after=1.0,
                sanitized=None,
            )
            for verdict in decision.verdicts
        ),
    )

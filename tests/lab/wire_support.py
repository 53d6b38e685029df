"""Requests and decisions for the tests of the wire protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode, Outcome
from kalguard_core.decision import Decision, Verdict
from kalguard_core.request import AgentRequest, BufferedBody, Refusal
from kalguard_core.wire.base import Reading
from kalguard_core.wire.encoding import decoded
from kalguard_core.wire.registry import PROTOCOLS

JSON = {"content-type": "application/json"}


def request(
    kind: str,
    path: str,
    *,
    method: str = "POST",
    host: str = "upstream.test",
    headers: Mapping[str, str] | None = None,
    context: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> AgentRequest:
    """A request of that kind; JSON by default."""
    return AgentRequest(
        id="req_1",
        kind=kind,
        method=method,
        host=host,
        path=path,
        headers=JSON if headers is None else headers,
        time=0.0,
        monotonic=0.0,
        body=BufferedBody(body),
        context=context or {},
    )


def encoded(body: Any) -> bytes:
    """Bytes as they are, everything else as JSON."""
    return body if isinstance(body, bytes) else orjson.dumps(body)


def read(asked: AgentRequest, body: Any = b"") -> Reading:
    """What the pipeline does: route, then read."""
    protocol = PROTOCOLS[asked.kind]
    return protocol.read(asked, protocol.route(asked), decoded(asked.headers, encoded(body)))


def refused(asked: AgentRequest, body: Any = b"") -> Refusal:
    """The refusal that routing or reading ends in."""
    with pytest.raises(Refusal) as caught:
        read(asked, body)
    return caught.value


def denied(
    *actions: Action,
    code: ErrorCode = ErrorCode.POLICY_DENY,
    reason: str = "no matching rule",
    outcome: Outcome = Outcome.DENY,
    retry_after: float | None = None,
    risk: int | None = None,
) -> Decision:
    """A decision that refuses these actions."""
    return Decision(
        request_id="req_1",
        outcome=outcome,
        reason=reason,
        code=code,
        verdicts=tuple(Verdict(action, outcome, reason, code, risk=risk) for action in actions),
        retry_after=retry_after,
        risk=risk,
    )

"""KalGuard's own JSON answer, which all protocols without an error format of their own use.

The order of the members is what the existing JavaScript SDK and its documentation show.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from ..codes import ErrorCode, Outcome
from ..decision import Decision, Reply
from .json import encode_json

CONTENT_TYPE: Final = "application/json"

# Codes with which the question itself was answered; all others say that it could not be asked.
ANSWERED: Final = frozenset(
    {
        ErrorCode.CAPABILITY_DENIED,
        ErrorCode.POLICY_DENY,
        ErrorCode.REQUIRE_APPROVAL,
        ErrorCode.PROMPT_BLOCKED,
        ErrorCode.TOOL_DENIED,
        ErrorCode.RATE_LIMIT_EXCEEDED,
    }
)


def message(decision: Decision) -> str:
    """The one sentence that the agent gets."""
    if decision.outcome is Outcome.ALLOW:
        return "OK"
    if decision.outcome is Outcome.REQUIRE_APPROVAL:
        return "Requires approval"
    return decision.reason


def security_response(decision: Decision, data: Mapping[str, Any] | None = None) -> bytes:
    """The body `{allowed, decision, message, requestId, data?, errorCode?, ok, reason}`."""
    text = message(decision)
    body: dict[str, Any] = {
        "allowed": decision.allowed,
        "decision": str(decision.outcome),
        "message": text,
        "requestId": decision.request_id,
    }
    if data is not None:
        body["data"] = data
    if decision.code is not None:
        body["errorCode"] = str(decision.code)
    body["ok"] = decision.code is None or decision.code in ANSWERED
    body["reason"] = text
    return encode_json(body)


def headers(decision: Decision) -> dict[str, str]:
    """Headers of an answer: what it is, when to come back, how to authenticate."""
    fields = {"content-type": CONTENT_TYPE}
    if decision.retry_after is not None and decision.status in (429, 503):
        fields["retry-after"] = str(max(1, ceil(decision.retry_after)))
    if decision.status == 401:
        fields["www-authenticate"] = "Bearer"
    return fields


def plain_reply(decision: Decision) -> Reply:
    """The answer for clients whose protocol has no error format of its own."""
    return Reply(decision.status, security_response(decision), headers(decision))


# Clients repeat these by themselves; for all other refusals a second try gets the same answer.
_RETRYABLE: Final = frozenset({408, 429, 500, 503})


def vendor_headers(decision: Decision) -> dict[str, str]:
    """`headers` for the clients of model vendors: their SDKs repeat a call unless told that it can't help."""
    fields = headers(decision)
    if decision.status not in _RETRYABLE:
        fields["x-should-retry"] = "false"
    return fields


def vendor_message(decision: Decision) -> str:
    """The sentence for clients that show nothing but it: the reason and the request id."""
    return f"{message(decision)} (request id: {decision.request_id})"

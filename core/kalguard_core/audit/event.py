"""Audit events: what was decided, in fields that a program can count and a person can read.

Rules of this file: an event names facts about a request, never its content. No text of a message, no argument,
no token, no query string. A field without a value is left out; the order of fields never changes. What an agent
chose (tool, model, path, ...) is cut and made printable, so that one event is one line in a file and on a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from kalguard_core.codes import HTTP_REQUEST, PROMPT_CHECK, TOOL_EXECUTE, ErrorCode, Outcome
from kalguard_core.decision import Decision, Verdict
from kalguard_core.request import AgentRequest

Event = dict[str, Any]

MAX_NAME: Final = 256  # tool, model, resource, agent: what an agent or its token can choose
MAX_TEXT: Final = 1024  # reason and detail: ours, but they may quote a name
MAX_FOUND: Final = 32  # ids of rules, categories, tags: each list
CUT_MARK: Final = "…"
ANONYMOUS: Final = "anonymous"

_TYPES: Final = {PROMPT_CHECK: "prompt", TOOL_EXECUTE: "tool", HTTP_REQUEST: "request"}
_AUTH_FAILURES: Final = frozenset((ErrorCode.AUTH_FAILED, ErrorCode.TOKEN_REVOKED, ErrorCode.CAPABILITY_DENIED))
# A token that an agent put into a path or a tool name; linear: one class, no alternation.
_TOKEN: Final = re.compile(r"eyJ[A-Za-z0-9_.\-]*")
_REDACTED: Final = "[token]"


def events_of(
    request: AgentRequest,
    decision: Decision,
    *,
    event_ids: Callable[[], str],
    transport: str,
    latency_us: int,
) -> list[Event]:
    """The events of one answer: one for each verdict, or one for a request that was refused before it had any.

    `decision` of an event is what happened to the action: an action that would have been allowed, but stood in
    a refused request, was not forwarded, so its event says what the request's answer says.
    """
    if not decision.verdicts:
        return [_event(request, decision, None, event_ids(), transport, latency_us)]
    return [_event(request, decision, verdict, event_ids(), transport, latency_us) for verdict in decision.verdicts]


def _event(
    request: AgentRequest,
    decision: Decision,
    verdict: Verdict | None,
    event_id: str,
    transport: str,
    latency_us: int,
) -> Event:
    identity = decision.identity
    event: Event = {
        "id": event_id,
        "type": "",
        "time": timestamp(request.time),
        "agent": ANONYMOUS if identity is None else safe(identity.agent_id),
        "requestId": safe(decision.request_id),
        "kind": request.kind,
    }
    if decision.route:
        event["route"] = decision.route
    outcome, code, rule = decision.outcome, decision.code, decision.rule
    reason, detail, risk = decision.reason, decision.detail, decision.risk
    kind = "request"
    if verdict is None:
        event["resource"] = _resource(request.route_path)
    else:
        action = verdict.action
        kind = _TYPES.get(action.name, "request")
        event["action"] = safe(action.name)
        if action.tool is not None:
            event["tool"] = safe(action.tool)
        if action.model is not None:
            event["model"] = safe(action.model)
        if action.resource is not None:
            event["resource"] = _resource(action.resource)
        rule, risk = verdict.rule, verdict.risk
        if verdict.outcome is Outcome.ALLOW and outcome is not Outcome.ALLOW:
            detail = verdict.detail or "allowed by itself, refused with the rest of its request"
        else:
            outcome, code, reason, detail = verdict.outcome, verdict.code, verdict.reason, verdict.detail
    event["type"] = (
        "auth_failure"
        if code in _AUTH_FAILURES
        else f"{kind}_allowed"
        if outcome is Outcome.ALLOW
        else f"{kind}_denied"
    )
    event["decision"] = outcome.value
    if rule is not None:
        event["ruleId"] = safe(rule)
    event["reason"] = safe(reason, MAX_TEXT)
    if detail:
        event["detail"] = safe(detail, MAX_TEXT)
    if code is not None:
        event["errorCode"] = code.value
    event["status"] = decision.status
    if risk is not None:
        event["risk"] = risk
    if verdict is not None and verdict.firewall:
        event["firewall"] = safe(verdict.firewall)
        for name, found in (("rules", verdict.rules), ("categories", verdict.categories), ("tags", verdict.tags)):
            if found:
                event[name] = [safe(item) for item in found[:MAX_FOUND]]
    if decision.policy_version:
        event["policyVersion"] = decision.policy_version
    peer = request.peer
    if peer.address:
        event["peer"] = safe(peer.address)
    if peer.principal:
        event["principal"] = safe(peer.principal)
    event["transport"] = transport
    event["latencyUs"] = latency_us
    if decision.input_digest:
        event["inputDigest"] = decision.input_digest
    return event


def started_event(event_id: str, now: float, *, version: str, key_id: str, detail: str = "") -> Event:
    """The log was opened by a new process. `key_id`: of the key that signs its checkpoints, "" if none does."""
    event: Event = {"id": event_id, "type": "audit_started", "time": timestamp(now), "version": version}
    if key_id:
        event["keyId"] = key_id
    if detail:
        event["detail"] = safe(detail, MAX_TEXT)
    return event


def gap_event(event_id: str, now: float, *, count: int, first: float, last: float, cause: str) -> Event:
    """`count` answers, none of them an allow, were given while nothing could be recorded.

    `first`, `last`: Unix seconds of the first and the last of them. `cause`: what was wrong with the sink.
    """
    return {
        "id": event_id,
        "type": "audit_gap",
        "time": timestamp(now),
        "count": count,
        "from": timestamp(first),
        "to": timestamp(last),
        "cause": safe(cause, MAX_TEXT),
    }


def recovered_event(event_id: str, now: float, *, size: int, sha256: str, kept_in: str) -> Event:
    """A torn last line (a crash in the middle of a write) was moved out of the log into the file `kept_in`."""
    return {
        "id": event_id,
        "type": "audit_recovered",
        "time": timestamp(now),
        "tornBytes": size,
        "tornSha256": sha256,
        "keptIn": safe(kept_in),
    }


def timestamp(unix_seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, e.g. 2026-01-31T12:00:00.123Z. Raises `ValueError`, `OverflowError`."""
    second = int(unix_seconds // 1)
    return f"{_second(second)}.{int((unix_seconds - second) * 1000):03d}Z"


@lru_cache(maxsize=8)
def _second(unix_seconds: int) -> str:
    """Many events share a second, and a calendar is slow."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat()[:19]


def safe(text: str, limit: int = MAX_NAME) -> str:
    """`text`, at most `limit` characters of it, printable, without anything that looks like a JWT.

    What has no glyph (control characters, line and direction marks, lone surrogates) becomes `\\u{hex}`.
    """
    if len(text) > limit:
        text = text[:limit] + CUT_MARK
    if not text.isprintable():
        text = "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in text)
    if "eyJ" in text:
        text = _TOKEN.sub(_REDACTED, text)
    return text


def _resource(text: str) -> str:
    """A path or URI without what may hold a secret: query, fragment, user and password."""
    if "?" in text:
        text = text[: text.index("?")]
    if "#" in text:
        text = text[: text.index("#")]
    if "@" in text and "://" in text:
        scheme, _, rest = text.partition("://")
        authority, slash, path = rest.partition("/")
        text = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return safe(text)

"""What an event says, and what it never says."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.action import Action, Message
from kalguard_core.audit.chain import Chain, read_line
from kalguard_core.audit.event import MAX_NAME, Event, events_of, gap_event, recovered_event, safe, timestamp
from kalguard_core.codes import ErrorCode, Outcome
from kalguard_core.decision import Decision, Verdict
from kalguard_core.identity import Identity
from kalguard_core.request import AgentRequest, Peer

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZ2VudC0xIn0.c2lnbmF0dXJl"
ORDER = [
    "id", "type", "time", "agent", "requestId", "kind", "route", "action", "tool", "model", "resource", "decision",
    "ruleId", "reason", "detail", "errorCode", "status", "risk", "policyVersion", "peer", "principal", "transport",
    "latencyUs", "inputDigest",
]  # fmt: skip


def a_request(path: str = "/mcp/", **fields: Any) -> AgentRequest:
    return AgentRequest(
        id="req_1",
        kind="mcp",
        method="POST",
        host="tools",
        path=path,
        headers={"authorization": f"Bearer {TOKEN}"},
        time=1767225600.1239,
        monotonic=5.0,
        **fields,
    )


def a_verdict(outcome: Outcome = Outcome.ALLOW, code: ErrorCode | None = None, **action: Any) -> Verdict:
    action = {"name": "tool:execute", "capabilities": (), "tool": "get_weather", **action}
    return Verdict(Action(**action), outcome, "because", code=code, rule="r1", risk=12)


def named(field: str, value: str) -> dict[str, Any]:
    return {field: value}


def a_decision(*verdicts: Verdict, outcome: Outcome = Outcome.ALLOW, code: ErrorCode | None = None) -> Decision:
    return Decision("req_1", outcome, "because", code=code, identity=Identity("agent-1"), verdicts=verdicts)


def the_events(decision: Decision, request: AgentRequest | None = None) -> list[Event]:
    ids = (f"evt_{n}" for n in itertools.count(1))
    return events_of(request or a_request(), decision, event_ids=lambda: next(ids), transport="grpc", latency_us=77)


def test_an_event_has_its_fields_in_the_documented_order() -> None:
    action = Action("tool:execute", (), resource="weather", tool="get_weather", model="m")
    verdict = Verdict(action, Outcome.DENY, "no", code=ErrorCode.TOOL_DENIED, rule="r1", risk=50, detail="catalog")
    decision = Decision(
        "req_1", Outcome.DENY, "no", code=ErrorCode.TOOL_DENIED, identity=Identity("agent-1"), verdicts=(verdict,),
        policy_version="3", input_digest="hmac-sha256:k:00", route="mcp.post",
    )  # fmt: skip
    [event] = the_events(decision, a_request(peer=Peer("10.0.0.1:1", "spiffe://td/a")))
    assert list(event) == ORDER
    assert event == {
        "id": "evt_1", "type": "tool_denied", "time": "2026-01-01T00:00:00.123Z", "agent": "agent-1",
        "requestId": "req_1", "kind": "mcp", "route": "mcp.post", "action": "tool:execute", "tool": "get_weather",
        "model": "m", "resource": "weather", "decision": "deny", "ruleId": "r1", "reason": "no",
        "detail": "catalog", "errorCode": "TOOL_DENIED", "status": 403, "risk": 50, "policyVersion": "3",
        "peer": "10.0.0.1:1", "principal": "spiffe://td/a", "transport": "grpc", "latencyUs": 77,
        "inputDigest": "hmac-sha256:k:00",
    }  # fmt: skip


def test_a_field_without_a_value_is_left_out() -> None:
    [event] = the_events(a_decision())
    assert None not in event.values()
    assert "" not in event.values()
    assert [name for name in ORDER if name in event] == list(event)


def test_each_verdict_has_its_own_event_with_its_own_id() -> None:
    events = the_events(a_decision(a_verdict(tool="a"), a_verdict(tool="b"), a_verdict(tool="c")))
    assert [event["tool"] for event in events] == ["a", "b", "c"]
    assert len({event["id"] for event in events}) == 3


def test_a_request_refused_before_its_body_was_read_has_one_event_with_its_path() -> None:
    decision = Decision("req_1", Outcome.DENY, "no such endpoint", code=ErrorCode.NOT_FOUND)
    [event] = the_events(decision, a_request("/nowhere?key=secret"))
    assert (event["type"], event["agent"], event["resource"], event["status"]) == (
        "request_denied", "anonymous", "/nowhere", 404,
    )  # fmt: skip
    assert "action" not in event


@pytest.mark.parametrize(
    ("action", "outcome", "code", "wanted"),
    [
        ("prompt:check", Outcome.ALLOW, None, "prompt_allowed"),
        ("prompt:check", Outcome.DENY, ErrorCode.PROMPT_BLOCKED, "prompt_denied"),
        ("tool:execute", Outcome.ALLOW, None, "tool_allowed"),
        ("tool:execute", Outcome.DENY, ErrorCode.TOOL_DENIED, "tool_denied"),
        ("tool:execute", Outcome.REQUIRE_APPROVAL, ErrorCode.REQUIRE_APPROVAL, "tool_denied"),
        ("tool:execute", Outcome.DENY, ErrorCode.CAPABILITY_DENIED, "auth_failure"),
        ("http:request", Outcome.ALLOW, None, "request_allowed"),
        ("mcp:tools/list", Outcome.ALLOW, None, "request_allowed"),
        ("mcp:tools/list", Outcome.DENY, ErrorCode.POLICY_DENY, "request_denied"),
    ],
)
def test_the_type_follows_from_action_and_outcome(
    action: str, outcome: Outcome, code: ErrorCode | None, wanted: str
) -> None:
    verdict = a_verdict(outcome, code, name=action)
    [event] = the_events(a_decision(verdict, outcome=outcome, code=code))
    assert (event["type"], event["decision"]) == (wanted, outcome.value)


@pytest.mark.parametrize("code", [ErrorCode.AUTH_FAILED, ErrorCode.TOKEN_REVOKED, ErrorCode.CAPABILITY_DENIED])
def test_a_failed_authentication_is_an_auth_failure(code: ErrorCode) -> None:
    [event] = the_events(a_decision(outcome=Outcome.DENY, code=code))
    assert event["type"] == "auth_failure"


def test_an_allowed_action_in_a_refused_request_is_not_told_as_allowed() -> None:
    denied = a_verdict(Outcome.DENY, ErrorCode.POLICY_DENY, tool="b")
    decision = a_decision(a_verdict(tool="a"), denied, outcome=Outcome.DENY, code=ErrorCode.POLICY_DENY)
    first, second = the_events(decision)
    assert (first["type"], first["decision"], first["errorCode"]) == ("tool_denied", "deny", "POLICY_DENY")
    assert "allowed by itself" in first["detail"]
    assert (second["type"], second["decision"]) == ("tool_denied", "deny")
    assert "detail" not in second


def test_no_message_argument_header_or_query_is_in_an_event() -> None:
    action = Action(
        "prompt:check",
        (),
        resource="https://user:hunter2@vault/x?token=hunter2#hunter2",
        arguments={"password": "hunter2"},
        messages=(Message("user", "hunter2"),),
        attributes={"a": "hunter2"},
    )
    verdict = Verdict(action, Outcome.ALLOW, "ok", sanitized=(Message("user", "hunter2"),))
    [event] = the_events(a_decision(verdict), a_request("/x?key=hunter2"))
    assert b"hunter2" not in orjson.dumps(event)
    assert event["resource"] == "https://vault/x"


@pytest.mark.parametrize("field", ["tool", "model", "resource", "name"])
def test_a_token_that_an_agent_puts_into_a_name_is_not_kept(field: str) -> None:
    [event] = the_events(a_decision(a_verdict(**named(field, f"a/{TOKEN}/b"))))
    assert "eyJ" not in orjson.dumps(event).decode()
    assert "a/[token]/b" in event.values()


def test_a_token_in_a_path_is_not_kept_even_where_it_is_cut() -> None:
    decision = Decision("req_1", Outcome.DENY, "no", code=ErrorCode.NOT_FOUND)
    [event] = the_events(decision, a_request("/" + "x" * (MAX_NAME - 30) + TOKEN * 3))
    assert event["resource"].endswith("x[token]…")


@pytest.mark.parametrize("field", ["tool", "model", "resource", "name"])
def test_what_an_agent_chooses_is_cut_with_a_mark(field: str) -> None:
    [event] = the_events(a_decision(a_verdict(**named(field, "x" * 1_000_000))))
    assert "x" * MAX_NAME + "…" in event.values()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\nb", "a\\u{a}b"),
        ("a\r\n\x00", "a\\u{d}\\u{a}\\u{0}"),
        ("\x1b[2J", "\\u{1b}[2J"),
        ("\x9b2J", "\\u{9b}2J"),
        ("\u2028\u2029\x85", "\\u{2028}\\u{2029}\\u{85}"),
        ("\u202egnp", "\\u{202e}gnp"),
        ("\u200b\ufeff", "\\u{200b}\\u{feff}"),
        ("\ud800x", "\\u{d800}x"),
        ("Grüße 東京 😀", "Grüße 東京 😀"),
    ],
)
def test_what_has_no_glyph_is_spelled_out(text: str, wanted: str) -> None:
    assert safe(text) == wanted


@given(st.text(st.characters()), st.text(st.characters()), st.text(st.characters()))
def test_any_names_make_one_line_of_valid_json(tool: str, resource: str, reason: str) -> None:
    verdict = Verdict(Action("tool:execute", (), resource=resource, tool=tool, model=tool), Outcome.ALLOW, reason)
    [event] = the_events(a_decision(verdict))
    line, _ = Chain("a").link(event)
    assert line.decode("utf-8").splitlines(keepends=True) == [line.decode("utf-8")]
    assert read_line(line).event["requestId"] == "req_1"


def test_times_are_rfc_3339_in_utc() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1767225600.9999) == "2026-01-01T00:00:00.999Z"


def test_events_of_the_log_itself_say_what_happened() -> None:
    gap = gap_event("e", 10.0, count=3, first=1.0, last=2.0, cause="disk\nfull")
    assert (gap["type"], gap["count"], gap["cause"]) == ("audit_gap", 3, "disk\\u{a}full")
    assert (gap["from"], gap["to"]) == ("1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.000Z")
    assert recovered_event("e", 1.0, size=5, sha256="00", kept_in="audit.log.torn-1")["tornBytes"] == 5

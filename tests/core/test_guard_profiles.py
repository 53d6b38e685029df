"""Which profile judges a request, and what becomes of what it finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from kalguard_core.action import Message
from kalguard_core.audit.event import events_of
from kalguard_core.codes import ErrorCode
from kalguard_core.decision import Decision
from kalguard_core.firewall import Assessment, Span
from kalguard_core.firewall.content import PhraseRule, Phrases
from kalguard_core.firewall.document import Assignment, Firewalls
from kalguard_core.firewall.profile import OnUnrewritable, Profile, RoleProfile
from kalguard_core.firewall.profiled import ProfiledFirewall
from kalguard_core.firewall.sensitive import Mode, SensitiveData, SensitivePolicy
from kalguard_core.guard import Guard, Snapshot
from kalguard_core.identity import Identity
from kalguard_core.policy import Policy
from kalguard_core.policy.values import OneOf
from kalguard_core.request import AgentRequest, BufferedBody
from kalguard_core.tools import ToolCatalog
from kalguard_core.wire.registry import PROTOCOLS
from permissive_guard import decided, guard_of

POLICY = """
rules:
  - {id: by-risk, match: {attributes: {model: watched, riskScore: {gte: 90}}}, decision: deny, reason: too risky}
  - {id: strict, match: {attributes: {model: careful}}, decision: allow, firewall: strict}
  - {id: relaxed, match: {attributes: {model: trusted}}, decision: allow, firewall: relaxed}
  - {id: gone, match: {attributes: {model: gone}}, decision: allow, firewall: nobody}
  - {id: said, match: {attributes: {model: said}}, decision: allow, firewall: asking, onUnrewritable: allow}
  - {id: asking, match: {attributes: {model: asking}}, decision: allow, firewall: asking}
  - {id: all, decision: allow}
"""
SECRET_CARD = "4111 1111 1111 1111"


class Agent:
    def authenticate(self, request: AgentRequest) -> Identity:
        agent = request.headers.get("x-agent", "agent-1")
        return Identity(agent, frozenset({"prompt:send", "llm:call"}), "", "", "", {}, None, "token")


class Detector:
    """Scores the number in "risk 60"."""

    def score(self, messages: Sequence[Message]) -> Assessment:
        spans = [
            Span(index, 0, len(message.text), "rule-x", "override", int(message.text.removeprefix("risk ")))
            for index, message in enumerate(messages)
            if message.text.startswith("risk ")
        ]
        return Assessment(max((span.weight for span in spans), default=0), tuple(spans))

    def sanitize(self, messages: Sequence[Message], assessment: Assessment) -> tuple[Message, ...]:
        guilty = {span.message for span in assessment.spans}
        return tuple(
            Message(message.role, "[gone]", message.where) if index in guilty else message
            for index, message in enumerate(messages)
        )


def profile(name: str, block: int, sanitize: int, on_unrewritable: OnUnrewritable | None = None) -> ProfiledFirewall:
    phrases = (
        PhraseRule("merger", "block", texts=("project bluebird",), message="ask the board"),
        PhraseRule("ticket", "sanitize", pattern="tkt-[0-9]+"),
        PhraseRule("greeting", "tag", texts=("hello",)),
    )
    return ProfiledFirewall(
        Profile(name, block, sanitize, on_unrewritable, roles={"tool": RoleProfile(stricter=9)}, phrases=phrases),
        _DETECTOR,
        phrases=Phrases(phrases),
        sensitive=SensitiveData(SensitivePolicy({"credit-card": {"*": Mode.BLOCK}}, profile="off"))
        if name == "strict"
        else None,
    )


_DETECTOR = Detector()


@pytest.fixture(scope="module")
def guard() -> Guard:
    profiles = [
        profile("standard", 70, 50),
        profile("strict", 40, 20),
        profile("relaxed", 90, 80),
        profile("asking", 90, 30, "require_approval"),
    ]
    firewalls = Firewalls(profiles, "standard", [Assignment("strict", agents=OneOf(("intern",)))])
    return guard_of(
        Snapshot(Agent(), Policy.parse(POLICY, "policy.yaml"), ToolCatalog.empty(), firewalls)  # type: ignore[arg-type]
    )


def a_chat(text: str, model: str, role: str = "user", *, agent: str = "agent-1", **options: Any) -> AgentRequest:
    options.setdefault("kind", "openai")
    path = {"openai": "/v1/chat/completions", "api": "/v1/prompt/check"}[options["kind"]]
    body = {"model": model, "messages": [{"role": role, "content": text}]}
    if role == "tool":
        body["messages"][0]["tool_call_id"] = "call-1"  # type: ignore[index]
    return AgentRequest(
        id="req-1",
        method="POST",
        host="h",
        path=path,
        headers={"content-type": "application/json", "x-agent": agent},
        time=1000.0,
        monotonic=1.0,
        body=BufferedBody(json.dumps(body).encode()),
        can_rewrite=options["kind"] == "api",
        **options,
    )


@pytest.mark.parametrize(
    ("text", "model", "agent", "context", "code"),
    [
        ("risk 45", "any", "agent-1", {}, None),
        ("risk 45", "any", "intern", {}, ErrorCode.PROMPT_BLOCKED),
        ("risk 45", "any", "agent-1", {"firewall": "strict"}, ErrorCode.PROMPT_BLOCKED),
        ("risk 75", "any", "intern", {"firewall": "relaxed"}, None),
        ("risk 45", "careful", "agent-1", {}, ErrorCode.PROMPT_BLOCKED),
        ("risk 45", "careful", "agent-1", {"firewall": "relaxed"}, ErrorCode.PROMPT_BLOCKED),
        ("risk 75", "trusted", "intern", {}, None),
        ("risk 75", "any", "intern", {"firewallByHost": "relaxed"}, ErrorCode.PROMPT_BLOCKED),
        ("risk 45", "any", "agent-1", {"firewallByHost": "strict"}, ErrorCode.PROMPT_BLOCKED),
        ("risk 95", "watched", "agent-1", {}, ErrorCode.POLICY_DENY),
        ("hi", "gone", "agent-1", {}, ErrorCode.POLICY_DENY),
        ("hi", "any", "agent-1", {"firewall": "nobody"}, ErrorCode.POLICY_DENY),
        ("risk 45", "asking", "agent-1", {}, ErrorCode.REQUIRE_APPROVAL),
        ("risk 45", "said", "agent-1", {}, None),
    ],
)
def test_a_rule_comes_before_a_route_and_a_route_before_what_is_assigned(
    guard: Guard, text: str, model: str, agent: str, context: dict[str, str], code: ErrorCode | None
) -> None:
    assert decided(a_chat(text, model, agent=agent, context=context), guard).code is code


LEAKY = ("rule-x", "merger", "ticket", "strict", "standard", "riskScore", "spans", "phrase:", "sensitive:", "4111")


@pytest.mark.parametrize(
    ("text", "model", "role", "reason"),
    [
        ("risk 83", "any", "user", "prompt blocked: looks like prompt injection"),
        ("risk 63", "any", "tool", "prompt blocked: looks like prompt injection"),
        (
            "risk 53",
            "any",
            "user",
            "prompt blocked: it would have to be rewritten, which this enforcement point cannot do",
        ),
        (
            "tkt-123",
            "any",
            "user",
            "prompt blocked: it would have to be rewritten, which this enforcement point cannot do",
        ),
        ("about project bluebird", "any", "user", "prompt blocked: ask the board"),
        (SECRET_CARD, "careful", "user", "prompt blocked: it holds data that must not be sent"),
    ],
)
def test_an_agent_behind_the_mesh_gets_the_reason_alone(
    guard: Guard, text: str, model: str, role: str, reason: str
) -> None:
    asked = a_chat(text, model, role)
    decision = decided(asked, guard)
    reply = PROTOCOLS["openai"].reply(asked, decision)
    told = reply.body.decode() + json.dumps(dict(reply.headers))
    assert decision.code is ErrorCode.PROMPT_BLOCKED
    assert decision.reason == reason
    assert reason in told
    assert not [word for word in (*LEAKY, text.removeprefix("risk ")) if word in told]


def events(request: AgentRequest, decision: Decision) -> list[dict[str, Any]]:
    return events_of(request, decision, event_ids=lambda: "id", transport="grpc", latency_us=1)


def test_the_audit_says_what_was_found_by_id_and_never_the_text(guard: Guard) -> None:
    asked = a_chat(f"hello, {SECRET_CARD} and project bluebird", "careful")
    (event,) = events(asked, decided(asked, guard))
    assert event["firewall"] == "strict"
    assert event["rules"] == ["sensitive:credit-card", "phrase:merger"]
    assert event["categories"] == ["sensitive", "content"]
    assert event["tags"] == ["sensitive:credit-card", "phrase:greeting"]
    assert event["risk"] == 0
    assert "4111" not in json.dumps(event)
    assert "bluebird" not in json.dumps(event)


def test_a_prompt_in_which_nothing_was_found_has_no_such_fields(guard: Guard) -> None:
    asked = a_chat("What is the weather?", "any")
    (event,) = events(asked, decided(asked, guard))
    assert not {"firewall", "rules", "categories", "tags"} & event.keys()


def test_the_check_api_hands_the_text_back_without_what_must_go(guard: Guard) -> None:
    asked = a_chat("see tkt-123, please", "any", kind="api")
    decision = decided(asked, guard)
    told = json.loads(PROTOCOLS["api"].reply(asked, decision).body)
    assert told["data"]["sanitizedMessages"] == [{"role": "user", "content": "see [REDACTED:phrase], please"}]
    assert (told["data"]["riskScore"], told["data"]["riskLevel"]) == (0, "low")
    assert set(told["data"]) == {"allowed", "riskScore", "riskLevel", "sanitizedMessages"}

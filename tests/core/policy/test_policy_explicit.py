"""Actions that only a rule which names them can allow."""

from __future__ import annotations

import pytest

from kalguard_core.action import must_be_named
from kalguard_core.codes import Outcome
from kalguard_core.policy import Policy, PolicyQuery, explain
from wire_support import read, request


def answer(rules: str, query: PolicyQuery, default: str = "deny") -> Outcome:
    match = Policy.parse(f"defaultDecision: {default}\nrules: {rules}", "policy.yaml").evaluate(query, 0)
    assert match is not None
    return match.outcome


REFERENCE = PolicyQuery("agent-1", "content:reference", "file:f-1", explicit=True)
HOSTED = PolicyQuery("agent-1", "tool:execute", "hosted:web_search", "hosted:web_search", explicit=True)


@pytest.mark.parametrize(
    ("match", "allowed"),
    [
        ("{}", False),
        ("{agentIds: [agent-1]}", False),
        ("{actions: ['*']}", False),
        ("{actions: ['**', 'prompt:check']}", False),
        ("{resources: ['file:*']}", False),
        ("{actions: ['content:*']}", True),
        ("{actions: ['content:reference'], agentIds: [agent-1]}", True),
        ("{actions: ['content:reference'], agentIds: [agent-2]}", False),
    ],
)
def test_only_a_rule_that_names_the_action_allows_it(match: str, allowed: bool) -> None:
    assert (answer(f"[{{match: {match}, decision: allow}}]", REFERENCE) is Outcome.ALLOW) is allowed


@pytest.mark.parametrize(
    ("match", "allowed"),
    [
        ("{actions: ['tool:execute']}", False),
        ("{tools: ['*']}", False),
        ("{tools: ['hosted:*']}", True),
        ("{tools: [hosted:web_search], actions: ['tool:execute']}", True),
    ],
)
def test_a_hosted_tool_is_named_by_its_own_name(match: str, allowed: bool) -> None:
    assert (answer(f"[{{match: {match}, decision: allow}}]", HOSTED) is Outcome.ALLOW) is allowed


def test_an_earlier_deny_wins_whatever_it_is_about() -> None:
    rules = "[{match: {agentIds: [agent-1]}, decision: deny}, {match: {actions: ['content:*']}, decision: allow}]"
    assert answer(rules, REFERENCE) is Outcome.DENY


def test_a_rule_that_names_it_may_come_after_one_that_does_not() -> None:
    rules = "[{match: {}, decision: allow}, {match: {actions: ['content:*']}, decision: require_approval}]"
    assert answer(rules, REFERENCE) is Outcome.REQUIRE_APPROVAL


def test_a_default_allows_nothing_that_must_be_named() -> None:
    assert answer("[]", REFERENCE, default="allow") is Outcome.DENY
    assert answer("[]", HOSTED, default="allow") is Outcome.DENY
    assert answer("[]", PolicyQuery("agent-1", "prompt:check"), default="allow") is Outcome.ALLOW


def test_an_attribute_with_several_values_is_matched_by_any_of_them() -> None:
    query = PolicyQuery("agent-1", "prompt:check", attributes={"urlHosts": ("cdn.example", "evil.example")})
    rules = "[{match: {attributes: {urlHosts: 'evil.*'}}, decision: deny}, {match: {}, decision: allow}]"
    assert answer(rules, query) is Outcome.DENY
    other = PolicyQuery("agent-1", "prompt:check", attributes={"urlHosts": ("cdn.example",)})
    assert answer(rules, other) is Outcome.ALLOW


@pytest.mark.parametrize("default", ["allow", "deny"])
def test_the_reason_says_that_a_rule_has_to_name_it(default: str) -> None:
    policy = Policy.parse(f"defaultDecision: {default}\nrules: [{{id: all, decision: allow}}]", "policy.yaml")
    for query, what in ((REFERENCE, "content:reference"), (HOSTED, "tool 'hosted:web_search'")):
        match = policy.evaluate(query, 0)
        assert match is not None
        assert match.reason.endswith(f"no rule that names {what} matches")
        assert match.reason.startswith("default policy: ") == (default == "deny")
        explained = explain(policy, query, 0)
        assert explained.match == match
        assert [trial.unnamed for trial in explained.trials] == [True]


def test_asking_without_a_request_knows_what_readers_want_named() -> None:
    ask = {"model": "m", "previous_response_id": "resp_1", "tools": [{"type": "web_search"}]}
    image = {"type": "input_image", "image_url": "https://cdn.example/a.png"}
    push = {"taskId": "t", "url": "https://me.example/hook"}
    requests = [
        (request("openai", "/v1/responses"), ask | {"input": [{"role": "user", "content": [image]}]}),
        (request("openai", "/v1/realtime/client_secrets"), {"session": {"type": "realtime"}}),
        (request("openai", "/v1/files", method="GET", headers={}), b""),
        (request("a2a", "/tasks/t/pushNotificationConfigs"), push),
        (request("proxy", "", method="CONNECT", host="10.0.0.1:443", headers={}), b""),
    ]
    actions = [action for asked, body in requests for action in read(asked, body).actions]
    assert len({action.name for action in actions if action.explicit}) == 7
    for action in actions:
        assert must_be_named(action.name, action.tool) == action.explicit, action.name

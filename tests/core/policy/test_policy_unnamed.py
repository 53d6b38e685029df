"""Rules that don't name what must be named: they allow nothing of it, but are not passed over where they refuse."""

from __future__ import annotations

import pytest

from kalguard_core.codes import Outcome
from kalguard_core.policy import Policy, PolicyQuery, warnings

REFERENCE = PolicyQuery("agent-1", "content:reference", "file:f-1", explicit=True)


def policy(rules: str) -> Policy:
    return Policy.parse(f"rules: {rules}", "policy.yaml")


def test_an_earlier_wish_for_approval_is_heard() -> None:
    rules = "[{match: {}, decision: require_approval}, {match: {actions: ['content:*']}, decision: allow}]"
    match = policy(rules).evaluate(REFERENCE, 0)
    assert match is not None
    assert match.outcome is Outcome.REQUIRE_APPROVAL


@pytest.mark.parametrize(
    ("match", "decision", "warned"),
    [
        ("actions: ['content:*']", "allow", False),
        ("tools: ['hosted:*']", "allow", False),
        ("tools: ['h*']", "allow", False),
        ("tools: ['*']", "allow", True),
        ("tools: [search]", "allow", True),
        ("actions: ['tool:execute']", "allow", True),
        ("actions: ['tool:execute']", "deny", True),
    ],
)
def test_a_rule_is_not_called_idle_that_allows_what_only_it_names(match: str, decision: str, warned: bool) -> None:
    rules = (
        f"[{{match: {{agentIds: [a]}}, decision: allow}}, {{match: {{agentIds: [a], {match}}}, decision: {decision}}}]"
    )
    assert any("never matches" in warning.text for warning in warnings(policy(rules))) is warned

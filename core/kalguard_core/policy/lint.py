"""What is allowed in a policy, but probably not meant."""

from __future__ import annotations

from dataclasses import dataclass

from ..action import HOSTED, MUST_BE_NAMED
from ..codes import Outcome
from .conditions import Condition
from .policy import Policy
from .rule import Rule
from .values import OneOf


@dataclass(frozen=True, slots=True)
class PolicyWarning:
    """Something to look at. `rule`: id, None for the default. `line`: 1-based."""

    line: int
    rule: str | None
    text: str


def warnings(policy: Policy) -> tuple[PolicyWarning, ...]:
    """All that is suspicious in `policy`, in order of its lines."""
    found = []
    for number, rule in enumerate(policy.rules):
        shadow = policy.shadow_of(number)
        if shadow is not None and not _is_left(rule, shadow):
            text = f"never matches: rule {shadow.id!r} in line {shadow.line} matches all that it could"
            found.append(PolicyWarning(rule.line, rule.id, text))
        if rule.match.outcome is Outcome.ALLOW and not rule.conditions:
            found.append(PolicyWarning(rule.line, rule.id, "allows every action of every agent: it has no conditions"))
    if policy.default.outcome is Outcome.ALLOW:
        found.append(
            PolicyWarning(policy.default_line, None, "what no rule mentions is allowed (defaultDecision: allow)")
        )
    return tuple(sorted(found, key=lambda warning: warning.line))


def _is_left(rule: Rule, shadow: Rule) -> bool:
    """Whether `rule` allows what `shadow` can't, since it does not name it (`PolicyQuery.explicit`)."""
    return rule.match.outcome is shadow.match.outcome is Outcome.ALLOW and any(
        rule.names(key) and not shadow.names(key) and may_want(rule.conditions)
        for key, may_want in (("actions", _may_want_action), ("tools", _may_want_tool))
    )


def _may_want_action(conditions: tuple[Condition, ...]) -> bool:
    """Whether an action that must be named may be among those that are wanted."""
    return any(
        condition.test.matches(name) for condition in conditions if condition.key == "actions" for name in MUST_BE_NAMED
    )


def _may_want_tool(conditions: tuple[Condition, ...]) -> bool:
    """Whether a tool that a vendor runs may be among those that are wanted."""
    tests = [condition.test for condition in conditions if condition.key == "tools"]
    return any(
        any(str(name).startswith(HOSTED) for name in test.exact)
        or any(pattern.start.startswith(HOSTED) or HOSTED.startswith(pattern.start) for pattern in test.patterns)
        for test in tests
        if isinstance(test, OneOf)
    )

"""What is allowed in a policy, but probably not meant."""

from __future__ import annotations

from dataclasses import dataclass

from ..codes import Outcome
from .policy import Policy
from .rule import Rule


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
        rule.names(key) and not shadow.names(key) for key in ("actions", "tools")
    )

"""Why a policy answers what it answers: the rules up to the one that decides, with what each of them missed.

This asks every condition by itself, so it is slow, and a second witness of what `Policy.evaluate` does with sets.
"""

from __future__ import annotations

from dataclasses import dataclass

from .conditions import MATCH_KEYS, Condition
from .conditions.attributes import risk_facts
from .policy import Policy
from .query import Match, PolicyQuery, Risk
from .rule import Rule


@dataclass(frozen=True, slots=True)
class Miss:
    """A condition that did not hold. `found`: what the query had there; empty if nothing."""

    condition: Condition
    found: tuple[object, ...]

    def __str__(self) -> str:
        found = ", ".join(repr(value) for value in self.found if value is not None) or "nothing"
        return f"{self.condition.field} must be {self.condition.test}, found {found}"


@dataclass(frozen=True, slots=True)
class Trial:
    """One rule asked about the query: it matches if nothing was missed.

    `unnamed`: it does not count, since it does not name what a rule has to name (`PolicyQuery.explicit`).
    """

    rule: Rule
    missed: tuple[Miss, ...]
    unnamed: bool = False

    @property
    def matches(self) -> bool:
        """Whether the rule decides, if none before it did."""
        return not self.missed and not self.unnamed


@dataclass(frozen=True, slots=True)
class Explanation:
    """`match`: the answer, None if it depends on a risk that was not given. `trials`: the rules asked, in order.

    The last trial is that of the rule which decides (or needs the risk), unless the default decided.
    """

    match: Match | None
    trials: tuple[Trial, ...]


def explain(policy: Policy, query: PolicyQuery, risk: Risk | int | None) -> Explanation:
    """Ask each rule in turn until one decides."""
    trials: list[Trial] = []
    for rule in policy.rules:
        missed = tuple(
            Miss(condition, found)
            for condition in rule.conditions
            if not _holds(condition, found := _found(condition, query, risk), risk)
        )
        trial = Trial(rule, missed, unnamed=not policy.may_decide(len(trials), query))
        trials.append(trial)
        if trial.matches:
            match = None if rule.asks_risk and risk is None else rule.match
            return Explanation(match, tuple(trials))
    return Explanation(policy.otherwise(query), tuple(trials))


def _holds(condition: Condition, found: tuple[object, ...], risk: Risk | int | None) -> bool:
    if condition.asks_risk and risk is None:
        return True  # not yet known to fail
    return any(condition.test.matches(value) for value in found)


def _found(condition: Condition, query: PolicyQuery, risk: Risk | int | None) -> tuple[object, ...]:
    if condition.asks_risk:
        return () if risk is None or condition.name is None else (risk_facts(risk)[condition.name],)
    return tuple(MATCH_KEYS[condition.key].values(query, condition.name))

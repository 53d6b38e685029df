"""The policy: rules in order, the first that matches decides, and a default that denies.

Rules of this file: a policy is read whole or not at all, and never changes afterwards. Evaluating one never raises,
whatever an agent put into the query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from ..codes import Outcome
from ..documents import Document, Place, load
from .conditions import MATCH_KEYS, Condition, KeyIndex
from .conditions.attributes import risk_facts
from .conditions.base import tests_by_name
from .index import NamedIndex
from .query import Match, PolicyQuery, Risk
from .rule import PolicyDocument, Rule, read_rule
from .values import Test

_VERSION_DIGITS: Final = 12


class Policy:
    """Rules and a default. Make one with `parse`."""

    def __init__(self, rules: tuple[Rule, ...], default: Match, version: str, default_line: int = 1) -> None:
        self.rules: Final = rules
        self.default: Final = default
        self.default_line: Final = default_line
        self.version: Final = version
        """First 12 hex digits of the SHA-256 of the text."""
        self.firewalls: Final = {rule.match.firewall: rule.line for rule in reversed(rules) if rule.match.firewall}
        """Names of the firewall profiles that rules ask for, and the line of the first rule that does."""
        self._all = (1 << len(rules)) - 1
        self._answers = [rule.match for rule in rules]
        self._by_key = _indexes(rules)
        self._indexes = tuple(self._by_key.values())
        self._risk = _risk_index(rules)
        self._asking_risk = self._all & ~self._risk.asking_only_for(frozenset())
        self._naming_actions = _rules_where(rules, lambda rule: _refuses(rule) or rule.names("actions"))
        self._naming_tools = _rules_where(rules, lambda rule: _refuses(rule) or rule.names("tools"))

    @classmethod
    def parse(cls, text: str, source: str, *, default: Outcome = Outcome.DENY) -> Policy:
        """Read a policy in YAML or JSON. Raises `DocumentError`: `source:line: field: problem`.

        `default` is what a document without `defaultDecision` gets.
        """
        content, document = load(PolicyDocument, text, source)
        rules = tuple(
            read_rule(rule, number, Place(document, ("rules", number))) for number, rule in enumerate(content.rules)
        )
        _refuse_twins(rules, document)
        if "default_decision" in content.model_fields_set:
            default = Outcome(content.default_decision)
        otherwise = Match(default, None, content.default_reason)
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        return cls(rules, otherwise, digest[:_VERSION_DIGITS], document.line(("defaultDecision",)))

    def evaluate(self, query: PolicyQuery, risk: Risk | int | None) -> Match | None:
        """What the first matching rule says, else the default.

        None exactly when the answer depends on what the firewall finds and `risk` (a number is a score, 0-100, of
        what has no name) is None: score once, and ask again.
        """
        candidates = self._all
        if query.explicit:
            candidates = self._naming_actions if query.tool is None else self._naming_tools
        for index in self._indexes:
            candidates &= index.wanting(query)
        if self._asking_risk and risk is not None:
            candidates &= self._risk.wanting(risk_facts(risk))
        if not candidates:
            return self.otherwise(query)
        first = candidates & -candidates
        if risk is None and first & self._asking_risk:
            return None
        return self._answers[first.bit_length() - 1]

    def may_decide(self, number: int, query: PolicyQuery) -> bool:
        """Whether rule `number` counts for this query at all: one that names the action, or refuses, if it must."""
        if not query.explicit:
            return True
        naming = self._naming_actions if query.tool is None else self._naming_tools
        return bool(naming >> number & 1)

    def otherwise(self, query: PolicyQuery) -> Match:
        """What no rule has decided: the default, but never an allow of what a rule has to name."""
        if not query.explicit:
            return self.default
        what = query.action if query.tool is None else f"tool {query.tool[:64]!a}"
        before = f"{self.default.reason}: " if self.default.outcome is Outcome.DENY else ""
        return Match(Outcome.DENY, None, f"{before}no rule that names {what} matches")

    def shadow_of(self, number: int) -> Rule | None:
        """An earlier rule that matches whatever rule `number` could match, if one can be told."""
        rule = self.rules[number]
        covering = (1 << number) - 1
        for key, index in self._by_key.items():
            covering &= index.covering(_under(rule, key))
        covering &= self._risk.covering(_risk_tests(rule))
        if not covering:
            return None
        return self.rules[(covering & -covering).bit_length() - 1]


def _refuses(rule: Rule) -> bool:
    # What it does not name, a rule can't allow; passing over one that wants an approval would allow it, though.
    return rule.match.outcome is not Outcome.ALLOW


def _rules_where(rules: tuple[Rule, ...], holds: Callable[[Rule], bool]) -> int:
    return sum(1 << number for number, rule in enumerate(rules) if holds(rule))


def _under(rule: Rule, key: str) -> tuple[Condition, ...]:
    return tuple(c for c in rule.conditions if c.key == key and not c.asks_risk)


def _indexes(rules: tuple[Rule, ...]) -> dict[str, KeyIndex]:
    """An index for each match key that some rule uses."""
    indexes = {}
    for name, key in MATCH_KEYS.items():
        conditions = {number: found for number, rule in enumerate(rules) if (found := _under(rule, name))}
        if conditions:
            indexes[name] = key.index(conditions, len(rules))
    return indexes


def _risk_index(rules: tuple[Rule, ...]) -> NamedIndex:
    return NamedIndex({number: _risk_tests(rule) for number, rule in enumerate(rules)}, len(rules))


def _risk_tests(rule: Rule) -> dict[str, Test]:
    return tests_by_name(tuple(condition for condition in rule.conditions if condition.asks_risk))


def _refuse_twins(rules: tuple[Rule, ...], document: Document) -> None:
    """Two rules with one id could not be told apart in the audit log."""
    seen: dict[str, Rule] = {}
    for number, rule in enumerate(rules):
        first = seen.setdefault(rule.id, rule)
        if first is not rule:
            raise document.error(
                ("rules", number, "id"), f"the id {rule.id!r} is already that of the rule in line {first.line}"
            )

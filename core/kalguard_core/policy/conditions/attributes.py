"""What a rule wants of an action's attributes: model, toolName, messageCount, …, and the risk of its text.

Rule of this file: `riskScore`, `riskCategories` and `riskTags` are what the firewall found and nothing else. They are
asked for only when a rule needs them, and attributes of these names in the query, which an agent may have written,
are never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Final

from ...action import Scalar
from ...documents import Place
from ..index import NamedIndex
from ..query import PolicyQuery, Risk
from ..values import OneOf, Range, Test, read_value
from .base import Condition, KeyIndex, NamedValuesIndex, read_named, tests_by_name

RISK_ATTRIBUTE: Final = "riskScore"
_FOUND: Final = ("riskCategories", "riskTags")


def risk_facts(risk: Risk | int) -> dict[str, object]:
    """What conditions that ask for the risk are asked about."""
    if isinstance(risk, int):
        risk = Risk(risk)
    return {RISK_ATTRIBUTE: risk.score, "riskCategories": risk.categories, "riskTags": risk.tags}


class _Attributes:
    name = "attributes"

    def read(self, value: object, place: Place) -> tuple[Condition, ...]:
        return tuple(
            Condition(
                self.name, _read_test(name, wanted, where), name, asks_risk=name == RISK_ATTRIBUTE or name in _FOUND
            )
            for name, wanted, where in read_named(value, place, self.name)
        )

    def values(self, query: PolicyQuery, name: str | None) -> Iterator[object]:
        if name is not None and name in query.attributes:
            yield query.attributes[name]

    def index(self, conditions: Mapping[int, tuple[Condition, ...]], rules: int) -> KeyIndex:
        tests = {rule: tests_by_name(of_rule) for rule, of_rule in conditions.items()}
        return NamedValuesIndex(attrgetter("attributes"), NamedIndex(tests, rules))


def _read_test(name: str, wanted: object, where: Place) -> Test:
    test = read_value(wanted, where)
    if name in _FOUND and (isinstance(test, Range) or not all(isinstance(value, str) for value in test.exact)):
        raise where.error("these are names: one text, or a list of texts")
    if name != RISK_ATTRIBUTE:
        return test
    bounds = (test.low, test.high) if isinstance(test, Range) else test.exact
    if (isinstance(test, OneOf) and test.patterns) or not all(_is_risk(bound) for bound in bounds):
        raise where.error("the risk is a number from 0 to 100: compare it with {gte: 50}, or name numbers")
    return test


def _is_risk(bound: Scalar) -> bool:
    if isinstance(bound, str | bool):
        return False
    return 0 <= bound <= 100 or math.isinf(bound)  # infinite: no bound on that side


ATTRIBUTES: Final = _Attributes()

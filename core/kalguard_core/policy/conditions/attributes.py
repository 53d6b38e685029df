"""What a rule wants of an action's attributes: model, toolName, messageCount, …, and the risk of its text.

Rule of this file: `riskScore` is the firewall's number and nothing else. It is asked for only when a rule needs it,
and an attribute of that name in the query, which an agent may have written, is never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Final

from ...action import Scalar
from ...documents import Place
from ..index import NamedIndex
from ..query import PolicyQuery
from ..values import OneOf, Range, Test, read_value
from .base import Condition, KeyIndex, NamedValuesIndex, read_named, tests_by_name

RISK_ATTRIBUTE: Final = "riskScore"


class _Attributes:
    name = "attributes"

    def read(self, value: object, place: Place) -> tuple[Condition, ...]:
        return tuple(
            Condition(self.name, _read_test(name, wanted, where), name, asks_risk=name == RISK_ATTRIBUTE)
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

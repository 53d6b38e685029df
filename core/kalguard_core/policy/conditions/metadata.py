"""What a rule wants of the token's `metadata` claim. Of a list in the token, one element must be wanted.

Only the claim's own keys are looked at: a dot in a name is a dot, and nothing inside a nested object matches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Final

from ...documents import Place
from ..index import NamedIndex
from ..query import PolicyQuery
from ..values import read_value
from .base import Condition, KeyIndex, NamedValuesIndex, read_named, tests_by_name


class _Metadata:
    name = "metadata"

    def read(self, value: object, place: Place) -> tuple[Condition, ...]:
        return tuple(
            Condition(self.name, read_value(wanted, where), name)
            for name, wanted, where in read_named(value, place, self.name)
        )

    def values(self, query: PolicyQuery, name: str | None) -> Iterator[object]:
        if name is None or name not in query.metadata:
            return
        value = query.metadata[name]
        if isinstance(value, list):
            yield from value
        else:
            yield value

    def index(self, conditions: Mapping[int, tuple[Condition, ...]], rules: int) -> KeyIndex:
        tests = {rule: tests_by_name(of_rule) for rule, of_rule in conditions.items()}
        return NamedValuesIndex(attrgetter("metadata"), NamedIndex(tests, rules, lists=True))


METADATA: Final = _Metadata()

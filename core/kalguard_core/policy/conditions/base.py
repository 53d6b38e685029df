"""The interface of a match key: what a rule may say under `match`, and how it is looked up.

A new match key is one file here and one line in `registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ...documents import Place, kind_of
from ..index import NamedIndex, ValueIndex
from ..query import PolicyQuery
from ..values import Test, read_texts


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a rule wants: `test` of the value under `key` (and `name`, for attributes and metadata).

    `asks_risk`: the value is the firewall's score, which is not known before somebody asks for it.
    """

    key: str
    test: Test
    name: str | None = None
    asks_risk: bool = False

    @property
    def field(self) -> str:
        """What the condition is about, as in the document: `tools`, `attributes.model`."""
        return self.key if self.name is None else f"{self.key}.{self.name}"


class KeyIndex(Protocol):
    """All conditions of a policy under one key."""

    def wanting(self, query: PolicyQuery) -> int:
        """The rules (one bit each) whose conditions under this key hold, and those that have none."""
        ...

    def covering(self, conditions: tuple[Condition, ...]) -> int:
        """The rules that, under this key, want whatever `conditions` want, as far as can be told."""
        ...


class MatchKey(Protocol):
    """One key of `match`. Implementations hold no state."""

    @property
    def name(self) -> str:
        """The key, as in the document."""
        ...

    def read(self, value: object, place: Place) -> tuple[Condition, ...]:
        """The conditions in the document's `value`, at least one. Raises `DocumentError`."""
        ...

    def values(self, query: PolicyQuery, name: str | None) -> Iterator[object]:
        """What the query has to offer for a condition; it holds if its test wants one of these."""
        ...

    def index(self, conditions: Mapping[int, tuple[Condition, ...]], rules: int) -> KeyIndex:
        """The conditions, by number of their rule, of a policy of so many rules."""
        ...


@dataclass(frozen=True, slots=True)
class TextKey:
    """A key that lists texts with wildcards, about one text of the query. None there matches nothing."""

    name: str
    value_of: Callable[[PolicyQuery], str | None]

    def read(self, value: object, place: Place) -> tuple[Condition, ...]:
        return (Condition(self.name, read_texts(value, place)),)

    def values(self, query: PolicyQuery, name: str | None) -> Iterator[object]:
        yield self.value_of(query)

    def index(self, conditions: Mapping[int, tuple[Condition, ...]], rules: int) -> KeyIndex:
        tests = {rule: condition.test for rule, (condition,) in conditions.items()}
        return _TextIndex(self.value_of, ValueIndex(tests, rules))


@dataclass(frozen=True, slots=True)
class _TextIndex:
    value_of: Callable[[PolicyQuery], str | None]
    texts: ValueIndex

    def wanting(self, query: PolicyQuery) -> int:
        return self.texts.wanting(self.value_of(query))

    def covering(self, conditions: tuple[Condition, ...]) -> int:
        return self.texts.covering(conditions[0].test) if conditions else self.texts.others


@dataclass(frozen=True, slots=True)
class NamedValuesIndex:
    """Index of a key that holds named values."""

    values_of: Callable[[PolicyQuery], Mapping[str, object]]
    named: NamedIndex

    def wanting(self, query: PolicyQuery) -> int:
        """See `KeyIndex`."""
        return self.named.wanting(self.values_of(query))

    def covering(self, conditions: tuple[Condition, ...]) -> int:
        """See `KeyIndex`."""
        return self.named.covering(tests_by_name(conditions))


def tests_by_name(conditions: tuple[Condition, ...]) -> dict[str, Test]:
    """The tests of named conditions."""
    return {condition.name: condition.test for condition in conditions if condition.name is not None}


def read_named(value: object, place: Place, key: str) -> Iterator[tuple[str, object, Place]]:
    """The entries of a mapping of named values. Raises `DocumentError` if it is none, or empty."""
    if not isinstance(value, dict):
        raise place.error(f"must be a mapping from names to values, found {kind_of(value)}")
    if not value:
        raise place.error(f"the mapping is empty: name {key}, or remove the key")
    for name, wanted in value.items():
        yield name, wanted, place.at(name)

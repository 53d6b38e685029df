"""From a value to the rules that want it, without asking each rule.

A set of rules is an int with one bit a rule, the first rule lowest: sets are cut with `&`, and the lowest bit that
is left is the rule that wins. 1,000 rules are 17 machine words, so a cut costs some 40 ns.

Rule of this file: an agent chooses the values. What is remembered about them is bounded in number and length.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Final

from .values import Range, Test
from .wildcard import Pattern

_REMEMBERED_VALUES: Final = 256
_REMEMBERED_LENGTH: Final = 256
_TRUE: Final = (True,)
_FALSE: Final = (False,)


def _key(value: object) -> object:
    """Dictionary key of a scalar: `true` and 1 are equal in Python, but not in a policy."""
    if value is True:
        return _TRUE
    if value is False:
        return _FALSE
    return value


class ValueIndex:
    """The tests that rules make of one value. `tests`: by number of the rule; `rules`: how many rules there are."""

    __slots__ = ("_affixes", "_exact", "_memo", "_ranges", "others")

    def __init__(self, tests: Mapping[int, Test], rules: int) -> None:
        self.others = (1 << rules) - 1
        """Rules that don't care about this value."""
        exact: dict[object, int] = {}
        patterns: dict[Pattern, int] = {}
        ranges: dict[int, Range] = {}
        for rule, test in tests.items():
            bit = 1 << rule
            self.others &= ~bit
            if isinstance(test, Range):
                ranges[rule] = test
                continue
            for value in test.exact:
                exact[_key(value)] = exact.get(_key(value), 0) | bit
            for pattern in test.patterns:
                patterns[pattern] = patterns.get(pattern, 0) | bit
        self._exact = {value: mask | self.others for value, mask in exact.items()}
        self._affixes = _Affixes(patterns) if patterns else None
        self._ranges = _Ranges(ranges) if ranges else None
        self._memo: dict[str, int] = {}

    def wanting(self, value: object) -> int:
        """The rules that want `value`, and those that don't care."""
        if isinstance(value, str):
            if self._affixes is None:
                return self._exact.get(value, self.others)
            known = self._memo.get(value)
            return self._match(value, self._affixes) if known is None else known
        if isinstance(value, tuple):
            return reduce(or_, map(self.wanting, value), self.others)
        if not isinstance(value, int | float):
            return self.others
        mask = self._exact.get(_key(value), self.others)
        if self._ranges is None or isinstance(value, bool):
            return mask
        return mask | self._ranges.holding(value)

    def covering(self, test: Test) -> int:
        """The rules that want every value that `test` wants, as far as can be told, and those that don't care.

        A pattern asked for as if it were a value is matched by a wider pattern only: an asterisk in it can
        only fall into an asterisk, and what that may stand for is then free.
        """
        if isinstance(test, Range):
            return self.others | (self._ranges.containing(test) if self._ranges else 0)
        mask = -1
        for value in (*test.exact, *(pattern.text for pattern in test.patterns)):
            mask &= self.wanting(value)
        return mask

    def _match(self, value: str, affixes: _Affixes) -> int:
        mask = self._exact.get(value, self.others) | affixes.matching(value)
        if len(value) <= _REMEMBERED_LENGTH:
            if len(self._memo) >= _REMEMBERED_VALUES:
                self._memo.clear()
            self._memo[value] = mask
        return mask


class _Affixes:
    """Patterns by their literal start, else by their literal end: a value meets only those that can fit."""

    __slots__ = ("_ends", "_starts", "_unfixed")

    def __init__(self, patterns: Mapping[Pattern, int]) -> None:
        starts: dict[str, dict[Pattern, int]] = {}
        ends: dict[str, dict[Pattern, int]] = {}
        unfixed: dict[Pattern, int] = {}
        for pattern, mask in patterns.items():
            if pattern.start:
                starts.setdefault(pattern.start, {})[pattern] = mask
            elif pattern.end:
                ends.setdefault(pattern.end, {})[pattern] = mask
            else:
                unfixed[pattern] = mask
        self._starts = _by_length(starts)
        self._ends = _by_length(ends)
        self._unfixed = _Bucket(unfixed)

    def matching(self, value: str) -> int:
        mask = self._unfixed.matching(value)
        for length, buckets in self._starts:
            if length > len(value):
                break
            bucket = buckets.get(value[:length])
            if bucket is not None:
                mask |= bucket.matching(value)
        for length, buckets in self._ends:
            if length > len(value):
                break
            bucket = buckets.get(value[-length:])
            if bucket is not None:
                mask |= bucket.matching(value)
        return mask


class _Bucket:
    """Patterns with one start or end. Those that have nothing else to check are one mask.

    Of the others, the longest piece is searched first: most patterns fail there, at a tenth of the cost.
    """

    __slots__ = ("_others", "_sure")

    def __init__(self, patterns: Mapping[Pattern, int]) -> None:
        self._sure = 0
        self._others: list[tuple[str, Pattern, int]] = []
        for pattern, mask in patterns.items():
            if pattern.middle or (pattern.start and pattern.end):
                piece = max((*pattern.middle, pattern.end), key=len)
                self._others.append((piece, pattern, mask))
            else:
                self._sure |= mask

    def matching(self, value: str) -> int:
        mask = self._sure
        for piece, pattern, rules in self._others:
            if piece in value and pattern.matches(value):
                mask |= rules
        return mask


def _by_length(groups: Mapping[str, Mapping[Pattern, int]]) -> list[tuple[int, dict[str, _Bucket]]]:
    """The groups by the length of their literal, shortest first."""
    lengths: dict[int, dict[str, _Bucket]] = {}
    for literal, patterns in groups.items():
        lengths.setdefault(len(literal), {})[literal] = _Bucket(patterns)
    return sorted(lengths.items())


class _Ranges:
    """Ranges by their bounds: two binary searches find the rules whose range holds a number.

    A lower bound is `(number, open)`, an upper one `(number, closed)`: so they sort by how tight they are.
    """

    __slots__ = ("_above", "_below", "_highs", "_lows")

    def __init__(self, ranges: Mapping[int, Range]) -> None:
        lows = sorted((test.low, test.low_open, rule) for rule, test in ranges.items())
        highs = sorted((test.high, not test.high_open, rule) for rule, test in ranges.items())
        self._lows = [(low, is_open) for low, is_open, _ in lows]
        self._highs = [(high, closed) for high, closed, _ in highs]
        # _above[n]: the rules of the n lowest lower bounds; _below[n]: all but the n lowest upper bounds.
        self._above = _unions(rule for *_, rule in lows)
        self._below = _unions(rule for *_, rule in reversed(highs))[::-1]

    def holding(self, value: float) -> int:
        """The rules whose range holds `value`."""
        if value != value:  # NaN is in no range, and can't be searched for
            return 0
        above = self._above[bisect_right(self._lows, (value, False))]
        return above & self._below[bisect_left(self._highs, (value, True))]

    def containing(self, test: Range) -> int:
        """The rules whose range contains all of `test`."""
        above = self._above[bisect_right(self._lows, (test.low, test.low_open))]
        return above & self._below[bisect_left(self._highs, (test.high, not test.high_open))]


def _unions(rules: Iterable[int]) -> list[int]:
    """Running unions of single rules, the empty set first."""
    unions = [0]
    for rule in rules:
        unions.append(unions[-1] | 1 << rule)
    return unions


class NamedIndex:
    """The tests that rules make of named values (attributes, metadata).

    `lists`: a value may be a list, of which one element must be wanted.
    """

    __slots__ = ("_by_name", "_lists", "_memo", "_shapes")

    def __init__(self, tests: Mapping[int, Mapping[str, Test]], rules: int, *, lists: bool = False) -> None:
        self._lists = lists
        by_name: dict[str, dict[int, Test]] = {}
        shapes: dict[frozenset[str], int] = {}
        for rule in range(rules):
            named = tests.get(rule, {})
            shapes[frozenset(named)] = shapes.get(frozenset(named), 0) | 1 << rule
            for name, test in named.items():
                by_name.setdefault(name, {})[rule] = test
        self._by_name = {name: ValueIndex(by_rule, rules) for name, by_rule in by_name.items()}
        self._shapes = shapes
        self._memo: dict[frozenset[str], int] = {}

    def wanting(self, values: Mapping[str, object]) -> int:
        """The rules whose names are all in `values` with a value that they want."""
        names = frozenset(self._by_name.keys() & values.keys())
        mask = self.asking_only_for(names)
        for name in names:
            value = values[name]
            if self._lists and isinstance(value, list):
                mask &= self._wanting_any(name, value)
            else:
                mask &= self._by_name[name].wanting(value)
        return mask

    def _wanting_any(self, name: str, values: list[object]) -> int:
        index = self._by_name[name]
        mask = index.others
        for value in values:
            mask |= index.wanting(value)
        return mask

    def covering(self, tests: Mapping[str, Test]) -> int:
        """The rules that want whatever `tests` want, as far as can be told."""
        mask = self.asking_only_for(frozenset(tests))
        for name, test in tests.items():
            mask &= self._by_name[name].covering(test)
        return mask

    def asking_only_for(self, names: frozenset[str]) -> int:
        """The rules that need none but these names."""
        mask = self._memo.get(names)
        if mask is None:
            mask = 0
            for shape, rules in self._shapes.items():
                if shape <= names:
                    mask |= rules
            if len(self._memo) >= _REMEMBERED_VALUES:
                self._memo.clear()
            self._memo[names] = mask
        return mask

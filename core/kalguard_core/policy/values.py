"""What a rule may want of one value: one of some values and patterns, or a number in a range.

Rules of this file: `true` is not 1 and "1" is not 1, but 1 is 1.0. A pattern matches only text, a range only
numbers. Values come from agents: no type, length or content of one may raise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ..action import Scalar
from ..documents import Place, kind_of
from .wildcard import WILDCARD, Pattern


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of `exact`, or text that fits one of `patterns`."""

    exact: tuple[Scalar, ...]
    patterns: tuple[Pattern, ...] = ()

    def matches(self, value: object) -> bool:
        """Whether `value` is wanted; of several values, whether one of them is."""
        if isinstance(value, tuple):
            return any(self.matches(each) for each in value)
        if isinstance(value, str):
            return value in self.exact or any(pattern.matches(value) for pattern in self.patterns)
        if isinstance(value, bool):
            return any(wanted is value for wanted in self.exact)
        if isinstance(value, int | float):
            return any(wanted == value for wanted in self.exact if not isinstance(wanted, bool))
        return False

    def __str__(self) -> str:
        texts = [_text(value) for value in self.exact] + [pattern.text for pattern in self.patterns]
        return texts[0] if len(texts) == 1 else f"one of {', '.join(texts)}"


@dataclass(frozen=True, slots=True)
class Range:
    """A number above `low` and below `high`, or equal to one where `low_open`, `high_open` are False."""

    low: float = -math.inf
    low_open: bool = False
    high: float = math.inf
    high_open: bool = False

    def matches(self, value: object) -> bool:
        """Whether `value` is a number in the range (NaN is in none)."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        bounds = []
        if self.low != -math.inf:
            bounds.append(f"{'>' if self.low_open else '>='} {_text(self.low)}")
        if self.high != math.inf:
            bounds.append(f"{'<' if self.high_open else '<='} {_text(self.high)}")
        return " and ".join(bounds)


Test = OneOf | Range
_COMPARISONS: Final = ("gt", "gte", "lt", "lte")


def read_texts(value: object, place: Place) -> OneOf:
    """A list of texts, each with or without wildcards. Raises `DocumentError`."""
    if not isinstance(value, list):
        raise place.error(f"must be a list of texts, found {kind_of(value)}")
    if not value:
        raise place.error("the list is empty: name what the rule is about, or remove the key")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise place.at(index).error(f"must be text, found {kind_of(item)} (quote it)")
        if not item:
            raise place.at(index).error("the text is empty")
    return _one_of(value)


def read_value(value: object, place: Place) -> Test:
    """A scalar, a list of scalars, or a comparison like `{gte: 10, lt: 20}`. Raises `DocumentError`."""
    if isinstance(value, dict):
        return _read_range(value, place)
    if not isinstance(value, list):
        return _one_of([_read_scalar(value, place)])
    if not value:
        raise place.error("the list is empty: name the values, or remove the key")
    return _one_of([_read_scalar(item, place.at(index)) for index, item in enumerate(value)])


def _read_scalar(value: object, place: Place) -> Scalar:
    if not isinstance(value, str | int | float):
        raise place.error(f"must be text, a number or true/false, found {kind_of(value)}")
    if value == "":
        raise place.error("the text is empty")
    return value


def _read_range(value: dict[str, object], place: Place) -> Range:
    if not value:
        raise place.error(f"the comparison is empty: use {', '.join(_COMPARISONS)}")
    bounds: dict[str, float] = {}
    for name, bound in value.items():
        if name not in _COMPARISONS:
            raise place.at(name).error(f"unknown comparison: use {', '.join(_COMPARISONS)}")
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            raise place.at(name).error(f"must be a number, found {kind_of(bound)}")
        bounds[name] = bound
    # Of two bounds on one side the tighter one counts; of two equal ones the open one is tighter.
    lows = [(bounds[name], name == "gt") for name in ("gt", "gte") if name in bounds]
    highs = [(bounds[name], name != "lt") for name in ("lt", "lte") if name in bounds]
    low, low_open = max(lows, default=(-math.inf, False))
    high, high_closed = min(highs, default=(math.inf, True))
    if low > high or (low == high and (low_open or not high_closed)):
        raise place.error("no number fits this comparison")
    return Range(low, low_open, high, not high_closed)


def _one_of(values: list[Scalar]) -> OneOf:
    patterns = [value for value in values if isinstance(value, str) and WILDCARD in value]
    exact = [value for value in values if not (isinstance(value, str) and WILDCARD in value)]
    return OneOf(tuple(exact), tuple(Pattern.parse(text) for text in dict.fromkeys(patterns)))


def _text(value: Scalar) -> str:
    """A value as a document shows it; text with quotes only where it could be taken for something else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)

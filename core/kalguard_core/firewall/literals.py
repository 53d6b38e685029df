"""Literals: where any of thousands of them stand in bytes.

Rules of this file:
- Hyperscan looks for all of them at once. It says where they end, and how long each is is known.
- Where it is missing: an automaton of google-re2 is built while texts are read, costs milliseconds for each text that
  says something new, and tens of megabytes. So five bytes are looked up at every second place of a text, all at once;
  what is found in the table is compared with the literals. A text in which too much is found is hostile, or of a
  language that looks like the literals: google-re2 reads that.
- All find the same: the longest literal at each start, from left to right, not overlapping.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import re2
from numpy.typing import NDArray

from .scanning import hyperscan

Place: TypeAlias = tuple[int, int]

_GRAM: Final = 5
_STEP: Final = 2
_SHORTEST: Final = _GRAM + _STEP - 1  # so that in each literal a place is looked at, wherever it stands
_LANE: Final = 8  # bytes of a number
_BITS: Final = 21
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15 << 8 * (_LANE - _GRAM) & (1 << 64) - 1)  # drops what is behind the five
_SHIFT: Final = np.uint64(64 - _BITS)
_BLOCK: Final = 1 << 16  # bytes that are looked at together, so that they stay in the cache of the processor
_DENSE: Final = 64  # a find in so many bytes is too much
_FEW: Final = 64  # finds in one block that never are
_SCANNED: Final = 1 << 14  # bytes that are scanned at once: whoever asks for the first places only waits for no more


def automaton(literals: Iterable[bytes]) -> Any:
    """What finds literals with google-re2."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # bytes are bytes
    options.max_mem = 64 << 20  # only what is visited is kept; less makes it fall back to a slow automaton
    longest_first: list[bytes] = sorted(literals, key=len, reverse=True)
    return re2.compile(b"|".join(longest_first), options)


class Literals(Protocol):
    """Literals of lower-case letters and spaces."""

    def places(self, data: bytes, /) -> Iterator[Place]:
        """Where literals stand in bytes in lower case: the longest at each start, not overlapping."""


def literals(rare: Iterable[bytes], common: Iterable[bytes]) -> Literals:
    """What finds literals here. `common`: those that are made of words that stand in any text."""
    return TableOfLiterals(rare, common) if hyperscan is None else ScannedLiterals((*rare, *common))


class ScannedLiterals:
    """Implements `Literals` with Hyperscan."""

    def __init__(self, literals: Iterable[bytes]) -> None:
        every = tuple(dict.fromkeys(literals))
        self._sizes = tuple(map(len, every))
        self._longest = max(self._sizes)
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(expressions=list(every), ids=list(range(len(every))), flags=[0] * len(every))
        self._local = threading.local()  # scratch memory serves one scan at a time

    def places(self, data: bytes) -> Iterator[Place]:
        """See `Literals.places`."""
        try:
            scratch = self._local.scratch
        except AttributeError:
            scratch = self._local.scratch = hyperscan.Scratch(self._database)
        found: list[tuple[int, int]] = []
        if len(data) <= _SCANNED:
            self._database.scan(data, _collect, 0, found, scratch)
            return self._apart(found, 0, len(data), 0) if found else iter(())
        return self._by_blocks(data, scratch)

    def _by_blocks(self, data: bytes, scratch: Any) -> Iterator[Place]:
        behind = 0
        for start in range(0, len(data), _SCANNED):
            found: list[tuple[int, int]] = []
            self._database.scan(data[start : start + _SCANNED + self._longest - 1], _collect, 0, found, scratch)
            if found:
                for place in self._apart(found, start, start + _SCANNED, behind):
                    yield place
                    behind = place[1]

    def _apart(self, found: list[tuple[int, int]], start: int, stop: int, behind: int) -> Iterator[Place]:
        """What was found in bytes from `start` on, as far as it begins before `stop` and not before `behind`."""
        sizes = self._sizes
        places = [(start + end - sizes[literal], start + end) for literal, end in found]
        places.sort(key=_first)
        for place in places:
            if behind <= place[0] < stop:
                yield place
                behind = place[1]


def _collect(literal: int, _start: int, end: int, _flags: int, found: list[tuple[int, int]]) -> None:
    found.append((literal, end))


class TableOfLiterals:
    """Implements `Literals` without Hyperscan. `common`: see `literals`."""

    def __init__(self, literals: Iterable[bytes], common: Iterable[bytes]) -> None:
        every = tuple(dict.fromkeys(literals))
        self._rare = tuple(literal for literal in every if len(literal) >= _SHORTEST)
        self._others = (*common, *(literal for literal in every if len(literal) < _SHORTEST))
        found: dict[bytes, list[tuple[int, bytes]]] = {}
        for literal in self._rare:
            for first in range(_STEP):
                at = _telling(literal, first)
                found.setdefault(literal[at : at + _GRAM], []).append((at, literal))
        self._by_gram = found
        self._table = np.zeros(1 << _BITS, np.bool_)
        self._table[_slots(b"".join(gram.ljust(_LANE) for gram in found), _LANE)] = True
        self._of_others = automaton(self._others)

    @cached_property
    def _of_all(self) -> Any:
        return automaton((*self._rare, *self._others))

    def places(self, data: bytes) -> Iterator[Place]:
        """See `Literals.places`."""
        rare = self._places_of_rare(data)
        if rare is None:
            yield from (match.span() for match in self._of_all.finditer(data))
            return
        behind = index = 0
        other = self._next_other(data, 0)
        while index < len(rare) or other is not None:
            if index < len(rare) and rare[index][0] < behind:
                index += 1
            elif other is not None and other[0] < behind:
                other = self._next_other(data, behind)
            else:
                place = min((*rare[index : index + 1], *(() if other is None else (other,))), key=_first)
                yield place
                behind = place[1]

    def _next_other(self, data: bytes, start: int) -> Place | None:
        match = self._of_others.search(data, start)
        return None if match is None else match.span()

    def _places_of_rare(self, data: bytes) -> list[Place] | None:
        """All places of rare literals, overlapping ones too; None if they may be many."""
        found: list[Place] = []
        for start in range(0, len(data), _BLOCK):
            behind = start + _BLOCK
            block = data[start:behind] + data[behind : behind + _LANE - _STEP].ljust(_LANE - _STEP)
            hits = np.flatnonzero(self._table.take(_slots(block, _STEP)))
            if len(hits) > max(len(block) // _DENSE, _FEW):
                return None
            for hit in hits.tolist():
                at = start + _STEP * hit
                for offset, literal in self._by_gram.get(data[at : at + _GRAM], ()):
                    first = at - offset
                    if first >= 0 and data.startswith(literal, first):
                        found.append((first, first + len(literal)))
        found.sort(key=_first)
        return found


def _first(place: Place) -> Place:
    """What orders places: by start, the longest first."""
    return place[0], -place[1]


def _telling(literal: bytes, first: int) -> int:
    """Where in a literal the bytes begin that stand in other text most seldom; some steps from `first` on."""
    last = (len(literal) - _GRAM - first) // _STEP
    # around the space that cuts a word; of other words the ends, which are strange in Pig Latin too
    space = literal.find(b" ")
    return first + _STEP * (last if space < 0 else min(max((space - _GRAM // 2) // _STEP, 0), last))


def _slots(data: bytes, step: int) -> NDArray[np.int64]:
    """Where the table has the five bytes at each step. Eight bytes are read at each."""
    lanes: NDArray[np.uint64] = np.ndarray((len(data) - _LANE) // step + 1, "<u8", data, strides=step)
    return (lanes * _SPREAD >> _SHIFT).view(np.int64)

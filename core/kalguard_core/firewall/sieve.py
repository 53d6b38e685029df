"""The sieve: which phrases can match where in a text, from the words that are there at all.

Rules of this file:
- What it lets through may match or not; what it holds back can't match. It only saves work, and never decides.
- A phrase has requirements (`phrase.requirements`): sets of clauses, each of which needs one of its words. A text of up
  to some ten thousand words is sieved as a whole, a longer one in windows that a match can't be longer than.
- Words that a phrase may repeat without end don't count in the length of a window (`solid` words do). So a window is as
  long as it must be where somebody writes `all all all …`, and no longer elsewhere.
- A long text is sieved only for the clauses of phrases that its words together allow.
- Everything is linear in the number of words; memory is bounded by a few bytes a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .reading import Numbers

Indexes: TypeAlias = NDArray[np.intp]
Flags: TypeAlias = NDArray[np.bool_]

WINDOW: Final = 24
"""Solid words of half a window: matches of phrases with a longer reach are looked for in the whole text."""

_CLAUSES: Final = 4  # of a requirement that are looked at, the rarest
_ROW: Final = np.uint32  # has as many bytes as a requirement has clauses
_MET: Final = np.uint32(0x01010101)
_WHOLE: Final = 1 << 15  # words of a text that is sieved as a whole: looking at windows takes a few milliseconds
_PIECE: Final = 8192  # words whose clauses are collected at once
_TOGETHER: Final = 512  # windows that are sieved at once


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a phrase requires. `requirements`: of each, the numbers of its clauses, rarest first.

    `reach`: as `phrase.reach`.
    """

    requirements: Sequence[Sequence[int]]
    reach: int | None


class Stretches:
    """Parts of a text, by their words: in order, not overlapping. They are read as one string, with walls between."""

    def __init__(self, starts: Indexes, ends: Indexes) -> None:
        self._starts, self._ends = starts, ends
        sizes = ends - starts + 1  # with a wall
        self._offsets = np.cumsum(sizes) - sizes

    def of(self, numbers: Numbers, wall: int) -> Numbers:
        """The words of all stretches, and walls."""
        last = self._offsets + (self._ends - self._starts)
        here = np.arange(int(last[-1]) + 1) + np.repeat(self._starts - self._offsets, self._ends - self._starts + 1)
        words: Numbers = numbers.take(here, mode="clip")
        words[last] = wall
        return words

    def cuts(self, size: int) -> list[int]:
        """Where stretches begin in that string, about so many words apart, and where it ends."""
        end = int(self._offsets[-1] + self._ends[-1] - self._starts[-1])
        after = np.searchsorted(self._offsets, np.arange(0, int(self._offsets[-1]) + 1, size))
        return [*np.unique(self._offsets.take(after)).tolist(), end]

    def places(self, words: Indexes) -> Indexes:
        """(start, end) in the text of places (start, end) in the words of all stretches."""
        stretch = np.searchsorted(self._offsets, words[:, :1], "right") - 1
        moved: Indexes = words + (self._starts - self._offsets).take(stretch)
        return moved


class Sieve:
    """Made once for all phrases.

    `clauses`: of each, the numbers of the words that meet it. `solid`: flags over the numbers of words, false for those
    that phrases repeat.
    """

    def __init__(self, phrases: Sequence[Wanted], clauses: Sequence[Sequence[int]], solid: Flags) -> None:
        self._solid = solid
        rows: list[tuple[int, bool, list[int]]] = []
        for number, phrase in enumerate(phrases):
            is_far = phrase.reach is None or phrase.reach > WINDOW
            for requirement in phrase.requirements:
                # column 0 is met by every word
                needed = [clause + 1 for clause in requirement[:_CLAUSES]]
                rows.append((number, is_far, needed + [0] * (_CLAUSES - len(needed))))
        # requirements in rows: the phrase of each, whether its matches may be long, and its clauses, rarest first
        self._phrases: Indexes = np.array([phrase for phrase, _, _ in rows], np.intp)
        self._far: Flags = np.array([is_far for _, is_far, _ in rows], np.bool_)
        self._needed: Indexes = np.array([needed for _, _, needed in rows], np.intp).reshape(-1, _CLAUSES)
        self._rarest: Indexes = np.ascontiguousarray(self._needed[:, 0])
        width = -(-(len(clauses) + 1) // 64) * 8
        self._masks: NDArray[np.uint8] = np.zeros((len(solid), width), np.uint8)
        self._wide_masks = self._masks.view(np.uint64)  # the same
        self._masks[:, 0] = 1
        for column, clause in enumerate(clauses, 1):
            self._masks[clause, column >> 3] |= 1 << (column & 7)

    def suspects(self, numbers: Numbers) -> Iterator[tuple[int, Stretches | None]]:
        """Phrases that may match, in order, and where; None: anywhere in the text."""
        seen = np.zeros(len(self._solid), np.bool_)
        seen[numbers] = True
        present = seen.nonzero()[0]
        if not len(present):
            return
        together = np.bitwise_or.reduce(self._wide_masks.take(present, axis=0), axis=0)
        met = np.unpackbits(together.view(np.uint8), bitorder="little").view(np.bool_)
        rows = met.take(self._rarest).nonzero()[0]
        # the flags of a row are compared at once: they are the bytes of a number
        rows = rows[met.take(self._needed.take(rows, axis=0)).view(_ROW).ravel() == _MET]
        if len(numbers) <= _WHOLE:
            for phrase in dict.fromkeys(self._phrases.take(rows).tolist()):
                yield phrase, None
            return
        is_far = self._far.take(rows)
        far = set(self._phrases.take(rows[is_far]).tolist())
        near = {} if is_far.all() else self._near(numbers, present, rows[~is_far])
        for phrase in sorted(far | near.keys()):
            yield phrase, near.get(phrase)

    def _near(self, numbers: Numbers, present: Indexes, rows: Indexes) -> dict[int, Stretches | None]:
        """Where the clauses of a row are near each other; None: in half of the text. `present`: of its words."""
        starts = np.flatnonzero(self._solid.take(numbers))[::WINDOW]
        if not len(starts):
            starts = np.zeros(1, np.intp)
        starts[0] = 0
        needed, where = np.unique(self._needed.take(rows, axis=0), return_inverse=True)
        where = where.reshape(-1, _CLAUSES)
        windows = self._blocks(numbers, starts, self._narrowed(present, needed))
        if not needed[0]:
            windows |= np.uint64(1)
        if len(starts) > 1:
            # two blocks, as a match may lie across their border; it can't lie across two
            windows = windows[:-1] | windows[1:]
        ends = np.append(starts[2:], len(numbers))
        phrases, firsts = np.unique(self._phrases.take(rows), return_index=True)  # rows are in order of their phrases
        hits: list[tuple[Indexes, Indexes]] = []
        for first in range(0, len(windows), _TOGETHER):
            some = windows[first : first + _TOGETHER]
            flags = np.unpackbits(some.view(np.uint8), axis=1, count=len(needed), bitorder="little")
            columns = np.packbits(np.ascontiguousarray(flags.T), axis=1)
            met = columns.take(where[:, 0], axis=0)
            for clause in range(1, _CLAUSES):
                met &= columns.take(where[:, clause], axis=0)
            met = np.bitwise_or.reduceat(met, firsts, axis=0)
            hit = np.flatnonzero(np.unpackbits(met, axis=1, count=len(some)))
            hits.append((hit // len(some), hit % len(some) + first))
        of_phrase, window = (np.concatenate(parts) for parts in zip(*hits, strict=True))
        order = np.argsort(of_phrase, kind="stable")
        cuts = np.searchsorted(of_phrase.take(order), np.arange(1, len(phrases)))
        found: dict[int, Stretches | None] = {}
        for number, met_by in zip(phrases.tolist(), np.split(window.take(order), cuts), strict=True):
            if len(met_by):
                breaks = np.flatnonzero(np.diff(met_by) > 1)
                lows, highs = met_by[np.append(0, breaks + 1)], met_by[np.append(breaks, len(met_by) - 1)]
                first, last = starts.take(lows), ends.take(highs)
                # reading all of the text once costs less than gathering half of it
                found[number] = None if 2 * int((last - first).sum()) > len(numbers) else Stretches(first, last)
        return found

    def _narrowed(self, present: Indexes, needed: Indexes) -> NDArray[np.uint64]:
        """Of each word that there is, which of some clauses it meets, in bits. Not the one that every word meets."""
        bits = self._masks.take(present, axis=0).take(needed >> 3, axis=1) >> (needed & 7).astype(np.uint8) & 1
        bits[:, needed == 0] = 0
        packed = np.packbits(bits, axis=1, bitorder="little")
        masks = np.zeros((len(self._solid), -(-len(needed) // 64) * 8), np.uint8)
        masks[present, : packed.shape[1]] = packed
        return masks.view(np.uint64)

    def _blocks(self, numbers: Numbers, starts: Indexes, masks: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The clauses that each block meets."""
        blocks = np.zeros((len(starts), masks.shape[1]), np.uint64)
        telling = np.flatnonzero(masks.any(axis=1).take(numbers))
        sizes = np.diff(np.searchsorted(telling, starts), append=len(telling))
        block = np.repeat(np.arange(len(starts)), sizes)
        for first in range(0, len(telling), _PIECE):
            piece = telling[first : first + _PIECE]
            here = block[first : first + _PIECE]
            cuts = np.flatnonzero(np.diff(here, prepend=-1))
            met = np.bitwise_or.reduceat(masks.take(numbers.take(piece), axis=0), cuts, axis=0)
            blocks[here.take(cuts)] |= met
        return blocks

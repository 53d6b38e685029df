"""The sieve: which phrases can match where in a text, from the words that are there at all.

Rules of this file:
- What it lets through may match or not; what it holds back can't match. It only saves work, and never decides.
- A phrase has requirements (`phrase.requirements`): sets of clauses, each of which needs one of its words. A text of a
  few hundred words is sieved as a whole, a longer one in windows that a match can't be longer than.
- Words that a phrase may repeat without end don't count in the length of a window (`solid` words do). So a window is as
  long as it must be where somebody writes `all all all …`, and no longer elsewhere.
- Everything is linear in the number of words; memory is bounded by a few bytes a word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

WINDOW: Final = 24
"""Solid words of half a window: matches of phrases with a longer reach are looked for in the whole text."""

_CLAUSES: Final = 4  # of a requirement that are looked at, the rarest
_WHOLE: Final = 640  # words of a text that is sieved as a whole
_PIECE: Final = 4096  # words whose clauses are collected at once
_TOGETHER: Final = 512  # windows that are sieved at once
_SINGLE: Final = 16  # runs of windows of a phrase, among so many, that are looked at one by one


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a phrase requires. `requirements`: of each, the numbers of its clauses, rarest first.

    `reach`: as `phrase.reach`.
    """

    requirements: Sequence[Sequence[int]]
    reach: int | None


class Sieve:
    """Made once for all phrases.

    `clauses`: of each, the numbers of the words that meet it. `solid`: flags over the numbers of words, false for those
    that phrases repeat.
    """

    def __init__(self, phrases: Sequence[Wanted], clauses: Sequence[Sequence[int]], solid: NDArray[np.bool_]) -> None:
        self._solid = solid
        near: list[tuple[int, list[int]]] = []
        far: list[tuple[int, list[int]]] = []
        for number, phrase in enumerate(phrases):
            rows = far if phrase.reach is None or phrase.reach > WINDOW else near
            for requirement in phrase.requirements:
                # column 0 is met by every word
                needed = [clause + 1 for clause in requirement[:_CLAUSES]]
                rows.append((number, needed + [0] * (_CLAUSES - len(needed))))
        self._near, self._far = _Rows(near), _Rows(far)
        self._all = _Rows([*near, *far])
        width = -(-(len(clauses) + 1) // 64) * 8
        masks = np.zeros((len(solid), width), np.uint8)
        masks[:, 0] = 1
        for column, clause in enumerate(clauses, 1):
            masks[clause, column >> 3] |= 1 << (column & 7)
        self._masks: NDArray[np.uint64] = masks.view(np.uint64)

    def suspects(self, numbers: NDArray[np.uint16], known: Collection[int]) -> Iterator[tuple[int, int, int]]:
        """(phrase, first word, end) of all stretches in which a phrase may match.

        `known`: phrases that nobody needs to look for (any more).
        """
        if not len(numbers):
            return
        if len(numbers) <= _WHOLE:
            seen = np.zeros(len(self._solid), np.bool_)
            seen[numbers] = True
            met = _flags(np.bitwise_or.reduce(self._masks.take(np.flatnonzero(seen), axis=0), axis=0))
            for phrase in self._all.phrases(self._all.met(met)):
                yield phrase, 0, len(numbers)
            return
        yield from self._long(numbers, known)

    def _long(self, numbers: NDArray[np.uint16], known: Collection[int]) -> Iterator[tuple[int, int, int]]:
        starts = np.flatnonzero(self._solid[numbers])[::WINDOW]
        if len(starts):
            starts[0] = 0
        else:
            starts = np.zeros(1, np.intp)
        blocks = self._blocks(numbers, starts)
        if len(starts) > 1:
            # two blocks, as a match may lie across their border; it can't lie across two
            ends = np.append(starts[2:], len(numbers)).tolist()
            starts = starts[:-1]
            blocks = blocks[:-1] | blocks[1:]
        else:
            ends = [len(numbers)]
        everywhere = np.zeros(blocks.shape[1], np.uint64)
        for first in range(0, len(blocks), _TOGETHER):
            windows = blocks[first : first + _TOGETHER]
            anywhere = np.bitwise_or.reduce(windows, axis=0)
            everywhere |= anywhere
            rows = self._near.met(_flags(anywhere))
            if not len(rows):
                continue
            flags = np.unpackbits(windows.view(np.uint8), axis=1, bitorder="little").view(np.bool_)
            for phrase, hits in self._near.windows(rows, flags):
                if phrase in known:
                    continue
                for low, high in _runs(hits):
                    if phrase not in known:
                        yield phrase, int(starts[first + low]), ends[first + high]
        for phrase in self._far.phrases(self._far.met(_flags(everywhere))):
            yield phrase, 0, len(numbers)

    def _blocks(self, numbers: NDArray[np.uint16], starts: NDArray[np.intp]) -> NDArray[np.uint64]:
        """The clauses that each block meets."""
        blocks = np.zeros((len(starts), self._masks.shape[1]), np.uint64)
        for first in range(0, len(numbers), _PIECE):
            piece = numbers[first : first + _PIECE]
            low = int(np.searchsorted(starts, first, "right")) - 1
            high = int(np.searchsorted(starts, first + len(piece), "left"))
            cuts = starts[low:high] - first
            cuts[0] = 0
            blocks[low:high] |= np.bitwise_or.reduceat(self._masks.take(piece, axis=0), cuts, axis=0)
        return blocks


class _Rows:
    """Requirements in rows: the phrase of each, and its clauses, rarest first."""

    def __init__(self, rows: Sequence[tuple[int, Sequence[int]]]) -> None:
        self._phrases: NDArray[np.intp] = np.array([phrase for phrase, _ in rows], np.intp)
        self._needed: NDArray[np.intp] = np.array([needed for _, needed in rows], np.intp).reshape(-1, _CLAUSES)
        self._rarest: NDArray[np.intp] = np.ascontiguousarray(self._needed[:, 0])

    def met(self, flags: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The rows whose clauses are all met."""
        rows = np.flatnonzero(flags.take(self._rarest))
        return rows[flags.take(self._needed.take(rows, axis=0)).all(axis=1)] if len(rows) else rows

    def phrases(self, rows: NDArray[np.intp]) -> list[int]:
        """The phrases of rows, each once."""
        return sorted(set(self._phrases[rows].tolist())) if len(rows) else []

    def windows(self, rows: NDArray[np.intp], flags: NDArray[np.bool_]) -> Iterator[tuple[int, list[int]]]:
        """Of each phrase that has one of these rows, the windows that meet it, in order. `flags`: of each window."""
        needed, where = np.unique(self._needed[rows], return_inverse=True)
        columns = np.ascontiguousarray(flags[:, needed].T)
        where = where.reshape(-1, _CLAUSES)
        met = columns[where[:, 0]]
        for clause in range(1, _CLAUSES):
            met &= columns[where[:, clause]]
        hits: dict[int, NDArray[np.bool_]] = {}
        for row in np.flatnonzero(met.any(axis=1)).tolist():
            phrase = int(self._phrases[rows[row]])
            hits[phrase] = hits[phrase] | met[row] if phrase in hits else met[row]
        for phrase, met_by in hits.items():
            yield phrase, np.flatnonzero(met_by).tolist()


def _runs(hits: list[int]) -> list[tuple[int, int]]:
    """Windows in a row: the first and the last of each; one run of all, if there were many."""
    breaks = [index for index in range(1, len(hits)) if hits[index] > hits[index - 1] + 1]
    if len(breaks) >= _SINGLE:
        return [(hits[0], hits[-1])]
    return [(hits[low], hits[high - 1]) for low, high in pairwise([0, *breaks, len(hits)])]


def _flags(clauses: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return np.unpackbits(clauses.view(np.uint8), bitorder="little").view(np.bool_)

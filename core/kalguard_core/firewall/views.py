"""Views: the ways in which a model may read a conversation, and the way back from each to what was written.

Rules of this file:
- The first view is "plain": every message folded (see `fold`), a line break between neighbours of one role, a wall
  between neighbours of different roles. Nothing is left out of it.
- Every other view is made only where a cheap trigger fires, and holds only the parts of the text where it does,
  with some text around them where that belongs to the sentence. Parts stand between walls.
- Views of decoded text are read for triggers again, `MAX_DEPTH` deep and a bounded number of them. All views but the
  full readings together hold at most `Budget` bytes; what was left out for that, or for a limit of one decoder, is
  counted in the signal "unread": characters of the messages, each once.
- Every byte of every view leads to characters of the messages. The NULs of walls are the only NULs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np

from ..action import Message
from .decode import WALL, Budget, Decoded, Positions, decodings
from .fold import Folded, fold
from .hidden import Look, hidden_runs, look, merged, parted, rereadings, signals_of

MAX_DEPTH: Final = 3  # deeper nesting is not seen in the wild, and each level costs another look for triggers
# Views of what was decoded twice that are looked at again: an honest text has hardly one, noise has many. What was
# decoded once always is, as there are only so many ways: so noise beside a text takes no look away from it.
_MOST_REREAD: Final = 16
_SEAM: Final = 1024  # bytes read on each side of the seam of two messages; no rule or window looks farther
_JOINED_LIMIT: Final = 64 * 1024  # bytes of one role's messages read across other turns; the newest count

_FULL: Final = frozenset({"plain", "parted", "joined"})


class Source(Protocol):
    """Leads bytes back to the messages."""

    def places(self, start: int, end: int, /) -> Iterator[tuple[int, int, int]]:
        """(message, start, end) in characters, for each message that these bytes touch."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One reading of a conversation.

    `data`: folded bytes (UTF-8, ASCII in any case); NUL only in `WALL`s. `kind`: "plain", "joined", "parted" or the
    name of the trick that it undoes, "base64+rot13" for one inside another. `depth`: how often it was decoded.
    """

    data: bytes
    kind: str
    depth: int
    source: Source = field(repr=False)

    def places(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(message, start, end) in characters of the original texts, for the bytes `start` to `end` of `data`."""
        return self.source.places(start, end)


@dataclass(frozen=True, slots=True)
class Views:
    """All readings of a conversation, the plain one first.

    `hidden`: runs of characters that nobody sees and that have no honest use there: (message, start, end), a bounded
    number of them. `signals`: how many there were, by kind; names as in `hidden.SIGNALS`, and "unread":
    characters that may be encoded and were not read, because there were too many.
    """

    views: tuple[View, ...]
    hidden: tuple[tuple[int, int, int], ...] = ()
    signals: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def views(messages: Sequence[Message]) -> Views:
    """The ways in which a model may read these messages. Never raises; linear in their length."""
    if not messages:
        return Views((View(b"", "plain", 0, _Laid((), ())),))
    folded = [fold(message.text) for message in messages]
    everything = [_Part(index, text.data, text) for index, text in enumerate(folded)]
    plain = _laid(everything, _between(messages, b"\n"), "plain")
    found = [plain]
    budget = Budget(len(plain.data))
    signals: Mapping[str, int] = {}
    hidden: tuple[tuple[int, int, int], ...] = ()
    if len(messages) > 1:
        found += _joined(messages, folded)
    looks = [look(text) for text in folded]
    if any(seen is not None for seen in looks):
        cut = [_parted(seen, text) for seen, text in zip(looks, folded, strict=True)]
        if any(new is not old for new, old in zip(cut, folded, strict=True)):
            again = [_Part(index, text.data, text) for index, text in enumerate(cut)]
            found.append(_laid(again, _between(messages, b"\n"), "parted"))
        signals = signals_of(looks)
        hidden = hidden_runs(looks)
        found += _reread(messages, looks, budget)
    todo = deque(view for view in found if view.kind != "parted")
    unread = _Unread(len(messages))
    reread = 0
    while todo:
        view = todo.popleft()
        if view.depth:
            budget.nested -= len(view.data)
            reread += view.depth > 1
            if budget.nested < 0 or reread > _MOST_REREAD:
                unread.add(view, [(0, len(view.data))])
                continue
        for read in decodings(view.data, view.kind, budget):
            new = _derived(view.source, "" if view.kind in _FULL else view.kind, view.depth, read)
            found.append(new)
            if new.depth < MAX_DEPTH:
                todo.append(new)
        unread.add(view, budget.skipped)
        budget.skipped.clear()
    if count := unread.count():
        signals = {**signals, "unread": count}
    return Views(tuple(found), hidden, MappingProxyType(dict(signals)))


def _reread(messages: Sequence[Message], looks: Sequence[Look | None], budget: Budget) -> Iterator[View]:
    """What folding can't see in the messages: of each kind and role one view, however many messages there are."""
    starts = tuple(accumulate((len(message.text) for message in messages), initial=0))
    source = _Characters(starts)
    by_kind: dict[tuple[str, str], list[Decoded]] = {}
    for message, seen, start in zip(messages, looks, starts, strict=False):
        if seen is not None:
            for read in rereadings(seen, start, budget):
                by_kind.setdefault((message.role, read.kind), []).append(read)
    for reads in by_kind.values():
        yield _derived(source, "", 0, reads[0] if len(reads) == 1 else _walled(reads))


def _walled(reads: Sequence[Decoded]) -> Decoded:
    """Readings of one kind as one, with walls between."""
    nowhere = np.full(len(WALL), -1, np.int32)
    starts, ends = (
        np.concatenate([part for places in all_places for part in (nowhere, places)][1:])
        for all_places in ([read.starts for read in reads], [read.ends for read in reads])
    )
    return Decoded(reads[0].kind, WALL.join([read.data for read in reads]), starts, ends)


class _Unread:
    """Where the messages look encoded and were not read; each character counts once, whoever left it out."""

    __slots__ = ("_places",)

    def __init__(self, messages: int) -> None:
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(messages)]

    def add(self, view: View, spans: Sequence[tuple[int, int]]) -> None:
        for first, last in merged(spans):
            for message, start, end in view.places(first, last):
                self._places[message].append((start, end))

    def count(self) -> int:
        return sum(end - start for places in self._places for start, end in merged(places))


@dataclass(frozen=True, slots=True)
class _Part:
    """Bytes of a folded message, from `first` on."""

    message: int
    data: bytes
    folded: Folded
    first: int = 0


@dataclass(frozen=True, slots=True)
class _Laid:
    """Parts of messages laid one after another; `starts` says where each of them begins."""

    parts: Sequence[_Part]
    starts: Sequence[int]

    def places(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        for index in range(max(bisect_right(self.starts, start) - 1, 0), len(self.parts)):
            begin = self.starts[index]
            if begin >= end:
                return
            part = self.parts[index]
            inner_start = max(start - begin, 0)
            inner_end = min(end - begin, len(part.data))
            if inner_start < inner_end:
                yield (part.message, *part.folded.original(part.first + inner_start, part.first + inner_end))


@dataclass(frozen=True, slots=True)
class _Characters:
    """All characters of all messages, counted through."""

    starts: Sequence[int]

    def places(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        for index in range(bisect_right(self.starts, start) - 1, len(self.starts) - 1):
            begin = self.starts[index]
            if begin >= end:
                return
            inner_start = max(start - begin, 0)
            inner_end = min(end, self.starts[index + 1]) - begin
            if inner_start < inner_end:
                yield index, inner_start, inner_end


@dataclass(frozen=True, slots=True, eq=False)
class _Mapped:
    """Bytes made from other bytes: byte n of these from `starts[n]` to `ends[n]` of those; -1 where it is a wall."""

    parent: Source
    starts: Positions
    ends: Positions

    def places(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        starts, ends = self.starts[start:end], self.ends[start:end]
        kept = np.flatnonzero(starts >= 0)
        if not kept.size:
            return
        # a wall parts what comes from different places
        for run in np.split(kept, np.flatnonzero(np.diff(kept) > 1) + 1):
            yield from self.parent.places(int(starts[run].min()), int(ends[run].max()))


def _derived(parent: Source, kind: str, depth: int, read: Decoded) -> View:
    name = f"{kind}+{read.kind}" if kind else read.kind
    return View(read.data, name, depth + 1, _Mapped(parent, read.starts, read.ends))


def _between(messages: Sequence[Message], alike: bytes) -> list[bytes]:
    """What stands between neighbouring messages."""
    return [alike if left.role == right.role else WALL for left, right in pairwise(messages)]


def _laid(parts: Sequence[_Part], separators: Sequence[bytes], kind: str) -> View:
    if len(parts) == 1 and parts[0].first == 0:
        return View(parts[0].data, kind, 0, _Laid(parts, (0,)))
    data: list[bytes] = []
    starts: list[int] = []
    size = 0
    for part, separator in zip(parts, (*separators, b""), strict=True):
        starts.append(size)
        data += (part.data, separator)
        size += len(part.data) + len(separator)
    return View(b"".join(data), kind, 0, _Laid(parts, starts))


def _parted(seen: Look | None, folded: Folded) -> Folded:
    """The text with spaces for what nobody sees, if that parts words in it. Offsets are the same."""
    text = parted(seen) if seen is not None else None
    return folded if text is None else fold(text)


def _joined(messages: Sequence[Message], folded: Sequence[Folded]) -> Iterator[View]:
    """Messages of one role read on: neighbours without a break, and others over the turns between them.

    Of long messages only what is near a seam is read: the rest is in the plain view.
    """
    by_role: dict[str, list[int]] = {}
    for index, message in enumerate(messages):
        by_role.setdefault(message.role, []).append(index)
    runs: list[list[int]] = []
    apart: list[list[int]] = []
    for indexes in by_role.values():
        breaks = [at for at, (left, right) in enumerate(pairwise(indexes), 1) if right > left + 1]
        if breaks:
            apart.append(indexes)
        bounds = [0, *breaks, len(indexes)]
        runs += (indexes[first:last] for first, last in pairwise(bounds) if last > first + 1)
    for chains, separator in ((runs, b""), (apart, b"\n")):
        if chains:
            yield _chained(chains, separator, folded)


def _chained(chains: Sequence[Sequence[int]], separator: bytes, folded: Sequence[Folded]) -> View:
    """Messages by their indexes, chain by chain."""
    parts: list[_Part] = []
    separators: list[bytes] = []
    for chain in chains:
        size = 0
        mine: list[tuple[_Part, bytes]] = []  # newest first, each with what stands behind it
        behind = WALL
        for index in reversed(chain):
            text = folded[index]
            if len(text.data) <= 2 * _SEAM:
                mine.append((_Part(index, text.data, text), behind))
            else:
                last = len(text.data) - _SEAM
                mine += (
                    (_Part(index, text.data[last:], text, last), behind),
                    (_Part(index, text.data[:_SEAM], text), WALL),
                )
            behind = separator
            size += min(len(text.data), 2 * _SEAM)
            if size >= _JOINED_LIMIT:
                break
        parts += (part for part, _ in reversed(mine))
        separators += (follows for _, follows in reversed(mine))
    return _laid(parts, separators[:-1], "joined")

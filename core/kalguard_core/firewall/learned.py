"""What the model sees in the views of a conversation: evidence in windows of words, and where it comes from.

Rules of this file:
- Text about an attack is not an attack: words that are quoted, and windows in talk about attacks, hold less evidence.
  In data that others wrote only what is quoted in a few words is excused: whole orders have no business there.
- A few words in which rules see nothing are weak evidence, whatever they are.
- What was encoded has no honest reason to look like an attack: it is more evidence.
- The model does not read what the operator wrote.
- Whatever costs is done for all windows of a view at once, and only where there is enough evidence to be told of.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..action import Message
from .engine import Match
from .features import WALL_WORD, Numbers, Words, split, word_bounds
from .legible import legible
from .model import COUNTED, STRIDE, WINDOW, Model, weights_of
from .quotations import MENTION, Quotations
from .reading import Reading
from .views import View

TRUSTED: Final = frozenset({"system", "developer"})
DATA: Final = frozenset({"tool", "document", "file"})

SHOWN: Final = 20
"""A lower risk is none to the model: half of all honest text has that."""

_FEWEST_WORDS: Final = 5  # fewer say nothing to the model: a name, an address; rules read them
_SHORT: Final = 20  # words of a window that say little where rules see nothing: a path, an address, a plain request
_SHORT_EVIDENCE: Final = 500  # less then
_DATA_EVIDENCE: Final = 300  # more for data of others: orders have no business there
_DECODED_EVIDENCE: Final = 700
_TALK_EVIDENCE: Final = 2000  # less near talk about attacks
_QUOTED_SHARE: Final = 20  # percent of what quoted words add
_NEARBY: Final = 240  # bytes around talk about attacks
_MOST_WINDOWS: Final = 64  # of a view that are looked at closely, and that are told of: the worst
_MOST_PLACES: Final = 512
_NEVER: Final = 1 << 61  # more than any evidence
# Codes that nobody writes by hand. Other disguises are undone in place, and shown with honest text around them.
_CODES: Final = frozenset(
    {"base64", "base32", "hex", "codes", "binary", "morse", "tags", "selectors", "letters", "upside-down"}
    | {"reversed", "words-reversed", "rot13", "caesar", "atbash", "pig-latin"}
)
_STEPS: Final = re.compile("[+&]")
# an ideographic full stop is folded to one with nothing behind it
_END_OF_SENTENCE: Final = re.compile(rb"[!?\n\r\v\f]|[.][\"'`)\]]{0,4}[\sA-Z\x80-\xff]")


class Talk:
    """Talk about attacks in a text (`data`): matches of rules that have a discount, in order of their starts.

    It excuses nothing behind a wall: what an operator forbids, or an assistant refuses, is no word for what a user says
    next, nor a user's for what a tool sends.
    """

    __slots__ = ("_data", "_ends", "_matches", "_starts")

    def __init__(self, matches: Sequence[Match], data: bytes = b"") -> None:
        self._data = data
        self._matches = matches
        self._starts = [match.start for match in matches]
        self._ends: list[int] = []  # the last end of each match and those before it
        end = 0
        for match in matches:
            end = max(end, match.end)
            self._ends.append(end)

    def __bool__(self) -> bool:
        return bool(self._matches)

    def discount(self, start: int, end: int) -> int:
        """The percentage that talk about these bytes takes off."""
        if not self._matches:
            return 0
        first = max(start - _NEARBY, 0)
        first = max(self._data.rfind(b"\x00", first, start), first)
        last = self._data.find(b"\x00", end, end + _NEARBY)
        last = end + _NEARBY if last < 0 else last
        most = 0
        for index in range(bisect_left(self._starts, last) - 1, -1, -1):
            if self._ends[index] <= first:
                break
            match = self._matches[index]
            if first < match.end and match.rule.discount > most and self._reaches(match, start, end):
                most = match.rule.discount
        return most

    def _reaches(self, match: Match, start: int, end: int) -> bool:
        """Whether a match near these bytes is about them."""
        if match.start < end and start < match.end:
            return True
        between = (match.end, start) if match.end <= start else (end, match.start)
        reach = match.rule.reach
        return reach == "nearby" or (reach == "sentence" and _END_OF_SENTENCE.search(self._data, *between) is None)


class Reader:
    """A model that reads views. Immutable."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.highest: Final = model.curve[-1][1]
        # risk rises with evidence
        self.least: Final = bisect_left(range(-_NEVER, _NEVER), SHOWN, key=model.risk) - _NEVER
        """The least evidence that is a risk."""

    def read(self, view: View, messages: Sequence[Message], reading: Reading, *, alone: bool = False) -> Seen | None:
        """What the model sees in a view; None if that is nothing.

        `reading`: of the text of the view. `alone`: whether rules see nothing in any view.
        """
        roles = _roles_of(view, messages)
        if TRUSTED.issuperset(roles):
            return None
        data = legible(view.data)
        if data is not view.data:
            reading = reading.without_blanks(data)
        words = self.model.vocabulary.words(reading)
        starts, ends = _stretches(data, words, self.model.vocabulary.wall)
        roles = roles[: len(starts)] + roles[-1:] * (len(starts) - len(roles))  # the last goes on
        read = [
            (start, end, role in DATA)
            for start, end, role in zip(starts, ends, roles, strict=True)
            if role not in TRUSTED and end - start >= _FEWEST_WORDS
        ]
        return Seen(self, view, data, reading, words, read, alone=alone) if read else None


class Seen:
    """What the model sees in one view. `evidence`: of each window; `most`: the most of these."""

    def __init__(
        self,
        reader: Reader,
        view: View,
        data: bytes,
        reading: Reading,
        words: Words,
        stretches: Sequence[tuple[int, int, bool]],
        *,
        alone: bool,
    ) -> None:
        self.view = view
        self._reader = reader
        self._data = data
        self._reading = reading
        self._added = reader.model.contributions(words)
        if len(stretches) == 1:  # nearly always
            start, end, others = stretches[0]
            self._starts, self._ends = _windows_of(start, end)
            size = min(end - start, WINDOW)
            more = (_DATA_EVIDENCE if others else 0) - (_SHORT_EVIDENCE if alone and size < _SHORT else 0)
            self._others = np.full(len(self._starts), others)
            self._more = np.full(len(self._starts), more)
        else:
            starts, ends, are_of_others = (np.array(each) for each in zip(*stretches, strict=True))
            self._starts, self._ends, which = _windows(starts, ends)
            self._others = are_of_others[which]
            self._more = self._others * _DATA_EVIDENCE
            if alone:
                self._more -= (self._ends - self._starts < _SHORT) * _SHORT_EVIDENCE
        if _is_coded(view.kind):
            self._more += _DECODED_EVIDENCE
        upto = _running(self._added)
        added = upto.take(self._ends) - upto.take(self._starts)
        self._counts: Numbers = added & COUNTED
        self._plain = reader.model.evidence(weights_of(added), self._counts)
        self.evidence: Numbers = self._plain + self._more
        self.most = int(self.evidence.max())

    def excuse(self, talk: Talk, quotations: Quotations) -> None:
        """Take off evidence where it is quoted or talked about, at the worst windows.

        `quotations`: of the text of the view.
        """
        if self._data is not self.view.data:
            quotations = Quotations(self._data)
        if not talk and not quotations.are_any:
            return
        doubtful = _worst(self.evidence, self.evidence >= self._reader.least)
        if not doubtful.size:
            return
        starts, ends = self._starts[doubtful], self._ends[doubtful]
        quoted = self._quoted(doubtful, quotations)
        if quoted is None and not talk:
            return
        evidence = self._plain[doubtful]
        added, words = _rows(self._added, starts, ends)
        if quoted is not None:
            less = np.where(quoted[words] & (added > 0), added * _QUOTED_SHARE // 100, added)
            evidence = self._reader.model.evidence(less.sum(axis=1), self._counts[doubtful])
        if talk:
            near = [talk.discount(*place) > 0 for place in self._places(*_heaviest(added, starts, ends))]
            evidence = evidence - np.array(near) * _TALK_EVIDENCE
        self.evidence[doubtful] = np.minimum(evidence, self._plain[doubtful]) + self._more[doubtful]
        self.most = int(self.evidence.max())

    def telling(self, least: int) -> set[tuple[int, int]]:
        """The bytes that add the most to each of the worst windows, of those that hold so much evidence."""
        worst = _worst(self.evidence, self.evidence >= least)
        if not worst.size:
            return set()
        starts, ends = self._starts[worst], self._ends[worst]
        added, _ = _rows(self._added, starts, ends)
        return set(self._places(*_heaviest(added, starts, ends)))

    def _quoted(self, windows: Numbers, quotations: Quotations) -> NDArray[np.bool_] | None:
        """Of each word whether it is quoted, as far as some windows in order go; None if nothing there is."""
        first, last = self._bounds
        places = self._starts[windows], self._ends[windows], self._others[windows]
        stretches: list[tuple[int, int, bool]] = []  # windows that overlap or touch are looked at as one
        for start, end, others in zip(*(each.tolist() for each in places), strict=True):
            if stretches and start <= stretches[-1][1] and others == stretches[-1][2]:
                start = stretches.pop()[0]
            stretches.append((start, end, others))
        found: list[tuple[int, int]] = []
        for start, end, others in stretches:
            within = int(first[start]), int(last[end - 1])
            found += quotations.between(*within, MENTION) if others else quotations.between(*within)
        if not found:
            return None
        quoted = np.zeros(len(first), np.bool_)
        for begin, behind in first.searchsorted(np.array(found)).tolist():
            quoted[begin:behind] = True
        return quoted

    def _places(self, starts: Numbers, ends: Numbers) -> list[tuple[int, int]]:
        """The bytes of stretches of words."""
        first, last = self._bounds
        return list(zip(first[starts].tolist(), last[ends - 1].tolist(), strict=True))

    @cached_property
    def _bounds(self) -> tuple[Numbers, Numbers]:
        return word_bounds(self._data) if self._reading.mixed else self._reading.bounds


def _roles_of(view: View, messages: Sequence[Message]) -> list[str]:
    """The role of each stretch between walls; a view put together from pieces has one, the least trusted."""
    if view.kind in ("plain", "parted"):
        return [
            message.role
            for index, message in enumerate(messages)
            if not index or messages[index - 1].role != message.role
        ]
    if len(messages) == 1:
        return [messages[0].role]
    roles = {messages[place[0]].role for place in islice(view.places(0, len(view.data)), _MOST_PLACES)}
    return [min(roles, key=lambda role: (role in TRUSTED, role not in DATA, role), default="user")]


@lru_cache(256)
def _is_coded(kind: str) -> bool:
    """Whether a view of this kind shows what somebody encoded."""
    return not _CODES.isdisjoint(_STEPS.split(kind))


def _stretches(data: bytes, words: Words, wall: np.uint64) -> tuple[list[int], list[int]]:
    """Where the words between walls start and end (exclusive)."""
    if WALL_WORD not in data:
        return [0], [len(words)]
    walls = np.flatnonzero(words == wall).tolist()
    if len(walls) != data.count(WALL_WORD):  # a word that is made to have the wall's number
        walls = [index for index, word in enumerate(split(data)) if word == WALL_WORD]
    return [0, *(place + 1 for place in walls)], [*walls, len(words)]


def _windows_of(start: int, end: int) -> tuple[Numbers, Numbers]:
    """The windows of one stretch of words (see `model.window_bounds`): starts and ends."""
    first = np.arange(start, max(end - STRIDE, start + 1), STRIDE)
    first[-1] = max(end - WINDOW, start)
    return first, np.minimum(first + WINDOW, end)


def _windows(starts: Numbers, ends: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The same of several: starts, ends, and of which stretch each is."""
    many = np.maximum(ends - starts - WINDOW + STRIDE - 1, 0) // STRIDE + 1
    which = np.arange(len(many)).repeat(many)
    number = np.arange(len(which)) - (many.cumsum() - many)[which]
    first = np.minimum(starts[which] + number * STRIDE, np.maximum(ends - WINDOW, starts)[which])
    return first, np.minimum(first + WINDOW, ends[which]), which


def _worst(evidence: Numbers, wanted: NDArray[np.bool_]) -> Numbers:
    """The windows with the most evidence of those that are wanted, in order."""
    found = wanted.nonzero()[0]
    if len(found) > _MOST_WINDOWS:
        found = np.sort(found[np.argsort(-evidence[found], kind="stable")[:_MOST_WINDOWS]])
    return found


def _running(values: Numbers) -> Numbers:
    """The sum of all values before each, and of all."""
    upto = np.empty(len(values) + 1, np.int64)
    upto[0] = 0
    np.add.accumulate(values, out=upto[1:])
    return upto


def _rows(added: Numbers, starts: Numbers, ends: Numbers) -> tuple[Numbers, Numbers]:
    """What each word of each window adds, one window a row, and which word that is; 0 behind the end of a window."""
    sizes = ends - starts
    longest = int(sizes.max())
    places = starts[:, None] + np.arange(longest)
    if int(sizes.min()) == longest:  # all but those of short texts
        return weights_of(added.take(places)), places
    inside = places < ends[:, None]
    places = np.minimum(places, len(added) - 1)
    return np.where(inside, weights_of(added.take(places)), 0), places


def _heaviest(added: Numbers, starts: Numbers, ends: Numbers) -> tuple[Numbers, Numbers]:
    """The words of each window that together add the most: starts and ends (exclusive). `added`: as of `_rows`."""
    behind = added.cumsum(axis=1)
    before = behind - added
    number = np.arange(added.shape[1])
    most = behind - np.minimum.accumulate(before, axis=1)
    last = np.where(number < (ends - starts)[:, None], most, -_NEVER).argmax(axis=1)
    first = np.where(number <= last[:, None], before, _NEVER).argmin(axis=1)
    return starts + first, starts + last + 1

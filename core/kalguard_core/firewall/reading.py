"""Reading: the words of a folded text, each looked up once for the rules and for the model.

Rules of this file:
- A word is what stands between ASCII that is neither letter nor digit, and between a few marks. It is in lower case.
- What is known of a word is one number, its *entry*: in its low bits what the word is to the model, above what it is to
  the rules. The model takes some words apart (letters of unspaced scripts, signs): those are `mixed`.
- A word is remembered by all of its bytes, so that nobody can plant an entry for another one; and so many, no more.
- Where most words are new, as hostile texts have them, they are looked up together: that takes half the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .phrase import TO_WORDS

Entries: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.int64]
"""Of words; wide enough for numpy to look up what they stand for without a copy."""
Places: TypeAlias = NDArray[np.int64]
Together: TypeAlias = tuple[Callable[[Sequence[bytes]], Sequence[int]], Callable[[Sequence[bytes]], Entries]]
"""What gives many words what they are to the rules, and to the model."""

MIXED: Final = 1 << 38
"""A bit of the model's: this word is others to it. Below are the bits of a word that is one."""
_MODEL_BITS: Final = 39  # above are the rules' 16

_BLOCK: Final = 1 << 15  # bytes that are split into words at once, so that they stay in the cache of the processor
_REMEMBERED: Final = 1 << 16  # words; a language is used with far fewer
_LONGEST_REMEMBERED: Final = 40  # bytes
# Punctuation that folding leaves, and that people write next to words. By their first bytes: most texts have none.
_MARKS: Final = tuple(
    (first, tuple((mark.encode(), b" " * len(mark.encode())) for mark in marks))
    for first, marks in ((b"\xc2", "¡¿"), (b"\xe3\x83", "・"))
)


class Reading:
    """The words of a folded text. `entries`: of each. `mixed`: the words whose entries have that bit, in order."""

    def __init__(self, spelled: bytes, entries: Entries, mixed: list[bytes]) -> None:
        self._spelled = spelled
        self.entries = entries
        self.mixed = mixed
        self._numbers: Numbers | None = None
        self._bounds: tuple[Places, Places] | None = None

    @property
    def numbers(self) -> Numbers:
        """What each word is to the rules."""
        if self._numbers is None:
            self._numbers = self.entries >> _MODEL_BITS
        return self._numbers

    def without_blanks(self, data: bytes) -> Reading:
        """The words that are left in `data`: this text with blanks for some of its words, each of them whole."""
        kept = np.frombuffer(data, np.uint8).take(self.bounds[0]) != 0x20
        mixed = self.mixed
        if mixed:
            mixed = list(compress(mixed, kept[self.entries & MIXED != 0].tolist()))
        return Reading(spell(data), self.entries[kept], mixed)

    @property
    def bounds(self) -> tuple[Places, Places]:
        """Where each word starts and ends in the bytes of the text."""
        if self._bounds is None:
            self._bounds = edges(self._spelled)
        return self._bounds


class Glossary:
    """Knows the entries of words. For any thread.

    `rules`, `model`: what they give a word; without them it is 0. `together`: the same for many words.
    """

    def __init__(
        self,
        rules: Callable[[bytes], int] | None,
        model: Callable[[bytes], int] | None,
        together: Together | None = None,
    ) -> None:
        self._entries = _Entries(rules or _nothing, model or _nothing)
        self._together = together

    def read(self, data: bytes) -> Reading:
        """The words of folded text."""
        entry_of = self._entries.__getitem__
        spelled = spell(data)
        is_ascii = spelled.isascii()
        parts: list[Entries] = []
        mixed: list[bytes] = []
        start = 0
        are_new = False
        while start < len(spelled):
            end = spelled.find(b" ", start + _BLOCK) if start + _BLOCK < len(spelled) else -1
            end = end if end >= 0 else len(spelled)
            words = spelled[start:end].split()
            known = len(self._entries)
            if are_new and self._together is not None:
                entries = self._entries.of_many(words, *self._together)
            else:
                entries = np.fromiter(map(entry_of, words), np.int64, len(words))
            are_new = 2 * (len(self._entries) - known) > len(words)
            parts.append(entries)
            if not is_ascii:
                mixed += [words[index] for index in (entries & MIXED).nonzero()[0].tolist()]
            start = end
        return Reading(spelled, _joined(parts), mixed)


def spell(data: bytes) -> bytes:
    """The words of folded text where they stand, with blanks for everything between them."""
    if not data.isascii():
        for first, marks in _MARKS:
            if first in data:
                for mark, blank in marks:
                    data = data.replace(mark, blank)
    return data.translate(TO_WORDS)


def edges(spelled: bytes) -> tuple[Places, Places]:
    """Where what is between blanks starts and ends."""
    is_blank = np.frombuffer(b" " + spelled + b" ", np.uint8) == 0x20
    changes = (is_blank[1:] != is_blank[:-1]).nonzero()[0]
    return changes[::2], changes[1::2]


def _joined(parts: list[Entries]) -> Entries:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


class _Entries(dict[bytes, int]):
    """The entry of each word. A memory of a pure function, and bounded."""

    def __init__(self, rules: Callable[[bytes], int], model: Callable[[bytes], int]) -> None:
        super().__init__()
        self._rules = rules
        self._model = model

    def __missing__(self, word: bytes) -> int:
        entry = self._rules(word) << _MODEL_BITS | self._model(word)
        if len(word) <= _LONGEST_REMEMBERED:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[word] = entry
        return entry

    def of_many(
        self,
        words: Sequence[bytes],
        rules: Callable[[Sequence[bytes]], Sequence[int]],
        model: Callable[[Sequence[bytes]], Entries],
    ) -> Entries:
        """The entries of words most of which are new: all of them are made anew."""
        entries = np.array(rules(words), np.int64) << _MODEL_BITS | model(words)
        if len(self) + len(words) > _REMEMBERED:
            self.clear()
        pairs = zip(words, entries.tolist(), strict=True)
        if max(map(len, words), default=0) > _LONGEST_REMEMBERED:
            self.update(pair for pair in pairs if len(pair[0]) <= _LONGEST_REMEMBERED)
        else:
            self.update(pairs)
        return entries


def _nothing(_word: bytes) -> int:
    return 0

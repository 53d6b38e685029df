"""Features: what the learned model knows of a text. Words, what they mean in any language, and what stands together.

Rules of this file:
- Whole numbers only, and no platform's own hash: the same text gives the same features on every machine.
- A text becomes *words* (folded, lower case, all digits alike; letters of unspaced scripts one by one). A word is one
  number: its hash, with the number of the concept that the lexicon gives it in the lowest six bits.
- A feature is a number below `SIZE`, and stands at a word:
  the word itself; two and three words in a row, and two with one between, where a word with a concept stands for all
  words of that concept; a concept; two or three concepts near each other in any order, because languages differ in it.
- Every feature stands at the last of its words, so that windows over words are sums.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .lexicon import SHORTEST_STEM, Lexicon

BITS: Final = 20
SIZE: Final = 1 << BITS
NEAR: Final = 10
"""Words between two concepts, counting the second, that still belong together; four more for three of them."""

Words: TypeAlias = NDArray[np.uint64]
Numbers: TypeAlias = NDArray[np.int64]

_CONCEPT: Final = np.uint64(0x3F)
_CONCEPT_BITS: Final = np.uint64(6)
_SHIFT: Final = np.uint64(64 - BITS)
_REMEMBERED: Final = 1 << 16  # words of which the number is kept; a language is used with far fewer
_LONGEST_REMEMBERED: Final = 32  # bytes
_SPREAD: Final = 0x9E3779B97F4A7C15
_HASH: Final = 0xFFFF_FFFF_FFFF_FFC0  # the bits of a word that are not its concept
# Odd multipliers, from the constants of xxHash and splitmix64: each kind of feature has its own.
_A, _B, _C, _D, _E, _F, _G, _H = (
    np.uint64(constant)
    for constant in (
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0xD6E8FEB86659FD93,
        0xA0761D6478BD642F,
        0xE7037ED1A0B428DB,
        0x8EBC6AF09C88C6E3,
        0x589965CC75374CC3,
        0x1D8E4E27C47D124F,
    )
)

_CONCEPT_HASHES: Final = (np.arange(64, dtype=np.uint64) + np.uint64(1)) * _H

# Bytes of words: letters in lower case, digits as 0, and everything beyond ASCII; the wall is a word by itself.
_TO_WORDS: Final = bytes(
    0x30
    if 0x30 <= byte <= 0x39
    else byte | 0x20
    if 0x41 <= byte <= 0x5A
    else byte
    if 0x61 <= byte <= 0x7A or byte >= 0x80 or byte == 0
    else 0x20
    for byte in range(0x100)
)
# Punctuation that folding leaves, and that stands next to words.
_PUNCTUATION_CLASS: Final = "\u00a1\u00bf\u060c\u061b\u061f\u3000-\u301f\u30fb\uff00-\uff0f\u2190-\u2bff"
_UNSPACED_CLASS: Final = "\u0e00-\u0eff\u3041-\u9fff"
WALL_WORD: Final = b"\0"
# First bytes of unspaced letters and of that punctuation.
_STRANGE: Final = re.compile(rb"[\xc2\xd8\xdb\xe0\xe2\xe3-\xe9\xef]")
_PART, _LONE = 1, 2  # of a character: part of a word, or a word by itself
_FIRST_UNSPACED: Final = re.compile(rb"[\xe0\xe3-\xe9]")


class Vocabulary:
    """The words of a lexicon, as `words_of` needs them. Safe to use from any thread."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._known = _Known(lexicon)
        self.wall = np.uint64(self._known[WALL_WORD])
        self._strings = lexicon.strings
        self._string_sizes = _sizes((string.decode("utf-8"), string) for string in lexicon.strings)

    def words_of(self, data: bytes) -> Words:
        """The words of folded text, as numbers, in order."""
        pieces = split(data)
        found = np.fromiter(map(self._known.__getitem__, pieces), np.uint64, len(pieces))
        if self._string_sizes and _FIRST_UNSPACED.search(data):
            self._mark_strings(pieces, found)
        return found

    def _mark_strings(self, pieces: Sequence[bytes], found: Words) -> None:
        """Give the concept of a string of unspaced letters to the first of them; the longest string wins."""
        strings, sizes, behind = self._strings, self._string_sizes, 0
        for index in [index for index, piece in enumerate(pieces) if piece in sizes]:
            if index < behind:
                continue
            for size in sizes[pieces[index]]:
                concept = strings.get(b"".join(pieces[index : index + size]))
                if concept:
                    found[index] = (found[index] & ~_CONCEPT) | np.uint64(concept)
                    behind = index + size
                    break


def split(data: bytes) -> list[bytes]:
    """The words of folded text as bytes. A NUL (the wall between messages) is a word of its own."""
    written = data.translate(_TO_WORDS)
    if _is_plain(data):
        return written.split()
    starts, ends = word_bounds(data)
    return [written[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _is_plain(data: bytes) -> bool:
    """Whether the words of a text are what stands between ASCII that is no part of words."""
    return data.isascii() or _STRANGE.search(data) is None


def word_places(data: bytes, stretches: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The bytes of folded text that each stretch of words (first, last exclusive; not empty) stands in."""
    wanted = list(stretches)
    if wanted:
        starts, ends = word_bounds(data)
        for first, last in wanted:
            yield int(starts[first]), int(ends[last - 1])


def word_bounds(data: bytes) -> tuple[Numbers, Numbers]:
    """Where each word of `split` starts and ends in the bytes of folded text."""
    if _is_plain(data):
        kinds = np.frombuffer(data.translate(_TO_WORDS), np.uint8) != 0x20
        edges = np.flatnonzero(np.diff(kinds, prepend=False, append=False))
        return edges[::2], edges[1::2]
    codes = np.frombuffer(data.decode("utf-8", "replace").encode("utf-32-le", "replace"), np.uint32)
    behind = np.cumsum(1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000))
    written = np.concatenate(([0], _KINDS[codes], [0]))
    here = written[1:-1]
    first = (here == _LONE) | ((here == _PART) & (written[:-2] != _PART))
    last = (here == _LONE) | ((here == _PART) & (written[2:] != _PART))
    ends: Numbers = behind[last]
    return np.concatenate(([0], behind))[:-1][first], ends


def _kinds_of_characters() -> NDArray[np.uint8]:
    """Of each code point, whether it is a word by itself, part of one, or neither."""
    kinds = np.full(0x110000, _PART, np.uint8)
    kinds[:0x80] = [_PART if bytes([byte]).translate(_TO_WORDS) != b" " else 0 for byte in range(0x80)]
    for pattern, kind in ((_UNSPACED_CLASS, _LONE), (_PUNCTUATION_CLASS, 0)):
        for found in re.finditer("(.)(?:-(.))?", pattern):
            kinds[ord(found[1]) : ord(found[2] or found[1]) + 1] = kind
    return kinds


def features_of(words: Words) -> Iterator[tuple[slice | Numbers, Numbers]]:
    """The features of a text, kind by kind: at which words they stand (no word twice), and which they are."""
    concepts = (words & _CONCEPT).view(np.int64)
    meant: Words = np.where(concepts > 0, _CONCEPT_HASHES[concepts], words)
    alone: Words = (words >> _CONCEPT_BITS) * _A
    yield slice(0, None), _numbers(alone)
    if len(words) > 1:
        pairs: Words = meant[:-1] * _B + meant[1:] * _C
        yield slice(1, None), _numbers(pairs)
    if len(words) > 2:
        triples: Words = meant[:-2] * _D + meant[1:-1] * _E + meant[2:] * _F
        yield slice(2, None), _numbers(triples)
        apart: Words = meant[:-2] * _G + meant[2:] * _H
        yield slice(2, None), _numbers(apart)
    known = np.flatnonzero(concepts)
    if not len(known):
        return
    number = concepts[known]
    yield known, _ALONE[number]
    for step in (1, 2, 3):
        near = np.flatnonzero(known[step:] - known[:-step] <= NEAR)
        yield known[near + step], _PAIRS[number[near], number[near + step]]
    near = np.flatnonzero(known[2:] - known[:-2] <= NEAR + 4)
    yield known[near + 2], _TRIPLES[number[near], number[near + 1], number[near + 2]]


def _numbers(hashes: Words) -> Numbers:
    """The features of hashes: their highest bits."""
    return (hashes >> _SHIFT).view(np.int64)


def _of_concepts(many: int) -> Numbers:
    """The features of so many concepts together, whatever their order."""
    grid = np.stack(np.meshgrid(*[np.arange(64, dtype=np.uint64)] * many, indexing="ij"))
    hashes = np.full(grid.shape[1:], many, np.uint64)
    for each in np.sort(grid, axis=0):
        hashes = (hashes ^ (hashes >> np.uint64(31)) ^ each) * _B
        hashes = (hashes ^ (hashes >> np.uint64(29))) * _A
    return _numbers(hashes)


_KINDS: Final = _kinds_of_characters()
_ALONE, _PAIRS, _TRIPLES = (_of_concepts(many) for many in (1, 2, 3))


class _Known(dict[bytes, int]):
    """The number of each word. A memory of a pure function, and bounded."""

    def __init__(self, lexicon: Lexicon) -> None:
        super().__init__()
        self._words = lexicon.words
        self._stems = lexicon.stems
        self._stem_sizes = _sizes((stem[:SHORTEST_STEM], stem) for stem in lexicon.stems)

    def __missing__(self, word: bytes) -> int:
        concept = self._words.get(word, 0)
        if not concept:
            for size in self._stem_sizes.get(word[:SHORTEST_STEM], ()):
                concept = self._stems.get(word[:size], 0) if size <= len(word) else 0
                if concept:
                    break
        number = ((crc32(word) + 1) * _SPREAD & _HASH) | concept
        if len(self) < _REMEMBERED and len(word) <= _LONGEST_REMEMBERED:
            self[word] = number
        return number


def _sizes(entries: Iterable[tuple[Any, Any]]) -> dict[bytes, tuple[int, ...]]:
    """By how entries begin, how long they are, longest first. Text counts letters, and begins with one of them."""
    found: dict[bytes, set[int]] = {}
    for start, entry in entries:
        if isinstance(start, str):
            found.setdefault(start[0].encode(), set()).add(len(start))
        else:
            found.setdefault(start, set()).add(len(entry))
    return {start: tuple(sorted(sizes, reverse=True)) for start, sizes in found.items()}

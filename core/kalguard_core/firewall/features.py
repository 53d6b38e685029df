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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Final, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .lexicon import SHORTEST_STEM, Lexicon
from .phrase import TO_WORDS
from .reading import MIXED, Entries, Glossary, Reading, edges

BITS: Final = 20
SIZE: Final = 1 << BITS
NEAR: Final = 10
"""Words between two concepts, counting the second, that still belong together."""
NEAR_THREE: Final = NEAR + 4
"""The same for three, from the first to the third."""
CONCEPTS: Final = 64
"""Numbers of concepts, with that of words that name none."""

Words: TypeAlias = NDArray[np.uint64]
Numbers: TypeAlias = NDArray[np.int64]

_CONCEPT: Final = np.uint64(0x3F)
_CONCEPT_BITS: Final = np.uint64(6)
_SHIFT: Final = np.uint64(64 - BITS)
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_CHECKSUM_BITS: Final = 32
_CHECKSUM: Final = np.uint64((1 << _CHECKSUM_BITS) - 1)
_LETTER_BITS: Final = 16  # of the code points of unspaced letters
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
# Two words in a row are hashed with B and C, three with D, E and F, two with one between with G and H. Here for a word
# as the last of these, as the one before it, and as the one before that.
_IN_A_ROW: Final = np.array([_C, _F, _H, _B, _E, _D, _G])[:, None]
_MULTIPLIERS: Final = (_B, _C, _D, _E)
_CONCEPT_HASHES: Final = (np.arange(64, dtype=np.uint64) + np.uint64(1)) * _H

# Digits are all alike.
_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(0x100))
# Punctuation that folding leaves, and that stands next to words.
_PUNCTUATION_CLASS: Final = "\u00a1\u00bf\u060c\u061b\u061f\u3000-\u301f\u30fb\uff00-\uff0f\u2190-\u2bff"
_UNSPACED_CLASS: Final = "\u0e00-\u0eff\u3041-\u9fff"
_BEHIND_UNSPACED: Final = 0xA000  # code point
# What that punctuation and those letters begin with, and little else.
_STRANGE: Final = re.compile(rb"[\xe3-\xe9]|\xe0[\xb8-\xbb]|\xe2[\x86-\xaf]|\xc2[\xa1\xbf]|\xd8[\x8c\x9b\x9f]|\xef\xbc")
WALL_WORD: Final = b"\0"
_GAP, _PART, _LONE = 0, 1, 2  # of a character: between words, part of one, a word by itself
_INSIDE, _LAST = 3, 4  # of the second and the third byte of the latter
_MAYBE: Final = 5  # of the first byte of a character: look at its code point
_KINDS_OF_BYTES: Final = np.array(
    [
        _MAYBE if byte in b"\xc2\xd8\xe0\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xef" else _GAP if byte == 0x20 else _PART
        for byte in TO_WORDS
    ],
    np.uint8,
)


class Vocabulary:
    """The words of a lexicon, and the number of any word. Safe to use from any thread."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._words = lexicon.words
        self._stems = lexicon.stems
        self._stem_sizes = _stem_sizes(lexicon.stems)
        self._strings = _Strings(lexicon.strings)
        self._glossary = Glossary(None, self.entry)
        self.wall = _numbered(np.array([self._name(WALL_WORD)]))[0]

    def words_of(self, data: bytes) -> Words:
        """The words of folded text, as numbers, in order."""
        return self.words(self._glossary.read(data))

    def words(self, reading: Reading) -> Words:
        """The words of a text, as numbers, in order. `reading`: by a glossary that has its entries from here."""
        names = reading.entries
        if reading.mixed:
            names = self._taken_apart(names, reading.mixed)
        return _numbered(names)

    def entry(self, word: bytes) -> int:
        """What a word in lower case is to the model: its name, or `MIXED`."""
        return self._name(word) if word.isascii() or _STRANGE.search(word) is None else MIXED

    def entries(self, words: Sequence[bytes]) -> Entries:
        """The same of many words."""
        together = b" ".join(words)
        named = together.translate(_DIGITS).split(b" ")
        concepts = list(map(self._words.get, named, repeat(0)))
        for index, sizes in enumerate(map(self._stem_sizes.get, [word[:SHORTEST_STEM] for word in named])):
            if sizes and not concepts[index]:
                concepts[index] = self._concept_of_stem(named[index], sizes)
        names: Entries = np.array(concepts, np.int64) << _CHECKSUM_BITS | np.array(list(map(crc32, named)), np.int64)
        if not together.isascii() and _STRANGE.search(together) is not None:
            names[[_STRANGE.search(word) is not None for word in words]] = MIXED
        return names

    def _name(self, word: bytes) -> int:
        """The checksum of a word, and above its 32 bits the number of its concept."""
        word = word.translate(_DIGITS)
        concept = self._words.get(word, 0)
        if not concept:
            concept = self._concept_of_stem(word, self._stem_sizes.get(word[:SHORTEST_STEM], ()))
        return concept << _CHECKSUM_BITS | crc32(word)

    def _concept_of_stem(self, word: bytes, sizes: Iterable[int]) -> int:
        """The concept of the first stem of these sizes that a word begins with, or 0."""
        for size in sizes:
            if size <= len(word) and (concept := self._stems.get(word[:size], 0)):
                return concept
        return 0

    def _taken_apart(self, names: Entries, mixed: Sequence[bytes]) -> Entries:
        """The names of words, with those that mixed ones are made of in their place."""
        data = b" ".join(mixed)
        starts, ends, codes = _spans(data)
        parts = self._letters.take(codes)
        others = np.flatnonzero(codes == 0)
        parts[others] = [
            self._name(data[start:end])
            for start, end in zip(starts[others].tolist(), ends[others].tolist(), strict=True)
        ]
        borders = np.cumsum([0, *map(len, mixed)]) + np.arange(len(mixed) + 1)
        is_mixed = names & MIXED != 0
        sizes = np.ones(len(names), np.int64)
        sizes[is_mixed] = np.diff(np.searchsorted(starts, borders))
        where_mixed = np.repeat(is_mixed, sizes)
        names = np.repeat(names, sizes)
        names[where_mixed] = parts
        letters = np.zeros(len(names), np.int64)
        letters[where_mixed] = codes
        places, concepts = self._strings.found(letters)
        names[places] = names[places] & (1 << _CHECKSUM_BITS) - 1 | concepts << _CHECKSUM_BITS
        return names

    @cached_property
    def _letters(self) -> Entries:
        """The name of each unspaced letter, by its code point. A lexicon has those in strings only."""
        names = np.zeros(_BEHIND_UNSPACED, np.int64)
        for code in np.flatnonzero(_KINDS[:_BEHIND_UNSPACED] == _LONE).tolist():
            names[code] = crc32(chr(code).encode())
        return names


class _Strings:
    """Strings of unspaced letters, as a tree. The tree is in tables, and all places of a text go down it together."""

    def __init__(self, strings: Mapping[bytes, int]) -> None:
        nodes: dict[tuple[int, int], int] = {}  # of a node (0 is the root) and a letter, the next node
        concepts, depths = [0], [0]  # of each node: of the string that ends there, and how long such strings are
        for string, concept in strings.items():
            node = 0
            for letter in map(ord, string.decode("utf-8")):
                following = nodes.setdefault((node, letter), len(concepts))
                if following == len(concepts):
                    concepts.append(0)
                    depths.append(depths[node] + 1)
                node = following
            concepts[node] = concept
        self._concepts, self._depths = np.array(concepts), np.array(depths)
        self._deepest = max(depths)
        steps = sorted((node << _LETTER_BITS | letter, following) for (node, letter), following in nodes.items())
        self._steps, self._following = np.array([*steps, (1 << 62, 0)], np.int64).T.copy()
        self._first = np.zeros(1 << _LETTER_BITS, np.int64)  # the node of each first letter
        self._is_later = np.zeros(1 << _LETTER_BITS, np.bool_)  # most letters are in no string, but at its start
        for (node, letter), following in nodes.items():
            if node:
                self._is_later[letter] = True
            else:
                self._first[letter] = following

    def found(self, letters: Numbers) -> tuple[Numbers, Numbers]:
        """(places, concepts) of the strings in a text: read from left to right, the longest at each place.

        `letters`: code points; 0 for all that is no unspaced letter.
        """
        places = np.flatnonzero(self._first.take(letters))
        letters = np.append(letters, np.zeros(self._deepest, np.int64))
        nodes = self._first.take(letters.take(places))
        longest = np.where(self._concepts.take(nodes), nodes, 0)
        rows = np.arange(len(places))
        for depth in range(1, self._deepest):
            coming = letters.take(places.take(rows) + depth)
            going = np.flatnonzero(self._is_later.take(coming))
            steps = nodes.take(going) << _LETTER_BITS | coming.take(going)
            known = np.searchsorted(self._steps, steps)
            is_known = self._steps.take(known) == steps
            rows, nodes = rows.take(going)[is_known], self._following.take(known[is_known])
            if not len(rows):
                break
            is_end = self._concepts.take(nodes) > 0
            longest[rows[is_end]] = nodes[is_end]
        hits = np.flatnonzero(longest)
        places, nodes = places.take(hits), longest.take(hits)
        ends = places + self._depths.take(nodes)
        kept = _first_of_overlapping(places, ends)
        return places.take(kept), self._concepts.take(nodes.take(kept))


def _first_of_overlapping(starts: Numbers, ends: Numbers) -> Numbers:
    """The indexes of stretches, in order of their starts, that don't overlap one kept before them."""
    farthest = np.maximum.accumulate(ends)
    is_kept = np.ones(len(starts), np.bool_)
    is_kept[1:] = starts[1:] >= farthest[:-1]  # these overlap nothing before them
    doubtful = (~is_kept).nonzero()[0]
    behind = following = 0
    for index, start, end in zip(doubtful.tolist(), starts[doubtful].tolist(), ends[doubtful].tolist(), strict=True):
        if index != following:  # the one before it is kept
            behind = int(ends[index - 1])
        following = index + 1
        if start >= behind:
            is_kept[index] = True
            behind = end
    return is_kept.nonzero()[0]


def split(data: bytes) -> list[bytes]:
    """The words of folded text as bytes. A NUL (the wall between messages) is a word of its own."""
    written = data.translate(TO_WORDS).translate(_DIGITS)
    starts, ends = word_bounds(data)
    return [written[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def word_bounds(data: bytes) -> tuple[Numbers, Numbers]:
    """Where each word of `Vocabulary.words_of` starts and ends in the bytes of folded text."""
    if data.isascii() or _STRANGE.search(data) is None:
        return edges(data.translate(TO_WORDS))
    starts, ends, _ = _spans(data)
    return starts, ends


def _spans(data: bytes) -> tuple[Numbers, Numbers, Numbers]:
    """Where words start and end, and the code points of those that are unspaced letters; 0 for others."""
    written = np.frombuffer(data + b"  ", np.uint8)
    kinds = _KINDS_OF_BYTES.take(written)
    leads = np.flatnonzero(kinds == _MAYBE)
    kinds[leads] = _PART
    one, two, three = (written.take(leads + offset).astype(np.uint16) for offset in range(3))
    codes = np.where(one < 0xE0, (one & 0x1F) << 6 | two & 0x3F, (one & 0xF) << 12 | (two & 0x3F) << 6 | three & 0x3F)
    kind = _KINDS.take(codes)
    for gap in (leads[kind == _GAP], leads[kind == _GAP] + 1, leads[(kind == _GAP) & (one >= 0xE0)] + 2):
        kinds[gap] = _GAP
    lone = np.flatnonzero(kind == _LONE)
    letters = leads[lone]
    kinds[letters], kinds[letters + 1], kinds[letters + 2] = _LONE, _INSIDE, _LAST
    is_part = np.concatenate(([False], kinds == _PART))
    starts = np.flatnonzero((kinds == _LONE) | (is_part[1:] > is_part[:-1]))
    ends = np.flatnonzero((kinds[:-1] == _LAST) | (is_part[1:-1] > is_part[2:])) + 1
    found = np.zeros(len(starts), np.int64)
    found[kinds[starts] == _LONE] = codes[lone]
    return starts, ends, found


def _kinds_of_characters() -> NDArray[np.uint8]:
    """Of each code point, whether it is a word by itself, part of one, or neither."""
    kinds = np.full(0x110000, _PART, np.uint8)
    kinds[:0x80] = [_GAP if byte == 0x20 else _PART for byte in TO_WORDS[:0x80]]
    for pattern, kind in ((_UNSPACED_CLASS, _LONE), (_PUNCTUATION_CLASS, _GAP)):
        for found in re.finditer("(.)(?:-(.))?", pattern):
            kinds[ord(found[1]) : ord(found[2] or found[1]) + 1] = kind
    return kinds


def features_of(words: Words) -> Iterator[tuple[slice | Numbers, Numbers]]:
    """The features of a text, kind by kind: at which words they stand (no word twice), and which they are."""
    for first, row in zip(FIRST, in_a_row(words), strict=True):
        if first < len(words):
            yield slice(first, None), row[first:]
    concepts = concepts_of(words)
    known = np.flatnonzero(concepts)
    if not len(known):
        return
    number = concepts[known]
    yield known, ALONE[number].astype(np.int64)
    for step in (1, 2, 3):
        near = np.flatnonzero(known[step:] - known[:-step] <= NEAR)
        yield known[near + step], PAIRS[number[near], number[near + step]].astype(np.int64)
    near = np.flatnonzero(known[2:] - known[:-2] <= NEAR_THREE)
    yield known[near + 2], TRIPLES[number[near], number[near + 1], number[near + 2]].astype(np.int64)


def concepts_of(words: Words) -> Numbers:
    """The number of the concept that each word names; 0 for most."""
    return (words & _CONCEPT).view(np.int64)


FIRST: Final = (0, 1, 2, 2)
"""The first word at which each row of `in_a_row` has a feature; what stands before it means nothing."""


def in_a_row(words: Words) -> Numbers:
    """The features that words have by what stands right before them, a kind a row."""
    concepts = concepts_of(words)
    meant: Words = np.where(concepts, _CONCEPT_HASHES.take(concepts), words)
    products = meant * _IN_A_ROW
    hashes = np.empty((len(FIRST), len(words)), np.uint64)
    np.right_shift(words, _CONCEPT_BITS, out=hashes[0])
    hashes[0] *= _A
    hashes[1:] = products[:3]
    hashes[1:3, 1:] += products[3:5, :-1]
    hashes[2:, 2:] += products[5:, :-2]
    hashes >>= _SHIFT
    return hashes.view(np.int64)


def _of_concepts(many: int) -> NDArray[np.int32]:
    """The features of so many concepts together, whatever their order."""
    grid = np.stack(np.meshgrid(*[np.arange(64, dtype=np.uint64)] * many, indexing="ij"))
    hashes = np.full(grid.shape[1:], int(_MULTIPLIERS[many]), np.uint64)  # a small one would meet small numbers
    for each in np.sort(grid, axis=0):
        hashes = (hashes ^ (hashes >> np.uint64(31)) ^ each) * _B
        hashes = (hashes ^ (hashes >> np.uint64(29))) * _A
    return (hashes >> _SHIFT).astype(np.int32)


_KINDS: Final = _kinds_of_characters()
ALONE, PAIRS, TRIPLES = (_of_concepts(many) for many in (1, 2, 3))
"""The features of one, two and three concepts, by their numbers; those of 0 mean nothing."""


def _numbered(names: Entries) -> Words:
    """The numbers of words: their checksums spread over 58 bits, and their concepts."""
    numbers = names.view(np.uint64)
    hashes = ((numbers & _CHECKSUM) + np.uint64(1)) * _SPREAD & ~_CONCEPT
    return hashes | numbers >> np.uint64(_CHECKSUM_BITS) & _CONCEPT


def _stem_sizes(stems: Iterable[bytes]) -> dict[bytes, tuple[int, ...]]:
    """By how stems begin, how long they are, longest first."""
    found: dict[bytes, set[int]] = {}
    for stem in stems:
        found.setdefault(stem[:SHORTEST_STEM], set()).add(len(stem))
    return {start: tuple(sorted(sizes, reverse=True)) for start, sizes in found.items()}

"""The engine: all rules over one text in linear time, with the place of each match.

Rules of this file:
- Every text is read twice by Hyperscan: once as it is (shapes), and once as a string with one byte for each word,
  which says what the word can be in a phrase (phrases). A word is in several lists of `WORDS`, so its byte stands
  for the set of lists that it is in.
- Hyperscan releases the GIL while it scans, and its scratch memory may be used by one scan at a time: each thread
  has its own.
- Each match takes the GIL back, so the number of matches that are looked at is bounded. A text with more of them
  is an attack by itself (`FLOOD`).
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import hyperscan

from .fold import fold_bytes
from .rules import Rule

WALL: Final = b"\n\x00\n"
"""Stands between texts that no match may reach across."""

FLOOD: Final = Rule("flood", "flood", 80, "", "more matches than an honest text could have")
MAX_MATCHES: Final = 256

ENCODED_RUN: Final = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
"""What may be base64 of 18 bytes or more."""

_PLACED: Final[int] = hyperscan.HS_FLAG_SOM_LEFTMOST  # tell where matches start
_BLOCK: Final = 1 << 12  # bytes that are split into words at once
_OTHER: Final = 1  # the byte of a word that is in no list; 0 is the wall's
_TOGETHER: Final = 6  # phrases compiled into one database: compiling takes more than twice as long for twice as many
_KINDS: Final = 0xFF - _OTHER
_WORD: Final = re.compile(rb"[0-9A-Za-z\x00\x80-\xff]+")
_TO_WORDS: Final = bytes(byte if _WORD.match(bytes([byte])) else 0x20 for byte in range(0x100)).lower()
_NAME: Final = re.compile(r"[A-Z_]+|[a-z]+")  # of a list of words, or a word, in a phrase


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that matched bytes `start` to `end` (exclusive) of a text."""

    rule: Rule
    start: int
    end: int


class _Patterns:
    """A Hyperscan database and the scratch memory of each thread that uses it."""

    def __init__(self, patterns: Sequence[bytes], flags: int) -> None:
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=list(patterns), ids=list(range(len(patterns))), flags=[flags] * len(patterns)
        )
        self._local = threading.local()

    def scan(self, data: bytes) -> list[tuple[int, int, int]]:
        """(pattern, start, end) of the first `MAX_MATCHES` matches, in order of their ends."""
        found: list[tuple[int, int, int]] = []

        def on_match(pattern: int, start: int, end: int, _flags: int, _context: object) -> bool:
            found.append((pattern, start, end))
            return len(found) >= MAX_MATCHES

        try:
            scratch = self._local.scratch
        except AttributeError:
            scratch = self._local.scratch = hyperscan.Scratch(self._database)
        try:
            self._database.scan(data, match_event_handler=on_match, scratch=scratch)
        except hyperscan.ScanTerminated:
            pass  # `on_match` asked for it
        return found


class Engine:
    """The compiled rules. Compiles once, in tens of milliseconds; safe to use from any thread."""

    def __init__(self, words: Mapping[str, str], phrases: Sequence[Rule], shapes: Sequence[Rule]) -> None:
        self._books = _phrasebooks(words, phrases)
        known = {word for book in self._books for word in book.codes}
        self._codes = {word: bytes(book.codes.get(word, _OTHER) for book in self._books) for word in known}
        self._shapes = tuple(shapes)
        self._shape_patterns = _Patterns(
            [fold_bytes(rule.pattern) for rule in shapes],
            _PLACED | hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_MULTILINE,
        )
        self._encoded = _Patterns([ENCODED_RUN.pattern], hyperscan.HS_FLAG_SINGLEMATCH)

    def may_be_encoded(self, data: bytes) -> bool:
        """Whether there is any `ENCODED_RUN` in a text."""
        return bool(self._encoded.scan(data))

    def matches(self, data: bytes) -> list[Match]:
        """All matches in folded text, each rule's overlapping ones as one; a `FLOOD` for those past the bound."""
        return [*self._match_shapes(data), *self._match_phrases(data)]

    def _match_shapes(self, data: bytes) -> list[Match]:
        return _merged(self._shapes, self._shape_patterns.scan(data), len(data))

    def _match_phrases(self, data: bytes) -> list[Match]:
        words = _Words(data, self._codes, len(self._books))
        return [
            Match(match.rule, *words.place(match.start, match.end))
            for book, string in zip(self._books, words.strings, strict=True)
            for rules, patterns in book.databases
            for match in _merged(rules, patterns.scan(string), len(string))
        ]


def _merged(rules: Sequence[Rule], found: Sequence[tuple[int, int, int]], size: int) -> list[Match]:
    """Overlapping matches of a rule joined; too many matches end in one that covers the rest."""
    last: dict[int, tuple[int, int]] = {}
    merged: list[Match] = []
    for pattern, start, end in found:
        known = last.get(pattern)
        if known is not None and start <= known[1]:
            last[pattern] = (min(start, known[0]), end)
            continue
        if known is not None:
            merged.append(Match(rules[pattern], *known))
        last[pattern] = (start, end)
    merged.extend(Match(rules[pattern], *place) for pattern, place in last.items())
    if len(found) >= MAX_MATCHES:
        merged.append(Match(FLOOD, found[-1][1], size))
    return merged


class _Phrasebook:
    """Some phrases, compiled, and the byte of each word that they know.

    Words are told apart only by the lists that they are in, as far as these phrases ask for them; so many
    phrases fit into one book before its bytes run out.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        self._members: dict[str, frozenset[str]] = {}  # of each list that a phrase names
        self.rules: list[Rule] = []
        self.codes: dict[bytes, int] = {}

    def add(self, rule: Rule) -> bool:
        """Take a phrase in, if there is room. Raises `KeyError` for a list that does not exist."""
        members = dict(self._members)
        for name in _NAME.findall(rule.pattern):
            if name != "ANY" and name not in members:
                # a word that stands in a phrase as itself is a list of its own
                members[name] = frozenset([name] if name.islower() else self._words[name].split())
        if len(set(_kinds(members).values())) > _KINDS:
            return False
        self._members = members
        self.rules.append(rule)
        return True

    def compile(self) -> None:
        """Fix the bytes and build the database; nothing can be added after."""
        kinds = _kinds(self._members)
        code = {kind: number for number, kind in enumerate(sorted(set(kinds.values())), _OTHER + 1)}
        self.codes = {b"\x00": 0, **{word.encode(): code[kind] for word, kind in kinds.items()}}
        classes = {"ANY": r"[^\x00]"}
        for name in self._members:
            classes[name] = "[" + "".join(rf"\x{code[kind]:02x}" for kind in code if name in kind) + "]"

        def expression(pattern: str) -> bytes:
            named = _NAME.sub(lambda name: classes[name.group()], pattern)
            return named.replace(" ", "").replace("(", "(?:").encode("ascii")

        expressions = [expression(rule.pattern) for rule in self.rules]
        self.databases = [
            (self.rules[first : first + _TOGETHER], _Patterns(expressions[first : first + _TOGETHER], _PLACED))
            for first in range(0, len(expressions), _TOGETHER)
        ]


def _kinds(members: Mapping[str, frozenset[str]]) -> dict[str, tuple[str, ...]]:
    """For each word the names of the lists that it is in."""
    kinds: dict[str, tuple[str, ...]] = {}
    for name in sorted(members):
        for word in members[name]:
            kinds[word] = (*kinds.get(word, ()), name)
    return kinds


def _phrasebooks(words: Mapping[str, str], phrases: Sequence[Rule]) -> list[_Phrasebook]:
    books = [_Phrasebook(words)]
    for rule in phrases:
        if not books[-1].add(rule):
            books.append(_Phrasebook(words))
            books[-1].add(rule)
    for book in books:
        book.compile()
    return books


class _Words:
    """A folded text as one string of word bytes for each phrasebook, and the way back."""

    def __init__(self, data: bytes, codes: Mapping[bytes, bytes], books: int) -> None:
        self._data = data
        self._first_words: list[int] = []  # index of the first word of each block
        self._offsets: list[int] = []  # where the block starts in `data`
        self._spans: dict[int, list[tuple[int, int]]] = {}  # of all words of the blocks that were asked about
        parts: list[bytes] = []
        unknown = bytes([_OTHER]) * books
        offset = count = 0
        while offset < len(data):
            block = data[offset : offset + _BLOCK].translate(_TO_WORDS)
            if len(block) == _BLOCK:
                # not in the middle of a word, unless the word is longer than a block
                block = block[: block.rfind(b" ") + 1] or block
            words = block.split()
            parts.append(b"".join([codes.get(word, unknown) for word in words]))
            self._first_words.append(count)
            self._offsets.append(offset)
            count += len(words)
            offset += len(block)
        together = b"".join(parts)
        self.strings = [together[book::books] for book in range(books)]

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The bytes of words `start` to `end` (exclusive, not empty)."""
        return self._word(start)[0], self._word(end - 1)[1]

    def _word(self, index: int) -> tuple[int, int]:
        block = bisect_right(self._first_words, index) - 1
        first = self._first_words[block]
        spans = self._spans.get(block)
        if spans is None:
            # all of a block at once: an attack that repeats itself asks for each of them
            last = self._first_words[block + 1] if block + 1 < len(self._first_words) else len(self.strings[0])
            words = islice(_WORD.finditer(self._data, self._offsets[block]), last - first)
            spans = self._spans[block] = [word.span() for word in words]
        return spans[index - first]

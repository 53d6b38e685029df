"""Quotations: which bytes of folded text stand in quotation marks, as part of a longer sentence or as a mere mention.

Rules of this file:
- A quotation ends on its line, and holds at most 400 bytes. Apostrophes quote nothing.
- The quotation marks of JSON, of programs and of markup quote only what is short (`MENTION`): the phrases that a guard
  looks for, the excerpts in its log. Longer literals are how data is written, orders to an agent among it.
- What stands behind a wall was said by another role, or elsewhere: it makes no sentence of a quotation. Else a tool's
  result that is one string would be a mere mention wherever others have said something too.
- A text is looked at block by block, where somebody asks: long ones are hardly asked about. A block is read from the
  start of its first line, or from the block before it where that line is longer, so a byte has one answer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Final

MENTION: Final = 62
"""Bytes of a quotation, with its marks, that has room to name an attack and hardly to say what to do next."""

_BLOCK: Final = 4096
_LONGEST: Final = 402  # bytes of a quotation with its marks
_AROUND: Final = 200  # bytes on either side of a quotation that say what it is part of
_ELSE: Final = 24  # bytes that a text has besides a mention: a text that is quoted as a whole is no mention
_SENTENCE: Final = 12  # letters around a quotation that make a sentence of it
# Folding makes these of all quotation marks. Each alternative begins with its mark: `re` skips what is none of them.
_QUOTATION: Final = re.compile(rb'"[^"\n]{4,400}"|`[^`\n]{4,400}`|\'(?<![0-9A-Za-z]\')[^\'\n]{4,400}\'')
_MARKS: Final = (b'"', b"`", b"'")
_WALL: Final = b"\n\x00\n"
_MARK: Final = re.compile(b"[\"`']")
_OPENING: Final = re.compile(b"[\"`']" + rb"(?<![0-9A-Za-z]')")
_LETTERS_AND_DIGITS: Final = frozenset(byte for byte in range(0x80) if chr(byte).isalnum())
_NOT_BEFORE: Final = frozenset(b"=\\")
_FORMAT_QUOTES: Final = frozenset({b'"', b"'"})
_FORMAT_STARTS: Final = frozenset({b"{", b"["})
_NO_LETTERS: Final = bytes(byte for byte in range(0x80) if not chr(byte).isalpha())


class Quotations:
    """The quotations of a text."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._blocks: dict[int, list[tuple[int, int]]] = {}
        self._verdicts: dict[tuple[int, int], bool] = {}

    @cached_property
    def are_any(self) -> bool:
        """Whether the text has quotation marks; of most texts nobody asks."""
        return any(mark in self._data for mark in _MARKS)

    def around(self, start: int, end: int) -> int:
        """How long the quotation is, with its marks, that both ends (exclusive) stand in; 0 if one is not quoted."""
        first = self._at(start)
        last = self._at(end - 1) if first else 0
        return max(first, last) if last else 0

    def begin(self, place: int) -> int:
        """Where the quotation begins that a byte stands in; only for one that does (`around`)."""
        found = self._of_block(place // _BLOCK)
        return found[bisect_right(found, (place, len(self._data))) - 1][0]

    def between(self, start: int, end: int, longest: int = _LONGEST) -> Iterator[tuple[int, int]]:
        """What is quoted of the bytes `start` to `end` (exclusive) and next to them, in order.

        `longest`: longer quotations are left out.
        """
        if self.are_any:
            for block in range(start // _BLOCK, (end - 1) // _BLOCK + 1):
                for first, last in self._of_block(block):
                    if first < end and start < last and last - first <= longest and self._quotes(first, last):
                        yield max(first, block * _BLOCK), min(last, (block + 1) * _BLOCK)

    def _at(self, place: int) -> int:
        """How long the quotation is that a byte stands in, or 0."""
        if not self.are_any or not self._may_hold(place):
            return 0
        found = self._of_block(place // _BLOCK)
        index = bisect_right(found, (place, len(self._data))) - 1
        if index < 0 or place >= found[index][1] or not self._quotes(*found[index]):
            return 0
        return found[index][1] - found[index][0]

    def _may_hold(self, place: int) -> bool:
        """Whether marks stand on both sides, on this line: hardly ever, so it pays to look before a block is read."""
        data = self._data
        start = max(place - _LONGEST, 0)
        start = max(data.rfind(b"\n", start, place) + 1, start)
        end = data.find(b"\n", place, place + _LONGEST)
        end = place + _LONGEST if end < 0 else end
        return _OPENING.search(data, start, place + 1) is not None and _MARK.search(data, place, end) is not None

    def _of_block(self, block: int) -> list[tuple[int, int]]:
        """What stands in quotation marks in a block, and reaches into it, in order."""
        found = self._blocks.get(block)
        if found is None:
            start, end = block * _BLOCK, (block + 1) * _BLOCK
            begin = max(start - _BLOCK, 0)
            begin = max(self._data.rfind(b"\n", begin, start) + 1, begin)
            quotations = map(re.Match.span, _QUOTATION.finditer(self._data, begin, end + _LONGEST))
            found = self._blocks[block] = [place for place in quotations if place[0] < end and start < place[1]]
        return found

    def _quotes(self, first: int, last: int) -> bool:
        verdict = self._verdicts.get((first, last))
        if verdict is None:
            verdict = self._verdicts[first, last] = _quotes(self._data, first, last)
        return verdict


def _quotes(data: bytes, first: int, last: int) -> bool:
    """Whether marks and what is between them are a quotation."""
    if (first and data[first - 1] in _LETTERS_AND_DIGITS) or (last < len(data) and data[last] in _LETTERS_AND_DIGITS):
        return False  # an apostrophe
    before = data[max(first - _AROUND, 0) : first].rpartition(_WALL)[2]
    after = data[last : last + _AROUND].partition(_WALL)[0]
    return (last - first <= MENTION and len(before) + len(after) >= _ELSE) or _is_of_sentence(before, after)


def _is_of_sentence(before: bytes, after: bytes) -> bool:
    """Whether a quotation between these bytes is part of a longer sentence."""
    if before and before[-1] in _NOT_BEFORE:
        return False  # part of a format
    bare = before.rstrip()
    if bare[-2:-1] in _FORMAT_QUOTES or bare[-1:] in _FORMAT_STARTS:
        return False
    line, rest = before.rpartition(b"\n")[2], after.partition(b"\n")[0]
    if not line.strip() and rest.strip() == b",":
        return True  # one of the literals of a list in a program
    return len((line + rest).translate(None, _NO_LETTERS)) >= _SENTENCE

"""Quotations: which bytes of folded text stand in quotation marks, as part of a longer sentence.

Rules of this file:
- A quotation ends on its line, and holds at most 400 bytes. Apostrophes, and the quotation marks of JSON, of programs
  and of markup quote nothing.
- A text is looked at block by block, where somebody asks: long ones are hardly asked about. A block is read from the
  start of its first line, or from the block before it where that line is longer, so a byte has one answer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

_BLOCK: Final = 4096
_LONGEST: Final = 402  # bytes of a quotation with its marks
_AROUND: Final = 200  # bytes on either side of a quotation that say what it is part of
_SENTENCE: Final = 12  # letters around a quotation that make a sentence of it
# Folding makes these of all quotation marks. Each alternative begins with its mark: `re` skips what is none of them.
_QUOTATION: Final = re.compile(rb'"[^"\n]{4,400}"|`[^`\n]{4,400}`|\'(?<![0-9A-Za-z]\')[^\'\n]{4,400}\'')
_MARKS: Final = (b'"', b"`", b"'")
_MARK: Final = re.compile(b"[\"`']")
_OPENING: Final = re.compile(b"[\"`']" + rb"(?<![0-9A-Za-z]')")
_LETTERS_AND_DIGITS: Final = frozenset(byte for byte in range(0x80) if chr(byte).isalnum())
_NOT_BEFORE: Final = _LETTERS_AND_DIGITS | frozenset(b"=\\")
_FORMAT_QUOTES: Final = frozenset({b'"', b"'"})
_FORMAT_STARTS: Final = frozenset({b"{", b"["})
_NO_LETTERS: Final = bytes(byte for byte in range(0x80) if not chr(byte).isalpha())


class Quotations:
    """The quotations of a text. `are_any`: whether it has quotation marks."""

    __slots__ = ("_blocks", "_data", "_verdicts", "are_any")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.are_any = any(mark in data for mark in _MARKS)
        self._blocks: dict[int, list[tuple[int, int]]] = {}
        self._verdicts: dict[tuple[int, int], bool] = {}

    def hold(self, place: int) -> bool:
        """Whether a byte is quoted."""
        if not self.are_any or not self._may_hold(place):
            return False
        found = self._of_block(place // _BLOCK)
        index = bisect_right(found, (place, len(self._data))) - 1
        return index >= 0 and place < found[index][1] and self._is_of_sentence(*found[index])

    def between(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """What is quoted of the bytes `start` to `end` (exclusive) and next to them, in order."""
        if self.are_any:
            for block in range(start // _BLOCK, (end - 1) // _BLOCK + 1):
                for first, last in self._of_block(block):
                    if first < end and start < last and self._is_of_sentence(first, last):
                        yield max(first, block * _BLOCK), min(last, (block + 1) * _BLOCK)

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

    def _is_of_sentence(self, first: int, last: int) -> bool:
        verdict = self._verdicts.get((first, last))
        if verdict is None:
            verdict = self._verdicts[first, last] = _is_of_sentence(self._data, first, last)
        return verdict


def _is_of_sentence(data: bytes, first: int, last: int) -> bool:
    """Whether a quotation, with its marks, is part of a longer sentence."""
    if (first and data[first - 1] in _NOT_BEFORE) or (last < len(data) and data[last] in _LETTERS_AND_DIGITS):
        return False  # an apostrophe, or part of a format
    before, after = data[max(first - _AROUND, 0) : first], data[last : last + _AROUND]
    bare = before.rstrip()
    if bare[-2:-1] in _FORMAT_QUOTES or bare[-1:] in _FORMAT_STARTS:
        return False
    line, rest = before.rpartition(b"\n")[2], after.partition(b"\n")[0]
    if not line.strip() and rest.strip() == b",":
        return True  # one of the literals of a list in a program
    return len((line + rest).translate(None, _NO_LETTERS)) >= _SENTENCE

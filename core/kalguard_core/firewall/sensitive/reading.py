"""How detectors see a text: one byte for each character, with the way back.

Rules of this file:
- Case stays: keys and checksums depend on it. Digits of every script, fullwidth letters, and letters with accents
  become the ASCII ones that a reader takes them for; every kind of dash and of space becomes `-` and a space.
- Any other character is one byte (0xFF) that no pattern takes for a letter; an invisible one is 0x01. So a byte of
  a reading has the index of its character, and only where invisible characters were left out there is a map.
- NUL is never text: it stands between messages, and for placeholders.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

OTHER: Final = 0xFF
UNSEEN: Final = 0x01
_CONTROLS: Final = bytes(sorted({*range(0x20), 0x7F} - set(b"\t\n\v\f\r")))
_TO_UNSEEN: Final = bytes(UNSEEN if code in _CONTROLS else code for code in range(256))
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_PLAIN_END: Final = 0xE0200
# Where there are digits, letters, spaces, dashes and marks that mean something here; ideographs never do.
_AROUND: Final = 1_024  # bytes on either side of an invisible character that a value may have
_BETWEEN: Final = np.array([-1])
_TOLD_APART: Final = ((0x80, 0x3100), (0xA620, 0xAC00), (0xF900, 0x11000), (0x1D400, 0x1D800), (0x1F100, 0x1F200))
_HIDDEN_PLANE: Final = (0xE0000, _PLAIN_END)


@dataclass(frozen=True, slots=True)
class Reading:
    """Bytes, and for each of them the index of its character (None: the same)."""

    data: bytes
    origin: npt.NDArray[np.int64] | None = None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The characters that bytes `start` to `end` (exclusive, not empty) come from."""
        if self.origin is None:
            return start, end
        return int(self.origin[start]), int(self.origin[end - 1]) + 1


def read(text: str) -> bytes:
    """The text as it is written, a byte a character. Never raises."""
    if text.isascii():
        return text.encode("ascii").translate(_TO_UNSEEN)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return np.take(_table(), codes, mode="clip").tobytes()


def seen(data: bytes) -> Reading | None:
    """What stands around invisible characters, without them; None if there are none.

    Pieces that lie apart have a NUL between them; they begin and end at spaces, where there are some near.
    """
    if UNSEEN not in data:
        return None
    array = np.frombuffer(data, dtype=np.uint8)
    unseen = np.flatnonzero(array == UNSEEN)
    breaks = np.flatnonzero(np.diff(unseen) > 4 * _AROUND)
    firsts = unseen[np.concatenate(([0], breaks + 1))].tolist()
    lasts = unseen[np.concatenate((breaks, [len(unseen) - 1]))].tolist()
    pieces: list[npt.NDArray[np.int64]] = []
    for first, last in zip(firsts, lasts, strict=True):
        space = data.rfind(b" ", max(0, first - 2 * _AROUND), max(0, first - _AROUND))
        start = space + 1 if space >= 0 else max(0, first - _AROUND)
        space = data.find(b" ", last + _AROUND, last + 2 * _AROUND)
        piece = np.arange(start, space if space >= 0 else min(len(data), last + _AROUND))
        if pieces:
            pieces.append(_BETWEEN)
        pieces.append(piece[array[piece] != UNSEEN])
    origin = np.concatenate(pieces)
    return Reading(np.where(origin < 0, np.uint8(0), array[origin]).tobytes(), origin)


@cache
def _table() -> npt.NDArray[np.uint8]:
    table = np.full(_PLAIN_END + 1, OTHER, dtype=np.uint8)
    table[:0x80] = np.frombuffer(bytes(range(0x80)).translate(_TO_UNSEEN), dtype=np.uint8)
    for first, last in _TOLD_APART:
        table[first:last] = [_byte(chr(code)) for code in range(first, last)]
    table[slice(*_HIDDEN_PLANE)] = UNSEEN
    return table


def _byte(char: str) -> int:
    category = unicodedata.category(char)
    if char in "\x85\u2028\u2029":
        return ord("\n")
    if category in {"Cf", "Cc", "Mn", "Me"} or char in _FILLERS:
        return UNSEEN
    if category == "Zs":
        return ord(" ")
    if category == "Pd" or char == "\u2212":
        return ord("-")
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return ord("0") + int(digit)
    plain = unicodedata.normalize("NFKD", char)
    if plain[0].isascii() and plain[0].isprintable() and all(unicodedata.combining(mark) for mark in plain[1:]):
        return ord(plain[0])
    return OTHER

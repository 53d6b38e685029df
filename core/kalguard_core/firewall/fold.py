"""Folding: many ways to write a text become one, and every folded byte knows where it came from.

Rules of this file:
- Folding looks at one character at a time: `fold(a + b) == fold(a) + fold(b)`. So it is linear on any input (a
  normal form would sort long runs of combining marks), and offsets map back by adding up lengths.
- The result is bytes, because that is what the engine reads: ASCII as it was (the engine ignores case), anything
  else as UTF-8 of its compatibility form (NFKD), case-folded, without marks, look-alike letters as ASCII. Hangul
  syllables stay whole: their parts are letters of their own, and Korean would be lost.
- Greek letters fold by their small forms: a word is the same in both cases. Its capitals that look like other Latin
  letters than the small ones do are read as those in a view of their own (see `hidden`).
- What a reader does not see is gone: controls, zero-width, bidi, soft hyphens, variation selectors, tags.
- Texts are folded with tables of numpy; very short ones with `str.translate`, and where only a few characters are not
  ASCII, those are replaced one after another. All read the same memory.
- The way back is worked out when it is first asked for: in most texts nothing is found.
- NUL is never in folded text: the scorer uses it as a wall between messages.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from threading import Lock
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .confusables import CONFUSABLES

CHUNK: Final = 256  # characters; ASCII chunks skip all per-character work, and offsets are counted inside one
_MAX_EXPANSION: Final = 3  # as in the ligature ffi; some stand for 18 letters, but not for ASCII ones

_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Mn", "Me"})
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0")  # Hangul letters that show nothing
_BLANK: Final = "\u2800"  # a Braille cell without dots
_ASCII_CONTROLS: Final = bytes(sorted({*range(0x20), 0x7F} - set(b"\t\n\v\f\r")))
_ASCII: Final = bytes(range(0x80))
_FEW: Final = 8  # one byte in so many may be of characters that are replaced one after another,
_FEW_KINDS: Final = 24  # and they may be so many different ones: each takes a pass

_BLOCK: Final = 1 << 16  # characters folded at once: their tables and results stay in the cache of the processor
_SHORT: Final = 160  # characters; below, looking them up one by one is faster than a dozen calls of numpy

# Letters that look like ASCII ones but have no compatibility form. Those of living alphabets are given for the small
# letters or for both cases alike, so that a word folds to one form in both. The rarer ones are in `confusables`.
_LOOK_ALIKES: Final = CONFUSABLES | dict(
    zip(
        "авсԁеɡһніјкӏмопрԛѕтуѵԝхьү"  # Cyrillic
        "αβϲεζγηικμνορτυωχϳ"  # Greek
        "աօոսցհ"  # Armenian
        "ɑɩıɪɢɴʀʏʟʙʜꜰꜱᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢǫꞯ"  # Latin: phonetic letters, small capitals
        "łøđðħŧƀɓƃƈȼɖɗɇǝəɛƒɠǥɥɦɨᴉɉɾɟʞƙɫƚɱɯƞɲŋɵƥʠɹɍɽʂʇƭʈʉʌʋⱴʍⱳʎƴɏƶȥʐɐɔ"  # strokes, hooks, upside down
        "₳฿₵₲₭₦₱₮₩"
        "‘’‚‛′´“”„‟″«»‹›"
        "‐‑‒–—―−⁃∕⁄∣¦•·"
        "،؛؟۔।॥。、「」『』《》〈〉【】",  # stops of scripts whose words they would else stick to
        "abcdeghhijklmonpqstyvwxby"
        "abcezynikmvoptuwxj"
        "wonugh"
        "aiiignrylbhfsacdejkmoptuvwzqq"
        "loddhtbbgccddeeeefgghhiijjfkkllmwnnnopqrrrstttuvvvwwyyyzzzac"
        "abcgknptw"
        "''''''\"\"\"\"\"\"\"''"
        "--------//||**"
        ',;?....,""""""""[]',
        strict=True,
    )
)


class _FoldTable(dict[int, str | int]):
    """What each code point becomes, for `str.translate`; filled as characters are first seen.

    It is a memory of a pure function, and bounded: planes that hold only ideographs or private letters are
    not kept.
    """

    def __init__(self) -> None:
        super().__init__((code, code) for code in range(0x80))
        self.update(dict.fromkeys(_ASCII_CONTROLS, ""))

    def __missing__(self, code: int) -> str | int:
        if 0x20000 <= code < 0xE0000 or code >= 0xF0000:
            return code
        folded = self._fold(chr(code))
        value: str | int = ord(folded) if len(folded) == 1 else folded
        self[code] = value
        return value

    def _fold(self, char: str) -> str:
        code = ord(char)
        if char in "\x85\u2028\u2029":
            return "\n"
        if char.isspace() or char == _BLANK:
            return " "
        if 0x1F150 <= code <= 0x1F169 or 0x1F170 <= code <= 0x1F189 or 0x1F1E6 <= code <= 0x1F1FF:
            return chr(ord("a") + (code - (0x1F1E6 if code >= 0x1F1E6 else 0x1F150)) % 32)
        if 0xAC00 <= code <= 0xD7A3:
            return char
        if char in _LOOK_ALIKES:
            return _LOOK_ALIKES[char]
        plain = unicodedata.normalize("NFKD", char)
        plain = "".join(_LOOK_ALIKES.get(part, part) for part in plain).casefold()
        # once more: case folding can leave what has a compatibility form of its own
        plain = unicodedata.normalize("NFKD", plain)
        plain = "".join(
            _LOOK_ALIKES.get(part, part)
            for part in plain
            if unicodedata.category(part) not in _INVISIBLE_CATEGORIES and part not in _FILLERS
        )
        return plain[: _MAX_EXPANSION if plain.isascii() else 1]


_TABLE: Final = _FoldTable()

Codes: TypeAlias = NDArray[np.uint32]


class _Tables:
    """The same memory for numpy: what each code point becomes, and in how many bytes of UTF-8.

    Zero: not seen yet. From `_GONE` on: an index into `letters`, for what becomes nothing or more than one character.
    Pages of the tables that no text needs are never touched, and take no memory.
    """

    def __init__(self) -> None:
        self.folded: Codes = np.zeros(0x110000, np.uint32)
        self.widths: NDArray[np.uint8] = np.zeros(0x110000, np.uint8)
        # how many letters, and which; one value, so that another thread never reads the one without the other
        self.several: tuple[NDArray[np.int64], Codes] = (
            np.zeros(1, np.int64),
            np.zeros((1, _MAX_EXPANSION), np.uint32),
        )
        self._learning = Lock()  # two threads that add to `several` at once would take the same index for other letters
        self._learn(range(0x80))

    def _learn(self, codes: Iterable[int]) -> None:
        for code in codes:
            value = _TABLE[code]
            if isinstance(value, str):
                self.widths[code] = len(value.encode("utf-8"))
                if value:
                    sizes, letters = self.several
                    row = [*map(ord, value), *[0] * (_MAX_EXPANSION - len(value))]
                    self.several = np.append(sizes, len(value)), np.vstack((letters, np.array(row, np.uint32)))
                self.folded[code] = _GONE + (len(self.several[0]) - 1 if value else 0)
            else:
                self.widths[code] = 1 + (value >= 0x80) + (value >= 0x800) + (value >= 0x10000)
                self.folded[code] = value

    def _known(self, codes: Codes) -> Codes:
        """What the table has for each; all of them are there afterwards."""
        folded: Codes = self.folded.take(codes)
        if not folded.all():
            with self._learning:
                self._learn(np.unique(codes[folded == 0]).tolist())
            folded = self.folded.take(codes)
        return folded

    def widths_of(self, codes: Codes) -> NDArray[np.uint8]:
        """How many bytes each becomes."""
        self._known(codes)
        return self.widths.take(codes)

    def fold(self, codes: Codes) -> Codes:
        """The folded code points."""
        folded = self._known(codes)
        most = int(folded.max(initial=0))
        if most < _GONE:
            return folded
        if most == _GONE:
            kept: Codes = folded[folded != _GONE]
            return kept
        special = np.flatnonzero(folded >= _GONE)
        lengths, letters = self.several
        which = folded[special] - _GONE
        sizes = lengths[which]
        counts = np.ones(len(folded), np.int64)
        counts[special] = sizes
        spread = np.repeat(folded, counts)
        # where each of these begins: it moved by what those before it grew or shrank
        begins = special + np.cumsum(sizes - 1) - (sizes - 1)
        for at in range(_MAX_EXPANSION):
            long = sizes > at
            spread[begins[long] + at] = letters[which[long], at]
        return spread


_GONE: Final = 0x110000
_TABLES: Final = _Tables()


def codes_of(text: str) -> Codes:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def fold_codes(codes: Codes) -> bytes:
    """Code points folded."""
    folded = _TABLES.fold(codes)
    if len(folded) == 0 or int(folded.max()) < 0x80:
        return folded.astype(np.uint8).tobytes()
    return folded.tobytes().decode("utf-32-le").encode("utf-8")


def widths_of(codes: Codes) -> NDArray[np.uint8]:
    """How many bytes each of these code points becomes."""
    return _TABLES.widths_of(codes)


def fold_bytes(text: str) -> bytes:
    """The folded form of a text, without the way back."""
    if text.isascii():
        return text.encode("ascii").translate(None, _ASCII_CONTROLS)
    if len(text) < _SHORT:
        return text.translate(_TABLE).encode("utf-8")
    return b"".join([_block(text[first : first + _BLOCK]).data for first in range(0, len(text), _BLOCK)])


class _Block(NamedTuple):
    """A part of a text: its folded bytes, and what was found on the way. `few`: all characters that are not ASCII, if
    they are known and there are no ASCII controls."""

    data: bytes
    codes: Codes | None
    few: frozenset[str] | None = None


def _block(text: str) -> _Block:
    data = text.encode("utf-8", "surrogatepass")
    others = data.translate(None, _ASCII)
    if len(others) * _FEW <= len(data):
        few = frozenset(others.decode("utf-8", "surrogatepass"))
        if len(few) <= _FEW_KINDS and (replaced := _replaced(text, few)) is not None:
            seen = replaced.translate(None, _ASCII_CONTROLS)
            return _Block(seen, None, few if len(seen) == len(replaced) else None)
    codes = codes_of(text)
    return _Block(fold_codes(codes), codes)


def _replaced(text: str, chars: Iterable[str]) -> bytes | None:
    """A text with these characters folded; None if one of them becomes what another one may be."""
    for char in chars:
        plain = char.translate(_TABLE)
        if plain != char:
            if not plain.isascii():
                return None
            text = text.replace(char, plain)
    return text.encode("utf-8")


class Folded:
    """A text and its folded bytes. `codes`, `few`: of texts of one block, as in `_Block`."""

    __slots__ = ("_ends", "codes", "data", "few", "text")

    def __init__(self, text: str, data: bytes, codes: Codes | None = None, few: frozenset[str] | None = None) -> None:
        self.text = text
        self.data = data
        self.codes = codes
        self.few = few
        # where each chunk of the text ends in the bytes; None: byte n is character n; empty: not yet known
        self._ends: tuple[int, ...] | None = None if len(data) == len(text) and text.isascii() else ()

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The characters of `text` that the folded bytes `start` to `end` (exclusive, not empty) come from."""
        if self._ends is None:
            return start, end
        ends = self._ends = self._ends or self._all_ends()
        first, last = bisect_right(ends, start), bisect_right(ends, end - 1)
        if first == last:
            begin, behind = self._characters(first, ends, start, end - 1)
        else:
            (begin,), (behind,) = self._characters(first, ends, start), self._characters(last, ends, end - 1)
        return begin, behind + 1

    def _all_ends(self) -> tuple[int, ...]:
        sizes: list[int] = []
        for first in range(0, len(self.text), _BLOCK):  # blocks are whole chunks, but the last
            widths = widths_of(codes_of(self.text[first : first + _BLOCK]))
            sizes += np.add.reduceat(widths, range(0, len(widths), CHUNK), dtype=np.int64).tolist()
        return tuple(accumulate(sizes))

    def _characters(self, chunk: int, ends: tuple[int, ...], *offsets: int) -> list[int]:
        """Indexes of the characters that folded bytes of a chunk come from."""
        first = chunk * CHUNK
        begin = ends[chunk - 1] if chunk else 0
        written = self.text[first : first + CHUNK]
        if len(written) == ends[chunk] - begin and written.isascii():  # none is gone: each is a byte
            return [first + offset - begin for offset in offsets]
        totals = np.cumsum(widths_of(codes_of(written)), dtype=np.int64)
        within = np.searchsorted(totals, [offset - begin for offset in offsets], side="right")
        found: list[int] = (first + within).tolist()
        return found


def fold(text: str) -> Folded:
    """Fold a text. Never raises; lone surrogates disappear like other characters nobody can see."""
    if len(text) > _BLOCK or text.isascii():
        return Folded(text, fold_bytes(text))
    return Folded(text, *_block(text))

"""Folding: many ways to write a text become one, and every folded byte knows where it came from.

Rules of this file:
- Folding looks at one character at a time: `fold(a + b) == fold(a) + fold(b)`. So it is linear on any input (a
  normal form would sort long runs of combining marks), and offsets map back by adding up lengths.
- The result is bytes, because that is what the engine reads: ASCII as it was (the engine ignores case), anything
  else as UTF-8 of its compatibility form (NFKD), case-folded, without marks, look-alike letters as ASCII. Hangul
  syllables stay whole: their parts are letters of their own, and Korean would be lost.
- What a reader does not see is gone: controls, zero-width, bidi, soft hyphens, variation selectors, tags.
- NUL is never in folded text: the scorer uses it as a wall between messages.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from .confusables import CONFUSABLES

CHUNK: Final = 256  # characters; ASCII chunks skip all per-character work, and offsets are counted inside one
_MAX_EXPANSION: Final = 3  # as in the ligature ffi; some stand for 18 letters, but not for ASCII ones

_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Mn", "Me"})
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0")  # Hangul letters that show nothing
_BLANK: Final = "\u2800"  # a Braille cell without dots
_ASCII_CONTROLS: Final = bytes(sorted({*range(0x20), 0x7F} - set(b"\t\n\v\f\r")))

# Letters that look like ASCII ones but have no compatibility form. Those of living alphabets are given for both cases
# alike, so that a word folds to one form in both; Greek capitals are the exception, as they look like other letters
# than the small ones do. The rarer ones are in `confusables`.
_LOOK_ALIKES: Final = CONFUSABLES | dict(
    zip(
        "авсԁеɡһніјкӏмопрԛѕтуѵԝхьү"  # Cyrillic
        "αβϲεγηικνορτυωχϳς"  # Greek
        "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ"
        "աօոսցհ"  # Armenian
        "ɑɩıɪɢɴʀʏʟʙʜꜰꜱᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢǫꞯ"  # Latin: phonetic letters, small capitals
        "łøđðħŧƀɓƃƈȼɖɗɇǝəɛƒɠǥɥɦɨᴉɉɾɟʞƙɫƚɱɯƞɲŋɵƥʠɹɍɽʂʇƭʈʉʌʋⱴʍⱳʎƴɏƶȥʐɐɔ"  # strokes, hooks, upside down
        "₳฿₵₲₭₦₱₮₩"
        "‘’‚‛′´“”„‟″«»‹›"
        "‐‑‒–—―−⁃∕⁄∣¦•·"
        "،؛؟۔।॥。、「」『』《》〈〉【】",  # stops of scripts whose words they would else stick to
        "abcdeghhijklmonpqstyvwxby"
        "abceynikvoptuwxjs"
        "abezhikmnoptyxcj"
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


def fold_bytes(text: str) -> bytes:
    """The folded form of a text, without the way back."""
    if text.isascii():
        return text.encode("ascii").translate(None, _ASCII_CONTROLS)
    return text.translate(_TABLE).encode("utf-8")


@dataclass(frozen=True, slots=True)
class Folded:
    """A text, its folded bytes, and where each chunk of it ends in them (None: byte n is character n)."""

    text: str
    data: bytes
    ends: tuple[int, ...] | None = None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The characters of `text` that the folded bytes `start` to `end` (exclusive, not empty) come from."""
        if self.ends is None:
            return start, end
        return self._character(start), self._character(end - 1) + 1

    def _character(self, offset: int) -> int:
        """Index of the character that folded byte `offset` comes from."""
        assert self.ends is not None
        chunk = bisect_right(self.ends, offset)
        first = chunk * CHUNK
        rest = offset - (self.ends[chunk - 1] if chunk else 0)
        lengths = accumulate(len(fold_bytes(char)) for char in self.text[first : first + CHUNK])
        return first + next(index for index, total in enumerate(lengths) if total > rest)


def fold(text: str) -> Folded:
    """Fold a text. Never raises; lone surrogates disappear like other characters nobody can see."""
    if text.isascii():
        data = fold_bytes(text)
        if len(data) == len(text):
            return Folded(text, data)
    chunks = [fold_bytes(text[first : first + CHUNK]) for first in range(0, len(text), CHUNK)]
    return Folded(text, b"".join(chunks), tuple(accumulate(map(len, chunks))))

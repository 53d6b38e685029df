"""Characters that nobody sees: counted, located, and read where they carry a text of their own.

Rules of this file:
- Folding looks at one character at a time and drops what nobody sees. What such characters mean together, and what
  only the original characters show (which alphabet, upside down, bytes read in the wrong encoding), is read here.
- Honest uses are not reported: joiners in emoji and in scripts that need them, directions in right-to-left text, a
  byte order mark, one soft hyphen in a word.
- Only texts that are not ASCII come here. One look at a table says what kinds of characters there are and where;
  patterns are tried only near those that they begin with, and only near the first `_COUNTED` of them.
- Patterns are runs of one class of characters, or two classes side by side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .decode import Budget, Decoded, Hit, is_text, read
from .fold import codes_of

# Inside a character class: controls, soft hyphens, zero-width characters, directions and fillers.
INVISIBLE: Final = (
    "\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
SIGNALS: Final = ("invisible", "tags", "bidi", "selectors", "mixed-script", "marks", "mojibake")

_RUNS: Final = 256  # runs reported in one conversation; more of them say nothing more
_CONTEXT: Final = 160
_COUNTED: Final = 4096  # a signal says no more than this
_TURNED_READ: Final = 16 * 1024  # characters of text written upside down
_TAGS_READ: Final = 32 * 1024  # characters of tags, selectors or look-alikes; each is four bytes of a request
_NEAR: Final = 4  # characters that patterns look back from where they begin
_TAGS: Final = re.compile("[\U000e0001-\U000e007f]+")
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_OVERRIDES: Final = re.compile("[\u202d\u202e]")
# What has no use in Latin, Greek or Cyrillic letters, nor between ASCII ones
_WITHIN: Final = re.compile(
    "(?<=[!-~\xc0-\u04ff])[\u034f\u115f\u1160\u180b-\u180e\u200b-\u200f\u2060-\u2064\u3164\ufeff\uffa0]+(?=[!-~\xc0-\u04ff])"
)
_MANY: Final = re.compile(
    "[\xad\u034f\u115f\u1160\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0]{3,}"
)
_SOFT: Final = re.compile("(?<=[a-zA-Z]\xad[a-zA-Z])\xad")
_MARKS: Final = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{2,}|[\u0334-\u0338\u0488\u0489\u20d0-\u20e1\u20e4-\u20ff]"
)
_RIGHT_TO_LEFT: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

_TURNED: Final = dict(
    zip("ɐqɔpǝɟƃɓɥıᴉɾɿʞʃןɯuodbɹsʇnʌʍʎ∀ƎℲ⅁פſ˥ԀΛ⅄∩┴¡¿˙'‘", "abcdefgghiijrklļmnopqrstuvwyAEFGGJLPVYUT!?.,,", strict=True)
)
_FLIPPED: Final = {ord(turned): plain.replace("ļ", "l") for turned, plain in _TURNED.items()}

_HIGH: Final = (
    "\x80-\xff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u201e\u2020-\u2022"
    "\u2026\u2030\u2039\u203a\u20ac\u2122"
)
_MOJIBAKE: Final = re.compile(f"[\xc2-\xf4][{_HIGH}]{{1,64}}")
_MOJIBAKE_HINT: Final = re.compile(f"[\xe2\xef\xf3][{_HIGH}]{{2}}|\xc2[\x80-\xbf]|\xcd\x8f")


def _class(members: str) -> list[tuple[int, int]]:
    """The ranges of a character class."""
    return [(ord(found[1]), ord(found[2] or found[1])) for found in re.finditer(r"(.)(?:-(.))?", members, re.DOTALL)]


_LATIN, _OTHER, _SPECIAL, _UNSEEN, _LEAD, _TAIL, _FLIP, _TWIN, _MARK = (1 << bit for bit in range(9))


def _kinds() -> NDArray[np.uint16]:
    table = np.zeros(0x110000, np.uint16)
    for kind, members in (
        (_LATIN, "A-Za-z"),
        (_OTHER, "\u0370-\u03ff\u0400-\u052f"),
        (
            _SPECIAL,
            "\xad\u034f\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
            "\U000e0000-\U000e01ef",
        ),
        (_MARK, "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"),
        (_UNSEEN, INVISIBLE),
        (_LEAD, "\xc2\xcd\xe2\xef\xf3"),
        (_TAIL, _HIGH),
        (_FLIP, "ɐɔǝɟƃɥᴉɾʞɯɹʇʌʍʎ"),
        (_TWIN, "ΗΝΥΣσςλ"),
    ):
        for first, last in _class(members):
            table[first : last + 1] |= kind
    return table


_KINDS: Final = _kinds()


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What kinds of characters a text has, and near which of them patterns are tried."""

    text: str
    kinds: NDArray[np.uint16]
    every: int
    spots: tuple[tuple[int, int], ...]

    @property
    def unseen(self) -> bool:
        """Whether there are characters that nobody sees."""
        return bool(self.every & _UNSEEN)

    def pairs(self, left: int, right: int) -> int:
        """How often a character of one kind is followed by one of another."""
        return int(np.count_nonzero((self.kinds[:-1] & left != 0) & (self.kinds[1:] & right != 0)))

    def runs(self, pattern: re.Pattern[str], limit: int) -> Iterator[re.Match[str]]:
        """Where a pattern matches that begins with a special character."""
        found = chain.from_iterable(pattern.finditer(self.text, first, last) for first, last in self.spots)
        return islice(found, limit)


def look(text: str) -> Look | None:
    """Look at a text; None where it is ASCII."""
    if text.isascii():
        return None
    kinds = _KINDS[codes_of(text)]
    every = int(np.bitwise_or.reduce(kinds))
    spots: tuple[tuple[int, int], ...] = ()
    if every & (_SPECIAL | _MARK):
        at = np.flatnonzero(kinds & (_SPECIAL | _MARK))
        breaks = np.flatnonzero(np.diff(at) > 2 * _NEAR)[:_COUNTED]
        firsts = at[np.concatenate(([0], breaks + 1))].tolist()
        lasts = at[np.concatenate((breaks, [len(at) - 1]))].tolist()
        spots = tuple((max(first - _NEAR, 0), last + _NEAR) for first, last in zip(firsts, lasts, strict=True))[
            :_COUNTED
        ]
    return Look(text, kinds, every, spots)


def signals_of(looks: Sequence[Look | None]) -> Mapping[str, int]:
    """How many characters, places or words of each kind there are, of those that have no honest use there."""
    counts = dict.fromkeys(SIGNALS, 0)
    for seen in looks:
        if seen is None:
            continue
        if seen.every & _LATIN and seen.every & _OTHER:
            mixed = seen.pairs(_LATIN, _OTHER) + seen.pairs(_OTHER, _LATIN)
            counts["mixed-script"] += min(mixed, _COUNTED)
        if _is_mojibake(seen):
            counts["mojibake"] += _count(_MOJIBAKE_HINT, seen.text)
        if seen.every & _MARK:
            counts["marks"] += sum(1 for _ in seen.runs(_MARKS, _COUNTED))
        if not seen.every & _SPECIAL:
            continue
        counts["tags"] += sum(end - start for start, end in _tag_runs(seen))
        counts["bidi"] += sum(1 for _ in seen.runs(_OVERRIDES, _COUNTED))
        counts["selectors"] += sum(run.end() - run.start() for run in seen.runs(_SELECTORS, _COUNTED))
        counts["invisible"] += sum(end - start for start, end in _zero_width(seen))
    return {name: count for name, count in counts.items() if count}


def _is_mojibake(seen: Look) -> bool:
    return bool(seen.every & _LEAD and seen.every & _TAIL and seen.pairs(_LEAD, _TAIL))


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in islice(pattern.finditer(text), _COUNTED))


def hidden_runs(looks: Sequence[Look | None]) -> tuple[tuple[int, int, int], ...]:
    """Where characters are that nobody sees and that have no honest use there: (message, start, end)."""
    found: list[tuple[int, int, int]] = []
    for index, seen in enumerate(looks):
        if seen is None or len(found) >= _RUNS or not seen.every & _SPECIAL:
            continue
        places = [*islice(_tag_runs(seen), _RUNS), *islice(_zero_width(seen), 3 * _RUNS)]
        places += (run.span() for run in seen.runs(_SELECTORS, _RUNS))
        places += (run.span() for run in seen.runs(_OVERRIDES, _RUNS))
        found += ((index, start, end) for start, end in merged(places))
    return tuple(found[:_RUNS])


def merged(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that overlap or touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _tag_runs(seen: Look) -> Iterator[tuple[int, int]]:
    """Tags, but for those of the flags of England, Scotland and Wales."""
    for run in seen.runs(_TAGS, _COUNTED):
        start, end = run.span()
        if not (start and seen.text[start - 1] == "\U0001f3f4" and end - start <= 7):
            yield start, end


def _zero_width(seen: Look) -> Iterator[tuple[int, int]]:
    for run in seen.runs(_WITHIN, _COUNTED):
        yield run.span()
    rtl: bool | None = None
    for run in seen.runs(_MANY, _COUNTED):
        if run.end() - run.start() <= 8:
            rtl = _RIGHT_TO_LEFT.search(seen.text) is not None if rtl is None else rtl
            if rtl:
                continue
        yield run.span()
    for run in seen.runs(_SOFT, _COUNTED):
        yield run.span()


def rereadings(seen: Look, offset: int, budget: Budget) -> Iterator[Decoded]:
    """What a text says that folding can't see; positions are characters, counted from `offset`."""
    for kind, trigger, reader in _READERS:
        hits = reader(seen) if seen.every & trigger else ()
        if hits:
            found = _in_text(kind, seen.text, hits, budget)
            if found is not None:
                yield Decoded(kind, found.data, found.starts + offset, found.ends + offset)


def _in_text(kind: str, text: str, hits: Sequence[tuple[int, int, str]], budget: Budget) -> Decoded | None:
    """The places in the text that read otherwise, with what stands around them."""
    pieces: list[Hit] = []
    behind = 0
    for start, end, plain in hits:
        near = max(behind, start - _CONTEXT)
        if pieces and near > behind:
            last = min(behind + _CONTEXT, near)
            _characters(pieces, text, behind, last)
            pieces.append(Hit(last, last, b"\n"))
            near = max(near, last)
        elif near:
            near = near if pieces else max(near, text.find(" ", near, start) + 1)
        _characters(pieces, text, near, start)
        if plain:
            if len(plain) == end - start:
                pieces.append(_each(plain, start))
            else:
                pieces.append(Hit(start, end, _utf8(plain)))
        behind = end
    _characters(pieces, text, behind, min(behind + _CONTEXT, len(text)))
    return read(kind, b"", pieces, budget, None, walls=False)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace").replace(b"\0", b"")


def _each(plain: str, start: int) -> Hit:
    """Characters that each stand for one of the text, from `start` on."""
    plain = plain.replace("\0", " ")
    codes = codes_of(plain)
    broken = (codes >= 0xD800) & (codes < 0xE000)  # becomes a question mark
    widths = 1 + (codes >= 0x80) + ((codes >= 0x800) & ~broken) - broken + (codes >= 0x10000)
    at = np.repeat(np.arange(start, start + len(codes), dtype=np.int32), widths)
    return Hit(start, start + len(codes), plain.encode("utf-8", "replace"), (at, at + np.int32(1)))


def _characters(pieces: list[Hit], text: str, start: int, end: int) -> None:
    if start < end:
        pieces.append(_each(text[start:end], start))


_UNTAGGED: Final = {code: chr(code & 0x7F) if code >= 0xE0020 else " " for code in range(0xE0001, 0xE0080)}


def _bounded(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """As many runs, and as much of them, as is read."""
    left = _TAGS_READ
    for start, end in islice(runs, _RUNS):
        if left <= 0:
            return
        yield start, min(end, start + left)
        left -= end - start


def _tags(seen: Look) -> list[tuple[int, int, str]]:
    return [(start, end, seen.text[start:end].translate(_UNTAGGED)) for start, end in _bounded(_tag_runs(seen))]


def _selectors(seen: Look) -> list[tuple[int, int, str]]:
    """Bytes written as variation selectors."""
    hits = []
    for start, end in _bounded(run.span() for run in seen.runs(_SELECTORS, _RUNS)):
        run = seen.text[start:end]
        plain = bytes(ord(char) - 0xFE00 if ord(char) < 0x10000 else ord(char) - 0xE0100 + 16 for char in run)
        if is_text(plain):
            hits.append((start, end, plain.decode("utf-8", "replace")))
    return hits


_WINDOWS: Final = {
    ord(char): chr(byte) for byte in range(0x80, 0xA0) for char in bytes([byte]).decode("cp1252", "ignore")
}


def _mojibake(seen: Look) -> list[tuple[int, int, str]]:
    """UTF-8 that was read as Latin-1 or Windows-1252."""
    if not _is_mojibake(seen) or not _MOJIBAKE_HINT.search(seen.text):
        return []
    hits = []
    for run in islice(_MOJIBAKE.finditer(seen.text), _COUNTED):
        raw = run.group().translate(_WINDOWS).encode("latin-1", "replace")
        try:
            plain = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start < 2:
                continue
            plain = raw[: error.start].decode("utf-8")
        start = run.start()
        hits.append((start, start + len(plain.encode("utf-8")), plain))
    return hits


def _upside_down(seen: Look) -> list[tuple[int, int, str]]:
    if np.count_nonzero(seen.kinds & _FLIP) < 4:
        return []
    text = seen.text
    hits = []
    behind = -1
    total = 0
    for start in np.flatnonzero(seen.kinds & _FLIP)[:_TURNED_READ].tolist():
        if start < behind:
            continue
        first = max(text.rfind("\n", 0, start) + 1, start - 2048, behind, 0)
        behind = text.find("\n", start + 1, start + 2049)
        behind = min(len(text), start + 2049) if behind < 0 else behind
        hits.append((first, behind, text[first:behind].translate(_FLIPPED)))
        total += behind - first
        if total > _TURNED_READ or len(hits) >= _RUNS:
            break
    return hits


# Greek letters that look like other Latin ones than they fold to
_TWINS: Final = str.maketrans("ΗΝΥΣσςλ", "HNYEosl")
_WORD: Final = re.compile("[A-Za-z\u0370-\u03ff]+")


def _look_alikes(seen: Look) -> list[tuple[int, int, str]]:
    """Words of Latin and Greek letters, where the Greek ones look like other Latin letters than they fold to."""
    if not seen.pairs(_LATIN, _OTHER) and not seen.pairs(_OTHER, _LATIN):
        return []
    hits = []
    behind = -1
    for start in np.flatnonzero(seen.kinds & _TWIN)[:_COUNTED].tolist():
        if start < behind:
            continue
        # a word is short: what is longer is read in parts
        first = start
        while first > max(start - 32, 0, behind) and seen.kinds[first - 1] & (_LATIN | _OTHER):
            first -= 1
        word = _WORD.match(seen.text, first, start + 32)
        if word is None:
            continue
        behind = word.end()
        hits.append((first, behind, word.group().translate(_TWINS)))
    return hits


_READERS: Final[tuple[tuple[str, int, Callable[[Look], list[tuple[int, int, str]]]], ...]] = (
    ("tags", _SPECIAL, _tags),
    ("selectors", _SPECIAL, _selectors),
    ("mojibake", _LEAD, _mojibake),
    ("upside-down", _FLIP, _upside_down),
    ("look-alikes", _TWIN, _look_alikes),
)

"""Characters that nobody sees: counted, located, and read where they carry a text of their own.

Rules of this file:
- Folding looks at one character at a time and drops what nobody sees. What such characters mean together, and what
  only the original characters show (which alphabet, upside down, bytes read in the wrong encoding), is read here.
- Honest uses are not reported: joiners in emoji and in scripts that need them, directions in right-to-left text, a
  byte order mark, one soft hyphen in a word.
- Only texts that are not ASCII come here. Patterns are runs of one class of characters, or two classes side by side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from ..action import Message
from .decode import Budget, Decoded, Hit, is_text, read

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

# whether any of the patterns but the last few can match: most text that is not ASCII ends here
_SPECIAL: Final = re.compile(
    "[\xad\u0300-\u036f\u0483-\u0489\u115f\u1160\u180b-\u180f\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u20d0-\u20ff\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef]"
)
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
_MIXED: Final = re.compile("[A-Za-z][\u0370-\u03ff\u0400-\u052f]|[\u0370-\u03ff\u0400-\u052f][A-Za-z]")
_MARKS: Final = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{2,}|[\u0334-\u0338\u0488\u0489\u20d0-\u20e1\u20e4-\u20ff]"
)
_RIGHT_TO_LEFT: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

_TURNED: Final = dict(
    zip("ɐqɔpǝɟƃɓɥıᴉɾɿʞʃןɯuodbɹsʇnʌʍʎ∀ƎℲ⅁פſ˥ԀΛ⅄∩┴¡¿˙'‘", "abcdefgghiijrklļmnopqrstuvwyAEFGGJLPVYUT!?.,,", strict=True)
)
_FLIPPED: Final = {ord(turned): plain.replace("ļ", "l") for turned, plain in _TURNED.items()}
_UPSIDE_DOWN: Final = re.compile("[ɐɔǝɟƃɥᴉɾʞɯɹʇʌʍʎ]")

_HIGH: Final = (
    "\x80-\xff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u201e\u2020-\u2022"
    "\u2026\u2030\u2039\u203a\u20ac\u2122"
)
_MOJIBAKE: Final = re.compile(f"[\xc2-\xf4][{_HIGH}]{{1,64}}")
_MOJIBAKE_HINT: Final = re.compile(f"[\xe2\xef\xf3][{_HIGH}]{{2}}|\xc2[\x80-\xbf]|\xcd\x8f")


def signals_of(messages: Sequence[Message]) -> Mapping[str, int]:
    """How many characters, places or words of each kind there are, of those that have no honest use there."""
    counts = dict.fromkeys(SIGNALS, 0)
    for message in messages:
        text = message.text
        if text.isascii():
            continue
        counts["mixed-script"] += _count(_MIXED, text)
        counts["mojibake"] += _count(_MOJIBAKE_HINT, text)
        if not _SPECIAL.search(text):
            continue
        counts["tags"] += sum(end - start for start, end in _tag_runs(text))
        counts["bidi"] += _count(_OVERRIDES, text)
        counts["selectors"] += sum(len(run.group()) for run in islice(_SELECTORS.finditer(text), _COUNTED))
        counts["invisible"] += sum(end - start for start, end in _zero_width(text))
        counts["marks"] += _count(_MARKS, text)
    return {name: count for name, count in counts.items() if count}


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in islice(pattern.finditer(text), _COUNTED))


def hidden_runs(messages: Sequence[Message]) -> tuple[tuple[int, int, int], ...]:
    """Where characters are that nobody sees and that have no honest use there: (message, start, end)."""
    found: list[tuple[int, int, int]] = []
    for index, message in enumerate(messages):
        text = message.text
        if text.isascii() or len(found) >= _RUNS or not _SPECIAL.search(text):
            continue
        places = [*_tag_runs(text), *_zero_width(text)]
        places += (run.span() for run in islice(_SELECTORS.finditer(text), _RUNS))
        places += (run.span() for run in islice(_OVERRIDES.finditer(text), _RUNS))
        found += ((index, start, end) for start, end in _merged(places))
    return tuple(found[:_RUNS])


def _merged(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _tag_runs(text: str) -> Iterator[tuple[int, int]]:
    """Tags, but for those of the flags of England, Scotland and Wales."""
    for run in islice(_TAGS.finditer(text), _COUNTED):
        start, end = run.span()
        if not (start and text[start - 1] == "\U0001f3f4" and end - start <= 7):
            yield start, end


def _zero_width(text: str) -> Iterator[tuple[int, int]]:
    if _WITHIN.search(text):
        for run in islice(_WITHIN.finditer(text), _COUNTED):
            yield run.span()
    rtl = _RIGHT_TO_LEFT.search(text) is not None
    for run in islice(_MANY.finditer(text), _COUNTED):
        if not rtl or len(run.group()) > 8:
            yield run.span()
    for run in islice(_SOFT.finditer(text), _COUNTED):
        yield run.span()


def rereadings(text: str, offset: int, budget: Budget) -> Iterator[Decoded]:
    """What a text says that folding can't see; positions are characters, counted from `offset`."""
    for kind, reader in _READERS:
        hits = reader(text)
        if hits:
            found = _in_text(kind, text, hits, budget)
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
                pieces += (Hit(start + at, start + at + 1, _utf8(char)) for at, char in enumerate(plain))
            elif len(plain) == start - end:
                pass
            else:
                pieces.append(Hit(start, end, _utf8(plain)))
        behind = end
    _characters(pieces, text, behind, min(behind + _CONTEXT, len(text)))
    return read(kind, b"", pieces, budget, None, walls=False)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace").replace(b"\0", b"")


def _characters(pieces: list[Hit], text: str, start: int, end: int) -> None:
    if start >= end:
        return
    part = text[start:end]
    if part.isascii():
        pieces.append(Hit(start, end, _utf8(part)) if "\0" not in part else Hit(start, end, b" "))
    else:
        pieces += (Hit(start + at, start + at + 1, _utf8(char)) for at, char in enumerate(part))


def _tags(text: str) -> list[tuple[int, int, str]]:
    return [
        (start, end, "".join(chr(ord(char) & 0x7F) if ord(char) >= 0xE0020 else " " for char in text[start:end]))
        for start, end in islice(_tag_runs(text), _RUNS)
    ]


def _selectors(text: str) -> list[tuple[int, int, str]]:
    """Bytes written as variation selectors."""
    hits = []
    for run in islice(_SELECTORS.finditer(text), _RUNS):
        plain = bytes(ord(char) - 0xFE00 if ord(char) < 0x10000 else ord(char) - 0xE0100 + 16 for char in run.group())
        if is_text(plain):
            hits.append((*run.span(), plain.decode("utf-8", "replace")))
    return hits


def _mojibake(text: str) -> list[tuple[int, int, str]]:
    """UTF-8 that was read as Latin-1 or Windows-1252."""
    if not _MOJIBAKE_HINT.search(text):
        return []
    hits = []
    for run in islice(_MOJIBAKE.finditer(text), 4096):
        raw = b"".join(map(_windows, run.group()))
        try:
            plain = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start < 2:
                continue
            plain = raw[: error.start].decode("utf-8")
        start = run.start()
        hits.append((start, start + len(plain.encode("utf-8")), plain if len(plain) > 1 else plain + ""))
    return hits


def _windows(char: str) -> bytes:
    try:
        return char.encode("cp1252")
    except UnicodeEncodeError:
        return char.encode("latin-1", "replace")


def _upside_down(text: str) -> list[tuple[int, int, str]]:
    if sum(1 for _ in islice(_UPSIDE_DOWN.finditer(text), 4)) < 4:
        return []
    hits = []
    behind = -1
    total = 0
    for found in _UPSIDE_DOWN.finditer(text):
        start, end = found.span()
        if start < behind:
            continue
        first = max(text.rfind("\n", 0, start) + 1, start - 2048, behind)
        behind = text.find("\n", end)
        behind = min(len(text) if behind < 0 else behind, end + 2048)
        hits.append((first, behind, text[first:behind].translate(_FLIPPED)))
        total += behind - first
        if total > _TURNED_READ:
            break
    return hits


_READERS: Final[tuple[tuple[str, Callable[[str], list[tuple[int, int, str]]]], ...]] = (
    ("tags", _tags),
    ("selectors", _selectors),
    ("mojibake", _mojibake),
    ("upside-down", _upside_down),
)

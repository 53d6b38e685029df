"""Characters that nobody sees: counted, located, and read where they carry a text of their own.

Rules of this file:
- Folding looks at one character at a time and drops what nobody sees. What such characters mean together, and what
  only the original characters show (which alphabet, upside down, bytes read in the wrong encoding), is read here.
- Honest uses are not reported: joiners in emoji and in scripts that need them, directions in right-to-left text, a
  byte order mark, one soft hyphen in a word.
- Nothing comes of texts that are ASCII. One look at a table says what kinds of characters there are; where those
  of one kind are is worked out in bulk, and only if there are some.
- Patterns, where there are any left, are runs of one class of characters, or two classes side by side.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .decode import Budget, Decoded, Hit, Places, is_text, read
from .fold import Codes, Folded, codes_of, fold

# Inside a character class: controls, soft hyphens, zero-width characters, directions and fillers.
INVISIBLE: Final = (
    "\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
SIGNALS: Final = ("invisible", "tags", "bidi", "selectors", "mixed-script", "marks", "mojibake")

_RUNS: Final = 256  # runs reported in one conversation; more of them say nothing more
_CONTEXT: Final = 160
_BLOCK: Final = 1 << 16  # characters that are looked at together, so that they stay in the cache of the processor
_COUNTED: Final = 4096  # a signal says no more than this
_TURNED_READ: Final = 16 * 1024  # characters of text written upside down
_TAGS_READ: Final = 32 * 1024  # characters of tags, selectors or look-alikes; each is four bytes of a request
_LONG_SELECTORS: Final = 4  # an emoji has one, and a sequence of them hardly more
_LONG_UNSEEN: Final = 3
_ENOUGH_UNSEEN: Final = 8  # so many in a row have no use in right-to-left text either
_JOINER: Final = "\u034f"  # counts as a letter beside others
# What has no use in Latin, Greek or Cyrillic letters, nor between ASCII ones
_NEVER_WITHIN: Final = "\u034f\u115f\u1160\u180b-\u180e\u200b-\u200f\u2060-\u2064\u3164\ufeff\uffa0"
_LETTERS: Final = "!-~\xc0-\u04ff"
_WITHIN: Final = re.compile(f"(?<=[{_LETTERS}])[{_NEVER_WITHIN}]+(?=[{_LETTERS}])")
_IN_ANY_WORD: Final = "\u200b\u2060-\u206f\ufeff\xad\u200e\u200f"
# Where they stand instead of a space: not in emoji, and not the joiners of scripts that need them.
_PARTING: Final = re.compile(f"(?<=[{_LETTERS}])[{INVISIBLE}]+(?=[{_LETTERS}])|(?<=\\w)[{_IN_ANY_WORD}]+(?=\\w)")
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


_LATIN, _OTHER, _TAG, _UNSEEN, _LEAD, _TAIL, _FLIP, _TWIN, _MARK = (1 << bit for bit in range(9))
_SELECTOR, _OVERRIDE, _SOFT, _INNER, _MANY, _LETTER = (1 << bit for bit in range(9, 15))


# but letters, of which whole texts are made, and what stands behind the beginnings of mojibake
_ODD: Final = _TAG | _UNSEEN | _LEAD | _FLIP | _TWIN | _MARK | _SELECTOR | _OVERRIDE | _SOFT | _INNER | _MANY
# those that tell something whatever stands beside them
_ALONE_ODD: Final = _ODD & ~(_LEAD | _TWIN)


def _kinds() -> NDArray[np.uint16]:
    table = np.zeros(0x110000, np.uint16)
    for kind, members in (
        (_LATIN, "A-Za-z"),
        (_OTHER, "\u0370-\u03ff\u0400-\u052f"),
        (_TAG, "\U000e0001-\U000e007f"),
        (_SELECTOR, "\ufe00-\ufe0f\U000e0100-\U000e01ef"),
        (_OVERRIDE, "\u202d\u202e"),
        (_SOFT, "\xad"),
        (_INNER, _NEVER_WITHIN),
        (
            _MANY,
            "\xad\u034f\u115f\u1160\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0",
        ),
        (_LETTER, _LETTERS),
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


def _table(members: str) -> NDArray[np.bool_]:
    table = np.zeros(0x110000, np.bool_)
    for first, last in _class(members):
        table[first : last + 1] = True
    return table


_IS_IN_ANY_WORD: Final = _table(_IN_ANY_WORD)
_STRIKES: Final = _table("\u0334-\u0338\u0488\u0489\u20d0-\u20e1\u20e4-\u20ff")


Runs: TypeAlias = list[tuple[int, int]]


class Look:
    """What kinds of characters a text has, and where those are that nobody sees; the first `_COUNTED` of each.

    `mixed`: how often a Latin letter stands beside a Greek or Cyrillic one. `mojibake`: whether bytes may have been
    read in the wrong encoding. `odd`: where characters of any kind are that most texts have few of.
    """

    def __init__(self, text: str, kinds: NDArray[np.uint16], every: int, mixed: int, *, mojibake: bool) -> None:
        self.text = text
        self.kinds = kinds
        self.every = every
        self.mixed = mixed
        self.mojibake = mojibake
        self.tags = _tag_runs(self) if every & _TAG else []
        self.selectors = _runs(self.where(_SELECTOR), _LONG_SELECTORS) if every & _SELECTOR else []
        self.overrides = [(at, at + 1) for at in self.where(_OVERRIDE)[:_COUNTED].tolist()] if every & _OVERRIDE else []
        self.within = _zero_width(self) if every & (_INNER | _MANY) else []

    @cached_property
    def codes(self) -> Codes:
        """The code points of the text."""
        return codes_of(self.text)

    @cached_property
    def odd(self) -> Places:
        """Where characters of any odd kind are."""
        kinds = self.kinds
        blocks = [_where(kinds[first : first + _BLOCK], _ODD) + first for first in range(0, len(kinds), _BLOCK)]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def where(self, kind: int) -> Places:
        """The places of an odd kind."""
        places: Places = self.odd[(self.kinds[self.odd] & kind) != 0]
        return places


def look(folded: Folded) -> Look | None:
    """Look at a text; None where nothing in it could be told."""
    if folded.few is not None:
        every = _LATIN | _LETTER
        for char in folded.few:
            every |= int(_KINDS[ord(char)])
        if _tells_nothing(every) or not (every & (_ALONE_ODD | _OTHER) or _any_mojibake(folded.text, folded.few)):
            return None
    elif folded.text.isascii():
        return None
    if folded.codes is None:
        return _look_by_blocks(folded.text)
    kinds = _KINDS.take(folded.codes)
    every = int(np.bitwise_or.reduce(kinds))
    if _tells_nothing(every):
        return None
    return Look(folded.text, kinds, every, _mixed(kinds, every), mojibake=_any_lead(kinds, every))


def _look_by_blocks(text: str) -> Look | None:
    """What is told of characters that stand beside each other is looked for only in blocks that have both."""
    kinds = np.empty(len(text), np.uint16)
    every = mixed = 0
    mojibake = False
    for first in range(0, len(text), _BLOCK):
        codes = codes_of(text[first : first + _BLOCK])
        block = kinds[first : first + _BLOCK]
        _KINDS.take(codes, out=block, mode="clip")  # no code is out of bounds, and only so is no copy made
        block = kinds[max(first - 1, 0) : first + _BLOCK]  # with the last before, for what stands beside it
        here = int(np.bitwise_or.reduce(block))
        every |= here
        mixed += _mixed(block, here)
        mojibake = mojibake or _any_lead(block, here)
    return None if _tells_nothing(every) else Look(text, kinds, every, mixed, mojibake=mojibake)


def _tells_nothing(every: int) -> bool:
    """Whether a text of such characters hides nothing, and is not read otherwise."""
    if every & _ALONE_ODD:
        return False
    return not (every & _LATIN and every & _OTHER) and not (every & _LEAD and every & _TAIL)


def _any_mojibake(text: str, few: Iterable[str]) -> bool:
    """Whether a lead stands before a tail; all that may be one are among `few`."""
    for char in few:
        if _KINDS[ord(char)] & _LEAD:
            at = text.find(char)
            while at >= 0:
                if _KINDS[ord(text[at + 1 : at + 2] or " ")] & _TAIL:
                    return True
                at = text.find(char, at + 1)
    return False


def _mixed(kinds: NDArray[np.uint16], every: int) -> int:
    """How often a Latin letter and another one stand side by side."""
    if not (every & _LATIN and every & _OTHER):
        return 0
    both = np.uint16(_LATIN | _OTHER)
    return int(np.count_nonzero((kinds[1:] | kinds[:-1]) & both == both))


def _any_lead(kinds: NDArray[np.uint16], every: int) -> bool:
    """Whether a lead stands before a tail."""
    if not (every & _LEAD and every & _TAIL):
        return False
    return bool((kinds[:-1] << 1 & kinds[1:] & np.uint16(_TAIL)).any())  # the bit of tails is the next one


def _where(kinds: NDArray[np.uint16], kind: int) -> Places:
    places: Places = np.flatnonzero((kinds & kind) != 0)
    return places


def _ends(at: Places) -> tuple[Places, Places]:
    """Where runs of neighbouring places begin and end."""
    breaks = np.flatnonzero(at[1:] - at[:-1] > 1)
    return at[np.concatenate(([0], breaks + 1))], at[np.concatenate((breaks, [len(at) - 1]))] + 1


def _runs(at: Places, least: int = 1) -> Runs:
    """The runs of neighbouring places, of which there are some."""
    starts, ends = _ends(at)
    if least > 1:
        long = ends - starts >= least
        starts, ends = starts[long], ends[long]
    return list(zip(starts[:_COUNTED].tolist(), ends[:_COUNTED].tolist(), strict=True))


def parted(seen: Look) -> str | None:
    """The text with spaces for what nobody sees, if that parts words in it. It has as many characters."""
    if not seen.every & _UNSEEN or not _parts(seen):
        return None
    codes = seen.codes.copy()
    codes[seen.where(_UNSEEN)] = 0x20
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


def _parts(seen: Look) -> bool:
    """Whether `_PARTING` is found."""
    if _JOINER in seen.text:
        return _PARTING.search(seen.text) is not None
    kinds, last = seen.kinds, len(seen.kinds) - 1
    unseen = seen.where(_UNSEEN)
    starts, ends = _ends(unseen)
    if np.any((starts > 0) & (ends <= last) & (kinds[starts - 1] & kinds[np.minimum(ends, last)] & _LETTER != 0)):
        return True
    codes = seen.codes
    unseen = unseen[_IS_IN_ANY_WORD[codes[unseen]]]
    if not unseen.size:
        return False
    starts, ends = _ends(unseen)
    inside = (starts > 0) & (ends <= last)
    pairs = codes[starts[inside] - 1].astype(np.uint64) << np.uint64(32) | codes[ends[inside]]
    return any(_is_word(pair >> 32) and _is_word(pair & 0xFFFFFFFF) for pair in np.unique(pairs).tolist())


def _is_word(code: int) -> bool:
    char = chr(code)
    return char.isalnum() or char == "_"


def signals_of(looks: Sequence[Look | None]) -> Mapping[str, int]:
    """How many characters, places or words of each kind there are, of those that have no honest use there."""
    counts = dict.fromkeys(SIGNALS, 0)
    for seen in looks:
        if seen is None:
            continue
        counts["mixed-script"] += min(seen.mixed, _COUNTED)
        if seen.mojibake:
            counts["mojibake"] += _count(_MOJIBAKE_HINT, seen.text)
        if seen.every & _MARK:
            counts["marks"] += _odd_marks(seen)
        counts["bidi"] += len(seen.overrides)
        for name, runs in (("tags", seen.tags), ("selectors", seen.selectors), ("invisible", seen.within)):
            counts[name] += sum(end - start for start, end in runs)
    return {name: count for name, count in counts.items() if count}


def _odd_marks(seen: Look) -> int:
    """Marks on marks, and those that strike letters out."""
    starts, ends = _ends(seen.where(_MARK))
    alone = seen.codes[starts[ends - starts == 1]]
    return min(int(np.count_nonzero(ends - starts > 1) + np.count_nonzero(_STRIKES[alone])), _COUNTED)


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in islice(pattern.finditer(text), _COUNTED))


def hidden_runs(looks: Sequence[Look | None], most: int = _RUNS) -> tuple[tuple[int, int, int], ...]:
    """Where characters are that nobody sees and that have no use there: (message, start, end), at most so many."""
    found: list[tuple[int, int, int]] = []
    for index, seen in enumerate(looks):
        if seen is None or len(found) >= most:
            continue
        places = [*seen.tags[:most], *seen.within[: most * 3], *seen.selectors[:most], *seen.overrides[:most]]
        found += ((index, start, end) for start, end in merged(places))
    return tuple(found[:most])


def all_hidden_runs(texts: Iterable[str]) -> tuple[tuple[int, int, int], ...]:
    """The same, all that are looked for in each of the texts."""
    return hidden_runs([look(fold(text)) for text in texts], sys.maxsize)


def merged(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that overlap or touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _tag_runs(seen: Look) -> Runs:
    """Tags, but for those of the flags of England, Scotland and Wales."""
    return [
        (start, end)
        for start, end in _runs(seen.where(_TAG))
        if not (start and seen.text[start - 1] == "\U0001f3f4" and end - start <= 7)
    ]


def _zero_width(seen: Look) -> Runs:
    """What has no use where it is: within words, many of them, and all soft hyphens of a word but the first."""
    found: Runs = []
    kinds = seen.kinds
    if seen.every & _INNER:
        if _JOINER in seen.text:
            found += (run.span() for run in islice(_WITHIN.finditer(seen.text), _COUNTED))
        else:
            starts, ends = _ends(seen.where(_INNER))
            last = len(kinds) - 1
            inside = (starts > 0) & (ends <= last) & (kinds[starts - 1] & kinds[np.minimum(ends, last)] & _LETTER != 0)
            found += zip(starts[inside][:_COUNTED].tolist(), ends[inside][:_COUNTED].tolist(), strict=True)
    many = _runs(seen.where(_MANY), _LONG_UNSEEN)
    if many and any(end - start <= _ENOUGH_UNSEEN for start, end in many) and _RIGHT_TO_LEFT.search(seen.text):
        many = [(start, end) for start, end in many if end - start > _ENOUGH_UNSEEN]
    found += many
    if seen.every & _SOFT:
        soft = seen.where(_SOFT)
        soft = soft[soft >= 3]
        again = (kinds[soft - 1] & kinds[soft - 3] & _LATIN != 0) & (kinds[soft - 2] & _SOFT != 0)
        found += ((at, at + 1) for at in soft[again][:_COUNTED].tolist())
    return found


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
    return [(start, end, seen.text[start:end].translate(_UNTAGGED)) for start, end in _bounded(seen.tags)]


def _selectors(seen: Look) -> list[tuple[int, int, str]]:
    """Bytes written as variation selectors."""
    hits = []
    for start, end in _bounded(seen.selectors):
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
    if not seen.mojibake or not _MOJIBAKE_HINT.search(seen.text):
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
    places = seen.where(_FLIP)
    if len(places) < 4:
        return []
    text = seen.text
    hits = []
    behind = -1
    total = 0
    for start in places[:_TURNED_READ].tolist():
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
    if not seen.mixed:
        return []
    hits = []
    behind = -1
    for start in seen.where(_TWIN)[:_COUNTED].tolist():
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
    ("tags", _TAG, _tags),
    ("selectors", _SELECTOR, _selectors),
    ("mojibake", _LEAD, _mojibake),
    ("upside-down", _FLIP, _upside_down),
    ("look-alikes", _TWIN, _look_alikes),
)

"""Decoding: what bytes say when they are written in base64, in Morse, backwards, with a space after every letter.

Rules of this file:
- A decoder runs only if its trigger fires. Triggers are single passes that can't be made slow: looking for one byte,
  translating bytes into classes and looking for a fixed run of classes, one table of literal words. One gate over
  the classes stands before most of them: prose ends there. What is written so in honest text (`%20`, `&amp;`, `a*b`,
  `x=80`) fires nothing alone: letters must be written in a way in which nobody has to write them.
- Percent signs, entities, escapes, tags and emphasis are undone together, in one view: they are mixed in honest
  texts, and a view for each order of undoing them would multiply the work.
- What is found is cut into pieces and each piece decoded for itself. Blobs (base64, hex, Morse...) give the decoded
  text alone; what is disguised letter by letter is read in its place, with up to `_CONTEXT` bytes around it.
- A piece counts only if it decodes to text. Most honest text that fires a trigger ends there.
- No piece reaches over a wall. All patterns here are read by RE2, or are runs of one class of bytes.
- What isn't read because a limit is reached is noted in `Budget.skipped`, never silently dropped.
- Not read at all: base58 and base85 (no alphabet tells them from noise), texts hidden in the bits of zero-width
  characters (their number is a signal).
"""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice, pairwise, product
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import re2
from numpy.typing import NDArray

from .fold import codes_of, fold_codes, widths_of
from .literals import literals
from .matcher import HAS_HYPERSCAN, HyperscanSet
from .words import KNOWN, LONGEST, TELLING, TELLING_TOO

WALL: Final = b"\n\x00\n"
Positions: TypeAlias = NDArray[np.int32]
Places: TypeAlias = NDArray[np.intp]

_ALLOWANCE: Final = 64 * 1024  # decoded bytes that even a short text may have: gzip expands
_CEILING: Final = 512 * 1024  # and the most for long ones: two positions of four bytes are kept for each
_HITS: Final = 1024  # pieces a decoder looks at; each costs microseconds, so this bounds it to a few ms
_NESTED: Final = 96 * 1024  # bytes of decoded text that are looked at again for what is encoded in them
_IN_PLACE: Final = 32 * 1024  # bytes of one view that is read in its place: most of it is context
_CONTEXT: Final = 160  # about two lines: what else belongs to the sentence
_NUMBERS_READ: Final = 48 * 1024  # bytes of numbers and Morse in one text; a microsecond for each few
_LETTERS_READ: Final = 16 * 1024  # bytes of spaced letters; more than a microsecond for each few
_BLOBS: Final = 384  # texts in base64 that are read; nobody but an attacker writes as many
_BLOB_READ: Final = 128 * 1024  # characters of one blob; longer ones are files
_GLUED_READ: Final = 4096  # letters of words run together; each costs a microsecond
_LETTERS_CUT: Final = 1024  # letters without gaps that are cut into words; each costs a dozen look-ups
_FLIP_LIMIT: Final = 8192  # a text up to this long is read backwards whole


def _re2(pattern: bytes) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # bytes are bytes
    options.max_mem = 64 << 20  # only what is visited is kept; less makes it fall back to a slow automaton
    return re2.compile(pattern, options)


class Budget:
    """How many bytes may still be decoded in one request: as many as were written, within limits.

    `skipped`: where in the bytes last decoded something looked encoded and was not read; whoever asks empties it.
    """

    __slots__ = ("left", "nested", "skipped")

    def __init__(self, size: int) -> None:
        self.left = min(size, _CEILING) + _ALLOWANCE
        self.nested = _NESTED
        self.skipped: list[tuple[int, int]] = []

    def take(self, size: int, start: int, end: int) -> bool:
        """Whether that many may be decoded, from `start` to `end`."""
        if size > self.left:
            self.skipped.append((start, end))
            return False
        self.left -= size
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A reading of some bytes: byte n of `data` stands for the bytes `starts[n]` to `ends[n]` there; -1 in walls."""

    kind: str
    data: bytes
    starts: Positions = field(repr=False)
    ends: Positions = field(repr=False)


class Hit(NamedTuple):
    """Bytes `start` to `end` read as `data`.

    `cells`: where each byte of it begins and ends; else each is a part of digits of so many `bits` from `start` on;
    else they are evenly spread.
    """

    start: int
    end: int
    data: bytes
    cells: tuple[Sequence[int] | Positions, Sequence[int] | Positions] | None = None
    bits: int = 0


def decodings(data: bytes, kind: str, budget: Budget) -> Iterator[Decoded]:
    """What these bytes say when they are decoded once; `kind` is how they were made."""
    text = _Text(data, budget.skipped)
    done = kind.replace("&", "+").split("+")
    written: list[tuple[str, list[Hit]]] = []
    for index in _ON_WRITTEN(data):
        name, *_, decoder = _WRITTEN[index]
        if hits := decoder(text):
            written.append((name, hits))
    if written:
        hits = written[0][1] if len(written) == 1 else _apart(chain.from_iterable(hits for _, hits in written))
        found = read("&".join(name for name, _ in written), data, hits, budget, _CONTEXT)
        if found is not None:
            yield found
    spaced = False
    for name, _, decoder, in_place, again in text.due:
        if (name in done and not again) or (name in _LETTERWISE and not _LETTERWISE.isdisjoint(done)):
            continue
        if name == "split" and spaced:
            continue  # what was spaced letter by letter needs no more putting together
        hits = decoder(text)
        if hits:
            spaced = spaced or name == "letters"
            found = read(name, data, hits, budget, _CONTEXT if in_place else None)
            if found is not None:
                yield found


def _apart(hits: Iterable[Hit]) -> list[Hit]:
    """The hits in order, without those that begin inside another."""
    apart: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
        if not apart or hit.start >= apart[-1].end:
            apart.append(hit)
    return apart


class _Text:
    """Bytes, the classes of them that triggers look at, the triggers that fired, the decoders that are due for that,
    and the telling words in the bytes."""

    __slots__ = ("_runs", "classes", "data", "due", "fired", "skipped", "told")

    def __init__(self, data: bytes, skipped: list[tuple[int, int]]) -> None:
        self.data = data
        self.skipped = skipped
        self.classes = data.translate(_CLASSES, _CONTINUATION)
        plain = data.translate(_TO_PLAIN)
        told = self._bounded(_TELLTALE.places(plain), len(plain))
        self.told = [(start, end, plain[start:end].decode("ascii")) for start, end in told]
        self.fired, self.due = _due(tuple(_ON_CLASSES.Match(self.classes) or ()), bool(told))
        self._runs: list[tuple[int, int]] | None = None

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Runs of at least 16 characters of base64, up to the limit of pieces."""
        if self._runs is None:
            self._runs = list(islice(_long_runs(self.data), _HITS))
        return self._runs

    def found(self, pattern: Any, data: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
        """Where an RE2 pattern matches, up to the limit of pieces."""
        stop = len(data) if end is None else end
        return self._bounded((match.span() for match in pattern.finditer(data, start, stop)), stop)

    def _bounded(self, places: Iterator[tuple[int, int]], stop: int) -> list[tuple[int, int]]:
        spans = list(islice(places, _HITS))
        if len(spans) == _HITS:
            self.skipped.append((spans[-1][1], stop))
        return spans

    def pieces(self, pattern: Any, most: int = _NUMBERS_READ, letters: int = 0) -> Iterator[tuple[int, int]]:
        """The same, as much of them as is worth taking apart number by number; of those with so many ASCII letters."""
        left = most
        for start, end in self.found(pattern, self.data):
            if letters and len(self.data[start:end].translate(None, _NO_LETTERS)) < letters:
                continue
            if left <= 0:
                self.skipped.append((start, len(self.data)))
                return
            stop = end
            if end - start > left:
                stop = self.data.rfind(b" ", start, start + left)
                stop = stop if stop > start else start + left
                self.skipped.append((stop, end))
            left -= end - start
            yield start, stop

    def left_out(self, start: int, end: int) -> None:
        """Note what of a blob is not read."""
        if start < end:
            self.skipped.append((start, end))


def _classes(**members: bytes) -> bytes:
    table = bytearray(b"?" * 256)
    for name, chars in members.items():
        for char in chars:
            table[char] = ord(_CLASS_NAMES[name])
    return bytes(table)


# Each trigger is a run of classes; all are looked for at once.
_ALONE: Final = rb"[^aA0$]{1,6}"
_ON_LETTERS: Final = rb"(?:^|[^aA0$])(?:[aA]G[aA0$]G[aA]G[aA0$]|[aA0$]G[aA]G[aA0$]G[aA])(?:[^aA0$]|$)".replace(
    b"G", _ALONE
)
_ON_LEET: Final = rb"[aA][0$]+[aA]|(?:^|[^aA0$])[0$][aA][aA]|[aA]00|[aA]{2}[0$]"
_ON_MORSE: Final = rb"[.*-](?:[ /.]{1,5}[.*-]{1,7}){4}"
_ON_BLOB: Final = rb"[aA0/-]{16}"
_ON_MIXED: Final = rb"AaA|a0A|A0a|aA0|0Aa|aAaaA"
_ON_BASE64: Final = _ON_BLOB + b"|" + _ON_MIXED
_ON_HEX: Final = rb"[aA0]{12}|(?:[aA0]{2}[ ,?-]{1,3}){5}|(?:0a[aA0]{2}[ ,?-]{0,3}){3}"
_ON_CODES: Final = rb"0{2,3}(?:[ .,/?*-]{1,3}0{2,3}){4}"
_ON_BINARY: Final = rb"0{7}"
_ON_GLUED: Final = rb"a{23}|A{24}|(?:Aa{1,11}){6}"
_ON_SPLIT: Final = rb"[aA][.*/-]{1,3}[aA]{1,3}[.*/-]{1,3}[aA]"
_CLASS_NAMES: Final = {
    "lower": "a",
    "upper": "A",
    "digit": "0",
    "symbol": "$",
    "space": " ",
    "cut": ".",
    "mark": "*",
    "dash": "-",
    "blob": "/",
}
_LOWER: Final = b"abcdefghijklmnopqrstuvwxyz"
_UPPER: Final = _LOWER.upper()
_TO_PLAIN: Final = bytes.maketrans(b"-_.*~`|^'/\\" + _UPPER, b" " * 11 + _LOWER)
_DIGITS: Final = b"0123456789"
_CONTINUATION: Final = bytes(range(0x80, 0xC0))
_CLASSES: Final = _classes(
    lower=_LOWER + bytes(range(0xC0, 0x100)),
    upper=_UPPER,
    digit=_DIGITS,
    symbol=b"@$!",
    space=b" \t\n\r\v\f",
    cut=b".|^'",
    dash=b"-_",
    mark=b"*~`\\",
    blob=b"/+=",
)
# -- putting pieces together


def read(
    kind: str, data: bytes, hits: Sequence[Hit], budget: Budget, context: int | None, *, walls: bool = True
) -> Decoded | None:
    """The hits as one text: with what stands around them, or (None) each for itself, with walls or nothing between."""
    laid = _Parts()
    if context is None:
        for hit in hits:
            if budget.take(len(hit.data), hit.start, hit.end):
                if walls and laid.parts:
                    laid.put(WALL, -1, 0)
                laid.put_hit(hit)
    else:
        _put_in_place(laid, data, hits, budget, context)
    return _folded(kind, laid) if laid.parts else None


class _Parts:
    """Pieces of a text that is put together, and where they come from."""

    __slots__ = ("begins", "parts", "spans", "told")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.begins: list[int] = []
        self.spans: list[int] = []  # over how many bytes each part is spread; less than zero: see `Hit.bits`
        self.told: list[tuple[int, Hit]] = []  # parts whose last or all places are known

    def put(self, piece: bytes, begin: int, span: int) -> None:
        self.parts.append(piece)
        self.begins.append(begin)
        self.spans.append(span)

    def put_hit(self, hit: Hit) -> None:
        if hit.cells is not None or hit.bits:
            self.told.append((len(self.parts), hit))
            self.put(hit.data, hit.start, -hit.bits or len(hit.data))
        elif hit.data:
            self.put(hit.data, hit.start, hit.end - hit.start)

    def places(self) -> tuple[Positions, Positions]:
        """Where each byte of the parts begins and ends in what was written."""
        sizes = np.fromiter(map(len, self.parts), np.int64, len(self.parts))
        begins = np.array(self.begins, np.int64)
        spans = np.array(self.spans, np.int64)
        lasts = np.cumsum(sizes)
        firsts = lasts - sizes
        # as if every byte stood for one
        starts = (np.repeat(begins - firsts, sizes) + np.arange(int(lasts[-1]))).astype(np.int32)
        ends = starts + np.int32(1)
        spread = np.flatnonzero((spans != sizes) & (begins >= 0))
        if spread.size:
            size = np.repeat(sizes[spread], sizes[spread])
            number = np.arange(len(size)) - np.repeat(np.cumsum(sizes[spread]) - sizes[spread], sizes[spread])
            where = np.repeat(firsts[spread], sizes[spread]) + number
            span = np.repeat(np.where(spans[spread] < 0, 8, spans[spread]), sizes[spread])
            size = np.where(np.repeat(spans[spread], sizes[spread]) < 0, -np.repeat(spans[spread], sizes[spread]), size)
            begin = np.repeat(begins[spread], sizes[spread])
            starts[where] = begin + number * span // size
            ends[where] = begin + ((number + 1) * span + size - 1) // size
        walls = np.flatnonzero(begins < 0)
        if walls.size:
            nowhere = (firsts[walls, None] + np.arange(len(WALL))).reshape(-1)
            starts[nowhere] = ends[nowhere] = -1
        for index, hit in self.told:
            first, last = int(firsts[index]), int(lasts[index])
            if hit.cells is not None:
                starts[first:last] = hit.cells[0]
                ends[first:last] = hit.cells[1]
            elif first < last:
                ends[last - 1] = hit.end
        return starts, ends


def _put_in_place(laid: _Parts, data: bytes, hits: Sequence[Hit], budget: Budget, context: int) -> None:
    size = 0
    for group in _groups(data, hits, context):
        first, last = _around(data, group[0].start, group[-1].end, context)
        size += last - first
        if size > _IN_PLACE:
            budget.skipped.append((group[0].start, hits[-1].end))
            break
        if not budget.take(last - first, group[0].start, group[-1].end):
            continue
        if laid.parts:
            laid.put(WALL, -1, 0)
        at = first
        for hit in group:
            if hit.start > at:
                laid.put(data[at : hit.start], at, hit.start - at)
            laid.put_hit(hit)
            at = hit.end
        if last > at:
            laid.put(data[at:last], at, last - at)


def _groups(data: bytes, hits: Sequence[Hit], context: int) -> Iterator[Sequence[Hit]]:
    """Hits that are read together: near each other, and not parted by a wall."""
    group = [hits[0]]
    for hit in hits[1:]:
        behind = group[-1].end
        if (
            hit.start - behind > 2 * context
            or hit.end - group[0].start > _IN_PLACE // 2
            or data.find(b"\0", behind, hit.start) >= 0
        ):
            yield group
            group = []
        group.append(hit)
    yield group


def _around(data: bytes, first: int, last: int, context: int) -> tuple[int, int]:
    """The place with some context: whole words, and not over a wall."""
    start = max(first - context, 0)
    start = max(start, data.rfind(b"\0", start, first) + 1)
    if start:
        start = max(start, data.find(b" ", start, first) + 1)
    end = min(last + context, len(data))
    wall = data.find(b"\0", last, end)
    end = end if wall < 0 else wall
    if end < len(data) and wall < 0:
        gap = data.rfind(b" ", last, end)
        end = end if gap < 0 else gap
    # not into the middle of a character
    while start < first and data[start] & 0xC0 == 0x80:
        start += 1
    while end > last and end < len(data) and data[end] & 0xC0 == 0x80:
        end -= 1
    return start, end


_CONTROLS: Final = bytes(char for char in range(1, 0x80) if (char < 0x20 and char not in b"\t\n\v\f\r") or char == 0x7F)
_CONTROL: Final = np.isin(np.arange(256), list(b"\0" + _CONTROLS))


def _folded(kind: str, laid: _Parts) -> Decoded | None:
    """Decoded bytes folded like any text."""
    data = b"".join(laid.parts)
    starts, ends = laid.places()
    if data.count(0) > laid.begins.count(-1) or len(data.translate(None, _CONTROLS)) < len(data):
        array = np.frombuffer(data, np.uint8)
        kept = ~_CONTROL[array] | (starts < 0)
        starts, ends = starts[kept], ends[kept]
        data = array[kept].tobytes()
    if not data.isascii():
        codes = codes_of(data.decode("utf-8", "surrogateescape"))
        broken = (codes >= 0xD800) & (codes < 0xE000)
        width = 1 + (codes >= 0x80) + ((codes >= 0x800) & ~broken) + (codes >= 0x10000) - broken
        first = np.cumsum(width) - width
        # a NUL, and there are none but in walls, would be gone
        walls = codes == 0
        codes = np.where(walls, np.uint32(0x0A), codes)
        data, long = fold_codes(codes), widths_of(codes)
        array = np.frombuffer(data, np.uint8).copy()
        array[(np.cumsum(long, dtype=np.int64) - long)[walls]] = 0
        data = array.tobytes()
        starts = np.repeat(starts[first], long)
        ends = np.repeat(ends[first + width - 1], long)
    return Decoded(kind, data, starts, ends) if data else None


# -- blobs

_NOT_TEXT: Final = bytes(byte for byte in range(0x100) if not (0x20 <= byte < 0x7F or byte in b"\t\n\r"))
_LETTERS_AND_SPACES: Final = _LOWER + _UPPER + b" \t\n\r"


def is_text(plain: bytes) -> bool:
    """Whether decoded bytes are text rather than what any bytes decode to."""
    if not plain:
        return False
    good = len(plain.translate(None, _NOT_TEXT))
    if good * 8 >= len(plain) * 7:
        letters = len(plain) - len(plain.translate(None, _LETTERS_AND_SPACES))
        return letters * 2 >= len(plain)
    if good * 8 >= len(plain) * 7 - 8 and len(plain) > 24:  # cut out of something longer
        return True
    try:
        text = plain.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(plain) - 3:
            return False
        text = plain[: error.start].decode("utf-8")
    return sum(map(str.isalpha, text)) * 2 >= len(text) > 0 and text.count("\0") == 0


def _bits(plain: bytes, where: Positions, bits: int, end: int) -> tuple[Positions, Positions]:
    """Where each decoded byte begins and ends, for digits of so many bits at `where`; padding reaches to `end`."""
    number = np.arange(len(plain))
    starts = where[np.minimum(number * 8 // bits, len(where) - 1)].astype(np.int32)
    ends = (where[np.minimum((number * 8 + 7) // bits, len(where) - 1)] + 1).astype(np.int32)
    if len(ends):
        ends[-1] = end
    return starts, ends


def _text_of(plain: bytes, where: Positions | int, bits: int, start: int, end: int) -> Hit | None:
    """A hit, if the decoded bytes are text, UTF-16, or compressed text; `where` the digits are, or begin."""
    if plain[:2] == b"\x1f\x8b" or plain[:1] == b"\x78":
        inflated = _inflated(plain)
        if inflated and is_text(inflated):
            return Hit(start, end, inflated)
    if len(plain) >= 8 and 0 in plain:
        for first in (0, 1):
            if plain[1 - first :: 2].count(0) * 8 >= len(plain) * 3:
                if not is_text(plain[first::2]):
                    return None
                if isinstance(where, int):
                    where = np.arange(where, end, dtype=np.int32)
                starts, ends = _bits(plain, where, bits, end)
                return Hit(start, end, plain[first::2], (starts[first::2], ends[first::2]))
    if not is_text(plain):
        return None
    return (
        Hit(start, end, plain, None, bits)
        if isinstance(where, int)
        else Hit(start, end, plain, _bits(plain, where, bits, end))
    )


def _inflated(packed: bytes) -> bytes:
    """What gzip or zlib packed, up to the allowance; as much as is whole."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(packed, _ALLOWANCE // 2)
    except zlib.error:
        return b""


_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_LONG_RUN: Final = b"x" * 16


def _to_members(members: bytes) -> bytes:
    """A table that makes of these bytes what `_LONG_RUN` has, and of others spaces."""
    return bytes(0x78 if char in members else 0x20 for char in range(256))


_TO_RUNS: Final = _to_members(_LOWER + _UPPER + _DIGITS + b"+/_-")


_PROBED: Final = 64  # characters of a blob that are decoded to see whether it is worth it


def _long_runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Runs of at least 16 characters of base64: looking for a fixed run skips what an automaton reads."""
    members = data.translate(_TO_RUNS)
    start = members.find(_LONG_RUN)
    while start >= 0:
        end = members.find(b" ", start)
        end = len(members) if end < 0 else end
        yield start, end
        start = members.find(_LONG_RUN, end)


_BREAKS: Final = frozenset((b"\n", b"\r"))
_NEXT_LINE: Final = re.compile(rb"[\r\n]{1,2}[\t >]{0,8}[A-Za-z0-9+/_-]+(?![^\s\x00=])")


def _positions(data: bytes, start: int, end: int, members: NDArray[np.bool_]) -> Positions:
    """Where in `data` the bytes of a class are."""
    array = np.frombuffer(data, np.uint8, end - start, start)
    return (np.flatnonzero(members[array]) + start).astype(np.int32)


def _runs_of(members: NDArray[np.bool_], data: bytes, start: int, end: int) -> tuple[Places, Places]:
    """Where runs of bytes of a class begin and end, from `start` to `end`."""
    inside = np.zeros(end - start + 2, np.bool_)
    inside[1:-1] = members[np.frombuffer(data, np.uint8, end - start, start)]
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + start
    return edges[::2], edges[1::2]


def _members(chars: bytes) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(chars)] = True
    return table


_IN_BASE64: Final = _members(_LOWER + _UPPER + _DIGITS + b"+/-_")
_IN_BASE32: Final = _members(_LOWER + _UPPER + b"234567")
_IN_HEX: Final = _members(b"0123456789abcdefABCDEF")


def _base64_at(data: bytes, start: int, end: int, finish: int, shifts: int, *, whole: bool) -> Hit | None:
    """Base64 from `start` to `end`, with padding to `finish`; `whole`: nothing else is in it."""
    probe = data[start : min(start + _PROBED + 8, end)].translate(_URL_SAFE, b"\r\n\t >")
    for shift in range(shifts):
        head = probe[shift : shift + _PROBED]
        try:
            plain = binascii.a2b_base64(head[: len(head) // 4 * 4])
        except binascii.Error:
            continue
        if not _worth(plain):
            continue
        if whole:
            where: Positions | int = start + shift
            run = data[start + shift : end].translate(_URL_SAFE)
        else:
            where = _positions(data, start, end, _IN_BASE64)[shift:]
            run = bytes(np.frombuffer(data, np.uint8)[where]).translate(_URL_SAFE)
        odd = len(run) % 4
        if odd or len(run) > len(head):
            run = run[:-1] if odd == 1 else run + b"=" * (-len(run) % 4)
            try:
                plain = binascii.a2b_base64(run)
            except binascii.Error:
                continue
        hit = _text_of(plain, where, 6, where if isinstance(where, int) else int(where[0]), finish)
        if hit:
            return hit
    return None


def _worth(head: bytes) -> bool:
    """Whether bytes may be the beginning of text, of UTF-16 or of what is compressed."""
    good = len(head.translate(None, _NOT_TEXT))
    if good * 4 >= len(head) * 3 or head[:2] == b"\x1f\x8b" or head[:1] == b"\x78" or head.count(0) * 4 > len(head):
        return True
    # cheaper than an error for each of many
    return len(head.decode("utf-8", "ignore").encode("utf-8")) >= len(head) - 3


_BLOB_WORD: Final = re.compile(rb"[A-Za-z0-9+/_=-]+")


def _base64(text: _Text) -> list[Hit]:
    data = text.data
    hits: list[Hit] = []
    if "base32" in text.fired:
        runs = text.runs
        if len(runs) == _HITS:
            text.left_out(runs[-1][1], len(data))
        # a word glued to the front shifts the bits; trying all shifts is worth it only for a few runs
        shifts = 4 if len(runs) <= 256 else 1
        index = 0
        while index < len(runs):
            start, end = runs[index]
            index += 1
            # names in code, paths and hashes have hardly a capital; what is encoded has one in four letters and more
            run = data[start : min(end, start + 256)]
            if (len(run) - len(run.translate(None, _UPPER))) * 16 < len(run):
                continue
            # lines of one block
            lined = end
            while (
                lined - start >= 40 and data[lined : lined + 1] in _BREAKS and (line := _NEXT_LINE.match(data, lined))
            ):
                lined = line.end()
            whole, end = lined == end, lined
            while index < len(runs) and runs[index][1] <= end:
                index += 1
            padded = end
            while padded < len(data) and padded < end + 2 and data[padded] == 0x3D:
                padded += 1
            stop = min(padded, start + _BLOB_READ)
            hit = _base64_at(data, start, min(end, stop), stop, shifts, whole=whole)
            if hit:
                hits.append(hit)
                text.left_out(stop, padded)
                if len(hits) == _BLOBS:
                    text.left_out(padded, len(data))
                    break
    if "mixed" in text.fired and len(hits) < _BLOBS:
        for start, end in _mixed(text, hits)[:64]:
            hits += _pieced(data, hits, start, end)
        hits.sort(key=lambda hit: hit.start)
    return hits


_BESIDE: Final = 512  # bytes at the ends of what is read
_MIXED_RUN: Final = _re2(_ON_MIXED)


def _mixed(text: _Text, known: Sequence[Hit]) -> list[tuple[int, int]]:
    """Where letters and digits are mixed as only chance mixes them: three times within two words or so."""
    data = text.data
    classes = text.classes if len(text.classes) == len(data) else data.translate(_CLASSES)
    # what is known in the middle of long blobs says nothing of what stands beside them
    read = [(hit.start + _BESIDE, hit.end - _BESIDE) for hit in known if hit.end - hit.start > 4 * _BESIDE]
    if read:
        left = bytearray(classes)
        for start, end in read:
            left[start:end] = b"?" * (end - start)
        classes = bytes(left)
    places = [start for start, _ in text.found(_MIXED_RUN, classes)]
    found: list[tuple[int, int]] = []
    for index in range(2, len(places)):
        if places[index] - places[index - 2] <= 64:
            start, end = max(places[index - 2] - 256, 0), min(places[index] + 256, len(data))
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
    return found


def _pieced(data: bytes, known: Sequence[Hit], begin: int, finish: int) -> Iterator[Hit]:
    """Base64 that is short, or cut by spaces or quotes."""
    begin = max(
        data.rfind(b" ", max(begin - 256, 0), begin) + 1,
        data.rfind(b"\n", max(begin - 256, 0), begin) + 1,
        begin - 256,
        0,
    )
    gap = data.find(b" ", finish, finish + 256)
    finish = min(gap if gap >= 0 else finish + 256, len(data))
    taken = iter([*(hit for hit in known if hit.end > begin), Hit(len(data), len(data), b"")])
    block = next(taken)
    chain: list[tuple[int, int]] = []
    for word in islice(_BLOB_WORD.finditer(data, begin, finish), _HITS):
        run = word.group()
        if _is_plain_word(run):
            if chain and run.strip(_JOINTS):
                yield from _chain(data, chain)
                chain = []
            continue
        if not run.strip(_JOINTS):
            continue  # what pieces are put together with
        start, end = word.span()
        while block.end <= start and block.start < len(data):
            block = next(taken)
        known_already = block.start < end and start < block.end
        if chain and (known_already or start - chain[-1][1] > 6 or b"\0" in data[chain[-1][1] : start]):
            yield from _chain(data, chain)
            chain = []
        if not known_already:
            chain.append((start, end))
    yield from _chain(data, chain)


_JOINTS: Final = b"+/=-_"


def _is_plain_word(word: bytes) -> bool:
    if word.isalpha():
        return word[1:].islower() or word.isupper() or len(word) < 3
    return len(word) < 3 or word.isdigit()


def _chain(data: bytes, chain: Sequence[tuple[int, int]]) -> Iterator[Hit]:
    if not chain or sum(end - start for start, end in chain) < 8:
        return
    groups: list[list[tuple[int, int]]] = [[]]
    for start, end in chain:
        groups[-1].append((start, end))
        if data[end - 1] == 0x3D:
            groups.append([])
    if not groups[-1]:
        groups.pop()
    plains: list[bytes] = []
    for group in groups:
        run = b"".join([data[start:end] for start, end in group]).translate(_URL_SAFE, b"=")
        if len(run) % 4 == 1:
            run = run[:-1]
        if not run:
            return
        plains.append(binascii.a2b_base64(run + b"=" * (-len(run) % 4)))
    plain = b"".join(plains)
    if len(plain.translate(None, _NOT_TEXT)) < len(plain) or not is_text(plain):
        return
    starts: list[int] = []
    ends: list[int] = []
    for group, decoded in zip(groups, plains, strict=True):
        where = np.concatenate([_positions(data, start, end, _IN_BASE64) for start, end in group])
        if len(where) % 4 == 1:
            where = where[:-1]
        begin, finish = _bits(decoded, where, 6, int(where[-1]) + 1)
        starts += begin.tolist()
        ends += finish.tolist()
    ends[-1] = chain[-1][1]
    yield Hit(chain[0][0], chain[-1][1], plain, (starts, ends))


_TO_SMALL_BASE32: Final = _to_members(_LOWER + b"234567")
_TO_LARGE_BASE32: Final = _to_members(_UPPER + b"234567")
_FEW_RUNS: Final = 8
_SHORT_RUN: Final = 1024
_PADDING: Final = 6  # of base32, at most
_BASE32_RUN: Final = _re2(rb"(?:[A-Z2-7]{16,}|[a-z2-7]{16,})={0,6}")


def _may_be_base32(run: bytes) -> bool:
    """Whether a pattern need be looked for in a run of base64."""
    return _LONG_RUN in run.translate(_TO_SMALL_BASE32) or _LONG_RUN in run.translate(_TO_LARGE_BASE32)


def _base32(text: _Text) -> list[Hit]:
    data = text.data
    hits = []
    if not text.runs:
        return []
    # it is in runs of base64: where these are short, most of them are soon seen to be something else
    parts = [(0, len(data))]
    if len(text.runs) <= _FEW_RUNS and all(end - start <= _SHORT_RUN for start, end in text.runs):
        parts = [(start, end + _PADDING) for start, end in text.runs if _may_be_base32(data[start:end])]
    for start, end in chain.from_iterable(text.found(_BASE32_RUN, data, *part) for part in parts):
        if not _worth(_unbase32(data[start : start + 32].upper())):
            continue
        whole, end = end, min(end, start + _BLOB_READ)
        where = _positions(data, start, end, _IN_BASE32)
        chars = bytes(np.frombuffer(data, np.uint8)[where]).upper()
        while len(chars) % 8 in (1, 3, 6):
            chars = chars[:-1]
        plain = _unbase32(chars)
        hit = _text_of(plain, where, 5, start, end)
        if hit:
            text.left_out(end, whole)
            hits.append(hit)
    return hits


_BASE32_VALUES: Final = bytes(
    (char - 0x41) % 32 if 0x41 <= char <= 0x5A else char - 0x32 + 26 if 0x32 <= char <= 0x37 else 0
    for char in range(256)
)


def _unbase32(chars: bytes) -> bytes:
    size = len(chars) * 5 // 8
    values = np.frombuffer((chars + b"A" * (-len(chars) % 8)).translate(_BASE32_VALUES), np.uint8).reshape(-1, 8)
    bits = np.zeros(len(values), np.uint64)
    for at in range(8):
        bits = bits << np.uint64(5) | values[:, at]
    return bits.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 3:].tobytes()[:size]


# It begins as text does: in ASCII, UTF-8 or UTF-16, or packed. Hashes and identifiers hardly ever do.
_HEX_RUN: Final = _re2(
    rb"(?:(?:P[02-7]XS){6}|(?:P[C-Fc-f]XSP[89ABab]XS){3}|(?:P[Ee]XSP[89ABab]XSP[89ABab]XS){2}|P1[Ff]SP8[Bb]S|P78SP(?:01|5[Ee]|9[Cc]|[Dd][Aa])S)"
    rb"(?:PXXS)*".replace(b"X", b"[0-9A-Fa-f]")
    .replace(b"P", b"(?:0[x])?")
    .replace(b"S", rb"[ ,:;\-\n\r]{0,3}")
)
_HEX_PREFIX: Final = re.compile(rb"0[xX]")


# what is between digits is left out, and what stands before them counts as one: there are no fewer than these
_BETWEEN_HEX: Final = b" ,:;-\n\r"
_TO_HEX: Final = _to_members(b"0123456789abcdefABCDEFxX")
_TWELVE_DIGITS: Final = b"x" * 12


def _hex(text: _Text) -> list[Hit]:
    data = text.data
    hits: list[Hit] = []
    if _TWELVE_DIGITS not in data.translate(_TO_HEX, _BETWEEN_HEX):
        return hits
    for start, end in text.found(_HEX_RUN, data):
        whole, end = end, min(end, start + _BLOB_READ)
        blank = data[start:end].rstrip(b" ,:;-\n\r")
        end = start + len(blank)
        if b"0x" in blank or b"0X" in blank:
            blank = _HEX_PREFIX.sub(b"  ", blank)
        chars = blank.translate(None, b" ,:;-\n\r")
        plain = bytes.fromhex(chars[: len(chars) // 2 * 2].decode("ascii"))
        if len(plain) >= 6 and _worth(plain[:_PROBED]):
            where = _positions(blank, 0, len(blank), _IN_HEX) + np.int32(start)
            hit = _text_of(plain, where, 4, start, end)
            if hit:
                text.left_out(start + _BLOB_READ, whole)
                hits.append(hit)
    return hits


_CODES_RUN: Final = _re2(rb"[0-9]{2,3}(?:(?:[ ,;:./\n\r-]|\\){1,3}[0-9]{2,3}){5,}")
_DIGIT_RUN: Final = re.compile(rb"[0-9]+")


def _codes(text: _Text) -> list[Hit]:
    """Numbers of characters: decimal or octal."""
    hits = []
    for start, end in text.pieces(_CODES_RUN):
        runs = [run.span() for run in _DIGIT_RUN.finditer(text.data, start, end)]
        for base in (10, 8):
            try:
                values = [int(text.data[first:last], base) for first, last in runs]
            except ValueError:
                continue
            if max(values) < 256:
                plain = bytes(values)
                if is_text(plain):
                    cells = ([first for first, _ in runs], [last for _, last in runs])
                    hits.append(Hit(start, end, plain, cells))
                    break
    return hits


_BINARY_RUN: Final = _re2(rb"[01]{7,8}(?:[ ,;:\n\r]{0,3}[01]{7,8}){2,}")
_IN_BINARY: Final = _members(b"01")


def _binary(text: _Text) -> list[Hit]:
    hits = []
    for start, end in text.pieces(_BINARY_RUN):
        runs = [last - first for first, last in (run.span() for run in _DIGIT_RUN.finditer(text.data, start, end))]
        width = 7 if set(runs) == {7} else 8
        where = _positions(text.data, start, end, _IN_BINARY)
        count = len(where) // width
        where = where[: count * width]
        digits = (np.frombuffer(text.data, np.uint8)[where] - 0x30).reshape(count, width)
        plain = bytes(np.packbits(digits, axis=1, bitorder="big")[:, 0] >> (8 - width))
        if is_text(plain):
            cells = where.reshape(count, width)
            hits.append(Hit(start, end, plain, (cells[:, 0].tolist(), (cells[:, -1] + 1).tolist())))
    return hits


_MORSE_RUN: Final = _re2(rb"[.\-_*]{1,7}(?:[ /|\n\r]{1,5}[.\-_*]{1,7}){4,}")
_MORSE_LINES: Final = bytes(
    ord(".") if char in b".*" else ord("-") if char in b"-_" else ord(" ") for char in range(256)
)
_IN_MORSE: Final = _members(b".*-_")
_MORSE_SIGNS: Final = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .-.-.- --..-- ..--.. .----. -....- -..-. .--.-. "
    "---... -.-.-- .-..-. -.-.-. -...- .-.-. -.--. -.--.-"
)
_MORSE: Final = dict(
    zip(_MORSE_SIGNS.encode("ascii").split(), b"abcdefghijklmnopqrstuvwxyz0123456789.,?'-/@:!\";=+()", strict=True)
)


def _morse(text: _Text) -> list[Hit]:
    data = text.data
    hits = []
    for start, end in text.pieces(_MORSE_RUN):
        signs = data[start:end].translate(_MORSE_LINES).split()
        letters = [_MORSE.get(sign, 0) for sign in signs]
        known = len(letters) - letters.count(0)
        if len(set(letters)) <= 3:
            continue
        firsts, lasts = _runs_of(_IN_MORSE, data, start, end)
        codes = np.array(letters, np.uint8)
        if known < len(letters):
            firsts, lasts, codes = firsts[codes > 0], lasts[codes > 0], codes[codes > 0]
        # more than one space, or a stroke, parts words
        apart = np.flatnonzero((firsts[1:] - lasts[:-1] > 1) | (np.frombuffer(data, np.uint8)[lasts[:-1]] != 0x20))
        spaces = apart + np.arange(len(apart)) + 1
        size = known + len(apart)
        written = np.ones(size, np.bool_)
        written[spaces] = False
        plain = np.full(size, 0x20, np.uint8)
        starts, ends = np.empty(size, np.int32), np.empty(size, np.int32)
        plain[written], starts[written], ends[written] = codes, firsts, lasts
        starts[spaces], ends[spaces] = lasts[apart], firsts[apart + 1]
        if (len(letters) - known) * 8 <= size and len(set(plain.tobytes())) > 3:
            hits.append(Hit(start, end, plain.tobytes(), (starts, ends)))
    return hits


# -- escapes, in their place

_PERCENT_RUN: Final = _re2(rb"(?:%[0-9A-Fa-f]{2})+")
# letters and digits, which no address needs to write so; a percent sign itself; words; other alphabets
_ON_PERCENT: Final = (
    rb"%(?:3[0-9]|4[1-9A-Fa-f]|[57][0-9Aa]|6[1-9A-Fa-f]|[57][1-9]|25[2-7])"
    rb"|[A-Za-z](?:%20[A-Za-z]+){3}|(?:%[89A-Fa-f][0-9A-Fa-f]){6}"
)
_QUOTED_RUN: Final = _re2(rb"(?:=[0-9A-Fa-f]{2}|=\r?\n)+")
_ON_QUOTED: Final = (
    rb"(?:=[2-7][0-9A-Fa-f]){2}|[A-Za-z]=\r?\n[A-Za-z]|[A-Za-z](?:=[89A-F][0-9A-F]){2}|[A-Za-z](?:=20[A-Za-z]+){3}"
    rb"|[a-z]=[67][0-9A-F][a-z]{1,20}(?:[ ,.][a-z]{0,20}){0,3}=[67][0-9A-F][a-z]"
)


def _percent(text: _Text) -> list[Hit]:
    return [
        Hit(start, end, bytes.fromhex(text.data[start:end].replace(b"%", b"").decode("ascii")))
        for start, end in text.found(_PERCENT_RUN, text.data)
    ]


def _quoted_printable(text: _Text) -> list[Hit]:
    hits = []
    for start, end in text.found(_QUOTED_RUN, text.data):
        digits = b"".join(text.data[start:end].replace(b"=", b"").split())
        hits.append(Hit(start, end, bytes.fromhex(digits.decode("ascii"))))
    return hits


_ENTITY: Final = _re2(rb"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?")
# any but the few that are in all honest markup, and those if they are in a word or make another or a tag
_ON_ENTITIES: Final = (
    rb"&#(?:[xX]0{0,4}(?:[013-9A-Fa-f]|2[13-689A-Fa-f])|0{0,4}(?:[0-24-9]|3[0-35-8]|3[49][0-9]))"
    rb"|&(?:[b-fhijkmoprstuvwxyzB-FHIJKMOPRSTUVWXYZ]|a[a-lo-z]|g[a-su-z]|l[a-su-z]|q[a-tv-z]|n[a-ac-z]|[AGLNQ])[A-Za-z]"
    rb"|&amp;(?:#|[A-Za-z]{2,8};)|&lt;(?:[/!|]|[A-Za-z][^<&]{0,63}&gt;)|[A-Za-z]&nbsp;[A-Za-z]"
)
_ORDINARY: Final = frozenset(("&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#39;", "&#34;", "&#x27;", "&nbsp;"))


def _entities(text: _Text) -> list[Hit]:
    data = text.data
    hits = []
    known: dict[str, bytes] = {}
    told = 0
    for start, end in text.found(_ENTITY, data):
        written = data[start:end].decode("ascii")
        plain = known.get(written)
        if plain is None:
            named = written[1] != "#"
            value = html.unescape(written) if not named or written.endswith(";") else written
            plain = known[written] = b"" if value == written else value.encode("utf-8", "replace")
        if not plain:
            continue
        hits.append(Hit(start, end, plain))
        if told < 2:
            # one space that doesn't break is typography
            told += _in_word(data, start, end) if written == "&nbsp;" else 2 * _tells(data, start, end, written, plain)
    return hits if told > 1 else []


def _tells(data: bytes, start: int, end: int, written: str, plain: bytes) -> bool:
    """Whether this is not what anybody has to write so."""
    right = end < len(data) and _word_byte(data[end])
    if plain.isalnum():
        return True
    if plain == b"&":  # an entity, written as one
        return data[end : end + 1] == b"#" or (right and b";" in data[end + 2 : end + 8])
    if plain == b"<":  # a tag
        return data[end : end + 1] in (b"/", b"!", b"|") or (right and data.find(b"&gt;", end, end + 64) >= 0)
    if plain[0] >= 0x80:
        return _in_word(data, start, end) and written not in ("&rsquo;", "&#8217;", "&#x2019;")
    return _in_word(data, start, end) and written not in _ORDINARY


def _in_word(data: bytes, start: int, end: int) -> bool:
    """Whether letters stand on both sides."""
    return start > 0 and end < len(data) and _word_byte(data[start - 1]) and _word_byte(data[end])


_ESCAPE: Final = _re2(
    rb"\\(?:u\{[0-9A-Fa-f]{1,6}\}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x\{?[0-9A-Fa-f]{2}\}?|[0-3][0-7]{2}"
    rb"|N\{[A-Za-z0-9 -]+\}|[nrtbfv\"'/\\])"
)
_SIMPLE: Final = {b"n": b"\n", b"r": b"\n", b"t": b"\t", b"b": b"", b"f": b"\n", b"v": b"\n"}


# letters and spaces, which nobody needs to write so; letters of other alphabets; the break of a line before a word
_ON_ESCAPES: Final = (
    rb"\\(?:u\{?0{0,2}[2-7][0-9A-Fa-f]\}?|u00(?:20|[4-7][0-9A-Fa-f])|U000|x\{?(?:20|[4-7][0-9A-Fa-f])"
    rb"|0[46][0-7]|1[0-7]{2}|N\{|[nrt]+[A-Za-z])|[A-Za-z\x80-\xff]\\u[0-9A-Fa-f]{4}|(?:\\u[0-9A-Fa-f]{4}){4}|\\\\[nrtux]"
)


def _escapes(text: _Text) -> list[Hit]:
    hits: list[Hit] = []
    units: list[tuple[int, int, int | bytes]] = []
    for start, end in text.found(_ESCAPE, text.data):
        units.append((start, end, _escaped(text.data[start + 1 : end])))
    index = 0
    while index < len(units):
        start, end, value = units[index]
        index += 1
        if isinstance(value, bytes):
            hits.append(Hit(start, end, value))
            continue
        if 0xD800 <= value < 0xDC00 and index < len(units):
            low = units[index]
            if low[0] == end and isinstance(low[2], int) and 0xDC00 <= low[2] < 0xE000:
                value = 0x10000 + ((value - 0xD800) << 10) + (low[2] - 0xDC00)
                end = low[1]
                index += 1
        hits.append(Hit(start, end, chr(value).encode("utf-8", "replace")))
    return hits


def _escaped(body: bytes) -> int | bytes:
    """The character of an escape by number, or its bytes."""
    kind = body[:1]
    if kind in b"uU" and len(body) > 1:
        code = int(body[1:].strip(b"{}"), 16)
        return code if code < 0x110000 else b""
    if kind == b"x" and len(body) > 1:
        return bytes([int(body[1:].strip(b"{}"), 16)])
    if kind.isdigit():
        return bytes([int(body, 8)])
    if kind == b"N":
        try:
            return _named(body[2:-1].decode("ascii"))
        except (KeyError, TypeError):  # there are names of several characters together, which no escape stands for
            return body
    return _SIMPLE.get(body, body)


def _named(name: str) -> int:
    """The code point of a character by its Unicode name."""
    return ord(unicodedata.lookup(name))


# -- letters, in their place

_LETTER: Final = rb"(?:[A-Za-z0-9@$!]|[\xc2-\xf4][\x80-\xbf]{1,3})"
_NO_LETTER: Final = rb"[^A-Za-z0-9@$!\x80-\xff\x00]"
# a gap has up to six bytes
_SPACED_RUN: Final = _re2(b"(?:^|N)L(?:N{1,6}L){4,}".replace(b"N", _NO_LETTER).replace(b"L", _LETTER))
_NO_LETTERS: Final = bytes(set(range(0xC0)) - set(_LOWER + _UPPER))
_NOT_SPACED: Final = bytes(set(range(0x80)) - set(_LOWER + _UPPER + _DIGITS + b"@$!"))
_IN_SPACED: Final = _members(_LOWER + _UPPER + _DIGITS + b"@$!")
_SIGNS: Final = bytes(range(0x41))
_SMALL: Final = bytes.maketrans(_UPPER, _LOWER)
_SPACED_LETTER: Final = re.compile(rb"[A-Za-z0-9@$!]|[\xc2-\xf4][\x80-\xbf]{1,3}")


def _isolated(text: _Text) -> Iterator[list[tuple[int, int]]]:
    """Runs of five and more letters that each stand alone, and are no numbers: where they begin and end."""
    data = text.data
    for start, end in text.pieces(_SPACED_RUN, _LETTERS_READ, 3):
        run = data[start:end]
        # the last may be the first of a word
        glued = end < len(data) and (_OF_WORDS[data[end]] or data[end] in b"@$!")
        if run.isascii():
            letters = run.translate(None, _NOT_SPACED)
            if len(letters) <= _LETTERS_CUT and not _says_something(letters[:-1] if glued else letters):
                continue
            begins = np.flatnonzero(_IN_SPACED[np.frombuffer(run, np.uint8)]) + start
            everything = list(zip(begins.tolist(), (begins + 1).tolist(), strict=True))
        else:
            everything = [letter.span() for letter in _SPACED_LETTER.finditer(data, start, end)]
        if glued:
            everything.pop()
        # a very long run in parts, as each is cut into words for itself
        for first in range(0, len(everything), _LETTERS_CUT):
            places = everything[first : first + _LETTERS_CUT]
            if len(places) >= 4 and _says_something(b"".join([data[begin:finish] for begin, finish in places])):
                yield places


def _says_something(letters: bytes) -> bool:
    """Whether there are several different letters, and more of them than digits and signs."""
    told = letters.translate(_SMALL, _SIGNS)
    if letters.isascii():
        return len(told) * 2 >= len(letters) and len(set(told)) >= 4
    told_letters = told.decode("utf-8", "surrogateescape")
    return len(told_letters) >= len(letters) - len(told) and len(set(told_letters)) >= 4


def _spaced(text: _Text) -> list[Hit]:
    """Letters with something between each and the next."""
    data = text.data
    hits: list[Hit] = []
    cuts = 0
    for places in _isolated(text):
        if len(places) < 6 and not _is_known(data, places):
            continue
        gaps = [data[left[1] : right[0]] for left, right in pairwise(places)]
        usual, often = Counter(gaps).most_common(1)[0]
        if often * 2 < len(gaps):
            continue  # a formula
        words: list[list[tuple[int, int]]] = []
        wider = False
        behind = 0
        for index in [index for index, gap in enumerate(gaps, 1) if gap != usual]:
            gap, word = gaps[index - 1], places[behind:index]
            sign = gap.strip()
            wider = wider or not sign or sign == usual.strip()
            if len(sign) == 1 and sign in b".,;:!?" and sign not in usual:
                at = places[index][0] - len(gap) + gap.index(sign)
                word.append((at, at + 1))
            words.append(word)
            behind = index
        words.append(places[behind:])
        if not wider:
            # nothing parts words but signs, if at all
            whole, words = words, []
            for letters in whole:
                if len(letters) >= 8 and cuts < _LETTERS_CUT:
                    cuts += len(letters)
                    words += _cut_up(data, letters)
                else:
                    words.append(letters)
        hits.append(_word_hit(data, words))
    return hits


def _cut_up(data: bytes, places: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Letters without gaps as words; the signs among them end one."""
    letters = b"".join(data[first:last] for first, last in places)
    if not letters.isascii():
        return [list(places)]
    words: list[list[tuple[int, int]]] = []
    at = 0
    for length in _segmented(letters.decode("ascii").lower()):
        words.append(list(places[at : at + length]))
        at += length
    return words


def _is_known(data: bytes, word: Sequence[tuple[int, int]]) -> bool:
    letters = b"".join(data[first:last] for first, last in word)
    return len(letters) >= 4 and letters.isascii() and letters.decode("ascii").lower() in KNOWN


_OF_WORDS: Final = tuple(char >= 0x80 or chr(char).isalnum() for char in range(256))


def _word_byte(char: int) -> bool:
    return _OF_WORDS[char]


def _word_hit(data: bytes, words: Sequence[Sequence[tuple[int, int]]]) -> Hit:
    plain = b" ".join([b"".join([data[first:last] for first, last in word]) for word in words])
    places: list[tuple[int, int]] = []
    for word in words:
        if places:
            behind = places[-1][1]
            places.append((behind, max(word[0][0], behind)))
        places += word
    starts, ends = [first for first, _ in places], [last for _, last in places]
    if len(plain) > len(places):
        sizes = [size for word in words for size in (1, *(last - first for first, last in word))][1:]
        starts, ends = np.repeat(starts, sizes).tolist(), np.repeat(ends, sizes).tolist()
    return Hit(starts[0], ends[-1], plain, (starts, ends))


_LENGTHS: Final = {
    beginning: sorted({len(word) for word in KNOWN if word[:2] == beginning}, reverse=True)
    for beginning in {word[:2] for word in KNOWN}
}
"""Of the first two letters of known words, how long such words are."""


def _segmented(letters: str) -> list[int]:
    """Lengths of the words that letters without gaps are made of: as much as possible in words, few of them."""
    size = len(letters)
    best = [0.0] * (size + 1)  # cost of the letters up to here
    length = [1] * (size + 1)
    words: list[list[int]] = [[] for _ in range(size + 1)]  # where those begin that end here, the longest first
    for start in range(size):
        for long in (*_LENGTHS.get(letters[start : start + 2], ()), 1):
            if letters[start : start + long] in KNOWN and start + long <= size:
                words[start + long].append(start)
    for end in range(1, size + 1):
        best[end] = best[end - 1] + 4.0
        length[end] = 1
        for start in words[end]:
            cost = best[start] + 1.0
            if cost < best[end]:
                best[end], length[end] = cost, end - start
    lengths: list[int] = []
    end = size
    loose = 0
    while end:
        step = length[end]
        if letters[end - step : end] in KNOWN:
            if loose:
                lengths.append(loose)
                loose = 0
            lengths.append(step)
        else:
            loose += step
        end -= step
    if loose:
        lengths.append(loose)
    return lengths[::-1]


# Names in programs have fewer words with capitals.
_GLUED_RUN: Final = _re2(rb"[A-Z]?[a-z]{23,}|[A-Z]{24,}|(?:[A-Z][a-z]{1,11}){6,}")
_FEWEST_GLUED: Final = 4


def _glued(text: _Text) -> list[Hit]:
    """Words without anything between them, if most of them are known."""
    data = text.data
    hits: list[Hit] = []
    left = _GLUED_READ
    for start, end in text.found(_GLUED_RUN, data):
        run = data[start:end]
        letters = run.lower().decode("ascii")
        if not any(word in letters for word in TELLING):
            continue
        if end - start > left:
            text.left_out(start, end)
            continue
        left -= end - start
        words: list[list[tuple[int, int]]] = []
        known = at = 0
        for length in _segmented(letters):
            first = start + at
            words.append([(place, place + 1) for place in range(first, first + length)])
            known += length if length > 1 and letters[at : at + length] in KNOWN else 0
            at += length
        if len(words) >= _FEWEST_GLUED and known * 3 >= (end - start) * 2:
            hits.append(_word_hit(data, words))
    return hits


_SPLIT: Final = _re2(rb"[A-Za-z]+(?:(?:[-_.*~`|^'/]|\\){1,3}[A-Za-z]+)+")
_SPLIT_THRICE: Final = _re2(
    rb"[A-Za-z]+(?:(?:[-_.*~`|^'/]|\\){1,3}[A-Za-z]{1,3}){1,6}(?:[-_.*~`|^'/]|\\){1,3}[A-Za-z]+"
)
_SPLIT_BY_SPACE: Final = _re2(rb"[A-Za-z]+(?: [A-Za-z]+)+")
_LETTER_RUN: Final = re.compile(rb"[A-Za-z]+")


def _split(text: _Text) -> list[Hit]:
    """Words cut by a hyphen, a dot, a space or the like."""
    found: list[tuple[Hit, bool]] = []
    if "split" in text.fired:
        found += _put_together(text, _SPLIT_THRICE)
    for start, end in _regions(text.data, _told(text, _CUT_BY_SPACE), 256, whole=512):
        found += _put_together(text, _SPLIT, start, end)
        found += _put_together(text, _SPLIT_BY_SPACE, start, end)
    return _apart(hit for hit, _ in found) if any(sure for _, sure in found) else []


def _any_known(parts: Sequence[str]) -> bool:
    """Whether neighbours among these make a known word."""
    for index, letters in enumerate(parts):
        for part in parts[index + 1 : index + 8]:
            letters += part
            if len(letters) > LONGEST:
                break
            if len(letters) >= 4 and letters in KNOWN:
                return True
    return False


def _put_together(text: _Text, pattern: Any, first: int = 0, last: int | None = None) -> list[tuple[Hit, bool]]:
    """Neighbouring fragments that make a known word, and whether they are no words themselves: as in pass-word."""
    data = text.data
    hits: list[tuple[Hit, bool]] = []
    for start, end in text.found(pattern, data, first, last):
        if not _any_known(data[start:end].translate(_TO_PLAIN).decode("ascii").split()):
            continue
        parts = [part.span() for part in _LETTER_RUN.finditer(data, start, end)]
        index = 0
        while index < len(parts):
            best, sure = index, False
            letters = data[slice(*parts[index])]
            words = letters.decode("ascii").lower() in KNOWN
            for other in range(index + 1, min(index + 8, len(parts))):
                part = data[slice(*parts[other])]
                letters += part
                words = words and part.decode("ascii").lower() in KNOWN
                if len(letters) > LONGEST:
                    break
                if len(letters) >= 4 and letters.decode("ascii").lower() in KNOWN:
                    best, sure = other, not words
            if best > index:
                cells = [(at, at + 1) for begin, finish in parts[index : best + 1] for at in range(begin, finish)]
                letters = bytes(data[at] for at, _ in cells)
                places = ([begin for begin, _ in cells], [finish for _, finish in cells])
                hits.append((Hit(parts[index][0], parts[best][1], letters, places), sure))
            index = best + 1
    return hits


_TAG: Final = _re2(rb"[A-Za-z0-9\x80-\xff>](?:</?[A-Za-z][^<>\x00]*>)+[A-Za-z0-9\x80-\xff<]")
_ON_MARKUP: Final = (
    rb"[A-Za-z0-9\x80-\xff](?:</?[A-Za-z][^<>\x00]*>|<!--[^<>\x00]*-->)+[A-Za-z0-9\x80-\xff]|[A-Za-z\x80-\xff]<!--"
)
_TAG_NAME: Final = re.compile(rb"<(/?)([A-Za-z][A-Za-z0-9]{0,15})")
_INLINE: Final = frozenset(b"a b i u em strong span font s sub sup small big code mark wbr tt ins del q".split())
_PARTING: Final = frozenset(
    b"p div br hr h1 h2 h3 h4 h5 h6 li ul ol dl dt dd table thead tbody tfoot tr td th section header footer nav main"
    b" article aside form option select label button body head html title meta pre blockquote figure figcaption".split()
)


def _within_word(tags: bytes) -> bool:
    """Whether such tags may stand in a word: not those that part words, and of unknown ones only one."""
    names = [(close, name.lower()) for close, name in _TAG_NAME.findall(tags)]
    if any(name in _PARTING for _, name in names):
        return False
    return len(names) < 2 or all(name in _INLINE for _, name in names)


def _markup(text: _Text) -> list[Hit]:
    """Tags and comments inside words."""
    data = text.data
    places: list[tuple[int, int]] = []
    found = _TAG.search(data)
    while found is not None and len(places) < _HITS:
        start, end = found.span()
        places.append((start + 1, end - 1))
        found = _TAG.search(data, end - 1)  # its last letter may be the one before the next tag
    if found is not None:
        text.skipped.append((found.start(), len(data)))
    known: dict[bytes, bool] = {}
    at = data.find(b"<!--")
    while at >= 0 and len(places) < 2 * _HITS:
        end = data.find(b"-->", at + 2)
        if end < 0:
            break
        places.append((at, end + 3))
        at = data.find(b"<!--", end + 3)
    merged: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    hits = []
    for start, end in merged:
        if not start or end >= len(data) or not _word_byte(data[start - 1]) or not _word_byte(data[end]):
            continue
        tags = data[start : min(end, start + 512)]
        inside = known.get(tags)
        if inside is None:
            inside = known[tags] = _within_word(tags)
        if inside:
            hits.append(Hit(start, end, b""))
    return hits


_EMPHASISED: Final = _re2(rb"[*~`\\]{1,3}|\b_{1,2}|_{1,2}\b|\[|\]\([^()\s\x00]*\)")


# a pair of markers in a word, or one in two words near each other: `a*b` alone is a product
_ON_EMPHASIS: Final = (
    rb"[A-Za-z][*~`]{1,3}[A-Za-z]{1,16}[*~`]{1,3}[A-Za-z]|(?:\\[A-Za-z]){4}"
    rb"|[a-z]{2}[*~`]{1,3}[a-z]{2,16}(?: [a-z]{1,16}){0,3} [a-z]{2,16}[*~`]{1,3}[a-z]{2}"
)


def _emphasis(text: _Text) -> list[Hit]:
    """Emphasis and backslashes inside words."""
    data = text.data
    hits: list[Hit] = []
    inside = False
    for start, end in text.found(_EMPHASISED, data):
        left = start > 0 and _OF_WORDS[data[start - 1]]
        right = end < len(data) and _OF_WORDS[data[end]]
        inside = inside or (left and right and data[start] != 0x5F)
        if left or right:
            hits.append(Hit(start, end, b""))
    return hits if inside else []


_LEET: Final = bytes.maketrans(b"01345789@$!|+", b"oieastbgasiit")
_LEET_TOKEN: Final = _re2(
    rb"(?:^|[\s\"'(\[{>*`,])"
    rb"(?:[A-Za-z0134578@$!|+9]?[a-z0134578@$!|+9]*(?:[a-z][0134578@$!|+9]|[0134578@$|+9!][a-z])[a-z0134578@$!|+9]*"
    rb"|[A-Z0134578@$!|+9]*(?:[A-Z][0134578@$!|+9]|[0134578@$|+9!][A-Z])[A-Z0134578@$!|+9]*)"
)
_NEAR_LEET: Final = 64  # bytes within which other words are written so


def _leetspeak(text: _Text) -> list[Hit]:
    hits: list[Hit] = []
    known = 0
    strong: list[int] = []
    unleeted: dict[bytes, tuple[bytes, bool]] = {}
    fires = False
    data = text.data
    for start, end in text.found(_LEET_TOKEN, data):
        word = data[start:end]
        if end < len(data) and _OF_WORDS[data[end]]:
            continue
        word = word.lstrip(b" \t\n\r\f\v\"'([{>*`:,-").rstrip(b"!|+")
        start = data.find(word, start)
        end = start + len(word)
        letters = len(word) - len(word.translate(None, _LOWER + _UPPER))
        # a bare number in a word is a version or an identifier
        if not 1 < len(word) <= 32 or letters * 7 < len(word) or letters == len(word):
            continue
        told = unleeted.get(word)
        if told is None:
            told = unleeted[word] = _unleeted(word)
        plain, sure = told
        known += sure
        # one word of attacks, two others, or four near each other whatever they mean
        fires = fires or (sure and len(plain) >= 5) or known >= 2
        if len(word) >= 4 and letters * 2 >= len(word) and word[:1].isalnum() and not word.strip(_DIGITS).isalpha():
            strong.append(start)
            fires = fires or (len(strong) >= 4 and start - strong[-4] <= 4 * _NEAR_LEET)
        hits.append(Hit(start, end, plain))
    return hits if fires else []


def _unleeted(word: bytes) -> tuple[bytes, bool]:
    """The word without leetspeak, and whether that is a word of attacks."""
    ones = [at for at, char in enumerate(word) if char in b"1!|"]
    plain = word.translate(_LEET)
    if not ones:
        return plain, plain.decode("ascii").lower() in KNOWN and len(plain) > 2
    for choice in product(b"il", repeat=min(len(ones), 3)):
        guess = bytearray(plain)
        for at, char in zip(ones, choice, strict=False):
            guess[at] = char
        if guess.decode("ascii").lower() in KNOWN:
            return bytes(guess), len(guess) > 2
    return plain, False


# -- whole texts turned round


def _shifted(word: str, by: int) -> str:
    return "".join(chr((ord(char) - 97 + by) % 26 + 97) for char in word)


def _mirrored(word: str) -> str:
    return "".join(chr(219 - ord(char)) for char in word)


def _pig(word: str) -> str:
    head = 0
    while head < len(word) and word[head] not in "aeiou":
        head += 1
    return word[head:] + word[:head] + "ay" if head else word + "way"


_LONG: Final = tuple(word for word in dict.fromkeys(TELLING) if len(word) >= 5)
_ALL_TELLING: Final = tuple(dict.fromkeys((*_LONG, *(word for word in TELLING_TOO if len(word) >= 6))))
_BACKWARDS: Final = frozenset(word[::-1] for word in _ALL_TELLING)
# what only a shift by thirteen makes of the longer list is enough: the others are as many again for each
_SHIFTS: Final = {_shifted(word, 13): 13 for word in _ALL_TELLING} | {
    _shifted(word, by): 26 - by for word in _ALL_TELLING for by in range(1, 26) if len(word) > 5 and by != 13
}
_MIRRORED: Final = frozenset(map(_mirrored, _ALL_TELLING))
_PIG: Final = frozenset(map(_pig, _ALL_TELLING))
# neighbours that stand so only where the order of words is reversed
_UNORDERED: Final = frozenset(
    """
    instructions previous|instructions prior|instructions your|instructions all|prompt system|previous all
    instructions above|rules previous|instructions these|instructions the|instructions following
    instructions hidden|instructions earlier|instructions initial|instructions any
    rules your|rules the|rules all|guidelines your|guidelines the|guidelines all|restrictions any|restrictions all
    prompt hidden|prompt your|prompt the|message system|message developer|policy content|policy your|filters your
    limits your|limits no|filters no|restrictions no|mode developer|mode unrestricted|everything ignore
    the of|the in|the with|the from|a into|an as|your of|the by|this in|the ignore|all ignore|your ignore|the forget
    your reveal|the reveal|the disregard|your forget|me tell|not do|user the|rules any
    the all|the to|the about|an of|an like|a are|the behind|my obey|my become|rules the|guidelines no|ethics no
    alle ignoriere|regeln deine|vorgaben die|instructions les|regles tes|instrucciones las|reglas tus|ordenes mis
    istruzioni le|regole tue|instrucoes as|regras suas|instructies eerdere|regels je
    """.replace("\n", "|").split("|")
)
_UNORDERED_PAIRS: Final = frozenset(f"{pair.strip()} " for pair in _UNORDERED if pair.strip())
# a word cut in two by a space; not where both halves are words
_CUT_BY_SPACE: Final = frozenset(
    f"{word[:at]} {word[at:]}"
    for word in _ALL_TELLING
    for at in range(2, len(word) - 1)
    if word[:at] not in KNOWN or word[at:] not in KNOWN
)
_TELLTALE: Final = literals(
    (word.encode("ascii") for word in chain(_CUT_BY_SPACE, _BACKWARDS, _SHIFTS, _MIRRORED, _PIG)),
    (pair.encode("ascii") for pair in _UNORDERED_PAIRS),
)


def _told(text: _Text, words: Container[str]) -> list[tuple[int, int, str]]:
    return [hit for hit in text.told if hit[2] in words]


def _regions(
    data: bytes, hits: Iterable[tuple[int, int, str]], reach: int = 2048, whole: int = _FLIP_LIMIT
) -> list[tuple[int, int]]:
    """The texts that these words stand in: whole if short, else what is near."""
    found: list[tuple[int, int]] = []
    for first, last, _ in hits:
        if found and last <= found[-1][1]:
            continue
        floor = max(first - whole, 0)
        begin = max(data.rfind(b"\0", floor, first) + 1, floor)
        roof = min(last + whole, len(data))
        end = data.find(b"\0", last, roof)
        end = roof if end < 0 else end
        if end - begin > whole:
            begin, end = _around(data, first, last, reach)
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


_IN_WORD: Final = ~_members(b" \t\n\r\f\v\0")


def _reversed(text: _Text) -> list[Hit]:
    return [_flipped(text.data, *region) for region in _regions(text.data, _told(text, _BACKWARDS))]


def _gathered(starts: Places, sizes: Places) -> Places:
    """The places of pieces that are laid one after another."""
    return np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(int(sizes.sum()))


def _characters(array: NDArray[np.uint8]) -> Places:
    """Where characters begin; bytes of a character that is cut off are each one."""
    inner = array & 0xC0 == 0x80
    inner[: int(np.argmin(inner))] = False
    begins = np.flatnonzero(~inner)
    last = int(begins[-1])
    lead = int(array[last])
    if lead >= 0xC0 and len(array) - last < 2 + (lead >= 0xE0) + (lead >= 0xF0):
        return np.concatenate((begins, np.arange(last + 1, len(array))))
    return begins


def _flipped(data: bytes, start: int, end: int) -> Hit:
    run = data[start:end]
    if run.isascii():
        where = np.arange(end - 1, start - 1, -1, dtype=np.int32)
        return Hit(start, end, run[::-1], (where, where + np.int32(1)))
    array = np.frombuffer(run, np.uint8)
    begins = _characters(array)
    sizes = np.diff(begins, append=len(array))[::-1]
    begins = begins[::-1]
    plain = array[_gathered(begins, sizes)].tobytes()
    first = (np.repeat(begins, sizes) + start).astype(np.int32)
    return Hit(start, end, plain, (first, first + np.repeat(sizes, sizes).astype(np.int32)))


def _each_reversed(text: _Text) -> list[Hit]:
    """Each word reversed: words that are read together are one hit."""
    data = text.data
    words = [_runs_of(_IN_WORD, data, *region) for region in _regions(data, _told(text, _BACKWARDS))]
    if not words:
        return []
    starts = np.concatenate([begins for begins, _ in words])
    ends = np.concatenate([finishes for _, finishes in words])
    hits: list[Hit] = []
    first = 0
    walls = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    far = starts[1:] - ends[:-1] > 2 * _CONTEXT
    far |= np.searchsorted(walls, starts[1:]) > np.searchsorted(walls, ends[:-1])
    while first < len(starts):
        last = max(int(np.searchsorted(ends, starts[first] + _IN_PLACE // 2, side="right")), first + 1)
        apart = np.flatnonzero(far[first : last - 1])
        last = first + int(apart[0]) + 1 if apart.size else last
        hits.append(_reversed_words(data, starts[first:last], ends[first:last]))
        first = last
    return hits


def _reversed_words(data: bytes, starts: Places, ends: Places) -> Hit:
    begin, end = int(starts[0]), int(ends[-1])
    array = np.frombuffer(data, np.uint8, end - begin, begin)
    characters = _characters(array)
    order = np.arange(len(characters))
    firsts, lasts = np.searchsorted(characters, starts - begin), np.searchsorted(characters, ends - begin)
    within = _gathered(firsts, lasts - firsts)
    order[within] = np.repeat(firsts + lasts - 1, lasts - firsts) - within
    sizes = np.diff(characters, append=len(array))[order]
    characters = characters[order]
    plain = array[_gathered(characters, sizes)].tobytes()
    first = np.repeat(characters + begin, sizes).astype(np.int32)
    last = first + np.repeat(sizes, sizes).astype(np.int32)
    # what is between words stays as it is, byte by byte
    return Hit(begin, end, plain, (first, last))


def _reordered(text: _Text) -> list[Hit]:
    """Words in reverse order."""
    hits = []
    array = np.frombuffer(text.data, np.uint8)
    told = [hit for hit in _told(text, _UNORDERED_PAIRS) if not _word_byte((text.data[hit[0] - 1 : hit[0]] or b" ")[0])]
    for start, end in _regions(text.data, told, 512):
        begins, finishes = _runs_of(_IN_WORD, text.data, start, end)
        begins, finishes = begins[::-1], finishes[::-1]
        sizes = finishes - begins + 1  # with a space before each
        where = _gathered(begins - 1, sizes)
        gaps = np.cumsum(sizes) - sizes
        plain = array[where]
        plain[gaps] = 0x20
        last = where + 1
        where[gaps] = last[gaps] = finishes
        hits.append(Hit(start, end, plain[1:].tobytes(), (where[1:].astype(np.int32), last[1:].astype(np.int32))))
    return hits


def _turned(by: int) -> bytes:
    lower = bytes((at + by) % 26 + 97 for at in range(26))
    return bytes.maketrans(_LOWER + _UPPER, lower + lower.upper())


_TURNS: Final = tuple(map(_turned, range(26)))
_MIRROR: Final = bytes.maketrans(_LOWER + _UPPER, _LOWER[::-1] + _UPPER[::-1])


def _caesar(text: _Text, *, thirteen: bool) -> list[Hit]:
    by_turn: dict[int, list[tuple[int, int, str]]] = {}
    for hit in _told(text, _SHIFTS):
        turn = _SHIFTS[hit[2]]
        if (turn == 13) is thirteen:
            by_turn.setdefault(turn, []).append(hit)
    return [
        Hit(start, end, text.data[start:end].translate(_TURNS[turn]))
        for turn, told in by_turn.items()
        for start, end in _regions(text.data, told)
    ]


def _atbash(text: _Text) -> list[Hit]:
    return [
        Hit(start, end, text.data[start:end].translate(_MIRROR))
        for start, end in _regions(text.data, _told(text, _MIRRORED))
    ]


_PIG_WORD: Final = re.compile(rb"[A-Za-z]+")


def _pig_latin(text: _Text) -> list[Hit]:
    hits = []
    for region in _regions(text.data, _told(text, _PIG)):
        for found in _PIG_WORD.finditer(text.data, *region):
            start, end = found.span()
            word = found.group()
            lower = word.lower()
            if not lower.endswith(b"ay") or len(word) < 4:
                continue
            options = []
            if lower.endswith((b"way", b"yay")):
                options.append((len(word) - 3, len(word) - 3))
            for head in range(1, min(4, len(word) - 2)):
                cut = len(word) - 2 - head
                if not set(lower[cut:-2]) & set(b"aeiou"):
                    options.append((cut, len(word) - 2))
            best = next(
                (one for one in options if (word[one[0] : one[1]] + word[: one[0]]).decode("ascii").lower() in KNOWN),
                options[0] if options else None,
            )
            if best:
                order = [*range(best[0], best[1]), *range(best[0])]
                plain = bytes(word[at] for at in order)
                hits.append(Hit(start, end, plain, ([start] * len(order), [end] * len(order))))
    return hits


Decoder: TypeAlias = Callable[[_Text], list[Hit]]
Decoders: TypeAlias = tuple[tuple[str, bytes | None, Decoder, bool, bool], ...]

# name, trigger in the bytes themselves, bytes of which one is wherever it fires, decoder: undone together, and as often
# as they are nested
_WRITTEN: Final[tuple[tuple[str, bytes, bytes, Decoder], ...]] = (
    ("percent", _ON_PERCENT, b"%", _percent),
    ("html", _ON_ENTITIES, b"&", _entities),
    ("escapes", _ON_ESCAPES, b"\\", _escapes),
    ("markup", _ON_MARKUP, b"<", _markup),
    ("emphasis", _ON_EMPHASIS, b"*~`\\", _emphasis),
    ("quoted-printable", _ON_QUOTED, b"=", _quoted_printable),
)
# name, trigger in the classes (None: telling words), decoder, whether it is read in its place, whether several times
_DECODERS: Final[Decoders] = (
    ("base64", _ON_BASE64, _base64, False, True),
    ("base32", _ON_BLOB, _base32, False, True),
    ("hex", _ON_HEX, _hex, False, True),
    ("codes", _ON_CODES, _codes, False, False),
    ("binary", _ON_BINARY, _binary, False, False),
    ("morse", _ON_MORSE, _morse, False, False),
    ("letters", _ON_LETTERS, _spaced, True, False),
    ("split", _ON_SPLIT, _split, True, False),
    ("glued", _ON_GLUED, _glued, True, False),
    ("leetspeak", _ON_LEET, _leetspeak, True, False),
    ("reversed", None, _reversed, False, False),
    ("words-reversed", None, _each_reversed, True, False),
    ("order-reversed", None, _reordered, False, False),
    ("rot13", None, lambda text: _caesar(text, thirteen=True), False, False),
    ("caesar", None, lambda text: _caesar(text, thirteen=False), False, False),
    ("atbash", None, _atbash, False, False),
    ("pig-latin", None, _pig_latin, True, False),
)
_LETTERWISE: Final = frozenset({"letters", "split", "glued"})


def _set(patterns: Iterable[bytes]) -> Any:
    """Patterns looked for in one pass. Memory bounds what is kept of the automaton, never what is found."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    found = re2.Set.SearchSet(options)
    for pattern in patterns:
        found.Add(pattern)
    found.Compile()
    return found


def _written_by_hyperscan() -> Callable[[bytes], list[int]]:
    """What says which of `_WRITTEN` fire, in order: each for itself, as most texts have few of the bytes."""
    finders = [(index, signs, HyperscanSet([trigger]).which) for index, (_, trigger, signs, _) in enumerate(_WRITTEN)]

    def find(data: bytes) -> list[int]:
        found: list[int] = []
        for index, signs, which in finders:
            for sign in signs:
                if sign in data:
                    if which(data):
                        found.append(index)
                    break
        return found

    return find


def _written_by_re2() -> Callable[[bytes], list[int]]:
    match = _set(trigger for _, trigger, *_ in _WRITTEN).Match
    return lambda data: sorted(match(data) or ())


_ON_WRITTEN: Final = _written_by_hyperscan() if HAS_HYPERSCAN else _written_by_re2()
_TRIGGERS: Final = (*(name for name, trigger, *_ in _DECODERS if trigger is not None), "mixed")
_ON_CLASSES: Final = _set((*(trigger for _, trigger, *_ in _DECODERS if trigger is not None), _ON_MIXED))


@lru_cache(maxsize=4096)
def _due(matched: tuple[int, ...], told: bool) -> tuple[frozenset[str], Decoders]:
    """The triggers by their numbers, and the decoders that are due then; `told`: there are telling words too."""
    fired = frozenset(_TRIGGERS[index] for index in matched)
    return fired, tuple(
        decoder
        for decoder in _DECODERS
        if decoder[0] in fired or (told and (decoder[1] is None or decoder[0] == "split"))
    )

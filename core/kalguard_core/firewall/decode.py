"""Decoding: what bytes say when they are written in base64, in Morse, backwards, with a space after every letter.

Rules of this file:
- A decoder runs only if its trigger fires. Triggers are single passes that can't be made slow: counting, translating
  bytes into classes and looking for a fixed run of classes, one automaton of literal words.
- What is found is cut into pieces and each piece decoded for itself. Blobs (base64, hex, Morse...) give the decoded
  text alone; what is disguised letter by letter is read in its place, with up to `_CONTEXT` bytes around it.
- A piece counts only if it decodes to text. Most honest text that fires a trigger ends there.
- No piece reaches over a wall. All patterns here are read by RE2, or are runs of one class of bytes.
- What isn't read because a limit is reached is counted in `Budget.unread`, never silently dropped.
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
from itertools import islice, pairwise, product
from typing import Any, Final, TypeAlias

import numpy as np
import re2
from numpy.typing import NDArray

from .fold import fold_bytes
from .words import KNOWN, LONGEST, TELLING

WALL: Final = b"\n\x00\n"
Positions: TypeAlias = NDArray[np.int32]

_ALLOWANCE: Final = 64 * 1024  # decoded bytes that even a short text may have: gzip expands
_CEILING: Final = 1024 * 1024  # and the most for long ones: two positions of four bytes are kept for each
_HITS: Final = 2048  # pieces a decoder looks at; each costs microseconds, so this bounds it to some 10 ms
_NESTED: Final = 128 * 1024  # bytes of decoded text that are looked at again for what is encoded in them
_IN_PLACE: Final = 64 * 1024  # bytes of one view that is read in its place: most of it is context
_CONTEXT: Final = 160  # about two lines: what else belongs to the sentence
_NUMBERS_READ: Final = 96 * 1024  # bytes of numbers, Morse and spaced letters in one text; a microsecond for each few
_BLOB_READ: Final = 256 * 1024  # characters of one blob; longer ones are files
_LETTERS_CUT: Final = 4096  # letters without gaps that are cut into words; each costs a dozen look-ups
_FLIP_LIMIT: Final = 8192  # a text up to this long is read backwards whole


def _re2(pattern: bytes, *, ignore_case: bool = False) -> Any:
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.log_errors = False
    options.max_mem = 64 << 20  # only what is visited is kept; less makes it fall back to a slow automaton
    return re2.compile(pattern, options)


class Budget:
    """How many bytes may still be decoded in one request: as many as were written, within limits."""

    __slots__ = ("left", "nested", "unread")

    def __init__(self, size: int) -> None:
        self.left = min(size, _CEILING) + _ALLOWANCE
        self.nested = _NESTED
        self.unread = 0

    def take(self, size: int) -> bool:
        """Whether that many may be decoded."""
        if size > self.left:
            self.unread += size
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


@dataclass(frozen=True, slots=True)
class Hit:
    """Bytes `start` to `end` read as `data`; `cells`: where each byte of it begins and ends, else evenly spread."""

    start: int
    end: int
    data: bytes
    cells: tuple[Sequence[int] | Positions, Sequence[int] | Positions] | None = None


def decodings(data: bytes, kind: str, budget: Budget) -> Iterator[Decoded]:
    """What these bytes say when they are decoded once; `kind` is how they were made."""
    text = _Text(data)
    done = kind.split("+")
    spaced = False
    for name, decoder, in_place, again in _DECODERS:
        if (name in done and not again) or (name in _LETTERWISE and not _LETTERWISE.isdisjoint(done)):
            continue
        if name == "split" and spaced:
            continue  # what was spaced letter by letter needs no more putting together
        if name in _NEEDS and not text.possible[_NEEDS[name]]:
            continue
        hits = decoder(text)
        spaced = spaced or (name == "letters" and bool(hits))
        if len(hits) >= _HITS:
            budget.unread += len(data) - max(hit.end for hit in hits)
        if hits:
            found = read(name, data, hits, budget, _CONTEXT if in_place else None)
            if found is not None:
                yield found


class _Text:
    """Bytes, and the classes of them that triggers look at."""

    __slots__ = ("classes", "data", "long_word", "numbers", "possible", "told")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.classes = data.translate(_CLASSES, _CONTINUATION)
        self.long_word = b"x" * 16 in data.translate(_BLOB)
        self.numbers = data.translate(_NUMBERS)
        self.possible = {
            "disguised": _DISGUISED.search(self.classes) is not None,
            "numbered": data.count(b"0x") > 3 or _NUMBERED.search(self.numbers) is not None,
        }
        plain = data.translate(_CUTS_TO_SPACES)
        self.told = [(start, end, plain[start:end].decode("ascii").lower()) for start, end in _found(_TELLTALE, plain)]


def _classes(**members: bytes) -> bytes:
    table = bytearray(b"?" * 256)
    for name, chars in members.items():
        for char in chars:
            table[char] = ord(_CLASS_NAMES[name])
    return bytes(table)


# In one pass each: whether spaced letters, leetspeak or Morse are possible, and whether numbers of characters are.
_DISGUISED: Final = _re2(
    rb"(?:^|[^aA0$])(?:[aA0$][^aA0$]{1,6}){3}[aA0$]|[aA][0$][aA]|[0$][aA][aA]|[aA]00|[.*](?: | ?/ ?)[.*]"
)
_NUMBERED: Final = _re2(rb"[dh]{16}|(?:[dh]{2} {1,2}){5}|d{2,3} {1,2}d{3} {1,2}d{2,3}|d{7}")
_NEEDS: Final = {
    "letters": "disguised",
    "leetspeak": "disguised",
    "morse": "disguised",
    "hex": "numbered",
    "codes": "numbered",
    "binary": "numbered",
}
_CUTS_TO_SPACES: Final = bytes.maketrans(b"-_.*~`|^'/\\", b" " * 11)
_CLASS_NAMES: Final = {
    "lower": "a",
    "upper": "A",
    "digit": "0",
    "symbol": "$",
    "space": " ",
    "cut": ".",
    "mark": "*",
    "blob": "/",
}
_LOWER: Final = b"abcdefghijklmnopqrstuvwxyz"
_UPPER: Final = _LOWER.upper()
_DIGITS: Final = b"0123456789"
_CONTINUATION: Final = bytes(range(0x80, 0xC0))
_CLASSES: Final = _classes(
    lower=_LOWER + bytes(range(0xC0, 0x100)),
    upper=_UPPER,
    digit=_DIGITS,
    symbol=b"@$!",
    space=b" \t\n\r\v\f",
    cut=b"-_.|^'",
    mark=b"*~`\\",
    blob=b"/+=",
)
_BLOB: Final = bytes(
    0x78 if char in _LOWER + _UPPER + _DIGITS + b"+/-_" else 0x20 for char in range(256)
)  # x for what base64 is made of
_NUMBERS: Final = bytes(
    0x64 if char in _DIGITS else 0x68 if char in b"abcdefABCDEF" else 0x20 if char in b" ,;:.-/\n\r\t" else 0x3F
    for char in range(256)
)  # d for digits, h for the other hexadecimal ones, a space for what may part them


# -- putting pieces together


def read(
    kind: str, data: bytes, hits: Sequence[Hit], budget: Budget, context: int | None, *, walls: bool = True
) -> Decoded | None:
    """The hits as one text: with what stands around them, or (None) each for itself, with walls or nothing between."""
    parts: list[bytes] = []
    starts: list[Positions] = []
    ends: list[Positions] = []

    def put(piece: bytes, start: int, span: int) -> None:
        parts.append(piece)
        size = len(piece)
        if size == span:
            starts.append(np.arange(start, start + size, dtype=np.int32))
            ends.append(np.arange(start + 1, start + size + 1, dtype=np.int32))
        else:
            step = np.arange(size + 1, dtype=np.int64) * span
            starts.append((start + step[:-1] // size).astype(np.int32))
            ends.append((start + (step[1:] + size - 1) // size).astype(np.int32))

    size = 0
    for group in _groups(data, hits, context):
        first, last = group[0].start, group[-1].end
        if context is not None:
            first, last = _around(data, first, last, context)
        needed = sum(len(hit.data) for hit in group) if context is None else last - first
        size += needed
        if context is not None and size > _IN_PLACE:
            budget.unread += needed
            continue
        if not budget.take(needed):
            continue
        if parts and walls:
            parts.append(WALL)
            starts.append(_NOWHERE)
            ends.append(_NOWHERE)
        at = first
        for hit in group:
            if context is not None and hit.start > at:
                put(data[at : hit.start], at, hit.start - at)
            if hit.cells is not None:
                parts.append(hit.data)
                starts.append(np.asarray(hit.cells[0], np.int32))
                ends.append(np.asarray(hit.cells[1], np.int32))
            elif hit.data:
                put(hit.data, hit.start, hit.end - hit.start)
            at = hit.end
        if context is not None and last > at:
            put(data[at:last], at, last - at)
    if not parts:
        return None
    return _folded(kind, b"".join(parts), np.concatenate(starts), np.concatenate(ends), budget)


_NOWHERE: Final = np.full(len(WALL), -1, np.int32)


def _groups(data: bytes, hits: Sequence[Hit], context: int | None) -> Iterator[Sequence[Hit]]:
    """Hits that are read together: near each other, and not parted by a wall."""
    if context is None:
        for hit in hits:
            yield (hit,)
        return
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


_CONTROL: Final = np.array([(char < 0x20 and char not in b"\t\n\v\f\r") or char == 0x7F for char in range(256)])


def _folded(kind: str, data: bytes, starts: Positions, ends: Positions, budget: Budget) -> Decoded | None:
    """Decoded bytes folded like any text."""
    wall = starts < 0
    array = np.frombuffer(data, np.uint8)
    gone = _CONTROL[array] & ~wall
    if gone.any():
        array, starts, ends, wall = array[~gone], starts[~gone], ends[~gone], wall[~gone]
        data = array.tobytes()
    if not data.isascii():
        if not budget.take(3 * len(data)):  # folding it takes longer than all else
            return None
        text = data.decode("utf-8", "surrogateescape")
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        broken = (codes >= 0xD800) & (codes < 0xE000)
        width = 1 + (codes >= 0x80) + ((codes >= 0x800) & ~broken) + (codes >= 0x10000) - broken
        first = np.cumsum(width) - width
        pieces = [b"\0" if char == "\0" else fold_bytes(char) for char in text]
        long = np.fromiter(map(len, pieces), np.int64, len(pieces))
        starts = np.repeat(starts[first], long)
        ends = np.repeat(ends[first + width - 1], long)
        data = b"".join(pieces)
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


def _text_of(plain: bytes, where: Positions, bits: int, start: int, end: int) -> Hit | None:
    """A hit, if the decoded bytes are text, UTF-16, or compressed text."""
    if plain[:2] == b"\x1f\x8b" or plain[:1] == b"\x78":
        inflated = _inflated(plain)
        if inflated and is_text(inflated):
            return Hit(start, end, inflated)
    for first in (0, 1):
        if len(plain) >= 8 and plain[1 - first :: 2].count(0) * 8 >= len(plain) * 3:
            if not is_text(plain[first::2]):
                return None
            starts, ends = _bits(plain, where, bits, end)
            return Hit(start, end, plain[first::2], (starts[first::2], ends[first::2]))
    return Hit(start, end, plain, _bits(plain, where, bits, end)) if is_text(plain) else None


def _inflated(packed: bytes) -> bytes:
    """What gzip or zlib packed, up to the allowance; as much as is whole."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(packed, _ALLOWANCE // 2)
    except zlib.error:
        return b""


_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_BLOB_RUN: Final = re.compile(rb"[A-Za-z0-9+/_-]{16,}")
_NEXT_LINE: Final = re.compile(rb"[\r\n]{1,2}[\t >]{0,8}[A-Za-z0-9+/_-]+(?![^\s\x00=])")


def _positions(data: bytes, start: int, end: int, members: NDArray[np.bool_]) -> Positions:
    """Where in `data` the bytes of a class are."""
    array = np.frombuffer(data, np.uint8, end - start, start)
    return (np.flatnonzero(members[array]) + start).astype(np.int32)


def _members(chars: bytes) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(chars)] = True
    return table


_IN_BASE64: Final = _members(_LOWER + _UPPER + _DIGITS + b"+/-_")
_IN_BASE32: Final = _members(_LOWER + _UPPER + b"234567")
_IN_HEX: Final = _members(b"0123456789abcdefABCDEF")


def _base64_at(data: bytes, where: Positions, start: int, end: int, shifts: int) -> Hit | None:
    chars = bytes(np.frombuffer(data, np.uint8)[where]).translate(_URL_SAFE)
    for shift in range(shifts):
        run = chars[shift:]
        cut = len(run) % 4
        run = run[:-1] if cut == 1 else run + b"=" * (-len(run) % 4)
        try:
            plain = binascii.a2b_base64(run)
        except binascii.Error:
            continue
        hit = _text_of(plain, where[shift:], 6, int(where[shift]), end)
        if hit:
            return hit
    return None


_MIXED: Final = (b"AaA", b"a0A", b"A0a", b"aAaaA", b"aA0", b"0Aa")
_BLOB_WORD: Final = re.compile(rb"[A-Za-z0-9+/_=-]+")


def _base64(text: _Text) -> list[Hit]:
    data = text.data
    hits: list[Hit] = []
    if text.long_word:
        runs = [run.span() for run in _BLOB_RUN.finditer(data)]
        # a word glued to the front shifts the bits; trying all shifts is worth it only for a few runs
        shifts = 4 if len(runs) <= 512 else 1
        index = 0
        while index < len(runs) and index < _HITS:
            start, end = runs[index]
            index += 1
            # lines of one block
            while end - start >= 40 and (line := _NEXT_LINE.match(data, end)):
                end = line.end()
            while index < len(runs) and runs[index][1] <= end:
                index += 1
            padded = end
            while padded < len(data) and padded < end + 2 and data[padded] == 0x3D:
                padded += 1
            padded = min(padded, start + _BLOB_READ)
            end = min(end, padded)
            hit = _base64_at(data, _positions(data, start, end, _IN_BASE64), start, padded, shifts)
            if hit:
                hits.append(hit)
    if text.classes.count(b"aA") >= 2 and sum(map(text.classes.count, _MIXED)) >= 3:
        for start, end in _mixed(data)[:64]:
            hits += _pieced(data, hits, start, end)
        hits.sort(key=lambda hit: hit.start)
    return hits


_MIXED_RUN: Final = _re2(rb"AaA|a0A|A0a|aA0|0Aa|aAaaA")


def _mixed(data: bytes) -> list[tuple[int, int]]:
    """Where letters and digits are mixed as only chance mixes them: three times within two words or so."""
    places = [start for start, _ in _found(_MIXED_RUN, data.translate(_CLASSES))]
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
        start, end = word.span()
        if not word.group().strip(b"+/=-_"):
            continue  # what pieces are put together with
        while block.end <= start and block.start < len(data):
            block = next(taken)
        plain = _is_plain_word(word.group()) or (block.start < end and start < block.end)
        near = bool(chain) and start - chain[-1][1] <= 6 and b"\0" not in data[chain[-1][1] : start]
        if plain or not near:
            yield from _chain(data, chain)
            chain = []
        if not plain:
            chain.append((start, end))
    yield from _chain(data, chain)


def _is_plain_word(word: bytes) -> bool:
    if word.isdigit() or len(word) < 3:
        return True
    return word.isalpha() and (word.islower() or word.isupper() or word[1:].islower())


def _chain(data: bytes, chain: Sequence[tuple[int, int]]) -> Iterator[Hit]:
    if not chain or sum(end - start for start, end in chain) < 8:
        return
    groups: list[Positions] = []
    plain = b""
    starts: list[int] = []
    ends: list[int] = []
    group: list[Positions] = []
    for index, (start, end) in enumerate(chain):
        group.append(_positions(data, start, end, _IN_BASE64))
        if data[end - 1] == 0x3D or index == len(chain) - 1:
            groups.append(np.concatenate(group))
            group = []
    for where in groups:
        run = bytes(np.frombuffer(data, np.uint8)[where]).translate(_URL_SAFE)
        if len(run) % 4 == 1:
            run = run[:-1]
        if not run:
            return
        decoded = binascii.a2b_base64(run + b"=" * (-len(run) % 4))
        begin, finish = _bits(decoded, where, 6, int(where[-1]) + 1)
        plain += decoded
        starts += begin.tolist()
        ends += finish.tolist()
    if ends:
        ends[-1] = chain[-1][1]
        if len(plain.translate(None, _NOT_TEXT)) == len(plain) and is_text(plain):
            yield Hit(chain[0][0], chain[-1][1], plain, (starts, ends))


_BASE32_RUN: Final = _re2(rb"(?:[A-Z2-7]{16,}|[a-z2-7]{16,})={0,6}")


def _base32(text: _Text) -> list[Hit]:
    data = text.data
    if not text.long_word:
        return []
    hits = []
    for run in _found(_BASE32_RUN, data):
        start, end = run[0], min(run[1], run[0] + _BLOB_READ)
        where = _positions(data, start, end, _IN_BASE32)
        chars = bytes(np.frombuffer(data, np.uint8)[where]).upper()
        while len(chars) % 8 in (1, 3, 6):
            chars = chars[:-1]
        plain = _unbase32(chars)
        hit = _text_of(plain, where, 5, start, end)
        if hit:
            hits.append(hit)
    return hits


_BASE32_VALUES: Final = bytes(
    (char - 0x41) % 32 if 0x41 <= char <= 0x5A else char - 0x32 + 26 if 0x32 <= char <= 0x37 else 0
    for char in range(256)
)


def _unbase32(chars: bytes) -> bytes:
    values = np.frombuffer(chars.translate(_BASE32_VALUES), np.uint8)
    bits = np.unpackbits(values[:, None], axis=1)[:, 3:].reshape(-1)
    return bytes(np.packbits(bits[: len(bits) // 8 * 8]))


_HEX_RUN: Final = _re2(rb"(?:(?:0[xX])?[0-9A-Fa-f]{2}[ ,:;\-\n\r]{0,3}){6,}")
_HEX_PREFIX: Final = re.compile(rb"0[xX]")


def _hex(text: _Text) -> list[Hit]:
    data = text.data
    numbers = text.numbers
    if b"dh" in numbers or b"hd" in numbers:
        numbers = numbers.replace(b"h", b"d")
    if (
        b"d" * 16 not in numbers
        and b"dd dd dd dd dd dd" not in numbers
        and b"dd  dd  dd  dd  dd" not in numbers
        and data.count(b"0x") < 4
    ):
        return []
    hits = []
    for start, end in _found(_HEX_RUN, data):
        end = min(end, start + _BLOB_READ)
        end = start + len(data[start:end].rstrip(b" ,:;-\n\r"))
        blank = _HEX_PREFIX.sub(b"  ", data[start:end])
        where = _positions(blank, 0, len(blank), _IN_HEX) + np.int32(start)
        chars = blank.translate(None, b" ,:;-\n\r")
        chars = chars[: len(chars) // 2 * 2]
        hit = _text_of(bytes.fromhex(chars.decode("ascii")), where, 4, start, end)
        if hit:
            hits.append(hit)
    return hits


_CODES_RUN: Final = _re2(rb"[0-9]{2,3}(?:(?:[ ,;:./\n\r-]|\\){1,3}[0-9]{2,3}){5,}")
_DIGIT_RUN: Final = re.compile(rb"[0-9]+")


def _codes(text: _Text) -> list[Hit]:
    """Numbers of characters: decimal or octal."""
    numbers = text.numbers
    if not any(run in numbers for run in (b"ddd ddd ddd", b"dd dd dd dd dd dd", b"ddd  ddd  ddd", b"dd ddd ddd")):
        return []
    hits = []
    for start, end in _pieces(_CODES_RUN, text.data):
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
_BINARY: Final = bytes(0x62 if char in b"01" else 0x20 for char in range(256))


def _binary(text: _Text) -> list[Hit]:
    if b"011" not in text.data or b"bbbbbbb" not in text.data.translate(_BINARY):
        return []
    hits = []
    for start, end in _pieces(_BINARY_RUN, text.data):
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
_MORSE_SIGN: Final = re.compile(rb"[.*_-]+")
_MORSE_SIGNS: Final = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .-.-.- --..-- ..--.. .----. -....- -..-. .--.-. "
    "---... -.-.-- .-..-. -.-.-. -...- .-.-. -.--. -.--.-"
)
_MORSE: Final = dict(zip(_MORSE_SIGNS.split(), b"abcdefghijklmnopqrstuvwxyz0123456789.,?'-/@:!\";=+()", strict=True))


def _morse(text: _Text) -> list[Hit]:
    data = text.data
    if b". ." not in text.classes and b". /" not in text.classes and b". *" not in text.classes:
        return []
    if data.count(b"-.") + data.count(b".-") + data.count(b"._") + data.count(b"_.") + data.count(b"-*") < 3:
        return []
    hits = []
    for start, end in _pieces(_MORSE_RUN, data):
        plain = bytearray()
        starts: list[int] = []
        ends: list[int] = []
        unknown = 0
        behind = start
        for sign in _MORSE_SIGN.finditer(data, start, end):
            first, last = sign.span()
            letter = _MORSE.get(sign.group().replace(b"*", b".").replace(b"_", b"-").decode("ascii"))
            if letter is None:
                unknown += 1
                continue
            gap = data[behind:first]
            if plain and (len(gap) > 1 or gap.strip(b" ")):
                plain.append(0x20)
                starts.append(behind)
                ends.append(first)
            plain.append(letter)
            starts.append(first)
            ends.append(last)
            behind = last
        if unknown * 8 <= len(plain) and len(set(plain)) > 3:
            hits.append(Hit(start, end, bytes(plain), (starts, ends)))
    return hits


# -- escapes, in their place

_PERCENT_RUN: Final = _re2(rb"(?:%[0-9A-Fa-f]{2})+")
_QUOTED_RUN: Final = _re2(rb"(?:=[0-9A-Fa-f]{2}|=\r?\n)+")


def _percent(text: _Text) -> list[Hit]:
    if text.data.count(b"%") < 3:
        return []
    return [
        Hit(start, end, bytes.fromhex(text.data[start:end].replace(b"%", b"").decode("ascii")))
        for start, end in _found(_PERCENT_RUN, text.data)
    ]


def _quoted_printable(text: _Text) -> list[Hit]:
    if text.data.count(b"=") < 3:
        return []
    hits = []
    for start, end in _found(_QUOTED_RUN, text.data):
        digits = b"".join(text.data[start:end].replace(b"=", b"").split())
        hits.append(Hit(start, end, bytes.fromhex(digits.decode("ascii"))))
    return hits if len(hits) > 2 or any(len(hit.data) > 2 for hit in hits) else []


_ENTITY: Final = _re2(rb"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]+);?")


def _entities(text: _Text) -> list[Hit]:
    if b"&" not in text.data:
        return []
    hits = []
    for start, end in _found(_ENTITY, text.data):
        written = text.data[start:end].decode("ascii")
        if not written.endswith(";") and written[1] != "#":
            continue
        plain = html.unescape(written)
        if plain != written:
            hits.append(Hit(start, end, plain.encode("utf-8", "replace")))
    return hits


_ESCAPE: Final = _re2(
    rb"\\(?:u\{[0-9A-Fa-f]{1,6}\}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x\{?[0-9A-Fa-f]{2}\}?|[0-3][0-7]{2}"
    rb"|N\{[A-Za-z0-9 -]+\}|[nrtbfv\"'/\\])"
)
_SIMPLE: Final = {b"n": b"\n", b"r": b"\n", b"t": b"\t", b"b": b"", b"f": b"\n", b"v": b"\n"}


def _escapes(text: _Text) -> list[Hit]:
    if text.data.count(b"\\") < 2:
        return []
    hits: list[Hit] = []
    units: list[tuple[int, int, int | bytes]] = []
    for start, end in _found(_ESCAPE, text.data):
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
        except KeyError:
            return body
    return _SIMPLE.get(body, body)


def _named(name: str) -> int:
    """The code point of a character by its Unicode name."""
    return ord(unicodedata.lookup(name))


# -- letters, in their place

_SPACED_CLASSES: Final = bytes.maketrans(b"A.?/*$0", b"a    aa")
_GAP: Final = 6  # bytes between two letters, at most


def _isolated(data: bytes, classes: bytes) -> Iterator[list[tuple[int, int]]]:
    """Runs of four and more letters that each stand alone: where they begin and end."""
    letters = np.frombuffer(classes, np.uint8) == 0x61
    alone = letters.copy()
    alone[1:] &= ~letters[:-1]
    alone[:-1] &= ~letters[1:]
    at = np.flatnonzero(alone)
    if len(at) < 4:
        return
    before = np.cumsum(letters)
    apart = (np.diff(at) > _GAP + 1) | (np.diff(before[at]) != 1)
    bounds = np.concatenate(([0], np.flatnonzero(apart) + 1, [len(at)]))
    long = np.flatnonzero(np.diff(bounds) >= 4)
    array = np.frombuffer(data, np.uint8)
    leads = None if data.isascii() else np.append(np.flatnonzero((array & 0xC0) != 0x80), len(data))
    left = _NUMBERS_READ // 3
    for run in long[:_HITS]:
        everything = at[bounds[run] : bounds[run + 1]][: max(left, 0)]
        left -= len(everything)
        # a very long run in parts, so that as much as is read at all is read of it
        for first in range(0, len(everything), _LETTERS_CUT):
            where = everything[first : first + _LETTERS_CUT]
            if len(where) < 4:
                break
            if leads is None:
                yield [(place, place + 1) for place in where.tolist()]
            else:
                yield list(zip(leads[where].tolist(), leads[where + 1].tolist(), strict=True))
        if left <= 0:
            return


def _spaced(text: _Text) -> list[Hit]:
    """Letters with something between each and the next."""
    data = text.data
    classes = text.classes.translate(_SPACED_CLASSES)
    if b" a a a " not in classes and not classes.startswith(b"a a a a") and b"  a  a  a  " not in classes:
        return []
    hits: list[Hit] = []
    cuts = 0
    for places in _isolated(data, classes):
        signs = sum(data[first] < 0x41 for first, _ in places)
        if signs * 2 > len(places):
            continue
        gaps = [data[left[1] : right[0]] for left, right in pairwise(places)]
        if any(b"\0" in gap for gap in gaps):
            continue
        usual = Counter(gaps).most_common(1)[0][0]
        words: list[list[tuple[int, int]]] = [[places[0]]]
        for gap, place in zip(gaps, places[1:], strict=True):
            if gap != usual:
                sign = gap.strip()
                if len(sign) == 1 and sign in b".,;:!?" and sign not in usual:
                    at = place[0] - len(gap) + gap.index(sign)
                    words[-1].append((at, at + 1))
                words.append([])
            words[-1].append(place)
        if len(words) == 1 and len(places) >= 8 and cuts < _LETTERS_CUT:
            cuts += len(places)
            letters = b"".join(data[first:last] for first, last in places[:_LETTERS_CUT])
            if letters.isascii():
                at = 0
                cut: list[list[tuple[int, int]]] = []
                for length in _segmented(letters.decode("ascii").lower()):
                    cut.append(places[at : at + length])
                    at += length
                if at < len(places):
                    cut.append(places[at:])
                words = cut
        hits.append(_word_hit(data, words))
    return hits


def _word_byte(char: int) -> bool:
    return char >= 0x80 or chr(char).isalnum()


def _word_hit(data: bytes, words: Sequence[Sequence[tuple[int, int]]]) -> Hit:
    plain = bytearray()
    starts: list[int] = []
    ends: list[int] = []
    for word in words:
        if plain:
            plain.append(0x20)
            starts.append(ends[-1])
            ends.append(max(word[0][0], ends[-1]))
        for first, last in word:
            plain += data[first:last]
            starts += [first] * (last - first)
            ends += [last] * (last - first)
    return Hit(words[0][0][0], words[-1][-1][1], bytes(plain), (starts, ends))


def _segmented(letters: str) -> list[int]:
    """Lengths of the words that letters without gaps are made of: as much as possible in words, few of them."""
    size = len(letters)
    best = [0.0] * (size + 1)  # cost of the letters up to here
    length = [1] * (size + 1)
    for end in range(1, size + 1):
        best[end] = best[end - 1] + 4.0
        length[end] = 1
        for start in range(max(end - LONGEST, 0), end):
            if letters[start:end] in KNOWN:
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


_SPLIT: Final = _re2(rb"[A-Za-z]+(?:(?:[-_.*~`|^'/]|\\){1,3}[A-Za-z]+)+")
_SPLIT_BY_SPACE: Final = _re2(rb"[A-Za-z]+(?: [A-Za-z]+)+")
_LETTER_RUN: Final = re.compile(rb"[A-Za-z]+")


def _split(text: _Text) -> list[Hit]:
    """Words cut by a hyphen, a dot, a space or the like."""
    hits: list[Hit] = []
    cut = _told(text, _CUT_BY_SPACE)
    classes = text.classes
    if cut or (
        (b"a.a" in classes or b"A.A" in classes)
        and any(gap in classes for gap in (b"a.aa.a", b"a.aaa.a", b"a.aaaa.a", b"a.a.a", b"A.AA.A", b"A.AAA.A"))
    ):
        hits += _put_together(text.data, _SPLIT)
    for start, end in _regions(text.data, cut, 256, whole=512):
        hits += _put_together(text.data, _SPLIT_BY_SPACE, start, end)
    hits.sort(key=lambda hit: (hit.start, -hit.end))
    return [hit for index, hit in enumerate(hits) if not index or hits[index - 1].end <= hit.start]


def _put_together(data: bytes, pattern: Any, first: int = 0, last: int | None = None) -> list[Hit]:
    """Neighbouring fragments that make a known word."""
    hits: list[Hit] = []
    for start, end in _found(pattern, data, first, last):
        parts = [part.span() for part in _LETTER_RUN.finditer(data, start, end)]
        index = 0
        while index < len(parts):
            best = index
            for other in range(index + 1, min(index + 8, len(parts))):
                letters = b"".join(data[begin:finish] for begin, finish in parts[index : other + 1])
                if len(letters) > LONGEST:
                    break
                if len(letters) >= 4 and letters.decode("ascii").lower() in KNOWN:
                    best = other
            if best > index:
                cells = [(at, at + 1) for begin, finish in parts[index : best + 1] for at in range(begin, finish)]
                letters = bytes(data[at] for at, _ in cells)
                hits.append(
                    Hit(
                        parts[index][0],
                        parts[best][1],
                        letters,
                        ([begin for begin, _ in cells], [finish for _, finish in cells]),
                    )
                )
            index = best + 1
    return hits


_TAG: Final = _re2(rb"(?:</?[A-Za-z][^<>\x00]*>)+")


def _markup(text: _Text) -> list[Hit]:
    """Tags and comments inside words."""
    data = text.data
    if b"<" not in data:
        return []
    places = _found(_TAG, data)
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
    return [
        Hit(start, end, b"")
        for start, end in merged
        if start and end < len(data) and _word_byte(data[start - 1]) and _word_byte(data[end])
    ]


_EMPHASISED: Final = _re2(rb"[*~`\\]{1,3}|\b_{1,2}|_{1,2}\b|\[|\]\([^()\s\x00]*\)")


_INSIDE: Final = tuple(
    left + b"*" * width + right for width in (1, 2, 3) for left in (b"a", b"A") for right in (b"a", b"A")
)


def _emphasis(text: _Text) -> list[Hit]:
    """Emphasis and backslashes inside words."""
    classes = text.classes
    if b"*" not in classes or not any(inside in classes for inside in _INSIDE):
        return []
    data = text.data
    hits: list[Hit] = []
    inside = False
    for start, end in _found(_EMPHASISED, data):
        left = start > 0 and _word_byte(data[start - 1])
        right = end < len(data) and _word_byte(data[end])
        inside = inside or (left and right and data[start] != 0x5F)
        if left or right:
            hits.append(Hit(start, end, b""))
    return hits if inside else []


_LEET: Final = bytes.maketrans(b"01345789@$!|+", b"oieastbgasiit")
_LEET_L: Final = bytes.maketrans(b"01345789@$!|+", b"oleastbgasllt")
_LEET_TOKEN: Final = _re2(
    rb"[A-Za-z0134578@$!|+9]*(?:[A-Za-z][0134578@$!|+9]|[0134578@$|+9!][A-Za-z])[A-Za-z0134578@$!|+9]*"
)
_LEET_CLASSES: Final = bytes.maketrans(b"A$", b"a0")


def _leetspeak(text: _Text) -> list[Hit]:
    classes = text.classes
    if b"$" in classes or b"A" in classes:
        classes = classes.translate(_LEET_CLASSES)
    if b"a0a" not in classes and b"0aa" not in classes and b"a00" not in classes:
        return []
    hits: list[Hit] = []
    known = 0
    for start, end in _found(_LEET_TOKEN, text.data):
        word = text.data[start:end]
        stripped = word.rstrip(b"!|+")
        if end < len(text.data) and _word_byte(text.data[end]):
            continue
        if start and _word_byte(text.data[start - 1]):
            continue
        word = stripped
        end = start + len(word)
        letters = len(word) - len(word.translate(None, _LOWER + _UPPER))
        # a bare number in a word is a version or an identifier
        if not 1 < len(word) <= 32 or not letters or not (word.islower() or word.isupper() or word[1:].islower()):
            continue
        plain, sure = _unleeted(word)
        known += sure
        hits.append(Hit(start, end, plain))
    return hits if known >= 1 or len(hits) >= 4 else []


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
_BACKWARDS: Final = frozenset(word[::-1] for word in _LONG)
_SHIFTS: Final = {_shifted(word, by): 26 - by for word in _LONG for by in range(1, 26) if len(word) > 5 or by == 13}
_MIRRORED: Final = frozenset(map(_mirrored, _LONG))
_PIG: Final = frozenset(map(_pig, _LONG))
_UNORDERED: Final = frozenset(
    (
        "instructions previous",
        "instructions prior",
        "instructions your",
        "instructions all",
        "prompt system",
        "previous all",
        "instructions above",
        "rules previous",
        "instructions these",
        "instructions the",
        "instructions following",
    )
)
# a word cut in two by a space; not where both halves are words
_CUT_BY_SPACE: Final = frozenset(
    f"{word[:at]} {word[at:]}"
    for word in _LONG
    for at in range(2, len(word) - 1)
    if word[:at] not in KNOWN or word[at:] not in KNOWN
)
_LITERALS: Final = (*_CUT_BY_SPACE, *_BACKWARDS, *_SHIFTS, *_MIRRORED, *_PIG, *_UNORDERED)


_TELLTALE: Final = _re2("|".join(sorted(_LITERALS, key=len, reverse=True)).encode("ascii"), ignore_case=True)


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


def _reversed(text: _Text) -> list[Hit]:
    return [_flipped(text.data, *region) for region in _regions(text.data, _told(text, _BACKWARDS))]


def _flipped(data: bytes, start: int, end: int) -> Hit:
    run = data[start:end]
    where = np.arange(end - 1, start - 1, -1)
    if run.isascii():
        return Hit(start, end, run[::-1], (where.tolist(), (where + 1).tolist()))
    plain = run.decode("utf-8", "surrogateescape")[::-1].encode("utf-8", "surrogateescape")
    sizes = [len(char.encode("utf-8", "surrogateescape")) for char in run.decode("utf-8", "surrogateescape")]
    starts: list[int] = []
    ends: list[int] = []
    at = end
    for size in reversed(sizes):
        starts += [at - size] * size
        ends += [at] * size
        at -= size
    return Hit(start, end, plain, (starts, ends))


_WORD_RUN: Final = re.compile(rb"[^\s\x00]+")


def _each_reversed(text: _Text) -> list[Hit]:
    hits = []
    for start, end in _regions(text.data, _told(text, _BACKWARDS)):
        hits += [_flipped(text.data, *word.span()) for word in _WORD_RUN.finditer(text.data, start, end)]
    return hits


def _reordered(text: _Text) -> list[Hit]:
    """Words in reverse order."""
    hits = []
    for start, end in _regions(text.data, _told(text, _UNORDERED), 512):
        words = [word.span() for word in _WORD_RUN.finditer(text.data, start, end)]
        plain = bytearray()
        starts: list[int] = []
        ends: list[int] = []
        for first, last in reversed(words):
            if plain:
                plain.append(0x20)
                starts.append(last)
                ends.append(last)
            plain += text.data[first:last]
            starts += range(first, last)
            ends += range(first + 1, last + 1)
        hits.append(Hit(start, end, bytes(plain), (starts, ends)))
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


def _pieces(pattern: Any, data: bytes) -> Iterator[tuple[int, int]]:
    """The same, as much of them as is worth taking apart number by number."""
    left = _NUMBERS_READ
    for start, end in _found(pattern, data):
        if left <= 0:
            return
        cut = data.rfind(b" ", start, start + left) if end - start > left else end
        left -= end - start
        yield start, cut if cut > start else min(end, start + _NUMBERS_READ)


def _found(pattern: Any, data: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Where an RE2 pattern matches, up to the limit of pieces."""
    return [match.span() for match in islice(pattern.finditer(data, start, len(data) if end is None else end), _HITS)]


# name, decoder, whether it is read in its place, whether it may be done several times
_DECODERS: Final[tuple[tuple[str, Callable[[_Text], list[Hit]], bool, bool], ...]] = (
    ("base64", _base64, False, True),
    ("base32", _base32, False, True),
    ("hex", _hex, False, True),
    ("codes", _codes, False, False),
    ("binary", _binary, False, False),
    ("morse", _morse, False, False),
    ("percent", _percent, True, True),
    ("quoted-printable", _quoted_printable, True, False),
    ("html", _entities, True, True),
    ("escapes", _escapes, True, True),
    ("markup", _markup, True, False),
    ("emphasis", _emphasis, True, False),
    ("letters", _spaced, True, False),
    ("split", _split, True, False),
    ("leetspeak", _leetspeak, True, False),
    ("reversed", _reversed, False, False),
    ("words-reversed", _each_reversed, True, False),
    ("order-reversed", _reordered, False, False),
    ("rot13", lambda text: _caesar(text, thirteen=True), False, False),
    ("caesar", lambda text: _caesar(text, thirteen=False), False, False),
    ("atbash", _atbash, False, False),
    ("pig-latin", _pig_latin, True, False),
)
_LETTERWISE: Final = frozenset({"letters", "split"})

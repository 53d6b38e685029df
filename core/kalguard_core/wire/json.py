"""A strict JSON reader at C speed: what it accepts, every other reader understands in the same way.

Rules of this file: RFC 8259 in UTF-8, and nothing that two readers may disagree about. Refused are a byte
order mark, NaN and Infinity, duplicate keys at any level, lone surrogates, integers beyond 64 bits (many
readers silently round them), anything after the document, and documents that are too deep or too large.

How duplicate keys are found without a scan in Python: orjson keeps the last of two equal keys. Written out
again, a document without duplicates has as many colons as it had before: one for each key, and those inside
strings, which the writer never escapes. A dropped pair leaves at least its own colon over. Only a colon that
was escaped as \\u003a needs to be counted extra.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any, Final

import orjson

MAX_DEPTH: Final = 64
MAX_NODES: Final = 500_000

# orjson's writer stops at 254 levels; a document it cannot write cannot be checked for duplicates.
_WRITER_DEPTH: Final = 250
# Beyond this the place of a duplicate key is not looked for: only the slow reader can tell it.
_LOCATE_LIMIT: Final = 64 * 1024

_DIGITS_TO_ZERO: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
# 2**63 has 19 digits: a shorter run of digits always fits 64 bits.
_LONG_INTEGER: Final = b"0" * 19
_HUGE: Final = float(2**63)
# Looked at one by one, so there is a limit; real data has a handful that are this long and this large.
_MAX_LONG_NUMBERS: Final = 10_000
_NO_MARKS: Final = bytes(byte for byte in range(256) if byte not in b",:[{")
_DIGITS: Final = re.compile(rb"[0-9]+")


class JsonError(ValueError):
    """Text that is not acceptable JSON. `position`: where, in characters from the start; 0 if not known."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(f"{problem} at position {position}")
        self.problem = problem
        self.position = position


def parse_json(data: bytes, *, max_depth: int = MAX_DEPTH, max_nodes: int = MAX_NODES) -> Any:
    """The document in `data`.

    `max_depth`: levels of arrays and objects, at most 250. `max_nodes`: values in the document (an empty array
    or object counts twice). Raises `JsonError` for everything that is not strict JSON or over a limit.
    """
    # What is counted is first picked out in one pass: data is mostly text.
    marks = data.translate(None, _NO_MARKS)
    # A value takes a byte at least, so small bodies need no count. Counted before anything is built from it.
    if len(data) >= max_nodes and _nodes(marks) > max_nodes and _too_many(data, max_nodes):
        raise JsonError(f"more than {max_nodes} values", 0)
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise JsonError(error.msg, error.pos) from None
    max_depth = min(max_depth, _WRITER_DEPTH)
    if marks.count(b"[") + marks.count(b"{") > max_depth and _deeper(document, max_depth):
        raise JsonError(f"nested deeper than {max_depth} levels", 0)
    colons = marks.count(b":")
    written = orjson.dumps(document) if colons else b""
    if written == data:
        return document  # nothing was dropped or rounded; most clients write JSON as compactly as our writer does
    if b"\\" in data and b"\\u003" in data:
        # Without pairs of backslashes, each \u left over is an escape.
        unpaired = data.replace(b"\\\\", b"")
        colons += unpaired.count(b"\\u003a") + unpaired.count(b"\\u003A")
    if written.count(b":") != colons:
        raise _duplicate_key(data)
    if _LONG_INTEGER in data.translate(_DIGITS_TO_ZERO):
        _refuse_long_integers(document, data)
    return document


class Encoded:
    """A value that is JSON already. Writing it is a copy, whatever is in it."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def encode_json(value: Any) -> bytes:
    """`value` as JSON for an answer. Never fails on text: what UTF-8 cannot hold is written as an escape.

    It may hold `Encoded` values.
    """
    try:
        return orjson.dumps(value, default=_fragment)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), default=_decoded).encode("ascii")


def _fragment(value: Any) -> orjson.Fragment:
    if type(value) is Encoded:
        return orjson.Fragment(value.data)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _decoded(value: Any) -> Any:
    if type(value) is Encoded:
        return json.loads(value.data)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _outside_strings(data: bytes) -> bytes:
    """What stands outside of strings, if `data` is valid JSON."""
    return b'"'.join(_unescaped(data).split(b'"')[::2])


def _unescaped(data: bytes) -> bytes:
    """`data` without escaped backslashes and quotes: each quote that is left begins or ends a string."""
    if b'\\"' not in data:  # nor a string that ends with a backslash
        return data
    return data.replace(b"\\\\", b"").replace(b'\\"', b"")


def _too_many(data: bytes, max_nodes: int) -> bool:
    plain = _unescaped(data)
    # A value brings at most two strings, its name and itself, so the quotes alone may settle it.
    return plain.count(b'"') // 4 > max_nodes or _nodes(b'"'.join(plain.split(b'"')[::2])) > max_nodes


def _nodes(outside: bytes) -> int:
    """How many values there are; an upper bound if strings are still in it."""
    return outside.count(b",") + outside.count(b"[") + outside.count(b"{") + 1


def _deeper(document: Any, limit: int) -> bool:
    """Whether `document` has more than `limit` levels."""
    lists = [document] if type(document) is list else []
    dicts = [document] if type(document) is dict else []
    for _ in range(limit):
        if not lists and not dicts:
            return False
        # Level by level instead of value by value: the loops run in C.
        inside = [
            value
            for value in chain(chain.from_iterable(lists), chain.from_iterable(map(dict.values, dicts)))
            if type(value) is list or type(value) is dict
        ]
        lists = [value for value in inside if type(value) is list]
        dicts = [value for value in inside if type(value) is dict]
    return bool(lists or dicts)


def _duplicate_key(data: bytes) -> JsonError:
    """The error that names the first duplicate key of `data`, which is valid JSON with one."""
    if len(data) > _LOCATE_LIMIT:
        return JsonError("a key appears twice in one object", 0)
    text = data.decode()
    scanner = json.JSONDecoder()
    place = 0
    # One set of keys an open object, None an open array.
    open_containers: list[set[str] | None] = []
    expect_key = False
    while place < len(text):
        char = text[place]
        if char == '"':
            string, end = scanner.raw_decode(text, place)
            if expect_key and open_containers and (keys := open_containers[-1]) is not None:
                if string in keys:
                    return JsonError(f"the key {string[:64]!r} appears twice in one object", place)
                keys.add(string)
            expect_key = False
            place = end
            continue
        if char == "{":
            open_containers.append(set())
            expect_key = True
        elif char == "[":
            open_containers.append(None)
            expect_key = False
        elif char in "}]":
            open_containers.pop()
            expect_key = False
        elif char == ",":
            expect_key = bool(open_containers) and open_containers[-1] is not None
        place += 1
    return JsonError("a key appears twice in one object", 0)


def _refuse_long_integers(document: Any, data: bytes) -> None:
    """Raise `JsonError` if an integer of `data` does not fit 64 bits (signed or unsigned, as orjson reads them)."""
    if not _has_huge_float(document):
        return
    outside = _outside_strings(data)
    zeros = outside.translate(_DIGITS_TO_ZERO)
    end = 0
    for _ in range(_MAX_LONG_NUMBERS):
        start = zeros.find(_LONG_INTEGER, end)
        if start < 0:
            return
        run = _DIGITS.match(outside, start)
        assert run is not None
        end = run.end()
        before = outside[max(start - 2, 0) : start].lower()
        if before.endswith((b".", b"e", b"e+", b"e-")) or outside[end : end + 1] in (b".", b"e", b"E"):
            continue  # part of a number with a fraction or an exponent
        # Longer ones are refused by length: int() of a million digits would be slow.
        value = int(run.group()) if end - start <= 20 else 2**64
        if value >= 2**64 or (before.endswith(b"-") and value > 2**63):
            raise JsonError("integer beyond 64 bits", 0)
    raise JsonError(f"more than {_MAX_LONG_NUMBERS} numbers with 19 digits or more", 0)


def _has_huge_float(document: Any) -> bool:
    """Whether a float of `document` is so large that it may have been an integer beyond 64 bits."""
    level: list[Any] = [[document]]
    while level:
        values = [
            value
            for value in chain.from_iterable(c.values() if type(c) is dict else c for c in level)
            if type(value) is float or type(value) is list or type(value) is dict
        ]
        if any(abs(value) >= _HUGE for value in values if type(value) is float):
            return True
        level = [value for value in values if type(value) is not float]
    return False

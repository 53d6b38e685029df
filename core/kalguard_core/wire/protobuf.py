"""Protocol buffers, read without their schema or with one: all text of a message is found.

Rules of this file: what two readers may take differently is refused (`ProtobufError`), or read in every way. Without
a schema, bytes may be text and a message at once, so both are read; with one, a field that stands twice, has the
wrong wire type, or is unknown and not readable is refused. Everything is iterative and has a budget, so that time
is linear in the bytes. Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import base64
import codecs
import math
import re
import struct
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

MAX_DEPTH: Final = 100  # what the protobuf libraries take by default
# Each costs about a microsecond.
MAX_FIELDS: Final = 200_000
# Text inside of text inside of text: how often the bytes of one message may be read anew.
_READINGS: Final = 8
_READINGS_FREE: Final = 64 * 1024
# Shorter text says nothing more when it is read as a message, too.
_SHORTEST_MESSAGE: Final = 8

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
_MAX_TAG: Final = 0xFFFFFFFF
_SPACES: Final = str.maketrans("", "", "\t\r\n")
# Words inside of bytes that are no text as a whole.
_RUNS: Final = re.compile(rb"[\x20-\x7e\t\r\n]{8,}")
_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32's begins like UTF-16's
_ASCII: Final = bytes((*range(0x20, 0x7F), *b"\t\n\r"))
_OTHERS_AS_SPACE: Final = bytes(byte if byte in _ASCII else 0x20 for byte in range(256))

_FieldValue = tuple[int, int, Any]


class ProtobufError(ValueError):
    """Bytes that are no message, or one that is refused. `str()` is what is wrong with them."""


class Budget:
    """How much work the messages of one request may still make. `size`: their bytes."""

    __slots__ = ("_fields", "_text")

    def __init__(self, size: int) -> None:
        self._fields = MAX_FIELDS
        self._text = _READINGS * size + _READINGS_FREE

    def take_text(self, size: int) -> None:
        """Count text that was found. Raises `ProtobufError` when it is too much."""
        self._text -= size
        if self._text < 0:
            raise ProtobufError("can be read in too many ways")

    def fields(self, data: bytes) -> list[_FieldValue] | None:
        """Number, wire type and value of each field, those of groups too; None if `data` is no message.

        The value is an integer (wire type 0) or bytes. Raises `ProtobufError` when there are too many fields.
        """
        found: list[_FieldValue] = []
        place, size, left = 0, len(data), self._fields
        groups: list[int] = []
        while place < size:
            tag = data[place]
            place += 1
            if tag >= 0x80:
                tag, place = _varint(data, place - 1)
            if place < 0 or not 8 <= tag <= _MAX_TAG:
                return self._no_message(found)
            number, wire = tag >> 3, tag & 7
            value: Any
            if wire == _BYTES:
                length, place = _varint(data, place)
                end = place + length
                if place < 0 or end > size:
                    return self._no_message(found)
                value = data[place:end]
                place = end
            elif wire == _VARINT:
                value, place = _varint(data, place)
                if place < 0:
                    return self._no_message(found)
            elif wire in (_FIXED64, _FIXED32):
                end = place + (8 if wire == _FIXED64 else 4)
                if end > size:
                    return self._no_message(found)
                value = data[place:end]
                place = end
            elif wire == _GROUP:
                value = b""
                groups.append(number)
                if len(groups) > MAX_DEPTH:
                    raise ProtobufError(f"is nested deeper than {MAX_DEPTH} levels")
            elif wire == _END_GROUP and groups and groups.pop() == number:
                value = b""
            else:
                return self._no_message(found)
            found.append((number, wire, value))
            if len(found) > left:
                raise ProtobufError(f"holds more than {MAX_FIELDS} fields")
        self._fields -= len(found)
        return None if groups else found

    def _no_message(self, found: list[_FieldValue]) -> list[_FieldValue] | None:
        self._fields -= len(found)
        return None


class Walked(Struct, frozen=True):
    """What a message says, when nothing is known about it.

    `texts`: with the numbers of the fields that lead there. `beside`: what is text only if it is read in another
    way than the obvious one. `opaque`: bytes that are neither text nor a message.
    """

    texts: list[tuple[str, tuple[int, ...]]]
    beside: list[tuple[str, tuple[int, ...]]]
    opaque: int


def walk(data: bytes, budget: Budget) -> Walked:
    """All text of a message. Raises `ProtobufError`, also for bytes that are no message."""
    top = budget.fields(data)
    if top is None:
        raise ProtobufError("is not a protobuf message")
    texts: list[tuple[str, tuple[int, ...]]] = []
    beside: list[tuple[str, tuple[int, ...]]] = []
    opaque = 0
    # Fields yet to be read, the way to them, and whether their bytes are text already.
    open_messages: list[tuple[Iterator[_FieldValue], tuple[int, ...], bool]] = [(iter(top), (), False)]
    while open_messages:
        fields, path, in_text = open_messages[-1]
        for number, wire, value in fields:
            if wire != _BYTES or not value:
                continue
            where = (*path, number)
            text = _text(value)
            inner = budget.fields(value) if text is None or len(value) >= _SHORTEST_MESSAGE else None
            if text is None and inner is None:
                if not in_text:
                    opaque += len(value)
                text = _lenient_text(value)
            if text:
                budget.take_text(len(text))
                plain = _is_plain(text)
                (beside if in_text or (inner is not None and not plain) else texts).append((text, where))
            else:
                plain = False
            if inner is not None:
                if len(open_messages) >= MAX_DEPTH:
                    raise ProtobufError(f"is nested deeper than {MAX_DEPTH} levels")
                open_messages.append((iter(inner), where, in_text or plain))
                break
        else:
            open_messages.pop()
    return Walked(texts, beside, opaque)


class Field(Struct, frozen=True):
    """One field of a schema. `name`: its name in proto-JSON.

    `kind`: string, bytes (base64 in the result), number (any varint), message (with `schema`), struct or value.
    """

    name: str
    kind: str = "string"
    repeated: bool = False
    schema: dict[int, Field] | None = None


Schema = dict[int, Field]


def decode(data: bytes, schema: Schema, budget: Budget) -> dict[str, Any]:
    """The message as the object that proto-JSON has for it. Text of unknown fields stands under "#<number>".

    Raises `ProtobufError`.
    """
    result: dict[str, Any] = {}
    # A message, how to read it, what it becomes a part of, and how deep it stands.
    waiting: list[tuple[bytes, str, Schema | None, Any, int]] = [(data, "message", schema, result, 1)]
    while waiting:
        chunk, kind, known, target, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ProtobufError(f"is nested deeper than {MAX_DEPTH} levels")
        fields = budget.fields(chunk)
        if fields is None:
            raise ProtobufError("is not a protobuf message")
        if kind == "message":
            assert known is not None
            for number, wire, value in fields:
                field = known.get(number)
                if field is None:
                    _unknown(target, number, wire, value, budget)
                else:
                    _put(target, field, wire, value, waiting, depth + 1)
        elif kind == "struct":
            for number, wire, value in fields:
                if number != 1 or wire != _BYTES:
                    raise ProtobufError("has a Struct with an unknown field")
                _entry(target, value, waiting, depth + 1, budget)
        elif kind == "list":
            for number, wire, value in fields:
                if number != 1 or wire != _BYTES:
                    raise ProtobufError("has a ListValue with an unknown field")
                target.append(None)
                waiting.append((value, "value", None, (target, len(target) - 1), depth + 1))
        else:
            container, key = target
            container[key] = _value(fields, waiting, depth + 1)
    return result


def _put(target: dict[str, Any], field: Field, wire: int, value: Any, waiting: list[Any], depth: int) -> None:
    kind = field.kind
    if wire != (_VARINT if kind == "number" else _BYTES):
        raise ProtobufError(f"has a field {field.name} of another type")
    result: Any = value
    if kind == "string":
        result = _text(value)
        if result is None:
            raise ProtobufError(f"has a field {field.name} that is not UTF-8")
    elif kind == "bytes":
        result = base64.b64encode(value).decode("ascii")
    elif kind == "message":
        result = {}
        waiting.append((value, kind, field.schema, result, depth))
    elif kind == "struct":
        result = {}
        waiting.append((value, kind, None, result, depth))
    if field.repeated:
        target.setdefault(field.name, []).append(result)
        return
    if field.name in target:
        raise ProtobufError(f"has the field {field.name} twice")
    target[field.name] = result
    if kind == "value":
        waiting.append((value, kind, None, (target, field.name), depth))


def _entry(target: dict[str, Any], chunk: bytes, waiting: list[Any], depth: int, budget: Budget) -> None:
    """One member of a Struct."""
    key: str | None = ""
    value = b""
    fields = budget.fields(chunk)
    if fields is None or len(fields) > 2 or [number for number, _, _ in fields] not in ([1, 2], [2, 1], [1], [2], []):
        raise ProtobufError("has a Struct with a member that is not valid")
    for number, wire, part in fields:
        if wire != _BYTES:
            raise ProtobufError("has a Struct with a member that is not valid")
        if number == 1:
            key = _text(part)
        else:
            value = part
    if key is None or key in target:
        raise ProtobufError("has a Struct with a name that is not UTF-8, or that stands twice")
    target[key] = None
    waiting.append((value, "value", None, (target, key), depth))


def _value(fields: list[_FieldValue], waiting: list[Any], depth: int) -> Any:
    """What a google.protobuf.Value holds."""
    if not fields:
        return None
    if len(fields) > 1:
        raise ProtobufError("has a Value with more than one value")
    number, wire, value = fields[0]
    if number == 1 and wire == _VARINT:
        return None
    if number == 2 and wire == _FIXED64:
        result: float = struct.unpack("<d", value)[0]
        if not math.isfinite(result):
            raise ProtobufError("has a number that JSON has not")
        return int(result) if result.is_integer() and abs(result) < 2**53 else result
    if number == 4 and wire == _VARINT:
        return bool(value)
    if wire == _BYTES and number == 3:
        text = _text(value)
        if text is not None:
            return text
    if wire == _BYTES and number in (5, 6):
        container: Any = {} if number == 5 else []
        waiting.append((value, "struct" if number == 5 else "list", None, container, depth))
        return container
    raise ProtobufError("has a Value that is not valid")


def _unknown(target: dict[str, Any], number: int, wire: int, value: Any, budget: Budget) -> None:
    if wire != _BYTES or not value:
        if wire in (_GROUP, _END_GROUP):
            raise ProtobufError("has a group")
        return
    found: list[str] = target.setdefault(f"#{number}", [])
    text = _text(value)
    if text is not None:
        budget.take_text(len(text))
        found.append(text)
    if budget.fields(value) is not None:
        walked = walk(value, budget)
        if not walked.opaque:
            found += [text for text, _ in (*walked.texts, *walked.beside)]
            return
    if text is None:
        raise ProtobufError(f"has an unknown field {number} that can't be read")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, and the place after it; -1 if there is none."""
    value = shift = 0
    for byte in data[place : place + 10]:
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place
        shift += 7
    return 0, -1


def _text(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _lenient_text(data: bytes) -> str:
    """What bytes say that are neither UTF-8 nor a message: as UTF-16, UTF-32 or Latin-1, or in the words in them."""
    marked = ""
    if data.startswith(_MARKS):
        codec = "utf-32" if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) else "utf-16"
        marked = data.decode(codec, "replace") + "\n"
    # Without a mark: ASCII letters with NULs between them, or with a few other bytes.
    letters = data.replace(b"\0", b"")
    if len(letters.translate(None, _ASCII)) * 2 <= len(letters):
        return marked + letters.translate(_OTHERS_AS_SPACE).decode("ascii")
    return marked + "\n".join(run.decode("ascii") for run in _RUNS.findall(data))


def _is_plain(text: str) -> bool:
    return text.isprintable() or text.translate(_SPACES).isprintable()

"""Bodies of `application/x-www-form-urlencoded`, read so that no other reader finds other fields in them.

Rules of this file: what two readers may understand differently is refused: ";" (some split there), a field
without "=" (some drop it), escapes that are cut or not UTF-8. Source: https://url.spec.whatwg.org, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from ..codes import ErrorCode
from ..request import Refusal
from .multipart import CHARSETS, META_FIELDS, refuse_encoded
from .text import shown

MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
# Python's reader stops at 1000 fields with an error, PHP's silently.
MAX_FIELDS: Final = 512
_MAX_NAME: Final = 256
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


def require_form(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` (415) unless the body is declared as a form in UTF-8."""
    refuse_encoded(headers)
    media_type, semicolon, parameter = headers.get("content-type", "").partition(";")
    name, _, charset = parameter.strip(" ").lower().partition("=")
    if media_type.rstrip(" ") != MEDIA_TYPE or (semicolon and (name != "charset" or charset not in CHARSETS)):
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"content-type must be {MEDIA_TYPE}")


def read_form(body: bytes) -> tuple[tuple[str, str], ...]:
    """The fields, decoded and in order; a name may come more than once (`form_once`).

    Raises `Refusal` (400) for what is malformed or ambiguous.
    """
    if not body:
        return ()
    if body.count(b"&") >= MAX_FIELDS:
        raise _bad(f"the form has more than {MAX_FIELDS} fields")
    if not body.isascii() or b";" in body or any(byte <= 0x20 or byte == 0x7F for byte in set(body)):
        raise _bad("the form has characters that must be percent-encoded")
    fields: list[tuple[str, str]] = []
    for number, pair in enumerate(body.split(b"&"), 1):
        raw_name, equals, raw_value = pair.partition(b"=")
        if not raw_name or not equals:
            raise _bad(f"field {number} of the form has no name, or no value")
        name, value = _decoded(raw_name, number), _decoded(raw_value, number)
        if len(name) > _MAX_NAME or not name.isprintable() or name.casefold().strip() in META_FIELDS:
            raise _bad(f"the form field '{shown(name)}' is not accepted")
        fields.append((name, value))
    return tuple(fields)


def form_once(fields: tuple[tuple[str, str], ...], many: frozenset[str] = frozenset()) -> dict[str, str]:
    """The fields by name, without those named in `many`. Raises `Refusal` for a name that comes twice."""
    found: dict[str, str] = {}
    folded: set[str] = set()
    for name, value in fields:
        if name in many:
            continue
        lower = name.casefold()
        if lower in folded or lower in many:
            raise _bad(f"the form field '{shown(name)}' appears twice")
        folded.add(lower)
        found[name] = value
    return found


def _bad(reason: str) -> Refusal:
    return Refusal(ErrorCode.BAD_REQUEST, reason)


def _decoded(text: bytes, number: int) -> str:
    if b"%" in text:
        for piece in text.split(b"%")[1:]:
            if len(piece) < 2 or piece[0] not in _HEX or piece[1] not in _HEX:
                raise _bad(f"field {number} of the form has a % that starts no escape")
    try:
        plain = unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(f"field {number} of the form is not UTF-8") from None
    if "\0" in plain:
        raise _bad(f"field {number} of the form has a NUL character")
    return plain

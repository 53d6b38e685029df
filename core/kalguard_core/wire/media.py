"""Attachments: which of them are text, and what they say.

Rules of this file: what declares itself as text is read, or the request is refused; what does not is never
guessed to be harmless. Sources: RFC 6838 (media types), RFC 4648 (base64).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

_TYPE_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$&^_.+-")
_TEXT_TYPES: Final = frozenset(
    {
        "application/json",
        "application/jsonl",
        "application/x-ndjson",
        "application/xml",
        "application/javascript",
        "application/x-javascript",
        "application/typescript",
        "application/yaml",
        "application/x-yaml",
        "application/toml",
        "application/sql",
        "application/x-sh",
        "application/rtf",
        "application/x-python",
        "application/x-latex",
        "image/svg+xml",
    }
)
_TO_STANDARD: Final = str.maketrans({"-": "+", "_": "/", "\n": None, "\r": None, " ": None, "\t": None, "=": None})


class MediaError(ValueError):
    """An attachment that says it is text, and cannot be read. `str()` is what is wrong with it."""


def media_type_of(value: Any) -> str | None:
    """A media type in lower case and without parameters; None if it is not one. "*/*" where nothing is declared."""
    if value is None or value == "":
        return "*/*"
    if type(value) is not str or len(value) > 256:
        return None
    name = value.partition(";")[0].strip(" \t").lower()
    kind, slash, subtype = name.partition("/")
    if not slash or not kind or not subtype or not _TYPE_LETTERS.issuperset(kind + subtype):
        return None
    return name


def is_text(media_type: str) -> bool:
    """Whether a media type (as `media_type_of` gives it) is that of text."""
    return (
        media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+json", "+xml", "+yaml"))
    )


def media_text(media_type: str, data: str, *, encoded: bool) -> str | None:
    """The text of an attachment; None if it is none. `encoded`: `data` is base64. Raises `MediaError`."""
    if not is_text(media_type):
        return None
    if not encoded:
        return data
    try:
        return decode_base64(data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MediaError("is not UTF-8 text") from None


def decode_base64(data: str) -> bytes:
    """The bytes, however a lenient reader would take the alphabet, the padding and white space.

    Raises `MediaError`.
    """
    plain = data.translate(_TO_STANDARD)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise MediaError("is not valid base64") from None

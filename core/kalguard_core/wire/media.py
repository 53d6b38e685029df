"""Attachments: which of them are text, and what they say.

Rules of this file: what declares itself as text is read, or the request is refused; what does not is never
guessed to be harmless, and read too where it is text all the same. Text is UTF-8: another charset is refused, since
the one who reads it may heed the declaration or not. Sources: RFC 6838 (media types), RFC 4648 (base64), RFC 2397
and https://fetch.spec.whatwg.org/#data-urls (data URLs).
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from html.entities import html5
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

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
        "application/x-python",
        "application/x-latex",
        "application/xhtml+xml",
        "image/svg+xml",
    }
)
# Escapes letters in a way of its own ("\\'69"), so it is as unreadable as any other office document.
_NOT_TEXT: Final = frozenset({"text/rtf", "text/richtext", "text/enriched"})
_UTF_8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii", ""})
_TO_STANDARD: Final = str.maketrans({"-": "+", "_": "/", "\n": None, "\r": None, " ": None, "\t": None})
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n\t"
_HEX: Final = frozenset("0123456789abcdefABCDEF")
# References that most markup is full of, at C speed. "&amp;" comes last: what it hides is not one more.
_USUAL_REFERENCES: Final = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&nbsp;", " "), ("&amp;", "&"))
# No quantifier gives back what it took.
_REFERENCE: Final = re.compile("&(?:#(?:0*+[0-9]{1,7}+|[xX]0*+[0-9a-fA-F]{1,6}+)|[A-Za-z][A-Za-z0-9]{1,31}+);?")
_OLD_NAME: Final = 6  # the longest of those that count without a semicolon too, also before a letter
_REMEMBERED: Final = 40  # longer than any name
# As much of something that is not declared as text is looked at: 768 bytes.
_SAMPLE: Final = 1024


class MediaError(ValueError):
    """An attachment that says it is text, and cannot be read. `str()` is what is wrong with it."""


def media_type_of(value: Any) -> str | None:
    """A media type in lower case and without parameters; None if it is not one, or one in another charset than UTF-8.

    "*/*" where nothing is declared.
    """
    if value is None or value == "":
        return "*/*"
    if type(value) is not str or len(value) > 256:
        return None
    name, _, parameters = value.partition(";")
    name = name.strip(" \t").lower()
    if parameters and not all(charset in _UTF_8 for charset in _charsets(parameters.lower())):
        return None
    kind, slash, subtype = name.partition("/")
    if not slash or not kind or not subtype or not _TYPE_LETTERS.issuperset(kind + subtype):
        return None
    return name


def _charsets(parameters: str) -> list[str]:
    """Whatever one reader or another could take for the charset."""
    pairs = [parameter.partition("=") for parameter in parameters.split(";")]
    return [value.strip(" \t\"'") for name, _, value in pairs if name.strip(" \t").rstrip("*0") == "charset"]


def is_text(media_type: str) -> bool:
    """Whether a media type (as `media_type_of` gives it) is that of text."""
    return media_type not in _NOT_TEXT and (
        media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+json", "+xml", "+yaml"))
    )


def media_text(media_type: str, data: str, *, encoded: bool) -> str | None:
    """The text of an attachment; None if it is none. `encoded`: `data` is base64. Raises `MediaError`."""
    if not is_text(media_type):
        return None
    if not encoded:
        return data
    try:
        text = decode_base64(data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MediaError("is not UTF-8 text") from None
    if "\0" in text:  # as UTF-16 has them
        raise MediaError("is not UTF-8 text")
    return text


def is_base64(data: str) -> bool:
    """Whether nothing else is in it than base64 has, in either alphabet and with line breaks."""
    return data.isascii() and not data.encode("ascii").translate(None, _BASE64)


def undeclared_text(data: str) -> str | None:
    """The text of something in base64 that is not declared as text, if that is what it looks like."""
    begin = data[:_SAMPLE].translate(_TO_STANDARD).rstrip("=")
    try:
        # The last character may be cut.
        sample = decode_base64(begin[: len(begin) // 4 * 4]).decode("utf-8-sig", "replace")[:-1]
        if not sample or "\0" in sample or "\ufffd" in sample:
            return None
        return decode_base64(data).decode("utf-8-sig", "replace")
    except MediaError:
        return None


def read_attachment(media_type: str, data: str, *, encoded: bool) -> tuple[str | None, bool]:
    """What an attachment says, if it says something, and whether that is all there is of it. Raises `MediaError`.

    `media_type`: as `media_type_of` gives it. `encoded`: `data` is base64.
    """
    text = media_text(media_type, data, encoded=encoded)
    if text is not None:
        return text, not media_type.startswith("image/")  # SVG is both
    if not encoded or not is_base64(data):  # a lax reader may take it as it stands
        return data, False
    return undeclared_text(data), False


def without_markup_escapes(text: str) -> str:
    """What HTML or XML says without its character references ("&#105;"); other text as it is.

    `html.unescape` raises for numbers of thousands of digits, and is slow where it finds no name.
    """
    for escape, plain in _USUAL_REFERENCES:
        text = text.replace(escape, plain)
    return _REFERENCE.sub(_referred, text) if "&" in text else text


def _referred(reference: re.Match[str]) -> str:
    written = reference.group()
    if len(written) > _REMEMBERED:  # a number behind as many zeros as one likes
        mark = "&#x" if written[2] in "xX" else "&#"
        written = mark + written[len(mark) :].lstrip("0")
    return _character(written)


@lru_cache(maxsize=1024)
def _character(reference: str) -> str:
    """What a reference stands for, with what follows a name that ends before its letters do."""
    name = reference[1:].rstrip(";")
    if name[0] != "#":
        whole = html5.get(f"{name};") if reference.endswith(";") else None
        for length in range(min(len(name), _OLD_NAME), 1, -1):
            if whole is None and name[:length] in html5:
                return html5[name[:length]] + reference[1 + length :]
        return whole or reference
    code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else "\ufffd"


def decode_base64(data: str) -> bytes:
    """The bytes, however a lenient reader would take the alphabet, the padding and white space.

    Raises `MediaError`.
    """
    plain = data.translate(_TO_STANDARD)
    if "=" in plain:
        whole = plain.rstrip("=")
        # Some readers stop at the first padding, and some go on behind it.
        if "=" in whole or len(plain) - len(whole) > 2:
            raise MediaError("is not valid base64")
        plain = whole
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise MediaError("is not valid base64") from None


class DataUrl(NamedTuple):
    """A data URL. `media_type`: with its parameters. `data`: base64 if `encoded`, else text."""

    media_type: str
    data: str
    encoded: bool


def data_url(url: str) -> DataUrl | None:
    """What a data URL holds; None if it is another URL. Raises `MediaError` for one that is not valid."""
    scheme, _, rest = url.partition(":")
    if scheme.strip().lower() != "data":
        return None
    head, comma, data = rest.partition(",")
    if not comma or not head.isprintable() or '"' in head or "%" in head:
        raise MediaError("is not a valid data URL")
    declared, *parameters = [part.strip(" ") for part in head.split(";")]
    marks = [index for index, parameter in enumerate(parameters) if parameter.lower() == "base64"]
    # Some readers look for it anywhere, some only at the end.
    if marks and marks != [len(parameters) - 1]:
        raise MediaError("is not a valid data URL")
    if marks:
        parameters.pop()
    if "#" in data:  # what follows is a fragment to some readers only
        raise MediaError("is not a valid data URL")
    if "%" in data:
        if not all(len(piece) >= 2 and _HEX.issuperset(piece[:2]) for piece in data.split("%")[1:]):
            raise MediaError("is not a valid data URL")
        try:
            data = unquote_to_bytes(data).decode("utf-8")
        except UnicodeDecodeError:
            raise MediaError("is not UTF-8 text") from None
    return DataUrl(";".join((declared or "text/plain", *parameters)), data, bool(marks))

"""Bodies of `multipart/form-data`, read so that no other reader finds other parts, names or files in them.

Rules of this file: what two readers may understand differently is refused, also where the standard settles it.
So the delimiter stands nowhere but between parts, lines end with CRLF, a parameter has one spelling, and a part
has no header besides the four that clients send. Sources: RFC 7578, RFC 2046 section 5.1, RFC 2183, RFC 8187.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from ..codes import ErrorCode
from ..request import Refusal
from .text import shown

MEDIA_TYPE: Final = "multipart/form-data"
# The forms of models and tools have a dozen; PHP silently drops what comes after the thousandth.
MAX_PARTS: Final = 256
_MAX_BOUNDARY: Final = 70  # RFC 2046
_MAX_HEAD: Final = 4096
_MAX_NAME: Final = 256
_MAX_FILE_NAME: Final = 1024

_BOUNDARY: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_QUOTED_BOUNDARY: Final = _BOUNDARY | frozenset("'+=")
_TOKEN: Final = _QUOTED_BOUNDARY - {"=", "'"}
_TYPE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$&^_.+-")
_HEADERS: Final = frozenset({"content-disposition", "content-type", "content-transfer-encoding", "content-length"})
# With these, bytes are what they are.
_PLAIN_ENCODINGS: Final = frozenset({"binary", "7bit", "8bit"})
CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})
# Fields that change how a framework reads the others (HTML's form-data charset), or the method it acts on.
META_FIELDS: Final = frozenset({"_charset_", "_method"})


class Part(Struct, frozen=True):
    """One part. `filename`: None where it is a plain field. `media_type`: in lower case; "" if none is declared."""

    name: str
    filename: str | None
    media_type: str
    data: bytes

    def text(self) -> str:
        """The data as text. Raises `Refusal` unless it is UTF-8."""
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError:
            raise _bad(f"the part '{shown(self.name)}' is not UTF-8 text") from None


def read_multipart(headers: Mapping[str, str], body: bytes) -> tuple[Part, ...]:
    """The parts of a form, in order; a name may come more than once (`once`).

    Raises `Refusal`: 415 for another media type, 400 for what is cut, odd or ambiguous.
    """
    refuse_encoded(headers)
    boundary, quoted = _boundary(headers.get("content-type", ""))
    delimiter = b"--" + boundary
    # There are readers that take the quotes for a part of the boundary.
    if quoted and b'--"' + boundary in body:
        raise _bad("the multipart body holds its boundary in quotes")
    if body.count(delimiter) > MAX_PARTS + 1:
        raise _bad(f"the multipart body has more than {MAX_PARTS} parts")
    preamble, *pieces = body.split(delimiter)
    if preamble:
        raise _bad("the multipart body does not begin with its boundary")
    if not pieces or pieces[-1] not in (b"--", b"--\r\n"):
        raise _bad("the multipart body does not end with its last boundary")
    return tuple([_part(piece, number) for number, piece in enumerate(pieces[:-1], 1)])


def refuse_encoded(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` (415) for a form with a content encoding.

    No client sends one, and a form may begin with anything: a server that doesn't decode may find another in it.
    """
    if headers.get("content-encoding", "identity").strip(" \t").lower() != "identity":
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "a form is only accepted without content-encoding")


def once(parts: Iterable[Part], many: frozenset[str] = frozenset()) -> dict[str, Part]:
    """The parts by name, without those named in `many`.

    Raises `Refusal` for a name that comes twice, also in another case: some readers take the first, some the last.
    """
    found: dict[str, Part] = {}
    folded: set[str] = set()
    for part in parts:
        if part.name in many:
            continue
        name = part.name.casefold()
        if name in folded or name in many:
            raise _bad(f"the part '{shown(part.name)}' appears twice")
        folded.add(name)
        found[part.name] = part
    return found


def _bad(reason: str) -> Refusal:
    return Refusal(ErrorCode.BAD_REQUEST, reason)


def _boundary(content_type: str) -> tuple[bytes, bool]:
    """The boundary, and whether it is written in quotes."""
    media_type, *parameters = content_type.split(";")
    if media_type.rstrip(" ") != MEDIA_TYPE:
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"content-type must be {MEDIA_TYPE}")
    found: dict[str, str] = {}
    for parameter in parameters:
        name, equals, value = parameter.strip(" ").partition("=")
        if not equals or name in found:
            raise _bad("content-type has a malformed or repeated parameter")
        found[name] = value
    charset = found.pop("charset", "utf-8")
    value = found.pop("boundary", "")
    if found or charset.lower() not in CHARSETS:
        raise _bad("content-type has a parameter that is not accepted with multipart")
    quoted = len(value) > 1 and value[0] == value[-1] == '"'
    boundary = value[1:-1] if quoted else value
    letters = _QUOTED_BOUNDARY if quoted else _BOUNDARY
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not letters.issuperset(boundary):
        raise _bad("content-type has no boundary, or one that not every server reads in the same way")
    return boundary.encode("ascii"), quoted


def _part(piece: bytes, number: int) -> Part:
    """One part: what stands between two delimiters."""
    if len(piece) < 4 or not piece.startswith(b"\r\n") or not piece.endswith(b"\r\n"):
        raise _bad(f"part {number} is not set off by lines that are the boundary alone")
    head, separator, data = piece[2:-2].partition(b"\r\n\r\n")
    if not separator or len(head) > _MAX_HEAD:
        raise _bad(f"part {number} has no headers, or more than {_MAX_HEAD} bytes of them")
    fields = _fields(head, number)
    name, filename = _disposition(fields.get("content-disposition", ""), number)
    if name.casefold() in META_FIELDS:
        raise _bad(f"the part '{shown(name)}' is not accepted: it changes how the others are read")
    if filename == "" and data:
        raise _bad(f"part {number} is a file without a name")
    if fields.get("content-transfer-encoding", "binary").lower() not in _PLAIN_ENCODINGS:
        raise _bad(f"part {number} has a content-transfer-encoding, which not every server undoes")
    if fields.get("content-length", str(len(data))) != str(len(data)):
        raise _bad(f"part {number} has a content-length that is not its length")
    return Part(name, filename, _media_type(fields.get("content-type"), number), data)


def _fields(head: bytes, number: int) -> dict[str, str]:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(f"part {number} has headers that are not UTF-8") from None
    fields: dict[str, str] = {}
    for line in text.split("\r\n"):
        name, colon, value = line.partition(":")
        value = value.strip(" ")
        # A folded line begins with white space, a bare CR or LF is not printable: neither gets through.
        if not colon or not value.isprintable():
            raise _bad(f"part {number} has a malformed header")
        name = name.lower()
        if name not in _HEADERS:
            raise _bad(f"part {number} has the header '{shown(name)}', which is not accepted in a form")
        if name in fields:
            raise _bad(f"part {number} has the header {name} twice")
        fields[name] = value
    return fields


def _disposition(value: str, number: int) -> tuple[str, str | None]:
    """Name and file name of `form-data; name="…"; filename="…"`."""
    kind, *parameters = value.split(";")
    if kind != "form-data":
        raise _bad(f"part {number} has no content-disposition of form-data")
    found: dict[str, str] = {}
    for parameter in parameters:
        key, _, raw = parameter.strip(" ").partition("=")
        quoted = len(raw) > 1 and raw[0] == raw[-1] == '"'
        text = raw[1:-1] if quoted else raw
        extended = key == "filename*"
        # An escape is undone by some readers and not by others; so are encoded words (RFC 2047).
        if (
            key not in ("name", "filename", "filename*")
            or key in found
            or (not quoted and not extended and not (text and _TOKEN.issuperset(text)))
            or (quoted and (extended or '"' in text or "\\" in text or "=?" in text))
        ):
            raise _bad(f"part {number} has a content-disposition that not every server reads in the same way")
        found[key] = text
    name, filename, extended_name = found.get("name", ""), found.get("filename"), found.get("filename*")
    if not 0 < len(name) <= _MAX_NAME or not name.isascii() or "%" in name:
        raise _bad(f"part {number} has no name, or one that not every server reads in the same way")
    if filename is not None and len(filename) > _MAX_FILE_NAME:
        raise _bad(f"part {number} has a file name of more than {_MAX_FILE_NAME} characters")
    if extended_name is not None and (filename is None or _extended(extended_name) != filename):
        raise _bad(f"part {number} has two file names that differ (filename and filename*)")
    return name, filename


def _extended(value: str) -> str | None:
    """A value as RFC 8187 writes it, `utf-8''a%20b`; None if it is another charset or not valid."""
    charset, _, rest = value.partition("'")
    language, quote, encoded = rest.partition("'")
    if charset.lower() != "utf-8" or language or not quote:
        return None
    try:
        return unquote_to_bytes(encoded).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _media_type(value: str | None, number: int) -> str:
    if value is None:
        return ""
    media_type, *parameters = value.split(";")
    media_type = media_type.rstrip(" ").lower()
    kind, _, subtype = media_type.partition("/")
    if not kind or not subtype or not _TYPE.issuperset(kind + subtype):
        raise _bad(f"part {number} has no valid content-type")
    if kind in ("multipart", "message"):
        raise _bad(f"part {number} has parts of its own, which is not accepted")
    names: set[str] = set()
    for parameter in parameters:
        name, equals, text = parameter.strip(" ").lower().partition("=")
        if not equals or not name or not _TOKEN.issuperset(name) or name in names:
            raise _bad(f"part {number} has a content-type with a malformed or repeated parameter")
        names.add(name)
        if name == "charset" and text.strip('"') not in CHARSETS:
            raise _bad(f"part {number} has a charset other than UTF-8")
    return media_type

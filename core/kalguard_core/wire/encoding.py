"""Content encodings of a request body: what an upstream would decode is decoded here first, with limits.

Rules of this file: an encoding that is not known, does not end where the body ends, or grows beyond a limit is
refused; nothing is passed on undecoded. Sources: RFC 9110 section 8.4, RFC 1950, RFC 1952.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final

from ..codes import ErrorCode
from ..request import Refusal

# The largest body that a transport takes in plain; an encoded one may not become larger than that.
MAX_DECODED: Final = 64 * 1024 * 1024


def decoded(headers: Mapping[str, str], body: bytes) -> bytes:
    """The body without its content encodings. Raises `Refusal` 400, 413 or 415."""
    plain = decoded_within(headers, body, MAX_DECODED)
    if plain is None:
        raise Refusal(ErrorCode.PAYLOAD_TOO_LARGE, "the decoded request body is too large")
    return plain


def decoded_within(headers: Mapping[str, str], body: bytes, limit: int) -> bytes | None:
    """Like `decoded`, but None as soon as it is known to have more than `limit` bytes."""
    encoding = headers.get("content-encoding", "").strip(" \t").lower()
    if encoding in ("", "identity"):
        return body if len(body) <= limit else None
    if encoding not in ("gzip", "x-gzip"):
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "the content encoding is not supported")
    decoder = zlib.decompressobj(31)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error:
        raise Refusal(ErrorCode.BAD_REQUEST, "the body is not valid gzip") from None
    if len(plain) > limit:
        return None
    if not decoder.eof or decoder.unused_data:
        raise Refusal(ErrorCode.BAD_REQUEST, "the gzip body is cut or has something after its end")
    return plain

"""Content encodings of a request body: what an upstream would decode is decoded here first, with limits.

Rules of this file: an encoding that is not known, does not end where the body ends, or grows beyond a limit is
refused; nothing is passed on undecoded, and nothing is decoded that somebody else may read as it is. Never more
than the limit is held in memory. Sources: RFC 9110 section 8.4, RFC 1950 to 1952, RFC 7932, RFC 8878, RFC 9659.

Refused although a decoder could take it: several gzip members or zstd frames and bytes after the end (some stop
after the first), raw deflate (the standard says zlib, and who tries both may find two texts), dictionaries,
`identity` among others, more than three layers.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import brotli
import zstandard

from ..codes import ErrorCode
from ..request import Refusal

# The highest limit of a plain body that can be set; an encoded one may not become larger than the limit set.
MAX_DECODED: Final = 64 * 1024 * 1024
MAX_LAYERS: Final = 3
# JSON of real clients shrinks by 3 to 20 times. Small bodies may shrink by more: a few hundred bytes of a text
# that repeats itself.
MAX_RATIO: Final = 200
FREE_BYTES: Final = 64 * 1024

# What a receiver of `Content-Encoding: zstd` must be able to take, and no more (RFC 9659).
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
# White space and byte order marks that a reader of JSON may pass over.
_BEFORE_JSON: Final = b" \t\r\n\0\xef\xbb\xbf\xff\xfe"


def decoded(headers: Mapping[str, str], body: bytes, limit: int = MAX_DECODED) -> bytes:
    """The body without its content encodings, at most `limit` bytes. Raises `Refusal` 400, 413 or 415."""
    plain = decoded_within(headers, body, limit)
    if plain is None:
        raise _too_large()
    return plain


def decoded_within(headers: Mapping[str, str], body: bytes, limit: int) -> bytes | None:
    """Like `decoded`, but None as soon as it is known that the body or a layer of it has more than `limit` bytes."""
    encoding = headers.get("content-encoding", "").strip(" \t").lower()
    if len(body) > limit:
        return None
    if encoding in ("", "identity"):
        return body
    names = [name.strip(" \t") for name in encoding.split(",")]
    decoders = [_DECODERS.get(name) for name in names]
    if len(names) > MAX_LAYERS or None in decoders:
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "the content encoding is not supported")
    ratio_limit = max(FREE_BYTES, MAX_RATIO * len(body))
    plain = body
    for name, decoder in zip(reversed(names), reversed(decoders), strict=True):
        assert decoder is not None
        try:
            layer = decoder(plain, min(limit, ratio_limit))
        except (zlib.error, brotli.error, zstandard.ZstdError):
            raise Refusal(ErrorCode.BAD_REQUEST, f"the body is not valid {name}") from None
        if layer is None:
            if limit <= ratio_limit:
                return None
            raise _too_large()
        plain = layer
    return plain


def _too_large() -> Refusal:
    return Refusal(ErrorCode.PAYLOAD_TOO_LARGE, "the decoded request body is too large")


def _cut_or_longer(name: str) -> Refusal:
    return Refusal(ErrorCode.BAD_REQUEST, f"the {name} body is cut or has something after its end")


def _gzip(data: bytes, limit: int) -> bytes | None:
    return _inflated("gzip", zlib.decompressobj(31), data, limit)


def _deflate(data: bytes, limit: int) -> bytes | None:
    # Every zlib header is also the begin of a raw block, if the two lengths after it fit each other.
    if len(data) >= 5 and data[1] ^ data[3] == 0xFF == data[2] ^ data[4]:
        raise Refusal(ErrorCode.BAD_REQUEST, "the deflate body can be read in two ways")
    return _inflated("deflate", zlib.decompressobj(15), data, limit)


def _inflated(name: str, decoder: zlib._Decompress, data: bytes, limit: int) -> bytes | None:
    plain = decoder.decompress(data, limit + 1)
    if len(plain) > limit:
        return None
    if not decoder.eof or decoder.unused_data:
        raise _cut_or_longer(name)
    return plain


def _brotli(data: bytes, limit: int) -> bytes | None:
    # Brotli has no magic number, so a body can be made that is JSON for an upstream that does not decode it.
    if _begins_with_json(data):
        raise Refusal(ErrorCode.BAD_REQUEST, "the br body can be read as JSON without being decoded")
    decoder = brotli.Decompressor()
    plain = bytes(decoder.process(data[:-1], output_buffer_limit=limit + 1))
    if len(plain) > limit:
        return None
    # The decoder does not say what it left over: the last byte must be the one that it still waits for.
    if decoder.is_finished():
        raise _cut_or_longer("br")
    plain += bytes(decoder.process(data[-1:], output_buffer_limit=limit + 1 - len(plain)))
    if len(plain) > limit:
        return None
    if not decoder.is_finished():
        raise _cut_or_longer("br")
    return plain


def _begins_with_json(data: bytes) -> bool:
    """Whether a lenient reader finds a JSON array or object at the start."""
    begin = data.lstrip(_BEFORE_JSON)
    if not begin.startswith((b"{", b"[")):
        return False
    try:
        json.JSONDecoder(strict=False).raw_decode(begin.replace(b"\0", b"").decode("latin-1"))
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _zstd(data: bytes, limit: int) -> bytes | None:
    if not data.startswith(_ZSTD_MAGIC):  # such as a frame to be skipped, or one of the formats before 1.0
        raise Refusal(ErrorCode.BAD_REQUEST, "the body is not valid zstd")
    decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    # Only the stream reader can be told where to stop, only the other one says whether it reached the end.
    if len(decoder.stream_reader(data, read_across_frames=False).read(limit + 1)) > limit:
        return None
    whole = decoder.decompressobj()
    plain = whole.decompress(data)
    if not whole.eof or whole.unused_data:
        raise _cut_or_longer("zstd")
    return plain


_DECODERS: Final[Mapping[str, Callable[[bytes, int], bytes | None]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}

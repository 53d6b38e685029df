"""The compact serialization of a signed token (RFC 7515), read so that one token has one spelling.

Rules of this file: nothing here believes anything; it only takes apart. base64url without padding, in its
canonical form; JSON without duplicate keys, NaN, infinities, lone surrogates or bottomless nesting. A holder who
could respell a token without breaking its signature would change its hash and escape a revocation by hash.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 16  # of claims; real tokens stay under 5
# base64url of an opening brace and a quoted name, a space, a line feed, a carriage return or a tab
TOKEN_STARTS: Final = ("eyJ", "eyA", "ewo", "ew0", "ewk")
MAX_INTEGER: Final = 2**63 - 1  # what other JSON readers and CEL can hold


class MalformedToken(ValueError):
    """Text that is not a token. `str()` says why, without quoting the token."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A token taken apart, nothing verified. `payload` is still text: it is read after the signature."""

    header: dict[str, Any]
    payload: bytes
    signed: bytes
    signature: bytes


def looks_like_token(text: str) -> bool:
    """Whether `text` has the shape of a compact JWS: three parts, the first a base64url JSON object.

    An API key with two dots ("ya29.c.…") is not mistaken for one.
    """
    return text.startswith(TOKEN_STARTS) and text.count(".") == 2


def may_hide_token(text: str) -> bool:
    """Whether a token may stand somewhere inside `text`, for text that must not hold one."""
    return text.count(".") >= 2 and any(start in text for start in TOKEN_STARTS)


def split(token: str) -> Parts:
    """Take `token` apart. Raises `MalformedToken`."""
    if not token.isascii() or not looks_like_token(token):
        raise MalformedToken("not a compact JWS")
    header, payload, signature = token.split(".")
    try:
        fields = read_object(decode_base64url(header))
    except ValueError as error:
        raise MalformedToken(f"header: {error}") from None
    try:
        return Parts(
            header=fields,
            payload=decode_base64url(payload),
            signed=f"{header}.{payload}".encode("ascii"),
            signature=decode_base64url(signature),
        )
    except ValueError as error:
        raise MalformedToken(str(error)) from None


def decode_base64url(text: str) -> bytes:
    """RFC 7515 base64url: no padding, no foreign characters, no stray bits. Raises ValueError."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise ValueError("not base64url") from None
    # the decoder skips foreign characters and ignores stray bits; only the canonical spelling comes back the same
    if encode_base64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


def encode_base64url(data: bytes) -> str:
    """RFC 7515 base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object that every reader understands alike. Raises ValueError."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError:
        raise ValueError("not JSON") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    _require_plain(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice")
    return result


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and infinity are not JSON")


def _require_plain(root: Any) -> None:
    """Refuse what would trip later readers: deep nesting, huge numbers, lone surrogates."""
    waiting: list[tuple[Any, int]] = [(root, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            _require_encodable(value)
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError("a number is too large")
        elif isinstance(value, int):
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise ValueError("a number is too large")
        elif isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                raise ValueError("nested too deeply")
            if isinstance(value, dict):
                waiting.extend((key, depth) for key in value)
            waiting.extend((item, depth + 1) for item in (value.values() if isinstance(value, dict) else value))


def _require_encodable(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate is not text") from None

"""Is this an operator? One comparison, in constant time, against one configured token.

Rule of this file: an agent's token is never an operator's token, whoever signed it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

MIN_LENGTH: Final = 32  # characters: 128 bits even when written in hex
MAX_LENGTH: Final = 1024


class OperatorToken:
    """The operator's secret, held as bytes. `repr` shows nothing of it."""

    __slots__ = ("_expected",)

    def __init__(self, token: str) -> None:
        """Raises `ValueError` for a token that is too short or long, unprintable, or a JWT."""
        if not MIN_LENGTH <= len(token) <= MAX_LENGTH:
            raise ValueError(
                f"the operator token has {len(token)} characters; it must have {MIN_LENGTH} to {MAX_LENGTH}"
                " (make one with: openssl rand -hex 32)"
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("the operator token must be printable ASCII without spaces")
        if looks_like_jwt(token):
            raise ValueError("the operator token looks like a JWT; agents hold those, so use a random string")
        self._expected = token.encode()

    def matches(self, headers: Mapping[str, str]) -> bool:
        """Whether `headers` (lower-case names) carry `Authorization: Bearer <this token>`.

        A header sent twice arrives joined with a comma and matches nothing.
        """
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        # compared even under a wrong scheme, so that nothing is learnt from how long an answer takes
        same = hmac.compare_digest(presented.strip(" ").encode("utf-8", "replace"), self._expected)
        return same and scheme.lower() == "bearer"

    def __repr__(self) -> str:
        return "OperatorToken(***)"


def looks_like_jwt(text: str) -> bool:
    """Whether `text` has the shape of a signed JWT: three dot-separated parts, the first a JSON object in base64."""
    return text.startswith("eyJ") and text.count(".") == 2

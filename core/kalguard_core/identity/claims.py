"""The claims of a token whose signature is good (RFC 7519), read strictly.

Rules of this file: required are `sub`, `iss`, `exp`, `iat`, `capabilities`; a claim of the wrong type is a refusal,
not a default. Only unknown capabilities are dropped, so that a newer issuer can serve an older gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ..codes import Capability
from .identity import NO_METADATA

MAX_NAME: Final = 256  # characters of an agent id or jti: they go into headers, logs and limit keys
MAX_ISSUER: Final = 1024  # issuers are URLs
MAX_TIME: Final = 253_402_300_799.0  # end of the year 9999; a `exp` in milliseconds would never end

KNOWN_CAPABILITIES: Final[Mapping[str, str]] = MappingProxyType({str(each): str(each) for each in Capability})


class ClaimError(ValueError):
    """A claim that is missing or wrong. `str()` says which and why, without its value."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims that are believed. Times are Unix seconds."""

    agent_id: str
    issuer: str
    token_id: str
    issued_at: float
    not_before: float
    expires_at: float
    capabilities: frozenset[str]
    metadata: Mapping[str, Any]


def read_claims(
    fields: Mapping[str, Any], *, issuers: frozenset[str] | None, audiences: frozenset[str] | None
) -> Claims:
    """`fields` checked and typed; the times are not yet compared with any clock. Raises `ClaimError`."""
    issuer = _text(fields, "iss", MAX_ISSUER)
    if issuers is not None and issuer not in issuers:
        raise ClaimError("iss is not an allowed issuer")
    if audiences is not None:
        _require_audience(fields.get("aud"), audiences)
    issued_at = _time(fields, "iat")
    metadata = fields.get("metadata")
    return Claims(
        agent_id=_text(fields, "sub", MAX_NAME),
        issuer=issuer,
        token_id=_text(fields, "jti", MAX_NAME) if "jti" in fields else "",
        issued_at=issued_at,
        not_before=_time(fields, "nbf") if "nbf" in fields else issued_at,
        expires_at=_time(fields, "exp"),
        capabilities=_capabilities(fields.get("capabilities")),
        metadata=MappingProxyType(metadata) if isinstance(metadata, dict) else NO_METADATA,
    )


def is_name(text: str, limit: int = MAX_NAME) -> bool:
    """Whether `text` can name an agent: bounded, visible (no control, bidi or zero-width characters), no spaces
    at its ends (a header would lose them, and two names would become one)."""
    return 0 < len(text) <= limit and text.isprintable() and text == text.strip()


def _text(fields: Mapping[str, Any], name: str, limit: int) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ClaimError(f"{name} is not a text" if name in fields else f"{name} is missing")
    if not is_name(value, limit):
        raise ClaimError(f"{name} is empty, longer than {limit} characters, or has unprintable characters")
    return value


def _time(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClaimError(f"{name} is not a number" if name in fields else f"{name} is missing")
    if not 0 <= value <= MAX_TIME:
        raise ClaimError(f"{name} is out of range (is it in milliseconds?)")
    return float(value)


def _capabilities(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ClaimError("capabilities is not a list of texts")
    return frozenset(KNOWN_CAPABILITIES[each] for each in value if each in KNOWN_CAPABILITIES)


def _require_audience(value: object, audiences: frozenset[str]) -> None:
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise ClaimError("aud is missing or is neither a text nor a list of texts")
    if audiences.isdisjoint(named):
        raise ClaimError("aud names none of the allowed audiences")

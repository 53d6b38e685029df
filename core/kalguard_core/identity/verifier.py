"""From a token to an identity: signature first, then claims, then time.

Rules of this file: a token is verified in full once, then found by its SHA-256; its time is checked on each use.
The cache holds only what was verified with this verifier's keys: a change of keys or issuers makes a new verifier.
Revocation is not cached here; `Authenticator` asks on every request.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from ..codes import ErrorCode
from ..request import Refusal
from .claims import ClaimError, Claims, read_claims
from .identity import Identity
from .jws import MalformedToken, Parts, encode_base64url, read_object, split
from .keys import ALGORITHMS, ES256, KeySet

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2, 2.4.2

_sha256 = hashlib.sha256


class TokenVerifier:
    """Verifies agent tokens against `keys`.

    `issuers`, `audiences`: the allowed `iss` and `aud`; None allows any. `leeway`: seconds of clock difference that
    `exp`, `nbf` and `iat` forgive. `cache_size`: verified tokens that are remembered. `max_token_bytes`: longer
    tokens are refused unread. `allow_unsigned`: believe tokens with `alg` none; never set it outside a test bench.
    """

    __slots__ = ("_allow_unsigned", "_audiences", "_cache", "_cache_size", "_issuers", "_keys", "_leeway", "_max")

    def __init__(
        self,
        keys: KeySet,
        *,
        issuers: frozenset[str] | None = None,
        audiences: frozenset[str] | None = None,
        leeway: float = 5.0,
        cache_size: int = 4096,
        max_token_bytes: int = 8192,
        allow_unsigned: bool = False,
    ) -> None:
        if not (math.isfinite(leeway) and leeway >= 0):
            raise ValueError("leeway must be zero or more seconds")
        if cache_size < 1 or max_token_bytes < 1:
            raise ValueError("cache_size and max_token_bytes must be positive")
        self._keys = keys
        self._issuers = issuers
        self._audiences = audiences
        self._leeway = leeway
        self._cache_size = cache_size
        self._max = max_token_bytes
        self._allow_unsigned = allow_unsigned
        # token hash -> (identity, first and last moment of use)
        self._cache: OrderedDict[bytes, tuple[Identity, float, float]] = OrderedDict()

    @property
    def keys(self) -> KeySet:
        """The keys that tokens are verified with."""
        return self._keys

    @property
    def allow_unsigned(self) -> bool:
        """Whether tokens without a signature are believed (the operator said so)."""
        return self._allow_unsigned

    @property
    def cached(self) -> int:
        """How many verified tokens are remembered."""
        return len(self._cache)

    def verify(self, token: str, now: float) -> Identity:
        """Who `token` speaks for at `now` (Unix seconds). Raises `Refusal` AUTH_FAILED, and nothing else."""
        if len(token) > self._max or not token.isascii():
            _refuse("token is too long or not ASCII")
        digest = _sha256(token.encode("ascii")).digest()
        entry = self._cache.get(digest)
        if entry is None:
            entry = self._verify(token, digest)
        identity, valid_from, valid_until = entry
        if now >= valid_until:
            self._cache.pop(digest, None)
            _refuse("token has expired")
        # written so that a time that is no number (NaN) is refused too
        if not valid_from <= now:
            _refuse("token is not valid yet (iat or nbf is in the future)")
        self._remember(digest, entry)
        return identity

    def _remember(self, digest: bytes, entry: tuple[Identity, float, float]) -> None:
        cache = self._cache
        cache[digest] = entry
        cache.move_to_end(digest)
        if len(cache) > self._cache_size:
            cache.popitem(last=False)

    def _verify(self, token: str, digest: bytes) -> tuple[Identity, float, float]:
        try:
            parts = split(token)
            algorithm = self._require_signature(parts)
            claims = read_claims(read_object(parts.payload), issuers=self._issuers, audiences=self._audiences)
        except (MalformedToken, ClaimError) as error:
            _refuse(f"token: {error}")
        except ValueError as error:
            _refuse(f"token claims: {error}")
        identity = _identity(claims, digest, _aliases(parts, algorithm))
        valid_from = max(claims.issued_at, claims.not_before) - self._leeway
        return identity, valid_from, claims.expires_at + self._leeway

    def _require_signature(self, parts: Parts) -> str:
        """The verified algorithm. Raises `Refusal` unless a key pinned to the token's algorithm made the signature."""
        header = parts.header
        if "crit" in header or header.get("b64", True) is not True:
            # RFC 7515, 4.1.11: an extension that is not understood makes the token invalid; we understand none
            _refuse("token: critical header extensions are not supported")
        algorithm, kid = header.get("alg"), header.get("kid")
        if kid is not None and not isinstance(kid, str):
            _refuse("token: kid is not a text")
        if algorithm == "none":
            if not self._allow_unsigned or parts.signature:
                _refuse("token is not signed")
            return "none"
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            _refuse("token: alg is missing or not supported")
        candidates = self._keys.candidates(kid, algorithm)
        if not candidates:
            _refuse("no key fits the kid and alg of the token")
        if not any(key.verifies(parts.signed, parts.signature) for key in candidates):
            _refuse("signature does not match")
        return algorithm


def read_unverified(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims of `token` for people to look at; nothing is verified. Raises `MalformedToken`."""
    parts = split(token)
    try:
        return parts.header, read_object(parts.payload)
    except ValueError as error:
        raise MalformedToken(f"claims: {error}") from None


def _refuse(detail: str) -> NoReturn:
    raise Refusal(ErrorCode.AUTH_FAILED, "Unauthorized", detail=detail)


def _identity(claims: Claims, digest: bytes, aliases: tuple[str, ...]) -> Identity:
    return Identity(
        agent_id=claims.agent_id,
        capabilities=claims.capabilities,
        issuer=claims.issuer,
        token_id=claims.token_id,
        token_hash=digest.hex(),
        metadata=claims.metadata,
        expires_at=claims.expires_at,
        source="token",
        hash_aliases=aliases,
    )


def _aliases(parts: Parts, algorithm: str) -> tuple[str, ...]:
    """Hashes of the other spellings of a token that verify as well.

    ECDSA: with (r, s) also (r, n - s) is a valid signature, and anybody can compute it. The other algorithms, in
    canonical base64url, have one signature a token that its holder can spell (RFC 8032 5.1.7; RFC 8017 8.2.2).
    """
    if algorithm != ES256:
        return ()
    r, s = parts.signature[:32], int.from_bytes(parts.signature[32:])
    twin = r + (P256_ORDER - s).to_bytes(32)
    return (_sha256(parts.signed + b"." + encode_base64url(twin).encode("ascii")).hexdigest(),)

"""Writing a token. For the command `kalguard token issue` and for tests; the gate itself never signs one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from .jws import encode_base64url
from .keys import ALGORITHMS, HS256, KeyMaterialError, KeySet

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


def load_private_key(pem: str, source: str = "private key") -> tuple[PrivateKey, str]:
    """A signing key from PEM, and its algorithm: RS256, ES256 or EdDSA. Raises `KeyMaterialError`."""
    try:
        private = load_pem_private_key(pem.encode("utf-8"), password=None)
    except TypeError:
        raise KeyMaterialError(f"{source}: the private key is encrypted; decrypt it first") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyMaterialError(f"{source}: not a private key in PEM form (-----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(private, PrivateKey):
        raise KeyMaterialError(f"{source}: the key type is not supported; use RSA, EC P-256 or Ed25519")
    return private, public_keys(private, source=source).keys[0].alg


def public_keys(private: PrivateKey, kid: str | None = None, *, source: str = "private key") -> KeySet:
    """The verification key that belongs to `private`. Raises `KeyMaterialError` for a weak or unsupported key."""
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return KeySet.from_pem(pem.decode("ascii"), kid, source=source)


def issue_token(
    *,
    agent_id: str,
    capabilities: Iterable[str],
    issuer: str,
    issued_at: float,
    expires_at: float,
    key: str | bytes | PrivateKey,
    alg: str = HS256,
    kid: str | None = None,
    audience: str | list[str] | None = None,
    token_id: str = "",
    metadata: Mapping[str, Any] | None = None,
    not_before: float | None = None,
) -> str:
    """A signed token. Times are Unix seconds.

    `key`: the secret for HS256, else a private key (object or PEM text) of the type that `alg` is pinned to.
    Raises `KeyMaterialError` when the key does not fit `alg` or is too weak.
    """
    signing_key = _signing_key(key, alg)
    claims: dict[str, Any] = {
        "sub": agent_id,
        "iss": issuer,
        "iat": int(issued_at),
        "exp": int(expires_at),
        "capabilities": list(capabilities),
    }
    optional = {"aud": audience, "jti": token_id or None, "metadata": metadata, "nbf": not_before}
    claims |= {name: value for name, value in optional.items() if value is not None}
    header = {"alg": alg, "typ": "JWT"} | ({"kid": kid} if kid is not None else {})
    signed = f"{_segment(header)}.{_segment(claims)}"
    signature = ALGORITHMS[alg].sign(signed.encode("ascii"), signing_key)
    return f"{signed}.{encode_base64url(signature)}"


def _signing_key(key: str | bytes | PrivateKey, alg: str) -> Any:
    if alg not in ALGORITHMS:
        raise KeyMaterialError(f"key: the algorithm must be one of {', '.join(ALGORITHMS)}")
    if alg == HS256:
        if not isinstance(key, str | bytes):
            raise KeyMaterialError("key: HS256 is signed with a secret, not with a private key")
        return KeySet.from_secret(key).keys[0].material
    if isinstance(key, PrivateKey):
        private, fits = key, public_keys(key).keys[0].alg
    else:
        private, fits = load_private_key(key.decode("utf-8") if isinstance(key, bytes) else key)
    if fits != alg:
        raise KeyMaterialError(f"key: this private key signs {fits}, not {alg}")
    return private


def _segment(value: Mapping[str, Any]) -> str:
    return encode_base64url(json.dumps(value, separators=(",", ":")).encode("utf-8"))

"""Tokens and keys for the identity tests: real ones, and ones that no honest issuer would write."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kalguard_core.identity import KeySet
from kalguard_core.identity.jws import encode_base64url
from kalguard_core.identity.keys import ALGORITHMS

NOW = 1_800_000_000.0
SECRET = "golden-secret-0123456789abcdef0123456789abcdef"
OTHER_SECRET = "another-secret-0123456789abcdef0123456789abc"

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
PRIVATE_KEYS: dict[str, Any] = {"HS256": SECRET.encode(), "RS256": RSA_KEY, "ES256": EC_KEY, "EdDSA": ED_KEY}

CLAIMS: dict[str, Any] = {
    "sub": "agent-1",
    "iss": "golden",
    "iat": int(NOW) - 100,
    "exp": int(NOW) + 100,
    "capabilities": ["prompt:send", "tool:execute"],
    "metadata": {},
}


def public_pem(private: Any) -> str:
    return str(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "ascii")


def private_pem(private: Any) -> str:
    return str(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "ascii")


def segment(value: Any) -> str:
    return encode_base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def signed(header: Any, claims: Any, sign_as: str = "HS256", key: Any = None) -> str:
    """A token whose header may say anything, signed with `sign_as` whatever the header says."""
    text = f"{segment(header)}.{segment(claims)}"
    signature = ALGORITHMS[sign_as].sign(text.encode(), PRIVATE_KEYS[sign_as] if key is None else key)
    return f"{text}.{encode_base64url(signature)}"


def token(alg: str = "HS256", *, kid: str | None = None, key: Any = None, without: str = "", **claims: Any) -> str:
    """A good token, but for the given changes."""
    header = {"alg": alg, "typ": "JWT"} | ({"kid": kid} if kid is not None else {})
    fields = {name: value for name, value in (CLAIMS | claims).items() if name != without}
    return signed(header, fields, alg, key.encode() if isinstance(key, str) else key)


def keys_for(alg: str, kid: str | None = None) -> KeySet:
    return KeySet.from_secret(SECRET, kid) if alg == "HS256" else KeySet.from_pem(public_pem(PRIVATE_KEYS[alg]), kid)


ALL_KEYS = KeySet.merge(*(keys_for(alg) for alg in PRIVATE_KEYS))

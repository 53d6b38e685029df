"""Who asks, and whether that may be believed: keys, tokens, principals, revocations."""

from __future__ import annotations

from .authenticator import CREDENTIAL_HEADERS, Authenticator, credential_headers, offered_token
from .identity import Identity
from .issuing import issue_token, load_private_key, public_keys
from .jws import MalformedToken, looks_like_token
from .keys import Key, KeyMaterialError, KeySet
from .principals import PrincipalMap
from .revocations import Revocations
from .verifier import TokenVerifier, read_unverified

__all__ = [
    "CREDENTIAL_HEADERS",
    "Authenticator",
    "Identity",
    "Key",
    "KeyMaterialError",
    "KeySet",
    "MalformedToken",
    "PrincipalMap",
    "Revocations",
    "TokenVerifier",
    "credential_headers",
    "issue_token",
    "load_private_key",
    "looks_like_token",
    "offered_token",
    "public_keys",
    "read_unverified",
]

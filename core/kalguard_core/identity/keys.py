"""The keys that may sign tokens, each pinned to the one algorithm of its type.

Rules of this file: a token never chooses how it is verified. Its `alg` is compared with what the key is pinned to
and used for nothing else, so a public key can never be taken for an HMAC secret (RFC 8725, 3.1). Only
verification keys live here; a private key in a verifier's configuration is a leak, and is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from .jws import decode_base64url, read_object

HS256: Final = "HS256"
RS256: Final = "RS256"
ES256: Final = "ES256"
EDDSA: Final = "EdDSA"

MIN_SECRET_BYTES: Final = 32  # RFC 7518, 3.2: an HS256 key is at least as long as the hash
MIN_RSA_BITS: Final = 2048  # RFC 7518, 3.3

ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    HS256: HMACAlgorithm(HMACAlgorithm.SHA256),
    RS256: RSAAlgorithm(RSAAlgorithm.SHA256),
    ES256: ECAlgorithm(ECAlgorithm.SHA256, SECP256R1),
    EDDSA: OKPAlgorithm(),
}

_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})  # RFC 7518, 6.2.2 and 6.3.2

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


class KeyMaterialError(ValueError):
    """Key material that may not be used. `str()` is `source: problem`; it never holds key material."""


@dataclass(frozen=True, slots=True)
class Key:
    """One verification key. `kid` is None for a key without a name. `source`: where it came from, for people.

    `fingerprint`: the first 16 hex digits of a public key's SHA-256; "" for a secret (a digest can be searched).
    """

    kid: str | None
    alg: str
    source: str
    material: Any = field(repr=False)
    fingerprint: str = ""

    @property
    def same(self) -> object:
        """Equal for the same key from two sources."""
        return self.fingerprint or self.material

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` over `signed` was made with this key."""
        return ALGORITHMS[self.alg].verify(signed, self.material, signature)


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys that may sign tokens; empty by default, and then no token is valid.

    Build one with `from_secret`, `from_pem`, `from_jwks`, and put several together with `merge`.
    """

    keys: tuple[Key, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def from_secret(cls, secret: str | bytes, kid: str | None = None, *, source: str = "secret") -> KeySet:
        """An HS256 secret of at least 32 bytes. Raises `KeyMaterialError`."""
        try:
            data = secret.encode("utf-8") if isinstance(secret, str) else secret
        except UnicodeEncodeError:
            raise KeyMaterialError(f"{source}: the secret is not valid UTF-8") from None
        return cls((_secret_key(data, _kid(kid, source), source),))

    @classmethod
    def from_pem(cls, text: str, kid: str | None = None, *, source: str = "PEM") -> KeySet:
        """A public key (RSA, EC P-256 or Ed25519) as PEM. Raises `KeyMaterialError`."""
        if "PRIVATE KEY-----" in text:
            raise KeyMaterialError(
                f"{source}: holds a private key; give the public key only (verifying needs no other)"
            )
        if "BEGIN CERTIFICATE-----" in text:
            raise KeyMaterialError(
                f"{source}: holds a certificate; extract its public key (openssl x509 -pubkey -noout)"
            )
        if text.count("-----BEGIN ") > 1:
            raise KeyMaterialError(f"{source}: holds more than one key; use one file a key, or a JWKS file")
        try:
            public = load_pem_public_key(text.encode("utf-8"))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyMaterialError(f"{source}: not a public key in PEM form (-----BEGIN PUBLIC KEY-----)") from None
        return cls((_public_key(public, _kid(kid, source), source),))

    @classmethod
    def from_jwks(cls, text: str, source: str) -> KeySet:
        """The signing keys of a JWK Set (RFC 7517).

        Keys for other uses or algorithms are left out, as RFC 7517 section 5 asks. Raises `KeyMaterialError` for a
        private key, a weak key, a duplicate `kid`, or a set in which no key is left.
        """
        try:
            document = read_object(text.encode("utf-8"))
        except ValueError as error:
            raise KeyMaterialError(f"{source}: not a JWK set: {error}") from None
        entries = document.get("keys")
        if not isinstance(entries, list):
            raise KeyMaterialError(f'{source}: not a JWK set: "keys" must be a list')
        keys: list[Key] = []
        kids: set[str] = set()
        for index, entry in enumerate(entries):
            place = f"{source}: keys[{index}]"
            if not isinstance(entry, dict):
                raise KeyMaterialError(f"{place}: must be an object")
            kid = _kid(entry.get("kid"), place)
            if kid is not None:
                if kid in kids:
                    raise KeyMaterialError(f"{place}: the kid {kid!r} appears twice")
                kids.add(kid)
            key = _jwk(entry, kid, place)
            if key is not None:
                keys.append(key)
        if not keys:
            raise KeyMaterialError(f"{source}: holds no key that can verify HS256, RS256, ES256 or EdDSA tokens")
        return cls(tuple(keys))

    @classmethod
    def merge(cls, *sets: KeySet) -> KeySet:
        """All keys of `sets`. The same key twice counts once; two keys with one `kid` are refused."""
        keys: dict[tuple[str | None, str, Any], Key] = {}
        kids: dict[str, Key] = {}
        for key in (key for each in sets for key in each.keys):
            if key.kid is not None:
                other = kids.setdefault(key.kid, key)
                if (other.alg, other.same) != (key.alg, key.same):
                    raise KeyMaterialError(f"{key.source}: the kid {key.kid!r} is also that of a key in {other.source}")
            keys.setdefault((key.kid, key.alg, key.same), key)
        return cls(tuple(keys.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """One line a key that is safe to show: algorithm, kid, fingerprint, source."""
        return tuple(" ".join(filter(None, (key.alg, key.kid, key.fingerprint, key.source))) for key in self.keys)

    def candidates(self, kid: str | None, alg: str) -> tuple[Key, ...]:
        """The keys that may have signed a token whose header names `kid` and `alg`.

        A `kid` that keys have selects those keys only. One that no key has leaves the keys without a name (a
        secret or PEM file has none, while many issuers always write one). Without a `kid` every key may have.
        """
        if kid is None:
            return tuple(key for key in self.keys if key.alg == alg)
        wanted = kid if any(key.kid == kid for key in self.keys) else None
        return tuple(key for key in self.keys if key.kid == wanted and key.alg == alg)


def _kid(kid: object, source: str) -> str | None:
    if kid is None:
        return None
    if not isinstance(kid, str) or not kid or len(kid) > 256 or not kid.isprintable():
        raise KeyMaterialError(f"{source}: kid must be a text of 1 to 256 printable characters")
    return kid


def _secret_key(data: bytes, kid: str | None, source: str) -> Key:
    if len(data) < MIN_SECRET_BYTES:
        raise KeyMaterialError(
            f"{source}: the secret has {len(data)} bytes; at least {MIN_SECRET_BYTES} are needed (openssl rand -hex 32)"
        )
    try:
        ALGORITHMS[HS256].prepare_key(data)
    except InvalidKeyError:
        raise KeyMaterialError(f"{source}: the secret is a public key or certificate, which is no secret") from None
    return Key(kid, HS256, source, data)


def _public_key(public: object, kid: str | None, source: str) -> Key:
    """`public` pinned to the algorithm of its type. Raises `KeyMaterialError`."""
    if isinstance(public, RSAPublicKey):
        if public.key_size < MIN_RSA_BITS:
            raise KeyMaterialError(
                f"{source}: the RSA key has {public.key_size} bits; at least {MIN_RSA_BITS} are needed"
            )
        exponent = public.public_numbers().e
        if exponent < 3 or exponent % 2 == 0:
            raise KeyMaterialError(f"{source}: the RSA key has an exponent that anybody can sign for")
        alg = RS256
    elif isinstance(public, EllipticCurvePublicKey):
        if not isinstance(public.curve, SECP256R1):
            raise KeyMaterialError(f"{source}: the curve {public.curve.name} is not supported; use P-256")
        alg = ES256
    elif isinstance(public, Ed25519PublicKey):
        alg = EDDSA
    else:
        raise KeyMaterialError(f"{source}: the key type is not supported; use RSA, EC P-256 or Ed25519")
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Key(kid, alg, source, public, hashlib.sha256(der).hexdigest()[:16])


def _jwk(entry: Mapping[str, Any], kid: str | None, place: str) -> Key | None:
    """One member of a JWK set; None when it is for another use or algorithm."""
    kty = entry.get("kty")
    if not isinstance(kty, str):
        raise KeyMaterialError(f"{place}: kty is missing")
    if kty != "oct" and not _PRIVATE_MEMBERS.isdisjoint(entry):
        raise KeyMaterialError(f"{place}: holds a private key; give public keys only (verifying needs no other)")
    alg = _jwk_algorithm(kty, entry.get("crv"))
    if alg is None or not _jwk_is_for_verifying(entry, place):
        return None
    named = entry.get("alg", alg)
    if named != alg:
        if named in ALGORITHMS or not isinstance(named, str):
            raise KeyMaterialError(f"{place}: alg does not fit the key type {kty}; it must be {alg}")
        return None
    try:
        if alg == HS256:
            return _secret_key(_member(entry, "k"), kid, place)
        return _public_key(_jwk_public(alg, entry), kid, place)
    except KeyMaterialError:
        raise
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyMaterialError(f"{place}: not a usable {kty} key: {error}") from None


def _jwk_algorithm(kty: str, crv: object) -> str | None:
    match kty, crv:
        case "oct", _:
            return HS256
        case "RSA", _:
            return RS256
        case "EC", "P-256":
            return ES256
        case "OKP", "Ed25519":
            return EDDSA
        case _:
            return None


def _jwk_is_for_verifying(entry: Mapping[str, Any], place: str) -> bool:
    use, operations = entry.get("use", "sig"), entry.get("key_ops", ["verify"])
    if not isinstance(use, str):
        raise KeyMaterialError(f"{place}: use must be text")
    if not isinstance(operations, list) or not all(isinstance(each, str) for each in operations):
        raise KeyMaterialError(f"{place}: key_ops must be a list of texts")
    return use == "sig" and "verify" in operations


def _jwk_public(alg: str, entry: Mapping[str, Any]) -> PublicKey:
    if alg == RS256:
        return RSAPublicNumbers(
            e=int.from_bytes(_member(entry, "e")), n=int.from_bytes(_member(entry, "n"))
        ).public_key()
    if alg == ES256:
        x, y = _member(entry, "x"), _member(entry, "y")
        if len(x) != 32 or len(y) != 32:  # RFC 7518, 6.2.1.2: the full size of a coordinate
            raise ValueError("x and y must have 32 bytes")
        return EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), SECP256R1()).public_key()
    return Ed25519PublicKey.from_public_bytes(_member(entry, "x"))


def _member(entry: Mapping[str, Any], name: str) -> bytes:
    value = entry.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise ValueError(f"{name} is missing")
    try:
        return decode_base64url(value)
    except ValueError as error:
        raise ValueError(f"{name} is {error}") from None

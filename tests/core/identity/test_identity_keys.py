"""Which key material may verify tokens, and which key is asked about which token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa

from identity_tokens import (
    EC_KEY,
    ED_KEY,
    OTHER_SECRET,
    PRIVATE_KEYS,
    RSA_KEY,
    SECRET,
    keys_for,
    private_pem,
    public_pem,
    segment,
)
from kalguard_core.identity import KeyMaterialError, KeySet
from kalguard_core.identity.jws import encode_base64url


def number(value: int, length: int) -> str:
    return encode_base64url(value.to_bytes(length))


def rsa_jwk(private: Any = RSA_KEY, **more: Any) -> dict[str, Any]:
    public = private.public_key().public_numbers()
    return {"kty": "RSA", "n": number(public.n, private.key_size // 8), "e": number(public.e, 3)} | more


def ec_jwk(**more: Any) -> dict[str, Any]:
    public = EC_KEY.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": number(public.x, 32), "y": number(public.y, 32)} | more


def ed_jwk(**more: Any) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(ED_KEY.public_key().public_bytes_raw())} | more


def oct_jwk(secret: str = SECRET, **more: Any) -> dict[str, Any]:
    return {"kty": "oct", "k": segment(secret.encode())} | more


def jwks(*keys: Any) -> str:
    return json.dumps({"keys": list(keys)})


@pytest.mark.parametrize("alg", PRIVATE_KEYS)
def test_a_key_is_pinned_to_the_algorithm_of_its_type(alg: str) -> None:
    (key,) = keys_for(alg).keys
    assert key.alg == alg


def test_a_jwks_gives_all_four_key_types() -> None:
    keys = KeySet.from_jwks(jwks(rsa_jwk(kid="r"), ec_jwk(kid="e"), ed_jwk(kid="d"), oct_jwk(kid="o")), "jwks.json")
    assert [(key.kid, key.alg) for key in keys.keys] == [
        ("r", "RS256"),
        ("e", "ES256"),
        ("d", "EdDSA"),
        ("o", "HS256"),
    ]


@pytest.mark.parametrize("secret", ["", "short", "x" * 31, b"x" * 31])
def test_a_secret_under_32_bytes_is_refused(secret: str | bytes) -> None:
    with pytest.raises(KeyMaterialError, match="at least 32"):
        KeySet.from_secret(secret)


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_no_secret(alg: str) -> None:
    with pytest.raises(KeyMaterialError, match="no secret"):
        KeySet.from_secret(public_pem(PRIVATE_KEYS[alg]))


@pytest.mark.parametrize("private", [RSA_KEY, EC_KEY, ED_KEY], ids=["rsa", "ec", "ed25519"])
def test_a_private_key_is_refused_by_name(private: Any) -> None:
    with pytest.raises(KeyMaterialError, match=r"^keys/a\.pem: holds a private key"):
        KeySet.from_pem(private_pem(private), source="keys/a.pem")


@pytest.mark.parametrize(
    ("private", "problem"),
    [
        (rsa.generate_private_key(65537, 1024), "1024 bits"),
        (ec.generate_private_key(ec.SECP384R1()), "secp384r1"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (ed448.Ed448PrivateKey.generate(), "not supported"),
        (dsa.generate_private_key(1024), "not supported"),
    ],
    ids=["rsa-1024", "p-384", "secp256k1", "ed448", "dsa"],
)
def test_weak_and_unsupported_keys_are_refused(private: Any, problem: str) -> None:
    with pytest.raises(KeyMaterialError, match=problem):
        KeySet.from_pem(public_pem(private))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        public_pem(RSA_KEY) + public_pem(EC_KEY),
        "\ud800",
    ],
)
def test_what_is_not_one_public_key_is_refused(text: str) -> None:
    with pytest.raises(KeyMaterialError, match=r"^PEM: "):
        KeySet.from_pem(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", '"keys" must be a list'),
        ('{"keys": {}}', '"keys" must be a list'),
        ('{"keys": [], "keys": []}', "twice"),
        (jwks(), "no key"),
        (jwks(1), r"keys\[0\]: must be an object"),
        (jwks({}), "kty is missing"),
        (jwks(rsa_jwk(kid="a"), ec_jwk(kid="a")), r"keys\[1\]: the kid 'a' appears twice"),
        (jwks(rsa_jwk(kid=1)), "kid must be a text"),
        (jwks(rsa_jwk(kid="")), "kid must be a text"),
        (jwks(rsa_jwk(d="AQAB")), "private key"),
        (jwks(ec_jwk(d="AQAB")), "private key"),
        (jwks(ed_jwk(d="AQAB")), "private key"),
        (jwks(rsa_jwk(use="enc", d="AQAB"), ec_jwk()), "private key"),
        (jwks(oct_jwk("x" * 31)), "31 bytes"),
        (jwks(oct_jwk(public_pem(RSA_KEY))), "no secret"),
        (jwks({"kty": "oct"}), "k is missing"),
        (jwks({"kty": "oct", "k": "+" * 44}), "k is not"),
        (jwks(rsa_jwk(rsa.generate_private_key(65537, 1024))), "1024 bits"),
        (jwks(rsa_jwk(e="AQ")), "not a usable RSA key|exponent"),
        (jwks(rsa_jwk(n=None)), "n is missing"),
        (jwks(rsa_jwk(alg="HS256")), "alg does not fit"),
        (jwks(ec_jwk(alg="RS256")), "alg does not fit"),
        (jwks(oct_jwk(alg="EdDSA")), "alg does not fit"),
        (jwks(ec_jwk(y=number(1, 32))), "not a usable EC key"),
        (jwks(ec_jwk(x=number(1, 31))), "32 bytes"),
        (jwks(ed_jwk(x="AAAA")), "not a usable OKP key"),
        (jwks(rsa_jwk(use=1)), "use must be text"),
        (jwks(rsa_jwk(key_ops="verify")), "key_ops must be a list"),
        (jwks(rsa_jwk(use="enc")), "no key"),
        (jwks(rsa_jwk(key_ops=["encrypt"])), "no key"),
        (jwks(rsa_jwk(alg="PS256"), ec_jwk(crv="P-384"), {"kty": "AKP"}), "no key"),
    ],
)
def test_a_jwks_that_cannot_be_trusted_is_refused_with_its_name(text: str, problem: str) -> None:
    with pytest.raises(KeyMaterialError, match=problem) as caught:
        KeySet.from_jwks(text, "jwks.json")
    assert str(caught.value).startswith("jwks.json: ")


def test_keys_for_other_uses_are_left_out_of_a_jwks() -> None:
    text = jwks(rsa_jwk(kid="enc", use="enc"), ec_jwk(kid="sig", use="sig", key_ops=["verify"], alg="ES256"))
    assert [key.kid for key in KeySet.from_jwks(text, "jwks.json").keys] == ["sig"]


def test_merging_counts_the_same_key_once() -> None:
    assert len(KeySet.merge(KeySet.from_secret(SECRET), KeySet.from_secret(SECRET.encode()), keys_for("ES256"))) == 2


def test_merging_refuses_two_keys_with_one_kid() -> None:
    with pytest.raises(KeyMaterialError, match="'a' is also that of a key in"):
        KeySet.merge(KeySet.from_secret(SECRET, "a"), KeySet.from_secret(OTHER_SECRET, "a"))
    with pytest.raises(KeyMaterialError, match="'a'"):
        KeySet.merge(KeySet.from_secret(SECRET, "a"), keys_for("RS256", "a"))
    assert len(KeySet.merge(KeySet.from_secret(SECRET, "a"), KeySet.from_secret(SECRET, "a"))) == 1


def test_no_key_shows_its_secret() -> None:
    keys = KeySet.from_secret(SECRET, "a")
    assert SECRET not in repr(keys) + str(keys.names)


def test_a_kid_selects_its_keys_only() -> None:
    keys = KeySet.merge(KeySet.from_secret(SECRET, "a"), KeySet.from_secret(OTHER_SECRET))
    assert [key.kid for key in keys.candidates("a", "HS256")] == ["a"]
    assert keys.candidates("a", "RS256") == ()


def test_a_kid_that_no_key_has_leaves_the_keys_without_one() -> None:
    keys = KeySet.merge(KeySet.from_secret(SECRET, "a"), KeySet.from_secret(OTHER_SECRET))
    assert [key.kid for key in keys.candidates("b", "HS256")] == [None]
    assert KeySet.from_secret(SECRET, "a").candidates("b", "HS256") == ()


def test_without_a_kid_every_key_of_the_algorithm_is_asked() -> None:
    keys = KeySet.merge(KeySet.from_secret(SECRET, "a"), KeySet.from_secret(OTHER_SECRET), keys_for("ES256"))
    assert len(keys.candidates(None, "HS256")) == 2

"""What a token must be to speak for an agent."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import math
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from identity_tokens import (
    ALL_KEYS,
    CLAIMS,
    NOW,
    OTHER_SECRET,
    PRIVATE_KEYS,
    RSA_KEY,
    SECRET,
    keys_for,
    private_pem,
    public_pem,
    segment,
    signed,
    token,
)
from kalguard_core.codes import ErrorCode
from kalguard_core.identity import KeyMaterialError, KeySet, Revocations, TokenVerifier, issue_token, read_unverified
from kalguard_core.identity.jws import MalformedToken, decode_base64url, encode_base64url
from kalguard_core.identity.verifier import P256_ORDER
from kalguard_core.request import Refusal

HS = KeySet.from_secret(SECRET)


def refused(text: str, keys: KeySet = HS, now: float = NOW, **options: Any) -> str:
    """Why `text` is refused. Fails if it is not, or if the answer says too much."""
    with pytest.raises(Refusal) as caught:
        TokenVerifier(keys, **options).verify(text, now)
    assert caught.value.code is ErrorCode.AUTH_FAILED
    assert caught.value.reason == "Unauthorized"
    assert not any(len(part) > 8 and part in caught.value.detail for part in text.split("."))
    return caught.value.detail


@pytest.mark.parametrize("alg", PRIVATE_KEYS)
def test_a_good_token_of_each_algorithm_speaks_for_its_agent(alg: str) -> None:
    text = token(alg, jti="t-1", metadata={"team": "blue"}, capabilities=["prompt:send", "root:all"])
    identity = TokenVerifier(ALL_KEYS).verify(text, NOW)
    assert (identity.agent_id, identity.issuer, identity.token_id) == ("agent-1", "golden", "t-1")
    assert identity.token_hash == hashlib.sha256(text.encode()).hexdigest()
    assert identity.expires_at == NOW + 100
    assert identity.metadata == {"team": "blue"}
    assert identity.source == "token"
    assert identity.has("prompt:send")
    assert not identity.has("root:all")


@pytest.mark.parametrize("says", [*PRIVATE_KEYS, "HS384", "HS512", "RS512", "PS256", "none", "None", "", "hs256"])
@pytest.mark.parametrize("signs", PRIVATE_KEYS)
def test_only_the_algorithm_that_a_key_is_pinned_to_verifies(says: str, signs: str) -> None:
    text = signed({"alg": says}, CLAIMS, signs)
    if says == signs:
        assert TokenVerifier(ALL_KEYS).verify(text, NOW).agent_id == "agent-1"
    else:
        refused(text, ALL_KEYS)


@pytest.mark.parametrize("form", ["pem", "pem-stripped", "der", "raw"])
@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_never_serves_as_an_hmac_secret(alg: str, form: str) -> None:
    public = PRIVATE_KEYS[alg].public_key()
    material = {
        "pem": public_pem(PRIVATE_KEYS[alg]).encode(),
        "pem-stripped": public_pem(PRIVATE_KEYS[alg]).strip().encode(),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "raw": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)[-32:],
    }[form]
    text = f"{segment({'alg': 'HS256'})}.{segment(CLAIMS)}"
    forged = f"{text}.{encode_base64url(hmac.digest(material, text.encode(), 'sha256'))}"
    refused(forged, keys_for(alg))
    refused(forged, ALL_KEYS)


@pytest.mark.parametrize("alg", ["HS384", "HS512"])
def test_a_longer_hmac_with_the_right_secret_is_refused(alg: str) -> None:
    text = f"{segment({'alg': alg})}.{segment(CLAIMS)}"
    digest = hmac.digest(SECRET.encode(), text.encode(), alg.replace("HS", "sha"))
    refused(f"{text}.{encode_base64url(digest)}")


def test_a_token_signed_with_another_key_is_refused() -> None:
    assert refused(token(key=OTHER_SECRET)) == "signature does not match"


def test_without_keys_no_token_is_valid() -> None:
    refused(token(), KeySet())


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", None, 1, ["HS256"], {"a": 1}])
def test_an_unsigned_token_is_refused(alg: Any) -> None:
    refused(f"{segment({'alg': alg})}.{segment(CLAIMS)}.")
    refused(f"{segment({'alg': alg})}.{segment(CLAIMS)}.", KeySet())


def test_an_unsigned_token_is_believed_only_when_the_operator_says_so() -> None:
    unsigned = f"{segment({'alg': 'none'})}.{segment(CLAIMS)}."
    assert TokenVerifier(HS, allow_unsigned=True).verify(unsigned, NOW).agent_id == "agent-1"
    refused(unsigned + "AAAA", allow_unsigned=True)
    refused(f"{segment({'alg': 'None'})}.{segment(CLAIMS)}.", allow_unsigned=True)
    refused(token(key=OTHER_SECRET), allow_unsigned=True)
    refused(f"{segment({'alg': 'none'})}.{segment(CLAIMS | {'exp': NOW - 60})}.", allow_unsigned=True)


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": None},
        {"b64": False, "crit": ["b64"]},
        {"b64": False},
        {"b64": 0},
        {"kid": 1},
        {"kid": ["a"]},
    ],
)
def test_header_extensions_that_change_the_meaning_are_refused(header: dict[str, Any]) -> None:
    refused(signed({"alg": "HS256"} | header, CLAIMS))


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c"])
def test_a_key_that_the_token_brings_along_is_never_used(name: str) -> None:
    public = RSA_KEY.public_key().public_numbers()
    jwk = {"kty": "RSA", "n": segment(public.n.to_bytes(256)), "e": "AQAB"}
    value = {"jku": "https://evil.test/jwks", "jwk": jwk, "x5u": "https://evil.test/x", "x5c": ["AAAA"]}[name]
    refused(signed({"alg": "RS256", name: value}, CLAIMS, "RS256"), HS)
    assert TokenVerifier(HS).verify(signed({"alg": "HS256", name: value}, CLAIMS), NOW).agent_id == "agent-1"


@pytest.mark.parametrize("claim", ["sub", "iss", "exp", "iat", "capabilities"])
def test_a_required_claim_that_is_missing_is_refused(claim: str) -> None:
    assert refused(token(without=claim)).startswith(f"token: {claim} ") or claim == "capabilities"


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        *(("sub", value) for value in ["", " ", " a", "a ", "a\n", "a\x00", "a\u202eb", "a\u200b", "x" * 257, 1, None]),
        *(("sub", value) for value in [True, ["agent-1"], {"a": 1}, "a\tb", "\ud800", "a\x7f", "a\x85"]),
        *(("iss", value) for value in ["", 1, None, ["golden"], "a\r\nb", "x" * 1025]),
        *(("jti", value) for value in ["", 1, None, "a\nb", "x" * 257]),
        *((name, value) for name in ("exp", "iat", "nbf") for value in ["4102444800", None, True, [1], -1, 10**400]),
        *((name, value) for name in ("exp", "iat") for value in [math.nan, math.inf, 1.8e12, ""]),
        *(("capabilities", value) for value in ["prompt:send", None, {"prompt:send": True}, [1], [["prompt:send"]], 7]),
    ],
)
def test_a_claim_of_the_wrong_kind_is_refused(claim: str, value: Any) -> None:
    refused(token(**{claim: value}))


@pytest.mark.parametrize("metadata", [None, [], "x", 1, True])
def test_metadata_that_is_no_object_counts_as_empty(metadata: Any) -> None:
    assert TokenVerifier(HS).verify(token(metadata=metadata), NOW).metadata == {}


def test_metadata_cannot_be_changed_by_those_who_read_it() -> None:
    identity = TokenVerifier(HS).verify(token(metadata={"a": 1}), NOW)
    with pytest.raises(TypeError):
        identity.metadata["a"] = 2  # type: ignore[index]


@pytest.mark.parametrize(
    "claims",
    [
        json.dumps(CLAIMS)[:-1] + ', "sub": "agent-2"}',
        json.dumps(CLAIMS)[:-1] + ', "metadata": {"a": 1, "a": 2}}',
        json.dumps(CLAIMS)[:-1] + ', "x": NaN}',
        json.dumps(CLAIMS)[:-1] + ', "x": 1e999}',
        json.dumps(CLAIMS)[:-1] + ', "x": ' + "9" * 5000 + "}",
        json.dumps(CLAIMS)[:-1] + ', "x": ' + "9" * 30 + "}",
        json.dumps(CLAIMS)[:-1] + ', "x": "\\ud800"}',
        json.dumps(CLAIMS)[:-1] + ', "x": {"\\udfff": 1}}',
        json.dumps(CLAIMS)[:-1] + ', "x": ' + "[" * 17 + "]" * 17 + "}",
        json.dumps(CLAIMS)[:-1] + ', "x": ' + "[" * 2500,
        json.dumps(CLAIMS) + "{}",
        json.dumps([CLAIMS]),
        "\ufeff" + json.dumps(CLAIMS),
        "",
        "null",
    ],
)
def test_claims_that_two_readers_could_read_differently_are_refused(claims: str) -> None:
    refused(signed({"alg": "HS256"}, claims.encode()))


def test_claims_that_are_not_utf8_are_refused() -> None:
    refused(signed({"alg": "HS256"}, json.dumps(CLAIMS).encode().replace(b"agent-1", b"agent-\xff")))


def test_a_header_with_a_key_twice_is_refused() -> None:
    refused(signed(b'{"alg":"none","alg":"HS256"}', CLAIMS))


@pytest.mark.parametrize(
    ("change", "at", "good"),
    [
        ({}, NOW, True),
        ({"exp": NOW}, NOW + 4.9, True),
        ({"exp": NOW}, NOW + 5, False),
        ({"exp": NOW - 1000}, NOW, False),
        ({"nbf": NOW + 5}, NOW, True),
        ({"nbf": NOW + 6}, NOW, False),
        ({"iat": NOW + 5}, NOW, True),
        ({"iat": NOW + 6}, NOW, False),
        ({"iat": NOW + 6, "nbf": NOW - 6}, NOW, False),
        ({}, float("nan"), False),
        ({}, float("inf"), False),
        ({}, float("-inf"), False),
    ],
)
def test_time_is_checked_with_the_leeway_in_mind(change: dict[str, Any], at: float, good: bool) -> None:
    if good:
        assert TokenVerifier(HS, leeway=5.0).verify(token(**change), at).agent_id == "agent-1"
    else:
        refused(token(**change), now=at)


@pytest.mark.parametrize(
    "options", [{"leeway": -1}, {"leeway": float("nan")}, {"cache_size": 0}, {"max_token_bytes": 0}]
)
def test_a_verifier_with_senseless_options_cannot_be_made(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        TokenVerifier(HS, **options)


def test_only_allowed_issuers_are_believed() -> None:
    assert TokenVerifier(HS, issuers=frozenset({"golden"})).verify(token(), NOW).issuer == "golden"
    refused(token(), issuers=frozenset({"other"}))
    refused(token(), issuers=frozenset())


@pytest.mark.parametrize(
    ("audience", "good"),
    [
        ("gate", True),
        (["x", "gate"], True),
        ("x", False),
        ([], False),
        (None, False),
        (["gate", 1], False),
        ("", False),
    ],
)
def test_an_audience_must_be_ours_once_we_have_one(audience: Any, good: bool) -> None:
    text = token(aud=audience)
    assert TokenVerifier(HS).verify(text, NOW).agent_id == "agent-1"
    if good:
        assert TokenVerifier(HS, audiences=frozenset({"gate"})).verify(text, NOW).agent_id == "agent-1"
    else:
        refused(text, audiences=frozenset({"gate"}))


def test_a_token_without_an_audience_is_refused_once_we_have_one() -> None:
    refused(token(), audiences=frozenset({"gate"}))


def test_rotation_by_kid_lets_both_keys_sign_and_then_only_the_new_one() -> None:
    old, new = KeySet.from_secret(SECRET, "old"), KeySet.from_secret(OTHER_SECRET, "new")
    by_old, by_new = token(kid="old"), token(kid="new", key=OTHER_SECRET)
    both = TokenVerifier(KeySet.merge(old, new))
    assert both.verify(by_old, NOW).agent_id == both.verify(by_new, NOW).agent_id == "agent-1"
    refused(by_old, new)
    assert TokenVerifier(new).verify(by_new, NOW).agent_id == "agent-1"


def test_a_kid_does_not_lend_one_key_the_name_of_another() -> None:
    keys = KeySet.merge(KeySet.from_secret(SECRET, "old"), KeySet.from_secret(OTHER_SECRET, "new"))
    refused(token(kid="new", key=SECRET), keys)
    refused(token(kid="unknown"), keys)
    refused(token(kid=""), keys)


def test_keys_without_a_kid_are_tried_for_a_kid_that_no_key_has() -> None:
    keys = KeySet.merge(KeySet.from_secret(SECRET), KeySet.from_secret(OTHER_SECRET, "new"))
    assert TokenVerifier(keys).verify(token(kid="whatever"), NOW).agent_id == "agent-1"
    refused(token(kid="new"), keys)


@pytest.mark.parametrize("alg", PRIVATE_KEYS)
def test_a_respelled_signature_is_refused(alg: str) -> None:
    """Otherwise its holder could change the hash of a revoked token."""
    text = token(alg)
    head, _, signature = text.rpartition(".")
    last = signature[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = alphabet[alphabet.index(last) ^ 1]
    standard = base64.b64encode(decode_base64url(signature)).decode()
    variants = {
        head + "." + signature[:-1] + stray,
        text + "=",
        text + "==",
        text + "\n",
        text + "!",
        text + " ",
        " " + text,
        head + "." + signature[:5] + "\n" + signature[5:],
        head + "." + signature[:5] + "*" + signature[5:],
        head + "." + standard,
        head + "." + encode_base64url(decode_base64url(signature) + b"\0"),
        head + "." + encode_base64url(b"\0" + decode_base64url(signature)),
        head + "." + encode_base64url(decode_base64url(signature)[:-1]),
        head + ".",
    } - {text}
    for variant in variants:
        refused(variant, ALL_KEYS)


def test_the_twin_of_an_ecdsa_signature_is_revoked_with_it() -> None:
    text = token("ES256")
    head, _, signature = text.rpartition(".")
    raw = decode_base64url(signature)
    twin = f"{head}.{encode_base64url(raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32))}"
    verifier = TokenVerifier(ALL_KEYS)
    first, second = verifier.verify(text, NOW), verifier.verify(twin, NOW)
    assert first.token_hash != second.token_hash
    revocations = Revocations.parse(f"tokenHashes: ['{first.token_hash}']", "revoked.yaml")
    assert revocations.reason(first)
    assert revocations.reason(second)


def test_an_ecdsa_signature_in_der_form_is_refused() -> None:
    head, _, signature = token("ES256").rpartition(".")
    raw = decode_base64url(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    assert decode_dss_signature(der)
    refused(f"{head}.{encode_base64url(der)}", ALL_KEYS)


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
@pytest.mark.parametrize("fill", [b"\x00", b"\xff"])
def test_a_signature_of_zeros_or_ones_is_refused(alg: str, fill: bytes) -> None:
    head, _, signature = token(alg).rpartition(".")
    refused(f"{head}.{encode_base64url(fill * len(decode_base64url(signature)))}", ALL_KEYS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "eyJ",
        "eyJ.eyJ",
        "eyJ..",
        "ey.ey.ey.ey",
        "not-a-jwt",
        "é.é.é",
        "eyJhbGciOiJub25lIn0..",
        "\ud800",
    ],
)
def test_garbage_is_refused(text: str) -> None:
    refused(text)


def test_a_token_over_the_limit_is_refused_unread() -> None:
    text = token(metadata={"x": "y" * 9000})
    assert "too long" in refused(text)
    assert TokenVerifier(HS, max_token_bytes=20_000).verify(text, NOW).agent_id == "agent-1"


class TestCache:
    def test_a_cached_token_expires_on_time(self) -> None:
        verifier = TokenVerifier(HS)
        text = token(exp=NOW + 10)
        assert verifier.verify(text, NOW) is verifier.verify(text, NOW + 14)
        with pytest.raises(Refusal, match="Unauthorized"):
            verifier.verify(text, NOW + 15)
        assert verifier.cached == 0

    def test_a_clock_that_steps_back_does_not_make_a_cached_token_early(self) -> None:
        verifier = TokenVerifier(HS)
        verifier.verify(token(), NOW)
        with pytest.raises(Refusal):
            verifier.verify(token(), NOW - 1000)

    def test_a_token_that_is_not_valid_yet_becomes_valid(self) -> None:
        verifier = TokenVerifier(HS)
        with pytest.raises(Refusal):
            verifier.verify(token(nbf=NOW + 50), NOW)
        assert verifier.verify(token(nbf=NOW + 50), NOW + 50).agent_id == "agent-1"

    def test_the_cache_forgets_the_token_that_was_not_used_for_longest(self) -> None:
        verifier = TokenVerifier(HS, cache_size=2)
        first, second, third = (token(sub=f"agent-{n}") for n in range(3))
        kept = verifier.verify(first, NOW)
        gone = verifier.verify(second, NOW)
        verifier.verify(first, NOW)
        verifier.verify(third, NOW)
        assert verifier.cached == 2
        assert verifier.verify(first, NOW) is kept
        assert verifier.verify(second, NOW) is not gone
        assert verifier.cached == 2

    def test_refused_tokens_take_no_room(self) -> None:
        verifier = TokenVerifier(HS)
        for text in (token(key=OTHER_SECRET), token(exp=NOW - 100), token(sub=""), "garbage"):
            with pytest.raises(Refusal):
                verifier.verify(text, NOW)
        assert verifier.cached == 0

    def test_a_cached_token_does_not_vouch_for_another_with_its_claims(self) -> None:
        verifier = TokenVerifier(HS)
        text = token()
        verifier.verify(text, NOW)
        with pytest.raises(Refusal):
            verifier.verify(text[:-4] + ("AAAA" if text[-4:] != "AAAA" else "BBBB"), NOW)


class TestIssuing:
    @pytest.mark.parametrize("alg", PRIVATE_KEYS)
    def test_an_issued_token_is_verified(self, alg: str) -> None:
        key = SECRET if alg == "HS256" else PRIVATE_KEYS[alg]
        text = issue_token(
            agent_id="agent-9",
            capabilities=["tool:read"],
            issuer="kalguard",
            issued_at=NOW,
            expires_at=NOW + 60,
            key=key,
            alg=alg,
            audience="gate",
            token_id="t-9",
            metadata={"team": "red"},
        )
        identity = TokenVerifier(ALL_KEYS, audiences=frozenset({"gate"})).verify(text, NOW)
        assert (identity.agent_id, identity.token_id, identity.metadata) == ("agent-9", "t-9", {"team": "red"})
        assert identity.capabilities == {"tool:read"}

    def test_a_private_key_may_be_given_as_pem(self) -> None:
        text = issue_token(
            agent_id="a",
            capabilities=[],
            issuer="k",
            issued_at=NOW,
            expires_at=NOW + 60,
            key=private_pem(RSA_KEY),
            alg="RS256",
            kid="r",
        )
        assert read_unverified(text)[0] == {"alg": "RS256", "typ": "JWT", "kid": "r"}
        assert TokenVerifier(keys_for("RS256", "r")).verify(text, NOW).agent_id == "a"

    @pytest.mark.parametrize(
        ("key", "alg"),
        [
            ("short", "HS256"),
            (RSA_KEY, "HS256"),
            (RSA_KEY, "ES256"),
            (SECRET, "RS256"),
            (SECRET, "none"),
            (SECRET, "HS512"),
            (private_pem(RSA_KEY), "EdDSA"),
        ],
    )
    def test_a_key_that_does_not_fit_signs_nothing(self, key: Any, alg: str) -> None:
        with pytest.raises(KeyMaterialError):
            issue_token(agent_id="a", capabilities=[], issuer="k", issued_at=NOW, expires_at=NOW + 60, key=key, alg=alg)


VERIFIER = TokenVerifier(ALL_KEYS)
UNSIGNED = TokenVerifier(ALL_KEYS, allow_unsigned=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
claim_names = st.sampled_from([*CLAIMS, "nbf", "jti", "aud", "alg", "kid", "crit", "b64", "typ"])


def only_refusals(verifier: TokenVerifier, text: str) -> None:
    """Verifies or refuses with a 401; anything else fails the test."""
    code = ErrorCode.AUTH_FAILED
    try:
        verifier.verify(text, NOW)
    except Refusal as refusal:
        code = refusal.code
    assert code is ErrorCode.AUTH_FAILED
    with contextlib.suppress(MalformedToken):
        read_unverified(text)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_at_most_refused(text: str) -> None:
    only_refusals(VERIFIER, text)
    with pytest.raises(Refusal):
        VERIFIER.verify("eyJ" + text, NOW)


@given(st.dictionaries(claim_names, json_values, max_size=5), st.dictionaries(claim_names, json_values, max_size=6))
def test_any_header_and_claims_are_at_most_refused(header: dict[str, Any], claims: dict[str, Any]) -> None:
    only_refusals(VERIFIER, signed({"alg": "HS256"} | header, CLAIMS | claims))
    only_refusals(UNSIGNED, f"{segment({'alg': 'none'} | header)}.{segment(CLAIMS | claims)}.")


@given(st.sampled_from(list(PRIVATE_KEYS)), st.data())
def test_a_token_with_any_character_changed_is_refused(alg: str, data: st.DataObject) -> None:
    text = token(alg)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[place]))
    with pytest.raises(Refusal):
        VERIFIER.verify(text[:place] + other + text[place + 1 :], NOW)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=80))
def test_any_base64url_pieces_are_at_most_refused(header: bytes, claims: bytes, signature: bytes) -> None:
    only_refusals(VERIFIER, f"{segment(header)}.{segment(claims)}.{segment(signature)}")
    only_refusals(UNSIGNED, f"{segment({'alg': 'none'})}.{segment(claims)}.")

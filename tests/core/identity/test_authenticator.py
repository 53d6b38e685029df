"""From the headers of a request to the agent behind it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity_tokens import ALL_KEYS, NOW, OTHER_SECRET, token
from kalguard_core.codes import ErrorCode
from kalguard_core.identity import (
    Authenticator,
    Identity,
    PrincipalMap,
    Revocations,
    TokenVerifier,
    credential_headers,
)
from kalguard_core.request import AgentRequest, Peer, Refusal

TOKEN = token()
SECOND = token(jti="second")
FORGED = token(key=OTHER_SECRET)
EXPIRED = token(exp=NOW - 100)
OTHER_AGENT = token(sub="agent-2")
MAPPED = "spiffe://td/ns/x/sa/agent-1"
UNMAPPED = "spiffe://td/ns/y/sa/somebody"
PRINCIPALS = PrincipalMap.parse(
    json.dumps({"principals": [{"principal": MAPPED, "agentId": "agent-1", "capabilities": ["tool:read"]}]}), "p.yaml"
)
VENDOR_KEYS = ["sk-ant-api03-abc", "AIzaSyA-x_y", "ya29.c.b0AXv0z", "a.b.c", "", "e.y.z", "key with spaces", "a,b"]
VENDOR_HEADERS = ["x-api-key", "api-key", "x-goog-api-key"]


def authenticate(headers: dict[str, str], principal: str = "", revocations: Revocations | None = None) -> Identity:
    gate = Authenticator(TokenVerifier(ALL_KEYS), revocations or Revocations.none(), PRINCIPALS)
    request = AgentRequest(
        id="r",
        kind="http",
        method="POST",
        host="h",
        path="/",
        headers=headers,
        time=NOW,
        monotonic=0.0,
        peer=Peer(principal=principal),
    )
    return gate.authenticate(request)


def refused(headers: dict[str, str], principal: str = "") -> str:
    with pytest.raises(Refusal) as caught:
        authenticate(headers, principal)
    assert (caught.value.code, caught.value.reason) == (ErrorCode.AUTH_FAILED, "Unauthorized")
    assert not any(part in caught.value.detail for part in TOKEN.split("."))
    return caught.value.detail


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {TOKEN}",
        f"bearer {TOKEN}",
        f"BEARER {TOKEN}",
        f"Bearer    {TOKEN}  ",
        f" Bearer {TOKEN}",
        f"Bearer \t{TOKEN}",
    ],
)
def test_a_bearer_token_is_read_in_any_case_and_with_any_spaces(value: str) -> None:
    assert authenticate({"authorization": value}).agent_id == "agent-1"


@pytest.mark.parametrize("name", ["x-kalguard-token", *VENDOR_HEADERS])
def test_a_token_may_come_where_vendor_sdks_put_their_key(name: str) -> None:
    assert authenticate({name: TOKEN}).agent_id == "agent-1"
    assert authenticate({name: f" {TOKEN} "}).agent_id == "agent-1"
    refused({name: FORGED})
    refused({name: EXPIRED})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"authorization": ""},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer not-a-jwt"},
        {"authorization": "Bearer sk-proj-abc"},
        {"authorization": f"Bearer {FORGED}"},
        {"authorization": f"Bearer {EXPIRED}"},
        {"authorization": TOKEN},
        {"authorization": f"Token {TOKEN}"},
        {"authorization": f"DPoP {TOKEN}"},
        {"authorization": f"Bearer{TOKEN}"},
        {"authorization": f"Bearer Bearer {TOKEN}"},
        {"authorization": f"Bearer {TOKEN} x"},
        {"authorization": f'Bearer "{TOKEN}"'},
        {"authorization": f"Bearer\u00a0{TOKEN}"},
        {"x-kalguard-token": ""},
        {"x-kalguard-token": "sk-abc"},
        {"x-kalguard-token": f"Bearer {TOKEN}"},
        {"proxy-authorization": f"Bearer {TOKEN}"},
        {"cookie": f"token={TOKEN}"},
        {"x-api-key": f"Bearer {TOKEN}"},
        {"x-api-key": f"sk-abc {TOKEN}"},
        {"x-api-key": f'"{TOKEN}"'},
        *({name: value} for name in VENDOR_HEADERS for value in VENDOR_KEYS),
    ],
)
@pytest.mark.parametrize("principal", ["", UNMAPPED])
def test_a_request_without_a_token_of_ours_is_nobody(headers: dict[str, str], principal: str) -> None:
    refused(headers, principal)


@pytest.mark.parametrize("separator", [",", ", ", " ,"])
@pytest.mark.parametrize("second", [TOKEN, SECOND, FORGED, "sk-abc", ""])
def test_a_repeated_credential_header_is_refused(separator: str, second: str) -> None:
    for one, two in ((TOKEN, second), (second, TOKEN)):
        refused({"x-kalguard-token": f"{one}{separator}{two}"})
        refused({"x-api-key": f"{one}{separator}{two}"})
        refused({"authorization": f"Bearer {one}{separator}Bearer {two}"})
        refused({"authorization": f"Bearer {one}{separator}{two}"})
        refused({"authorization": f"Basic YTpi{separator}Bearer {two}"})
        refused({"x-kalguard-token": TOKEN, "authorization": f"Bearer {one}{separator}Bearer {two}"})
        refused({"x-kalguard-token": TOKEN, "authorization": f"Basic YTpi{separator}Bearer {two}"})
        refused({"x-kalguard-token": TOKEN, "x-goog-api-key": f"{one}{separator}{two}"})


PLACES = ["authorization", "x-kalguard-token", *VENDOR_HEADERS]


def put(name: str, value: str) -> dict[str, str]:
    return {name: f"Bearer {value}" if name == "authorization" else value}


@pytest.mark.parametrize(("one", "two"), [(one, two) for one in PLACES for two in PLACES if one != two])
def test_one_token_in_two_places_is_fine_and_two_tokens_are_not(one: str, two: str) -> None:
    assert authenticate(put(one, TOKEN) | put(two, TOKEN)).agent_id == "agent-1"
    for other in (SECOND, OTHER_AGENT, FORGED, EXPIRED, "eyJ.x.y"):
        assert refused(put(one, TOKEN) | put(two, other)) == "two different tokens in one request"


@pytest.mark.parametrize(
    "value", [f"Token {SECOND}", f"Basic x, {SECOND}", SECOND, f"DPoP {TOKEN}", f'Key key="{SECOND}"']
)
def test_a_second_token_under_another_scheme_is_refused(value: str) -> None:
    refused({"x-kalguard-token": TOKEN, "authorization": value})


@pytest.mark.parametrize(
    "value",
    [
        "Bearer sk-proj-abc",
        "Bearer ya29.c.b0AXv0z",
        "Bearer ",
        "Basic YTpi",
        "AWS4-HMAC-SHA256 Credential=AK/2026/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=ab",
    ],
)
def test_the_agents_own_vendor_credential_is_ignored_beside_our_header(value: str) -> None:
    assert authenticate({"x-kalguard-token": TOKEN, "authorization": value}).agent_id == "agent-1"
    refused({"x-kalguard-token": FORGED, "authorization": value})


@pytest.mark.parametrize("name", VENDOR_HEADERS)
@pytest.mark.parametrize("key", VENDOR_KEYS)
def test_a_vendor_key_is_ignored_beside_a_token(name: str, key: str) -> None:
    assert authenticate({"authorization": f"Bearer {TOKEN}", name: key}).agent_id == "agent-1"
    assert authenticate({name: key}, MAPPED).source == "principal"


@pytest.mark.parametrize("name", VENDOR_HEADERS)
def test_a_token_in_a_vendor_header_does_not_excuse_a_bad_bearer(name: str) -> None:
    refused({name: TOKEN, "authorization": "Bearer sk-proj-abc"})
    assert authenticate({name: TOKEN, "authorization": "Basic YTpi"}).agent_id == "agent-1"


def test_our_header_must_hold_a_token_even_beside_a_good_bearer() -> None:
    refused({"x-kalguard-token": "sk-abc", "authorization": f"Bearer {TOKEN}"})
    refused({"x-kalguard-token": "", "authorization": f"Bearer {TOKEN}"})


class TestPrincipal:
    def test_a_mapped_principal_alone_is_its_agent(self) -> None:
        identity = authenticate({}, MAPPED)
        assert (identity.agent_id, identity.source, identity.principal) == ("agent-1", "principal", MAPPED)
        assert identity.capabilities == {"tool:read"}

    def test_a_token_and_a_principal_of_one_agent_agree(self) -> None:
        identity = authenticate({"authorization": f"Bearer {TOKEN}"}, MAPPED)
        assert (identity.agent_id, identity.source, identity.principal) == ("agent-1", "token", MAPPED)
        assert identity.capabilities == {"prompt:send", "tool:execute"}

    def test_a_token_and_a_principal_of_different_agents_are_refused(self) -> None:
        assert "different agents" in refused({"authorization": f"Bearer {OTHER_AGENT}"}, MAPPED)

    def test_a_principal_that_is_not_mapped_leaves_the_token_alone(self) -> None:
        assert authenticate({"authorization": f"Bearer {OTHER_AGENT}"}, UNMAPPED).principal == ""

    @pytest.mark.parametrize(
        "headers",
        [
            {"authorization": f"Bearer {FORGED}"},
            {"authorization": f"Bearer {EXPIRED}"},
            {"authorization": "Bearer sk-abc"},
            {"authorization": "Bearer "},
            {"authorization": "Basic YTpi"},
            {"x-kalguard-token": ""},
            {"x-kalguard-token": FORGED},
            {"x-api-key": FORGED},
            {"x-api-key": f"{TOKEN},{TOKEN}"},
        ],
    )
    def test_a_bad_token_never_falls_back_to_the_principal(self, headers: dict[str, str]) -> None:
        refused(headers, MAPPED)


class TestRevocation:
    @pytest.mark.parametrize("principal", ["", MAPPED])
    def test_a_revoked_token_is_refused_with_its_own_code(self, principal: str) -> None:
        identity = authenticate({"authorization": f"Bearer {TOKEN}"})
        revocations = Revocations(token_hashes=frozenset({identity.token_hash}))
        with pytest.raises(Refusal) as caught:
            authenticate({"authorization": f"Bearer {TOKEN}"}, principal, revocations)
        assert (caught.value.code, caught.value.reason) == (ErrorCode.TOKEN_REVOKED, "Token revoked")
        assert caught.value.detail == "token is revoked by hash"
        assert authenticate({"authorization": f"Bearer {SECOND}"}, principal, revocations).token_id == "second"

    def test_a_revoked_agent_is_refused_by_token_and_by_principal(self) -> None:
        revocations = Revocations(agent_ids=frozenset({"agent-1"}))
        for headers, principal in (({"authorization": f"Bearer {TOKEN}"}, ""), ({}, MAPPED)):
            with pytest.raises(Refusal, match="Token revoked"):
                authenticate(headers, principal, revocations)

    def test_a_forged_token_of_a_revoked_agent_learns_nothing(self) -> None:
        with pytest.raises(Refusal, match="Unauthorized"):
            authenticate({"x-api-key": FORGED}, "", Revocations(agent_ids=frozenset({"agent-1"})))


def test_every_credential_header_is_named_for_removal() -> None:
    names = ["authorization", "proxy-authorization", "x-kalguard-token", *VENDOR_HEADERS]
    assert credential_headers({"host": "h", **dict.fromkeys(names, ""), "accept": "*/*"}) == names
    assert credential_headers({"host": "h"}) == []


pieces = st.sampled_from(
    ["Bearer", "bearer", "Basic", " ", "\t", ",", ", ", TOKEN, SECOND, FORGED, "sk-abc", "eyJ", ".", '"', "\x00", "é"]
)
values = st.lists(pieces, max_size=6).map("".join) | st.text(max_size=30)


@given(st.dictionaries(st.sampled_from(PLACES), values), st.sampled_from(["", MAPPED, UNMAPPED]) | st.text(max_size=10))
def test_any_headers_are_one_agent_or_a_401(headers: dict[str, str], principal: str) -> None:
    try:
        identity = authenticate(headers, principal)
    except Refusal as refusal:
        code: ErrorCode | None = refusal.code
    else:
        code = None
        assert identity.agent_id == "agent-1"
        everything = " ".join(headers.values())
        assert not (TOKEN in everything and SECOND in everything)
        assert identity.source == "principal" or TOKEN in everything or SECOND in everything
    assert code in (None, ErrorCode.AUTH_FAILED)


@pytest.mark.parametrize("value", [f"Bearer {SECOND}", SECOND, f"Basic abc, Bearer {SECOND}", f"bearer\t{SECOND}"])
def test_another_token_for_the_proxy_is_a_contradiction(value: str) -> None:
    assert "proxy-authorization" in refused({"authorization": f"Bearer {TOKEN}", "proxy-authorization": value})
    assert "proxy-authorization" in refused({"proxy-authorization": value}, principal=MAPPED)


def test_the_same_token_or_a_password_for_the_proxy_changes_nothing() -> None:
    for value in (f"Bearer {TOKEN}", "Basic dXNlcjpwYXNz"):
        assert authenticate({"authorization": f"Bearer {TOKEN}", "proxy-authorization": value}).agent_id == "agent-1"

"""Which agent an mTLS principal speaks for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.documents import DocumentError
from kalguard_core.identity import PrincipalMap


def entry(principal: str, agent: str = "a", **more: Any) -> dict[str, Any]:
    return {"principal": principal, "agentId": agent, "capabilities": ["tool:read"]} | more


def principals(*entries: dict[str, Any]) -> PrincipalMap:
    return PrincipalMap.parse(json.dumps({"principals": entries}), "principals.yaml")


def agent(found: PrincipalMap, principal: str) -> str | None:
    identity = found.identity(principal)
    return None if identity is None else identity.agent_id


def test_a_principal_becomes_the_identity_that_the_document_says() -> None:
    text = """
principals:
  - principal: spiffe://td/ns/x/sa/y
    agentId: agent-1
    capabilities: [prompt:send, tool:execute]
    metadata: {team: blue}
"""
    identity = PrincipalMap.parse(text, "principals.yaml").identity("spiffe://td/ns/x/sa/y")
    assert identity is not None
    assert (identity.agent_id, identity.source, identity.principal) == ("agent-1", "principal", "spiffe://td/ns/x/sa/y")
    assert identity.capabilities == {"prompt:send", "tool:execute"}
    assert identity.metadata == {"team": "blue"}
    assert (identity.issuer, identity.token_id, identity.token_hash, identity.expires_at) == ("", "", "", None)


@pytest.mark.parametrize(
    ("pattern", "principal", "matches"),
    [
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/sa/y", True),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/sa", True),
        ("spiffe://td/*", "spiffe://td/anything", True),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/xy/sa/y", False),
        ("spiffe://td/ns/x/*", "spiffe://td.evil/ns/x/sa/y", False),
        ("spiffe://td/ns/x/*", "spiffe://TD/ns/x/sa/y", False),
        ("spiffe://td/ns/x/*", "SPIFFE://td/ns/x/sa/y", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/../y/sa/z", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/./sa", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x//sa", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/%2e%2e/sa", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/sa?a", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/sa#a", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/*", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/a,spiffe://td/ns/z/b", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/a\nb", False),
        ("spiffe://td/ns/x/*", " spiffe://td/ns/x/a", False),
        ("spiffe://td/ns/x/*", "spiffe://td/ns/x/" + "a" * 3000, False),
        ("spiffe://td/ns/x/*", "", False),
        ("spiffe://td/ns/x", "spiffe://td/ns/x", True),
        ("spiffe://td/ns/x", "spiffe://td/ns/x/y", False),
        ("agent.example.com", "agent.example.com", True),
        ("agent.example.com", "Agent.example.com", False),
    ],
)
def test_a_pattern_covers_whole_segments_below_it_and_nothing_else(pattern: str, principal: str, matches: bool) -> None:
    found = principals(entry(pattern)).identity(principal)
    assert (found is not None) is matches
    assert found is None or found.principal == principal


def test_an_exact_principal_wins_over_a_pattern_before_it() -> None:
    found = principals(entry("spiffe://td/ns/*", "wide"), entry("spiffe://td/ns/x", "exact"))
    assert agent(found, "spiffe://td/ns/x") == "exact"
    assert agent(found, "spiffe://td/ns/y") == "wide"


def test_the_first_pattern_in_the_document_wins() -> None:
    found = principals(entry("spiffe://td/ns/x/*", "narrow"), entry("spiffe://td/*", "wide"))
    assert agent(found, "spiffe://td/ns/x/y") == "narrow"
    assert agent(found, "spiffe://td/ns/y") == "wide"


def test_without_a_document_no_principal_speaks_for_anybody() -> None:
    assert PrincipalMap.none().identity("spiffe://td/ns/x") is None
    assert principals().identity("spiffe://td/ns/x") is None


@pytest.mark.parametrize(
    ("entries", "place"),
    [
        ([entry("spiffe://td/ns/*/sa/y")], "principals[0].principal"),
        ([entry("spiffe://td/ns/x*")], "principals[0].principal"),
        ([entry("spiffe://td/ns/x/*/*")], "principals[0].principal"),
        ([entry("spiffe://*")], "principals[0].principal"),
        ([entry("spiffe://*/x")], "principals[0].principal"),
        ([entry("spiffe:///*")], "principals[0].principal"),
        ([entry("spiffe://td//*")], "principals[0].principal"),
        ([entry("spiffe://td/../*")], "principals[0].principal"),
        ([entry("*")], "principals[0].principal"),
        ([entry("/*")], "principals[0].principal"),
        ([entry("td/*")], "principals[0].principal"),
        ([entry("")], "principals[0].principal"),
        ([entry(" spiffe://td/x")], "principals[0].principal"),
        ([entry("spiffe://td/x"), entry("spiffe://td/x")], "principals[1].principal: the principal appears twice"),
        ([entry("spiffe://td/*"), entry("spiffe://td/ns/*")], "principals[1].principal: never matches"),
        ([entry("spiffe://td/*"), entry("spiffe://td/*")], "principals[1].principal: never matches"),
        ([entry("spiffe://td/x", agentId="")], "principals[0].agentId"),
        ([entry("spiffe://td/x", agentId="a\u202e")], "principals[0].agentId"),
        ([entry("spiffe://td/x", agentId=1)], "principals[0].agentId"),
        ([entry("spiffe://td/x", capabilities=["tool:reed"])], "principals[0].capabilities[0]: unknown capability"),
        ([entry("spiffe://td/x", capabilities="tool:read")], "principals[0].capabilities"),
        ([entry("spiffe://td/x", metadata=[])], "principals[0].metadata"),
        ([entry("spiffe://td/x", capability=[])], "principals[0].capability: unknown key"),
        ([{"principal": "spiffe://td/x", "agentId": "a"}], "required key is missing"),
    ],
)
def test_an_entry_that_would_not_do_what_it_says_is_an_error_with_its_place(entries: list[Any], place: str) -> None:
    with pytest.raises(DocumentError) as caught:
        principals(*entries)
    assert str(caught.value).startswith("principals.yaml:1")
    assert place in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "principals: {}", "principals: [1]", "agents: []"])
def test_a_document_of_another_shape_is_an_error(text: str) -> None:
    with pytest.raises(DocumentError):
        PrincipalMap.parse(text, "principals.yaml")


@given(st.text(alphabet="ab/.*%:,?#\\ \n\x00é", max_size=40))
def test_a_pattern_never_covers_what_is_not_plainly_below_it(rest: str) -> None:
    found = principals(entry("spiffe://td/a/*"))
    plain = bool(rest) and all(set(part) <= set("ab.:é") and part not in ("", ".", "..") for part in rest.split("/"))
    assert (found.identity("spiffe://td/a/" + rest) is not None) is plain
    if not rest.startswith("/"):
        assert found.identity("spiffe://td" + rest) is None

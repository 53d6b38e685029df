"""The emergency switch."""

from __future__ import annotations

import pytest

from identity_tokens import ALL_KEYS, NOW, token
from kalguard_core.documents import DocumentError
from kalguard_core.identity import Identity, Revocations, TokenVerifier

IDENTITY = Identity(agent_id="agent-1", token_id="t-1", token_hash="ab" * 32)


@pytest.mark.parametrize(
    ("text", "revoked"),
    [
        ("agentIds: [agent-1]", True),
        ("agentIds: [agent-2]", False),
        ("agentIds: [Agent-1, agent-, agent-11, '*']", False),
        ("tokenIds: [t-1]", True),
        ("tokenIds: [t-2]", False),
        (f"tokenHashes: ['{'ab' * 32}']", True),
        (f"tokenHashes: ['{'AB' * 32}']", True),
        (f"tokenHashes: ['{'ac' * 32}']", False),
        ('{"agentIds": ["agent-1"]}', True),
        ("{}", False),
    ],
)
def test_a_token_is_revoked_by_hash_or_id_and_an_agent_by_name(text: str, revoked: bool) -> None:
    assert (Revocations.parse(text, "revoked.yaml").reason(IDENTITY) is not None) is revoked


def test_an_identity_without_token_is_not_revoked_by_an_empty_hash_or_id() -> None:
    identity = Identity(agent_id="agent-1", source="principal")
    revocations = Revocations(token_hashes=frozenset({"ab" * 32}), token_ids=frozenset({"t-1"}))
    assert revocations.reason(identity) is None
    assert Revocations(agent_ids=frozenset({"agent-1"})).reason(identity) == "agent is revoked"


def test_nothing_is_revoked_by_default() -> None:
    assert Revocations.none().reason(IDENTITY) is None


def test_a_cached_token_is_revoked_at_once() -> None:
    verifier = TokenVerifier(ALL_KEYS)
    identity = verifier.verify(token(), NOW)
    assert verifier.verify(token(), NOW) is identity
    assert Revocations.parse(f"tokenHashes: ['{identity.token_hash}']", "r").reason(identity)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "revoked.yaml:1:"),
        ("[]", "revoked.yaml:1:"),
        ("agentId: [a]", "agentId"),
        ("agentIds: agent-1", "agentIds"),
        ("agentIds:", "agentIds"),
        ("tokenIds: [1]", "tokenIds[0]"),
        ("tokenIds: ['']", "tokenIds[0]"),
        ("agentIds: [a, ' b']", "agentIds[1]"),
        ("tokenHashes: [abc]", "tokenHashes[0]"),
        (f"tokenHashes:\n  - '{'ab' * 32}'\n  - '{'zz' * 32}'", "revoked.yaml:3: tokenHashes[1]"),
        (f"tokenHashes: ['sha256:{'ab' * 32}']", "tokenHashes[0]"),
        ("agentIds: [a]\nagentIds: [b]", "revoked.yaml:2:"),
    ],
)
def test_a_revocation_that_would_not_work_is_an_error_with_its_place(text: str, place: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Revocations.parse(text, "revoked.yaml")
    assert place in str(caught.value)

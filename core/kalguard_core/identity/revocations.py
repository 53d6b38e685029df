"""The emergency switch: tokens and agents that are refused from now on, whatever their signature says."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from ..documents import StrictModel, load
from .identity import Identity

_HEX = frozenset("0123456789abcdef")


class _RevocationDocument(StrictModel):
    token_hashes: list[str] = Field(default_factory=list, alias="tokenHashes")
    token_ids: list[str] = Field(default_factory=list, alias="tokenIds")
    agent_ids: list[str] = Field(default_factory=list, alias="agentIds")


@dataclass(frozen=True, slots=True)
class Revocations:
    """What is revoked: SHA-256 hashes of tokens (hex), `jti` claims, agent ids."""

    token_hashes: frozenset[str] = frozenset()
    token_ids: frozenset[str] = frozenset()
    agent_ids: frozenset[str] = frozenset()

    @classmethod
    def none(cls) -> Revocations:
        """Nothing is revoked."""
        return cls()

    @classmethod
    def parse(cls, text: str, source: str) -> Revocations:
        """Read a revocation document (`tokenHashes`, `tokenIds`, `agentIds`). Raises `DocumentError`."""
        model, document = load(_RevocationDocument, text, source)
        hashes = [each.lower() for each in model.token_hashes]
        for index, each in enumerate(hashes):
            if len(each) != 64 or not _HEX.issuperset(each):
                raise document.error(
                    ("tokenHashes", index), "must be the SHA-256 of a token: 64 hex digits (kalguard token inspect)"
                )
        for name, values in (("tokenIds", model.token_ids), ("agentIds", model.agent_ids)):
            for index, each in enumerate(values):
                if not each or each != each.strip():
                    raise document.error((name, index), "must not be empty or have spaces at its ends")
        return cls(frozenset(hashes), frozenset(model.token_ids), frozenset(model.agent_ids))

    def reason(self, identity: Identity) -> str | None:
        """Why `identity` is revoked, for the audit log; None if it is not."""
        if identity.agent_id in self.agent_ids:
            return "agent is revoked"
        if identity.token_hash in self.token_hashes:
            return "token is revoked by hash"
        if identity.hash_aliases and not self.token_hashes.isdisjoint(identity.hash_aliases):
            return "token is revoked by the hash of another spelling of it"
        if identity.token_id and identity.token_id in self.token_ids:
            return "token is revoked by id"
        return None

"""Who asks: the one value that every later check believes about an agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated agent.

    `agent_id`: the token's `sub`, or what the principal map says. `capabilities`: known ones only.
    `issuer`: the token's `iss`, "" for a principal. `token_id`: the token's `jti`, "" if it has none.
    `token_hash`: SHA-256 of the token in hex, "" for a principal. `metadata`: the token's `metadata` claim
    if it is an object. `expires_at`: Unix seconds, None for a principal (the certificate has its own end).
    `principal`: the mTLS/SPIFFE principal that spoke for the agent, "" if none did.
    `hash_aliases`: hashes of other spellings of the same token (an ECDSA signature has a twin that
    verifies too), so that its holder cannot walk away from a revoked hash.
    """

    agent_id: str
    capabilities: frozenset[str] = frozenset()
    issuer: str = ""
    token_id: str = ""
    token_hash: str = ""
    metadata: Mapping[str, Any] = field(default_factory=lambda: NO_METADATA, hash=False)
    expires_at: float | None = None
    source: Literal["token", "principal"] = "token"
    principal: str = ""
    hash_aliases: tuple[str, ...] = ()

    def has(self, capability: str) -> bool:
        """Whether the agent may use `capability`."""
        return capability in self.capabilities

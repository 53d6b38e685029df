"""What policy is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from msgspec import Struct

from ..action import NO_ATTRIBUTES, Attribute
from ..codes import Outcome

OnUnrewritable = Literal["deny", "require_approval", "allow"]
_NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})


class PolicyQuery(Struct, frozen=True):
    """One action of one agent, as rules see it.

    `resource`, `tool`: None where the action has none; a rule about one then never matches.
    `attributes`: what the protocol reader found out about the action. `metadata`: the token's claim.
    `explicit`: only a rule that names the action (or its tool) can let it through; see `Action.explicit`.
    """

    agent_id: str
    action: str
    resource: str | None = None
    tool: str | None = None
    attributes: Mapping[str, Attribute] = NO_ATTRIBUTES
    metadata: Mapping[str, Any] = _NO_METADATA
    explicit: bool = False


class Risk(Struct, frozen=True):
    """What the firewall found in an action's text: a score (0-100), and what it is about."""

    score: int
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """What the policy says. `rule`: id of the rule that decided, None for the default.

    `on_unrewritable`: what becomes of an allowed prompt that must be rewritten by a transport that can't; None if the
    rule does not say (a denial, unless the firewall's profile says otherwise). `firewall`: name of the profile under
    which an allowed prompt is judged, None for that of its route and agent.
    """

    outcome: Outcome
    rule: str | None
    reason: str
    on_unrewritable: OnUnrewritable | None = None
    firewall: str | None = None


NO_POLICY_MATCH: Final = Match(Outcome.DENY, None, "no policy loaded; fail closed", "deny")
"""The answer while there is no policy."""

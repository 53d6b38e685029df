"""The real pipeline, with a policy and a catalog that allow everything that can be named: only what is said decides."""

from __future__ import annotations

from functools import cache

import jwt

from kalguard_core.decision import Decision
from kalguard_core.examination import AtOnce
from kalguard_core.firewall.document import Firewalls
from kalguard_core.guard import Guard, Snapshot
from kalguard_core.identity import Authenticator, KeySet, PrincipalMap, Revocations, TokenVerifier
from kalguard_core.inflight import InFlight
from kalguard_core.policy import Policy
from kalguard_core.request import AgentRequest
from kalguard_core.tools import ToolCatalog
from kalguard_core.tools.limits import SlidingWindowStore
from kalguard_core.wire.registry import PROTOCOLS
from smuggling_cases import FOLDER
from support import ALL_CAPABILITIES, SECRET


@cache
def token() -> str:
    """Of an agent with all capabilities."""
    claims = {
        "sub": "agent-1",
        "iss": "tests",
        "iat": 1_699_999_000,
        "exp": 1_700_009_000,
        "capabilities": list(ALL_CAPABILITIES),
    }
    return jwt.encode(claims, SECRET, algorithm="HS256")


@cache
def guard() -> Guard:
    """The guard that allows whatever can be named."""
    policy, tools = ((FOLDER / "policy" / name).read_text() for name in ("policy.yaml", "tools.yaml"))
    return guard_by(policy, tools)


@cache
def guard_by(policy_text: str, tools_text: str) -> Guard:
    """The guard with that policy and catalog; between requests it only counts those in flight."""
    keys = KeySet.from_secret(SECRET.encode(), source="tests")
    policy = Policy.parse(policy_text, "policy.yaml")
    tools = ToolCatalog.parse(tools_text, "tools.yaml")
    snapshot = Snapshot(
        Authenticator(TokenVerifier(keys), Revocations.none(), PrincipalMap.none()), policy, tools, Firewalls.built_in()
    )
    return guard_of(snapshot)


def guard_of(snapshot: Snapshot) -> Guard:
    """The pipeline of `snapshot` with nothing beside it: no process, no limit that a test could meet."""
    return Guard(
        snapshot,
        protocols=PROTOCOLS,
        limits=SlidingWindowStore(),
        inflight=InFlight(64, 1 << 30),
        large=AtOnce(),
        digest=lambda body: "",
    )


def decided(request: AgentRequest, asked: Guard | None = None) -> Decision:
    """The decision, without an event loop for each: nothing in it waits."""
    waiting = (asked or guard()).decide(request)
    try:
        waiting.send(None)
    except StopIteration as done:
        decision = done.value
    assert isinstance(decision, Decision), "the guard waits for something"
    return decision

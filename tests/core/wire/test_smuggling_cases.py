"""Every place where a protocol can carry text, and every trick to hide it: found or refused; the twin passes."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from kalguard_core.codes import ErrorCode
from kalguard_core.decision import Decision
from kalguard_core.examination import AtOnce
from kalguard_core.firewall import RulePackFirewall
from kalguard_core.guard import Guard, Snapshot
from kalguard_core.identity import Authenticator, KeySet, PrincipalMap, Revocations, TokenVerifier
from kalguard_core.inflight import InFlight
from kalguard_core.policy import Policy
from kalguard_core.tools import ToolCatalog
from kalguard_core.tools.limits import SlidingWindowStore
from kalguard_core.wire.registry import PROTOCOLS
from smuggling_cases import ATTACK, FOLDER, HARMLESS, Case, all_cases
from support import ALL_CAPABILITIES, SECRET

CASES = all_cases()
# What is refused only for what is in the body: a case may not pass because its request leads nowhere.
NOT_AN_ANSWER = {
    ErrorCode.AUTH_FAILED,
    ErrorCode.CAPABILITY_DENIED,
    ErrorCode.POLICY_DENY,
    ErrorCode.TOOL_DENIED,
    ErrorCode.RATE_LIMIT_EXCEEDED,
}


@cache
def token() -> str:
    import jwt

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
    """Everything is allowed that can be named, so that only the text decides."""
    keys = KeySet.from_secret(SECRET.encode(), source="tests")
    policy = Policy.parse((FOLDER / "policy" / "policy.yaml").read_text(), "policy.yaml")
    tools = ToolCatalog.parse((FOLDER / "policy" / "tools.yaml").read_text(), "tools.yaml")
    snapshot = Snapshot(
        Authenticator(TokenVerifier(keys), Revocations.none(), PrincipalMap.none()), policy, tools, RulePackFirewall()
    )
    return Guard(
        snapshot,
        protocols=PROTOCOLS,
        limits=SlidingWindowStore(),
        inflight=InFlight(64, 1 << 30),
        large=AtOnce(),
        digest=lambda body: "",
    )


async def decided(case: Case, text: str) -> Decision:
    return await guard().decide(case.request(text, token()))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case, _ in CASES])
async def test_what_hides_an_attack_is_found_or_refused(case: Case) -> None:
    decision = await decided(case, case.text or ATTACK)
    assert not decision.allowed, "the attack went through"
    assert decision.code not in NOT_AN_ANSWER or decision.code == case.code, (
        f"refused for another reason: {decision.reason} ({decision.detail})"
    )


@pytest.mark.parametrize("twin", [pytest.param(twin, id=twin.id) for _, twin in CASES])
async def test_its_harmless_twin_passes(twin: Case) -> None:
    decision = await decided(twin, twin.text or HARMLESS)
    assert decision.allowed, f"{decision.code}: {decision.reason} ({decision.detail})"


def test_the_table_is_as_large_as_it_says() -> None:
    assert len(CASES) >= 200
    twice = [name for name, count in Counter(case.id for case, _ in CASES).items() if count > 1]
    assert not twice

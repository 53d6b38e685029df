"""Every place where a protocol can carry text, and every trick to hide it: found or refused; the twin passes."""

from __future__ import annotations

from collections import Counter

import pytest

from kalguard_core.codes import ErrorCode
from permissive_guard import decided, token
from smuggling_cases import ATTACK, HARMLESS, Case, all_cases

CASES = all_cases()
# What is refused only for what is in the body: a case may not pass because its request leads nowhere.
NOT_AN_ANSWER = {
    ErrorCode.AUTH_FAILED,
    ErrorCode.CAPABILITY_DENIED,
    ErrorCode.POLICY_DENY,
    ErrorCode.TOOL_DENIED,
    ErrorCode.RATE_LIMIT_EXCEEDED,
}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case, _ in CASES])
def test_what_hides_an_attack_is_found_or_refused(case: Case) -> None:
    decision = decided(case.request(case.text or ATTACK, token()))
    assert not decision.allowed, "the attack went through"
    assert decision.code not in NOT_AN_ANSWER or decision.code == case.code, (
        f"refused for another reason: {decision.reason} ({decision.detail})"
    )


@pytest.mark.parametrize("twin", [pytest.param(twin, id=twin.id) for _, twin in CASES])
def test_its_harmless_twin_passes(twin: Case) -> None:
    decision = decided(twin.request(twin.text or HARMLESS, token()))
    assert decision.allowed, f"{decision.code}: {decision.reason} ({decision.detail})"


def test_the_table_is_as_large_as_it_says() -> None:
    assert len(CASES) >= 200
    twice = [name for name, count in Counter(case.id for case, _ in CASES).items() if count > 1]
    assert not twice

"""No text makes the firewall work out of proportion. Work is counted here; `make slow` measures time, for longer."""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, example, given, settings

from kalguard_core.firewall import default_firewall
from slow_texts import ATTACK, Plan, plans, work_of

SIZE: Final = 2_500
# Four times the text is four times the work; a limit or a trigger in between makes a step. What is quadratic: 16 times.
MOST: Final = 8
STEP: Final = 4_000


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(plans())
@example(Plan((ATTACK,)))
@example(Plan((ATTACK, '"'), messages=40, roles=("user", "tool")))
@example(Plan((ATTACK, f'The filter "{ATTACK}" blocks it. '), messages=-25, roles=("user", "assistant", "tool")))
@example(Plan(("<!-- ", "\u200b", "%69"), blocks=True))
def test_four_times_the_text_is_no_more_than_a_few_times_the_work(plan: Plan) -> None:
    firewall = default_firewall()
    less, more = (work_of(firewall, plan.written(size)) for size in (SIZE, 4 * SIZE))
    assert more.calls <= MOST * less.calls + STEP
    assert more.read <= MOST * less.read + STEP
    assert more.spans <= MOST * less.spans + 64

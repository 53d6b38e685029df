"""The in-process limit store: never one use too many in any window, and nothing kept for longer than it counts."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.limits import Limit, LimitStore
from kalguard_core.tools import SlidingWindowStore


def limit(count: int, key: str = "k", window: float = 60.0, cost: int = 1) -> Limit:
    return Limit(key, count, window, cost)


async def test_the_store_is_a_limit_store() -> None:
    store: LimitStore = SlidingWindowStore()
    assert await store.take([], 0.0) is None


async def test_a_use_counts_until_exactly_one_window_later() -> None:
    store = SlidingWindowStore()
    assert await store.take([limit(2)], 0.0) is None
    assert await store.take([limit(2)], 10.0) is None
    assert await store.take([limit(2)], 20.0) == 40.0
    assert await store.take([limit(2)], 59.5) == 0.5
    assert await store.take([limit(2)], 60.0) is None
    assert await store.take([limit(2)], 60.0) == 10.0


async def test_a_burst_at_the_border_of_two_minutes_gets_no_double_share() -> None:
    store = SlidingWindowStore()
    taken = [await store.take([limit(5)], 59.0 + n / 10) for n in range(20)]
    assert taken.count(None) == 5


async def test_several_limits_are_used_together_or_not_at_all() -> None:
    store = SlidingWindowStore()
    assert await store.take([limit(1, "b")], 0.0) is None
    assert await store.take([limit(2, "a"), limit(1, "b")], 1.0) == 59.0
    assert await store.take([limit(2, "a"), limit(2, "a")], 2.0) is None


async def test_the_wait_is_that_of_the_limit_that_has_room_last() -> None:
    store = SlidingWindowStore()
    assert await store.take([limit(1, "a", 10.0), limit(1, "b", 30.0)], 0.0) is None
    assert await store.take([limit(1, "a", 10.0), limit(1, "b", 30.0)], 5.0) == 25.0


async def test_the_same_key_twice_is_counted_twice() -> None:
    store = SlidingWindowStore()
    assert await store.take([limit(3), limit(3)], 0.0) is None
    assert await store.take([limit(3), limit(3)], 1.0) == 59.0
    assert await store.take([limit(3)], 1.0) is None


async def test_a_cost_is_that_many_uses() -> None:
    store = SlidingWindowStore()
    assert await store.take([limit(10, cost=4)], 0.0) is None
    assert await store.take([limit(10, cost=6)], 5.0) is None
    assert await store.take([limit(10, cost=5)], 6.0) == 59.0
    assert await store.take([limit(10, cost=4)], 6.0) == 54.0


async def test_a_cost_above_the_count_never_has_room() -> None:
    store = SlidingWindowStore()
    assert await store.take([limit(2, cost=3)], 0.0) == 60.0
    assert await store.take([limit(0)], 1000.0) == 60.0
    assert len(store) == 0


async def test_a_lowered_count_holds_at_once_and_a_raised_one_too() -> None:
    store = SlidingWindowStore()
    for n in range(5):
        assert await store.take([limit(5)], float(n)) is None
    assert await store.take([limit(2)], 10.0) == 53.0
    assert await store.take([limit(6)], 10.0) is None


async def test_a_clock_that_steps_back_frees_nothing() -> None:
    store = SlidingWindowStore()
    assert await store.take([limit(1)], 100.0) is None
    assert await store.take([limit(1)], 10.0) == 60.0
    assert await store.take([limit(1)], 160.0) is None


async def test_idle_keys_are_forgotten() -> None:
    store = SlidingWindowStore()
    for n in range(1000):
        assert await store.take([limit(1, f"agent-{n}")], n / 1000) is None
    assert len(store) == 1000
    for n in range(600):
        await store.take([limit(10_000, "live")], 100.0 + n / 1000)
    assert len(store) == 1


async def test_ever_new_keys_do_not_pile_up() -> None:
    store = SlidingWindowStore()
    for n in range(5000):
        assert await store.take([limit(1, f"agent-{n}", 1.0)], n / 100) is None
        assert len(store) <= 250


async def test_a_refused_call_leaves_no_trace() -> None:
    store = SlidingWindowStore()
    for n in range(100):
        assert await store.take([limit(0, f"agent-{n}")], 0.0) == 60.0
    assert len(store) == 0


async def test_of_many_concurrent_calls_exactly_the_limit_gets_through() -> None:
    store = SlidingWindowStore()

    async def call(number: int) -> bool:
        await asyncio.sleep(0)
        return await store.take([limit(50, "all"), limit(20, f"agent-{number % 4}")], 1.0) is None

    assert sum(await asyncio.gather(*(call(n) for n in range(500)))) == 50


STEPS = st.lists(
    st.tuples(
        st.floats(0, 40).map(lambda x: round(x, 1)),
        st.lists(
            st.builds(Limit, st.sampled_from("abc"), st.integers(0, 6), st.just(30.0), st.integers(1, 3)), max_size=3
        ),
    ),
    max_size=40,
)


@given(STEPS)
@settings(deadline=None)
def test_the_store_agrees_with_a_naive_reference(steps: list[tuple[float, list[Limit]]]) -> None:
    uses: list[tuple[str, float]] = []

    def fits(limits: list[Limit], now: float) -> bool:
        asked: list[str] = []
        for one in limits:
            asked += [one.key] * one.cost
            used = sum(1 for key, time in uses if key == one.key and time > now - one.window)
            if used + asked.count(one.key) > one.count:
                return False
        return True

    async def play() -> None:
        store = SlidingWindowStore()
        now = 0.0
        for pause, limits in steps:
            now += pause
            wait = await store.take(limits, now)
            assert (wait is None) is fits(limits, now)
            if wait is None:
                uses.extend((one.key, now) for one in limits for _ in range(one.cost))
            elif all(sum(x.cost for x in limits if x.key == one.key) <= one.count for one in limits):
                assert fits(limits, now + wait + 1e-6)
                assert not fits(limits, now + wait - 1e-3)

    asyncio.run(play())


@pytest.mark.parametrize("count", [1, 100])
async def test_a_key_holds_no_more_than_its_count(count: int) -> None:
    store = SlidingWindowStore()
    for n in range(1000):
        await store.take([limit(count, window=1e6)], float(n))
    assert len(store._windows["k"].uses) == count

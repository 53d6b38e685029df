"""Calls in flight: one agent's share is bounded, no agent is locked out, nothing is counted for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.inflight import InFlight


def test_an_agent_may_have_so_many_calls_in_flight_and_no_more() -> None:
    flights = InFlight(2, 1000)
    assert flights.enter("a", 1)
    assert flights.enter("a", 1)
    assert not flights.enter("a", 1)
    assert flights.enter("b", 1)
    flights.leave("a", 1)
    assert flights.enter("a", 1)


def test_an_agent_may_have_so_many_bytes_in_flight_and_no_more() -> None:
    flights = InFlight(10, 100)
    assert flights.enter("a", 60)
    assert not flights.enter("a", 41)
    assert flights.enter("a", 40)
    assert not flights.enter("a", 1)
    assert flights.enter("b", 100)


def test_a_single_call_is_let_in_whatever_its_size() -> None:
    flights = InFlight(2, 100)
    assert flights.enter("a", 10_000)
    assert not flights.enter("a", 0)
    flights.leave("a", 10_000)
    assert flights.enter("a", 1)


def test_a_refused_call_counts_nothing() -> None:
    flights = InFlight(1, 100)
    assert flights.enter("a", 5)
    assert not flights.enter("a", 5)
    assert (flights.calls, flights.bytes) == (1, 5)


def test_an_agent_without_calls_is_forgotten() -> None:
    flights = InFlight(5, 100)
    for number in range(1000):
        assert flights.enter(f"agent-{number}", 7)
        flights.leave(f"agent-{number}", 7)
    assert (len(flights), flights.calls, flights.bytes) == (0, 0, 0)


def test_leaving_twice_or_without_entering_does_no_harm() -> None:
    flights = InFlight(5, 100)
    flights.leave("a", 5)
    assert flights.enter("a", 5)
    flights.leave("a", 5)
    flights.leave("a", 5)
    assert (len(flights), flights.calls, flights.bytes) == (0, 0, 0)


def test_bytes_that_differ_from_those_entered_do_not_stay_behind() -> None:
    flights = InFlight(5, 100)
    assert flights.enter("a", 50)
    assert flights.enter("a", -5)
    flights.leave("a", 9_999)
    assert (flights.calls, flights.bytes) == (1, 0)
    flights.leave("a", 0)
    assert (len(flights), flights.calls, flights.bytes) == (0, 0, 0)


@pytest.mark.parametrize(("calls", "size"), [(0, 1), (1, 0), (-1, 5)])
def test_bounds_below_one_are_refused(calls: int, size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        InFlight(calls, size)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.booleans())))
def test_the_gauges_are_the_sum_of_what_is_in_flight(steps: list[tuple[str, int, bool]]) -> None:
    flights = InFlight(3, 100)
    inside: list[tuple[str, int]] = []
    for agent, size, enters in steps:
        mine = [call for call in inside if call[0] == agent]
        if enters:
            room = not mine or (len(mine) < 3 and sum(call[1] for call in mine) + size <= 100)
            assert flights.enter(agent, size) is room
            if room:
                inside.append((agent, size))
        elif mine:
            inside.remove(mine[0])
            flights.leave(*mine[0])
        assert flights.calls == len(inside)
        assert flights.bytes == sum(call[1] for call in inside)
        assert len(flights) == len({call[0] for call in inside})

"""Work on large bodies leaves the event loop, and agents are served in turn."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from kalguard_ext_authz.workers import FairWorkers


async def test_work_runs_in_another_thread_and_its_result_comes_back() -> None:
    workers = FairWorkers()
    assert await workers("a", threading.get_ident) != threading.get_ident()
    workers.close()


async def test_an_exception_of_the_work_is_raised_to_who_asked_for_it() -> None:
    workers = FairWorkers()

    def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await workers("a", fail)
    assert await workers("a", lambda: 1) == 1, "the pool goes on"
    workers.close()


async def test_an_agent_with_much_work_waits_behind_its_own() -> None:
    workers = FairWorkers()
    order: list[str] = []

    def work(name: str) -> None:
        time.sleep(0.005)
        order.append(name)

    greedy = [workers("greedy", lambda i=i: work(f"greedy-{i}")) for i in range(5)]  # type: ignore[misc]
    modest = workers("modest", lambda: work("modest"))
    await asyncio.gather(*greedy, modest)
    assert order.index("modest") <= 1
    assert [name for name in order if name != "modest"] == [f"greedy-{i}" for i in range(5)]
    workers.close()


async def test_work_that_nobody_waits_for_any_more_is_not_done() -> None:
    workers = FairWorkers()
    done: list[int] = []
    first = asyncio.ensure_future(workers("a", lambda: time.sleep(0.05)))
    second = asyncio.ensure_future(workers("a", lambda: done.append(2)))
    third = asyncio.ensure_future(workers("a", lambda: done.append(3)))
    await asyncio.sleep(0.01)
    second.cancel()
    await first
    await third
    assert done == [3]
    workers.close()


async def test_the_event_loop_goes_on_while_work_is_done() -> None:
    workers = FairWorkers()
    task = asyncio.ensure_future(workers("a", lambda: time.sleep(0.2)))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 5
    workers.close()

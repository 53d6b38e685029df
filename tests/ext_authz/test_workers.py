"""Large bodies are examined by another process, agents in turn; losing that process costs one answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kalguard_core.codes import ErrorCode
from kalguard_core.examination import Examination, Examiner, Task
from kalguard_core.firewall.document import Firewalls
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.tools import ToolCatalog
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_ext_authz import workers
from kalguard_ext_authz.examiner_process import ExaminerFailed, _read_result
from kalguard_ext_authz.workers import FairThread, LargeBodyWorker
from naughty_protocol import ROUTE, Deaf, Naughty

FIREWALLS = Firewalls.of(Deaf())
TOOLS = ToolCatalog.parse("tools: {search: {schema: {query: {type: string, required: true}}}}", "tools.yaml")


def naughty(body: str, tools: ToolCatalog = TOOLS) -> Task:
    request = AgentRequest("id", "naughty", "POST", "h", "/", {}, 0.0, 0.0, context={})
    return Task(Examiner(FIREWALLS, tools), Naughty(), request, ROUTE, body.encode())


@contextlib.asynccontextmanager
async def a_worker(**options: Any) -> AsyncIterator[LargeBodyWorker]:
    worker = LargeBodyWorker(**options)
    try:
        yield worker
    finally:
        worker.close()


async def examined(worker: LargeBodyWorker, body: str, agent: str = "a") -> dict[str, Any]:
    digest, result = await worker.examine(agent, naughty(body), lambda data: f"digest-{len(data)}")
    assert digest == f"digest-{len(body)}"
    assert isinstance(result, Examination), result
    return dict(result.reading.actions[0].attributes)


async def refused(worker: LargeBodyWorker, body: str, agent: str = "a") -> Refusal:
    digest, result = await worker.examine(agent, naughty(body), lambda data: f"digest-{len(data)}")
    assert digest == f"digest-{len(body)}", "what killed a process can be recognised"
    assert isinstance(result, Refusal)
    return result


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while is_running(pid):
            await asyncio.sleep(0.01)


async def test_bodies_are_examined_by_one_process_that_is_not_ours() -> None:
    async with a_worker() as worker:
        assert worker.pid is None, "nothing runs before the first body"
        pids = {(await examined(worker, f"body {index}"))["pid"] for index in range(3)}
        assert pids == {worker.pid}
        assert worker.pid != os.getpid()


async def test_the_process_is_polite_and_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KALGUARD_TOKEN_SECRET", "x" * 40)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x" * 40)
    async with a_worker() as worker:
        seen = await examined(worker, "look")
    assert not {name for name in seen["environment"].split() if "SECRET" in name or "KALGUARD" in name}
    assert seen["nice"] >= os.nice(0) + 10
    assert seen["session"], "signals of a terminal do not reach it"
    assert seen["parent"] == os.getpid()
    assert not {"grpc", "uvicorn", "jwt", "structlog"} & set(seen["modules"].split()), "only what examines"
    if sys.platform == "linux":
        assert seen["oom"] == "500", "the gate is not the first to go when memory runs out"


async def test_a_refusal_comes_back_whole() -> None:
    async with a_worker() as worker:
        refusal = await refused(worker, "refuse")
    assert (refusal.code, refusal.reason, refusal.detail, refusal.retry_after) == (
        ErrorCode.BAD_REQUEST,
        "no",
        "because",
        2.0,
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [("die", "signal 9"), ("exit", "status 3"), ("hang", "no answer within"), ("evil", "can't be read")],
)
async def test_a_body_that_costs_us_the_process_is_refused_and_the_next_one_is_examined(body: str, why: str) -> None:
    async with a_worker(deadline_seconds=4 if body == "hang" else 30) as worker:
        before = (await examined(worker, "well"))["pid"]
        poison = asyncio.ensure_future(refused(worker, body))
        other = asyncio.ensure_future(examined(worker, "well", "another agent"))
        refusal = await poison
        assert (refusal.code, refusal.reason) == (ErrorCode.INTERNAL, "internal error")
        assert why in refusal.detail
        assert (await other)["pid"] != before
        assert not is_running(before)


@pytest.mark.parametrize(("body", "error"), [("fail", "ZeroDivisionError: a bug"), ("memory", "MemoryError")])
async def test_a_bug_is_reported_with_its_traceback_and_the_process_goes_on(body: str, error: str) -> None:
    async with a_worker() as worker:
        before = (await examined(worker, "well"))["pid"]
        with pytest.raises(ExaminerFailed, match=error):
            await worker.examine("a", naughty(body), len)  # type: ignore[arg-type]
        assert (await examined(worker, "well"))["pid"] == before


async def test_a_process_that_dies_between_two_bodies_costs_no_answer() -> None:
    async with a_worker() as worker:
        before = (await examined(worker, "well"))["pid"]
        os.kill(before, signal.SIGKILL)
        await asyncio.sleep(0.05)
        assert (await examined(worker, "well"))["pid"] != before


async def test_signals_that_are_meant_for_the_gate_do_not_end_the_process() -> None:
    async with a_worker() as worker:
        before = (await examined(worker, "well"))["pid"]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(before, number)
        assert (await examined(worker, "well"))["pid"] == before


async def test_a_process_that_keeps_too_much_memory_is_replaced() -> None:
    async with a_worker(max_rss_bytes=1) as worker:
        first = (await examined(worker, "well"))["pid"]
        await until_gone(first)
        assert (await examined(worker, "well"))["pid"] != first


async def test_a_body_finds_a_process_that_was_prepared_for_its_catalog() -> None:
    changed = ToolCatalog.parse("tools: {search: {schema: {query: {type: integer}}}}", "tools.yaml")
    async with a_worker() as worker:
        for tools in (TOOLS, TOOLS, changed):
            worker.prepare(Examiner(FIREWALLS, tools))
        async with asyncio.timeout(20):
            while worker.pid is None:
                await asyncio.sleep(0.01)
        prepared = worker.pid
        modules = (await examined(worker, "look"))["modules"].split()
        assert "kalguard_core.wire.registry" in modules, "nothing that a body needs is left to load"
        assert (await examined(worker, "well"))["pid"] == prepared


async def test_an_idle_process_gives_its_place_to_a_fresh_one_and_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(workers, "_MALLOC_TRIM", trimmed.append)
    async with a_worker(idle_seconds=0.3, trim_seconds=0.01) as worker:
        first = (await examined(worker, "well"))["pid"]
        await until_gone(first)
        assert trimmed == [0]
        async with asyncio.timeout(5):
            while worker.pid is None:
                await asyncio.sleep(0.01)
        fresh = worker.pid
        assert (await examined(worker, "well"))["pid"] == fresh != first


async def test_closing_does_not_wait_for_a_body_that_hangs() -> None:
    async with a_worker() as worker:
        pid = (await examined(worker, "well"))["pid"]
        hanging = asyncio.ensure_future(refused(worker, "hang"))
        waiting = asyncio.ensure_future(refused(worker, "waiting"))
        await asyncio.sleep(0.05)
    await until_gone(pid)
    assert (await hanging).code is ErrorCode.INTERNAL
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_the_process_ends_with_ours_even_when_it_hangs(tmp_path: Path) -> None:
    """What ends ours here is SIGKILL, so nothing of ours can tidy up."""
    script = tmp_path / "gate.py"
    script.write_text(
        textwrap.dedent("""
            import asyncio, sys
            import test_workers as t

            async def main():
                worker = t.LargeBodyWorker()
                print((await t.examined(worker, "well"))["pid"], flush=True)
                await worker.examine("a", t.naughty("hang"), len)

            asyncio.run(main())
        """)
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    gate = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert gate.stdout is not None
    pid = int(gate.stdout.readline())
    time.sleep(0.1)
    gate.kill()
    gate.wait()
    gate.stdout.close()
    asyncio.run(until_gone(pid))


async def test_a_changed_catalog_and_changed_thresholds_are_used_from_the_next_body_on() -> None:
    body = b'{"toolName": "search", "arguments": {"query": "x"}}'
    request = AgentRequest("id", "api", "POST", "h", "/v1/tool/check", {}, 0.0, 0.0, context={})
    api = PROTOCOLS["api"]
    async with a_worker() as worker:
        for tools, allowed in ((TOOLS, True), (ToolCatalog.empty(), False), (TOOLS, True)):
            task = Task(Examiner(FIREWALLS, tools), api, request, api.route(request), body)
            _, result = await worker.examine("a", task, lambda _: "")
            assert isinstance(result, Examination)
            assert (result.findings[0].tool_refusal is None) is allowed
            assert result.reading.actions[0].arguments is None, "megabytes need not come back"


async def test_an_examiner_that_cannot_be_read_leaves_no_old_one_in_force() -> None:
    async with a_worker() as worker:
        assert await examined(worker, "well")
        for _ in range(2):
            with pytest.raises(ExaminerFailed):
                await worker.examine("a", naughty("well", tools=_Unreadable()), len)  # type: ignore[arg-type]
        assert await examined(worker, "well")


class _Unreadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)


@pytest.mark.parametrize("value", [print, subprocess.Popen, {"a": 1}, Path("/"), Deaf()])
def test_only_answers_are_read_as_answers(value: Any) -> None:
    with pytest.raises(pickle.UnpicklingError):
        _read_result(pickle.dumps(value))


async def test_work_runs_in_another_thread_and_its_result_comes_back() -> None:
    thread = FairThread()
    assert await thread("a", threading.get_ident) != threading.get_ident()
    thread.close()


async def test_an_exception_of_the_work_is_raised_to_who_asked_for_it() -> None:
    thread = FairThread()

    def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await thread("a", fail)
    assert await thread("a", lambda: 1) == 1, "the thread goes on"
    thread.close()


async def test_an_agent_with_much_work_waits_behind_its_own() -> None:
    thread = FairThread()
    order: list[str] = []

    def work(name: str) -> None:
        time.sleep(0.005)
        order.append(name)

    greedy = [thread("greedy", lambda i=i: work(f"greedy-{i}")) for i in range(5)]  # type: ignore[misc]
    modest = thread("modest", lambda: work("modest"))
    await asyncio.gather(*greedy, modest)
    assert order.index("modest") <= 1
    assert [name for name in order if name != "modest"] == [f"greedy-{i}" for i in range(5)]
    thread.close()


async def test_work_that_nobody_waits_for_any_more_is_not_done_nor_kept() -> None:
    thread = FairThread()
    done: list[int] = []
    first = asyncio.ensure_future(thread("a", lambda: time.sleep(0.05)))
    second = asyncio.ensure_future(thread("a", lambda: done.append(2)))
    third = asyncio.ensure_future(thread("a", lambda: done.append(3)))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.sleep(0)
    assert [len(queue) for queue in thread._waiting.values()] == [1], "its body is free at once"
    await first
    await third
    assert done == [3]
    thread.close()


async def test_the_event_loop_goes_on_while_work_is_done() -> None:
    thread = FairThread()
    task = asyncio.ensure_future(thread("a", lambda: time.sleep(0.2)))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 5
    thread.close()

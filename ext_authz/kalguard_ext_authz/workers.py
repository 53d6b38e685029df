"""Worker threads for large bodies, shared fairly: agents are served in turn, one piece of work each.

Rule of this file: the event loop never waits for a large body, and an agent that sends many of them waits
behind its own, not in front of others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class FairWorkers:
    """A bounded pool of threads. Implements `kalguard_core.guard.Offload`; used from one event loop only.

    One thread is the default: the work holds Python's global lock most of the time, so more threads add no
    throughput and make the event loop compete with each of them.
    """

    def __init__(self, threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="kalguard-large-body")
        self._free = threads
        self._waiting: dict[str, deque[_Job]] = {}  # per agent, in order; the dict's order is whose turn it is
        self._running: set[str] = set()

    def __call__(self, agent_id: str, work: Callable[[], T]) -> Awaitable[T]:
        """The result of `work()`, run in a thread when it is this agent's turn."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(agent_id, deque()).append((work, future))
        self._start_next()
        return future

    def close(self) -> None:
        """Let the threads end; work that has not started is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start_next(self) -> None:
        while self._free:
            agent_id = next((agent for agent in self._waiting if agent not in self._running), None)
            if agent_id is None:
                return
            queue = self._waiting.pop(agent_id)
            work, future = queue.popleft()
            if queue:
                self._waiting[agent_id] = queue
            if future.cancelled():
                continue
            self._free -= 1
            self._running.add(agent_id)
            self._pool.submit(work).add_done_callback(partial(self._hand_back, agent_id, future))

    def _hand_back(self, agent_id: str, future: asyncio.Future[Any], done: Future[Any]) -> None:
        """In the worker thread: let the event loop take the result."""
        try:
            future.get_loop().call_soon_threadsafe(self._finished, agent_id, future, done)
        except RuntimeError:
            pass  # the loop was closed meanwhile: nobody waits for the result any more

    def _finished(self, agent_id: str, future: asyncio.Future[Any], done: Future[Any]) -> None:
        self._free += 1
        self._running.discard(agent_id)
        if queue := self._waiting.pop(agent_id, None):
            self._waiting[agent_id] = queue  # to the end of the line, behind those that came meanwhile
        if not future.cancelled():
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)
        self._start_next()

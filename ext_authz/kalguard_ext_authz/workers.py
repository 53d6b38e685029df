"""Large bodies: examined by a process beside us, agents in turn, one body each.

Rules of this file: the event loop never waits for a large body, and an agent that sends many of them waits
behind its own, not in front of others. A body that kills the process, or keeps it too long, is refused, and nobody
else's. A process is there before the body is: to start one takes a second, and on a busy machine more than the 2 s
that Envoy waits.

Why a process: reading and scoring holds Python's global lock for 5 to 12 ms at a time, and a thread that does it
would hold up the event loop as long. Why a thread beside it: to hash a body and to hand megabytes to a socket
needs no lock, but time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from kalguard_core.codes import ErrorCode
from kalguard_core.examination import Examination, Examiner, Task
from kalguard_core.request import Refusal

from .examiner_process import ExaminerFailed, ExaminerLost, ExaminerProcess

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]

DEADLINE_SECONDS: Final = 10.0  # for one body, the start of the process included; 5 MiB take 0.15 s
IDLE_SECONDS: Final = 300.0  # then a new process takes its place, and its memory is free
TRIM_SECONDS: Final = 2.0  # after the last large body
MAX_RSS_BYTES: Final = 512 * 1024 * 1024  # of the process after a body; a new one has 50 MiB
_log = structlog.get_logger("kalguard.workers")


class FairThread:
    """A thread whose users are served in turn. Used from one event loop only."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kalguard-large-body")
        self._waiting: dict[str, deque[_Job]] = {}  # per agent, in order; the dict's order is whose turn it is
        self._busy = False

    def __call__(self, agent_id: str, work: Callable[[], T]) -> Awaitable[T]:
        """The result of `work()`, run in the thread when it is this agent's turn."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        job = (work, future)
        self._waiting.setdefault(agent_id, deque()).append(job)
        future.add_done_callback(partial(self._drop_cancelled, agent_id, job))
        self._start_next()
        return future

    def soon(self, work: Callable[[], object]) -> None:
        """Run something short behind the work that runs now; nothing any more once the thread was closed."""
        with contextlib.suppress(RuntimeError):
            self._pool.submit(work)

    def close(self) -> None:
        """Let the thread end; work that has not started is dropped."""
        self._pool.shutdown(wait=False)
        for queue in self._waiting.values():
            for _, future in queue:
                future.cancel()

    def _drop_cancelled(self, agent_id: str, job: _Job, future: asyncio.Future[Any]) -> None:
        """What nobody waits for any more must not hold megabytes until it is its turn."""
        queue = self._waiting.get(agent_id)
        if not future.cancelled() or queue is None or job not in queue:
            return
        queue.remove(job)
        if not queue:
            del self._waiting[agent_id]

    def _start_next(self) -> None:
        while self._waiting and not self._busy:
            agent_id = next(iter(self._waiting))
            queue = self._waiting[agent_id]
            work, future = queue.popleft()
            if not queue:
                del self._waiting[agent_id]
            if future.cancelled():
                continue
            self._busy = True
            self._pool.submit(work).add_done_callback(partial(self._hand_back, agent_id, future))

    def _hand_back(self, agent_id: str, future: asyncio.Future[Any], done: Future[Any]) -> None:
        """In the thread: let the event loop take the result."""
        try:
            future.get_loop().call_soon_threadsafe(self._finished, agent_id, future, done)
        except RuntimeError:
            pass  # the loop was closed meanwhile: nobody waits for the result any more

    def _finished(self, agent_id: str, future: asyncio.Future[Any], done: Future[Any]) -> None:
        self._busy = False
        if queue := self._waiting.pop(agent_id, None):
            self._waiting[agent_id] = queue  # to the end of the line, behind those that came meanwhile
        if not future.cancelled():
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)
        self._start_next()


class LargeBodyWorker:
    """Implements `kalguard_core.examination.LargeBodies` with one process, which starts with `prepare` or the first
    body. Once there was one, there always is.

    One is enough: large bodies are rare, and a second would take a core from the calls of everybody.
    """

    def __init__(
        self,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        trim_seconds: float = TRIM_SECONDS,
        max_rss_bytes: int = MAX_RSS_BYTES,
    ) -> None:
        self._deadline_seconds = deadline_seconds
        self._idle_seconds = idle_seconds
        self._trim_seconds = trim_seconds
        self._max_rss_bytes = max_rss_bytes
        self._thread = FairThread()
        self._process: ExaminerProcess | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._closed = False
        self._examiner: Examiner | None = None  # of the tasks to come

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def prepare(self, examiner: Examiner) -> None:
        """Start the process, and load what tasks of this examiner need, so that the next body need not wait for it."""
        self._examiner = examiner
        self._thread.soon(self._start)

    async def examine(
        self, agent_id: str, task: Task, digest: Callable[[bytes], str]
    ) -> tuple[str, Examination | Refusal]:
        """See `LargeBodies.examine`. Raises `ExaminerFailed` for a bug in what the task runs."""
        self._rest_later()
        return await self._thread(agent_id, partial(self._examine, task, digest))

    def close(self) -> None:
        """End the process and the thread, whatever they do."""
        self._closed = True
        self._cancel_timers()
        if self._process is not None:
            self._process.kill()
        self._thread.soon(self._end)
        self._thread.close()

    def _examine(self, task: Task, digest: Callable[[bytes], str]) -> tuple[str, Examination | Refusal]:
        name = digest(task.body)
        self._examiner = task.examiner
        try:
            process = self._living()
            result = process.examine(task, self._deadline_seconds)
        except (ExaminerLost, OSError) as error:
            self._process = None
            problem = f"large body of {len(task.body)} bytes not examined: {error}"
            _log.error("examiner_lost", request_id=task.request.id, problem=problem)
            self._thread.soon(self._start)
            return name, Refusal(ErrorCode.INTERNAL, "internal error", detail=problem)
        if process.rss_bytes > self._max_rss_bytes:
            self._end()
            self._thread.soon(self._start)
        return name, result

    def _living(self) -> ExaminerProcess:
        if self._process is not None and not self._process.alive:
            self._end()
        if self._process is None:
            self._process = ExaminerProcess()
        return self._process

    def _start(self) -> None:
        if self._closed:
            return
        try:
            process = self._living()
            if self._examiner is not None:
                process.prepare(self._examiner, self._deadline_seconds)
        except (ExaminerLost, ExaminerFailed, OSError) as error:
            self._end()  # the next body tries again, and is refused if that fails too
            _log.error("examiner_not_prepared", problem=str(error))

    def _renew(self) -> None:
        self._end()
        self._start()

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def _rest_later(self) -> None:
        """Give memory back when no large body came for a while: first what is left of them here, then what the
        process keeps."""
        self._cancel_timers()
        loop = asyncio.get_running_loop()
        self._timers = [
            loop.call_later(self._trim_seconds, self._thread.soon, _trim),
            loop.call_later(self._idle_seconds, self._thread.soon, self._renew),
        ]

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def _malloc_trim() -> Callable[[int], int] | None:
    """Of glibc; others give memory back by themselves."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


_MALLOC_TRIM: Final = _malloc_trim()


def _trim() -> None:
    """Give back what glibc keeps of large bodies in the arenas of gRPC's threads."""
    if _MALLOC_TRIM is not None:
        _MALLOC_TRIM(0)

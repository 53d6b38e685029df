"""The audit log of one process: events in, chained lines out, checkpoints beside them.

Rules of this file:
- From linking to writing nothing awaits, so lines are in the file in the order of their numbers.
- The chain moves on only when the sink took the lines; a failed write leaves no hole.
- What was not recorded is counted, and the first thing written after a failure is an `audit_gap` event about it.
- A checkpoint is signed only for lines that are on the disk, or a power cut would look like tampering.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

from kalguard_core.audit.chain import Chain, LineError, read_line
from kalguard_core.audit.checkpoint import sign_checkpoint
from kalguard_core.audit.event import Event, events_of, gap_event, recovered_event, started_event
from kalguard_core.decision import Decision
from kalguard_core.request import AgentRequest

from .health import Check
from .sinks.base import Opened, Sink, SinkError, Torn
from .sinks.checkpoints import CheckpointFile
from .state import State, StateError

RETRY_SECONDS: Final = 0.5  # between two attempts to open a failing sink
CHECKPOINT_RETRY_SECONDS: Final = 5.0
FLUSH_SECONDS: Final = 1.0  # what a power cut can cost with fsync "interval"
_VERSION: Final = version("kalguard")
_log = structlog.get_logger("kalguard.audit")


class AuditUnavailable(Exception):
    """The answer could not be recorded. `str()` says why, for operators; an agent is never shown it."""


@dataclass(slots=True)
class _Missed:
    """Answers that were not recorded."""

    count: int
    first: float
    last: float
    cause: str


class AuditLog:
    """Records answers. Used from one event loop.

    `clock`: Unix seconds. `monotonic`: a clock that never steps. `checkpoint_path`: where signed checkpoints go,
    None for none. `checkpoint_every`: events, `checkpoint_seconds`: seconds between two of them at most.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        state: State,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        checkpoint_path: Path | None = None,
        checkpoint_every: int = 1000,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self._sink = sink
        self._ids = _event_ids()
        self._state = state
        self._clock = clock
        self._monotonic = monotonic
        self._checkpoints = None if checkpoint_path is None else CheckpointFile(checkpoint_path)
        self._checkpoint_every = checkpoint_every
        self._checkpoint_seconds = checkpoint_seconds
        self._chain: Chain | None = None  # None until the log was opened once
        self._usable = False
        self._closed = False
        self._started = False
        self._failure = "not opened yet"
        self._retry_at = 0.0
        self._missed: _Missed | None = None
        self._torn: list[Torn] = []
        self._lost = ""
        self._rotations = 0
        self._boundary: Chain | None = None  # end of a rotated file, waits for its checkpoint
        self._signed_seq = 0
        self._signed_at = 0.0
        self._checkpoint_problem = ""
        self._signing = asyncio.Lock()
        # a thread of its own: appends stay in order even when the one who waits for them is cancelled
        self._signer = ThreadPoolExecutor(1, thread_name_prefix="kalguard-checkpoint")
        self._wake = asyncio.Event()

    @property
    def seq(self) -> int:
        """Number of the last line written, 0 for none."""
        return 0 if self._chain is None else self._chain.seq

    @property
    def unrecorded(self) -> int:
        """Answers that are not in the log yet, not even as a number in an `audit_gap` event."""
        return 0 if self._missed is None else self._missed.count

    def digest(self, data: bytes) -> str:
        """Keyed digest of an input, for the event about it."""
        return self._state.digest(data)

    # -- the way of an answer -------------------------------------------------------------------------------

    async def open(self) -> None:
        """Continue the log. Never raises: while it can't be opened every `record` does, and `health` says why."""
        try:
            self._open()
        except AuditUnavailable as error:
            _log.error("audit_unavailable", error=str(error))
            return
        await self.checkpoint()

    async def record(self, request: AgentRequest, decision: Decision, *, transport: str, latency_us: int) -> None:
        """Write the events of one answer; it may leave when this returns. Raises `AuditUnavailable`."""
        self.append(request, decision, transport=transport, latency_us=latency_us)
        if self._sink.durability == "always":
            try:
                await self._flush()
            except AuditUnavailable as error:
                self._miss(request.time, str(error))
                raise

    def append(self, request: AgentRequest, decision: Decision, *, transport: str, latency_us: int) -> None:
        """Like `record`, for callers that can't wait: the lines are in the file, and with fsync "always" on their
        way to the disk. Raises `AuditUnavailable`."""
        try:
            if not self._usable:
                self._open()
            self._write(
                events_of(request, decision, event_ids=self._ids.__next__, transport=transport, latency_us=latency_us)
            )
        except AuditUnavailable as error:
            self._miss(request.time, str(error))
            raise
        except (TypeError, ValueError, OverflowError) as error:
            # an event that can't be written as JSON: a bug, and still no answer without its line
            self._miss(request.time, f"event of {request.id[:64]!r} could not be written: {type(error).__name__}")
            raise AuditUnavailable("the event could not be written") from error

    def _miss(self, now: float, cause: str) -> None:
        if self._missed is None:
            self._missed = _Missed(0, now, now, cause)
        self._missed.count += 1
        self._missed.first = min(self._missed.first, now)
        self._missed.last = max(self._missed.last, now)
        self._wake.set()

    def _write(self, events: list[Event]) -> None:
        """Link and write, all of it or nothing. Raises `AuditUnavailable`."""
        before = chain = self._chain
        assert chain is not None
        assert before is not None
        missed = self._missed
        if missed is not None:
            events = [self._gap(missed), *events]
        lines = []
        for event in events:
            line, chain = chain.link(event)
            lines.append(line)
        try:
            self._sink.write(lines)
        except SinkError as error:
            self._fail(str(error))
            raise AuditUnavailable(str(error)) from None
        self._chain = chain
        if missed is not None:
            self._missed = None
        if self._sink.rotations != self._rotations:
            self._rotations = self._sink.rotations
            self._boundary = before
            self._wake.set()
        elif chain.seq - self._signed_seq >= self._checkpoint_every:
            self._wake.set()

    def _gap(self, missed: _Missed) -> Event:
        return gap_event(
            next(self._ids),
            self._clock(),
            count=missed.count,
            first=missed.first,
            last=missed.last,
            cause=missed.cause,
        )

    async def _flush(self) -> None:
        try:
            await self._sink.flush()
        except SinkError as error:
            self._fail(str(error))
            raise AuditUnavailable(str(error)) from None

    def _fail(self, failure: str) -> None:
        if self._usable:
            _log.error("audit_unavailable", error=failure)
        self._usable = False
        self._failure = failure
        self._retry_at = self._monotonic() + RETRY_SECONDS
        self._wake.set()

    # -- opening, and opening again ---------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the sink and say in the log what happened before. Raises `AuditUnavailable`."""
        if self._closed or self._monotonic() < self._retry_at:
            raise AuditUnavailable(self._failure)
        try:
            opened = self._sink.open()
            if opened.torn is not None:
                self._torn.append(opened.torn)
            self._state.load(self._clock())
            if self._chain is None:
                self._chain = self._continued(opened)
        except (SinkError, StateError, OSError) as error:
            self._fail(str(error))
            raise AuditUnavailable(self._failure) from None
        self._rotations = self._sink.rotations
        self._write_opening()
        if self._failure and self._started:
            _log.info("audit_available", after=self._failure)
        self._usable, self._started, self._failure = True, True, ""

    def _write_opening(self) -> None:
        now = self._clock()
        events = [
            recovered_event(next(self._ids), now, size=torn.size, sha256=torn.sha256, kept_in=torn.kept_in)
            for torn in self._torn
        ]
        if not self._started:
            signer = self._state.key_id if self._checkpoints is not None else ""
            events.append(started_event(next(self._ids), now, version=_VERSION, key_id=signer, detail=self._lost))
        if events or self._missed is not None:
            self._write(events)
        self._torn.clear()

    def _continued(self, opened: Opened) -> Chain:
        """Where the chain goes on: after the last line, or after the last signed one if that is gone."""
        instance = self._state.instance
        chain = Chain(instance)
        if opened.last_line is not None:
            try:
                last = read_line(opened.last_line)
            except LineError as error:
                raise SinkError(f"the last line of the audit log is {error}; move the file away") from None
            if last.instance != instance:
                raise SinkError(
                    f"the audit log was written by instance {last.instance}, and the state is that of {instance}; "
                    "restore the state directory that belongs to the log, or move the log away"
                )
            chain = Chain(instance, last.seq, last.hash)
        if self._checkpoints is None:
            return chain
        try:
            signed = self._checkpoints.last(instance, self._state.signing_key.public_key())
        except OSError as error:
            self._checkpoint_problem = f"checkpoints: {self._checkpoints.path}: {error.strerror}"
            return chain
        if signed is None or signed.seq <= chain.seq:
            return chain
        self._lost = f"the log ended with line {chain.seq}, but line {signed.seq} had been signed: lines are missing"
        _log.error("audit_lines_missing", last=chain.seq, signed=signed.seq)
        return Chain(instance, signed.seq, signed.hash)

    # -- beside the answers -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush, sign, rotate keys and recover, until cancelled."""
        next_flush = self._monotonic()
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), RETRY_SECONDS)
            except TimeoutError:
                pass
            self._wake.clear()
            now = self._monotonic()
            self._recover(now)
            if self._sink.durability == "interval" and self._usable and now >= next_flush:
                next_flush = now + FLUSH_SECONDS
                try:
                    await self._flush()
                except AuditUnavailable:
                    continue  # `_fail` noted it
            if self._checkpoint_due(now):
                await self.checkpoint()
            try:
                self._state.rotate_digest_key(self._clock())
            except OSError as error:
                _log.error("digest_key_not_rotated", error=str(error))

    def _recover(self, now: float) -> None:
        """Notice a failure, and its end, while nobody asks: a balancer sends nothing to who is not ready."""
        if self._usable:
            health = self._sink.healthy()
            if not health.ok:
                self._fail(health.detail)
            elif self._missed is not None:
                try:
                    self._write([])
                except AuditUnavailable:
                    pass  # `_fail` noted it
        elif now >= self._retry_at:
            try:
                self._open()
            except AuditUnavailable:
                pass  # `_fail` noted it

    def _checkpoint_due(self, now: float) -> bool:
        if self._checkpoints is None or self._chain is None:
            return False
        if self._checkpoint_problem and now - self._signed_at < CHECKPOINT_RETRY_SECONDS:
            return False
        if self._boundary is not None or self.seq - self._signed_seq >= self._checkpoint_every:
            return True
        return self.seq > self._signed_seq and now - self._signed_at >= self._checkpoint_seconds

    async def checkpoint(self) -> None:
        """Sign where the log stands now. Never raises: a failure is a degraded `health`, answers go on."""
        if self._checkpoints is None:
            return
        async with self._signing:
            chain, boundary = self._chain, self._boundary
            if chain is None or not self._usable or (chain.seq == self._signed_seq and boundary is None):
                return
            self._signed_at = self._monotonic()
            try:
                await self._flush()
                for point in (boundary, chain):
                    if point is not None and point.seq > self._signed_seq:
                        line = sign_checkpoint(point, self._clock(), self._state.signing_key)
                        await asyncio.get_running_loop().run_in_executor(self._signer, self._checkpoints.append, line)
                        self._signed_seq = point.seq
            except AuditUnavailable:
                return  # the log itself fails, which is said louder elsewhere
            except OSError as error:
                problem = f"checkpoints: {self._checkpoints.path}: {error.strerror}"
                if not self._checkpoint_problem:
                    _log.error("checkpoint_not_written", error=problem)
                self._checkpoint_problem = problem
                return
            self._checkpoint_problem = ""
            if self._boundary is boundary:
                self._boundary = None

    async def reopen(self) -> None:
        """Something outside renamed the file (SIGHUP): go on in a new one. No line is lost, the chain goes on."""
        self._sink.reopen()
        self._recover(self._monotonic())

    async def close(self) -> None:
        """Write what is left, sign the end, close. Safe to call twice."""
        if self._closed:
            return
        self._retry_at = 0.0
        if self._missed is not None:
            self._recover(self._monotonic())
        await self.checkpoint()
        try:
            await self._flush()
        except AuditUnavailable as error:
            _log.error("audit_not_flushed", error=str(error))
        if self._missed is not None:
            _log.error("audit_gap_not_written", count=self._missed.count, cause=self._missed.cause)
        self._closed, self._usable, self._failure = True, False, "the audit log is closed"
        self._signer.shutdown(wait=False)
        self._sink.close()

    def health(self) -> Check:
        """Whether answers can be recorded, and what an operator should look at."""
        if not self._usable:
            return Check("unavailable", self._failure)
        sink = self._sink.healthy()
        if not sink.ok:
            self._fail(sink.detail)
            return Check("unavailable", sink.detail)
        problems = [problem for problem in (self._lost, self._checkpoint_problem, sink.detail) if problem]
        return Check("degraded", "; ".join(problems)) if problems else Check("ok")


def _event_ids() -> Iterator[str]:
    """Random ids. The randomness of many is fetched at once, because a system call for each would be felt."""
    while True:
        digits = os.urandom(12 * 64).hex()
        for start in range(0, len(digits), 24):
            yield "evt_" + digits[start : start + 24]

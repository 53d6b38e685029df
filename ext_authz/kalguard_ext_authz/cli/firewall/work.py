"""Many texts through a firewall, in order, by one process or several; and how far that has come.

Rules of this file: memory does not grow with the number of lines. With several processes, at most a few batches
for each are under way; an answer leaves as soon as all before it have.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from .chosen import Maker

if TYPE_CHECKING:
    from kalguard_core.firewall import PromptFirewall

BATCH: Final = 64
_AHEAD: Final = 4  # batches under way for each process

S = TypeVar("S")
T = TypeVar("T")
Task = Callable[["PromptFirewall", S], T]

_FIREWALL: PromptFirewall | None = None  # of a worker process


def answers(make: Maker, task: Task[S, T], things: Iterable[S], jobs: int) -> Iterator[T]:
    """`task(firewall, thing)` of each thing, in order. `task` and `make` must be importable if `jobs` is over 1."""
    if jobs <= 1:
        firewall = make()
        for thing in things:
            yield task(firewall, thing)
        return
    source = iter(things)
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin, initargs=(make,)) as pool:
        under_way: deque[Future[list[T]]] = deque()
        while batch := list(islice(source, BATCH)):
            under_way.append(pool.submit(_batch, task, batch))
            if len(under_way) >= jobs * _AHEAD:
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()


def _begin(make: Maker) -> None:
    global _FIREWALL
    _FIREWALL = make()


def _batch(task: Task[S, T], things: list[S]) -> list[T]:
    assert _FIREWALL is not None
    return [task(_FIREWALL, thing) for thing in things]


class Progress:
    """How far a command is, on standard error, if that is a terminal and nothing else is being written there.

    `total`: None if nobody knows; then there is a count only.
    """

    def __init__(self, label: str, total: int | None, *, unit: str = "", quiet: bool = False) -> None:
        self._shown = sys.stderr.isatty() and not quiet
        self._label, self._total, self._unit = label, total, unit
        self._done, self._next = 0, 0.0
        self._stack = ExitStack()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._shown and self._total is not None:
            bar = click.progressbar(length=self._total, label=self._label, file=sys.stderr)
            self._bar = self._stack.enter_context(bar)
        return self

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""
        if self._bar is not None and self._done == 0:
            # from the first answer on: what came before was getting ready, and no measure of the rest
            self._bar.start = self._bar.last_eta = time.time()
        self._done += amount
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.1
        if self._bar is not None:
            self._bar.update(self._done - self._bar.pos)
        else:
            click.echo(f"\r{self._label}: {self._done:,} {self._unit}", nl=False, err=True)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.update(self._done - self._bar.pos)
        self._stack.close()
        if self._shown and self._bar is None:
            click.echo("\r\x1b[K", nl=False, err=True)

"""Which patterns match a text at all, and where one does.

Rules of this file:
- Two sieves, Hyperscan and RE2, say which patterns occur; where they occur is asked of RE2 either way. So both give
  the same findings, and a text without any is done after one pass.
- Patterns keep to what both read alike: no `\\s`, `\\w`, `$` or `^` (see `test_sensitive_registry.py`), bytes, case.
- Nothing here backtracks. Where a candidate is refused, the search goes on behind its first byte, so that a
  candidate can't hide what begins inside it; patterns are short, so that costs a constant factor at most.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Literal, Protocol

import re2

from ..scanning import PROBLEM, hyperscan

Backend = Literal["auto", "hyperscan", "re2"]

_CHUNK: Final = 16  # patterns that RE2 looks for at once: automata of many more do not fit into its memory
_MEMORY: Final = 64 << 20


class Sieve(Protocol):
    """Says which of some patterns occur in a text."""

    def hits(self, data: bytes) -> list[int]:
        """Indexes of the patterns that match somewhere, sorted."""
        ...


def compiled(pattern: str, *, captures: bool = True) -> Any:
    """A pattern for RE2 over bytes. Raises `re2.error` if it is none."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _MEMORY
    options.log_errors = False
    options.never_capture = not captures
    return re2.compile(pattern.encode("latin-1"), options)


class Re2Sieve:
    """With RE2 alone."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._single = [compiled(pattern, captures=False) for pattern in patterns]
        self._chunks = [
            (first, compiled("|".join(f"(?:{one})" for one in patterns[first : first + _CHUNK]), captures=False))
            for first in range(0, len(patterns), _CHUNK)
        ]

    def hits(self, data: bytes) -> list[int]:
        """See `Sieve.hits`."""
        return [
            index
            for first, any_of_these in self._chunks
            if any_of_these.search(data)
            for index in range(first, min(first + _CHUNK, len(self._single)))
            if self._single[index].search(data)
        ]


class HyperscanSieve:
    """With Hyperscan, which looks for all of them at once."""

    def __init__(self, patterns: Sequence[str], serialized: bytes | None = None) -> None:
        if hyperscan is None:
            raise ImportError(PROBLEM)
        self._scratch: Any = hyperscan.Scratch
        if serialized is not None:
            self._database = hyperscan.loadb(serialized, mode=hyperscan.HS_MODE_BLOCK)
        else:
            self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            self._database.compile(
                expressions=[pattern.encode("latin-1") for pattern in patterns],
                ids=list(range(len(patterns))),
                flags=[hyperscan.HS_FLAG_SINGLEMATCH] * len(patterns),
            )
        self._local = threading.local()

    def serialized(self) -> bytes:
        """The database, for `serialized` of another process on the same kind of CPU."""
        return bytes(hyperscan.dumpb(self._database))

    def hits(self, data: bytes) -> list[int]:
        """See `Sieve.hits`."""
        found: list[int] = []

        def on_match(pattern: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            found.append(pattern)

        try:
            scratch = self._local.scratch  # one scan at a time may use it
        except AttributeError:
            scratch = self._local.scratch = self._scratch(self._database)
        self._database.scan(data, match_event_handler=on_match, scratch=scratch)
        found.sort()
        return found


@cache
def sieve(patterns: tuple[str, ...], backend: Backend, serialized: bytes | None = None) -> Sieve:
    """The sieve of these patterns. Raises `ImportError` if `backend` is Hyperscan and it is not installed."""
    if backend == "re2":
        return Re2Sieve(patterns)
    try:
        return HyperscanSieve(patterns, serialized)
    except ImportError:
        if backend == "hyperscan":
            raise
        return Re2Sieve(patterns)

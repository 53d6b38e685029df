"""The two engines below the rules: Hyperscan says which patterns match, google-re2 says where.

Rules of this file:
- Patterns and texts are bytes; patterns are written so that both engines read them alike (`shape`, `phrase`).
- Hyperscan is asked only *whether* a pattern matches (no starts, one report a pattern): such databases compile fast and
  stay small. Where it is missing, google-re2 is asked one pattern after the other. Places always come from google-re2,
  so they can't differ.
- google-re2 takes linear time also where its automaton runs out of memory; `re2.Set` would then answer "no match", so
  it is not used.
- Hyperscan's scratch memory serves one scan at a time: each scan takes one out of those that are free.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, Protocol

import re2

from .phrase import PatternError
from .scanning import hyperscan

HAS_HYPERSCAN: Final = hyperscan is not None
_MEMORY: Final = 16 << 20  # bytes an automaton of google-re2 may take, at most


HYPERSCAN_ERRORS: Final[tuple[type[Exception], ...]] = () if hyperscan is None else (hyperscan.HyperscanError,)


def hyperscan_platform() -> str:
    """Versions of the library and its package, and what it uses of this CPU; empty without it."""
    if hyperscan is None:
        return ""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(expressions=[b"a"], ids=[0], flags=[0])
    info = database.info()
    return f"{hyperscan.__version__} {info!r} {platform.machine()}"


def _options() -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.never_capture = True
    options.longest_match = True
    options.max_mem = _MEMORY
    return options


_OPTIONS: Final = _options()


class PlaceFinder(Protocol):
    """All (start, end) at which a pattern matches in a part of a text, the longest at each start, not overlapping."""

    def __call__(self, data: bytes, start: int = 0, end: int | None = None, /) -> Iterator[tuple[int, int]]: ...


def place_finder(pattern: bytes) -> PlaceFinder:
    """What finds the places of a pattern. Raises `PatternError` if google-re2 can't read it."""
    try:
        compiled = re2.compile(b"(?m)" + pattern, _OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise PatternError(f"it can't be read: {reason.decode() if isinstance(reason, bytes) else reason}") from None

    def find(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        return (match.span() for match in compiled.finditer(data, start, end))

    return find


class HyperscanSet:
    """Patterns in one Hyperscan database. `serialized`: one that `serialized()` wrote, instead of compiling."""

    __slots__ = ("_database", "_free")

    def __init__(self, patterns: Sequence[bytes], serialized: bytes | None = None) -> None:
        if serialized is not None:
            self._database = hyperscan.loadb(serialized, hyperscan.HS_MODE_BLOCK)
        else:
            self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            flags = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_MULTILINE
            self._database.compile(
                expressions=list(patterns), ids=list(range(len(patterns))), flags=[flags] * len(patterns)
            )
        self._free: list[Any] = []  # scratch memory; taking and giving back are one step each to other threads

    def serialized(self) -> bytes:
        """The database, for this version of Hyperscan on a CPU like this one."""
        return bytes(hyperscan.dumpb(self._database))

    def which(self, data: bytes) -> list[int]:
        """Indexes of the patterns that match, in no order."""
        found: list[int] = []
        try:
            scratch = self._free.pop()
        except IndexError:
            scratch = hyperscan.Scratch(self._database)
        self._database.scan(data, _collect, 0, found, scratch)
        self._free.append(scratch)
        return found


def _collect(pattern: int, _start: int, _end: int, _flags: int, found: list[int]) -> None:
    found.append(pattern)


def first_places(find: PlaceFinder, data: bytes, most: int, parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The first places in some parts of a text, which are in order and apart; at most so many."""
    return list(islice(chain.from_iterable(find(data, *part) for part in parts), most))

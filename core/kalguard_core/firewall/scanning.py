"""Hyperscan, if it is there and finds what it should.

Rules of this file:
- Vectorscan 5.4.12 (in the package `hyperscan` from 0.7.23 to 0.9.1) loses matches: of patterns whose matches can begin
  with few pairs of bytes those that end a text or lie across two blocks of it. An attack only has to stand there. So a
  library is asked for a few such matches first, and is not used if it does not find each.
- Without it google-re2 does the same work: the same findings, slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

# Patterns, and a match of each. The first two were missed at three of four places, the third at the end of a text.
_PROBES: Final = (
    (rb"(?:[\x11\x1d][\x07]?[\x04\x07\x09\x0a]*[\x03]|[\x14][\x04\x07\x09\x0a]*[\x03]{1,3}[\x05])", b"\x11\x03"),
    (
        rb"(?:[\x17][\x1a\x1b]|[\x1a\x1b][\x04\x07-\x0b]*[\x17]|[\x05][^\x00]{0,3}[\x1a\x1b][\x17\x25-\x27])",
        b"\x1b\x17",
    ),
    (rb"(?:[\x18\x19][\x1c]|[\x1c][\x04\x08-\x0a]*[\x18\x19])", b"\x19\x1c"),
)
_SIZES: Final = (0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65)


def _loaded() -> tuple[Any, str]:
    try:
        library: Any = import_module("hyperscan")
    except ImportError:
        return None, "hyperscan is not installed"
    try:
        version, failures = f"hyperscan {library.__version__}", library.HyperscanError
    except AttributeError:  # an empty folder of that name is enough
        return None, "what is installed as hyperscan is something else"
    try:
        if all(_finds(library)):
            return library, ""
    except failures as error:
        return None, f"{version} can't be used: {error}"
    return None, f"{version} misses matches (Vectorscan 5.4.12 does); install 'hyperscan>=0.7.8,<0.7.23'"


def _finds(library: Any) -> Iterator[bool]:
    """Of each probe whether it is found."""
    for pattern, match in _PROBES:
        database = library.Database(mode=library.HS_MODE_BLOCK)
        database.compile(expressions=[pattern], ids=[0], flags=[library.HS_FLAG_SINGLEMATCH])
        scratch = library.Scratch(database)
        for before in _SIZES:
            for behind in _SIZES:
                found: list[int] = []
                database.scan(b"\x01" * before + match + b"\x01" * behind, _collect, 0, found, scratch)
                yield bool(found)


def _collect(pattern: int, _start: int, _end: int, _flags: int, found: list[int]) -> None:
    found.append(pattern)


hyperscan, PROBLEM = _loaded()
"""The library, or None; and why there is none (one clause), or nothing."""

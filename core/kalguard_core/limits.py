"""Where rate limits are counted. The core knows the interface; `tools.limits` has the in-process store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class Limit(Struct, frozen=True):
    """At most `count` uses of `key` within any `window` seconds. `cost` uses are asked for at once."""

    key: str
    count: int
    window: float = 60.0
    cost: int = 1


class LimitStore(Protocol):
    """Counts uses in sliding windows. Exact under concurrency: it never lets `count + 1` uses through."""

    async def take(self, limits: Sequence[Limit], now: float) -> float | None:
        """Use all limits at once, or none of them.

        None when all had room and were counted; else the seconds until all of them would have room.
        `now` is in seconds of a monotonic clock. Raises `StoreUnavailable` when nobody can know.
        """
        ...


class StoreUnavailable(Exception):
    """The state store cannot be asked; the pipeline denies with STATE_UNAVAILABLE."""

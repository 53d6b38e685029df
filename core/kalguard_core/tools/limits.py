"""The in-process limit store: exact sliding windows.

Rules of this file: a use counts from its moment until `window` seconds later, exclusive. Several limits are used
together or not at all. Time is handed in; a time that steps back is read as the latest one seen, so that a
clock error never frees a use. One event loop owns a store: `take` never awaits, so no other call can come between
the check and the count.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from ..limits import Limit


class _Window:
    """The uses of one key, oldest first, as (time, number of uses at that time)."""

    __slots__ = ("span", "total", "uses")

    def __init__(self) -> None:
        self.uses: deque[tuple[float, int]] = deque()
        self.total = 0
        self.span = 0.0

    def expire(self, before: float) -> None:
        """Forget the uses at or before `before`."""
        uses = self.uses
        while uses and uses[0][0] <= before:
            self.total -= uses.popleft()[1]

    def wait(self, surplus: int, now: float, window: float) -> float:
        """Seconds until the oldest `surplus` uses have left the window."""
        freed = 0
        for time, number in self.uses:
            freed += number
            if freed >= surplus:
                return max(time + window - now, 0.0)
        return window


class SlidingWindowStore:
    """A `limits.LimitStore` in this process's memory.

    Memory: at most `count` entries a key, and keys whose uses have all expired are dropped as calls go by
    (each call looks at one more key than it can add). `len()` is the number of keys held.
    """

    def __init__(self) -> None:
        # Ordered so that "the key looked at longest ago" is found in O(1).
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._now = float("-inf")

    def __len__(self) -> int:
        return len(self._windows)

    async def take(self, limits: Sequence[Limit], now: float) -> float | None:
        """Use all limits at once, or none of them: None, or the seconds until all of them would have room.

        A limit whose `cost` is above its `count` never has room; the answer is then its whole window. Two
        limits with the same key are counted one after the other.
        """
        now = self._now = max(now, self._now)
        wait: float | None = None
        asked: dict[str, int] = {}
        for limit in limits:
            cost = asked[limit.key] = asked.get(limit.key, 0) + limit.cost
            delay = self._delay(limit, cost, now)
            if delay is not None:
                wait = delay if wait is None else max(wait, delay)
        if wait is None:
            for limit in limits:
                self._count(limit, now)
        self._sweep(len(limits) + 1, now)
        return wait

    def _delay(self, limit: Limit, cost: int, now: float) -> float | None:
        """Seconds until `cost` more uses have room in `limit`; None if they have it now."""
        if cost > limit.count:
            return limit.window
        window = self._windows.get(limit.key)
        if window is None:
            return None
        window.expire(now - limit.window)
        surplus = window.total + cost - limit.count
        return window.wait(surplus, now, limit.window) if surplus > 0 else None

    def _count(self, limit: Limit, now: float) -> None:
        if limit.cost <= 0:
            return
        window = self._windows.get(limit.key)
        if window is None:
            window = self._windows[limit.key] = _Window()
        window.span = limit.window
        window.total += limit.cost
        if window.uses and window.uses[-1][0] == now:
            window.uses[-1] = (now, window.uses[-1][1] + limit.cost)
        else:
            window.uses.append((now, limit.cost))

    def _sweep(self, number: int, now: float) -> None:
        """Look at the `number` keys looked at longest ago and drop those without a use that still counts."""
        windows = self._windows
        for _ in range(min(number, len(windows))):
            key, window = windows.popitem(last=False)
            window.expire(now - window.span)
            if window.uses:
                windows[key] = window

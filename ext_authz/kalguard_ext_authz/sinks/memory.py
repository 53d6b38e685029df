"""A ring in memory: the default without a path. It forgets its oldest lines, and everything at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from .base import Fsync, Opened, SinkHealth

DEFAULT_EVENTS: Final = 10_000


class MemorySink:
    """Remembers the last `capacity` lines."""

    name = "memory"
    durability: Fsync = "never"
    rotations = 0

    def __init__(self, capacity: int = DEFAULT_EVENTS) -> None:
        self._lines: deque[bytes] = deque(maxlen=capacity)

    @property
    def lines(self) -> list[bytes]:
        """The remembered lines, oldest first."""
        return list(self._lines)

    def open(self) -> Opened:
        """See `Sink.open`."""
        return Opened()

    def write(self, lines: Sequence[bytes]) -> None:
        """See `Sink.write`."""
        self._lines.extend(lines)

    async def flush(self) -> None:
        """Nothing to do."""

    def reopen(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do: the lines can still be read."""

    def healthy(self) -> SinkHealth:
        """Always ok, never durable."""
        return SinkHealth(True, "audit events are kept in memory only; set KALGUARD_AUDIT_LOG_PATH")

"""Standard output, one JSON line an event and nothing else on it: for containers whose runtime collects lines."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Final

from .base import Fsync, Opened, SinkError, SinkHealth

# A reader that has stopped must not stop every agent: then the answer is a denial, not a wait.
_PATIENCE_SECONDS: Final = 0.25


class StdoutSink:
    """Writes to file descriptor `fd`. A pipe that nobody reads, or that is gone, is a failing sink."""

    name = "stdout"
    durability: Fsync = "never"
    rotations = 0

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._failure = ""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._broken_line = False

    def open(self) -> Opened:
        """See `Sink.open`."""
        return Opened()

    def write(self, lines: Sequence[bytes]) -> None:
        """See `Sink.write`. What a reader already got cannot be taken back: a torn line is ended by a line feed."""
        data = memoryview(b"".join((b"\n", *lines) if self._broken_line else lines))
        sent = 0
        try:
            while sent < len(data):
                # a failing sink is asked without patience, so that it cannot slow the event loop again and again
                if not self._poll.poll(0 if self._failure else _PATIENCE_SECONDS * 1000):
                    raise BlockingIOError(None, "nobody reads it")
                sent += os.write(self._fd, data[sent : sent + select.PIPE_BUF])
        except OSError as error:
            self._failure = f"standard output: {error.strerror}"
            self._broken_line = sent > 0 or self._broken_line
            raise SinkError(self._failure) from None
        self._failure, self._broken_line = "", False

    async def flush(self) -> None:
        """Nothing to do: what was written is with the reader."""

    def reopen(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do: standard output is not ours to close."""

    def healthy(self) -> SinkHealth:
        """Whether the last write succeeded."""
        return SinkHealth(not self._failure, self._failure)

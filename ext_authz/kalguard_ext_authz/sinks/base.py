"""The interface of an audit sink: where lines go, and how it says that they did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Fsync = Literal["always", "interval", "never"]


class SinkError(Exception):
    """Lines that were not written; none of the batch was. `str()` says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Torn:
    """Bytes of an incomplete last line that were moved out of the log into the file `kept_in`."""

    size: int
    sha256: str
    kept_in: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What a sink held when it was opened: its last complete line, and what was torn off behind it."""

    last_line: bytes | None = None
    torn: Torn | None = None


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """`ok`: lines can be written. `detail`: why not; or, with `ok`, what an operator should look at."""

    ok: bool
    detail: str = ""


class Sink(Protocol):
    """Keeps audit lines. Called from one event loop only; `write` is synchronous so that nothing interleaves.

    After a `SinkError` every `write` raises until `open` succeeded again; that is tried every half second.
    `durability`: "always": `flush` must be awaited before an answer leaves; "interval": now and then.
    """

    @property
    def name(self) -> str:
        """Name in the registry."""
        ...

    @property
    def durability(self) -> Fsync:
        """When lines must reach the disk."""
        ...

    @property
    def rotations(self) -> int:
        """How often it began a new file; a checkpoint then vouches for the end of the old one."""
        ...

    def open(self) -> Opened:
        """Get ready to write, after the last complete line that is there. Raises `SinkError`; may be tried again."""
        ...

    def write(self, lines: Sequence[bytes]) -> None:
        """Write all lines (each with its line feed), or none. Raises `SinkError`."""
        ...

    async def flush(self) -> None:
        """Return when every line written so far is as safe as this sink can make it. Raises `SinkError`."""
        ...

    def reopen(self) -> None:
        """Start a new file if something outside renamed the old one (SIGHUP). Never raises: `healthy` tells."""
        ...

    def close(self) -> None:
        """Give everything back. Lines that were not flushed may be lost in a power cut."""
        ...

    def healthy(self) -> SinkHealth:
        """Whether the next `write` can be expected to succeed. Cheap."""
        ...

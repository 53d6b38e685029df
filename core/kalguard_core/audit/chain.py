"""The hash chain over audit lines: each line names the hash of the line before it.

The format, complete. A line is one JSON object in UTF-8 and a line feed. Its last four fields are always

    ,"instance":"<who writes>","seq":<number>,"prevHash":"<64 hex>","hash":"<64 hex>"}

`hash` is the SHA-256 of the line's bytes before `,"hash":"`, that is of the line without its last 75 bytes
and its line feed. `prevHash` is the `hash` of line `seq - 1`, or 64 zeros in front of line 1. So a line is
checked without parsing or re-serializing anything:

    printf %s "$line" | head -c -75 | sha256sum

The chain alone finds a changed, removed or reordered line. It cannot find a file that was rewritten and re-hashed
as a whole, nor a tail that was cut: signed checkpoints do (`checkpoint.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson
from msgspec import Struct

GENESIS: Final = "0" * 64
_TAIL: Final = len(b',"hash":"') + 64 + len(b'"}')
HEX: Final = frozenset(b"0123456789abcdef")


class LineError(ValueError):
    """Bytes that are not a line of the chain, or whose hash is wrong. `str()` says what is wrong."""


class Chain(Struct, frozen=True):
    """Where a chain stands: `seq` and `prev_hash` are number and hash of the last line (0 and GENESIS: none yet).

    A value, not a writer: `link` returns the state after the line, and the caller takes it over only when the
    line was written. A line that could not be written leaves no hole.
    """

    instance: str
    seq: int = 0
    prev_hash: str = GENESIS

    def __post_init__(self) -> None:
        if not (self.instance.isascii() and self.instance.replace("-", "").isalnum()):
            raise ValueError("an audit instance is named by letters, digits and dashes")

    def link(self, event: Mapping[str, Any]) -> tuple[bytes, Chain]:
        """The line of `event` (with its line feed) and the chain after it. `event` must not be empty."""
        seq = self.seq + 1
        prefix = b'%b,"instance":"%b","seq":%d,"prevHash":"%b"' % (
            orjson.dumps(event)[:-1],
            self.instance.encode(),
            seq,
            self.prev_hash.encode(),
        )
        digest = sha256(prefix).hexdigest()
        return b'%b,"hash":"%b"}\n' % (prefix, digest.encode()), Chain(self.instance, seq, digest)


@dataclass(frozen=True, slots=True)
class Line:
    """A line whose hash is right: its place in the chain and its event."""

    instance: str
    seq: int
    prev_hash: str
    hash: str
    event: dict[str, Any]


def read_line(line: bytes) -> Line:
    """The line (with or without its line feed) after checking its own hash. Raises `LineError`."""
    line = line.removesuffix(b"\n")
    prefix, tail = line[:-_TAIL], line[-_TAIL:]
    if not (tail.startswith(b',"hash":"') and tail.endswith(b'"}') and HEX.issuperset(tail[9:-2])):
        raise LineError("not an audit line: it does not end with its hash")
    stated = tail[9:-2].decode()
    if sha256(prefix).hexdigest() != stated:
        raise LineError("changed: its bytes do not have the hash that it states")
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise LineError("not an audit line: not valid JSON") from None
    if not isinstance(event, dict):
        raise LineError("not an audit line: not a JSON object")
    instance, seq, prev_hash = event.get("instance"), event.get("seq"), event.get("prevHash")
    if not (
        isinstance(instance, str)
        and isinstance(seq, int)
        and isinstance(prev_hash, str)
        # what a JSON reader sees must be what stands at the end, or a second "seq" could hide the first
        and prefix.endswith(f',"instance":"{instance}","seq":{seq},"prevHash":"{prev_hash}"'.encode(errors="replace"))
    ):
        raise LineError("not an audit line: instance, seq and prevHash are not where they belong")
    return Line(instance, seq, prev_hash, stated, event)

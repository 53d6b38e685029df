"""Decoders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

WALL: Final = b"\n\x00\n"
Positions: TypeAlias = NDArray[np.int32]


class Budget:
    """How many bytes may still be decoded in one request."""

    def __init__(self, size: int) -> None:
        self.left = min(size, 1 << 20) + 65536
        self.unread = 0


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A reading of some bytes: byte n of `data` stands for the bytes `starts[n]` to `ends[n]` there; -1 in walls."""

    kind: str
    data: bytes
    starts: Positions = field(repr=False)
    ends: Positions = field(repr=False)


def decodings(data: bytes, kind: str, budget: Budget) -> Iterator[Decoded]:
    return iter(())

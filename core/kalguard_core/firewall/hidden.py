"""Characters that nobody sees, counted, located, and read where they carry a text of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ..action import Message
from .decode import Budget, Decoded

# Inside a character class: controls, soft hyphens, zero-width characters, directions and fillers.
INVISIBLE: Final = (
    "\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
)


def signals_of(messages: Sequence[Message]) -> Mapping[str, int]:
    return {}


def hidden_runs(messages: Sequence[Message]) -> tuple[tuple[int, int, int], ...]:
    return ()


def rereadings(text: str, offset: int, budget: Budget) -> Iterator[Decoded]:
    return iter(())

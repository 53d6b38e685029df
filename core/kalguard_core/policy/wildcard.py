"""Patterns with `*`: any run of characters, also an empty one. Nothing else has a special meaning.

Rule of this file: matching takes the first place where each literal piece fits and never goes back, so it is
linear in the value, whatever an agent sends. (That is enough: a later place leaves less room for the rest.)
"""

from __future__ import annotations

from dataclasses import dataclass

WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern cut at its asterisks: the value starts with `start`, ends with `end`, `middle` between."""

    text: str
    start: str
    middle: tuple[str, ...]
    end: str
    shortest: int

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a text that holds at least one `*`."""
        start, *middle, end = text.split(WILDCARD)
        pieces = tuple(piece for piece in middle if piece)
        return cls(text, start, pieces, end, len(text) - text.count(WILDCARD))

    def matches(self, value: str) -> bool:
        """Whether the whole `value` fits. Case-sensitive."""
        if len(value) < self.shortest or not value.startswith(self.start) or not value.endswith(self.end):
            return False
        position, end = len(self.start), len(value) - len(self.end)
        for piece in self.middle:
            found = value.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return True

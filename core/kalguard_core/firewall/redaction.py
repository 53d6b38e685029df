"""Redaction: suspicious pieces of text go, everything else stays as it was written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from ..action import Message
from .base import Span

MARKER: Final = "[REDACTED:prompt-injection]"
"""Stands where something was."""
_TOUCHING: Final = re.compile(f"(?:{re.escape(MARKER)}){{2,}}")


def redacted(messages: Sequence[Message], spans: Iterable[Span]) -> tuple[Message, ...]:
    """The messages with the marker in place of each span; overlapping and touching spans become one.

    A span that takes a part of a marker takes it whole: half a marker would be text that nobody wrote.
    """
    return _replaced(messages, ((span.message, *_around_markers(messages, span)) for span in spans), MARKER)


def without(messages: Sequence[Message], places: Iterable[tuple[int, int, int]]) -> tuple[Message, ...]:
    """The messages without the characters of some places (message, start, end)."""
    return _replaced(messages, places, "")


def joined_markers(messages: Sequence[Message], before: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with one marker where several touch, but for those that are as they were before."""
    return tuple(
        replace(message, text=_TOUCHING.sub(MARKER, message.text))
        if message is not old and MARKER * 2 in message.text
        else message
        for message, old in zip(messages, before, strict=True)
    )


def cut(text: str, places: Iterable[tuple[int, int]], marker: str = MARKER) -> str:
    """The text with the marker in place of each (start, end); overlapping and touching ones become one."""
    parts: list[str] = []
    kept = 0
    for start, end in sorted(places):
        if start > kept or not parts:
            parts += (text[kept:start], marker)
        kept = max(kept, end)
    parts.append(text[kept:])
    return "".join(parts)


def _around_markers(messages: Sequence[Message], span: Span) -> tuple[int, int]:
    start, end = span.start, span.end
    if span.message < len(messages) and MARKER in (text := messages[span.message].text):
        before = text.rfind(MARKER, max(start - len(MARKER) + 1, 0), start + len(MARKER) - 1)
        behind = text.rfind(MARKER, max(end - len(MARKER) + 1, 0), end + len(MARKER) - 1)
        start = before if 0 <= before < start else start
        end = behind + len(MARKER) if 0 <= behind < end else end
    return start, end


def _replaced(messages: Sequence[Message], places: Iterable[tuple[int, int, int]], marker: str) -> tuple[Message, ...]:
    by_message: dict[int, list[tuple[int, int]]] = {}
    for message, start, end in places:
        by_message.setdefault(message, []).append((start, end))
    return tuple(
        replace(message, text=cut(message.text, by_message[index], marker)) if index in by_message else message
        for index, message in enumerate(messages)
    )

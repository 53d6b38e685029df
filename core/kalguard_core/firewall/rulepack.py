"""A prompt firewall of rules: folds, matches, adds up.

The score: in each category the heaviest rule that matched counts; categories are combined by noisy-or, as if each
were an independent witness: `100 * (1 - product(1 - weight / 100))`, rounded down. Two different weak signals add
up; many views of one trick do not.

Neighbouring messages of one role are also read as one text, with and without a line break between them: a model
reads them so, and an attack may be cut in two. Invisible characters are read as nothing, and as spaces. Text in
base64 and in invisible tag characters is decoded once and read too. All roles are scored alike, quoted attacks too.
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from operator import is_not
from typing import Any, Final

from msgspec.structs import replace

from ..action import Message
from .base import Assessment, Span
from .engine import ENCODED_RUN, FLOOD, MAX_MATCHES, WALL, Engine, Match, build_engine
from .fold import Folded, fold
from .pack import Rule, bundled_packs

MARKER: Final = "[REDACTED:prompt-injection]"
ENCODED: Final = Rule("encoded-attack", "encoding", 80, "An attack in base64 or in invisible characters")

_HIDDEN_RISK: Final = 50  # an encoded text that would be sanitized if it were plain has no honest reason
_ROUNDS: Final = 4

_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_MANY_RUNS: Final = 512
_NOT_TEXT: Final = bytes(byte for byte in range(0x100) if not (0x20 <= byte < 0x7F or byte in b"\t\n\r"))
_TAGS: Final = re.compile("[\U000e0020-\U000e007e]{8,}")
# Controls, soft hyphens, zero-width characters, directions and fillers.
_INVISIBLE: Final = (
    "[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]"
)
_UNSEEN: Final = re.compile(_INVISIBLE)
# Where they stand instead of a space.
_PARTING: Final = re.compile(rf"(?<=\S){_INVISIBLE}+(?=\S)")


class RulePackFirewall:
    """Rule packs behind the interface `PromptFirewall`. Safe to use from any thread.

    `engine`: the compiled rules; the bundled packs are compiled if there is none.
    """

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine or build_engine(bundled_packs())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rule_pack, ()  # compiled patterns can't be pickled; there is but one set of rules

    def score(self, messages: Sequence[Message]) -> Assessment:
        """The risk of these messages together, and where it comes from. Never raises."""
        folded = [fold(message.text) for message in messages]
        found: set[tuple[Rule, int, int, int]] = set()
        for text in _readings(messages, folded):
            for match in (*self._engine.matches(text.data), *self._encoded(text.data)):
                found.update((match.rule, *place) for place in text.places(match.start, match.end))
        found.update((ENCODED, *place) for place in self._tagged(messages))
        if not found:
            return _HARMLESS
        spans = sorted(
            (Span(message, start, end, rule.id, rule.category, rule.weight) for rule, message, start, end in found),
            key=lambda span: (span.message, span.start, span.end, span.rule),
        )
        return Assessment(_risk(rule for rule, *_ in found), tuple(spans))

    def sanitize(self, messages: Sequence[Message], assessment: Assessment) -> tuple[Message, ...]:
        """The messages with every span of the assessment replaced by a marker.

        What is left is scored again until nothing is found, as a cut may bring the halves of an attack
        together. A message that still has something after a few rounds becomes the marker alone.
        """
        cleaned = tuple(messages)
        for _ in range(_ROUNDS):
            if not assessment.spans:
                return cleaned
            cleaned = _redact(cleaned, assessment.spans)
            assessment = self.score(cleaned)
        suspicious = {span.message for span in assessment.spans}
        return tuple(
            replace(message, text=MARKER) if index in suspicious else message for index, message in enumerate(cleaned)
        )

    def _encoded(self, data: bytes) -> Iterator[Match]:
        """Runs of base64 that hide an attack."""
        if not self._engine.may_be_encoded(data):
            return
        runs = [run.span() for run in ENCODED_RUN.finditer(data)]
        # a word glued to the front shifts the bits; trying all shifts is worth it only for a few runs
        shifts = range(4) if len(runs) <= _MANY_RUNS else range(1)
        pieces: list[bytes] = []
        owners: list[tuple[int, int]] = []
        for start, end in runs:
            for shift in shifts:
                piece = _decoded(data[start + shift : end])
                if piece:
                    pieces.append(piece)
                    owners.append((start, end))
        guilty = [owners[index] for index in self._attacks(pieces)]
        for start, end in guilty[:MAX_MATCHES]:
            yield Match(ENCODED, start, end)
        if len(guilty) > MAX_MATCHES:
            yield Match(FLOOD, guilty[MAX_MATCHES][0], guilty[-1][1])

    def _tagged(self, messages: Sequence[Message]) -> Iterator[tuple[int, int, int]]:
        """Runs of invisible tag characters that spell an attack: (message, start, end)."""
        pieces: list[bytes] = []
        owners: list[tuple[int, int, int]] = []
        for index, message in enumerate(messages):
            if message.text.isascii():
                continue
            for run in _TAGS.finditer(message.text):
                pieces.append(bytes(ord(char) & 0x7F for char in run.group()))
                owners.append((index, *run.span()))
        for index in self._attacks(pieces):
            yield owners[index]

    def _attacks(self, pieces: Sequence[bytes]) -> list[int]:
        """Indexes of the decoded texts that are attacks."""
        if not pieces:
            return []
        starts = list(accumulate((len(piece) + len(WALL) for piece in pieces), initial=0))
        rules: dict[int, set[Rule]] = {}
        for match in self._engine.matches(WALL.join(pieces)):
            first = bisect_right(starts, match.start) - 1
            last = bisect_right(starts, match.end - 1) - 1
            for index in range(first, min(last + 1, len(pieces))):
                rules.setdefault(index, set()).add(match.rule)
        # many pieces are the same attack again
        alike: dict[frozenset[Rule], list[int]] = {}
        for index, matched in rules.items():
            alike.setdefault(frozenset(matched), []).append(index)
        return sorted(
            index for matched, indexes in alike.items() if _risk(matched) >= _HIDDEN_RISK for index in indexes
        )


@cache
def _rule_pack() -> RulePackFirewall:
    return RulePackFirewall()


_HARMLESS: Final = Assessment(0)


@dataclass(frozen=True, slots=True)
class _Reading:
    """All messages as one text: `starts` says where each of them begins."""

    data: bytes
    folded: Sequence[Folded]
    starts: Sequence[int]

    def places(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(message, start, end) in characters, for each message that these bytes touch."""
        first = bisect_right(self.starts, start) - 1
        for index in range(first, len(self.folded)):
            begin = self.starts[index]
            if begin >= end:
                return
            inner_start = max(start - begin, 0)
            inner_end = min(end - begin, len(self.folded[index].data))
            if inner_start < inner_end:
                yield (index, *self.folded[index].original(inner_start, inner_end))


def _readings(messages: Sequence[Message], folded: Sequence[Folded]) -> Iterator[_Reading]:
    """The ways in which a model may read these messages."""
    if not messages:
        return
    same = [left.role == right.role for left, right in pairwise(messages)]
    lines = [b"\n" if alike else WALL for alike in same]
    yield _joined(folded, lines)
    parted = [_parted(message.text, text) for message, text in zip(messages, folded, strict=True)]
    if any(map(is_not, parted, folded)):
        yield _joined(parted, lines)
    if any(same):
        yield _joined(folded, [b"" if alike else WALL for alike in same])


def _parted(text: str, folded: Folded) -> Folded:
    """The text with spaces for what nobody sees, if that parts words in it. Offsets are the same."""
    if folded.ends is None or not _PARTING.search(text):
        return folded
    return fold(_UNSEEN.sub(" ", text))


def _joined(folded: Sequence[Folded], separators: Sequence[bytes]) -> _Reading:
    parts = [folded[0].data]
    starts = [0]
    size = len(folded[0].data)
    for text, separator in zip(folded[1:], separators, strict=True):
        size += len(separator)
        starts.append(size)
        parts += (separator, text.data)
        size += len(text.data)
    return _Reading(b"".join(parts), folded, starts)


def _decoded(run: bytes) -> bytes:
    """What a run of base64 says, if that is mostly text; else nothing."""
    run = run[: len(run) // 4 * 4]
    try:
        plain = binascii.a2b_base64(run.translate(_URL_SAFE))
    except binascii.Error:
        return b""
    text = plain.translate(None, _NOT_TEXT)
    return text if len(text) * 8 >= len(plain) * 7 else b""


def _risk(rules: Iterable[Rule]) -> int:
    """Noisy-or of the heaviest rule of each category, 0-100. Whole numbers, so the order does not matter."""
    heaviest: dict[str, int] = {}
    for rule in rules:
        heaviest[rule.category] = max(rule.weight, heaviest.get(rule.category, 0))
    safe, scale = 1, 1
    for weight in heaviest.values():
        safe *= 100 - weight
        scale *= 100
    return 100 * (scale - safe) // scale


def _redact(messages: Sequence[Message], spans: Sequence[Span]) -> tuple[Message, ...]:
    """The messages with the marker in place of each span; overlapping and touching spans become one."""
    by_message: dict[int, list[tuple[int, int]]] = {}
    for span in spans:
        by_message.setdefault(span.message, []).append((span.start, span.end))
    return tuple(
        replace(message, text=_cut(message.text, sorted(by_message[index]))) if index in by_message else message
        for index, message in enumerate(messages)
    )


def _cut(text: str, places: Sequence[tuple[int, int]]) -> str:
    parts: list[str] = []
    kept = 0
    for start, end in places:
        if start > kept or not parts:
            parts += (text[kept:start], MARKER)
        kept = max(kept, end)
    parts.append(text[kept:])
    return "".join(parts)

"""An operator's own words: phrases and patterns that are blocked, replaced or noted, whatever the risk is.

Rules of this file:
- Every way in which a model may read the text is looked at (see `views`): folded, with hidden characters as nothing and
  as spaces, decoded, messages of one role read on. A phrase is a list of words: what stands between them makes no
  difference.
- Everything is linear in the text: the words of all phrases are looked for at once, patterns are RE2's.
- An exception excuses its own rule, and only what lies wholly inside of it: it never opens a way around another rule.
- More matches than an honest text has are not listed, they block.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import re2

from ..action import Message
from .decode import WALL
from .fold import fold
from .views import views

Effect = Literal["block", "sanitize", "tag"]
MARKER: Final = "[REDACTED:phrase]"

MAX_WORDS: Final = 32
MAX_MATCHES: Final = 256
MAX_PATTERN: Final = 1000

_BLOCK: Final = 1 << 16
_WORD: Final = re.compile(rb"[0-9A-Za-z\x00\x80-\xff]+")
_TO_WORDS: Final = bytes(byte if _WORD.match(bytes([byte])) else 0x20 for byte in range(0x100)).lower()
_BETWEEN: Final = r"[^0-9A-Za-z\x{80}-\x{10ffff}]*"
_PATTERN_MEMORY: Final = 4 << 20  # what RE2 may use for one pattern; a small one needs some KB


class PatternError(ValueError):
    """A pattern or phrase that can't be used. `str()` says why."""


@dataclass(frozen=True, slots=True)
class PhraseRule:
    """One content rule: `texts`, any of which is looked for, or a `pattern` (RE2 syntax).

    `whole_words`: False to find `texts` inside longer words too (or in scripts that put no spaces between words).
    `roles`: of the messages that it is about; None for all. `message`: what an agent is told, "" for the usual words.
    """

    id: str
    effect: Effect
    category: str = "content"
    texts: tuple[str, ...] = ()
    pattern: str | None = None
    exceptions: tuple[str, ...] = ()
    whole_words: bool = True
    roles: frozenset[str] | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class PhraseMatch:
    """Characters `start` to `end` (exclusive) of message `message` are what `rule` looks for."""

    rule: PhraseRule
    message: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PhraseMatches:
    """All matches; `flooded`: there are more of them than are listed."""

    matches: tuple[PhraseMatch, ...] = ()
    flooded: bool = False


NOTHING: Final = PhraseMatches()


class Phrases:
    """Content rules, ready to be looked for. Immutable; safe to use from any thread.

    Raises `PatternError` for a rule that can't be used; `index` of it says which.
    """

    def __init__(self, rules: Sequence[PhraseRule]) -> None:
        self.rules = tuple(rules)
        self._tree = _Tree()
        self._patterns: list[tuple[PhraseRule, bool, Any]] = []
        for rule in rules:
            self._add(rule)
        self._tree.link()
        self._first_words = frozenset(self._tree.after[0])
        # one look for all of them; where they are too much for RE2 together, each is looked for by itself
        self._any = _together([pattern for _, _, pattern in self._patterns])

    def find(self, messages: Sequence[Message]) -> PhraseMatches:
        """What is found in these messages, in their order."""
        if not self.rules or not messages:
            return NOTHING
        found: dict[tuple[str, int, int, int], PhraseMatch] = {}
        count = 0
        for view in views(messages).views:
            if count > MAX_MATCHES:
                break
            excused: list[PhraseMatch] = []
            here: list[PhraseMatch] = []
            for rule, exception, start, end in self._matches(view.data):
                count += 1
                if count > MAX_MATCHES:
                    break
                for place in view.places(start, end):
                    if rule.roles is None or messages[place[0]].role in rule.roles:
                        (excused if exception else here).append(PhraseMatch(rule, *place))
            for match in here:
                if not any(_excuses(exception, match) for exception in excused):
                    found[match.rule.id, match.message, match.start, match.end] = match
        if not found:
            return PhraseMatches((), count > MAX_MATCHES)
        own = {match.message: _markers(messages[match.message].text) for match in found.values()}
        kept = _sorted(match for match in found.values() if not _inside(match, own[match.message]))
        return PhraseMatches(kept, count > MAX_MATCHES)

    def _add(self, rule: PhraseRule) -> None:
        if rule.pattern is not None:
            self._patterns.append((rule, False, compile_pattern(rule.pattern)))
        for texts, exception in ((rule.texts, False), (rule.exceptions, True)):
            for text in texts:
                words = words_of(text)
                if not words:
                    raise PatternError("holds no word: letters or digits")
                if len(words) > MAX_WORDS:
                    raise PatternError(f"has {len(words)} words: at most {MAX_WORDS} are looked for")
                if rule.whole_words or exception:
                    self._tree.add(words, rule, exception)
                else:
                    self._patterns.append((rule, False, _compiled(_BETWEEN.join(map(_literal, words)))))

    def _matches(self, data: bytes) -> Iterator[tuple[PhraseRule, bool, int, int]]:
        """(rule, whether it is an exception, start, end) of all that is found in one reading."""
        if self._first_words and self._may_hold(data):
            yield from self._words(data)
        if not self._patterns:
            return
        offset = 0
        for part in data.split(WALL):  # so that no pattern reaches over it
            if part and (self._any is None or self._any.search(part) is not None):
                for rule, exception, pattern in self._patterns:
                    for match in pattern.finditer(part):
                        start, end = match.span()
                        if start < end:
                            yield rule, exception, offset + start, offset + end
            offset += len(part) + len(WALL)

    def _may_hold(self, data: bytes) -> bool:
        offset = 0
        while offset < len(data):
            block = data[offset : offset + _BLOCK].translate(_TO_WORDS)
            if len(block) == _BLOCK:
                block = block[: block.rfind(b" ") + 1] or block  # not in the middle of a word
            if not self._first_words.isdisjoint(block.split()):
                return True
            offset += len(block)
        return False

    def _words(self, data: bytes) -> Iterator[tuple[PhraseRule, bool, int, int]]:
        after, fallback, found = self._tree.after, self._tree.fallback, self._tree.found
        starts: deque[int] = deque(maxlen=MAX_WORDS)
        node = 0
        for word in _WORD.finditer(data):
            starts.append(word.start())
            key = word.group().lower()
            while node and key not in after[node]:
                node = fallback[node]
            node = after[node].get(key, 0)
            for rule, exception, length in found[node]:
                yield rule, exception, starts[-length], word.end()


class _Tree:
    """Phrases by their words, so that a text is gone through once however many of them it begins (Aho-Corasick).

    Of each node: `after`, the next node by word; `fallback`, that of the longest end of its words with which another
    phrase begins; `found`, what ends there, with its number of words.
    """

    def __init__(self) -> None:
        self.after: list[dict[bytes, int]] = [{}]
        self.fallback = [0]
        self.found: list[list[tuple[PhraseRule, bool, int]]] = [[]]

    def add(self, words: Sequence[bytes], rule: PhraseRule, exception: bool) -> None:
        """Take a phrase in; `link` when all are in."""
        node = 0
        for word in words:
            after = self.after[node].get(word)
            if after is None:
                after = self.after[node][word] = len(self.after)
                self.after.append({})
                self.fallback.append(0)
                self.found.append([])
            node = after
        self.found[node].append((rule, exception, len(words)))

    def link(self) -> None:
        """Make it ready."""
        todo = deque(self.after[0].values())
        while todo:
            node = todo.popleft()
            for word, child in self.after[node].items():
                other = self.fallback[node]
                while other and word not in self.after[other]:
                    other = self.fallback[other]
                self.fallback[child] = self.after[other].get(word, 0)
                self.found[child] += self.found[self.fallback[child]]
                todo.append(child)


def places_of(matches: Iterable[PhraseMatch]) -> dict[int, list[tuple[int, int]]]:
    """The places to replace, by message, in order; overlapping and touching ones joined."""
    places: dict[int, list[tuple[int, int]]] = {}
    for match in matches:
        places.setdefault(match.message, []).append((match.start, match.end))
    joined: dict[int, list[tuple[int, int]]] = {}
    for message, spans in places.items():
        kept: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if kept and start <= kept[-1][1]:
                kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
            else:
                kept.append((start, end))
        joined[message] = kept
    return joined


def words_of(text: str) -> list[bytes]:
    """The words of a phrase, as they are looked for."""
    return [word.lower() for word in _WORD.findall(fold(text).data)]


def compile_pattern(pattern: str) -> Any:
    """A pattern for folded text, case ignored. Raises `PatternError`."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"is longer than {MAX_PATTERN} characters")
    compiled = _compiled(pattern)
    if compiled.search(b"") is not None:
        raise PatternError("matches the empty text, so it would match everywhere")
    return compiled


def _options() -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _PATTERN_MEMORY
    return options


def _compiled(pattern: str) -> Any:
    try:
        return re2.compile(_folded(pattern).encode("utf-8", "replace"), options=_options())
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(f"is no regular expression that RE2 reads: {text}") from None


def _together(patterns: Sequence[Any]) -> Any:
    if len(patterns) < 2:
        return None
    joined = b"|".join(b"(?:" + pattern.pattern + b")" for pattern in patterns)
    try:
        return re2.compile(joined, options=_options())
    except re2.error:
        return None


def _folded(pattern: str) -> str:
    """A pattern with each letter beyond ASCII as it is in folded text, and none of them as an operator."""
    return "".join(
        char if char.isascii() else re2.escape(fold(char).data.decode("utf-8", "replace")) for char in pattern
    )


def _literal(word: bytes) -> str:
    return word.decode("utf-8", "replace")  # words hold no character that means something in a pattern


def _markers(text: str) -> list[int]:
    """Where our marker begins: an operator's phrase about redaction must not find in it what we have put there."""
    places = []
    at = text.find(MARKER)
    while at >= 0:
        places.append(at)
        at = text.find(MARKER, at + len(MARKER))
    return places


def _sorted(matches: Iterable[PhraseMatch]) -> tuple[PhraseMatch, ...]:
    return tuple(sorted(matches, key=lambda match: (match.message, match.start, match.end, match.rule.id)))


def _inside(match: PhraseMatch, markers: Sequence[int]) -> bool:
    before = bisect_right(markers, match.start) - 1
    return before >= 0 and match.end <= markers[before] + len(MARKER)


def _excuses(exception: PhraseMatch, match: PhraseMatch) -> bool:
    return (
        exception.rule is match.rule
        and exception.message == match.message
        and exception.start <= match.start
        and match.end <= exception.end
    )

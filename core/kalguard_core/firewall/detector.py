"""The detector: rules and the learned model over every reading of a conversation, as one risk.

Rules of this file:
- Rules: in each category the heaviest match counts; categories are combined by noisy-or (`base.risk_of`).
- The model says how much evidence the worst window holds; what rules found is evidence too (`_RULE_EVIDENCE`). The
  model's curve makes a risk of both. The risk is the higher one: a rule that blocks alone blocks, whatever the model
  thinks of the words around it, because those are the attacker's to choose.
- Text about an attack is not an attack: a match that is quoted in a sentence, or stands near talk about attacks, weighs
  less, never nothing. In data that others wrote, quotation marks excuse nothing: they are part of the format.
- What was encoded has no honest reason to look like an attack: a match that only decoding shows weighs more.
- System and developer text is the operator's, and often talks about attacks: the model does not read it, and rules
  that don't name these roles weigh little more than half, so that one of them neither blocks nor rewrites.
- The same messages give the same assessment, in every process, on every machine, with either engine.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Final

import numpy as np
from msgspec.structs import replace

from ..action import Message
from .base import Assessment, Span, risk_of
from .engine import FLOOD, Engine, Match
from .features import Numbers, Words, word_bounds, word_places
from .legible import legible
from .model import Model, Window
from .pack import Rule
from .redaction import MARKER, joined_markers, redacted, without
from .views import View, Views, views

LEARNED: Final = Rule("learned", "learned", 50, "Reads like attacks that the model was trained on")
HIDDEN: Final = Rule("hidden-characters", "hidden-text", 20, "Characters that nobody sees, where they have no use")
UNREAD: Final = Rule("unread-encoding", "encoding", 30, "More encoded text than is ever decoded")

OWN_RULES: Final = (LEARNED, HIDDEN, UNREAD, FLOOD)
"""What a detector finds without a rule of a pack."""

TRUSTED: Final = frozenset({"system", "developer"})
DATA: Final = frozenset({"tool", "document", "file"})

_RULE_EVIDENCE: Final = 40  # thousandths of a logit for each point of risk that rules found
_FEWEST_WORDS: Final = 5  # fewer say nothing to the model: a name, an address; rules read them
_DATA_EVIDENCE: Final = 300  # more for data of others: orders have no business there
_DECODED_EVIDENCE: Final = 700
_TALK_EVIDENCE: Final = 1200  # less near talk about attacks
_QUOTED_SHARE: Final = 35  # percent of what quoted words add
_DECODED_WEIGHT: Final = 15
_SURE: Final = 97  # no single finding is surer
_TRUSTED_WEIGHT: Final = 55  # percent
_QUOTED: Final = 50  # percent that a quoted match weighs less
_NEARBY: Final = 240  # bytes around talk about attacks
_QUOTE: Final = 200  # bytes of a quotation on either side of a match
_LINE: Final = 4096  # bytes of a longer line that are looked at together
_SENTENCE: Final = 12  # letters around a quotation that make a sentence of it
_MOST_SPANS: Final = 64  # windows that are told of, the worst first
_MOST_PLACES: Final = 512
_SHOWN: Final = 20  # a lower risk is none to the model: half of all honest text has that
_UNREAD_BYTES: Final = 4096
_ROUNDS: Final = 6
_MARKS: Final = (b'"', b"`", b"'")  # folding makes these of all quotation marks
_QUOTATION: Final = re.compile(rb'"[^"\n]{4,400}"|`[^`\n]{4,400}`|(?<![0-9A-Za-z])\'[^\'\n]{4,400}\'')
_FORMAT_QUOTES: Final = frozenset({b'"', b"'"})
_FORMAT_STARTS: Final = frozenset({b"{", b"["})
_NO_LETTERS: Final = bytes(byte for byte in range(0x80) if not chr(byte).isalpha())
# Codes that nobody writes by hand. Other disguises are undone in place, and shown with honest text around them.
_CODES: Final = frozenset(
    {"base64", "base32", "hex", "codes", "binary", "morse", "tags", "selectors", "letters", "upside-down"}
    | {"reversed", "words-reversed", "rot13", "caesar", "atbash"}
)
_STEPS: Final = re.compile("[+&]")
_FULL: Final = frozenset({"plain", "parted", "joined"})


class Detector:
    """Implements `PromptFirewall` with compiled rules and a model. Immutable; safe to use from any thread.

    `model`: None does without. `decoding`: whether disguised and encoded text is read too. `disabled_rules`,
    `disabled_categories`: what is not looked at; also the model's ("learned") and the hidden characters'.
    """

    def __init__(
        self,
        engine: Engine,
        model: Model | None,
        *,
        decoding: bool = True,
        disabled_rules: Collection[str] = (),
        disabled_categories: Collection[str] = (),
    ) -> None:
        self._engine = engine
        self._decoding = decoding
        self._off = frozenset(
            rule.id
            for rule in (*engine.rules, *OWN_RULES)
            if rule.id in disabled_rules or rule.category in disabled_categories
        )
        self._model = None if LEARNED.id in self._off else model

    def score(self, messages: Sequence[Message]) -> Assessment:
        """The risk of these messages together, and where it comes from. Never raises."""
        messages = _unmarked(messages)
        read = views(messages)
        findings = _Findings(messages)
        evidence: list[tuple[int, View, list[Window], Numbers]] = []
        for view in read.views:
            if not self._decoding and view.kind not in _FULL:
                continue
            talk = self._match(view, findings)
            if self._model is not None and view.kind != "joined":
                seen = self._weigh(view, messages, talk)
                if seen is not None:
                    evidence.append(seen)
        self._add_hidden(read, findings)
        spans = findings.spans()
        risk = risk_of(spans)
        if self._model is not None and evidence:
            best = max(most for most, *_ in evidence)
            learned = self._model.risk(best + risk * _RULE_EVIDENCE)
            if learned >= max(risk, _SHOWN):
                risk = learned
                spans = sorted([*spans, *self._explained(evidence, findings, best, learned)], key=_place)
        return Assessment(risk, tuple(spans)) if spans or risk else _HARMLESS

    def sanitize(self, messages: Sequence[Message], assessment: Assessment) -> tuple[Message, ...]:
        """The messages with offending spans replaced by a marker, and without hidden characters.

        What rules found goes first, as its ends are sharp; what the model still sees then goes next. A cut may bring
        the halves of an attack together, so what is left is scored again until hardly any risk remains. A message
        that still has something after a few rounds becomes the marker alone. A risk below 20 is left alone.
        """
        cleaned = tuple(messages)
        for _ in range(_ROUNDS):
            if assessment.risk < _SHOWN or not assessment.spans:
                return cleaned
            cleaned = redacted(cleaned, _offending(assessment))
            cleaned = joined_markers(without(cleaned, views(cleaned).hidden))
            assessment = self.score(cleaned)
        suspicious = {span.message for span in assessment.spans} if assessment.risk >= _SHOWN else ()
        return tuple(
            replace(message, text=MARKER) if index in suspicious else message for index, message in enumerate(cleaned)
        )

    def _match(self, view: View, findings: _Findings) -> list[Match]:
        """Note what the rules find in a view; what of it is talk about attacks is returned."""
        matches = [match for match in self._engine.matches(view.data) if match.rule.id not in self._off]
        talk = [match for match in matches if match.rule.discount]
        decoded = view.kind not in _FULL
        quotations = _Quotations(view.data)
        for match in matches:
            if not match.rule.discount:
                quoted = quotations.hold(match.start) and quotations.hold(match.end - 1)
                findings.add(match, view, _discount(talk, match.start, match.end), quoted, decoded=decoded)
        return talk

    def _weigh(
        self, view: View, messages: Sequence[Message], talk: Sequence[Match]
    ) -> tuple[int, View, list[Window], Numbers] | None:
        """What the model sees in a view: the most evidence, all windows, and what each word adds."""
        assert self._model is not None
        data = legible(view.data)
        words = self._model.vocabulary.words_of(data)
        if not len(words):
            return None
        sums, counts = self._model.contributions(words)
        bonus = _DECODED_EVIDENCE if _CODES & frozenset(_STEPS.split(view.kind)) else 0
        stretches = list(_stretches(words, self._model.vocabulary.wall, _roles_of(view, messages)))
        segments = [
            (start, end) for role, start, end in stretches if role not in TRUSTED and end - start >= _FEWEST_WORDS
        ]
        found = self._model.windows(sums, counts, segments)
        if not found:
            return None
        data_from = [start for role, start, _ in stretches if role in DATA]
        data_until = [end for role, _, end in stretches if role in DATA]
        in_data = [_is_within(window.start, data_from, data_until) for window in found]
        found = self._excused(data, talk, sums, counts, found, in_data)
        windows = [
            Window(window.start, window.end, window.evidence + bonus + _DATA_EVIDENCE * others)
            for window, others in zip(found, in_data, strict=True)
        ]
        return max(window.evidence for window in windows), view, windows, sums

    def _excused(
        self,
        data: bytes,
        talk: Sequence[Match],
        sums: Numbers,
        counts: Numbers,
        windows: list[Window],
        in_data: Sequence[bool],
    ) -> list[Window]:
        """The windows, with less evidence where it is quoted or talked about, in text that is not data of others.

        Looks only where there is some, at the worst windows of all messages together.
        """
        assert self._model is not None
        if not talk and not any(mark in data for mark in _MARKS):
            return windows
        doubtful = [
            index
            for index, window in enumerate(windows)
            if not in_data[index] and self._model.risk(window.evidence) >= _SHOWN
        ]
        doubtful = sorted(doubtful, key=lambda index: (-windows[index].evidence, index))[:_MOST_SPANS]
        if not doubtful:
            return windows
        quotations = _Quotations(data)
        starts, ends = word_bounds(data)
        excused = list(windows)
        for index in doubtful:
            window = windows[index]
            here = sums[window.start : window.end]
            inside = np.array([quotations.hold(start) for start in starts[window.start : window.end].tolist()])
            if inside.any():
                here = np.where(inside & (here > 0), here * _QUOTED_SHARE // 100, here)
            total, count = int(here.sum()), int(counts[window.start : window.end].sum())
            evidence = int(self._model.evidence(np.array([total]), np.array([count]))[0])
            start, end = _heaviest(sums, window)
            if _discount(talk, int(starts[start]), int(ends[end - 1])):
                evidence -= _TALK_EVIDENCE
            excused[index] = Window(window.start, window.end, min(evidence, window.evidence))
        return excused

    def _explained(
        self,
        evidence: Sequence[tuple[int, View, list[Window], Numbers]],
        findings: _Findings,
        best: int,
        risk: int,
    ) -> Iterator[Span]:
        """Where the model saw what it saw: in each of the worst windows, the words that add the most."""
        assert self._model is not None
        boost = findings.risk * _RULE_EVIDENCE
        for _, view, windows, sums in evidence:
            telling = sorted(
                (window for window in windows if self._model.risk(window.evidence + boost) >= _SHOWN),
                key=lambda window: (-window.evidence, window.start),
            )[:_MOST_SPANS]
            if not telling:
                continue
            weight = risk if telling[0].evidence == best else self._model.risk(telling[0].evidence + boost)
            stretches = sorted({_heaviest(sums, window) for window in telling})
            places = {
                place
                for first, last in word_places(legible(view.data), stretches)
                for place in view.places(first, last)
            }
            for place in places:
                yield Span(*place, LEARNED.id, LEARNED.category, max(weight, 1), LEARNED.title)

    def _add_hidden(self, read: Views, findings: _Findings) -> None:
        if read.hidden and HIDDEN.id not in self._off:
            for place in read.hidden[:_MOST_PLACES]:
                findings.put(HIDDEN, place, HIDDEN.weight)
        if self._decoding and read.signals.get("unread", 0) >= _UNREAD_BYTES and UNREAD.id not in self._off:
            for index, message in enumerate(findings.messages):
                if len(message.text) >= _UNREAD_BYTES:
                    findings.put(UNREAD, (index, 0, len(message.text)), UNREAD.weight)


_HARMLESS: Final = Assessment(0)


class _Findings:
    """What rules found: the heaviest weight of each rule at each place."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self._weights: dict[tuple[Rule, int, int, int], int] = {}
        self.risk = 0

    def add(self, match: Match, view: View, discount: int, quoted: bool, *, decoded: bool) -> None:
        """A match in a view, if the rule counts in the text that it stands in."""
        rule = match.rule
        places = list(view.places(match.start, match.end))
        roles = {self.messages[place[0]].role for place in places}
        share = max((_share(rule, role) for role in roles), default=0)
        if not share:
            return
        if quoted and not roles & DATA:
            discount = max(discount, _QUOTED)
        weight = rule.weight * share * (100 - discount) // 10_000
        if decoded and not self._is_known(rule, places):
            weight = max(weight, min(weight + _DECODED_WEIGHT, _SURE))
        for place in places:
            self.put(rule, place, max(weight, 1))

    def put(self, rule: Rule, place: tuple[int, int, int], weight: int) -> None:
        """A finding of a rule at a place."""
        key = (rule, *place)
        self._weights[key] = max(weight, self._weights.get(key, 0))

    def spans(self) -> list[Span]:
        """All findings, in order of their places."""
        spans = [
            Span(message, start, end, rule.id, rule.category, weight, rule.title)
            for (rule, message, start, end), weight in self._weights.items()
        ]
        spans.sort(key=_place)
        self.risk = risk_of(spans)
        return spans

    def _is_known(self, rule: Rule, places: Iterable[tuple[int, int, int]]) -> bool:
        """Whether the rule was found there without decoding: some views show what stands around a disguise too."""
        return any(
            known is rule and message == place[0] and start < place[2] and place[1] < end
            for place in places
            for known, message, start, end in self._weights
        )


def _place(span: Span) -> tuple[int, int, int, str]:
    return span.message, span.start, span.end, span.rule


def _share(rule: Rule, role: str) -> int:
    """The percentage of its weight that a rule has in text of a role; 0 where it does not count."""
    if rule is FLOOD or rule.counts_in(role):
        return 100
    return _TRUSTED_WEIGHT if role in TRUSTED and not rule.roles else 0


def _offending(assessment: Assessment) -> list[Span]:
    """The spans to cut first: those of rules, if there are any of weight. Hidden characters go without a marker, and
    what the model made of the words around them is seen when they are gone."""
    told = [span for span in assessment.spans if span.rule != HIDDEN.id]
    sharp = [span for span in told if span.rule != LEARNED.id]
    return sharp if len(told) < len(assessment.spans) or risk_of(sharp) >= _SHOWN else told


def _discount(talk: Sequence[Match], start: int, end: int) -> int:
    """The percentage that talk about attacks near these bytes takes off."""
    return max(
        (other.rule.discount for other in talk if other.start < end + _NEARBY and start < other.end + _NEARBY),
        default=0,
    )


class _Quotations:
    """The quotations in a text that are part of longer sentences, found line by line where somebody asks."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._lines: dict[int, tuple[int, list[tuple[int, int]]]] = {}  # by their starts: their ends, and quotations
        self._last = (0, 0, [(0, 0)])

    def hold(self, place: int) -> bool:
        """Whether a byte is quoted."""
        start, end, found = self._last
        if not start <= place < end:
            start = max(self._data.rfind(b"\n", 0, place) + 1, place // _LINE * _LINE - _LINE)
            known = self._lines.get(start)
            if known is None:
                end = self._data.find(b"\n", place, start + 2 * _LINE)
                end = end + 1 if end >= 0 else min(start + 2 * _LINE, len(self._data))
                known = self._lines[start] = end, list(_quotations(self._data, start, end))
            end, found = known
            self._last = start, end, found
        return any(first <= place < last for first, last in found)


def _quotations(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The quotations in a part of a line, with their marks."""
    for quotation in _QUOTATION.finditer(data, start, end):
        first, last = quotation.span()
        before, after = data[max(first - _QUOTE, 0) : first], data[last : last + _QUOTE]
        if before[-1:].isalnum() or after[:1].isalnum():
            continue  # an apostrophe
        bare = before.rstrip()
        if bare[-2:-1] in _FORMAT_QUOTES or bare[-1:] in _FORMAT_STARTS or before[-1:] in (b"=", b"\\"):
            continue  # part of a format, not of a sentence
        line, rest = before.rpartition(b"\n")[2], after.partition(b"\n")[0]
        listed = not line.strip() and rest.strip() == b","  # one of the literals of a list in a program
        if listed or len((line + rest).translate(None, _NO_LETTERS)) >= _SENTENCE:
            yield first, last


def _is_within(place: int, starts: Sequence[int], ends: Sequence[int]) -> bool:
    """Whether a place is in one of some stretches, which are in order and don't overlap; ends are exclusive."""
    index = bisect_right(starts, place) - 1
    return index >= 0 and place < ends[index]


def _unmarked(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with blanks for the markers of an earlier redaction: they are made of telling words, and a decoder
    would make others of them."""
    if not any(MARKER in message.text for message in messages):
        return messages
    blank = " " * len(MARKER)
    return [replace(message, text=message.text.replace(MARKER, blank)) for message in messages]


def _stretches(words: Words, wall: np.uint64, roles: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """(role, start, end) of the words between walls; where there are more stretches than roles, the last goes on."""
    walls = np.flatnonzero(words == wall).tolist()
    for index, (before, after) in enumerate(pairwise([-1, *walls, len(words)])):
        if after > before + 1:
            yield roles[min(index, len(roles) - 1)], before + 1, after


def _roles_of(view: View, messages: Sequence[Message]) -> list[str]:
    """The role of each stretch between walls; a view put together from pieces has one, the least trusted."""
    if view.kind in ("plain", "parted"):
        return [
            message.role
            for index, message in enumerate(messages)
            if not index or messages[index - 1].role != message.role
        ]
    roles = {messages[place[0]].role for place in islice(view.places(0, len(view.data)), _MOST_PLACES)}
    return [min(roles, key=lambda role: (role in TRUSTED, role not in DATA, role), default="user")]


def _heaviest(sums: Numbers, window: Window) -> tuple[int, int]:
    """The words of a window that together add the most: start and end (exclusive)."""
    upto = np.concatenate(([0], np.cumsum(sums[window.start : window.end])))
    low = np.minimum.accumulate(upto)
    end = int(np.argmax(upto[1:] - low[:-1])) + 1
    start = int(np.argmin(upto[:end]))
    return window.start + start, window.start + end

"""The detector: rules and the learned model over every reading of a conversation, as one risk.

Rules of this file:
- Rules: in each category the heaviest match counts; categories are combined by noisy-or (`base.risk_of`).
- The model says how much evidence the worst window holds; what rules found is evidence too (`_RULE_EVIDENCE`). The
  model's curve makes a risk of both. The risk is the higher one: a rule that blocks alone blocks, whatever the model
  thinks of the words around it, because those are the attacker's to choose.
- Text about an attack is not an attack: a match that is quoted in a sentence, or stands in talk about attacks, weighs
  less, never nothing. In data that others wrote, quotation marks are part of the format, and excuse only a few words.
- What was encoded has no honest reason to look like an attack: a match that only decoding shows weighs more.
- System and developer text is the operator's, and often talks about attacks: the model does not read it, and rules
  that don't name these roles weigh little more than half, so that one of them neither blocks nor rewrites.
- The same messages give the same assessment, in every process, on every machine, with either engine.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from typing import Final

from msgspec.structs import replace

from ..action import Message
from .base import Assessment, Span, risk_of
from .engine import FLOOD, Engine, Match
from .hidden import all_hidden_runs
from .learned import DATA, SHOWN, TRUSTED, Reader, Seen, Talk
from .model import Model
from .pack import Rule
from .quotations import MENTION, Quotations
from .reading import Reading
from .redaction import MARKER, joined_markers, redacted, without
from .views import View, Views, views

LEARNED: Final = Rule("learned", "learned", 50, "Reads like attacks that the model was trained on")
HIDDEN: Final = Rule("hidden-characters", "hidden-text", 20, "Characters that nobody sees, where they have no use")
UNREAD: Final = Rule("unread-encoding", "encoding", 30, "More encoded text than is ever decoded")

OWN_RULES: Final = (LEARNED, HIDDEN, UNREAD, FLOOD)
"""What a detector finds without a rule of a pack."""

_RULE_EVIDENCE: Final = 50  # thousandths of a logit for each point of risk that rules found
_LEAST: Final = 10  # a lower risk of the model is none; where it comes from is told from `SHOWN` on
_NEVER: Final = 1 << 61  # more than any evidence
_HARDLY: Final = 10  # a risk of rules that says nothing
_DECODED_WEIGHT: Final = 15
_SURE: Final = 97  # no single finding is surer
_TRUSTED_WEIGHT: Final = 55  # percent
_QUOTED: Final = 55  # percent that a quoted match weighs less
_MENTIONS: Final = 2  # quotations that count, of those that only mention an attack
_TALK: Final = (-1, -1)  # stands for all that is talked about
_MOST_PLACES: Final = 512
_UNREAD_BYTES: Final = 4096
_ROUNDS: Final = 6
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
        self._reader = None if model is None or LEARNED.id in self._off else Reader(model)
        self._glossary = engine.glossary(None if self._reader is None else self._reader.model.vocabulary)

    def score(self, messages: Sequence[Message]) -> Assessment:
        """The risk of these messages together, and where it comes from. Never raises."""
        messages = _unmarked(messages)
        read = views(messages)
        findings = _Findings(messages)
        looked = [(view, *self._match(view, findings)) for view in read.views if self._decoding or view.kind in _FULL]
        self._add_hidden(read, findings)
        spans = findings.spans()
        counted, certain = findings.counted(spans)
        risk = risk_of(counted) if counted else 0
        if self._reader is not None:
            learned, told = self._learned(self._reader, looked, messages, risk, _evidence(certain))
            if learned:
                risk = learned
                spans = sorted([*spans, *told], key=_place)
        return Assessment(risk, tuple(spans)) if spans or risk else _HARMLESS

    def sanitize(self, messages: Sequence[Message], assessment: Assessment) -> tuple[Message, ...]:
        """The messages with offending spans replaced by a marker, and without hidden characters.

        What rules found goes first, as its ends are sharp; what the model still sees then goes next. A cut may bring
        the halves of an attack together, so what is left is scored again until hardly any risk remains. A message
        that still has something after a few rounds becomes the marker alone. A risk below 20 is left alone.
        """
        cleaned = tuple(messages)
        for _ in range(_ROUNDS):
            if assessment.risk < SHOWN or not assessment.spans:
                return cleaned
            cut = redacted(cleaned, _offending(assessment))
            cut = without(cut, all_hidden_runs(message.text for message in cut))
            cleaned = joined_markers(cut, cleaned)
            assessment = self.score(cleaned)
        suspicious = {span.message for span in assessment.spans} if assessment.risk >= SHOWN else ()
        return tuple(
            replace(message, text=MARKER) if index in suspicious else message for index, message in enumerate(cleaned)
        )

    def _match(self, view: View, findings: _Findings) -> tuple[Talk, Quotations, Reading]:
        """Note what the rules find in a view; what of it is talk about attacks is returned, what is quoted, and all its
        words."""
        reading = self._glossary.read(view.data)
        matches = self._engine.matches(view.data, reading)
        quotations = Quotations(view.data)
        if not matches:
            return _NO_TALK, quotations, reading
        if self._off:
            matches = [match for match in matches if match.rule.id not in self._off]
        talk = Talk([match for match in matches if match.rule.discount], view.data)
        decoded = view.kind not in _FULL
        for match in matches:
            if not match.rule.discount:
                quoted = quotations.around(match.start, match.end)
                begin = quotations.begin(match.start) if quoted else -1
                findings.add(match, view, talk.discount(match.start, match.end), (begin, quoted), decoded=decoded)
        return talk, quotations, reading

    @staticmethod
    def _learned(
        reader: Reader,
        looked: Sequence[tuple[View, Talk, Quotations, Reading]],
        messages: Sequence[Message],
        risk: int,
        boost: int,
    ) -> tuple[int, list[Span]]:
        """The risk that the model makes of what it sees and of what rules found, and where it sees what it sees.

        `boost`: what rules found, as evidence. Nothing where rules are surer, or where there is hardly any risk. Of a
        low risk it isn't told where it comes from.
        """
        if risk > reader.highest:
            return 0, []
        least = reader.least - boost
        best = -_NEVER
        seen: list[tuple[Seen, Talk, Quotations]] = []
        for view, talk, quotations, reading in looked:
            if view.kind != "joined":
                one = reader.read(view, messages, reading, alone=boost < _HARDLY * _RULE_EVIDENCE)
                if one is not None:
                    best = max(best, one.most)
                    if one.most >= least:
                        seen.append((one, talk, quotations))
        # what is excused is evidence no more, so there is never more than now
        if seen and reader.model.risk(best + boost) >= risk:
            for one, talk, quotations in seen:
                one.excuse(talk, quotations)
            best = max(one.most for one, _, _ in seen)
        learned = reader.model.risk(best + boost)
        if learned < max(risk, _LEAST):
            return 0, []
        told: list[Span] = []
        for one, _, _ in seen:
            weight = max(reader.model.risk(one.most + boost), 1)
            places = {place for start, end in one.telling(least) for place in one.view.places(start, end)}
            told += (Span(*place, LEARNED.id, LEARNED.category, weight, LEARNED.title) for place in places)
        return learned, told

    def _add_hidden(self, read: Views, findings: _Findings) -> None:
        if read.hidden and HIDDEN.id not in self._off:
            for place in read.hidden[:_MOST_PLACES]:
                findings.put(HIDDEN, place, HIDDEN.weight)
        if self._decoding and read.signals.get("unread", 0) >= _UNREAD_BYTES and UNREAD.id not in self._off:
            for index, message in enumerate(findings.messages):
                if len(message.text) >= _UNREAD_BYTES:
                    findings.put(UNREAD, (index, 0, len(message.text)), UNREAD.weight)


_HARMLESS: Final = Assessment(0)
_NO_TALK: Final = Talk(())


class _Findings:
    """What rules found: the heaviest weight of each rule at each place."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self._rules: dict[str, Rule] = {}
        self._weights: dict[tuple[str, int, int, int], int] = {}
        # what is mentioned or talked about, whoever finds it: message and start of the quotation, or `_TALK`
        self._doubted: dict[tuple[str, int, int, int], tuple[int, int]] = {}
        self._covered: dict[tuple[str, int], _Covered] = {}  # by rule and message

    def add(self, match: Match, view: View, talked: int, quoted: tuple[int, int], *, decoded: bool) -> None:
        """A match in a view, if the rule counts in the text that it stands in.

        `talked`: the percentage that talk takes off. `quoted`: where its quotation begins, and its bytes
        (0: there is none).
        """
        rule = match.rule
        places = list(view.places(match.start, match.end))
        roles = {self.messages[place[0]].role for place in places}
        share = max((_share(rule, role) for role in roles), default=0)
        if not share:
            return
        begin, size = quoted
        discount = talked
        if size and (size <= MENTION or not roles & DATA):
            discount = max(discount, _QUOTED)
        weight = rule.weight * share * (100 - discount) // 10_000
        if decoded and not self._is_known(rule, places):
            weight = max(weight, min(weight + _DECODED_WEIGHT, _SURE))
        doubted = None
        if 0 < size <= MENTION:
            message, start, _ = next(view.places(begin, begin + 1), (-1, -1, -1))
            doubted = message, start
        elif talked:
            doubted = _TALK
        for place in places:
            self.put(rule, place, max(weight, 1), doubted)

    def counted(self, spans: list[Span]) -> tuple[list[Span], list[Span]]:
        """Of the spans those that count together, and those of them that are evidence.

        What is mentioned or talked about is no evidence, and hardly counts together: a quoted attack has all its parts
        in one quotation, and they are no more than it is; a list of attacks is no more than two of them.
        """
        if not self._doubted:
            return spans, spans
        certain: list[Span] = []
        heaviest: dict[tuple[int, int], Span] = {}  # of each quotation
        for span in spans:
            quotation = self._doubted.get((span.rule, span.message, span.start, span.end))
            if quotation is None:
                certain.append(span)
            elif quotation not in heaviest or _weight(heaviest[quotation]) < _weight(span):
                heaviest[quotation] = span
        kinds = {span.category: span for span in sorted(heaviest.values(), key=_weight)}  # of each the heaviest
        return [*certain, *sorted(kinds.values(), key=_weight)[-_MENTIONS:]], certain

    def put(self, rule: Rule, place: tuple[int, int, int], weight: int, doubted: tuple[int, int] | None = None) -> None:
        """A finding of a rule at a place. `doubted`: the quotation that it is only mentioned in, if it is."""
        key = (rule.id, *place)
        if doubted is None:
            self._doubted.pop(key, None)
        elif key not in self._weights:
            self._doubted[key] = doubted
        known = self._weights.get(key)
        if known is None:
            self._rules[rule.id] = rule
            self._covered.setdefault(key[:2], _Covered()).add(*place[1:])
        if known is None or known < weight:
            self._weights[key] = weight

    def spans(self) -> list[Span]:
        """All findings, in order of their places."""
        spans = [
            Span(message, start, end, rule, self._rules[rule].category, weight, self._rules[rule].title)
            for (rule, message, start, end), weight in self._weights.items()
        ]
        spans.sort(key=_place)
        return spans

    def _is_known(self, rule: Rule, places: Sequence[tuple[int, int, int]]) -> bool:
        """Whether the rule was found there without decoding: some views show what stands around a disguise too."""
        for message, start, end in places:
            covered = self._covered.get((rule.id, message))
            if covered is not None and covered.touches(start, end):
                return True
        return False


class _Covered:
    """The characters that some stretches cover. Nothing about it costs more than their number's logarithm, or a copy of
    a short list: a hostile text has thousands of them."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []  # of what is covered in one piece, in order
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Cover a stretch."""
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def touches(self, start: int, end: int) -> bool:
        """Whether some character of a stretch is covered."""
        index = bisect_right(self._ends, start)
        return index < len(self._starts) and self._starts[index] < end


def _place(span: Span) -> tuple[int, int, int, str]:
    return span.message, span.start, span.end, span.rule


def _weight(span: Span) -> tuple[int, str]:
    return span.weight, span.category


def _evidence(spans: Sequence[Span]) -> int:
    """What rules found, as evidence for the model.

    That characters are hidden is none: what they hide is read, and being encoded counts there.
    """
    if not spans:
        return 0
    return risk_of(span for span in spans if span.rule != HIDDEN.id) * _RULE_EVIDENCE


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
    return sharp if len(told) < len(assessment.spans) or risk_of(sharp) >= SHOWN else told


def _unmarked(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with blanks for the markers of an earlier redaction: they are made of telling words, and a decoder
    would make others of them."""
    for message in messages:
        if MARKER in message.text:
            break
    else:
        return messages
    blank = " " * len(MARKER)
    return [replace(message, text=message.text.replace(MARKER, blank)) for message in messages]

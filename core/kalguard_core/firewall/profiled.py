"""A firewall as one profile uses it: a detector, and what the profile says besides: roles, thresholds, phrases,
sensitive data.

Rules of this file:
- The risk is the detector's, and nothing here changes it. What must not pass whatever the risk is (a blocked phrase, a
  secret, a category over its own threshold) is said beside it, in the assessment.
- A detector knows what each role means; a profile that means something else by one hands its text in under the role
  that does (`profile.STAND_IN`). Places in messages stay what they are.
- Nothing that is found is ever quoted: ids, kinds and places only.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from msgspec.structs import replace

from ..action import Message
from .base import Assessment, PromptFirewall, Span, risk_of
from .content import MARKER, PhraseMatches, Phrases, places_of
from .profile import STAND_IN, CategoryProfile, Profile, Scoring, natural_trust
from .sensitive import Finding as SensitiveFinding
from .sensitive import SensitiveData
from .sensitive import Verdict as SensitiveVerdict

PHRASE: Final = "phrase:"
SENSITIVE: Final = "sensitive:"
FLOODED: Final = "phrase:too-many"
_OWN: Final = (PHRASE, SENSITIVE)
_ROUNDS: Final = 4
_NO_PHRASES: Final = Phrases(())

SENSITIVE_REASON: Final = "it holds data that must not be sent"
PHRASE_REASON: Final = "it holds words that are not allowed here"


class Shared:
    """What profiles that read text alike need not work out twice, for one list of messages."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[object, Assessment] = {}


class ProfiledFirewall:
    """Implements `PromptFirewall`. Immutable; safe to use from any thread.

    `sensitive`: None where the profile looks for nothing.
    """

    __slots__ = ("_detector", "_phrases", "_reads_alike", "_special", "profile", "sensitive")

    def __init__(
        self,
        profile: Profile,
        detector: PromptFirewall,
        *,
        phrases: Phrases | None = None,
        sensitive: SensitiveData | None = None,
    ) -> None:
        self.profile = profile
        self.sensitive = sensitive
        self._detector = detector
        self._phrases = phrases or _NO_PHRASES
        self._special = _special_roles(profile)
        pins = profile.pins if any(role == _PINNED for role in self._special.values()) else frozenset()
        self._reads_alike = (id(detector), tuple(sorted(self._special.items())), pins)

    @property
    def name(self) -> str:
        """Of the profile."""
        return self.profile.name

    def blocks(self, assessment: Assessment) -> bool:
        """Whether messages so assessed may not pass."""
        return assessment.blocked or assessment.risk >= self.profile.block

    def rewrites(self, assessment: Assessment) -> bool:
        """Whether messages so assessed may pass only rewritten, if at all."""
        return assessment.must_redact or assessment.blocked or assessment.risk >= self.profile.sanitize

    def score(self, messages: Sequence[Message], shared: Shared | None = None) -> Assessment:
        """The risk of these messages together, where it comes from, and what must not pass. Never raises.

        `shared`: of the same messages, for all profiles that score them.
        """
        return self._complete(messages, self._detected(messages, shared))

    def sanitize(self, messages: Sequence[Message], assessment: Assessment) -> tuple[Message, ...]:
        """The messages with everything replaced that keeps them from passing; the rest stays as it is.

        The spans of the detector are replaced only if it is they that must go.
        """
        before = tuple(messages)
        found: Assessment | None = _detected_of(assessment)
        for _ in range(_ROUNDS):  # a cut may bring together what was apart, or show what it was part of
            cleaned = self._without_content(before)
            if found is None or cleaned != before:
                found = self._detected(cleaned, None)
            if self._must_clean(cleaned, found):
                cleaned = self._without_spans(cleaned, found)
            if cleaned == before:
                break
            before, found = cleaned, None
        return before

    def _detected(self, messages: Sequence[Message], shared: Shared | None) -> Assessment:
        if shared is None:
            return self._detector.score(self._as_read(messages))
        known = shared.known.get(self._reads_alike)
        if known is None:
            known = shared.known[self._reads_alike] = self._detector.score(self._as_read(messages))
        return known

    def _complete(self, messages: Sequence[Message], found: Assessment) -> Assessment:
        """With what the profile says about what the detector found, and about the rest of the text."""
        blocked, must_redact = self._over_thresholds(messages, found)
        matches = self._phrases.find(messages) if self._phrases.rules else None
        findings = self.sensitive.find(messages) if self.sensitive is not None else ()
        if not (blocked or must_redact or findings or (matches and (matches.matches or matches.flooded))):
            return found
        spans, tags, reason = [*found.spans], [*found.tags], ""
        if findings and self.sensitive is not None:
            verdict = self.sensitive.verdict(messages, findings)
            spans += _sensitive_spans(findings, verdict)
            tags += (SENSITIVE + kind for kind, _ in verdict.tags)
            if verdict.block:
                blocked, reason = True, SENSITIVE_REASON
            must_redact = must_redact or verdict.redact
        if matches:
            spans += _phrase_spans(matches)
            tags += dict.fromkeys(PHRASE + match.rule.id for match in matches.matches if match.rule.effect == "tag")
            must_redact = must_redact or any(match.rule.effect == "sanitize" for match in matches.matches)
            guilty = [match.rule for match in matches.matches if match.rule.effect == "block"]
            if guilty or matches.flooded:
                blocked = True
                reason = next((rule.message for rule in guilty if rule.message), PHRASE_REASON)
        spans.sort(key=lambda span: (span.message, span.start, span.end, span.rule))
        return Assessment(found.risk, tuple(spans), tuple(tags), blocked, must_redact, reason)

    def _over_thresholds(self, messages: Sequence[Message], found: Assessment) -> tuple[bool, bool]:
        """Whether what was found blocks, or must be rewritten, by the thresholds of roles and categories."""
        profile = self.profile
        blocked, must_redact = found.blocked, found.must_redact
        if not found.spans:
            return blocked, must_redact
        for category, limits in profile.categories.items():
            if limits != _NO_LIMITS:
                heaviest = max((span.weight for span in found.spans if span.category == category), default=0)
                blocked = blocked or (limits.block is not None and heaviest >= limits.block)
                must_redact = must_redact or (limits.sanitize is not None and heaviest >= limits.sanitize)
        for role, wanted in profile.roles.items():
            if not wanted.stricter:
                continue
            inside = [span for span in found.spans if messages[span.message].role == role]
            if not inside:
                continue
            risk = found.risk if len(inside) == len(found.spans) else min(found.risk, risk_of(inside))
            blocked = blocked or risk >= profile.block - wanted.stricter
            must_redact = must_redact or risk >= profile.sanitize - wanted.stricter
        return blocked, must_redact

    def _must_clean(self, messages: Sequence[Message], found: Assessment) -> bool:
        return found.risk >= self.profile.sanitize or any(self._over_thresholds(messages, found))

    def _without_spans(self, messages: tuple[Message, ...], found: Assessment) -> tuple[Message, ...]:
        read = self._as_read(messages)
        clean = self._detector.sanitize(read, found)
        if read is messages:
            return clean
        return tuple(
            message if old.text == new.text else replace(message, text=new.text)
            for message, old, new in zip(messages, read, clean, strict=True)
        )

    def _without_content(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Without sensitive data and phrases that must be replaced."""
        if self.sensitive is not None:
            findings = self.sensitive.find(messages)
            if findings and self.sensitive.verdict(messages, findings).redact:
                messages = self.sensitive.redact(messages, findings)
        if not any(rule.effect == "sanitize" for rule in self._phrases.rules):
            return messages
        left: set[int] = set()
        for _ in range(_ROUNDS):
            places = places_of(
                match for match in self._phrases.find(messages).matches if match.rule.effect == "sanitize"
            )
            if not places:
                return messages
            left = set(places)
            messages = tuple(
                replace(message, text=_cut(message.text, places[index])) if index in places else message
                for index, message in enumerate(messages)
            )
        return tuple(
            replace(message, text=MARKER) if index in left else message for index, message in enumerate(messages)
        )

    def _as_read(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages as the detector is to see them; the same object if it sees them as they are."""
        same = messages if isinstance(messages, tuple) else tuple(messages)
        special = self._special
        if not special or not any(message.role in special for message in messages):
            return same
        return tuple(self._one_as_read(message) for message in messages)

    def _one_as_read(self, message: Message) -> Message:
        role = self._special.get(message.role)
        if role is None:
            return message
        if role == _PINNED:
            digest = sha256(message.text.encode("utf-8", "surrogatepass")).hexdigest()
            role = _UNREAD if digest in self.profile.pins else "user"
        return replace(message, text="") if role == _UNREAD else replace(message, role=role)


_NO_LIMITS: Final = CategoryProfile()
# Words in the place of a role: text that the detector does not see, and text that only a pin keeps from it.
_UNREAD: Final = "-"
_PINNED: Final = "pinned"


def _special_roles(profile: Profile) -> dict[str, str]:
    """The roles that a profile reads as others, and as what."""
    special: dict[str, str] = {}
    for role, wanted in profile.roles.items():
        if wanted.scoring is Scoring.NEVER:
            special[role] = _UNREAD
        elif wanted.scoring is Scoring.PINNED:
            special[role] = _PINNED
        elif wanted.trust is not None and wanted.trust is not natural_trust(role):
            special[role] = STAND_IN[wanted.trust]
    return special


def _detected_of(assessment: Assessment) -> Assessment:
    """What the detector alone had found."""
    spans = tuple(span for span in assessment.spans if not span.rule.startswith(_OWN))
    return assessment if len(spans) == len(assessment.spans) else Assessment(assessment.risk, spans)


def _sensitive_spans(findings: Sequence[SensitiveFinding], verdict: SensitiveVerdict) -> list[Span]:
    acting = {*verdict.blocked, *verdict.redacted}
    return [
        Span(one.message, one.start, one.end, SENSITIVE + one.kind, "sensitive", 0, f"looks like: {one.kind}")
        for one in findings
        if one.kind in acting
    ]


def _phrase_spans(matches: PhraseMatches) -> list[Span]:
    spans = [
        Span(one.message, one.start, one.end, PHRASE + one.rule.id, one.rule.category, 0, "an operator's phrase")
        for one in matches.matches
        if one.rule.effect != "tag"
    ]
    if matches.flooded:
        spans.append(Span(0, 0, 0, FLOODED, "content", 0, "more phrases than are looked at"))
    return spans


def _cut(text: str, places: Sequence[tuple[int, int]]) -> str:
    parts: list[str] = []
    kept = 0
    for start, end in places:
        parts += (text[kept:start], MARKER)
        kept = end
    parts.append(text[kept:])
    return "".join(parts)

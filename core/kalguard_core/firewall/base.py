"""The interface of a prompt firewall. What is behind it may change; this may not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..action import Message


@dataclass(frozen=True, slots=True)
class Span:
    """A suspicious piece of one message: characters `start` to `end` (exclusive) of `messages[message].text`.

    `rule`: id of what found it; a finding of an operator's own words is `phrase:<id>`, one of sensitive data
    `sensitive:<kind>`, and no rule of a pack has a colon in its id. `reason`: in words, for people; never the text.
    """

    message: int
    start: int
    end: int
    rule: str
    category: str
    weight: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Assessment:
    """The score of a list of messages: `risk` 0-100 and the spans that it comes from.

    What the risk alone does not say: `blocked`, these messages may not pass whatever the risk is; `must_redact`, they
    may pass only with (some of) the spans replaced; `reason`, why, as an agent may be told it. `tags`: what is only
    to be noted, like "sensitive:email".
    """

    risk: int
    spans: tuple[Span, ...] = ()
    tags: tuple[str, ...] = ()
    blocked: bool = False
    must_redact: bool = False
    reason: str = ""

    @property
    def level(self) -> str:
        """Name of the risk: low < 40 <= medium < 60 <= high < 80 <= critical."""
        return risk_level(self.risk)

    @property
    def rules(self) -> tuple[str, ...]:
        """Ids of the rules that matched, each once, in order of first appearance."""
        return tuple(dict.fromkeys(span.rule for span in self.spans))

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories of what was found, each once, in order of first appearance."""
        return tuple(dict.fromkeys(span.category for span in self.spans))


def risk_level(risk: int) -> str:
    """Name of a risk score, as the original sidecar reports it."""
    if risk < 40:
        return "low"
    if risk < 60:
        return "medium"
    if risk < 80:
        return "high"
    return "critical"


def risk_of(spans: Iterable[Span]) -> int:
    """Noisy-or of the heaviest span of each category, 0-100: different signals add up, many views of one do not.

    Whole numbers, so the order does not matter.
    """
    heaviest: dict[str, int] = {}
    for span in spans:
        heaviest[span.category] = max(span.weight, heaviest.get(span.category, 0))
    safe, scale = 1, 1
    for weight in heaviest.values():
        safe *= 100 - weight
        scale *= 100
    return 100 * (scale - safe) // scale


class PromptFirewall(Protocol):
    """Scores text for prompt injection. Deterministic, linear in the length of the text, thread-safe."""

    def score(self, messages: Sequence[Message]) -> Assessment:
        """The risk of these messages together."""
        ...

    def sanitize(self, messages: Sequence[Message], assessment: Assessment) -> tuple[Message, ...]:
        """The messages with every suspicious span replaced; everything else stays as it is.

        Sanitizing twice changes nothing.
        """
        ...

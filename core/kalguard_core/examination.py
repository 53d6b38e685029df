"""What costs time in proportion to a body: reading it, scoring its text, judging the arguments in it.

Rules of this file: a `Task` can be pickled, and so can what it finds, so that a large body can be examined in
another process. What comes back from there is small: findings instead of the text. The way to a finding is the
same here and there; only its time differs (when the pipeline asks, or all at once).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from .action import Action, Message
from .firewall.base import Assessment, PromptFirewall, Span
from .request import AgentRequest, Refusal
from .tools import ToolCatalog, ToolRefusal
from .wire.base import Reading, RefusedReading, Route, WireProtocol
from .wire.encoding import MAX_DECODED, decoded
from .wire.json import Encoded, encode_json
from .wire.text import is_decoded, rewritten


class Sanitized(Struct, frozen=True):
    """Messages after redaction, and the `risk` (0-100) that is left in them."""

    messages: tuple[Message, ...]
    risk: int


class Finding:
    """What there is to know about one action, worked out when it is first asked for, or all at once by `settle`.

    `has_text`: whether there is anything for the firewall.
    """

    __slots__ = ("_assessment", "_mediated", "_sanitized", "_work", "has_text")

    def __init__(self, action: Action, firewall: PromptFirewall, tools: ToolCatalog) -> None:
        self._work: tuple[Action, PromptFirewall, ToolCatalog] | None = (action, firewall, tools)
        self.has_text = bool(action.messages)
        self._assessment: Assessment | None = None
        self._mediated: tuple[ToolRefusal | None] | None = None
        self._sanitized: Sanitized | None = None

    @property
    def assessment(self) -> Assessment:
        """The score of the action's text."""
        if self._assessment is None:
            action, firewall, _ = self._open()
            self._assessment = firewall.score(action.messages)
        return self._assessment

    @property
    def tool_refusal(self) -> ToolRefusal | None:
        """Why the call of the action's tool is refused; None if it is not, or if there is no tool."""
        if self._mediated is None:
            action, _, tools = self._open()
            refusal = None if action.tool is None else tools.mediate(action.tool, action.arguments or {})
            self._mediated = (refusal,)
        return self._mediated[0]

    @property
    def sanitized(self) -> Sanitized:
        """The action's text made safe, as far as that goes."""
        if self._sanitized is None:
            action, firewall, _ = self._open()
            clean = firewall.sanitize(action.messages, self.assessment)
            stuck = any(
                is_decoded(old) and old.text != new.text for old, new in zip(action.messages, clean, strict=True)
            )
            # what stands in the document in another form can't be replaced there, so nothing got safer
            risk = self.assessment.risk if stuck else firewall.score(clean).risk
            self._sanitized = Sanitized(clean, risk)
        return self._sanitized

    def settle(self, examiner: Examiner, *, can_rewrite: bool) -> Sanitized | None:
        """Work out all that the pipeline may ask, and let go of the text.

        Answers the sanitized text where it may be wanted; what the finding keeps of it is its risk.
        """
        clean = None
        _ = self.tool_refusal
        if self.has_text:
            if can_rewrite and examiner.sanitize_threshold <= self.assessment.risk < examiner.block_threshold:
                clean = self.sanitized
                self._sanitized = Sanitized((), clean.risk)
            # the pipeline asks for the names of the rules, not for each of what may be thousands of places
            first: dict[str, Span] = {}
            for span in self.assessment.spans:
                first.setdefault(span.rule, span)
            self._assessment = Assessment(self.assessment.risk, tuple(first.values()))
        self._work = None
        return clean

    def _open(self) -> tuple[Action, PromptFirewall, ToolCatalog]:
        assert self._work is not None, "a settled finding is asked for what nobody could have needed"
        return self._work


class Examination(Struct, frozen=True):
    """A body that was read: what it says, and a finding for each of its actions."""

    reading: Reading
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Examiner:
    """With what bodies are examined: the same for all requests of a snapshot, and equal if nothing changed.

    `max_body_bytes`: what a body may have when it is decoded.
    """

    firewall: PromptFirewall
    tools: ToolCatalog
    sanitize_threshold: int
    block_threshold: int
    max_body_bytes: int = MAX_DECODED


@dataclass(frozen=True, slots=True)
class Task:
    """A large body to examine, as it came. `request` need not hold its body, and should hold no credentials."""

    examiner: Examiner
    protocol: WireProtocol
    request: AgentRequest
    route: Route
    body: bytes

    def run(self) -> Examination | Refusal:
        """Everything that can be found out, at once. The actions come without text and arguments.

        The document is there only if text was sanitized: as it would be with that text, each member encoded.
        """
        examiner = self.examiner
        try:
            plain = decoded(self.request.headers, self.body, examiner.max_body_bytes)
            read = examine(examiner.firewall, examiner.tools, self.protocol, self.request, self.route, plain)
        except RefusedReading as refusal:
            refusal.actions = tuple(_without_text(action) for action in refusal.actions)
            return refusal.with_traceback(None)
        except Refusal as refusal:
            return refusal.with_traceback(None)
        document, changed = read.reading.document, False
        for action, finding in zip(read.reading.actions, read.findings, strict=True):
            clean = finding.settle(examiner, can_rewrite=self.request.can_rewrite)
            if clean is not None:
                document, changed = rewritten(document, action.messages, clean.messages), True
        actions = tuple(_without_text(action) for action in read.reading.actions)
        return Examination(Reading(actions, _encoded(document) if changed else None), read.findings)


class LargeBodies(Protocol):
    """Examines large bodies where they hold nobody up, agents in turn."""

    async def examine(
        self, agent_id: str, task: Task, digest: Callable[[bytes], str]
    ) -> tuple[str, Examination | Refusal]:
        """The digest of the body and what the task finds."""
        ...


class AtOnce:
    """`LargeBodies` for who serves nobody else meanwhile."""

    async def examine(
        self, agent_id: str, task: Task, digest: Callable[[bytes], str]
    ) -> tuple[str, Examination | Refusal]:
        """See `LargeBodies.examine`."""
        return digest(task.body), task.run()


def examine(
    firewall: PromptFirewall,
    tools: ToolCatalog,
    protocol: WireProtocol,
    request: AgentRequest,
    route: Route,
    body: bytes,
) -> Examination:
    """Read a body (without content encoding); nothing is scored before it is asked for. Raises `Refusal`."""
    # what a plain request means, only the catalog says; all other protocols say it by themselves
    read_with = getattr(protocol, "read_with", None)
    reading = protocol.read(request, route, body) if read_with is None else read_with(request, route, body, tools.http)
    return Examination(reading, tuple([Finding(action, firewall, tools) for action in reading.actions]))


def _without_text(action: Action) -> Action:
    return replace(action, messages=(), arguments=None, attributes=dict(action.attributes))


def _encoded(document: Any) -> Any:
    return {name: Encoded(encode_json(value)) for name, value in document.items()} if type(document) is dict else None

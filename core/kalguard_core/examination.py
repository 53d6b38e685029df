"""What costs time in proportion to a body: reading it, scoring its text, judging the arguments in it.

Rules of this file: a `Task` can be pickled, and so can what it finds, so that a large body can be examined in
another process. What comes back from there is small: findings instead of the text. The way to a finding is the
same here and there; only its time differs (when the pipeline asks, or all at once).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from .action import Action, Message
from .firewall.base import Assessment, Span
from .firewall.document import Firewalls
from .firewall.profiled import ProfiledFirewall, Shared
from .request import AgentRequest, Refusal
from .tools import ToolCatalog, ToolRefusal
from .wire.base import Reading, RefusedReading, Route, WireProtocol
from .wire.encoding import MAX_DECODED, decoded
from .wire.json import Encoded, encode_json
from .wire.text import is_decoded, rewritten


class Sanitized(Struct, frozen=True):
    """Messages after redaction, the `risk` (0-100) that is left in them, and whether they may pass so."""

    messages: tuple[Message, ...]
    risk: int
    safe: bool


class Judged:
    """An action's text under one profile, scored and sanitized when that is first asked for."""

    __slots__ = ("_assessment", "_sanitized", "_work")

    def __init__(self, messages: tuple[Message, ...], firewall: ProfiledFirewall, shared: Shared) -> None:
        self._work: tuple[tuple[Message, ...], ProfiledFirewall, Shared] | None = (messages, firewall, shared)
        self._assessment: Assessment | None = None
        self._sanitized: Sanitized | None = None

    @property
    def assessment(self) -> Assessment:
        """The score of the text, and what must not pass."""
        if self._assessment is None:
            messages, firewall, shared = self._open()
            self._assessment = firewall.score(messages, shared)
        return self._assessment

    @property
    def sanitized(self) -> Sanitized:
        """The text made safe, as far as that goes."""
        if self._sanitized is None:
            messages, firewall, _ = self._open()
            clean = firewall.sanitize(messages, self.assessment)
            stuck = any(is_decoded(old) and old.text != new.text for old, new in zip(messages, clean, strict=True))
            # what stands in the document in another form can't be replaced there, so nothing got safer
            left = self.assessment if stuck else firewall.score(clean)
            self._sanitized = Sanitized(clean, left.risk, not firewall.rewrites(left))
        return self._sanitized

    def settle(self, *, can_rewrite: bool) -> Sanitized | None:
        """Work out all that the pipeline may ask, and let go of the text.

        Answers the sanitized text where it may be wanted; what is kept of it is its risk.
        """
        clean = None
        _, firewall, _ = self._open()
        found = self.assessment
        if can_rewrite and firewall.rewrites(found) and not firewall.blocks(found):
            clean = self.sanitized
            self._sanitized = Sanitized((), clean.risk, clean.safe)
        # the pipeline asks for the names of the rules, not for each of what may be thousands of places
        first: dict[str, Span] = {}
        for span in found.spans:
            first.setdefault(span.rule, span)
        self._assessment = dataclasses.replace(found, spans=tuple(first.values()))
        self._work = None
        return clean

    def _open(self) -> tuple[tuple[Message, ...], ProfiledFirewall, Shared]:
        assert self._work is not None, "settled text is asked for what nobody could have needed"
        return self._work


class Finding:
    """What there is to know about one action, worked out when it is first asked for, or all at once by `settle`.

    `has_text`: whether there is anything for the firewall.
    """

    __slots__ = ("_judged", "_mediated", "_shared", "_work", "has_text")

    def __init__(self, action: Action, tools: ToolCatalog) -> None:
        self._work: tuple[Action, ToolCatalog] | None = (action, tools)
        self.has_text = bool(action.messages)
        self._judged: dict[str, Judged] = {}
        self._shared: Shared | None = None
        self._mediated: tuple[ToolRefusal | None] | None = None

    def under(self, firewall: ProfiledFirewall) -> Judged:
        """The action's text as the profile of `firewall` sees it."""
        judged = self._judged.get(firewall.name)
        if judged is None:
            action, _ = self._open()
            if self._shared is None:
                self._shared = Shared()
            judged = self._judged[firewall.name] = Judged(action.messages, firewall, self._shared)
        return judged

    @property
    def tool_refusal(self) -> ToolRefusal | None:
        """Why the call of the action's tool is refused; None if it is not, or if there is no tool."""
        if self._mediated is None:
            action, tools = self._open()
            refusal = None if action.tool is None else tools.mediate(action.tool, action.arguments or {})
            self._mediated = (refusal,)
        return self._mediated[0]

    def settle(self, firewalls: Sequence[ProfiledFirewall], *, can_rewrite: bool) -> dict[str, Sanitized]:
        """Work out all that the pipeline may ask under any of these, and let go of the text.

        Answers the sanitized text by the name of the profile under which it may be wanted.
        """
        _ = self.tool_refusal
        clean: dict[str, Sanitized] = {}
        if self.has_text:
            for judged in [self.under(firewall) for firewall in firewalls]:
                _ = judged.assessment  # all of them, before the first lets go
            for firewall in firewalls:
                made = self.under(firewall).settle(can_rewrite=can_rewrite)
                if made is not None:
                    clean[firewall.name] = made
        self._work = self._shared = None
        return clean

    def _open(self) -> tuple[Action, ToolCatalog]:
        assert self._work is not None, "a settled finding is asked for what nobody could have needed"
        return self._work


class Examination(Struct, frozen=True):
    """A body that was read: what it says, and a finding for each of its actions.

    `documents`: of a settled one, by the name of a profile: the body with the text that is sanitized under it.
    """

    reading: Reading
    findings: tuple[Finding, ...]
    documents: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Examiner:
    """With what bodies are examined: the same for all requests of a snapshot, and equal if nothing changed.

    `max_body_bytes`: what a body may have when it is decoded.
    """

    firewalls: Firewalls
    tools: ToolCatalog
    max_body_bytes: int = MAX_DECODED


@dataclass(frozen=True, slots=True)
class Task:
    """A large body to examine, as it came. `request` need not hold its body, and should hold no credentials.

    `profiles`: names of those under which its text may be judged; none for the default.
    """

    examiner: Examiner
    protocol: WireProtocol
    request: AgentRequest
    route: Route
    body: bytes
    profiles: tuple[str, ...] = ()

    def run(self) -> Examination | Refusal:
        """Everything that can be found out, at once. The actions come without text and arguments.

        There are documents only where text was sanitized: as they would be with that text, each member encoded.
        """
        examiner = self.examiner
        firewalls = [found for name in self.profiles if (found := examiner.firewalls.get(name)) is not None]
        if not self.profiles:
            firewalls = [examiner.firewalls.default]
        try:
            plain = decoded(self.request.headers, self.body, examiner.max_body_bytes)
            read = examine(examiner.tools, self.protocol, self.request, self.route, plain)
        except RefusedReading as refusal:
            refusal.actions = tuple(_without_text(action) for action in refusal.actions)
            return refusal.with_traceback(None)
        except Refusal as refusal:
            return refusal.with_traceback(None)
        documents: dict[str, Any] = {}
        for action, finding in zip(read.reading.actions, read.findings, strict=True):
            clean = finding.settle(firewalls, can_rewrite=self.request.can_rewrite)
            for name, made in clean.items():
                before = documents.get(name, read.reading.document)
                documents[name] = rewritten(before, action.messages, made.messages)
        actions = tuple(_without_text(action) for action in read.reading.actions)
        encoded = {name: _encoded(document) for name, document in documents.items()}
        return Examination(Reading(actions, None), read.findings, encoded)


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
    return Examination(reading, tuple([Finding(action, tools) for action in reading.actions]))


def _without_text(action: Action) -> Action:
    return replace(action, messages=(), arguments=None, attributes=dict(action.attributes))


def _encoded(document: Any) -> Any:
    return {name: Encoded(encode_json(value)) for name, value in document.items()} if type(document) is dict else None

"""The interface of a wire protocol: bytes and headers in, actions out, and an answer in the client's shape.

Rules of this room: one module a protocol, pure. A protocol refuses (`Refusal`) what it does not understand;
nothing is skipped. A new protocol is one file and one line in `registry.py`.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from ..action import Action
from ..codes import ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal


class Route(Struct, frozen=True):
    """A recognised endpoint of a protocol.

    `name` is stable and low in cardinality (metrics, audit): "openai.chat", "mcp.post", "http", "api.prompt".
    `capabilities` are all needed before the body is read.
    `reads_body`: False where the protocol has no body to read there.
    """

    name: str
    capabilities: tuple[str, ...] = ()
    reads_body: bool = True


class Reading(Struct, frozen=True):
    """What a body says: the actions in it (at least one) and the parsed document, if a reply needs it."""

    actions: tuple[Action, ...]
    document: Any = None


class RefusedReading(Refusal):
    """A body that was understood well enough to know its calls, and is refused as a whole.

    `actions` are the calls in it. The pipeline turns each into a denied verdict, so that every call is
    audited and the reply can name the ids that the client waits for.
    """

    def __init__(self, code: ErrorCode, reason: str, *, actions: tuple[Action, ...] = (), detail: str = "") -> None:
        super().__init__(code, reason, detail=detail)
        self.actions = actions


class WireProtocol(Protocol):
    """One protocol. Implementations hold no state."""

    kind: str
    answers_itself: bool
    """True when an allow, too, is answered by us (the check API); False when it is forwarded."""

    def route(self, request: AgentRequest) -> Route:
        """The endpoint that the method and path name. Raises `Refusal` NOT_FOUND or METHOD_NOT_ALLOWED."""
        ...

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """The actions in the body.

        Raises `Refusal` (400, 415, or 403 for what is understood but not supported).
        """
        ...

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """The refusal (or, for protocols that answer themselves, the answer) in the client's shape."""
        ...

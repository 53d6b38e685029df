"""The interface of a wire protocol: bytes and headers in, actions out, and an answer in the client's shape.

Rules of this room: one module a protocol, pure. A protocol refuses (`Refusal`) what it does not understand;
nothing is skipped. A new protocol is one file and one line in `registry.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from msgspec import Struct

from ..action import Action
from ..codes import Capability, ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal

LLM_CALL: Final = (Capability.LLM_CALL.value,)
PROMPT: Final = (Capability.PROMPT_SEND.value, Capability.LLM_CALL.value)


class Endpoint(Struct, frozen=True):
    """One endpoint of a protocol.

    `path`: under the route's prefix; a segment is literal, `{name}` or `{name}:verb`. `name`: stable, of metrics
    and audit ("openai.chat"). `actions`: what a request there becomes, and `reads`: what is read of it, both for
    the documentation. `capabilities`: all are needed before the body is read. `query`: the names that its query
    may have. `body`: False where a request has none. `upgrade`: the only way in is a protocol upgrade.
    """

    method: str
    path: str
    name: str
    actions: str
    reads: str
    capabilities: tuple[str, ...] = PROMPT
    query: frozenset[str] = frozenset()
    body: bool = True
    upgrade: bool = False


class Route(Struct, frozen=True):
    """A recognised endpoint of a protocol.

    `name` is stable and low in cardinality (metrics, audit): "openai.chat", "mcp.post", "http", "api.prompt".
    `capabilities` are all needed before the body is read.
    `reads_body`: False where the protocol has no body to read there.
    `parameters`: what stands in the path (a model, a deployment). `query`: its members, decoded.
    `light_bytes`: a body with more is examined away from the event loop, where its bytes don't show how many pieces
    are in it, as JSON's do; None for JSON.
    """

    name: str
    capabilities: tuple[str, ...] = ()
    reads_body: bool = True
    parameters: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    light_bytes: int | None = None


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

    @property
    def kind(self) -> str:
        """The route kind that it is registered for."""
        ...

    @property
    def title(self) -> str:
        """What people call it: "OpenAI"."""
        ...

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Whatever it understands; the documentation is made from it."""
        ...

    @property
    def refused(self) -> tuple[tuple[str, str], ...]:
        """What it understands and refuses all the same, and why; for the documentation."""
        ...

    @property
    def answers_itself(self) -> bool:
        """True when an allow, too, is answered by us (the check API); False when it is forwarded."""
        ...

    def route(self, request: AgentRequest) -> Route:
        """The endpoint that the method and path name. Raises `Refusal` NOT_FOUND or METHOD_NOT_ALLOWED."""
        ...

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """The actions in the body, which comes without its content encoding.

        Raises `Refusal` (400, 415, or 403 for what is understood but not supported).
        """
        ...

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """The refusal (or, for protocols that answer themselves, the answer) in the client's shape."""
        ...

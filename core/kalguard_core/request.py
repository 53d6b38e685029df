"""What one transport hands in: a request, its peer, and a body that may still be on its way.

Rules of this file: values only; nothing here decides. Time is handed in, never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from msgspec import Struct

from .codes import STATUS, ErrorCode

NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})


class Refusal(Exception):
    """A request that is answered with an error code before or instead of a policy decision.

    `reason` is shown to the agent: it says what is wrong and where, and nothing about our internals.
    `detail` says more, for the audit log and the operator; it is never shown to the agent.
    `retry_after` is in seconds, for 429 and 503.
    """

    def __init__(self, code: ErrorCode, reason: str, *, detail: str = "", retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        # an exception is pickled as a call with its `args`, and these don't fit `__init__`
        return type(self), (self.code, self.reason), self.__dict__

    @property
    def status(self) -> int:
        """HTTP status of the error code."""
        return STATUS[self.code]


class Body(Protocol):
    """The body of a request. A transport that streams reads it only when the pipeline asks for it,
    so that nobody unauthenticated can make us buffer megabytes."""

    @property
    def size_hint(self) -> int:
        """Bytes announced or known so far; 0 if unknown. Used to budget, never trusted as a length."""
        ...

    async def read(self) -> bytes:
        """All bytes of the body.

        Raises `Refusal` with PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT or BAD_REQUEST.
        """
        ...


class BufferedBody(Struct, frozen=True):
    """A body that the transport already holds in full."""

    data: bytes = b""

    @property
    def size_hint(self) -> int:
        """Length in bytes."""
        return len(self.data)

    async def read(self) -> bytes:
        """The bytes."""
        return self.data


class Peer(Struct, frozen=True):
    """Who is on the other end.

    `address`: source address as the transport reports it (evidence for the audit, never identity).
    `principal`: the mTLS/SPIFFE principal that Envoy verified, "" if there is none or it may not be believed.
    """

    address: str = ""
    principal: str = ""


class AgentRequest(Struct, frozen=True):
    """One request of an agent, as a transport hands it to `Guard.decide`.

    `kind`: name of the wire protocol (`wire.registry`), from the matched route, never from the agent.
    `path`: origin-form target with query. `headers`: lower-case names; repeated headers joined with ",".
    `context`: context extensions of the route, empty unless the caller is trusted.
    `time`: Unix seconds. `monotonic`: seconds of a clock that never steps, for limits.
    `can_rewrite`: the transport can carry out an obligation to rewrite messages.
    """

    id: str
    kind: str
    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    time: float
    monotonic: float
    body: Body = BufferedBody()
    peer: Peer = Peer()
    context: Mapping[str, str] = NO_CONTEXT
    can_rewrite: bool = False

    @property
    def route_path(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]

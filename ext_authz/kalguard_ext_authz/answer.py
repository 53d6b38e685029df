"""What transports need of the gate: hand in a request, get the decision and, if it is ours to give, the reply."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from kalguard_core.decision import Decision, Reply
from kalguard_core.request import AgentRequest


class Answer(Struct, frozen=True):
    """A decision that has its audit line. `reply` is None when the request is to be forwarded as it is."""

    decision: Decision
    reply: Reply | None


class Answerer(Protocol):
    """The one way from a transport into the core. Never raises: a failure inside is a denial."""

    async def answer(self, request: AgentRequest, *, transport: str) -> Answer:
        """Decide, audit, and render. `transport` is "grpc" or "http"."""
        ...

"""Requests about what the vendor keeps: responses, conversations, threads, files, batches.

Rules of this file: what is kept may have been put there by anyone, and nobody here sees it. So reading, changing
or deleting it is a `content:reference` that a rule has to name, whatever the method.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..action import Action, Attribute
from ..codes import CONTENT_REFERENCE
from .base import LLM_CALL, Route
from .openai_chat import one_model
from .prompt import BodyError, Prompt


class Stored(Struct, frozen=True):
    """One endpoint of that kind. `kind`: of the reference; `parameter`: its id in the path, "" for all of them.

    `operation`: "read", "list", "write", "delete", "cancel".
    """

    kind: str
    parameter: str = ""
    operation: str = "read"

    def __call__(self, provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
        """The reference, and the text that is sent with it, if there is any."""
        identifier = route.parameters[self.parameter] if self.parameter else "*"
        resource = f"{self.kind}:{identifier}"
        attributes: dict[str, Attribute] = {
            "provider": provider,
            "referenceType": self.kind,
            "operation": self.operation,
        }
        prompt = Prompt(provider, None)
        if document:
            prompt.others(document, frozenset(), ())
        if route.query:
            prompt.others(route.query, frozenset(), ())
        messages = prompt.actions()[0].messages
        reference = Action(
            CONTENT_REFERENCE, LLM_CALL, resource, messages=messages, attributes=attributes, explicit=True
        )
        return (reference,)


class Listed(Struct, frozen=True):
    """The models that there are, or one of them."""

    def __call__(self, provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
        """One `llm:models`."""
        model = route.parameters.get("model")
        return Prompt(provider, model).actions("llm:models")


def read_realtime(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """A connection on which everything may be said: nothing of it is seen here, so a rule has to name it."""
    model = route.query.get("deployment") or route.query.get("model")
    if route.query.get("model", model) != model:  # OpenAI reads the one, Azure the other
        raise BodyError(("model",), "is not the deployment")
    prompt = Prompt(provider, None if model is None else one_model(model))
    if "call_id" in route.query:
        prompt.refer("call", route.query["call_id"], ("call_id",))
    first, *more = prompt.actions("llm:realtime")
    return (replace(first, explicit=True), *more)

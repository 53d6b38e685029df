"""What the tables of Google's endpoints have in common: Gemini's and Vertex AI's.

Rules of this file: a query may hold `alt` and `key`, and what lists and updates need: Google's servers read fields
and methods from it. A colon in an identifier would make another call of the path, so none has one.
"""

from __future__ import annotations

from typing import Final

from ..action import Action
from ..codes import ErrorCode
from ..request import Refusal
from .base import LLM_CALL, PROMPT, Endpoint, Route

CALL: Final = frozenset({"alt", "key"})
LIST: Final = CALL | {"pageSize", "pageToken", "filter"}
UPDATE: Final = CALL | {"updateMask"}
GENERATES: Final = "contents, system instruction, tools, schemas; media, files and hosted tools as actions"
INSTANCES: Final = "instances and parameters; media and buckets as actions"
REFERENCE: Final = "content:reference"
LISTS: Final = "nothing: it lists them"
NAMED: Final = "the name in the path"
ID: Final = "the id in the path"
_BARE: Final = frozenset({LISTS, NAMED, ID})
"""What is read where there is no body."""

Row = tuple[str, str, str, str, str, frozenset[str]]
"""Method, path under what stands before it, name, actions, what is read, query."""


def endpoint(kind: str, prefix: str, row: Row) -> Endpoint:
    """The endpoint of a row. `prefix`: the path before its own."""
    method, path, name, actions, reads, query = row
    return Endpoint(
        method,
        prefix + path,
        f"{kind}.{name}",
        actions,
        reads,
        capabilities=PROMPT if actions == "prompt:check" else LLM_CALL,
        query=query,
        body=reads not in _BARE,
    )


def live_endpoint(kind: str, path: str) -> Endpoint:
    """A conversation over a WebSocket."""
    return Endpoint(
        "GET",
        path,
        f"{kind}.realtime",
        "llm:realtime",
        "nothing that is said: a rule has to name it",
        capabilities=LLM_CALL,
        query=CALL,
        body=False,
        upgrade=True,
    )


def checked_route(route: Route) -> Route:
    """`route`, unless a colon in an identifier or `alt` would make another call of it. Raises `Refusal`."""
    if any(":" in value for value in route.parameters.values()):
        raise Refusal(ErrorCode.NOT_FOUND, "unknown model endpoint: it is no method of its resource")
    alt = route.query.get("alt")
    if alt is not None and alt not in ("json", "sse") and not (alt == "media" and "file" in route.parameters):
        raise Refusal(ErrorCode.BAD_REQUEST, "the query member 'alt' must be json or sse")
    return route


def realtime(provider: str) -> tuple[Action, ...]:
    """The action of `live_endpoint`: nobody looks into it, so only a rule that names it allows it."""
    return (Action("llm:realtime", LLM_CALL, attributes={"provider": provider}, explicit=True),)

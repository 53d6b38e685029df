"""What the protocols of OpenAI's kind share: their table of calls, how a body comes to its reader, their errors.

Rules of this file: one table gives the endpoints and their readers, so that neither is without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, ClassVar, Final

from msgspec import Struct
from msgspec.structs import replace

from ..codes import ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .answers import vendor_headers, vendor_message
from .base import PROMPT, Endpoint, Reading, Route
from .endpoints import Endpoints
from .headers import require_json
from .json import encode_json
from .multipart import read_multipart
from .prompt import BodyError, guarded, read_json
from .text import TooMuchText

# `error.type` by status, in the words of OpenAI and the servers that imitate it; the SDKs go by the status alone.
ERROR_TYPE: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
JSON: Final = "json"
FORM: Final = "form"
NOTHING: Final = "nothing"


class Call(Struct, frozen=True):
    """One endpoint and who reads it.

    `path`: without "/v1". `body`: `JSON`, `FORM` or `NOTHING`. `read`: provider, body and route in, actions out.
    The other fields are those of `Endpoint`.
    """

    method: str
    path: str
    name: str
    read: Callable[[str, Any, Route], Any]
    actions: str
    reads: str
    body: str = JSON
    capabilities: tuple[str, ...] = PROMPT
    query: frozenset[str] = frozenset()
    upgrade: bool = False


class Calls:
    """The calls of one protocol: `kind` stands before their names.

    `groups`: calls, and what stands before their paths. `documented`: how many groups the documentation shows; the
    others are the same calls in other places. Calls of one name have one reader.
    """

    def __init__(self, kind: str, groups: Iterable[tuple[str, Iterable[Call]]], *, documented: int = 1) -> None:
        by_name: dict[str, Call] = {}
        found: list[tuple[Endpoint, ...]] = []
        for prefix, group in groups:
            endpoints = []
            for call in group:
                name = f"{kind}.{call.name}"
                known = by_name.setdefault(name, call)
                if (known.read, known.body) != (call.read, call.body):
                    raise ValueError(f"{name} has two readers")
                endpoints.append(_endpoint(name, prefix, call))
            found.append(tuple(endpoints))
        self.by_name: Final[Mapping[str, Call]] = by_name
        self.documented: Final = tuple(chain.from_iterable(found[:documented]))
        self.endpoints: Final = Endpoints("model", chain.from_iterable(found))


def _endpoint(name: str, prefix: str, call: Call) -> Endpoint:
    # A POST without a body is read all the same, so that none is smuggled past.
    return Endpoint(
        method=call.method,
        path=prefix + call.path,
        name=name,
        actions=call.actions,
        reads=call.reads,
        capabilities=call.capabilities,
        query=call.query,
        body=call.method not in ("GET", "DELETE"),
        upgrade=call.upgrade,
    )


def with_query(calls: Iterable[Call], *names: str) -> tuple[Call, ...]:
    """The calls, with more names that their query may have."""
    return tuple([replace(call, query=call.query | frozenset(names)) for call in calls])


def error_reply(decision: Decision) -> Reply:
    """An error as OpenAI's API sends it, so that its SDKs raise the exception that fits the status."""
    error = {
        "message": vendor_message(decision),
        "type": ERROR_TYPE.get(decision.status, "invalid_request_error"),
        "param": None,
        "code": None if decision.code is None else decision.code.value.lower(),
    }
    return Reply(decision.status, encode_json({"error": error}), vendor_headers(decision))


class Family:
    """A protocol that is told by a table of calls."""

    # On the class, not on its objects: those travel to other processes with each large body.
    kind: ClassVar[str]
    title: ClassVar[str]
    provider: ClassVar[str]
    calls: ClassVar[Calls]
    endpoints: ClassVar[tuple[Endpoint, ...]]
    refused: ClassVar[tuple[tuple[str, str], ...]]
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """The endpoint. Raises `Refusal` for every other path, method, query or media type."""
        return self.calls.endpoints.route(request)

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """The actions of the body, or of the path alone."""
        call = self.calls.by_name[route.name]
        if call.body == JSON:
            require_json(request.headers)
            return read_json(body, lambda document: call.read(self.provider, document, route))
        if call.body == FORM:
            parts = read_multipart(request.headers, body)
            try:
                return Reading(call.read(self.provider, parts, route))
            except BodyError as error:
                raise Refusal(error.code, str(error)) from None
            except TooMuchText:
                raise Refusal(ErrorCode.BAD_REQUEST, "the body holds too many texts") from None
        if body.strip(b" \t\r\n") not in (b"", b"{}"):
            raise Refusal(ErrorCode.BAD_REQUEST, "a body is not accepted here")
        return Reading(guarded(lambda document: call.read(self.provider, document, route), {}))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """The refusal as the vendor's SDK reads it."""
        return error_reply(decision)

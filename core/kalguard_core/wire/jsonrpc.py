"""JSON-RPC 2.0 as MCP and A2A use it over HTTP: calls, notifications, answers, batches, and errors.

Rules of this file: a message has exactly the members of its kind, in exactly their case, since two readers may
disagree about anything else. An id is a string or an integer. `params` is an object, never an array; null is none.
One message that is not understood refuses the whole batch: a transport cannot forward half of a body.
Source: https://www.jsonrpc.org/specification
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from ..action import Action, Message
from ..codes import ErrorCode, Outcome
from ..decision import Decision
from ..request import Refusal
from .answers import message
from .base import RefusedReading
from .json import JsonError, parse_json
from .text import shown

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INTERNAL_ERROR: Final = -32603

MAX_BATCH: Final = 64
MAX_METHOD: Final = 128
MAX_ID: Final = 256
MAX_NODES: Final = 250_000
# As long as an id may be without being read as text, where it has only these letters: those of a UUID.
_PLAIN_ID: Final = 36
_ID_LETTERS: Final = frozenset("0123456789abcdefABCDEF-")

_UNREADABLE: Final = "the body is not valid JSON"
_CALL_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})
_ANSWER_MEMBERS: Final = frozenset({"jsonrpc", "id", "result", "error"})


class Invalid(Exception):
    """A message that is not what the protocol allows. `code`: that of the refusal."""

    def __init__(self, problem: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> None:
        super().__init__(problem)
        self.code = code


class Call(Struct, frozen=True):
    """A request, or (`waits` False) a notification. `params` is empty where there are none."""

    method: str
    params: dict[str, Any]
    call_id: str | int | None
    waits: bool


class Answer(Struct, frozen=True):
    """What a client answers to a call of the server. `member`: "result" or "error", and `value` what stands there."""

    call_id: str | int
    member: str
    value: dict[str, Any]


def read_document(body: bytes) -> Any:
    """The parsed body. Raises `Refusal`; `unreadable` knows its reason."""
    try:
        return parse_json(body, max_nodes=MAX_NODES)
    except JsonError as error:
        raise Refusal(ErrorCode.BAD_REQUEST, f"{_UNREADABLE}: {error}") from None


def unreadable(reason: str) -> bool:
    """Whether a refusal with that reason is one of `read_document`, for which JSON-RPC has its own code."""
    return reason.startswith(_UNREADABLE)


def read_message(document: Any) -> Call | Answer:
    """One message of a client. Raises `Invalid`; whether the method is known is not asked."""
    if type(document) is not dict:
        raise Invalid("a message must be an object")
    if document.get("jsonrpc") != "2.0":
        raise Invalid('"jsonrpc" must be "2.0"')
    waits = "id" in document
    call_id = document.get("id")
    if waits and not is_id(call_id):
        raise Invalid('"id" must be a string or an integer')
    if "method" not in document:
        return _read_answer(document)
    if not _CALL_MEMBERS.issuperset(document):
        raise Invalid("a call may only have the members jsonrpc, id, method and params")
    method = document["method"]
    if type(method) is not str or not 0 < len(method) <= MAX_METHOD:
        raise Invalid('"method" must be a string')
    params = document.get("params")
    if params is None:  # what some clients write where they have none
        params = {}
    if type(params) is not dict:
        raise Invalid('"params" must be an object')
    return Call(method, params, call_id, waits)


def _read_answer(document: dict[str, Any]) -> Answer:
    if not _ANSWER_MEMBERS.issuperset(document) or ("result" in document) == ("error" in document):
        raise Invalid('a message must have "method", or else "id" and one of "result" and "error"')
    if "id" not in document:
        raise Invalid('an answer must have an "id"')
    member = "result" if "result" in document else "error"
    value = document[member]
    if type(value) is not dict:
        raise Invalid(f'"{member}" must be an object')
    return Answer(document["id"], member, value)


def read_batch(messages: list[Any]) -> list[Call | Answer]:
    """The messages of a batch, in order. Raises `Invalid`, also for two calls with one id."""
    if not messages:
        raise Invalid("a batch must not be empty")
    if len(messages) > MAX_BATCH:
        raise Invalid(f"a batch may hold at most {MAX_BATCH} messages")
    found = [read_message(each) for each in messages]
    ids = [(type(each.call_id), each.call_id) for each in found if type(each) is Call and each.waits]
    if len(set(ids)) != len(ids):
        raise Invalid("two calls of the batch have the same id")
    return found


def is_id(value: Any) -> bool:
    """Whether it can be the id of a call: a string that is not too long, or an integer."""
    return type(value) is int or (type(value) is str and len(value) <= MAX_ID)


def id_text(call_id: str | int | None) -> tuple[Message, ...]:
    """An id that says something, or might: clients number their calls, or take a UUID."""
    if type(call_id) is not str or (len(call_id) <= _PLAIN_ID and _ID_LETTERS.issuperset(call_id)):
        return ()
    return (Message("unread", call_id, ("id",)),)


def known_ids(document: Any) -> tuple[str | int, ...]:
    """The ids of the calls in an invalid body (a message or a batch) that can be told, each once."""
    messages = document[:MAX_BATCH] if type(document) is list else [document]
    return tuple(
        dict.fromkeys(
            each["id"]
            for each in messages
            if type(each) is dict and "method" in each and "id" in each and is_id(each["id"])
        )
    )


def refusal(code: ErrorCode, reason: str, actions: tuple[Action, ...]) -> Refusal:
    """The refusal of a body with these calls; each of them gets its answer."""
    return RefusedReading(code, reason, actions=actions) if actions else Refusal(code, reason)


def not_supported(protocol: str, method: str) -> str:
    """The reason for a method that is not understood."""
    return f"{protocol} method '{shown(method)}' is not supported"


def error(call_id: str | float | None, code: int, reason: str, data: Any) -> dict[str, Any]:
    """One JSON-RPC error response."""
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": reason, "data": data}}


def errors(
    decision: Decision, codes: Mapping[ErrorCode, int], is_unknown: Callable[[Action], bool]
) -> dict[str, Any] | list[dict[str, Any]] | None:
    """The error of each call of a refused body that waits for an answer; None if there is no such call.

    A batch (attribute `batch`) is answered with a list. A body whose calls are not known gets one error without
    id. `codes`: the protocol's codes. `is_unknown`: tells the calls of unknown methods.
    """
    if not decision.verdicts:
        code = codes[decision.code] if decision.code is not None else INTERNAL_ERROR
        if decision.code is ErrorCode.BAD_REQUEST and unreadable(decision.reason):
            code = PARSE_ERROR
        return error(None, code, message(decision), _data(decision, decision.code))
    found: list[dict[str, Any]] = []
    batch = False
    for verdict in decision.verdicts:
        action = verdict.action
        if not action.expects_reply:
            continue
        batch = batch or action.attributes.get("batch") is True
        said = verdict.code or decision.code
        reason = "Requires approval" if verdict.outcome is Outcome.REQUIRE_APPROVAL else verdict.reason
        if said is ErrorCode.POLICY_DENY and is_unknown(action):
            number = METHOD_NOT_FOUND
        else:
            number = codes[said] if said is not None else INTERNAL_ERROR
        found.append(error(action.call_id, number, reason, _data(decision, said)))
    if not found:
        return None
    return found if batch else found[0]


def _data(decision: Decision, code: ErrorCode | None) -> dict[str, str]:
    return {"errorCode": str(code), "requestId": decision.request_id}

"""Model Context Protocol over streamable HTTP: JSON-RPC 2.0 calls, notifications and answers of a client.

Rules of this file: a method that is not in the tables below is denied; names are exact, so are the members of
a message; what a header says twice must agree with the body. One call that is refused refuses the whole batch,
since a transport cannot forward half of a body.
Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports and the schema beside it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from ..action import Action, Message, Scalar
from ..codes import TOOL_EXECUTE, Capability, ErrorCode, Outcome
from ..decision import Decision, Reply, Verdict
from ..request import AgentRequest, Refusal
from .answers import headers, message, plain_reply
from .base import Endpoint, Reading, RefusedReading, Route
from .headers import path_in_route, refuse_overrides, refuse_query, require_json
from .json import JsonError, encode_json, parse_json
from .text import TooMuchText, collect, shown

_PATHS: Final = frozenset({"", "/", "/mcp"})
_POST: Final = Route("mcp.post")
_LISTEN: Final = Route("mcp.listen", reads_body=False)
_TERMINATE: Final = Route("mcp.terminate", reads_body=False)

_TOOL_CAPABILITIES: Final = (Capability.TOOL_EXECUTE.value,)
_CAPABILITIES: Final = (Capability.TOOL_READ.value,)

_CALL_TOOL: Final = "tools/call"
_INITIALIZE: Final = "initialize"
_REQUESTS: Final = frozenset({_INITIALIZE, "ping", "tools/list", _CALL_TOOL})
_NOTIFICATIONS: Final = frozenset(
    {
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
    }
)
_CALL_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})
_ANSWER_MEMBERS: Final = frozenset({"jsonrpc", "id", "result", "error"})
# Not among them: `task`, whose result is fetched by methods that are not understood.
_CALL_PARAMS: Final = frozenset({"name", "arguments", "_meta"})

_MAX_BATCH: Final = 64
_MAX_METHOD: Final = 128
_MAX_ID: Final = 256
_MAX_TOOL: Final = 256
_MAX_NODES: Final = 250_000

# Longest value of the headers that servers keep or compare (a session id may be a signed token).
_HEADER_LENGTHS: Final = {"mcp-session-id": 1024, "mcp-protocol-version": 32, "last-event-id": 1024}
_VISIBLE: Final = frozenset(map(chr, range(0x21, 0x7F))) - {","}  # a comma joins repeated headers

# JSON-RPC codes by error code: -32000 to -32019 are free for implementations, but the SDKs use -32000 and
# -32001 for themselves and -32002 was once the specification's.
_PARSE_ERROR: Final = -32700
_METHOD_NOT_FOUND: Final = -32601
_RPC_CODES: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.BAD_REQUEST: -32600,
    ErrorCode.AUTH_FAILED: -32003,
    ErrorCode.TOKEN_REVOKED: -32003,
    ErrorCode.CAPABILITY_DENIED: -32004,
    ErrorCode.POLICY_DENY: -32005,
    ErrorCode.REQUIRE_APPROVAL: -32006,
    ErrorCode.PROMPT_BLOCKED: -32007,
    ErrorCode.TOOL_DENIED: -32008,
    ErrorCode.NOT_FOUND: -32600,
    ErrorCode.METHOD_NOT_ALLOWED: -32600,
    ErrorCode.REQUEST_TIMEOUT: -32009,
    ErrorCode.PAYLOAD_TOO_LARGE: -32010,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: -32600,
    ErrorCode.RATE_LIMIT_EXCEEDED: -32011,
    ErrorCode.INTERNAL: -32603,
    ErrorCode.AUDIT_UNAVAILABLE: -32012,
    ErrorCode.STATE_UNAVAILABLE: -32013,
}
_UNREADABLE: Final = "the body is not valid JSON"


class _Invalid(Exception):
    """A message that is not JSON-RPC 2.0 as MCP uses it."""


class Mcp:
    """The streamable HTTP endpoint of an MCP server."""

    kind = "mcp"
    title = "Model Context Protocol (MCP)"
    endpoints: tuple[Endpoint, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """POST (messages), GET (the server's stream) or DELETE (end of session) of the one endpoint."""
        if path_in_route(request) not in _PATHS:
            raise Refusal(ErrorCode.NOT_FOUND, f"unknown MCP endpoint {shown(request.route_path, 128)}")
        if request.method not in ("POST", "GET", "DELETE"):
            raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "an MCP endpoint answers to POST, GET and DELETE")
        refuse_query(request)
        refuse_overrides(request.headers)
        _check_headers(request.headers)
        if request.method == "POST":
            return _POST
        if request.method == "DELETE":
            return _TERMINATE
        if "text/event-stream" not in request.headers.get("accept", "").lower():
            raise Refusal(ErrorCode.BAD_REQUEST, "GET opens the server's stream: accept text/event-stream")
        return _LISTEN

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """The calls in the body, in order; for GET and DELETE one action that stands for the method."""
        if not route.reads_body:
            if body or request.body.size_hint or _announces_body(request.headers):
                raise Refusal(ErrorCode.BAD_REQUEST, f"a {request.method} request must not have a body")
            name = f"mcp:{route.name.removeprefix('mcp.')}"
            return Reading((_plain(name, request, {}, expects_reply=False),))
        require_json(request.headers)
        try:
            document = parse_json(body, max_nodes=_MAX_NODES)
        except JsonError as error:
            raise Refusal(ErrorCode.BAD_REQUEST, f"{_UNREADABLE}: {error}") from None
        if type(document) is list:
            return Reading(_read_batch(document, request))
        try:
            action = _read_message(document, request, batch=False)
            _check_mirrored(request.headers, document)
        except _Invalid as error:
            raise _refused(ErrorCode.BAD_REQUEST, str(error), _known([document], request, batch=False)) from None
        if not _is_understood(action):
            raise _refused(ErrorCode.POLICY_DENY, _not_supported(action), (action,))
        return Reading((action,))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """A JSON-RPC error for each call that waits for an answer, over HTTP 200 so that the session lives on.

        401 stays 401, so that the client signs in again. What waits for no answer gets the status of the
        decision. A body whose calls are not known gets one error without id.
        """
        if decision.status == 401 or request.method != "POST":
            return plain_reply(decision)
        if not decision.verdicts:
            error = _error(None, decision, decision.code, message(decision))
            return Reply(decision.status, encode_json(error), headers(decision))
        waiting = [verdict for verdict in decision.verdicts if verdict.action.expects_reply]
        if not waiting:
            return plain_reply(decision)
        errors = [_answer(verdict, decision) for verdict in waiting]
        batch = waiting[0].action.attributes.get("batch") is True
        return Reply(200, encode_json(errors if batch else errors[0]), headers(decision))


def _check_headers(fields: Mapping[str, str]) -> None:
    for name, limit in _HEADER_LENGTHS.items():
        value = fields.get(name)
        if value is not None and not (0 < len(value) <= limit and _VISIBLE.issuperset(value)):
            raise Refusal(ErrorCode.BAD_REQUEST, f"the header {name} is not valid")
    # They repeat arguments for intermediaries; which argument, only the tool's schema knows.
    if "mcp-param-" in "\n".join(fields):
        raise Refusal(ErrorCode.BAD_REQUEST, "mcp-param- headers are not supported: arguments belong in the body")


def _announces_body(fields: Mapping[str, str]) -> bool:
    return fields.get("content-length", "0") != "0" or "transfer-encoding" in fields


def _check_mirrored(fields: Mapping[str, str], document: Mapping[str, Any]) -> None:
    """`Mcp-Method` and `Mcp-Name` (specification 2026-07-28) must say what the body says: others route by them."""
    method = fields.get("mcp-method")
    if method is not None and method != document.get("method"):
        raise _Invalid("the header mcp-method does not match the body")
    name = fields.get("mcp-name")
    if name is not None:
        params = document.get("params")
        if type(params) is not dict or document.get("method") != _CALL_TOOL or _header_text(name) != params.get("name"):
            raise _Invalid("the header mcp-name does not match the body")


def _header_text(value: str) -> str | None:
    """A header value that may be wrapped as `=?base64?…?=`; None if the wrapping is broken."""
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    payload = value[9:-2]
    try:
        decoded = base64.b64decode(payload, validate=True)
        return decoded.decode("utf-8") if base64.b64encode(decoded).decode("ascii") == payload else None
    except (binascii.Error, ValueError):
        return None


def _read_batch(messages: list[Any], request: AgentRequest) -> tuple[Action, ...]:
    if not messages:
        raise Refusal(ErrorCode.BAD_REQUEST, "a batch must not be empty")
    if len(messages) > _MAX_BATCH:
        raise Refusal(ErrorCode.BAD_REQUEST, f"a batch may hold at most {_MAX_BATCH} messages")
    try:
        if "mcp-method" in request.headers or "mcp-name" in request.headers:
            raise _Invalid("the headers mcp-method and mcp-name do not go with a batch")
        actions = tuple(_read_message(each, request, batch=True) for each in messages)
        ids = [(type(action.call_id), action.call_id) for action in actions if action.expects_reply]
        if len(set(ids)) != len(ids):
            raise _Invalid("two calls of the batch have the same id")
        if any(action.name == f"mcp:{_INITIALIZE}" for action in actions):
            raise _Invalid("initialize must not be part of a batch")
    except _Invalid as error:
        raise _refused(ErrorCode.BAD_REQUEST, str(error), _known(messages, request, batch=True)) from None
    for action in actions:
        if not _is_understood(action):
            raise _refused(ErrorCode.POLICY_DENY, _not_supported(action), actions)
    return actions


def _read_message(document: Any, request: AgentRequest, *, batch: bool) -> Action:
    """The action of one JSON-RPC message. Raises `_Invalid`; an unknown method is an action like others."""
    if type(document) is not dict:
        raise _Invalid("a message must be an object")
    if document.get("jsonrpc") != "2.0":
        raise _Invalid('"jsonrpc" must be "2.0"')
    has_id = "id" in document
    call_id = document.get("id")
    if has_id and not _is_id(call_id):
        raise _Invalid('"id" must be a string or an integer')
    if "method" not in document:
        return _read_answer(document, request, batch=batch)
    if not _CALL_MEMBERS.issuperset(document):
        raise _Invalid("a call may only have the members jsonrpc, id, method and params")
    method = document["method"]
    if type(method) is not str or not 0 < len(method) <= _MAX_METHOD:
        raise _Invalid('"method" must be a string')
    params = document.get("params", {})
    if type(params) is not dict:
        raise _Invalid('"params" must be an object')
    # A call without id would be run and never answered; a notification with one would be answered.
    if has_id == method.startswith("notifications/"):
        raise _Invalid(f"'{shown(method)}' " + ("must not have an id" if has_id else "must have an id"))
    attributes: dict[str, Scalar] = {"method": method}
    if batch:
        attributes["batch"] = True
    if method == _CALL_TOOL:
        return _read_tool_call(params, call_id, request, attributes)
    return _plain(f"mcp:{method}", request, attributes, call_id=call_id, expects_reply=has_id)


def _read_tool_call(
    params: dict[str, Any], call_id: Any, request: AgentRequest, attributes: dict[str, Scalar]
) -> Action:
    if not _CALL_PARAMS.issuperset(params):
        name = min(set(params) - _CALL_PARAMS)
        raise _Invalid(f"params.{shown(name)} of tools/call is not supported")
    tool = params.get("name")
    if type(tool) is not str or not 0 < len(tool) <= _MAX_TOOL:
        raise _Invalid("params.name of tools/call must be the name of a tool")
    arguments = params.get("arguments", {})
    if type(arguments) is not dict:
        raise _Invalid("params.arguments of tools/call must be an object")
    found: list[Message] = []
    if "_meta" in params:
        # no argument that a schema could judge, but the server gets it and may show it to a model
        collect(found, "tool", params["_meta"], ("params", "_meta"))
    attributes["toolName"] = tool
    _add_context(attributes, request)
    return Action(
        TOOL_EXECUTE,
        _TOOL_CAPABILITIES,
        resource=tool,
        tool=tool,
        arguments=arguments,
        messages=tuple(found),
        attributes=attributes,
        call_id=call_id,
    )


def _read_answer(document: dict[str, Any], request: AgentRequest, *, batch: bool) -> Action:
    """The client's answer to a call of the server (sampling, elicitation, roots): text that a model may read."""
    if not _ANSWER_MEMBERS.issuperset(document) or ("result" in document) == ("error" in document):
        raise _Invalid('a message must have "method", or else "id" and one of "result" and "error"')
    if "id" not in document:
        raise _Invalid('an answer must have an "id"')
    name = "result" if "result" in document else "error"
    value = document[name]
    if type(value) is not dict:
        raise _Invalid(f'"{name}" must be an object')
    found: list[Message] = []
    try:
        collect(found, "tool", value, (name,))
    except TooMuchText:
        raise _Invalid("the answer holds too many texts") from None
    attributes: dict[str, Scalar] = {"batch": True} if batch else {}
    return _plain("mcp:response", request, attributes, expects_reply=False, messages=tuple(found))


def _is_id(value: Any) -> bool:
    return type(value) is int or (type(value) is str and len(value) <= _MAX_ID)


def _plain(
    name: str,
    request: AgentRequest,
    attributes: dict[str, Scalar],
    *,
    call_id: str | int | None = None,
    expects_reply: bool,
    messages: tuple[Message, ...] = (),
) -> Action:
    """An action that is no tool call."""
    _add_context(attributes, request)
    return Action(
        name,
        _CAPABILITIES,
        resource=request.context.get("server"),
        messages=messages,
        attributes=attributes,
        call_id=call_id,
        expects_reply=expects_reply,
    )


def _add_context(attributes: dict[str, Scalar], request: AgentRequest) -> None:
    server = request.context.get("server")
    if server is not None:
        attributes["server"] = server
    version = request.headers.get("mcp-protocol-version")
    if version is not None:
        attributes["protocolVersion"] = version


def _is_understood(action: Action) -> bool:
    method = action.attributes.get("method")
    # Answers of the client, GET and DELETE have no method; the names of their actions prove nothing, since a
    # call may be of a method "response".
    return method is None or method in (_REQUESTS if action.expects_reply else _NOTIFICATIONS)


def _not_supported(action: Action) -> str:
    return f"MCP method '{shown(str(action.attributes.get('method')))}' is not supported"


def _known(messages: list[Any], request: AgentRequest, *, batch: bool) -> tuple[Action, ...]:
    """Stand-ins for the calls of an invalid body whose ids can be told, so that each gets its answer."""
    attributes: dict[str, Scalar] = {"method": "invalid", "batch": True} if batch else {"method": "invalid"}
    ids = [
        each["id"]
        for each in messages
        if type(each) is dict and "method" in each and "id" in each and _is_id(each["id"])
    ]
    return tuple(
        _plain("mcp:invalid", request, dict(attributes), call_id=call_id, expects_reply=True)
        for call_id in dict.fromkeys(ids)
    )


def _refused(code: ErrorCode, reason: str, actions: tuple[Action, ...]) -> Refusal:
    return RefusedReading(code, reason, actions=actions) if actions else Refusal(code, reason)


def _answer(verdict: Verdict, decision: Decision) -> dict[str, Any]:
    """The JSON-RPC error of one call."""
    reason = "Requires approval" if verdict.outcome is Outcome.REQUIRE_APPROVAL else verdict.reason
    code = verdict.code or decision.code
    unknown = not _is_understood(verdict.action)
    rpc = _METHOD_NOT_FOUND if unknown and code is ErrorCode.POLICY_DENY else None
    return _error(verdict.action.call_id, decision, code, reason, rpc)


def _error(
    call_id: str | float | None, decision: Decision, code: ErrorCode | None, reason: str, rpc: int | None = None
) -> dict[str, Any]:
    if rpc is None:
        rpc = _RPC_CODES[code] if code is not None else -32603
        if call_id is None and code is ErrorCode.BAD_REQUEST and reason.startswith(_UNREADABLE):
            rpc = _PARSE_ERROR
    return {
        "jsonrpc": "2.0",
        "id": call_id,
        "error": {
            "code": rpc,
            "message": reason,
            "data": {"errorCode": str(code), "requestId": decision.request_id},
        },
    }

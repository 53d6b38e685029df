"""Agent2Agent: messages and tasks of other agents over JSON-RPC, REST and gRPC, protocols 0.2 to 1.x.

Rules of this file: a method that is not in `a2a_schema` is denied. Which binding a request speaks, its path says.
One call a request: the protocol has no batches. What is said is read in `a2a_message`, alike for all bindings.
Source: https://a2a-protocol.org/latest/specification/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..action import Action, Attribute
from ..codes import Capability, ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from . import jsonrpc
from .a2a_message import CallContext, read_call
from .a2a_schema import ENDPOINTS, METHODS, REQUESTS, RPC_METHODS, Method
from .answers import plain_reply, vendor_headers, vendor_message
from .base import Endpoint, Reading, Route
from .endpoints import Endpoints
from .grpc import STATUS_NAMES, check_head, grpc_reply, grpc_status, is_grpc, light, read_frames
from .headers import path_in_route, refuse_body, require_json
from .json import encode_json
from .prompt import guarded, read_json
from .protobuf import Budget, ProtobufError, decode
from .text import shown

_ENDPOINTS: Final = Endpoints("A2A", ENDPOINTS)
_A2A_JSON: Final = "application/a2a+json"
_UNKNOWN: Final = "a2a:unknown"
_MAX_VERSION: Final = 16
_MAX_EXTENSIONS: Final = 32
_MAX_HEADER: Final = 4096
_URI: Final = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('"<>\\^`{|},')

# -32001 to -32009 are the protocol's own; the SDKs would take them for something else.
_RPC_CODES: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.BAD_REQUEST: jsonrpc.INVALID_REQUEST,
    ErrorCode.AUTH_FAILED: -32053,
    ErrorCode.TOKEN_REVOKED: -32053,
    ErrorCode.CAPABILITY_DENIED: -32054,
    ErrorCode.POLICY_DENY: -32055,
    ErrorCode.REQUIRE_APPROVAL: -32056,
    ErrorCode.PROMPT_BLOCKED: -32057,
    ErrorCode.TOOL_DENIED: -32058,
    ErrorCode.NOT_FOUND: jsonrpc.INVALID_REQUEST,
    ErrorCode.METHOD_NOT_ALLOWED: jsonrpc.INVALID_REQUEST,
    ErrorCode.REQUEST_TIMEOUT: -32059,
    ErrorCode.PAYLOAD_TOO_LARGE: -32060,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: jsonrpc.INVALID_REQUEST,
    ErrorCode.RATE_LIMIT_EXCEEDED: -32061,
    ErrorCode.INTERNAL: jsonrpc.INTERNAL_ERROR,
    ErrorCode.AUDIT_UNAVAILABLE: -32062,
    ErrorCode.STATE_UNAVAILABLE: -32063,
}


class A2a:
    """The interfaces of another agent."""

    kind = "a2a"
    title = "Agent2Agent (A2A)"
    endpoints: tuple[Endpoint, ...] = ENDPOINTS
    refused: tuple[tuple[str, str], ...] = (
        ("JSON-RPC batches and notifications", "the protocol has none"),
        ("methods that are not in the specification", "what they do is not known"),
        ("a member in two spellings (messageId and message_id)", "servers differ in which one they take"),
        ("a part with two contents, or with none", "servers differ in which one they take"),
        ("a task or tenant in the body that is not the one in the path", "servers differ in which one they take"),
        ("gRPC messages with unknown fields that are no text", "they can't be read"),
    )
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """The endpoint that method and path name."""
        route = _ENDPOINTS.route(request)
        if ".grpc" in route.name:
            check_head(request)
            return light(route, request)
        return route

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """One call: a message becomes a tool call of that agent, everything else an action of its own."""
        _, binding, *rest = route.name.split(".")
        attributes = _attributes(request, "grpc" if binding == "grpc03" else binding)
        if not rest:
            return _read_rpc(request, body, attributes)
        method = METHODS[rest[0]]
        path = {**route.parameters, **route.query}
        context = CallContext(_server(request), {**attributes, "method": method.name}, path=path)
        if binding == "rest":
            return _read_rest(request, route, body, method, context)
        frames = read_frames(request.headers, body)
        if len(frames) != 1:
            raise Refusal(ErrorCode.BAD_REQUEST, "an A2A call has one message")
        try:
            document = decode(frames[0], REQUESTS[binding][method.name], Budget(len(frames[0])))
        except ProtobufError as error:
            raise Refusal(ErrorCode.BAD_REQUEST, f"the message {error}") from None
        return Reading(guarded(lambda params: read_call(method, params, context), document))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """A gRPC status, a JSON-RPC error with the id of the call over HTTP 200, or REST's error object."""
        if is_grpc(request.headers):
            return grpc_reply(decision)
        details = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": str(decision.code),
                "domain": "kalguard",
                "metadata": {"requestId": decision.request_id},
            }
        ]
        said = vendor_message(decision)
        if path_in_route(request) not in ("", "/") or request.method != "POST":
            error: dict[str, Any] = {
                "code": decision.status,
                "status": STATUS_NAMES[grpc_status(decision)],
                "message": said,
                "details": details,
            }
            return Reply(decision.status, encode_json({"error": error}), vendor_headers(decision))
        if decision.status == 401:
            return plain_reply(decision)  # so that the client signs in again
        waiting = next((each.action for each in decision.verdicts if each.action.expects_reply), None)
        code = jsonrpc.INTERNAL_ERROR if decision.code is None else _RPC_CODES[decision.code]
        if decision.code is ErrorCode.BAD_REQUEST and jsonrpc.unreadable(decision.reason):
            code = jsonrpc.PARSE_ERROR
        if waiting is not None and waiting.name == _UNKNOWN and decision.code is ErrorCode.POLICY_DENY:
            code = jsonrpc.METHOD_NOT_FOUND
        call_id = None if waiting is None else waiting.call_id
        body = encode_json(jsonrpc.error(call_id, code, said, details))
        return Reply(decision.status if waiting is None else 200, body, vendor_headers(decision))


def _read_rpc(request: AgentRequest, body: bytes, attributes: Mapping[str, Attribute]) -> Reading:
    require_json(request.headers)
    document = jsonrpc.read_document(body)
    if type(document) is list:
        raise Refusal(ErrorCode.BAD_REQUEST, "A2A has no batches")
    known = tuple(_stand_in(call_id, "invalid", request, attributes) for call_id in jsonrpc.known_ids(document))
    try:
        call = jsonrpc.read_message(document)
    except jsonrpc.Invalid as error:
        raise jsonrpc.refusal(error.code, str(error), known) from None
    if isinstance(call, jsonrpc.Answer) or call.call_id is None:
        raise Refusal(ErrorCode.BAD_REQUEST, "a message must be a call with an id")
    method = RPC_METHODS.get(call.method)
    if method is None:
        action = _stand_in(call.call_id, call.method, request, attributes)
        raise jsonrpc.refusal(ErrorCode.POLICY_DENY, jsonrpc.not_supported("A2A", call.method), (action,))
    context = CallContext(
        _server(request), {**attributes, "method": method.name}, place=("params",), call_id=call.call_id
    )
    try:
        actions = guarded(lambda params: read_call(method, params, context), call.params)
    except Refusal as refusal:
        raise jsonrpc.refusal(refusal.code, refusal.reason, known) from None
    return Reading(actions, document)


def _read_rest(request: AgentRequest, route: Route, body: bytes, method: Method, context: CallContext) -> Reading:
    headers = request.headers
    if not route.reads_body:
        refuse_body(request)
        return Reading(guarded(lambda params: read_call(method, params, context), {}))
    if not body and not method.sends and not method.calls_back:
        return Reading(guarded(lambda params: read_call(method, params, context), {}))
    content_type = headers.get("content-type", "")
    if content_type.partition(";")[0].strip(" \t").lower() != _A2A_JSON:
        require_json(headers)
    else:
        require_json({"content-type": f"application/json{content_type[content_type.lower().index('+json') + 5 :]}"})
    return read_json(body, lambda params: read_call(method, params, context))


def _attributes(request: AgentRequest, binding: str) -> dict[str, Attribute]:
    """What is known of every call: the server, the binding, and what the protocol's headers ask for."""
    found: dict[str, Attribute] = {"binding": binding}
    server = request.context.get("server")
    if server is not None:
        found["server"] = server
    version = request.headers.get("a2a-version")
    if version is not None:
        if not 0 < len(version) <= _MAX_VERSION or not version.isascii() or not version.replace(".", "").isdigit():
            raise Refusal(ErrorCode.BAD_REQUEST, "the header a2a-version is not valid")
        found["protocolVersion"] = version
    names: dict[str, None] = {}
    for header in ("a2a-extensions", "x-a2a-extensions"):
        value = request.headers.get(header)
        if value is None:
            continue
        uris = [uri for part in value.split(",") if (uri := part.strip(" \t"))]
        if len(value) > _MAX_HEADER or len(uris) > _MAX_EXTENSIONS or not _URI.issuperset("".join(uris)):
            raise Refusal(ErrorCode.BAD_REQUEST, f"the header {header} is not a list of URIs")
        names |= dict.fromkeys(uris)
    if names:
        found["extensions"] = tuple(names)
    return found


def _server(request: AgentRequest) -> str:
    return request.context.get("server", "agent")


def _stand_in(call_id: str | int, method: str, request: AgentRequest, attributes: Mapping[str, Attribute]) -> Action:
    """A call that is refused as such, so that it is audited and answered."""
    return Action(
        _UNKNOWN,
        (Capability.TOOL_READ.value,),
        resource=f"a2a:{_server(request)}",
        attributes={**attributes, "method": shown(method)},
        call_id=call_id,
    )

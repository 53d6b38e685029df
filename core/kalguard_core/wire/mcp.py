"""Model Context Protocol over streamable HTTP and over HTTP+SSE: calls, notifications and answers of a client.

Rules of this file: a method that is not in `mcp_methods` for the declared version is denied; names are exact, so
are the members of a message; what a header says twice must agree with the body. Text that is no argument of a tool
is scored. One call that is refused refuses the whole batch, since a transport cannot forward half of a body.
Source: https://modelcontextprotocol.io/specification (2024-11-05 to 2026-07-28), "transports".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..action import HOSTED, Action, Attribute, Message
from ..codes import CONTENT_MEDIA, TOOL_EXECUTE, Capability, ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from . import jsonrpc
from .answers import headers, plain_reply
from .base import Endpoint, Reading, Route
from .endpoints import read_query, segment_value
from .headers import path_in_route, refuse_body, refuse_overrides, refuse_query, require_json
from .json import encode_json
from .jsonrpc import Answer, Call, Invalid
from .mcp_methods import (
    BATCHES,
    CALL_TOOL,
    COMPLETE,
    INITIALIZE,
    INPUT_RESPONSES,
    LISTEN,
    METHODS,
    NOTIFICATION,
    STATELESS,
    SUBSCRIBE,
    VERSIONS,
    Method,
    is_understood,
    plain_name,
    plain_uri,
)
from .media import MediaError, media_type_of, read_attachment
from .prompt import BodyError, unwrap
from .text import INNER, MAX_TEXTS, Place, TooMuchText, collect, collect_names, place_name, shown

_PATHS: Final = frozenset({"", "/", "/mcp", "/mcp/"})
_MESSAGES: Final = frozenset({"/messages", "/messages/", "/message", "", "/"})
_SESSION: Final = frozenset({"session_id", "sessionId"})
_POST: Final = Route("mcp.post")
_LISTEN: Final = Route("mcp.listen", reads_body=False)
_TERMINATE: Final = Route("mcp.terminate", reads_body=False)

_TOOL_CAPABILITIES: Final = (Capability.TOOL_EXECUTE.value,)
_CAPABILITIES: Final = (Capability.TOOL_READ.value,)

_MAX_RESOURCES: Final = 63
_MAX_MEDIA: Final = 63
# Each is asked of the policy, and is one audit event.
_MAX_ACTIONS: Final = 128
# How the tools of others are named; a rule about one of them is not about a server's tool that calls itself so.
_OTHERS_TOOLS: Final = (HOSTED, "a2a:", "grpc:")

# Longest value of the headers that servers keep or compare (a session id may be a signed token).
_HEADER_LENGTHS: Final = {
    "mcp-session-id": 1024,
    "mcp-protocol-version": 32,
    "mcp-method": jsonrpc.MAX_METHOD,
    "mcp-name": 4096,
}
_MIRRORED_ARGUMENT: Final = "mcp-param-"
_MAX_EVENT_ID: Final = 1024
_VISIBLE: Final = frozenset(map(chr, range(0x21, 0x7F))) - {","}  # a comma joins repeated headers

_PLAIN_CALL: Final = frozenset({"name", "arguments"})
_META: Final = "_meta"
_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
_CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
_META_NAMES: Final = frozenset(
    {
        _VERSION,
        _CLIENT_CAPABILITIES,
        "io.modelcontextprotocol/clientInfo",
        "io.modelcontextprotocol/logLevel",
        "io.modelcontextprotocol/related-task",
        "io.modelcontextprotocol/subscriptionId",
        "progressToken",
    }
)

# -32000 to -32019 are free for implementations, but the SDKs use -32000 and -32001 for themselves and -32002 was
# once the specification's.
_RPC_CODES: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.BAD_REQUEST: jsonrpc.INVALID_REQUEST,
    ErrorCode.AUTH_FAILED: -32003,
    ErrorCode.TOKEN_REVOKED: -32003,
    ErrorCode.CAPABILITY_DENIED: -32004,
    ErrorCode.POLICY_DENY: -32005,
    ErrorCode.REQUIRE_APPROVAL: -32006,
    ErrorCode.PROMPT_BLOCKED: -32007,
    ErrorCode.TOOL_DENIED: -32008,
    ErrorCode.NOT_FOUND: jsonrpc.INVALID_REQUEST,
    ErrorCode.METHOD_NOT_ALLOWED: jsonrpc.INVALID_REQUEST,
    ErrorCode.REQUEST_TIMEOUT: -32009,
    ErrorCode.PAYLOAD_TOO_LARGE: -32010,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: jsonrpc.INVALID_REQUEST,
    ErrorCode.RATE_LIMIT_EXCEEDED: -32011,
    ErrorCode.INTERNAL: jsonrpc.INTERNAL_ERROR,
    ErrorCode.AUDIT_UNAVAILABLE: -32012,
    ErrorCode.STATE_UNAVAILABLE: -32013,
}
_HEADER_MISMATCH: Final = -32020
_UNSUPPORTED_VERSION: Final = -32022
_MISMATCH: Final = "the header mcp-"


class Mcp:
    """An MCP server: streamable HTTP, or HTTP+SSE where the route's context says `transport: sse`."""

    kind = "mcp"
    title = "Model Context Protocol (MCP)"
    endpoints: tuple[Endpoint, ...] = (
        Endpoint(
            "POST",
            "/mcp",
            "mcp.post",
            "`tool:execute` of the called tool, `mcp:<method>`, `mcp:response`",
            "each message, by its method: see the table of methods",
            (),
        ),
        Endpoint("GET", "/mcp", "mcp.listen", "`mcp:listen`", "nothing: it opens the server's stream", (), body=False),
        Endpoint("DELETE", "/mcp", "mcp.terminate", "`mcp:terminate`", "nothing: it ends the session", (), body=False),
        Endpoint("GET", "/sse", "mcp.listen", "`mcp:listen`", "nothing; only with `transport: sse`", (), body=False),
        Endpoint(
            "POST",
            "/messages",
            "mcp.post",
            "as POST of `/mcp`, without batches; only with `transport: sse`",
            "one message; `/message` and `/messages/` are read in the same way",
            (),
            _SESSION,
        ),
    )
    methods: tuple[Method, ...] = tuple(METHODS.values())
    """What a message may ask for, for the documentation."""
    refused: tuple[tuple[str, str], ...] = (
        ("methods that are not listed, or not in the declared version", "what they would do is not known"),
        ("a batch in another version than 2025-03-26", "other versions have none, so servers disagree about it"),
        ("headers `mcp-method`, `mcp-name`, `mcp-param-…` that disagree with the body", "others route by them"),
        ("version 2026-07-28 without `mcp-method`, `mcp-name` or `_meta`", "that version requires them"),
        ("other headers that begin with `mcp-`", "a server may read in them what we did not"),
        ("an unknown protocol version", "its messages may mean something else"),
        ("a URI in another spelling (dot segments, needless escapes, `FILE:`)", "rules compare URIs as text"),
        ("unknown members of a tool call", "a server may act on them"),
        ("tools whose names begin with `hosted:`, `a2a:` or `grpc:`", "a rule about such a name is not about a server"),
        ("images, sound and other blobs in answers of the client", "`content:media`: a rule must name them"),
    )
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """POST (messages), GET (the server's stream) or DELETE (end of session) of the one endpoint."""
        if request.context.get("transport") == "sse":
            return _sse_route(request)
        if path_in_route(request) not in _PATHS:
            raise Refusal(ErrorCode.NOT_FOUND, f"unknown MCP endpoint {shown(request.route_path, 128)}")
        method, fields = request.method, request.headers
        if method not in ("POST", "GET", "DELETE"):
            raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "an MCP endpoint answers to POST, GET and DELETE")
        refuse_query(request)
        refuse_overrides(fields)
        _check_headers(fields)
        if method == "POST":
            return _POST
        if fields.get("mcp-protocol-version") in STATELESS:
            raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "this protocol version has no sessions: only POST is left")
        if method == "DELETE":
            return _TERMINATE
        _require_stream(fields)
        return _LISTEN

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """The calls in the body, in order; for GET and DELETE one action that stands for the method."""
        fields = request.headers
        if not route.reads_body:
            refuse_body(request)
            name = f"mcp:{route.name.removeprefix('mcp.')}"
            return Reading((_Reader(request).plain(name, None, expects_reply=False),))
        require_json(fields)
        document = jsonrpc.read_document(body)
        batch = type(document) is list
        reader = _Reader(request, batch=batch)
        try:
            actions = reader.read_batch(document) if batch else reader.read(jsonrpc.read_message(document))
        except (Invalid, BodyError) as error:
            raise jsonrpc.refusal(error.code, str(error), reader.known(document)) from None
        except TooMuchText:
            raise jsonrpc.refusal(
                ErrorCode.BAD_REQUEST, "the message holds too many texts", reader.known(document)
            ) from None
        for action in actions:
            if _is_unknown(action):
                method = str(action.attributes.get("method"))
                raise jsonrpc.refusal(ErrorCode.POLICY_DENY, jsonrpc.not_supported("MCP", method), actions)
        return Reading(actions)

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """A JSON-RPC error for each call that waits for an answer, over HTTP 200 so that the session lives on.

        401 stays 401, so that the client signs in again. What waits for no answer gets the status of the
        decision. A body whose calls are not known gets one error without id. Over HTTP+SSE the body of a POST is
        no answer, so only the status can tell the client.
        """
        if decision.status == 401 or request.method != "POST":
            return plain_reply(decision)
        errors = jsonrpc.errors(decision, _RPC_CODES, _is_unknown)
        if errors is None:
            return plain_reply(decision)
        if decision.code is ErrorCode.BAD_REQUEST:
            for each in errors if isinstance(errors, list) else [errors]:
                _name_mismatch(each["error"], request.headers.get("mcp-protocol-version"))
        unknown = not decision.verdicts or request.context.get("transport") == "sse"
        return Reply(decision.status if unknown else 200, encode_json(errors), headers(decision))


def _sse_route(request: AgentRequest) -> Route:
    """GET of the stream, or POST of a message to the session that the server named on it."""
    path, fields = path_in_route(request), request.headers
    refuse_overrides(fields)
    if path == "/sse":
        if request.method != "GET":
            raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "the stream is opened with GET")
        refuse_query(request)
        _check_headers(fields)
        _require_stream(fields)
        return _LISTEN
    if path not in _MESSAGES:
        raise Refusal(ErrorCode.NOT_FOUND, f"unknown MCP endpoint {shown(request.route_path, 128)}")
    if request.method != "POST":
        raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "messages are sent with POST")
    _check_headers(fields)
    query = read_query(request.path.partition("?")[2], _SESSION)
    if len(query) != 1 or segment_value(*query.values()) != next(iter(query.values())):
        raise Refusal(ErrorCode.BAD_REQUEST, "a message needs exactly one session_id (or sessionId) in its query")
    return _POST


def _require_stream(fields: Mapping[str, str]) -> None:
    if "text/event-stream" not in fields.get("accept", "").lower():
        raise Refusal(ErrorCode.BAD_REQUEST, "GET opens the server's stream: accept text/event-stream")


def _check_headers(fields: Mapping[str, str]) -> None:
    for name in [name for name in fields if name[:4] in ("mcp-", "mcp_")]:
        limit = _HEADER_LENGTHS.get(name)
        if limit is None:
            if name.startswith(_MIRRORED_ARGUMENT):
                continue
            raise Refusal(ErrorCode.BAD_REQUEST, f"the header {shown(name)} is not known")
        value = fields[name]
        if name != "mcp-name" and not (0 < len(value) <= limit and _VISIBLE.issuperset(value)):
            raise Refusal(ErrorCode.BAD_REQUEST, f"the header {name} is not valid")
    event = fields.get("last-event-id")
    if event is not None and not (0 < len(event) <= _MAX_EVENT_ID and _VISIBLE.issuperset(event)):
        raise Refusal(ErrorCode.BAD_REQUEST, "the header last-event-id is not valid")
    version = fields.get("mcp-protocol-version")
    if version is not None and version not in VERSIONS:
        known = ", ".join(sorted(VERSIONS))
        raise Refusal(ErrorCode.BAD_REQUEST, f"protocol version '{shown(version)}' is not supported (but {known})")


class _Reader:
    """Reads the messages of one request."""

    __slots__ = ("_batch", "_fields", "_server", "_sse", "_version")

    def __init__(self, request: AgentRequest, *, batch: bool = False) -> None:
        self._fields = request.headers
        self._server = request.context.get("server")
        self._sse = request.context.get("transport") == "sse"
        self._version = request.headers.get("mcp-protocol-version")
        self._batch = batch

    def read_batch(self, messages: list[Any]) -> tuple[Action, ...]:
        """The actions of a batch. Raises `Invalid`, `BodyError` or `TooMuchText`."""
        if self._sse or (self._version is not None and self._version not in BATCHES):
            raise Invalid("this protocol version has no batches")
        if any(name.startswith(("mcp-method", "mcp-name", _MIRRORED_ARGUMENT)) for name in self._fields):
            raise Invalid("the headers mcp-method, mcp-name and mcp-param- do not go with a batch")
        found = jsonrpc.read_batch(messages)
        if any(type(each) is Call and each.method == INITIALIZE for each in found):
            raise Invalid("initialize must not be part of a batch")
        actions = tuple([action for each in found for action in self.read(each)])
        if len(actions) > _MAX_ACTIONS:
            raise Invalid(f"a batch may hold at most {_MAX_ACTIONS} calls and attachments")
        return actions

    def read(self, message: Call | Answer) -> tuple[Action, ...]:
        """The actions of one message; the first one is the message itself, and has all of its text."""
        if type(message) is Answer:
            return self._read_answer(message)
        assert type(message) is Call
        method, params = message.method, message.params
        # A call without id would be run and never answered; a notification with one would be answered.
        if message.waits == method.startswith(NOTIFICATION):
            raise Invalid(f"'{shown(method)}' " + ("must not have an id" if message.waits else "must have an id"))
        known = METHODS.get(method)
        if known is None or not is_understood(method, self._version):
            return (self.plain(f"mcp:{method}", method, call_id=message.call_id, expects_reply=message.waits),)
        self._check_mirrored(known, message)
        texts: list[Message] = [*jsonrpc.id_text(message.call_id)] if type(message.call_id) is str else []
        media: list[Action] = []
        if method == CALL_TOOL:
            if not _PLAIN_CALL.issuperset(params):
                self._read_params(known, params, texts, media)
            return (self._tool_call(message, texts), *media)
        self._read_params(known, params, texts, media)
        action = self._other_call(known, message, texts)
        if method == LISTEN:
            return (action, *self._subscriptions(params))
        return (action, *media) if media else (action,)

    def plain(
        self,
        name: str,
        method: str | None,
        *,
        call_id: str | int | None = None,
        expects_reply: bool,
        texts: list[Message] | None = None,
        resource: str | None = None,
        **more: Attribute,
    ) -> Action:
        """An action that is no tool call."""
        attributes: dict[str, Attribute] = {} if method is None else {"method": method}
        attributes.update(more)
        self._add_context(attributes)
        return Action(
            name,
            _CAPABILITIES,
            resource=self._server if resource is None else resource,
            messages=tuple(texts) if texts else (),
            attributes=attributes,
            call_id=call_id,
            expects_reply=expects_reply,
        )

    def known(self, document: Any) -> tuple[Action, ...]:
        """Stand-ins for the calls of an invalid body whose ids can be told, so that each gets its answer."""
        return tuple(
            self.plain("mcp:invalid", "invalid", call_id=call_id, expects_reply=True)
            for call_id in jsonrpc.known_ids(document)
        )

    def _add_context(self, attributes: dict[str, Attribute]) -> None:
        if self._server is not None:
            attributes["server"] = self._server
        if self._version is not None:
            attributes["protocolVersion"] = self._version
        if self._batch:
            attributes["batch"] = True

    def _check_mirrored(self, method: Method, call: Call) -> None:
        """What the headers (specification 2026-07-28) and `_meta` repeat must be what the body says."""
        fields, params, version = self._fields, call.params, self._version
        meta = params.get(_META)
        if type(meta) is dict and _VERSION in meta and meta[_VERSION] != version:
            raise Invalid("the header mcp-protocol-version does not match params._meta")
        named = fields.get("mcp-method")
        if named is not None and named != call.method:
            raise Invalid("the header mcp-method does not match the body")
        name = fields.get("mcp-name")
        if name is not None and (not method.mirrored or _header_text(name) != params.get(method.mirrored)):
            raise Invalid("the header mcp-name does not match the body")
        if version in STATELESS and call.waits:
            if type(meta) is not dict or _VERSION not in meta or type(meta.get(_CLIENT_CAPABILITIES)) is not dict:
                raise Invalid(f"params._meta must have {_VERSION} and {_CLIENT_CAPABILITIES}")
            if named is None or (name is None and method.must_mirror):
                raise Invalid(f"the header {'mcp-name' if named else 'mcp-method'} is required by protocol {version}")
        if _MIRRORED_ARGUMENT in "\n".join(fields):
            if version not in STATELESS or call.method != CALL_TOOL:
                raise Invalid("the headers mcp-param- only go with a tool call of a later protocol version")
            _check_mirrored_arguments(fields, params.get("arguments"))

    def _read_params(
        self, method: Method, params: Mapping[str, Any], texts: list[Message], media: list[Action]
    ) -> None:
        """All text of params but a tool's name and arguments. Raises `Invalid`, `BodyError` or `TooMuchText`."""
        is_tool = method.name == CALL_TOOL
        for name, value in params.items():
            place = ("params", name)
            if name == _META:
                self._read_meta(value, texts)
            elif name in method.members:
                if is_tool and name in ("name", "arguments"):
                    continue
                collect(texts, method.role, value, place)
                if name == INPUT_RESPONSES:
                    texts.sort(key=_is_beside)
                    self._read_media(value, place, texts, media)
            elif is_tool:
                raise Invalid(f"params.{shown(name)} of tools/call is not supported")
            elif name.casefold() in (known.casefold() for known in method.members | {_META}):
                raise Invalid(f"params.{shown(name)} is not a known member, but too much like one")
            else:
                collect_names(texts, "unread", (name,), ("params",))
                collect(texts, "unread", value, place)
        if len(texts) > MAX_TEXTS:
            raise TooMuchText
        if texts:
            unwrap(texts)

    def _read_meta(self, meta: Any, texts: list[Message]) -> None:
        if meta is None:
            return
        if type(meta) is not dict:
            raise Invalid("params._meta must be an object")
        if not _META_NAMES.issuperset(meta):
            collect_names(texts, "tool", [name for name in meta if name not in _META_NAMES], ("params", _META))
        for name, value in meta.items():
            if value and name != _VERSION:  # which is known to be one
                collect(texts, "tool", value, ("params", _META, name))

    def _read_media(self, value: Any, place: Place, texts: list[Message], media: list[Action]) -> None:
        """What is encoded in an answer of the client: text is read, anything else is an action of its own."""
        for declared, data, where in _blobs(value, place):
            media_type = media_type_of(declared)
            if media_type is None:
                raise Invalid(f"{place_name(where)} has no valid media type")
            try:
                text, is_all = read_attachment(media_type, data, encoded=True)
            except MediaError as error:
                raise Invalid(f"{place_name(where)} {error}") from None
            if text is not None:
                texts.append(Message("file", text, (*where, INNER)))
            if is_all:
                continue
            if len(media) >= _MAX_MEDIA:
                raise Invalid(f"an answer may hold at most {_MAX_MEDIA} attachments")
            attributes: dict[str, Attribute] = {
                "mediaType": media_type,
                "source": "inline",
                "bytes": len(data) * 3 // 4,
            }
            self._add_context(attributes)
            media.append(
                Action(
                    CONTENT_MEDIA,
                    _CAPABILITIES,
                    media_type,
                    attributes=attributes,
                    expects_reply=False,
                    explicit=True,
                )
            )

    def _tool_call(self, call: Call, texts: list[Message]) -> Action:
        params = call.params
        tool = plain_name(params.get("name"), "params.name of tools/call")
        if tool.startswith(_OTHERS_TOOLS):
            raise Invalid("params.name of tools/call begins as the names of tools do that no MCP server has")
        arguments = params.get("arguments")
        if arguments is None:  # what some clients write where they have none
            arguments = {}
        if type(arguments) is not dict:
            raise Invalid("params.arguments of tools/call must be an object")
        attributes: dict[str, Attribute] = {"method": CALL_TOOL, "toolName": tool}
        if params.get("task") is not None:
            if type(params["task"]) is not dict:
                raise Invalid("params.task of tools/call must be an object")
            attributes["task"] = True
        self._add_context(attributes)
        return Action(
            TOOL_EXECUTE,
            _TOOL_CAPABILITIES,
            resource=tool,
            tool=tool,
            arguments=arguments,
            messages=tuple(texts) if texts else (),
            attributes=attributes,
            call_id=call.call_id,
        )

    def _other_call(self, method: Method, call: Call, texts: list[Message]) -> Action:
        params = call.params
        more: dict[str, Attribute] = {}
        resource = None
        if method.target == "uri":
            more["uri"] = resource = plain_uri(params.get("uri"), f"params.uri of {method.name}")
        elif method.target == "name":
            more["promptName"] = resource = plain_name(params.get("name"), f"params.name of {method.name}")
        elif "taskId" in method.members:
            more["taskId"] = plain_name(params.get("taskId"), f"params.taskId of {method.name}")
        elif method.name == INITIALIZE:
            wanted = params.get("protocolVersion", "")
            # The server might agree to another one, and then read everything that follows in its way.
            if type(wanted) is not str or (wanted not in VERSIONS and "protocolVersion" in params):
                raise Invalid("params.protocolVersion of initialize is not a version that is supported here")
        elif method.name == COMPLETE:
            kind, resource = _completed(params.get("ref"))
            more[kind] = resource
        return self.plain(
            method.action,
            method.name,
            call_id=call.call_id,
            expects_reply=call.waits,
            texts=texts,
            resource=resource,
            **more,
        )

    def _subscriptions(self, params: Mapping[str, Any]) -> Iterator[Action]:
        wanted = params.get("notifications")
        if type(wanted) is not dict:
            raise Invalid("params.notifications must be an object")
        uris = wanted.get("resourceSubscriptions", [])
        if type(uris) is not list or len(uris) > _MAX_RESOURCES:
            raise Invalid(f"resourceSubscriptions must be an array of at most {_MAX_RESOURCES} URIs")
        for value in dict.fromkeys(plain_uri(each, "each of resourceSubscriptions") for each in uris):
            yield self.plain(f"mcp:{SUBSCRIBE}", LISTEN, expects_reply=False, resource=value, uri=value)

    def _read_answer(self, answer: Answer) -> tuple[Action, ...]:
        """The client's answer to a call of the server (sampling, elicitation, roots): text that a model may read."""
        if self._version in STATELESS:
            raise Invalid("this protocol version has no answers: they are part of the next call")
        if any(name.startswith(("mcp-method", "mcp-name", _MIRRORED_ARGUMENT)) for name in self._fields):
            raise Invalid("the headers mcp-method, mcp-name and mcp-param- do not go with an answer")
        texts: list[Message] = [*jsonrpc.id_text(answer.call_id)]
        media: list[Action] = []
        place = (answer.member,)
        collect(texts, "tool", answer.value, place)
        # What a model is shown as one text comes together: what stands beside it must not part an attack.
        texts.sort(key=_is_beside)
        self._read_media(answer.value, place, texts, media)
        unwrap(texts)
        return (self.plain("mcp:response", None, expects_reply=False, texts=texts), *media)


def _is_beside(message: Message) -> bool:
    """Whether it is something else than the text of a content block."""
    return message.where[-1] != "text"


def _completed(ref: Any) -> tuple[str, str]:
    """The attribute that says what is completed, and its value."""
    if type(ref) is dict and "name" in ref and "uri" not in ref and ref.get("type") == "ref/prompt":
        return "promptName", plain_name(ref["name"], "params.ref.name")
    if type(ref) is dict and "uri" in ref and "name" not in ref and ref.get("type") == "ref/resource":
        return "uri", plain_uri(ref["uri"], "params.ref.uri")
    raise Invalid("params.ref must be a ref/prompt with a name, or a ref/resource with a uri")


def _blobs(value: Any, place: Place) -> Iterator[tuple[Any, str, Place]]:
    """Whatever is encoded somewhere in `value`: its declared media type, its base64, and its place."""
    waiting: list[tuple[Any, Place]] = [(value, place)]
    for container, where in waiting:  # grows while it is read
        if len(waiting) > MAX_TEXTS:
            raise TooMuchText
        if type(container) is dict:
            for name in ("data", "blob"):
                data = container.get(name)
                media = name == "blob" or "mimeType" in container or container.get("type") in ("image", "audio")
                if media and type(data) is str:
                    yield container.get("mimeType"), data, (*where, name)
            waiting += [(member, (*where, key)) for key, member in container.items() if type(member) in (dict, list)]
        elif type(container) is list:
            waiting += [(each, (*where, at)) for at, each in enumerate(container) if type(each) in (dict, list)]


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


def _check_mirrored_arguments(fields: Mapping[str, str], arguments: Any) -> None:
    """Raise `Invalid` unless each of the headers repeats an argument: which one, only the tool's schema knows.

    If an argument has the name that the header has, it is that one.
    """
    values: set[str] = set()
    named: dict[str, set[str]] = {}
    waiting: list[Any] = [arguments]
    for container in waiting:  # grows while it is read
        if type(container) is not dict:
            continue
        for key, member in container.items():
            if type(member) is dict:
                waiting.append(member)
            elif type(member) in (str, int, float, bool):
                text = str(member).lower() if type(member) is bool else str(member)
                values.add(text)
                named.setdefault(_letters(key), set()).add(text)
    for header in [each for each in fields if each.startswith(_MIRRORED_ARGUMENT)]:
        wanted = _letters(header.removeprefix(_MIRRORED_ARGUMENT))
        if _header_text(fields[header]) not in named.get(wanted, values):
            raise Invalid(f"the header {shown(header)} does not match the body")


def _letters(name: str) -> str:
    return name.replace("-", "").replace("_", "").casefold()


def _is_unknown(action: Action) -> bool:
    # Answers of the client, GET and DELETE have no method; the names of their actions prove nothing, since a
    # call may be of a method "response".
    method = action.attributes.get("method")
    if method is None:
        return False
    version = action.attributes.get("protocolVersion")
    return not is_understood(str(method), None if version is None else str(version))


def _name_mismatch(error: dict[str, Any], version: str | None) -> None:
    """Put in the codes with which clients of the newest version tell what to do about it."""
    if version is not None and version not in VERSIONS:
        error["code"] = _UNSUPPORTED_VERSION
        error["data"] |= {"supported": sorted(VERSIONS), "requested": shown(version)}
    elif error["message"].startswith(_MISMATCH):
        error["code"] = _HEADER_MISMATCH

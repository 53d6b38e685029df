"""Plain HTTP: any request on a route that is neither a model nor tools. Its body is not looked at.

Rules of this file: policy decides about a path, so a path that two readers may understand differently is
refused (`address`), and so are headers and query members that name another method or path. Where the route fixes
the upstream, policy is asked about that one: the `Host` that an agent writes has no say in where its request goes.
A WebSocket and a CONNECT are actions of their own (`tunnel`). The body is not read, so a `_method` in a form is
not seen: where an upstream honours it, a rule about a POST is a rule about every method. Source: RFC 9110
sections 7.2 and 9.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote_plus

from ..action import Action, Attribute
from ..codes import HTTP_REQUEST, ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .address import bad, read_host, read_path
from .answers import plain_reply
from .base import Endpoint, Reading, RefusedReading, Route
from .headers import path_in_route, refuse_overrides
from .providers import provider_of
from .text import shown
from .tunnel import CAPABILITIES, HTTP_WEBSOCKET, connect, is_upgrade, require_websocket

REQUEST: Final = Route("http", CAPABILITIES, reads_body=False)
WEBSOCKET: Final = Route("http.websocket", CAPABILITIES, reads_body=False)
CONNECT: Final = Route("http.connect", CAPABILITIES, reads_body=False)

# Methods are case-sensitive (RFC 9110); a server that is lax about it would act on "delete" or "BREW".
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_USUAL_PORTS: Final = frozenset({"80", "443"})
_METHOD_MEMBERS: Final = ("_method", "_httpmethod", "_http_method", "x_http_method", "x_method_override")
_PLAIN_MEMBERS: Final = frozenset({"method", "httpmethod", "http_method"})


class Http:
    """Requests whose meaning is their method, host and path."""

    kind = "http"
    title = "Plain HTTP"
    endpoints = (
        Endpoint("any", "/…", "http", "http:request", "method, host and path; not the body", CAPABILITIES),
        Endpoint("GET", "/…", "http.websocket", "http:websocket", "host and path", CAPABILITIES, upgrade=True),
        Endpoint("CONNECT", "host:port", "http.connect", "http:connect, http:address", "the target", CAPABILITIES),
    )
    refused = (
        ("upgrades other than WebSocket", "what is spoken afterwards is not known"),
        ("CONNECT to a model or MCP server", "prompts and tool calls would pass unread; no rule can allow it"),
        ("CONNECT on a route with an upstream of its own", "its target would not be the upstream"),
        ("a Host of a model provider where the route fixes no upstream", "its prompt would pass unread"),
        ("dot segments, `//`, `%2F`, `%5C`, `%25`, control characters in a path", "servers read them differently"),
        ("`_method`, `_HttpMethod`, `method=DELETE` in a query", "the upstream could act on another method"),
        ("`x-http-method-override` and the like", "the upstream would act on another method"),
    )
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """Request, WebSocket or tunnel. Raises `Refusal` for other upgrades and unknown methods."""
        return route_of(request)

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """One `http:request` (`http:websocket`), about host and path (without query) as the upstream gets them.

        The context extension `authority` is the upstream's host, `base` where the route begins there.
        """
        if route.name == CONNECT.name:
            if "authority" in request.context:
                raise Refusal(ErrorCode.POLICY_DENY, "no tunnel on a route that has an upstream of its own")
            return Reading(connect(request))
        action = request_action(request, route, _USUAL_PORTS)
        if "authority" not in request.context and provider_of(str(action.attributes["host"])) is not None:
            raise RefusedReading(
                ErrorCode.POLICY_DENY, "a model provider is reached on a route of its own only", actions=(action,)
            )
        return Reading((action,))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """Our own JSON answer."""
        return plain_reply(decision)


def route_of(request: AgentRequest) -> Route:
    """Request, WebSocket or tunnel. Raises `Refusal` for other upgrades and unknown methods."""
    refuse_overrides(request.headers)
    if is_upgrade(request):
        require_websocket(request)
        return WEBSOCKET
    if request.method == "CONNECT":
        return CONNECT
    if request.method not in METHODS:
        raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "the HTTP method is not supported")
    return REQUEST


def request_action(request: AgentRequest, route: Route, usual: frozenset[str] = frozenset()) -> Action:
    """The `http:request` or `http:websocket`. Raises `Refusal` for what has no single meaning.

    `usual`: the ports that go without saying, where the agent names the host.
    """
    name, port, path = upstream(request)
    if port in usual and "authority" not in request.context:
        port = ""  # another spelling of the same host: rules compare text, and the agent chose it
    websocket = route.name == WEBSOCKET.name
    attributes: dict[str, Attribute] = {"method": "GET" if websocket else request.method, "host": name, "path": path}
    if port:
        attributes["port"] = int(port)
    host = f"{name}:{port}" if port else name
    action = HTTP_WEBSOCKET if websocket else HTTP_REQUEST
    return Action(action, CAPABILITIES, resource=host + path, attributes=attributes, explicit=websocket)


def upstream(request: AgentRequest, *, arguments: bool = False) -> tuple[str, str, str]:
    """Host, port ("" without one) and path as the upstream gets them. Raises `Refusal`.

    `arguments`: the members of the query are arguments, which the caller looks at one by one.
    """
    name, port = read_host(request.host)
    raw_path, _, query = request.path.partition("?")
    authority = request.context.get("authority")
    if authority is not None:
        name, port = read_host(authority)
        rest = path_in_route(request)
        if rest is None:
            raise Refusal(ErrorCode.NOT_FOUND, "the path is not under the route's prefix")
        raw_path = request.context.get("base", "") + rest
    path = read_path(raw_path)
    if query:
        check_query(query, arguments=arguments)
    return name, port, path


def check_query(query: str, *, arguments: bool) -> None:
    """Raise `Refusal` for a query that cannot be sent as it is, or that names another method."""
    if not (query.isascii() and query.isprintable()) or " " in query or "#" in query:
        raise bad("the query has characters that must be percent-encoded")
    if arguments or ("%" not in query and "method" not in query.lower()):
        return
    for pair in query.replace(";", "&").split("&"):
        name, _, value = pair.partition("=")
        name = unquote_plus(name, errors="replace").strip()
        if names_method(name, unquote_plus(value, errors="replace")):
            raise bad(f"the query member {shown(name)} is not accepted: send the real method")


def names_method(name: str, value: Any) -> bool:
    """Whether a server may act on another method for a member of a query, or a field, of that name.

    `_method` is Rails' and Laravel's, `_HttpMethod` Salesforce's; others know the name of the header here too. A
    plain `method` is a member like others, unless it says what only an HTTP method is called (Facebook's Graph).
    """
    folded = name.strip().casefold().replace("-", "_")
    if folded.startswith(_METHOD_MEMBERS):
        return True
    return folded in _PLAIN_MEMBERS and type(value) is str and value.strip().upper() in METHODS

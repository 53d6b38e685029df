"""The forward proxy: agents that use HTTP_PROXY and HTTPS_PROXY, so that the destination is what they write.

Rules of this file: here, and only here, the Host is where the request goes, since Envoy's dynamic forward proxy
connects to it. So it is read as an agent's word: one spelling or none, and nothing goes to a model or an MCP server,
whose requests are not read on this route (`tunnel`). Sources: RFC 9112 section 3.2.2, RFC 9110 section 9.3.6.
"""

from __future__ import annotations

from msgspec.structs import replace

from ..action import Action, Attribute
from ..codes import ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .address import bad, read_destination
from .answers import plain_reply
from .base import Endpoint, Reading, RefusedReading, Route
from .http import CONNECT, request_action, route_of
from .tunnel import CAPABILITIES, address_actions, connect, is_guarded, refuse_never

_SCHEME = "http://"
_PORT = "80"


class Proxy:
    """Requests through a forward proxy, and the tunnels that it is asked for."""

    kind = "proxy"
    title = "Forward proxy"
    endpoints = (
        Endpoint("any", "http://host/…", "http", "http:request, http:address", "method, host and path", CAPABILITIES),
        Endpoint(
            "GET",
            "http://host/…",
            "http.websocket",
            "http:websocket, http:address",
            "host and path",
            CAPABILITIES,
            upgrade=True,
        ),
        Endpoint("CONNECT", "host:port", "http.connect", "http:connect, http:address", "the target", CAPABILITIES),
    )
    refused = (
        (
            "a model or MCP server, by CONNECT unless it is intercepted, and by plain HTTP",
            "prompts and tool calls would pass unread; no rule can allow it",
        ),
        ("metadata services, link-local, multicast and unspecified addresses", "no agent has business there"),
        ("127.1, 0x7f.1, 2130706433, zones, trailing dots, user names", "not every resolver reads them alike"),
        ("`https://` targets without CONNECT", "the proxy would speak TLS in the agent's name"),
    )
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """Request, WebSocket or tunnel. Raises `Refusal` for other upgrades and unknown methods."""
        return route_of(request)

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """The request or tunnel, and an `http:address` where it goes to no name of public DNS."""
        if route.name == CONNECT.name:
            return Reading(connect(request))
        name, port, kind = read_destination(request.host)
        if port == _PORT:
            port = ""  # another spelling of the same place: rules compare text
        place = f"{name}:{port}" if port else name
        # no word of the route about an upstream: there is none but the one that the agent names
        asked = replace(request, host=place, path=_origin_form(request), context={})
        action = request_action(asked, route)
        attributes: dict[str, Attribute] = {**action.attributes, "addressClass": kind}
        action = replace(action, attributes=attributes)
        actions: tuple[Action, ...] = (action, *address_actions(name, port, attributes))
        if is_guarded(request.context, name):
            raise RefusedReading(
                ErrorCode.POLICY_DENY, "a model or MCP server is not reached through the proxy", actions=actions
            )
        refuse_never(kind, actions)
        return Reading(actions)

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """Our own JSON answer."""
        return plain_reply(decision)


def _origin_form(request: AgentRequest) -> str:
    """The path and query of a request whose target may be in absolute form, which must say what Host says."""
    target = request.path
    if target.startswith("/"):
        return target
    if not target[: len(_SCHEME)].lower() == _SCHEME:
        raise bad("the target must be a path or an http:// URL; for https, use CONNECT")
    rest = target[len(_SCHEME) :]
    end = min((place for place in map(rest.find, "/?#") if place >= 0), default=len(rest))
    if _place(rest[:end]) != _place(request.host):
        raise Refusal(ErrorCode.BAD_REQUEST, "the target and the Host header name different hosts")
    path = rest[end:]
    return path if path.startswith("/") else f"/{path}"


def _place(authority: str) -> tuple[str, str]:
    name, port, _ = read_destination(authority)
    return name, port or _PORT

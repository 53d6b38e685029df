"""What leaves our sight once it is allowed: CONNECT tunnels, WebSockets, and requests to where the agent says.

Rules of this file: each is an action of its own that only a rule which names it can allow (`Action.explicit`). No
rule opens a tunnel to a model or an MCP server, where prompts and tool calls would pass unread, unless Envoy takes
that tunnel apart (`intercepted`). A destination that is no name of public DNS needs a rule for `http:address` too:
names are what operators write rules about, and an address can stand for any of them. Metadata services and
link-local addresses are never a destination. Sources: RFC 9110 sections 7.8 and 9.3.6, RFC 6455, RFC 8441.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..action import Action, Attribute
from ..codes import Capability, ErrorCode
from ..request import AgentRequest, Refusal
from .address import read_destination
from .base import RefusedReading
from .headers import refuse_body
from .providers import listed, provider_of

HTTP_CONNECT: Final = "http:connect"
HTTP_WEBSOCKET: Final = "http:websocket"
HTTP_ADDRESS: Final = "http:address"
CAPABILITIES: Final = (Capability.NETWORK_OUTBOUND.value,)

_NEVER: Final = frozenset({"metadata", "link-local", "reserved"})


def is_upgrade(request: AgentRequest) -> bool:
    """Whether the request asks for another protocol, in HTTP/1.1's way or in HTTP/2's (extended CONNECT)."""
    return "upgrade" in request.headers or ":protocol" in request.headers


def require_websocket(request: AgentRequest) -> None:
    """Raise `Refusal` unless the upgrade is one to WebSocket, written in the one way that all servers understand."""
    headers = request.headers
    if request.method == "CONNECT":
        asked = headers.get(":protocol", "")
        clear = "upgrade" not in headers
    else:
        asked = headers.get("upgrade", "")
        tokens = {token.strip(" \t").lower() for token in headers.get("connection", "").split(",")}
        clear = request.method == "GET" and "upgrade" in tokens and ":protocol" not in headers
    if asked.lower() != "websocket":
        raise Refusal(ErrorCode.POLICY_DENY, "the only protocol upgrade that is supported is websocket")
    if not clear:
        raise Refusal(ErrorCode.BAD_REQUEST, "a websocket is opened with GET, upgrade and connection: upgrade")
    refuse_body(request)


def connect(request: AgentRequest) -> tuple[Action, ...]:
    """The actions of a CONNECT, whose target is `host:port`. Raises `Refusal` for what no rule can allow."""
    name, port, kind = read_destination(request.host)
    if not port:
        raise Refusal(ErrorCode.BAD_REQUEST, "CONNECT names a host and a port")
    # What Envoy hands on as the path of a CONNECT is nothing, or the target again.
    if request.path not in ("", "/", request.host):
        raise Refusal(ErrorCode.BAD_REQUEST, "CONNECT has no path")
    attributes: dict[str, Attribute] = {
        "method": "CONNECT",
        "host": name,
        "port": int(port),
        "addressClass": kind,
    }
    action = Action(HTTP_CONNECT, CAPABILITIES, f"{name}:{port}", attributes=attributes, explicit=True)
    actions = (action, *address_actions(name, port, attributes))
    if is_guarded(request.context, name) and not listed(names(request.context, "intercepted"), name):
        raise RefusedReading(
            ErrorCode.POLICY_DENY, "no tunnel to a model or MCP server: its requests would pass unread", actions=actions
        )
    refuse_never(kind, actions)
    return actions


def address_actions(name: str, port: str, attributes: Mapping[str, Attribute]) -> tuple[Action, ...]:
    """`http:address` where the destination is no name of public DNS."""
    if attributes["addressClass"] == "name":
        return ()
    place = f"{name}:{port}" if port else name
    return (Action(HTTP_ADDRESS, CAPABILITIES, place, attributes=attributes, explicit=True),)


def refuse_never(kind: str, actions: tuple[Action, ...]) -> None:
    """Raise `RefusedReading` for a destination of that class that nothing can allow."""
    if kind in _NEVER:
        raise RefusedReading(ErrorCode.POLICY_DENY, f"no request goes to a {kind} address", actions=actions)


def is_guarded(context: Mapping[str, str], host: str) -> bool:
    """Whether `host` is a model's or an MCP server's: of a public provider, or one that the operator named."""
    return provider_of(host) is not None or listed(names(context, "guarded"), host)


def names(context: Mapping[str, str], key: str) -> tuple[str, ...]:
    """The hosts in a context extension, which separates them with commas."""
    value = context.get(key, "")
    return tuple(host.strip().lower() for host in value.split(",") if host.strip()) if value else ()

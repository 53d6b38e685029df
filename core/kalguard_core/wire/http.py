"""Plain HTTP: any request on a route that is neither a model nor tools. Its body is not looked at.

Rules of this file: policy decides about a path, so a path that two readers may understand differently is
refused: dot segments, encoded separators, double encoding, control characters, headers that name another
method or path. Where the route fixes the upstream, policy is asked about that one: the `Host` that an agent
writes has no say in where its request goes. Sources: RFC 3986 sections 5.2.4 and 6.2.2, RFC 9110 sections 7.2
and 9.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_plus, unquote_to_bytes

from ..action import Action, Scalar
from ..codes import HTTP_REQUEST, Capability, ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .answers import plain_reply
from .base import Endpoint, Reading, Route
from .headers import path_in_route, refuse_overrides

_CAPABILITIES: Final = (Capability.NETWORK_OUTBOUND.value,)
_ROUTE: Final = Route("http", _CAPABILITIES, reads_body=False)

# Methods are case-sensitive (RFC 9110); a server that is lax about it would act on "delete" or "BREW".
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
# What may be written plainly is judged plainly: %61 is a (RFC 3986 section 6.2.2.2).
_UNRESERVED: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~")
_SEPARATORS: Final = frozenset(b"/\\.%")


class Http:
    """Requests whose meaning is their method, host and path."""

    kind = "http"
    title = "Plain HTTP"
    endpoints: tuple[Endpoint, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """Always the same route. Raises `Refusal` for tunnels and protocol switches, and unknown methods."""
        if request.method == "CONNECT" or "upgrade" in request.headers:
            raise Refusal(ErrorCode.POLICY_DENY, "tunnels and protocol upgrades (websocket) are not supported")
        if request.method not in _METHODS:
            raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "the HTTP method is not supported")
        refuse_overrides(request.headers)
        return _ROUTE

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """One `http:request`, about host and path (without query) as the upstream gets them.

        The context extension `authority` is the upstream's host, `base` where the route begins there.
        """
        name, port = _host(request.host)
        raw_path, _, query = request.path.partition("?")
        authority = request.context.get("authority")
        if authority is not None:
            name, port = _host(authority)
            rest = path_in_route(request)
            if rest is None:
                raise Refusal(ErrorCode.NOT_FOUND, "the path is not under the route's prefix")
            raw_path = request.context.get("base", "") + rest
        path = _path(raw_path)
        if query:
            _check_query(query)
        attributes: dict[str, Scalar] = {"method": request.method, "host": name, "path": path}
        if port:
            attributes["port"] = int(port)
        host = f"{name}:{port}" if port else name
        return Reading((Action(HTTP_REQUEST, _CAPABILITIES, resource=host + path, attributes=attributes),))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """Our own JSON answer."""
        return plain_reply(decision)


def _bad(reason: str) -> Refusal:
    return Refusal(ErrorCode.BAD_REQUEST, reason)


def _host(authority: str) -> tuple[str, str]:
    """Name (lower case) and port ("" without one) of the host."""
    host = authority.lower()
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        name += bracket
        valid = len(name) > 3 and set(name[1:-1]) <= _HEX | {":", "."} and bool(bracket)
        colon, port = rest[:1], rest[1:]
        if rest and colon != ":":
            valid = False
    else:
        name, colon, port = host.partition(":")
        # "example.com." is the same host as "example.com", but not the same text.
        valid = bool(name) and _HOST.issuperset(name) and ".." not in name and name[0] != "." and name[-1] != "."
    if colon and not (port.isascii() and port.isdigit() and len(port) <= 5 and port == str(int(port))):
        valid = False
    if not valid:
        raise _bad("the host is missing or not valid")
    return name, port


def _path(path: str) -> str:
    """The path as policy sees it: characters that need no escape are not escaped."""
    if not path.startswith("/"):
        raise _bad("the path must start with /")
    if not (path.isascii() and path.isprintable()) or " " in path:
        raise _bad("the path has characters that must be percent-encoded")
    if "\\" in path or "#" in path:
        raise _bad("the path has a backslash or a fragment")
    if "//" in path:
        raise _bad("the path has an empty segment")
    if "%" in path:
        path = _decoded(path)
    if "/." in path:
        for segment in path.split("/"):
            # Some servers cut path parameters first: "/..;x=1/" is "/../" to them.
            if segment.partition(";")[0] in (".", ".."):
                raise _bad("the path has a dot segment")
    return path


def _decoded(path: str) -> str:
    first, *rest = path.split("%")
    pieces = [first]
    for piece in rest:
        digits = piece[:2]
        if len(digits) != 2 or not _HEX.issuperset(digits):
            raise _bad("the path has a % that starts no escape")
        byte = int(digits, 16)
        if byte in _UNRESERVED:
            pieces.append(chr(byte) + piece[2:])
            continue
        if byte in _SEPARATORS or byte < 0x20 or byte == 0x7F:
            raise _bad(f"the path has %{digits.upper()}, which not every server reads in the same way")
        pieces.append(f"%{digits.upper()}{piece[2:]}")
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("the path has escapes that are not UTF-8") from None
    return "".join(pieces)


def _check_query(query: str) -> None:
    if not (query.isascii() and query.isprintable()) or " " in query or "#" in query:
        raise _bad("the query has characters that must be percent-encoded")
    if "_" not in query and "%" not in query:
        return
    for pair in query.replace(";", "&").split("&"):
        name = unquote_plus(pair.partition("=")[0], errors="replace").strip().casefold()
        if name.startswith("_method"):
            raise _bad("the query member _method is not accepted: send the real method")

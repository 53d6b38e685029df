"""The route table: what a route is, for meshes that cannot say it in context extensions.

Rules of this file: the first entry that fits decides, and an entry that none can reach is an error. A request that no
entry fits is on no route. A host is compared in its one spelling (case, trailing dot and, where an entry names none,
port don't matter). A path that could be meant for a stricter entry is never judged by a later, laxer one: one that
reads differently to two servers, or differs by case only, fits nothing then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from pydantic import Field

from ..documents import Document, Path, StrictModel
from ..firewall.document import HOST_KEY, ROUTE_KEY
from ..request import Refusal
from .address import read_host, read_path
from .registry import PROTOCOLS

# Whose requests are not read, or only as far as policy about hosts and paths needs it.
_UNREAD: Final = frozenset({"http", "proxy"})
_ANY: Final = "*"
_MAX_ROUTES: Final = 1000  # each is compared with all before it


class _RouteDocument(StrictModel):
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    prefix: str = ""
    destination: str | None = Field(default=None, min_length=1)
    kind: str
    upstream: str | None = Field(default=None, min_length=1)
    server: str | None = Field(default=None, min_length=1)
    authority: str | None = None
    base: str | None = None
    transport: str | None = Field(default=None, min_length=1)
    firewall: str | None = Field(default=None, min_length=1)
    internal: bool = False
    intercepted: list[str] = Field(default_factory=list)


class _TableDocument(StrictModel):
    version: str | None = None
    routes: list[_RouteDocument] = Field(min_length=1, max_length=_MAX_ROUTES)


class TableRoute(Struct, frozen=True):
    """One entry. `host`: a name, "*.name", or None for any. `prefix`: without a trailing slash.

    `destination`: the principal, or the address and port, that the proxy connects to; None for any.
    `context`: what Envoy's own routes say in context extensions. `line`: of the entry in its document.
    """

    host: str | None
    port: str | None
    prefix: str
    destination: str | None
    kind: str
    context: Mapping[str, str]
    line: int = 0

    def covers(self, other: TableRoute) -> bool:
        """Whether every request that fits `other` fits this entry too."""
        return (
            (self.host is None or (other.host is not None and _fits(self.host, other.host)))
            and self.port in (None, other.port)
            and self.destination in (None, other.destination)
            and _under(other.prefix, self.prefix)
        )


class RouteTable:
    """All entries, in order. Immutable."""

    __slots__ = ("_anywhere", "_by_host", "firewalls", "routes", "version")

    def __init__(self, routes: Sequence[TableRoute], version: str) -> None:
        self.routes = tuple(routes)
        self.version = version
        hosts = {route.host for route in routes if route.host is not None and not route.host.startswith("*")}
        self._by_host = {
            host: tuple(route for route in routes if route.host is None or _fits(route.host, host)) for host in hosts
        }
        self.firewalls = {
            route.context[key]: route.line
            for route in reversed(self.routes)
            for key in (ROUTE_KEY, HOST_KEY)
            if key in route.context
        }
        """Names of the firewall profiles that entries ask for, and the line of the first that does."""
        self._anywhere = tuple(route for route in routes if route.host is None or route.host.startswith("*"))

    @classmethod
    def parse(cls, text: str, source: str) -> RouteTable:
        """Read a table (YAML or JSON). `source` is the name that errors show. Raises `documents.DocumentError`."""
        document = Document(text, source)
        entries = document.parse(_TableDocument).routes
        guarded = ",".join(dict.fromkeys(_guarded(entry) for entry in entries if _guarded(entry)))
        routes: list[TableRoute] = []
        for index, entry in enumerate(entries):
            place = ("routes", index)
            route = _route(document, place, entry, guarded)
            for earlier in routes:
                if earlier.covers(route):
                    problem = f"never reached: the entry in line {earlier.line} fits all of its requests"
                    raise document.error(place, problem)
            routes.append(route)
        version = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return cls(routes, version)

    def match(self, host: str, path: str, destinations: Sequence[str] = ()) -> TableRoute | None:
        """The entry of a request, None if there is none.

        `host`: as the request writes it, perhaps with a port. `path`: with or without query. `destinations`: what
        the proxy says about where it goes (principal, address and port).
        """
        try:
            name, port = read_host(_without_dot(host))
        except Refusal:
            return None
        raw = path.partition("?")[0]
        plain: str | None = None
        candidates = self._by_host.get(name)
        if candidates is None:
            candidates = tuple(route for route in self._anywhere if route.host is None or _fits(route.host, name))
        for route in candidates:
            if route.destination is not None and route.destination not in destinations:
                continue
            if route.port not in (None, port):
                # The Host is the agent's to write: what comes to that port all the same may be meant for this entry.
                if not any(place.endswith(f":{route.port}") for place in destinations):
                    continue
                if not route.prefix or _under(raw, route.prefix):
                    return None
            elif not route.prefix or _under(raw, route.prefix):
                return route
            if plain is None:
                try:
                    plain = _plainest(raw)
                except Refusal:
                    return None
            # The same place for some servers, and no path that this entry's reader would know.
            if _under(plain, route.prefix.casefold()):
                return None
        return None


def _route(document: Document, place: Path, entry: _RouteDocument, guarded: str) -> TableRoute:
    known = sorted(kind for kind, protocol in PROTOCOLS.items() if not protocol.answers_itself)
    if entry.kind not in known:
        raise document.error((*place, "kind"), f"must be one of {', '.join(known)}")
    if entry.host is None and entry.destination is None:
        raise document.error(place, "an entry needs a host or a destination")
    host = None if entry.host == _ANY else entry.host
    if host is not None:
        _check_host(document, (*place, "host"), host)
    for key, value in (("prefix", entry.prefix), ("base", entry.base)):
        _check_prefix(document, (*place, key), value or "")
    context = {"kind": entry.kind}
    if entry.prefix:
        context["prefix"] = entry.prefix
    if entry.authority is not None:
        _check_authority(document, (*place, "authority"), entry.authority)
        context["authority"] = entry.authority
        # A mesh forwards the path as it came, unless the operator says otherwise.
        context["base"] = entry.prefix if entry.base is None else entry.base
    elif entry.base is not None:
        raise document.error((*place, "base"), "belongs to an authority")
    if entry.internal:
        context["internal"] = "true"
    named = {
        "upstream": entry.upstream,
        "server": entry.server,
        "transport": entry.transport,
        # the Host is the agent's to write: what was chosen by it alone may only make things stricter
        (HOST_KEY if entry.destination is None else ROUTE_KEY): entry.firewall,
    }
    context.update({key: text for key, text in named.items() if text is not None})
    if entry.intercepted:
        for index, tunnelled in enumerate(entry.intercepted):
            _check_host(document, (*place, "intercepted", index), tunnelled)
        context["intercepted"] = ",".join(entry.intercepted)
    if entry.kind in _UNREAD and guarded:
        context["guarded"] = guarded
    port = None if entry.port is None else str(entry.port)
    return TableRoute(host, port, entry.prefix, entry.destination, entry.kind, context, document.line(place))


def _guarded(entry: _RouteDocument) -> str:
    """The host of an entry whose requests must be read."""
    return "" if entry.kind in _UNREAD or entry.host in (None, _ANY) else str(entry.host)


def _check_host(document: Document, place: Path, host: str) -> None:
    name = host.removeprefix("*.")
    try:
        plain, port = read_host(name)
    except Refusal:
        plain, port = "", ""
    if port:
        raise document.error(place, "must be a host without a port")
    if not plain or plain != name:
        raise document.error(place, "must be a host in lower case, or *. and a host; a port has a key of its own")


def _check_authority(document: Document, place: Path, authority: str) -> None:
    try:
        name, port = read_host(authority)
    except Refusal:
        name, port = "", ""
    if not name or (f"{name}:{port}" if port else name) != authority:
        raise document.error(place, "must be a host in lower case, perhaps with a port")


def _check_prefix(document: Document, place: Path, prefix: str) -> None:
    if not prefix:
        return
    try:
        plain = read_path(prefix)
    except Refusal:
        plain = ""
    if plain != prefix or prefix.endswith("/") or ";" in prefix or "?" in prefix:
        raise document.error(place, "must be a plain path that begins with / and does not end with one")


def _fits(pattern: str, host: str) -> bool:
    """Whether a host (or another pattern's) is within `pattern`: equal, or under "*.name"."""
    if pattern == host:
        return True
    return pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1


def _under(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/")


def _plainest(path: str) -> str:
    """The path as the most lenient server reads it: without case, without parameters of segments."""
    plain = read_path(path).casefold().replace("%3b", ";")
    return "/".join([segment.partition(";")[0] for segment in plain.split("/")]) if ";" in plain else plain


def _without_dot(host: str) -> str:
    """The host without the dot that ends a full name: "example.com.:443" is "example.com:443"."""
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        return f"{name.removesuffix('.')}:{port}"
    return host.removesuffix(".")

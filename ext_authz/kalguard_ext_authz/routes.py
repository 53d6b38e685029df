"""The route table in force, and what it says about a request that Envoy says nothing about.

Rules of this file: the word of a trusted caller's route (its context extension `kind`) comes first. A table is believed
as the mesh is: it says what a request is only to a caller that may be believed. To any other it can only forbid: a
request that the table doesn't call plain HTTP is refused, since as plain HTTP it would be judged less strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kalguard_core.request import NO_CONTEXT
from kalguard_core.wire.routes import RouteTable

# Stands for the kind of a request whose route is not known, or not believed: no protocol has such a name.
NO_ROUTE: Final = "no route"
NOT_BELIEVED: Final = "not believed"


class Routes:
    """Holds the table; `table` is None where there is none. Replaced as a whole on a reload."""

    __slots__ = ("table",)

    def __init__(self, table: RouteTable | None = None) -> None:
        self.table = table

    def route(self, attributes: Any, *, trusted: bool) -> tuple[str, Mapping[str, str]]:
        """Kind and context of a request, from the attributes of its CheckRequest."""
        context: Mapping[str, str] = dict(attributes.context_extensions)
        if not trusted:
            return self._unbelieved(attributes, context), NO_CONTEXT
        kind = context.get("kind")
        if kind is not None:
            return kind, context
        if self.table is None:
            return "http", context
        http = attributes.request.http
        route = self.table.match(http.host, http.path, _destinations(attributes))
        if route is None:
            return NO_ROUTE, context
        found = {**context, **route.context}
        if route.destination is None:
            # The Host is the agent's to write, and a mesh may let it connect elsewhere with it: what an entry says by
            # host alone is enough to be judged by, and not enough to be handed a credential.
            found.pop("upstream", None)
        return route.kind, found

    def _unbelieved(self, attributes: Any, context: Mapping[str, str]) -> str:
        # A route with an upstream of its own is judged by that upstream, which only a trusted caller can name: by
        # the Host that the agent wrote, a rule about one upstream would open another.
        if context.get("kind", "http") != "http" or "authority" in context:
            return NOT_BELIEVED
        if self.table is None:
            return "http"
        http = attributes.request.http
        # whose word is not believed names no destination either
        route = self.table.match(http.host, http.path)
        return (
            "http" if route is not None and route.kind == "http" and "authority" not in route.context else NOT_BELIEVED
        )


def _destinations(attributes: Any) -> tuple[str, ...]:
    """What the proxy says about where the request goes: the upstream's principal, and its address and port."""
    destination = attributes.destination
    address = destination.address.socket_address
    found = [destination.principal] if destination.principal else []
    if address.address:
        host = f"[{address.address}]" if ":" in address.address else address.address
        found.append(f"{host}:{address.port_value}")
    return tuple(found)

"""What every protocol asks of the head of a request: media type, encoding, path under the route's prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..codes import ErrorCode
from ..request import AgentRequest, Refusal

# Servers and frameworks that honour these act on another method or path than the one that we judged.
OVERRIDES: Final = frozenset(
    {
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-method",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
    }
)


def refuse_overrides(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` if a header asks the upstream to act on another method or path."""
    if not OVERRIDES.isdisjoint(headers):
        name = min(OVERRIDES.intersection(headers))
        raise Refusal(ErrorCode.BAD_REQUEST, f"the header {name} is not accepted: send the real method and path")


def require_json(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` (415) unless the body is declared as JSON in UTF-8."""
    content_type = headers.get("content-type", "")
    if content_type == "application/json":
        return
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip(" \t").lower() == "application/json":
        name, _, value = parameters.strip(" \t").lower().partition("=")
        if not parameters.strip(" \t") or (name == "charset" and value in ("utf-8", '"utf-8"')):
            return
    raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "content-type must be application/json")


def path_in_route(request: AgentRequest) -> str | None:
    """The path without query and without the route's prefix; None if it is not under that prefix.

    The prefix is the context extension `prefix` ("/openai"); it ends at a segment border.
    """
    path = request.route_path
    prefix = request.context.get("prefix", "").rstrip("/")
    if not prefix:
        return path
    if not path.startswith(prefix):
        return None
    rest = path[len(prefix) :]
    return rest if not rest or rest[0] == "/" else None


def refuse_query(request: AgentRequest) -> None:
    """Raise `Refusal` if there is a query: the protocol has none, so an upstream would read an unknown one."""
    if "?" in request.path and request.path.partition("?")[2]:
        raise Refusal(ErrorCode.BAD_REQUEST, "a query string is not accepted here")

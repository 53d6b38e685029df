"""What every protocol asks of the head of a request: media type, encoding, path under the route's prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..codes import ErrorCode
from ..request import AgentRequest, Refusal

# Servers and frameworks that honour these act on another method or path than the one that we judged: Rack, Express,
# Spring, Symfony and Google's APIs the method, IIS, Symfony, Laminas and the helpers of proxies the path, gateways of
# models (Portkey, Helicone, Azure ML, the inference extension of the Gateway API) the host or model behind them.
OVERRIDES: Final = frozenset(
    {
        "azureml-model-deployment",
        "helicone-openai-api-base",
        "helicone-target-url",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-http-path-override",
        "x-forwarded-method",
        "x-forwarded-path",
        "x-forwarded-uri",
        "x-gateway-destination-endpoint",
        "x-ms-model-mesh-model-name",
        "x-original-method",
        "x-original-path",
        "x-original-uri",
        "x-original-url",
        "x-override-method",
        "x-override-url",
        "x-portkey-config",
        "x-portkey-custom-host",
        "x-request-uri",
        "x-rewrite-uri",
        "x-rewrite-url",
    }
)
# A part of a body says nothing about the whole; what comes in a trailer, nobody has seen who judged the headers
# (and some servers merge it into them). Clients of models and tools send neither.
_INCOMPLETE: Final = frozenset({"content-range", "trailer"})
# CGI and its heirs (WSGI, Rack, PHP) can't tell "content_type" from "content-type".
_UNDERSCORED: Final = (
    OVERRIDES
    | _INCOMPLETE
    | {"authorization", "content-encoding", "content-length", "content-type", "host", "transfer-encoding", "upgrade"}
    | {"a2a-extensions", "a2a-version", "x-a2a-extensions", "last-event-id"}
    | {"mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"}
)
_REFUSED: Final = OVERRIDES | _INCOMPLETE | {name.replace("-", "_") for name in _UNDERSCORED if "-" in name}

_JSON: Final = frozenset({"application/json"})
_UTF_8: Final = frozenset({"", "charset=utf-8", 'charset="utf-8"', "charset=utf8"})


def refuse_overrides(headers: Mapping[str, str]) -> None:
    """Raise `Refusal` if a header asks the upstream to act on another method, path or body than the one judged."""
    if _REFUSED.isdisjoint(headers):
        if "_" in "".join(headers):
            _refuse_mixed(headers)
        return
    name = min(_REFUSED.intersection(headers))
    if name in _INCOMPLETE:
        raise Refusal(ErrorCode.BAD_REQUEST, f"the header {name} is not accepted: send the whole request at once")
    raise Refusal(ErrorCode.BAD_REQUEST, f"the header {name} is not accepted: send the real method and path")


def _refuse_mixed(headers: Mapping[str, str]) -> None:
    """The same for names that mix the two: "x-http_method-override"."""
    for name in headers:
        if "_" in name and name.replace("_", "-") in _UNDERSCORED:
            raise Refusal(ErrorCode.BAD_REQUEST, f"the header {name} is not accepted: some servers read it as another")


def require_json(headers: Mapping[str, str], also: frozenset[str] = frozenset()) -> None:
    """Raise `Refusal` (415) unless the body is declared as JSON in UTF-8.

    `also`: other media types that mean the same to this protocol, in lower case: "application/a2a+json". Several
    media types in one header (or one header for each, joined with a comma) are none, and a parameter other than
    the charset is refused: some readers know "profile" or "boundary".
    """
    content_type = headers.get("content-type", "")
    if content_type == "application/json":
        return
    media_type, _, parameter = content_type.partition(";")
    media_type = media_type.strip(" \t").lower()
    if (media_type in _JSON or media_type in also) and parameter.strip(" \t").lower() in _UTF_8:
        return
    accepted = " or ".join(sorted(_JSON | also))
    raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"content-type must be {accepted}")


def refuse_body(request: AgentRequest) -> None:
    """Raise `Refusal` if the request has or announces a body: where none is read, an upstream gets none either."""
    fields = request.headers
    if request.body.size_hint or fields.get("content-length", "0") != "0" or "transfer-encoding" in fields:
        raise Refusal(ErrorCode.BAD_REQUEST, f"a {request.method} request must not have a body here")


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

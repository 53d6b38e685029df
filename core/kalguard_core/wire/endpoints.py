"""The endpoints of a protocol: one table that routes requests and that the documentation is made from.

Rules of this file: a path is the one in the table, letter by letter, or it is not found; nothing is folded,
trimmed or guessed. A query member that an endpoint does not name is refused, since the upstream would read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from msgspec import Struct

from ..codes import ErrorCode
from ..request import AgentRequest, Refusal
from .base import Endpoint, Route
from .headers import path_in_route, refuse_body, refuse_overrides
from .text import shown

_MAX_SEGMENT: Final = 256
_MAX_QUERY: Final = 2048
# What identifiers are made of (model names, ids of files and threads, Bedrock's model ids with a colon).
_SEGMENT: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:@+")
_ESCAPED: Final = frozenset({"3A", "40", "2B"})  # of these :@+, as some clients do
_QUERY_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._$[]")
_QUERY_VALUE: Final = _SEGMENT | frozenset("%/,!$'()*[]=")
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class _Template(Struct, frozen=True):
    """`segments`: text that must be equal, or the name of a parameter and the text after it."""

    segments: tuple[str | tuple[str, str], ...]
    methods: dict[str, Endpoint]


class Endpoints:
    """The endpoints of one protocol. `what` names it in errors: "model"."""

    def __init__(self, what: str, endpoints: Iterable[Endpoint]) -> None:
        self.all: Final = tuple(endpoints)
        self._what = what
        self._exact: dict[str, dict[str, Endpoint]] = {}
        templates: dict[str, dict[str, Endpoint]] = {}
        for endpoint in self.all:
            table = templates if "{" in endpoint.path else self._exact
            methods = table.setdefault(endpoint.path, {})
            if endpoint.method in methods:
                raise ValueError(f"{endpoint.method} {endpoint.path} is listed twice")
            methods[endpoint.method] = endpoint
        self._templates: dict[int, list[_Template]] = {}
        for path, methods in templates.items():
            segments = tuple(map(_segment, path.split("/")))
            self._templates.setdefault(len(segments), []).append(_Template(segments, methods))
        for alike in self._templates.values():
            alike.sort(key=_vagueness)
        # Where a path can end with a verb ("{model}:generateContent"), a name with a colon would be another's verb.
        self._verbs = "}:" in "".join(templates)
        self._plain = {
            endpoint.path: Route(endpoint.name, endpoint.capabilities, endpoint.body)
            for endpoint in self.all
            if endpoint.method == "POST" and not endpoint.query and not endpoint.upgrade and "{" not in endpoint.path
        }

    def route(self, request: AgentRequest) -> Route:
        """The route of a request. Raises `Refusal` NOT_FOUND, METHOD_NOT_ALLOWED or BAD_REQUEST."""
        path = path_in_route(request)
        headers = request.headers
        if request.method == "POST" and "?" not in request.path and "upgrade" not in headers:
            plain = self._plain.get(path or "")  # as most requests are
            if plain is not None:
                refuse_overrides(headers)
                return plain
        methods, parameters = self._find(path)
        if methods is None:
            raise Refusal(ErrorCode.NOT_FOUND, f"unknown {self._what} endpoint {shown(request.route_path, 128)}")
        endpoint = methods.get(request.method)
        if endpoint is None:
            allowed = ", ".join(sorted(methods))
            raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, f"{shown(path or '', 128)} is asked for with {allowed}")
        if ("upgrade" in headers) != endpoint.upgrade:
            problem = "only a protocol upgrade leads in here" if endpoint.upgrade else "no protocol upgrade here"
            raise Refusal(ErrorCode.BAD_REQUEST, problem)
        refuse_overrides(headers)
        if not endpoint.body:
            refuse_body(request)
        query = read_query(request.path.partition("?")[2], endpoint.query)
        return Route(endpoint.name, endpoint.capabilities, endpoint.body, parameters, query)

    def _find(self, path: str | None) -> tuple[Mapping[str, Endpoint] | None, Mapping[str, str]]:
        if path is None:
            return None, {}
        exact = self._exact.get(path)
        if exact is not None:
            return exact, {}
        segments = path.split("/")
        for template in self._templates.get(len(segments), ()):
            parameters = _match(template, segments)
            if parameters is not None:
                if self._verbs and ":" in "".join(parameters.values()):
                    break
                return template.methods, parameters
        return None, {}


def _segment(text: str) -> str | tuple[str, str]:
    if not text.startswith("{"):
        return text
    name, _, rest = text[1:].partition("}")
    return name, rest


def _vagueness(template: _Template) -> list[int]:
    """To sort by: what is said literally comes before a parameter with a verb, that before a parameter alone."""
    return [0 if isinstance(segment, str) else 2 - bool(segment[1]) for segment in template.segments]


def _match(template: _Template, segments: list[str]) -> dict[str, str] | None:
    parameters: dict[str, str] = {}
    for wanted, found in zip(template.segments, segments, strict=True):
        if isinstance(wanted, str):
            if wanted != found:
                return None
            continue
        name, suffix = wanted
        if not found.endswith(suffix):
            return None
        value = segment_value(found.removesuffix(suffix) if suffix else found)
        if value is None:
            return None
        parameters[name] = value
    return parameters


def segment_value(segment: str) -> str | None:
    """A path segment with its escapes decoded; None if it is no plain identifier.

    What needs no escape must have none: "%72uns" would be an id to us and the endpoint "runs" to the upstream.
    """
    if "%" in segment:
        if not all(piece[:2].upper() in _ESCAPED for piece in segment.split("%")[1:]):
            return None
        segment = unquote(segment)
    if not 0 < len(segment) <= _MAX_SEGMENT or not _SEGMENT.issuperset(segment) or segment.strip(".") == "":
        return None
    return segment


def escapes_are_whole(text: str) -> bool:
    """Whether each % is followed by two hexadecimal digits; what readers do about others differs."""
    return all(len(piece) >= 2 and _HEX.issuperset(piece[:2]) for piece in text.split("%")[1:])


def read_query(query: str, allowed: frozenset[str]) -> Mapping[str, str]:
    """The members of a query, decoded; those of a list ("include[]") joined by commas.

    Raises `Refusal` for names that are not `allowed`, or twice, or escaped.
    """
    if not query:
        return {}
    if not allowed:
        raise Refusal(ErrorCode.BAD_REQUEST, "a query string is not accepted here")
    if len(query) > _MAX_QUERY:
        raise Refusal(ErrorCode.BAD_REQUEST, f"the query is longer than {_MAX_QUERY} characters")
    members: dict[str, str] = {}
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        name = name.replace("%5B", "[").replace("%5D", "]")  # as SDKs write the names of lists
        if not name or not _QUERY_NAME.issuperset(name) or name not in allowed:
            names = ", ".join(sorted(allowed))
            raise Refusal(ErrorCode.BAD_REQUEST, f"the query member '{shown(name)}' is not accepted here ({names})")
        # Some readers split at ";" too, and read "a=b;c=d" as two members; some drop one without "=".
        if not equals or not _QUERY_VALUE.issuperset(value) or not escapes_are_whole(value):
            raise Refusal(ErrorCode.BAD_REQUEST, f"the query member '{shown(name)}' is malformed")
        if name in members and not name.endswith("[]"):
            raise Refusal(ErrorCode.BAD_REQUEST, f"the query member '{shown(name)}' appears twice")
        try:
            decoded = unquote_to_bytes(value.replace("+", " ")).decode("utf-8")
        except UnicodeDecodeError:
            raise Refusal(ErrorCode.BAD_REQUEST, f"the query member '{shown(name)}' is not UTF-8") from None
        if not decoded.isprintable():
            raise Refusal(ErrorCode.BAD_REQUEST, f"the query member '{shown(name)}' has control characters")
        members[name] = f"{members[name]},{decoded}" if name in members else decoded
    return members

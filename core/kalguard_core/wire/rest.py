"""Plain tools: REST requests that the tool catalog maps to a tool and its arguments.

Rules of this file: a request is the one tool that method, host and path name in the catalog (`tools.http_tools`), or
it is refused. Its arguments are all that the upstream could read as such: what stands in the path, the query and the
body, each name once, whatever its case; a body in a form that is not read here is refused. Then the call is judged as
any other, by policy and the tool's schema. Sources: RFC 3986, RFC 8259, RFC 7578, https://url.spec.whatwg.org.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..action import Action, Attribute
from ..codes import TOOL_EXECUTE, Capability, ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from ..tools.http_tools import NO_HTTP_TOOLS, Found, HttpTool, HttpTools
from .answers import plain_reply
from .base import Endpoint, Reading, Route
from .form import MEDIA_TYPE as FORM
from .form import read_form, require_form
from .headers import refuse_body, refuse_overrides, require_json
from .http import METHODS, names_method, upstream
from .json import JsonError, parse_json
from .media import is_text
from .multipart import MEDIA_TYPE as MULTIPART
from .multipart import Part, read_multipart
from .text import shown
from .tunnel import is_upgrade

_CAPABILITIES: Final = (Capability.TOOL_EXECUTE.value,)
_CALL: Final = Route("rest.call")
_BODILESS: Final = Route("rest.call", reads_body=False)
_NO_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# The letters that no framework gives a meaning of its own ("a[b]=1", "a.b=1" in some, " a=1").
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.$@~:")
_SEPARATORS: Final = str.maketrans({".": "_", " ": "_", "[": "_", "]": None})
_MAX_NODES: Final = 250_000
# JSON objects, with another meaning for the upstream and the same arguments for us.
_JSON_OBJECTS: Final = frozenset({"application/merge-patch+json", "application/vnd.api+json"})
# What clients declare that do not know what is in a file.
_UNDECLARED: Final = frozenset({"", "application/octet-stream"})
_SPACES: Final = str.maketrans("", "", "\t\r\n")
# Text that has one meaning as a number, and no more digits than all readers keep.
_INTEGER: Final = re.compile(r"(?:0|-?[1-9][0-9]{0,17})\Z")
_NUMBER: Final = re.compile(r"(?:0|-?[1-9][0-9]{0,14}|-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15})\Z")


class Rest:
    """REST APIs whose requests are tools of the catalog."""

    kind = "rest"
    title = "Plain tools (REST)"
    endpoints = (
        Endpoint(
            "any",
            "as the catalog says",
            "rest.call",
            "tool:execute",
            "method, host, path, query; JSON, form and multipart bodies",
            _CAPABILITIES,
        ),
    )
    refused = (
        ("a method, host or path that the catalog doesn't map", "nobody said what it is"),
        ("an argument in two places; two names of an object that differ by case only", "servers choose differently"),
        ("names such as `a[b]` that the schema doesn't have", "frameworks read them as parts of another argument"),
        ("names such as `a.b` outside of JSON that the schema doesn't have", "the same"),
        ("`_method` and the like, that the schema doesn't have", "the upstream could act on another method"),
        ("`;` in a path or query", "a parameter of a segment to some servers, a separator to others"),
        ("other bodies than JSON objects, forms and multipart; files that are no text", "they are not read"),
        ("a body with GET, HEAD or OPTIONS", "some servers read it, some don't"),
        ("protocol upgrades and CONNECT", "what is spoken afterwards is not known"),
    )
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """Always the same route; what the request is, only the catalog knows."""
        refuse_overrides(request.headers)
        if request.method == "CONNECT" or is_upgrade(request):
            raise Refusal(ErrorCode.POLICY_DENY, "tunnels and protocol upgrades are no tools")
        if request.method not in METHODS:
            raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "the HTTP method is not supported")
        return _BODILESS if request.method in _NO_BODY else _CALL

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """Without a catalog no request is a tool."""
        return self.read_with(request, route, body, NO_HTTP_TOOLS)

    def read_with(self, request: AgentRequest, route: Route, body: bytes, tools: HttpTools) -> Reading:
        """One `tool:execute` with the arguments of path, query and body."""
        name, port, path = upstream(request, arguments=True)
        if ";" in path or "%3B" in path:
            raise Refusal(ErrorCode.BAD_REQUEST, "the path has a parameter in a segment (;)")
        host = f"{name}:{port}" if port else name
        found = tools.find(request.method, host, path)
        if not isinstance(found, Found):
            if found:
                raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, f"{shown(path, 128)} is asked for with {_list(found)}")
            asked = f"the catalog has no http: entry for {request.method} {shown(host)}{shown(path)}"
            raise Refusal(ErrorCode.NOT_FOUND, "no tool is known for this path", detail=asked)
        if not route.reads_body:
            refuse_body(request)
        tool = found.tool
        arguments = _Arguments(tool)
        for key, value in found.parameters.items():
            arguments.text(key, value, "path")
        query = request.path.partition("?")[2]
        if query:
            for key, value in _query(query):
                arguments.text(key, value, "query")
        if body:
            _read_body(request.headers, body, arguments)
        attributes: dict[str, Attribute] = {
            "toolName": tool.name,
            "method": request.method,
            "host": name,
            "path": path,
        }
        if port:
            attributes["port"] = int(port)
        server = request.context.get("server")
        if server is not None:
            attributes["server"] = server
        action = Action(
            TOOL_EXECUTE,
            _CAPABILITIES,
            resource=tool.name,
            tool=tool.name,
            arguments=arguments.values,
            attributes=attributes,
        )
        return Reading((action,))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """Our own JSON answer."""
        return plain_reply(decision)


class _Arguments:
    """The arguments of one call, gathered from all places that can hold some."""

    __slots__ = ("_gathered", "_places", "_spelled", "_tool", "values")

    def __init__(self, tool: HttpTool) -> None:
        self.values: dict[str, Any] = {}
        self._tool = tool
        self._places: dict[str, str] = {}
        self._gathered: dict[str, list[Any]] = {}  # the arrays whose values come one by one
        self._spelled = {_folded(name): name for name in tool.declared}

    def text(self, name: str, value: str, place: str) -> None:
        """An argument that came as text, as the type that the schema wants if it is written exactly so."""
        if "." in name and name not in self._tool.declared:  # "a.b" is the member b of a to ASP.NET and Spring
            raise _bad(f"the argument '{shown(name)}' in the {place} is not accepted")
        if name in self._tool.arrays and place != "path":
            # Some servers split at commas, so that one value would be several.
            if "," in value:
                raise _bad(
                    f"the array '{shown(name)}' in the {place} has a comma: send each value as a member of its own"
                )
            item = _typed(value, self._tool.arrays[name])
            if self._places.get(_folded(name)) == place and name in self._gathered:
                self._gathered[name].append(item)
            else:
                self.add(name, [item], place)
                self._gathered[name] = self.values[name]
            return
        self.add(name, _typed(value, self._tool.types.get(name)), place)

    def add(self, name: str, value: Any, place: str) -> None:
        """An argument. Raises `Refusal` for a name that is there already, or that another reader could fold."""
        folded = _folded(name)
        if name not in self._tool.declared:
            if not name or not _NAME.issuperset(name) or names_method(name, value):
                raise _bad(f"the argument '{shown(name)}' in the {place} is not accepted")
            if folded in self._spelled:
                raise _bad(f"the argument '{shown(name)}' in the {place} is spelled {self._spelled[folded]}")
        if folded in self._places:
            where = self._places[folded]
            raise _bad(
                f"the argument '{shown(name)}' appears twice"
                + (
                    f" in the {place}, and is no array in the tool's schema"
                    if where == place
                    else f": in the {where} and in the {place}"
                )
            )
        self._places[folded] = place
        self.values[name] = value


def _bad(reason: str) -> Refusal:
    return Refusal(ErrorCode.BAD_REQUEST, reason)


def _list(methods: frozenset[str]) -> str:
    return ", ".join(sorted(methods))


def _folded(name: str) -> str:
    """What lenient readers make of a name: case is nothing to ASP.NET and Go, dots and spaces are "_" to PHP.

    "a.b" is "a[b]" to readers such as ASP.NET, and to `qs` with `allowDots`.
    """
    return name.strip().casefold().translate(_SEPARATORS)


def _query(query: str) -> tuple[tuple[str, str], ...]:
    try:
        return read_form(query.encode("utf-8", "surrogatepass"))
    except Refusal as refusal:
        raise Refusal(refusal.code, refusal.reason.replace("the form", "the query")) from None


def _read_body(headers: Mapping[str, str], body: bytes, arguments: _Arguments) -> None:
    media_type = headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
    if media_type == FORM:
        require_form(headers)
        for name, value in read_form(body):
            arguments.text(name, value, "form")
    elif media_type == MULTIPART:
        for part in read_multipart(headers, body):
            if part.filename is None and part.media_type in ("", "text/plain"):
                arguments.text(part.name, part.text(), "form")
            else:
                arguments.add(part.name, _file(part), "form")
    elif media_type == "application/json" or media_type in _JSON_OBJECTS:
        require_json(headers, _JSON_OBJECTS)
        try:
            document = parse_json(body, max_nodes=_MAX_NODES)
        except JsonError as error:
            raise _bad(f"the body is not valid JSON: {error}") from None
        if type(document) is not dict:
            raise _bad("the body must be a JSON object")
        _refuse_alike(document.values())
        for name, value in document.items():
            arguments.add(name, value, "body")
    else:
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"content-type must be application/json, {FORM} or {MULTIPART}")


def _refuse_alike(values: Iterable[Any]) -> None:
    """Raise `Refusal` for two names that differ by case only in one object: lenient readers take them for one."""
    waiting = list(values)
    for value in waiting:  # grows while it is read
        if type(value) is dict:
            if len(value) > 1 and len(set(map(str.casefold, value))) != len(value):
                raise _bad("two names in one object of the body differ by case only")
            waiting += value.values()
        elif type(value) is list:
            waiting += value


def _file(part: Part) -> Any:
    """A file, as the schema sees it. Raises `Refusal` (415) for one that is no text."""
    if part.media_type == "application/json" and part.filename is None:
        try:
            document = parse_json(part.data, max_nodes=_MAX_NODES)
        except JsonError as error:
            raise _bad(f"the part '{shown(part.name)}' is not valid JSON: {error}") from None
        _refuse_alike([document])
        return document
    if not is_text(part.media_type) and not (part.media_type in _UNDECLARED and _is_plain(part.data)):
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"the part '{shown(part.name)}' is a file that is no text")
    return {"filename": part.filename or "", "contentType": part.media_type, "text": part.text()}


def _is_plain(data: bytes) -> bool:
    """Whether a file is text, although nobody says so."""
    try:
        return data.decode("utf-8").translate(_SPACES).isprintable()
    except UnicodeDecodeError:
        return False


def _typed(value: str, wanted: str | None) -> Any:
    """Text as the type that the schema wants, if that is exactly what is written; else the text itself."""
    if wanted == "integer" and _INTEGER.match(value):
        return int(value)
    if wanted == "number" and _NUMBER.match(value):
        number = float(value)
        return int(value) if "." not in value else number if math.isfinite(number) else value
    if wanted == "boolean" and value in ("true", "false"):
        return value == "true"
    return value

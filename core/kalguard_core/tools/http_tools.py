"""REST APIs as tools: which method, host and path template is which tool of the catalog.

Rules of this file: a request is at most one tool. A template is a path in its plainest form (`wire.address`), whose
segments are literal or `{name}`; of two that fit, the one with the literal segment is meant, and two templates where
neither says more are an error of the document. Nothing is folded: another case is another path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from msgspec import Struct

from ..documents import Document, Path, StrictModel
from ..request import Refusal
from ..wire.address import read_host, read_path

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_MAX_SEGMENTS: Final = 32
# Types of JSON Schema that text can be of.
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean"})


class HttpDocument(StrictModel):
    """One entry of a tool's `http`."""

    method: str
    host: str
    path: str


class HttpTool(Struct, frozen=True):
    """A tool and what its schema says about its arguments: their names, and the types of those that have one.

    `declared`: the names. `types`: "integer", "number", "boolean" or "string"; other types are not in it. `arrays`:
    the type of the items of each array, "" if it is none of these.
    """

    name: str
    declared: frozenset[str]
    types: Mapping[str, str]
    arrays: Mapping[str, str] = {}


class Found(Struct, frozen=True):
    """A request that is a tool. `parameters`: the arguments in its path, decoded."""

    tool: HttpTool
    parameters: Mapping[str, str]


class Mapped(Struct, frozen=True):
    """A method, host and template. `segments`: text, or in a tuple the name of a parameter."""

    method: str
    host: str
    segments: tuple[str | tuple[str], ...]
    tool: HttpTool
    place: Path


class HttpTools:
    """All mappings of a catalog. Immutable."""

    __slots__ = ("_mappings",)

    def __init__(self, mappings: Iterable[Mapped] = ()) -> None:
        self._mappings: dict[tuple[str, int], list[Mapped]] = {}
        for mapping in mappings:
            self._mappings.setdefault((mapping.host, len(mapping.segments)), []).append(mapping)
        for group in self._mappings.values():
            group.sort(key=lambda mapping: sum(type(segment) is tuple for segment in mapping.segments))

    def __bool__(self) -> bool:
        return bool(self._mappings)

    def find(self, method: str, host: str, path: str) -> Found | frozenset[str]:
        """The tool of a request, or the methods that the path has (none: nobody mapped it).

        `host` (with its port, if it has one) and `path` as `wire.address` reads them.
        """
        segments = path.split("/")
        methods: set[str] = set()
        for mapping in self._mappings.get((host, len(segments)), ()):
            parameters = _match(mapping.segments, segments)
            if parameters is None:
                continue
            if mapping.method == method:
                return Found(mapping.tool, parameters)
            methods.add(mapping.method)
        return frozenset(methods)


NO_HTTP_TOOLS: Final = HttpTools()


def read_mappings(
    document: Document, place: Path, name: str, schema: Mapping[str, Any] | None, entries: Iterable[HttpDocument]
) -> list[Mapped]:
    """The mappings of one tool; `place` is that of its `http`. Raises `documents.DocumentError`."""
    several = isinstance(_at(document.value, place), list)
    tool = _tool(name, schema)
    return [
        _mapping(document, (*place, index) if several else place, tool, entry) for index, entry in enumerate(entries)
    ]


def build(document: Document, mappings: Iterable[Mapped]) -> HttpTools:
    """The table. Raises `documents.DocumentError` for a request that could be two tools."""
    seen: dict[tuple[str, str, int], list[Mapped]] = {}
    kept = list(mappings)
    for mapping in kept:
        rivals = seen.setdefault((mapping.method, mapping.host, len(mapping.segments)), [])
        for rival in rivals:
            if _ambiguous(mapping.segments, rival.segments):
                raise document.error(
                    (*mapping.place, "path"),
                    f"a request could be this tool or {rival.tool.name} (line {document.line(rival.place)}), and "
                    "neither template says more than the other",
                )
        rivals.append(mapping)
    return HttpTools(kept)


def _mapping(document: Document, place: Path, tool: HttpTool, entry: HttpDocument) -> Mapped:
    if entry.method not in METHODS:
        raise document.error((*place, "method"), f"must be one of {', '.join(METHODS)}")
    try:
        name, port = read_host(entry.host)
    except Refusal:
        raise document.error((*place, "host"), "must be a host, or host:port") from None
    host = f"{name}:{port}" if port else name
    if host != entry.host:
        raise document.error((*place, "host"), f"must be written as {host}")
    segments: list[str | tuple[str]] = []
    names: set[str] = set()
    for text in entry.path.split("/"):
        if "{" not in text and "}" not in text:
            segments.append(text)
            continue
        parameter = text[1:-1]
        if text[0] != "{" or text[-1] != "}" or not parameter or not _NAME.issuperset(parameter):
            raise document.error((*place, "path"), "a parameter is a whole segment: {name}")
        if parameter in names:
            raise document.error((*place, "path"), f"the parameter {parameter} appears twice")
        if tool.declared and parameter not in tool.declared:
            raise document.error((*place, "path"), f"the schema has no argument {parameter}")
        names.add(parameter)
        segments.append((parameter,))
    plain = "/".join("x" if isinstance(segment, tuple) else segment for segment in segments)
    try:
        if read_path(plain) != plain or ";" in plain or "?" in plain or len(segments) > _MAX_SEGMENTS:
            raise document.error(
                (*place, "path"), "must be in its plainest form: no query, no `;`, no needless escapes"
            )
    except Refusal as refusal:
        raise document.error((*place, "path"), refusal.reason) from None
    return Mapped(entry.method, host, tuple(segments), tool, place)


def _tool(name: str, schema: Mapping[str, Any] | None) -> HttpTool:
    """What a schema of either form says about the arguments by name, at its top level."""
    properties: Any = schema or {}
    if not all(map(_is_flat, properties.values())):
        properties = properties.get("properties", {})
    types = {
        key: value["type"]
        for key, value in properties.items()
        if isinstance(value, dict) and isinstance(value.get("type"), str) and value["type"] in _SCALARS
    }
    arrays = {
        key: _item_type(value.get("items"))
        for key, value in properties.items()
        if isinstance(value, dict) and value.get("type") == "array"
    }
    return HttpTool(name, frozenset(properties), types, arrays)


def _item_type(items: Any) -> str:
    found = items.get("type") if isinstance(items, dict) else None
    return found if isinstance(found, str) and found in _SCALARS else ""


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and "type" in value and value.keys() <= {"type", "required"}


def _at(value: Any, place: Path) -> Any:
    for part in place:
        value = value[part]
    return value


def _match(template: tuple[str | tuple[str], ...], segments: list[str]) -> dict[str, str] | None:
    parameters: dict[str, str] = {}
    for wanted, found in zip(template, segments, strict=True):
        if type(wanted) is str:
            if wanted != found:
                return None
        elif not found:
            return None
        else:
            parameters[wanted[0]] = unquote(found)
    return parameters


def _ambiguous(one: tuple[str | tuple[str], ...], other: tuple[str | tuple[str], ...]) -> bool:
    """Whether a path fits both and neither is the more literal one in all segments."""
    more = less = False
    for left, right in zip(one, other, strict=True):
        if isinstance(left, str) and isinstance(right, str):
            if left != right:
                return False
        elif isinstance(left, str):
            more = True
        elif isinstance(right, str):
            less = True
    return more == less

"""The tool catalog: which tools exist for agents, what their arguments look like, how often they may be called.

Rules of this file: a tool that isn't listed is denied; `deny` wins over `tools`. Names are compared exactly, case
included; only `deny` takes wildcards. The order of the checks is fixed: deny list, allowlist, schema, commands.
What the agent is told never holds more than the kind of refusal; the operator's `detail` names paths and
rules, never an argument's value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import jsonschema_rs
from pydantic import Field

from ..codes import Capability
from ..documents import Document, Path, StrictModel
from ..limits import Limit
from .commands import CommandDenylist, command_denylist
from .http_tools import NO_HTTP_TOOLS, HttpDocument, HttpTools, Mapped, build, read_mappings
from .schema import ArgumentSchema, compile_schema

NOT_LISTED: Final = "tool not on allowlist"
SCHEMA_FAILED: Final = "argument schema validation failed"
COMMAND_FOUND: Final = "command denylist matched"
DENY_LISTED: Final = "tool is on the deny list"

# The schema engine recurses, and no exception reports the end of its stack. Readers of JSON stop earlier than this.
MAX_NESTING: Final = 256
_CONTAINERS: Final = frozenset((dict, list, tuple))
_MINUTE: Final = 60.0
_CAPABILITY: Final[Mapping[str, str]] = {
    "read": str(Capability.TOOL_READ),
    "write": str(Capability.TOOL_WRITE),
    "execute": str(Capability.TOOL_EXECUTE),
}
# Of a tool's name in `detail`, and of a path in the arguments: both are the agent's text.
_SHOWN: Final = 120


@dataclass(frozen=True, slots=True)
class ToolRefusal:
    """Why a tool call is denied. `reason` is for the agent; `detail` for the operator, without argument values."""

    reason: str
    detail: str


class _ToolDocument(StrictModel):
    description: str = ""
    # `schema` is a method of pydantic's models
    arguments: dict[str, Any] | None = Field(default=None, alias="schema")
    access: Literal["read", "write", "execute"] = "execute"
    rate_limit: int | None = Field(default=None, alias="rateLimit", ge=1)
    command_check: bool = Field(default=True, alias="commandCheck")
    http: HttpDocument | Annotated[list[HttpDocument], Field(min_length=1)] | None = None


class _NamedToolDocument(_ToolDocument):
    name: str


class _CatalogDocument(StrictModel):
    version: str | None = None
    deny: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    agent_rate_limit: int | None = Field(default=None, alias="agentRateLimit", ge=1)


class _MappedCatalog(_CatalogDocument):
    tools: dict[str, _ToolDocument]


class _ListedCatalog(_CatalogDocument):
    tools: list[_NamedToolDocument]


@dataclass(frozen=True, slots=True)
class _Tool:
    capability: str
    schema: ArgumentSchema | None
    rate_limit: int | None
    commands: CommandDenylist | None
    denied: bool


class ToolCatalog:
    """The tools that agents may call. Immutable; a reload makes a new one.

    `http`: which requests of plain HTTP are calls of which tool.
    """

    __slots__ = ("_agent_rate_limit", "_deny", "_origin", "_tools", "http", "version")

    def __init__(
        self,
        tools: Mapping[str, _Tool],
        deny: tuple[str, ...],
        agent_rate_limit: int | None,
        version: str,
        origin: tuple[str, str] | None = None,
        http: HttpTools = NO_HTTP_TOOLS,
    ) -> None:
        self._tools = tools
        self._deny = deny
        self._agent_rate_limit = agent_rate_limit
        self._origin = origin
        self.http = http
        self.version = version

    def __reduce__(self) -> tuple[Any, ...]:
        # compiled schemas can't be pickled; the document says the same
        return (ToolCatalog.empty, ()) if self._origin is None else (ToolCatalog.parse, self._origin)

    @classmethod
    def empty(cls) -> ToolCatalog:
        """A catalog without tools: every call is denied."""
        return cls({}, (), None, "")

    @classmethod
    def parse(cls, text: str, source: str) -> ToolCatalog:
        """Read a catalog document (YAML or JSON). `source` is the name that errors show.

        Raises `documents.DocumentError` with line and field for the first thing that is wrong.
        """
        document = Document(text, source)
        listed = isinstance(document.value, dict) and isinstance(document.value.get("tools"), list)
        catalog: _MappedCatalog | _ListedCatalog
        entries: list[tuple[str, Path, _ToolDocument]]
        if listed:
            catalog = document.parse(_ListedCatalog)
            entries = [(tool.name, ("tools", index), tool) for index, tool in enumerate(catalog.tools)]
        else:
            catalog = document.parse(_MappedCatalog)
            entries = [(name, ("tools", name), tool) for name, tool in catalog.tools.items()]
        deny = tuple(catalog.deny)
        tools: dict[str, _Tool] = {}
        mapped: list[Mapped] = []
        for name, path, tool in entries:
            problem = _name_problem(name) or ("the tool is listed twice" if name in tools else "")
            if problem:
                raise document.error((*path, "name") if listed else path, problem)
            tools[name] = _Tool(
                capability=_CAPABILITY[tool.access],
                schema=None if tool.arguments is None else compile_schema(document, (*path, "schema"), tool.arguments),
                rate_limit=tool.rate_limit,
                commands=command_denylist() if tool.command_check else None,
                denied=any(matches(pattern, name) for pattern in deny),
            )
            if tool.http is not None:
                requests = tool.http if isinstance(tool.http, list) else [tool.http]
                mapped += read_mappings(document, (*path, "http"), name, tool.arguments, requests)
        version = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return cls(tools, deny, catalog.agent_rate_limit, version, (text, source), build(document, mapped))

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that may be called, in the order of the document (those on the deny list left out)."""
        return tuple(name for name, tool in self._tools.items() if not tool.denied)

    def capability(self, tool: str) -> str:
        """The capability that a call of `tool` needs; tool:execute for a tool that the catalog doesn't know."""
        entry = self._tools.get(tool)
        return _CAPABILITY["execute"] if entry is None else entry.capability

    def mediate(self, tool: str, arguments: Mapping[str, Any]) -> ToolRefusal | None:
        """Judge one call. None lets it pass; nothing is counted here (see `limits`)."""
        entry = self._tools.get(tool)
        if entry is None:
            return self._unlisted(tool)
        if entry.denied:
            return ToolRefusal(DENY_LISTED, f"tool {shown(tool)} matches `deny`")
        if not _shallow(arguments):
            return ToolRefusal(SCHEMA_FAILED, f"arguments: nested deeper than {MAX_NESTING}")
        if entry.schema is not None and not _valid(entry.schema, arguments):
            return ToolRefusal(SCHEMA_FAILED, _schema_detail(entry.schema, arguments))
        if entry.commands is None:
            return None
        finding = entry.commands.find(arguments)
        return None if finding is None else ToolRefusal(COMMAND_FOUND, finding.describe())

    def limits(self, agent_id: str, tool: str, agent_limit: int | None) -> tuple[Limit, ...]:
        """What one call of `tool` counts against, per minute.

        `agent_limit`: calls a minute for one agent over all tools, from the settings; the catalog's
        `agentRateLimit` can only lower it.
        """
        overall = self._agent_rate_limit
        if agent_limit is not None:
            overall = agent_limit if overall is None else min(overall, agent_limit)
        entry = self._tools.get(tool)
        per_tool = None if entry is None else entry.rate_limit
        if overall is None and per_tool is None:
            return ()
        limits = [] if overall is None else [Limit(f"tool-agent:{agent_id}", overall, _MINUTE)]
        if per_tool is not None:
            # The length says where the agent's name ends: "a:b" + "c" and "a" + "b:c" are two keys.
            limits.append(Limit(f"tool:{len(agent_id)}:{agent_id}:{tool}", per_tool, _MINUTE))
        return tuple(limits)

    def _unlisted(self, tool: str) -> ToolRefusal:
        # Refused in any case: a long name isn't worth the matching.
        if len(tool) <= 256 and any(matches(pattern, tool) for pattern in self._deny):
            return ToolRefusal(DENY_LISTED, f"tool {shown(tool)} matches `deny`")
        return ToolRefusal(NOT_LISTED, f"tool {shown(tool)} is not in the catalog")


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is `pattern`, in which each `*` stands for any characters. Case-sensitive."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == first
    last = rest.pop()
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    position, end = len(first), len(name) - len(last)
    for part in rest:
        position = name.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


def shown(text: str) -> str:
    """The agent's text for an operator's eyes: quoted, without control characters, cut."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return ascii(cut) if not cut.isprintable() else repr(cut)


def _name_problem(name: str) -> str:
    if not name or name != name.strip() or not name.isprintable():
        return "a tool's name must be printable text without spaces around it"
    if "*" in name:
        return "names in `tools` are exact; wildcards are for `deny` only"
    return ""


def _shallow(arguments: Mapping[str, Any]) -> bool:
    if _CONTAINERS.isdisjoint(map(type, arguments.values())):
        return True
    level: list[Any] = [value for value in arguments.values() if type(value) in _CONTAINERS]
    for _ in range(MAX_NESTING):
        if not level:
            return True
        level = [
            value
            for container in level
            for value in (container.values() if type(container) is dict else container)
            if type(value) in _CONTAINERS
        ]
    return False


def _valid(schema: ArgumentSchema, arguments: Mapping[str, Any]) -> bool:
    try:
        return schema.is_valid(arguments if type(arguments) is dict else dict(arguments))
    except (ValueError, TypeError, RecursionError):
        return False  # something that JSON can't hold, or too deep: not valid


def _schema_detail(schema: ArgumentSchema, arguments: Mapping[str, Any]) -> str:
    try:
        schema.validate(dict(arguments))
    except jsonschema_rs.ValidationError as error:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        rule = "/".join(str(part) for part in error.schema_path)
        return f"arguments{shown(where)[1:-1]}: rule {rule}"
    except (ValueError, TypeError, RecursionError):
        return "arguments: not JSON, or nested too deeply"
    return "arguments: not valid"

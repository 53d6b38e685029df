"""Tools in a request of OpenAI's APIs: those that the agent runs are offered, all others the vendor runs.

Rules of this file: only `function` and `custom` are the agent's own. Every other type acts where no gate of ours
stands, or drives a shell or a screen, so it is a hosted tool that a rule has to name. What a hosted tool is given
of the vendor's store (files, vector stores, containers, connectors) is a reference each.
Sources: `ToolParam` of the official SDK; Mistral's `*Tool` and `CustomConnector`.
"""

from __future__ import annotations

from typing import Any, Final

from .openai_parts import read_image
from .prompt import BodyError, Prompt
from .text import Place

# One name for what the vendors call by several; a version at the end is cut off before this.
_CANONICAL: Final = {
    "bash": "shell",
    "browser_search": "web_search",
    "code_execution": "code_interpreter",
    "computer": "computer_use",
    "computer_use_preview": "computer_use",
    "connector": "mcp",
    "document_library": "file_search",
    "live_search": "web_search",
    "local_shell": "shell",
    "retrieval": "file_search",
    "web_search_premium": "web_search",
    "web_search_preview": "web_search",
}
_KEYS: Final = frozenset({"type", "function", "custom", "name", "tools", "server_url"})
# Members of a tool's settings that point into the vendor's store, and what they point at.
_REFERENCES: Final = {
    "agent_id": "agent",
    "connector_id": "connector",
    "container": "container",
    "container_id": "container",
    "file_id": "file",
    "file_ids": "file",
    "library_ids": "library",
    "skill_id": "skill",
    "tunnel_id": "tunnel",
    "vector_store_ids": "vector_store",
}
_MAX_NESTED: Final = 1000
# In the names of models that search by themselves.
_SEARCHING: Final = ("-search-preview", "-search-api", "deep-research")
# Gateways to Gemini take a tool of Google's by its name alone, also beside a function (folded here).
_GOOGLES: Final = frozenset(
    {
        "codeexecution",
        "computeruse",
        "enterprisewebsearch",
        "googlemaps",
        "googlesearch",
        "googlesearchretrieval",
        "urlcontext",
    }
)


def read_tools(prompt: Prompt, tools: Any, place: Place) -> None:
    """The list of tools at `place`. Raises `BodyError`."""
    if type(tools) is not list:
        raise BodyError(place, "must be a list")
    own = 0
    for index, tool in enumerate(tools):
        if type(tool) is not dict:
            raise BodyError((*place, index), "must be an object")
        kind = tool.get("type")
        if type(kind) is not str:
            raise BodyError((*place, index, "type"), "must be a string")
        if not _KEYS.issuperset(tool):
            _refuse_variants(tool, (*place, index))
        if kind == "function" or kind == "custom":
            inner = tool.get(kind)
            prompt.offer(inner.get("name") if type(inner) is dict else tool.get("name"))
            own += 1
        elif kind == "namespace":
            _read_namespace(prompt, tool, (*place, index))
        else:
            host_tool(prompt, kind, tool, (*place, index))
    if own == len(tools):
        prompt.tools(tools, place)
        return
    for index, tool in enumerate(tools):
        if tool["type"] == "function" or tool["type"] == "custom":
            prompt.rest("tool", tool, (*place, index))


def read_model(prompt: Prompt) -> None:
    """What the model does besides answering, where its name says so: it searches, runs code, has a stored prompt."""
    model = prompt.model or ""
    name = model.casefold().rpartition("/")[2]
    if name.startswith("sonar") or ":online" in name or any(mark in name for mark in _SEARCHING):
        prompt.host("web_search", {"model": model}, ())
    if name.startswith("compound"):
        prompt.host("web_search", {"model": model}, ())
        prompt.host("code_interpreter", {"model": model}, ())
    if "@preset/" in model:
        prompt.refer("preset", model.partition("@preset/")[2], ("model",))


def read_functions(prompt: Prompt, functions: Any, place: Place) -> None:
    """The older list of functions, without types."""
    if type(functions) is not list:
        raise BodyError(place, "must be a list")
    for function in functions:
        prompt.offer(function.get("name") if type(function) is dict else None)
    prompt.rest("tool", functions, place)


def host_tool(prompt: Prompt, kind: str, tool: dict[str, Any], place: Place, *, url: Any = None) -> None:
    """A tool that the vendor runs, with what its settings point at."""
    name = _canonical(kind)
    if name == "mcp" and url is None:
        url = tool.get("server_url")
    prompt.host(name, tool, place, url=url)
    read_references(prompt, tool, place)


def read_references(prompt: Prompt, settings: Any, place: Place) -> None:
    """Everything in the settings of a hosted tool that points into the vendor's store."""
    waiting: list[tuple[Any, Place]] = [(settings, place)]
    for value, where in waiting:  # grows while it is read
        if len(waiting) > _MAX_NESTED:
            raise BodyError(place, "is too large for the settings of a tool")
        if type(value) is list:
            waiting.extend((member, (*where, index)) for index, member in enumerate(value))
        if type(value) is not dict:
            continue
        for key, member in value.items():
            here = (*where, key)
            kind = _REFERENCES.get(key)
            if kind is not None and type(member) is str:
                prompt.refer(kind, member, here)
            elif kind is not None and type(member) is list and key.endswith("_ids"):
                for index, identifier in enumerate(member):
                    prompt.refer(kind, identifier, (*here, index))
            elif key == "data" and type(member) is str and "media_type" in value:  # an archive of skills
                prompt.attach(value["media_type"], member, here)
            elif key == "input_image_mask" and type(member) is dict:
                read_image(prompt, member, here)
            elif type(member) is dict or type(member) is list:
                waiting.append((member, here))


def _canonical(kind: str) -> str:
    name = kind.rstrip("0123456789_-") if kind[-1:].isdigit() else kind
    return _CANONICAL.get(name, name or kind)


def _read_namespace(prompt: Prompt, namespace: dict[str, Any], place: Place) -> None:
    tools = namespace.get("tools")
    if type(tools) is not list:
        raise BodyError((*place, "tools"), "must be a list")
    for index, tool in enumerate(tools):
        if type(tool) is not dict or tool.get("type") not in ("function", "custom"):
            raise BodyError((*place, "tools", index), "must be a function or a custom tool")
        _refuse_variants(tool, (*place, "tools", index))
        inner = tool.get(tool["type"])
        prompt.offer(inner.get("name") if type(inner) is dict else tool.get("name"))
    prompt.rest("tool", namespace, place)


def _refuse_variants(tool: dict[str, Any], place: Place) -> None:
    for key in tool:
        if key not in _KEYS and key.casefold() in _KEYS:
            raise BodyError((*place, key), f"is not a known member (did you mean {key.casefold()!r}?)")
        if key.replace("_", "").casefold() in _GOOGLES:
            raise BodyError((*place, key), "is not supported: it is a tool of its own")

"""The body of OpenAI's Responses API: its input items, instructions, tools, and what it refers to.

Rules of this file: an item is what its `type` says, and an item of an unknown type is refused. What the vendor
keeps, or has compacted and sealed, is a reference: nobody here can read it. Sealed thoughts are letters.
Source: `ResponseCreateParams` and `ResponseInputItemParam` of the official SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..action import Action
from .base import Route
from .members import objects
from .openai_chat import MEMBERS, limit_of, model_of, read_members, stream_of
from .openai_parts import read_content, read_part, refuse_media, unsupported
from .openai_tools import read_model, read_references, read_tools
from .prompt import BodyError, Prompt
from .text import Place, shown

_ROLES: Final = frozenset({"system", "developer", "user", "assistant"})
_MESSAGE_KEYS: Final = frozenset({"type", "role", "content"})
_SEALED: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+/=")


def read_responses(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """The actions of a response that is asked for, or compacted."""
    prompt, stream = _gather(provider, document, route)
    if document.get("store") is True:
        return prompt.actions(stream=stream, max_tokens=limit_of(document), store=True)
    return prompt.actions(stream=stream, max_tokens=limit_of(document))


def read_count(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """The actions of a count of tokens."""
    prompt, _ = _gather(provider, document, route)
    return prompt.actions("llm:count")


def read_items_body(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """The actions of items that are put into a conversation: a new one, or the one in the path."""
    prompt = Prompt(provider, None)
    if "conversation" in route.parameters:
        prompt.refer("conversation", route.parameters["conversation"], ())
    items = document.get("items")
    if items is not None:
        read_input(prompt, items, ("items",))
    prompt.others(document, frozenset({"items"}), ())
    return prompt.actions()


def read_input(prompt: Prompt, value: Any, place: Place) -> None:
    """An input: a text of the user, or a list of items. Raises `BodyError`."""
    if type(value) is str:
        prompt.message_count += 1
        prompt.say("user", value, place)
        return
    for item, here in objects(value, place, "must be a string or a list of items"):
        prompt.message_count += 1
        kind = item.get("type")
        if kind is None:
            kind = "message" if "role" in item else "item_reference"
        if kind == "message":
            _read_message(prompt, item, here)
            continue
        if type(kind) is not str:
            raise BodyError((*here, "type"), "must be a string")
        reader = _ITEMS.get(kind)
        if reader is None:
            raise unsupported(kind, here)
        known = reader(prompt, item, here)
        refuse_media(item, known, here)
        prompt.others(item, known, here, "tool" if reader is _tool_item else "unread")


def _gather(provider: str, document: dict[str, Any], route: Route) -> tuple[Prompt, bool]:
    # A stored prompt brings a model of its own.
    prompt = Prompt(provider, model_of(document, route, required=document.get("prompt") is None))
    read_model(prompt)
    instructions = document.get("instructions")
    if type(instructions) is str:
        prompt.say("system", instructions, ("instructions",))
    elif instructions is not None:
        read_input(prompt, instructions, ("instructions",))
    value = document.get("input")
    if value is not None:
        read_input(prompt, value, ("input",))
    stream = stream_of(document)
    read_members(prompt, document, _MEMBERS, _KNOWN)
    return prompt, stream


def _read_message(prompt: Prompt, item: dict[str, Any], place: Place) -> None:
    role = item.get("role")
    if type(role) is not str:
        raise BodyError((*place, "role"), "must be a string")
    if role not in _ROLES:
        raise BodyError((*place, "role"), f"'{shown(role)}' is not a known role")
    content = item.get("content")
    if type(content) is str:
        prompt.say(role, content, (*place, "content"))
    elif content != [] or role != "assistant":
        read_content(prompt, content, role, (*place, "content"))
    if not _MESSAGE_KEYS.issuperset(item):
        refuse_media(item, _MESSAGE_KEYS, place)
        prompt.others(item, _MESSAGE_KEYS, place)


def read_stored_prompt(prompt: Prompt, value: Any, place: Place) -> None:
    """A prompt that the vendor keeps, and what is put into it."""
    if type(value) is not dict:
        raise BodyError(place, "must be an object")
    prompt.refer("prompt", value.get("id"), (*place, "id"))
    variables = value.get("variables")
    if variables is not None:
        here = (*place, "variables")
        if type(variables) is not dict:
            raise BodyError(here, "must be an object")
        for name, variable in variables.items():
            if type(variable) is str:
                prompt.say("user", variable, (*here, name))
            else:
                read_part(prompt, variable, "user", (*here, name))
        prompt.others(variables, frozenset(variables), here)
    prompt.others(value, frozenset({"id", "variables"}), place)


def _read_previous(prompt: Prompt, value: Any, place: Place) -> None:
    prompt.refer("response", value, place)


def _read_conversation(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is dict:
        prompt.refer("conversation", value.get("id"), (*place, "id"))
        prompt.others(value, frozenset({"id"}), place)
    else:
        prompt.refer("conversation", value, place)


# Items. Each reader answers the names that it has read.
_ItemReader = Callable[[Prompt, dict[str, Any], Place], frozenset[str]]


def _tool_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    """A call or a result that is text all over: `others` reads it as that of a tool."""
    return frozenset({"type"})


def _result_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    output = item.get("output")
    if output is not None and output != []:
        read_content(prompt, output, "tool", (*place, "output"))
    return frozenset({"type", "output"})


def _screenshot_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    read_part(prompt, item.get("output"), "tool", (*place, "output"))
    return frozenset({"type", "output"})


def _reference_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    prompt.refer("item", item.get("id"), (*place, "id"))
    return frozenset({"type", "id"})


def _reasoning_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    prompt.rest("assistant", item.get("summary"), (*place, "summary"))
    prompt.rest("assistant", item.get("content"), (*place, "content"))
    prompt.rest("assistant", item.get("encrypted_content"), (*place, "encrypted_content"))
    return frozenset({"type", "summary", "content", "encrypted_content"})


def _compaction_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    sealed = item.get("encrypted_content")
    if type(sealed) is not str or not _SEALED.issuperset(sealed):
        raise BodyError((*place, "encrypted_content"), "must be what the vendor has encrypted")
    prompt.refer("compaction", "encrypted", (*place, "encrypted_content"))
    return frozenset({"type", "encrypted_content"})


def _search_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    prompt.rest("document", item.get("results"), (*place, "results"))
    return frozenset({"type", "results"})


def _image_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    image = item.get("result")
    if image is None:
        prompt.refer("image", item.get("id"), (*place, "id"))
    else:
        output = item.get("output_format")
        prompt.attach(None if type(output) is not str else f"image/{output}", image, (*place, "result"))
    return frozenset({"type", "result"})


def _code_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    outputs = item.get("outputs")
    if type(outputs) is list:
        for index, output in enumerate(outputs):
            if type(output) is dict and output.get("type") == "image":
                prompt.attach_url(output.get("url"), (*place, "outputs", index, "url"), kind="image/*")
    read_references(prompt, item, place)
    return frozenset({"type"})


def _shell_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    prompt.rest("tool", item, place)
    read_references(prompt, item.get("environment"), (*place, "environment"))
    return frozenset(item)


def _tools_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    read_tools(prompt, item.get("tools"), (*place, "tools"))
    return frozenset({"type", "tools"})


def _approval_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    """What lets the vendor make a call that it has asked about."""
    if item.get("approve") is not False:
        prompt.host("mcp", item, place)
    return frozenset({"type"})


def _plain_item(prompt: Prompt, item: dict[str, Any], place: Place) -> frozenset[str]:
    return frozenset({"type"})


_ITEMS: Final[dict[str, _ItemReader]] = {
    "additional_tools": _tools_item,
    "apply_patch_call": _tool_item,
    "apply_patch_call_output": _tool_item,
    "code_interpreter_call": _code_item,
    "compaction": _compaction_item,
    "compaction_summary": _compaction_item,
    "compaction_trigger": _plain_item,
    "computer_call": _tool_item,
    "computer_call_output": _screenshot_item,
    "configuration_update": _plain_item,
    "custom_tool_call": _tool_item,
    "custom_tool_call_output": _result_item,
    "file_search_call": _search_item,
    "function_call": _tool_item,
    "function_call_output": _result_item,
    "image_generation_call": _image_item,
    "item_reference": _reference_item,
    "local_shell_call": _tool_item,
    "local_shell_call_output": _result_item,
    "mcp_approval_request": _tool_item,
    "mcp_approval_response": _approval_item,
    "mcp_call": _tool_item,
    "mcp_list_tools": _tool_item,
    "program": _tool_item,
    "program_output": _tool_item,
    "reasoning": _reasoning_item,
    "shell_call": _shell_item,
    "shell_call_output": _tool_item,
    "tool_search_call": _tool_item,
    "tool_search_output": _tools_item,
    "web_search_call": _tool_item,
}

_MEMBERS: Final[dict[str, Callable[[Prompt, Any, Place], None] | None]] = {
    **MEMBERS,
    "input": None,
    "instructions": None,
    "previous_response_id": _read_previous,
    "conversation": _read_conversation,
    "prompt": read_stored_prompt,
}
_KNOWN: Final = frozenset(_MEMBERS)

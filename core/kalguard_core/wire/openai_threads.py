"""Bodies of OpenAI's Assistants API: assistants, threads, messages, runs.

Rules of this file: a text that is put into a thread is a prompt, also before a run reads it; a thread or an
assistant that the vendor keeps is a reference.
Source: the types in `openai.types.beta` of the official SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..action import Action
from .base import Route
from .chat import read_messages
from .members import objects
from .openai_chat import limit_of, model_of, read_members, stream_of
from .openai_parts import read_content
from .openai_tools import read_references, read_tools
from .prompt import BodyError, Prompt
from .text import Place

_Member = Callable[[Prompt, Any, Place], None]
# What the path names, and what it is.
_PATH: Final = {"assistant": "assistant", "thread": "thread", "run": "run", "message": "message"}


def read_assistant(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """An assistant that is made or changed: its instructions and tools."""
    return _read(provider, document, route, _RUN)


def read_thread(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """A thread that is made: its messages."""
    return _read(provider, document, route, _THREAD)


def read_message(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """A message for a thread."""
    return _read(provider, document, route, _MESSAGE, message=True)


def read_run(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """A run of a thread, which may bring instructions, messages and tools."""
    return _read(provider, document, route, _RUN)


def _read(
    provider: str,
    document: dict[str, Any],
    route: Route,
    members: dict[str, _Member | None],
    *,
    message: bool = False,
) -> tuple[Action, ...]:
    prompt = Prompt(provider, model_of(document, route, required=False))
    for name, kind in _PATH.items():
        if name in route.parameters:
            prompt.refer(kind, route.parameters[name], (name,))
    if message:
        role = document.get("role")
        if role not in ("user", "assistant"):
            raise BodyError(("role",), "must be user or assistant")
        read_content(prompt, document.get("content"), str(role), ("content",))
        prompt.message_count += 1
    stream = stream_of(document)
    read_members(prompt, document, members, frozenset(members))
    return prompt.actions(stream=stream, max_tokens=limit_of(document))


def _instructions(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is not str:
        raise BodyError(place, "must be a string")
    prompt.say("system", value, place)


def _messages(prompt: Prompt, value: Any, place: Place) -> None:
    if value == []:
        return
    read_messages(prompt, value, place)
    for index, message in enumerate(value):
        _attachments(prompt, message.get("attachments"), (*place, index, "attachments"))
        read_references(prompt, {"file_ids": message.get("file_ids")}, (*place, index))


def _attachments(prompt: Prompt, value: Any, place: Place) -> None:
    """Files for the tools of a run; `read_messages` has read the text in it, a message body has not."""
    if value is None:
        return
    for attachment, here in objects(value, place):
        prompt.refer("file", attachment.get("file_id"), (*here, "file_id"))
        if attachment.get("tools") is not None:
            read_tools(prompt, attachment["tools"], (*here, "tools"))
        prompt.others(attachment, frozenset({"file_id", "tools"}), here)


def _files(prompt: Prompt, value: Any, place: Place) -> None:
    """As the first version of the API named them, which Azure still has."""
    read_references(prompt, {place[-1]: value}, place[:-1])
    prompt.rest("tool", value, place)


def _resources(prompt: Prompt, value: Any, place: Place) -> None:
    read_references(prompt, value, place)
    prompt.rest("tool", value, place)


def _thread(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is not dict:
        raise BodyError(place, "must be an object")
    if value.get("messages") is not None:
        _messages(prompt, value["messages"], (*place, "messages"))
    if value.get("tool_resources") is not None:
        _resources(prompt, value["tool_resources"], (*place, "tool_resources"))
    prompt.others(value, frozenset({"messages", "tool_resources"}), place)


def _assistant(prompt: Prompt, value: Any, place: Place) -> None:
    prompt.refer("assistant", value, place)


def _outputs(prompt: Prompt, value: Any, place: Place) -> None:
    prompt.rest("tool", value, place)


_MESSAGE: Final[dict[str, _Member | None]] = {
    "role": None,
    "content": None,
    "attachments": _attachments,
    "file_ids": _files,
}
_THREAD: Final[dict[str, _Member | None]] = {"messages": _messages, "tool_resources": _resources}
_RUN: Final[dict[str, _Member | None]] = {
    "model": None,
    "stream": None,
    "assistant_id": _assistant,
    "instructions": _instructions,
    "additional_instructions": _instructions,
    "additional_messages": _messages,
    "thread": _thread,
    "tools": read_tools,
    "tool_resources": _resources,
    "tool_outputs": _outputs,
    "file_ids": _files,
}

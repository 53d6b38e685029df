"""The list of chat messages that OpenAI's API made common: roles, texts, parts, tool calls.

Rules of this file: every text in a message is found, whatever the field is called.
"""

from __future__ import annotations

from typing import Any, Final

from .openai_parts import read_parts, refuse_media
from .prompt import BodyError, Prompt
from .text import Place, shown

# As policy and the firewall name them.
_ROLES: Final = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}

_KEYS: Final = frozenset({"role", "content", "refusal", "tool_calls", "function_call", "audio"})
# Frameworks keep turns without content: of calls, of thoughts alone, of results that are nothing.
_MAY_BE_SILENT: Final = frozenset({"assistant", "tool"})
_NO_MEDIA: Final = frozenset({"audio"})


def read_messages(prompt: Prompt, messages: Any, place: Place = ("messages",), *, any_role: bool = False) -> None:
    """All text of `messages`, which stand at `place`.

    What is said beside the contents (names, tool calls, unknown members) comes after all of them.
    `any_role`: accept roles that no protocol defines; their name is text then. Raises `BodyError`.
    """
    if type(messages) is not list or not messages:
        raise BodyError(place, "must be a list with at least one message")
    prompt.message_count += len(messages)
    for index, message in enumerate(messages):
        here = (*place, index)
        if type(message) is not dict:
            raise BodyError(here, "must be an object")
        name = message.get("role")
        if type(name) is not str:
            raise BodyError((*here, "role"), "must be a string")
        role = _ROLES.get(name)
        if role is None:
            if not any_role:
                raise BodyError((*here, "role"), f"'{shown(name)}' is not a known role")
            role = name
            prompt.rest("unread", name, (*here, "role"))
        content = message.get("content")
        if type(content) is str:
            prompt.say(role, content, (*here, "content"))
            if len(message) == 2:
                continue
        elif type(content) is list and (content or role not in _MAY_BE_SILENT):
            read_parts(prompt, content, role, (*here, "content"))
            if len(message) == 2:
                continue
        elif content is not None and content != []:
            raise BodyError((*here, "content"), "must be a string or a list of parts")
        elif role not in _MAY_BE_SILENT:
            raise BodyError((*here, "content"), "is missing")
        _read_beside(prompt, message, here)


def _read_beside(prompt: Prompt, message: dict[str, Any], place: Place) -> None:
    for key in ("tool_calls", "function_call"):
        if key in message:
            prompt.rest("tool", message[key], (*place, key))
    prompt.rest("assistant", message.get("refusal"), (*place, "refusal"))
    audio = message.get("audio")
    if audio is not None:  # an answer that the vendor keeps
        if type(audio) is not dict:
            raise BodyError((*place, "audio"), "must be an object")
        prompt.refer("audio", audio.get("id"), (*place, "audio", "id"))
        prompt.others(audio, frozenset({"id"}), (*place, "audio"))
    refuse_media(message, _NO_MEDIA, place)
    prompt.others(message, _KEYS, place)

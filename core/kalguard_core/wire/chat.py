"""The list of chat messages that OpenAI's API made common: roles, text, parts, tool calls.

Rules of this file: every text in a message is found, whatever the field is called; a part that is not text
cannot be judged, so it is refused.
"""

from __future__ import annotations

from typing import Any, Final

from ..action import Message
from .text import Place, collect, collect_names, place_name, shown

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text", "refusal"})

_MESSAGE_KEYS: Final = frozenset({"role", "content", "name", "refusal", "tool_calls", "tool_call_id", "function_call"})
_PART_KEYS: Final = frozenset({"type", "text", "refusal"})
# An assistant's turn may have no content when it says something in one of these.
_INSTEAD_OF_CONTENT: Final = ("tool_calls", "function_call", "refusal")


class ChatError(Exception):
    """Messages that cannot be read. `unsupported`: well formed, but of a kind that cannot be judged."""

    def __init__(self, place: Place, problem: str, *, unsupported: bool = False) -> None:
        super().__init__(f"{place_name(place)} {problem}")
        self.unsupported = unsupported


def refuse_variants(value: dict[str, Any], known: frozenset[str], place: Place) -> None:
    """Raise `ChatError` if a key differs from a known one only by case.

    Some readers (Go's, notably) match names without regard to case: they would read a value that we do not.
    """
    for key in value:
        if key not in known and key.casefold() in known:
            raise ChatError((*place, key), f"is not a known member (did you mean {key.casefold()!r}?)")


def read_messages(messages: Any, found: list[Message], *, any_role: bool = False) -> int:
    """Append all text of `messages`, which stands at `("messages",)`, to `found`; answers how many they are.

    What is said beside the contents (names, tool calls, unknown members) comes after all of them: the firewall
    reads neighbours of one role together, and a `name` between two halves of an attack must not part them.
    `any_role`: accept roles that no protocol defines; their name is text then. Raises `ChatError`.
    """
    if type(messages) is not list or not messages:
        raise ChatError(("messages",), "must be a list with at least one message")
    beside: list[Message] = []
    for index, message in enumerate(messages):
        place: Place = ("messages", index)
        if type(message) is not dict:
            raise ChatError(place, "must be an object")
        role = message.get("role")
        if type(role) is not str:
            raise ChatError((*place, "role"), "must be a string")
        if role not in ROLES:
            if not any_role:
                raise ChatError((*place, "role"), f"'{shown(role)}' is not a known role")
            collect(beside, "unread", role, (*place, "role"))
        content = message.get("content")
        if type(content) is str:
            found.append(Message(role, content, (*place, "content")))
            if len(message) == 2:
                continue
        elif type(content) is list:
            _read_parts(content, role, found, beside, (*place, "content"))
        elif content is not None:
            raise ChatError((*place, "content"), "must be a string or a list of parts")
        elif role != "assistant" or not any(message.get(name) for name in _INSTEAD_OF_CONTENT):
            raise ChatError((*place, "content"), "is missing")
        refuse_variants(message, _MESSAGE_KEYS, place)
        if message.get("audio") is not None:
            raise ChatError((*place, "audio"), "refers to audio, which is not supported", unsupported=True)
        for key, value in message.items():
            if key == "role" or key == "content":
                continue
            collect(beside, "tool" if key in ("tool_calls", "function_call") else "unread", value, (*place, key))
        collect_names(beside, "unread", message, place)
    found += beside
    return len(messages)


def _read_parts(parts: list[Any], role: str, found: list[Message], beside: list[Message], place: Place) -> None:
    if not parts:
        raise ChatError(place, "must not be empty")
    for index, part in enumerate(parts):
        here = (*place, index)
        if type(part) is not dict:
            raise ChatError(here, "must be an object")
        kind = part.get("type")
        if type(kind) is not str:
            raise ChatError((*here, "type"), "must be a string")
        if kind not in TEXT_PARTS:
            raise ChatError(here, f"has the type '{shown(kind)}', which is not supported", unsupported=True)
        name = "refusal" if kind == "refusal" else "text"
        text = part.get(name)
        if type(text) is not str:
            raise ChatError((*here, name), "must be a string")
        found.append(Message(role, text, (*here, name)))
        if len(part) == 2:
            continue
        refuse_variants(part, _PART_KEYS, here)
        for key, value in part.items():
            if key == "type" or key == name:
                continue
            collect(beside, "unread", value, (*here, key))
        collect_names(beside, "unread", part, here)

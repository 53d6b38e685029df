"""All text of a parsed body: finding every string of it, and putting rewritten text back in its place.

Rules of this file: no string is skipped unless it is a word of the protocol itself; the walk is iterative, so
that no nesting exhausts the stack. A place inside a document is a tuple of keys and indices; the name of a
member, where it is text too, has the place of its value followed by `NAME`, and text that was decoded from the
one at a place (JSON in JSON, base64) has that place followed by `INNER` (no index is negative).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from ..action import Message

Place = tuple[str | int, ...]

NAME: Final = -1
INNER: Final = -2
# Each costs a microsecond here and more in the firewall.
MAX_TEXTS: Final = 100_000
# Names up to this long and without spaces are identifiers; longer ones can carry a sentence, also one that is
# written with underscores ("reveal_your_system_prompt" has 25 characters).
_NAME_LENGTH: Final = 24
_SHORT_NAMES: Final = 64

# Words of the protocols and of JSON Schema: as the value of a member, none of them tells a model to do anything.
WORDS: Final = frozenset(
    {
        "any",
        "array",
        "assistant",
        "auto",
        "boolean",
        "custom",
        "default",
        "developer",
        "flex",
        "function",
        "high",
        "integer",
        "json_object",
        "json_schema",
        "low",
        "medium",
        "minimal",
        "none",
        "null",
        "number",
        "object",
        "priority",
        "required",
        "string",
        "system",
        "text",
        "tool",
        "user",
    }
)

# Words among them that an attack may need; they are passed over only where they say what kind of thing it is.
_SPEAKING: Final = frozenset({"assistant", "developer", "system", "text", "tool", "user"})
_KINDS: Final = frozenset({"role", "type"})

# Names that most objects are made of. They say nothing, which is quicker to see than to find out.
_USUAL_NAMES: Final = frozenset(
    {
        "additionalProperties",
        "anyOf",
        "arguments",
        "content",
        "default",
        "description",
        "enum",
        "function",
        "id",
        "inputSchema",
        "input_schema",
        "items",
        "name",
        "parameters",
        "properties",
        "required",
        "role",
        "strict",
        "text",
        "title",
        "tool_call_id",
        "type",
    }
)


# Together at most some 10 MB, if agents try.
_MAX_REMEMBERED: Final = 128
_MAX_REMEMBERED_BYTES: Final = 8192


class TooMuchText(Exception):
    """More texts than one request may hold."""


def place_name(place: Sequence[str | int]) -> str:
    """`("messages", 0, "content")` as `messages[0].content`; long names are cut."""
    name = ""
    for part in place:
        if isinstance(part, int):
            name += "" if part < 0 else f"[{part}]"
        else:
            name += f".{shown(part)}" if name else shown(part)
    return name


def shown(text: str, limit: int = 64) -> str:
    """Text of the agent as it may stand in a reason: one line, printable ASCII, at most `limit` characters."""
    return ascii(text[:limit])[1:-1] + ("…" if len(text) > limit else "")


def collect(found: list[Message], role: str, value: Any, place: Place) -> None:
    """Append each text in `value`, which stands at `place`, to `found` with that role.

    Raises `TooMuchText` when there could be more than `MAX_TEXTS`.
    """
    if type(value) is str:
        if value not in WORDS or (value in _SPEAKING and _KINDS.isdisjoint(place[-1:])):
            found.append(Message(role, value, place))
        return
    if type(value) is not dict and type(value) is not list:
        return
    waiting: list[tuple[Any, Place]] = [(value, place)]
    names: dict[str, None] = {}
    add, wait, words, usual = found.append, waiting.append, WORDS, _USUAL_NAMES.issuperset
    for container, where in waiting:  # grows while it is read
        if len(found) + len(waiting) + len(container) > MAX_TEXTS:
            raise TooMuchText
        members: Any
        if type(container) is dict:
            members = container.items()
            if not usual(container):
                collect_names(found, role, container, where)
                if not container.keys() <= names.keys():
                    names.update(dict.fromkeys(container))
        else:
            members = enumerate(container)
        for key, member in members:
            kind = type(member)
            if kind is str:
                # In a list, like an enum, it may be one word of a sentence.
                if member not in words or type(container) is list or (member in _SPEAKING and key not in _KINDS):
                    add(Message(role, member, (*where, key)))
            elif kind is dict or kind is list:
                wait((member, (*where, key)))
    # Short names say nothing each, but a schema can write a sentence with them.
    if len(names) > 1 and len(together := " ".join(names)) > _NAME_LENGTH:
        add(Message(role, together, (*place, INNER)))


def collect_repeated(found: list[Message], role: str, value: Any, place: Place) -> None:
    """`collect` for what clients send again and again, such as the definitions of their tools: it is remembered.

    `value` comes from `parse_json`. Raises `TooMuchText`.
    """
    encoded = orjson.dumps(value)
    if len(encoded) > _MAX_REMEMBERED_BYTES:
        collect(found, role, value, place)
        return
    found.extend(_remembered(encoded, role, place))
    if len(found) > MAX_TEXTS:
        raise TooMuchText


@lru_cache(maxsize=_MAX_REMEMBERED)
def _remembered(encoded: bytes, role: str, place: Place) -> tuple[Message, ...]:
    found: list[Message] = []
    collect(found, role, orjson.loads(encoded), place)
    return tuple(found)


def collect_names(found: list[Message], role: str, names: Iterable[str], place: Place) -> None:
    """Append the names of members of the object at `place` that are long or odd enough to say something."""
    together = "".join(names)
    if (
        len(together) <= _SHORT_NAMES
        and together.isascii()
        and " " not in together
        and together.isprintable()
        and (len(together) <= _NAME_LENGTH or max(map(len, names)) <= _NAME_LENGTH)
    ):
        return
    found.extend(
        Message(role, name, (*place, name, NAME))
        for name in names
        if len(name) > _NAME_LENGTH or " " in name or not (name.isascii() and name.isprintable())
    )


def is_decoded(message: Message) -> bool:
    """Whether the text is not in the document as such, so that no other can be put in its place."""
    return INNER in message.where


def rewritten(document: Any, before: Sequence[Message], after: Sequence[Message]) -> Any:
    """`document` with the text of each message of `before` replaced by that of its partner in `after`.

    The document itself is left as it is; what did not change is shared. A member whose name was rewritten is
    left out, since nothing can say what it would mean under another name. Decoded text can't be put back
    (`can_be_rewritten`): that it changed is passed over here.
    """
    if len(before) != len(after):
        raise ValueError("a rewritten list of messages must be as long as the original")
    fresh: dict[Place, Any] = {}
    root = document
    dropped: list[Place] = []
    for old, new in zip(before, after, strict=True):
        if old.text == new.text or is_decoded(old):
            continue
        if old.where[-1:] == (NAME,):
            dropped.append(old.where[:-1])
            continue
        root = _put(root, fresh, old.where, new.text)
    # A member before the object that holds it; a name may be read twice.
    for place in sorted(set(dropped), key=len, reverse=True):
        root = _put(root, fresh, place, None)
    return root


def _put(root: Any, fresh: dict[Place, Any], place: Place, text: str | None) -> Any:
    """Set (or with None remove) the value at `place`, copying each container on the way once."""
    if not place:
        return text
    if () not in fresh:
        fresh[()] = root = _copy(root)
    parent = fresh[()]
    for depth in range(1, len(place)):
        path = place[:depth]
        if path not in fresh:
            fresh[path] = parent[place[depth - 1]] = _copy(parent[place[depth - 1]])
        parent = fresh[path]
    if text is None:
        del parent[place[-1]]
    else:
        parent[place[-1]] = text
    return root


def _copy(container: Any) -> Any:
    return dict(container) if isinstance(container, Mapping) else list(container)

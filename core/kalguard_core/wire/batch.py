"""Many requests in one body (a vendor's batch): the actions of all of them, as few as say the same.

Rules of this file: text and counts are put together, nothing else is. Two actions become one only if no rule could
tell them apart by anything but how much they hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from ..action import Action, Attribute, Message
from ..codes import PROMPT_CHECK
from .prompt import MAX_ACTIONS, BodyError
from .text import INNER, MAX_TEXTS, Place

# What is added up, and of what the largest counts; whatever else differs makes another action.
_SUMS: Final = frozenset({"messageCount", "tokenEstimate", "toolCount", "mediaCount"})
_LARGEST: Final = frozenset({"maxTokens", "bytes"})
_COUNTS: Final = _SUMS | _LARGEST


class Batch:
    """Gathers the actions of one request after another."""

    __slots__ = ("_found", "_texts")

    def __init__(self) -> None:
        self._found: dict[Any, list[Action]] = {}
        self._texts = 0

    def add(
        self, actions: Iterable[Action], place: Place, beside: tuple[Message, ...] = (), *, inside: bool = True
    ) -> None:
        """The actions of the request at `place`; `beside` is text that stands next to it.

        `inside`: the places of its texts are inside of that request (they are the document's own otherwise).
        Raises `BodyError` for more actions or texts than one body may hold.
        """
        for action in actions:
            messages = action.messages
            if inside:
                messages = tuple([replace(each, where=(*place, INNER, *each.where)) for each in messages])
            self._texts += len(messages) + len(beside)
            if self._texts > MAX_TEXTS:
                raise BodyError(place, "holds too many texts")
            key = _key(action)
            if key not in self._found and len(self._found) >= MAX_ACTIONS:
                raise BodyError(place, f"brings more than {MAX_ACTIONS} kinds of actions into one batch")
            self._found.setdefault(key, []).append(replace(action, messages=messages + beside))
            beside = ()

    def actions(self) -> tuple[Action, ...]:
        """What was gathered."""
        return tuple([_merged(actions) for actions in self._found.values()])


def _key(action: Action) -> Any:
    """Equal for actions that may become one. A prompt's lists of names are joined; all else has to be the same."""
    joined = action.name == PROMPT_CHECK
    fixed = [
        (name, type(value), value)
        for name, value in action.attributes.items()
        if name not in _COUNTS and not (joined and type(value) is tuple)
    ]
    # Where nothing limits the answer, another request's limit must not stand for it.
    limited = "maxTokens" in action.attributes
    return action.name, action.resource, action.tool, action.model, repr(action.arguments), limited, tuple(fixed)


def _merged(actions: list[Action]) -> Action:
    if len(actions) == 1:
        return actions[0]
    attributes: dict[str, Attribute] = {}
    for action in actions:
        for name, value in action.attributes.items():
            attributes[name] = _both(name, attributes[name], value) if name in attributes else value
    messages: list[Message] = []
    for action in actions:
        messages += action.messages
    return replace(actions[0], messages=tuple(messages), attributes=attributes)


def _both(name: str, left: Attribute, right: Attribute) -> Attribute:
    if isinstance(left, tuple) and isinstance(right, tuple):
        return left if set(right).issubset(left) else tuple(dict.fromkeys(left + right))
    if name in _SUMS and isinstance(left, int) and isinstance(right, int):
        return left + right
    if name in _LARGEST and isinstance(left, int) and isinstance(right, int):
        return max(left, right)
    return left

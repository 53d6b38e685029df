"""Google's JSON: the names of a protocol buffer's fields, in each spelling that its servers take.

Rules of this file: every field has two names, `inlineData` and `inline_data`; both are read alike, an object that
uses both for one field is refused, and so is a name that is neither but differs only by case or underscores. A
field that is null is absent. One object stands for a list of one. Source:
https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ..codes import ErrorCode
from .prompt import BodyError, Prompt
from .text import Place, shown

# Members (folded) that no object may have: with them the vendor calls a URL of the agent's choice with the answer, or
# chooses another model than the one that policy is asked about.
_REFUSED: Final = {
    "webhookconfig": "is not supported: it sends the answer elsewhere",
    "routingconfig": "is not supported: it chooses another model",
    "modelconfig": "is not supported: it chooses another model",
    "modelselectionconfig": "is not supported: it chooses another model",
}


def folded(name: str) -> str:
    """What is left of a name without case and underscores: equal for all spellings of one field."""
    return name.replace("_", "").casefold()


class Fields:
    """The fields of one message type that a reader knows, by their names in camelCase."""

    def __init__(self, *names: str) -> None:
        self.names: Final = names
        self._spellings: Final = {
            spelling: name
            for name in names
            for spelling in (name, "".join(f"_{c.lower()}" if c.isupper() else c for c in name))
        }
        self._folded: Final = {folded(name): name for name in names}

    def read(self, value: Any, place: Place) -> Members:
        """The members of an object. Raises `BodyError` if it is none, or if two readers could differ about it."""
        if type(value) is not dict:
            raise BodyError(place, "must be an object")
        keys: dict[str, str] = {}
        unknown = False
        for key in value:
            name = self._spellings.get(key)
            if name is None:
                unknown = True
                fold = folded(key)
                if fold in self._folded:
                    raise BodyError((*place, key), f"is not a known member (did you mean {self._folded[fold]!r}?)")
                if fold in _REFUSED:
                    raise BodyError((*place, key), _REFUSED[fold], ErrorCode.POLICY_DENY)
            elif name in keys:
                raise BodyError((*place, key), f"stands beside '{shown(keys[name])}', which is the same field")
            else:
                keys[name] = key
        return Members(value, place, keys, unknown)


class Members:
    """The members of one object, under the camelCase names of its fields."""

    __slots__ = ("_keys", "_place", "_unknown", "_value")

    def __init__(self, value: dict[str, Any], place: Place, keys: dict[str, str], unknown: bool) -> None:
        self._value = value
        self._place = place
        self._keys = keys
        self._unknown = unknown

    def get(self, name: str) -> Any:
        """The value of a field; None if it is absent."""
        key = self._keys.get(name)
        return None if key is None else self._value[key]

    def place(self, name: str) -> Place:
        """Where a field stands, in the spelling that was used."""
        return (*self._place, self._keys.get(name, name))

    def text(self, name: str) -> str | None:
        """The value of a string field; None if it is absent. Raises `BodyError`."""
        value = self.get(name)
        if value is not None and type(value) is not str:
            raise BodyError(self.place(name), "must be a string")
        return value

    def number(self, name: str) -> int | None:
        """The value of a number field, which may be written as a string. Raises `BodyError`."""
        value = self.get(name)
        if type(value) is str and value.isascii() and value.isdigit() and len(value) < 16:
            return int(value)
        if type(value) is float and value.is_integer():
            return int(value)
        if value is not None and type(value) is not int:
            raise BodyError(self.place(name), "must be a number")
        return value

    def each(self, name: str) -> Iterator[tuple[Any, Place]]:
        """The items of a repeated field with their places; one object stands for itself. Raises `BodyError`."""
        value = self.get(name)
        if type(value) is list:
            place = self.place(name)
            for index, item in enumerate(value):
                yield item, (*place, index)
        elif type(value) is dict:
            yield value, self.place(name)
        elif value is not None:
            raise BodyError(self.place(name), "must be a list")

    def rest(self, prompt: Prompt, role: str, *names: str) -> None:
        """Gather every string in these fields, said beside the turns."""
        for name in names:
            value = self.get(name)
            if value is not None:
                prompt.rest(role, value, self.place(name))

    def unknown(self) -> Iterator[tuple[Any, Place]]:
        """The members that are no known fields, with their places."""
        known = self._keys.values()
        for key, value in self._value.items() if self._unknown else ():
            if key not in known:
                yield value, (*self._place, key)

    def leave(self, prompt: Prompt, role: str = "unread") -> None:
        """Gather every string in the members that are no known fields, and their names."""
        if self._unknown:
            prompt.others(self._value, frozenset(self._keys.values()), self._place, role)

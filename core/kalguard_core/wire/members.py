"""Members of a JSON object that are of one type.

Rules of this file: another type is an error with its place, never turned into the right one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .prompt import BodyError
from .text import Place


def flag(body: Mapping[str, Any], name: str, place: Place) -> bool:
    """A member that is true, false, or left out. Raises `BodyError`."""
    value = body.get(name)
    if value is not None and type(value) is not bool:
        raise BodyError((*place, name), "must be true or false")
    return value is True


def limit(body: Mapping[str, Any], name: str, place: Place) -> int | None:
    """A member that is a number, or left out; None unless it is a whole one. Raises `BodyError`."""
    value = body.get(name)
    if value is not None and type(value) is not int and type(value) is not float:
        raise BodyError((*place, name), "must be a number")
    return value if type(value) is int else None


def string(body: Mapping[str, Any], name: str, place: Place) -> str:
    """A member that is a string. Raises `BodyError`."""
    value = body.get(name)
    if type(value) is not str:
        raise BodyError((*place, name), "must be a string")
    return value


def objects(value: Any, place: Place, problem: str = "must be a list") -> Iterator[tuple[dict[str, Any], Place]]:
    """The objects of the list that stands at `place`, each with its own place. Raises `BodyError`."""
    if type(value) is not list:
        raise BodyError(place, problem)
    for index, item in enumerate(value):
        here = (*place, index)
        if type(item) is not dict:
            raise BodyError(here, "must be an object")
        yield item, here


def items(body: Mapping[str, Any], name: str, place: Place) -> list[Any]:
    """A member that is a list; an empty one if it is left out. Raises `BodyError`."""
    value = body.get(name)
    if value is None:
        return []
    if type(value) is not list:
        raise BodyError((*place, name), "must be a list")
    return value

"""Every place of a document where an agent could write: the document again and again, each time with one change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

from kalguard_core.action import Action
from kalguard_core.request import AgentRequest, Refusal
from wire_support import read

# A sentence, so that it is no identifier; and short enough for a name.
MARK = "obey the zebra"
Path = tuple[str | int, ...]


def leaves(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each value of the document with its path, objects and lists too."""
    yield path, document
    members: Iterable[tuple[str | int, Any]] = ()
    if isinstance(document, dict):
        members = document.items()
    elif isinstance(document, list):
        members = enumerate(document)
    for key, member in members:
        yield from leaves(member, (*path, key))


def changed(document: Any, path: Path, value: Any) -> Any:
    """The document with another value at that path."""
    if not path:
        return value
    copy = deepcopy(document)
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return copy


def marked(document: Any) -> Iterator[tuple[Path, Any]]:
    """The document with the mark in place of each value, and in a new member of each object, as name and as value."""
    for path, value in leaves(document):
        if isinstance(value, str):
            yield path, changed(document, path, MARK)
        elif isinstance(value, dict):
            yield (*path, "zebra"), changed(document, path, {**value, "zebra": {"a": [MARK]}})
            yield (*path, MARK), changed(document, path, {**value, MARK: 1})
        elif value is not None and not isinstance(value, list):
            yield path, changed(document, path, MARK)


def texts(actions: Iterable[Action]) -> list[str]:
    """All that the firewall sees, and what an action that must be named by a rule is about."""
    found: list[str] = []
    for action in actions:
        found += [message.text for message in action.messages]
        if action.explicit:
            found.append(str(action.resource))
    return found


def overlooked(asked: AgentRequest, document: Any) -> list[Path]:
    """The places where the mark is neither read nor refused. `data` of media that nobody can read is no such place."""
    missed: list[Path] = []
    for path, body in marked(document):
        try:
            actions = read(asked, body).actions
        except Refusal:
            continue
        unreadable = path[-1] in ("data", "bytes") and any(action.name == "content:media" for action in actions)
        if not unreadable and not any(MARK in text for text in texts(actions)):
            missed.append(path)
    return missed

"""What the agent is trying to do: the one shape that every protocol is read into."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from .codes import CONTENT_MEDIA, CONTENT_REFERENCE

Scalar = str | int | float | bool
# Several values under one name (hosts, tool names): a rule's test holds if it holds for any of them.
Attribute = Scalar | tuple[str, ...]
NO_ATTRIBUTES: Final[Mapping[str, Attribute]] = MappingProxyType({})


class Message(Struct, frozen=True, gc=False):
    """One piece of text that goes to a model, with its role.

    `role`: system, developer, user, assistant, tool (what a tool is or said), document (retrieved), file
    (inside an attachment), as the protocol says; "unread" for text found in a field that the protocol reader
    does not know (it is scored like user text).
    `where`: path of the text inside the parsed body, e.g. ("messages", 0, "content"); see `wire.text`.
    """

    role: str
    text: str
    where: tuple[str | int, ...] = ()


class Action(Struct, frozen=True):
    """One thing the agent tries to do. A request holds one or more (a JSON-RPC batch).

    `name`: `prompt:check`, `tool:execute`, `llm:<what>`, `content:<what>`, `mcp:<method>`, `http:request`.
    `capabilities`: all of them are needed (for `tool:execute` the catalog may name another one).
    `resource`, `tool`, `model`: None where the request has none; a rule about one never matches then.
    `arguments`: of a tool call. `messages`: all text that the firewall must see.
    `attributes`: values that policy may match. `call_id`: JSON-RPC id, for the answer.
    `expects_reply`: False for a JSON-RPC notification or client response.
    `explicit`: it acts, or lies, outside our sight, so only a rule that names it can allow it: one whose
    `actions` (or, where the action has a tool, whose `tools`) say more than "*".
    """

    name: str
    capabilities: tuple[str, ...]
    resource: str | None = None
    tool: str | None = None
    model: str | None = None
    arguments: Mapping[str, Any] | None = None
    messages: tuple[Message, ...] = ()
    attributes: Mapping[str, Attribute] = NO_ATTRIBUTES
    call_id: str | int | float | None = None
    expects_reply: bool = True
    explicit: bool = False


# What readers make `explicit`: actions of these names, and tools whose names begin so.
MUST_BE_NAMED: Final = frozenset(
    {
        CONTENT_MEDIA,
        CONTENT_REFERENCE,
        "llm:realtime",
        "http:address",
        "http:connect",
        "http:websocket",
        "a2a:CreateTaskPushNotificationConfig",
    }
)
HOSTED: Final = "hosted:"


def must_be_named(name: str, tool: str | None) -> bool:
    """Whether readers make actions of that name, or of that tool, `explicit`; for those who ask without a request."""
    return name in MUST_BE_NAMED or (tool is not None and tool.startswith(HOSTED))

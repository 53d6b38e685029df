"""The methods that a client may call on an MCP server: in which versions, with which members, and about what.

Rules of this file: a method, a version or a name that is not here is not understood, and so it is refused. What a
rule compares (a URI, a name) has one spelling: another spelling of the same place is refused.
Source: the schemas of https://modelcontextprotocol.io/specification (2024-11-05 to 2026-07-28), and those of the
extension `io.modelcontextprotocol/tasks` (https://modelcontextprotocol.io/seps/2663-tasks-extension).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from ..codes import TOOL_EXECUTE
from .jsonrpc import Invalid

# Versions that begin with `initialize` and keep a session; the first one that has batches is the only one.
HANDSHAKE: Final = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"})
# Versions in which each request stands for itself and says in headers what it is.
STATELESS: Final = frozenset({"2026-07-28"})
VERSIONS: Final = HANDSHAKE | STATELESS
BATCHES: Final = frozenset({"2025-03-26"})
_TASKS: Final = frozenset({"2025-11-25"})

CALL_TOOL: Final = "tools/call"
INITIALIZE: Final = "initialize"
COMPLETE: Final = "completion/complete"
LISTEN: Final = "subscriptions/listen"
SUBSCRIBE: Final = "resources/subscribe"
NOTIFICATION: Final = "notifications/"
# Members with the client's answers to what a server asked back for, and with what the server wants to be told again.
INPUT_RESPONSES: Final = "inputResponses"
_AGAIN: Final = frozenset({INPUT_RESPONSES, "requestState"})

MAX_NAME: Final = 256
_MAX_URI: Final = 2048
_SCHEME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+-.")
# Schemes whose URIs readers (WHATWG URL) put in a form of their own, with the port that goes without saying.
_WEB: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}
_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._{}")  # braces: in templates
_HEX: Final = frozenset("0123456789abcdefABCDEF")
# Escaped, these would be another spelling of the same place; what separates segments too, but not in a query.
_UNRESERVED: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_NEVER_IN_PATH: Final = _UNRESERVED | {"/", "\\"}


class Method(Struct, frozen=True):
    """One method.

    `members`: of `params`, without `_meta`. `target`: the one of them that says what the method is about ("uri",
    "name"): it is the resource of the action. `role`: as whose text the rest is scored. `reads`: for the
    documentation. `mirrored`: the member that the header `mcp-name` repeats; `must_mirror`: versions without a
    session require it.
    """

    name: str
    reads: str
    versions: frozenset[str] = VERSIONS
    members: frozenset[str] = frozenset()
    target: str = ""
    role: str = "tool"
    mirrored: str = ""
    must_mirror: bool = False

    @property
    def action(self) -> str:
        """The name of the action that a call of it becomes."""
        return TOOL_EXECUTE if self.name == CALL_TOOL else f"mcp:{self.name}"


_CURSOR: Final = frozenset({"cursor"})
_URI: Final = frozenset({"uri"})
_TASK: Final = frozenset({"taskId"})
_ALL: Final = (
    Method(
        CALL_TOOL,
        "the tool and its arguments, by the tool catalog; all other text of params by the firewall",
        members=frozenset({"name", "arguments", "task"}) | _AGAIN,
        mirrored="name",
        must_mirror=True,
    ),
    Method("tools/list", "the cursor", members=_CURSOR),
    Method(
        INITIALIZE,
        "what the client says of itself",
        HANDSHAKE,
        frozenset({"protocolVersion", "capabilities", "clientInfo"}),
    ),
    Method("ping", "nothing", HANDSHAKE),
    Method("server/discover", "what the client says of itself", STATELESS),
    Method("resources/list", "the cursor", members=_CURSOR),
    Method("resources/templates/list", "the cursor", members=_CURSOR),
    Method(
        "resources/read",
        "the URI (the resource of the action), and the answers to what the server asked back",
        members=_URI | _AGAIN,
        target="uri",
        mirrored="uri",
        must_mirror=True,
    ),
    Method(SUBSCRIBE, "the URI (the resource of the action)", HANDSHAKE, _URI, "uri"),
    Method("resources/unsubscribe", "the URI (the resource of the action)", HANDSHAKE, _URI, "uri"),
    Method(
        LISTEN,
        "the wanted notifications; each URI of resourceSubscriptions is a `mcp:resources/subscribe` of its own",
        STATELESS,
        frozenset({"notifications"}),
    ),
    Method("prompts/list", "the cursor", members=_CURSOR),
    Method(
        "prompts/get",
        "the name of the prompt (the resource of the action) and its arguments",
        members=frozenset({"name", "arguments"}) | _AGAIN,
        target="name",
        role="user",
        mirrored="name",
        must_mirror=True,
    ),
    Method(
        COMPLETE,
        "the prompt or the URI template (the resource of the action), and the text to complete",
        members=frozenset({"ref", "argument", "context"}),
        role="user",
    ),
    Method("logging/setLevel", "the level", HANDSHAKE, frozenset({"level"})),
    Method("tasks/get", "the id of the task", _TASKS | STATELESS, _TASK, mirrored="taskId"),
    Method("tasks/result", "the id of the task", _TASKS, _TASK, mirrored="taskId"),
    Method("tasks/list", "the cursor", _TASKS, _CURSOR),
    Method("tasks/cancel", "the id of the task", _TASKS | STATELESS, _TASK, mirrored="taskId"),
    Method(
        "tasks/update",
        "the id of the task, and the answers to what the server asked back",
        STATELESS,
        _TASK | _AGAIN,
        mirrored="taskId",
    ),
    Method("notifications/initialized", "nothing", HANDSHAKE),
    Method("notifications/cancelled", "the reason", members=frozenset({"requestId", "reason"})),
    Method(
        "notifications/progress",
        "the message",
        HANDSHAKE,
        frozenset({"progressToken", "progress", "total", "message"}),
    ),
    Method("notifications/roots/list_changed", "nothing", HANDSHAKE),
    Method(
        "notifications/tasks/status",
        "the message",
        _TASKS,
        frozenset({"taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttl", "pollInterval"}),
    ),
)
METHODS: Final = MappingProxyType({method.name: method for method in _ALL})


def is_understood(method: str, version: str | None) -> bool:
    """Whether the method is one of that version (None: not declared, so one that has a handshake)."""
    known = METHODS.get(method)
    if known is None:
        return False
    return not HANDSHAKE.isdisjoint(known.versions) if version is None else version in known.versions


def plain_name(value: Any, what: str) -> str:
    """A name or an id, as policy may see it. Raises `Invalid`."""
    if type(value) is not str or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise Invalid(f"{what} must be a name of at most {MAX_NAME} characters")
    return value


def plain_uri(value: Any, what: str) -> str:
    """A URI, or a template of one, in the only spelling of it that is accepted. Raises `Invalid`.

    A rule compares it as text, while a server resolves it: "file:///a/../b", "file:///%62" and "FILE:///b" would
    be three ways around a rule about "file:///b".
    """
    if type(value) is not str or not 0 < len(value) <= _MAX_URI or not value.isprintable():
        raise Invalid(f"{what} must be a URI of at most {_MAX_URI} characters")
    scheme, colon, rest = value.partition(":")
    if not colon or not scheme or not _SCHEME.issuperset(scheme) or "\\" in value or value != value.strip():
        raise Invalid(f"{what} must be a URI with its scheme in lower case and without backslashes")
    path = rest.partition("?")[0].partition("#")[0]
    _check_escapes(path, _NEVER_IN_PATH, what)
    _check_escapes(rest[len(path) :], _UNRESERVED, what)
    segments = path.split("/")
    if "." in segments or ".." in segments:
        raise Invalid(f"{what} must have no dot segments")
    if scheme == "file" and (not path.startswith("///") or "" in segments[3:-1]):
        raise Invalid(f"{what} must be of the form file:///path, without empty segments")
    if scheme in _WEB:
        host, _, port = path[2:].partition("/")[0].partition(":")
        if not path.startswith("//") or not _HOST.issuperset(host) or host.strip(".") != host or port == _WEB[scheme]:
            raise Invalid(f"{what} must have a plain host in lower case, and no port that goes without saying")
        if not host or (port and not (port.isascii() and port.isdigit() and port[0] != "0")):
            raise Invalid(f"{what} must have a host, and a plain port if it has one")
    return value


def _check_escapes(text: str, never: frozenset[str], what: str) -> None:
    for escape in text.split("%")[1:]:
        if len(escape) < 2 or not _HEX.issuperset(escape[:2]) or chr(int(escape[:2], 16)) in never:
            raise Invalid(f"{what} must not escape what needs no escape")

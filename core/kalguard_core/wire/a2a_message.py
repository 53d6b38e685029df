"""What an A2A call says: its text, its files, and the URLs that it makes others call.

Rules of this file: both eras and all bindings come here as one shape, that of proto-JSON, and what any of them
would read is read. A member in two spellings (messageId and message_id) is refused, since readers would choose; one
that no reader knows is scored. A part holds one thing.
Source: https://a2a-protocol.org/latest/specification/#4-protocol-data-model
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ..action import Action, Attribute
from ..codes import TOOL_EXECUTE
from .a2a_schema import EXECUTE, METHODS, Method
from .jsonrpc import id_text
from .media import media_type_of
from .prompt import BodyError, Prompt, url_host
from .text import INNER, Place, shown

_MAX_ID: Final = 256
_PUSH: Final = METHODS["CreateTaskPushNotificationConfig"].name
# All of them are text of the calling agent to the one that reads it, whatever turn it claims.
_ROLES: Final = frozenset({"user", "agent", "ROLE_USER", "ROLE_AGENT", "ROLE_UNSPECIFIED", 0, 1, 2})
_CONTENTS: Final[Mapping[str, str]] = {"text": "text", "file": "file", "data": "data", "raw": "file", "url": "file"}


class _Names:
    """The members that an object may have: `names` in camel case, `others` as pairs of a spelling and its name."""

    __slots__ = ("_folded", "_spellings")

    def __init__(self, names: str, **others: str) -> None:
        self._spellings = {name: name for name in names.split()} | others
        self._spellings |= {_snake(name): name for name in names.split()}
        self._folded = frozenset(map(_fold, self._spellings))

    def read(self, prompt: Prompt, value: Any, place: Place) -> dict[str, Any]:
        """The known members by their names, without nulls; all others go to `prompt`. Raises `BodyError`."""
        if type(value) is not dict:
            raise BodyError(place, "must be an object")
        found: dict[str, Any] = {}
        unknown: dict[str, Any] = {}
        for key, member in value.items():
            name = self._spellings.get(key)
            if name is None:
                if _fold(key) in self._folded:
                    raise BodyError((*place, key), "is not a known member, but differs from one by its spelling only")
                unknown[key] = member
                continue
            if name in found:
                raise BodyError((*place, key), f"is given twice, in two spellings of {name}")
            found[name] = member
        if unknown:
            prompt.others(unknown, frozenset(), place)
        return {name: member for name, member in found.items() if member is not None}


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _fold(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")


_SEND_MEMBERS: Final = _Names("message configuration metadata tenant", request="message")
_MESSAGE_MEMBERS: Final = _Names(
    "messageId contextId taskId role parts content metadata extensions referenceTaskIds kind"
)
_PART_MEMBERS: Final = _Names("text raw url data file kind type metadata filename name mediaType mimeType")
_FILE_MEMBERS: Final = _Names("bytes uri fileWithUri fileWithBytes mimeType mediaType name filename")
_CONFIGURATION_MEMBERS: Final = _Names(
    "acceptedOutputModes pushNotificationConfig taskPushNotificationConfig pushNotification historyLength blocking "
    "returnImmediately"
)
_PUSH_MEMBERS: Final = _Names(
    "tenant id taskId url token authentication pushNotificationConfig pushNotificationConfigId name parent configId "
    "config metadata"
)
_OTHER_MEMBERS: Final = _Names(
    "tenant id name parent taskId contextId historyLength status pageSize pageToken statusTimestampAfter "
    "lastUpdatedAfter includeArtifacts pushNotificationConfigId metadata"
)


class CallContext(Struct, frozen=True):
    """What stands around a call.

    `server`: the agent that it goes to. `attributes`: of every action. `place`: where its parameters stand.
    `path`: what the path and the query say. `call_id`: of JSON-RPC.
    """

    server: str
    attributes: Mapping[str, Attribute]
    place: Place = ()
    path: Mapping[str, str] = {}
    call_id: str | int | None = None


def read_call(method: Method, params: dict[str, Any], context: CallContext) -> tuple[Action, ...]:
    """The actions of a call; the first one is answered. Raises `BodyError` and `text.TooMuchText`."""
    reader = _Reader(context)
    if method.sends:
        return reader.message(method, params)
    return reader.other(method, params)


class _Reader:
    def __init__(self, context: CallContext) -> None:
        self._context = context
        self._prompt = Prompt("a2a", None)
        self._hosts: dict[str, None] = {}
        self._arguments: dict[str, Any] = {"text": [], "data": [], "files": []}
        for message in id_text(context.call_id):
            self._prompt.rest(message.role, message.text, message.where)

    def message(self, method: Method, params: dict[str, Any]) -> tuple[Action, ...]:
        """The actions of a message to the agent."""
        context, prompt = self._context, self._prompt
        place = context.place
        members = _SEND_MEMBERS.read(prompt, params, place)
        said = _MESSAGE_MEMBERS.read(prompt, members.get("message"), (*place, "message"))
        place = (*place, "message")
        role = said.get("role")
        if role is not None and (type(role) not in (str, int) or role not in _ROLES):
            raise BodyError((*place, "role"), "must be user or agent")
        for name in ("parts", "content"):
            parts = said.get(name, [])
            if type(parts) is not list:
                raise BodyError((*place, name), "must be an array")
            for index, part in enumerate(parts):
                self._part(part, (*place, name, index))
        for name in ("messageId", "contextId", "taskId", "extensions", "referenceTaskIds", "kind", "metadata"):
            prompt.rest("unread", said.get(name), (*place, name))
        for name in ("metadata", "tenant"):
            prompt.rest("unread", members.get(name), (*context.place, name))
        metadata = [each["metadata"] for each in (said, members) if type(each.get("metadata")) is dict]
        if metadata:
            self._arguments["metadata"] = metadata
        if "configuration" in members:
            self._configuration(members["configuration"], (*context.place, "configuration"))
        self._check_path(members, context.place)
        self._path()
        ids: dict[str, Attribute] = {
            name: _identifier(said[name], (*place, name)) for name in ("contextId", "taskId") if name in said
        }
        tool = f"a2a:{context.server}"
        first, *others = prompt.actions(stream=method.stream)
        found = _shared(first.attributes)
        send = Action(
            TOOL_EXECUTE,
            EXECUTE,
            resource=tool,
            tool=tool,
            arguments=self._arguments,
            messages=first.messages,
            attributes={**context.attributes, **found, **ids, "toolName": tool},
            call_id=context.call_id,
        )
        media = [
            replace(
                other,
                capabilities=EXECUTE,
                attributes={**context.attributes, **_shared(other.attributes)},
                expects_reply=False,
            )
            for other in others
        ]
        pushes = [self._push_action(host, expects_reply=False) for host in self._hosts]
        return (send, *media, *pushes)

    def other(self, method: Method, params: dict[str, Any]) -> tuple[Action, ...]:
        """The action of a call that is no message."""
        context, prompt = self._context, self._prompt
        place = context.place
        if method.calls_back:
            self._push(params, place)
            members = _PUSH_MEMBERS.read(Prompt("a2a", None), params, place)
        else:
            members = _OTHER_MEMBERS.read(prompt, params, place)
            for name, member in members.items():
                prompt.rest("unread", member, (*place, name))
        self._check_path(members, place)
        self._path()
        first, *_ = prompt.actions()
        if method.calls_back:
            (host,) = self._hosts
            action = self._push_action(host, expects_reply=True)
            return (replace(action, messages=first.messages),)
        attributes: dict[str, Attribute] = dict(context.attributes)
        task = context.path.get("id") or members.get("taskId") or members.get("id") or members.get("name")
        if task is not None:
            attributes["taskId"] = _identifier(task, place)
        action = Action(
            f"a2a:{method.name}",
            method.capabilities,
            resource=f"a2a:{context.server}",
            messages=first.messages,
            attributes=attributes,
            call_id=context.call_id,
        )
        return (action,)

    def _push_action(self, host: str, *, expects_reply: bool) -> Action:
        """The other server is to call `host`, with whatever the task finds: that is beyond our sight."""
        context = self._context
        return Action(
            f"a2a:{_PUSH}",
            EXECUTE,
            resource=f"a2a:{context.server}",
            attributes={**context.attributes, "host": host},
            call_id=context.call_id if expects_reply else None,
            expects_reply=expects_reply,
            explicit=True,
        )

    def _part(self, value: Any, place: Place) -> None:
        prompt = self._prompt
        part = _PART_MEMBERS.read(prompt, value, place)
        contents = [name for name in _CONTENTS if name in part]
        if len(contents) != 1:
            raise BodyError(place, "must have exactly one of text, data, file, raw and url")
        content = contents[0]
        for name in ("kind", "type"):
            if name in part and part[name] != _CONTENTS[content]:
                raise BodyError((*place, name), "does not go with what the part has")
        where = (*place, content)
        if content == "text":
            text = part["text"]
            if type(text) is not str:
                raise BodyError(where, "must be a string")
            prompt.say("user", text, where)
            self._arguments["text"].append(text)
        elif content == "data":
            prompt.rest("user", part["data"], where)
            self._arguments["data"].append(part["data"])
        elif content == "file":
            file = _FILE_MEMBERS.read(prompt, part["file"], where)
            ways = [name for name in ("bytes", "fileWithBytes", "uri", "fileWithUri") if name in file]
            if len(ways) != 1:
                raise BodyError(where, "must have exactly one of bytes and uri")
            self._file(file, file[ways[0]], (*where, ways[0]), encoded="ytes" in ways[0])
        else:
            self._file(part, part[content], where, encoded=content == "raw")
        beside = (
            ("metadata",) if content in ("raw", "url") else ("metadata", "filename", "name", "mediaType", "mimeType")
        )
        for name in beside:
            prompt.rest("unread", part.get(name), (*place, name))

    def _file(self, file: Mapping[str, Any], content: Any, place: Place, *, encoded: bool) -> None:
        prompt = self._prompt
        for pair in (("filename", "name"), ("mediaType", "mimeType")):
            if file.keys() >= set(pair):
                raise BodyError(place, f"has both {pair[0]} and {pair[1]}")
        name = file.get("filename", file.get("name"))
        declared = file.get("mediaType", file.get("mimeType"))
        if type(declared) is str and ";" in declared:
            prompt.rest("unread", declared, (*place[:-1], "mediaType"))
        media_type = media_type_of(declared)
        if media_type is None:
            raise BodyError(place, "has no valid media type")
        if encoded:
            prompt.attach(declared, content, place, name=name)
        else:
            prompt.rest("file", name, (*place[:-1], "name"))
            prompt.attach_url(content, place, kind=media_type)
        described = {"mediaType": media_type}
        if type(name) is str:
            described["name"] = name
        if not encoded:
            described["url"] = content
        self._arguments["files"].append(described)

    def _configuration(self, value: Any, place: Place) -> None:
        if value is None:
            return
        members = _CONFIGURATION_MEMBERS.read(self._prompt, value, place)
        for name, member in members.items():
            if "ush" in name:
                self._push(member, (*place, name))
            else:
                self._prompt.rest("unread", member, (*place, name))

    def _push(self, value: Any, place: Place) -> None:
        """A push configuration, perhaps wrapped as some bindings do. Raises `BodyError` unless it has one URL."""
        prompt, urls = self._prompt, []
        waiting: list[tuple[Any, Place]] = [(value, place)]
        for config, where in waiting:
            if len(where) > len(place) + 2:
                raise BodyError(where, "is a push configuration inside of others")
            for name, member in _PUSH_MEMBERS.read(prompt, config, where).items():
                if name in ("config", "pushNotificationConfig"):
                    waiting.append((member, (*where, name)))
                    continue
                if name == "url":
                    urls.append((member, (*where, name)))
                prompt.rest("unread", member, (*where, name))
        if len(urls) != 1:
            raise BodyError(place, "must have one url")
        self._hosts[url_host(*urls[0])] = None

    def _path(self) -> None:
        """What stands beside the body: path and query, and the extensions that a header asks for."""
        self._prompt.rest("unread", dict(self._context.path), ("path",))
        extensions = self._context.attributes.get("extensions")
        for uri in extensions if type(extensions) is tuple else ():
            self._prompt.rest("unread", uri, ("extensions", INNER))

    def _check_path(self, members: Mapping[str, Any], place: Place) -> None:
        """Tenant and task that the path names must be those of the body: servers differ in which of them they take."""
        tenant = self._context.path.get("tenant")
        if tenant is not None and members.get("tenant") not in (None, "", tenant):
            raise BodyError((*place, "tenant"), "does not match the path")
        task = self._context.path.get("id")
        if task is None:
            return
        pushes = "url" in members or "config" in members
        names = {task, f"tasks/{task}", f"tasks/{task}/pushNotificationConfigs"}
        same = {"taskId": {task}, "name": names, "parent": names}
        if not pushes:
            same["id"] = {task}
        for name, allowed in same.items():
            if name in members and members[name] not in ("", *allowed):
                raise BodyError((*place, name), "does not match the path")


def _identifier(value: Any, place: Place) -> str:
    if type(value) is not str or len(value) > _MAX_ID:
        raise BodyError(place, "must be an identifier")
    return shown(value, _MAX_ID)


def _shared(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """What a model's prompt and a message to an agent have in common."""
    return {name: value for name, value in attributes.items() if name not in ("provider", "messageCount", "toolCount")}

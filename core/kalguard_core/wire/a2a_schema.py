"""What the A2A protocol has, in both of its eras: methods, where each binding keeps them, and gRPC's messages.

Rules of this file: data only. A method has the name of protocol 1.x, whatever a binding or era calls it, so that
one policy rule is about all of them. Sources: https://a2a-protocol.org/latest/specification/ and
https://a2a-protocol.org/v0.3.0/specification/, and the proto files beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from ..codes import Capability
from .base import Endpoint
from .protobuf import Field, Schema

_READ: Final = (Capability.TOOL_READ.value,)
EXECUTE: Final = (Capability.TOOL_EXECUTE.value,)


class Method(Struct, frozen=True):
    """One method.

    `capabilities`: of its action. `sends`: it is a message to the agent. `calls_back`: it makes the agent's server
    call a URL. `stream`: it is answered with a stream.
    """

    name: str
    capabilities: tuple[str, ...] = _READ
    sends: bool = False
    calls_back: bool = False
    stream: bool = False


METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (
        Method("SendMessage", EXECUTE, sends=True),
        Method("SendStreamingMessage", EXECUTE, sends=True, stream=True),
        Method("GetTask"),
        Method("ListTasks"),
        Method("CancelTask", EXECUTE),
        Method("SubscribeToTask", stream=True),
        Method("CreateTaskPushNotificationConfig", EXECUTE, calls_back=True),
        Method("GetTaskPushNotificationConfig"),
        Method("ListTaskPushNotificationConfigs"),
        Method("DeleteTaskPushNotificationConfig", EXECUTE),
        Method("GetExtendedAgentCard"),
        Method("GetAgentCard"),
    )
}

# What JSON-RPC calls them: 1.x, then 0.2 and 0.3.
RPC_METHODS: Final[Mapping[str, Method]] = {
    **{name: method for name, method in METHODS.items() if name != "GetAgentCard"},
    "message/send": METHODS["SendMessage"],
    "message/stream": METHODS["SendStreamingMessage"],
    "tasks/get": METHODS["GetTask"],
    "tasks/list": METHODS["ListTasks"],
    "tasks/cancel": METHODS["CancelTask"],
    "tasks/resubscribe": METHODS["SubscribeToTask"],
    "tasks/pushNotificationConfig/set": METHODS["CreateTaskPushNotificationConfig"],
    "tasks/pushNotificationConfig/get": METHODS["GetTaskPushNotificationConfig"],
    "tasks/pushNotificationConfig/list": METHODS["ListTaskPushNotificationConfigs"],
    "tasks/pushNotificationConfig/delete": METHODS["DeleteTaskPushNotificationConfig"],
    "agent/getAuthenticatedExtendedCard": METHODS["GetExtendedAgentCard"],
}

_HISTORY: Final = frozenset({"historyLength"})
_PAGES: Final = frozenset({"pageSize", "pageToken"})
_TASKS: Final = _HISTORY | _PAGES | {"contextId", "status", "statusTimestampAfter", "includeArtifacts"}
_CONFIGS: Final = "pushNotificationConfigs"
# HTTP method, path, name, and what a query may say. Paths with a verb stand before those without: `{id}` takes both.
_REST: Final[tuple[tuple[str, str, str, frozenset[str]], ...]] = (
    ("POST", "/message:send", "SendMessage", frozenset()),
    ("POST", "/message:stream", "SendStreamingMessage", frozenset()),
    ("POST", "/tasks/{id}:cancel", "CancelTask", frozenset()),
    ("GET", "/tasks/{id}:subscribe", "SubscribeToTask", frozenset()),
    ("POST", "/tasks/{id}:subscribe", "SubscribeToTask", frozenset()),
    ("GET", "/tasks/{id}", "GetTask", _HISTORY),
    ("GET", "/tasks", "ListTasks", _TASKS),
    ("POST", f"/tasks/{{id}}/{_CONFIGS}", "CreateTaskPushNotificationConfig", frozenset()),
    ("GET", f"/tasks/{{id}}/{_CONFIGS}", "ListTaskPushNotificationConfigs", _PAGES),
    ("GET", f"/tasks/{{id}}/{_CONFIGS}/{{config}}", "GetTaskPushNotificationConfig", frozenset()),
    ("DELETE", f"/tasks/{{id}}/{_CONFIGS}/{{config}}", "DeleteTaskPushNotificationConfig", frozenset()),
)
_EXTENDED: Final = ("GET", "/extendedAgentCard", "GetExtendedAgentCard", frozenset[str]())
_SERVICES: Final = ("lf.a2a.v1.A2AService", "a2a.v1.A2AService")
# What the proto file of 0.3 calls them.
_OLD_GRPC: Final[Mapping[str, str]] = {
    "SendMessage": "SendMessage",
    "SendStreamingMessage": "SendStreamingMessage",
    "GetTask": "GetTask",
    "ListTasks": "ListTasks",
    "CancelTask": "CancelTask",
    "TaskSubscription": "SubscribeToTask",
    "CreateTaskPushNotificationConfig": "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig": "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfig": "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig": "DeleteTaskPushNotificationConfig",
    "GetAgentCard": "GetExtendedAgentCard",
}


def _endpoint(verb: str, path: str, binding: str, name: str, query: frozenset[str] = frozenset()) -> Endpoint:
    method = METHODS[name]
    return Endpoint(
        verb,
        path,
        f"a2a.{binding}.{name}",
        f"`tool:execute` of `a2a:<server>`{_MORE}" if method.sends else f"`a2a:{name}`",
        _MESSAGE if method.sends else "every string of the call" + (", the host of its URL" * method.calls_back),
        # the catalog says what a message to the agent needs
        capabilities=() if method.sends else method.capabilities,
        query=query,
        body=verb == "POST",
    )


_MORE: Final = "; `content:media` for each file, `a2a:CreateTaskPushNotificationConfig` for a push URL"
_MESSAGE: Final = "every part, metadata, files that are text; type, size and host of other files"

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *(
        Endpoint("POST", path, "a2a.rpc", "one of those below, by its method", _MESSAGE, capabilities=())
        for path in ("", "/")
    ),
    *(_endpoint("GET", f"/.well-known/{name}", "rest", "GetAgentCard") for name in ("agent-card.json", "agent.json")),
    _endpoint("GET", "/v1/card", "rest", "GetExtendedAgentCard"),
    *(
        _endpoint(verb, prefix + path, "rest", name, query)
        for prefix in ("", "/v1", "/{tenant}")
        for verb, path, name, query in (*_REST, _EXTENDED)
    ),
    *(_endpoint("POST", f"/{_SERVICES[0]}/{name}", "grpc", name) for name in METHODS if name != "GetAgentCard"),
    *(_endpoint("POST", f"/{_SERVICES[1]}/{old}", "grpc03", name) for old, name in _OLD_GRPC.items()),
)

# --- gRPC, 1.x
_AUTHENTICATION: Final[Schema] = {1: Field("scheme"), 2: Field("credentials")}
_TENANT: Final = Field("tenant")
_PUSH: Final[Schema] = {
    1: _TENANT,
    2: Field("id"),
    3: Field("taskId"),
    4: Field("url"),
    5: Field("token"),
    6: Field("authentication", "message", schema=_AUTHENTICATION),
}
_PART: Final[Schema] = {
    1: Field("text"),
    2: Field("raw", "bytes"),
    3: Field("url"),
    4: Field("data", "value"),
    5: Field("metadata", "struct"),
    6: Field("filename"),
    7: Field("mediaType"),
}
_MESSAGE_1: Final[Schema] = {
    1: Field("messageId"),
    2: Field("contextId"),
    3: Field("taskId"),
    4: Field("role", "number"),
    5: Field("parts", "message", repeated=True, schema=_PART),
    6: Field("metadata", "struct"),
    7: Field("extensions", repeated=True),
    8: Field("referenceTaskIds", repeated=True),
}
_CONFIGURATION: Final[Schema] = {
    1: Field("acceptedOutputModes", repeated=True),
    2: Field("taskPushNotificationConfig", "message", schema=_PUSH),
    3: Field("historyLength", "number"),
    4: Field("returnImmediately", "number"),
}
_SEND: Final[Schema] = {
    1: _TENANT,
    2: Field("message", "message", schema=_MESSAGE_1),
    3: Field("configuration", "message", schema=_CONFIGURATION),
    4: Field("metadata", "struct"),
}
_TIMESTAMP: Final[Schema] = {1: Field("seconds", "number"), 2: Field("nanos", "number")}
_CONFIG_ID: Final[Schema] = {1: _TENANT, 2: Field("taskId"), 3: Field("id")}

# --- gRPC, 0.3
_OLD_PUSH: Final[Schema] = {
    1: Field("id"),
    2: Field("url"),
    3: Field("token"),
    4: Field("authentication", "message", schema={1: Field("schemes", repeated=True), 2: Field("credentials")}),
}
_OLD_PART: Final[Schema] = {
    1: Field("text"),
    2: Field(
        "file",
        "message",
        schema={
            1: Field("fileWithUri"),
            2: Field("fileWithBytes", "bytes"),
            3: Field("mimeType"),
            4: Field("name"),
        },
    ),
    3: Field("data", "message", schema={1: Field("data", "struct")}),
    4: Field("metadata", "struct"),
}
_OLD_MESSAGE: Final[Schema] = {
    **{number: field for number, field in _MESSAGE_1.items() if number < 8},
    5: Field("content", "message", repeated=True, schema=_OLD_PART),
}
_OLD_SEND: Final[Schema] = {
    1: Field("message", "message", schema=_OLD_MESSAGE),
    2: Field(
        "configuration",
        "message",
        schema={
            1: Field("acceptedOutputModes", repeated=True),
            2: Field("pushNotification", "message", schema=_OLD_PUSH),
            3: Field("historyLength", "number"),
            4: Field("blocking", "number"),
        },
    ),
    3: Field("metadata", "struct"),
}
_NAMED: Final[Schema] = {1: Field("name")}
_OLD_CREATE: Final[Schema] = {
    1: Field("parent"),
    2: Field("configId"),
    3: Field(
        "config",
        "message",
        schema={1: Field("name"), 2: Field("pushNotificationConfig", "message", schema=_OLD_PUSH)},
    ),
}

REQUESTS: Final[Mapping[str, Mapping[str, Schema]]] = {
    "grpc": {
        "SendMessage": _SEND,
        "SendStreamingMessage": _SEND,
        "GetTask": {1: _TENANT, 2: Field("id"), 3: Field("historyLength", "number")},
        "ListTasks": {
            1: _TENANT,
            2: Field("contextId"),
            3: Field("status", "number"),
            4: Field("pageSize", "number"),
            5: Field("pageToken"),
            6: Field("historyLength", "number"),
            7: Field("statusTimestampAfter", "message", schema=_TIMESTAMP),
            8: Field("includeArtifacts", "number"),
        },
        "CancelTask": {1: _TENANT, 2: Field("id"), 3: Field("metadata", "struct")},
        "SubscribeToTask": {1: _TENANT, 2: Field("id")},
        "CreateTaskPushNotificationConfig": _PUSH,
        "GetTaskPushNotificationConfig": _CONFIG_ID,
        "DeleteTaskPushNotificationConfig": _CONFIG_ID,
        "ListTaskPushNotificationConfigs": {
            1: Field("taskId"),
            2: Field("pageSize", "number"),
            3: Field("pageToken"),
            4: _TENANT,
        },
        "GetExtendedAgentCard": {1: _TENANT},
    },
    "grpc03": {
        "SendMessage": _OLD_SEND,
        "SendStreamingMessage": _OLD_SEND,
        "GetTask": {1: Field("name"), 2: Field("historyLength", "number")},
        # the proto file of 0.3 has no fields of it that could be relied on: whatever is there is text of unknown ones
        "ListTasks": {},
        "CancelTask": _NAMED,
        "SubscribeToTask": _NAMED,
        "CreateTaskPushNotificationConfig": _OLD_CREATE,
        "GetTaskPushNotificationConfig": _NAMED,
        "ListTaskPushNotificationConfigs": {
            1: Field("parent"),
            2: Field("pageSize", "number"),
            3: Field("pageToken"),
        },
        "DeleteTaskPushNotificationConfig": _NAMED,
        "GetExtendedAgentCard": {},
    },
}

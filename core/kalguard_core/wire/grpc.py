"""gRPC calls as tools: each method of a service is one, and all text of its messages is read.

Rules of this file: the path is /package.Service/Method, letter by letter. A body is whole frames and nothing else;
what is compressed is decompressed, within limits, or refused. The messages have no schema here, so text is looked
for in every field (see `protobuf`). Sources: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and
compression.md beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final
from urllib.parse import quote

from msgspec.structs import replace

from ..action import Action, Attribute
from ..codes import TOOL_EXECUTE, Capability, ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .answers import vendor_message
from .base import Endpoint, Reading, Route
from .encoding import MAX_DECODED, decoded_within
from .headers import path_in_route, refuse_overrides, refuse_query
from .prompt import BodyError, Prompt
from .protobuf import Budget, ProtobufError, walk
from .text import INNER, TooMuchText, shown

_CONTENT_TYPES: Final = frozenset({"application/grpc", "application/grpc+proto"})
_CODECS: Final = frozenset({"gzip"})
_MAX_FRAMES: Final = 10_000
# A compressed frame may grow by this factor, and to this size in any case.
_RATIO: Final = 20
_SMALL: Final = 16 * 1024
# A message may be a thousand strings of one letter, and its bytes don't show it without reading them.
_LIGHT_BYTES: Final = 8 * 1024
_LIGHT_COMPRESSED: Final = 1024
_MAX_NAME: Final = 256
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")

_STATUS: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.BAD_REQUEST: 3,
    ErrorCode.AUTH_FAILED: 16,
    ErrorCode.TOKEN_REVOKED: 16,
    ErrorCode.CAPABILITY_DENIED: 7,
    ErrorCode.POLICY_DENY: 7,
    ErrorCode.REQUIRE_APPROVAL: 7,
    ErrorCode.PROMPT_BLOCKED: 7,
    ErrorCode.TOOL_DENIED: 7,
    ErrorCode.NOT_FOUND: 12,
    ErrorCode.METHOD_NOT_ALLOWED: 12,
    ErrorCode.REQUEST_TIMEOUT: 4,
    ErrorCode.PAYLOAD_TOO_LARGE: 8,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 3,
    ErrorCode.RATE_LIMIT_EXCEEDED: 8,
    ErrorCode.INTERNAL: 13,
    ErrorCode.AUDIT_UNAVAILABLE: 14,
    ErrorCode.STATE_UNAVAILABLE: 14,
}
# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
STATUS_NAMES: Final[Mapping[int, str]] = {
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}


class Grpc:
    """The services of one gRPC server."""

    kind = "grpc"
    title = "gRPC tools"
    endpoints: tuple[Endpoint, ...] = (
        Endpoint(
            "POST",
            "/{service}/{method}",
            "grpc",
            "`tool:execute` of `grpc:package.Service/Method`",
            "every field of every message that is text, also inside of messages; other bytes are counted",
            capabilities=(),
        ),
    )
    refused: tuple[tuple[str, str], ...] = (
        ("gRPC-Web and gRPC-JSON", "another framing, which nobody but a proxy would translate"),
        ("messages that are not protobuf", "their text can't be found"),
        ("compression other than gzip", "it can't be read"),
        ("calls whose client goes on sending", "they are judged when the client has said all"),
    )
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """The method that the path names. Raises `Refusal`."""
        service, method = _method(path_in_route(request) or "")
        if not service:
            raise Refusal(ErrorCode.NOT_FOUND, f"no gRPC method is named {shown(request.route_path, 128)}")
        check_head(request)
        return light(Route("grpc", parameters={"service": service, "method": method}), request)

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """One tool call with the text of all messages."""
        service, method = route.parameters["service"], route.parameters["method"]
        resource = f"{service}/{method}"
        attributes: dict[str, Attribute] = {"service": service, "method": method, "toolName": f"grpc:{resource}"}
        for name, key in (("server", "server"), ("host", "authority")):
            if key in request.context:
                attributes[name] = request.context[key]
        frames = read_frames(request.headers, body)
        prompt = Prompt("grpc", None)
        budget = Budget(sum(map(len, frames)))
        opaque = 0
        try:
            for index, frame in enumerate(frames):
                walked = walk(frame, budget)
                opaque += walked.opaque
                for text, path in walked.texts:
                    prompt.say("user", text, (index, *path, INNER))
                for text, path in walked.beside:
                    prompt.rest("user", text, (index, *path, INNER))
            first, *_ = prompt.actions()
        except ProtobufError as error:
            raise Refusal(ErrorCode.BAD_REQUEST, f"a message of the call {error}") from None
        except (BodyError, TooMuchText):
            raise Refusal(ErrorCode.BAD_REQUEST, "the call holds too many texts") from None
        attributes["messageCount"] = len(frames)
        attributes["opaqueBytes"] = opaque
        attributes["tokenEstimate"] = first.attributes["tokenEstimate"]
        action = Action(
            TOOL_EXECUTE,
            (Capability.TOOL_EXECUTE.value,),
            resource=resource,
            tool=f"grpc:{resource}",
            # The names of fields are not known here; rules against commands still see every string.
            arguments={"text": [message.text for message in first.messages]},
            messages=first.messages,
            attributes=attributes,
        )
        return Reading((action,))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """A gRPC status, as headers without a body."""
        return grpc_reply(decision)


def _method(path: str) -> tuple[str, str]:
    """The names in "/package.Service/Method"; empty if it is something else."""
    empty, *names = path.split("/")
    if empty or len(names) != 2 or len(path) > _MAX_NAME:
        return "", ""
    service, method = names
    for name in (*service.split("."), method):
        if not name or not _LETTERS.issuperset(name) or name[0].isdigit():
            return "", ""
    return service, method


def check_head(request: AgentRequest) -> None:
    """Raise `Refusal` unless the head is that of a gRPC call."""
    if request.method != "POST":
        raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "gRPC methods are called with POST")
    refuse_query(request)
    headers = request.headers
    refuse_overrides(headers)
    if "upgrade" in headers:
        raise Refusal(ErrorCode.BAD_REQUEST, "no protocol upgrade here")
    if headers.get("content-type", "").lower() not in _CONTENT_TYPES:
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "content-type must be application/grpc")
    if headers.get("content-encoding", "identity") != "identity":
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "gRPC compresses messages, not the body: use grpc-encoding")


def light(route: Route, request: AgentRequest) -> Route:
    """The route of a gRPC call, with what its body may have where others wait for it."""
    compressed = request.headers.get("grpc-encoding", "identity") != "identity"
    return replace(route, light_bytes=_LIGHT_COMPRESSED if compressed else _LIGHT_BYTES)


def is_grpc(headers: Mapping[str, str]) -> bool:
    """Whether the client speaks gRPC, so that it understands no other answer."""
    return headers.get("content-type", "").lower().startswith("application/grpc")


def read_frames(headers: Mapping[str, str], body: bytes) -> list[bytes]:
    """The messages of a body, decompressed. Raises `Refusal` 400, 413 or 415."""
    frames: list[bytes] = []
    place, total = 0, 0
    while place < len(body):
        flag, length = body[place], int.from_bytes(body[place + 1 : place + 5], "big")
        start = place + 5
        place = start + length
        if flag > 1 or start > len(body) or place > len(body):
            raise Refusal(ErrorCode.BAD_REQUEST, "the body does not consist of whole gRPC messages")
        frame = body[start:place]
        if flag:
            frame = _decompressed(headers.get("grpc-encoding", ""), frame)
        total += len(frame)
        frames.append(frame)
        if total > MAX_DECODED:
            raise Refusal(ErrorCode.PAYLOAD_TOO_LARGE, "the decoded request body is too large")
        if len(frames) > _MAX_FRAMES:
            raise Refusal(ErrorCode.BAD_REQUEST, f"a call may send at most {_MAX_FRAMES} messages")
    return frames


def _decompressed(codec: str, frame: bytes) -> bytes:
    if codec not in _CODECS:
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "a message is compressed, but not with gzip")
    limit = min(MAX_DECODED, max(_SMALL, _RATIO * len(frame)))
    plain = decoded_within({"content-encoding": codec}, frame, limit)
    if plain is None:
        raise Refusal(ErrorCode.PAYLOAD_TOO_LARGE, f"a compressed message grows by more than a factor of {_RATIO}")
    return plain


def grpc_status(decision: Decision) -> int:
    """The gRPC status code of a refusal."""
    return 13 if decision.code is None else _STATUS[decision.code]


def grpc_reply(decision: Decision) -> Reply:
    """A refusal as gRPC's "Trailers-Only" response: HTTP 200, and the status in its headers."""
    fields = {
        "content-type": "application/grpc",
        "grpc-status": str(grpc_status(decision)),
        "grpc-message": quote(vendor_message(decision), safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    }
    if decision.status in (429, 503) and decision.retry_after is not None:
        # https://github.com/grpc/proposal/blob/master/A6-client-retries.md
        fields["grpc-retry-pushback-ms"] = str(max(1, ceil(decision.retry_after * 1000)))
    return Reply(200, b"", fields)

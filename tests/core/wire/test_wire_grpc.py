"""gRPC calls as tools: exact methods, whole frames, all text of messages without a schema."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import pytest
from a2a.types import a2a_pb2
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.registry import PROTOCOLS
from wire_support import denied, read, refused, request

GRPC = {"content-type": "application/grpc", "te": "trailers"}
PATH = "/shop.v1.Orders/Create"
CONTEXT = {"authority": "orders.test:9000", "prefix": ""}
MESSAGE = a2a_pb2.Part(text="two loaves of bread", filename="order.txt").SerializeToString()


def zipped(data: bytes) -> bytes:
    """The same bytes at any time: they are in the names of tests."""
    return gzip.compress(data, mtime=0)


def frame(message: bytes, *, compressed: bool = False) -> bytes:
    data = zipped(message) if compressed else message
    return bytes([compressed]) + len(data).to_bytes(4, "big") + data


def asked(path: str = PATH, headers: Mapping[str, str] = GRPC, **changes: Any) -> AgentRequest:
    return request("grpc", path, headers=headers, **{"context": CONTEXT, **changes})


def test_a_call_is_a_tool_call_with_the_method_as_its_resource() -> None:
    (action,) = read(asked(), frame(MESSAGE)).actions
    assert (action.name, action.tool, action.resource) == (
        "tool:execute",
        "grpc:shop.v1.Orders/Create",
        "shop.v1.Orders/Create",
    )
    assert action.attributes == {
        "service": "shop.v1.Orders",
        "method": "Create",
        "host": "orders.test:9000",
        "toolName": "grpc:shop.v1.Orders/Create",
        "messageCount": 1,
        "opaqueBytes": 0,
        "tokenEstimate": 7,
    }
    assert [message.text for message in action.messages] == ["two loaves of bread", "order.txt"]
    assert action.arguments == {"text": ["two loaves of bread", "order.txt"]}
    assert not action.explicit


def test_all_messages_of_a_client_stream_are_read() -> None:
    body = frame(MESSAGE) + frame(b"") + frame(a2a_pb2.Part(text="and butter").SerializeToString())
    (action,) = read(asked(), body).actions
    assert "and butter" in [message.text for message in action.messages]
    assert action.attributes["messageCount"] == 3


def test_compressed_messages_are_read() -> None:
    headers = {**GRPC, "grpc-encoding": "gzip"}
    (action,) = read(asked(headers=headers), frame(MESSAGE, compressed=True) + frame(MESSAGE)).actions
    assert [message.text for message in action.messages].count("two loaves of bread") == 2


def test_bytes_that_are_no_text_are_counted() -> None:
    (action,) = read(asked(), frame(a2a_pb2.Part(raw=b"\xff\xd8\xff\x00").SerializeToString())).actions
    assert action.attributes["opaqueBytes"] == 4


@pytest.mark.parametrize("path", ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/Info", "/S/M"])
def test_every_service_is_like_any_other(path: str) -> None:
    (action,) = read(asked(path), frame(b"")).actions
    assert action.tool == f"grpc:{path[1:]}"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/Orders",
        "/shop.v1.Orders/",
        "//Create",
        "/shop.v1.Orders/Create/",
        "/shop.v1.Orders//Create",
        "/shop..Orders/Create",
        "/.Orders/Create",
        "/shop.v1.Orders/Cre%61te",
        "/shop.v1.Orders/Create;x=1",
        "/shop.v1.Orders/1Create",
        "/shop.v1.Orders/..",
        "/a/shop.v1.Orders/Create",
        f"/{'a' * 300}/Create",
        "/shop.v1.Orders/Cre\u0430te",
    ],
)
def test_a_path_that_names_no_method_is_not_found(path: str) -> None:
    assert refused(asked(path), frame(MESSAGE)).code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": "GET"}, ErrorCode.METHOD_NOT_ALLOWED),
        ({"path": f"{PATH}?x=1"}, ErrorCode.BAD_REQUEST),
        ({"headers": {}}, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ({"headers": {"content-type": "application/json"}}, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ({"headers": {"content-type": "application/grpc-web"}}, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ({"headers": {"content-type": "application/grpc+json"}}, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ({"headers": {**GRPC, "content-encoding": "gzip"}}, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ({"headers": {**GRPC, "upgrade": "websocket"}}, ErrorCode.BAD_REQUEST),
        ({"headers": {**GRPC, "x-http-method-override": "GET"}}, ErrorCode.BAD_REQUEST),
    ],
)
def test_what_is_no_grpc_call_is_refused(changes: dict[str, Any], code: ErrorCode) -> None:
    assert refused(asked(**changes), frame(MESSAGE)).code is code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\0", ErrorCode.BAD_REQUEST),
        (b"\0\0\0\0", ErrorCode.BAD_REQUEST),
        (frame(MESSAGE)[:-1], ErrorCode.BAD_REQUEST),
        (frame(MESSAGE) + b"\0", ErrorCode.BAD_REQUEST),
        (b"\x02" + frame(MESSAGE)[1:], ErrorCode.BAD_REQUEST),
        (b"\x80" + frame(MESSAGE)[1:], ErrorCode.BAD_REQUEST),
        (frame(b"no protobuf"), ErrorCode.BAD_REQUEST),
        (frame(b'{"text": "x"}'), ErrorCode.BAD_REQUEST),
        (frame(MESSAGE, compressed=True), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (frame(b"") * 10_001, ErrorCode.BAD_REQUEST),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else str(value),
)
def test_a_body_that_is_not_whole_messages_is_refused(body: bytes, code: ErrorCode) -> None:
    assert refused(asked(), body).code is code


@pytest.mark.parametrize(
    ("codec", "data", "code"),
    [
        ("gzip", zipped(MESSAGE) + b"x", ErrorCode.BAD_REQUEST),
        ("gzip", zipped(MESSAGE)[:-1], ErrorCode.BAD_REQUEST),
        ("gzip", MESSAGE, ErrorCode.BAD_REQUEST),
        ("gzip", zipped(b"a" * 10_000_000), ErrorCode.PAYLOAD_TOO_LARGE),
        ("deflate", MESSAGE, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ("identity", MESSAGE, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ("gzip, gzip", zipped(zipped(MESSAGE)), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ("", zipped(MESSAGE), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    ],
)
def test_compression_that_cannot_be_undone_is_refused(codec: str, data: bytes, code: ErrorCode) -> None:
    body = b"\x01" + len(data).to_bytes(4, "big") + data
    assert refused(asked(headers={**GRPC, "grpc-encoding": codec}), body).code is code


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.POLICY_DENY, "7"),
        (ErrorCode.TOOL_DENIED, "7"),
        (ErrorCode.AUTH_FAILED, "16"),
        (ErrorCode.RATE_LIMIT_EXCEEDED, "8"),
        (ErrorCode.NOT_FOUND, "12"),
        (ErrorCode.BAD_REQUEST, "3"),
    ],
)
def test_a_refusal_is_a_grpc_status_in_headers(code: ErrorCode, status: str) -> None:
    reply = PROTOCOLS["grpc"].reply(asked(), denied(Action("tool:execute", ()), code=code, reason="50% \u00fc\nno"))
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == "application/grpc"
    assert reply.headers["grpc-status"] == status
    said = reply.headers["grpc-message"]
    assert said.isascii()
    assert said.isprintable()
    assert unquote(said) == "50% \u00fc\nno (request id: req_1)"


def test_every_error_code_has_a_status_and_a_limit_says_when_to_come_back() -> None:
    for code in ErrorCode:
        assert int(PROTOCOLS["grpc"].reply(asked(), denied(code=code)).headers["grpc-status"]) > 0
    reply = PROTOCOLS["grpc"].reply(asked(), denied(code=ErrorCode.RATE_LIMIT_EXCEEDED, retry_after=1.5))
    assert reply.headers["grpc-retry-pushback-ms"] == "1500"


def test_many_small_strings_are_not_read_where_others_wait() -> None:
    protocol = PROTOCOLS["grpc"]
    plain, packed = protocol.route(asked()), protocol.route(asked(headers={**GRPC, "grpc-encoding": "gzip"}))
    assert plain.light_bytes == 8192
    assert packed.light_bytes == 1024
    assert PROTOCOLS["a2a"].route(request("a2a", "/a2a.v1.A2AService/GetTask", headers=GRPC)).light_bytes == 8192


@given(st.binary(max_size=200), st.booleans())
def test_any_body_is_read_or_refused(data: bytes, whole: bool) -> None:
    try:
        assert read(asked(), frame(data) if whole else data).actions
    except Refusal:
        return


@given(st.text(max_size=40))
def test_any_path_is_found_or_refused(path: str) -> None:
    try:
        read(asked(f"/{path}"), frame(MESSAGE))
    except Refusal:
        return

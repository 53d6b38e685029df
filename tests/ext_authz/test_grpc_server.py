"""The ext_authz server on a real gRPC channel, with the core replaced by a recorder."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode, Outcome
from kalguard_core.decision import Decision, Reply, Verdict
from kalguard_core.identity import Identity
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_ext_authz.answer import Answer
from kalguard_ext_authz.grpc_server import GrpcServer
from support import free_port

MIB = 1024 * 1024
IDENTITY = Identity(
    agent_id="agent-1",
    capabilities=frozenset(),
    issuer="tests",
    token_id="",
    token_hash="",
    metadata={},
    expires_at=None,
    source="token",
)


class Recorder:
    """Answers as it is told and remembers what it was asked."""

    def __init__(self) -> None:
        self.request: AgentRequest | None = None
        self.body: bytes | Refusal = b""
        self.denial: Reply | None = None

    async def answer(self, request: AgentRequest, *, transport: str) -> Answer:
        assert transport == "grpc"
        self.request = request
        try:
            self.body = await request.body.read()
        except Refusal as refusal:
            self.body = refusal
        if self.denial is not None:
            decision = Decision(request.id, Outcome.DENY, "no", ErrorCode.POLICY_DENY, rule="r", identity=IDENTITY)
            return Answer(decision, self.denial)
        action = Action("prompt:check", ())
        verdict = Verdict(action, Outcome.ALLOW, "allowed", None, "rule-7", 12)
        return Answer(
            Decision(
                request.id,
                Outcome.ALLOW,
                "allowed",
                rule="rule-7",
                risk=12,
                identity=IDENTITY,
                verdicts=(verdict,),
                route="openai.chat",
            ),
            None,
        )


@asynccontextmanager
async def serving(recorder: Recorder, address: str, **options: Any) -> AsyncIterator[tuple[GrpcServer, Any]]:
    server = GrpcServer(
        recorder,
        address=address,
        trust=options.pop("trust", "auto"),
        max_body_bytes=options.pop("max_body_bytes", 5 * MIB),
        now=lambda: 1000.0,
        monotonic=lambda: 5.0,
        **options,
    )
    bound = await server.start()
    channel = grpc.aio.insecure_channel(
        bound.replace("unix://", "unix:"), options=(("grpc.max_send_message_length", -1),)
    )
    try:
        yield server, channel
    finally:
        await channel.close()
        await server.stop(0)


async def check(channel: Any, request: CheckRequest) -> CheckResponse:
    call = channel.unary_unary(
        "/envoy.service.auth.v3.Authorization/Check",
        request_serializer=CheckRequest.SerializeToString,
        response_deserializer=CheckResponse.FromString,
    )
    response = await call(request)
    assert isinstance(response, CheckResponse)
    return response


def a_request(
    body: bytes = b"{}", headers: dict[str, str] | None = None, context: dict[str, str] | None = None
) -> CheckRequest:
    message = CheckRequest()
    http = message.attributes.request.http
    http.method, http.path, http.host, http.raw_body, http.size = "POST", "/openai/v1?x=1", "h", body, len(body)
    http.headers.update(headers or {})
    message.attributes.context_extensions.update(context or {})
    message.attributes.source.principal = "spiffe://td/agent"
    message.attributes.source.address.socket_address.address = "10.0.0.9"
    message.attributes.source.address.socket_address.port_value = 4711
    return message


def overwritten(headers: Any) -> dict[str, str]:
    assert all(option.append_action == 2 for option in headers), "OVERWRITE_IF_EXISTS_OR_ADD"
    return {option.header.key: option.header.value for option in headers}


async def test_a_caller_on_a_unix_socket_is_believed(short_folder: Path) -> None:
    recorder = Recorder()
    async with serving(recorder, f"unix://{short_folder}/a.sock") as (server, channel):
        await check(channel, a_request(b"body", {"x-a": "1"}, {"kind": "openai", "prefix": "/openai"}))
        assert server.trusted
    seen = recorder.request
    assert seen is not None
    assert (seen.kind, seen.method, seen.host, seen.path) == ("openai", "POST", "h", "/openai/v1?x=1")
    assert seen.context == {"kind": "openai", "prefix": "/openai"}
    assert (seen.peer.principal, seen.peer.address) == ("spiffe://td/agent", "10.0.0.9:4711")
    assert (seen.time, seen.monotonic, seen.can_rewrite) == (1000.0, 5.0, False)
    assert recorder.body == b"body"


async def test_a_caller_on_plain_tcp_is_not_believed_about_principal_or_kind() -> None:
    recorder = Recorder()
    async with serving(recorder, f"127.0.0.1:{free_port()}") as (server, channel):
        response = await check(channel, a_request(context={"kind": "openai", "internal": "true"}))
        assert not server.trusted
    assert recorder.request is not None
    assert recorder.request.kind not in PROTOCOLS, "so the guard refuses it: as plain HTTP its prompt would be unread"
    assert recorder.request.context == {}
    assert recorder.request.peer.principal == ""
    assert "x-kalguard-agent" not in overwritten(response.ok_response.headers)


@pytest.mark.parametrize("context", [{}, {"kind": "http", "internal": "true"}])
async def test_a_plain_route_over_plain_tcp_is_plain_http(context: dict[str, str]) -> None:
    recorder = Recorder()
    async with serving(recorder, f"127.0.0.1:{free_port()}") as (_, channel):
        await check(channel, a_request(context=context))
    assert recorder.request is not None
    assert (recorder.request.kind, recorder.request.context) == ("http", {})


async def test_an_operator_can_vouch_for_the_network() -> None:
    recorder = Recorder()
    async with serving(recorder, f"127.0.0.1:{free_port()}", trust="network") as (server, channel):
        await check(channel, a_request(context={"kind": "mcp"}))
        assert server.trusted
    assert recorder.request is not None
    assert recorder.request.kind == "mcp"


async def test_an_allow_removes_every_credential_and_every_kalguard_header_that_the_client_sent(
    short_folder: Path,
) -> None:
    sent = {
        "authorization": "Bearer x.y.z",
        "x-kalguard-token": "x.y.z",
        "x-api-key": "k",
        "api-key": "k",
        "x-goog-api-key": "k",
        "x-kalguard-agent": "root",
        "x-kalguard-decision": "allow",
        "x-kalguard-anything": "1",
        "x-kalguard-request-id": "mine",
        "accept": "*/*",
    }
    async with serving(Recorder(), f"unix://{short_folder}/a.sock") as (_, channel):
        response = await check(channel, a_request(headers=sent, context={"kind": "openai"}))
    ok = response.ok_response
    assert response.status.code == 0
    assert set(ok.headers_to_remove) == set(sent) - {"accept", "x-kalguard-request-id"}
    assert overwritten(ok.headers) == {"x-kalguard-request-id": "mine"}, "a vendor outside learns nothing else"
    assert not set(overwritten(ok.headers)) & set(ok.headers_to_remove), "Envoy would lose a name in both lists"


async def test_an_internal_route_learns_who_asks(short_folder: Path) -> None:
    async with serving(Recorder(), f"unix://{short_folder}/a.sock") as (_, channel):
        message = a_request(headers={"x-kalguard-agent": "root"}, context={"kind": "http", "internal": "true"})
        response = await check(channel, message)
    headers = overwritten(response.ok_response.headers)
    assert headers["x-kalguard-agent"] == "agent-1"
    assert headers["x-kalguard-decision"] == "allow"
    assert "x-kalguard-agent" not in response.ok_response.headers_to_remove


async def test_every_answer_describes_itself_in_dynamic_metadata(short_folder: Path) -> None:
    recorder = Recorder()
    async with serving(recorder, f"unix://{short_folder}/a.sock") as (_, channel):
        allowed = await check(channel, a_request(headers={"x-request-id": "id-1"}))
        recorder.denial = Reply(403, b"{}")
        denied = await check(channel, a_request(headers={"x-request-id": "id-2"}))
    assert dict(allowed.dynamic_metadata.items()) == {
        "decision": "allow",
        "requestId": "id-1",
        "agent": "agent-1",
        "action": "prompt:check",
        "rule": "rule-7",
        "risk": 12.0,
    }
    assert denied.dynamic_metadata["decision"] == "deny"
    assert denied.dynamic_metadata["errorCode"] == "POLICY_DENY"
    assert denied.dynamic_metadata["requestId"] == "id-2"


async def test_a_denial_is_sent_as_the_protocol_wrote_it(short_folder: Path) -> None:
    recorder = Recorder()
    recorder.denial = Reply(200, b'{"jsonrpc":"2.0"}', {"content-type": "application/json", "retry-after": "3"})
    async with serving(recorder, f"unix://{short_folder}/a.sock") as (_, channel):
        response = await check(channel, a_request(headers={"x-request-id": "id-1"}))
    assert response.status.code == 7
    assert response.denied_response.status.code == 200
    assert response.denied_response.body == '{"jsonrpc":"2.0"}'
    assert overwritten(response.denied_response.headers) == {
        "content-type": "application/json",
        "retry-after": "3",
        "x-kalguard-request-id": "id-1",
    }


@pytest.mark.parametrize(
    ("body", "size", "headers", "code"),
    [
        (b"part", 10, {}, ErrorCode.BAD_REQUEST),
        (b"part", 4, {"x-envoy-auth-partial-body": "true"}, ErrorCode.BAD_REQUEST),
        (b"part", 4, {"x-envoy-auth-partial-body": "TRUE"}, ErrorCode.BAD_REQUEST),
        (b"part", 6 * MIB, {}, ErrorCode.PAYLOAD_TOO_LARGE),
        (b"", -1, {"content-length": "10"}, ErrorCode.BAD_REQUEST),
        (b"", 0, {"content-length": "10"}, ErrorCode.BAD_REQUEST),
        (b"x" * (MIB + 1), MIB + 1, {}, ErrorCode.PAYLOAD_TOO_LARGE),
    ],
)
async def test_a_body_that_did_not_arrive_in_full_is_refused(
    short_folder: Path, body: bytes, size: int, headers: dict[str, str], code: ErrorCode
) -> None:
    recorder = Recorder()
    async with serving(recorder, f"unix://{short_folder}/a.sock", max_body_bytes=MIB) as (_, channel):
        message = a_request(body, headers)
        message.attributes.request.http.size = size
        await check(channel, message)
    assert isinstance(recorder.body, Refusal)
    assert recorder.body.code is code


async def test_a_body_of_the_largest_size_is_read_whole(short_folder: Path) -> None:
    recorder = Recorder()
    body = b"x" * (5 * MIB)
    async with serving(recorder, f"unix://{short_folder}/a.sock") as (_, channel):
        await check(channel, a_request(body, {"content-length": str(len(body))}))
    assert recorder.body == body


@pytest.mark.parametrize("text", ["", "é\u2028", "\ufffd"])
async def test_a_body_sent_as_text_is_read_as_utf8(short_folder: Path, text: str) -> None:
    recorder = Recorder()
    async with serving(recorder, f"unix://{short_folder}/a.sock") as (_, channel):
        message = a_request(b"")
        message.attributes.request.http.body = text
        await check(channel, message)
    assert recorder.body == text.encode()


async def test_repeated_raw_headers_are_joined_and_lower_case(short_folder: Path) -> None:
    recorder = Recorder()
    async with serving(recorder, f"unix://{short_folder}/a.sock") as (_, channel):
        message = a_request()
        for value in ("Bearer a", "Bearer b"):
            message.attributes.request.http.header_map.headers.append(
                HeaderValue(key="Authorization", raw_value=value.encode())
            )
        await check(channel, message)
    assert recorder.request is not None
    assert recorder.request.headers == {"authorization": "Bearer a,Bearer b"}


@pytest.mark.parametrize("forged", ["a b", "x" * 129, "é", "a\nb", ""])
async def test_an_id_that_is_no_token_is_replaced(short_folder: Path, forged: str) -> None:
    recorder = Recorder()
    async with serving(recorder, f"unix://{short_folder}/a.sock") as (_, channel):
        await check(channel, a_request(headers={"x-request-id": forged, "x-kalguard-request-id": forged}))
    assert recorder.request is not None
    assert recorder.request.id.startswith("req_")


async def test_the_socket_is_not_open_to_others(short_folder: Path) -> None:
    before = os.umask(0)
    try:
        async with serving(Recorder(), f"unix://{short_folder}/new/a.sock"):
            mode = stat.S_IMODE((short_folder / "new" / "a.sock").stat().st_mode)
            assert mode == 0o660
            assert stat.S_IMODE((short_folder / "new").stat().st_mode) & 0o007 == 0
    finally:
        os.umask(before)


async def test_a_socket_left_behind_by_a_crash_is_replaced(short_folder: Path) -> None:
    path = f"unix://{short_folder}/a.sock"
    async with serving(Recorder(), path):
        os.link(short_folder / "a.sock", short_folder / "copy")
    os.rename(short_folder / "copy", short_folder / "a.sock")
    recorder = Recorder()
    async with serving(recorder, path) as (_, channel):
        await check(channel, a_request())
    assert recorder.request is not None


async def test_an_address_that_cannot_be_bound_is_named(short_folder: Path) -> None:
    port = free_port()
    async with serving(Recorder(), f"127.0.0.1:{port}"):
        with pytest.raises(OSError, match=f"KALGUARD_GRPC_ADDRESS: cannot listen on 127.0.0.1:{port}"):
            async with serving(Recorder(), f"127.0.0.1:{port}"):
                pass


async def test_health_is_served_and_goes_away_with_draining(short_folder: Path) -> None:
    async with serving(Recorder(), f"unix://{short_folder}/a.sock") as (server, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
        await server.set_serving(False)
        for service in ("", "envoy.service.auth.v3.Authorization"):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == 2


@pytest.mark.parametrize("wanted", [True, False])
async def test_reflection_is_there_only_when_asked_for(short_folder: Path, wanted: bool) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    async with serving(Recorder(), f"unix://{short_folder}/a.sock", reflection=wanted) as (_, channel):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        if wanted:
            names = [service.name for service in (await call.read()).list_services_response.service]
            assert "envoy.service.auth.v3.Authorization" in names
        else:
            with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
                await call.read()


async def test_garbage_on_the_wire_is_an_error_of_the_call_and_not_of_the_server(short_folder: Path) -> None:
    async with serving(Recorder(), f"unix://{short_folder}/a.sock") as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(b"\xff\xff\xff")
        response = await check(channel, a_request())
    assert response.status.code == 0


@pytest.mark.parametrize(
    ("path", "removed"),
    [
        ("/x?key=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln&q=1", ["key"]),
        ("/x?q=1&k%65y=eyJhbGciOiJIUzI1NiJ9%2EeyJzdWIiOiJhIn0%2Ec2ln", ["k%65y"]),
        ("/x?q=eyJ", []),
        ("/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", []),
    ],
)
async def test_a_token_in_the_query_does_not_reach_the_upstream(
    short_folder: Path, path: str, removed: list[str]
) -> None:
    async with serving(Recorder(), f"unix://{short_folder}/a.sock") as (_, channel):
        message = a_request(context={"kind": "http"})
        message.attributes.request.http.path = path
        response = await check(channel, message)
    assert list(response.ok_response.query_parameters_to_remove) == removed


async def test_a_folder_that_cannot_be_made_and_a_missing_certificate_name_their_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="KALGUARD_GRPC_ADDRESS: cannot make"):
        async with serving(Recorder(), f"unix://{tmp_path}/file/a.sock"):
            pass
    with pytest.raises(OSError, match="KALGUARD_GRPC_TLS_CERT: cannot read"):
        async with serving(Recorder(), "127.0.0.1:0", tls_cert=tmp_path / "c", tls_key=tmp_path / "k"):
            pass


async def test_a_certificate_that_is_no_pem_is_named(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("nonsense")
    (tmp_path / "k").write_text("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(OSError, match=r"KALGUARD_GRPC_TLS_CERT: .*c is not PEM"):
        async with serving(Recorder(), "127.0.0.1:0", tls_cert=tmp_path / "c", tls_key=tmp_path / "k"):
            pass


async def test_answers_that_look_alike_share_nothing(short_folder: Path) -> None:
    async with serving(Recorder(), f"unix://{short_folder}/a.sock") as (_, channel):
        odd = {"x-request-id": "id-1", "x-kalguard-odd": "1", "authorization": "Bearer a"}
        first = await check(channel, a_request(headers=odd, context={"kind": "http"}))
        plain = {"x-request-id": "id-2", "authorization": "Bearer b"}
        second = await check(channel, a_request(headers=plain, context={"kind": "http"}))
    assert set(first.ok_response.headers_to_remove) == {"authorization", "x-kalguard-odd"}
    assert set(second.ok_response.headers_to_remove) == {"authorization"}
    assert overwritten(second.ok_response.headers) == {"x-kalguard-request-id": "id-2"}
    assert overwritten(second.ok_response.response_headers_to_add) == {"x-kalguard-request-id": "id-2"}
    assert second.dynamic_metadata["requestId"] == "id-2"

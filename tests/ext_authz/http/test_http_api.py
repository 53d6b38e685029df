"""What the HTTP API makes of a request, and what it sends back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from http_support import HOST, EchoAnswerer, api, connect, exchange, head, serving, status, told
from kalguard_core.codes import STATUS, ErrorCode, Outcome
from kalguard_core.decision import Decision, Reply
from kalguard_core.request import AgentRequest, Refusal
from kalguard_ext_authz.answer import Answer
from kalguard_ext_authz.health import Check, Health
from kalguard_ext_authz.http_api import MAX_BODY_BYTES, StreamedBody
from kalguard_ext_authz.http_server import BODY_BROKEN, ASGIApp


class FixedAnswerer:
    """Gives one answer to everything; raises it if it is an exception."""

    def __init__(self, answer: Answer | Exception) -> None:
        self._answer = answer

    async def answer(self, request: AgentRequest, *, transport: str) -> Answer:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=False, transport=httpx.ASGITransport(app=app), base_url="http://kalguard")


# ---- the request as the core sees it


async def test_a_request_reaches_the_core_as_it_was_sent() -> None:
    answerer = EchoAnswerer()
    async with serving(api(answerer)) as server, httpx.AsyncClient(verify=False) as http:
        response = await http.post(
            f"http://127.0.0.1:{server.port}/v1/tool/check?a=%2F&b", content=b"abc", headers={"X-Odd": "1"}
        )
    body = response.json()
    assert (body["method"], body["path"], body["body"]) == ("POST", "/v1/tool/check?a=%2F&b", "abc")
    assert (body["kind"], body["transport"], body["principal"]) == ("api", "http", "")
    assert body["host"] == f"127.0.0.1:{server.port}"
    assert body["headers"]["x-odd"] == "1"
    assert body["peer"].startswith("127.0.0.1:")
    (request,) = answerer.seen
    assert request.context == {}
    assert request.time > 1e9


async def test_repeated_headers_are_joined_so_that_two_tokens_are_none() -> None:
    async with serving(api(EchoAnswerer()), keep_alive=0.1) as server:
        answer = await exchange(
            server,
            b"GET /x HTTP/1.1\r\n" + HOST + b"Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
        )
    assert told(answer)["headers"]["authorization"] == "Bearer a,Bearer b"


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/health", "POST"),
        ("/health", "DELETE"),
        ("/health/", "GET"),
        ("/healthz", "GET"),
        ("/HEALTH", "GET"),
        ("/livez", "PUT"),
        ("/readyz", "POST"),
        ("/openapi.json", "POST"),
        ("/%68ealth", "GET"),
        ("//health", "GET"),
        ("/metrics", "GET"),
        ("/config", "GET"),
        ("/reload", "POST"),
        ("/v1/tool/check", "GET"),
        ("/", "OPTIONS"),
    ],
)
async def test_what_is_no_probe_is_for_the_core_to_answer(path: str, method: str) -> None:
    answerer = EchoAnswerer()
    async with serving(api(answerer), keep_alive=0.1) as server:
        await exchange(server, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert [(request.method, request.path) for request in answerer.seen] == [(method, path)]


# ---- request ids


@pytest.mark.parametrize("sent", ["my-id-123", "a", "A.b:c_d-9", "x" * 128])
async def test_a_harmless_request_id_is_echoed(sent: str) -> None:
    answerer = EchoAnswerer()
    async with client(api(answerer)) as http:
        for path in ("/health", "/v1/tool/check"):
            response = await http.get(path, headers={"X-KalGuard-Request-Id": sent})
            assert response.headers["x-kalguard-request-id"] == sent
    assert answerer.seen[0].id == sent


@pytest.mark.parametrize(
    "sent", ["", "x" * 129, "a b", "a\tb", "a,b", "ä", "<script>", "${jndi}", 'a"b', "a\n", "../x", "a;b"]
)
async def test_any_other_request_id_is_replaced(sent: str) -> None:
    answerer = EchoAnswerer()
    async with client(api(answerer)) as http:
        response = await http.get("/x", headers=[(b"x-kalguard-request-id", sent.encode("utf-8"))])
    generated = response.headers["x-kalguard-request-id"]
    assert generated == answerer.seen[0].id
    assert generated.startswith("req_")
    assert len(generated) == 28
    assert set(generated[4:]) <= set("0123456789abcdef")


async def test_a_repeated_request_id_is_replaced() -> None:
    answerer = EchoAnswerer()
    async with client(api(answerer)) as http:
        await http.get("/x", headers=[("x-kalguard-request-id", "a"), ("x-kalguard-request-id", "b")])
    assert answerer.seen[0].id.startswith("req_")


# ---- answers


async def test_every_answer_has_an_id_a_type_and_is_not_cached() -> None:
    async with client(api(EchoAnswerer())) as http:
        for path in ("/health", "/livez", "/readyz", "/openapi.json", "/v1/tool/check", "/nope"):
            for method in ("GET", "HEAD"):
                response = await http.request(method, path)
                assert response.headers["content-type"] == "application/json"
                assert response.headers["cache-control"] == "no-store"
                assert response.headers["x-kalguard-request-id"]


async def test_head_sends_the_length_and_no_body() -> None:
    async with serving(api(EchoAnswerer()), keep_alive=0.1) as server:
        answer = await exchange(server, b"HEAD /health HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status(answer) == 200
    assert int(head(answer)["content-length"]) > 20
    assert answer.endswith(b"\r\n\r\n")


async def test_headers_of_a_reply_are_sent_and_cannot_displace_ours() -> None:
    headers = {
        "content-type": "application/json",
        "Retry-After": "7",
        "x-kalguard-plan": "pro",
        "Cache-Control": "public",
        "X-KalGuard-Request-Id": "forged",
        "content-length": "1",
        "connection": "keep-alive",
    }
    reply = Reply(429, b'{"a":1}', headers)
    answerer = FixedAnswerer(Answer(Decision("mine", Outcome.DENY, "no"), reply))
    async with client(api(answerer)) as http:
        response = await http.get("/x", headers={"x-kalguard-request-id": "mine"})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-kalguard-plan"] == "pro"
    assert response.headers.get_list("cache-control") == ["no-store"]
    assert response.headers.get_list("x-kalguard-request-id") == ["mine"]
    assert response.headers.get_list("content-length") == ["7"]
    assert "connection" not in response.headers


async def test_a_line_break_in_a_header_value_does_not_start_another_header() -> None:
    reply = Reply(403, b"{}", {"x-kalguard-reason": "a\r\nset-cookie: b=c\u2028é€"})
    answerer = FixedAnswerer(Answer(Decision("x", Outcome.DENY, "no"), reply))
    async with serving(api(answerer), keep_alive=0.1) as server:
        answer = await exchange(server, b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status(answer) == 403
    assert b"\r\nset-cookie" not in answer


@pytest.mark.parametrize(
    "answer",
    [RuntimeError("the secret is hunter2"), Answer(Decision("x", Outcome.ALLOW, "OK"), None)],
    ids=["raises", "has no reply"],
)
async def test_an_answerer_that_breaks_its_promise_lets_nobody_pass(answer: Answer | Exception) -> None:
    async with client(api(FixedAnswerer(answer))) as http:
        response = await http.post("/v1/tool/check", json={})
    assert response.status_code == 500
    body = response.json()
    assert body["allowed"] is False
    assert body["decision"] == "deny"
    assert body["errorCode"] == "INTERNAL"
    assert body["requestId"] == response.headers["x-kalguard-request-id"]
    assert "hunter2" not in response.text


# ---- probes


async def test_health_answers_whatever_the_readiness() -> None:
    health = Health()
    health.draining = True
    async with client(api(EchoAnswerer(), health)) as http:
        response = await http.get("/health?probe=1")
        assert response.status_code == 200
        assert response.json() == {"status": "ok", "requestId": response.headers["x-kalguard-request-id"]}
        assert (await http.get("/livez")).json() == {"status": "ok"}


async def test_health_says_so_while_unsigned_tokens_pass() -> None:
    async with client(api(EchoAnswerer(), unsigned_tokens=True)) as http:
        assert (await http.get("/health")).json()["warning"] == "unsigned tokens are accepted"


@pytest.mark.parametrize(
    ("states", "draining", "wanted", "status_code"),
    [
        ([], False, "ok", 200),
        (["ok", "ok"], False, "ok", 200),
        (["ok", "degraded"], False, "degraded", 200),
        (["unavailable", "degraded"], False, "unavailable", 503),
        (["ok"], True, "unavailable", 503),
    ],
)
async def test_readiness_is_the_worst_of_its_checks(
    states: list[Any], draining: bool, wanted: str, status_code: int
) -> None:
    health = Health()
    for number, state in enumerate(states):
        health.add(f"part-{number}", lambda state=state: Check(state, f"it is {state}"))  # type: ignore[misc]
    health.draining = draining
    async with client(api(EchoAnswerer(), health)) as http:
        response = await http.get("/readyz")
    assert response.status_code == status_code
    body = response.json()
    assert body["status"] == wanted
    for number, state in enumerate(states):
        assert body["checks"][f"part-{number}"] == {"status": state, "detail": f"it is {state}"}


async def test_probes_ask_nobody_and_read_no_body() -> None:
    answerer = EchoAnswerer()
    async with serving(api(answerer)) as server:
        reader, writer = await connect(server)
        writer.write(b"GET /health HTTP/1.1\r\n" + HOST + b"Content-Length: 1073741824\r\n\r\n")
        assert b" 200 " in await asyncio.wait_for(reader.readline(), 2)
        writer.close()
    assert answerer.seen == []


# ---- the body


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(("size", "wanted"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)])
async def test_5_mib_pass_and_one_byte_more_is_413(chunked: bool, size: int, wanted: int) -> None:
    async def pieces() -> Any:
        for start in range(0, size, 1_000_000):
            yield b"x" * min(1_000_000, size - start)

    async with serving(api(EchoAnswerer())) as server, httpx.AsyncClient(verify=False) as http:
        url = f"http://127.0.0.1:{server.port}/v1/prompt/check"
        response = await http.post(url, content=pieces() if chunked else b"x" * size)
    assert response.status_code == wanted
    if wanted == 413:
        assert response.json() == {"errorCode": "PAYLOAD_TOO_LARGE", "message": "Payload Too Large"}
    else:
        assert response.json()["length"] == size


async def test_a_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("it was read")

    body = StreamedBody(receive, length=11, limit=10, deadline=1, state={})
    for _ in range(2):
        with pytest.raises(Refusal) as refused:
            await body.read()
        assert refused.value.code is ErrorCode.PAYLOAD_TOO_LARGE
    assert body.size_hint == 11
    assert body.unread


async def test_a_body_of_unknown_length_is_budgeted_as_the_largest() -> None:
    # else one agent could have hundreds of chunked bodies in memory while the bytes in flight say 0
    body, _ = _body([b"a"], limit=10)
    assert body.size_hint == 10
    assert await body.read() == b"a"


async def test_a_body_can_be_read_twice() -> None:
    body, _ = _body([b"ab", b"c"], limit=10)
    assert await body.read() == await body.read() == b"abc"
    assert not body.unread


async def test_a_body_that_does_not_come_is_a_408() -> None:
    async def receive() -> MutableMapping[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    body = StreamedBody(receive, length=None, limit=10, deadline=0.01, state={})
    with pytest.raises(Refusal, match="request body timed out") as refused:
        await body.read()
    assert refused.value.status == 408


async def test_a_client_that_goes_away_is_a_400() -> None:
    body, _ = _body([b"ab"], limit=10, ending={"type": "http.disconnect"})
    with pytest.raises(Refusal) as refused:
        await body.read()
    assert refused.value.status == 400


async def test_a_body_that_the_server_could_not_read_is_a_400() -> None:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"abc", "more_body": False}

    body = StreamedBody(receive, length=None, limit=10, deadline=1, state={BODY_BROKEN: "broken chunk"})
    with pytest.raises(Refusal, match="broken chunk") as refused:
        await body.read()
    assert refused.value.status == 400


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(st.binary(max_size=40), max_size=12), limit=st.integers(0, 120))
def test_any_bytes_in_any_pieces_are_read_back_or_refused_by_the_limit(pieces: list[bytes], limit: int) -> None:
    whole = b"".join(pieces)
    body, held = _body(pieces, limit=limit)

    async def read() -> bytes | Refusal:
        try:
            return await body.read()
        except Refusal as refusal:
            return refusal

    result = asyncio.run(read())
    if len(whole) <= limit:
        assert result == whole
    else:
        assert isinstance(result, Refusal)
        assert result.code is ErrorCode.PAYLOAD_TOO_LARGE
        assert held[0] <= limit + 40  # it stops at the piece that crosses the limit


@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=3000),
    cuts=st.lists(st.integers(0, 3200), max_size=6),
    sizes=st.lists(st.integers(1, 900), max_size=8),
    chunked=st.booleans(),
)
def test_any_body_over_a_real_connection_in_any_segments_is_read_back_or_413(
    body: bytes, cuts: list[int], sizes: list[int], chunked: bool
) -> None:
    limit = 2000
    request = b"POST /v1/tool/check HTTP/1.1\r\n" + HOST
    if chunked:
        request += b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(body, sizes)
    else:
        request += b"Content-Length: %d\r\n\r\n" % len(body) + body
    edges = sorted({0, len(request), *(cut for cut in cuts if cut < len(request))})

    async def ask() -> bytes:
        async with serving(api(EchoAnswerer(), max_body_bytes=limit), keep_alive=0.02) as server:
            reader, writer = await connect(server)
            for start, end in itertools.pairwise(edges):
                writer.write(request[start:end])
                await asyncio.sleep(0)
            answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
            writer.close()
            return answer

    answer = asyncio.run(ask())
    assert status(answer) == (200 if len(body) <= limit else 413)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_a_5xx(noise: bytes) -> None:
    prefix = b"POST /v1/tool/check HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n"

    async def ask(data: bytes) -> bytes:
        async with serving(api(EchoAnswerer(), body_timeout=0.02), header_timeout=0.02, keep_alive=0.02) as server:
            reader, writer = await connect(server)
            writer.write(data)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return answer

    for data in (noise, prefix + noise, prefix + b"\r\n" + noise):
        assert status(asyncio.run(ask(data))) < 500


# ---- the description


async def test_the_description_is_valid_openapi_and_its_examples_fit() -> None:
    async with client(api(EchoAnswerer())) as http:
        document = (await http.get("/openapi.json")).json()
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")
    from openapi_schema_validator import OAS31Validator

    def fits(media: dict[str, Any]) -> None:
        schema = {**media["schema"], "components": document["components"]}
        for example in media.get("examples", {}).values():
            OAS31Validator(schema).validate(example["value"])

    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                fits(response["content"]["application/json"])
            if "requestBody" in operation:
                fits(operation["requestBody"]["content"]["application/json"])


async def test_the_description_has_every_status_and_error_code_of_the_core() -> None:
    async with client(api(EchoAnswerer())) as http:
        document = (await http.get("/openapi.json")).json()
    for path in ("/v1/prompt/check", "/v1/llm/check", "/v1/tool/check"):
        responses = document["paths"][path]["post"]["responses"]
        for code, wanted in STATUS.items():
            example = responses[str(wanted)]["content"]["application/json"]["examples"][code.value]["value"]
            assert example["errorCode"] == code.value
    assert document["x-kalguard-max-body-bytes"] == MAX_BODY_BYTES
    for path in ("/health", "/livez", "/readyz", "/openapi.json"):
        assert document["paths"][path]["get"]["security"] == []


def _body(pieces: list[bytes], *, limit: int, ending: dict[str, Any] | None = None) -> tuple[StreamedBody, list[int]]:
    """A body that arrives in `pieces`, and how many bytes were asked for."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append(ending or {"type": "http.request", "body": b"", "more_body": False})
    asked = [0]

    async def receive() -> MutableMapping[str, Any]:
        message = messages.pop(0)
        asked[0] += len(message.get("body", b""))  # type: ignore[arg-type]
        return message

    return StreamedBody(receive, length=None, limit=limit, deadline=1, state={}), asked


def _chunked(body: bytes, sizes: list[int]) -> bytes:
    result, start = b"", 0
    for size in [*sizes, len(body)]:
        piece = body[start : start + size]
        if piece:
            result += b"%x\r\n" % len(piece) + piece + b"\r\n"
        start += size
    return result + b"0\r\n\r\n"

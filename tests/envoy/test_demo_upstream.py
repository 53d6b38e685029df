"""The demo upstream against the official SDKs, without Envoy: what passes here must pass through the gate."""

from __future__ import annotations

import time

import httpx
import mcp
import openai
import pytest
from mcp.shared.exceptions import MCPError

from envoy_lab import Demo
from kalguard_ext_authz.demo.mcp import PROTOCOL_VERSIONS


def _openai(demo: Demo) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{demo.url}/v1", api_key="any", max_retries=0)


def test_the_openai_sdk_gets_a_completion_that_names_the_demo(demo_upstream: Demo) -> None:
    answer = _openai(demo_upstream).chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Good morning"}]
    )
    assert "demo upstream, not a model" in (answer.choices[0].message.content or "")
    assert "Good morning" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0


def test_the_openai_sdk_gets_a_stream_word_by_word(demo_upstream: Demo) -> None:
    stream = _openai(demo_upstream).chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": [{"type": "text", "text": "Good morning"}]}],
        stream=True,
        stream_options={"include_usage": True},
    )
    began = time.monotonic()
    arrivals, text, usage = [], "", None
    for chunk in stream:
        arrivals.append(time.monotonic() - began)
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    assert "Good morning" in text
    assert usage is not None
    assert arrivals[-1] - arrivals[0] > 0.1  # they did not come in one piece


def test_the_openai_sdk_lists_the_demo_model(demo_upstream: Demo) -> None:
    assert [model.id for model in _openai(demo_upstream).models.list()] == ["kalguard-demo"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": 1}', b'"text"'])
def test_a_body_that_is_no_chat_request_is_a_400(demo_upstream: Demo, body: bytes) -> None:
    answer = httpx.post(f"{demo_upstream.url}/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("kalguard-demo:")


async def test_the_mcp_sdk_lists_tools_calls_one_and_gets_an_error_for_another(demo_upstream: Demo) -> None:
    async with mcp.Client(f"{demo_upstream.url}/mcp") as client:
        tools = await client.list_tools()
        assert [tool.name for tool in tools.tools] == ["get_weather", "search", "read_file", "delete_file"]
        answer = await client.call_tool("get_weather", {"location": "Oslo"})
        assert "kalguard-demo" in str(answer.content)
        with pytest.raises(MCPError, match="no such tool"):
            await client.call_tool("launch", {})
        await client.send_ping()


@pytest.mark.parametrize("version", PROTOCOL_VERSIONS)
def test_a_client_gets_the_protocol_revision_that_it_asked_for(demo_upstream: Demo, version: str) -> None:
    assert _initialize(demo_upstream, version).json()["result"]["protocolVersion"] == version


def test_a_client_of_an_unknown_revision_is_offered_the_newest_handshake(demo_upstream: Demo) -> None:
    assert _initialize(demo_upstream, "1999-01-01").json()["result"]["protocolVersion"] == PROTOCOL_VERSIONS[-1]


def test_a_session_lives_from_initialize_to_delete(demo_upstream: Demo) -> None:
    url = f"{demo_upstream.url}/mcp"
    session = {"mcp-session-id": _initialize(demo_upstream, PROTOCOL_VERSIONS[-1]).headers["mcp-session-id"]}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert httpx.post(url, json=notification, headers=session).status_code == 202
    assert httpx.post(url, json=ping, headers=session).json()["result"] == {}
    assert httpx.post(url, json=ping).status_code == 400
    assert httpx.get(url, headers=session).status_code == 405
    assert httpx.delete(url, headers=session).status_code == 200
    assert httpx.post(url, json=ping, headers=session).status_code == 404


def test_every_answer_names_the_demo(demo_upstream: Demo) -> None:
    for path in ("/healthz", "/echo", "/v1/models", "/mcp", "/nowhere"):
        assert httpx.get(demo_upstream.url + path).headers["x-demo-upstream"] == "kalguard-demo"


def test_the_demo_tells_what_it_was_sent(demo_upstream: Demo) -> None:
    body = b"x" * 100_000
    echoed = httpx.put(f"{demo_upstream.url}/echo?a=1", content=body, headers={"X-Some": "thing"}).json()
    assert echoed["path"] == "/echo?a=1"
    assert echoed["bodyBytes"] == len(body)
    assert ["x-some", "thing"] in echoed["headers"]
    assert demo_upstream.seen()[-1]["path"] == "/echo?a=1"


def _initialize(demo: Demo, version: str) -> httpx.Response:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    return httpx.post(f"{demo.url}/mcp", json=message)

"""Credentials through a real Envoy: what reaches the upstream, byte for byte, and what reaches nobody."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from echo_upstream import Arrived, EchoUpstream, running_echo
from kalguard_ext_authz.envoy.targets import Upstream
from raw_http import exchange
from stack import Stack, running_stack
from support import make_token

JWT = make_token()
OWN = "sk-the-agents-own"
KEYS = {name: f"REAL-{name}-0123456789" for name in ("openai", "anthropic", "gemini", "maps")}
POLICY = """
rules:
  - {id: live, match: {actions: ["http:websocket"], resources: ["*/live"]}, decision: allow}
  - {id: all, match: {actions: ["*"]}, decision: allow}
"""
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "good morning"}]}
CLAUDE = {"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "good morning"}]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "good morning"}]}]}


@dataclass
class Lab:
    stack: Stack
    echo: EchoUpstream

    def send(self, path: str, body: object = None, headers: dict[str, str] | None = None) -> tuple[int, Arrived | None]:
        """Status, and what the upstream got of it."""
        before = len(self.echo.arrived)
        method = "GET" if body is None else "POST"
        given = {"x-kalguard-token": JWT} if headers is None else headers
        answer = httpx.request(method, self.stack.url + path, json=body, headers=given, timeout=20)
        assert not any(key in answer.text + str(answer.headers) for key in KEYS.values())
        new = self.echo.arrived[before:]
        return answer.status_code, new[0] if new else None


@pytest.fixture(scope="module")
def lab(envoy_binary: Path, module_socket_directory: Path) -> Iterator[Lab]:
    folder = module_socket_directory
    files = {name: folder / name for name in KEYS}
    for name, key in KEYS.items():
        files[name].write_text(f"{key}\n")
    upstreams = {
        "openai_openai": {"credential": {"file": str(files["openai"])}},
        "anthropic_anthropic": {"credential": {"file": str(files["anthropic"])}, "header": "x-api-key"},
        "gemini_gemini": {"credential": {"file": str(files["gemini"])}, "query": "key"},
        "http_maps": {"credential": {"file": str(files["maps"])}, "query": "key"},
        "http_partner": {"passthrough": True},
    }
    with running_echo() as echo:
        routed = tuple(
            Upstream.parse(kind, f"{name}={echo.url}")
            for kind, name in (
                ("openai", "openai"),
                ("compatible", "local"),
                ("anthropic", "anthropic"),
                ("gemini", "gemini"),
                ("http", "maps"),
                ("http", "partner"),
            )
        )
        with running_stack(
            folder,
            envoy_binary,
            echo.url,
            policy=POLICY,
            upstreams=routed,
            env={"KALGUARD_UPSTREAMS": json.dumps(upstreams), "KALGUARD_LOG_LEVEL": "debug"},
        ) as stack:
            yield Lab(stack, echo)


@pytest.mark.parametrize(
    ("path", "body", "token_in", "header", "value"),
    [
        ("/openai/v1/chat/completions", CHAT, "authorization", "authorization", f"Bearer {KEYS['openai']}"),
        ("/openai/v1/chat/completions", CHAT, "x-kalguard-token", "authorization", f"Bearer {KEYS['openai']}"),
        ("/anthropic/v1/messages", CLAUDE, "x-api-key", "x-api-key", KEYS["anthropic"]),
        ("/local/v1/chat/completions", CHAT, "authorization", "", ""),
    ],
)
def test_the_upstream_gets_its_credential_and_nothing_of_the_agents(
    lab: Lab, path: str, body: object, token_in: str, header: str, value: str
) -> None:
    headers = {token_in: f"Bearer {JWT}" if token_in == "authorization" else JWT}
    for name in ("api-key", "x-goog-api-key", "x-auth-token", "x-portkey-api-key", "cf-aig-authorization", "apikey"):
        headers[name] = OWN
    headers |= {"x-note": JWT, "cookie": f"a=b; session={JWT}"}
    status, arrived = lab.send(path, body, headers)
    assert (status, arrived is not None) == (200, True)
    assert arrived is not None
    if header:
        assert arrived.values(header) == [value]
    text = str(arrived)
    assert JWT not in text
    assert OWN not in text
    assert sum(key in text for key in KEYS.values()) == bool(header)


def test_a_credential_in_the_query_is_the_only_one_there(lab: Lab) -> None:
    path = "/gemini/v1beta/models/gemini-2.0-flash:generateContent"
    for query in ("", f"?key={OWN}"):
        status, arrived = lab.send(path + query, GEMINI, {"x-goog-api-key": JWT})
        assert status == 200
        assert arrived is not None
        assert arrived.target == f"/v1beta/models/gemini-2.0-flash:generateContent?key={KEYS['gemini']}"


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("address=a%20b&n=1", {"address=a%20b", "n=1"}),
        (f"key={OWN}&key={OWN}&n=1", {"n=1"}),
        (f"%6Bey={OWN}&KEY={OWN}&k%45y={OWN}&n=1", {"n=1"}),
        (f"n=1;key={OWN}&m=2", {"m=2"}),
        (f"key[]={OWN}&api_key={OWN}&n=1", {"n=1"}),
        (f"x={JWT}&n=1", {"n=1"}),
        (f"{JWT}&x=Bearer%20{JWT}&y=a{JWT}b&n=1", {"n=1"}),
        ("key&n=1", {"n=1"}),
    ],
)
def test_no_spelling_of_the_agents_own_key_goes_on_beside_ours(lab: Lab, query: str, kept: set[str]) -> None:
    status, arrived = lab.send(f"/maps/geo?{query}")
    assert status == 200
    assert arrived is not None
    path, _, members = arrived.target.partition("?")
    assert path == "/geo"
    assert set(members.split("&")) == kept | {f"key={KEYS['maps']}"}
    assert members.count("key=") == 1


def test_passthrough_lets_the_agents_key_pass_but_not_our_token(lab: Lab) -> None:
    headers = {"x-kalguard-token": JWT, "authorization": f"Bearer {OWN}", "x-api-key": JWT}
    status, arrived = lab.send(f"/partner/x?key={OWN}&t={JWT}", headers=headers)
    assert status == 200
    assert arrived is not None
    assert arrived.values("authorization") == [f"Bearer {OWN}"]
    assert arrived.target == f"/x?key={OWN}"
    assert JWT not in str(arrived)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("/partner/v1/models", "api.openai.com"),
        ("/partner/v1/models", "openai_openai"),
        ("/partner/openai/v1/models", "gate"),
        ("/partner/https://api.openai.com/v1/models", "gate"),
        ("http://api.openai.com/partner/v1/models", "api.openai.com"),
        ("/local/v1/models", "api.openai.com"),
        ("/local/v1/models?upstream=openai_openai", "gate"),
    ],
)
def test_who_names_another_provider_gets_none_of_its_credentials(lab: Lab, target: str, host: str) -> None:
    before = len(lab.echo.arrived)
    head = f"GET {target} HTTP/1.1\r\nhost: {host}\r\nx-kalguard-token: {JWT}\r\nconnection: close\r\n\r\n"
    exchange(lab.stack.port, head.encode())
    for arrived in lab.echo.arrived[before:]:
        assert not any(key in str(arrived) for key in KEYS.values())
        assert arrived.values("host") == [f"127.0.0.1:{lab.echo.port}"]


def test_a_websocket_is_opened_only_when_a_rule_names_it_and_carries_no_key_of_the_agent(lab: Lab) -> None:
    def opened(path: str) -> int:
        head = (
            f"GET {path} HTTP/1.1\r\nhost: gate\r\nx-kalguard-token: {JWT}\r\nconnection: upgrade\r\n"
            f"upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {'A' * 22}==\r\n"
            f"sec-websocket-protocol: chat, openai-insecure-api-key.{OWN}, access_token, {OWN}, {JWT}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", lab.stack.port), 10) as connection:
            connection.sendall(head.encode())
            return int(connection.recv(4096).split(b" ")[1])

    before = len(lab.echo.arrived)
    assert opened("/maps/other") == 403, "actions: ['*'] names nothing"
    assert opened("/anthropic/v1/messages") == 403, "no such endpoint there, so Envoy asks nobody"
    assert len(lab.echo.arrived) == before
    assert opened("/maps/live") == 101
    arrived = lab.echo.last()
    assert arrived.target == f"/live?key={KEYS['maps']}"
    assert arrived.values("sec-websocket-protocol") == ["chat"]
    assert OWN not in str(arrived)
    assert JWT not in str(arrived)


def test_no_log_of_envoy_or_kalguard_has_a_credential(lab: Lab) -> None:
    lab.send(f"/maps/geo?key={OWN}")
    assert lab.stack.access_lines(1)
    written = [lab.stack.access_log, lab.stack.kalguard.log, lab.stack.envoy.log]
    if lab.stack.kalguard.audit is not None:
        written.append(lab.stack.kalguard.audit)
    for path in written:
        text = path.read_text()
        assert not any(key in text for key in (*KEYS.values(), JWT)), path

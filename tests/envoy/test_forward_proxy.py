"""The forward proxy in a real Envoy, as agents meet it: HTTP_PROXY and HTTPS_PROXY, and who tries to get around it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from echo_upstream import EchoUpstream, running_echo
from envoy_lab import AuthzStub
from kalguard_ext_authz.envoy.process import EnvoyProcess
from kalguard_ext_authz.envoy.render import render
from kalguard_ext_authz.envoy.sidecar import Sidecar
from kalguard_ext_authz.envoy.targets import Intercept, Pipe, Socket, Upstream
from stack import Stack, running_stack
from support import free_port, make_token

JWT = make_token()
POLICY = """
rules:
  - id: tunnels
    match: {actions: ["http:connect", "http:address"], resources: ["localhost:*", "127.0.0.1:*", "*.openai.com:443"]}
    decision: allow
  - {id: taken-apart, match: {actions: ["http:connect"], resources: ["api.mistral.ai:*"]}, decision: allow}
  - {id: secret, match: {resources: ["*/secret*"]}, decision: deny, reason: not this path}
  - {id: web, match: {actions: ["http:request"], resources: ["localhost:*", "127.0.0.1:*"]}, decision: allow}
"""


@dataclass
class Lab:
    stack: Stack
    echo: EchoUpstream
    port: int

    def proxy(self, user: str = f"agent:{JWT}") -> str:
        """The proxy's URL as programs are told it."""
        return f"http://{user}@127.0.0.1:{self.port}"

    def connect(self, target: str, *headers: str) -> tuple[int, bytes]:
        """Status and the rest of the answer to a CONNECT."""
        lines = (f"CONNECT {target} HTTP/1.1", f"host: {target}", *(headers or (f"x-kalguard-token: {JWT}",)), "", "")
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall("\r\n".join(lines).encode())
            answer = connection.recv(65536)
            return int(answer.split(b" ")[1]), answer


@pytest.fixture(scope="module")
def lab(envoy_binary: Path, module_socket_directory: Path) -> Iterator[Lab]:
    port = free_port()
    with running_echo() as echo:
        upstreams = (
            Upstream.parse("openai", "openai=https://models.example.com"),
            Upstream.parse("mcp", "tools=https://tools.example.com/mcp"),
        )
        listener = Socket("127.0.0.1", echo.port)
        intercepts = tuple(Intercept(host, listener) for host in ("api.mistral.ai", "api.cohere.com"))
        sidecar = {"proxy": Socket("127.0.0.1", port), "proxy_inside": True, "intercepts": intercepts}
        with running_stack(
            module_socket_directory, envoy_binary, echo.url, policy=POLICY, upstreams=upstreams, sidecar=sidecar
        ) as stack:
            yield Lab(stack, echo, port)


def test_a_tunnel_to_an_allowed_host_carries_what_it_is_given(lab: Lab) -> None:
    with socket.create_connection(("127.0.0.1", lab.port), 10) as connection:
        target = f"localhost:{lab.echo.port}"
        head = f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\nx-kalguard-token: {JWT}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /through/the/tunnel HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert lab.echo.last().target == "/through/the/tunnel"
    assert JWT not in str(lab.echo.last())


def test_an_intercepted_tunnel_ends_at_the_operators_listener_if_a_rule_allows_it(lab: Lab) -> None:
    with socket.create_connection(("127.0.0.1", lab.port), 10) as connection:
        head = f"CONNECT api.mistral.ai:443 HTTP/1.1\r\nhost: api.mistral.ai:443\r\nx-kalguard-token: {JWT}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /taken/apart HTTP/1.1\r\nhost: api.mistral.ai\r\nconnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert lab.echo.last().target == "/taken/apart"
    for target in ("api.cohere.com:443", "api.mistral.ai:8443", "API.mistral.ai:443"):
        assert lab.connect(target)[0] == 403, target
    with httpx.Client(proxy=lab.proxy(), timeout=20) as client:
        assert client.get("http://api.mistral.ai:443/").status_code == 403


def test_curl_is_told_the_proxy_and_the_token_by_the_environment_alone(lab: Lab) -> None:
    for url, arrives in ((f"http://localhost:{lab.echo.port}/by/curl?q=1", "/by/curl?q=1"),):
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", url],
            env={"http_proxy": lab.proxy(), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "200"
        arrived = lab.echo.last()
        assert arrived.target == arrives
        assert arrived.values("host") == [f"localhost:{lab.echo.port}"]
        assert not [name for name, _ in arrived.headers if name.startswith(("proxy-", "x-kalguard-token"))]
    tunnel = ["curl", "-sS", "--max-time", "20", "--proxytunnel", "-o", "/dev/null", "-w", "%{http_connect}"]
    for host, status in (("localhost", "200"), ("denied.example.com", "403"), ("api.openai.com", "403")):
        port = lab.echo.port if host == "localhost" else 443
        done = subprocess.run(
            [*tunnel, "-x", lab.proxy(), f"http://{host}:{port}/"], capture_output=True, text=True, check=False
        )
        assert done.stdout == status


def test_httpx_speaks_plain_http_through_the_proxy_and_is_denied_in_json(lab: Lab) -> None:
    with httpx.Client(proxy=lab.proxy(), timeout=20) as client:
        assert client.post(f"http://127.0.0.1:{lab.echo.port}/x", json={"a": 1}).status_code == 200
        assert lab.echo.last().body == b'{"a":1}'
        before = len(lab.echo.arrived)
        denied = client.get(f"http://127.0.0.1:{lab.echo.port}/secret")
        assert (denied.status_code, denied.json()["message"]) == (403, "not this path")
        assert len(lab.echo.arrived) == before


@pytest.mark.parametrize(
    "target",
    [
        "denied.example.com:443",
        "api.openai.com:443",
        "eu.api.openai.com:443",
        "api.anthropic.com:443",
        "models.example.com:443",
        "tools.example.com:443",
        "169.254.169.254:80",
        "metadata.google.internal:80",
    ],
)
def test_no_tunnel_leads_to_a_denied_host_a_model_a_tool_server_or_the_metadata(lab: Lab, target: str) -> None:
    status, answer = lab.connect(target)
    assert status == 403
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["errorCode"] == "POLICY_DENY"


@pytest.mark.parametrize(
    "target", ["API.OPENAI.COM:443", "api.openai.com.:443", "127.1:80", "0x7f000001:80", "[::ffff:169.254.169.254]:80"]
)
def test_no_other_spelling_of_a_host_opens_a_tunnel(lab: Lab, target: str) -> None:
    assert lab.connect(target)[0] in (400, 403)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (("x-nothing: 1",), 401),
        (("proxy-authorization: Basic eDp5",), 401),
        (("proxy-authorization: Bearer eyJ.a.b",), 401),
        ((f"proxy-authorization: Bearer {JWT}", f"x-kalguard-token: {make_token('agent-2')}"), 401),
        ((f"proxy-authorization: Bearer {JWT}",), 200),
        ((f"proxy-authorization: Bearer {JWT}", f"x-kalguard-token: {JWT}"), 200),
    ],
)
def test_who_asks_must_say_who_they_are_and_in_one_voice(lab: Lab, headers: tuple[str, ...], status: int) -> None:
    assert lab.connect(f"localhost:{lab.echo.port}", *headers)[0] == status


@pytest.mark.parametrize("host", ["api.openai.com", "models.example.com", "denied.example.com", "169.254.169.254"])
def test_plain_http_reaches_no_denied_host_whatever_the_host_header_says(lab: Lab, host: str) -> None:
    for named in (host, f"localhost:{lab.echo.port}"):
        with socket.create_connection(("127.0.0.1", lab.port), 10) as connection:
            head = f"GET http://{host}/v1/models HTTP/1.1\r\nhost: {named}\r\nx-kalguard-token: {JWT}\r\n\r\n"
            before = len(lab.echo.arrived)
            connection.sendall(head.encode())
            assert connection.recv(65536).split(b" ")[1] in (b"400", b"403")
            assert len(lab.echo.arrived) == before


def test_who_asks_for_https_without_a_tunnel_is_told_so(lab: Lab) -> None:
    with socket.create_connection(("127.0.0.1", lab.port), 10) as connection:
        connection.sendall(
            f"GET https://github.com/ HTTP/1.1\r\nhost: github.com\r\nx-kalguard-token: {JWT}\r\n\r\n".encode()
        )
        answer = connection.recv(65536)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["message"] == "an https URL needs CONNECT"


def test_every_answer_is_in_the_audit_log_and_no_token_in_any_log(lab: Lab) -> None:
    lab.connect("audited.example.com:443")
    events = [event for event in lab.stack.kalguard.audit_events() if "audited.example.com" in json.dumps(event)]
    assert len(events) == 1
    assert lab.stack.access_lines(1)
    for path in (lab.stack.access_log, lab.stack.envoy.log, lab.stack.kalguard.log):
        assert JWT not in path.read_text()


def test_the_sidecars_own_listener_opens_no_tunnel(lab: Lab) -> None:
    target = f"localhost:{lab.echo.port}"
    with socket.create_connection(("127.0.0.1", lab.stack.port), 10) as connection:
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\nx-kalguard-token: {JWT}\r\n\r\n".encode())
        assert not connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_name_that_resolves_to_an_address_inside_leads_nowhere(
    envoy_binary: Path, socket_directory: Path, lab: Lab
) -> None:
    port = free_port()
    sidecar = Sidecar(
        listen=Socket("127.0.0.1", free_port()),
        authz=Pipe(f"{socket_directory}/authz.sock"),
        admin=Pipe(f"{socket_directory}/admin.sock"),
        proxy=Socket("127.0.0.1", port),
    )
    stub = AuthzStub(socket_directory / "authz.sock")  # allows whatever it is asked
    before = len(lab.echo.arrived)
    try:
        with EnvoyProcess(envoy_binary, render(sidecar), socket_directory):
            inside = Lab(lab.stack, lab.echo, port)
            assert inside.connect(f"localhost:{lab.echo.port}")[0] == 503
            answer = httpx.get(f"http://localhost:{lab.echo.port}/", proxy=f"http://127.0.0.1:{port}", timeout=20)
            assert answer.status_code == 503
    finally:
        stub.close()
    assert len(stub.requests) == 2
    assert len(lab.echo.arrived) == before

"""Every upstream of the bundled configurations: what its protocol does not know is denied, and audited.

The requests go to the server as Envoy sends them, with the context that the committed files give each route; which
route Envoy takes is tested with a real one (test_rendered_config.py, test_credentials_live.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from kalguard_ext_authz.envoy.providers import all_providers
from support import KalGuardProcess, make_token, start_kalguard

BUNDLED = Path(__file__).parents[2] / "envoy"
FILES = sorted(path.name for path in BUNDLED.glob("*.yaml"))
POLICY = """
rules:
  - id: everything
    match: {actions: ["*", "http:connect", "http:address", "http:websocket", "content:reference"]}
    decision: allow
"""
TOKEN = make_token()
ALLOWED = 0


def contexts() -> dict[str, dict[str, str]]:
    """Of each route that asks us, by the file, route and name of the upstream."""
    found: dict[str, dict[str, str]] = {}

    def look(value: Any, file: str) -> None:
        if isinstance(value, list):
            for item in value:
                look(item, file)
        if isinstance(value, dict):
            if "context_extensions" in value:
                context = value["context_extensions"]
                found[f"{file}:{context['upstream']}"] = context
            for item in value.values():
                look(item, file)

    for name in FILES:
        look(yaml.load((BUNDLED / name).read_text(), yaml.CSafeLoader), name)
    return found


CONTEXTS = contexts()
UPSTREAMS = {name: context for name, context in CONTEXTS.items() if context["kind"] != "proxy"}
PROXIES = {name: context for name, context in CONTEXTS.items() if context["kind"] == "proxy"}
# What somebody might hope that nobody looks at: (method, path below the route, Host, other kind).
ODD = {
    "unknown path": ("POST", "/no/such/endpoint", "gate", ""),
    "path of an administrator": ("GET", "/v1/organization/admin_api_keys", "gate", ""),
    "path of another vendor": ("POST", "/v9/vendors/messages:generateEverything", "gate", ""),
    "root": ("GET", "/", "gate", ""),
    "unknown host": ("POST", "/no/such/endpoint", "api.elsewhere.example", ""),
    "host of the vendor": ("POST", "/no/such/endpoint", "api.openai.com", ""),
    "unknown method": ("BREW", "/v1/chat/completions", "gate", ""),
    "method that changes": ("DELETE", "/v1/chat/completions", "gate", ""),
    "method that traces": ("TRACE", "/v1/messages", "gate", ""),
    "tunnel": ("CONNECT", "", "api.openai.com:443", ""),
    "unknown kind": ("POST", "/v1/chat/completions", "gate", "teapot"),
    "no kind that an agent may choose": ("POST", "/v1/chat/completions", "gate", "OPENAI"),
    "empty kind": ("POST", "/v1/chat/completions", "gate", " "),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KalGuardProcess]:
    process = start_kalguard(tmp_path_factory.mktemp("bundled"), policy=POLICY)
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module")
def channel(server: KalGuardProcess) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc) as opened:
        yield opened.unary_unary(
            "/envoy.service.auth.v3.Authorization/Check",
            request_serializer=CheckRequest.SerializeToString,
            response_deserializer=CheckResponse.FromString,
        )


def ask(call: Any, context: dict[str, str], method: str, path: str, host: str) -> tuple[int, str]:
    """HTTP status of the denial (`ALLOWED` for none), and the request's id."""
    message = CheckRequest()
    request = message.attributes.request.http
    request.method, request.path, request.host = method, path, host
    request.headers["x-kalguard-token"] = TOKEN
    if method == "POST":
        request.headers["content-type"] = "application/json"
        request.raw_body, request.size = b"{}", 2
    message.attributes.context_extensions.update(context)
    response = call(message, timeout=20)
    status = response.denied_response.status.code if response.HasField("denied_response") else ALLOWED
    return status, response.dynamic_metadata["requestId"]


def test_the_bundled_files_have_an_upstream_for_every_provider() -> None:
    assert FILES == ["forward-proxy.yaml", "providers.yaml", "sidecar.yaml"]
    assert {f"providers.yaml:{upstream.cluster}" for upstream in all_providers()} <= set(UPSTREAMS)
    assert len(PROXIES) == 1


@pytest.mark.parametrize("name", UPSTREAMS)
def test_what_an_upstreams_protocol_does_not_know_is_denied_and_audited(
    server: KalGuardProcess, channel: Any, name: str
) -> None:
    asked = {}
    for odd, (method, path, host, kind) in ODD.items():
        context = UPSTREAMS[name] | ({"kind": kind} if kind else {})
        status, request_id = ask(channel, context, method, f"{context['prefix']}{path}" if path else "", host)
        assert status not in (ALLOWED, 401), odd
        assert status < 500, odd
        asked[request_id] = odd
    events = server.audit_events()
    for request_id, odd in asked.items():
        (event,) = [event for event in events if event.get("requestId") == request_id]
        assert (event["decision"], event["agent"]) == ("deny", "agent-1"), odd


@pytest.mark.parametrize("host", sorted({upstream.socket.host for upstream in all_providers()}))
def test_no_provider_is_reached_through_the_forward_proxy(server: KalGuardProcess, channel: Any, host: str) -> None:
    (context,) = PROXIES.values()
    for method, path, named in (
        ("CONNECT", "", f"{host}:443"),
        ("CONNECT", "", f"{host.upper()}:443"),
        ("CONNECT", "", f"{host}:8443"),
        ("GET", "/v1/models", host),
        ("POST", f"http://{host}/v1/chat/completions", host),
    ):
        status, request_id = ask(channel, context, method, path, named)
        assert status in (400, 403), (method, named)
        decisions = {event["decision"] for event in server.audit_events() if event.get("requestId") == request_id}
        assert decisions == {"deny"}

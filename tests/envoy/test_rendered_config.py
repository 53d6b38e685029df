"""The rendered configuration: what is refused, what a real Envoy says of it, and how it behaves there."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner

from envoy_lab import AuthzStub, Demo
from kalguard_core.wire.address import METADATA
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_ext_authz.cli import main
from kalguard_ext_authz.envoy.binary import validate
from kalguard_ext_authz.envoy.process import EnvoyProcess, ProcessFailed, unix_get
from kalguard_ext_authz.envoy.providers import PROVIDERS, all_providers, provider
from kalguard_ext_authz.envoy.render import render
from kalguard_ext_authz.envoy.sidecar import DEFAULT_UPSTREAMS, MAX_BODY, AuthzTls, ListenTls, Sidecar
from kalguard_ext_authz.envoy.targets import (
    OPTIONS,
    UPGRADE_KINDS,
    EnvoyConfigError,
    Pipe,
    Socket,
    Upstream,
    parse_target,
)

PROVIDER_OPTIONS = " ".join(
    f"--provider {each.name}={each.example}" if each.value else f"--provider {each.name}" for each in PROVIDERS
)
# What Envoy itself tells about the peer, true whatever the client sent.
ENVOYS_OWN = {"x-envoy-external-address"}
BUNDLED = Path(__file__).parents[2] / "envoy"
COMMITTED = {
    "sidecar.yaml": (Sidecar(), ""),
    "providers.yaml": (Sidecar(upstreams=all_providers()), PROVIDER_OPTIONS),
    "forward-proxy.yaml": (Sidecar(proxy=Socket("127.0.0.1", 10001)), "--forward-proxy 127.0.0.1:10001"),
}


# -- what is rendered -------------------------------------------------------------------------------------


def test_the_forward_proxy_connects_to_no_metadata_service_even_where_private_addresses_are_open() -> None:
    sidecar = Sidecar(proxy=Socket("127.0.0.1", 1), proxy_inside=True)
    clusters = yaml.load(render(sidecar), yaml.CSafeLoader)["static_resources"]["clusters"]
    (dns,) = (each["cluster_type"]["typed_config"]["dns_cache_config"] for each in clusters if "cluster_type" in each)
    refused = [
        ip_network(f"{each['address_prefix']}/{each['prefix_len']}")
        for each in dns["resolved_address_filter"]["ranges"]
    ]
    for known in (*METADATA, ip_address("169.254.169.254"), ip_address("fe80::1")):
        assert any(known in network for network in refused), known


@pytest.mark.parametrize(
    ("url", "guarded"),
    [
        ("https://api.example.com/v1", {"api.example.com"}),
        ("http://10.0.0.7:8000", {"10.0.0.7"}),
        ("http://[2001:DB8:0:0::7]:8000", {"[2001:db8::7]"}),
        ("http://127.0.0.1:8000", {"localhost", "*.localhost", "127.*", "[::1]"}),
        ("http://[::1]:8000", {"localhost", "*.localhost", "127.*", "[::1]"}),
        ("http://localhost:8000", {"localhost", "*.localhost", "127.*", "[::1]"}),
    ],
)
def test_the_forward_proxy_knows_the_hosts_of_models_as_requests_write_them(url: str, guarded: set[str]) -> None:
    sidecar = Sidecar(upstreams=(Upstream.parse("openai", f"m={url}"),), proxy=Socket("127.0.0.1", 1))
    (said,) = set(re.findall(r"guarded: (.*)", render(sidecar)))
    assert set(said.strip("'").split(",")) == guarded


@pytest.mark.parametrize("name", COMMITTED)
def test_what_is_committed_is_what_render_writes(name: str) -> None:
    sidecar, options = COMMITTED[name]
    run = f"kalguard envoy render {options} -o envoy/{name}"
    assert (BUNDLED / name).read_bytes() == render(sidecar).encode(), f"run: {run}"
    written = CliRunner().invoke(main, ["envoy", "render", *options.split()])
    assert written.output == render(sidecar)


@pytest.mark.parametrize("name", COMMITTED)
def test_what_is_committed_is_valid_for_a_real_envoy(envoy_binary: Path, name: str) -> None:
    assert validate(BUNDLED / name, envoy_binary).problem == ""


def _certificates(directory: Path) -> tuple[str, str]:
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=test", "-days", "1", "-keyout", str(key), "-out", str(certificate)]
    assert shutil.which("openssl"), "the tests need the openssl command"
    subprocess.run(command, check=True, capture_output=True)
    return str(certificate), str(key)


UPSTREAM_SETS = {
    "none": (),
    "vendor over TLS": (Upstream.parse("openai", "openai=https://api.openai.com"),),
    "vendor below a path": (Upstream.parse("openai", "azure=https://eu.example.com:8443/openai/v1/"),),
    "TLS to an address": (Upstream.parse("openai", "local=https://127.0.0.1:8443"),),
    "IPv6": (Upstream.parse("mcp", "files=http://[::1]:9000/mcp"),),
    "one of each": (
        Upstream.parse("openai", "openai=http://llm.internal:8000"),
        Upstream.parse("mcp", "files=http://files.internal/mcp", internal=True),
        Upstream.parse("mcp", "mail=https://mail.example.com/"),
        Upstream.parse("http", "wiki=https://wiki.example.com/api"),
    ),
}


@pytest.mark.parametrize("upstreams", UPSTREAM_SETS.values(), ids=UPSTREAM_SETS.keys())
def test_every_set_of_upstreams_is_valid_for_a_real_envoy(
    envoy_binary: Path, tmp_path: Path, upstreams: tuple[Upstream, ...]
) -> None:
    certificate, key = _certificates(tmp_path)
    sidecar = Sidecar(
        upstreams=upstreams,
        listen=Socket("::1", 10000),
        authz=Socket("authz.internal", 9191),
        authz_tls=AuthzTls(ca=certificate, certificate=certificate, key=key),
        ca_file=certificate,
        access_log=str(tmp_path / "access.log"),
    )
    config = tmp_path / "envoy.yaml"
    config.write_text(render(sidecar))
    assert validate(config, envoy_binary).problem == ""


def test_what_envoy_refuses_is_told_in_its_own_words(envoy_binary: Path, tmp_path: Path) -> None:
    config = tmp_path / "envoy.yaml"
    config.write_text("admin: {addres: {}}\n")
    found = validate(config, envoy_binary)
    assert not found.ok
    assert "addres" in found.problem


def _extensions(value: Any, kind: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _extensions(item, kind)
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith(kind):
            yield value
        for item in value.values():
            yield from _extensions(item, kind)


def test_no_client_and_no_answer_can_choose_the_upstream() -> None:
    text = render(Sidecar(upstreams=UPSTREAM_SETS["one of each"]))
    for word in ("cluster_header", "ORIGINAL_DST", "clear_route_cache: true", "connect_config", "retry_policy"):
        assert word not in text
    for route in _routes(yaml.safe_load(text)):
        if "context_extensions" in str(route):
            assert route["route"]["host_rewrite_literal"]
            assert ("upgrade_configs" in route["route"]) == (route["name"].partition("_")[0] in UPGRADE_KINDS)


def test_only_our_own_paths_and_the_404_skip_the_gate() -> None:
    skipped = [
        next(iter(route["match"].values()))
        for route in _routes(yaml.safe_load(render(Sidecar())))
        if route["typed_per_filter_config"]["envoy.filters.http.ext_authz"].get("disabled")
    ]
    assert skipped == ["/v1/prompt/check", "/v1/tool/check", "/v1/llm/check", "/health", "/"]


def test_the_filter_fails_closed_and_says_so() -> None:
    (filter_,) = _extensions(yaml.safe_load(render(Sidecar())), ".ext_authz.v3.ExtAuthz")
    assert filter_["failure_mode_allow"] is False
    assert filter_["with_request_body"] == {
        "max_request_bytes": MAX_BODY,
        "pack_as_bytes": True,
        "allow_partial_message": False,
    }


def test_https_upstreams_are_checked_against_their_name() -> None:
    text = render(Sidecar(upstreams=(Upstream.parse("openai", "openai=https://api.openai.com"),)))
    (context,) = _extensions(yaml.safe_load(text), ".UpstreamTlsContext")
    check = context["common_tls_context"]["validation_context"]
    assert context["sni"] == "api.openai.com"
    assert check["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "api.openai.com"}}]
    assert check["trusted_ca"]["filename"]


def test_every_kind_has_a_protocol_and_only_those_that_can_be_upgraded_are() -> None:
    kinds = {option.kind for option in OPTIONS}
    assert kinds <= set(PROTOCOLS)
    upgraded = {kind for kind in kinds if any(endpoint.upgrade for endpoint in PROTOCOLS[kind].endpoints)}
    assert upgraded == UPGRADE_KINDS


@pytest.mark.parametrize(
    ("text", "kind", "authority", "path", "region"),
    [
        ("openai", "openai", "api.openai.com", "", ""),
        ("azure=my-resource", "azure", "my-resource.openai.azure.com", "", ""),
        ("vertex=europe-west4", "vertex", "europe-west4-aiplatform.googleapis.com", "", ""),
        ("vertex=global", "vertex", "aiplatform.googleapis.com", "", ""),
        ("bedrock=eu-central-1", "bedrock", "bedrock-runtime.eu-central-1.amazonaws.com", "", "eu-central-1"),
        ("bedrock=cn-north-1", "bedrock", "bedrock-runtime.cn-north-1.amazonaws.com.cn", "", "cn-north-1"),
        ("groq", "compatible", "api.groq.com", "/openai", ""),
    ],
)
def test_a_provider_is_its_public_address(text: str, kind: str, authority: str, path: str, region: str) -> None:
    upstream = provider(text)
    assert upstream.tls
    assert (upstream.kind, upstream.authority, upstream.path, upstream.region) == (kind, authority, path, region)


@pytest.mark.parametrize(
    "text", ["", "nobody", "openai=x", "azure", "azure=", "azure=evil.example#", "bedrock=us east", "vertex=-x"]
)
def test_a_provider_that_nobody_knows_is_refused(text: str) -> None:
    with pytest.raises(EnvoyConfigError, match="--provider"):
        provider(text)


def test_grpc_goes_by_its_service_and_sse_by_the_path_that_the_server_announces() -> None:
    upstreams = (
        Upstream.parse("grpc", "greet=http://127.0.0.1:50051/helloworld.Greeter"),
        Upstream.parse("a2a-grpc", "agent=http://127.0.0.1:50052"),
        Upstream.parse("mcp-sse", "old=http://127.0.0.1:9400/base", messages="/messages/"),
        Upstream.parse("a2a", "agent=http://127.0.0.1:50053"),
    )
    found = [
        (
            next(iter(route["match"].values())),
            route["route"].get("prefix_rewrite"),
            route["typed_per_filter_config"]["envoy.filters.http.ext_authz"]["check_settings"]["context_extensions"],
        )
        for route in _routes(yaml.safe_load(render(Sidecar(upstreams=upstreams))))
        if "context_extensions" in str(route)
    ]
    greeter = {"kind": "grpc", "prefix": "", "upstream": "grpc_greet", "authority": "127.0.0.1:50051", "base": ""}
    by_grpc = {"kind": "a2a", "prefix": "", "upstream": "a2a_grpc_agent", "server": "agent", "transport": "grpc"}
    sse = {"kind": "mcp", "prefix": "/mcp/old", "upstream": "mcp_old", "server": "old", "transport": "sse"}
    a2a = {"kind": "a2a", "prefix": "/agent", "upstream": "a2a_agent", "server": "agent"}
    assert found == [
        ("/helloworld.Greeter/", None, greeter),
        ("/a2a.v1.A2AService/", None, by_grpc),
        ("/lf.a2a.v1.A2AService/", None, by_grpc),
        ("/mcp/old/", "/base/", sse),
        ("/messages/", "/messages/", {**sse, "prefix": "/messages"}),
        ("/agent/", "/", a2a),
        ("/agent", "/", a2a),
    ]


def test_agents_can_be_served_over_tls_and_asked_for_a_certificate(envoy_binary: Path, tmp_path: Path) -> None:
    certificate, key = _certificates(tmp_path)
    config = tmp_path / "envoy.yaml"
    config.write_text(render(Sidecar(listen_tls=ListenTls(certificate, key, certificate), ca_file=certificate)))
    assert validate(config, envoy_binary).problem == ""
    (context,) = _extensions(yaml.safe_load(config.read_text()), ".DownstreamTlsContext")
    assert context["require_client_certificate"] is True


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--listen-cert a.pem", "belong together"),
        ("--sign x=us-east-1", "no --bedrock has that name"),
        ("--provider bedrock=us-east-1 --sign bedrock=", "expected NAME=REGION"),
        ("--mcp-messages x=/messages/", "no --mcp-sse has that name"),
        ("--mcp-sse x=http://h --mcp-messages x=/v1/", "taken"),
        ("--mcp-sse x=http://h --mcp-messages x=messages", "absolute path"),
        ("--grpc x=http://h", "full name of one service"),
        ("--grpc x=http://h/a/b", "full name of one service"),
        ("--a2a-grpc x=http://h/a", "no path"),
        ("--grpc x=http://h/p.S --grpc y=http://i/p.S", "two upstreams on /p.S"),
        ("--forward-proxy localhost:1", "IP address"),
        ("--forward-proxy 127.0.0.1:10000", "--listen is there already"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: str, problem: str) -> None:
    refused = CliRunner().invoke(main, ["envoy", "render", *options.split()])
    assert refused.exit_code == 2
    assert problem in refused.output


def _routes(document: Any) -> list[dict[str, Any]]:
    (manager,) = _extensions(document, ".HttpConnectionManager")
    routes: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return routes


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("openai", "openai", "expected NAME=URL"),
        ("openai", "=http://x", "a name is"),
        ("openai", "Open=http://x", "a name is"),
        ("openai", "a/b=http://x", "a name is"),
        ("openai", "-a=http://x", "a name is"),
        ("openai", "v1=http://x", "taken"),
        ("http", "mcp=http://x", "taken"),
        ("http", "health=http://x", "taken"),
        ("openai", "a=ftp://x", "must start with http"),
        ("openai", "a=x", "must start with http"),
        ("openai", "a=http://", "no host"),
        ("openai", "a=http://u:p@x", "no credentials"),
        ("openai", "a=http://x?key=1", "no query"),
        ("openai", "a=http://x?", "no query"),
        ("openai", "a=http://x#f", "no query"),
        ("openai", "a=http://x:0", "port 0"),
        ("openai", "a=http://x:99999", "not a URL"),
        ("openai", "a=http://x:port", "not a URL"),
        ("openai", "a=http://[::1", "not a URL"),
        ("openai", "a=http://[fe80::1%25eth0]", "neither"),
        ("openai", "a=http://ex ample", "ASCII"),
        ("openai", "a=http://exämple", "ASCII"),
        ("openai", "a=http://x\n", "ASCII"),
        ("openai", "a=http://127.1", "neither"),
        ("openai", "a=http://a..b", "neither"),
        ("openai", "a=http://x/../y", "plain"),
        ("openai", "a=http://x/%2e", "plain"),
        ("openai", "a=http://x//y", "plain"),
    ],
)
def test_an_upstream_that_cannot_be_meant_is_refused_by_option(kind: str, text: str, problem: str) -> None:
    with pytest.raises(EnvoyConfigError, match=problem) as caught:
        Upstream.parse(kind, text)
    assert f"--{kind}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "host:port"),
        ("127.0.0.1", "host:port"),
        ("::1:80", "brackets"),
        ("x:0", "port"),
        ("x:65536", "port"),
        ("x:٣", "port"),
        ("unix:relative", "absolute"),
        ("unix:///" + "x" * 120, "bytes long"),
        ("/run/\x00", "unprintable"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(EnvoyConfigError, match=problem):
        parse_target(text, "--authz")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"upstreams": (*DEFAULT_UPSTREAMS, Upstream.parse("http", "openai=http://x"))}, "two upstreams"),
        ({"listen": Socket("localhost", 1)}, "IP address"),
        ({"max_body": 0}, "--max-body"),
        ({"max_body": 1 << 40}, "--max-body"),
        ({"authz_timeout": 0.0}, "--authz-timeout"),
        ({"authz_timeout": float("nan")}, "--authz-timeout"),
        ({"authz_tls": AuthzTls("a", "b", "c")}, "TLS is for TCP"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(EnvoyConfigError, match=problem):
        replace(Sidecar(), **change)


# -- how it behaves in a real Envoy -----------------------------------------------------------------------


@dataclass
class Lab:
    """A real Envoy on the rendered configuration, with the stub as ext_authz and the demo as upstream."""

    port: int
    envoy: EnvoyProcess
    authz: AuthzStub
    admin: Path
    http_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log_line(self, request_id: str) -> dict[str, Any]:
        """The access log line with Envoy's id `request_id`; it is written a moment after the answer."""
        deadline = time.monotonic() + 12
        while time.monotonic() < deadline:
            for line in self.envoy.log.read_text().splitlines():
                if line.startswith("{") and (found := json.loads(line)).get("requestId") == request_id:
                    return dict(found)
            time.sleep(0.05)
        raise AssertionError(f"no access log line for {request_id}")


@pytest.fixture(scope="module")
def lab(
    envoy_binary: Path, demo_upstream: Demo, free_port: Callable[[], int], module_socket_directory: Path
) -> Iterator[Lab]:
    directory = module_socket_directory
    sidecar = Sidecar(
        upstreams=(
            Upstream.parse("openai", f"openai={demo_upstream.url}"),
            Upstream.parse("mcp", f"tools={demo_upstream.url}/mcp", internal=True),
            Upstream.parse("http", f"demo={demo_upstream.url}"),
            Upstream.parse("http", f"gone=http://127.0.0.1:{free_port()}"),
        ),
        listen=Socket("127.0.0.1", free_port()),
        authz=Pipe(f"{directory}/authz.sock"),
        http_api=Socket("127.0.0.1", demo_upstream.port),
        admin=Pipe(f"{directory}/admin.sock"),
        authz_timeout=1.0,
    )
    stub = AuthzStub(directory / "authz.sock")
    try:
        with EnvoyProcess(envoy_binary, render(sidecar), directory) as envoy:
            yield Lab(sidecar.listen.port, envoy, stub, directory / "admin.sock", demo_upstream.port)
    finally:
        stub.close()


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> None:
    if "lab" in request.fixturenames:
        lab: Lab = request.getfixturevalue("lab")
        lab.authz.requests.clear()
        lab.authz.denial = None


def _own_denial(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Asserts that `answer` is Envoy's own, in our JSON."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert (body["ok"], body["allowed"], body["decision"], body["errorCode"]) == (False, False, "deny", code)
    assert body["message"] == body["reason"] != ""
    return body


def test_the_gate_is_told_kind_prefix_and_server_by_the_route_alone(lab: Lab) -> None:
    forged = {"kind": "http", "x-kalguard-kind": "http", "x-envoy-kind": "http"}
    httpx.post(f"{lab.url}/mcp/tools", json={"jsonrpc": "2.0", "id": 1, "method": "initialize"}, headers=forged)
    httpx.get(f"{lab.url}/openai/v1/models", headers=forged)
    mcp, openai = [dict(request.attributes.context_extensions) for request in lab.authz.requests]
    assert mcp == {
        "kind": "mcp",
        "prefix": "/mcp/tools",
        "server": "tools",
        "upstream": "mcp_tools",
        "internal": "true",
    }
    assert openai == {"kind": "openai", "prefix": "/openai", "upstream": "openai_openai"}


def test_the_upstream_sees_its_own_path_and_host(lab: Lab) -> None:
    answer = httpx.get(f"{lab.url}/demo/echo?q=1", headers={"host": "evil.example:99"}).json()
    assert answer["path"] == "/echo?q=1"
    assert dict(answer["headers"])["host"].startswith("127.0.0.1:")
    assert httpx.post(f"{lab.url}/mcp/tools/", json={"id": 1, "method": "initialize"}).status_code == 200


def test_our_own_paths_reach_the_api_without_asking_the_gate(lab: Lab, demo_upstream: Demo) -> None:
    httpx.post(f"{lab.url}/v1/prompt/check", json={})
    assert demo_upstream.seen()[-1]["path"] == "/v1/prompt/check"
    assert not lab.authz.requests


@pytest.mark.parametrize("path", ["/", "/v1/prompt/check/", "/v1", "/openai", "/mcp", "/mcp/other", "/mcp/tools/x"])
def test_a_path_that_nobody_listed_is_a_404_that_reaches_nobody(lab: Lab, path: str) -> None:
    answer = httpx.post(lab.url + path, json={})
    body = _own_denial(answer, 404, "NOT_FOUND")
    assert body["requestId"] == answer.headers["x-request-id"]
    assert not lab.authz.requests
    assert lab.log_line(body["requestId"])["path"] == path


def test_dots_and_double_slashes_are_resolved_before_the_route_is_chosen(lab: Lab) -> None:
    status = _raw(lab, b"GET /openai/..//mcp/./tools HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")[0]
    assert status == 405  # the MCP endpoint has no GET
    (asked,) = lab.authz.requests
    assert asked.attributes.request.http.path == "/mcp/tools"
    assert asked.attributes.context_extensions["kind"] == "mcp"


@pytest.mark.parametrize("path", ["/openai%2f..%2fmcp/tools", "/openai/v1%2Fmodels", "/openai/v1%5cmodels"])
def test_an_escaped_slash_is_refused(lab: Lab, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    status, body = _raw(lab, request)
    assert status == 400
    assert json.loads(body)["errorCode"] == "BAD_REQUEST"
    assert not lab.authz.requests


@pytest.mark.parametrize("name", ["x_kalguard_agent", "x-kalguard_token", "content_length"])
def test_an_underscore_in_a_header_name_is_refused(lab: Lab, name: str) -> None:
    _own_denial(httpx.get(f"{lab.url}/demo/echo", headers={name: "1"}), 400, "BAD_REQUEST")
    assert not lab.authz.requests


def test_headers_that_claim_to_be_envoy_or_us_never_arrive(lab: Lab) -> None:
    forged = {
        "x-envoy-original-path": "/openai/",
        "x-envoy-auth-partial-body": "true",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "X-Envoy-Retry-On": "5xx",
        "x-envoy-anything": "1",
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-client-cert": "URI=spiffe://x/admin",
        "x-forwarded-host": "evil",
        "x-original-url": "/admin",
        "x-http-method-override": "DELETE",
        "x-kalguard-agent": "admin",
        "x-kalguard-decision": "allow",
        "x-request-id": "chosen-by-the-agent",
        "x-kalguard-token": "kept",
        "x-kalguard-request-id": "kept",
    }
    arrived = dict(httpx.get(f"{lab.url}/demo/echo", headers=forged).json()["headers"])
    asked = dict(lab.authz.requests[0].attributes.request.http.headers)
    for headers in (arrived, asked):
        assert not {name for name in headers if name.startswith("x-envoy-")} - ENVOYS_OWN
        assert not {"x-forwarded-client-cert", "x-forwarded-host", "x-original-url"} & set(headers)
        assert not {"x-http-method-override", "x-kalguard-agent", "x-kalguard-decision"} & set(headers)
        assert "10.0.0.1" not in headers.get("x-forwarded-for", "")
        assert headers["x-request-id"] != "chosen-by-the-agent"
    assert asked["x-kalguard-token"] == asked["x-kalguard-request-id"] == "kept"


def test_a_body_of_the_limit_passes_whole_and_one_byte_more_is_a_413(lab: Lab) -> None:
    body = bytes(range(256)) * (MAX_BODY // 256)
    answer = httpx.post(f"{lab.url}/demo/echo", content=body, timeout=30)
    assert answer.json()["bodyBytes"] == MAX_BODY
    assert lab.authz.requests[0].attributes.request.http.raw_body == body
    lab.authz.requests.clear()
    _own_denial(httpx.post(f"{lab.url}/demo/echo", content=body + b"x", timeout=30), 413, "PAYLOAD_TOO_LARGE")
    assert not lab.authz.requests


def test_a_chunked_body_over_the_limit_is_a_413_too(lab: Lab) -> None:
    chunks = (b"x" * (1 << 20) for _ in range(6))
    _own_denial(httpx.post(f"{lab.url}/demo/echo", content=chunks, timeout=30), 413, "PAYLOAD_TOO_LARGE")
    assert not lab.authz.requests


def test_a_denial_of_the_gate_arrives_untouched(lab: Lab) -> None:
    for status in (200, 400, 401, 403, 404, 413, 429, 503):
        lab.authz.denial = (status, b'{"ours": true}')
        answer = httpx.post(f"{lab.url}/openai/v1/chat/completions", json={})
        assert (answer.status_code, answer.json()) == (status, {"ours": True})
        assert answer.headers["content-type"] == "application/json"


def test_an_upstream_that_is_gone_is_told_apart_from_a_denial(lab: Lab) -> None:
    body = _own_denial(httpx.get(f"{lab.url}/gone/x"), 503, "INTERNAL")
    assert "upstream" in body["message"]
    assert lab.log_line(body["requestId"])["flags"] == "UF"


def test_large_headers_are_a_431_with_json(lab: Lab) -> None:
    _own_denial(httpx.get(f"{lab.url}/demo/echo", headers={"a": "x" * 70_000}), 431, "BAD_REQUEST")


def test_the_access_log_joins_id_decision_and_reason_and_has_no_query(lab: Lab) -> None:
    allowed = httpx.get(f"{lab.url}/demo/echo")
    assert lab.log_line(allowed.headers["x-request-id"])["path"] == "/demo/echo"
    lab.authz.denial = (403, b"{}")
    headers = {"x-kalguard-request-id": 'mine"\n'.strip()}
    answer = httpx.get(f"{lab.url}/demo/echo?api_key=secret", headers=headers)
    line = lab.log_line(answer.headers["x-request-id"])
    assert (line["authzDecision"], line["authzRisk"], line["details"]) == ("deny", 7, "ext_authz_denied")
    assert (line["path"], line["status"], line["clientRequestId"]) == ("/demo/echo", 403, 'mine"')
    assert "secret" not in str(line)


def test_a_streamed_answer_is_not_held_back(lab: Lab) -> None:
    request = {"messages": [{"role": "user", "content": "one two three four five"}], "stream": True}
    began = time.monotonic()
    with httpx.stream("POST", f"{lab.url}/openai/v1/chat/completions", json=request) as answer:
        arrivals = [time.monotonic() - began for line in answer.iter_lines() if line.startswith("data:")]
    assert len(arrivals) > 10
    assert arrivals[-1] - arrivals[0] > 0.15


def test_the_admin_interface_is_a_private_socket_and_nothing_can_be_stopped_there(lab: Lab) -> None:
    assert lab.admin.stat().st_mode & 0o777 == 0o600
    assert unix_get(lab.admin, "/ready")[0] == 200
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(lab.admin))
    connection.request("POST", "/quitquitquit")
    assert connection.getresponse().status == 403
    connection.close()
    assert _listening_ports(lab.envoy.child.pid) == {lab.port}


def _listening_ports(pid: int) -> set[int]:
    """TCP ports that the process listens on, from /proc (Linux)."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(entry.readlink()))
        except OSError:
            continue  # closed meanwhile
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def _raw(lab: Lab, request: bytes) -> tuple[int, bytes]:
    """Send bytes that no client library would send; status and body."""
    with socket.create_connection(("127.0.0.1", lab.port), 10) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def test_a_dead_gate_is_a_denial_with_a_reason(
    envoy_binary: Path, demo_upstream: Demo, free_port: Callable[[], int], socket_directory: Path
) -> None:
    sidecar = Sidecar(
        upstreams=(Upstream.parse("http", f"demo={demo_upstream.url}"),),
        listen=Socket("127.0.0.1", free_port()),
        authz=Pipe(f"{socket_directory}/nobody.sock"),
        admin=Pipe(f"{socket_directory}/admin.sock"),
        authz_timeout=0.3,
    )
    before = len(demo_upstream.seen())
    with EnvoyProcess(envoy_binary, render(sidecar), socket_directory):
        url = f"http://{sidecar.listen}/demo/echo"
        for attempt in ("dead", "silent"):
            answer = httpx.get(url)
            body = _own_denial(answer, 503, "INTERNAL")
            assert body["message"] == "authorization service unavailable"
            assert body["requestId"] == answer.headers["x-request-id"]
            if attempt == "dead":
                silent = socket.socket(socket.AF_UNIX)
                silent.bind(f"{socket_directory}/nobody.sock")
                silent.listen()
        silent.close()
    assert len(demo_upstream.seen()) == before


def test_an_envoy_that_cannot_start_tells_why_and_leaves_nothing_behind(
    envoy_binary: Path, socket_directory: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        sidecar = Sidecar(
            listen=Socket("127.0.0.1", taken.getsockname()[1]), admin=Pipe(f"{socket_directory}/admin.sock")
        )
        envoy = EnvoyProcess(envoy_binary, render(sidecar), socket_directory)
        with pytest.raises(ProcessFailed, match="Address already in use"):
            envoy.start()
    assert not envoy.child.running
    assert not envoy.admin.exists()

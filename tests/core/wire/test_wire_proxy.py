"""The forward proxy: the agent writes the destination, so what it writes has one meaning or none."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.base import RefusedReading
from kalguard_core.wire.providers import PROVIDER_HOSTS, matches_host, provider_of
from wire_support import read, refused, request


def tunnel(host: str, **context: str) -> AgentRequest:
    return request("proxy", "", method="CONNECT", host=host, headers={}, context=context)


def asked(host: str, path: str = "/x", **changes: Any) -> AgentRequest:
    return request("proxy", path, host=host, **{"method": "GET", "headers": {}, **changes})


def test_a_tunnel_is_an_action_that_a_rule_must_name() -> None:
    (action,) = read(tunnel("Git.Example.com:443")).actions
    assert (action.name, action.explicit, action.resource) == ("http:connect", True, "git.example.com:443")
    assert action.attributes == {
        "method": "CONNECT",
        "host": "git.example.com",
        "port": 443,
        "addressClass": "name",
    }


@pytest.mark.parametrize("path", ["/x?q=1", "http://docs.example.com/x?q=1", "HTTP://DOCS.example.com/x"])
def test_a_plain_request_is_about_the_host_that_it_names(path: str) -> None:
    (action,) = read(asked("docs.example.com", path)).actions
    assert (action.name, action.explicit, action.resource) == ("http:request", False, "docs.example.com/x")
    assert action.attributes["addressClass"] == "name"


def test_no_word_of_the_route_stands_for_another_destination() -> None:
    (action,) = read(asked("docs.example.com", context={"authority": "other.example", "prefix": "/x"})).actions
    assert action.resource == "docs.example.com/x"


def test_a_target_without_a_path_is_the_root() -> None:
    assert read(asked("h.example.com", "http://h.example.com")).actions[0].resource == "h.example.com/"
    assert read(asked("h.example.com", "http://h.example.com?a=1")).actions[0].resource == "h.example.com/"


@pytest.mark.parametrize(
    "path",
    [
        "http://other.example.com/x",
        "http://u@h.example.com/x",
        "https://h.example.com/x",
        "ftp://h.example.com/x",
        "x",
        "http:///x",
        "http://h.example.com:81/x",
        "http://h.example.com//x",
        "//h.example.com/x",
        "",
    ],
)
def test_a_target_that_says_something_else_than_the_host_is_refused(path: str) -> None:
    assert refused(asked("h.example.com", path)).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("h.example.com:80", "/x"),
        ("h.example.com", "http://h.example.com:80/x"),
        ("H.example.com:80", "http://h.example.com/x"),
    ],
)
def test_the_port_of_plain_http_is_no_way_around_a_rule(host: str, path: str) -> None:
    (action,) = read(asked(host, path)).actions
    assert (action.resource, "port" in action.attributes) == ("h.example.com/x", False)


@pytest.mark.parametrize("host", [hosts[0].replace("*", "eu-1") for _, hosts in PROVIDER_HOSTS])
def test_nothing_reaches_a_model_provider(host: str) -> None:
    for spelled in (host, host.upper()):
        for port in (443, 8443):
            refusal = refused(tunnel(f"{spelled}:{port}"))
            assert refusal.code is ErrorCode.POLICY_DENY
            assert isinstance(refusal, RefusedReading)
            assert refusal.actions[0].resource == f"{host}:{port}"
        assert refused(asked(spelled)).code is ErrorCode.POLICY_DENY


def test_an_intercepted_host_may_be_tunnelled_to_if_a_rule_says_so_but_not_asked_in_plain() -> None:
    context = {"intercepted": "api.openai.com, *.anthropic.com"}
    for host in ("api.openai.com", "api.anthropic.com"):
        assert read(tunnel(f"{host}:443", **context)).actions[0].explicit
        assert refused(asked(host, context=context)).code is ErrorCode.POLICY_DENY
    assert refused(tunnel("api.mistral.ai:443", **context)).code is ErrorCode.POLICY_DENY


def test_hosts_that_the_operator_guards_are_as_those_of_providers() -> None:
    context = {"guarded": "mcp.corp.example.com,*.llm.example.com"}
    for host in ("mcp.corp.example.com", "a.llm.example.com"):
        assert refused(tunnel(f"{host}:443", **context)).code is ErrorCode.POLICY_DENY
        assert refused(asked(host, context=context)).code is ErrorCode.POLICY_DENY
        assert read(tunnel(f"{host}:443", **context, intercepted=host))
    assert read(tunnel("corp.example.com:443", **context))


@pytest.mark.parametrize(
    ("host", "name", "kind"),
    [
        ("10.1.2.3", "10.1.2.3", "private"),
        ("192.168.0.1", "192.168.0.1", "private"),
        ("100.64.0.1", "100.64.0.1", "private"),
        ("127.0.0.1", "127.0.0.1", "loopback"),
        ("8.8.8.8", "8.8.8.8", "public"),
        ("[::1]", "[::1]", "loopback"),
        ("[0:0::1]", "[::1]", "loopback"),
        ("[FD00::1]", "[fd00::1]", "private"),
        ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]", "private"),
        ("[64:ff9b::7f00:1]", "[64:ff9b::7f00:1]", "loopback"),
        ("[2002:a00:1::]", "[2002:a00:1::]", "private"),
        ("[2606:4700::1]", "[2606:4700::1]", "public"),
        ("localhost", "localhost", "loopback"),
        ("a.localhost", "a.localhost", "loopback"),
        ("kubernetes", "kubernetes", "local"),
        ("db.svc.cluster.local", "db.svc.cluster.local", "local"),
        ("vault.internal", "vault.internal", "local"),
    ],
)
def test_what_is_no_public_name_needs_a_rule_for_addresses_too(host: str, name: str, kind: str) -> None:
    for actions in (read(tunnel(f"{host}:443")).actions, read(asked(f"{host}:443")).actions):
        _, address = actions
        shown = name if name != "[::ffff:10.0.0.1]" else "[::ffff:a00:1]"
        assert (address.name, address.explicit) == ("http:address", True)
        assert address.resource in (f"{name}:443", f"{shown}:443")
        assert address.attributes["addressClass"] == kind


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.1.1",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[fd00:ec2::23]",
        "[fd20:ce::254]",
        "192.0.0.192",
        "instance-data.ec2.internal",
        "metadata.tencentyun.com",
        "100.100.100.200",
        "168.63.129.16",
        "metadata.google.internal",
        "metadata",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "255.255.255.255",
        "[ff02::1]",
    ],
)
def test_no_rule_opens_the_way_to_metadata_and_link_local_addresses(host: str) -> None:
    for each in (tunnel(f"{host}:80"), asked(host)):
        assert refused(each).code is ErrorCode.POLICY_DENY


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.01",
        "1.2.3.4.5",
        "1.2.3.256",
        "a.0x7f",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[1::2::3]",
        "[::ffff:1.2.3]",
        "a..b",
        "h.",
        "u@h",
        "u:p@h",
        "h:",
        "h:0",
        "h:65536",
        "h:0443",
        "h h",
        "h,i",
        "h/x",
        "h\\i",
        "h%2e",
        "",
        "ａpi.openai.com",
        "[::1",
    ],
)
def test_a_host_that_resolvers_read_differently_is_refused(host: str) -> None:
    suffix = "" if ":" in host and not host.startswith("[") else ":443"
    assert refused(tunnel(host + suffix)).code is ErrorCode.BAD_REQUEST
    assert refused(asked(host)).code is ErrorCode.BAD_REQUEST


def test_a_tunnel_needs_a_port_and_no_path() -> None:
    assert refused(tunnel("h.example.com")).code is ErrorCode.BAD_REQUEST
    with_path = request("proxy", "/x", method="CONNECT", host="h.example.com:443", headers={})
    assert refused(with_path).code is ErrorCode.BAD_REQUEST
    again = request("proxy", "h.example.com:443", method="CONNECT", host="h.example.com:443", headers={})
    assert read(again).actions[0].name == "http:connect"


def test_a_websocket_through_the_proxy_is_one_to_that_host() -> None:
    headers = {"upgrade": "websocket", "connection": "upgrade"}
    (action,) = read(asked("ws.example.com", headers=headers)).actions
    assert (action.name, action.explicit, action.resource) == ("http:websocket", True, "ws.example.com/x")
    assert refused(asked("api.openai.com", headers=headers)).code is ErrorCode.POLICY_DENY


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("a.b", "a.b", True),
        ("a.b", "xa.b", False),
        ("*.a.b", "x.a.b", True),
        ("*.a.b", ".a.b", True),
        ("*.a.b", "a.b", False),
        ("x.*.b", "x.b", False),
        ("x.*.b", "x.1.2.b", True),
        ("*-y.b", "z-y.b", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "ac", False),
        ("a*bb*b", "abb", False),
    ],
)
def test_patterns_of_hosts(pattern: str, host: str, fits: bool) -> None:
    assert matches_host(pattern, host) is fits


def test_every_pattern_of_the_table_is_found_by_its_last_labels() -> None:
    for provider, hosts in PROVIDER_HOSTS:
        for host in hosts:
            assert "*" not in ".".join(host.rsplit(".", 2)[1:])
            assert provider_of(host.replace("*", "x")) == provider


def test_providers_are_known_by_their_hosts() -> None:
    known = {
        "api.openai.com": "openai",
        "mine.openai.azure.com": "azure",
        "us-central1-aiplatform.googleapis.com": "vertex",
        "bedrock-runtime.eu-west-1.amazonaws.com": "bedrock",
        "bedrock-runtime-fips.us-east-1.amazonaws.com": "bedrock",
        "vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com": "bedrock",
        "vpce-1.bedrock-runtime.cn-north-1.vpce.amazonaws.com.cn": "bedrock",
        "bedrock-runtime.us-iso-east-1.c2s.ic.gov": "bedrock",
        "runtime-fips.sagemaker.us-east-1.amazonaws.com": "sagemaker",
        "aws-external-anthropic.us-east-1.api.aws": "anthropic",
        "eastus.api.cognitive.microsoft.com": "azure",
        "us-central1-aiplatform.mtls.googleapis.com": "vertex",
        "aiplatform-mine.p.googleapis.com": "vertex",
        "12.us-central1-34.prediction.vertexai.goog": "vertex",
        "generativelanguage.mtls.googleapis.com": "gemini",
        "restricted.googleapis.com": "google",
        "example.com": None,
        "openai.com.example.com": None,
        "compute.googleapis.com": None,
        "s3.amazonaws.com": None,
        "storage.googleapis.com": None,
    }
    assert {host: provider_of(host) for host in known} == known


_HOSTS = st.text(max_size=20) | st.text(st.sampled_from("0123456789abcdefx.:[]%-@ "), max_size=20)


@given(_HOSTS, st.text(max_size=8) | st.text(st.sampled_from("htp:/?#@.%2f"), max_size=16), st.booleans())
def test_no_destination_ends_in_anything_but_actions_or_a_refusal(host: str, path: str, connect: bool) -> None:
    with contextlib.suppress(Refusal):
        for action in read(tunnel(host) if connect else asked(host, path)).actions:
            assert action.attributes["addressClass"] not in ("metadata", "link-local", "reserved")

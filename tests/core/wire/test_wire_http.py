"""Plain HTTP: what policy judges is what the upstream will do."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.registry import PROTOCOLS
from wire_support import denied, read, refused, request


def asked(path: str = "/items", **changes: Any) -> AgentRequest:
    return request("http", path, **{"method": "GET", "headers": {}, **changes})


def test_a_request_is_about_its_method_host_and_path() -> None:
    (action,) = read(asked("/v1/items/7?q=a%2Fb", host="API.Example.COM:8443")).actions
    assert action.name == "http:request"
    assert action.capabilities == ("network:outbound",)
    assert action.resource == "api.example.com:8443/v1/items/7"
    assert action.attributes == {"method": "GET", "host": "api.example.com", "path": "/v1/items/7", "port": 8443}
    assert not PROTOCOLS["http"].route(asked()).reads_body


# What our Envoy configuration says about a route to an upstream.
ROUTED = {"prefix": "/wiki", "authority": "wiki.example.com", "base": ""}


@pytest.mark.parametrize("host", ["wiki.example.com", "docs.example.com", "127.0.0.1:10000"])
def test_behind_a_route_policy_is_asked_about_the_upstream_and_not_about_the_host_that_an_agent_writes(
    host: str,
) -> None:
    (action,) = read(asked("/wiki/page?q=1", host=host, context=ROUTED)).actions
    assert action.resource == "wiki.example.com/page"
    assert action.attributes == {"method": "GET", "host": "wiki.example.com", "path": "/page"}


@pytest.mark.parametrize(
    ("path", "context", "resource"),
    [
        ("/wiki/", {}, "wiki.example.com/"),
        ("/wiki/a%20b", {}, "wiki.example.com/a%20b"),
        ("/wiki/wiki/x", {}, "wiki.example.com/wiki/x"),
        ("/wiki/x", {"base": "/api/v2"}, "wiki.example.com/api/v2/x"),
        ("/wiki/x", {"authority": "Wiki.Example.com:8443"}, "wiki.example.com:8443/x"),
        ("/wiki/x", {"authority": "[::1]:80"}, "[::1]:80/x"),
    ],
)
def test_the_path_is_the_one_that_the_upstream_gets(path: str, context: dict[str, str], resource: str) -> None:
    (action,) = read(asked(path, context=ROUTED | context)).actions
    assert action.resource == resource


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/wikis/x", ErrorCode.NOT_FOUND),
        ("/other/x", ErrorCode.NOT_FOUND),
        ("/wiki", ErrorCode.BAD_REQUEST),
        ("/wiki//x", ErrorCode.BAD_REQUEST),
        ("/wiki/../x", ErrorCode.BAD_REQUEST),
        ("/wiki/%2e%2e/x", ErrorCode.BAD_REQUEST),
    ],
)
def test_a_path_that_leaves_the_route_is_refused(path: str, code: ErrorCode) -> None:
    assert refused(asked(path, context=ROUTED)).code is code


def test_a_host_that_is_none_is_refused_even_where_it_decides_nothing() -> None:
    assert refused(asked("/wiki/x", host="a,b", context=ROUTED)).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("path", "judged"),
    [
        ("/", "/"),
        ("/a/", "/a/"),
        ("/%61dmin", "/admin"),
        ("/a%7eb", "/a~b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a..b/c.", "/a..b/c."),
        ("/a:b@c;d=e,f", "/a:b@c;d=e,f"),
    ],
)
def test_a_path_is_judged_in_its_plainest_form(path: str, judged: str) -> None:
    assert read(asked(path)).actions[0].attributes["path"] == judged


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "items",
        "http://evil.test/x",
        "//evil.test/x",
        "/a//b",
        "/..",
        "/.",
        "/a/../b",
        "/a/./b",
        "/a/..;x=1/b",
        "/a/.;/b",
        "/a/%2e%2e/b",
        "/a/.%2E/b",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a%5Cb",
        "/a%00",
        "/a%0d%0aX:1",
        "/a%7f",
        "/a%252fb",
        "/a%25252fb",
        "/a%c0%ae%c0%ae/b",
        "/a%ff",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%u002e",
        "/a\\b",
        "/a#b",
        "/a b",
        "/a\tb",
        "/a\x00b",
        "/caf\u00e9",
        "/\uff0e\uff0e/x",
        "/x?a=\n",
        "/x?a= b",
        "/x?a#b",
    ],
)
def test_a_path_that_servers_read_differently_is_refused(path: str) -> None:
    assert refused(asked(path)).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    "query",
    [
        "_method=DELETE",
        "a=1&_method=DELETE",
        "a;_METHOD=x",
        "%5fmethod=x",
        "_%6Dethod=x",
        "+_method=x",
        "_method[]=x",
        "_HttpMethod=PATCH",
        "method=delete",
        "a=1&%4dethod=PUT",
        "X-HTTP-Method-Override=DELETE",
        "http_method=PUT",
    ],
)
def test_a_method_in_the_query_is_refused(query: str) -> None:
    assert refused(asked(f"/x?{query}")).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("query", ["a=_method", "a_method=DELETE", "method=card", "method", "x=%2F..%2F", "q=%ff"])
def test_other_queries_pass(query: str) -> None:
    assert read(asked(f"/x?{query}"))


@pytest.mark.parametrize("host", ["h", "h.test", "10.0.0.1:81", "[::1]", "[::1]:8080", "a_b.svc"])
def test_hosts_are_known(host: str) -> None:
    assert read(asked(host=host)).actions[0].resource == f"{host}/items"


@pytest.mark.parametrize("port", ["80", "443"])
def test_a_port_that_goes_without_saying_is_no_way_around_a_rule(port: str) -> None:
    (action,) = read(asked(host=f"admin.test:{port}")).actions
    assert (action.resource, "port" in action.attributes) == ("admin.test/items", False)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":80",
        "h:",
        "h:x",
        "h:080",
        "h:123456",
        "u@h",
        "u:p@h",
        "h/x",
        "h h",
        "h,i",
        "h.",
        ".h",
        "a..b",
        "h\\i",
        "[::1",
        "[]",
        "[::1]x",
        "[g]",
        "h\u00e9",
        "h%00",
        "h:\u00b2",
    ],
)
def test_hosts_that_are_not_exact_are_refused(host: str) -> None:
    assert refused(asked(host=host)).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("name", ["x-http-method-override", "x-method-override", "x-http-method", "x-original-url"])
def test_headers_that_name_another_method_or_path_are_refused(name: str) -> None:
    assert refused(asked(headers={name: "DELETE"})).code is ErrorCode.BAD_REQUEST


WEBSOCKET = {"upgrade": "websocket", "connection": "Upgrade"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", WEBSOCKET),
        ("GET", {"upgrade": "WebSocket", "connection": "keep-alive, upgrade"}),
        ("CONNECT", {":protocol": "websocket"}),
    ],
)
def test_a_websocket_is_an_action_of_its_own_that_a_rule_must_name(method: str, headers: dict[str, str]) -> None:
    (action,) = read(asked("/wiki/live", method=method, headers=headers, context=ROUTED)).actions
    assert (action.name, action.explicit, action.resource) == ("http:websocket", True, "wiki.example.com/live")
    assert action.attributes == {"method": "GET", "host": "wiki.example.com", "path": "/live"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"upgrade": "h2c", "connection": "upgrade"}),
        ("GET", {"upgrade": "websocket, h2c", "connection": "upgrade"}),
        ("GET", {"upgrade": "", "connection": "upgrade"}),
        ("GET", {"upgrade": "websocket"}),
        ("GET", {**WEBSOCKET, "content-length": "5"}),
        ("GET", {**WEBSOCKET, "transfer-encoding": "chunked"}),
        ("GET", {":protocol": "websocket"}),
        ("POST", WEBSOCKET),
        ("CONNECT", {":protocol": "connect-udp"}),
        ("CONNECT", WEBSOCKET),
    ],
)
def test_other_upgrades_are_refused(method: str, headers: dict[str, str]) -> None:
    assert refused(asked(method=method, headers=headers)).code in (ErrorCode.POLICY_DENY, ErrorCode.BAD_REQUEST)


def test_a_tunnel_is_about_its_target_and_never_goes_through_a_route_with_an_upstream() -> None:
    tunnel = asked("", method="CONNECT", host="git.example.com:443")
    (action,) = read(tunnel).actions
    assert (action.name, action.explicit, action.resource) == ("http:connect", True, "git.example.com:443")
    assert refused(replace(tunnel, context=ROUTED)).code is ErrorCode.POLICY_DENY
    assert refused(replace(tunnel, host="api.openai.com:443")).code is ErrorCode.POLICY_DENY


def test_a_host_of_a_model_provider_is_no_plain_http_unless_the_route_says_that_it_is() -> None:
    provider = asked("/v1/chat/completions", method="POST", host="API.openai.com")
    assert refused(provider).code is ErrorCode.POLICY_DENY
    (action,) = read(replace(provider, context={"authority": "api.openai.com"})).actions
    assert action.name == "http:request"


@pytest.mark.parametrize("method", ["get", "delete", "TRACE", "BREW", "", "GET "])
def test_unknown_methods_are_not_allowed(method: str) -> None:
    assert refused(asked(method=method)).code is ErrorCode.METHOD_NOT_ALLOWED


def test_a_denial_is_our_own_json() -> None:
    reply = PROTOCOLS["http"].reply(asked(), denied(reason="no matching rule"))
    assert reply.status == 403
    assert json.loads(reply.body) == {
        "allowed": False,
        "decision": "deny",
        "message": "no matching rule",
        "requestId": "req_1",
        "errorCode": "POLICY_DENY",
        "ok": True,
        "reason": "no matching rule",
    }


@given(
    st.text(max_size=20) | st.text(st.sampled_from("/.%2eEfF5cC0;?_a\\"), max_size=12).map("/".__add__),
    st.text(max_size=10),
)
def test_no_path_or_host_ends_in_anything_but_a_refusal(path: str, host: str) -> None:
    for name in ("h", host):
        with contextlib.suppress(Refusal):
            resource = read(asked(path, host=name)).actions[0].resource
            assert resource is not None
            assert "/../" not in f"{resource}/"
            assert "//" not in resource

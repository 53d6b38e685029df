"""The route table: which entry a request fits, and that no spelling of it fits a laxer one."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.documents import DocumentError
from kalguard_core.wire.routes import RouteTable

TABLE = RouteTable.parse(
    """
routes:
  - {host: api.openai.com, kind: openai, upstream: openai}
  - {host: gateway.example.com, port: 8443, kind: mcp, server: files, internal: true}
  - {host: gateway.example.com, prefix: /v1, kind: openai}
  - {host: gateway.example.com, prefix: /shop, kind: rest, authority: shop.internal}
  - {host: gateway.example.com, prefix: /wiki, kind: http, authority: "wiki.internal:8080", base: /w}
  - {destination: spiffe://cluster.local/ns/tools/sa/files, kind: mcp, server: inner}
  - {host: gateway.example.com, kind: http}
  - {host: "*.example.org", kind: http}
  - {host: proxy.example.net, kind: proxy, intercepted: [api.openai.com]}
""",
    "routes.yaml",
)


def kind(host: str, path: str = "/", *destinations: str) -> str | None:
    route = TABLE.match(host, path, destinations)
    return None if route is None else route.kind


@pytest.mark.parametrize(
    ("host", "path", "wanted"),
    [
        ("api.openai.com", "/v1/chat/completions", "openai"),
        ("API.OpenAI.com", "/", "openai"),
        ("api.openai.com.", "/", "openai"),
        ("api.openai.com:443", "/", "openai"),
        ("api.openai.com.:443", "/", "openai"),
        ("api.openai.com:8080", "/", "openai"),
        ("api.openai.com..", "/", None),
        ("x.api.openai.com", "/", None),
        ("u@api.openai.com", "/", None),
        ("", "/", None),
        ("other.example.com", "/", None),
        ("gateway.example.com:8443", "/v1", "mcp"),
        ("gateway.example.com", "/v1", "openai"),
        ("gateway.example.com", "/v1?x=1", "openai"),
        ("gateway.example.com", "/v1/chat/completions", "openai"),
        ("gateway.example.com", "/v1beta", "http"),
        ("gateway.example.com", "/shop/x", "rest"),
        ("gateway.example.com", "/anything%20else", "http"),
        ("a.example.org", "/", "http"),
        ("a.b.example.org", "/", "http"),
        ("example.org", "/", None),
        ("badexample.org", "/", None),
    ],
)
def test_the_first_entry_that_fits_decides(host: str, path: str, wanted: str | None) -> None:
    assert kind(host, path) == wanted


@pytest.mark.parametrize(
    "path",
    [
        "/V1/chat",
        "/v1;x=1/chat",
        "/v1%3bx/chat",
        "/V1;",
        "/%76%31/chat",
        "/%561/chat",
        "//v1/chat",
        "/x/../v1/chat",
        "/./v1",
        "/v1%2fchat",
        "/x%2f..%2fv1",
        "/x;/../v1",
        "/x\\v1",
        "v1",
        "/é",
        "/%zz",
        "",
        "*",
    ],
)
def test_a_path_that_could_be_meant_for_a_stricter_entry_fits_no_later_one(path: str) -> None:
    assert kind("gateway.example.com", path) is None


def test_a_path_below_a_prefix_is_left_to_the_reader_of_that_kind() -> None:
    assert kind("gateway.example.com", "/v1/../x") == "openai"
    assert kind("gateway.example.com", "/v1/models%2Fx") == "openai"


def test_where_the_proxy_connects_to_may_decide() -> None:
    principal = "spiffe://cluster.local/ns/tools/sa/files"
    assert kind("whatever.example", "/mcp", principal) == "mcp"
    assert kind("whatever.example", "/mcp", "spiffe://cluster.local/ns/tools/sa/other") is None
    assert kind("gateway.example.com", "/mcp", "10.0.0.1:80", principal) == "mcp"
    assert kind("gateway.example.com", "/v1", principal) == "openai"


def test_a_host_without_its_port_fits_no_laxer_entry_when_the_proxy_says_which_port_it_is() -> None:
    assert kind("gateway.example.com", "/mcp", "10.0.0.1:8443") is None
    assert kind("gateway.example.com:9999", "/mcp", "10.0.0.1:8443") is None
    assert kind("gateway.example.com:8443", "/mcp", "10.0.0.1:8443") == "mcp"
    assert kind("api.openai.com", "/v1/models", "10.0.0.1:8443") == "openai"


def test_an_entry_says_what_a_route_of_envoy_would_say() -> None:
    contexts = {
        (route.host, route.prefix, route.port): dict(route.context) for route in TABLE.routes if route.kind != "http"
    }
    assert contexts["api.openai.com", "", None] == {"kind": "openai", "upstream": "openai"}
    assert contexts["gateway.example.com", "", "8443"] == {"kind": "mcp", "server": "files", "internal": "true"}
    assert contexts["gateway.example.com", "/shop", None] == {
        "kind": "rest",
        "prefix": "/shop",
        "authority": "shop.internal",
        "base": "/shop",
    }
    wiki = TABLE.match("gateway.example.com", "/wiki/x")
    assert wiki is not None
    assert (wiki.context["authority"], wiki.context["base"]) == ("wiki.internal:8080", "/w")


def test_tunnels_know_which_hosts_have_requests_that_must_be_read() -> None:
    proxy = TABLE.match("proxy.example.net", "/")
    assert proxy is not None
    assert proxy.context["guarded"] == "api.openai.com,gateway.example.com"
    assert proxy.context["intercepted"] == "api.openai.com"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{host: h, kind: telnet}", "routes[0].kind: must be one of"),
        ("{host: h, kind: api}", "routes[0].kind: must be one of"),
        ("{kind: http}", "routes[0]: an entry needs a host or a destination"),
        ("{host: H, kind: http}", "routes[0].host: must be a host in lower case"),
        ("{host: 'h:80', kind: http}", "routes[0].host: must be a host without a port"),
        ("{host: 'h.', kind: http}", "routes[0].host: must be a host in lower case"),
        ("{host: '*.', kind: http}", "routes[0].host: must be a host in lower case"),
        ("{host: 'a*.b', kind: http}", "routes[0].host: must be a host in lower case"),
        ("{host: 'https://h', kind: http}", "routes[0].host: must be a host"),
        ("{host: h, port: 0, kind: http}", "routes[0].port:"),
        ("{host: h, port: '80', kind: http}", "routes[0].port: must be a valid integer"),
        ("{host: h, prefix: v1, kind: http}", "routes[0].prefix: must be a plain path"),
        ("{host: h, prefix: /, kind: http}", "routes[0].prefix: must be a plain path"),
        ("{host: h, prefix: /a/../b, kind: http}", "routes[0].prefix: must be a plain path"),
        ("{host: h, prefix: '/a?b', kind: http}", "routes[0].prefix: must be a plain path"),
        ("{host: h, base: /a, kind: http}", "routes[0].base: belongs to an authority"),
        ("{host: h, authority: 'H:80', kind: http}", "routes[0].authority: must be a host in lower case"),
        ("{host: h, authority: '', kind: http}", "routes[0].authority: must be a host in lower case"),
        ("{host: '', kind: http}", "routes[0].host: must be a host in lower case"),
        ("{host: h, kind: proxy, intercepted: ['h:443']}", "routes[0].intercepted[0]: must be a host without"),
        ("{host: h, kinds: http}", "routes[0].kinds: unknown key"),
        ("{host: h}", "routes[0].kind: required key is missing"),
    ],
)
def test_an_entry_that_says_too_little_or_nothing_is_an_error_with_its_place(entry: str, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        RouteTable.parse(f"routes:\n  - {entry}\n", "routes.yaml")
    assert str(caught.value).startswith("routes.yaml:2: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{host: h, kind: http}", "{host: h, prefix: /v1, kind: openai}"),
        ("{host: h, kind: http}", "{host: h, port: 80, kind: openai}"),
        ("{host: h, kind: http}", "{host: h, destination: d, kind: openai}"),
        ("{host: '*.h', kind: http}", "{host: a.h, kind: openai}"),
        ("{host: '*.h', kind: http}", "{host: '*.a.h', kind: openai}"),
        ("{host: h, prefix: /a, kind: http}", "{host: h, prefix: /a/b, kind: openai}"),
        ("{destination: d, kind: http}", "{host: h, destination: d, kind: openai}"),
    ],
)
def test_an_entry_that_nothing_reaches_is_an_error(first: str, second: str) -> None:
    with pytest.raises(DocumentError, match=r"routes.yaml:3: .*never reached: the entry in line 2"):
        RouteTable.parse(f"routes:\n  - {first}\n  - {second}\n", "routes.yaml")
    assert RouteTable.parse(f"routes:\n  - {second}\n  - {first}\n", "routes.yaml")


def test_an_entry_may_be_for_every_host_that_no_entry_before_it_names() -> None:
    table = RouteTable.parse(
        """
routes:
  - {host: api.openai.com, prefix: /v1, kind: openai}
  - {host: "*", kind: http}
""",
        "routes.yaml",
    )
    for host, path, wanted in (
        ("any.example", "/v1", "http"),
        ("api.openai.com", "/v1", "openai"),
        ("api.openai.com", "/x", "http"),
        ("api.openai.com", "/V1", None),
        ("any.example:x", "/", None),
    ):
        route = table.match(host, path)
        assert (None if route is None else route.kind) == wanted


def test_a_table_has_entries() -> None:
    for text in ("routes: []", "{}", "[]"):
        with pytest.raises(DocumentError):
            RouteTable.parse(text, "routes.yaml")


_PATHS = st.text(st.sampled_from("/v1V%76.5cC2fF;?\\x"), max_size=12)


@given(_PATHS, st.sampled_from(["gateway.example.com", "GATEWAY.example.com.:80"]) | st.text(max_size=8))
def test_no_spelling_of_a_strict_path_is_judged_as_plain_http(path: str, host: str) -> None:
    with contextlib.suppress(UnicodeError):
        if kind(host, path) == "http":
            assert not path.casefold().partition("?")[0].startswith(("/v1/", "//", "/./", "/%76"))


def test_an_entry_may_name_a_profile_of_the_firewall_and_by_host_alone_it_is_only_a_hint() -> None:
    table = RouteTable.parse(
        "routes:\n"
        "  - {host: a.example, kind: openai, firewall: strict}\n"
        "  - {destination: '10.0.0.1:443', kind: openai, firewall: relaxed}\n"
        "  - {host: b.example, kind: openai}\n",
        "routes.yaml",
    )
    assert table.firewalls == {"strict": 2, "relaxed": 3}
    hosts = ("a.example", "b.example")
    by_host = [route.context if (route := table.match(host, "/v1")) else None for host in hosts]
    assert by_host == [{"kind": "openai", "firewallByHost": "strict"}, {"kind": "openai"}]
    meant = table.match("c.example", "/v1", ["10.0.0.1:443"])
    assert meant is not None
    assert meant.context == {"kind": "openai", "firewall": "relaxed"}

"""The table of a catalog that says which requests are calls of which tool."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from kalguard_core.documents import DocumentError
from kalguard_core.tools import ToolCatalog
from kalguard_core.tools.http_tools import Found

ORDERS = {"method": "GET", "host": "api.example.com", "path": "/users/{id}/orders"}


def catalog(*tools: tuple[str, Any], schema: Any = None) -> ToolCatalog:
    entries = {name: {"http": http, **({} if schema is None else {"schema": schema})} for name, http in tools}
    return ToolCatalog.parse(json.dumps({"tools": entries}), "tools.json")


def problem(*tools: tuple[str, Any], schema: Any = None) -> str:
    with pytest.raises(DocumentError) as caught:
        catalog(*tools, schema=schema)
    return str(caught.value)


def found(tools: ToolCatalog, method: str, path: str, host: str = "api.example.com") -> tuple[str, dict[str, str]]:
    hit = tools.http.find(method, host, path)
    assert isinstance(hit, Found)
    return hit.tool.name, dict(hit.parameters)


def test_a_request_is_the_tool_that_its_method_host_and_path_name() -> None:
    tools = catalog(("orders", ORDERS))
    assert found(tools, "GET", "/users/a%20b/orders") == ("orders", {"id": "a b"})
    assert tools.http.find("POST", "api.example.com", "/users/7/orders") == frozenset({"GET"})
    for host, path in (
        ("api.example.com:8443", "/users/7/orders"),
        ("example.com", "/users/7/orders"),
        ("api.example.com", "/users/7/orders/"),
        ("api.example.com", "/users//orders"),
        ("api.example.com", "/users/7/Orders"),
        ("api.example.com", "/users/7/8/orders"),
        ("api.example.com", "/orders"),
    ):
        assert tools.http.find("GET", host, path) == frozenset()


def test_a_catalog_without_mappings_knows_no_request() -> None:
    assert not ToolCatalog.empty().http
    assert ToolCatalog.empty().http.find("GET", "h", "/") == frozenset()


def test_the_table_survives_the_way_to_another_process() -> None:
    tools = pickle.loads(pickle.dumps(catalog(("orders", ORDERS))))
    assert found(tools, "GET", "/users/7/orders") == ("orders", {"id": "7"})


def test_a_tool_may_have_several_requests_and_a_literal_segment_goes_before_a_parameter() -> None:
    tools = catalog(
        ("user", [{**ORDERS, "path": "/users/{id}"}, {**ORDERS, "path": "/people/{id}"}]),
        ("me", {**ORDERS, "path": "/users/me"}),
    )
    assert found(tools, "GET", "/users/me") == ("me", {})
    assert found(tools, "GET", "/users/you") == ("user", {"id": "you"})
    assert found(tools, "GET", "/people/me") == ("user", {"id": "me"})


def test_what_the_schema_says_about_the_arguments_is_known() -> None:
    flat = {"user": {"type": "integer", "required": True}, "tags": {"type": "array"}}
    full = {"type": "object", "properties": {"user": {"type": "integer"}, "tags": {"type": ["array", "null"]}}}
    for schema in (flat, full):
        hit = catalog(("orders", {**ORDERS, "path": "/users/{user}/orders"}), schema=schema).http.find(
            "GET", "api.example.com", "/users/7/orders"
        )
        assert isinstance(hit, Found)
        assert hit.tool.declared == {"user", "tags"}
        assert dict(hit.tool.types) == {"user": "integer"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "get"}, "http.method: must be one of GET"),
        ({"method": "CONNECT"}, "http.method: must be one of GET"),
        ({"host": "API.example.com"}, "http.host: must be written as api.example.com"),
        ({"host": "https://api.example.com"}, "http.host: must be a host"),
        ({"host": "*.example.com"}, "http.host: must be a host"),
        ({"path": "users"}, "http.path: the path must start with /"),
        ({"path": "/a/../b"}, "http.path: the path has a dot segment"),
        ({"path": "/a//b"}, "http.path: the path has an empty segment"),
        ({"path": "/a%62"}, "http.path: must be in its plainest form"),
        ({"path": "/a;b"}, "http.path: must be in its plainest form"),
        ({"path": "/a?b=1"}, "http.path: must be in its plainest form"),
        ({"path": "/a/x{id}"}, "http.path: a parameter is a whole segment"),
        ({"path": "/a/{id}:go"}, "http.path: a parameter is a whole segment"),
        ({"path": "/a/{}"}, "http.path: a parameter is a whole segment"),
        ({"path": "/a/{b c}"}, "http.path: a parameter is a whole segment"),
        ({"path": "/{id}/{id}"}, "http.path: the parameter id appears twice"),
        ({"paths": "/a"}, "http.paths: unknown key"),
        ({"path": "/" + "a/" * 40}, "http.path: must be in its plainest form"),
    ],
)
def test_a_mapping_that_fits_nothing_or_too_much_is_an_error_with_its_place(change: dict[str, str], said: str) -> None:
    text = problem(("orders", {**ORDERS, **change}))
    assert text.startswith("tools.json:1: tools.orders.")
    assert said in text


def test_a_parameter_that_the_schema_does_not_have_is_an_error() -> None:
    assert "the schema has no argument id" in problem(("t", ORDERS), schema={"user": {"type": "string"}})


@pytest.mark.parametrize(
    ("one", "other"),
    [("/users/{id}", "/users/{name}"), ("/users/me", "/users/me"), ("/{a}/b", "/a/{b}"), ("/x/{a}/b", "/x/c/{d}")],
)
def test_a_request_that_could_be_two_tools_is_an_error(one: str, other: str) -> None:
    text = problem(("a", [{**ORDERS, "path": one}]), ("b", {**ORDERS, "path": other}))
    assert "tools.b.http.path: a request could be this tool or a (line 1)" in text


def test_templates_that_cannot_meet_are_no_error() -> None:
    assert catalog(("a", {**ORDERS, "path": "/x/{a}/b"}), ("b", {**ORDERS, "path": "/y/c/{d}"})).http
    assert catalog(("a", ORDERS), ("b", {**ORDERS, "method": "POST"}), ("c", {**ORDERS, "host": "h"})).http


def test_an_entry_without_mappings_is_an_error() -> None:
    assert "tools.a.http" in problem(("a", []))

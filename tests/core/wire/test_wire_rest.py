"""Plain tools: what the catalog says about a request, and every argument that the upstream could read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.examination import AtOnce, Examiner, Task, examine
from kalguard_core.firewall.document import Firewalls
from kalguard_core.request import Refusal
from kalguard_core.tools import ToolCatalog
from kalguard_core.wire.encoding import decoded
from kalguard_core.wire.registry import PROTOCOLS
from wire_support import JSON, refused, request

TOOLS = ToolCatalog.parse(
    """
tools:
  list_orders:
    access: read
    schema:
      type: object
      properties:
        id: {type: integer}
        limit: {type: integer}
        open: {type: boolean}
        tags: {type: array, items: {type: string, enum: [new, paid]}}
        "sizes[]": {type: array, items: {type: integer}}
        below: {type: number}
        "filter[state]": {type: string}
      required: [id]
      additionalProperties: false
    http: {method: GET, host: api.example.com, path: "/users/{id}/orders"}
  add_note:
    http:
      - {method: POST, host: api.example.com, path: "/users/{user}/notes"}
      - {method: PUT, host: "api.example.com:8443", path: /v2/notes}
""",
    "tools.yaml",
)
FIREWALLS = Firewalls.built_in()
ROUTE = {"authority": "api.example.com", "prefix": "/shop", "base": "", "server": "shop"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
PARTS = {"content-type": "multipart/form-data; boundary=XX"}
NOTES = "/users/7/notes"


def call(
    path: str,
    body: bytes | dict[str, Any] = b"",
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    context: dict[str, str] | None = None,
) -> Action:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = request(
        "rest",
        path,
        method=method,
        headers=headers if headers is not None else (JSON if data else {}),
        context={"authority": "api.example.com"} if context is None else context,
        body=data,
    )
    protocol = PROTOCOLS["rest"]
    route = protocol.route(asked)
    (action,) = examine(
        TOOLS, protocol, asked, route, decoded(asked.headers, data if route.reads_body else b"")
    ).reading.actions
    return action


def refusal(path: str, body: bytes | dict[str, Any] = b"", **options: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call(path, body, **options)
    return caught.value


def part(name: str, value: str, more: str = "", kind: str = "") -> str:
    head = f'content-disposition: form-data; name="{name}"{more}\r\n' + (f"content-type: {kind}\r\n" if kind else "")
    return f"--XX\r\n{head}\r\n{value}\r\n"


def test_a_request_is_a_call_of_its_tool() -> None:
    action = call("/shop/users/7/orders?limit=5", context=ROUTE)
    assert (action.name, action.tool, action.resource) == ("tool:execute", "list_orders", "list_orders")
    assert action.capabilities == ("tool:execute",)
    assert action.arguments == {"id": 7, "limit": 5}
    assert action.attributes == {
        "toolName": "list_orders",
        "method": "GET",
        "host": "api.example.com",
        "path": "/users/7/orders",
        "server": "shop",
    }
    assert action.messages == ()
    assert not action.explicit


def test_the_upstream_is_the_one_of_the_route_and_not_the_host_that_an_agent_writes() -> None:
    action = call("/v2/notes", {"text": "x"}, method="PUT", context={"authority": "api.example.com:8443"})
    assert action.tool == "add_note"
    assert action.attributes["port"] == 8443
    assert refusal("/v2/notes", {"text": "x"}, method="PUT").code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "method", "code"),
    [
        ("/users/7", "GET", ErrorCode.NOT_FOUND),
        ("/users/7/orders/", "GET", ErrorCode.NOT_FOUND),
        ("/users/7/ORDERS", "GET", ErrorCode.NOT_FOUND),
        ("/users/7/orders", "DELETE", ErrorCode.METHOD_NOT_ALLOWED),
        ("/users/7/orders", "HEAD", ErrorCode.METHOD_NOT_ALLOWED),
        ("/users/7/orders", "BREW", ErrorCode.METHOD_NOT_ALLOWED),
        ("/users/7/orders", "CONNECT", ErrorCode.POLICY_DENY),
        ("/users//orders", "GET", ErrorCode.BAD_REQUEST),
        ("/users/../users/7/orders", "GET", ErrorCode.BAD_REQUEST),
        ("/users/7%2F8/orders", "GET", ErrorCode.BAD_REQUEST),
        ("/users/7;x=1/orders", "GET", ErrorCode.BAD_REQUEST),
        ("/users/7%3bx/orders", "GET", ErrorCode.BAD_REQUEST),
        ("/users/7/orders;x", "GET", ErrorCode.BAD_REQUEST),
    ],
)
def test_what_the_catalog_does_not_map_is_refused(path: str, method: str, code: ErrorCode) -> None:
    assert refusal(path, method=method).code is code


def test_without_a_catalog_nothing_is_a_tool() -> None:
    assert refused(request("rest", "/users/7/orders", method="GET", headers={})).code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("name", ["upgrade", ":protocol", "x-http-method-override"])
def test_upgrades_and_other_methods_by_header_are_refused(name: str) -> None:
    assert refusal("/users/7/orders", headers={name: "websocket"}).code in (
        ErrorCode.POLICY_DENY,
        ErrorCode.BAD_REQUEST,
    )


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("limit=5&open=true&below=2.50", {"limit": 5, "open": True, "below": 2.5}),
        ("open=false&below=3&limit=0", {"open": False, "below": 3, "limit": 0}),
        ("limit=-12&below=-0.5", {"limit": -12, "below": -0.5}),
        ("limit=05&open=True&below=1e3", {"limit": "05", "open": "True", "below": "1e3"}),
        ("limit=%2B5&open=1&below=.5", {"limit": "+5", "open": "1", "below": ".5"}),
        ("limit=-0&below=NaN&open=", {"limit": "-0", "below": "NaN", "open": ""}),
        ("limit=9999999999999999999&below=Infinity", {"limit": "9999999999999999999", "below": "Infinity"}),
        ("limit=%D9%A5&below=1%0A", {"limit": "٥", "below": "1\n"}),
        ("other=1+2%26", {"other": "1 2&"}),
        ("filter[state]=x", {"filter[state]": "x"}),
        ("filter%5Bstate%5D=x", {"filter[state]": "x"}),
    ],
)
def test_text_becomes_what_the_schema_wants_only_if_it_is_exactly_that(query: str, arguments: dict[str, Any]) -> None:
    found = call(f"/users/7/orders?{query}").arguments
    assert found == {"id": 7, **arguments}
    assert [type(value) for value in (found or {}).values()] == [int, *map(type, arguments.values())]


@pytest.mark.parametrize(
    "query",
    [
        "limit=1&limit=2",
        "limit=1&Limit=2",
        "id=8",
        "ID=8",
        "Limit=1",
        "a.b=1&a_b=2",
        "a=1;b=2",
        "a[]=1",
        "a[b]=1",
        "limit[]=1",
        "filter[other]=1",
        "_method=DELETE",
        "_METHOD=x",
        "_HttpMethod=DELETE",
        "method=delete",
        "limit.x=1",
        "id.=8",
        "a",
        "=1",
        "a=%ff",
        "a=%zz",
        "a%00=1",
        "+a=1",
    ],
)
def test_a_query_that_servers_read_differently_is_refused(query: str) -> None:
    assert refusal(f"/users/7/orders?{query}").code is ErrorCode.BAD_REQUEST


def test_json_members_are_arguments_as_they_are() -> None:
    action = call(NOTES, {"text": "x", "tags": ["a", {"b": None}], "n": 1.5}, method="POST")
    assert action.tool == "add_note"
    assert action.arguments == {"user": "7", "text": "x", "tags": ["a", {"b": None}], "n": 1.5}


def test_fields_of_forms_are_arguments() -> None:
    assert call(NOTES, b"text=a+b&n=1", method="POST", headers=FORM).arguments == {
        "user": "7",
        "text": "a b",
        "n": "1",
    }
    body = (
        part("text", "a\r\nb")
        + part("meta", '{"n": 1}', kind="application/json")
        + part("file", "name,age", '; filename="x.csv"', "text/csv")
        + "--XX--\r\n"
    )
    assert call(NOTES, body.encode(), method="POST", headers=PARTS).arguments == {
        "user": "7",
        "text": "a\r\nb",
        "meta": {"n": 1},
        "file": {"filename": "x.csv", "contentType": "text/csv", "text": "name,age"},
    }


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("tags=new", {"tags": ["new"]}),
        ("tags=new&limit=2&tags=paid", {"tags": ["new", "paid"], "limit": 2}),
        ("sizes[]=1&sizes%5B%5D=x", {"sizes[]": [1, "x"]}),
    ],
)
def test_the_values_of_what_the_schema_calls_an_array_are_gathered(query: str, arguments: dict[str, Any]) -> None:
    assert call(f"/users/7/orders?{query}").arguments == {"id": 7} | arguments


@pytest.mark.parametrize(
    "query", ["tags=new,paid", "tags=new%2Cpaid", "tags=new&Tags=paid", "tags[]=new", "tags=new&tags[]=x"]
)
def test_an_array_has_one_spelling_and_no_commas(query: str) -> None:
    assert refusal(f"/users/7/orders?{query}").code is ErrorCode.BAD_REQUEST


def test_a_body_may_be_missing() -> None:
    assert call(NOTES, method="POST").arguments == {"user": "7"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"user": "8"}, JSON),
        ({"User": "8"}, JSON),
        ({"a": 1, "A": 2}, JSON),
        (b'{"a": 1, "a": 2}', JSON),
        ({"_method": "DELETE"}, JSON),
        ({"_HttpMethod": "DELETE"}, JSON),
        ({"tags": [{"b": {"id": 1, "ID": 2}}]}, JSON),
        ((part("meta", '{"n": {"a": 1, "A": 2}}', kind="application/json") + "--XX--\r\n").encode(), PARTS),
        (b"a.b=1", FORM),
        ({"a b": 1}, JSON),
        ({"": 1}, JSON),
        (b"[1]", JSON),
        (b"nope", JSON),
        (b"user=8", FORM),
        (b"a=1&a=2", FORM),
        (b"a[]=1", FORM),
        (b"_method=PUT", FORM),
        ((part("a", "1") + part("a", "2") + "--XX--\r\n").encode(), PARTS),
        ((part("user", "8") + "--XX--\r\n").encode(), PARTS),
        ((part("a", "{", kind="application/json") + "--XX--\r\n").encode(), PARTS),
        (b"--XX--\r\nepilogue", PARTS),
    ],
)
def test_a_body_with_an_argument_that_is_there_twice_or_is_none_is_refused(body: Any, headers: dict[str, str]) -> None:
    assert refusal(NOTES, body, method="POST", headers=headers).code is ErrorCode.BAD_REQUEST


def test_an_argument_of_the_query_cannot_come_again_in_the_body() -> None:
    found = refusal(f"{NOTES}?text=a", {"text": "b"}, method="POST")
    assert found.reason == "the argument 'text' appears twice: in the query and in the body"
    again = refusal("/users/7/orders?limit=1&limit=2")
    assert again.reason == "the argument 'limit' appears twice in the query, and is no array in the tool's schema"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/xml",
        "application/json-patch+json",
        "application/octet-stream",
        "application/json; charset=utf-16",
        "application/x-www-form-urlencoded; charset=utf-16",
    ],
)
def test_a_body_in_another_form_is_refused(content_type: str) -> None:
    found = refusal(NOTES, b'{"a": 1}', method="POST", headers={"content-type": content_type})
    assert found.code is ErrorCode.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize("content_type", ["application/merge-patch+json", "application/vnd.api+json; charset=utf-8"])
def test_a_json_object_may_have_another_name(content_type: str) -> None:
    assert call(NOTES, b'{"a": null}', method="POST", headers={"content-type": content_type}).arguments == {
        "user": "7",
        "a": None,
    }


@pytest.mark.parametrize("declared", ["", "application/octet-stream"])
def test_a_text_file_is_read_also_where_nobody_says_that_it_is_text(declared: str) -> None:
    body = part("f", "Größe\t1\n", '; filename="a.csv"', declared) + "--XX--\r\n"
    found = call(NOTES, body.encode(), method="POST", headers=PARTS).arguments
    assert found == {"user": "7", "f": {"filename": "a.csv", "contentType": declared, "text": "Größe\t1\n"}}


def test_a_file_that_is_no_text_is_refused() -> None:
    body = part("f", "\x01", '; filename="x.bin"', "application/octet-stream") + "--XX--\r\n"
    found = refusal(NOTES, body.encode(), method="POST", headers=PARTS)
    assert found.code is ErrorCode.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"{}", {}), (b"", {"content-length": "2"}), (b"", {"transfer-encoding": "chunked"})],
)
def test_a_body_where_there_should_be_none_is_refused(body: bytes, headers: dict[str, str]) -> None:
    assert refusal("/users/7/orders", body, headers=headers).code is ErrorCode.BAD_REQUEST


async def test_a_large_body_is_read_with_the_same_catalog() -> None:
    body = json.dumps({"text": "x" * 100_000}).encode()
    asked = request("rest", NOTES, headers=JSON, context={"authority": "api.example.com"})
    protocol = PROTOCOLS["rest"]
    task = Task(Examiner(FIREWALLS, TOOLS), protocol, asked, protocol.route(asked), body)
    _, found = await AtOnce().examine("agent", task, lambda _: "digest")
    assert not isinstance(found, Refusal)
    assert found.reading.actions[0].tool == "add_note"
    assert found.findings[0].tool_refusal is None


def test_the_call_is_judged_by_the_schema_of_the_tool() -> None:
    for path, passes in (("/users/7/orders?limit=5", True), ("/users/7/orders?limit=five", False)):
        action = call(path)
        assert action.tool is not None
        assert (TOOLS.mediate(action.tool, action.arguments or {}) is None) is passes


_TYPES = st.sampled_from([*FORM.values(), *PARTS.values(), "application/json", "text/plain"])


@given(
    st.text(st.sampled_from("/users7notes%2f;?=&a[]_.\x00é"), max_size=16),
    st.binary(max_size=30) | st.text(st.sampled_from('{}[]":,ab1&=%-X\r\n'), max_size=40).map(str.encode),
    _TYPES,
    st.sampled_from(["POST", "GET"]),
)
def test_no_request_ends_in_anything_but_an_action_or_a_refusal(
    tail: str, body: bytes, content_type: str, method: str
) -> None:
    with contextlib.suppress(Refusal):
        call(NOTES + tail, body, method=method, headers={"content-type": content_type})

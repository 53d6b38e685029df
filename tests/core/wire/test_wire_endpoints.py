"""The head of a request: its path, query, media type, and the headers that change what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.codes import ErrorCode
from kalguard_core.request import Refusal
from kalguard_core.wire.base import Endpoint, Route
from kalguard_core.wire.endpoints import Endpoints, read_query, segment_value
from kalguard_core.wire.headers import OVERRIDES, path_in_route, refuse_overrides, require_json
from wire_support import request


def endpoint(method: str, path: str, name: str, **options: object) -> Endpoint:
    return Endpoint(method, path, name, "what it becomes", "what is read", **options)  # type: ignore[arg-type]


ENDPOINTS = Endpoints(
    "test",
    [
        endpoint("POST", "/v1/chat", "chat"),
        endpoint("GET", "/v1/models", "models", body=False),
        endpoint("POST", "/v1/models", "add"),
        endpoint("GET", "/v1/models/{model}", "model", query=frozenset({"api-version", "limit"})),
        endpoint("POST", "/v1/models/{model}:ask", "ask"),
        endpoint("POST", "/v1/models/{model}:askMany", "ask-many", query=frozenset({"$alt"})),
        endpoint("POST", "/v1/a/{x}/b/{y}", "two"),
        endpoint("POST", "/v1/a/fixed/b/{y}", "fixed"),
        endpoint("GET", "/v1/live", "live", upgrade=True),
    ],
)


def route(method: str, target: str, **headers: str) -> Route:
    return ENDPOINTS.route(request("openai", target, method=method, headers=headers))


def code(method: str, target: str, **headers: str) -> ErrorCode:
    with pytest.raises(Refusal) as caught:
        route(method, target, **headers)
    return caught.value.code


@pytest.mark.parametrize(
    ("method", "target", "name", "parameters", "query"),
    [
        ("POST", "/v1/chat", "chat", {}, {}),
        ("POST", "/v1/chat?", "chat", {}, {}),
        ("GET", "/v1/models", "models", {}, {}),
        ("POST", "/v1/models", "add", {}, {}),
        ("GET", "/v1/models/gpt-4.1", "model", {"model": "gpt-4.1"}, {}),
        ("GET", "/v1/models/a-b%40c", "model", {"model": "a-b@c"}, {}),
        ("GET", "/v1/models/m?limit=1&api-version=2024-01-01", "model", {"model": "m"}, None),
        ("GET", "/v1/models/m?limit=%31+a", "model", {"model": "m"}, {"limit": "1 a"}),
        ("GET", "/v1/models/m?limit=", "model", {"model": "m"}, {"limit": ""}),
        ("POST", "/v1/models/m:ask", "ask", {"model": "m"}, {}),
        ("POST", "/v1/models/m:askMany?$alt=sse", "ask-many", {"model": "m"}, {"$alt": "sse"}),
        ("POST", "/v1/a/1/b/2", "two", {"x": "1", "y": "2"}, {}),
    ],
)
def test_a_path_of_the_table_is_found(
    method: str, target: str, name: str, parameters: Mapping[str, str], query: Mapping[str, str] | None
) -> None:
    found = route(method, target)
    assert (found.name, found.parameters) == (name, parameters)
    if query is not None:
        assert found.query == query


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "*",
        "/v1",
        "/v1/",
        "/v1/chat/",
        "//v1/chat",
        "/v1//chat",
        "/V1/chat",
        "/v1/Chat",
        "/v1/chat%20",
        "/v1/ch%61t",
        "/v1%2fchat",
        "/v1/./chat",
        "/v1/x/../chat",
        "/v1/chat;a=b",
        "/v1/chat#x",
        "/v1/chat\\",
        "http://other.test/v1/chat",
        "/v1/models/",
        "/v1/models/m/",
        "/v1/models/.",
        "/v1/models/..",
        "/v1/models/...",
        "/v1/models/%2e%2e",
        "/v1/models/a%2Db",
        "/v1/a/%66ixed/b/1",
        "/v1/models/a%2fb",
        "/v1/models/a%5cb",
        "/v1/models/a%252fb",
        "/v1/models/a%00",
        "/v1/models/a%",
        "/v1/models/a%4",
        "/v1/models/a%zz",
        "/v1/models/a;b=c",
        "/v1/models/a b",
        "/v1/models/a%20b",
        "/v1/models/ä",
        "/v1/models/%c3%a4",
        "/v1/models/\uff41",
        "/v1/models/" + "a" * 257,
        "/v1/models/m%3Aask",
        "/v1/models/:ask",
        "/v1/models/m:askMore",
        "/v1/models/m:ASK",
        "/v1/models/m:ask:ask",
        "/v1/a//b/2",
        "/v1/a/1/b/2/3",
    ],
)
def test_a_path_that_is_not_in_the_table_letter_by_letter_leads_nowhere(target: str) -> None:
    found = None
    try:
        found = route("POST", target)
    except Refusal as refusal:
        assert refusal.code in (ErrorCode.NOT_FOUND, ErrorCode.METHOD_NOT_ALLOWED)  # noqa: PT017
    assert found is None


@pytest.mark.parametrize("method", ["get", "Post", "PUT", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "POST ", ""])
def test_a_method_is_the_one_in_the_table(method: str) -> None:
    assert code(method, "/v1/chat") is ErrorCode.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    "query",
    [
        "a=1",
        "_method=DELETE",
        "limit=1&limit=2",
        "limit=1&&api-version=2",
        "&limit=1",
        "limit=1&",
        "Limit=1",
        "limi%74=1",
        "limit%20=1",
        "limit[]=1",
        "=1",
        "limit=1;api-version=2",
        "limit=%ff",
        "limit=%",
        "limit=%4",
        "limit=%zz",
        "limit=%00",
        "limit=a%0ab",
        "limit=%u0041",
        "limit=1?x=2",
        "limit=1#x",
        "limit=a b",
        "limit=\xe4",
        "limit",
        "?limit=1",
        "limit=" + "1" * 2048,
    ],
)
def test_a_query_that_two_readers_may_read_differently_is_refused(query: str) -> None:
    assert code("GET", f"/v1/models/m?{query}") is ErrorCode.BAD_REQUEST


def test_an_endpoint_without_query_members_takes_no_query() -> None:
    assert code("POST", "/v1/chat?limit=1") is ErrorCode.BAD_REQUEST
    assert code("POST", "/v1/models/m:ask?x") is ErrorCode.BAD_REQUEST


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b-c", "$d", "e[]"]), st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]))
    )
)
def test_a_query_is_read_as_pythons_reader_does(members: dict[str, str]) -> None:
    allowed = frozenset({"a", "b-c", "$d", "e[]"})
    query = urlencode(members, safe="$[]")
    if len(query) <= 2048:
        assert read_query(query, allowed) == members == dict(parse_qsl(query, keep_blank_values=True))


@settings(max_examples=200, deadline=None)
@given(st.text("aZ0-._~:@+%2fFeE/\\;=?#& \0ä", max_size=20))
def test_a_segment_is_an_identifier_or_nothing(segment: str) -> None:
    value = segment_value(segment)
    if value is not None:
        assert value.isascii()
        assert value.isprintable()
        assert not set("/\\;?#&% ") & set(value)
        assert value.strip(".")


def test_an_upgrade_leads_only_where_one_is_expected() -> None:
    assert route("GET", "/v1/live", upgrade="websocket").name == "live"
    assert code("GET", "/v1/live") is ErrorCode.BAD_REQUEST
    assert code("POST", "/v1/chat", upgrade="websocket") is ErrorCode.BAD_REQUEST
    assert code("GET", "/v1/models/m", upgrade="h2c") is ErrorCode.BAD_REQUEST


def test_an_endpoint_is_listed_once() -> None:
    with pytest.raises(ValueError, match="listed twice"):
        Endpoints("test", [endpoint("GET", "/a", "a"), endpoint("GET", "/a", "b")])


def test_a_name_may_hold_a_colon_where_no_path_ends_with_a_verb() -> None:
    table = Endpoints("test", [endpoint("POST", "/model/{model}/converse", "converse")])
    for target in ("/model/anthropic.claude-v2%3A1/converse", "/model/anthropic.claude-v2:1/converse"):
        assert table.route(request("openai", target)).parameters == {"model": "anthropic.claude-v2:1"}
    assert code("GET", "/v1/models/m:unknown") is ErrorCode.NOT_FOUND


def test_a_literal_segment_wins_over_a_parameter() -> None:
    assert route("POST", "/v1/a/fixed/b/2").name == "fixed"


@pytest.mark.parametrize(
    ("prefix", "target", "path"),
    [
        ("/openai", "/openai/v1/chat", "/v1/chat"),
        ("/openai/", "/openai/v1/chat?x=/y", "/v1/chat"),
        ("/openai", "/openai", ""),
        ("/openai", "/openai2/v1/chat", None),
        ("/openai", "/OpenAI/v1/chat", None),
        ("/openai", "/v1/chat", None),
        ("", "/v1/chat", "/v1/chat"),
    ],
)
def test_the_prefix_of_a_route_ends_at_a_segment(prefix: str, target: str, path: str | None) -> None:
    assert path_in_route(request("openai", target, context={"prefix": prefix})) == path


@pytest.mark.parametrize(
    "name",
    [
        *sorted(OVERRIDES),
        "trailer",
        "content-range",
        "content_type",
        "content_encoding",
        "transfer_encoding",
        "x_http_method_override",
        "x-http_method-override",
        "x_original-url",
    ],
)
def test_a_header_that_changes_what_was_judged_is_refused(name: str) -> None:
    for method, target in (("POST", "/v1/chat"), ("GET", "/v1/models/m")):
        assert code(method, target, **{name: "DELETE"}) is ErrorCode.BAD_REQUEST


def test_other_headers_are_accepted() -> None:
    refuse_overrides({"te": "trailers", "x_custom": "1", "x-forwarded-for": "1.2.3.4", "x-stainless-lang": "python"})


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json ; charset="UTF-8"',
        "application/json; charset=utf8",
        "application/json;",
        "application/a2a+json",
        "application/a2a+json; charset=utf-8",
    ],
)
def test_json_is_declared_as_such(content_type: str) -> None:
    require_json({"content-type": content_type}, frozenset({"application/a2a+json"}))


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/jsonl",
        "application/vnd.api+json",
        "application/a2a+json",
        "application/json,text/plain",
        "text/plain,application/json",
        "application/json,application/json",
        "application/json; charset=utf-8,text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset=utf-8; boundary=x",
        "application/json; boundary=x",
        "application/json; profile=x",
        "application/json; charset*=utf-8''utf-16",
        "application/json; =x",
        "application/json\x0b",
        "\xa0application/json",
        '"application/json"',
        "application / json",
    ],
)
def test_anything_else_is_no_json(content_type: str) -> None:
    with pytest.raises(Refusal) as caught:
        require_json({"content-type": content_type})
    assert caught.value.code is ErrorCode.UNSUPPORTED_MEDIA_TYPE


def test_no_content_type_is_no_json() -> None:
    with pytest.raises(Refusal):
        require_json({})

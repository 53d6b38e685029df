"""Cohere: every call of the SDK is read, connectors and presets must be named, errors are Cohere's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_core.wire.vendors import VENDORS
from wire_leaves import overlooked, texts
from wire_support import denied, read, refused, request

PICTURE = "data:image/png;base64,AAAA"
TOOL = {"type": "function", "function": {"name": "weather", "description": "tells it", "parameters": {"a": "b"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Porto"}'}}
CITATION = {"start": 0, "end": 1, "text": "so", "sources": [{"type": "document", "id": "d1", "document": {"a": "b"}}]}

CHAT: dict[str, Any] = {
    "model": "command-a",
    "messages": [
        {"role": "system", "content": "be kind"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a text"},
                {"type": "image_url", "image_url": {"url": "https://pictures.test/a", "detail": "auto"}},
            ],
        },
        {"role": "assistant", "tool_calls": [CALL], "tool_plan": "a plan"},
        {"role": "assistant", "tool_calls": [CALL]},
        {
            "role": "tool",
            "tool_call_id": "1",
            "content": [{"type": "document", "document": {"id": "d1", "data": {"sky": "blue"}}}],
        },
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hmm"}, {"type": "text", "text": "so it is"}],
            "citations": [CITATION],
        },
    ],
    "documents": ["a page", {"id": "d2", "data": {"title": "a book"}}],
    "tools": [TOOL],
    "citation_options": {"mode": "FAST"},
    "response_format": {"type": "json_object", "json_schema": {"type": "object", "title": "x"}},
    "safety_mode": "STRICT",
    "stop_sequences": ["stop"],
    "tool_choice": "REQUIRED",
    "max_tokens": 64,
    "stream": True,
}
OLD_TOOL = {"name": "weather", "description": "tells it", "parameter_definitions": {"city": {"type": "str"}}}
OLD_CALL = {"name": "weather", "parameters": {"city": "Porto"}}
OLD_CHAT: dict[str, Any] = {
    "model": "command-r",
    "message": "a text",
    "preamble": "be kind",
    "chat_history": [
        {"role": "USER", "message": "before"},
        {"role": "CHATBOT", "message": "so it is", "tool_calls": [OLD_CALL]},
        {"role": "SYSTEM", "message": "be good"},
        {"role": "TOOL", "tool_results": [{"call": OLD_CALL, "outputs": [{"sky": "blue"}]}]},
    ],
    "documents": [{"title": "a book", "snippet": "a page"}],
    "tools": [OLD_TOOL],
    "tool_results": [{"call": OLD_CALL, "outputs": [{"sky": "grey"}]}],
    "connectors": [
        {"id": "web-search", "options": {"site": "a.test"}},
        {"id": "our-drive", "user_access_token": "secret"},
    ],
    "conversation_id": "talk-1",
    "search_queries_only": False,
    "raw_prompting": False,
    "max_tokens": 64,
}
# The calls: path, what a body may hold, the action, and texts with their roles.
CALLS: list[tuple[str, dict[str, Any], str, set[tuple[str, str]]]] = [
    (
        "/v2/chat",
        CHAT,
        "prompt:check",
        {
            ("system", "be kind"),
            ("user", "a text"),
            ("assistant", "a plan"),
            ("assistant", "hmm"),
            ("assistant", "so it is"),
            ("tool", "weather"),
            ("tool", '{"city": "Porto"}'),
            ("document", "blue"),
            ("document", "a page"),
            ("document", "a book"),
        },
    ),
    (
        "/v1/chat",
        OLD_CHAT,
        "prompt:check",
        {
            ("system", "be kind"),
            ("system", "be good"),
            ("user", "before"),
            ("user", "a text"),
            ("assistant", "so it is"),
            ("tool", "blue"),
            ("tool", "grey"),
            ("document", "a page"),
        },
    ),
    (
        "/v1/generate",
        {"prompt": "a text", "preset": "p1", "end_sequences": ["e"]},
        "prompt:check",
        {("user", "a text")},
    ),
    (
        "/v1/summarize",
        {"text": "a page", "additional_command": "a text", "length": "long"},
        "prompt:check",
        {("document", "a page"), ("user", "a text")},
    ),
    (
        "/v1/classify",
        {"model": "m", "inputs": ["a text"], "examples": [{"text": "good", "label": "+"}], "preset": "p1"},
        "llm:classify",
        {("user", "a text"), ("user", "good")},
    ),
    (
        "/v2/embed",
        {
            "model": "m",
            "texts": ["a text"],
            "images": [PICTURE],
            "inputs": [{"content": [{"type": "text", "text": "b"}]}],
            "input_type": "search_query",
            "embedding_types": ["float"],
        },
        "llm:embed",
        {("user", "a text"), ("user", "b")},
    ),
    ("/v1/embed", {"texts": ["a text"], "truncate": "END"}, "llm:embed", {("user", "a text")}),
    (
        "/v2/rerank",
        {"model": "m", "query": "a text", "documents": ["a page"], "top_n": 1},
        "llm:rerank",
        {("user", "a text"), ("document", "a page")},
    ),
    (
        "/v1/rerank",
        {"query": "a text", "documents": ["a page", {"text": "b"}], "rank_fields": ["text"]},
        "llm:rerank",
        {("user", "a text"), ("document", "a page"), ("document", "b")},
    ),
    ("/v1/tokenize", {"text": "a text", "model": "m"}, "llm:count", {("user", "a text")}),
    ("/v1/detokenize", {"tokens": [1, 2], "model": "m"}, "llm:count", set()),
]


def asked(path: str = "/v2/chat", **changes: Any) -> AgentRequest:
    return request("cohere", path, **changes)


def actions(document: Any, path: str = "/v2/chat") -> tuple[Action, ...]:
    return read(asked(path), document).actions


def chat(**members: Any) -> dict[str, Any]:
    return {"model": "command-a", "messages": [{"role": "user", "content": "hello"}], **members}


@pytest.mark.parametrize(("path", "document", "name", "said"), CALLS, ids=[path for path, _, _, _ in CALLS])
def test_a_call_is_one_action_and_no_place_in_it_is_overlooked(
    path: str, document: dict[str, Any], name: str, said: set[tuple[str, str]]
) -> None:
    first = actions(document, path)[0]
    assert (first.name, first.model) == (name, document.get("model"))
    assert said <= {(message.role, message.text) for message in first.messages}
    assert overlooked(asked(path), document) == []


def test_a_chat_says_what_policy_may_ask() -> None:
    attributes = actions(CHAT)[0].attributes
    wanted = {"provider": "cohere", "model": "command-a", "stream": True, "maxTokens": 64, "toolNames": ("weather",)}
    assert {name: attributes[name] for name in wanted} == wanted


def test_what_the_vendor_runs_keeps_or_fetches_is_an_action_that_must_be_named() -> None:
    found = actions(OLD_CHAT, "/v1/chat")[1:] + actions(CHAT)[1:] + actions(CALLS[4][1], "/v1/classify")[1:]
    found += actions(chat(tools=[{"type": "retrieval"}]))[1:]
    assert all(action.explicit for action in found)
    assert [action.resource for action in found] == [
        "hosted:web_search",
        "hosted:connector",
        "conversation:talk-1",
        "image/*",
        "prompt:p1",
        "hosted:retrieval",
    ]
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("path", "document", "code"),
    [
        (
            "/v2/chat",
            chat(messages=[{"role": "user", "content": [{"type": "audio"}]}]),
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        ),
        ("/v2/chat", chat(messages=[{"role": "user"}]), ErrorCode.BAD_REQUEST),
        ("/v2/chat", chat(messages=[{"role": "CHATBOT", "content": "x"}]), ErrorCode.BAD_REQUEST),
        ("/v2/chat", chat(Messages=[]), ErrorCode.BAD_REQUEST),
        ("/v2/chat", chat(model=None), ErrorCode.BAD_REQUEST),
        ("/v2/chat", chat(stream="yes"), ErrorCode.BAD_REQUEST),
        ("/v2/chat", chat(raw_prompting=True), ErrorCode.BAD_REQUEST),
        ("/v2/chat", chat(connectors=[{"id": "web-search"}]), ErrorCode.BAD_REQUEST),
        ("/v2/chat", chat(Conversation_ID="talk-1"), ErrorCode.BAD_REQUEST),
        ("/v2/chat", chat(message="the one that is answered"), ErrorCode.BAD_REQUEST),
        ("/v2/chat", chat(api_base="https://evil.test"), ErrorCode.POLICY_DENY),
        ("/v1/chat", {"message": "x", "raw_prompting": True}, ErrorCode.POLICY_DENY),
        ("/v1/chat", {"message": "x", "connectors": ["web-search"]}, ErrorCode.BAD_REQUEST),
        ("/v1/chat", {"message": "x", "chat_history": [{"role": "root", "message": "x"}]}, ErrorCode.BAD_REQUEST),
        ("/v1/generate", {"prompt": "x", "raw_prompting": True}, ErrorCode.POLICY_DENY),
        ("/v2/embed", {"model": "m", "images": ["ftp://x"]}, ErrorCode.BAD_REQUEST),
    ],
)
def test_what_cannot_be_read_faithfully_is_refused(path: str, document: dict[str, Any], code: ErrorCode) -> None:
    assert refused(asked(path), document).code is code


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/datasets"),
        ("POST", "/v1/connectors"),
        ("POST", "/v1/embed-jobs"),
        ("POST", "/v2/parse"),
        ("POST", "/v1/check-api-key"),
        ("POST", "/compatibility/v1/chat/completions"),
        ("POST", "/v1/finetuning/finetuned-models"),
    ],
)
def test_another_endpoint_is_not_found(method: str, path: str) -> None:
    assert refused(asked(path, method=method), chat()).code is ErrorCode.NOT_FOUND


def test_models_are_listed_as_an_action_of_their_own() -> None:
    assert read(asked("/v1/models?page_size=3", method="GET")).actions[0].name == "llm:models"
    assert read(asked("/v1/models/command-a", method="GET")).actions[0].model == "command-a"


def captured(
    call: Callable[[Any], Any], answer: httpx.Response | None = None, sdk: Callable[..., Any] = cohere.ClientV2
) -> httpx.Request:
    sent: list[httpx.Request] = []

    def handle(got: httpx.Request) -> httpx.Response:
        got.read()
        sent.append(got)
        return answer or httpx.Response(403, json={})

    client = httpx.Client(transport=httpx.MockTransport(handle))
    with contextlib.suppress(*(() if answer else (ApiError,))):
        call(sdk(api_key="k", base_url="http://x.test", httpx_client=client))
    return sent[0]


def reading(sent: httpx.Request) -> list[str]:
    path = sent.url.raw_path.decode()
    return texts(read(asked(path, method=sent.method, headers=dict(sent.headers)), sent.content).actions)


def test_what_the_sdk_sends_is_what_is_read() -> None:
    members = {name: value for name, value in CHAT.items() if name != "stream"}
    for sent in (captured(lambda c: c.chat(**members)), captured(lambda c: list(c.chat_stream(**members)))):
        assert {"be kind", "a text", "a plan", "hmm", "blue", "a page", "a book", "tells it"} <= set(reading(sent))
    old = {name: value for name, value in OLD_CHAT.items() if name != "search_queries_only"}
    found = reading(captured(lambda c: c.chat(**old), sdk=cohere.Client))
    assert {"be kind", "a text", "before", "blue", "grey", "a page"} <= set(found)
    embedded = captured(lambda c: c.embed(model="m", texts=["a text"], input_type="search_query", images=[PICTURE]))
    assert "a text" in reading(embedded)
    ranked = captured(lambda c: c.rerank(model="m", query="a text", documents=["a page"]))
    assert reading(ranked) == ["a text", "a page"]
    assert reading(captured(lambda c: c.models.list())) == []


@pytest.mark.parametrize(
    ("code", "exception"),
    [
        (ErrorCode.POLICY_DENY, cohere.ForbiddenError),
        (ErrorCode.AUTH_FAILED, cohere.UnauthorizedError),
        (ErrorCode.RATE_LIMIT_EXCEEDED, cohere.TooManyRequestsError),
        (ErrorCode.BAD_REQUEST, cohere.BadRequestError),
    ],
)
def test_the_sdk_raises_the_exception_that_fits(code: ErrorCode, exception: type[ApiError]) -> None:
    reply = PROTOCOLS["cohere"].reply(asked(), denied(code=code, reason="not allowed"))
    # Without `retry-after`, which the SDK would wait for before it tries again.
    headers = {name: value for name, value in reply.headers.items() if name != "retry-after"}
    answer = httpx.Response(reply.status, content=reply.body, headers=headers)
    with pytest.raises(exception) as caught:
        captured(lambda c: c.chat(**chat(), request_options={"max_retries": 0}), answer)
    body: Any = caught.value.body
    assert body["message"] == "not allowed (request id: req_1)"


def test_the_check_api_takes_the_same_body() -> None:
    assert VENDORS["cohere"](chat()) == actions(chat())


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "role", "text", "content", "function", "url", "id"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=50)
@given(st.sampled_from(CALLS), values)
def test_any_body_is_read_or_refused(call: tuple[str, dict[str, Any], str, Any], value: Any) -> None:
    path, document, _, _ = call
    for member in document:
        for other in (value, [value], [{**document, "role": "user", "content": value}]):
            with contextlib.suppress(Refusal):
                assert actions({**document, member: other}, path)

"""Anthropic: every block of the SDK is read, what the vendor runs or keeps must be named, errors are its own."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_core.wire.vendors import VENDORS
from wire_leaves import overlooked, texts
from wire_support import denied, read, refused, request

CACHE = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
PDF = b64encode(b"%PDF-1.7").decode()


def coded(text: str) -> str:
    return b64encode(text.encode()).decode()


def text_block(text: str, **members: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **members}


def body(*blocks: Any, role: Any = "user", **members: Any) -> dict[str, Any]:
    content = list(blocks) or "hello"
    return {"model": "claude-x", "max_tokens": 64, "messages": [{"role": role, "content": content}], **members}


def asked(path: str = "/v1/messages", **changes: Any) -> AgentRequest:
    return request("anthropic", path, **changes)


def actions(document: Any, path: str = "/v1/messages") -> tuple[Action, ...]:
    return read(asked(path), document).actions


def said(document: Any) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in actions(document)[0].messages]


DOCUMENTS: list[dict[str, Any]] = [
    {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        "title": "a title",
    },
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a file"}, "context": "from"},
    {"type": "document", "source": {"type": "base64", "media_type": "text/csv", "data": coded("a,b")}},
    {"type": "document", "source": {"type": "url", "url": "https://docs.test/a.pdf"}, **CACHE},
    {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "citations": {"enabled": True}},
    {"type": "document", "source": {"type": "content", "content": "a chapter"}},
    {"type": "document", "source": {"type": "content", "content": [text_block("a page", **CACHE)]}},
]
IMAGES: list[dict[str, Any]] = [
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PDF}, **CACHE},
    {"type": "image", "source": {"type": "url", "url": "https://pictures.test/a"}},
    {"type": "image", "source": {"type": "file", "file_id": "file_2"}, "transformations": {"oversized_image": "error"}},
]
SEARCH_RESULT = {
    "type": "search_result",
    "source": "wiki",
    "title": "Lisbon",
    "content": [text_block("a city")],
    "citations": {"enabled": True},
}
CITATION = {"type": "char_location", "cited_text": "cited", "document_index": 0, "document_title": "book"}
CALLER = {"caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}}


def result(kind: str, content: Any) -> dict[str, Any]:
    return {"type": kind, "tool_use_id": "srvtoolu_1", "content": content, **CACHE}


BLOCKS: list[dict[str, Any]] = [
    text_block("a text", citations=[CITATION], **CACHE),
    *IMAGES,
    *DOCUMENTS,
    SEARCH_RESULT,
    {"type": "thinking", "thinking": "hmm", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "b3BhcXVl"},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Porto"}, **CALLER, **CACHE},
    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny", "is_error": False, **CACHE},
    {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [
            text_block("rainy"),
            IMAGES[0],
            DOCUMENTS[1],
            SEARCH_RESULT,
            {"type": "tool_reference", "tool_name": "weather"},
            {"type": "browser_state", "tabs": [{"tab_id": "1", "title": "a tab", "url": "https://tab.test"}]},
        ],
    },
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "news"}},
    {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "echo", "server_name": "echoes", "input": {"text": "who"}},
    {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [text_block("an echo")], "is_error": True},
    {"type": "mcp_tool_listing", "mcp_server_name": "echoes", "tools": [{"name": "echo", "input_schema": {}}]},
    result(
        "web_search_tool_result",
        [{"type": "web_search_result", "url": "https://a.test", "title": "page", "encrypted_content": "eHl6"}],
    ),
    result("web_search_tool_result", {"type": "web_search_tool_result_error", "error_code": "unavailable"}),
    result("web_fetch_tool_result", {"type": "web_fetch_result", "url": "https://a.test", "content": DOCUMENTS[1]}),
    result("web_fetch_tool_result", {"type": "web_fetch_tool_result_error", "error_code": "url_too_long"}),
    result(
        "code_execution_tool_result",
        {
            "type": "code_execution_result",
            "stdout": "out",
            "stderr": "err",
            "return_code": 0,
            "content": [{"type": "code_execution_output", "file_id": "file_3"}],
        },
    ),
    result("bash_code_execution_tool_result", {"type": "bash_code_execution_result", "stdout": "ls", "content": []}),
    result(
        "text_editor_code_execution_tool_result",
        {"type": "text_editor_code_execution_view_result", "content": "a script", "file_type": "text"},
    ),
    result(
        "tool_search_tool_result",
        {
            "type": "tool_search_tool_search_result",
            "tool_references": [{"type": "tool_reference", "tool_name": "weather"}],
        },
    ),
    result("advisor_tool_result", {"type": "advisor_result", "text": "advice"}),
    {"type": "container_upload", "file_id": "file_4", **CACHE},
    {
        "type": "compaction",
        "content": "a summary",
        "encrypted_content": "eHl6",
        "tool_changes": [{"type": "tool_removal", "tool": {"type": "tool_reference", "name": "weather"}}],
    },
    {
        "type": "tool_addition",
        "tool": {"type": "tool_definition", "definition": {"name": "later", "input_schema": {"type": "object"}}},
    },
    {"type": "fallback", "from": {"model": "claude-a"}, "to": {"model": "claude-b"}},
]
TOOL = {"name": "weather", "description": "tells the weather", "input_schema": {"properties": {"city": {}}}, **CACHE}
WHOLE = body(
    *BLOCKS,
    system=[text_block("be kind", **CACHE)],
    tools=[TOOL, {"type": "web_search_20260318", "name": "web_search", "allowed_domains": ["a.test"]}],
    tool_choice={"type": "tool", "name": "weather"},
    mcp_servers=[
        {
            "type": "url",
            "name": "echoes",
            "url": "https://mcp.test/echo",
            "authorization_token": "secret",
            "tool_configuration": {"allowed_tools": ["echo"], "enabled": True},
        }
    ],
    container={"id": "container_1", "skills": [{"type": "custom", "skill_id": "skill_1", "version": "latest"}]},
    thread={"type": "continue", "previous_message_id": "msg_1"},
    metadata={"user_id": "someone"},
    stop_sequences=["stop"],
    context_management={"edits": [{"type": "compact_20260112", "instructions": "be brief"}]},
    compaction={"type": "summarize", "instructions": "be terse"},
    output_config={"format": {"type": "json_schema", "schema": {"properties": {"a": {"description": "b"}}}}},
    thinking={"type": "enabled", "budget_tokens": 1024},
    service_tier="auto",
    stream=True,
    **CACHE,
)


def test_there_is_no_place_in_a_message_where_text_is_overlooked() -> None:
    assert overlooked(asked(), WHOLE) == []


def test_there_is_no_place_in_a_batch_or_a_completion_where_text_is_overlooked() -> None:
    small = body(text_block("hello"), {"type": "document", "source": {"type": "content", "content": "x"}}, tools=[TOOL])
    assert overlooked(asked("/v1/messages/count_tokens"), small) == []
    batch = {"requests": [{"custom_id": "one", "params": body()}, {"custom_id": "two", "params": small}], "x": "y"}
    assert overlooked(asked("/v1/messages/batches"), batch) == []
    old = {
        "model": "claude-2",
        "prompt": "\n\nHuman: hi\n\nAssistant:",
        "max_tokens_to_sample": 5,
        "metadata": {"a": "b"},
    }
    assert overlooked(asked("/v1/complete"), old) == []


def test_a_message_is_one_prompt_check_about_its_model() -> None:
    (action,) = actions(body(tools=[TOOL], stream=True))
    assert (action.name, action.model, action.capabilities) == ("prompt:check", "claude-x", ("prompt:send", "llm:call"))
    assert {name: action.attributes[name] for name in ("provider", "stream", "maxTokens", "toolNames")} == {
        "provider": "anthropic",
        "stream": True,
        "maxTokens": 64,
        "toolNames": ("weather",),
    }


def test_a_text_has_the_role_of_where_it_stands() -> None:
    found = said(WHOLE)
    for role, text in [
        ("system", "be kind"),
        ("user", "a text"),
        ("file", "a file"),
        ("file", "a,b"),
        ("document", "a chapter"),
        ("document", "a page"),
        ("document", "a title"),
        ("document", "a city"),
        ("tool", "Porto"),
        ("tool", "sunny"),
        ("tool", "rainy"),
        ("tool", "an echo"),
        ("tool", "out"),
        ("tool", "tells the weather"),
        ("unread", "be brief"),
    ]:
        assert (role, text) in found, (role, text)
    assert ("assistant", "hmm") in said(
        body({"type": "thinking", "thinking": "hmm", "signature": "x"}, role="assistant")
    )


def test_what_the_vendor_runs_keeps_or_fetches_is_an_action_that_must_be_named() -> None:
    others = actions(WHOLE)[1:]
    assert all(action.explicit for action in others)
    assert {str(action.resource) for action in others} == {
        "application/pdf",
        "image/png",
        "image/*",
        "file:file_1",
        "file:file_2",
        "file:file_3",
        "file:file_4",
        "hosted:mcp",
        "hosted:web_search",
        "container:container_1",
        "skill:skill_1",
        "message:msg_1",
        "compaction:encrypted",
    }
    (server,) = [action for action in others if action.resource == "hosted:mcp"]
    assert server.attributes["host"] == "mcp.test"
    assert "secret" not in str(server)


SEARCHED = result("web_search_tool_result", [{"type": "web_search_result", "title": "a", "encrypted_content": "eHl6"}])
EXECUTED = result("code_execution_tool_result", {"type": "encrypted_code_execution_result", "encrypted_stdout": "eHl6"})
ADVISED = result("advisor_tool_result", {"type": "advisor_redacted_result", "encrypted_content": "eHl6"})
SEALED = {"result:encrypted"}


@pytest.mark.parametrize(
    ("block", "tools", "expected"),
    [
        ({"type": "thinking", "thinking": "", "signature": "eHl6"}, [], set()),
        ({"type": "redacted_thinking", "data": "eHl6"}, [], set()),
        ({"type": "compaction", "content": "a summary", "signature": "eHl6"}, [], set()),
        ({"type": "compaction", "content": None, "encrypted_content": "eHl6"}, [], {"compaction:encrypted"}),
        (SEARCHED, [], SEALED),
        (SEARCHED, ["web_search_20260318"], {"hosted:web_search"}),
        (SEARCHED, ["memory_20250818"], SEALED | {"hosted:memory"}),
        (EXECUTED, ["web_fetch_20260318"], {"hosted:web_fetch"}),
        (EXECUTED, [], SEALED),
        (ADVISED, ["web_search_20260318"], SEALED | {"hosted:web_search"}),
        (ADVISED, ["advisor_20260301"], {"hosted:advisor"}),
    ],
)
def test_sealed_content_is_a_reference_unless_its_tool_answers_for_it(
    block: dict[str, Any], tools: list[str], expected: set[str]
) -> None:
    document = body(block, role="assistant", tools=[{"type": tool, "name": "t"} for tool in tools])
    assert {str(action.resource) for action in actions(document)[1:]} == expected


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ("web_search_20250305", "web_search"),
        ("web_fetch_20260318", "web_fetch"),
        ("code_execution_20260521", "code_interpreter"),
        ("bash_20250124", "shell"),
        ("text_editor_20250728", "text_editor"),
        ("computer_20251124", "computer_use"),
        ("computer_toolset_20260801", "computer_use"),
        ("browser_toolset_20260801", "browser"),
        ("memory_20250818", "memory"),
        ("tool_search_tool_bm25", "tool_search"),
        ("tool_search_tool_regex_20251119", "tool_search"),
        ("advisor_20260301", "advisor"),
        ("mcp_toolset", "mcp"),
        ("something_new", "something_new"),
    ],
)
def test_a_tool_with_a_type_of_its_own_is_hosted(tool: str, name: str) -> None:
    added = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"type": tool, "name": "x"}}}
    for document in (body(tools=[{"type": tool, "name": "x"}]), body(added, role="system")):
        hosted = actions(document)[1]
        assert (hosted.name, hosted.tool, hosted.explicit) == ("tool:execute", f"hosted:{name}", True)


def test_the_tools_of_an_mcp_server_that_the_request_names_are_one_action_with_its_host() -> None:
    server = {"type": "url", "name": "echoes", "url": "https://mcp.test"}
    toolset = {"type": "mcp_toolset", "mcp_server_name": "echoes", "configs": {"echo": {"enabled": True}}}
    (hosted,) = actions(body(mcp_servers=[server], tools=[toolset]))[1:]
    assert hosted.attributes["host"] == "mcp.test"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (body({"type": "hologram", "text": "x"}), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (body({"type": "image", "source": {"type": "satellite"}}), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (body({"type": "image", "source": {"type": "content", "content": "x"}}), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (body(result("tool_result", [{"type": "tool_result", "content": "x"}])), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (body(fallbacks=[{"model": "claude-other"}]), ErrorCode.POLICY_DENY),
        (body(fallbacks="default"), ErrorCode.POLICY_DENY),
        (body(API_Base="https://evil.test"), ErrorCode.POLICY_DENY),
        (body(role="developer"), ErrorCode.BAD_REQUEST),
        (body(System="x"), ErrorCode.BAD_REQUEST),
        (body(text_block("x", Text="y")), ErrorCode.BAD_REQUEST),
        (body(stream="yes"), ErrorCode.BAD_REQUEST),
        (body(model=None), ErrorCode.BAD_REQUEST),
        (body(messages=[]), ErrorCode.BAD_REQUEST),
        (body(messages="hello"), ErrorCode.BAD_REQUEST),
        (body(mcp_servers=[{"type": "url", "name": "x"}]), ErrorCode.BAD_REQUEST),
        (body(tools=[{"type": "mcp_toolset", "mcp_server_name": {}}, 1]), ErrorCode.BAD_REQUEST),
    ],
)
def test_what_cannot_be_read_faithfully_is_refused(document: dict[str, Any], code: ErrorCode) -> None:
    assert refused(asked(), document).code is code


def test_each_element_of_a_batch_is_a_message_of_its_own_model() -> None:
    elements = [{"custom_id": str(n), "params": body(model=f"claude-{n}")} for n in range(3)]
    batch, *rest = actions({"requests": elements}, "/v1/messages/batches")
    assert batch.name == "llm:batch"
    assert [(action.name, action.model) for action in rest] == [("prompt:check", f"claude-{n}") for n in range(3)]
    many = [{"custom_id": str(n), "params": body(model=f"claude-{n}")} for n in range(70)]
    assert "kinds of actions" in refused(asked("/v1/messages/batches"), {"requests": many}).reason


@pytest.mark.parametrize(
    ("method", "path", "resource"),
    [
        ("GET", "/v1/messages/batches?limit=3", "batch:*"),
        ("GET", "/v1/messages/batches/msgbatch_1", "batch:msgbatch_1"),
        ("GET", "/v1/messages/batches/msgbatch_1/results", "batch:msgbatch_1"),
        ("POST", "/v1/messages/batches/msgbatch_1/cancel", "batch:msgbatch_1"),
        ("DELETE", "/v1/messages/batches/msgbatch_1", "batch:msgbatch_1"),
        ("GET", "/v1/files?ids%5B%5D=a&ids%5B%5D=b", "file:*"),
        ("GET", "/v1/files/file_1/content", "file:file_1"),
        ("DELETE", "/v1/files/file_1?beta=true", "file:file_1"),
    ],
)
def test_what_the_vendor_keeps_is_a_reference(method: str, path: str, resource: str) -> None:
    action = read(asked(path, method=method)).actions[-1]
    assert (action.name, action.resource, action.explicit) == ("content:reference", resource, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/skills"), ("POST", "/v1/sessions"), ("POST", "/v1/messages/"), ("GET", "/v1/organizations/x")],
)
def test_another_endpoint_is_not_found(method: str, path: str) -> None:
    assert refused(asked(path, method=method)).code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("header", ["anthropic-workspace-id", "anthropic-user-profile-id"])
def test_for_whom_the_credential_acts_is_not_the_agents_choice(header: str) -> None:
    headers = {"content-type": "application/json", header: "x"}
    assert refused(asked(headers=headers), body()).code is ErrorCode.POLICY_DENY


def captured(call: Callable[[anthropic.Anthropic], Any], answer: httpx2.Response | None = None) -> httpx2.Request:
    sent: list[httpx2.Request] = []

    def handle(got: httpx2.Request) -> httpx2.Response:
        got.read()
        sent.append(got)
        return answer or httpx2.Response(500)

    client = httpx2.Client(transport=httpx2.MockTransport(handle))
    with contextlib.suppress(anthropic.InternalServerError):
        call(anthropic.Anthropic(api_key="k", base_url="http://x.test", max_retries=0, http_client=client))
    return sent[0]


def reading(sent: httpx2.Request) -> list[str]:
    path = sent.url.raw_path.decode()
    return texts(read(asked(path, method=sent.method, headers=dict(sent.headers)), sent.content).actions)


def test_what_the_sdk_sends_is_what_is_read() -> None:
    arguments: dict[str, Any] = {name: value for name, value in WHOLE.items() if name != "stream"}
    sent = captured(lambda client: client.beta.messages.create(**arguments, betas=["mcp-client-2025-11-20"]))
    found = reading(sent)
    for text in ("a text", "be kind", "a file", "an echo", "advice", "be brief", "tells the weather", "file:file_4"):
        assert text in found
    assert reading(captured(lambda client: client.messages.count_tokens(model="m", messages=WHOLE["messages"])))
    assert "be quick" in reading(captured(lambda client: client.messages.create(**body(system="be quick"))))
    one: Any = {"custom_id": "one", "params": body()}
    assert "hello" in reading(captured(lambda client: client.messages.batches.create(requests=[one])))
    assert reading(captured(lambda client: client.models.retrieve("claude-x"))) == []
    assert reading(captured(lambda client: client.messages.batches.cancel("msgbatch_1"))) == ["batch:msgbatch_1"]


def test_a_file_is_read_before_it_is_kept() -> None:
    found = reading(captured(lambda client: client.beta.files.upload(file=("a note.txt", b"a secret", "text/plain"))))
    assert {"a note.txt", "a secret"} <= set(found)
    assert "application/pdf" in reading(captured(lambda client: client.beta.files.upload(file=("a.pdf", b"%PDF"))))
    assert refused(asked("/v1/files"), b"{}").code is ErrorCode.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize(
    ("code", "exception", "kind"),
    [
        (ErrorCode.POLICY_DENY, anthropic.PermissionDeniedError, "permission_error"),
        (ErrorCode.AUTH_FAILED, anthropic.AuthenticationError, "authentication_error"),
        (ErrorCode.RATE_LIMIT_EXCEEDED, anthropic.RateLimitError, "rate_limit_error"),
        (ErrorCode.NOT_FOUND, anthropic.NotFoundError, "not_found_error"),
        (ErrorCode.BAD_REQUEST, anthropic.BadRequestError, "invalid_request_error"),
        (ErrorCode.PAYLOAD_TOO_LARGE, anthropic.RequestTooLargeError, "request_too_large"),
    ],
)
def test_the_sdk_raises_the_exception_that_fits(
    code: ErrorCode, exception: type[anthropic.APIStatusError], kind: str
) -> None:
    reply = PROTOCOLS["anthropic"].reply(asked(), denied(code=code, reason="not allowed"))
    answer = httpx2.Response(reply.status, content=reply.body, headers=dict(reply.headers))
    with pytest.raises(exception) as caught:
        captured(lambda client: client.messages.create(**body()), answer)
    assert caught.value.request_id == "req_1"
    error: Any = caught.value.body
    assert error["error"]["type"] == kind
    assert error["error"]["message"] == "not allowed (request id: req_1)"


def test_the_check_api_takes_the_same_body() -> None:
    assert VENDORS["anthropic"](body()) == actions(body())


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.sampled_from(["text", "image", "tool"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "source", "tool", "definition", "name", "id", "data"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(sorted(WHOLE)), values), st.sampled_from(BLOCKS), st.data())
def test_any_body_is_read_or_refused(members: dict[str, Any], block: dict[str, Any], data: st.DataObject) -> None:
    broken = {**block, data.draw(st.sampled_from(sorted(block))): data.draw(values)}
    for document in ({**body(), **members}, body(broken)):
        with contextlib.suppress(Refusal):
            assert actions(document)

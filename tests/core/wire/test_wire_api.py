"""The check API answers what the original sidecar answered, and reads what it should have read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.action import Message
from kalguard_core.codes import ErrorCode, Outcome
from kalguard_core.decision import Decision, Verdict
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.registry import PROTOCOLS
from wire_support import denied, encoded, read, refused, request

PROTOCOL = PROTOCOLS["api"]


def asked(path: str = "/v1/prompt/check", **changes: Any) -> AgentRequest:
    return request("api", path, **changes)


def prompt(content: Any, **members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **members}]}


@pytest.mark.parametrize(
    ("path", "name", "capabilities"),
    [
        ("/v1/prompt/check", "api.prompt", ("prompt:send",)),
        ("/v1/llm/check", "api.llm", ("prompt:send",)),
        ("/v1/tool/check", "api.tool", ()),
    ],
)
def test_the_endpoints_and_what_they_need_before_the_body(path: str, name: str, capabilities: tuple[str, ...]) -> None:
    route = PROTOCOL.route(asked(path))
    assert (route.name, route.capabilities, route.reads_body) == (name, capabilities, True)


@pytest.mark.parametrize("path", ["/", "/nope", "/v1/prompt/check/", "/v1/tool/register", "/V1/prompt/check", ""])
def test_an_unknown_path_is_not_found(path: str) -> None:
    refusal = refused(asked(path), prompt("x"))
    assert (refusal.code, refusal.reason) == (ErrorCode.NOT_FOUND, "Not Found")


def test_a_known_path_with_another_method_is_not_allowed() -> None:
    assert refused(asked(method="GET")).code is ErrorCode.METHOD_NOT_ALLOWED


def test_a_prompt_is_one_action() -> None:
    (action,) = read(asked(), {**prompt("hi"), "model": "m", "context": {"metadata": {"env": "SECRET"}}}).actions
    assert (action.name, action.resource, action.model, action.tool) == ("prompt:check", None, "m", None)
    assert action.capabilities == ("prompt:send",)
    assert action.attributes == {"messageCount": 1, "model": "m", "stream": False, "tokenEstimate": 1, "toolCount": 0}
    assert action.messages == (Message("user", "hi", ("messages", 0, "content")),)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not-json{{{",
        b'{"messages":NaN}',
        b"\xef\xbb\xbf{}",
        b'{"messages":[]} x',
        b'{"a":"\xff"}',
        b'{"a":1,"a":1}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/prompt/check", "/v1/tool/check"])
def test_what_is_not_json_says_so_and_keeps_the_place_for_the_audit(path: str, body: bytes) -> None:
    refusal = refused(asked(path), body)
    assert (refusal.code, refusal.reason) == (ErrorCode.BAD_REQUEST, "Invalid JSON")
    assert "position" in refusal.detail


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"1",
        {},
        {"messages": []},
        {"messages": {}},
        {"messages": ["x"]},
        {"messages": [{"content": "x"}]},
        prompt(1),
        prompt(None),
        prompt([]),
        prompt([{"type": "text"}]),
    ],
)
def test_messages_of_another_shape_are_a_bad_request(body: Any) -> None:
    refusal = refused(asked(), body)
    assert (refusal.code, refusal.reason) == (ErrorCode.BAD_REQUEST, "Missing or invalid messages")


def test_parts_are_read_and_parts_that_are_not_text_are_refused() -> None:
    (action,) = read(asked(), prompt([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).actions
    assert [message.text for message in action.messages] == ["a", "b"]
    refusal = refused(asked(), prompt([{"type": "hologram", "hologram": "x"}]))
    assert refusal.code is ErrorCode.BAD_REQUEST
    assert "hologram" in refusal.reason


def test_an_attachment_is_an_action_of_its_own_that_a_rule_has_to_name() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://pictures.test/x.png"}}
    first, media = read(asked(), prompt([{"type": "text", "text": "a"}, picture])).actions
    assert (first.name, first.explicit) == ("prompt:check", False)
    assert (media.name, media.resource, media.explicit) == ("content:media", "image/*", True)
    assert media.capabilities == ("prompt:send",)
    assert media.attributes["host"] == "pictures.test"


@pytest.mark.parametrize("name", ["api.prompt", "api.llm", "api.tool"])
def test_each_endpoint_is_documented_as_it_is_routed(name: str) -> None:
    (endpoint,) = [endpoint for endpoint in PROTOCOL.endpoints if endpoint.name == name]
    route = PROTOCOL.route(asked(endpoint.path))
    assert (route.name, route.capabilities) == (name, endpoint.capabilities)


def test_a_vendors_own_body_is_read_as_on_the_vendors_route() -> None:
    body = {"model": "gpt-4o", "input": "hello", "previous_response_id": "resp_1"}
    via_route = read(request("openai", "/v1/responses"), body).actions
    chat = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "web_search"}]}
    assert read(asked("/v1/llm/check"), {"provider": "openai-responses", **body}).actions == via_route
    assert (
        read(asked("/v1/llm/check"), {"provider": "openai", **chat}).actions
        == read(request("openai", "/v1/chat/completions"), chat).actions
    )


@pytest.mark.parametrize("provider", ["OpenAI", "nobody\n", "", 1, ["openai"], {"order": ["x"]}])
def test_an_unknown_provider_is_a_bad_request_that_names_the_known_ones(provider: Any) -> None:
    refusal = refused(asked("/v1/llm/check"), {"provider": provider, **prompt("x"), "model": "m"})
    assert refusal.code is ErrorCode.BAD_REQUEST
    assert "openai" in refusal.reason
    assert "\n" not in refusal.reason


def test_a_vendors_body_that_cannot_be_read_is_refused_as_on_the_route() -> None:
    assert refused(asked("/v1/llm/check"), {"provider": "openai", "messages": []}).code is ErrorCode.BAD_REQUEST


def test_only_the_model_check_has_a_provider() -> None:
    (action,) = read(asked(), {**prompt("x"), "provider": "openai"}).actions
    assert "provider" not in action.attributes


def test_a_vendors_body_comes_back_sanitized_as_a_whole() -> None:
    sent = {"provider": "openai-responses", "model": "m", "instructions": "bad", "input": "bad"}
    reading = read(asked("/v1/llm/check"), sent)
    clean = tuple(Message(each.role, "[removed]", each.where) for each in reading.actions[0].messages)
    body = replied(allowed(sent, "/v1/llm/check", risk=55, sanitized=clean))[1]
    assert body["data"]["sanitizedBody"] == {"model": "m", "instructions": "[removed]", "input": "[removed]"}
    assert "sanitizedMessages" not in body["data"]


def test_a_turn_of_tool_calls_needs_no_content_and_its_text_is_seen() -> None:
    calls = [{"id": "1", "function": {"name": "f", "arguments": "SECRET"}}]
    body = {"messages": [{"role": "assistant", "content": None, "tool_calls": calls}]}
    assert "SECRET" in [message.text for message in read(asked(), body).actions[0].messages]


def test_other_members_of_a_message_are_seen_and_so_are_odd_roles() -> None:
    messages = read(asked(), {"messages": [{"role": "do evil", "content": "x", "note": "SECRET"}]}).actions[0].messages
    assert {"do evil", "x", "SECRET"} == {message.text for message in messages}


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ({"toolName": "t", "arguments": {"a": 1}}, {"a": 1}),
        ({"toolName": "t", "args": {"a": 1}}, {"a": 1}),
        ({"toolName": "t", "arguments": None, "args": {"a": 1}}, {"a": 1}),
        ({"toolName": "t", "arguments": {}, "args": {"a": 1}}, {}),
        ({"toolName": "t", "arguments": "x", "args": {"a": 1}}, {}),
        ({"toolName": "t", "arguments": [1]}, {}),
        ({"toolName": "t"}, {}),
    ],
)
def test_a_tool_call_has_arguments_or_else_args(body: Any, arguments: dict[str, Any]) -> None:
    (action,) = read(asked("/v1/tool/check"), body).actions
    assert (action.name, action.tool, action.resource) == ("tool:execute", "t", "t")
    assert action.arguments == arguments
    assert action.attributes == {"toolName": "t"}


@pytest.mark.parametrize("body", [b"null", b"1", b"[]", {}, {"arguments": {}}, {"toolName": 5}, {"toolName": ""}])
def test_a_tool_call_without_a_name_is_a_bad_request(body: Any) -> None:
    refusal = refused(asked("/v1/tool/check"), body)
    assert (refusal.code, refusal.reason) == (ErrorCode.BAD_REQUEST, "Missing or invalid toolName/arguments")


def test_the_media_type_is_not_enforced() -> None:
    assert read(asked(headers={}), prompt("x"))


def allowed(body: Any, path: str = "/v1/prompt/check", **verdict: Any) -> Decision:
    reading = read(asked(path), body)
    judged = Verdict(reading.actions[0], Outcome.ALLOW, "allowed", **verdict)
    return Decision("req_1", Outcome.ALLOW, "allowed", verdicts=(judged,), risk=judged.risk, document=reading.document)


def replied(decision: Decision) -> tuple[int, dict[str, Any]]:
    reply = PROTOCOL.reply(asked(), decision)
    assert reply.headers["content-type"] == "application/json"
    return reply.status, json.loads(reply.body)


def test_an_allowed_prompt_tells_its_risk() -> None:
    status, body = replied(allowed(prompt("hi"), risk=45))
    assert status == 200
    assert list(body) == ["allowed", "decision", "message", "requestId", "data", "ok", "reason"]
    assert body["data"] == {"allowed": True, "riskScore": 45, "riskLevel": "medium"}
    assert (body["allowed"], body["message"], body["ok"], body["reason"]) == (True, "OK", True, "OK")


def test_an_allowed_tool_says_no_more_than_that() -> None:
    assert replied(allowed({"toolName": "t"}, "/v1/tool/check"))[1]["data"] == {"allowed": True}


def test_sanitized_messages_keep_the_shape_of_the_originals() -> None:
    sent: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "keep"},
            {"role": "user", "content": [{"type": "text", "text": "bad"}, {"type": "text", "text": "keep"}], "n": 1},
            {"role": "user", "content": "bad", "x": {"bad name": "keep", "y": ["bad"]}},
        ]
    }
    reading = read(asked(), sent)
    clean = tuple(
        Message(message.role, message.text.replace("bad", "[removed]"), message.where)
        for message in reading.actions[0].messages
    )
    body = replied(allowed(sent, risk=55, sanitized=clean))[1]
    assert body["data"]["sanitizedMessages"] == [
        {"role": "system", "content": "keep"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "[removed]"}, {"type": "text", "text": "keep"}],
            "n": 1,
        },
        {"role": "user", "content": "[removed]", "x": {"y": ["[removed]"]}},
    ]
    assert sent["messages"][2]["content"] == "bad"


def test_a_blocked_prompt_tells_its_risk() -> None:
    action = read(asked(), prompt("x")).actions[0]
    status, body = replied(denied(action, code=ErrorCode.PROMPT_BLOCKED, reason="prompt blocked", risk=85))
    assert status == 403
    assert list(body) == ["allowed", "decision", "message", "requestId", "data", "errorCode", "ok", "reason"]
    assert body["data"] == {"riskScore": 85, "riskLevel": "critical"}


@pytest.mark.parametrize(
    ("code", "answered"),
    [
        (ErrorCode.POLICY_DENY, True),
        (ErrorCode.CAPABILITY_DENIED, True),
        (ErrorCode.TOOL_DENIED, True),
        (ErrorCode.RATE_LIMIT_EXCEEDED, True),
        (ErrorCode.BAD_REQUEST, False),
        (ErrorCode.AUTH_FAILED, False),
        (ErrorCode.NOT_FOUND, False),
        (ErrorCode.AUDIT_UNAVAILABLE, False),
    ],
)
def test_ok_says_whether_the_question_was_answered(code: ErrorCode, answered: bool) -> None:
    body = replied(denied(code=code, reason="because"))[1]
    assert body["ok"] is answered
    assert "data" not in body
    assert (body["message"], body["reason"], body["errorCode"]) == ("because", "because", code.value)


def test_an_approval_is_named_as_such() -> None:
    decision = denied(code=ErrorCode.REQUIRE_APPROVAL, outcome=Outcome.REQUIRE_APPROVAL, reason="human must approve")
    body = replied(decision)[1]
    assert (body["decision"], body["message"], body["ok"]) == ("require_approval", "Requires approval", True)


def test_a_limit_says_when_to_come_back() -> None:
    reply = PROTOCOL.reply(asked(), denied(code=ErrorCode.RATE_LIMIT_EXCEEDED, retry_after=30.5))
    assert reply.headers["retry-after"] == "31"


_text = st.text(max_size=8)
_anything = st.recursive(
    st.none() | st.integers(-9, 9) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_prompts = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries({"role": _text, "content": _text}, optional={"x": _anything}), min_size=1
        )
    }
)


@given(st.binary(max_size=50) | _anything.map(encoded), st.sampled_from(["/v1/prompt/check", "/v1/tool/check"]))
def test_no_body_ends_in_anything_but_a_refusal(body: bytes, path: str) -> None:
    with contextlib.suppress(Refusal):
        read(asked(path), body)


@given(_prompts, st.data())
def test_any_sanitized_text_can_be_put_back(body: dict[str, Any], data: st.DataObject) -> None:
    before = read(asked(), body).actions[0].messages
    after = tuple(
        Message(message.role, "CLEAN", message.where) if data.draw(st.booleans()) else message for message in before
    )
    clean = replied(allowed(body, risk=55, sanitized=after))[1]["data"]["sanitizedMessages"]
    assert len(clean) == len(body["messages"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tool/check", {"toolName": "t" * 257}),
        ("/v1/prompt/check", {"model": "m" * 257, "messages": [{"role": "user", "content": "hi"}]}),
    ],
)
def test_a_name_that_is_longer_than_any_real_one_is_refused(path: str, body: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        read(asked(path), body)
    assert caught.value.code is ErrorCode.BAD_REQUEST

"""Mistral's API, with its SDK's own bodies, agents, conversations and batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest
from kalguard_core.wire.registry import PROTOCOLS
from wire_support import denied, read, refused, request


def sent(ask: Callable[[Mistral], Any], **changes: Any) -> tuple[AgentRequest, bytes]:
    """What the SDK sends, and that our refusal is what it raises."""
    requests: list[tuple[AgentRequest, bytes]] = []

    def answer(asked: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        path = asked.url.raw_path.decode()
        requests.append((request("mistral", path, method=asked.method, headers=headers), asked.read()))
        reply = PROTOCOLS["mistral"].reply(requests[0][0], denied(code=ErrorCode.PROMPT_BLOCKED, reason="because"))
        return httpx.Response(reply.status, content=reply.body, headers=dict(reply.headers))

    http: Any = httpx.Client(transport=httpx.MockTransport(answer))
    with pytest.raises(SDKError) as caught:
        ask(Mistral(api_key="k", server_url="http://gate", client=http))
    assert caught.value.status_code == 403
    assert "because (request id: req_1)" in str(caught.value)
    (only,) = requests
    return only


@pytest.mark.parametrize(
    ("ask", "given", "resources"),
    [
        (
            lambda c: c.chat.complete(
                model="mistral-large",
                messages=[
                    {"role": "system", "content": "rules"},
                    {"role": "user", "content": [{"type": "text", "text": "a part"}]},
                    {
                        "role": "assistant",
                        "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}],
                    },
                    {"role": "tool", "name": "f", "tool_call_id": "c1", "content": "a result"},
                ],
                tools=[{"type": "function", "function": {"name": "f", "description": "a tool", "parameters": {}}}],
            ),
            {"rules", "a part", "hm", "a result", "a tool"},
            ["mistral-large"],
        ),
        (
            lambda c: c.fim.complete(model="codestral", prompt="def f", suffix="return"),
            {"def f", "return"},
            ["codestral"],
        ),
        (lambda c: c.embeddings.create(model="e", inputs=["one", "two"]), {"one", "two"}, ["e"]),
        (lambda c: c.classifiers.moderate(model="m", inputs=["one"]), {"one"}, ["m"]),
        (lambda c: c.classifiers.moderate_chat(model="m", inputs=[{"role": "user", "content": "one"}]), {"one"}, ["m"]),
        (
            lambda c: c.agents.complete(agent_id="ag_1", messages=[{"role": "user", "content": "ask it"}]),
            {"ask it"},
            [None, "agent:ag_1"],
        ),
        (
            lambda c: c.beta.conversations.start(
                model="m", inputs="begin", instructions="rules", tools=[{"type": "web_search"}]
            ),
            {"begin", "rules"},
            ["m", "hosted:web_search"],
        ),
        (
            lambda c: c.beta.conversations.append(
                conversation_id="conv_1",
                inputs=[{"type": "function.result", "tool_call_id": "c", "result": "a result"}],
            ),
            {"a result"},
            [None, "conversation:conv_1"],
        ),
        (lambda c: c.beta.conversations.get(conversation_id="conv_1"), set(), ["conversation:conv_1"]),
        (
            lambda c: c.beta.agents.create(model="m", name="an agent", instructions="rules"),
            {"an agent", "rules"},
            ["m"],
        ),
        (
            lambda c: c.ocr.process(
                model="ocr", document={"type": "document_url", "document_url": "https://x.test/a.pdf"}
            ),
            set(),
            ["ocr", "*/*"],
        ),
        (lambda c: c.models.list(), set(), [None]),
        (
            lambda c: c.files.upload(file={"file_name": "a.txt", "content": b"the notes"}, purpose="ocr"),
            {"the notes", "a.txt"},
            [None],
        ),
        (lambda c: c.files.delete(file_id="file_1"), set(), ["file:file_1"]),
        (
            lambda c: c.batch.jobs.create(endpoint="/v1/chat/completions", input_files=["file_1"], model="m"),
            set(),
            ["m", "file:file_1"],
        ),
    ],
)
def test_what_the_sdk_sends_is_read(
    ask: Callable[[Mistral], Any], given: set[str], resources: list[str | None]
) -> None:
    asked, body = sent(ask)
    actions = read(asked, body).actions
    assert given <= {message.text for action in actions for message in action.messages}
    assert [action.resource for action in actions] == resources
    assert all(action.attributes["provider"] == "mistral" for action in actions)


def test_the_requests_of_a_batch_are_read_one_by_one() -> None:
    body = {
        "endpoint": "/v1/chat/completions",
        "model": "m",
        "requests": [
            {"custom_id": "a", "body": {"messages": [{"role": "user", "content": text}]}} for text in ("one", "SECRET")
        ],
    }
    job, prompt = read(request("mistral", "/v1/batch/jobs"), body).actions
    assert (job.name, prompt.name, prompt.model) == ("llm:batch", "prompt:check", "m")
    assert [message.text for message in prompt.messages] == ["one", "SECRET"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/batch/jobs", {"endpoint": "/v1/fine_tuning", "input_files": ["f"]}, ErrorCode.BAD_REQUEST),
        ("/v1/batch/jobs", {"endpoint": "/v1/ocr", "requests": [{"body": "x"}]}, ErrorCode.BAD_REQUEST),
        ("/v1/batch/jobs", {"endpoint": "/v1/ocr", "requests": "x"}, ErrorCode.BAD_REQUEST),
        ("/v1/agents/completions", {"messages": [{"role": "user", "content": "x"}]}, ErrorCode.BAD_REQUEST),
        ("/v1/conversations", {"inputs": [{"type": "hologram"}]}, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ("/v1/conversations", {"inputs": [{"role": "system", "content": "x"}]}, ErrorCode.BAD_REQUEST),
        ("/v1/conversations", {"inputs": 1}, ErrorCode.BAD_REQUEST),
        ("/v1/fine_tuning/jobs", {}, ErrorCode.NOT_FOUND),
        ("/v1/libraries", {}, ErrorCode.NOT_FOUND),
        ("/chat/completions", {}, ErrorCode.NOT_FOUND),
    ],
)
def test_what_cannot_be_read_is_refused(path: str, body: Any, code: ErrorCode) -> None:
    assert refused(request("mistral", path), body).code is code


def test_a_refusal_has_mistrals_shape() -> None:
    reply = PROTOCOLS["mistral"].reply(request("mistral", "/v1/ocr"), denied(code=ErrorCode.RATE_LIMIT_EXCEEDED))
    assert list(json.loads(reply.body)) == ["object", "message", "type", "param", "code"]

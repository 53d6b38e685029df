"""What the official SDK sends is what we read: every text that was given to it is found, at the right endpoint."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import openai
import pytest

from kalguard_core.request import AgentRequest
from kalguard_core.wire.text import WORDS
from wire_support import read, request

Ask = Callable[[Any], Any]


def _transport() -> Any:
    # Newer SDKs bring an HTTP client of their own, with the interface of httpx.
    return importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])


class Sent:
    """A client whose requests come to us instead of a server."""

    def __init__(self, kind: str = "openai") -> None:
        self.kind = kind
        self.requests: list[tuple[AgentRequest, bytes]] = []
        http = _transport().Client(transport=_transport().MockTransport(self._answer))
        options: dict[str, Any] = {"api_key": "k", "http_client": http, "max_retries": 0}
        self.client: Any = (
            openai.AzureOpenAI(azure_endpoint="http://gate", api_version="2024-10-21", **options)
            if kind == "azure"
            else openai.OpenAI(base_url="http://gate/v1", **options)
        )

    def _answer(self, sent: Any) -> Any:
        headers = {name.lower(): value for name, value in sent.headers.items()}
        path = sent.url.raw_path.decode()
        asked = request(self.kind, path, method=sent.method, headers=headers)
        self.requests.append((asked, sent.read()))
        return _transport().Response(200, json={})


def _strings(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {
            text for key, member in value.items() if key not in ("model", "type", "role") for text in _strings(member)
        }
    if isinstance(value, (list, tuple)):
        return {text for member in value for text in _strings(member)}
    return {value} if isinstance(value, str) else set()


_FUNCTION = {
    "name": "lookup",
    "description": "look it up",
    "parameters": {"type": "object", "properties": {"q": {"type": "string", "description": "what to look up"}}},
}
_CHAT: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "developer", "content": "rules of the house", "name": "boss"},
        {"role": "user", "content": [{"type": "text", "text": "first part"}, {"type": "text", "text": "second part"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_9", "type": "function", "function": {"name": "lookup", "arguments": '{"q":1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_9", "content": "the result"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "I would rather not"}]},
    ],
    "tools": [
        {"type": "function", "function": _FUNCTION},
        {
            "type": "custom",
            "custom": {
                "name": "code",
                "description": "free text",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}},
            },
        },
    ],
    "response_format": {"type": "json_schema", "json_schema": {"name": "shape", "schema": {"title": "a title"}}},
    "prediction": {"type": "content", "content": [{"type": "text", "text": "foretold"}]},
    "metadata": {"why": "because"},
    "stop": ["END"],
    "user": "someone",
}
_RESPONSE: dict[str, Any] = {
    "model": "gpt-4o",
    "instructions": "be brief",
    "input": [
        {"role": "user", "content": "plain words"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a part"}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": "an answer",
                    "annotations": [
                        {
                            "type": "url_citation",
                            "title": "a source",
                            "url": "https://x.test",
                            "start_index": 0,
                            "end_index": 1,
                        }
                    ],
                }
            ],
        },
        {"type": "function_call", "call_id": "fc_1", "name": "lookup", "arguments": "the arguments"},
        {"type": "function_call_output", "call_id": "fc_1", "output": "what it said"},
        {"type": "custom_tool_call", "call_id": "cc_1", "name": "code", "input": "the input"},
        {
            "type": "custom_tool_call_output",
            "call_id": "cc_1",
            "output": [{"type": "input_text", "text": "deep output"}],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a thought"}]},
        {
            "type": "mcp_call",
            "id": "mc_1",
            "server_label": "docs",
            "name": "find",
            "arguments": "mcp arguments",
            "output": "mcp output",
        },
        {"type": "shell_call", "call_id": "sh_1", "action": {"commands": ["ls -l"]}},
        {
            "type": "shell_call_output",
            "call_id": "sh_1",
            "output": [{"stdout": "a listing", "stderr": "an error", "outcome": {"type": "exit", "exit_code": 0}}],
        },
        {
            "type": "file_search_call",
            "id": "fs_1",
            "status": "completed",
            "queries": ["a query"],
            "results": [{"text": "found text", "filename": "found.txt"}],
        },
    ],
    "tools": [{"type": "function", "strict": True, **_FUNCTION}],
    "text": {"format": {"type": "json_schema", "name": "shape", "schema": {"description": "the schema"}}},
    "metadata": {"why": "because"},
}


@pytest.mark.parametrize("kind", ["openai", "azure", "compatible"])
@pytest.mark.parametrize(
    ("ask", "given"),
    [
        (lambda c: c.chat.completions.create(**_CHAT), _CHAT),
        (lambda c: c.responses.create(**_RESPONSE), _RESPONSE),
        (lambda c: c.responses.input_tokens.count(**{k: _RESPONSE[k] for k in ("model", "input")}), _RESPONSE["input"]),
        (lambda c: c.responses.create(model="m", input="a question"), "a question"),
        (lambda c: c.completions.create(model="m", prompt=["one", "two"], suffix="after"), ["one", "two", "after"]),
        (lambda c: c.embeddings.create(model="m", input=["one", "two"]), ["one", "two"]),
        (lambda c: c.moderations.create(input=[{"type": "text", "text": "moderate me"}]), ["moderate me"]),
        (lambda c: c.images.generate(model="m", prompt="a picture"), ["a picture"]),
        (lambda c: c.images.edit(model="m", image=("x.png", b"\x89PNG"), prompt="an edit"), ["an edit", "x.png"]),
        (
            lambda c: c.audio.speech.create(model="m", voice="alloy", input="say it", instructions="softly"),
            ["say it", "softly"],
        ),
        (
            lambda c: c.audio.transcriptions.create(model="m", file=("x.wav", b"RIFF"), prompt="names"),
            ["names", "x.wav"],
        ),
        (lambda c: c.files.create(file=("notes.txt", b"the notes"), purpose="user_data"), ["the notes", "notes.txt"]),
        (lambda c: c.models.list(), []),
    ],
)
def test_every_text_that_the_sdk_was_given_is_found(kind: str, ask: Ask, given: Any) -> None:
    sent = Sent(kind)
    with contextlib.suppress(ValueError):  # what it makes of our empty answer
        ask(sent.client)
    ((asked, body),) = sent.requests
    actions = read(asked, body).actions
    found = {message.text for action in actions for message in action.messages}
    assert _strings(given) - WORDS <= found
    assert actions[0].attributes["provider"] == kind


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("ask", "given", "references"),
    [
        (lambda c: c.conversations.create(items=[{"role": "user", "content": "kept words"}]), ["kept words"], set()),
        (
            lambda c: c.conversations.items.create("conv_1", items=[{"role": "user", "content": "more"}]),
            ["more"],
            {"conversation:conv_1"},
        ),
        (lambda c: c.conversations.retrieve("conv_1"), [], {"conversation:conv_1"}),
        (
            lambda c: c.responses.retrieve(
                "resp_1", include=["message.input_image.image_url", "reasoning.encrypted_content"]
            ),
            [],
            {"response:resp_1"},
        ),
        (lambda c: c.responses.cancel("resp_1"), [], {"response:resp_1"}),
        (lambda c: c.responses.delete("resp_1"), [], {"response:resp_1"}),
        (lambda c: c.responses.compact(model="gpt-4o", previous_response_id="resp_1"), [], {"response:resp_1"}),
        (lambda c: c.chat.completions.retrieve("cmpl_1"), [], {"completion:cmpl_1"}),
        (lambda c: c.files.content("file_1"), [], {"file:file_1"}),
        (lambda c: c.files.list(purpose="batch"), [], {"file:*"}),
        (
            lambda c: c.batches.create(input_file_id="file_1", endpoint="/v1/responses", completion_window="24h"),
            [],
            {"file:file_1"},
        ),
        (lambda c: c.batches.cancel("batch_1"), [], {"batch:batch_1"}),
        (
            lambda c: c.beta.assistants.create(
                model="m", instructions="assist", tools=[{"type": "function", "function": _FUNCTION}]
            ),
            ["assist", "look it up"],
            set(),
        ),
        (
            lambda c: c.beta.threads.create(
                messages=[{"role": "user", "content": "first", "attachments": [{"file_id": "file_1"}]}]
            ),
            ["first"],
            {"file:file_1"},
        ),
        (
            lambda c: c.beta.threads.messages.create("thread_1", role="user", content="second"),
            ["second"],
            {"thread:thread_1"},
        ),
        (
            lambda c: c.beta.threads.runs.create("thread_1", assistant_id="asst_1", additional_instructions="now"),
            ["now"],
            {"thread:thread_1", "assistant:asst_1"},
        ),
        (
            lambda c: c.beta.threads.runs.submit_tool_outputs(
                "run_1", thread_id="thread_1", tool_outputs=[{"tool_call_id": "c", "output": "a result"}]
            ),
            ["a result"],
            {"thread:thread_1", "run:run_1"},
        ),
        (
            lambda c: c.realtime.client_secrets.create(session={"type": "realtime", "instructions": "talk"}),
            ["talk"],
            set(),
        ),
    ],
)
def test_what_the_vendor_keeps_is_a_reference_that_a_rule_must_name(ask: Ask, given: Any, references: set[str]) -> None:
    sent = Sent()
    ask(sent.client)
    ((asked, body),) = sent.requests
    actions = read(asked, body).actions
    assert _strings(given) <= {message.text for action in actions for message in action.messages}
    assert {action.resource for action in actions if action.name == "content:reference"} == references
    assert all(action.explicit for action in actions if action.name == "content:reference")

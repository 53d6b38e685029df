"""OpenAI's other calls: single texts, forms, uploads, batches, threads, sessions; and every endpoint there is."""

from __future__ import annotations

import contextlib
import pickle
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.base import Endpoint, Route
from kalguard_core.wire.registry import PROTOCOLS
from wire_support import JSON, read, refused, request

FAMILY = ("openai", "azure", "mistral", "compatible")
TOKENS = ErrorCode.UNSUPPORTED_MEDIA_TYPE


def actions(path: str, body: Any, kind: str = "openai") -> tuple[Action, ...]:
    return read(request(kind, path), body).actions


def texts(found: tuple[Action, ...]) -> list[str]:
    return [message.text for action in found for message in action.messages]


def form(*fields: tuple[str, bytes], **files: tuple[str, str, bytes]) -> tuple[dict[str, str], bytes]:
    body = b""
    for name, value in fields:
        body += b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)
    for name, (filename, media_type, data) in files.items():
        head = (
            f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {media_type}'
        )
        body += head.encode() + b"\r\n\r\n" + data + b"\r\n"
    return {"content-type": "multipart/form-data; boundary=b"}, body + b"--b--\r\n"


def sent(path: str, *fields: tuple[str, bytes], **files: tuple[str, str, bytes]) -> tuple[AgentRequest, bytes]:
    headers, body = form(*fields, **files)
    return request("openai", path, headers=headers), body


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/completions", {"model": "m", "prompt": "SECRET"}, "prompt:check"),
        ("/v1/completions", {"model": "m", "prompt": ["x", "SECRET"]}, "prompt:check"),
        ("/v1/completions", {"model": "m", "prompt": "x", "suffix": "SECRET"}, "prompt:check"),
        ("/v1/embeddings", {"model": "m", "input": "SECRET"}, "llm:embed"),
        ("/v1/embeddings", {"model": "m", "input": "x", "user": "SECRET"}, "llm:embed"),
        ("/v1/moderations", {"input": [{"type": "text", "text": "SECRET"}]}, "llm:moderate"),
        ("/v1/images/generations", {"prompt": "SECRET"}, "llm:image"),
        ("/v1/audio/speech", {"model": "m", "voice": "v", "input": "SECRET"}, "llm:audio"),
        ("/v1/responses/input_tokens", {"model": "m", "input": "SECRET"}, "llm:count"),
        ("/v1/conversations", {"items": [{"role": "user", "content": "SECRET"}]}, "prompt:check"),
        ("/v1/conversations", {"metadata": {"topic": "SECRET"}}, "prompt:check"),
        ("/v1/assistants", {"model": "m", "instructions": "SECRET"}, "prompt:check"),
        ("/v1/threads", {"messages": [{"role": "user", "content": "SECRET"}]}, "prompt:check"),
        ("/v1/threads/t/messages", {"role": "user", "content": [{"type": "text", "text": "SECRET"}]}, "prompt:check"),
        ("/v1/threads/t/runs", {"assistant_id": "a", "additional_instructions": "SECRET"}, "prompt:check"),
        (
            "/v1/threads/runs",
            {"assistant_id": "a", "thread": {"messages": [{"role": "user", "content": "SECRET"}]}},
            "prompt:check",
        ),
        ("/v1/threads/t/runs/r/submit_tool_outputs", {"tool_outputs": [{"output": "SECRET"}]}, "prompt:check"),
        ("/v1/batches", {"input_file_id": "f", "endpoint": "/v1/x", "metadata": {"k": "SECRET"}}, "llm:batch"),
        ("/v1/realtime/client_secrets", {"session": {"instructions": "SECRET"}}, "llm:realtime"),
        ("/v1/realtime/sessions", {"model": "m", "instructions": "SECRET"}, "llm:realtime"),
        ("/v1/chat/completions/c", {"metadata": {"k": "SECRET"}}, "content:reference"),
    ],
)
def test_the_text_of_every_call_is_seen(path: str, body: Any, name: str) -> None:
    found = actions(path, body)
    assert found[0].name == name
    assert any("SECRET" in text for text in texts(found))
    assert actions(path.removeprefix("/v1"), body) == found


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/completions", {"model": "m", "prompt": [1, 2]}, TOKENS),
        ("/v1/completions", {"model": "m", "prompt": [[1, 2]]}, TOKENS),
        ("/v1/completions", {"model": "m", "prompt": ["x", 1]}, TOKENS),
        ("/v1/completions", {"model": "m", "prompt": [["x", 1]]}, TOKENS),
        ("/v1/embeddings", {"model": "m", "input": [1]}, TOKENS),
        ("/v1/embeddings", {"model": "m", "input": [[[1]]]}, ErrorCode.BAD_REQUEST),
        ("/v1/embeddings", {"model": "m", "input": [{"type": "hologram"}]}, TOKENS),
        ("/v1/embeddings", {"model": "m", "input": [{"image": "x"}]}, TOKENS),
        ("/v1/embeddings", {"model": "m", "input": 1.5}, ErrorCode.BAD_REQUEST),
        ("/v1/embeddings", {"model": "m"}, ErrorCode.BAD_REQUEST),
        ("/v1/embeddings", {"input": "x"}, ErrorCode.BAD_REQUEST),
        ("/v1/embeddings", {"model": "m", "input": "x", "Input": "y"}, ErrorCode.BAD_REQUEST),
        ("/v1/embeddings", {"model": "m", "input": "x", "api_base": "y"}, ErrorCode.BAD_REQUEST),
        ("/v1/threads/t/messages", {"role": "system", "content": "x"}, ErrorCode.BAD_REQUEST),
        ("/v1/threads/t/messages", {"role": "user"}, ErrorCode.BAD_REQUEST),
        ("/v1/batches", {"endpoint": "/v1/responses"}, ErrorCode.BAD_REQUEST),
        ("/v1/responses/r/cancel", {"input": "x"}, ErrorCode.BAD_REQUEST),
        ("/v1/realtime/client_secrets", {"session": "x"}, ErrorCode.BAD_REQUEST),
    ],
)
def test_what_cannot_be_read_is_refused(path: str, body: Any, code: ErrorCode) -> None:
    assert refused(request("openai", path), body).code is code


@pytest.mark.parametrize(
    ("content", "resource", "media"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://pics.test/a.png", "detail": "low"}},
            "image/*",
            "pics.test",
        ),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}, "image/png", ""),
        ({"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgo="}, "image/png", ""),
        ({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "mp3"}}, "audio/mp3", ""),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
            "application/pdf",
            "",
        ),
        ({"type": "video_url", "video_url": {"url": "https://pics.test/a.mp4"}}, "video/*", "pics.test"),
        ({"type": "document_url", "document_url": "https://docs.test/a"}, "*/*", "docs.test"),
    ],
)
def test_an_attachment_of_a_chat_is_an_action_that_a_rule_must_name(content: Any, resource: str, media: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, content]}]}
    prompt, attached = actions("/v1/chat/completions", body)
    assert (attached.name, attached.resource, attached.explicit) == ("content:media", resource, True)
    assert attached.attributes.get("host", "") == media
    assert prompt.attributes["mediaCount"] == 1


@pytest.mark.parametrize(
    ("members", "resource"),
    [
        ({"tools": [{"type": "web_search"}]}, "hosted:web_search"),
        ({"tools": [{"type": "function", "function": {}}, {"type": "code_interpreter"}]}, "hosted:code_interpreter"),
        ({"tools": [{"type": "mcp", "server_url": "https://x.test"}]}, "hosted:mcp"),
        ({"tools": [{"type": "Function"}]}, "hosted:Function"),
        ({"web_search_options": {}}, "hosted:web_search"),
        ({"search_parameters": {"mode": "on"}}, "hosted:web_search"),
        ({"enable_search": True}, "hosted:web_search"),
        (
            {"data_sources": [{"type": "azure_search", "parameters": {"endpoint": "https://s.test"}}]},
            "hosted:file_search",
        ),
        ({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, "audio:audio_1"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file_1"}}]}]}, "file:file_1"),
        ({"audio": {"voice": {"id": "voice_1"}, "format": "mp3"}}, "voice:voice_1"),
    ],
)
def test_what_acts_or_lies_elsewhere_is_an_action_that_a_rule_must_name(members: dict[str, Any], resource: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **members}
    _, other = actions("/v1/chat/completions", body)
    assert (other.resource, other.explicit) == (resource, True)


@pytest.mark.parametrize(
    "members",
    [
        {"chat_template_kwargs": {"chat_template": "x"}},
        {"prompt_embeds": "x"},
        {"logits_processors": ["os.system"]},
        {"kv_transfer_params": {"remote_host": "x"}},
        {"provider": {"order": ["x"]}},
        {"messages": [{"role": "user", "content": "x", "images": ["iVBO"]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "image_url": "y"}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
            ]
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "a b"}}]}
            ]
        },
        {"data_sources": [{"type": "mongo", "parameters": {"endpoint": "cluster.test"}}]},
    ],
)
def test_what_leads_elsewhere_unseen_is_refused(members: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **members}
    refused(request("openai", "/v1/chat/completions"), body)


def line(body: Any, url: str = "/v1/chat/completions", **members: Any) -> bytes:
    return orjson.dumps({"custom_id": "c", "method": "POST", "url": url, "body": body, **members})


CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def test_a_batch_is_read_request_by_request() -> None:
    tools = [{"type": "web_search"}]
    lines = [
        line(CHAT),
        line({**CHAT, "messages": [{"role": "user", "content": "SECRET"}], "tools": tools}),
        line({**CHAT, "model": "other"}),
        line({"model": "m", "input": "embed me"}, "/v1/embeddings", custom_id="ODD NAME"),
    ]
    found = read(
        *sent("/v1/files", ("purpose", b"batch"), file=("b.jsonl", "application/jsonl", b"\n".join(lines)))
    ).actions
    assert [(action.name, action.model or action.resource) for action in found] == [
        ("llm:file", None),
        ("prompt:check", "m"),
        ("tool:execute", "m"),
        ("prompt:check", "other"),
        ("llm:embed", "m"),
    ]
    assert {"hello", "SECRET", "embed me", "ODD NAME", "b.jsonl"} <= set(texts(found))
    assert found[1].attributes["messageCount"] == 2


@pytest.mark.parametrize(
    "data",
    [
        b"not json",
        b"[]",
        line(CHAT, "/v1/fine_tuning/jobs"),
        line(CHAT, method="GET"),
        line("x"),
        line(CHAT) + b"\n" + line({**CHAT, "messages": []}),
        line({**CHAT, "fallbacks": ["x"]}),
        b'{"url":"/v1/responses","url":"/v1/embeddings"}',
        b"\n".join(line({**CHAT, "model": f"m{n}"}) for n in range(65)),
    ],
)
def test_a_batch_with_a_line_that_cannot_be_read_is_refused(data: bytes) -> None:
    asked, body = sent("/v1/files", ("purpose", b"batch"), file=("b.jsonl", "application/jsonl", data))
    assert refused(asked, body).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("filename", "media_type", "media"),
    [
        ("a.txt", "text/plain", False),
        ("a.md", "application/octet-stream", False),
        ("a.json", "application/json", False),
        ("notes", "text/plain", False),
        ("a.pdf", "application/pdf", True),
        ("a.pdf", "text/plain", True),
        ("a.bin", "application/octet-stream", True),
        ("a.txt", "image/png", True),
    ],
)
def test_an_upload_is_media_where_its_type_or_its_name_may_be_more_than_text(
    filename: str, media_type: str, media: bool
) -> None:
    asked, body = sent("/v1/files", ("purpose", b"user_data"), file=(filename, media_type, b"the text"))
    found = read(asked, body).actions
    assert {"the text", filename} <= set(texts(found))
    assert ("content:media" in [action.name for action in found]) == media
    assert found[0].attributes["purpose"] == "user_data"


@pytest.mark.parametrize(
    ("fields", "files", "code"),
    [
        ([("purpose", b"fine-tune")], {"file": ("a", "text/plain", b"x")}, ErrorCode.POLICY_DENY),
        ([], {"file": ("a", "text/plain", b"x")}, ErrorCode.POLICY_DENY),
        ([("purpose", b"user_data")], {}, ErrorCode.BAD_REQUEST),
        (
            [("purpose", b"user_data"), ("purpose", b"batch")],
            {"file": ("a", "text/plain", b"x")},
            ErrorCode.BAD_REQUEST,
        ),
        ([("purpose", b"user_data")], {"file": ("a", "text/plain", b"\xff")}, ErrorCode.BAD_REQUEST),
        ([("purpose", b"user_data"), ("File", b"x")], {"file": ("a", "text/plain", b"x")}, ErrorCode.BAD_REQUEST),
        (
            [("purpose", b"user_data")],
            {"file": ("a", "text/plain", b"x"), "more": ("a", "text/plain", b"x")},
            ErrorCode.BAD_REQUEST,
        ),
        ([("purpose", b"user_data"), ("api_base", b"x")], {"file": ("a", "text/plain", b"x")}, ErrorCode.BAD_REQUEST),
    ],
)
def test_an_upload_that_is_not_plain_is_refused(fields: Any, files: Any, code: ErrorCode) -> None:
    assert refused(*sent("/v1/files", *fields, **files)).code is code


def test_the_fields_of_a_form_are_read_and_its_files_are_media() -> None:
    asked, body = sent(
        "/v1/audio/transcriptions",
        ("model", b"whisper-1"),
        ("prompt", b"the prompt"),
        ("keywords[]", b"one"),
        ("keywords[]", b"two"),
        file=("a.mp3", "audio/mpeg", b"ID3"),
    )
    audio, media = read(asked, body).actions
    assert {"the prompt", "one", "two", "a.mp3"} <= set(texts((audio,)))
    assert (audio.name, audio.model, media.resource) == ("llm:audio", "whisper-1", "audio/mpeg")
    assert refused(request("openai", "/v1/audio/transcriptions"), {"model": "m"}).code is TOKENS


def test_a_realtime_connection_is_an_action_that_a_rule_must_name() -> None:
    asked = request("openai", "/v1/realtime?model=gpt-realtime", method="GET", headers={"upgrade": "websocket"})
    (action,) = read(asked).actions
    assert (action.name, action.model, action.explicit) == ("llm:realtime", "gpt-realtime", True)
    assert refused(request("openai", "/v1/realtime?model=x", method="GET", headers={})).code is ErrorCode.BAD_REQUEST
    session = actions(
        "/v1/realtime/sessions", {"model": "m", "tools": [{"type": "mcp", "server_url": "https://x.test"}]}
    )
    assert [(action.name, action.explicit) for action in session] == [("llm:realtime", True), ("tool:execute", True)]


def test_models_are_listed_without_a_body() -> None:
    (action,) = read(request("openai", "/v1/models/gpt-4o", method="GET", headers={})).actions
    assert (action.name, action.model, action.explicit) == ("llm:models", "gpt-4o", False)


@pytest.mark.parametrize("kind", FAMILY)
def test_protocols_and_routes_travel_between_processes(kind: str) -> None:
    protocol = PROTOCOLS[kind]
    assert len(pickle.dumps(protocol)) < 200
    again = pickle.loads(pickle.dumps(protocol))
    for endpoint in protocol.endpoints:
        route = again.route(_asked(kind, endpoint))
        assert (route.name, route.capabilities) == (endpoint.name, endpoint.capabilities)
        assert pickle.loads(pickle.dumps(route)) == route


def _asked(kind: str, endpoint: Endpoint, **changes: Any) -> AgentRequest:
    path = endpoint.path.replace("{", "").replace("}", "")
    headers = {"upgrade": "websocket"} if endpoint.upgrade else JSON
    return request(kind, path, method=endpoint.method, **{"headers": headers, **changes})


_word = st.sampled_from(
    ["text", "type", "role", "user", "content", "x", "function", "message", "input_file", "mcp", "https://x.test"]
)
_value = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | _word | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_word | st.sampled_from(["file_id", "image_url", "id", "url"]), inner, max_size=4)
    ),
    max_leaves=12,
)
_NAMES = [
    "model",
    "messages",
    "input",
    "inputs",
    "prompt",
    "tools",
    "functions",
    "items",
    "instructions",
    "conversation",
    "session",
    "requests",
    "document",
    "query",
    "documents",
    "voice",
    "thread",
    "attachments",
    "assistant_id",
    "data_sources",
    "audio",
    "prediction",
    "endpoint",
    "input_files",
    "completion_args",
]
_bodies = st.dictionaries(st.sampled_from(_NAMES), _value, max_size=5).map(
    lambda body: {"model": "m", "role": "user", **body}
)
_targets = [(kind, endpoint) for kind in FAMILY for endpoint in PROTOCOLS[kind].endpoints]


@given(st.sampled_from(_targets), _bodies | _value)
def test_no_body_ends_in_anything_but_a_refusal(target: tuple[str, Endpoint], body: Any) -> None:
    kind, endpoint = target
    names = [piece[1:-1] for piece in endpoint.path.split("/") if piece.startswith("{")]
    route = Route(endpoint.name, parameters=dict.fromkeys(names, "x"))
    with contextlib.suppress(Refusal):
        assert PROTOCOLS[kind].read(request(kind, "/x"), route, orjson.dumps(body)).actions


@given(st.binary(max_size=40), st.sampled_from(["/v1/files", "/v1/images/edits", "/v1/audio/transcriptions"]))
def test_no_form_ends_in_anything_but_a_refusal(data: bytes, path: str) -> None:
    asked, body = sent(path, ("purpose", b"batch"), ("model", data), file=("x.jsonl", "application/jsonl", data))
    with contextlib.suppress(Refusal):
        read(asked, body)
    with contextlib.suppress(Refusal):
        read(asked, body[: len(data)])

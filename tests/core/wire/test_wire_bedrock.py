"""AWS Bedrock: every block of the service model is read, the model in the path says how, errors are AWS's own."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import orjson
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_core.wire.vendors import VENDORS
from wire_leaves import overlooked, texts
from wire_support import denied, encoded, read, refused, request

CLAUDE = "us.anthropic.claude-x-v1:0"


def coded(text: str) -> str:
    return b64encode(text.encode()).decode()


def asked(operation: str = "converse", model: str = CLAUDE, **changes: Any) -> AgentRequest:
    return request("bedrock", f"/model/{model.replace(':', '%3A')}/{operation}", **changes)


def actions(document: Any, operation: str = "converse", model: str = CLAUDE) -> tuple[Action, ...]:
    return read(asked(operation, model), document).actions


def body(*blocks: Any, role: str = "user", **members: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks) or [{"text": "hello"}]}], **members}


def document(name: str, source: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"document": {"format": name, "name": "a name", "source": source, **members}}


IMAGE = {"image": {"format": "png", "source": {"bytes": coded("png")}}}
SEARCH_RESULT = {
    "searchResult": {
        "source": "wiki",
        "title": "Lisbon",
        "content": [{"text": "a city"}],
        "citations": {"enabled": True},
    }
}
S3 = {"s3Location": {"uri": "s3://bucket/key", "bucketOwner": "123456789012"}}
BLOCKS: list[dict[str, Any]] = [
    {"text": "a text"},
    IMAGE,
    {"image": {"format": "jpeg", "source": S3}},
    document("txt", {"bytes": coded("a file")}, context="from a friend", citations={"enabled": True}),
    document("pdf", {"bytes": coded("%PDF")}),
    document("md", {"text": "a note"}),
    document("html", {"content": [{"text": "a chapter"}]}),
    {"video": {"format": "mp4", "source": S3}},
    {"audio": {"format": "wav", "source": {"bytes": coded("RIFF")}}},
    {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Porto"}}},
    {
        "toolResult": {
            "toolUseId": "t1",
            "content": [
                {"text": "sunny"},
                {"json": {"sky": "blue"}},
                {"json": ["white"]},
                IMAGE,
                document("csv", {"bytes": coded("a,b")}),
                SEARCH_RESULT,
            ],
            "status": "success",
        }
    },
    {"guardContent": {"text": {"text": "a guarded text", "qualifiers": ["query"]}}},
    {"guardContent": {"image": {"format": "png", "source": {"bytes": coded("png")}}}},
    {"cachePoint": {"type": "default"}},
    {"reasoningContent": {"reasoningText": {"text": "hmm", "signature": "c2ln"}}},
    {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
    {
        "citationsContent": {
            "content": [{"text": "so they say"}],
            "citations": [{"title": "a book", "sourceContent": [{"text": "a page"}]}],
        }
    },
    SEARCH_RESULT,
    {"toolAddition": {"tool": {"type": "tool", "name": "later"}}},
    {"toolRemoval": {"tool": {"type": "tool", "name": "weather"}}},
]
WHOLE = body(
    *BLOCKS,
    system=[{"text": "be kind"}, {"guardContent": {"text": {"text": "be good"}}}, {"cachePoint": {"type": "default"}}],
    inferenceConfig={"maxTokens": 64, "temperature": 0.5, "stopSequences": ["stop"]},
    toolConfig={
        "tools": [
            {"toolSpec": {"name": "weather", "description": "tells it", "inputSchema": {"json": {"type": "object"}}}},
            {"systemTool": {"name": "nova_grounding"}},
            {"cachePoint": {"type": "default"}},
        ],
        "toolChoice": {"tool": {"name": "weather"}},
    },
    guardrailConfig={"guardrailIdentifier": "g1", "guardrailVersion": "1", "trace": "enabled"},
    additionalModelRequestFields={
        "top_k": 3,
        "anthropic_beta": ["computer-use"],
        "tools": [{"type": "computer_20250124", "name": "computer"}],
    },
    promptVariables={"city": {"text": "Faro"}},
    additionalModelResponseFieldPaths=["/stop"],
    requestMetadata={"team": "red"},
    performanceConfig={"latency": "standard"},
    outputConfig={"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}"}}}},
)
CLAUDE_BODY = {
    "anthropic_version": "bedrock-2023-05-31",
    "anthropic_beta": ["x"],
    "max_tokens": 9,
    "system": "be kind",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "a text"}]}],
    "tools": [{"name": "weather", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}],
}
# Bodies of Invoke: the model, the action, and where the text "a text" stands.
INVOKED: list[tuple[str, str, dict[str, Any]]] = [
    (CLAUDE, "prompt:check", CLAUDE_BODY),
    ("anthropic.claude-v2", "prompt:check", {"prompt": "a text", "max_tokens_to_sample": 9}),
    ("meta.llama3-8b-instruct-v1:0", "prompt:check", {"prompt": "a text", "max_gen_len": 9}),
    ("us.meta.llama3-2-90b-instruct-v1:0", "prompt:check", {"prompt": "a text", "images": [coded("png")]}),
    (
        "amazon.titan-text-express-v1",
        "prompt:check",
        {"inputText": "a text", "textGenerationConfig": {"maxTokenCount": 9, "stopSequences": ["stop"]}},
    ),
    ("amazon.titan-embed-text-v2:0", "llm:embed", {"inputText": "a text", "dimensions": 256}),
    ("amazon.titan-embed-image-v1", "llm:embed", {"inputText": "a text", "inputImage": coded("png")}),
    (
        "us.amazon.nova-lite-v1:0",
        "prompt:check",
        {**body({"text": "a text"}), "schemaVersion": "messages-v1", "inferenceConfig": {"maxTokens": 9}},
    ),
    ("mistral.mistral-7b-instruct-v0:2", "prompt:check", {"prompt": "<s>[INST] hi", "stop": ["a text"]}),
    (
        "mistral.pixtral-large-2502-v1:0",
        "prompt:check",
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a text"}]},
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
                },
                {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "content": "sunny", "tool_call_id": "1"},
            ],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "max_tokens": 9,
        },
    ),
    ("cohere.command-r-v1:0", "prompt:check", {"message": "a text", "chat_history": [], "max_tokens": 9}),
    ("cohere.command-text-v14", "prompt:check", {"prompt": "a text"}),
    ("cohere.embed-multilingual-v3", "llm:embed", {"texts": ["a text"], "input_type": "search_query"}),
    ("cohere.rerank-v3-5:0", "llm:rerank", {"query": "a text", "documents": ["b"], "api_version": 2}),
]


def test_there_is_no_place_in_converse_where_text_is_overlooked() -> None:
    assert overlooked(asked(), WHOLE) == []
    assert overlooked(asked("count-tokens"), {"input": {"converse": body()}}) == []


@pytest.mark.parametrize(("model", "name", "content"), INVOKED, ids=[model for model, _, _ in INVOKED])
def test_a_body_of_invoke_is_read_as_the_model_in_the_path_reads_it(
    model: str, name: str, content: dict[str, Any]
) -> None:
    asking = asked("invoke", model)
    first = read(asking, content).actions[0]
    assert (first.name, first.model) == (name, model)
    assert "a text" in texts((first,))
    missed = overlooked(asking, content)
    assert [path for path in missed if path[:1] not in (("images",), ("inputImage",))] == []
    counted = actions({"input": {"invokeModel": {"body": coded(encoded(content).decode())}}}, "count-tokens", model)
    assert (counted[0].name, counted[0].messages != ()) == ("llm:count", True)


@pytest.mark.parametrize(
    "model",
    [
        "ai21.jamba-1-5-large-v1:0",
        "amazon.nova-canvas-v1:0",
        "amazon.nova-sonic-v1:0",
        "amazon.titan-image-generator-v2:0",
        "stability.sd3-large-v1:0",
        "claude",
        "evil.co.anthropic.claude-x",
        "a1b2c3d4",
    ],
)
def test_a_model_whose_body_is_not_known_cannot_be_invoked_but_takes_part_in_converse(model: str) -> None:
    refusal = refused(asked("invoke", model), {"prompt": "x", "messages": []})
    assert (refusal.code, "Converse" in refusal.reason) == (ErrorCode.POLICY_DENY, True)
    assert actions(body(), model=model)[0].model == model


def test_converse_is_one_prompt_check_about_the_model_in_the_path() -> None:
    first = actions(WHOLE, "converse-stream")[0]
    assert (first.name, first.model) == ("prompt:check", CLAUDE)
    wanted = {"provider": "bedrock", "stream": True, "maxTokens": 64, "messageCount": 1, "toolNames": ("weather",)}
    assert {name: first.attributes[name] for name in wanted} == wanted
    found = [(message.role, message.text) for message in first.messages]
    for role, text in [
        ("system", "be kind"),
        ("system", "be good"),
        ("user", "a guarded text"),
        ("file", "a file"),
        ("file", "a note"),
        ("file", "a,b"),
        ("file", "from a friend"),
        ("document", "a chapter"),
        ("document", "a city"),
        ("tool", "Porto"),
        ("tool", "sunny"),
        ("tool", "blue"),
        ("tool", "tells it"),
        ("user", "Faro"),
    ]:
        assert (role, text) in found, (role, text)


def test_what_aws_runs_or_keeps_and_what_cannot_be_read_must_be_named() -> None:
    others = actions(WHOLE)[1:]
    assert all(action.explicit for action in others)
    assert {str(action.resource) for action in others} == {
        "application/pdf",
        "audio/wav",
        "image/png",
        "s3:s3://bucket/key",
        "hosted:web_search",
        "hosted:computer_use",
        f"prompt:{CLAUDE}",
    }


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (body({"hologram": {}}), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (body({"text": "x", "image": {}}), ErrorCode.BAD_REQUEST),
        (body({}), ErrorCode.BAD_REQUEST),
        (body(document("txt", {"bytes": "/w=="})), ErrorCode.BAD_REQUEST),
        (body(document("a;b", {"bytes": ""})), ErrorCode.BAD_REQUEST),
        (body(role="developer"), ErrorCode.BAD_REQUEST),
        (body(Messages=[]), ErrorCode.BAD_REQUEST),
        (body(toolconfig={}), ErrorCode.BAD_REQUEST),
        (body(toolConfig={"tools": [{"mcpServer": {}}]}), ErrorCode.POLICY_DENY),
        (body(additionalModelRequestFields={"system": "x"}), ErrorCode.POLICY_DENY),
        (body(additionalModelRequestFields={"Messages": [1]}), ErrorCode.POLICY_DENY),
        (body(additionalModelRequestFields={"raw_prompting": True}), ErrorCode.POLICY_DENY),
        (body(additionalModelRequestFields={"connectors": [{"id": "web-search"}]}), ErrorCode.POLICY_DENY),
        (body(additionalModelRequestFields={"images": ["AAAA"]}), ErrorCode.POLICY_DENY),
        (body(additionalModelRequestFields={"thread": {"previous_message_id": "m"}}), ErrorCode.POLICY_DENY),
        (body(additionalModelRequestFields={"toolConfig": {"tools": []}}), ErrorCode.POLICY_DENY),
        ({"system": []}, ErrorCode.BAD_REQUEST),
    ],
)
def test_what_cannot_be_read_faithfully_is_refused(content: dict[str, Any], code: ErrorCode) -> None:
    assert refused(asked(), content).code is code


@pytest.mark.parametrize("member", ["model", "stream"])
def test_what_the_path_says_is_not_said_again_in_the_body(member: str) -> None:
    assert "the path says it" in refused(asked("invoke"), {**CLAUDE_BODY, member: "x"}).reason


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/model/m/apply", ErrorCode.NOT_FOUND),
        ("/model/m/invoke-with-bidirectional-stream", ErrorCode.NOT_FOUND),
        ("/guardrail/g/version/1/apply", ErrorCode.NOT_FOUND),
        ("/async-invoke", ErrorCode.NOT_FOUND),
        ("/model/arn%3Aaws%3Abedrock%3A%3A1%3Ainference-profile%2Fx/converse", ErrorCode.NOT_FOUND),
        ("/model/m%2F..%2Fn/invoke", ErrorCode.NOT_FOUND),
        ("/model/m/converse?x=y", ErrorCode.BAD_REQUEST),
    ],
)
def test_another_path_leads_nowhere(path: str, code: ErrorCode) -> None:
    assert refused(request("bedrock", path), body()).code is code


def test_a_body_is_json_and_the_operation_is_the_one_of_the_path() -> None:
    other = {"content-type": "application/cbor"}
    assert refused(asked(headers=other), body()).code is ErrorCode.UNSUPPORTED_MEDIA_TYPE
    assert refused(asked("invoke", headers=other), CLAUDE_BODY).code is ErrorCode.UNSUPPORTED_MEDIA_TYPE
    assert refused(asked(headers={}), body()).code is ErrorCode.UNSUPPORTED_MEDIA_TYPE
    assert read(asked("invoke", headers={}), CLAUDE_BODY).actions
    target = {"content-type": "application/json", "x-amz-target": "Bedrock.Converse"}
    assert refused(asked(headers=target), body()).code is ErrorCode.BAD_REQUEST


class Raw:
    """The raw side of a reply, as urllib3 has it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._data


def sent_by(method: str, **arguments: Any) -> AWSPreparedRequest:
    return captured(lambda client: getattr(client, method)(modelId=CLAUDE, **arguments))


def captured(call: Callable[[Any], Any], answer: tuple[int, dict[str, str], bytes] | None = None) -> AWSPreparedRequest:
    sent: list[AWSPreparedRequest] = []
    status, headers, data = answer or (500, {}, b"{}")

    def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, status, headers, Raw(data))

    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url="http://x.test",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.meta.events.register("before-send.bedrock-runtime", send)
    with contextlib.suppress(*(() if answer else (ClientError,))):
        call(client)
    return sent[0]


def reading(sent: AWSPreparedRequest) -> tuple[Action, ...]:
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else str(value) for name, value in sent.headers.items()
    }
    path = sent.url.removeprefix("http://x.test")
    return read(request("bedrock", path, headers=headers), sent.body).actions


def as_bytes(value: Any) -> Any:
    """A document with bytes where boto3 wants them, which writes them as base64 itself."""
    if isinstance(value, list):
        return [as_bytes(each) for each in value]
    if isinstance(value, dict):
        return {
            name: b"hello" if name in ("bytes", "redactedContent") else as_bytes(each) for name, each in value.items()
        }
    return value


def test_what_boto3_sends_is_what_is_read() -> None:
    whole = as_bytes(WHOLE)
    for method, stream in (("converse", False), ("converse_stream", True)):
        found = reading(sent_by(method, **whole))
        assert (found[0].model, found[0].attributes["stream"]) == (CLAUDE, stream)
        assert {"a text", "hello", "be kind", "sunny", "blue", "a page", "tells it", "Faro"} <= set(texts(found))
    data = orjson.dumps(CLAUDE_BODY)
    headers = {"contentType": "application/json", "accept": "*/*", "trace": "ENABLED"}
    for method in ("invoke_model", "invoke_model_with_response_stream"):
        assert "a text" in texts(reading(sent_by(method, body=data)))
        assert "a text" in texts(reading(sent_by(method, body=data, **headers)))
    assert "a text" in texts(reading(sent_by("count_tokens", input={"invokeModel": {"body": data}})))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (ErrorCode.POLICY_DENY, "AccessDeniedException"),
        (ErrorCode.RATE_LIMIT_EXCEEDED, "ThrottlingException"),
        (ErrorCode.BAD_REQUEST, "ValidationException"),
        (ErrorCode.NOT_FOUND, "ResourceNotFoundException"),
        (ErrorCode.STATE_UNAVAILABLE, "ServiceUnavailableException"),
    ],
)
def test_boto3_raises_the_error_that_fits(code: ErrorCode, name: str) -> None:
    reply = PROTOCOLS["bedrock"].reply(asked(), denied(code=code, reason="not allowed"))
    answer = (reply.status, dict(reply.headers), reply.body)
    with pytest.raises(ClientError) as caught:
        captured(lambda client: client.converse(modelId="m", messages=[]), answer)
    assert type(caught.value).__name__ == name
    assert caught.value.response["Error"]["Code"] == name
    assert caught.value.response["Error"]["Message"] == "not allowed (request id: req_1)"
    assert caught.value.response["ResponseMetadata"]["RequestId"] == "req_1"


def test_the_check_api_takes_converse_with_the_model_in_it() -> None:
    assert VENDORS["bedrock"]({**body(), "model": CLAUDE}) == actions(body())


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "json", "content", "source", "bytes", "toolSpec", "tools", "name", "uri"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=50)
@given(
    st.dictionaries(st.sampled_from(sorted(WHOLE)), values), st.sampled_from(BLOCKS), values, st.sampled_from(INVOKED)
)
def test_any_body_is_read_or_refused(
    members: dict[str, Any], block: dict[str, Any], value: Any, invoked: tuple[str, str, dict[str, Any]]
) -> None:
    ((name, content),) = block.items()
    broken = {name: {**content, **value} if isinstance(content, dict) and isinstance(value, dict) else value}
    for document in ({**body(), **members}, body(broken)):
        with contextlib.suppress(Refusal):
            assert actions(document)
    model, _, whole = invoked
    for member in whole:
        with contextlib.suppress(Refusal):
            assert actions({**whole, member: value}, "invoke", model)

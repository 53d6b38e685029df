"""Vertex AI: Google's own models, and those of partners in the shape that each publisher defines."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import httpx2
import pytest
from google import genai
from google.genai import errors, types
from hypothesis import given, settings
from hypothesis import strategies as st

from google_calls import Sent, found
from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_core.wire.vendors import VENDORS
from wire_support import denied, read, refused, request

PROJECT = "/v1/projects/p1/locations/us-central1/"
GOOGLE = PROJECT + "publishers/google/models/"
CLAUDE = PROJECT + "publishers/anthropic/models/claude-sonnet-4@20250514"
HI: dict[str, Any] = {"role": "user", "parts": [{"text": "hi"}]}
USER = {"role": "user", "content": "hi"}


def asked(path: str, **changes: Any) -> AgentRequest:
    return request("vertex", path, **changes)


def actions(body: Any, path: str, **changes: Any) -> tuple[Action, ...]:
    return read(asked(path, **changes), body).actions


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (GOOGLE + "gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("/v1beta1/publishers/google/models/gemini-2.5-pro:generateContent?key=k", "gemini-2.5-pro"),
        (PROJECT + "endpoints/123:generateContent", "endpoints/123"),
    ],
)
def test_the_model_is_that_of_the_path(path: str, model: str) -> None:
    (action,) = actions({"contents": [HI]}, path)
    assert (action.name, action.model, action.attributes["provider"]) == ("prompt:check", model, "vertex")


def test_project_and_location_are_attributes() -> None:
    (action,) = actions({"contents": [HI]}, GOOGLE + "m:streamGenerateContent?alt=sse")
    attributes = action.attributes
    assert (attributes["project"], attributes["location"], attributes["stream"]) == ("p1", "us-central1", True)


def test_a_message_for_claude_is_read_as_anthropics() -> None:
    body = {
        "anthropic_version": "vertex-2023-10-16",
        "system": "be kind",
        "messages": [USER],
        "max_tokens": 8,
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    }
    first, hosted = actions(body, CLAUDE + ":streamRawPredict")
    assert (first.model, first.attributes["stream"], first.attributes["maxTokens"]) == (
        "claude-sonnet-4@20250514",
        True,
        8,
    )
    assert ("system", "be kind") in [(message.role, message.text) for message in first.messages]
    assert (hosted.tool, hosted.explicit) == ("hosted:web_search", True)
    assert actions({**body, "stream": True}, CLAUDE + ":rawPredict")[0].attributes["stream"] is True
    assert refused(asked(CLAUDE + ":rawPredict"), {**body, "model": "claude-opus-4"}).status == 400


def test_tokens_of_a_message_are_counted_by_a_model_of_that_name() -> None:
    path = PROJECT + "publishers/anthropic/models/count-tokens:rawPredict"
    (action,) = actions({"model": "claude-opus-4", "messages": [USER]}, path)
    assert (action.name, action.model) == ("llm:count", "claude-opus-4")
    assert refused(asked(path), {"messages": [USER]}).status == 400


def test_a_chat_is_read_as_openais() -> None:
    path = PROJECT + "endpoints/openapi/chat/completions"
    (action,) = actions({"model": "google/gemini-2.5-pro", "messages": [USER], "stream": True}, path)
    assert (action.model, action.attributes["stream"]) == ("google/gemini-2.5-pro", True)
    assert action.attributes["location"] == "us-central1"
    for name in ("google", "extra_body"):
        body = {"model": "google/g", "messages": [USER], name: {"cached_content": "cachedContents/a"}}
        assert refused(asked(path), body).code in (ErrorCode.POLICY_DENY, ErrorCode.BAD_REQUEST)


@pytest.mark.parametrize("model", [None, "codestral", "codestral@2405"])
def test_a_chat_with_mistral_names_one_model(model: str | None) -> None:
    path = PROJECT + "publishers/mistralai/models/codestral@2405:streamRawPredict"
    (action,) = actions({"model": model, "messages": [USER]}, path)
    assert (action.model, action.attributes["stream"]) == ("codestral@2405", True)
    assert refused(asked(path), {"model": "other", "messages": [USER]}).status == 400


@pytest.mark.parametrize(
    ("instance", "said", "others"),
    [
        ({"prompt": "a cat"}, "a cat", []),
        ({"content": "embed me", "task_type": "RETRIEVAL_QUERY", "title": "about"}, "embed me", []),
        ("plain", "plain", []),
        ({"prompt": "x", "image": {"bytesBase64Encoded": "aGk=", "mimeType": "image/png"}}, "x", ["image/png"]),
        ({"prompt": "x", "image": {"bytes_base64_encoded": "aGk=", "mime_type": "image/png"}}, "x", ["image/png"]),
        ({"prompt": "x", "lastFrame": {"gcsUri": "gs://b/o"}}, "x", ["file:gs://b/o"]),
        ({"text": "x", "video": {"gcsUri": "gs://b/v"}, "deep": [{"er": "y"}]}, "y", ["file:gs://b/v"]),
        ({"prompt": "x", "image": {"uri": "HTTPS://a.test/i.png"}}, "HTTPS://a.test/i.png", ["*/*"]),
        ({"messages": [{"image_url": {"url": "data:image/png;base64,iVBORw0K/w=="}}], "text": "x"}, "x", ["image/png"]),
        ({"prompt": "https://a.test has the recipe"}, "https://a.test has the recipe", []),
    ],
    ids=str,
)
def test_instances_are_read_whatever_their_shape(instance: Any, said: str, others: list[str]) -> None:
    first, *rest = actions({"instances": [instance], "parameters": {"sampleCount": 1}}, GOOGLE + "m:predict")
    assert first.name == "llm:predict"
    assert said in [message.text for message in first.messages]
    assert [action.resource for action in rest] == others


def test_a_bucket_for_the_answer_is_a_reference() -> None:
    body = {"instances": [{"prompt": "x"}], "parameters": {"storageUri": "gs://mine/out"}}
    assert actions(body, GOOGLE + "veo:predictLongRunning")[1].resource == "file:gs://mine/out"


def test_text_in_a_base64_instance_is_read() -> None:
    body = {"instances": [{"document": {"mimeType": "text/plain", "bytesBase64Encoded": "aGVsbG8="}}]}
    (action,) = actions(body, GOOGLE + "m:predict")
    assert "hello" in [message.text for message in action.messages]


@pytest.mark.parametrize(
    ("tool", "name", "host"),
    [
        ({"retrieval": {"vertexRagStore": {"ragResources": [{"ragCorpus": "c"}]}}}, "hosted:retrieval", None),
        ({"retrieval": {"external_api": {"endpoint": "https://es.test"}}}, "hosted:retrieval", "es.test"),
        ({"parallelAiSearch": {}}, "hosted:web_search", None),
    ],
)
def test_what_google_retrieves_needs_a_rule_of_its_own(tool: Any, name: str, host: str | None) -> None:
    _, hosted = actions({"contents": [HI], "tools": [tool]}, GOOGLE + "m:generateContent")
    assert (hosted.tool, hosted.explicit, hosted.attributes.get("host")) == (name, True, host)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1beta1/publishers/google/models?pageSize=5", [("llm:models", None)]),
        ("GET", "/v1/publishers/google/models/gemini-2.5-pro", [("llm:models", "gemini-2.5-pro")]),
        ("GET", PROJECT + "cachedContents/1", [("llm:cache", None), ("content:reference", "cache:1")]),
        ("DELETE", PROJECT + "cachedContents/1", [("llm:cache", None), ("content:reference", "cache:1")]),
        ("GET", PROJECT + "batchPredictionJobs/1", [("llm:batch", None), ("content:reference", "batch:1")]),
        ("POST", PROJECT + "batchPredictionJobs/1:cancel", [("llm:batch", None), ("content:reference", "batch:1")]),
    ],
)
def test_what_has_no_body_is_known_by_its_path(method: str, path: str, expected: list[Any]) -> None:
    assert [(action.name, action.resource) for action in actions(b"", path, method=method)] == expected


def test_a_live_conversation_needs_a_rule_of_its_own() -> None:
    path = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"
    (action,) = actions(b"", path, method="GET", headers={"upgrade": "websocket"})
    assert (action.name, action.explicit) == ("llm:realtime", True)


@pytest.mark.parametrize(
    "path",
    [
        PROJECT + "publishers/meta/models/llama:rawPredict",
        GOOGLE + "gemini:rawPredict",
        PROJECT + "endpoints/1:rawPredict",
        PROJECT + "publishers/anthropic/models/claude:predict",
        PROJECT + "publishers/Google/models/gemini:generateContent",
        PROJECT + "reasoningEngines/1:query",
        PROJECT + "tuningJobs",
        PROJECT + "ragCorpora",
        "/v1/projects/p1/locations/../publishers/google/models/gemini:generateContent",
        "/v1/projects/p1/locations/us%2Fx/publishers/google/models/gemini:generateContent",
        "/v1/projects/p1:x/locations/us/publishers/google/models/gemini:generateContent",
        "/v1beta/projects/p1/locations/us/publishers/google/models/gemini:generateContent",
        "/v1/models/gemini:generateContent",
    ],
)
def test_every_other_path_is_unknown(path: str) -> None:
    assert refused(asked(path), {"contents": [HI]}).status in (404, 405)


def test_a_batch_from_a_bucket_is_refused_with_a_reason() -> None:
    refusal = refused(asked(PROJECT + "batchPredictionJobs"), {})
    assert (refusal.code, "not looked at" in refusal.reason) == (ErrorCode.POLICY_DENY, True)


@pytest.mark.parametrize("query", ["$alt=json", "fields=a", "access_token=a", "$httpMethod=GET", "alt=proto"])
def test_a_query_that_changes_what_is_asked_is_refused(query: str) -> None:
    path = f"{GOOGLE}m:generateContent?{query}"
    assert refused(asked(path), {"contents": [HI]}).code is ErrorCode.BAD_REQUEST


def test_a_method_override_is_refused() -> None:
    headers = {"content-type": "application/json", "x-http-method-override": "GET"}
    assert refused(asked(GOOGLE + "m:generateContent", headers=headers), {"contents": [HI]}).status == 400


@pytest.fixture(scope="module")
def sent() -> Sent:
    return Sent(vertex=True)


_CONFIG = types.GenerateContentConfig(
    system_instruction="mark-system",
    labels={"team": "mark-label"},
    tools=[
        types.Tool(
            retrieval=types.Retrieval(
                vertex_ai_search=types.VertexAISearch(datastore="mark-store", filter="mark-filter"),
            )
        ),
        types.Tool(enterprise_web_search=types.EnterpriseWebSearch(exclude_domains=["mark-domain"])),
    ],
)


@pytest.mark.filterwarnings("ignore:The generate_images method")
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.models.generate_content(model="g", contents=["mark-a", "mark-b"], config=_CONFIG),
        lambda client: client.models.generate_content_stream(model="g", contents="mark-a", config=_CONFIG),
        lambda client: client.models.generate_content(model="projects/p1/locations/l/endpoints/9", contents="mark-a"),
        lambda client: client.models.embed_content(
            model="text-embedding-005",
            contents=["mark-a"],
            config={"title": "mark-t", "task_type": "RETRIEVAL_DOCUMENT"},
        ),
        lambda client: client.models.embed_content(model="gemini-embedding-001", contents="mark-a"),
        lambda client: client.models.count_tokens(
            model="g", contents="mark-a", config={"system_instruction": "mark-s"}
        ),
        lambda client: client.models.compute_tokens(model="g", contents="mark-a"),
        lambda client: client.models.generate_images(
            model="imagen-4", prompt="mark-a", config={"output_gcs_uri": "gs://mark-b/o", "labels": {"a": "mark-l"}}
        ),
        lambda client: client.models.generate_videos(
            model="veo-3",
            source={"prompt": "mark-a"},
            config={"negative_prompt": "mark-n", "output_gcs_uri": "gs://mark-b"},
        ),
        lambda client: client.operations.get(
            types.GenerateVideosOperation.model_construct(
                name="projects/p1/locations/l/publishers/google/models/veo/operations/mark-1"
            )
        ),
        lambda client: client.caches.create(
            model="g", config={"contents": "mark-a", "display_name": "mark-d", "kms_key_name": "mark-k"}
        ),
    ],
)
def test_every_text_that_the_sdk_is_given_is_read(sent: Sent, call: Callable[[genai.Client], Any]) -> None:
    sent.assert_all_is_read(call)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.models.list(),
        lambda client: client.models.get(model="gemini-2.5-flash"),
        lambda client: client.caches.get(name="cachedContents/1"),
        lambda client: client.caches.list(),
        lambda client: client.caches.update(name="cachedContents/1", config={"ttl": "10s"}),
        lambda client: client.caches.delete(name="cachedContents/1"),
        lambda client: client.batches.list(),
    ],
)
def test_the_other_calls_of_the_sdk_are_understood(sent: Sent, call: Callable[[genai.Client], Any]) -> None:
    assert sent.actions(call)


def test_every_text_that_anthropics_sdk_is_given_is_read() -> None:
    kept: list[httpx2.Request] = []

    def keep(sent: httpx2.Request) -> httpx2.Response:
        kept.append(sent)
        return httpx2.Response(403, json={"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}})

    client = anthropic.AnthropicVertex(
        project_id="p1",
        region="us-east5",
        access_token="token",
        http_client=httpx2.Client(transport=httpx2.MockTransport(keep)),
    )
    with pytest.raises(anthropic.PermissionDeniedError):
        client.messages.create(
            model="claude-sonnet-4@20250514",
            max_tokens=9,
            system="mark-system",
            messages=[{"role": "user", "content": [{"type": "text", "text": "mark-user"}]}],
            tools=[{"name": "mark-tool", "description": "mark-description", "input_schema": {"type": "object"}}],
        )
    (sent,) = kept
    seen = found(actions(sent.content, sent.url.raw_path.decode()))
    assert all(text in seen for text in ("mark-system", "mark-user", "mark-tool", "mark-description"))


def test_a_refusal_is_what_the_sdk_raises() -> None:
    reply = PROTOCOLS["vertex"].reply(asked(GOOGLE + "m:generateContent"), denied(reason="not today"))
    assert json.loads(reply.body)["error"]["status"] == "PERMISSION_DENIED"
    answer = httpx.Response(reply.status, content=reply.body, headers=dict(reply.headers))
    with pytest.raises(errors.ClientError, match="not today"):
        Sent(vertex=True, answer=answer).client.models.generate_content(model="g", contents="hi")


def test_its_body_is_taken_where_the_provider_is_named() -> None:
    body = {"model": "projects/p/locations/l/publishers/google/models/g", "contents": [HI]}
    assert VENDORS["vertex"](body)[0].model == "g"


def test_the_protocol_and_its_routes_can_be_pickled() -> None:
    route = PROTOCOLS["vertex"].route(asked(GOOGLE + "m:predict"))
    assert pickle.loads(pickle.dumps(PROTOCOLS["vertex"])).kind == "vertex"
    assert pickle.loads(pickle.dumps(route)) == route


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "user", "gs://a", "aGk=", "é\x00"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["prompt", "mimeType", "bytesBase64Encoded", "gcsUri", "x"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@settings(max_examples=60)
@given(_VALUES, _VALUES)
def test_any_instance_is_read_or_refused(instance: Any, parameters: Any) -> None:
    with contextlib.suppress(Refusal):
        assert actions({"instances": [instance], "parameters": parameters}, GOOGLE + "m:predict")

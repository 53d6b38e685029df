"""Gemini: what the SDK writes and what curl writes mean the same to us as to Google's servers."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from hypothesis import given, settings
from hypothesis import strategies as st

from google_calls import Sent, found, strings
from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire import google_content
from kalguard_core.wire.google_json import Fields
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_core.wire.text import NAME
from kalguard_core.wire.vendors import VENDORS
from wire_support import denied, read, refused, request

PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
HI: dict[str, Any] = {"role": "user", "parts": [{"text": "hi"}]}


def asked(path: str = PATH, **changes: Any) -> AgentRequest:
    return request("gemini", path, **changes)


def actions(body: Any, path: str = PATH, **changes: Any) -> tuple[Action, ...]:
    return read(asked(path, **changes), body).actions


def with_part(part: Any, **members: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [part]}], **members}


def said(body: Any, path: str = PATH) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in actions(body, path)[0].messages]


def test_a_request_is_one_prompt_check_about_the_model_of_its_path() -> None:
    (action,) = actions({"contents": [HI], "generationConfig": {"maxOutputTokens": 9}})
    assert (action.name, action.capabilities) == ("prompt:check", ("prompt:send", "llm:call"))
    assert action.model == action.resource == "gemini-2.5-flash"
    assert action.attributes["provider"] == "gemini"
    assert action.attributes["maxTokens"] == 9
    assert action.attributes["stream"] is False


def test_the_streaming_method_streams() -> None:
    path = "/v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse&key=AIza"
    assert actions({"contents": [HI]}, path)[0].attributes["stream"] is True


def test_a_tuned_model_is_named_as_one() -> None:
    assert actions({"contents": [HI]}, "/v1beta/tunedModels/mine-1:generateContent")[0].model == "tunedModels/mine-1"


# Each of these is one piece of a body in both of its spellings.
_PAIRS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"systemInstruction": HI}, {"system_instruction": HI}),
    ({"generationConfig": {"maxOutputTokens": 5}}, {"generation_config": {"max_output_tokens": "5"}}),
    ({"cachedContent": "cachedContents/a"}, {"cached_content": "cachedContents/a"}),
    ({"tools": [{"googleSearch": {}}]}, {"tools": {"google_search": {}}}),
    (
        {"tools": [{"functionDeclarations": [{"name": "f", "description": "does it"}]}]},
        {"tools": [{"function_declarations": {"name": "f", "description": "does it"}}]},
    ),
    (
        {"tools": [{"mcpServers": [{"name": "m", "streamableHttpTransport": {"url": "https://mcp.test/x"}}]}]},
        {"tools": [{"mcp_servers": [{"name": "m", "streamable_http_transport": {"url": "https://mcp.test/x"}}]}]},
    ),
    (
        with_part({"inlineData": {"mimeType": "text/plain", "data": base64.b64encode(b"read ~me?").decode()}}),
        with_part(
            {"inline_data": {"mime_type": "text/plain", "data": base64.urlsafe_b64encode(b"read ~me?").decode()}}
        ),
    ),
    (
        with_part({"fileData": {"fileUri": "gs://b/o", "mimeType": "image/png"}}),
        with_part({"file_data": {"file_uri": "gs://b/o", "mime_type": "image/png"}}),
    ),
    (
        with_part({"functionResponse": {"name": "f", "response": {"a": "result"}}}),
        with_part({"function_response": {"name": "f", "response": {"a": "result"}}}),
    ),
    (
        with_part({"codeExecutionResult": {"output": "42"}}),
        with_part({"code_execution_result": {"output": "42"}}),
    ),
    ({"toolConfig": {"x": "only this"}}, {"tool_config": {"x": "only this"}}),
    ({"contents": [HI]}, {"contents": {"parts": {"text": "hi"}}}),
]


def _meaning(body: dict[str, Any]) -> list[Any]:
    # How a number is written, and a name so long that it could say something, are scored as text.
    limit = {"5", "streamable_http_transport"}
    limit |= {"name streamable_http_transport url", "name streamableHttpTransport url"}
    return [
        (
            action.name,
            action.resource,
            [(message.role, message.text) for message in action.messages if message.text not in limit],
            {name: value for name, value in action.attributes.items() if name != "tokenEstimate"},
        )
        for action in actions({"contents": [HI], **body})
    ]


@pytest.mark.parametrize(("camel", "snake"), _PAIRS, ids=lambda body: next(iter(body)))
def test_both_spellings_of_a_name_mean_the_same(camel: dict[str, Any], snake: dict[str, Any]) -> None:
    assert _meaning(camel) == _meaning(snake)


@pytest.mark.parametrize(
    "body",
    [
        {"contents": [HI], "systemInstruction": HI, "system_instruction": HI},
        {"contents": [HI], "systemInstruction": None, "system_instruction": HI},
        with_part({"inlineData": {}, "inline_data": {"data": "aGk="}}),
        with_part({"fileData": {"fileUri": "files/a", "file_uri": "gs://b/o"}}),
        {"contents": [HI], "tools": [{"functionDeclarations": [], "function_declarations": []}]},
        {"contents": [HI], "generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 10**6}},
        {"contents": [HI], "cachedContent": "", "cached_content": "cachedContents/a"},
    ],
    ids=str,
)
def test_two_spellings_of_one_field_in_one_object_are_refused(body: dict[str, Any]) -> None:
    refusal = refused(asked(), body)
    assert refusal.code is ErrorCode.BAD_REQUEST
    assert "the same field" in refusal.reason


@pytest.mark.parametrize(
    "body",
    [
        {"Contents": [HI], "contents": [HI]},
        {"contents": [HI], "SystemInstruction": HI},
        {"contents": [HI], "system_Instruction": HI},
        {"contents": [HI], "_tools": []},
        with_part({"text": "a", "inlinedata": {}}),
        with_part({"TEXT": "a"}),
        with_part({"\u017fystem_x": "a", "inline\u212aata": 1, "TeXt": "b"}),
    ],
    ids=str,
)
def test_a_name_that_differs_by_case_or_underscores_is_refused(body: dict[str, Any]) -> None:
    refusal = refused(asked(), body)
    assert (refusal.code, "did you mean" in refusal.reason) == (ErrorCode.BAD_REQUEST, True)


def test_a_member_that_is_null_is_absent() -> None:
    body = {"contents": [{"parts": [{"text": "hi", "inlineData": None}]}], "tools": None, "cachedContent": None}
    assert len(actions(body)) == 1


@pytest.mark.parametrize(
    ("role", "ours"),
    [
        ("user", "user"),
        ("model", "assistant"),
        ("function", "tool"),
        ("", "user"),
        (None, "user"),
        ("system", "system"),
    ],
)
def test_roles_are_translated(role: str | None, ours: str) -> None:
    assert said({"contents": [{"role": role, "parts": [{"text": "hi"}]}]}) == [(ours, "hi")]


def test_a_role_that_nobody_knows_is_refused() -> None:
    assert refused(asked(), {"contents": [{**HI, "role": "User"}]}).code is ErrorCode.BAD_REQUEST


_URL = "https://cdn.test/a.png"


@pytest.mark.parametrize(
    ("part", "name", "resource"),
    [
        ({"inlineData": {"mimeType": "image/png", "data": "aGk="}}, "content:media", "image/png"),
        ({"inlineData": {"data": "aGk="}}, "content:media", "*/*"),
        ({"fileData": {"fileUri": _URL}}, "content:media", "*/*"),
        ({"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}}, "content:media", "*/*"),
        ({"fileData": {"fileUri": "files/abc"}}, "content:reference", "file:abc"),
        (
            {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
            "content:reference",
            "file:abc",
        ),
        ({"fileData": {"fileUri": "gs://bucket/a.pdf"}}, "content:reference", "file:gs://bucket/a.pdf"),
        (
            {"functionResponse": {"name": "f", "response": {}, "parts": [{"fileData": {"fileUri": "gs://b/o"}}]}},
            "content:reference",
            "file:gs://b/o",
        ),
        (
            {"functionResponse": {"name": "f", "parts": {"inline_data": {"mime_type": "image/gif", "data": "aGk="}}}},
            "content:media",
            "image/gif",
        ),
    ],
)
def test_what_cannot_be_read_is_an_action_that_a_rule_must_name(part: Any, name: str, resource: str) -> None:
    _, other = actions(with_part(part))
    assert (other.name, other.resource, other.explicit) == (name, resource, True)


@pytest.mark.parametrize(
    ("tool", "name", "host"),
    [
        ({"googleSearch": {}}, "hosted:web_search", None),
        ({"googleSearchRetrieval": {}}, "hosted:web_search", None),
        ({"enterprise_web_search": {}}, "hosted:web_search", None),
        ({"urlContext": {}}, "hosted:url_context", None),
        ({"codeExecution": {}}, "hosted:code_interpreter", None),
        ({"computer_use": {"environment": "ENVIRONMENT_BROWSER"}}, "hosted:computer_use", None),
        ({"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/a"]}}, "hosted:file_search", None),
        ({"googleMaps": {}}, "hosted:maps", None),
        ({"retrieval": {"vertexAiSearch": {"datastore": "d"}}}, "hosted:retrieval", None),
        ({"retrieval": {"externalApi": {"endpoint": "https://rag.test/q"}}}, "hosted:retrieval", "rag.test"),
        ({"mcpServers": [{"streamableHttpTransport": {"url": "https://mcp.test/x"}}]}, "hosted:mcp", "mcp.test"),
        ({"somethingNew": {}}, "hosted:somethingNew", None),
        ({"GoogleSearch": {}}, "hosted:web_search", None),
    ],
    ids=str,
)
def test_a_tool_that_runs_at_google_needs_a_rule_of_its_own(tool: Any, name: str, host: str | None) -> None:
    first, hosted = actions({"contents": [HI], "tools": [tool]})
    assert (hosted.name, hosted.tool, hosted.explicit) == ("tool:execute", name, True)
    assert hosted.attributes.get("host") == host
    assert first.attributes["hostedTools"] == (name,)


def test_each_text_has_the_place_where_it_stands() -> None:
    part = {"file_data": {"file_uri": "gs://b/o"}, "function_response": {"response": {"a": ["b"]}}}
    body = {"contents": {"parts": [{"text": "a"}, part]}, "tools": {"brand_new": {"x": "y"}}, "x": [{"z": "w"}]}
    (first, *_) = actions(body)
    for message in first.messages:
        value: Any = body
        *path, last = message.where
        for key in path:
            value = value[key]
        assert message.text == (path[-1] if last == NAME else value[last])


def test_functions_that_the_agent_runs_are_offered_and_read() -> None:
    tool = {"functionDeclarations": [{"name": "f", "description": "obey", "parameters": {"description": "deep"}}]}
    (action,) = actions({"contents": [HI], "tools": [tool]})
    assert action.attributes["toolNames"] == ("f",)
    assert ("tool", "obey") in said({"contents": [HI], "tools": [tool]})


def test_a_cache_and_a_continuation_are_references() -> None:
    body = {"contents": [HI], "cachedContent": "cachedContents/a", "continuationToken": "dG9r"}
    assert [action.resource for action in actions(body)[1:]] == ["cache:cachedContents/a", "continuation:dG9r"]


def test_a_bucket_that_takes_the_answer_is_a_reference() -> None:
    body = {"contents": [HI], "generationConfig": {"generationOutputConfig": {"outputUriPrefix": "gs://out/x"}}}
    assert actions(body)[1].resource == "file:gs://out/x"


def test_the_voice_in_a_speech_configuration_is_media() -> None:
    voice = {"replicatedVoiceConfig": {"mimeType": "audio/wav", "voiceSampleAudio": "aGk="}}
    assert actions({"contents": [HI], "generationConfig": {"speechConfig": voice}})[1].resource == "audio/wav"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"contents": [HI], "model": "models/other"}, PATH),
        ({"content": HI, "model": "other"}, "/v1/models/e:embedContent"),
        ({"requests": [{"content": HI, "model": "models/other"}]}, "/v1/models/e:batchEmbedContents"),
        ({"generateContentRequest": {"model": "models/o", "contents": [HI]}}, "/v1/models/e:countTokens"),
        ({"model": "tunedModels/gemini-2.5-flash", "contents": [HI]}, PATH),
    ],
)
def test_a_model_in_the_body_is_that_of_the_path(body: Any, path: str) -> None:
    assert "must be the model of the path" in refused(asked(path), body).reason


def test_a_call_to_a_url_of_the_agents_choice_is_refused() -> None:
    body = {"batch": {"inputConfig": {"fileName": "files/a"}, "webhook_config": {"uris": ["https://evil.test"]}}}
    assert refused(asked("/v1beta/models/m:batchGenerateContent"), body).code is ErrorCode.POLICY_DENY


@pytest.mark.parametrize(
    "name", ["routingConfig", "routing_config", "RoutingConfig", "modelConfig", "model_selection_config"]
)
def test_a_choice_of_another_model_is_refused(name: str) -> None:
    body = {"contents": [HI], "generationConfig": {name: {"manualMode": {"modelName": "gemini-ultra"}}}}
    refusal = refused(asked("/v1beta/models/m:generateContent"), body)
    assert (refusal.code, "another model" in refusal.reason) == (ErrorCode.POLICY_DENY, True)


def test_a_batch_is_read_element_by_element() -> None:
    element = {"request": {"contents": [HI], "tools": [{"googleSearch": {}}]}, "metadata": {"note": "remember"}}
    body = {"batch": {"inputConfig": {"requests": {"requests": [element, element]}}}}
    found = actions(body, "/v1beta/models/m:batchGenerateContent")
    assert [action.name for action in found] == ["llm:batch", "prompt:check", "tool:execute"]
    assert [each.text for each in found[1].messages].count("remember") == 2
    assert (
        actions({"batch": {"input_config": {"file_name": "files/a"}}}, "/v1/models/m:batchGenerateContent")[1].resource
        == "file:files/a"
    )
    assert refused(asked("/v1/models/m:batchGenerateContent"), {"batch": {"inputConfig": {}}}).status == 400


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1beta/models?pageSize=50&key=k", [("llm:models", None)]),
        ("GET", "/v1/models/gemini-2.5-pro", [("llm:models", "gemini-2.5-pro")]),
        ("GET", "/v1beta/files", [("llm:file", None), ("content:reference", "file:*")]),
        ("GET", "/v1beta/files/a:download?alt=media", [("llm:file", None), ("content:reference", "file:a")]),
        ("DELETE", "/v1/files/a", [("llm:file", None), ("content:reference", "file:a")]),
        ("GET", "/v1/cachedContents/a", [("llm:cache", None), ("content:reference", "cache:a")]),
        ("POST", "/v1/batches/a:cancel", [("llm:batch", None), ("content:reference", "batch:a")]),
        ("GET", "/v1/models/veo/operations/o", [("llm:operation", None), ("content:reference", "operation:o")]),
    ],
)
def test_what_has_no_body_is_known_by_its_path(method: str, path: str, expected: list[Any]) -> None:
    assert [(action.name, action.resource) for action in actions(b"", path, method=method)] == expected


def test_a_live_conversation_needs_a_rule_of_its_own() -> None:
    path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k"
    (action,) = actions(b"", path, method="GET", headers={"upgrade": "websocket"})
    assert (action.name, action.explicit) == ("llm:realtime", True)
    assert refused(asked(path, method="GET", headers={})).status == 400


@pytest.mark.parametrize(
    "path",
    [
        PATH + "?$alt=json",
        PATH + "?%24alt=json",
        PATH + "?fields=candidates",
        PATH + "?prettyPrint=true",
        PATH + "?$httpMethod=DELETE",
        PATH + "?access_token=x",
        PATH + "?alt=proto",
        PATH + "?alt=media",
        PATH + "?alt=sse&alt=json",
        PATH + "?key=a&key=b",
        PATH + "?key=a;alt=media",
        PATH + "?model=other",
    ],
)
def test_a_query_that_changes_what_is_asked_is_refused(path: str) -> None:
    assert refused(asked(path), {"contents": [HI]}).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/gemini:generateContent;x=1",
        "/v1beta/models/gemini:generatecontent",
        "/v1beta/models/gemini%3AgenerateContent:countTokens",
        "/v1beta/models/gemini:x:generateContent",
        "/v1beta/models/a/b:generateContent",
        "/v1beta/models/a%2Fb:generateContent",
        "/v1beta/models/..:generateContent",
        "/v1beta/models/:generateContent",
        "/v1beta//models/gemini:generateContent",
        "/v1beta/models/gemini:generateContent/",
        "/v1beta/models/gemini:generateText",
        "/v1alpha/models/gemini:generateContent",
        "/v2/models/gemini:generateContent",
        "/v1beta/interactions",
        "/v1beta/fileSearchStores",
        "/v1beta/files:register",
        "/$rpc/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent",
        "/batch",
    ],
)
def test_every_other_path_is_unknown(path: str) -> None:
    assert refused(asked(path), {"contents": [HI]}).status in (404, 405)


@pytest.mark.parametrize(
    "path", ["/upload/v1beta/files", "/v1beta/files", "/v1beta/models/e:asyncBatchEmbedContent", "/upload/v1/x"]
)
def test_uploads_are_refused_with_a_reason(path: str) -> None:
    refusal = refused(asked(path, headers={"content-type": "multipart/related"}), b"x")
    assert refusal.code is ErrorCode.POLICY_DENY
    assert "not looked at" in refusal.reason


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json", "x-http-method-override": "DELETE"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/plain"},
        {"content-type": "application/json+protobuf"},
        {},
    ],
    ids=str,
)
def test_a_head_that_makes_another_call_of_it_is_refused(headers: dict[str, str]) -> None:
    assert refused(asked(headers=headers), {"contents": [HI]}).status in (400, 415)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"contents": []},
        {"contents": "hi"},
        {"contents": [["hi"]]},
        {"contents": [{"parts": ["hi"]}]},
        {"contents": [{"parts": [{"text": 5}]}]},
        {"contents": [HI], "systemInstruction": "hi"},
        {"contents": [HI], "tools": ["x"]},
        {"contents": [HI], "tools": [{"googleSearch": "x"}]},
        {"contents": [HI], "tools": [{"mcpServers": [{"streamableHttpTransport": {"url": "file:///etc"}}]}]},
        {"contents": [HI], "generationConfig": {"maxOutputTokens": "many"}},
        with_part({"inlineData": {"mimeType": "text/plain", "data": "?"}}),
        with_part({"inlineData": {"mimeType": "text/plain"}}),
        with_part({"fileData": {"mimeType": "text/plain"}}),
        with_part({"fileData": {"fileUri": "https://user@evil.test/"}}),
    ],
    ids=str,
)
def test_a_body_that_google_would_not_understand_is_refused(body: Any) -> None:
    assert refused(asked(), body).code is ErrorCode.BAD_REQUEST


def _rich(make: Callable[[], str]) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(
        system_instruction=make(),
        stop_sequences=[make()],
        response_mime_type="application/json",
        response_schema=types.Schema(
            type=types.Type.OBJECT, description=make(), properties={"a": types.Schema(enum=[make()])}
        ),
        max_output_tokens=77,
        safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")],  # type: ignore[arg-type]
        cached_content=make(),
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(allowed_function_names=[make()])
        ),
        tools=[
            types.Tool(
                function_declarations=[
                    types.FunctionDeclaration(
                        name=make(), description=make(), parameters_json_schema={"description": make(), "x": [make()]}
                    )
                ]
            ),
            types.Tool(google_search=types.GoogleSearch()),
            types.Tool(
                mcp_servers=[
                    types.McpServer(
                        name=make(), streamable_http_transport=types.StreamableHttpTransport(url="https://mcp.test/")
                    )
                ]
            ),
            types.Tool(file_search=types.FileSearch(file_search_store_names=[make()], metadata_filter=make())),
        ],
    )


def _contents(make: Callable[[], str]) -> list[types.Content]:
    part = types.Part
    return [
        types.Content(role="user", parts=[part(text=make()), part.from_bytes(data=b"x", mime_type="image/png")]),
        types.Content(
            role="model",
            parts=[
                part(text=make(), thought=True, thought_signature=b"sig"),
                part(function_call=types.FunctionCall(id=make(), name=make(), args={"a": {"b": [make()]}})),
                part(executable_code=types.ExecutableCode(code=make(), language="PYTHON")),  # type: ignore[arg-type]
                part(code_execution_result=types.CodeExecutionResult(output=make(), outcome="OUTCOME_OK")),  # type: ignore[arg-type]
            ],
        ),
        types.Content(
            role="user",
            parts=[
                part(
                    function_response=types.FunctionResponse(
                        id=make(),
                        name=make(),
                        response={"output": make(), "deep": [{"er": make()}]},
                        parts=[
                            types.FunctionResponsePart(
                                file_data=types.FunctionResponseFileData(
                                    file_uri="gs://b/" + make(), mime_type="image/png", display_name=make()
                                )
                            )
                        ],
                    )
                ),
                part(file_data=types.FileData(file_uri="https://cdn.test/" + make(), mime_type="video/mp4")),
                part(part_metadata={"k": make()}),
            ],
        ),
    ]


def _calls(make: Callable[[], str]) -> list[Callable[[genai.Client], Any]]:
    model = "gemini-2.5-flash"
    config, contents = _rich(make), _contents(make)
    return [
        lambda client: client.models.generate_content(model=model, contents=contents, config=config),
        lambda client: client.models.generate_content_stream(model=model, contents=contents, config=config),
        lambda client: client.models.embed_content(model="gemini-embedding-001", contents=[make(), make()]),
        lambda client: client.models.count_tokens(model=model, contents=contents),
        lambda client: client.caches.create(
            model=model,
            config=types.CreateCachedContentConfig(
                contents=contents, display_name=make(), system_instruction=make(), ttl="60s"
            ),
        ),
        lambda client: client.batches.create(
            model=model,
            src=[types.InlinedRequest(contents=contents, metadata={"m": make()}, config=_rich(make))],
            config=types.CreateBatchJobConfig(display_name=make()),
        ),
    ]


@pytest.fixture(scope="module")
def sent() -> Sent:
    return Sent()


@pytest.mark.parametrize("index", range(6))
def test_every_text_that_the_sdk_is_given_is_read(sent: Sent, index: int) -> None:
    given_texts: list[str] = []

    def make() -> str:
        given_texts.append(f"mark-{len(given_texts)}")
        return given_texts[-1]

    sent.assert_all_is_read(_calls(make)[index])


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.models.list(config={"page_size": 5}),
        lambda client: client.models.get(model="gemini-2.5-flash"),
        lambda client: client.caches.get(name="cachedContents/a"),
        lambda client: client.caches.list(),
        lambda client: client.caches.update(name="cachedContents/a", config={"ttl": "10s"}),
        lambda client: client.caches.delete(name="cachedContents/a"),
        lambda client: client.files.get(name="files/a"),
        lambda client: client.files.list(),
        lambda client: client.files.delete(name="files/a"),
        lambda client: client.files.download(file="files/a"),
        lambda client: client.batches.get(name="batches/1"),
        lambda client: client.batches.cancel(name="batches/1"),
        lambda client: client.batches.list(),
        lambda client: client.batches.delete(name="batches/1"),
    ],
)
def test_the_other_calls_of_the_sdk_are_understood(sent: Sent, call: Callable[[genai.Client], Any]) -> None:
    assert sent.actions(call)


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [
        (ErrorCode.POLICY_DENY, 403, "PERMISSION_DENIED"),
        (ErrorCode.RATE_LIMIT_EXCEEDED, 429, "RESOURCE_EXHAUSTED"),
        (ErrorCode.AUTH_FAILED, 401, "UNAUTHENTICATED"),
        (ErrorCode.BAD_REQUEST, 400, "INVALID_ARGUMENT"),
    ],
)
def test_a_refusal_is_what_the_sdk_raises(code: ErrorCode, status: int, name: str) -> None:
    reply = PROTOCOLS["gemini"].reply(asked(), denied(code=code, reason="not today", retry_after=2.5))
    client = Sent(answer=httpx.Response(reply.status, content=reply.body, headers=dict(reply.headers))).client
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model="gemini-2.5-flash", contents="hi")
    assert (caught.value.code, caught.value.status) == (status, name)
    assert caught.value.message == "not today (request id: req_1)"
    assert ("retryDelay" in str(caught.value.details)) == (status == 429)


def test_its_body_is_taken_where_the_provider_is_named() -> None:
    (action,) = VENDORS["gemini"]({"model": "models/gemini-2.5-pro", "contents": [HI]})
    assert (action.model, action.attributes["provider"]) == ("gemini-2.5-pro", "gemini")


def test_the_protocol_and_its_routes_can_be_pickled() -> None:
    route = PROTOCOLS["gemini"].route(asked())
    assert pickle.loads(pickle.dumps(PROTOCOLS["gemini"])).kind == "gemini"
    assert pickle.loads(pickle.dumps(route)) == route


_RICH = {
    "contents": [{"role": "user", "parts": [{"text": "hi"}, {"functionResponse": {"parts": [{}]}}]}],
    "tools": [{"functionDeclarations": [{}], "mcpServers": [{"streamableHttpTransport": {}}], "retrieval": {}}],
    "generationConfig": {},
    "systemInstruction": {"parts": [{"inlineData": {"data": ""}}, {"fileData": {"fileUri": "files/a"}}]},
}
_BODIES: dict[str, Any] = {
    "generateContent": _RICH,
    "countTokens": {"generateContentRequest": {"contents": [HI]}, "contents": [HI]},
    "embedContent": {"content": HI},
    "batchEmbedContents": {"requests": [{"content": HI}]},
    "predict": {"instances": [{"prompt": "a", "image": {}}], "parameters": {}},
    "batchGenerateContent": {"batch": {"inputConfig": {"requests": {"requests": [{"request": {"contents": [HI]}}]}}}},
}
_SHAPES: list[Any] = [
    "mark-1",
    {"x": "mark-1"},
    [{"x": "mark-1"}],
    {"parts": [{"text": "mark-1"}]},
    [{"parts": {"text": "mark-1"}}],
    {"requests": [{"content": {"parts": [{"text": "mark-1"}]}}]},
]


def _objects(value: Any) -> list[dict[str, Any]]:
    """Every object in a body, itself first."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in (value,) if isinstance(each, dict)] + [each for inner in below for each in _objects(inner)]


@pytest.mark.parametrize("method", _BODIES)
def test_a_text_in_any_member_of_any_object_is_read_or_all_is_refused(method: str) -> None:
    fields = [value for value in vars(google_content).values() if isinstance(value, Fields)]
    names = sorted({name for each in fields for name in each.names} | {"unheardOf", "thought"})
    missed, accepted = [], 0
    for index in range(len(_objects(_BODIES[method]))):
        body = copy.deepcopy(_BODIES[method])
        target = _objects(body)[index]
        for name in names:
            before = dict(target)
            for shape in _SHAPES:
                target[name] = shape
                with contextlib.suppress(Refusal):
                    if "mark-1" not in found(actions(body, f"/v1/models/m:{method}")):
                        missed.append((index, name, shape))
                    accepted += 1
            target.clear()
            target.update(before)
    # Bytes that are not declared as text are media, which a rule must name.
    assert [miss for miss in missed if miss[1:] != ("data", "mark-1")] == []
    assert accepted > 50


_KNOWN = (
    "contents parts text inlineData inline_data data mimeType fileData fileUri tools functionDeclarations role model",
    "functionResponse response systemInstruction requests instances batch inputConfig request generationConfig",
    "mcpServers cachedContent retrieval content streamableHttpTransport externalApi generateContentRequest labels name",
    "executableCode toolResponse displayName fileName continuationToken unheard",
)
_NAMES = st.sampled_from([name for line in _KNOWN for name in line.split()])
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["TEXT", "TEXT", "gs://a", "https://a.b", "é\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=8,
)
_CONTENTS = st.fixed_dictionaries(
    {
        "contents": st.lists(
            st.fixed_dictionaries({"parts": st.lists(st.dictionaries(_NAMES, _VALUES, max_size=2), max_size=2)}),
            max_size=2,
        )
    }
)
_METHODS = ("generateContent", "countTokens", "embedContent", "batchEmbedContents", "predict", "batchGenerateContent")


@settings(max_examples=25)
@given(st.dictionaries(_NAMES, _VALUES, max_size=3), _CONTENTS, st.sampled_from(_METHODS))
def test_each_string_of_any_object_is_read_or_all_is_refused(
    members: dict[str, Any], contents: dict[str, Any], method: str
) -> None:
    plain = json.dumps({**members, **contents})
    body = "".join(f"{piece}mark-{index}-" for index, piece in enumerate(plain.split("TEXT"))).rpartition("mark-")[0]
    with contextlib.suppress(Refusal):
        seen = found(actions(body.encode(), f"/v1/models/m:{method}"))
        assert [text for text in strings(body.encode()) if text not in seen] == []

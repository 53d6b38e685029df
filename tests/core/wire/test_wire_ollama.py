"""Ollama: its own paths, in the words that Go's JSON reader takes for the same."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable
from typing import Any

import httpx
import ollama
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from google_calls import found, strings
from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire import ollama as wire
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_core.wire.vendors import VENDORS
from wire_support import denied, read, refused, request

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "description": "does it", "parameters": {"type": "object"}}}


def asked(path: str = "/api/chat", **changes: Any) -> AgentRequest:
    return request("ollama", path, **changes)


def chat(**members: Any) -> dict[str, Any]:
    return {"model": "llama3.2:3b", "messages": [USER], **members}


def generate(**members: Any) -> dict[str, Any]:
    return {"model": "llama3.2:3b", "prompt": "hi", **members}


def actions(body: Any, path: str = "/api/chat", **changes: Any) -> tuple[Action, ...]:
    return read(asked(path, **changes), body).actions


def said(body: Any, path: str = "/api/chat") -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in actions(body, path)[0].messages]


def test_a_chat_is_one_prompt_check_about_its_model() -> None:
    (action,) = actions(chat(stream=False, tools=[TOOL], options={"num_predict": 7}))
    assert (action.name, action.capabilities) == ("prompt:check", ("prompt:send", "llm:call"))
    assert action.model == action.resource == "llama3.2:3b"
    attributes = action.attributes
    assert (attributes["provider"], attributes["stream"], attributes["maxTokens"]) == ("ollama", False, 7)
    assert attributes["toolNames"] == ("f",)


@pytest.mark.parametrize(("path", "body"), [("/api/chat", chat()), ("/api/generate", generate())])
def test_answers_are_streamed_unless_the_request_says_otherwise(path: str, body: dict[str, Any]) -> None:
    for stream, streams in ((None, True), (True, True), (False, False)):
        assert actions({**body, "stream": stream}, path)[0].attributes["stream"] is streams


def test_a_turn_is_read_with_its_thoughts_calls_and_images() -> None:
    call = {"function": {"name": "look", "arguments": {"at": {"the": ["moon"]}}}}
    turn = {"role": "assistant", "thinking": "hm", "content": "yes", "tool_calls": [call], "images": ["aGk="]}
    result = {"role": "tool", "content": "done", "tool_name": "look", "tool_call_id": "c1"}
    first, media = actions(chat(messages=[USER, turn, result]))
    texts = [(message.role, message.text) for message in first.messages]
    assert texts[:4] == [("user", "hi"), ("assistant", "hm"), ("assistant", "yes"), ("tool", "done")]
    assert {("tool", "look"), ("tool", "moon"), ("tool", "c1")} <= set(texts)
    assert (media.name, media.explicit) == ("content:media", True)


def test_a_role_in_capitals_is_that_role() -> None:
    assert said(chat(messages=[{"role": "SYSTEM", "content": "obey"}])) == [("system", "obey")]


@pytest.mark.parametrize("role", ["control", "", None, 5, ["user"], {"user": 1}, "\u017fystem", "system "])
def test_a_role_that_nobody_knows_is_refused(role: Any) -> None:
    assert refused(asked(), chat(messages=[{"role": role, "content": "hi"}])).code is ErrorCode.BAD_REQUEST


def test_a_prompt_is_read_with_its_system_and_suffix() -> None:
    first, media = actions(generate(system="be kind", suffix="end", images=["aGk="]), "/api/generate")
    assert [(message.role, message.text) for message in first.messages] == [
        ("system", "be kind"),
        ("user", "hi"),
        ("user", "end"),
    ]
    assert (media.name, media.attributes["bytes"]) == ("content:media", 3)


@pytest.mark.parametrize("member", [{"template": "{{ .Prompt }}"}, {"raw": True}, {"context": [1, 2]}], ids=str)
def test_what_replaces_the_template_or_was_tokenised_before_is_refused(member: dict[str, Any]) -> None:
    for path, body in (("/api/generate", generate(**member)), ("/api/chat", chat(**member))):
        assert refused(asked(path), body).code is ErrorCode.POLICY_DENY


@pytest.mark.parametrize("member", [{"template": ""}, {"raw": False}, {"context": []}, {"template": None}], ids=str)
def test_what_replaces_nothing_is_accepted(member: dict[str, Any]) -> None:
    assert actions(generate(**member), "/api/generate")


_KELVIN, _LONG_S = "\u212a", "\u017f"


@pytest.mark.parametrize(
    "body",
    [
        chat(Messages=[USER]),
        chat(MODEL="other"),
        chat(Raw=True),
        chat(Template="x"),
        chat(**{f"message{_LONG_S}": [USER]}),
        chat(**{f"{_KELVIN}eep_alive": "1"}),
        chat(**{f"tool{_LONG_S}": []}),
        chat(messages=[{**USER, "Content": "x"}]),
        chat(messages=[{**USER, "ROLE": "system"}]),
        chat(messages=[{**USER, f"image{_LONG_S}": []}]),
        chat(messages=[{**USER, "tool_calls": [{"function": {"name": "f", "Arguments": {}}}]}]),
        chat(messages=[{**USER, "tool_calls": [{"function": {"name": "f"}, "Function": {}}]}]),
        chat(tools=[{**TOOL, "Function": {"name": "g"}}]),
        chat(tools=[{"type": "function", "function": {"name": "f", "NAME": "g"}}]),
        chat(tools=[{"type": "function", "function": {"name": "f", f"de{_LONG_S}cription": "g"}}]),
        chat(options={"Num_Predict": 1}),
    ],
    ids=str,
)
def test_a_name_in_another_case_is_refused_at_every_level(body: dict[str, Any]) -> None:
    refusal = refused(asked(), body)
    assert (refusal.code, "did you mean" in refusal.reason) == (ErrorCode.BAD_REQUEST, True)


def test_each_letter_that_go_folds_into_ascii_is_folded_here() -> None:
    # encoding/json compares names by unicode.SimpleFold; these two are all that it folds into ASCII letters.
    beyond = {
        letter for letter in map(chr, range(0x80, 0x2200)) if letter.casefold() in set("abcdefghijklmnopqrstuvwxyz")
    }
    assert beyond == {_KELVIN, _LONG_S}


@pytest.mark.parametrize(
    ("path", "body", "texts"),
    [
        ("/api/embed", {"model": "e", "input": "a"}, ["a"]),
        ("/api/embed", {"model": "e", "input": ["a", "b"], "options": {"stop": ["c"]}}, ["a", "b", "c"]),
        ("/api/embeddings", {"model": "e", "prompt": "a"}, ["a"]),
    ],
)
def test_what_is_embedded_is_read(path: str, body: dict[str, Any], texts: list[str]) -> None:
    (action,) = actions(body, path)
    assert (action.name, [message.text for message in action.messages]) == ("llm:embed", texts)


@pytest.mark.parametrize("name", ["model", "name"])
def test_a_model_is_shown_by_either_name(name: str) -> None:
    (action,) = actions({name: "m", "system": "x"}, "/api/show")
    assert (action.name, action.model, [message.text for message in action.messages]) == ("llm:models", "m", ["x"])
    assert refused(asked("/api/show"), {"model": "m", "name": "other"}).status == 400


@pytest.mark.parametrize(
    ("path", "body", "tool", "host"),
    [
        ("/api/web_search", {"query": "look this up", "max_results": 3}, "hosted:web_search", None),
        ("/api/web_fetch", {"url": "https://a.test/x"}, "hosted:web_fetch", "a.test"),
        ("/api/web_fetch", {"url": "a.test/x"}, "hosted:web_fetch", "a.test"),
    ],
)
def test_what_the_server_looks_up_needs_a_rule_of_its_own(path: str, body: Any, tool: str, host: str | None) -> None:
    first, hosted = actions(body, path)
    assert (hosted.tool, hosted.explicit, hosted.attributes.get("host")) == (tool, True, host)
    assert next(value for value in body.values()) in [message.text for message in first.messages]


@pytest.mark.parametrize("path", ["/", "/api/tags", "/api/version", "/api/ps"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_lists_and_health_have_no_body(path: str, method: str) -> None:
    assert [action.name for action in actions(b"", path, method=method)] == ["llm:models"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/blobs/sha256:abc"),
        ("HEAD", "/api/blobs/sha256:abc"),
        ("POST", "/api/me"),
    ],
)
def test_managing_models_is_refused_with_a_reason(method: str, path: str) -> None:
    refusal = refused(asked(path, method=method), {"model": "m"})
    assert (refusal.code, "managing models" in refusal.reason) == (ErrorCode.POLICY_DENY, True)


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/api/Chat", "/api/chat/", "//api/chat", "/api//chat", "/api", "/api/", "/api/generate;x"],
)
def test_every_other_path_is_unknown(path: str) -> None:
    assert refused(asked(path), chat()).code is ErrorCode.NOT_FOUND


def test_a_query_an_override_and_another_type_are_refused() -> None:
    assert refused(asked("/api/chat?x=1"), chat()).status == 400
    assert (
        refused(asked(headers={"content-type": "application/json", "x-http-method-override": "GET"}), chat()).status
        == 400
    )
    assert refused(asked(headers={"content-type": "text/plain"}), chat()).status == 415


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": [USER]}),
        ("/api/chat", chat(messages="hi")),
        ("/api/chat", chat(messages=["hi"])),
        ("/api/chat", chat(messages=[{"role": "user", "content": ["hi"]}])),
        ("/api/chat", chat(messages=[{**USER, "images": "aGk="}])),
        ("/api/chat", chat(messages=[{**USER, "images": [5]}])),
        ("/api/chat", chat(messages=[{**USER, "tool_calls": {}}])),
        ("/api/chat", chat(tools=[{}])),
        ("/api/chat", chat(stream="no")),
        ("/api/chat", chat(options=[])),
        ("/api/generate", {"model": "m", "prompt": ["x"]}),
        ("/api/embed", {"model": "m"}),
        ("/api/embed", {"model": "m", "input": [[1, 2]]}),
        ("/api/embeddings", {"model": "m"}),
        ("/api/show", {}),
        ("/api/web_fetch", {"url": "file:///etc/passwd"}),
        ("/api/web_fetch", {}),
    ],
    ids=str,
)
def test_a_body_that_ollama_would_not_understand_is_refused(path: str, body: Any) -> None:
    assert refused(asked(path), body).code is ErrorCode.BAD_REQUEST


def _client(answer: httpx.Response, kept: list[httpx.Request]) -> ollama.Client:
    def keep(sent: httpx.Request) -> httpx.Response:
        kept.append(sent)
        return answer

    return ollama.Client(host="http://ollama.test", transport=httpx.MockTransport(keep))


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.chat(
            "m",
            messages=[
                {"role": "system", "content": "mark-system"},
                {"role": "user", "content": "mark-user", "images": [b"mark"]},
                {
                    "role": "assistant",
                    "thinking": "mark-thought",
                    "tool_calls": [{"function": {"name": "mark-f", "arguments": {"a": {"b": ["mark-argument"]}}}}],
                },
                {"role": "tool", "content": "mark-result", "tool_name": "mark-f"},
            ],
            tools=[{"type": "function", "function": {"name": "mark-tool", "description": "mark-description"}}],
            options={"stop": ["mark-stop"], "num_predict": 3},
            format={"type": "object", "properties": {"x": {"description": "mark-schema"}}},
            keep_alive="mark-alive",
            think="high",
        ),
        lambda client: client.generate("m", "mark-prompt", suffix="mark-suffix", system="mark-system", format="json"),
        lambda client: client.embed("m", ["mark-a", "mark-b"]),
        lambda client: client.embeddings("m", "mark-a"),
        lambda client: client.show("mark-m"),
    ],
)
def test_every_text_that_the_sdk_is_given_is_read(call: Callable[[ollama.Client], Any]) -> None:
    kept: list[httpx.Request] = []
    with pytest.raises(ollama.ResponseError):
        call(_client(httpx.Response(404, json={"error": "none"}), kept))
    (sent,) = kept
    headers = {name.lower(): value for name, value in sent.headers.items()}
    seen = found(actions(sent.content, sent.url.path, headers=headers))
    written = strings(sent.content)
    assert written
    assert [text for text in written if text not in seen] == []


@pytest.mark.parametrize(("code", "status"), [(ErrorCode.POLICY_DENY, 403), (ErrorCode.RATE_LIMIT_EXCEEDED, 429)])
def test_a_refusal_is_what_the_sdk_raises(code: ErrorCode, status: int) -> None:
    reply = PROTOCOLS["ollama"].reply(asked(), denied(code=code, reason="not today"))
    answer = httpx.Response(reply.status, content=reply.body, headers=dict(reply.headers))
    with pytest.raises(ollama.ResponseError) as caught:
        _client(answer, []).chat("m", messages=[USER])
    assert (caught.value.status_code, caught.value.error) == (status, "not today (request id: req_1)")


def test_its_body_is_taken_where_the_provider_is_named() -> None:
    assert VENDORS["ollama"](chat())[0].attributes["provider"] == "ollama"


def test_the_protocol_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(PROTOCOLS["ollama"])).kind == "ollama"


_CALL: dict[str, Any] = {"function": {"name": "f", "arguments": {}}}
_BODIES: dict[str, Any] = {
    "chat": chat(messages=[{**USER, "tool_calls": [_CALL]}], tools=[_CALL], options={}),
    "generate": generate(options={}),
    "embed": {"model": "m", "input": "x"},
    "embeddings": {"model": "m", "prompt": "x"},
    "show": {"model": "m"},
    "web_search": {"query": "x"},
    "web_fetch": {"url": "https://a.test"},
}
_SHAPES: list[Any] = ["mark-1", ["mark-1"], {"x": "mark-1"}, [{"x": "mark-1"}]]


def _objects(value: Any) -> list[dict[str, Any]]:
    """Every object in a body, itself first."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in (value,) if isinstance(each, dict)] + [each for inner in below for each in _objects(inner)]


@pytest.mark.parametrize("path", _BODIES)
def test_a_text_in_any_member_of_any_object_is_read_or_all_is_refused(path: str) -> None:
    sets = [value for value in vars(wire).values() if isinstance(value, frozenset)]
    names = sorted({name for each in sets for name in each} | {"unheard_of"})
    missed, accepted = [], 0
    for index in range(len(_objects(_BODIES[path]))):
        for name in names:
            for shape in _SHAPES:
                body = copy.deepcopy(_BODIES[path])
                _objects(body)[index][name] = shape
                with contextlib.suppress(Refusal):
                    if "mark-1" not in found(actions(body, f"/api/{path}")):
                        missed.append((name, shape))
                    accepted += 1
    # Images are media, which a rule must name.
    assert [miss for miss in missed if miss != ("images", ["mark-1"])] == []
    assert accepted > 50


_KNOWN = "model messages role content images tools function name tool_calls options format system prompt input raw x"
_NAMES = st.sampled_from(_KNOWN.split())
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "user", "aGk=", "é\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60)
@given(
    st.dictionaries(_NAMES, _VALUES, max_size=5), st.sampled_from(["chat", "generate", "embed", "show", "web_fetch"])
)
def test_any_object_is_read_or_refused(body: dict[str, Any], path: str) -> None:
    with contextlib.suppress(Refusal):
        assert actions({"model": "m", **body}, f"/api/{path}")


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "deepseek-v3:CLOUD"])
@pytest.mark.parametrize(
    ("path", "more"), [("/api/chat", {"messages": []}), ("/api/generate", {}), ("/api/embed", {"input": "x"})]
)
def test_a_model_that_runs_elsewhere_has_to_be_named_by_a_rule(model: str, path: str, more: dict[str, Any]) -> None:
    found = read(asked(path), {"model": model, **more}).actions
    assert [(each.name, each.resource, each.explicit) for each in found[1:]] == [
        ("content:reference", f"cloud:{model}", True)
    ]

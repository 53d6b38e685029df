"""Servers that speak OpenAI's language, with what they have beyond it."""

from __future__ import annotations

from typing import Any

import pytest

from kalguard_core.codes import ErrorCode
from wire_support import read, refused, request

CHAT: dict[str, Any] = {"model": "llama", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/chat/completions", {**CHAT, "documents": [{"title": "x", "text": "SECRET"}]}, "prompt:check"),
        ("/v1/chat/completions", {**CHAT, "guided_grammar": "SECRET"}, "prompt:check"),
        ("/v1/chat/completions", {**CHAT, "chat_template_kwargs": {"extra": "SECRET"}}, "prompt:check"),
        ("/v1/completions", {"model": "m", "prompt": "SECRET"}, "prompt:check"),
        ("/v1/responses", {"model": "m", "input": "SECRET"}, "prompt:check"),
        ("/v1/rerank", {"model": "m", "query": "q", "documents": ["SECRET"]}, "llm:rerank"),
        ("/rerank", {"model": "m", "query": "q", "documents": [{"text": "SECRET"}]}, "llm:rerank"),
        ("/v2/rerank", {"model": "m", "query": "SECRET", "documents": []}, "llm:rerank"),
        ("/score", {"model": "m", "text_1": "q", "text_2": ["SECRET"]}, "llm:rerank"),
        ("/tokenize", {"model": "m", "prompt": "SECRET"}, "llm:count"),
        ("/tokenize", {"messages": [{"role": "user", "content": "SECRET"}]}, "llm:count"),
        ("/classify", {"model": "m", "input": ["SECRET"]}, "llm:classify"),
        ("/pooling", {"model": "m", "input": "SECRET"}, "llm:embed"),
    ],
)
def test_the_text_of_every_call_is_seen(path: str, body: Any, name: str) -> None:
    actions = read(request("compatible", path), body).actions
    assert (actions[0].name, actions[0].attributes["provider"]) == (name, "compatible")
    assert any("SECRET" in message.text for message in actions[0].messages)


def test_documents_have_their_own_role() -> None:
    (action,) = read(request("compatible", "/v1/chat/completions"), {**CHAT, "documents": ["found"]}).actions
    assert ("document", "found") in [(message.role, message.text) for message in action.messages]


@pytest.mark.parametrize(
    "path",
    ["/detokenize", "/v1/load_lora_adapter", "/key/generate", "/sleep", "/invocations", "/v1/threads", "/metrics"],
)
def test_what_no_agent_needs_is_unknown(path: str) -> None:
    assert refused(request("compatible", path), CHAT).code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    "name",
    [
        "models",
        "fallbacks",
        "extra_body",
        "chat_template",
        "plugins",
        "provider",
        "prompt_embeds",
        "Prompt_Id",
        "deployment_id",
        "headers",
        "lora_path",
        "tool_servers",
        "gcs_bucket_name",
        "venice_parameters",
    ],
)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/responses", {"model": "m", "input": "x"}),
        ("/v1/completions", {"model": "m", "prompt": "x"}),
        ("/v1/embeddings", {"model": "m", "input": "x"}),
        ("/rerank", {"model": "m", "query": "x"}),
    ],
)
def test_a_member_that_leads_elsewhere_is_refused_at_every_endpoint(name: str, path: str, body: dict[str, Any]) -> None:
    refusal = refused(request("compatible", path), {**body, name: ["x"]})
    assert refusal.code is ErrorCode.BAD_REQUEST
    assert name in refusal.reason


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
def test_a_list_of_models_is_no_model(path: str) -> None:
    body = {**CHAT, "input": "x", "model": "gpt-4o,claude"}
    assert refused(request("compatible", path), body).code is ErrorCode.BAD_REQUEST

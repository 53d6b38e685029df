"""What acts outside our sight although no tool of the request says so."""

from __future__ import annotations

from typing import Any

import pytest

from wire_support import read, request

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


def explicit(kind: str, path: str, body: Any) -> list[tuple[str | None, object]]:
    """The resource and host of each action that a rule has to name."""
    actions = read(request(kind, path), body).actions
    return [(action.resource, action.attributes.get("host")) for action in actions if action.explicit]


@pytest.mark.parametrize(
    ("model", "resources"),
    [
        ("gpt-4o", []),
        ("gpt-4o-search-preview-2025-03-11", ["hosted:web_search"]),
        ("openai/gpt-5-search-api", ["hosted:web_search"]),
        ("anthropic/claude-sonnet-4:online", ["hosted:web_search"]),
        ("anthropic/claude-sonnet-4:online:nitro", ["hosted:web_search"]),
        ("openai/o4-mini-deep-research", ["hosted:web_search"]),
        ("Perplexity/Sonar-Pro", ["hosted:web_search"]),
        ("groq/compound-mini", ["hosted:web_search", "hosted:code_interpreter"]),
        ("openai/gpt-4o@preset/mine", ["preset:mine"]),
    ],
)
def test_a_model_that_acts_by_itself_is_a_hosted_tool(model: str, resources: list[str]) -> None:
    wanted = [(resource, None) for resource in resources]
    assert explicit("compatible", "/v1/chat/completions", {**HELLO, "model": model}) == wanted
    assert explicit("compatible", "/v1/responses", {"input": "hello", "model": model}) == wanted


def test_who_computes_the_embedding_of_the_question_is_named_too() -> None:
    parameters = {
        "endpoint": "https://s.search.windows.net",
        "embedding_dependency": {"type": "endpoint", "endpoint": "https://evil.test/embeddings"},
    }
    body = {**HELLO, "data_sources": [{"type": "azure_search", "parameters": parameters}]}
    assert explicit("azure", "/openai/deployments/a/chat/completions", body) == [
        ("hosted:file_search", "s.search.windows.net"),
        ("hosted:file_search", "evil.test"),
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/openai/assistants", {"model": "m", "file_ids": ["file-1"]}),
        ("/openai/threads/t/messages", {"role": "user", "content": "hello", "file_ids": ["file-1"]}),
        ("/openai/threads", {"messages": [{"role": "user", "content": "hello", "file_ids": ["file-1"]}]}),
    ],
)
def test_files_of_the_first_assistants_are_references(path: str, body: Any) -> None:
    assert ("file:file-1", None) in explicit("azure", path, body)


def test_equal_pictures_are_counted_each() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://cdn.test/a.png"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [picture] * 3}]}
    prompt, media = read(request("openai", "/v1/chat/completions"), body).actions
    assert (prompt.attributes["mediaCount"], media.attributes["host"]) == (3, "cdn.test")


def test_skills_that_come_with_a_tool_are_media() -> None:
    source = {"type": "base64", "media_type": "application/zip", "data": "UEsDBAA="}
    environment = {"type": "container_auto", "skills": [{"type": "inline", "name": "s", "source": source}]}
    body = {"model": "m", "input": "hello", "tools": [{"type": "shell", "environment": environment}]}
    assert explicit("openai", "/v1/responses", body) == [("hosted:shell", None), ("application/zip", None)]


def test_a_url_in_the_place_of_data_is_somewhere_else() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "https://evil.test/a.wav", "format": "wav"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [sound]}]}
    assert explicit("compatible", "/v1/chat/completions", body) == [("audio/wav", "evil.test")]


def test_a_picture_to_rank_is_media() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://evil.test/a.png"}}
    body = {"model": "m", "query": "hello", "documents": [{"content": [picture]}]}
    assert explicit("compatible", "/v1/rerank", body) == [("image/*", "evil.test")]


@pytest.mark.parametrize(
    ("member", "resources"),
    [
        ({"vector_store_ids": ["vs_1"]}, ["vector_store:vs_1", "hosted:file_search"]),
        ({"vector_store_ids": []}, []),
        ({"cached_content": "cachedContents/1"}, ["cache:cachedContents/1"]),
        ({"enable_code_interpreter": True}, ["hosted:code_interpreter"]),
        ({"enable_code_interpreter": False}, []),
        ({"enable_enhancement": True}, ["hosted:web_search"]),
        ({"web_search": {"enable": True}}, ["hosted:web_search"]),
        ({"web_search": False}, []),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, ["hosted:shell"]),
    ],
)
def test_a_member_that_lets_a_gateway_look_things_up_is_named(member: dict[str, Any], resources: list[str]) -> None:
    wanted = [(resource, None) for resource in resources]
    assert explicit("compatible", "/v1/chat/completions", {**HELLO, "model": "m", **member}) == wanted


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 5, "n_predict": -1}, None),
        ({"max_tokens": 5, "max_completion_tokens": "700"}, None),
        ({"max_tokens": 5, "max_completion_tokens": 7e2}, None),
    ],
)
def test_a_limit_that_a_server_may_not_keep_is_none(limits: dict[str, Any], limit: int | None) -> None:
    first = read(request("compatible", "/v1/chat/completions"), {**HELLO, "model": "m", **limits}).actions[0]
    assert first.attributes.get("maxTokens") == limit

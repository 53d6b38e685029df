"""Azure OpenAI: the deployment in the path is the model, and the SDK's own paths are known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kalguard_core.codes import ErrorCode
from kalguard_core.request import AgentRequest
from kalguard_core.wire.registry import PROTOCOLS
from wire_support import denied, read, refused, request

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


def asked(path: str, **changes: Any) -> AgentRequest:
    return request("azure", path, **changes)


@pytest.mark.parametrize("model", [{}, {"model": "another"}, {"model": None}])
def test_the_deployment_in_the_path_is_the_model(model: dict[str, Any]) -> None:
    path = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    (action,) = read(asked(path), {**CHAT, **model}).actions
    assert (action.name, action.model, action.resource) == ("prompt:check", "my-gpt", "my-gpt")
    assert (action.attributes["provider"], action.attributes["model"]) == ("azure", "my-gpt")


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/openai/v1/chat/completions", {**CHAT, "model": "my-gpt"}, "my-gpt"),
        ("/openai/v1/responses?api-version=preview", {"model": "my-gpt", "input": "x"}, "my-gpt"),
        ("/openai/responses?api-version=2025-03-01-preview", {"model": "my-gpt", "input": "x"}, "my-gpt"),
        ("/openai/deployments/e/embeddings?api-version=1", {"input": "x"}, "e"),
        ("/openai/deployments/d/images/generations?api-version=1", {"prompt": "x"}, "d"),
        ("/openai/threads?api-version=1", {"messages": []}, None),
    ],
)
def test_both_generations_of_paths_are_known(path: str, body: Any, model: str | None) -> None:
    assert read(asked(path), body).actions[0].model == model


@pytest.mark.parametrize(
    "path",
    [
        "/openai/deployments/a/b/chat/completions",
        "/openai/deployments//chat/completions",
        "/openai/deployments/../chat/completions",
        "/openai/deployments/a%2Fb/chat/completions",
        "/openai/Deployments/a/chat/completions",
        "/openai/chat/completions",
        "/openai/deployments/a/extensions/chat/completions",
        "/v1/chat/completions",
    ],
)
def test_every_other_path_is_unknown(path: str) -> None:
    assert refused(asked(path), {**CHAT, "model": "m"}).code is ErrorCode.NOT_FOUND


def test_only_the_version_stands_in_the_query() -> None:
    path = "/openai/deployments/a/chat/completions?api-version=1&deployment=b"
    assert refused(asked(path), CHAT).code is ErrorCode.BAD_REQUEST


def test_your_own_data_is_a_hosted_search_of_the_host_it_names() -> None:
    source = {
        "type": "azure_search",
        "parameters": {"endpoint": "https://s.search.windows.net", "index_name": "i", "role_information": "SECRET"},
    }
    prompt, search = read(asked("/openai/deployments/a/chat/completions"), {**CHAT, "data_sources": [source]}).actions
    assert (search.tool, search.attributes["host"], search.explicit) == (
        "hosted:file_search",
        "s.search.windows.net",
        True,
    )
    assert "SECRET" in [message.text for message in prompt.messages]
    for name in ("dataSources", "datasources", "Data_Sources"):
        refusal = refused(asked("/openai/deployments/a/chat/completions"), {**CHAT, name: [source]})
        assert refusal.code is ErrorCode.BAD_REQUEST


def test_a_realtime_connection_names_its_deployment() -> None:
    path = "/openai/realtime?api-version=1&deployment=rt"
    (action,) = read(asked(path, method="GET", headers={"upgrade": "websocket"})).actions
    assert (action.name, action.model, action.explicit) == ("llm:realtime", "rt", True)


def test_a_refusal_has_the_shape_that_the_sdk_reads() -> None:
    reply = PROTOCOLS["azure"].reply(
        asked("/openai/v1/models"), denied(code=ErrorCode.PROMPT_BLOCKED, reason="because")
    )
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"]) == (403, "prompt_blocked")
    assert error["message"] == "because (request id: req_1)"

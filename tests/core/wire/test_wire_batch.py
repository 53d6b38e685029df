"""Many requests in one body become as few actions as say the same, and no fewer."""

from __future__ import annotations

from typing import Any

from kalguard_core.action import Action
from kalguard_core.request import AgentRequest
from wire_support import read, request

IMAGE: dict[str, Any] = {"type": "image", "source": {"type": "url", "url": "https://cdn.example/x.png"}}


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": text}], **more}


def batch(*messages: dict[str, Any]) -> tuple[AgentRequest, dict[str, Any]]:
    requests = [{"custom_id": f"r{index}", "params": params} for index, params in enumerate(messages)]
    return request("anthropic", "/v1/messages/batches"), {"requests": requests}


def actions(*messages: dict[str, Any]) -> tuple[Action, ...]:
    return read(*batch(*messages)).actions


def test_a_thousand_prompts_for_one_model_are_one_action_with_all_their_text() -> None:
    whole, prompts = actions(*(message(f"question {index}") for index in range(1000)))
    assert whole.name == "llm:batch"
    assert prompts.name == "prompt:check"
    assert [each.text for each in prompts.messages] == [f"question {index}" for index in range(1000)]
    assert prompts.attributes["messageCount"] == 1000
    assert prompts.messages[7].where == ("requests", 7, "params", "messages", 0, "content")


def test_another_model_is_another_action() -> None:
    models = [each.model for each in actions(message("a"), message("b", model="claude-y"))]
    assert models == [None, "claude-x", "claude-y"]


def test_what_is_attached_from_two_hosts_stays_two_actions() -> None:
    other = {"type": "image", "source": {"type": "url", "url": "https://evil.example/x.png"}}
    turns = [{**message(""), "messages": [{"role": "user", "content": [part]}]} for part in (IMAGE, other, IMAGE)]
    found = [each for each in actions(*turns) if each.name == "content:media"]
    assert sorted(str(each.attributes["host"]) for each in found) == ["cdn.example", "evil.example"]


def test_a_hosted_tool_with_other_arguments_stays_another_action() -> None:
    tools = [[{"type": "web_search_20250305", "name": "web_search", "max_uses": uses}] for uses in (1, 2, 1)]
    found = [each for each in actions(*(message("x", tools=each) for each in tools)) if each.tool]
    assert len(found) == 2


def test_names_of_offered_tools_are_joined() -> None:
    tools = [[{"name": name, "input_schema": {"type": "object"}}] for name in ("one", "two")]
    prompt = actions(*(message("x", tools=each) for each in tools))[1]
    assert prompt.attributes["toolNames"] == ("one", "two")
    assert prompt.attributes["toolCount"] == 2


def test_a_request_without_a_limit_does_not_hide_behind_one_that_has_it() -> None:
    lines = [{"model": "m", "prompt": "x", **limit} for limit in ({"max_tokens": 9}, {}, {"max_tokens": 5})]
    body = {"endpoint": "/v1/fim/completions", "requests": [{"body": line} for line in lines]}
    found = read(request("mistral", "/v1/batch/jobs"), body).actions
    assert [each.attributes.get("maxTokens") for each in found if each.name == "prompt:check"] == [9, None]

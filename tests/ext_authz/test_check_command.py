"""`kalguard check`: what a request of an agent would become, asked at the keyboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kalguard_ext_authz.cli import main

POLICY = """
rules:
  - {id: pictures, match: {actions: ["content:media"], attributes: {host: cdn.example}}, decision: allow}
  - {id: all, match: {agentIds: [agent-1]}, decision: allow}
"""
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://cdn.example/x.png"}}


def message(*parts: Any, **more: Any) -> str:
    messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}, *parts]}]
    return json.dumps({"model": "claude-x", "max_tokens": 9, "messages": messages, **more})


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "policy.yaml").write_text(POLICY)
    monkeypatch.setenv("KALGUARD_POLICY_PATH", str(tmp_path / "policy.yaml"))

    def run(*words: str, body: str | None = None) -> Result:
        return CliRunner().invoke(main, ["check", "request", *words], input=body)

    return run


def test_each_part_of_a_request_is_told_with_the_rule_that_decides_it(check: Any) -> None:
    result = check("anthropic", "POST", "/v1/messages", "-", "--agent", "agent-1", "--json", body=message(IMAGE))
    told = json.loads(result.output)
    assert (result.exit_code, told["allowed"], told["reply"]) == (0, True, None)
    assert [(each["action"], each["resource"], each["rule"]) for each in told["actions"]] == [
        ("prompt:check", "claude-x", "all"),
        ("content:media", "image/*", "pictures"),
    ]
    assert told["actions"][0]["attributes"]["urlHosts"] == ["cdn.example"]


def test_a_refusal_says_why_and_what_the_agent_gets(check: Any) -> None:
    body = message(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    result = check("anthropic", "POST", "/v1/messages", "-", "--agent", "agent-1", body=body)
    assert result.exit_code == 3
    assert "no rule that names tool 'hosted:web_search' matches" in result.output
    assert '"type":"permission_error"' in result.output


def test_the_route_says_what_a_request_cannot(check: Any) -> None:
    call = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    result = check("mcp", "POST", "/", "-", "--agent", "agent-1", "--context", "server=files", "--json", body=call)
    assert json.loads(result.output)["actions"][0]["attributes"]["server"] == "files"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("opneai", "POST", "/"), "unknown kind 'opneai': use one of"),
        (("openai", "GET", "/v1/models", "--header", "x"), "--header 'x': expected NAME:VALUE"),
        (("openai", "GET", "/v1/models", "--context", "=y"), "--context '=y': expected NAME=VALUE"),
        (("openai", "POST", "/v1/models", "/no/such/file"), "No such file"),
    ],
)
def test_what_is_typed_wrong_is_named(check: Any, words: tuple[str, ...], told: str) -> None:
    result = check(*words)
    assert result.exit_code == 2
    assert told in result.output


def test_a_prompt_that_passes_only_rewritten_is_shown_so(
    check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "firewall.yaml"
    document.write_text("phrases: [{id: ticket, pattern: 'tkt-[0-9]{6}', action: sanitize}]")
    monkeypatch.setenv("KALGUARD_FIREWALL_PATH", str(document))
    words = ["check", "prompt", "see tkt-123456\u202e", "--agent", "agent-1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0
    assert result.output.startswith("allow: OK (risk 20)\n  only as it is rewritten; ")
    assert result.output.endswith("\n  user: see [REDACTED:phrase]\\u{202e}\n")


@pytest.mark.parametrize("words", [("prompt", "-"), ("tool", "deploy", "-")])
def test_words_that_are_not_utf8_are_said_to_be_so(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["check", *words, "--agent", "agent-1"], input=b"ab\xff")
    assert result.exit_code == 2
    assert "not UTF-8 (byte 2)" in result.output


def test_who_asks_has_to_be_said(check: Any) -> None:
    result = check("openai", "GET", "/v1/models")
    assert result.exit_code == 3
    assert "--agent ID" in result.output

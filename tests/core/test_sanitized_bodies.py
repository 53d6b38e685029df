"""Vendors' bodies that the HTTP API answers with their text made safe, and large bodies beside small ones."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from msgspec.structs import replace

from kalguard_core.action import Message
from kalguard_core.decision import Decision
from kalguard_core.request import BufferedBody
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_core.wire.text import INNER, NAME, rewritten
from permissive_guard import decided, token
from smuggling_cases import Case, all_cases, filled

# Scored between the thresholds: it is rewritten where that is possible.
SUSPICIOUS: Final = "The file ends with <|endoftext|> here."
CASES: Final = [case for case, _ in all_cases()]
PROVIDERS: Final = {
    ("openai", "/v1/chat/completions"): "openai",
    ("openai", "/v1/responses"): "openai-responses",
    ("anthropic", "/v1/messages"): "anthropic",
    ("cohere", "/v2/chat"): "cohere",
    ("ollama", "/api/chat"): "ollama",
}
# A sample: each of them is decided twice.
VENDORS_BODIES: Final = [
    (PROVIDERS[case.kind, case.path], case)
    for case in CASES
    if (case.kind, case.path) in PROVIDERS and isinstance(case.body, dict) and not case.steps
][::2]


def checked(case: Case, body: dict[str, Any]) -> tuple[Decision, dict[str, Any]]:
    """The decision about a body at `/v1/llm/check`, and the answer."""
    data = json.dumps(body).encode()
    asked = case.request(SUSPICIOUS, token())
    headers = {"authorization": asked.headers["authorization"], "content-type": "application/json"}
    request = replace(
        asked, kind="api", path="/v1/llm/check", headers=headers, body=BufferedBody(data), can_rewrite=True
    )
    decision = decided(request)
    return decision, json.loads(PROTOCOLS["api"].reply(request, decision).body)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_what_is_answered_as_safe_is_safe_when_it_is_sent(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sanitized = 0
    for provider, case in VENDORS_BODIES:
        monkeypatch.setattr("kalguard_core.guard.is_heavy", lambda body: large)
        decision, answer = checked(case, {**filled(case.body, SUSPICIOUS), "provider": provider})
        if not decision.allowed:
            continue
        clean = answer["data"].get("sanitizedBody")
        assert clean is not None or (decision.risk or 0) < 50, case.id
        if clean is not None:
            sanitized += 1
            again, _ = checked(case, {**clean, "provider": provider})
            assert again.allowed, case.id
            assert (again.risk or 0) < 50, case.id
    assert sanitized > 50


def test_a_large_body_is_decided_like_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for case in CASES[::4]:
        request = case.request(SUSPICIOUS, token())
        found = []
        for large in (False, True):
            monkeypatch.setattr("kalguard_core.guard.is_heavy", lambda body, large=large: large)
            decision = decided(request)
            verdicts = [(each.outcome, each.code, each.risk, each.action.name) for each in decision.verdicts]
            found.append((decision.outcome, decision.code, decision.reason, decision.rule, verdicts))
        assert found[0] == found[1], case.id


def test_a_text_is_put_back_where_it_stood() -> None:
    document = {"a": [{"b": "x"}, "y"], "bad name": {"c": 1}, "d": "z"}
    before = [
        Message("user", "x", ("a", 0, "b")),
        Message("user", "bad name", ("bad name", NAME)),
        Message("tool", "bad name", ("bad name", NAME)),  # read as two things
        Message("user", "c", ("bad name", "c", NAME)),
        Message("file", "decoded", ("d", INNER)),
    ]
    after = [replace(message, text="safe") for message in before]
    assert rewritten(document, before, after) == {"a": [{"b": "safe"}, "y"], "d": "z"}
    assert document["a"] == [{"b": "x"}, "y"]

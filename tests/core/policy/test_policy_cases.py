"""The cases in `cases/*.yaml`: a policy, questions, and the wanted answers or the wanted error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kalguard_core.documents import DocumentError
from kalguard_core.policy import Policy, PolicyQuery, Risk, explain

CASES = [
    pytest.param(case, id=f"{file.stem}: {case['name']}")
    for file in sorted(Path(__file__).with_name("cases").glob("*.yaml"))
    for case in yaml.safe_load(file.read_text(encoding="utf-8"))
]


def query(ask: dict[str, Any]) -> PolicyQuery:
    return PolicyQuery(
        ask.get("agent", "agent-1"),
        ask.get("action", "prompt:check"),
        ask.get("resource"),
        ask.get("tool"),
        ask.get("attributes", {}),
        ask.get("metadata", {}),
    )


def risk_of(ask: dict[str, Any]) -> Risk | int | None:
    risk = ask.get("risk")
    if not isinstance(risk, dict):
        return risk
    return Risk(risk["score"], tuple(risk.get("categories", ())), tuple(risk.get("tags", ())))


@pytest.mark.parametrize("case", CASES)
def test_a_policy_answers_as_its_case_says(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(DocumentError) as caught:
            Policy.parse(case["policy"], "policy.yaml")
        error, wanted = caught.value, case["error"]
        assert (error.line, error.field) == (wanted["line"], wanted["field"]), str(error)
        assert wanted["problem"] in error.problem
        place = f"policy.yaml:{error.line}: "
        assert str(error) == place + (f"{error.field}: " if error.field else "") + error.problem
        assert "\n" not in str(error)
        return
    policy = Policy.parse(case["policy"], "policy.yaml")
    for ask in case["asks"]:
        match = policy.evaluate(query(ask), risk_of(ask))
        assert explain(policy, query(ask), risk_of(ask)).match == match
        if ask["wants"] == "risk":
            assert match is None, ask
            continue
        assert match is not None, ask
        decision, rule, *reason = ask["wants"]
        assert (match.outcome.value, match.rule) == (decision, rule), ask
        assert reason in ([], [match.reason])
        if "firewall" in ask:
            assert match.firewall == ask["firewall"], ask
        assert (match.on_unrewritable or "deny") == ask.get("on_unrewritable", "deny")

"""What asking a policy costs, beside a loop that tries rule after rule.

Run: python benchmarks/policy_matching.py [RULES…]

Both answer the same questions in the same run, and must agree. The loop is the plain way to write a first-match
policy: for each rule, test each condition, stop at the first that fails. "p50" and "p99" are over single questions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from statistics import quantiles
from time import perf_counter_ns
from typing import Any

from kalguard_core.policy import Match, Policy, PolicyQuery
from kalguard_core.policy.conditions import MATCH_KEYS

SIZES = (10, 100, 1_000, 10_000)
QUESTIONS = 2_000
SLOW_QUESTIONS = 50
Questions = list[PolicyQuery]


@dataclass(frozen=True)
class Scenario:
    """`match`: of rule n. `ask`: question k of a policy with so many rules."""

    name: str
    match: Callable[[int], dict[str, Any]]
    ask: Callable[[int, int], PolicyQuery]


def _triple(number: int) -> dict[str, Any]:
    return {"agentIds": [f"agent-{number}"], "actions": ["tool:execute"], "tools": [f"tool-{number}"]}


def _prefix(number: int) -> dict[str, Any]:
    return {"agentIds": [f"team-{number:05}-*"], "actions": ["tool:*"]}


def _attributes(number: int) -> dict[str, Any]:
    return {"attributes": {"model": f"model-{number}", "messageCount": {"lte": number + 1}}}


def _metadata(number: int) -> dict[str, Any]:
    return {"metadata": {"team": [f"team-{number}", f"squad-{number}"]}}


def _infix(number: int) -> dict[str, Any]:
    return {"tools": [f"*-{number:05}-*"]}


def _query(agent: str = "agent", tool: str | None = None, **rest: Any) -> PolicyQuery:
    return PolicyQuery(agent, "tool:execute", tool, tool, **rest)


SCENARIOS = (
    Scenario("agent+action+tool, last rule", _triple, lambda _, n: _query(f"agent-{n - 1}", f"tool-{n - 1}")),
    Scenario("agent+action+tool, any rule", _triple, lambda k, n: _query(f"agent-{k % n}", f"tool-{k % n}")),
    Scenario("agent+action+tool, no match", _triple, lambda k, n: _query(f"agent-{k % n}", "tool-x")),
    Scenario("agent prefix, last rule", _prefix, lambda _, n: _query(f"team-{n - 1:05}-a")),
    Scenario("agent prefix, new agent each time", _prefix, lambda k, n: _query(f"team-{k % n:05}-{k}")),
    Scenario("agent prefix, no match", _prefix, lambda _, __: _query("stranger")),
    Scenario(
        "attributes, last rule",
        _attributes,
        lambda _, n: _query(attributes={"model": f"model-{n - 1}", "messageCount": n, "stream": True}),
    ),
    Scenario(
        "attributes, no match",
        _attributes,
        lambda _, __: _query(attributes={"model": "other", "messageCount": 1, "stream": True}),
    ),
    Scenario("metadata list, last rule", _metadata, lambda _, n: _query(metadata={"team": ["x", f"squad-{n - 1}"]})),
    Scenario("*infix*, last rule, tool seen before", _infix, lambda _, n: _query(tool=f"a-{n - 1:05}-b")),
    Scenario("*infix*, new tool each time", _infix, lambda k, n: _query(tool=f"a-{k % n:05}-{k}")),
)


def loop(policy: Policy, query: PolicyQuery) -> Match:
    """First match, rule after rule."""
    for rule in policy.rules:
        for condition in rule.conditions:
            values = MATCH_KEYS[condition.key].values(query, condition.name)
            if not any(condition.test.matches(value) for value in values):
                break
        else:
            return rule.match
    return policy.default


def _ask(policy: Policy, query: PolicyQuery) -> Match | None:
    return policy.evaluate(query, None)


def percentiles(ask: Callable[[PolicyQuery], object], questions: Questions) -> tuple[float, float]:
    """p50 and p99 in µs."""
    times = []
    for question in questions:
        start = perf_counter_ns()
        ask(question)
        times.append((perf_counter_ns() - start) / 1_000)
    cuts = quantiles(times, n=100)
    return cuts[49], cuts[98]


def main() -> None:
    """Print the table."""
    print("| rules | scenario | p50 µs | p99 µs | loop p50 µs | loop / ours |")
    print("|--:|:--|--:|--:|--:|--:|")
    for size in [int(argument) for argument in sys.argv[1:]] or SIZES:
        for scenario in SCENARIOS:
            rules = [{"match": scenario.match(n), "decision": "allow"} for n in range(size)]
            policy = Policy.parse(json.dumps({"rules": rules}), "benchmark")
            questions = [scenario.ask(k, size) for k in range(QUESTIONS)]
            few = list(islice(cycle(questions[:: QUESTIONS // SLOW_QUESTIONS]), SLOW_QUESTIONS))
            assert all(policy.evaluate(question, None) == loop(policy, question) for question in few)
            ours, ours_99 = percentiles(partial(_ask, policy), questions)
            theirs, _ = percentiles(partial(loop, policy), few)
            cells = f"{ours:.1f} | {ours_99:.1f} | {theirs:.0f} | {theirs / ours:.0f}"
            print(f"| {size} | {scenario.name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()

"""The set-based matcher against a naive reader of the same words, on generated policies and queries."""

from __future__ import annotations

import json
import tracemalloc
from functools import cache
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.codes import Outcome
from kalguard_core.policy import NO_POLICY_MATCH, Match, Policy, PolicyQuery, explain, warnings

LETTERS = st.text("ab*", max_size=4)
NAMES = st.sampled_from(["x", "y", "riskScore", "x.y"])
NUMBERS = st.sampled_from([-1, 0, 1, 1.0, 1.5, 2, 3])
WANTED_SCALARS = st.one_of(st.text("ab*", min_size=1, max_size=4), NUMBERS, st.booleans())
COMPARISONS = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS, min_size=1)
WANTED_VALUES = st.one_of(WANTED_SCALARS, st.lists(WANTED_SCALARS, min_size=1, max_size=3), COMPARISONS)
RISKS = st.one_of(st.sampled_from([0, 1, 2]), st.dictionaries(st.sampled_from(["gte", "lt"]), NUMBERS, min_size=1))
TEXT_LISTS = st.lists(st.text("ab*", min_size=1, max_size=4), min_size=1, max_size=3)
FOUND_SCALARS = st.one_of(
    LETTERS, NUMBERS, st.booleans(), st.none(), st.sampled_from([float("nan"), float("inf"), 10**400])
)
FOUND_VALUES = st.recursive(
    FOUND_SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(LETTERS, inner, max_size=2)),
    max_leaves=4,
)


@st.composite
def named_tests(draw: st.DrawFn) -> dict[str, Any]:
    tests = draw(st.dictionaries(NAMES, WANTED_VALUES, min_size=1, max_size=3))
    return {name: test for name, test in tests.items() if fits(test)} or {"x": 1}


@st.composite
def attribute_tests(draw: st.DrawFn) -> dict[str, Any]:
    tests = draw(named_tests())
    if "riskScore" in tests:
        risk = draw(RISKS)
        tests["riskScore"] = risk if fits(risk) and min(numbers(risk)) >= 0 else 1
    return tests


def numbers(test: Any) -> list[float]:
    return list(test.values()) if isinstance(test, dict) else [test]


def fits(test: Any) -> bool:
    """Whether some number is in the range; others are refused when the document is read."""
    if not isinstance(test, dict):
        return True
    return any(in_range(test, tenth / 10) for tenth in range(-30, 50))


MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "agentIds": TEXT_LISTS,
        "actions": TEXT_LISTS,
        "tools": TEXT_LISTS,
        "resources": TEXT_LISTS,
        "attributes": attribute_tests(),
        "metadata": named_tests(),
    },
)
DECISIONS = st.sampled_from(["allow", "deny", "require_approval"])
RULES = st.lists(st.fixed_dictionaries({"match": MATCHES, "decision": DECISIONS}), max_size=6)
POLICIES = st.fixed_dictionaries({"rules": RULES, "defaultDecision": DECISIONS})
QUERIES = st.builds(
    PolicyQuery,
    LETTERS,
    LETTERS,
    st.none() | LETTERS,
    st.none() | LETTERS,
    st.dictionaries(NAMES, FOUND_VALUES, max_size=4),
    st.dictionaries(NAMES, FOUND_VALUES, max_size=4),
)
RISK = st.none() | st.integers(0, 3)


def in_range(test: dict[str, float], value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    compare = {
        "gt": lambda bound: value > bound,
        "gte": lambda bound: value >= bound,
        "lt": lambda bound: value < bound,
        "lte": lambda bound: value <= bound,
    }
    return all(compare[name](bound) for name, bound in test.items())


def is_like(pattern: str, value: str) -> bool:
    @cache
    def rest(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(value)
        if pattern[i] == "*":
            return rest(i + 1, j) or (j < len(value) and rest(i, j + 1))
        return j < len(value) and pattern[i] == value[j] and rest(i + 1, j + 1)

    return rest(0, 0)


def is_wanted(test: Any, value: Any) -> bool:
    if isinstance(test, dict):
        return in_range(test, value)
    for wanted in test if isinstance(test, list) else [test]:
        if isinstance(wanted, str):
            if isinstance(value, str) and is_like(wanted, value):
                return True
        elif isinstance(wanted, bool) or isinstance(value, bool):
            if wanted is value:
                return True
        elif isinstance(value, int | float) and wanted == value:
            return True
    return False


def naive_rule(match: dict[str, Any], query: PolicyQuery, risk: int) -> bool:
    texts = {
        "agentIds": query.agent_id,
        "actions": query.action,
        "tools": query.tool,
        "resources": query.resource,
    }
    for key, value in texts.items():
        if key in match and not is_wanted(match[key], value):
            return False
    for name, test in match.get("attributes", {}).items():
        if name == "riskScore":
            if not is_wanted(test, risk):
                return False
        elif name not in query.attributes or not is_wanted(test, query.attributes[name]):
            return False
    for name, test in match.get("metadata", {}).items():
        value = query.metadata.get(name)
        if not any(is_wanted(test, item) for item in (value if isinstance(value, list) else [value])):
            return False
    return True


def naive(policy: dict[str, Any], query: PolicyQuery, risk: int | None) -> tuple[str, str | None] | None:
    for number, rule in enumerate(policy["rules"]):
        match = rule["match"]
        if risk is None and "riskScore" in match.get("attributes", {}):
            others = {name: test for name, test in match["attributes"].items() if name != "riskScore"}
            if naive_rule({**match, "attributes": others}, query, 0):
                return None
        elif naive_rule(match, query, risk or 0):
            return rule["decision"], f"rule-{number}"
    return policy["defaultDecision"], None


def answer(match: Match | None) -> tuple[str, str | None] | None:
    return None if match is None else (match.outcome.value, match.rule)


@settings(max_examples=120, deadline=None)
@given(POLICIES, st.lists(QUERIES, min_size=1, max_size=6), RISK)
def test_a_policy_answers_like_a_naive_reader_of_its_words(
    document: dict[str, Any], queries: list[PolicyQuery], risk: int | None
) -> None:
    policy = Policy.parse(json.dumps(document), "generated")
    for query in queries * 2:  # twice, so that what was remembered is asked, too
        wanted = naive(document, query, risk)
        assert answer(policy.evaluate(query, risk)) == wanted
        assert answer(explain(policy, query, risk).match) == wanted


@settings(max_examples=60, deadline=None)
@given(POLICIES, st.lists(QUERIES, min_size=1, max_size=10), st.integers(0, 3))
def test_a_rule_that_is_said_to_be_shadowed_never_decides(
    document: dict[str, Any], queries: list[PolicyQuery], risk: int
) -> None:
    policy = Policy.parse(json.dumps(document), "generated")
    for number, rule in enumerate(document["rules"]):
        shadow = policy.shadow_of(number)
        if shadow is None:
            continue
        earlier = next(index for index, found in enumerate(policy.rules) if found is shadow)
        assert earlier < number
        for query in queries:
            if naive_rule(rule["match"], query, risk):
                assert naive_rule(document["rules"][earlier]["match"], query, risk)


@settings(max_examples=200, deadline=None)
@given(st.text("ab*", min_size=1, max_size=8), st.text("ab*", max_size=12))
def test_a_pattern_matches_what_the_definition_of_the_asterisk_says(pattern: str, value: str) -> None:
    policy = Policy.parse(json.dumps({"rules": [{"match": {"tools": [pattern]}, "decision": "allow"}]}), "p")
    match = policy.evaluate(PolicyQuery("a", "b", tool=value), None)
    assert match is not None
    assert (match.outcome is Outcome.ALLOW) == is_like(pattern, value)


STRANGE: list[Any] = [
    None,
    True,
    1,
    0.5,
    float("nan"),
    float("-inf"),
    10**5000,
    "",
    "a" * 10**6,
    "\ud800",
    b"x",
    [],
    {},
    set(),
    object,
]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: repr(type(value)))
def test_no_value_of_an_agent_makes_a_policy_raise(value: Any) -> None:
    text = """
        rules:
          - {match: {agentIds: ["q*"], tools: ["*q", "q*q"], resources: [q]}, decision: allow}
          - {match: {attributes: {a: {gt: 3}, b: ["q*", 1]}}, decision: allow}
          - {match: {metadata: {a: {lt: -3}, b: ["q*", true]}}, decision: allow}
    """
    policy = Policy.parse(text, "p")
    values = {"a": value, "b": value, "c": value}
    lists = {"a": [value], "b": [value, value], "c": [value]}
    for metadata in (values, lists):
        query = PolicyQuery(value, value, value, value, values, metadata)
        assert policy.evaluate(query, None) == policy.default
        assert explain(policy, query, None).match == policy.default


def test_without_a_policy_the_answer_is_deny() -> None:
    assert Match(Outcome.DENY, None, "no policy loaded; fail closed", "deny") == NO_POLICY_MATCH


def test_the_version_is_the_start_of_the_hash_of_the_text() -> None:
    # printf 'rules: []' | sha256sum
    assert Policy.parse("rules: []", "p").version == "00eb8a0ecfec"
    assert Policy.parse("rules: [] ", "p").version != Policy.parse("rules: []", "p").version


def test_matching_is_linear_in_what_an_agent_sends() -> None:
    pattern = "*a" * 40 + "*b"
    policy = Policy.parse(json.dumps({"rules": [{"match": {"tools": [pattern]}, "decision": "allow"}]}), "p")
    start = perf_counter()
    match = policy.evaluate(PolicyQuery("a", "b", tool="a" * 1_000_000), None)
    assert match == policy.default
    assert perf_counter() - start < 1  # a backtracking matcher would need longer than the universe


def test_values_that_agents_invent_do_not_fill_the_memory() -> None:
    rules = [
        {"match": {"tools": [f"t{number}*x"], "attributes": {"m": "*y"}}, "decision": "allow"} for number in range(50)
    ]
    policy = Policy.parse(json.dumps({"rules": rules}), "p")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(5_000):
            name = f"{number}" + "z" * (number % 5_000)
            policy.evaluate(PolicyQuery("a", "b", tool=name, attributes={"m": name}), None)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000_000


def test_a_thousand_rules_are_matched_in_microseconds() -> None:
    rules = [
        {
            "match": {"agentIds": [f"agent-{n}"], "actions": ["tool:execute"], "tools": [f"tool-{n}"]},
            "decision": "allow",
        }
        for n in range(1_000)
    ]
    policy = Policy.parse(json.dumps({"rules": rules}), "p")
    query = PolicyQuery("agent-999", "tool:execute", tool="tool-999")
    times = []
    for _ in range(200):
        start = perf_counter()
        policy.evaluate(query, None)
        times.append(perf_counter() - start)
    assert sorted(times)[100] < 10e-6


def test_suspicious_rules_are_named_with_their_line() -> None:
    text = """\
defaultDecision: allow
rules:
  - {id: a, match: {agentIds: ["team-*"]}, decision: deny}
  - {id: b, match: {agentIds: [team-1, "team-2*"], tools: [x]}, decision: allow}
  - {id: c, match: {attributes: {n: {gte: 3}}}, decision: deny}
  - {id: d, match: {attributes: {n: {gt: 3, lt: 5}, m: 1}}, decision: allow}
  - {id: e, match: {attributes: {n: [3, 9]}}, decision: allow}
  - {id: f, match: {attributes: {n: [2, 9]}}, decision: allow}
  - {id: g, match: {attributes: {riskScore: {gte: 50}}}, decision: deny}
  - {id: h, match: {attributes: {riskScore: {gte: 60}}}, decision: allow}
  - {id: i, match: {attributes: {riskScore: {gte: 40}}}, decision: allow}
  - {id: j, decision: allow}
  - {id: k, match: {tools: [x]}, decision: allow}
"""
    found = [(warning.line, warning.rule, warning.text.split(":")[0]) for warning in warnings(Policy.parse(text, "p"))]
    assert found == [
        (1, None, "what no rule mentions is allowed (defaultDecision"),
        (4, "b", "never matches"),
        (6, "d", "never matches"),
        (7, "e", "never matches"),
        (10, "h", "never matches"),
        (12, "j", "allows every action of every agent"),
        (13, "k", "never matches"),
    ]


def test_a_sound_policy_has_no_warnings() -> None:
    text = """
        rules:
          - {match: {agentIds: [a], tools: [x]}, decision: allow}
          - {match: {agentIds: [a], tools: [y]}, decision: allow}
          - {match: {agentIds: [a, b]}, decision: allow}
          - {match: {attributes: {n: {gt: 1, lt: 5}}}, decision: allow}
          - {match: {attributes: {n: {gt: 1, lte: 5}}}, decision: allow}
          - {match: {attributes: {n: {gte: 1, lt: 5}}}, decision: allow}
          - {match: {attributes: {m: "a*b"}}, decision: allow}
          - {match: {attributes: {m: "a*"}}, decision: allow}
          - {match: {metadata: {team: [x, y]}}, decision: allow}
          - {match: {attributes: {team: x}}, decision: allow}
          - {decision: require_approval}
    """
    assert warnings(Policy.parse(text, "p")) == ()


def test_the_settings_default_counts_only_where_the_document_names_none() -> None:
    query = PolicyQuery("a", "b")
    assert answer(Policy.parse("rules: []", "p", default=Outcome.ALLOW).evaluate(query, None)) == ("allow", None)
    named = Policy.parse("{rules: [], defaultDecision: deny}", "p", default=Outcome.ALLOW)
    assert answer(named.evaluate(query, None)) == ("deny", None)

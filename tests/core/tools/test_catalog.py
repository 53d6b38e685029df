"""The tool catalog: what is listed may be called, in the shape that is listed, and nothing else."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.documents import DocumentError
from kalguard_core.limits import Limit
from kalguard_core.tools import ToolCatalog, ToolRefusal
from kalguard_core.tools.catalog import matches

ORIGINAL = """\
version: "1"
tools:
  get_weather: {schema: {location: {type: string, required: true}}}
  search: {schema: {query: {type: string, required: true}}}
  read_file: {schema: {path: {type: string, required: true}}, access: read}
"""


def catalog(text: str | dict[str, Any]) -> ToolCatalog:
    return ToolCatalog.parse(text if isinstance(text, str) else json.dumps(text), "tools.yaml")


def with_schema(schema: Any) -> ToolCatalog:
    return catalog({"tools": {"t": {"schema": schema, "commandCheck": False}}})


def reason(refusal: ToolRefusal | None) -> str | None:
    return None if refusal is None else refusal.reason


def test_the_empty_catalog_denies_every_tool() -> None:
    empty = ToolCatalog.empty()
    assert reason(empty.mediate("get_weather", {})) == "tool not on allowlist"
    assert (empty.version, empty.names, empty.limits("a", "t", None)) == ("", (), ())
    assert empty.capability("t") == "tool:execute"


@pytest.mark.parametrize(
    ("tool", "arguments", "wanted"),
    [
        ("get_weather", {"location": "Berlin"}, None),
        ("get_weather", {"location": "Berlin", "units": "metric", "n": 3}, None),
        ("get_weather", {"location": ""}, None),
        ("read_file", {"path": "/etc/passwd"}, None),
        ("search", {"query": "; nc -e /bin/sh"}, None),
        ("get_weather", {}, "argument schema validation failed"),
        ("get_weather", {"location": None}, "argument schema validation failed"),
        ("get_weather", {"location": 5}, "argument schema validation failed"),
        ("get_weather", {"Location": "Berlin"}, "argument schema validation failed"),
        ("get_weather", {"location": ["Berlin"]}, "argument schema validation failed"),
        ("Get_Weather", {"location": "Berlin"}, "tool not on allowlist"),
        ("get_weather ", {"location": "Berlin"}, "tool not on allowlist"),
        ("get_weаther", {"location": "Berlin"}, "tool not on allowlist"),
        ("", {}, "tool not on allowlist"),
        ("*", {}, "tool not on allowlist"),
        ("search", {"query": "x $(id)"}, "command denylist matched"),
        ("search", {"query": "a `id` b"}, "command denylist matched"),
        ("search", {"query": "bash -c id"}, "command denylist matched"),
        ("search", {"query": "x", "more": {"deep": ["eval(1)"]}}, "command denylist matched"),
        ("search", {"query": "x", "exec(1)": True}, "command denylist matched"),
    ],
)
def test_the_original_s_catalog_judges_a_call(tool: str, arguments: dict[str, Any], wanted: str | None) -> None:
    assert reason(catalog(ORIGINAL).mediate(tool, arguments)) == wanted


def test_the_list_form_means_the_same_as_the_mapping() -> None:
    listed = catalog("tools: [{name: a, access: write}, {name: b, rateLimit: 2}]")
    mapped = catalog("tools: {a: {access: write}, b: {rateLimit: 2}}")
    for one in (listed, mapped):
        assert one.names == ("a", "b")
        assert one.capability("a") == "tool:write"
        assert one.limits("x", "b", None) == (Limit("tool:1:x:b", 2),)


@pytest.mark.parametrize(
    ("access", "capability"), [("read", "tool:read"), ("write", "tool:write"), ("execute", "tool:execute")]
)
def test_the_catalog_may_ask_for_another_capability(access: str, capability: str) -> None:
    assert catalog({"tools": {"t": {"access": access}}}).capability("t") == capability


def test_the_version_is_twelve_hex_digits_of_the_text_s_sha256() -> None:
    assert catalog(ORIGINAL).version == hashlib.sha256(ORIGINAL.encode()).hexdigest()[:12]


def test_deny_wins_over_tools_and_takes_wildcards() -> None:
    tools = catalog({"tools": {"db_read": {}, "db_drop": {}}, "deny": ["*_drop", "shell_*"]})
    assert tools.mediate("db_read", {}) is None
    assert reason(tools.mediate("db_drop", {})) == "tool is on the deny list"
    assert reason(tools.mediate("shell_run", {})) == "tool is on the deny list"
    assert reason(tools.mediate("Shell_run", {})) == "tool not on allowlist"
    assert reason(tools.mediate("shell_" + "x" * 10_000, {})) == "tool not on allowlist"
    assert tools.names == ("db_read",)


@pytest.mark.parametrize(
    ("pattern", "name", "wanted"),
    [
        ("a", "a", True), ("a", "A", False), ("a", "ab", False), ("*", "", True), ("*", "x", True), ("a*", "a", True),
        ("a*a", "a", False), ("a*a", "aa", True), ("*b*", "abc", True), ("a*b*c", "axbyc", True),
        ("a*b*c", "axyc", False),
        ("ab*bc", "abc", False), ("**", "x", True), ("a?c", "abc", False), ("[a]", "a", False), ("", "", True),
    ],
)  # fmt: skip
def test_a_star_stands_for_any_characters_and_nothing_else_is_special(pattern: str, name: str, wanted: bool) -> None:
    assert matches(pattern, name) is wanted


@given(st.lists(st.text("ab", max_size=2), max_size=5), st.text("ab", max_size=8))
def test_wildcards_match_like_a_naive_reference(parts: list[str], name: str) -> None:
    def reference(pattern: str, rest: str) -> bool:
        if not pattern:
            return not rest
        if pattern[0] == "*":
            return any(reference(pattern[1:], rest[i:]) for i in range(len(rest) + 1))
        return bool(rest) and rest[0] == pattern[0] and reference(pattern[1:], rest[1:])

    assert matches("*".join(parts), name) is reference("*".join(parts), name)


def test_the_command_check_can_be_turned_off_for_one_tool() -> None:
    tools = catalog({"tools": {"shell": {"commandCheck": False}, "other": {}}})
    assert tools.mediate("shell", {"run": "bash -c id"}) is None
    assert reason(tools.mediate("other", {"run": "bash -c id"})) == "command denylist matched"


def test_details_name_places_and_rules_but_never_a_value() -> None:
    tools = catalog({"tools": {"t": {"schema": {"type": "object", "properties": {"a": {"items": {"maxLength": 3}}}}}}})
    refusal = tools.mediate("t", {"a": ["ok", "my-secret-value"]})
    assert refusal == ToolRefusal(
        "argument schema validation failed", "arguments.a[1]: rule properties/a/items/maxLength"
    )
    refusal = tools.mediate("t", {"b": "bash -c my-secret-value"})
    assert refusal == ToolRefusal("command denylist matched", "arguments.b: rule shell-command")
    refusal = tools.mediate("x\n" * 1000, {})
    assert refusal is not None
    assert len(refusal.detail) < 400
    assert "\n" not in refusal.detail


@pytest.mark.parametrize("kind", ["string", "number", "integer", "boolean", "object", "array"])
def test_the_flat_form_checks_the_type_of_each_listed_argument(kind: str) -> None:
    values: dict[str, Any] = {
        "string": "x", "number": 1.5, "integer": 1, "boolean": True, "object": {}, "array": [], "null": None,
    }  # fmt: skip
    tools = with_schema({"x": {"type": kind}})
    good = {kind} | ({"integer"} if kind == "number" else set())
    for name, value in values.items():
        assert (tools.mediate("t", {"x": value}) is None) is (name in good)
    assert tools.mediate("t", {}) is None


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "object", "required": ["a"]}, {"a": 1}, {}),
        ({"properties": {"a": {"type": "string"}}, "additionalProperties": False}, {"a": ""}, {"b": ""}),
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"minimum": 3}}}, {"a": 3}, {"a": 2}),
        ({"properties": {"a": {"format": "ipv4"}}}, {"a": "10.0.0.1"}, {"a": "x"}),
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "aa"}, {"a": "a" * 50_000 + "b"}),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": ["b"]}}, {"b": 1}, {"a": 1}),
        ({"properties": {"id": {"type": "integer"}, "x-y": {"type": "string"}}}, {"id": 1}, {"id": "1"}),
        ({"properties": {"a": {"const": None}}}, {"a": None}, {"a": 0}),
        ({"maxProperties": 1, "x-note": "vendor extension"}, {"a": 1}, {"a": 1, "b": 2}),
        ({}, {"anything": [None]}, None),
    ],
)
def test_json_schema_is_enforced(schema: dict[str, Any], good: dict[str, Any], bad: dict[str, Any] | None) -> None:
    tools = with_schema(schema)
    assert tools.mediate("t", good) is None
    if bad is not None:
        assert reason(tools.mediate("t", bad)) == "argument schema validation failed"


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"title": {"type": "string"}}, "schema.title: ambiguous"),
        ({"type": {"type": "string"}}, "schema.type: ambiguous"),
        ({"q": {"type": "string"}, "items": {"type": "array"}}, "schema.items: ambiguous"),
        ({"q": {"type": "text"}}, "schema.q.type: must be one of string"),
        ({"q": {"type": "string", "required": "yes"}}, "schema.q.required: must be true or false"),
        ({"q": {"type": "string", "maxLength": 3}}, "schema.q: neither a JSON Schema keyword nor an argument"),
        ({"q": {"required": True}}, "schema.q: neither a JSON Schema keyword nor an argument"),
        ({"typ": "object"}, "schema.typ: unknown JSON Schema keyword"),
        ({"type": "object", "propertes": {}}, "schema.propertes: neither"),
        ({"properties": {"a": {"maxLenght": 3}}}, "schema.properties.a.maxLenght: not a keyword"),
        ({"allOf": [{"nullable": True}]}, "schema.allOf[0].nullable: not a keyword"),
        ({"dependencies": {"a": ["b"]}}, "schema.dependencies: not a keyword of JSON Schema draft 2020"),
        ({"type": "objekt"}, "schema.type: not a usable JSON Schema"),
        ({"properties": {"a": {"pattern": "("}}}, "schema.properties.a.pattern: not a usable JSON Schema"),
        ({"properties": {"a": {"pattern": "(?=a)b"}}}, "linear time"),
        ({"properties": {"a": {"pattern": "(a)\\1"}}}, "linear time"),
        ({"patternProperties": {"(?!a)": {}}}, "linear time"),
        ({"properties": {"a": {"format": "nonsense"}}}, "not a usable JSON Schema"),
        ({"$ref": "http://127.0.0.1:1/schema.json"}, "another document"),
        ({"properties": {"a": {"$ref": "https://example.com/s.json"}}}, "another document"),
        ({"$ref": "file:///etc/passwd"}, "another document"),
        ({"$ref": "other.json"}, "another document"),
        ({"$ref": "#/$defs/missing"}, "not a usable JSON Schema"),
        ({"$schema": "http://example.com/mine", "type": "object"}, "not a usable JSON Schema"),
    ],
)
def test_a_schema_that_would_check_less_than_it_says_is_refused(schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(DocumentError) as error:
        with_schema(schema)
    assert str(error.value).startswith("tools.yaml:1: tools.t.schema")
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "tools.yaml:1: the document is empty"),
        ("[]", "tools.yaml:1: "),
        ("{}", "tools.yaml:1: tools: required key is missing"),
        ("tools: 5", "tools.yaml:1: tools: "),
        ("tools: {}\ntolls: {}", "tools.yaml:2: tolls: unknown key"),
        ("tools:\n  a: {acces: read}", "tools.yaml:2: tools.a.acces: unknown key"),
        ("tools:\n  a: {}\n  b: {access: admin}", "tools.yaml:3: tools.b.access: "),
        ("tools:\n  a: {rateLimit: 0}", "tools.yaml:2: tools.a.rateLimit: "),
        ("tools:\n  a: {rateLimit: '5'}", "tools.yaml:2: tools.a.rateLimit: "),
        ("tools:\n  a: {commandCheck: 'no'}", "tools.yaml:2: tools.a.commandCheck: "),
        ("tools:\n  a: {schema: 5}", "tools.yaml:2: tools.a.schema: "),
        ("tools:\n  a:\n", "tools.yaml:2: tools.a: "),
        ("tools:\n  a: {}\n  a: {}", "tools.yaml:3: tools.a: the key appears twice"),
        ("tools:\n  - name: a\n  - name: a", "tools.yaml:3: tools[1].name: the tool is listed twice"),
        ("tools:\n  - {}", "tools.yaml:2: tools[0].name: required key is missing"),
        ("tools:\n  'a*': {}", "tools.yaml:2: tools.a*: names in `tools` are exact"),
        ("tools:\n  ' a': {}", "tools.yaml:2: tools. a: a tool's name must be printable"),
        ("tools:\n  '': {}", "a tool's name must be printable"),
        ("tools: {}\nagentRateLimit: 0", "tools.yaml:2: agentRateLimit: "),
        ("tools: {}\ndeny: '*'", "tools.yaml:2: deny: "),
        ("tools: {}\ndeny: ['']", "tools.yaml:2: deny[0]: "),
    ],
)
def test_a_bad_document_is_an_error_with_line_and_field(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as error:
        catalog(text)
    assert str(error.value).startswith(message) or message in str(error.value)


def test_limits_are_those_of_the_catalog_and_the_settings_the_smaller_one_wins() -> None:
    tools = catalog({"tools": {"t": {"rateLimit": 3}, "u": {}}, "agentRateLimit": 10})
    assert tools.limits("a", "t", None) == (Limit("tool-agent:a", 10), Limit("tool:1:a:t", 3))
    assert tools.limits("a", "u", 20) == (Limit("tool-agent:a", 10),)
    assert tools.limits("a", "u", 5) == (Limit("tool-agent:a", 5),)
    assert catalog("tools: {u: {}}").limits("a", "u", None) == ()


@given(st.text(), st.text(min_size=1), st.text(), st.text(min_size=1))
@settings(deadline=None)
def test_no_two_agents_or_tools_share_a_key(agent: str, tool: str, other_agent: str, other_tool: str) -> None:
    def keys(agent: str, tool: str) -> tuple[str, ...]:
        entry = ToolCatalog.parse("tools: {t: {rateLimit: 1}}", "x")._tools["t"]
        made = ToolCatalog({tool: entry}, (), 1, "")
        return tuple(limit.key for limit in made.limits(agent, tool, None))

    one, other = keys(agent, tool), keys(other_agent, other_tool)
    assert (one == other) is ((agent, tool) == (other_agent, other_tool))
    assert (one[0] == other[0]) is (agent == other_agent)
    assert not {one[0], other[0]} & {one[1], other[1]}


@pytest.mark.parametrize(("agent", "tool", "other", "other_tool"), [("a:b", "c", "a", "b:c"), ("1:a", "b", "1", "a:b")])
def test_a_colon_in_a_name_moves_no_border(agent: str, tool: str, other: str, other_tool: str) -> None:
    tools = catalog({"tools": {tool: {"rateLimit": 1}, other_tool: {"rateLimit": 1}}})
    assert tools.limits(agent, tool, None) != tools.limits(other, other_tool, None)


@pytest.mark.parametrize("value", ["\ud800", 10**400, float("inf"), {1, 2}, object(), {5: 1}, b"x"])
def test_what_json_can_not_hold_is_refused_or_judged_but_raises_nothing(value: Any) -> None:
    with_schema({"a": {"type": "string"}}).mediate("t", {"a": value})
    with_schema({"type": "object", "required": ["a"]}).mediate("t", {"a": [value]})


@pytest.mark.parametrize("depth", [257, 5_000, 200_000])
def test_arguments_nested_too_deeply_are_refused_before_anything_recurses(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    schema = {"$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
    refusal = with_schema(schema).mediate("t", {"a": value})
    assert refusal == ToolRefusal("argument schema validation failed", "arguments: nested deeper than 256")


@given(st.text(max_size=200))
@settings(deadline=None)
def test_a_document_of_any_text_is_read_or_refused(text: str) -> None:
    try:
        catalog(text)
    except DocumentError:
        pass

"""`kalguard policy validate` and `kalguard policy explain`, as an operator runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kalguard_core.wire import registry
from kalguard_ext_authz.cli import main
from kalguard_ext_authz.cli.policy import known_actions

POLICY = """\
version: "1.0"
rules:
  - id: weather
    match: {agentIds: ["agent-*"], tools: [get_weather], metadata: {team: blue}}
    decision: allow
    reason: weather is public
  - id: risky
    match:
      attributes: {riskScore: {gte: 50}, model: "gpt-*", n: 3}
    decision: deny
  - id: weather-again
    match: {agentIds: [agent-1], tools: [get_weather], metadata: {team: blue}}
    decision: deny
defaultReason: nothing fits
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["policy", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_sound_policy_is_ok_and_says_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"rules": [{"match": {"agentIds": ["a"]}, "decision": "allow"}]}')
    result = run("validate", path)
    assert result.exit_code == 0
    assert re.fullmatch(r".*p\.json: OK: 1 rule, default deny, version [0-9a-f]{12}\n", result.stdout)


def test_a_shadowed_rule_is_a_warning(file: Path) -> None:
    result = run("validate", file)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{file}: OK: 3 rules, default deny, version ")
    assert lines[1:] == [
        f"{file}:11: warning: rule 'weather-again': never matches: rule 'weather' in line 3 matches all that it could"
    ]


def test_strict_makes_a_warning_a_failure(file: Path) -> None:
    assert run("validate", "--strict", file).exit_code == 1


def test_all_files_are_reported_and_one_bad_file_fails(file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("rules:\n  - match: {agentId: [x]}\n    decision: allow\n")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"rules: []\n# \xff\n")
    result = run("validate", bad, file, tmp_path / "none.yaml", binary, tmp_path)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{bad}:2: rules[0].match.agentId: unknown match key")
    assert lines[1].startswith(f"{file}: OK")
    assert lines[3] == f"{tmp_path / 'none.yaml'}:1: can't be read: No such file or directory"
    assert lines[4] == f"{binary}:2: not UTF-8: save the file in that encoding"
    assert "can't be read: Is a directory" in lines[5]


def test_validate_speaks_json(file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("rules: 3")
    result = run("validate", "--json", file, bad)
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    good, failed = report["files"]
    assert (good["ok"], good["rules"], good["default"]) == (True, 3, "deny")
    assert [warning["rule"] for warning in good["warnings"]] == ["weather-again"]
    assert failed["error"] == {"line": 1, "field": "rules", "problem": "must be a valid list, found a number"}


ASK = ["--agent", "agent-1", "--action", "tool:execute"]


def test_explain_names_the_rule_that_decides(file: Path) -> None:
    result = run("explain", file, *ASK, "--tool", "get_weather", "--metadata", "team=blue")
    assert result.exit_code == 0
    assert result.stdout == "allow: weather is public (rule 'weather' in line 3 decides)\n"


def test_explain_says_why_earlier_rules_do_not_match(file: Path) -> None:
    result = run("explain", file, *ASK, "--tool", "search", "--attribute", "model=gpt-4", "--attribute", "n=4")
    assert result.stdout.splitlines() == [
        "deny: nothing fits (no rule matches, the default decides)",
        "  rule 'weather' in line 3 does not match: tools must be get_weather, found 'search'",
        "  rule 'weather' in line 3 does not match: metadata.team must be blue, found nothing",
        "  rule 'risky' in line 7 does not match: attributes.n must be 3, found 4",
        "  rule 'weather-again' in line 11 does not match: tools must be get_weather, found 'search'",
        "  rule 'weather-again' in line 11 does not match: metadata.team must be blue, found nothing",
    ]


def test_explain_says_when_the_risk_decides(file: Path) -> None:
    risky = [*ASK, "--attribute", "model=gpt-4", "--attribute", "n=3"]
    asked = run("explain", file, *risky)
    assert asked.exit_code == 0
    assert asked.stdout.startswith("depends on the risk: rule 'risky' in line 7 asks for it; give one with --risk\n")
    assert run("explain", file, *risky, "--risk", 50).stdout.startswith("deny: rule: risky (rule 'risky' in line 7")
    assert "riskScore must be >= 50, found 49" in run("explain", file, *risky, "--risk", 49).stdout


def test_a_metadata_key_that_comes_twice_is_a_list(file: Path) -> None:
    result = run("explain", file, *ASK, "--tool", "get_weather", "--metadata", "team=red", "--metadata", "team=blue")
    assert result.stdout.startswith("allow:")


@pytest.mark.parametrize(
    ("pair", "decides"), [("n=3", "risky"), ("n=3.0", "risky"), ('n="3"', None), ("n=", None), ("n=on", None)]
)
def test_values_are_read_as_in_yaml(file: Path, pair: str, decides: str | None) -> None:
    result = run("explain", file, *ASK, "--attribute", "model=gpt-4", "--attribute", pair, "--risk", 90, "--json")
    answer = json.loads(result.stdout)
    assert answer["rule"] == decides
    assert answer["needsRisk"] is False
    assert [(tried["rule"], tried["matches"]) for tried in answer["tried"]][:2] == [
        ("weather", False),
        ("risky", decides == "risky"),
    ]


def test_explain_of_a_bad_policy_fails_with_its_place(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("rules: 3")
    result = run("explain", bad, *ASK)
    assert result.exit_code == 1
    assert f"{bad}:1: rules: must be a valid list, found a number" in result.stderr


@pytest.mark.parametrize("arguments", [["--attribute", "model"], ["--metadata", "=x"], ["--risk", "101"]])
def test_arguments_that_make_no_sense_are_usage_errors(file: Path, arguments: list[str]) -> None:
    assert run("explain", file, *ASK, *arguments).exit_code == 2


def test_explain_knows_what_a_rule_has_to_name(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("rules: [{id: all, match: {agentIds: [agent-1]}, decision: allow}]")
    result = run("explain", path, "--agent", "agent-1", "--action", "content:media", "--resource", "image/png")
    assert result.stdout.splitlines() == [
        "deny: default policy: no rule that names content:media matches (no rule matches, the default decides)",
        "  rule 'all' in line 1 does not count: to allow this, it must name the action or tool ('*' names none)",
    ]


def test_an_action_that_no_request_becomes_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "rules:\n"
        "  - {id: a, match: {actions: ['content:medai', 'llm:*', 'mcp:ping', 'a2a:*', '*']}, decision: deny}\n"
        "  - {id: b, match: {actions: ['tools:*'], agentIds: [x]}, decision: deny}\n"
    )
    warned = [line for line in run("validate", path).stdout.splitlines() if "no request" in line]
    assert warned == [
        f"{path}:2: warning: rule 'a': no request becomes the action 'content:medai' (did you mean content:media?)",
        f"{path}:3: warning: rule 'b': no request becomes the action 'tools:*'",
    ]


def test_the_tables_of_protocols_name_every_action_that_readers_make() -> None:
    made = set()
    for file in Path(registry.__file__).parent.glob("*.py"):
        made |= set(re.findall(r'"((?:llm|content|http|prompt|tool):[a-z]+)"', file.read_text(encoding="utf-8")))
    assert made
    assert made <= set(known_actions())

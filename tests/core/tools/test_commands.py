"""The command denylist: finds commands in any string of a tool call, and leaves text alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import process_time
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.tools.command_rules import RULES, When
from kalguard_core.tools.commands import MAX_STRINGS, Finding, command_denylist

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "commands.yaml").read_text(encoding="utf-8"))
DENYLIST = command_denylist()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        *"`$(){}|;&<>\"'\\%^ \n\t\x1f\x00",
        "sh",
        "bash",
        "-c",
        "id",
        "eval(",
        "%62",
        "\\x62",
        "YmFzaCAtYyBpZA==",
        "ｂ",
        "\u200b",
    ]
)


def found(text: str) -> str | None:
    return DENYLIST.find_in(text)


@pytest.mark.parametrize("text", CASES["malicious"])
def test_a_command_is_found(text: str) -> None:
    assert found(text) is not None


@pytest.mark.parametrize(
    "arguments",
    [
        {"argv": ["rm", "-rf", "/"]},
        {"argv": ["/bin/rm", "-r", "-f", "--", "../secrets"]},
        {"command": "rm", "args": ["-rf", "~"]},
    ],
)
def test_a_deletion_cut_into_a_list_of_arguments_is_found(arguments: dict[str, Any]) -> None:
    assert DENYLIST.find(arguments) is not None


@pytest.mark.parametrize("text", CASES["benign"])
def test_text_is_left_alone(text: str) -> None:
    assert found(text) is None


def test_the_table_is_large_enough_and_says_nothing_twice() -> None:
    for cases in CASES.values():
        assert len(cases) >= 120
        assert len(set(cases)) == len(cases)
    assert not set(CASES["malicious"]) & set(CASES["benign"])


@pytest.mark.parametrize("text", CASES["malicious"])
def test_a_command_is_found_inside_a_longer_text_and_at_any_depth(text: str) -> None:
    assert DENYLIST.find({"a": ["plain", {"b": [1, None, True, {"c": text}]}]}) is not None
    assert DENYLIST.find({text: 1}) is not None


@pytest.mark.parametrize("text", CASES["benign"])
def test_text_is_left_alone_among_other_text(text: str) -> None:
    assert DENYLIST.find({"title": "Notes", "text": text, "tags": ["a", "b"]}) is None


def test_the_finding_names_the_rule_and_the_path_and_no_value() -> None:
    finding = DENYLIST.find({"note": "hello", "steps": [{"run": "bash -c secret"}]})
    assert finding == Finding("shell-command", "arguments.steps[0].run")
    assert finding.describe() == "arguments.steps[0].run: rule shell-command"


def test_a_long_or_strange_key_does_not_get_into_the_path_as_it_is() -> None:
    finding = DENYLIST.find({"k\n" * 400: {"x": "bash -c id"}})
    assert finding is not None
    assert len(finding.path) < 200
    assert finding.path.isprintable()


@pytest.mark.parametrize(
    "arguments",
    [
        {"command": "bash", "args": ["-c", "id"]},
        {"args": ["-c", "id"], "command": "bash"},
        {"argv": ["/bin/sh", "-c", "id"]},
        {"argv": ["/usr/bin/env", "bash", "-lc", "id"]},
        {"argv": ["python3", "-c", "print(1)"]},
        {"program": "python3", "arguments": "-c print(1)"},
        {"argv": ["cmd.exe", "/c", "dir"]},
        {"argv": ["powershell", "-NoProfile", "-Command", "ls"]},
        {"argv": ["bash", "-o", "pipefail", "-c", "id"]},
        {"argv": ["ｂａｓｈ", "-c", "id"]},
        {"argv": ["b''ash", "-c", "id"]},
    ],
)
def test_a_command_split_over_several_strings_is_found(arguments: dict[str, Any]) -> None:
    assert DENYLIST.find(arguments) is not None


@pytest.mark.parametrize(
    "arguments",
    [
        {"language": "bash", "topic": "arrays"},
        {"languages": ["python", "node", "ruby"]},
        {"shell": "bash", "code": "ls"},
        {"sort": "-created", "shell": "fish"},
        {"open": "`a", "close": "id`"},
        {"sh": 1, "id": 2},
    ],
)
def test_names_of_shells_and_programs_are_no_commands(arguments: dict[str, Any]) -> None:
    assert DENYLIST.find(arguments) is None


def test_values_that_are_not_text_are_passed_over() -> None:
    assert DENYLIST.find({"a": 1, "b": 2.5, "c": None, "d": True, "e": [], "f": {}}) is None


def test_more_values_than_can_be_judged_are_a_finding() -> None:
    assert DENYLIST.find({"a": [""] * MAX_STRINGS}) == Finding("unjudgeable-values", "arguments")


def test_a_value_that_json_does_not_know_is_a_finding_since_it_might_hide_a_string() -> None:
    assert DENYLIST.find({"a": [MappingProxyType({"x": "bash -c id"})]}) == Finding("unjudgeable-values", "arguments")


def test_depth_costs_no_stack() -> None:
    value: Any = "bash -c id"
    for _ in range(5_000):
        value = [value]
    assert DENYLIST.find({"a": value}) is not None


def test_every_rule_but_the_hints_finds_something_in_the_table() -> None:
    names = {rule.name for rule in RULES if not rule.when & When.HINT} - {"run-option"}
    assert names == {found(text) for text in CASES["malicious"]}


def test_threads_may_use_one_denylist() -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(found, ["bash -c id", "what a nice day"] * 200))
    assert results == ["shell-command", None] * 200


@given(st.dictionaries(st.text(), JSON))
@settings(max_examples=60, deadline=None)
def test_no_arguments_make_an_exception(arguments: dict[str, Any]) -> None:
    DENYLIST.find(arguments)


@given(st.lists(PIECES).map("".join))
@settings(max_examples=300, deadline=None)
def test_no_pile_of_shell_syntax_makes_an_exception(text: str) -> None:
    DENYLIST.find({"a": text})


def test_a_lone_surrogate_makes_no_exception() -> None:
    assert DENYLIST.find({"a": "\ud800 bash -c id"}) is not None


MEBIBYTE = 1024 * 1024


def filled(piece: str) -> Callable[[], str]:
    return lambda: piece * (MEBIBYTE // len(piece.encode()))


LONG = [
    *(
        "a",
        " ",
        "\n",
        "`",
        "`a",
        "` ",
        "$(",
        "$(a",
        "$(a)",
        "%",
        "%2",
        "%41",
        "%25",
        "\\",
        "\\x41",
        "\\u0041",
        "'",
        '","',
    ),
    *(
        "^",
        "|",
        "| ",
        "|\n",
        "bash ",
        "bash -x ",
        "bash -",
        "eval",
        "eval ",
        "sudo ",
        "| sudo -a ",
        "nc 1 ",
        "/",
        "{",
        "<(",
    ),
    *(
        "=",
        "aaaaaaaaaaa ",
        "aaaaaaaaaaaaaaaa",
        "YmFzaCAtYyB4 ",
        "а",
        "аb",
        "\u200b",
        "中",
        "ﷺ",
        "x \n",
        "the `id` ",
        "find ",
    ),
    *("curl ", "-c\n", "echo ; ", "rm - ", "\x1f\n", "powershell ", "node -"),
]


@pytest.mark.parametrize("make", [pytest.param(filled(piece), id=ascii(piece)) for piece in LONG])
def test_a_mebibyte_of_anything_is_judged_in_linear_time(make: Callable[[], str]) -> None:
    text = make()
    start = process_time()
    DENYLIST.find({"a": text})
    # Measured: at most 0.05 s. The room is for slow machines; quadratic time would be minutes.
    assert process_time() - start < 0.6

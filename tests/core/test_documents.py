"""Operator documents: what is read, what is refused, and where errors point."""

from __future__ import annotations

import json
import re
from time import perf_counter
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from kalguard_core import documents
from kalguard_core.documents import Document, DocumentError, Place, StrictModel, field_name, load
from kalguard_core.policy import Policy


class Entry(StrictModel):
    name: str
    size: int | str = 1
    parts: list[str] | dict[str, int] = Field(default_factory=list)
    kind: Literal["a", "b"] = "a"


class File(StrictModel):
    entries: list[Entry]
    strict: bool = False


def error_of(text: str, model: type[StrictModel] | None = None) -> DocumentError:
    try:
        value = Document(text, "file").value if model is None else load(model, text, "file")
    except DocumentError as error:
        return error
    pytest.fail(f"read as {value}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: -1\nb: +2\nc: 0", {"a": -1, "b": 2, "c": 0}),
        ("a: 1.5\nb: .5\nc: 1e3\nd: -2.5E-1", {"a": 1.5, "b": 0.5, "c": 1000.0, "d": -0.25}),
        ("a: true\nb: False", {"a": True, "b": False}),
        ("a: null\nb: ~\nc:", {"a": None, "b": None, "c": None}),
        ("a: 2025-01-01\nb: 2025-01-01T00:00:00Z", {"a": "2025-01-01", "b": "2025-01-01T00:00:00Z"}),
        ('a: "1"\nb: \'true\'\nc: "on"\nd: ""', {"a": "1", "b": "true", "c": "on", "d": ""}),
        ("a: |\n  on\nb: >-\n  1", {"a": "on\n", "b": "1"}),
        ("a: y\nb: n\nc: 1.2.3\nd: -x", {"a": "y", "b": "n", "c": "1.2.3", "d": "-x"}),
        ("a: 10.0.0.1\nb: 9:99\nc: =", {"a": "10.0.0.1", "b": "9:99", "c": "="}),
        ("'on': 1\n\"<<\": 2", {"on": 1, "<<": 2}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("\ufeffa: 1", {"a": 1}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ('{\n\t"a":\t[1,2.0,"x",true,null,{"b":{}}],\n\t"c":"\\/\\u00e9"\n}', None),
    ],
)
def test_documents_mean_what_every_reader_says(text: str, value: Any) -> None:
    read = Document(text, "file").value
    if text.startswith("{"):
        value = json.loads(text)
    assert read == value
    assert json.dumps(read) == json.dumps(value)  # 1 == True and 1 == 1.0, so compare kinds, too


UNREADABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=100), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=100), JSON, max_size=4), st.booleans(), st.sampled_from([None, 2, "\t"]))
@example({"a": '\\ud83d"\\', "😀\\": "\\😀"}, True, None)
def test_json_is_read_as_json(value: dict[str, Any], ascii_only: bool, indent: int | str | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    if UNREADABLE.search(text):
        assert "is not allowed in a document" in error_of(text).problem
    else:
        assert Document(text, "file").value == value


@settings(max_examples=400, deadline=None)
@given(
    st.text(st.characters(codec=None), max_size=60)
    | st.text(" \n\t:-[]{},&*a!<#|>'\"%?~0_.@`\\ud\x85\u2028", max_size=40)
)
@example("\ud800")
@example('{"a": "\\ud800"}')
@example("&a [*a]")
@example("? *a")
@example("!!python/object/apply:os.system [id]")
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    last = max(1, len(text.splitlines()) + text.endswith("\n"))
    for read in (lambda: Document(text, "file").value, lambda: load(File, text, "file")):
        try:
            read()
        except DocumentError as error:
            found = error
            assert 1 <= found.line <= last
            assert str(found).startswith(f"file:{found.line}: ")


@pytest.mark.parametrize(
    ("text", "line", "field", "problem"),
    [
        ("", 1, "", "empty"),
        ("\n\n# x\n", 1, "", "empty"),
        ("a: 1\n---\nb: 2", 2, "", "second document"),
        ("a: 1\na: 2", 2, "a", "twice"),
        ("x:\n  - a: 1\n    b: 2\n    a: 3", 4, "x[0].a", "twice"),
        ('"a": 1\na: 2', 2, "a", "twice"),
        ("1: a", 1, "", "keys must be plain text"),
        ("a:\n  true: b", 2, "a", "keys must be plain text"),
        ("a:\n  ? [x]\n  : b", 2, "a", "keys must be plain text"),
        ("a:\n  ? {x: 1}\n  : b", 2, "a", "keys must be plain text"),
        ("? : b", 1, "", "keys must be plain text"),
        ("&k a: b", 1, "", "keys must be plain text"),
        ("a: &k k\n*k : b", 2, "", "keys must be plain text"),
        ("a:\n  on: b", 2, "a", 'write true, false or "on"'),
        ("a: &x {b: 1}\nc:\n  <<: *x", 3, "c", "merge keys"),
        ("a: Yes", 1, "a", 'write true, false or "Yes"'),
        ("a: [x,\n OFF]", 2, "a[1]", 'write true, false or "OFF"'),
        ("a: 017", 1, "a", "disagree about the number `017`"),
        ("a: 08", 1, "a", "disagree"),
        ("a: 0o17", 1, "a", "disagree"),
        ("a: 0x1F", 1, "a", "disagree"),
        ("a: 0b11", 1, "a", "disagree"),
        ("a: 1_000", 1, "a", "disagree"),
        ("a: 1_0.5", 1, "a", "disagree"),
        ("a: 12:30", 1, "a", "disagree"),
        ("a: 190:20:30.15", 1, "a", "disagree"),
        ("a: .nan", 1, "a", "not a finite number"),
        ("a: -.inf", 1, "a", "not a finite number"),
        ('{"a": NaN}', 1, "a", "not a finite number"),
        ('{"a": -Infinity}', 1, "a", "not a finite number"),
        ("a: 1e999", 1, "a", "too large"),
        ("a: " + "9" * 5000, 1, "a", "too long"),
        ("a: !!python/object/apply:os.system [id]", 1, "a", "tags"),
        ("a: !!str 1", 1, "a", "tags"),
        ("a: !!binary aGk=", 1, "a", "tags"),
        ("a: ! x", 1, "a", "tags"),
        ("!!map {a: 1}", 1, "", "tags"),
        ("!!str a: b", 1, "", "keys must be plain text"),
        ("a: *nobody", 1, "a", "has no anchor before it"),
        ("a: &x\n  b: *x", 2, "a.b", "inside itself"),
        ("a: &x 1\nb: &x 2", 2, "b", "the anchor &x appears twice"),
        ("a: &x [&x 1]", 1, "a[0]", "the anchor &x appears twice"),
        ("a: b\n\n\x00", 3, "", "U+0000"),
        ("a: \x1b[31m", 1, "", "U+001B"),
        ("a: \ud800", 1, "", "U+D800"),
        ("a: b\n\tc: d", 2, "", "not valid YAML or JSON"),
        ("a: {b\nc: [", 2, "", "not valid YAML or JSON"),
        ('{"a": 1', 1, "", "that starts in line 1"),
        ("[" * 100_000, 1, "[0][0][0]", "nested more than"),
        ("{a: " * 100_000, 1, "a.a.a", "nested more than"),
        ("- " * 100_000, 1, "[0][0][0]", "nested more than"),
    ],
)
def test_what_is_not_clear_is_refused_with_its_place(text: str, line: int, field: str, problem: str) -> None:
    error = error_of(text)
    assert (error.line, error.field) == (line, field), str(error)
    assert problem in error.problem


@pytest.mark.parametrize(
    ("text", "line", "field", "problem"),
    [
        ("- a", 1, "", "must be a mapping, found a list"),
        ("x", 1, "", "must be a mapping, found text"),
        ("---", 2, "", "must be a mapping, found null (nothing)"),
        ("strict: true", 1, "entries", "required key is missing"),
        ("entries: []\nother: 1", 2, "other", "unknown key"),
        (
            "entries:\n  - name: a\n    size: []",
            3,
            "entries[0].size",
            "must be a valid integer or a valid string, found a list",
        ),
        (
            "entries:\n  - name: a\n    parts: x",
            3,
            "entries[0].parts",
            "must be a valid list or a mapping, found text",
        ),
        (
            "entries:\n  - name: a\n    parts:\n      - x\n      - 2",
            5,
            "entries[0].parts[1]",
            "must be a valid string, found a number",
        ),
        (
            "entries:\n  - name: a\n    parts:\n      int: x",
            4,
            "entries[0].parts.int",
            "must be a valid integer, found text",
        ),
        ("entries:\n  - size: 1\n  - name: a", 2, "entries[0].name", "required key is missing"),
        ("entries:\n  - name: a\n    kind: c", 3, "entries[0].kind", "must be 'a' or 'b', found text"),
        ('strict: "true"\nentries: []', 1, "strict", "must be a valid boolean, found text"),
        ("strict: 1\nentries: []", 1, "strict", "must be a valid boolean, found a number"),
        ("entries:\n  - 1\nstrict: x", 2, "entries[0]", "found a number"),
        ("strict: x\nentries: 1", 1, "strict", "found text"),
        ("entries: [{name: &n 1}, {name: *n}]", 1, "entries[0].name", "must be a valid string, found a number"),
        ("x-names: &n\n  - size: 1\nentries: *n", 1, "x-names", "unknown key"),
    ],
)
def test_a_document_that_does_not_fit_its_model_says_where_first(
    text: str, line: int, field: str, problem: str
) -> None:
    error = error_of(text, File)
    assert (error.line, error.field) == (line, field), str(error)
    assert problem in error.problem


def test_what_is_inside_an_alias_is_at_the_line_of_the_alias() -> None:
    document = Document("a: &x\n  b: 1\nc: *x\n", "file")
    assert document.line(("a", "b")) == 2
    assert document.line(("c", "b")) == 3
    assert document.line(("nowhere", 3)) == 1


def test_a_place_points_at_a_value() -> None:
    place = Place(Document("a:\n  - b: 1\n", "file"), ("a",)).at(0, "b")
    assert place.line == 2
    assert str(place.error("wrong")) == "file:2: a[0].b: wrong"
    assert field_name(()) == ""


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    start = perf_counter()
    error = error_of("\n".join(lines))
    assert "aliases count as what they stand for" in error.problem
    assert (error.line, error.field) == (6, "a5[7]")
    assert perf_counter() - start < 1


def test_a_huge_document_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_CHARACTERS", 10)
    assert "longer than 10 characters" in error_of("a: 1234567890").problem
    monkeypatch.setattr(documents, "MAX_CHARACTERS", 1000)
    monkeypatch.setattr(documents, "MAX_VALUES", 10)
    error = error_of("a:\n" + "  - 1\n" * 10)
    assert (error.line, error.field) == (10, "a[8]")


def test_the_slow_reader_of_pyyaml_gives_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    text = "a: &x [1, on-line, 'b']\nc: *x\nd: {e: |\n  f}\n"
    fast = error_of(text)
    monkeypatch.setattr(documents, "_Loader", yaml.SafeLoader)
    slow = error_of(text)
    assert (slow.line, slow.field) == (fast.line, fast.field)
    assert Document("a: &x [1, 'b']\nc: *x", "file").value == {"a": [1, "b"], "c": [1, "b"]}


def test_a_misspelled_key_is_named_before_the_key_that_it_was_meant_to_be() -> None:
    with pytest.raises(DocumentError) as caught:
        Policy.parse("rules:\n  - id: a\n    decison: allow\n", "policy.yaml")
    assert str(caught.value).startswith("policy.yaml:3: rules[0].decison: unknown key")

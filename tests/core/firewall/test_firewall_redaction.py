"""Markers in place of what was found: one for what belongs together, whole, and nothing else changed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.action import Message
from kalguard_core.firewall import Span
from kalguard_core.firewall.redaction import MARKER, cut, redacted, without


def span(message: int, start: int, end: int) -> Span:
    return Span(message, start, end, "rule", "category", 60)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], "0123456789"),
        ([(2, 4)], "01#456789"),
        ([(0, 10)], "#"),
        ([(2, 4), (6, 8)], "01#45#89"),
        ([(2, 6), (4, 8)], "01#89"),
        ([(2, 4), (4, 6)], "01#6789"),
        ([(2, 8), (3, 5)], "01#89"),
        ([(6, 8), (2, 4)], "01#45#89"),
        ([(2, 4), (2, 4)], "01#456789"),
        ([(8, 10)], "01234567#"),
    ],
)
def test_overlapping_and_touching_places_become_one_marker(places: list[tuple[int, int]], expected: str) -> None:
    assert cut("0123456789", places, "#") == expected


@given(st.text(alphabet="abc", max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6))
def test_a_cut_keeps_what_a_slow_reference_keeps(text: str, ends: Sequence[tuple[int, int]]) -> None:
    places = [(min(pair), max(pair)) for pair in ends if min(pair) < max(pair) <= len(text)]
    gone = {index for start, end in places for index in range(start, end)}
    kept = "".join(char for index, char in enumerate(text) if index not in gone)
    assert cut(text, places, "#").replace("#", "") == kept
    runs = sum(index in gone and index - 1 not in gone for index in range(len(text)))
    assert cut(text, places, "#").count("#") == runs


def test_each_message_has_its_own_spans_and_keeps_its_role_and_place() -> None:
    messages = [Message("user", "abcdef", ("messages", 0)), Message("tool", "ghijkl", ("messages", 1))]
    cleaned = redacted(messages, [span(1, 0, 2), span(1, 4, 6)])
    assert cleaned == (messages[0], Message("tool", f"{MARKER}ij{MARKER}", ("messages", 1)))


@pytest.mark.parametrize("offset", range(-3, len(MARKER) + 4))
@pytest.mark.parametrize("size", [1, 5, len(MARKER), len(MARKER) + 7])
def test_a_marker_is_never_left_in_part(offset: int, size: int) -> None:
    text = f"before {MARKER} and behind it, some more"
    start = len("before ") + offset
    (cleaned,) = redacted([Message("user", text)], [span(0, start, start + size)])
    rest = cleaned.text.replace(MARKER, "")
    assert "[" not in rest
    assert "]" not in rest
    assert rest in text.replace(MARKER, "") or len(rest) < len(text)


def test_a_span_inside_a_marker_changes_nothing() -> None:
    message = Message("user", f"x {MARKER} y")
    assert redacted([message], [span(0, 5, 9)]) == (message,)


def test_without_takes_out_and_puts_nothing_in() -> None:
    messages = [Message("user", "a\u200bb\u200b\u200bc"), Message("user", "d")]
    assert [m.text for m in without(messages, [(0, 1, 2), (0, 3, 5)])] == ["abc", "d"]


def test_spans_that_no_message_has_are_passed_over() -> None:
    assert redacted([], [span(0, 0, 1)]) == ()
    assert redacted([Message("user", "abc")], [span(4, 0, 1)])[0].text == "abc"

"""What is quoted in a sentence, and what only has quotation marks around it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.firewall.quotations import MENTION, Quotations


def _quoted(data: bytes) -> bytes:
    quotations = Quotations(data)
    return bytes(byte if quotations.around(place, place + 1) else 0x5F for place, byte in enumerate(data))


@pytest.mark.parametrize("mark", ['"', "'", "`"])
def test_words_quoted_in_a_sentence_are_quoted_with_their_marks(mark: str) -> None:
    data = f"The old sign says {mark}keep left{mark} in red letters.".encode()
    first = data.index(mark.encode())
    last = data.rindex(mark.encode()) + 1
    assert _quoted(data) == b"_" * first + data[first:last] + b"_" * (len(data) - last)


@pytest.mark.parametrize(
    "text",
    [
        "I don't know what it's for, and they don't either",
        '{where: "on the second shelf from below in the northern store room, behind the door"}',
        '["on the second shelf from below in the northern store room, behind the old brown door"]',
        '<a href="http://example.org/a/page/of/our/museum/with/a/very/long/name.html?and=parameters">the page</a>',
        '"keep left"',
        'The sign says "keep left\nor right" in red letters.',
        'The sign says "' + "keep left " * 41 + '" in red letters.',
        'The sign says "no" in red letters, which is short.',
        "no marks at all",
        "",
    ],
)
def test_formats_apostrophes_and_lone_or_open_marks_quote_nothing(text: str) -> None:
    assert set(_quoted(text.encode())) <= {0x5F}


@pytest.mark.parametrize(
    "text",
    [
        '{"shelf": 2, "found in the store room": "keep left"}',
        'sign == "keep left" or sign == b(2) or sign in other_signs',
        '<img alt="keep left" width=400 height=300 class=sign>',
    ],
)
def test_what_is_short_is_quoted_by_formats_too(text: str) -> None:
    assert b'"keep left"' in _quoted(text.encode())


def test_what_another_role_says_makes_no_mention_and_no_sentence_of_a_quotation() -> None:
    short, long = b'"keep left"', b'"keep left, and go on behind the old store room until you see the brown door"'
    beside = b"The old sign is in the store room, behind the brown door."
    for text in (short, long):
        assert text in _quoted(beside + b" " + text + b" " + beside)
        assert set(_quoted(b"\n\x00\n".join((beside, text, beside)))) == {0x5F}


def test_a_quotation_is_as_long_as_its_marks_say_and_both_ends_have_to_stand_in_one() -> None:
    data = b'The old sign says "keep left" in red letters, and the new one "keep right" in green.'
    quotations = Quotations(data)
    assert quotations.around(data.index(b"keep"), data.index(b"left")) == len('"keep left"')
    assert quotations.around(data.index(b"left"), data.index(b"right")) == len('"keep right"')
    assert not quotations.around(data.index(b"says"), data.index(b"left"))
    assert not quotations.around(data.index(b"left"), data.index(b"in red"))


def test_longer_quotations_can_be_left_out() -> None:
    data = f'The sign says "keep left" in red letters and "{"keep right " * 10}" in green.'.encode()
    assert [data[first:last] for first, last in Quotations(data).between(0, len(data), MENTION)] == [b'"keep left"']


def test_a_string_on_a_line_of_its_own_in_a_program_is_a_quotation() -> None:
    assert _quoted(b'signs = [  # of roads\n    "keep left",\n]').strip(b"_") == b'"keep left"'


@pytest.mark.parametrize("before", [0, 100, 4085, 4096, 8190, 20_000])
@pytest.mark.parametrize("end_of_line", [b"\n", b""])
def test_a_quotation_is_found_wherever_it_stands(before: int, end_of_line: bytes) -> None:
    frame = (b"words and words " * (before // 16 + 1))[:before] + end_of_line
    data = frame + b'The old sign says "keep left" in red letters.'
    assert _quoted(data).strip(b"_") == b'"keep left"'


PIECES = st.lists(
    st.sampled_from(
        [
            '"',
            "'",
            "`",
            "a",
            " ",
            "\n",
            "{",
            "=",
            ",",
            "the old sign ",
            '"keep left"',
            "'keep left'",
            "x" * 90,
            " \n" * 40,
        ]
    ),
    max_size=60,
).map(lambda pieces: "".join(pieces).encode())


@settings(max_examples=300, deadline=None)
@given(PIECES, st.integers(0, 9000))
def test_the_quotations_between_two_places_are_those_that_hold_the_bytes_there(data: bytes, start: int) -> None:
    data = b"the old sign says\n" * (start // 18) + data
    quotations = Quotations(data)
    inside = {place for first, last in quotations.between(0, max(len(data), 1)) for place in range(first, last)}
    assert inside == {place for place in range(len(data)) if Quotations(data).around(place, place + 1)}
    if start < len(data):
        found = list(quotations.between(start, len(data)))
        assert {place for first, last in found for place in range(max(first, start), last)} == {
            place for place in inside if place >= start
        }


@pytest.mark.parametrize(
    "piece", [b'"', b"'", b"`", b'"a', b' "keep left" ', b"'a \"b `c ", b"a" * 500 + b'"', b"\n", b"a"]
)
def test_asking_about_many_places_takes_linear_time(piece: bytes) -> None:
    data = piece * ((2 << 20) // len(piece))
    quotations = Quotations(data)
    started = time.process_time()
    for place in range(0, len(data), 1024):
        quotations.around(place, place + 1)
    assert time.process_time() - started < 3  # typically 0.1 s

"""Literals are found as an automaton finds them, whatever stands around them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.firewall.literals import Literals, ScannedLiterals, TableOfLiterals, automaton
from kalguard_core.firewall.matcher import HAS_HYPERSCAN

LITERALS = [
    b"erongi",
    b"snoitcurtsni",
    b"instruc tions",
    b"inst ructions",
    b"vtaber",
    b"ignoreway",
    b"eway i",
    b"tnirp",
]
COMMON = [b"the of ", b"of the way", b"all the ", b"print "]
FINDERS: list[Literals] = [TableOfLiterals(LITERALS, COMMON)]
if HAS_HYPERSCAN:
    FINDERS.append(ScannedLiterals([*LITERALS, *COMMON]))
EVERY = automaton([*LITERALS, *COMMON])
PIECES = [piece.decode() for piece in (*LITERALS, *COMMON)]
NOISE = [" ", "x", "the ", "ignor", "tions", "no", "eway", "q" * 37]


def by_automaton(data: bytes) -> list[tuple[int, int]]:
    return [match.span() for match in EVERY.finditer(data)]


each_finder = pytest.mark.parametrize("finder", FINDERS, ids=lambda finder: type(finder).__name__)


@each_finder
@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, *NOISE]), max_size=12).map("".join))
def test_literals_are_found_at_every_place_and_next_to_each_other(finder: Literals, text: str) -> None:
    assert list(finder.places(text.encode())) == by_automaton(text.encode())


@each_finder
@given(st.integers(0, 40), st.sampled_from(PIECES))
def test_literals_are_found_across_the_parts_that_are_looked_at_together(
    finder: Literals, before: int, piece: str
) -> None:
    for size in (1 << 14, 1 << 16):
        data = ("." * (size - before) + piece + "." * size + piece).encode()
        assert list(finder.places(data)) == by_automaton(data)


@each_finder
def test_a_text_full_of_literals_is_read_as_the_automaton_reads_it(finder: Literals) -> None:
    for piece in PIECES:
        data = piece.encode() * 20_000
        assert list(finder.places(data)) == by_automaton(data)


@each_finder
def test_the_shortest_texts_hold_none(finder: Literals) -> None:
    assert [list(finder.places(b"e" * size)) for size in range(10)] == [[]] * 10

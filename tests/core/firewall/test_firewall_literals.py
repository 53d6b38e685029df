"""Literals are found as an automaton finds them, whatever stands around them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.firewall.literals import Literals, automaton

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
FINDER = Literals(LITERALS, COMMON)
EVERY = automaton([*LITERALS, *COMMON])
PIECES = [piece.decode() for piece in (*LITERALS, *COMMON)]
NOISE = [" ", "x", "the ", "ignor", "tions", "no", "eway", "q" * 37]


def by_automaton(data: bytes) -> list[tuple[int, int]]:
    return [match.span() for match in EVERY.finditer(data)]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, *NOISE]), max_size=12).map("".join))
def test_literals_are_found_at_every_place_and_next_to_each_other(text: str) -> None:
    assert list(FINDER.places(text.encode())) == by_automaton(text.encode())


@given(st.integers(0, 40), st.sampled_from(PIECES))
def test_literals_are_found_across_the_parts_that_are_looked_at_together(before: int, piece: str) -> None:
    data = ("." * ((1 << 16) - before) + piece + "." * (1 << 16) + piece).encode()
    assert list(FINDER.places(data)) == by_automaton(data)


def test_a_text_full_of_literals_is_read_by_the_automaton() -> None:
    for piece in PIECES:
        data = piece.encode() * 20_000
        assert list(FINDER.places(data)) == by_automaton(data)


def test_the_shortest_texts_hold_none() -> None:
    assert [list(FINDER.places(b"e" * size)) for size in range(10)] == [[]] * 10

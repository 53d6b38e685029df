"""Reading: words are looked up once, and are to rules and model what they are to each of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.firewall import reading
from kalguard_core.firewall.engine import Engine
from kalguard_core.firewall.features import split, word_bounds
from kalguard_core.firewall.fold import fold_bytes
from kalguard_core.firewall.legible import legible
from kalguard_core.firewall.model import bundled_model
from kalguard_core.firewall.pack import load_packs
from kalguard_core.firewall.reading import Entries, Glossary

WORDS = bundled_model().vocabulary
PACK = """
pack: t
version: 1
words: {DET: all the, DROP: drop ignor* ignore, RULES: rules 规则}
rules:
- {id: r, title: T, category: override, severity: high, weight: 80, owasp: [], atlas: [], languages: [en],
   phrase: DROP DET? RULES}
"""
PIECES = st.sampled_from(
    ["ignore ", "Rules", "ignored ", "all ", "é", "忽略", "规则", "ก", "ลืมคำสั่ง", "か", "한국어 ", "правила ", "12 ",
     "x1 ", "¿", "¡", "・", "→", "⭐", "〜",
     "\n\x00\n", " ", "\t", "-", "'", "x" * 45, "😀", "हिन्दी। ", "a b c d e f g ",
     "0x69 0x67 0x6e 0x6f 0x72 0x65 0x20 0x61 "]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=40).map(lambda pieces: folded("".join(pieces)))


def folded(text: str) -> bytes:
    return b"\n\x00\n".join(fold_bytes(part) for part in text.split("\n\x00\n"))


@cache
def engine() -> Engine:
    return Engine(load_packs([("t", PACK)]))


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_rules_and_model_get_from_one_reading_what_each_gets_alone(data: bytes) -> None:
    read = engine().glossary(WORDS).read(data)
    assert engine().matches(data, read) == engine().matches(data)
    assert WORDS.words(read).tolist() == WORDS.words_of(data).tolist()
    assert len(WORDS.words_of(data)) == len(split(data)) == len(word_bounds(data)[0])


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 30))
def test_it_does_not_matter_in_which_blocks_a_text_is_read(data: bytes, size: int) -> None:
    expected = Glossary(len, WORDS.entry).read(data)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(reading, "_BLOCK", size)
        read = Glossary(len, WORDS.entry).read(data)
    assert read.entries.tolist() == expected.entries.tolist()
    assert read.mixed == expected.mixed


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_words_stand_where_their_bounds_say(data: bytes) -> None:
    read = Glossary(len, None).read(data)
    starts, ends = read.bounds
    assert read.numbers.tolist() == (ends - starts).tolist()
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        assert Glossary(len, None).read(data[start:end]).numbers.tolist() == [end - start]


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_what_is_left_of_a_reading_is_the_reading_of_what_is_left(data: bytes) -> None:
    glossary = Glossary(len, WORDS.entry)
    left, expected = glossary.read(data).without_blanks(legible(data)), glossary.read(legible(data))
    assert left.entries.tolist() == expected.entries.tolist()
    assert left.mixed == expected.mixed
    assert [places.tolist() for places in left.bounds] == [places.tolist() for places in expected.bounds]


def test_words_that_were_forgotten_are_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_REMEMBERED", 3)
    asked: list[bytes] = []

    def number(word: bytes) -> int:
        asked.append(word)
        return int(word)

    glossary = Glossary(number, None)
    text = b"1 2 3 1 2 3 4 4 1 2"
    assert glossary.read(text).numbers.tolist() == [int(word) for word in text.split()]
    assert asked == [b"1", b"2", b"3", b"4", b"1", b"2"]


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 30), st.sampled_from([3, 20, 1000]))
def test_new_words_are_the_same_when_they_are_looked_up_together(data: bytes, size: int, remembered: int) -> None:
    asked: list[int] = []

    def entries(words: Sequence[bytes]) -> Entries:
        asked.append(len(words))
        return WORDS.entries(words)

    with pytest.MonkeyPatch.context() as small:
        small.setattr(reading, "_BLOCK", size)
        small.setattr(reading, "_REMEMBERED", remembered)
        glossary = Glossary(len, WORDS.entry, (lambda words: list(map(len, words)), entries))
        coined = b" ".join(b"zq%dv%d" % (number, number) for number in range(99))
        for text in (data + coined + data, data):
            read, expected = glossary.read(text), Glossary(len, WORDS.entry).read(text)
            assert read.entries.tolist() == expected.entries.tolist()
            assert read.mixed == expected.mixed
    assert asked or remembered < 1000


def test_only_so_many_words_are_remembered_and_no_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BLOCK", 50)
    monkeypatch.setattr(reading, "_REMEMBERED", 20)
    glossary = engine().glossary(WORDS)
    glossary.read(b" ".join(b"%d" % number + b"x" * (number % 50) for number in range(300)))
    assert len(glossary._entries) <= 20
    assert max(map(len, glossary._entries)) <= 40


def test_many_words_have_the_numbers_that_each_has_to_the_rules() -> None:
    words = engine()._vocabulary
    data = "ignore ignored ignor drop drops rules 规则 the nothing".encode().split()
    assert words.numbers(data) == [words.number(word) for word in data]


def test_detectors_of_one_model_share_what_an_engine_remembers() -> None:
    assert engine().glossary(WORDS) is engine().glossary(WORDS)
    assert engine().glossary() is not engine().glossary(WORDS)


def test_no_words_have_no_entries() -> None:
    for data in (b"", b" \n", "¿・".encode()):
        read = Glossary(len, None).read(data)
        assert (len(read.entries), len(read.bounds[0]), len(read.bounds[1])) == (0, 0, 0)


@given(st.lists(st.booleans(), max_size=20))
def test_edges_are_where_runs_of_letters_start_and_end(flags: list[bool]) -> None:
    starts, ends = reading.edges(bytes(0x61 if flag else 0x20 for flag in flags))
    inside = [any(start <= place < end for start, end in zip(starts, ends, strict=True)) for place in range(len(flags))]
    assert inside == flags
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(end < start for end, start in zip(ends[:-1], starts[1:], strict=True))

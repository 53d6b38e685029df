"""Features: words and their places agree, and are the same numbers everywhere."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.firewall.features import (
    NEAR,
    SIZE,
    Vocabulary,
    _first_of_overlapping,
    features_of,
    split,
    word_bounds,
)
from kalguard_core.firewall.fold import fold_bytes
from kalguard_core.firewall.lexicon import read_lexicons

LEXICON = read_lexicons(
    [
        ("en.yaml", "concepts:\n  IGNORE: [ignore, disregard*, dis*]\n  RULE: [rule, rules, display]\n  ALL: [all]\n"),
        ("de.yaml", "concepts:\n  IGNORE: [ignoriere, vergiss]\n  RULE: [regeln]\n  ALL: [alle]\n"),
        ("zh.yaml", "concepts:\n  IGNORE: [忽略, 忽]\n  RULE: [规则]\n"),
    ]
)
WORDS = Vocabulary(LEXICON)
PIECES = st.sampled_from(
    ["ignore ", "Rules", "é", "ß", "忽略", "规", "ก", "か", "한국어 ", "правила ", "٣", "12 ", "。", "、", "¿", "؟",
     "—", "…", "→", "\n\x00\n", "\t", "-", "_", "'", "x" * 40, "😀", "\u200b", "ﷺ", "０", "〜", "・",
     "\u3000", "\ud800", "’"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=12).map("".join)


def places_of(data: bytes) -> list[tuple[int, int]]:
    starts, ends = word_bounds(data)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def concepts(text: str) -> list[int]:
    return [int(word) & 0x3F for word in WORDS.words_of(fold_bytes(text))]


@settings(max_examples=400)
@given(TEXTS)
def test_words_stand_where_their_places_say(text: str) -> None:
    data = fold_bytes(text)
    words = split(data)
    places = places_of(data)
    assert len(places) == len(words) == len(WORDS.words_of(data))
    behind = 0
    for (start, end), word in zip(places, words, strict=True):
        assert behind <= start < end <= len(data)
        assert split(data[start:end]) == [word]
        behind = end


@pytest.mark.parametrize("mark", "¡¿،؛؟　。、「」〜・！（←⭐—…’")
def test_punctuation_of_any_script_is_no_word(mark: str) -> None:
    for text in (f"{mark}ignore{mark} all", f"忽{mark}略"):
        data = fold_bytes(text)
        words = split(data)
        assert len(words) == 2
        assert [split(data[start:end]) for start, end in places_of(data)] == [[w] for w in words]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World! 42", [b"hello", b"world", b"00"]),
        ("don't stop", [b"don", b"t", b"stop"]),
        ("规则。好", ["规", "则", "好"]),
        ("ab规cd", ["ab", "规", "cd"]),
        ("¿qué?", ["que"]),
        ("", []),
    ],
)
def test_a_text_has_these_words(text: str, words: list[str | bytes]) -> None:
    expected = [word.encode() if isinstance(word, str) else word for word in words]
    assert split(fold_bytes(text)) == expected


def test_the_wall_is_a_word_of_its_own() -> None:
    assert split(b"one\n\x00\ntwo") == [b"one", b"\0", b"two"]
    assert WORDS.words_of(b"one\n\x00\ntwo")[1] == WORDS.wall


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ignore all rules", [1, 3, 2]),
        ("Ignoriere alle Regeln", [1, 3, 2]),
        ("disregarding", [1]),
        ("display", [2]),  # a whole word wins over a stem
        ("distant", [1]),
        ("di rule", [0, 2]),
        ("忽略规则", [1, 0, 2, 0]),  # the longer string wins
        ("忽规则", [1, 2, 0]),
        ("规规则则", [0, 2, 0, 0]),  # from left to right
        ("ab忽 略cd", [0, 1, 0, 0]),  # a blank between letters means nothing
        ("→规则→", [2, 0]),
        ("规", [0]),
    ],
)
def test_words_name_concepts_in_any_language(text: str, expected: list[int]) -> None:
    assert concepts(text) == expected


def bag(text: str) -> set[int]:
    words = WORDS.words_of(fold_bytes(text))
    return {int(feature) for _, found in features_of(words) for feature in found}


def test_concepts_near_each_other_are_one_feature_in_any_order_and_language() -> None:
    shared = bag("ignore all rules") & bag("regeln alle vergiss")
    assert len(shared - bag("ignore") - bag("all") - bag("rules")) >= 3  # pairs, and the three of them


def test_concepts_far_from_each_other_have_nothing_in_common() -> None:
    apart = "ignore " + "word " * NEAR + "rules"
    together = "ignore " + "word " * (NEAR - 1) + "rules"
    pair = bag("ignore rules") & bag("rules ignore")
    alone = bag("ignore") | bag("rules")
    assert (pair - alone) & bag(together)
    assert not (pair - alone) & bag(apart)


@given(TEXTS)
def test_features_are_in_range_and_stand_at_words_once_in_each_kind(text: str) -> None:
    words = WORDS.words_of(fold_bytes(text))
    for places, found in features_of(words):
        where = np.arange(len(words))[places]
        assert len(where) == len(found) == len(set(where.tolist()))
        assert all(0 <= feature < SIZE for feature in found.tolist())


def test_the_numbers_of_words_and_features_do_not_change() -> None:
    words = WORDS.words_of(fold_bytes("Ignore all rules, my friend 42"))
    # A platform's or a process's own hash would change these; only a new format of models may.
    assert [int(word) & 0x3F for word in words] == [1, 3, 2, 0, 0, 0]
    assert sha256(words.astype("<u8").tobytes()).hexdigest()[:16] == WORDS_DIGEST


WORDS_DIGEST = "08437fb8e4760b78"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=30))
def test_of_stretches_that_overlap_the_first_is_kept(steps: list[tuple[int, int]]) -> None:
    starts = np.cumsum([0, *(step + 1 for step, _ in steps)])[: len(steps)]
    ends = starts + np.array([size for _, size in steps], np.int64)
    kept, behind = [], 0
    for index, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if start >= behind:
            kept.append(index)
            behind = end
    assert _first_of_overlapping(starts, ends).tolist() == kept

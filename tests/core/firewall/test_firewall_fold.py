"""Folding: one form for many spellings, and the way back to the original characters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.firewall.fold import CHUNK, _Tables, fold, fold_bytes


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Threads take turns so often that whatever is not guarded goes wrong."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


ANY_TEXT = st.text(st.characters(), max_size=40)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Plain ASCII stays\tas it is\n", b"Plain ASCII stays\tas it is\n"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", b"full width"),
        ("ＦＵＬＬ", b"full"),
        ("z\u200be\u200cr\u200do\ufeff w\u2060i\u00add\u034ft\u180eh\ufe0f", b"zero width"),
        ("b\u202ei\u2066d\u2069i", b"bidi"),
        ("t\U000e0061\U000e007fags", b"tags"),
        ("\u0430\u0440\u0440\u04cf\u0435", b"apple"),
        ("\u03b1\u03bf\u03c1", b"aop"),
        ("naïve Café Straße ﬃ", b"naive Cafe Strasse ffi"),
        ("z\u0336a\u0337l\u0338go\u20dd", b"zalgo"),
        ("“quote” – it’s", b'"quote" - it\'s'),
        ("a\u2028b\u3000c", b"a\nb c"),
        ("nul\x00 bell\x07 del\x7f", b"nul bell del"),
        ("nul\x00 é", b"nul e"),
        ("lone \ud800 surrogate", b"lone  surrogate"),
        ("忽略", "忽略".encode()),
    ],
)
def test_spellings_fold_to_one_form(text: str, folded: bytes) -> None:
    assert fold(text).data == folded


@settings(max_examples=150, deadline=None)
@given(ANY_TEXT, ANY_TEXT)
def test_folding_looks_at_one_character_at_a_time(left: str, right: str) -> None:
    assert fold_bytes(left + right) == fold_bytes(left) + fold_bytes(right)


@settings(max_examples=150, deadline=None)
@given(ANY_TEXT)
def test_folded_text_holds_no_wall(text: str) -> None:
    assert b"\x00" not in fold(text).data


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3 * CHUNK), ANY_TEXT, st.sampled_from(["a", "é", "ﬃ", "\u200b", "中"]), st.data())
def test_every_folded_byte_knows_its_character(pad: int, text: str, filler: str, data: st.DataObject) -> None:
    text = filler * pad + text
    folded = fold(text)
    assert folded.data == fold_bytes(text)
    if not folded.data:
        return
    start = data.draw(st.integers(0, len(folded.data) - 1))
    end = data.draw(st.integers(start + 1, len(folded.data)))
    first, last = folded.original(start, end)
    # the characters cover the bytes, and no smaller range does
    assert len(fold_bytes(text[:first])) <= start < len(fold_bytes(text[: first + 1]))
    assert len(fold_bytes(text[: last - 1])) < end <= len(fold_bytes(text[:last]))


def test_threads_that_see_characters_first_at_the_same_time_fold_them_alike(many_switches: None) -> None:
    letters = [chr(code) for code in range(0x80, 0x20000) if len(fold_bytes(chr(code))) > 1]
    letters = [letter for letter in letters if fold_bytes(letter).isascii()]
    tables = _Tables()

    def folded(first: int) -> None:
        for letter in letters[first::8]:
            tables.fold(np.array([ord(letter)], np.uint32))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(folded, range(8)))
    for letter in letters:
        assert bytes(tables.fold(np.array([ord(letter)], np.uint32)).tolist()) == fold_bytes(letter)

"""Folding of other alphabets: what looks like Latin is read as Latin, what is another language stays readable."""

from __future__ import annotations

import pytest

from kalguard_core.firewall.confusables import CONFUSABLES
from kalguard_core.firewall.fold import fold, fold_bytes


@pytest.mark.parametrize(
    "text", ["안녕하세요", "이전 지시를 무시하고", "忽略之前的指令", "以前の指示", "تجاهل التعليمات", "ภาษาไทย"]
)
def test_scripts_without_look_alikes_keep_their_letters(text: str) -> None:
    folded = fold_bytes(text).decode()
    assert not any(char.isascii() and char.isalpha() for char in folded)
    assert len(folded) >= len(text) * 2 // 3  # marks may go


def test_hangul_syllables_stay_whole() -> None:
    assert fold_bytes("한글").decode() == "한글"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ⲟ Ꭺ ꓮ", "o a a"),
        ("ΑΕΙΚΟΡΤΧ ΒΖΜ", "aeikoptx bzm"),
        ("ıʇǝ", "ite"),
        ("ignοrе", "ignore"),
        ("🅰🄱🇨", "abc"),
        ("ⅰɡɴᴏʀᴇ", "ignore"),
    ],
)
def test_look_alikes_of_rare_alphabets_are_read_as_latin(text: str, plain: str) -> None:
    assert fold_bytes(text).decode().lower() == plain


@pytest.mark.parametrize("word", ["игнорируй", "предыдущие", "інструкції", "предишните", "упутства"])
def test_a_cyrillic_word_folds_alike_in_both_cases(word: str) -> None:
    assert fold_bytes(word) == fold_bytes(word.upper()) == fold_bytes(word.capitalize())


@pytest.mark.parametrize(
    ("word", "other"),
    [("οδηγιών", "ΟΔΗΓΙΩΝ"), ("προηγούμενες", "ΠΡΟΗΓΟΥΜΕΝΕΣ"), ("ύστερος", "Υστεροσ"), ("Ναός", "ΝΑΌΣ")],
)
def test_a_greek_word_folds_alike_in_both_cases_and_with_either_sigma(word: str, other: str) -> None:
    assert fold_bytes(word) == fold_bytes(other) == fold_bytes(word.upper()) == fold_bytes(word.capitalize())


def test_a_long_text_folds_as_its_parts_do() -> None:
    text = "Zürich, Straße, ﬃ, ΟΔΗΓΙΩΝ, игнорируй, 忽略, 한글, e\u0301, a\u200bb, \U0001f600, \ud800, \x00, " * 40
    assert fold_bytes(text) == b"".join(map(fold_bytes, text))
    assert fold(text).data == fold_bytes(text)


def test_every_confusable_is_one_character_and_reads_as_one_ascii_letter() -> None:
    assert all(len(char) == 1 and len(plain) == 1 and "a" <= plain <= "z" for char, plain in CONFUSABLES.items())
    assert all(fold_bytes(char) == plain.encode() or fold_bytes(char).isalpha() for char, plain in CONFUSABLES.items())

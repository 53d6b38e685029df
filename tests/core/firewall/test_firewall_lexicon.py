"""The lexicon: which concept a word names, and what is said about a file that can't be used."""

from __future__ import annotations

import pytest

from kalguard_core.firewall.fold import fold_bytes
from kalguard_core.firewall.lexicon import (
    MAX_CONCEPTS,
    LexiconError,
    bundled_lexicons,
    is_unspaced,
    read_lexicons,
)

ENGLISH = ("en.yaml", "concepts:\n  IGNORE: [ignore, disregard*]\n  RULE: [rule*, gift]\n")


def read(*files: tuple[str, str]) -> dict[str, str]:
    """Each word with its concept; stems with an asterisk."""
    lexicon = read_lexicons([ENGLISH, *files])
    entries = {
        **{word.decode(): number for word, number in lexicon.words.items()},
        **{stem.decode() + "*": number for stem, number in lexicon.stems.items()},
        **{string.decode(): number for string, number in lexicon.strings.items()},
    }
    return {word: lexicon.names[number - 1] for word, number in entries.items()}


def test_words_stems_and_strings_of_unspaced_scripts_are_told_apart() -> None:
    lexicon = read_lexicons([ENGLISH, ("zh.yaml", "concepts:\n  IGNORE: [忽略]\n")])
    assert lexicon.names == ("IGNORE", "RULE")
    assert lexicon.words == {b"ignore": 1, b"gift": 2}
    assert lexicon.stems == {b"disregard": 1, b"rule": 2}
    assert lexicon.strings == {"忽略".encode(): 1}


def test_words_are_kept_as_folded_text_has_them() -> None:
    assert read(("de.yaml", "concepts:\n  RULE: [Überregeln, REGEL*]\n"))["uberregeln"] == "RULE"
    assert read(("de.yaml", "concepts:\n  RULE: [REGEL*]\n"))["regel*"] == "RULE"


def test_english_wins_over_other_languages() -> None:
    assert read(("de.yaml", "concepts:\n  IGNORE: [gift]\n"))["gift"] == "RULE"


def test_a_word_that_two_languages_use_differently_names_nothing() -> None:
    assert "tu" not in read(("fr.yaml", "concepts:\n  IGNORE: [tu]\n"), ("tr.yaml", "concepts:\n  RULE: [tu]\n"))


def test_a_word_that_most_languages_use_alike_names_that() -> None:
    languages = [(f"{name}.yaml", "concepts:\n  RULE: [regla]\n") for name in ("es", "ca", "pt")]
    assert read(*languages, ("xx.yaml", "concepts:\n  IGNORE: [regla]\n"))["regla"] == "RULE"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("concepts: [", "not YAML"),
        ("- a", "needs a mapping 'concepts'"),
        ("concepts: {}", "needs a mapping 'concepts'"),
        ("concepts:\n  IGNORE: word", "'IGNORE' must be a name"),
        ("concepts:\n  NO: [nein]", "must be a name (in quotes"),
        ("concepts:\n  IGNORE: [yes]", "is no text; put it in quotes"),
        ("concepts:\n  IGNORE: [two words]", "is not one word"),
        ('concepts:\n  IGNORE: [""]', "is not one word"),
        ("concepts:\n  IGNORE: [ab*]", "a stem needs 3 letters"),
        ("concepts:\n  IGNORE: [忽略*]", "a stem needs 3 letters"),
        ("concepts:\n  OTHER: [word]", "concept 'OTHER' is not in the first file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(text: str, told: str) -> None:
    with pytest.raises(LexiconError, match=r"^xx\.yaml: ") as error:
        read(("xx.yaml", text))
    assert told in str(error.value)


def test_more_concepts_than_there_is_room_for_are_refused() -> None:
    many = "concepts:\n" + "".join(f"  C{number}: [word{number}]\n" for number in range(MAX_CONCEPTS + 1))
    with pytest.raises(LexiconError, match="there is room for 63"):
        read_lexicons([("en.yaml", many)])


@pytest.mark.parametrize(
    ("word", "unspaced"), [("忽", True), ("ใ", True), ("か", True), ("ignore", False), ("правила", False), ("", False)]
)
def test_scripts_without_spaces_are_known(word: str, unspaced: bool) -> None:
    assert is_unspaced(word.encode()) is unspaced


def test_the_bundled_files_are_read_with_english_first() -> None:
    files = bundled_lexicons()
    assert files[0][0] == "en.yaml"
    assert len(files) >= 20
    lexicon = read_lexicons(files)
    assert len(lexicon.names) == len(set(lexicon.names)) <= MAX_CONCEPTS
    for word, concept in (("ignore", "IGNORE"), ("passwort", "CREDENTIAL"), ("vorherigen", "PREVIOUS")):
        folded = fold_bytes(word)
        number = lexicon.words.get(folded) or next(
            (lexicon.stems[folded[:size]] for size in range(len(folded), 2, -1) if folded[:size] in lexicon.stems), 0
        )
        assert number, word
        assert lexicon.names[number - 1] in (concept, "SECRET"), word

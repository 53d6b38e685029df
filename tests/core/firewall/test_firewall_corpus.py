"""The corpus and the English lexicon are as the trainer expects: whole rows, no text twice, no word in two concepts."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest
import yaml

from firewall_tables import language_of
from kalguard_core.firewall.lexicon import bundled_lexicons

CORPUS = files("kalguard_core.firewall") / "corpus"
LEXICON = files("kalguard_core.firewall") / "lexicon" / "en.yaml"
FILES = sorted(entry.name for entry in CORPUS.iterdir())
ENGLISH = [name for name in FILES if language_of(name) == "en"]
LANGUAGES = {name.removesuffix(".yaml") for name, _ in bundled_lexicons()}
KINDS = {
    "attack": {"direct", "jailbreak", "indirect", "obfuscated", "multilingual"},
    "benign": {"benign", "hard-benign"},
}


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]


def concepts() -> dict[str, list[str]]:
    loaded: dict[str, list[str]] = yaml.safe_load(LEXICON.read_text(encoding="utf-8"))["concepts"]
    return loaded


@pytest.mark.parametrize("name", FILES)
def test_every_row_has_the_four_fields_and_a_kind_that_fits_its_label(name: str) -> None:
    for number, row in enumerate(rows(name), 1):
        assert list(row) == ["text", "label", "kind", "lang"], f"{name}:{number}"
        assert row["kind"] in KINDS[row["label"]], f"{name}:{number}"
        assert row["lang"] == language_of(name), f"{name}:{number}"
        assert row["kind"] != "multilingual" or row["lang"] != "en", f"{name}:{number}"
        assert row["text"].strip() == row["text"] != "", f"{name}:{number}"


def test_every_file_is_of_a_language_that_has_a_lexicon() -> None:
    assert {language_of(name) for name in FILES} <= LANGUAGES


def test_no_text_of_a_language_is_there_twice_not_even_in_another_case_or_spacing() -> None:
    seen = Counter((row["lang"], " ".join(row["text"].lower().split())) for name in FILES for row in rows(name))
    assert [text for text, count in seen.items() if count > 1] == []


def test_no_template_slot_was_left_unfilled() -> None:
    # Texts about templates have slots of their own; {para} and {att} are names that no honest template uses.
    left = [
        row["text"][:60] for name in ENGLISH for row in rows(name) if "{para}" in row["text"] or "{att}" in row["text"]
    ]
    assert left == []


def test_honest_english_outnumbers_attacks_and_every_kind_is_well_represented() -> None:
    kinds = Counter(row["kind"] for name in ENGLISH for row in rows(name))
    attacks = sum(kinds[kind] for kind in KINDS["attack"])
    assert sum(kinds[kind] for kind in KINDS["benign"]) > attacks
    assert min(kinds.values()) >= 100


def test_a_word_of_the_lexicon_belongs_to_one_concept_only() -> None:
    seen = Counter(word for words in concepts().values() for word in words)
    assert [word for word, count in seen.items() if count > 1] == []


def test_no_word_of_one_concept_begins_like_a_stem_of_another() -> None:
    stems = {word[:-1]: concept for concept, words in concepts().items() for word in words if word.endswith("*")}
    clashes = [
        (concept, word, stem)
        for concept, words in concepts().items()
        for word in words
        for stem, other in stems.items()
        if other != concept and word.rstrip("*").startswith(stem)
    ]
    assert clashes == []


def test_stems_have_at_least_four_letters_and_every_word_is_text() -> None:
    words = [word for listed in concepts().values() for word in listed]
    assert [word for word in words if not isinstance(word, str)] == []  # YAML reads a bare no or on as a truth value
    assert [word for word in words if word.endswith("*") and len(word) < 5] == []

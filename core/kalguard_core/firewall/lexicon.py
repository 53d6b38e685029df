"""The lexicon: which concept of prompt injection a word names, in any of its languages.

Rules of this file:
- A word is known as folded text has it: lower case, without marks, look-alike letters as one.
- Whole words win over stems, longer stems over shorter ones, English over other languages. A word that two other
  languages use for different concepts names none: `tu` is a different word in French and in Spanish.
- Concepts are numbered in the order of the English file, from 1; 0 is a word that names none. There are at most 63.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import yaml

from .fold import fold_bytes

FIRST: Final = "en"
MAX_CONCEPTS: Final = 63
SHORTEST_STEM: Final = 3  # bytes


class LexiconError(ValueError):
    """A lexicon file can't be used; the message names file, concept and word."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """`names`: of the concepts, the first has number 1. Folded words, stems and strings of unspaced scripts with the
    number of their concept."""

    names: tuple[str, ...]
    words: Mapping[bytes, int]
    stems: Mapping[bytes, int]
    strings: Mapping[bytes, int]


def is_unspaced(word: bytes) -> bool:
    """Whether a folded word begins with a letter of a script without spaces: Han, kana, Thai, Lao."""
    return bool(word) and (0xE3 <= word[0] <= 0xE9 or (word[0] == 0xE0 and len(word) > 1 and 0xB8 <= word[1] <= 0xBB))


def bundled_lexicons() -> list[tuple[str, str]]:
    """(name, text) of the lexicon files that come with KalGuard, English first."""
    folder = resources.files(__package__).joinpath("lexicon")
    files = sorted(
        ((file.name, file) for file in folder.iterdir() if file.name.endswith(".yaml")),
        key=lambda file: (file[0] != f"{FIRST}.yaml", file[0]),
    )
    return [(name, file.read_text(encoding="utf-8")) for name, file in files]


def read_lexicons(sources: Iterable[tuple[str, str]]) -> Lexicon:
    """The lexicon of some files, the first of which names the concepts. Raises `LexiconError`."""
    names: list[str] = []
    # of each folded word: who says what
    said: dict[tuple[str, bytes], dict[str, int]] = defaultdict(dict)
    for name, text in sources:
        concepts = _concepts(name, text)
        if not names:
            names = list(concepts)
            if len(names) > MAX_CONCEPTS:
                raise LexiconError(f"{name}: {len(names)} concepts; there is room for {MAX_CONCEPTS}")
        for concept, words in concepts.items():
            if concept not in names:
                raise LexiconError(f"{name}: concept {concept!r} is not in the first file; use one of its names")
            for word in words:
                kind, folded = _folded(name, concept, word)
                said[kind, folded].setdefault(name, names.index(concept) + 1)
    chosen: dict[str, dict[bytes, int]] = {"words": {}, "stems": {}, "strings": {}}
    for (kind, folded), by_file in said.items():
        concept_number = _agreed(by_file)
        if concept_number:
            chosen[kind][folded] = concept_number
    return Lexicon(tuple(names), **chosen)


def _agreed(by_file: Mapping[str, int]) -> int:
    """The concept that a word names: the English one, or the one that most others mean; 0 if they don't agree."""
    english = by_file.get(f"{FIRST}.yaml")
    if english is not None:
        return english
    counted = Counter(by_file.values()).most_common(2)
    if len(counted) > 1 and counted[0][1] <= 2 * counted[1][1]:
        return 0
    return counted[0][0]


def _concepts(name: str, text: str) -> Mapping[str, Sequence[str]]:
    try:
        document: Any = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe loaders
    except yaml.YAMLError as error:
        raise LexiconError(f"{name}: not YAML: {error}") from None
    concepts = document.get("concepts") if isinstance(document, dict) else None
    if not isinstance(concepts, dict) or not concepts:
        raise LexiconError(f"{name}: needs a mapping 'concepts': each concept with a list of words")
    for concept, words in concepts.items():
        if not isinstance(concept, str) or not isinstance(words, list):
            raise LexiconError(
                f"{name}: concept {concept!r} must be a name (in quotes if YAML has it as a value) with a list of words"
            )
        for word in words:
            if not isinstance(word, str):
                raise LexiconError(f"{name}: {concept}: {word!r} is no text; put it in quotes")
    return concepts


def _folded(name: str, concept: str, word: str) -> tuple[str, bytes]:
    folded = fold_bytes(word.removesuffix("*")).lower().strip()
    if not folded or any(space in folded for space in b" \t\n"):
        raise LexiconError(f"{name}: {concept}: {word!r} is not one word")
    if not word.endswith("*"):
        return ("strings" if is_unspaced(folded) else "words"), folded
    if is_unspaced(folded) or len(folded) < SHORTEST_STEM:
        raise LexiconError(f"{name}: {concept}: {word!r}: a stem needs {SHORTEST_STEM} letters of a script with spaces")
    return "stems", folded

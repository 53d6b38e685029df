"""Honest text that looks like an attack is left alone: the traps in `traps/*.jsonl`, and our own documents.

Rules of this file:
- A trap is honest: nobody who wrote it wants a model to break its rules. Many quote an attack, all the same.
- A trap that is flagged is a fault of the detector. It stays in the folder, unless it turns out not to be honest. None
  is trained on; rules for kinds of talk about attacks were made after those that were flagged had been read.
- The texts in `unseen/` and `blind/` were written by others, who had seen neither the detector nor the traps. Of
  `unseen/` every other one (the first of a file, the third...) was read when it was changed what quotations excuse.
  Nobody who works on the detector has read those in `blind/`: they say what a stranger's texts would.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kalguard_core import firewall
from kalguard_core.action import Message
from kalguard_core.firewall import Assessment, PromptFirewall

ROOT = Path(__file__).parents[3]
TRAPS = Path(__file__).parent / "traps"
UNSEEN = Path(__file__).parent / "unseen"
BLIND = Path(__file__).parent / "blind"
BLOCK, SANITIZE = 70, 50
LANGUAGES = frozenset(
    ("de", "fr", "es", "it", "pt", "nl", "pl", "ru", "uk", "tr", "ar", "fa", "hi", "zh", "ja", "ko", "vi", "id")
)
ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "document", "file"))
TOPICS = frozenset(
    (
        "attacks-described",
        "code",
        "correspondence",
        "fiction",
        "health-and-harm",
        "languages",
        "languages-in-context",
        "law-and-policy",
        "long-texts",
        "machine",
        "roleplay",
        "school-and-translation",
        "strange-shapes",
    )
)


@dataclass(frozen=True, slots=True)
class Trap:
    """One honest text. `origin`: where it stands, as file:line or file, for the reader of a failure."""

    origin: str
    topic: str
    lang: str
    role: str
    text: str


def _written() -> Iterator[Trap]:
    for path in sorted(TRAPS.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            row = json.loads(line)
            role = row.get("role", "user")
            yield Trap(f"{path.stem}:{number}", row["topic"], row["lang"], role, row["text"])


def _strangers(folder: Path) -> Iterator[Trap]:
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            row = json.loads(line)
            yield Trap(f"{folder.name}/{path.stem}:{number}", path.stem, row["lang"], row["role"], row["text"])


def _documents() -> list[Path]:
    """The repository's own markdown files; folders that begin with a dot hold what was installed."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "node_modules"))]
    return sorted([*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))])


def _own_documents() -> Iterator[Trap]:
    for path in _documents():
        name = str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        for role in ("user", "document"):
            yield Trap(name, "whole", "en", role, text)
            for number, paragraph in enumerate(text.split("\n\n"), 1):
                if paragraph.strip():
                    yield Trap(f"{name}, paragraph {number}", "paragraph", "en", role, paragraph)


WRITTEN = tuple(_written())


@pytest.fixture(scope="module")
def default() -> PromptFirewall:
    """The firewall that the product starts with."""
    made: PromptFirewall = firewall.default_firewall()
    return made


def _scored(default: PromptFirewall, traps: tuple[Trap, ...]) -> list[tuple[Trap, Assessment]]:
    return [(trap, default.score([Message(trap.role, trap.text)])) for trap in traps]


def _require(scored: list[tuple[Trap, Assessment]], threshold: int, share: float) -> None:
    flagged = sorted((pair for pair in scored if pair[1].risk >= threshold), key=lambda pair: -pair[1].risk)
    allowed = int(share * len(scored))
    if len(flagged) > allowed:
        lines = [
            f"{found.risk:3} {trap.origin} [{trap.lang}, {trap.role}] {', '.join(found.rules)}: {trap.text[:100]!r}"
            for trap, found in flagged
        ]
        heading = f"{len(flagged)} of {len(scored)} honest texts score {threshold} or more; {allowed} may."
        pytest.fail("\n".join([heading, *lines]), pytrace=False)


def test_there_are_enough_traps_of_every_topic_and_language() -> None:
    assert len(WRITTEN) >= 600
    topics = Counter(trap.topic for trap in WRITTEN)
    assert set(topics) == TOPICS
    assert min(topics.values()) >= 20, topics
    languages = Counter(trap.lang for trap in WRITTEN)
    assert {lang: count for lang, count in languages.items() if lang in LANGUAGES and count < 12} == {}
    assert set(languages) >= LANGUAGES


def test_every_trap_is_a_different_text_with_a_role_that_the_firewall_knows() -> None:
    texts = Counter(trap.text for trap in WRITTEN)
    assert [text for text, count in texts.items() if count > 1] == []
    assert {trap.role for trap in WRITTEN} <= ROLES
    assert all(trap.text.strip() and trap.topic == trap.origin.split(":")[0] for trap in WRITTEN)


# One in a hundred may be blocked. The other shares are what holds today; docs/firewall.md tells them.


def test_hardly_any_trap_is_blocked(default: PromptFirewall) -> None:
    _require(_scored(default, WRITTEN), BLOCK, 0.01)


def test_few_traps_are_rewritten(default: PromptFirewall) -> None:
    _require(_scored(default, WRITTEN), SANITIZE, 0.06)


def test_a_tool_may_return_most_traps(default: PromptFirewall) -> None:
    # What tools return is read more strictly, and quotation marks excuse a few words at most: JSON is full of them.
    returned = tuple(replace(trap, role="tool") for trap in WRITTEN if trap.role in ("user", "document", "file"))
    _require(_scored(default, returned), BLOCK, 0.03)


# What users write, tools return and operators set up. Most of what tools return there is code and logs of guards.
@pytest.mark.parametrize(("role", "share"), [("user", 0.03), ("tool", 0.18), ("system", 0.0)])
def test_most_honest_texts_of_somebody_who_never_saw_the_detector_pass(
    default: PromptFirewall, role: str, share: float
) -> None:
    unseen = tuple(trap for trap in _strangers(UNSEEN) if trap.role == role)
    assert len(unseen) >= 60
    _require(_scored(default, unseen), BLOCK, share)


@pytest.mark.parametrize(("threshold", "share"), [(BLOCK, 0.06), (SANITIZE, 0.14)])
def test_most_honest_texts_that_nobody_who_made_the_detector_has_read_pass(
    default: PromptFirewall, threshold: int, share: float
) -> None:
    blind = tuple(_strangers(BLIND))
    assert len(blind) >= 500
    _require(_scored(default, blind), threshold, share)


def test_the_documents_of_this_repository_may_mostly_be_shown_to_a_model(default: PromptFirewall) -> None:
    # They are full of attacks, as examples to run.
    scored = _scored(default, tuple(_own_documents()))
    assert len(scored) > 100
    _require(scored, BLOCK, 0.03)
    _require(scored, SANITIZE, 0.06)

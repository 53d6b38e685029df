"""A disguise neither hides an attack nor makes one of an honest text.

Rules of this file:
- The texts in `obfuscation/` are written for this test: no detector is trained on them, and no rule is repaired for a
  single one of them.
- What a disguise has to keep is what the plain form has: an attack that is not found undisguised says nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from kalguard_core.action import Message
from kalguard_core.firewall import Assessment, default_firewall
from obfuscations import LOSSY, TRANSFORMATIONS

BLOCK, SANITIZE = 70, 50
KEPT = 0.85
FLAGGED = 2  # of 200 honest texts
SHOWN = 8
# Letters are swapped for good: what was written is guessed, not undone.
LEFT_OUT = LOSSY
HERE = Path(__file__).parent / "obfuscation"


def _lines(name: str) -> tuple[str, ...]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return tuple(lines[1:])  # the first line says what the file is


ATTACKS, HONEST = _lines("attacks.txt"), _lines("honest.txt")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the detector says of a text, plain and disguised."""

    text: str
    disguised: str
    before: int
    after: Assessment

    def __str__(self) -> str:
        rules = ", ".join(self.after.rules) or "nothing"
        return f"{self.before:3} -> {self.after.risk:3} ({rules}): {self.text[:90]!r}, written {self.disguised[:60]!r}"


def _score(text: str) -> Assessment:
    return default_firewall().score([Message("user", text)])


@cache
def _plain(text: str) -> int:
    return _score(text).risk


def _outcomes(name: str, texts: tuple[str, ...]) -> list[Outcome]:
    disguise = TRANSFORMATIONS[name]
    return [Outcome(text, disguise(text), _plain(text), _score(disguise(text))) for text in texts]


def _told(heading: str, outcomes: list[Outcome]) -> str:
    more = [f"... and {len(outcomes) - SHOWN} more"] if len(outcomes) > SHOWN else []
    return "\n".join([heading, *map(str, outcomes[:SHOWN]), *more])


NAMES = sorted(TRANSFORMATIONS.keys() - LEFT_OUT)
# What the detector does not reach. Whoever repairs one takes it out of here.
NOT_KEPT = {"no-spaces": "words that are not in the vocabulary stay together, and short runs are names of programs"}
NOT_HONEST: dict[str, str] = {}


def _cases(out_of_reach: dict[str, str]) -> list[ParameterSet]:
    return [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=out_of_reach[name]))
        if name in out_of_reach
        else pytest.param(name)
        for name in NAMES
    ]


@pytest.mark.parametrize("name", _cases(NOT_KEPT))
def test_a_disguised_attack_is_found_as_the_plain_one_is(name: str) -> None:
    outcomes = _outcomes(name, ATTACKS)
    for threshold in (BLOCK, SANITIZE):
        known = [outcome for outcome in outcomes if outcome.before >= threshold]
        lost = [outcome for outcome in known if outcome.after.risk < threshold]
        kept = 1 - len(lost) / len(known)
        assert kept >= KEPT, _told(f"{name}: at {threshold}, {kept:.1%} of {len(known)} attacks are kept", lost)


@pytest.mark.parametrize("name", _cases(NOT_HONEST))
def test_a_disguise_does_not_make_an_attack_of_an_honest_text(name: str) -> None:
    flagged = [outcome for outcome in _outcomes(name, HONEST) if outcome.after.risk >= BLOCK]
    assert len(flagged) <= FLAGGED, _told(f"{name}: {len(flagged)} of {len(HONEST)} honest texts are blocked", flagged)


def test_most_of_the_plain_attacks_are_found_and_hardly_an_honest_text_is() -> None:
    # a detector that finds nothing would lose nothing
    assert sum(_plain(text) >= BLOCK for text in ATTACKS) >= 0.75 * len(ATTACKS)
    assert sum(_plain(text) >= SANITIZE for text in ATTACKS) >= 0.9 * len(ATTACKS)
    assert sum(_plain(text) >= BLOCK for text in HONEST) <= FLAGGED


def test_there_are_enough_texts_and_disguises() -> None:
    assert len(set(ATTACKS)) == len(set(HONEST)) == 200
    assert len(NAMES) >= 30

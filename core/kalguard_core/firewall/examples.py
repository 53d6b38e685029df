"""The examples of rules: what a rule says that it finds, and what it says that it leaves alone, held against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .engine import Engine
from .fold import fold_bytes
from .pack import Rule


@dataclass(frozen=True, slots=True)
class WrongExample:
    """An example that its rule does not find, or (`found`) a counterexample that it finds."""

    rule: Rule
    text: str
    found: bool


def wrong_examples(engine: Engine, rules: Iterable[Rule]) -> Iterator[WrongExample]:
    """What of the examples and counterexamples of some rules of an engine is not as they say."""
    for rule in rules:
        for texts, wanted in ((rule.examples, True), (rule.counterexamples, False)):
            for text in texts:
                found = any(match.rule == rule for match in engine.matches(fold_bytes(text)))
                if found != wanted:
                    yield WrongExample(rule, text, found)

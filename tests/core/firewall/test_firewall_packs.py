"""Every rule of every bundled pack finds its examples, and leaves its counterexamples alone, with both engines.

`-k kalguard-en-leak` runs the rules of one pack.
"""

from __future__ import annotations

from functools import cache

import pytest

from kalguard_core.firewall.engine import Backend, Engine
from kalguard_core.firewall.examples import wrong_examples
from kalguard_core.firewall.fold import fold_bytes
from kalguard_core.firewall.pack import Rule, RulePacks, bundled_packs, load_packs

MARKER = "[REDACTED:prompt-injection]"


@cache
def _packs(name: str) -> RulePacks:
    """The bundled pack from a file, alone."""
    return load_packs([(file, text) for file, text in bundled_packs() if file == name])


@cache
def _engine(name: str, backend: Backend) -> Engine:
    return Engine(_packs(name), backend=backend)


FILES = [name for name, _ in bundled_packs()]
CASES = [pytest.param(name, rule, id=f"{rule.pack}-{rule.id}") for name in FILES for rule in _packs(name).rules]


@pytest.mark.parametrize("backend", ["hyperscan", "re2"])
@pytest.mark.parametrize(("name", "rule"), CASES)
def test_a_rule_finds_its_examples_and_leaves_its_counterexamples_alone(
    name: str, rule: Rule, backend: Backend
) -> None:
    assert list(wrong_examples(_engine(name, backend), [rule])) == []


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_a_rule_has_two_examples_and_two_counterexamples(name: str, rule: Rule) -> None:
    assert len(rule.examples) >= 2
    assert len(rule.counterexamples) >= 2


@pytest.mark.parametrize("name", FILES)
def test_no_rule_matches_what_redaction_writes(name: str) -> None:
    for text in (MARKER, MARKER * 3, f"a {MARKER} b\n{MARKER}"):
        assert _engine(name, "re2").matches(fold_bytes(text)) == []


def test_all_packs_load_together() -> None:
    assert len(load_packs(bundled_packs()).rules) == len(CASES)

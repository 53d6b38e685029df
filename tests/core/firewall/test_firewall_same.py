"""The same text has the same score, spans and cleaned text: on either engine, in every process, from any thread."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import scores_digest
from kalguard_core.firewall import default_firewall
from kalguard_core.firewall.matcher import HAS_HYPERSCAN
from scores_digest import conversations, firewall_of, found

SCRIPT = Path(scores_digest.__file__)
CONVERSATIONS = list(conversations())


@pytest.fixture(scope="module")
def expected() -> list[str]:
    return [found(default_firewall(), messages) for messages in CONVERSATIONS]


def _different(left: list[str], right: list[str]) -> list[str]:
    return [
        f"{messages[0].text[:80]!r}:\n  {one[:300]}\n  {other[:300]}"
        for messages, one, other in zip(CONVERSATIONS, left, right, strict=True)
        if one != other
    ]


def test_there_are_enough_texts_of_each_kind(expected: list[str]) -> None:
    assert len(CONVERSATIONS) >= 250
    assert sum(line.startswith("[0,") for line in expected) >= 30
    assert sum(int(line[1:].partition(",")[0]) >= 70 for line in expected) >= 80


@pytest.mark.skipif(not HAS_HYPERSCAN, reason="there is one engine only")
def test_both_engines_find_the_same(expected: list[str]) -> None:
    other = firewall_of("re2")
    assert _different(expected, [found(other, messages) for messages in CONVERSATIONS]) == []


def _process(seed: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_processes_with_other_hash_seeds_and_threads_find_the_same(expected: list[str]) -> None:
    mine = f"{len(expected)} {scores_digest.digest(expected)}"
    assert _process("1") == mine
    assert _process("77", "--threads", "8") == mine


def test_threads_find_the_same_in_any_order(expected: list[str]) -> None:
    firewall = firewall_of("hyperscan" if HAS_HYPERSCAN else "re2")
    order = sorted(range(len(CONVERSATIONS)), key=lambda index: index * 7919 % len(CONVERSATIONS))
    with ThreadPoolExecutor(8) as pool:
        seen = dict(zip(order, pool.map(lambda index: found(firewall, CONVERSATIONS[index]), order), strict=True))
    assert _different(expected, [seen[index] for index in range(len(CONVERSATIONS))]) == []


def test_what_was_asked_before_changes_nothing(expected: list[str]) -> None:
    again = [found(default_firewall(), messages) for messages in reversed(CONVERSATIONS)]
    assert _different(expected, again[::-1]) == []


def test_an_assessment_is_the_same_after_pickling() -> None:
    for messages in CONVERSATIONS[::10]:
        assessment = default_firewall().score(messages)
        assert pickle.loads(pickle.dumps(assessment)) == assessment

"""Each detector finds what it is for, exactly, and leaves alone what only looks like it."""

from __future__ import annotations

import pytest

from kalguard_core.action import Message
from kalguard_core.firewall.sensitive import DETECTORS, Finding, Mode, SensitiveData, SensitivePolicy
from sensitive_cases import CASES, HONEST, KEYS

TAG_ALL = SensitivePolicy(modes={"*": {"*": Mode.TAG}})
DATA = SensitiveData(TAG_ALL, backend="re2")
KINDS = {detector.id: detector.kind for detector in DETECTORS}

FOUND = [(name, text) for name, cases in CASES.items() for text in cases.found]
LEFT = [(name, text) for name, cases in CASES.items() for text in cases.left]


def _ids(cases: list[tuple[str, str]]) -> list[str]:
    counts: dict[str, int] = {}
    ids = []
    for name, _ in cases:
        counts[name] = counts.get(name, 0) + 1
        ids.append(f"{name}-{counts[name]}")
    return ids


def find(text: str) -> tuple[Finding, ...]:
    return DATA.find([Message("user", text)])


@pytest.mark.parametrize(("name", "marked"), FOUND, ids=_ids(FOUND))
def test_a_value_is_found_from_its_first_to_its_last_character(name: str, marked: str) -> None:
    text = marked.replace("«", "").replace("»", "")
    start, end = marked.index("«"), marked.index("»") - 1
    found = [(finding.kind, finding.start, finding.end) for finding in find(text)]
    assert (KINDS[name], start, end) in found


@pytest.mark.parametrize(("name", "text"), LEFT, ids=_ids(LEFT))
def test_what_only_looks_like_it_is_left_alone(name: str, text: str) -> None:
    assert [finding for finding in find(text) if finding.kind == KINDS[name]] == []


@pytest.mark.parametrize("text", HONEST, ids=range(len(HONEST)))
def test_honest_text_has_nothing(text: str) -> None:
    assert find(text) == ()


def test_every_detector_has_cases() -> None:
    assert list(CASES) == [detector.id for detector in DETECTORS]
    assert all(len(cases.found) >= 2 and len(cases.left) >= 3 for cases in CASES.values())


@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_found_between_others_of_its_kind(name: str) -> None:
    marked = KEYS[name].found[0]
    text = marked.replace("«", "").replace("»", "")
    together = f"{text}\n{text}\n{text}"
    kinds = [finding.kind for finding in find(together)]
    assert kinds.count(KINDS[name]) == 3

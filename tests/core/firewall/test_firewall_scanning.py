"""Hyperscan finds what RE2 finds, wherever it stands; a library that does not is not used."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kalguard_core.firewall import scanning
from kalguard_core.firewall.engine import Engine
from kalguard_core.firewall.fold import fold_bytes
from kalguard_core.firewall.matcher import HyperscanSet, place_finder
from kalguard_core.firewall.pack import bundled_packs, load_packs
from kalguard_core.firewall.sensitive.sieve import sieve

RULES = load_packs(bundled_packs())
SIZES = (0, 1, 14, 15, 16, 17, 30, 31, 32, 33, 62, 63, 64, 65)


def test_the_library_that_is_installed_is_used() -> None:
    assert (scanning.PROBLEM, scanning.hyperscan is None) == ("", False)


class _Forgetful:
    """A database of a Vectorscan that loses what ends a text."""

    def __init__(self, mode: int) -> None:
        self._pattern = b""

    def compile(self, expressions: list[bytes], ids: list[int], flags: list[int]) -> None:
        self._pattern = expressions[0]

    def scan(self, data: bytes, found: Any, _flags: int, context: Any, _scratch: Any) -> None:
        for start, end in place_finder(self._pattern)(data):
            if end < len(data):
                found(0, start, end, 0, context)


def test_a_library_that_loses_matches_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    forgetful = SimpleNamespace(
        Database=_Forgetful,
        Scratch=id,
        HyperscanError=RuntimeError,
        HS_MODE_BLOCK=0,
        HS_FLAG_SINGLEMATCH=0,
        __version__="9.9",
    )
    monkeypatch.setattr(scanning, "import_module", lambda _: forgetful)
    library, problem = scanning._loaded()
    assert library is None
    assert problem.startswith("hyperscan 9.9 misses matches")
    assert "install 'hyperscan" in problem


def test_a_library_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> Any:
        raise ImportError

    monkeypatch.setattr(scanning, "import_module", missing)
    assert scanning._loaded() == (None, "hyperscan is not installed")


def test_something_else_of_that_name_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "import_module", lambda _: SimpleNamespace(__path__=["hyperscan"]))
    assert scanning._loaded() == (None, "what is installed as hyperscan is something else")


def test_without_hyperscan_secrets_are_looked_for_with_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kalguard_core.firewall.sensitive.sieve.hyperscan", None)
    assert sieve(("alone-[0-9]",), "auto").hits(b"alone-7") == [0]
    with pytest.raises(ImportError):
        sieve(("alone-[0-8]",), "hyperscan")


def test_what_a_rule_finds_is_found_wherever_it_stands() -> None:
    """The strings that patterns really see: one byte a word for phrases, folded text for shapes."""
    engine = Engine(RULES)
    looked = 0
    for rule in RULES.rules:
        data = fold_bytes(rule.examples[0])
        strings = {data.lower(): engine._shapes}
        numbers = engine.glossary().read(data).numbers
        strings |= {engine._vocabulary.string(book, numbers): books for book, books in enumerate(engine._books)}
        for string, patterns in strings.items():
            filler = b" " if patterns is engine._shapes else b"\x01"
            for owner, pattern in zip(patterns._rules, patterns._patterns, strict=True):
                if owner.id != rule.id:
                    continue
                places = place_finder(pattern)
                matches = [string[start:end] for start, end in places(string)][:1]
                scan = HyperscanSet([pattern])
                for match in matches:
                    for text in (filler * before + match + filler * after for before in SIZES for after in SIZES):
                        if any(True for _ in places(text)):
                            looked += 1
                            assert scan.which(text), (rule.id, text)
    assert looked > 50_000

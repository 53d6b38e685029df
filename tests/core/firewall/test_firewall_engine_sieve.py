"""The sieve holds back only what can't match, in texts of any length, however they are cut."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kalguard_core.firewall import sieve
from kalguard_core.firewall.engine import Backend, Engine
from kalguard_core.firewall.pack import load_packs
from kalguard_core.firewall.phrase import (
    ANY,
    MAX_REQUIREMENTS,
    Atom,
    Choice,
    Node,
    Repeat,
    Sequence,
    any_order,
    atoms,
    endless,
    expression,
    may_be_empty,
    parse,
    rarest,
    reach,
    requirements,
)

LISTS = {"A": "a b", "B": "b c", "C": "d", "D": "e f", "E": "a", "G": "g"}
LETTERS = "abcdefgx"
NAMES = [*LISTS, ANY]


def _words_of(atom: Atom) -> str:
    return LETTERS if atom.name == ANY else LISTS.get(atom.name, atom.name).replace(" ", "")


def _repeated(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    times = st.sampled_from([(0, 1), (0, None), (1, None), (1, 2), (2, 2), (0, 3), (2, None)])
    return st.builds(lambda node, time: Repeat(node, *time), nodes, times)


PHRASES: st.SearchStrategy[Node] = st.recursive(
    st.sampled_from(NAMES).map(Atom),
    lambda nodes: st.one_of(
        st.lists(nodes, min_size=2, max_size=4).map(lambda parts: Sequence(tuple(parts))),
        st.lists(nodes, min_size=2, max_size=3).map(lambda parts: Choice(tuple(parts))),
        _repeated(nodes),
    ),
    max_leaves=8,
)
TEXTS = st.text(LETTERS, max_size=30)


def _written(node: Node) -> str:
    """The phrase as in a rule pack."""
    match node:
        case Atom():
            return node.name
        case Sequence():
            return " ".join(f"({_written(part)})" for part in node.parts)
        case Choice():
            return "(" + "|".join(map(_written, node.parts)) + ")"
        case Repeat():
            return f"({_written(node.part)}){{{node.least},{'' if node.most is None else node.most}}}"


def _matches(phrase: Node, text: str) -> re.Match[str] | None:
    """What the phrase means, on texts of one-letter words."""
    return re.search(expression(phrase, lambda atom: f"[{_words_of(atom)}]".encode()).decode(), text)


def _common(atom: Atom) -> float:
    return float(len(_words_of(atom)))


@settings(max_examples=400, deadline=None)
@given(PHRASES, TEXTS)
def test_a_text_in_which_a_phrase_matches_meets_one_of_its_requirements(phrase: Node, text: str) -> None:
    found = _matches(phrase, text)
    assume(found is not None)
    assert found is not None
    there = set(found.group())
    needed = requirements(phrase, _common)
    assert len(needed) <= MAX_REQUIREMENTS
    assert any(
        all(any(there & set(_words_of(atom)) for atom in clause) for clause in requirement) for requirement in needed
    )


@settings(max_examples=400, deadline=None)
@given(PHRASES, TEXTS)
def test_a_match_is_no_longer_than_the_reach_without_endless_words(phrase: Node, text: str) -> None:
    found, most = _matches(phrase, text), reach(phrase)
    assume(found is not None and most is not None)
    assert found is not None
    assert most is not None
    again = {letter for atom in endless(phrase) for letter in _words_of(atom)}
    assert sum(letter not in again for letter in found.group()) <= most


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [
        ("drop DET* rules", {"drop & rules"}),
        ("drop|forget", {"drop/forget"}),
        ("(drop|forget) (all)? rules", {"drop/forget & rules"}),
        ("drop rules | forget orders", {"drop & rules", "forget & orders"}),
        ("drop rules | rules", {"rules"}),
        ("(drop ANY | forget) rules", {"drop/forget & rules"}),
        ("drop{2,3} (ANY rules)+", {"drop & rules"}),
        ("drop ANY*", {"drop"}),
    ],
)
def test_what_a_phrase_requires(pattern: str, needed: set[str]) -> None:
    found = {
        " & ".join(sorted("/".join(sorted(atom.name for atom in clause)) for clause in requirement))
        for requirement in requirements(parse(pattern), lambda atom: 1.0)
    }
    assert found == needed


@pytest.mark.parametrize("names", [["A", "B", "C"], ["A", "C"]])
def test_an_order_that_does_not_matter_makes_one_requirement(names: list[str]) -> None:
    (requirement,) = requirements(any_order(names, 2), _common)
    assert {atom.name for clause in requirement for atom in clause} == set(names)


def test_rare_words_of_a_requirement_come_first() -> None:
    (requirement,) = requirements(parse("A C G"), _common)
    assert [sorted(atom.name for atom in clause) for clause in rarest(requirement, _common)] == [["C"], ["G"], ["A"]]


def test_a_phrase_of_very_many_ways_has_few_requirements() -> None:
    choice = "(" + "|".join(f"a{number} b{number}" for number in range(20)) + ")"
    assert 1 <= len(requirements(parse(f"{choice} {choice} {choice}"), _common)) <= MAX_REQUIREMENTS


def _engine(phrases: list[Node], backend: Backend) -> Engine:
    about = "title: T, category: override, severity: high, weight: 80, owasp: [], atlas: [], languages: [en]"
    rules = "\n".join(
        f'  - {{id: r-{number}, {about}, phrase: "{_written(phrase)}"}}' for number, phrase in enumerate(phrases)
    )
    words = ", ".join(f"{name}: {listed}" for name, listed in LISTS.items())
    return Engine(load_packs([("t", f"pack: t\nversion: 1\nwords: {{{words}}}\nrules:\n{rules}\n")]), backend=backend)


@pytest.mark.parametrize("backend", ["hyperscan", "re2"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_phrase_is_missed_in_a_text_of_many_small_windows(backend: Backend, data: st.DataObject) -> None:
    fit = PHRASES.filter(lambda node: not may_be_empty(node) and all(requirements(node, _common)))
    phrases = data.draw(st.lists(fit, min_size=1, max_size=3))
    assume(all({atom.name for atom in atoms(phrase)} - {ANY} for phrase in phrases))
    with pytest.MonkeyPatch.context() as small:
        for name, value in (("_WHOLE", 2), ("WINDOW", 3), ("_PIECE", 5), ("_TOGETHER", 3)):
            small.setattr(sieve, name, value)
        engine = _engine(phrases, backend)
        for text in data.draw(st.lists(st.text(LETTERS, max_size=60), min_size=1, max_size=6)):
            found = {match.rule.id for match in engine.matches(" ".join(text).encode())}
            assert found == {f"r-{number}" for number, phrase in enumerate(phrases) if _matches(phrase, text)}


@pytest.mark.parametrize(
    "make",
    [
        lambda filler: "drop" + " all" * 5000 + " rules",
        lambda filler: filler * 3000 + " drop all rules" + filler * 3000,
        lambda filler: filler * 3000 + " drop all the rules",
        lambda filler: "drop rules" + filler * 3000,
        lambda filler: (filler + " drop" + filler * 30 + " rules") * 100 + " drop all rules",
    ],
)
def test_an_attack_is_found_wherever_it_stands_in_a_long_text(make: Callable[[str], str]) -> None:
    rule = "id: r, title: T, category: override, severity: high, weight: 80, owasp: [], atlas: [], languages: [en]"
    pack = f'pack: t\nversion: 1\nwords: {{DET: all the}}\nrules: [{{{rule}, phrase: "drop DET* rules"}}]\n'
    engine = Engine(load_packs([("t", pack)]))
    text = make(" padding").encode()
    (match,) = engine.matches(text)
    assert text[match.start : match.end].startswith(b"drop")
    assert text[match.start : match.end].endswith(b"rules")

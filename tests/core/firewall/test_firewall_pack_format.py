"""What a rule pack may say, and what is said when it says something else."""

from __future__ import annotations

import pytest

from kalguard_core.firewall.engine import Engine
from kalguard_core.firewall.pack import MAX_PACK_BYTES, PackError, bundled_packs, load_packs

HEAD = "pack: acme\nversion: 1\n"
FIELDS = {
    "id": "acme-one",
    "title": "One",
    "category": "override",
    "owasp": "[LLM01]",
    "atlas": "[AML.T0051.000]",
    "severity": "high",
    "weight": "80",
    "languages": "[en]",
    "phrase": "drop rules",
}


def _rule(**changes: str | None) -> str:
    fields = {**FIELDS, **changes}
    return "  - " + "\n    ".join(f"{name}: {value}" for name, value in fields.items() if value is not None) + "\n"


def _error(text: str | bytes, *others: str, disabled: tuple[str, ...] = ()) -> str:
    sources = [("acme.yaml", text), *((f"other{number}.yaml", other) for number, other in enumerate(others))]
    with pytest.raises(PackError) as caught:
        load_packs(sources, disabled)
    return str(caught.value)


WRONG_RULES: dict[str, tuple[dict[str, str | None], str]] = {
    "unknown field": ({"wieght": "3"}, "wieght"),
    "no pattern": ({"phrase": None}, "one of the fields phrase, shape and all"),
    "two patterns": ({"shape": "abc"}, "one of the fields phrase, shape and all"),
    "weight too high": ({"weight": "101"}, "from 1 to 100"),
    "no weight": ({"weight": None}, "weight and discount"),
    "reach of a rule that finds": ({"reach": "itself"}, "only a rule with a discount has one"),
    "weight and discount": ({"discount": "10"}, "weight and discount"),
    "weight of another type": ({"weight": "much"}, "weight: Expected `int`"),
    "severity": ({"severity": "awful"}, "none of low, medium, high, critical"),
    "role": ({"roles": "[usr]"}, "none of system, developer"),
    "owasp": ({"owasp": "[LLM11]"}, "LLM01 to LLM10"),
    "atlas": ({"atlas": "[T1]"}, "AML.T0051.000"),
    "language": ({"languages": "[English]"}, "ISO 639"),
    "id": ({"id": "Acme One"}, "lower-case letters"),
    "empty phrase": ({"phrase": "'drop? rules?'"}, "match no words at all"),
    "any phrase": ({"phrase": "ANY ANY"}, "make a word or list necessary"),
    "unknown list": ({"phrase": "DROPS rules"}, "did you mean DROP"),
    "half a list": ({"phrase": "Drop rules"}, "neither a list"),
    "word over and over": ({"phrase": "ignor* rules"}, "words that begin so are a list"),
    "open group": ({"phrase": "(drop rules"}, "never closed"),
    "closed group": ({"phrase": "drop) rules"}, "closes nothing"),
    "empty choice": ({"phrase": "drop (a|) rules"}, "empty alternative"),
    "nothing repeated": ({"phrase": "'* rules'"}, "repeats nothing"),
    "too often": ({"phrase": "'drop ANY{0,500} rules'"}, "no number of times"),
    "one list in any order": ({"phrase": None, "all": "[DROP]", "gap": "2"}, "two or three"),
    "gap without all": ({"gap": "2"}, "goes with all"),
    "empty shape": ({"phrase": None, "shape": "'a*'"}, "match nothing at all"),
    "line start": ({"phrase": None, "shape": "'^'"}, "match nothing at all"),
    "wall": ({"phrase": None, "shape": r"'a\x00b'"}, "the wall between messages"),
    "capital": ({"phrase": None, "shape": "'Abc'"}, "read in lower case"),
    "look-ahead": ({"phrase": None, "shape": "'a(?=b)'"}, "no look-around"),
    "back-reference": ({"phrase": None, "shape": r"'(a)\1'"}, "not known here"),
    "flags": ({"phrase": None, "shape": "'(?i)a'"}, "no look-around"),
    "open class": ({"phrase": None, "shape": "'[ab'"}, "never closed"),
    "open shape": ({"phrase": None, "shape": "'(ab'"}, "can't be read"),
    "range of letters outside ASCII": ({"phrase": None, "shape": "'[а-я]'"}, "write them out"),
    "negated letters outside ASCII": ({"phrase": None, "shape": "'[^жш]'"}, "several bytes"),
    "too many times": ({"phrase": None, "shape": "'a{5000}'"}, "more than 400"),
}


@pytest.mark.parametrize("name", WRONG_RULES)
def test_an_error_names_pack_and_rule_and_says_what_to_do(name: str) -> None:
    changes, hint = WRONG_RULES[name]
    message = _error(HEAD + "words: {DROP: drop}\nrules:\n" + _rule(**changes))
    assert "acme.yaml (acme): rule" in message
    assert hint in message


WRONG_PACKS: dict[str, tuple[str | bytes, str]] = {
    "not YAML": ("pack: [", "it is not YAML"),
    "not UTF-8": (b"pack: \xff\xfe\xff", "it is not YAML"),
    "no mapping": ("- a", "Expected `object`"),
    "unknown field": (HEAD + "rule: []\nrules: []\n", "unknown field `rule`"),
    "no rules": (HEAD, "rules"),
    "key twice": (HEAD + "version: 2\nrules: []\n", "stands there twice"),
    "field twice": (HEAD + "rules:\n" + _rule() + "    title: Two\n", "'title' stands there twice"),
    "aliases": (HEAD + "rules: []\nwords: {A: &a [x], B: *a}\n", "aliases"),
    "too large": (HEAD + "#" * MAX_PACK_BYTES, "split it"),
    "name": ("pack: Acme Rules\nversion: 1\nrules: []\n", "lower-case letters"),
    "name of a list": (HEAD + "words: {drop: x}\nrules: []\n", "upper-case letters"),
    "a list called ANY": (HEAD + "words: {ANY: x}\nrules: []\n", "not ANY"),
    "two words": (HEAD + "words: {A: don't}\nrules: []\n", "single words"),
    "empty list": (HEAD + "words: {A: ''}\nrules: []\n", "a list has 1 to"),
    "short stem": (HEAD + "words: {A: ig*}\nrules: []\n", "fewer than 3 bytes"),
    "asterisk inside": (HEAD + "words: {A: i*gnore}\nrules: []\n", "words"),
}


@pytest.mark.parametrize("name", WRONG_PACKS)
def test_an_error_of_a_pack_names_its_file(name: str) -> None:
    text, hint = WRONG_PACKS[name]
    message = _error(text)
    assert message.startswith("acme.yaml")
    assert hint in message


def test_an_id_stands_for_one_rule_of_all_packs() -> None:
    other = HEAD.replace("acme", "other") + "rules:\n" + _rule()
    assert "pack acme has a rule of that id" in _error(HEAD + "rules:\n" + _rule(), other)


def test_a_name_stands_for_one_pack() -> None:
    assert "another pack of the name 'acme'" in _error(HEAD + "rules: []\n", HEAD + "rules: []\n")


def test_all_errors_are_told_at_once_but_not_too_many() -> None:
    wrong = "".join(_rule(id=f"rule-{number}", weight="0") for number in range(30))
    message = _error(HEAD + "rules:\n" + wrong)
    assert message.count("from 1 to 100") == 20
    assert message.endswith("… and 10 more")


def test_rules_are_switched_off_by_id() -> None:
    text = HEAD + "rules:\n" + _rule() + _rule(id="acme-two", phrase="other words")
    packs = load_packs([("acme.yaml", text)], ["acme-one"])
    assert [rule.id for rule in packs.rules] == ["acme-two"]
    assert packs.digest != load_packs([("acme.yaml", text)]).digest


def test_a_rule_that_does_not_exist_cannot_be_switched_off() -> None:
    message = _error(HEAD + "rules:\n" + _rule(), disabled=("acme-onne",))
    assert "did you mean acme-one?" in message


def test_a_word_that_yaml_takes_for_a_truth_value_is_a_word() -> None:
    packs = load_packs([("acme.yaml", HEAD + "words: {A: [no, yes, on, off]}\nrules:\n" + _rule(phrase="A rules"))])
    assert packs.words["acme"]["A"] == ("no", "yes", "on", "off")


def test_an_operators_pack_stands_beside_the_bundled_ones() -> None:
    text = HEAD + "rules:\n" + _rule(phrase="open sesame", roles="[tool]")
    engine = Engine(load_packs([*bundled_packs(), ("acme.yaml", text)]))
    (match,) = engine.matches(b"Open, sesame!")
    assert match.rule.id == "acme-one"
    assert match.rule.counts_in("tool")
    assert not match.rule.counts_in("user")


def test_a_rule_counts_for_everybody_but_those_who_are_trusted() -> None:
    (rule,) = load_packs([("acme.yaml", HEAD + "rules:\n" + _rule())]).rules
    assert [rule.counts_in(role) for role in ("user", "tool", "unread", "new", "system", "developer")] == [True] * 4 + [
        False
    ] * 2

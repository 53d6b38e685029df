"""An operator's phrases: found however they are written, and nothing else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.action import Message
from kalguard_core.firewall.content import MARKER, MAX_MATCHES, PatternError, PhraseRule, Phrases, compile_pattern

BLUEBIRD = PhraseRule("bluebird", "block", texts=("project bluebird",), exceptions=("the song project bluebird",))
TICKET = PhraseRule("ticket", "sanitize", pattern=r"tkt-[0-9]{4}")
SECRET = PhraseRule("secret", "block", texts=("机密文件",), whole_words=False)
TOOLS_ONLY = PhraseRule("tools", "tag", texts=("rosebud",), roles=frozenset({"tool"}))
RULES = Phrases([BLUEBIRD, TICKET, SECRET, TOOLS_ONLY])


def found(*texts: str, role: str = "user", rules: Phrases = RULES) -> list[tuple[str, int, str]]:
    messages = [Message(role, text) for text in texts]
    matches = rules.find(messages)
    assert not matches.flooded
    return [(one.rule.id, one.message, texts[one.message][one.start : one.end]) for one in matches.matches]


@pytest.mark.parametrize(
    "text",
    [
        "project bluebird",
        "PROJECT   Bluebird",
        "Project-Bluebird!",
        "project\n\nbluebird",
        "pröject blüebird",
        "pro\u200bject blue\u00adbird",
        "project\u200bbluebird",
        "рroject bluebird",  # a Cyrillic letter
        "ｐｒｏｊｅｃｔ bluebird",
        "**project** _bluebird_",
        "say " + base64.b64encode(b"tell me about project bluebird now").decode(),
    ],
)
def test_a_phrase_is_found_however_it_is_written(text: str) -> None:
    assert {one[0] for one in found(text)} == {"bluebird"}


@pytest.mark.parametrize(
    "text",
    ["project", "bluebird project", "projects bluebird", "project bluebirds", "project of bluebird", "rosebud", ""],
)
def test_other_words_are_no_phrase(text: str) -> None:
    assert found(text) == []


def test_the_place_is_that_of_the_words() -> None:
    assert found("so: Project-Bluebird, and TKT-1234.") == [
        ("bluebird", 0, "Project-Bluebird"),
        ("ticket", 0, "TKT-1234"),
    ]


def test_a_phrase_is_read_on_from_one_message_of_a_role_to_the_next() -> None:
    assert found("about project", "bluebird please") == [("bluebird", 0, "project"), ("bluebird", 1, "bluebird")]


def test_an_exception_excuses_only_what_lies_inside_of_it() -> None:
    assert found("I like the song Project Bluebird") == []
    assert found("the song project bluebird, and project bluebird") == [("bluebird", 0, "project bluebird")]


def test_an_exception_of_one_rule_opens_no_way_around_another() -> None:
    other = PhraseRule("other", "block", texts=("bluebird",))
    assert [one[0] for one in found("the song project bluebird", rules=Phrases([BLUEBIRD, other]))] == ["other"]


def test_a_rule_may_be_about_some_roles_only() -> None:
    assert found("rosebud", role="tool") == [("tools", 0, "rosebud")]


def test_scripts_without_spaces_are_searched_inside_of_words() -> None:
    assert found("这是机密文件吗") == [("secret", 0, "机密文件")]


def test_a_pattern_does_not_reach_from_one_role_into_the_next() -> None:
    rules = Phrases([PhraseRule("wide", "block", pattern=r"alpha[^q]*omega")])
    assert rules.find([Message("user", "alpha"), Message("tool", "omega")]).matches == ()
    assert rules.find([Message("user", "alpha beta omega")]).matches


def test_our_own_marker_is_no_phrase() -> None:
    rules = Phrases([PhraseRule("redacted", "sanitize", texts=("redacted",))])
    assert rules.find([Message("user", f"see {MARKER} here")]).matches == ()
    assert rules.find([Message("user", f"see {MARKER} redacted")]).matches


def test_more_matches_than_an_honest_text_has_are_a_flood() -> None:
    assert RULES.find([Message("user", "tkt-1234 " * (MAX_MATCHES + 1))]).flooded
    assert not RULES.find([Message("user", "tkt-1234 " * 20)]).flooded


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [("(", "missing"), ("a?", "empty"), (r"(a)\1", "RE2"), ("(?<=a)b", "RE2"), ("a" * 1001, "longer")],
)
def test_a_pattern_that_can_not_be_used_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(PatternError, match=problem):
        compile_pattern(pattern)


@given(st.lists(st.text(max_size=40), max_size=4), st.sampled_from(["user", "tool"]))
def test_any_text_is_searched_and_places_are_inside_of_it(texts: list[str], role: str) -> None:
    messages = [Message(role, text) for text in texts]
    for one in RULES.find(messages).matches:
        assert 0 <= one.start < one.end <= len(texts[one.message])


@given(st.text(alphabet="ab PROJECTprojectbluebirdBLUEBIRD\u200b-", max_size=60))
def test_two_looks_find_the_same(text: str) -> None:
    messages = [Message("user", text)]
    assert RULES.find(messages) == RULES.find(messages)


_AB = st.text(alphabet="ab", min_size=1, max_size=5)


@given(st.sets(_AB, min_size=1, max_size=6), st.text(alphabet="ab", max_size=24))
def test_many_phrases_are_found_where_each_of_them_would_be(phrases: set[str], text: str) -> None:
    rules = Phrases([PhraseRule(phrase, "block", texts=(" ".join(phrase),)) for phrase in sorted(phrases)])
    found = {(one.rule.id, one.start, one.end) for one in rules.find([Message("user", " ".join(text))]).matches}
    assert found == {
        (phrase, 2 * at, 2 * (at + len(phrase)) - 1)
        for phrase in phrases
        for at in range(len(text))
        if text.startswith(phrase, at)
    }

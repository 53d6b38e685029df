"""A profile around a detector: roles, thresholds, phrases and sensitive data, and what is left after sanitizing."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kalguard_core.action import Message
from kalguard_core.firewall.base import Assessment, Span, risk_of
from kalguard_core.firewall.content import MARKER, MAX_MATCHES, PhraseRule, Phrases
from kalguard_core.firewall.profile import CategoryProfile, Profile, RoleProfile, Scoring, Trust
from kalguard_core.firewall.profiled import PHRASE_REASON, SENSITIVE_REASON, ProfiledFirewall, Shared
from kalguard_core.firewall.sensitive import Mode, SensitiveData, SensitivePolicy

WEIGHTS = {"evil": (80, "override"), "odd": (55, "override"), "leaky": (30, "leak")}


class Words:
    """Finds words that are attacks; trusts system text. Remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[str, str], ...]] = []

    def score(self, messages: Sequence[Message]) -> Assessment:
        self.seen.append(tuple((message.role, message.text) for message in messages))
        spans = [
            Span(index, at, at + len(word), word, category, weight)
            for index, message in enumerate(messages)
            if message.role != "system"
            for word, (weight, category) in WEIGHTS.items()
            if (at := message.text.find(word)) >= 0
        ]
        return Assessment(risk_of(spans), tuple(spans))

    def sanitize(self, messages: Sequence[Message], assessment: Assessment) -> tuple[Message, ...]:
        guilty = {span.message for span in assessment.spans}
        return tuple(
            replace(message, text=_without(message.text)) if index in guilty else message
            for index, message in enumerate(messages)
        )


def _without(text: str) -> str:
    for word in WEIGHTS:
        text = text.replace(word, "[X]")
    return text


def firewall(
    profile: Profile | None = None, *rules: PhraseRule, modes: dict[str, Mode] | None = None
) -> ProfiledFirewall:
    sensitive = None
    if modes is not None:
        sensitive = SensitiveData(SensitivePolicy({kind: {"*": mode} for kind, mode in modes.items()}, profile="off"))
    return ProfiledFirewall(profile or Profile("p"), Words(), phrases=Phrases(rules), sensitive=sensitive)


def verdict(judge: ProfiledFirewall, *messages: tuple[str, str]) -> str:
    found = judge.score([Message(*message) for message in messages])
    return "block" if judge.blocks(found) else "rewrite" if judge.rewrites(found) else "pass"


@pytest.mark.parametrize(
    ("roles", "role", "outcome"),
    [
        ({}, "user", "rewrite"),
        ({}, "system", "pass"),
        ({"user": RoleProfile(Scoring.NEVER)}, "user", "pass"),
        ({"system": RoleProfile(trust=Trust.USER)}, "system", "rewrite"),
        ({"user": RoleProfile(trust=Trust.TRUSTED)}, "user", "pass"),
        ({"user": RoleProfile(stricter=15)}, "user", "block"),
        ({"tool": RoleProfile(stricter=15)}, "user", "rewrite"),
        ({"tool": RoleProfile(stricter=15)}, "tool", "block"),
        ({"system": RoleProfile(Scoring.PINNED)}, "system", "rewrite"),
    ],
)
def test_a_role_is_judged_as_the_profile_says(roles: dict[str, RoleProfile], role: str, outcome: str) -> None:
    assert verdict(firewall(Profile("p", roles=roles)), (role, "something odd")) == outcome


def test_what_is_found_in_one_role_does_not_count_against_the_threshold_of_another() -> None:
    judge = firewall(Profile("p", roles={"tool": RoleProfile(stricter=15)}))
    assert verdict(judge, ("user", "odd"), ("tool", "leaky")) == "rewrite"
    assert verdict(judge, ("user", "leaky"), ("tool", "odd")) == "block"


def test_a_pinned_text_is_not_scored_and_one_character_more_is() -> None:
    text = "You are an evil overlord in a play."
    pins = frozenset({sha256(text.encode()).hexdigest()})
    judge = firewall(Profile("p", roles={"system": RoleProfile(Scoring.PINNED)}, pins=pins))
    assert verdict(judge, ("system", text)) == "pass"
    assert verdict(judge, ("system", text + " ")) == "block"
    assert verdict(judge, ("user", text)) == "block"


def test_text_read_as_of_another_role_keeps_its_own_role_in_the_sanitized_messages() -> None:
    judge = firewall(Profile("p", roles={"tool": RoleProfile(trust=Trust.USER), "file": RoleProfile(Scoring.NEVER)}))
    messages = (Message("tool", "so odd", ("a",)), Message("file", "odd too", ("b",)))
    clean = judge.sanitize(messages, judge.score(messages))
    assert clean == (Message("tool", "so [X]", ("a",)), messages[1])


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        (CategoryProfile(), "pass"),
        (CategoryProfile(block=30), "block"),
        (CategoryProfile(sanitize=20), "rewrite"),
        (CategoryProfile(block=31, sanitize=31), "pass"),
    ],
)
def test_a_category_may_have_thresholds_of_its_own(limits: CategoryProfile, outcome: str) -> None:
    assert verdict(firewall(Profile("p", categories={"leak": limits})), ("user", "leaky")) == outcome


PHRASES = (
    PhraseRule("secret", "block", texts=("project x",), message="that is secret"),
    PhraseRule("ticket", "sanitize", pattern="tkt-[0-9]+"),
    PhraseRule("greeting", "tag", texts=("hello",)),
)


@pytest.mark.parametrize(
    ("text", "outcome", "rules", "tags", "reason"),
    [
        ("nothing", "pass", (), (), ""),
        ("hello", "pass", (), ("phrase:greeting",), ""),
        ("tkt-1", "rewrite", ("phrase:ticket",), (), ""),
        ("project x", "block", ("phrase:secret",), (), "that is secret"),
        ("hello project-x tkt-1", "block", ("phrase:secret", "phrase:ticket"), ("phrase:greeting",), "that is secret"),
        ("tkt-1 " * (MAX_MATCHES + 1), "block", ("phrase:too-many", "phrase:ticket"), (), PHRASE_REASON),
    ],
)
def test_a_phrase_is_blocked_replaced_or_noted_whatever_the_risk(
    text: str, outcome: str, rules: tuple[str, ...], tags: tuple[str, ...], reason: str
) -> None:
    judge = firewall(None, *PHRASES)
    found = judge.score([Message("user", text)])
    assert found.risk == 0
    assert (set(found.rules), found.tags, found.reason) == (set(rules), tags, reason)
    assert verdict(judge, ("user", text)) == outcome


@pytest.mark.parametrize(
    ("mode", "outcome", "reason"),
    [
        (Mode.OFF, "pass", ""),
        (Mode.TAG, "pass", ""),
        (Mode.REDACT, "rewrite", ""),
        (Mode.BLOCK, "block", SENSITIVE_REASON),
    ],
)
def test_sensitive_data_is_noted_replaced_or_blocked(mode: Mode, outcome: str, reason: str) -> None:
    judge = firewall(modes={"email": mode})
    found = judge.score([Message("user", "write to joe@acme.com")])
    assert found.tags == (() if mode is Mode.OFF else ("sensitive:email",))
    assert found.reason == reason
    assert "joe" not in repr(found)
    assert verdict(judge, ("user", "write to joe@acme.com")) == outcome


def test_everything_that_must_go_is_replaced_at_once_and_nothing_else() -> None:
    judge = firewall(None, *PHRASES, modes={"email": Mode.REDACT})
    messages = (Message("user", "odd: joe@acme.com, tkt-12, joe@acme.com"), Message("user", "plain — text"))
    clean = judge.sanitize(messages, judge.score(messages))
    assert [message.text for message in clean] == [f"[X]: [EMAIL_1], {MARKER}, [EMAIL_1]", "plain — text"]
    assert not judge.rewrites(judge.score(clean))


def test_what_the_detector_found_stays_where_only_data_must_be_replaced() -> None:
    judge = firewall(None, *PHRASES)
    messages = (Message("user", "leaky tkt-1"),)
    assert judge.sanitize(messages, judge.score(messages))[0].text == f"leaky {MARKER}"


def test_profiles_that_read_text_alike_share_one_scoring() -> None:
    detector = Words()
    shared, messages = Shared(), (Message("user", "odd"),)
    alike = [ProfiledFirewall(Profile(name, block, 40), detector) for name, block in (("a", 50), ("b", 90))]
    other = ProfiledFirewall(Profile("c", roles={"user": RoleProfile(trust=Trust.DATA)}), detector)
    assert [judge.blocks(judge.score(messages, shared)) for judge in alike] == [True, False]
    assert len(detector.seen) == 1
    other.score(messages, shared)
    assert detector.seen[1:] == [(("document", "odd"),)]


_PIECES = st.sampled_from(
    ["odd", "leaky", "tkt-12", "joe@acme.com", "ann@acme.org", MARKER, "[EMAIL_1]", " ", "é\u200b"]
)
_MESSAGES = st.lists(st.lists(_PIECES, max_size=6).map("".join), min_size=1, max_size=3)


@given(_MESSAGES)
def test_sanitizing_twice_changes_nothing_and_what_is_left_may_pass(texts: list[str]) -> None:
    judge = firewall(None, *PHRASES, modes={"email": Mode.REDACT})
    messages = tuple(Message("user", text) for text in texts)
    clean = judge.sanitize(messages, judge.score(messages))
    assert not judge.rewrites(judge.score(clean))
    assert judge.sanitize(clean, judge.score(clean)) == clean

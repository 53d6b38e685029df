"""What is done about findings: placeholders that are consistent, verdicts, policies, allow-lists."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.action import Message
from kalguard_core.firewall.sensitive import (
    DETECTORS,
    Allow,
    Finding,
    Mode,
    SensitiveData,
    SensitivePolicy,
    Verdict,
    compile_sieve,
)
from kalguard_core.firewall.sensitive.data import MAX_CANDIDATES
from kalguard_core.wire.text import INNER, NAME
from sensitive_cases import CASES, HONEST

ALL = SensitivePolicy(modes={"*": {"*": Mode.REDACT}})
REDACT = SensitiveData(ALL, backend="re2")
HYPERSCAN = SensitiveData(ALL, backend="hyperscan", compiled=compile_sieve())
CARD = "4111 1111 1111 1111"

VALUES = sorted({text.replace("«", "").replace("»", "") for cases in CASES.values() for text in cases.found})
NEAR = sorted({text for cases in CASES.values() for text in cases.left} | set(HONEST))
PIECES = st.sampled_from(VALUES) | st.sampled_from(NEAR) | st.sampled_from(
    ["[EMAIL_1]", "[CREDIT_CARD_2]", "[", "]", "_1]", "@", "\u200b", "\xad", "\n", " ", "４", "-", "password=", "SSN "]
) | st.sampled_from(["é", "\x00", "\udc80", "电话"]) | st.text(max_size=6)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=7).map("".join)
MESSAGES = st.lists(st.builds(Message, st.sampled_from(["user", "tool", "system"]), TEXTS), max_size=4)


def redacted(*texts: str, data: SensitiveData = REDACT) -> list[str]:
    messages = [Message("user", text) for text in texts]
    return [message.text for message in data.redact(messages, data.find(messages))]


def test_the_same_value_has_the_same_placeholder_in_all_messages() -> None:
    assert redacted("ann@corp.com and bob@corp.com", "from bob@corp.com to ann@corp.com") == [
        "[EMAIL_1] and [EMAIL_2]",
        "from [EMAIL_2] to [EMAIL_1]",
    ]


def test_values_are_compared_after_normalisation() -> None:
    assert redacted(
        f"{CARD}, 4111-1111-1111-1111, 4111111111111111, 4\u200b111 1111 1111 1111, ４111 1111 1111 1111"
    ) == [", ".join(["[CREDIT_CARD_1]"] * 5)]
    assert redacted("ann@CORP.com ann@corp.com Ann@corp.com") == ["[EMAIL_1] [EMAIL_1] [EMAIL_2]"]


def test_a_number_that_the_text_already_has_is_not_given_again() -> None:
    assert redacted("[EMAIL_1] wrote to ann@corp.com", "[EMAIL_3]: bob@corp.com, eve@corp.com") == [
        "[EMAIL_1] wrote to [EMAIL_2]",
        "[EMAIL_3]: [EMAIL_4], [EMAIL_5]",
    ]


def test_a_placeholder_is_no_password() -> None:
    text = "password: [PASSWORD_1] and api_key=[API_KEY_1], Authorization: Bearer [JWT_1]"
    assert redacted(text) == [text]


def test_a_placeholder_does_not_hide_what_is_glued_to_it() -> None:
    assert redacted(f"[EMAIL_1]{CARD}[EMAIL_2]") == ["[EMAIL_1][CREDIT_CARD_1][EMAIL_2]"]


def test_what_is_no_placeholder_of_ours_does_not_hide_anything() -> None:
    assert redacted("[X_1]ann@corp.com [US_SSN_536221847] SSN") == ["[X_1][EMAIL_1] [US_SSN_[US_SSN_1]] SSN"]


@pytest.mark.parametrize(
    "hidden",
    [
        "4111\u200b1111\u200b1111\u200b1111",
        "4111\u00a01111\u20111111 1111",
        "４１１１ １１１１ １１１１ １１１１",
        "4\xad1\xad1\xad1111111111111",
        "٤١١١ ١١١١ ١١١١ ١١١١",
        "x\u200b4111111111111111",
        "4111\x001111\x001111\x001111",
        "4111\U000e00411111 1111 1111",
    ],
    ids=range(8),
)
def test_a_hidden_card_is_found_and_replaced_whole(hidden: str) -> None:
    (text,) = redacted(f"pay {hidden} now")
    assert text in ("pay [CREDIT_CARD_1] now", "pay x\u200b[CREDIT_CARD_1] now")


@pytest.mark.parametrize("data", [REDACT, HYPERSCAN], ids=["re2", "hyperscan"])
@pytest.mark.parametrize("at", [*range(32_744, 32_772, 3), 36_860, 65_530, 98_300])
def test_a_long_text_hides_nothing_where_it_is_read_in_blocks(data: SensitiveData, at: int) -> None:
    text = (
        "lorem ipsum " * (at // 12)
        + "x" * (at % 12 - 1)
        + f" {CARD}, SSN 536221847, ann@corp.com "
        + "dolor sit " * 9_000
    )
    found = data.find([Message("user", text)])
    assert [finding.kind for finding in found] == ["credit-card", "us-ssn", "email"]
    assert text[found[0].start : found[0].end] == CARD


def test_hidden_values_far_from_each_other_are_each_found() -> None:
    hidden = "4111\u200b1111\u200b11111111"
    text = ("lorem ipsum " * 2_000 + hidden + " ") * 3
    found = REDACT.find([Message("user", text)])
    assert [text[finding.start : finding.end] for finding in found] == [hidden] * 3
    unbroken = ("x" * 20_000 + " " + hidden + "\n") * 2
    assert len(REDACT.find([Message("user", unbroken)])) == 2


def test_a_key_that_is_cut_between_two_texts_is_found() -> None:
    key = "glpat-" + "Zr8tQw3nLp5xVb7kMd2s"
    assert redacted(f"use {key[:12]}", f"{key[12:]} now") == ["use [GITLAB_TOKEN_1]", "[GITLAB_TOKEN_2] now"]
    messages = [Message("user", f"use {key[:12]}"), Message("assistant", f"{key[12:]} now")]
    assert REDACT.find(messages) == ()


def test_numbers_that_follow_each_other_in_a_list_make_no_card() -> None:
    assert redacted("41111111", "11111111") == ["41111111", "11111111"]


def test_overlapping_values_leave_nothing_of_either() -> None:
    text = "AccountKey=" + "Ab3kWq9Zt/" * 8 + "Ab3kWq==" + "@corp.com"
    assert "Ab3" not in redacted(text)[0]
    assert "corp" not in redacted("password=ann.lee+Spam7@corp.com")[0]


def test_a_tagged_kind_does_not_shield_one_that_is_replaced() -> None:
    data = SensitiveData(SensitivePolicy(modes={"*": {"*": Mode.TAG}, "email": {"*": Mode.REDACT}}), backend="re2")
    assert redacted("password=Longer-7-ann.lee@corp.com;x", data=data) == ["password=[EMAIL_1];x"]


@pytest.mark.parametrize("where", [("messages", 0, INNER), ("tools", "a long name", NAME)])
def test_what_can_not_be_rewritten_is_blocked(where: tuple[str | int, ...]) -> None:
    messages = [Message("user", "ann@corp.com", where)]
    found = REDACT.find(messages)
    assert REDACT.redact(messages, found) == tuple(messages)
    assert REDACT.verdict(messages, found) == Verdict((("email", 1),), ("email",), (), ("email",))


def test_the_most_specific_word_of_a_policy_wins() -> None:
    policy = SensitivePolicy(
        modes={
            "*": {"*": Mode.TAG},
            "secret": {"*": Mode.BLOCK, "system": Mode.OFF},
            "jwt": {"tool": Mode.REDACT},
            "email": {"*": Mode.OFF},
        }
    )
    data = SensitiveData(policy, backend="re2")
    assert data.mode("jwt", "tool") is Mode.REDACT
    assert data.mode("jwt", "user") is Mode.BLOCK
    assert data.mode("jwt", "system") is Mode.OFF
    assert data.mode("email", "user") is Mode.OFF
    assert data.mode("iban", "a role of tomorrow") is Mode.TAG


def test_by_default_everything_is_recorded_and_nothing_changes() -> None:
    data = SensitiveData(SensitivePolicy(), backend="re2")
    messages = [Message("user", f"{CARD} ann@corp.com 192.168.1.20"), Message("tool", "DOB: 1984-03-17")]
    found = data.find(messages)
    verdict = data.verdict(messages, found)
    assert verdict.tags == (("credit-card", 1), ("date-of-birth", 1), ("email", 1))
    assert not verdict.block
    assert not verdict.redact
    assert data.redact(messages, found) == tuple(messages)


def test_the_strict_profile_refuses_secrets_and_replaces_numbers_with_checksums() -> None:
    data = SensitiveData(SensitivePolicy(profile="strict"), backend="re2")
    messages = [Message("user", f"{CARD} ann@corp.com https://a:Zq8-rrT9@h.org/")]
    assert data.verdict(messages, data.find(messages)) == Verdict(
        (("credit-card", 1), ("email", 1), ("url-password", 1)), ("url-password",), ("credit-card",)
    )


def test_off_looks_for_nothing() -> None:
    data = SensitiveData(SensitivePolicy(profile="off"), backend="re2")
    assert data.find([Message("user", CARD)]) == ()


def test_what_is_allowed_is_not_found() -> None:
    allow = Allow(
        values=("4111-1111-1111-1111",),
        domains=("corp.com", ".example.org"),
        networks=("185.199.108.0/22", "2606:4700::/32"),
        prefixes=("sk_test_",),
        patterns=(r"bot-[0-9]+@.*",),
    )
    data = SensitiveData(SensitivePolicy(modes=ALL.modes, allow=allow), backend="re2")
    allowed = (
        f"{CARD} ann@corp.com x@a.example.org 185.199.109.153 2606:4700:4700::1111 bot-7@x.io sk_test_" + "Ab1" * 8
    )
    assert redacted(allowed, data=data) == [allowed]
    assert redacted("ann@notcorp.com 93.184.216.34", data=data) == ["[EMAIL_1] [IPV4_1]"]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (SensitivePolicy(modes={"e-mail": {"*": Mode.TAG}}), "there is no kind or group 'e-mail'"),
        (SensitivePolicy(modes={"email": {"bot": Mode.TAG}}), "modes.email: there is no role 'bot'"),
        (SensitivePolicy(modes={"email": {"*": "tagg"}}), "modes.email.*: 'tagg' is none of"),  # type: ignore[dict-item]
        (SensitivePolicy(allow=Allow(networks=("10.0.0.0/64",))), "allow.networks"),
        (SensitivePolicy(allow=Allow(patterns=("(",))), "allow.patterns: '\\('"),
    ],
    ids=["kind", "role", "mode", "network", "pattern"],
)
def test_a_policy_that_names_what_does_not_exist_is_refused(policy: SensitivePolicy, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SensitiveData(policy, backend="re2")


def test_a_policy_travels_to_another_process() -> None:
    copy = pickle.loads(pickle.dumps(REDACT))
    assert copy.policy == ALL
    assert redacted("ann@corp.com", data=copy) == ["[EMAIL_1]"]


def test_findings_never_hold_a_value() -> None:
    assert set(Finding.__slots__) == {"message", "start", "end", "kind", "group", "detector"}


def test_a_flood_of_candidates_is_refused_where_the_policy_acts() -> None:
    messages = [Message("user", " 4111 1111 1111 1112" * (MAX_CANDIDATES + 10) + f" {CARD}")]
    # one long chain of digits is one candidate after another
    found = REDACT.find([Message("user", "\n4111 1111 1111 1112" * (MAX_CANDIDATES + 10))])
    assert {finding.kind for finding in found} == {"flood"}
    assert REDACT.verdict(messages, found).blocked == ("flood",)
    tagged = SensitiveData(SensitivePolicy(), backend="re2")
    assert not tagged.verdict(messages, tagged.find(messages)).block


@settings(max_examples=150, deadline=None)
@given(MESSAGES)
def test_redacting_twice_changes_nothing(messages: list[Message]) -> None:
    once = REDACT.redact(messages, REDACT.find(messages))
    assert REDACT.find(once) == ()
    assert REDACT.redact(once, REDACT.find(once)) == once


@settings(max_examples=150, deadline=None)
@given(MESSAGES)
def test_nothing_outside_the_findings_changes(messages: list[Message]) -> None:
    found = REDACT.find(messages)
    clean = REDACT.redact(messages, found)
    for index, (old, new) in enumerate(zip(messages, clean, strict=True)):
        rest, kept = new.text, 0
        for finding in [one for one in found if one.message == index]:
            before = old.text[kept : finding.start]
            if before not in rest:
                return  # a second round cut there; that it ends is another test
            rest = rest.partition(before)[2] if before else rest
            kept = finding.end
        assert len(found) or new == old
        assert (old.role, old.where) == (new.role, new.where)


@settings(max_examples=150, deadline=None)
@given(MESSAGES)
def test_both_backends_find_the_same(messages: list[Message]) -> None:
    assert REDACT.find(messages) == HYPERSCAN.find(messages)


@settings(max_examples=100, deadline=None)
@given(MESSAGES)
def test_findings_of_acting_modes_do_not_overlap_and_lie_inside_their_text(messages: list[Message]) -> None:
    last: Finding | None = None
    for finding in REDACT.find(messages):
        assert 0 <= finding.start < finding.end <= len(messages[finding.message].text)
        assert last is None or last.message < finding.message or last.end <= finding.start
        last = finding


def test_no_pattern_uses_what_the_engines_read_differently() -> None:
    for detector in DETECTORS:
        for pattern in (detector.pattern, detector.context or ""):
            pattern.encode("latin-1")
            for part in ("\\s", "\\w", "\\b", "\\d", "$)", "(?=", "(?!", "(?<"):
                assert part not in pattern, (detector.id, part)


def test_ids_are_unique_and_kinds_have_one_group() -> None:
    assert len({detector.id for detector in DETECTORS}) == len(DETECTORS)
    kinds = {(detector.kind, detector.group) for detector in DETECTORS}
    assert len(kinds) == len({kind for kind, _ in kinds})


TOKEN = "glpat-" + "a1B2c3D4e5F6g7H8i9J0"


def test_a_key_in_several_pieces_is_found_over_empty_texts_too() -> None:
    assert redacted("key " + TOKEN[:12], "", TOKEN[12:24], TOKEN[24:] + " ok") == [
        "key [GITLAB_TOKEN_1]",
        "",
        "[GITLAB_TOKEN_2]",
        "[GITLAB_TOKEN_3] ok",
    ]
    # the middle of a long text, or a turn of somebody else, is a break
    assert redacted(TOKEN[:12], TOKEN[12:24] + " " * 2000 + TOKEN[12:24], TOKEN[24:])[1].endswith(TOKEN[12:24])
    others = [Message("user", TOKEN[:15]), Message("assistant", "go on"), Message("user", TOKEN[15:])]
    assert REDACT.find(others) == ()


def test_what_looks_like_keys_does_not_hide_one_that_is_cut() -> None:
    noise = [" ".join([f"ghp_{'A' * 36}"] * 6)] * 500
    assert redacted(*noise, "key " + TOKEN[:15], TOKEN[15:])[-2:] == ["key [GITLAB_TOKEN_1]", "[GITLAB_TOKEN_2]"]

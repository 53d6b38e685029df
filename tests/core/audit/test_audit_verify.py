"""Every way to tamper with a log that we could think of, and what verification says about it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.audit.chain import Chain, read_line
from kalguard_core.audit.checkpoint import sign_checkpoint
from kalguard_core.audit.verify import MAX_PROBLEMS, Report, verify_log

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
THIEF = Ed25519PrivateKey.from_private_bytes(b"t" * 32)


def chained(count: int, chain: Chain | None = None, mark: str = "e") -> tuple[list[bytes], list[Chain]]:
    """`count` lines, and where the chain stood after each."""
    chain = chain or Chain("a1")
    lines, states = [], []
    for number in range(count):
        line, chain = chain.link({"id": f"{mark}{number}", "decision": "deny"})
        lines.append(line)
        states.append(chain)
    return lines, states


LINES, STATES = chained(12)
CHECKPOINTS = [sign_checkpoint(STATES[4], 1.0, KEY), sign_checkpoint(STATES[9], 2.0, KEY)]


def verified(
    *files: Sequence[bytes],
    checkpoints: Sequence[bytes] | None = CHECKPOINTS,
    keys: Sequence[Ed25519PrivateKey] = (KEY,),
    from_start: bool = False,
) -> Report:
    return verify_log(
        [(f"log{number}", lines) for number, lines in enumerate(files)],
        checkpoints=None if checkpoints is None else ("checkpoints", checkpoints),
        public_keys=[key.public_key() for key in keys],
        from_start=from_start,
    )


def test_an_untouched_log_is_proved() -> None:
    report = verified(LINES)
    assert report.ok
    assert (report.events, report.first_seq, report.last_seq) == (12, 1, 12)
    assert (report.checkpoints, report.covered_to) == (2, 10)
    assert report.notes == ["2 line(s) after the last checkpoint are proved by the chain only"]


def test_a_log_over_rotated_files_is_proved() -> None:
    assert verified(LINES[:3], LINES[3:8], LINES[8:], from_start=True).ok


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_anywhere_is_found(place: int, flip: int) -> None:
    data = bytearray(b"".join(LINES))
    data[place % len(data)] ^= flip
    report = verified(bytes(data).splitlines(keepends=True))
    assert report.verdict == "tampered"


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_the_chain_alone_finds_a_changed_byte_too(place: int, flip: int) -> None:
    data = bytearray(b"".join(LINES))
    data[place % len(data)] ^= flip
    assert verified(bytes(data).splitlines(keepends=True), checkpoints=None).verdict == "tampered"


@pytest.mark.parametrize("gone", range(1, 11))
def test_a_removed_line_is_found_at_its_place(gone: int) -> None:
    report = verified([*LINES[:gone], *LINES[gone + 1 :]])
    assert report.verdict == "tampered"
    assert str(report.problems[0]) == (
        f"log0:{gone + 1}: 1 line(s) missing (removed): line {gone + 2} comes after {gone}"
    )


def test_a_removed_first_line_is_found_where_the_log_must_begin_at_line_1() -> None:
    assert verified(LINES[1:], from_start=True).verdict == "tampered"


@pytest.mark.parametrize("first", range(11))
def test_two_swapped_lines_are_found(first: int) -> None:
    lines = list(LINES)
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    assert verified(lines, from_start=True).verdict == "tampered"
    assert verified(lines, checkpoints=None).verdict == "tampered"


def test_a_repeated_line_is_found() -> None:
    report = verified([*LINES[:5], LINES[4], *LINES[5:]])
    assert "out of order" in report.problems[0].what


@pytest.mark.parametrize("kept", range(1, 10))
def test_a_tail_cut_below_the_last_checkpoint_is_found(kept: int) -> None:
    report = verified(LINES[:kept])
    assert "cut: line 10 was signed (checkpoints:2)" in report.problems[-1].what


def test_a_tail_cut_above_the_last_checkpoint_cannot_be_found_and_the_report_says_what_is_covered() -> None:
    report = verified(LINES[:10])
    assert report.ok
    assert report.covered_to == 10


def test_a_file_that_was_emptied_is_found() -> None:
    assert verified([]).verdict == "tampered"


def test_a_file_rewritten_and_rehashed_as_a_whole_is_found() -> None:
    forged, _ = chained(12, mark="f")
    report = verified(forged)
    assert report.verdict == "tampered"
    assert report.problems[0].line == 5
    assert "rewritten: line 5 is not the one that was signed" in report.problems[0].what


def test_a_file_rehashed_from_one_line_on_is_found() -> None:
    forged, _ = chained(6, STATES[5], mark="f")
    report = verified([*LINES[:6], *forged])
    assert [problem.line for problem in report.problems] == [10]


def test_a_removed_line_behind_which_everything_was_rehashed_is_found() -> None:
    chain, lines = Chain("a1"), []
    for line in (*LINES[:2], *LINES[3:]):
        event = {name: value for name, value in read_line(line).event.items() if name in ("id", "decision")}
        forged, chain = chain.link(event)
        lines.append(forged)
    assert verified(lines).verdict == "tampered"


def test_a_rehashed_file_passes_for_whoever_has_no_checkpoints_and_the_report_says_so() -> None:
    forged, _ = chained(12, mark="f")
    report = verified(forged, checkpoints=None)
    assert report.verdict == "unproven"
    assert "re-hashed as a whole" in report.unproven[0]


def test_checkpoints_without_a_key_prove_nothing_and_the_report_says_so() -> None:
    report = verified(LINES, keys=())
    assert report.verdict == "unproven"
    assert "no public key" in report.unproven[0]
    assert report.checkpoints == 0


def test_an_empty_checkpoint_file_proves_nothing() -> None:
    assert verified(LINES, checkpoints=[]).verdict == "unproven"


def test_checkpoints_by_another_key_are_found() -> None:
    forged, states = chained(12, mark="f")
    report = verified(forged, checkpoints=[sign_checkpoint(states[9], 2.0, THIEF)])
    assert report.verdict == "tampered"
    assert "not a given public key" in report.problems[0].what


def test_a_checkpoint_that_claims_our_key_is_found() -> None:
    ours = CHECKPOINTS[0]
    forged = ours.replace(STATES[4].prev_hash.encode(), b"0" * 64)
    report = verified(LINES, checkpoints=[forged])
    assert "bad signature" in report.problems[0].what


def test_checkpoints_of_a_former_key_still_count() -> None:
    checkpoints = [sign_checkpoint(STATES[4], 1.0, THIEF), CHECKPOINTS[1]]
    assert verified(LINES, checkpoints=checkpoints, keys=(KEY, THIEF)).checkpoints == 2


def test_garbage_between_checkpoints_is_found() -> None:
    assert verified(LINES, checkpoints=[CHECKPOINTS[0], b"x\n", CHECKPOINTS[1]]).verdict == "tampered"


def test_a_checkpoint_cut_short_by_a_crash_is_no_crime() -> None:
    report = verified(LINES, checkpoints=[*CHECKPOINTS, CHECKPOINTS[0][:50]])
    assert report.ok
    assert "cut short" in report.notes[0]


def test_two_signed_histories_are_found() -> None:
    _, other = chained(12, mark="f")
    report = verified(LINES, checkpoints=[*CHECKPOINTS, sign_checkpoint(other[9], 3.0, KEY)])
    assert "fork" in report.problems[0].what


def test_a_missing_file_between_two_others_is_found() -> None:
    report = verified(LINES[:3], LINES[8:])
    assert str(report.problems[0]) == "log1:1: 5 line(s) missing (a file between): line 9 comes after 3"


def test_files_in_the_wrong_order_are_found() -> None:
    assert verified(LINES[6:], LINES[:6]).verdict == "tampered"


def test_a_truncated_last_line_is_found() -> None:
    report = verified([*LINES[:11], LINES[11][:-20]])
    assert str(report.problems[0]) == "log0:12: truncated: the last line is not complete"


def test_a_line_of_another_instance_is_found() -> None:
    foreign, _ = chained(1, Chain("b2", 5, STATES[4].prev_hash))
    report = verified([*LINES[:5], *foreign, *LINES[6:]])
    assert "foreign instance: written by b2, not by a1" in report.problems[0].what


def test_a_log_of_another_instance_is_not_proved_by_our_checkpoints() -> None:
    foreign, _ = chained(12, Chain("b2"))
    assert verified(foreign).verdict == "tampered"


def test_files_deleted_by_retention_are_noted_not_accused() -> None:
    report = verified(LINES[5:])
    assert report.ok
    assert report.notes[0] == (
        "the log begins with line 6: the 5 before it are not here (deleted by retention?); "
        "a checkpoint vouches for the cut"
    )
    assert verified(LINES[7:]).ok


def test_a_first_line_that_does_not_follow_the_signed_line_before_it_is_found() -> None:
    forged, _ = chained(7, Chain("a1", 5, "ab" * 32))
    assert verified(forged, checkpoints=CHECKPOINTS[:1]).verdict == "tampered"


def test_a_log_that_ends_before_what_is_signed_begins_is_not_called_proved() -> None:
    report = verified(LINES[10:], checkpoints=CHECKPOINTS[:1])
    assert report.verdict == "unproven"


def test_a_first_line_that_names_a_line_before_it_is_found() -> None:
    forged, _ = chained(3, Chain("a1", 0, "ab" * 32))
    assert verified(forged, checkpoints=None).verdict == "tampered"


def test_an_empty_log_without_checkpoints_proves_nothing() -> None:
    assert verified([], checkpoints=None).verdict == "unproven"


def test_a_file_full_of_garbage_gives_a_short_report() -> None:
    report = verified([b"garbage\n"] * 1000)
    assert report.problem_count == 1001
    assert len(report.problems) == MAX_PROBLEMS


@given(st.lists(st.binary(max_size=80), max_size=20), st.lists(st.binary(max_size=80), max_size=5))
def test_no_bytes_make_verification_raise(lines: list[bytes], checkpoints: list[bytes]) -> None:
    assert not verified(lines, checkpoints=checkpoints).ok
    verified([*LINES[:3], *lines])


def test_progress_is_reported_for_long_logs() -> None:
    lines, _ = chained(70_000)
    seen: list[int] = []
    verify_log([("log", iter(lines))], progress=seen.append)
    assert seen == [65_536]


def test_the_report_is_plain_data_for_programs() -> None:
    data = verified(LINES[:3]).as_dict()
    assert data["ok"] is False
    assert data["problems"][0]["file"] == "log0"

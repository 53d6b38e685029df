"""The log of a process: what stands in it after failures, restarts and rotations."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from kalguard_core.audit.chain import read_line
from kalguard_ext_authz.audit_log import AuditLog, AuditUnavailable
from kalguard_ext_authz.sinks import FileSink, MemorySink, SinkError, file
from kalguard_ext_authz.state import State


async def test_a_new_log_begins_with_a_start_event_and_a_checkpoint(bench: Any) -> None:
    await bench.start()
    assert bench.kinds == ["audit_started"]
    assert bench.events[0]["keyId"]
    assert bench.verify("--from-start") | {"notes": []} == bench.verify("--from-start")
    assert bench.verify()["coveredTo"] == 1
    await bench.log.close()


async def test_the_chain_goes_on_over_a_restart(bench: Any) -> None:
    for name in ("a", "b", "c"):
        await bench.start()
        await bench.record(name)
        await bench.log.close()
    assert bench.kinds == ["audit_started", "a", "audit_started", "b", "audit_started", "c"]
    assert [event["seq"] for event in bench.events] == [1, 2, 3, 4, 5, 6]
    report = bench.verify("--from-start")
    assert (report["verdict"], report["coveredTo"]) == ("ok", 6)


async def test_the_chain_goes_on_over_a_crash(bench: Any) -> None:
    await bench.start()
    await bench.record("a")
    bench.sink.close()  # no flush, no checkpoint
    await bench.start()
    assert bench.kinds == ["audit_started", "a", "audit_started"]
    await bench.log.close()
    assert bench.verify()["verdict"] == "ok"


async def test_a_torn_last_line_is_moved_aside_and_told(bench: Any) -> None:
    await bench.start()
    await bench.record("a")
    await bench.log.close()
    with bench.path.open("ab") as log:
        log.write(b'{"id":"half a li')
    assert bench.verify()["verdict"] == "tampered"
    await bench.start()
    assert bench.kinds == ["audit_started", "a", "audit_recovered", "audit_started"]
    torn = bench.path.with_name("audit.log.torn-1")
    assert torn.read_bytes() == b'{"id":"half a li'
    event = bench.events[2]
    assert event["tornSha256"] == hashlib.sha256(torn.read_bytes()).hexdigest()
    assert (event["tornBytes"], event["keptIn"]) == (16, "audit.log.torn-1")
    await bench.log.close()
    assert bench.verify()["verdict"] == "ok"


async def test_a_second_torn_line_does_not_overwrite_the_first(bench: Any) -> None:
    for number in (1, 2):
        await bench.start()
        await bench.log.close()
        with bench.path.open("ab") as log:
            log.write(b"x" * number)
    await bench.start()
    assert bench.path.with_name("audit.log.torn-1").read_bytes() == b"x"
    assert bench.path.with_name("audit.log.torn-2").read_bytes() == b"xx"
    await bench.log.close()


async def test_a_failed_answer_leaves_no_hole_and_is_told_as_a_gap(bench: Any, monkeypatch: Any) -> None:
    await bench.start()
    await bench.record("a")
    monkeypatch.setattr(os, "write", fails_with(28))
    for name in ("lost1", "lost2", "lost3"):
        with pytest.raises(AuditUnavailable, match="no space left"):
            await bench.record(name)
    assert bench.log.health().status == "unavailable"
    assert "no space left" in bench.log.health().detail
    assert bench.log.unrecorded == 3
    monkeypatch.undo()
    bench.wait()
    await bench.record("b")
    assert bench.kinds == ["audit_started", "a", "audit_gap", "b"]
    gap = bench.events[2]
    assert gap["count"] == 3
    assert "no space left" in gap["cause"]
    assert bench.log.health().status == "ok"
    assert bench.log.unrecorded == 0
    await bench.log.close()
    assert bench.verify()["verdict"] == "ok"


async def test_a_failing_log_is_tried_again_only_every_half_second(bench: Any, monkeypatch: Any) -> None:
    await bench.start()
    tries: list[int] = []

    def full(*_: Any) -> int:
        tries.append(1)
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "write", full)
    for _ in range(100):
        with pytest.raises(AuditUnavailable):
            await bench.record()
    assert len(tries) == 1
    bench.wait(0.5)
    with pytest.raises(AuditUnavailable):
        await bench.record()
    assert len(tries) == 2
    monkeypatch.undo()
    await bench.log.close()


async def test_an_answer_of_several_events_is_recorded_as_a_whole_or_not_at_all(bench: Any, monkeypatch: Any) -> None:
    await bench.start()
    before = bench.path.read_bytes()
    real, calls = os.write, []

    def the_disk_is_full_in_the_second_line(fd: int, data: bytes) -> int:
        calls.append(1)
        if len(calls) > 2:
            raise OSError(28, os.strerror(28))
        return real(fd, data[:10]) if len(calls) == 2 else real(fd, data)

    monkeypatch.setattr(os, "write", the_disk_is_full_in_the_second_line)
    with pytest.raises(SinkError, match="no space left"):
        bench.sink.write([b"one\n", b"two two two two\n", b"three\n"])
    monkeypatch.undo()
    assert bench.path.read_bytes() == before
    await bench.log.close()


async def test_a_removed_file_is_noticed_denied_and_recovered_from(bench: Any) -> None:
    await bench.start()
    await bench.record("a")
    bench.path.unlink()
    bench.wait(0.2)
    with pytest.raises(AuditUnavailable, match="deleted"):
        await bench.record("lost")
    assert bench.log.health().status == "unavailable"
    bench.wait()
    await bench.record("b")
    assert bench.kinds == ["audit_gap", "b"]
    assert "deleted" in bench.events[0]["cause"]
    assert bench.log.health().status == "ok"
    await bench.log.close()
    assert bench.verify("--from-start")["verdict"] == "tampered"


async def test_a_truncated_file_is_noticed(bench: Any) -> None:
    await bench.start()
    await bench.record("a")
    os.truncate(bench.path, 20)
    bench.wait(0.2)
    with pytest.raises(AuditUnavailable, match="was cut from"):
        await bench.record("lost")
    bench.wait()
    await bench.record("b")
    assert bench.kinds == ["audit_gap", "audit_recovered", "b"]
    await bench.log.close()
    assert bench.verify("--from-start")["verdict"] == "tampered"


async def test_bytes_of_somebody_else_in_the_file_are_noticed(bench: Any) -> None:
    await bench.start()
    with bench.path.open("ab") as log:
        log.write(b"forged\n")
    bench.wait(0.2)
    with pytest.raises(AuditUnavailable, match="somebody else wrote 7 bytes"):
        await bench.record("lost")
    bench.wait()
    await bench.record("b")
    await bench.log.close()
    assert bench.verify()["verdict"] == "tampered"


async def test_a_file_replaced_by_another_is_noticed(bench: Any, tmp_path: Path) -> None:
    await bench.start()
    await bench.record("a")
    (tmp_path / "other").write_bytes(b"something\n")
    (tmp_path / "other").replace(bench.path)
    bench.wait(0.2)
    with pytest.raises(AuditUnavailable):
        await bench.record("lost")
    await bench.log.close()


async def test_a_symbolic_link_in_the_place_of_the_file_is_not_followed(bench: Any, tmp_path: Path) -> None:
    await bench.start()
    target = tmp_path / "target"
    target.touch()
    bench.path.unlink()
    bench.path.symlink_to(target)
    bench.wait()
    for _ in range(2):
        with pytest.raises(AuditUnavailable):
            await bench.record("lost")
        bench.wait()
    assert "symbolic link" in bench.log.health().detail
    assert target.read_bytes() == b""
    await bench.log.close()


async def test_a_directory_that_becomes_a_file_is_denied_and_recovered_from(tmp_path: Path, bench: Any) -> None:
    directory = tmp_path / "logs"
    bench.path = directory / "audit.log"
    await bench.start()
    await bench.record("a")
    directory.rename(tmp_path / "elsewhere")
    directory.touch()
    bench.wait(0.2)
    with pytest.raises(AuditUnavailable, match="a file, not a directory"):
        await bench.record("lost")
    assert bench.log.health().status == "unavailable"
    directory.unlink()
    (tmp_path / "elsewhere").rename(directory)
    bench.wait()
    await bench.record("b")
    assert bench.kinds == ["audit_started", "a", "audit_gap", "b"]
    await bench.log.close()
    assert bench.verify()["verdict"] == "ok"


async def test_a_path_that_cannot_be_at_start_denies_until_it_can(tmp_path: Path, bench: Any) -> None:
    place = tmp_path / "file"
    place.touch()
    bench.path = place / "audit.log"
    await bench.start()
    assert bench.log.health().status == "unavailable"
    assert "audit.log: a part of the path is a file" in bench.log.health().detail
    assert bench.log.digest(b"x").startswith("hmac-sha256:")
    with pytest.raises(AuditUnavailable):
        await bench.record("lost")
    place.unlink()
    bench.wait()
    await bench.record("a")
    assert bench.kinds == ["audit_gap", "audit_started", "a"]
    await bench.log.close()
    assert bench.verify("--from-start")["verdict"] == "ok"


async def test_an_idle_log_notices_a_failure_and_its_end_by_itself(bench: Any) -> None:
    bench.monotonic = asyncio.get_running_loop().time
    await bench.start()
    runner = asyncio.create_task(bench.log.run())
    bench.path.unlink()
    await until(lambda: bench.log.health().status == "unavailable")
    await until(lambda: bench.log.health().status == "ok")
    assert bench.path.exists()
    runner.cancel()
    await bench.log.close()


async def test_two_processes_cannot_write_the_same_file(bench: Any) -> None:
    await bench.start()
    first = bench.log
    second = AuditLog(FileSink(bench.path), state=State.open(bench.path.with_name("audit.log.state")))
    await second.open()
    assert second.health().status == "unavailable"
    assert f"another process (pid {os.getpid()}) writes to it" in second.health().detail
    await first.close()
    second = AuditLog(FileSink(bench.path), state=State.open(bench.path.with_name("audit.log.state")))
    await second.open()
    assert second.health().status == "ok"
    await second.close()


async def test_the_log_of_another_instance_is_not_continued(bench: Any) -> None:
    await bench.start()
    await bench.log.close()
    shutil.rmtree(bench.path.with_name("audit.log.state"))
    await bench.start()
    assert "restore the state directory" in bench.log.health().detail
    assert len(bench.events) == 1
    await bench.log.close()


async def test_a_file_that_is_no_audit_log_is_not_appended_to(bench: Any) -> None:
    bench.path.write_bytes(b"shopping list\n")
    await bench.start()
    assert "move the file away" in bench.log.health().detail
    assert bench.path.read_bytes() == b"shopping list\n"
    await bench.log.close()


async def test_a_tail_cut_while_we_were_down_stays_visible(bench: Any) -> None:
    await bench.start()
    for name in "abcd":
        await bench.record(name)
    await bench.log.close()
    bench.path.write_bytes(b"".join(bench.path.read_bytes().splitlines(keepends=True)[:2]))
    await bench.start()
    assert bench.log.health().status == "degraded"
    assert "lines are missing" in bench.events[-1]["detail"]
    await bench.log.close()
    report = bench.verify()
    assert [problem["what"] for problem in report["problems"]] == ["3 line(s) missing (removed): line 6 comes after 2"]


async def test_a_rotated_log_is_one_chain(bench: Any) -> None:
    await bench.start(rotate_bytes=2000)
    for number in range(30):
        await bench.record(f"t{number}")
    await bench.log.close()
    rotated = sorted(path.name for path in bench.path.parent.glob("audit.log.0*"))
    assert len(rotated) > 5
    assert rotated[0].startswith("audit.log.000000000001-")
    assert all(path.stat().st_size <= 2000 for path in bench.path.parent.glob("audit.log.0*"))
    report = bench.verify("--from-start")
    assert (report["verdict"], report["events"], report["lastSeq"]) == ("ok", 31, 31)
    bench.path.with_name(rotated[2]).unlink()
    assert "a file between" in bench.verify()["problems"][0]["what"]


async def test_a_restart_right_after_a_rotation_goes_on_after_the_rotated_file(bench: Any) -> None:
    await bench.start()
    await bench.record("a")
    await bench.log.close()
    bench.path.rename(bench.path.with_name("audit.log.1"))
    await bench.start()
    assert bench.events[0]["seq"] == 3
    await bench.log.close()
    assert bench.verify("--from-start")["verdict"] == "ok"


async def test_old_files_are_dropped_and_a_checkpoint_vouches_for_the_cut(bench: Any) -> None:
    await bench.start(rotate_bytes=2000, keep_files=2)
    for number in range(30):
        await bench.record(f"t{number}")
        await bench.log.checkpoint()
    await bench.log.close()
    assert len(list(bench.path.parent.glob("audit.log.0*"))) == 2
    report = bench.verify()
    assert report["verdict"] == "ok"
    assert "a checkpoint vouches for the cut" in report["notes"][0]
    assert bench.verify("--from-start")["verdict"] == "tampered"


async def test_a_file_that_cannot_be_rotated_grows_and_health_says_so(bench: Any, monkeypatch: Any) -> None:
    await bench.start(rotate_bytes=1000)
    monkeypatch.setattr(Path, "rename", fails_with(13))
    for name in "abcd":
        await bench.record(name)
    assert bench.log.health().status == "degraded"
    assert "cannot be rotated" in bench.log.health().detail
    assert len(bench.events) == 5
    monkeypatch.undo()
    bench.wait(10)
    await bench.record("e")
    assert bench.log.health().status == "ok"
    await bench.log.close()
    assert bench.verify("--from-start")["verdict"] == "ok"


async def test_logrotate_and_sighup_lose_no_line(bench: Any) -> None:
    await bench.start()
    await bench.record("a")
    bench.path.rename(bench.path.with_name("audit.log.1"))
    await bench.record("b")  # before the signal: still in the renamed file
    await bench.log.reopen()
    await bench.record("c")
    assert bench.kinds == ["c"]
    assert bench.path.with_name("audit.log.1").read_bytes().count(b"\n") == 3
    await bench.log.close()
    assert bench.verify("--from-start")["verdict"] == "ok"


async def test_a_rename_without_a_signal_is_followed(bench: Any) -> None:
    await bench.start()
    bench.path.rename(bench.path.with_name("audit.log-20260131"))
    bench.wait(0.2)
    await bench.record("a")
    assert bench.kinds == ["a"]
    await bench.log.close()
    assert bench.verify("--from-start")["verdict"] == "ok"


async def test_a_signal_without_a_rename_changes_nothing(bench: Any) -> None:
    await bench.start()
    await bench.log.reopen()
    await bench.record("a")
    assert bench.kinds == ["audit_started", "a"]
    await bench.log.close()


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
async def test_a_thousand_concurrent_answers_are_a_thousand_lines(bench: Any, fsync: str) -> None:
    await bench.start(fsync=fsync, rotate_bytes=100_000)
    await asyncio.gather(*(bench.record(f"t{number}") for number in range(1000)))
    await bench.log.close()
    report = bench.verify("--from-start")
    assert (report["verdict"], report["events"]) == ("ok", 1001)


async def test_with_fsync_always_an_answer_waits_for_the_disk_and_the_loop_does_not(
    bench: Any, monkeypatch: Any
) -> None:
    disk = threading.Event()
    syncs: list[int] = []

    def slow_disk(fd: int) -> None:
        syncs.append(fd)
        disk.wait(10)

    monkeypatch.setattr(file, "_sync_file", slow_disk)
    await bench.start(fsync="always", checkpoint_path=None)
    answers = [asyncio.create_task(bench.record(f"t{number}")) for number in range(100)]
    await asyncio.sleep(0.05)
    assert not any(answer.done() for answer in answers)
    disk.set()
    await asyncio.gather(*answers)
    assert len(syncs) <= 3  # one for all of them, not one each
    await bench.log.close()


async def test_a_failed_fsync_is_a_failed_answer(bench: Any, monkeypatch: Any) -> None:
    await bench.start(fsync="always")
    monkeypatch.setattr(file, "_sync_file", fails_with(5))
    with pytest.raises(AuditUnavailable, match="input/output error"):
        await bench.record("a")
    assert bench.log.health().status == "unavailable"
    monkeypatch.undo()
    bench.wait()
    await bench.record("b")
    assert bench.kinds == ["audit_started", "a", "audit_gap", "b"]
    await bench.log.close()


async def test_a_caller_that_goes_away_does_not_spoil_the_others(bench: Any) -> None:
    await bench.start(fsync="always")
    answers = [asyncio.create_task(bench.record(f"t{number}")) for number in range(10)]
    await asyncio.sleep(0)
    answers[0].cancel()
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(result) for result in results[1:]] == [type(None)] * 9
    await bench.log.close()
    assert bench.verify()["verdict"] == "ok"


async def test_checkpoints_come_after_so_many_events_and_so_many_seconds(bench: Any) -> None:
    bench.monotonic = asyncio.get_running_loop().time
    await bench.start(checkpoint_every=10, checkpoint_seconds=0.3)
    signed = bench.path.with_name("audit.log.checkpoints")
    runner = asyncio.create_task(bench.log.run())
    for _ in range(10):
        await bench.record()
    await until(lambda: signed.read_bytes().count(b"\n") == 2)
    await bench.record()
    await until(lambda: signed.read_bytes().count(b"\n") == 3)
    runner.cancel()
    await bench.log.close()


async def test_without_new_events_there_is_no_new_checkpoint(bench: Any) -> None:
    await bench.start()
    for _ in range(3):
        await bench.log.checkpoint()
    await bench.log.close()
    assert bench.path.with_name("audit.log.checkpoints").read_bytes().count(b"\n") == 1


async def test_checkpoints_that_cannot_be_written_degrade_health_and_deny_nothing(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await bench.start(checkpoint_path=tmp_path / "file" / "checkpoints")
    await bench.record("a")
    assert bench.log.health().status == "degraded"
    assert "checkpoints" in bench.log.health().detail
    (tmp_path / "file").unlink()
    await bench.log.checkpoint()
    assert bench.log.health().status == "ok"
    await bench.log.close()


async def test_a_full_disk_under_the_checkpoints_leaves_no_half_checkpoint(bench: Any, monkeypatch: Any) -> None:
    await bench.start()
    await bench.record("a")
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:20]))
    await bench.log.checkpoint()
    monkeypatch.undo()
    assert bench.log.health().status == "degraded"
    await bench.log.close()
    assert bench.verify()["coveredTo"] == 2


async def test_a_log_that_was_closed_takes_no_more(bench: Any) -> None:
    await bench.start()
    await bench.log.close()
    await bench.log.close()
    with pytest.raises(AuditUnavailable, match="closed"):
        await bench.record()


async def test_an_event_that_cannot_be_written_is_an_answer_that_may_not_leave(bench: Any, answer: Any) -> None:
    await bench.start()
    request, decision = answer("a")
    with pytest.raises(AuditUnavailable):
        await bench.log.record(request, decision, transport="\ud800", latency_us=1)
    await bench.record("b")
    assert bench.kinds == ["audit_started", "audit_gap", "b"]
    with pytest.raises(AuditUnavailable):
        await bench.log.record(request, decision, transport="\ud800", latency_us=1)
    await bench.log.close()
    assert bench.kinds == ["audit_started", "audit_gap", "b", "audit_gap"]
    assert bench.verify()["verdict"] == "ok"


async def test_the_memory_log_is_a_chain_too_and_says_that_it_forgets(answer: Any) -> None:
    sink = MemorySink(3)
    log = AuditLog(sink, state=State.ephemeral())
    await log.open()
    for name in "abcd":
        await log.record(*answer(name), transport="http", latency_us=1)
    assert [read_line(line).seq for line in sink.lines] == [3, 4, 5]
    assert log.health().status == "degraded"
    assert "memory" in log.health().detail
    await log.close()


def fails_with(number: int) -> Any:
    """A system call that fails."""

    def fail(*_: Any, **__: Any) -> int:
        raise OSError(number, os.strerror(number))

    return fail


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)

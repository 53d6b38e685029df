"""Sinks by themselves, with real limits of a real system where a fake would prove nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kalguard_ext_authz.settings import load_settings
from kalguard_ext_authz.sinks import (
    SINKS,
    FileSink,
    MemorySink,
    SinkError,
    SinkOptions,
    StdoutSink,
    make_sink,
    open_sink,
)

RECORD_UNTIL_IT_FAILS = """
import asyncio, resource, sys, time
sys.path.insert(0, sys.argv[2])
from conftest import Bench, an_answer
from pathlib import Path
from kalguard_ext_authz.audit_log import AuditUnavailable

async def main():
    bench = Bench(Path(sys.argv[1]))
    await bench.start()
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
    refused = 0
    for number in range(50):
        try:
            await bench.record(f"t{number}")
        except AuditUnavailable as error:
            refused += 1
            cause = str(error)
    assert bench.log.health().status == "unavailable", bench.log.health()
    assert bench.path.stat().st_size <= 5000
    assert bench.path.read_bytes().endswith(b"}\\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    bench.wait()
    await bench.record("after")
    assert bench.log.health().status == "ok", bench.log.health()
    await bench.log.close()
    print(refused, cause)

asyncio.run(main())
"""

LOSE_PERMISSION = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[2])
from conftest import Bench
from pathlib import Path
from kalguard_ext_authz.audit_log import AuditUnavailable

async def main():
    directory = Path(sys.argv[1])
    if os.geteuid() == 0:  # permissions do not bind root
        os.chown(directory, 65534, 65534)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    bench = Bench(directory)
    await bench.start()
    await bench.record("a")
    bench.path.chmod(0)
    bench.wait()
    for _ in range(2):
        try:
            await bench.record("lost")
            raise SystemExit("recorded without permission")
        except AuditUnavailable as error:
            print(error)
        bench.wait()
    bench.path.chmod(0o600)
    await bench.record("b")
    assert bench.kinds == ["audit_started", "a", "audit_gap", "b"], bench.kinds
    await bench.log.close()

asyncio.run(main())
"""


def in_a_process(code: str, directory: Path) -> str:
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(directory), here], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_may_not_grow_any_more_is_denied_and_recovered_from(bench: Any, tmp_path: Path) -> None:
    answer = in_a_process(RECORD_UNTIL_IT_FAILS, tmp_path).splitlines()[-1]
    refused = int(answer.split()[0])
    assert 0 < refused < 50
    assert "may not grow any more" in answer
    assert bench.kinds[-2:] == ["audit_gap", "after"]
    assert bench.events[-2]["count"] == refused
    assert bench.verify("--from-start")["verdict"] == "ok"


def test_a_file_whose_permission_is_taken_away_is_denied_and_recovered_from() -> None:
    # not below tmp_path: an unprivileged process must be able to get there
    with tempfile.TemporaryDirectory() as directory:
        output = in_a_process(LOSE_PERMISSION, Path(directory))
    assert "permission to write it was taken away" in output
    assert "permission denied" in output


def test_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "deep" / "audit.log")
    sink.open()
    assert stat.S_IMODE((tmp_path / "deep" / "audit.log").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700
    sink.close()


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.log"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/full")
    with pytest.raises(SinkError, match=r"audit\.log: "):
        FileSink(path).open()


def test_a_sink_that_was_not_opened_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="not open"):
        FileSink(tmp_path / "audit.log").write([b"x\n"])


def test_a_line_without_end_is_no_audit_log(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(b"x" * 3_000_000)
    with pytest.raises(SinkError, match="longer than any event"):
        FileSink(tmp_path / "audit.log").open()
    assert (tmp_path / "audit.log").stat().st_size == 3_000_000


def test_the_memory_sink_keeps_the_newest_lines() -> None:
    sink = MemorySink(2)
    sink.write([b"1\n", b"2\n", b"3\n"])
    assert sink.lines == [b"2\n", b"3\n"]
    assert sink.healthy().ok


def test_the_stdout_sink_writes_lines_and_nothing_else() -> None:
    reader, writer = os.pipe()
    sink = StdoutSink(writer)
    sink.open()
    sink.write([b'{"a":1}\n', b'{"b":2}\n'])
    assert os.read(reader, 100) == b'{"a":1}\n{"b":2}\n'
    assert sink.healthy().ok
    os.close(reader)
    with pytest.raises(SinkError, match="standard output"):
        sink.write([b"{}\n"])
    assert not sink.healthy().ok
    os.close(writer)


def test_a_full_standard_output_is_a_failing_sink_that_recovers() -> None:
    reader, writer = os.pipe()
    sink = StdoutSink(writer)
    with pytest.raises(SinkError, match="nobody reads it"):
        sink.write([b"x" * 9_999 + b"\n"] * 10)
    with pytest.raises(SinkError):
        sink.write([b"more\n"])
    while len(os.read(reader, 1 << 20)) == 1 << 20:
        pass
    sink.write([b"whole\n"])
    assert os.read(reader, 100) == b"\nwhole\n"  # the torn line before it was ended
    assert sink.healthy().ok
    os.close(reader)
    os.close(writer)


def test_dev_full_as_standard_output_is_a_failing_sink() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(SinkError, match="No space left"):
        StdoutSink(fd).write([b"x\n"])
    os.close(fd)


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "memory"),
        ({"KALGUARD_AUDIT_LOG_PATH": "/x/audit.log"}, "file"),
        ({"KALGUARD_AUDIT_LOG_PATH": "/x/audit.log", "KALGUARD_AUDIT_SINK": "stdout"}, "stdout"),
        ({"KALGUARD_AUDIT_SINK": "memory"}, "memory"),
    ],
)
def test_the_settings_choose_the_sink(environ: dict[str, str], name: str) -> None:
    assert open_sink(load_settings(environ)[0]).name == name


def test_an_unknown_sink_or_a_missing_path_is_told() -> None:
    with pytest.raises(SinkError, match=f"unknown audit sink 'kafka'; known: {', '.join(SINKS)}"):
        make_sink("kafka", SinkOptions())
    with pytest.raises(SinkError, match="needs a path"):
        make_sink("file", SinkOptions())

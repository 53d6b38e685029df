"""`kalguard audit`: the exit status is the answer, and no agent can speak to the operator's terminal."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kalguard_ext_authz.cli.audit import audit, human_line
from kalguard_ext_authz.sinks.lines import follow_lines, lines_backwards


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments])


@pytest.fixture
async def log(bench: Any) -> Path:
    """A finished log of four answers."""
    await bench.start()
    for name in "abcd":
        await bench.record(name)
    await bench.log.close()
    path: Path = bench.path
    return path


def test_verify_says_ok(log: Path) -> None:
    result = run("verify", log)
    assert result.exit_code == 0
    assert result.stdout == "ok: 5 event(s) in 1 file(s), lines 1 to 5, 2 checkpoint(s) checked\n"


def test_the_shell_commands_of_the_documentation_check_a_line(log: Path) -> None:
    script = 'line=$(sed -n 3p audit.log); printf %s "$line" | head -c -75 | sha256sum'
    done = subprocess.run(["sh", "-c", script], cwd=log.parent, capture_output=True, text=True, check=True)
    assert done.stdout[:64] == json.loads(log.read_bytes().splitlines()[2])["hash"]


def test_verify_names_the_line_that_was_changed(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"tool":"b"', b'"tool":"x"'))
    result = run("verify", log)
    assert result.exit_code == 1
    assert "TAMPERED" in result.stdout
    assert "problem: audit.log:3: changed: its bytes do not have the hash that it states" in result.stdout


def test_verify_cannot_tell_without_checkpoints(log: Path) -> None:
    log.with_name("audit.log.checkpoints").unlink()
    result = run("verify", log)
    assert result.exit_code == 2
    assert "not proved: no checkpoints" in result.stdout


def test_verify_cannot_tell_without_a_public_key(log: Path) -> None:
    (log.with_name("audit.log.state") / "checkpoint-key.pub.pem").unlink()
    assert run("verify", log).exit_code == 2


@pytest.mark.parametrize("option", ["--checkpoints", "--public-key"])
def test_verify_cannot_tell_when_a_file_that_was_named_is_missing(log: Path, option: str) -> None:
    result = run("verify", log, option, log.with_name("nowhere"))
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_verify_cannot_tell_about_a_log_that_is_not_there(tmp_path: Path) -> None:
    result = run("verify", tmp_path / "audit.log", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["verdict"] == "unproven"


def test_verify_refuses_the_key_of_somebody_else(log: Path, tmp_path: Path) -> None:
    other = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "other.pem").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert run("verify", log, "--public-key", tmp_path / "other.pem").exit_code == 1
    (tmp_path / "other.pem").write_bytes(b"nonsense")
    assert run("verify", log, "--public-key", tmp_path / "other.pem").exit_code == 2


def test_verify_reads_files_that_logrotate_renamed_and_packed(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.with_name("audit.log.2.gz").write_bytes(gzip.compress(b"".join(lines[:2])))
    log.with_name("audit.log.1").write_bytes(b"".join(lines[2:4]))
    log.write_bytes(b"".join(lines[4:]))
    result = run("verify", log, "--from-start", "--json")
    assert result.exit_code == 0, result.stdout
    assert json.loads(result.stdout)["files"] == ["audit.log.2.gz", "audit.log.1", "audit.log"]


def test_verify_is_not_confused_by_other_files_beside_the_log(log: Path) -> None:
    log.with_name("audit.log.bak").write_bytes(b"notes\n")
    log.with_name("audit.log.torn-1").write_bytes(b"{")
    log.with_name("audit.logs").write_bytes(b"x")
    log.with_name("audit.log.dir").mkdir()
    assert run("verify", log).exit_code == 0


def test_tail_shows_the_last_events_in_order(log: Path) -> None:
    result = run("tail", log, "-n", 2)
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert "tool:execute c" in lines[0]
    assert "tool:execute d" in lines[1]
    assert "allow" in lines[1]
    assert "agent-1" in lines[1]


def test_tail_shows_everything_when_asked_for_more_than_there_is(log: Path) -> None:
    assert len(run("tail", log, "-n", 99).stdout.splitlines()) == 5


def test_tail_filters(log: Path) -> None:
    assert run("tail", log, "--agent", "agent-2").stdout == ""
    assert len(run("tail", log, "--agent", "agent-1").stdout.splitlines()) == 4
    assert run("tail", log, "--denied").stdout == ""
    with log.open("ab") as file:
        file.write(b'{"decision":"deny","agent":"agent-2"}\ngarbage\n[]\n')
    assert len(run("tail", log, "--denied").stdout.splitlines()) == 1


def test_tail_tells_operators_why_and_names_nothing_twice() -> None:
    event = {"decision": "deny", "action": "tool:execute", "tool": "mail", "resource": "mail", "reason": "Unauthorized"}
    assert human_line(event | {"detail": "token has expired"}).count("mail") == 1
    assert "Unauthorized (token has expired)" in human_line(event | {"detail": "token has expired"})
    assert "Unauthorized (\\u{1b}]0;x)" in human_line(event | {"detail": "\x1b]0;x"})


def test_tail_prints_json_lines(log: Path) -> None:
    events = [json.loads(line) for line in run("tail", log, "--json", "-n", 2).stdout.splitlines()]
    assert [event["tool"] for event in events] == ["c", "d"]


def test_tail_of_a_missing_file_is_an_error(tmp_path: Path) -> None:
    result = run("tail", tmp_path / "audit.log")
    assert result.exit_code == 1
    assert "No such file" in result.stderr


@pytest.mark.parametrize("evil", ["\x1b]0;owned\x07", "\x9b2J", "\r\nallow  root", "\u202e", "\x00", "\x7f"])
def test_tail_never_lets_an_event_speak_to_the_terminal(log: Path, evil: str) -> None:
    fields = ("time", "decision", "type", "status", "agent", "action", "tool", "reason", "errorCode", "requestId")
    event = dict.fromkeys(fields, f"x{evil}y")
    assert human_line(event).replace("\x1b[", "").count("x\\u{") == 9  # `type` shows only without a decision
    with log.open("ab") as file:
        file.write(json.dumps(event).encode() + b"\n")
    for arguments in ((), ("--json",)):
        output = run("tail", log, "-n", 1, *arguments).stdout
        assert output.removesuffix("\n").isprintable()


def test_a_log_is_read_backwards_over_any_number_of_blocks(tmp_path: Path) -> None:
    lines = [b"%06d" % number * (number % 50) for number in range(1, 3000)]
    lines = [line for line in lines if line]
    path = tmp_path / "log"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with path.open("rb") as file:
        assert list(lines_backwards(file, path.stat().st_size)) == lines[::-1]


def test_follow_goes_on_over_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"seen\n")

    def append(name: str, data: bytes) -> None:
        with (tmp_path / name).open("ab") as log:
            log.write(data)

    def rotate() -> None:
        path.rename(tmp_path / "log.1")
        append("log.1", b"c\n")
        append("log", b"d\n")

    steps: Iterator[Callable[[], None]] = iter([lambda: append("log", b"a\nb"), lambda: append("log", b"b\n"), rotate])
    with path.open("rb") as file:

        def sleep(_: float) -> None:
            next(steps)()

        followed = follow_lines(path, file, 5, sleep)
        assert [next(followed) for _ in range(4)] == [b"a", b"bb", b"c", b"d"]


def test_a_line_tells_the_risk_of_what_was_let_through_and_of_what_was_not_once() -> None:
    event = {"decision": "allow", "agent": "mail", "action": "prompt:check", "risk": 34}
    assert "  risk=34" in human_line(event)
    assert "risk=" not in human_line(event | {"risk": 0})
    blocked = event | {"decision": "deny", "reason": "prompt blocked: risk score 97 >= 70", "risk": 97}
    assert "risk=" not in human_line(blocked)

"""A server whose audit log fails: nothing is allowed that nobody would know of, health says why, and it recovers."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from process_support import (
    ALLOW_ALL,
    NO_TLS,
    TOKEN,
    ask_once,
    chat_call,
    check_of,
    eventually,
    log_lines,
    mcp_call,
    metrics,
    readyz,
    tool_call,
)
from support import KalGuardProcess, make_token

Start = Callable[..., KalGuardProcess]

REASON = "audit log unavailable; nothing is allowed without it"
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


@dataclass
class Lab:
    """A running server, and its audit log in a folder of its own."""

    server: KalGuardProcess
    audit: Path

    @property
    def folder(self) -> Path:
        return self.audit.parent

    def verified(self) -> dict[str, Any]:
        """What `kalguard audit verify` says about the log."""
        beside = self.folder.parent
        signed, key = str(beside / "checkpoints"), str(beside / "state" / "checkpoint-key.pub.pem")
        command = [sys.executable, "-m", "kalguard_ext_authz", "audit", "verify", "--json", str(self.audit)]
        command += ["--checkpoints", signed, "--public-key", key]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return {**found, "status": done.returncode}

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read_text().splitlines()]


class FullDisk:
    """A file system of its own that is full to the last byte."""

    says = "no space left on device"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True, timeout=20)

    def break_it(self, lab: Lab) -> None:
        with contextlib.suppress(OSError), (lab.folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))

    def mend_it(self, lab: Lab) -> None:
        (lab.folder / "ballast").unlink()

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True, timeout=20)


class SizeLimit:
    """The file may not grow: what a full disk is to a container without the right to mount one."""

    says = "the file may not grow any more"

    def __init__(self, _folder: Path) -> None:
        self.before = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    def break_it(self, lab: Lab) -> None:
        # in the middle of the next line, so that a part of it reaches the file
        limit = lab.audit.stat().st_size + 100
        self.before = resource.prlimit(lab.server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(lab.server.process.pid, resource.RLIMIT_FSIZE, (limit, self.before[1]))

    def mend_it(self, lab: Lab) -> None:
        resource.prlimit(lab.server.process.pid, resource.RLIMIT_FSIZE, self.before)

    def close(self) -> None:
        pass


class NoPermission:
    """The file became read-only."""

    says = "permission"

    def __init__(self, _folder: Path) -> None:
        pass

    def break_it(self, lab: Lab) -> None:
        lab.audit.chmod(0o400)

    def mend_it(self, lab: Lab) -> None:
        lab.audit.chmod(0o600)

    def close(self) -> None:
        pass


class FolderReplaced:
    """The folder was moved away, and a file is in its place."""

    says = "not a directory"

    def __init__(self, _folder: Path) -> None:
        self.aside = Path()

    def break_it(self, lab: Lab) -> None:
        self.aside = lab.folder.rename(lab.folder.with_name("aside"))
        lab.folder.write_text("in the way")

    def mend_it(self, lab: Lab) -> None:
        lab.folder.unlink()
        self.aside.rename(lab.folder)

    def close(self) -> None:
        pass


def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
        except OSError:
            return False
        if done.returncode:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


FAILURES = [SizeLimit, NoPermission, FolderReplaced, *([FullDisk] if can_mount() else [])]


def bound_by_permissions(start: Callable[[], KalGuardProcess]) -> KalGuardProcess:
    """Start a server that file permissions bind, also when we are root: without the capabilities to override them.

    The bounding set belongs to a thread and passes to the processes it starts, so the thread is thrown away.
    """
    started: list[KalGuardProcess] = []

    def without_overrides() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if os.geteuid() == 0:
            for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
                assert libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
        started.append(start())

    thread = threading.Thread(target=without_overrides)
    thread.start()
    thread.join()
    return started[0]


@pytest.fixture
def lab(kalguard: Start, short_folder: Path) -> Callable[..., Lab]:
    """Starts a server whose audit log lies in a folder of its own; keys and checkpoints are elsewhere."""
    (short_folder / "audit").mkdir()

    def start(**env: str) -> Lab:
        audit = short_folder / "audit" / "audit.log"
        settings = {
            "KALGUARD_AUDIT_LOG_PATH": str(audit),
            "KALGUARD_AUDIT_CHECKPOINT_PATH": str(short_folder / "checkpoints"),
            "KALGUARD_STATE_PATH": str(short_folder / "state"),
        }
        return Lab(bound_by_permissions(lambda: kalguard(policy=ALLOW_ALL, env={**settings, **env})), audit)

    return start


@pytest.fixture(params=FAILURES, ids=lambda failure: str(failure.__name__))
def failure(request: pytest.FixtureRequest, short_folder: Path, lab: object) -> Iterator[Any]:
    """A way to break the audit log of a server that `lab` starts."""
    broken = request.param(short_folder / "audit")
    yield broken
    broken.close()


def refused(answer: httpx.Response) -> bool:
    return answer.status_code == 503


def judge_answers_without_audit(server: KalGuardProcess) -> int:
    """Every kind of answer while nothing can be recorded; how many were given."""
    denied = tool_call(server)
    assert (denied.status_code, denied.headers["retry-after"]) == (503, "1")
    body = denied.json()
    assert (body["allowed"], body["decision"], body["errorCode"]) == (False, "deny", "AUDIT_UNAVAILABLE")
    assert body["message"] == REASON, "the agent learns no path and no cause"
    prompt = httpx.post(
        f"{server.http}/v1/prompt/check",
        json={"messages": [{"role": "user", "content": "hello"}]},
        headers={"authorization": f"Bearer {TOKEN}"},
        timeout=20,
        verify=NO_TLS,
    )
    assert (prompt.status_code, prompt.json()["errorCode"]) == (503, "AUDIT_UNAVAILABLE")
    assert "sanitized" not in prompt.text

    # what is refused anyway keeps its reason
    assert tool_call(server, token="no.such.token").status_code == 401
    assert tool_call(server, token=make_token(capabilities=())).status_code == 403
    unreadable = httpx.post(
        f"{server.http}/v1/tool/check",
        content=b"{",
        headers={"authorization": f"Bearer {TOKEN}"},
        timeout=20,
        verify=NO_TLS,
    )
    assert unreadable.status_code == 400

    mcp = ask_once(server, mcp_call())
    assert mcp.status.code == 7
    assert mcp.denied_response.status.code == 200
    error = json.loads(mcp.denied_response.body)
    assert (error["jsonrpc"], error["id"]) == ("2.0", 7)
    assert REASON in error["error"]["message"]
    chat = ask_once(server, chat_call())
    assert chat.denied_response.status.code == 503
    assert json.loads(chat.denied_response.body)["error"]["code"] == "audit_unavailable"
    assert chat.dynamic_metadata["errorCode"] == "AUDIT_UNAVAILABLE"
    return 7


def test_a_failing_audit_log_denies_says_why_and_recovers_by_itself(lab: Callable[..., Lab], failure: Any) -> None:
    running = lab()
    server = running.server
    for _ in range(3):
        assert tool_call(server).status_code == 200
    assert readyz(server)[1]["checks"]["audit"] == {"status": "ok", "detail": ""}
    recorded = len(running.events())

    failure.break_it(running)
    # on a disk that is full the last block still has room for some lines; each of them is a good answer
    served = 0
    while not refused(tool_call(server)):
        served += 1
        assert served < 1000
        time.sleep(0.01)
    given = 1 + judge_answers_without_audit(server)

    status, report = readyz(server)
    assert (status, report["status"], report["checks"]["audit"]["status"]) == (503, "unavailable", "unavailable")
    assert failure.says in report["checks"]["audit"]["detail"].lower()
    assert str(running.audit) in report["checks"]["audit"]["detail"], "an operator must know which file"
    assert httpx.get(f"{server.http}/health", verify=NO_TLS).status_code == 200
    told = metrics(server)
    assert told["kalguard_audit_up"] == 0
    assert told["kalguard_audit_unrecorded_total"] == given

    failure.mend_it(running)
    eventually(lambda: readyz(server)[0] == 200)
    assert tool_call(server).status_code == 200
    assert metrics(server)["kalguard_audit_up"] == 1
    assert check_of(server, "audit") == ("ok", "")

    events = running.events()
    gaps = [event for event in events if event["type"] == "audit_gap"]
    assert sum(gap["count"] for gap in gaps) == given
    assert len(events) == recorded + served + len(gaps) + 1
    assert server.stop() == 0
    assert running.verified()["status"] == 0, running.verified()
    said = [line["event"] for line in log_lines(server)]
    assert said.count("audit_unavailable") <= 2, "not a line an answer: that would fill a disk that is full"
    assert said.count("audit_available") == said.count("audit_unavailable")


def test_a_removed_log_is_a_failure_and_a_new_one_says_what_is_missing(lab: Callable[..., Lab]) -> None:
    running = lab()
    server = running.server
    assert tool_call(server).status_code == 200
    lines = len(running.events())

    for entry in running.folder.iterdir():
        entry.unlink()
    running.folder.rmdir()
    eventually(lambda: refused(tool_call(server)))
    eventually(lambda: readyz(server)[0] == 200)
    assert tool_call(server).status_code == 200

    events = running.events()
    assert events[0]["seq"] > lines, "the numbers go on: what was lost can be seen"
    assert [event["type"] for event in events].count("audit_gap") >= 1
    assert server.stop() == 0
    assert running.verified()["status"] == 0, running.verified()


def test_a_log_that_fails_while_nobody_asks_is_told_to_who_looks(lab: Callable[..., Lab]) -> None:
    running = lab()
    running.audit.chmod(0o400)
    eventually(lambda: readyz(running.server)[0] == 503)
    assert metrics(running.server)["kalguard_audit_up"] == 0
    running.audit.chmod(0o600)
    eventually(lambda: readyz(running.server)[0] == 200)
    assert tool_call(running.server).status_code == 200


def test_a_log_that_cannot_be_opened_at_start_denies_until_it_can(lab: Callable[..., Lab], short_folder: Path) -> None:
    (short_folder / "audit").rmdir()
    (short_folder / "audit").write_text("in the way")
    running = lab()
    assert readyz(running.server)[0] == 503
    assert "not a directory" in check_of(running.server, "audit")[1]
    assert refused(tool_call(running.server))
    (short_folder / "audit").unlink()
    eventually(lambda: readyz(running.server)[0] == 200)
    assert tool_call(running.server).status_code == 200
    assert [event["type"] for event in running.events()][:2] == ["audit_gap", "audit_started"]


def test_two_servers_never_write_one_log(lab: Callable[..., Lab]) -> None:
    first, second = lab(), lab()
    status, report = readyz(second.server)
    assert status == 503
    assert f"another process (pid {first.server.process.pid}) writes to it" in report["checks"]["audit"]["detail"]
    assert refused(tool_call(second.server))
    assert tool_call(first.server).status_code == 200

    assert first.server.stop() == 0
    eventually(lambda: readyz(second.server)[0] == 200)
    assert tool_call(second.server).status_code == 200
    assert second.server.stop() == 0
    assert second.verified()["status"] == 0, second.verified()

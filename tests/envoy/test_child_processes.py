"""Children never outlive us: not when they are stopped, not when they ignore it, not when we are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kalguard_ext_authz.envoy.process import Child, ProcessFailed, admin_socket, unix_get

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]
PARENT = """
import sys, time
from pathlib import Path
from kalguard_ext_authz.envoy.process import Child
child = Child("child", ["sleep", "60"], Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(60)
"""
GRANDCHILD = [
    sys.executable,
    "-c",
    "import subprocess, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)",
]


def _up(child: Child) -> None:
    child.wait_until(lambda: child.log.read_text().strip() != "", 10)


def _gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("command", [SLEEP, DEAF], ids=["polite", "deaf to SIGTERM"])
def test_stop_ends_a_child(tmp_path: Path, command: list[str]) -> None:
    child = Child("child", command, tmp_path / "log")
    _up(child)
    child.stop(0.3)
    assert not child.running
    assert _gone(child.pid)


def test_stop_ends_what_the_child_started_too(tmp_path: Path) -> None:
    child = Child("child", GRANDCHILD, tmp_path / "log")
    _up(child)
    child.stop(1)
    assert _gone(int(child.log.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert _gone(child)


def test_a_child_that_ends_early_shows_its_last_words(tmp_path: Path) -> None:
    child = Child("thing", [sys.executable, "-c", "print('no can do'); raise SystemExit(3)"], tmp_path / "log")
    with pytest.raises(ProcessFailed, match=r"(?s)thing ended with status 3.*no can do"):
        child.wait_until(lambda: False, 10)
    child.stop()


def test_a_child_that_is_never_ready_is_told_apart_from_one_that_ended(tmp_path: Path) -> None:
    child = Child("thing", SLEEP, tmp_path / "log")
    with pytest.raises(ProcessFailed, match="not ready within"):
        child.wait_until(lambda: False, 0.1)
    child.stop()


def test_nobody_on_a_socket_is_status_0(tmp_path: Path) -> None:
    assert unix_get(tmp_path / "none.sock", "/ready") == (0, b"")


def test_an_admin_interface_on_tcp_is_not_accepted() -> None:
    with pytest.raises(ValueError, match="no admin interface on a Unix socket"):
        admin_socket("admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}")

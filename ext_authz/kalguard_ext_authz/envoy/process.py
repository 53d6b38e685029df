"""Child processes that never outlive us, and Envoy as one of them.

Rules of this file: every child has its own process group and its own log file; ending a child ends its
group. On Linux the kernel kills a child whose parent is gone, however it went.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_POLL_SECONDS: Final = 0.02
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ProcessFailed(Exception):
    """A child that ended, or was not ready in time. `str()` names it and shows its last log lines."""


class Child:
    """One child process. `name` is what people read; `log` gets its stdout and stderr."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()) if _LIBC is not None else None,
            )

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Return when `ready()` is true. Raises `ProcessFailed` when the child ends first or time is up."""
        deadline = time.monotonic() + seconds
        while True:
            if not self.running:
                raise self.failure(f"ended with {self._status()}")
            if ready():
                return
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready within {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def stop(self, seconds: float = 5.0) -> None:
        """SIGTERM, then SIGKILL to the whole group after `seconds`. Does nothing when it has ended."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass  # it had its time; the group is killed below
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nobody left (macOS answers EPERM for a group of zombies)
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the process itself."""
        self._process.send_signal(number)

    def failure(self, what: str) -> ProcessFailed:
        """An error that shows the last lines of the log."""
        return ProcessFailed(f"{self.name} {what}; the end of {self.log}:\n{tail(self.log)}")

    def _status(self) -> str:
        code = self._process.returncode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"


class EnvoyProcess:
    """A real Envoy on a configuration text. Use as a context manager, or `start` and `stop`.

    The configuration, `envoy.log` and, where stdout is the access log, the access log lines are in
    `directory`. The admin interface must be a Unix socket in the configuration.
    """

    def __init__(self, binary: Path, config: str, directory: Path, *, concurrency: int = 1) -> None:
        self.binary = binary
        self.config_path = directory / "envoy.yaml"
        self.log = directory / "envoy.log"
        self.admin = admin_socket(config)
        self._config = config
        self._concurrency = concurrency
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process. Raises `RuntimeError` before `start`."""
        if self._child is None:
            raise RuntimeError("Envoy has not been started")
        return self._child

    def spawn(self) -> Child:
        """Start the process without waiting for it."""
        self.config_path.parent.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(self._config, encoding="utf-8")
        # Envoy does not remove a stale socket file of a predecessor that was killed.
        self.admin.unlink(missing_ok=True)
        self._child = Child(
            "envoy",
            [
                str(self.binary),
                "--disable-hot-restart",  # its shared memory is per machine, so two Envoys would collide
                "--concurrency",
                str(self._concurrency),
                "--log-level",
                "warning",
                "--file-flush-interval-msec",
                "250",  # the default of 10 s is long for whoever waits for an access log line
                "-c",
                str(self.config_path),
            ],
            self.log,
        )
        return self._child

    def start(self, seconds: float = 15.0) -> None:
        """Start and wait until it is ready. Raises `ProcessFailed` with Envoy's words."""
        child = self.spawn()
        try:
            child.wait_until(self.ready, seconds)
        except BaseException:
            self.stop()
            raise

    def ready(self) -> bool:
        """Whether the listeners are open: `GET /ready` of the admin interface."""
        return unix_get(self.admin, "/ready")[0] == 200

    def stop(self) -> None:
        """End the process and remove its admin socket."""
        if self._child is not None:
            self._child.stop()
        self.admin.unlink(missing_ok=True)

    def __enter__(self) -> EnvoyProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def admin_socket(config: str) -> Path:
    """The Unix socket of the admin interface in `config`. Raises `ValueError` when there is none."""
    document: Any = yaml.safe_load(config)
    try:
        return Path(document["admin"]["address"]["pipe"]["path"])
    except (KeyError, TypeError):
        raise ValueError("the configuration has no admin interface on a Unix socket") from None


def unix_get(path: Path, target: str, seconds: float = 2.0) -> tuple[int, bytes]:
    """`GET target` over a Unix socket: status and body, or status 0 when nobody answers HTTP there."""
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(request)
            while chunk := connection.recv(65536):
                answer += chunk
    except OSError:
        return 0, b""
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]) if len(words) > 2 and words[1].isdigit() else 0), body


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file, "" when there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


def _die_with(parent: int) -> Callable[[], None]:
    """Runs between fork and exec: no imports, no locks, so `libc` was loaded before."""

    def ask_kernel() -> None:
        assert _LIBC is not None
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went between fork and prctl
            os._exit(1)

    return ask_kernel

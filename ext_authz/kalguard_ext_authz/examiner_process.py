"""A process that examines large bodies: both ends of it, and the socket between them.

Rules of this file:
- The process knows nothing but what each task brings: no settings, no keys, no environment of ours.
- It is replaceable at any moment. Whatever goes wrong with it is an `ExaminerLost` for one task, and a new process
  for the next.
- It never outlives us, and it never takes the processor from the event loop.
- What comes back was made from an agent's text by native code, so only values of known types are read from it.

At the top of this file nothing but the standard library is imported: the rest comes when the process is polite
already. It takes a second, and on a busy machine more than a caller waits: `prepare` asks for it before a task does.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from kalguard_core.examination import Examination, Examiner, Task
    from kalguard_core.request import Refusal

_SIZES: Final = struct.Struct("!QQQ")  # of the examiner (0: as before), the rest of the task, the body
_ANSWER: Final = struct.Struct("!?Q")  # whether it failed, size
_MAX_ANSWER: Final = 64 * 1024 * 1024  # a sanitized text comes back, nothing else is large
_MAX_TRACE: Final = 16 * 1024
_NICENESS: Final = 10
_OOM_SCORE: Final = 500  # when memory runs out, the kernel ends this process before the gate
_PR_SET_PDEATHSIG: Final = 1
_KEPT: Final = ("LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "TZ")

_CORE: Final = "kalguard_core."
_RESULTS: Final = frozenset(
    {
        ("action", "Action"),
        ("codes", "ErrorCode"),
        ("examination", "Examination"),
        ("examination", "Finding"),
        ("examination", "Judged"),
        ("examination", "Sanitized"),
        ("firewall.base", "Assessment"),
        ("firewall.base", "Span"),
        ("request", "Refusal"),
        ("tools.catalog", "ToolRefusal"),
        ("wire.base", "Reading"),
        ("wire.base", "RefusedReading"),
        ("wire.json", "Encoded"),
    }
)


class ExaminerLost(Exception):
    """The process ended, or had to be ended, before it answered. `str()` says why, for operators."""


class ExaminerFailed(Exception):
    """The examination raised an exception (a bug). `str()` is the traceback."""


class ExaminerProcess:
    """Our end. Blocking: use it from one thread, which must live as long as the process may."""

    def __init__(self) -> None:
        """Start the process. Raises `OSError`."""
        ours, theirs = socket.socketpair()
        self._channel = ours
        self._examiner: object = None  # what the process has already
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own code, in our own interpreter
                [sys.executable, "-P", "-m", __name__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,  # ours may be read by a program
                env=_environment(),
                start_new_session=True,  # a Ctrl-C is meant for us; we still need it while we drain
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is there to be asked."""
        return self._process.poll() is None

    @property
    def rss_bytes(self) -> int:
        """Its resident memory; 0 where nobody tells."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def prepare(self, examiner: Examiner, deadline_seconds: float) -> None:
        """Let the process load all that tasks of this examiner need. Raises as `examine` does."""
        if examiner != self._examiner:
            self._ask(examiner, b"", b"", deadline_seconds)

    def examine(self, task: Task, deadline_seconds: float) -> Examination | Refusal:
        """What the task finds. Raises `ExaminerLost`, after which the process is gone, and `ExaminerFailed`."""
        head = pickle.dumps((task.protocol, task.request, task.route, task.profiles), 5)
        answer = self._ask(task.examiner, head, task.body, deadline_seconds)
        try:
            return _read_result(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not an answer
            self._end()
            raise ExaminerLost(f"the answer can't be read: {error!r}") from None

    def _ask(self, wanted: Examiner, head: bytes, body: bytes, deadline_seconds: float) -> bytearray:
        deadline = time.monotonic() + deadline_seconds
        examiner = b"" if wanted == self._examiner else pickle.dumps(wanted, 5)
        try:
            self._channel.settimeout(deadline_seconds)
            self._channel.sendall(_SIZES.pack(len(examiner), len(head), len(body)) + examiner + head)
            # by itself, as it is: putting megabytes together would hold Python's lock
            self._channel.settimeout(_left(deadline))
            self._channel.sendall(body)
            failed, size = _ANSWER.unpack(_receive(self._channel, _ANSWER.size, deadline))
            if size > _MAX_ANSWER:
                raise ExaminerLost(f"the answer is said to have {size} bytes")
            answer = _receive(self._channel, size, deadline)
        except ExaminerLost as lost:
            raise ExaminerLost(f"{lost}; {self._end()}") from None
        except TimeoutError:
            self._end()
            raise ExaminerLost(f"no answer within {deadline_seconds:g} s") from None
        except (OSError, EOFError):
            raise ExaminerLost(self._end()) from None
        self._examiner = None if failed else wanted
        if failed:
            raise ExaminerFailed(answer.decode("utf-8", "replace"))
        return answer

    def kill(self) -> None:
        """Let the process end, and with it an `examine` that waits for it. May be called from any thread."""
        self._process.kill()

    def end(self) -> None:
        """End the process and forget it."""
        self._end()

    def _end(self) -> str:
        self._channel.close()
        status = self._process.poll()
        if status is None:
            # a process that died a moment ago may not be a zombie yet; its own status says more than our kill
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(0.05)
        if status is None:
            self._process.kill()
            self._process.wait()
            return "the process was ended"
        if status < 0:
            return f"the process was ended by signal {-status}"
        return f"the process ended with status {status}"


def _environment() -> dict[str, str]:
    """Where to find the same code, and nothing else: our environment holds secrets."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    return {**kept, "PYTHONPATH": path}


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _receive(channel: socket.socket, size: int, deadline: float | None = None) -> bytearray:
    """Exactly `size` bytes. Raises `EOFError`, `TimeoutError`."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        if deadline is not None:
            channel.settimeout(_left(deadline))
        count = channel.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data


class _Results(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(_CORE) and (module.removeprefix(_CORE), name) in _RESULTS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into an answer")


def _read_result(data: bytes | bytearray) -> Examination | Refusal:
    from kalguard_core.examination import Examination
    from kalguard_core.request import Refusal

    result = _Results(io.BytesIO(data)).load()
    if not isinstance(result, Examination | Refusal):
        raise pickle.UnpicklingError(f"a {type(result).__name__} is no answer")
    return result


# -- the other end ----------------------------------------------------------------------------------------------


def main() -> None:
    """Examine what comes through standard input, a socket, until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they end or reload the gate, which ends us when it needs us no more
    _behave()
    with socket.socket(fileno=0) as channel, contextlib.suppress(EOFError, ConnectionError):
        _serve(channel)


def _behave() -> None:
    os.nice(_NICENESS)
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # busy in native code, we would not see the socket
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), encoding="ascii")


def _warm_up() -> None:
    """Load what tasks bring, beside the examiner."""
    from kalguard_core import examination  # noqa: F401
    from kalguard_core.wire import registry  # noqa: F401


def _serve(channel: socket.socket) -> None:
    examiner: Any = None
    while True:
        sizes = _SIZES.unpack(_receive(channel, _SIZES.size))
        fresh, head, body = (bytes(_receive(channel, size)) for size in sizes)
        failed, answer = False, b""
        try:
            if fresh:
                examiner = pickle.loads(fresh)  # noqa: S301 - from the gate
            if head:
                answer = _answer(examiner, head, body)
            else:
                _warm_up()
        except Exception:  # noqa: BLE001 - the gate denies, and logs it
            failed, answer = True, traceback.format_exc()[-_MAX_TRACE:].encode("utf-8", "replace")
        del body
        channel.sendall(_ANSWER.pack(failed, len(answer)) + answer)


def _answer(examiner: Any, head: bytes, body: bytes) -> bytes:
    from kalguard_core.examination import Task

    protocol, request, route, profiles = pickle.loads(head)  # noqa: S301 - from the gate
    return pickle.dumps(Task(examiner, protocol, request, route, body, profiles).run(), 5)


if __name__ == "__main__":
    main()

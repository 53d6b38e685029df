"""An append-only file, one write(2) a line.

Rules of this file: a batch is in the file as a whole or not at all (a failed write is cut off again); whatever is
wrong with the file closes it and raises, and `open` starts over, so there is one way to recover from everything.
Nothing here waits for the disk on the event loop: fsync runs in a thread, one for all answers that wait.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NoReturn

from kalguard_core.audit.chain import LineError, read_line

from .base import Fsync, Opened, SinkError, SinkHealth, Torn
from .lines import last_line, own_rotated_files, rotated_files, rotated_name

DEFAULT_ROTATE_BYTES: Final = 256 * 1024 * 1024
CHECK_SECONDS: Final = 0.2  # how long a removed file can go unnoticed
ROTATE_RETRY_SECONDS: Final = 10.0
_HINTS: Final = {
    errno.ELOOP: "it is a symbolic link; name the real file",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.ENXIO: "it is not a regular file",
    errno.EFBIG: "the file may not grow any more (ulimit -f)",
}
_sync_file: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


class FileSink:
    """Appends to `path`. `rotate_bytes` 0: never rotates; `keep_files` 0: keeps every rotated file.

    Outside rotation is welcome: a file that was renamed is noticed within `CHECK_SECONDS`, or at once by `reopen`.
    A file that was deleted, truncated or written to by somebody else is a failure, because lines are gone or forged.
    """

    name = "file"

    def __init__(
        self,
        path: Path,
        *,
        fsync: Fsync = "interval",
        rotate_bytes: int = DEFAULT_ROTATE_BYTES,
        keep_files: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.durability: Fsync = fsync
        self.rotations = 0
        self._rotate_bytes = rotate_bytes
        self._keep_files = keep_files
        self._monotonic = monotonic
        self._fd = -1
        self._lock_fd = -1
        self._identity = (0, 0)
        self._size = 0
        self._first_line: int | None = None
        self._last_line: bytes | None = None
        self._failure = f"{path}: not open yet"
        self._warning = ""
        self._check_at = 0.0
        self._rotate_at = 0.0
        self._retired: list[int] = []  # files that still want their fsync and close
        self._new_name = False  # the directory wants its fsync
        self._written = 0
        self._synced = 0
        self._syncing: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="kalguard-fsync")

    # -- open and close ---------------------------------------------------------------------------------------

    def open(self) -> Opened:
        """See `Sink.open`. Moves a torn last line into `<path>.torn-<n>`."""
        self._retire()
        try:
            self._lock()
            opened = self._open()
            if opened.last_line is None:
                return Opened(_newest_line(self.path), opened.torn)
            return opened
        except OSError as error:
            self._fail(error)
        except ValueError as error:
            self._fail(str(error))

    def _lock(self) -> None:
        """One writer: two chains in one file could never be verified."""
        if not self.path.parent.exists():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path.with_name(self.path.name + ".lock")
        if self._lock_fd >= 0:
            if _same_file(self._lock_fd, path):
                return
            os.close(self._lock_fd)
            self._lock_fd = -1
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise ValueError(f"another process (pid {owner}) writes to it; give each its own file") from None
        self._lock_fd = fd
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def _open(self) -> Opened:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        fd = os.open(self.path, flags, 0o600)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise ValueError("it is not a regular file")
            line, tail = last_line(fd, info.st_size)
            torn = self._move_torn(fd, info.st_size, tail) if tail else None
            self._first_line = _seq(os.pread(fd, 1 << 16, 0).partition(b"\n")[0])
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        self._identity = (info.st_dev, info.st_ino)
        self._size = info.st_size - len(tail)
        self._last_line = line
        self._new_name = self._new_name or not info.st_size
        self._check_at = self._monotonic() + CHECK_SECONDS
        self._failure = ""
        return Opened(line, torn)

    def _move_torn(self, fd: int, size: int, tail: bytes) -> Torn:
        number = 1
        while True:
            place = self.path.with_name(f"{self.path.name}.torn-{number}")
            try:
                side = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                break
            except FileExistsError:
                number += 1
        with os.fdopen(side, "wb") as file:
            file.write(tail)
            file.flush()
            os.fsync(file.fileno())
        os.ftruncate(fd, size - len(tail))
        return Torn(len(tail), hashlib.sha256(tail).hexdigest(), place.name)

    def close(self) -> None:
        """See `Sink.close`."""
        self._retire()
        for fd in self._retired:
            os.close(fd)
        self._retired.clear()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
        self._failure = f"{self.path}: closed"
        self._executor.shutdown(wait=False)

    def reopen(self) -> None:
        """See `Sink.reopen`."""
        if self._fd >= 0:
            try:
                self._check()
            except SinkError:
                pass  # `healthy` tells, and the next write raises

    # -- write --------------------------------------------------------------------------------------------------

    def write(self, lines: Sequence[bytes]) -> None:
        """See `Sink.write`."""
        if self._fd < 0:
            raise SinkError(self._failure)
        if self._monotonic() >= self._check_at:
            self._check()
        total = sum(map(len, lines))
        if self._rotate_bytes and self._size and self._size + total > self._rotate_bytes:
            self._rotate()
        fd = self._fd
        try:
            for line in lines:
                written = os.write(fd, line)
                if written != len(line):
                    _write_rest(fd, line[written:])
        except OSError as error:
            self._take_back(total)
            self._fail(error)
        self._size += total
        self._written += 1
        self._last_line = lines[-1]
        if self._first_line is None:
            self._first_line = _seq(lines[0])

    def _take_back(self, total: int) -> None:
        """Cut a partly written batch off again. If even that fails, `open` will find a torn line."""
        try:
            if self._size < os.fstat(self._fd).st_size <= self._size + total:
                os.ftruncate(self._fd, self._size)
        except OSError:
            pass

    def _check(self) -> None:
        """Whether the path still names our file and it holds what we wrote. Follows an outside rename."""
        self._check_at = self._monotonic() + CHECK_SECONDS
        try:
            ours = os.fstat(self._fd)
            if ours.st_nlink == 0:
                self._fail("the file was deleted while it was being written; its events are gone")
            if ours.st_size < self._size:
                self._fail(f"the file was cut from {self._size} to {ours.st_size} bytes by somebody else")
            if ours.st_size > self._size:
                self._fail(f"somebody else wrote {ours.st_size - self._size} bytes into the file")
            try:
                named = os.stat(self.path, follow_symlinks=False)
                moved = (named.st_dev, named.st_ino) != self._identity
            except FileNotFoundError:
                moved = True
            if moved:
                self._retire()
                self._open()
                if self._size:
                    self._fail("the file was replaced by another one that is not empty")
            elif not os.access(self.path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                self._fail("permission to write it was taken away")
        except OSError as error:
            self._fail(error)
        except ValueError as error:
            self._fail(str(error))

    def _rotate(self) -> None:
        now = self._monotonic()
        if now < self._rotate_at:
            return
        first, last = self._first_line, _seq(self._last_line or b"")
        try:
            target = rotated_name(self.path, first or 0, last or 0)
            if target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self.path.rename(target)
        except OSError as error:
            # an overlong file is a nuisance, an unwritten line is a loss
            self._warning = f"{self.path}: cannot be rotated: {error.strerror}; it grows beyond its size"
            self._rotate_at = now + ROTATE_RETRY_SECONDS
            return
        self._warning = ""
        self.rotations += 1
        self._retire()
        try:
            self._open()
            self._drop_old()
        except OSError as error:
            self._fail(error)
        except ValueError as error:
            self._fail(str(error))

    def _drop_old(self) -> None:
        if not self._keep_files:
            return
        for path in own_rotated_files(self.path)[: -self._keep_files]:
            try:
                path.unlink()
            except OSError as error:
                self._warning = f"{path}: cannot be deleted: {error.strerror}"

    def _retire(self) -> None:
        if self._fd >= 0:
            self._retired.append(self._fd)
            self._fd = -1

    def _fail(self, problem: OSError | str) -> NoReturn:
        self._retire()
        if isinstance(problem, OSError):
            problem = _HINTS.get(problem.errno or 0) or (problem.strerror or str(problem)).lower()
        self._failure = f"{self.path}: {problem}"
        raise SinkError(self._failure)

    # -- to the disk ------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """See `Sink.flush`. One fsync serves everybody who asked before it began."""
        target = self._written
        while self._synced < target or self._retired:
            if self._syncing is None:
                self._syncing = asyncio.get_running_loop().create_task(self._sync())
                self._syncing.add_done_callback(self._sync_done)
            # the fsync goes on for the others when one caller goes away
            await asyncio.shield(self._syncing)

    def _sync_done(self, task: asyncio.Task[None]) -> None:
        self._syncing = None
        if not task.cancelled():
            task.exception()  # seen, even when every caller has gone away

    async def _sync(self) -> None:
        upto, retired, new_name = self._written, self._retired, self._new_name
        self._retired, self._new_name = [], False
        try:
            # a copy, because the loop may close or replace the file while the thread works
            current = [os.dup(self._fd)] if self._fd >= 0 else []
            directory = self.path.parent if new_name else None
            await asyncio.get_running_loop().run_in_executor(
                self._executor, _sync_and_close, [*retired, *current], directory
            )
        except OSError as error:
            # after a failed fsync nobody knows what the disk holds, and asking again would say "fine"
            self._synced = max(self._synced, upto)
            self._fail(error)
        self._synced = max(self._synced, upto)

    def healthy(self) -> SinkHealth:
        """See `Sink.healthy`. Looks at the file, so that an idle server notices too."""
        if self._fd >= 0 and self._monotonic() >= self._check_at:
            try:
                self._check()
            except SinkError:
                pass  # `_failure` says it
        if self._fd < 0:
            return SinkHealth(False, self._failure)
        return SinkHealth(True, self._warning)


def _write_rest(fd: int, rest: bytes) -> None:
    """After a short write: the next one says why (disk full, size limit), or takes the rest."""
    while rest:
        written = os.write(fd, rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def _sync_and_close(fds: list[int], directory: Path | None) -> None:
    """fsync all, close all, then raise the first `OSError` if there was one."""
    failure: OSError | None = None
    for fd in fds:
        try:
            _sync_file(fd)
        except OSError as error:
            failure = failure or error
        finally:
            os.close(fd)
    if directory is not None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    if failure is not None:
        raise failure


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def _seq(line: bytes) -> int | None:
    try:
        return read_line(line).seq
    except LineError:
        return None


def _newest_line(path: Path) -> bytes | None:
    """Last line of the newest rotated file: where the chain goes on when the current file is empty."""
    for candidate in reversed(rotated_files(path)):
        if candidate.suffix == ".gz":
            continue
        with candidate.open("rb") as file:
            line, _ = last_line(file.fileno(), os.fstat(file.fileno()).st_size)
        if line is not None:
            return line
    return None

"""Log files as lines: the last line, a torn tail, and the rotated files beside a log in the order of their lines."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from kalguard_core.audit.chain import LineError, read_line

# No line is longer: its fields are bounded. What is longer is not an audit log.
MAX_LINE: Final = 1 << 20
FOLLOW_SECONDS: Final = 0.2
_BLOCK: Final = 1 << 16
_NOT_LOGS: Final = (".checkpoints", ".lock", ".state")
_ROTATED: Final = re.compile(r"\.(\d{12,20})-(\d{12,20})$")


def last_line(fd: int, size: int) -> tuple[bytes | None, bytes]:
    """The last complete line of a file of `size` bytes (None: there is none) and what is torn behind it.

    Raises `OSError`; `ValueError` when there is no line end where one must be.
    """
    data = b""
    start = size
    while start > 0 and data[:-1].count(b"\n") < 2:
        if len(data) > 2 * MAX_LINE:
            raise ValueError("not an audit log: a line is longer than any event")
        start = max(0, start - _BLOCK)
        data = os.pread(fd, size - start, start)
    complete, end, torn = data.rpartition(b"\n")
    if not end:
        return None, data
    return complete.rpartition(b"\n")[2] + b"\n", torn


def first_seq(path: Path) -> int | None:
    """Number of the first line of a (possibly gzipped) log file, None if that is no audit line."""
    try:
        with open_log(path) as file:
            return read_line(file.readline(MAX_LINE)).seq
    except (OSError, EOFError, LineError):
        return None


def open_log(path: Path) -> BinaryIO:
    """A log file for reading, unpacked if its name ends in .gz. Raises `OSError`."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of the log file at `path`, see `lines_of`. Raises `OSError`."""
    with open_log(path) as file:
        yield from lines_of(file)


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of an open log with their line feeds; an overlong line comes in pieces. Raises `OSError`."""
    while line := file.readline(MAX_LINE):
        yield line


def end_of_lines(file: BinaryIO) -> int:
    """Where the last complete line of an open log ends. Raises `OSError`, and `ValueError` if it is no log."""
    size = os.fstat(file.fileno()).st_size
    return size - len(last_line(file.fileno(), size)[1])


def lines_backwards(file: BinaryIO, end: int) -> Iterator[bytes]:
    """The lines before offset `end`, without line feeds, last one first, so that a tail costs what it shows."""
    rest = b""
    while end > 0:
        size = min(_BLOCK, end)
        end -= size
        first, found, complete = (os.pread(file.fileno(), size, end) + rest).partition(b"\n")
        if found:
            yield from reversed(complete.splitlines())
        rest = first[:MAX_LINE]
    if rest:
        yield rest


def follow_lines(path: Path, file: BinaryIO, offset: int, sleep: Callable[[float], None]) -> Iterator[bytes]:
    """Lines written to `path` (open as `file`) after `offset`, over rotations and renames, for ever."""
    rest = b""
    own = file
    own.seek(offset)
    try:
        while True:
            successor = _successor(path, own)
            # what was written before the rename is read after it was noticed, so nothing falls between
            *lines, rest = (rest + own.read()).split(b"\n")
            yield from lines
            if successor is not None:
                if own is not file:
                    own.close()
                own, rest = successor, b""
                continue
            own.seek(min(own.tell(), os.fstat(own.fileno()).st_size))  # truncated under us: go on at its end
            if not lines:
                sleep(FOLLOW_SECONDS)
    finally:
        if own is not file:
            own.close()


def _successor(path: Path, file: BinaryIO) -> BinaryIO | None:
    """The file at `path` if that is not `file` any more."""
    try:
        named = path.open("rb")
    except FileNotFoundError:  # between a rename and the new file
        return None
    if os.path.samestat(os.fstat(named.fileno()), os.fstat(file.fileno())):
        named.close()
        return None
    return named


def rotated_name(path: Path, first: int, last: int) -> Path:
    """Name of a rotated file that holds lines `first` to `last`; names sort like the lines in them."""
    return path.with_name(f"{path.name}.{first:012d}-{last:012d}")


def rotated_files(path: Path) -> list[Path]:
    """The files that were rotated out of `path` by us or by logrotate (.1, -20260131, .gz), oldest lines first.

    Recognised by what is in them, not by their name alone. Raises `OSError` when the directory can't be read.
    """
    found: list[tuple[int, Path]] = []
    for entry in path.parent.iterdir():
        rest = entry.name.removeprefix(path.name)
        if rest == entry.name or rest[:1] not in (".", "-") or rest in _NOT_LOGS or rest.startswith(".torn-"):
            continue
        if entry.is_symlink() or not entry.is_file():
            continue
        seq = first_seq(entry)
        if seq is None:
            ours = _ROTATED.fullmatch(rest)  # its first line is damaged: verification must see it
            seq = int(ours[1]) if ours else None
        if seq is not None:
            found.append((seq, entry))
    return [entry for _, entry in sorted(found)]


def own_rotated_files(path: Path) -> list[Path]:
    """The files that we rotated out of `path` ourselves, oldest first."""
    return sorted(
        entry
        for entry in path.parent.iterdir()
        if entry.name.startswith(path.name) and _ROTATED.fullmatch(entry.name[len(path.name) :])
    )

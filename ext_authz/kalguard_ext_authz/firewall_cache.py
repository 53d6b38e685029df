"""Compiled firewall rules, kept on disk, so that the next process starts at once.

Rules of this file:
- The cache is an acceleration and nothing else: whatever is wrong with it (not there, not ours, cut short, of another
  version or CPU), the rules are compiled from their packs, and the process starts.
- It decides what the firewall finds, so it is taken only from a directory that nobody but us can write to, and from a
  file that is ours. Its checksum finds accidents; the directory keeps attackers out. It is never unpickled.
- Directory and file are opened once, without following links, and judged by what was opened.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from kalguard_core.firewall.detectors import Packs
from kalguard_core.firewall.engine import Backend, Engine, build_engine, cache_key
from kalguard_core.firewall.matcher import hyperscan_platform
from kalguard_core.firewall.pack import bundled_packs, packs_digest
from kalguard_core.firewall.sensitive import compile_sieve, sieve_key

MAX_BYTES: Final = 256 << 20
_KEPT: Final = 4  # files: several versions of rules may be in use at once
_PREFIX: Final = "rules-"
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def load_engine(
    sources: Sequence[tuple[str, str | bytes]],
    disabled: Collection[str] = (),
    *,
    directory: Path | None,
    backend: Backend = "auto",
) -> Engine:
    """The engine of these rule packs: from the cache in `directory` if it has them, else compiled and put there.

    `sources` and `disabled` are as in `load_packs`. `directory`: None does without a cache; made with mode 0700 if it
    does not exist. Raises `PackError` for the packs, and nothing for the cache.
    """
    if directory is None:
        return build_engine(sources, disabled, backend=backend)
    name = f"{_PREFIX}{cache_key(packs_digest(sources, disabled), backend)}"
    engine = build_engine(sources, disabled, backend=backend, compiled=_read(directory, name))
    if not engine.was_warm:
        _write(directory, name, engine.compiled())
    return engine


class Cached:
    """Implements `kalguard_core.firewall.detectors.Compiler` with a cache in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def engine(self, packs: Packs) -> Engine:
        """See `Compiler.engine`."""
        return load_engine([*bundled_packs(), *packs], directory=self._directory)

    def sieve(self) -> bytes | None:
        """See `Compiler.sieve`."""
        machine = hyperscan_platform()
        if not machine:
            return None
        name = f"{_PREFIX}sieve-{sha256(f'{sieve_key()} {machine}'.encode()).hexdigest()}"
        kept = _read(self._directory, name)
        size = sha256().digest_size
        if kept is not None and sha256(kept[size:]).digest() == kept[:size]:
            return kept[size:]
        compiled = compile_sieve()
        _write(self._directory, name, sha256(compiled).digest() + compiled)
        return compiled


@contextmanager
def _ours(directory: Path) -> Iterator[int]:
    """The open directory. Raises `OSError` if it is not ours alone to write to."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        if state.st_uid != os.geteuid() or state.st_mode & _OTHERS_WRITE:
            raise PermissionError(f"{directory} belongs to others, or others may write to it")
        yield descriptor
    finally:
        os.close(descriptor)


def _read(directory: Path, name: str) -> bytes | None:
    try:
        with _ours(directory) as folder:
            # without waiting: it may be a pipe
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
                state = os.fstat(file.fileno())
                ours = stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid()
                if not ours or state.st_mode & _OTHERS_WRITE or state.st_size > MAX_BYTES:
                    return None
                return file.read(MAX_BYTES)
    except OSError:
        return None


def _write(directory: Path, name: str, data: bytes) -> None:
    """Put a file there, whole or not at all. The last one of several processes wins; they write the same."""
    temporary = f".{name}.{secrets.token_hex(4)}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _ours(directory) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                os.unlink(temporary, dir_fd=folder)
                raise
            _tidy(folder, name)
    except OSError:
        pass  # a read-only file system, a full disk: the next process compiles again


def _tidy(folder: int, newest: str) -> None:
    """Remove the oldest files, so that every new version of the rules does not leave one behind."""
    aged = []
    for name in os.listdir(folder):
        if name.startswith(_PREFIX) and name != newest:
            try:
                aged.append((os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns, name))
            except FileNotFoundError:
                continue  # another process was faster
    for _, name in sorted(aged, reverse=True)[_KEPT - 1 :]:
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            continue

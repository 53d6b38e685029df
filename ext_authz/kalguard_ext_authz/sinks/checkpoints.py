"""The file of signed checkpoints. Small and rare, so it is opened, written, fsynced and closed each time."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kalguard_core.audit.chain import LineError
from kalguard_core.audit.checkpoint import Checkpoint, read_checkpoint

from .lines import last_line


class CheckpointFile:
    """Checkpoints of one log in `path`. Put it on another volume, or ship it away, and it proves more."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: bytes) -> None:
        """Write one checkpoint line to the disk, or nothing. Blocks. Raises `OSError`."""
        if not self.path.parent.exists():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(self.path, flags, 0o600)
        try:
            size = os.fstat(fd).st_size
            try:
                torn = last_line(fd, size)[1]
            except ValueError:
                torn = b""
            if torn:  # half a checkpoint proves nothing, and would spoil the next line
                size -= len(torn)
                os.ftruncate(fd, size)
            if os.write(fd, line) != len(line):
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
        finally:
            os.close(fd)

    def last(self, instance: str, key: Ed25519PublicKey) -> Checkpoint | None:
        """The newest checkpoint of `instance` if `key` signed it, else None. Raises `OSError`."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            line, _ = last_line(fd, os.fstat(fd).st_size)
            checkpoint = read_checkpoint(line) if line is not None else None
        except (LineError, ValueError):
            return None
        finally:
            os.close(fd)
        if checkpoint is None or checkpoint.instance != instance or not checkpoint.verify(key):
            return None
        return checkpoint

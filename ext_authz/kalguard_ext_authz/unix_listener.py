"""A Unix socket to listen on.

Rules of this file: nobody can open it before its mode is right; a stale one is replaced, a live one never.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_UNIX_PATH_MAX: Final = 107  # bytes of sun_path on Linux without its terminating zero; macOS has 103


def inode(path: Path) -> tuple[int, int] | None:
    """Which file `path` is; None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def listen_unix(path: Path) -> socket.socket:
    """A bound Unix socket, mode 0660 from its first moment. Raises `OSError` that says what is in the way."""
    if len(os.fsencode(path)) > _UNIX_PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, f"cannot listen on unix:{path}: the path is over {_UNIX_PATH_MAX} bytes")
    _make_parents(path.parent)
    try:
        stale = is_stale(path)
    except OSError as error:
        if error.filename is not None:  # the file system's own
            raise
        raise OSError(error.errno, f"cannot listen on unix:{path}: {error.strerror}") from error
    if stale:
        path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # a chmod after bind would leave a moment in which others can connect
    previous = os.umask(0o117)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"cannot listen on unix:{path}: {error.strerror}; may we write to {path.parent}?"
        ) from error
    finally:
        os.umask(previous)
    listener.setblocking(False)
    return listener


def _make_parents(folder: Path) -> None:
    missing: Iterable[Path] = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(list(missing)):
        try:
            place.mkdir(mode=0o750, exist_ok=True)
        except OSError as error:
            raise OSError(error.errno, f"cannot make the folder {place}: {error.strerror}") from error


def is_stale(path: Path) -> bool:
    """Whether a server that is gone left its socket there; False where nothing is.

    Raises `OSError` whose `strerror` says what is there instead.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "something that is no socket is in the way; move it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except FileNotFoundError:
            return False
        except OSError as error:
            raise OSError(error.errno, f"cannot tell if it is in use: {error.strerror}") from error
    raise OSError(errno.EADDRINUSE, "another program listens there; stop it")

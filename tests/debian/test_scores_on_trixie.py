"""Scores on Debian trixie, with its Python 3.13, are those of this machine: the wheel is installed there and asked.

Rules of this file:
- The system is made by mmdebstrap from Debian's packages and entered with chroot: no daemon is needed, but root is.
- Wheels are fetched here, for Python 3.13, and installed there without a network.
- Where this can't run it is skipped, but not in CI: a check that nobody sees missing is worth nothing.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

# a system is made, and wheels are fetched
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "lab" / "scores_digest.py"
NEEDED = ("tests/lab/scores_digest.py", "tests/lab/obfuscations.py", "tests/core/firewall")
SYSTEM = "trixie"
PYTHON = "3.13"
# from the newest that trixie's C library takes to those that old wheels have
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def _run(command: Sequence[str | Path], **options: str) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900, cwd=options.get("cwd"))
    if done.returncode:
        pytest.fail(f"{command[0]} exited with {done.returncode}:\n{done.stderr[-3000:]}", pytrace=False)
    return done.stdout


def _missing() -> str:
    if sys.platform != "linux":
        return "a Debian system needs Linux"
    if os.geteuid() != 0:
        return "chroot needs root"
    return "" if shutil.which("mmdebstrap") else "mmdebstrap is not installed (apt-get install mmdebstrap)"


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a Debian system with this project's wheel, and the tests' texts, installed in it."""
    if missing := _missing():
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("trixie")
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT])
    (wheel,) = wheels.glob("kalguard-*.whl")
    platforms = [f"--platform={name}_{platform.machine()}" for name in PLATFORMS]
    tags = ["--implementation=cp", "--abi=cp313", "--abi=abi3", "--abi=none", f"--python-version={PYTHON}"]
    _run([*pip, "download", "--only-binary=:all:", *platforms, *tags, "--dest", wheels, wheel])
    system = folder / "system"
    _run(["mmdebstrap", "--variant=minbase", "--include=python3,python3-venv", SYSTEM, system])
    shutil.copytree(wheels, system / "wheels")
    for name in NEEDED:
        source, copy = ROOT / name, system / "kalguard" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        else:
            shutil.copy(source, copy)
    _run(["chroot", system, "python3", "-m", "venv", "/venv"])
    _run(["chroot", system, "/venv/bin/pip", "install", "--quiet", "--no-index", "--find-links=/wheels", "kalguard"])
    return system


def test_trixie_has_the_python_that_is_asked_for(trixie: Path) -> None:
    assert _run(["chroot", trixie, "/venv/bin/python", "--version"]).split()[1].startswith(f"{PYTHON}.")


@pytest.mark.parametrize("engine", ["auto", "re2"])
def test_scores_spans_and_cleaned_texts_are_the_same_on_trixie(trixie: Path, engine: str) -> None:
    here = _run([sys.executable, SCRIPT, "--dump", "--engine", engine]).splitlines()
    inside: list[str | Path] = ["chroot", trixie, "/venv/bin/python", "/kalguard/tests/lab/scores_digest.py"]
    there = _run([*inside, "--dump", "--engine", engine]).splitlines()
    assert len(here) == len(there) >= 250
    different = [
        f"here:  {mine[:300]}\nthere: {theirs[:300]}"
        for mine, theirs in zip(here, there, strict=True)
        if mine != theirs
    ]
    assert not different, "\n".join(different[:10])

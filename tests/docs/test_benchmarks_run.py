"""The benchmarks of the firewall still run: they reach into it, and nothing else would say that they broke."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "firewall.py"


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        (["--only", "short"], ["| everyday |", "| everyday, of these views |", "| hard honest, model |"]),
        (["--only", "long", "--shape", "Morse"], ["| Morse (hostile) |"]),
    ],
)
def test_the_benchmark_of_the_firewall_prints_its_table(arguments: list[str], rows: list[str]) -> None:
    command = [sys.executable, str(BENCHMARK), "--rounds", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(any(line.startswith(row) for line in lines) for row in rows), done.stdout

"""Fixtures for all rooms; what they are made of is in `support.py`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kalguard_ext_authz.envoy.binary import EnvoyNotFound, find_envoy
from support import KalGuardProcess, start_kalguard


@pytest.fixture(scope="session")
def envoy_binary() -> Path:
    """A real Envoy. Missing in CI is a failure: those tests are the proof that the gate is closed."""
    try:
        return find_envoy()
    except EnvoyNotFound as error:
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(f"CI needs a real Envoy: {error}")
        pytest.skip(f"no Envoy: {error}")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path: a Unix socket's path may have 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="kg-") as folder:
        yield Path(folder)


@pytest.fixture
def kalguard(short_folder: Path) -> Iterator[Callable[..., KalGuardProcess]]:
    """Starts servers (see `start_kalguard`) and stops them after the test."""
    running: list[KalGuardProcess] = []

    def start(**options: Any) -> KalGuardProcess:
        folder = Path(tempfile.mkdtemp(dir=short_folder))
        running.append(start_kalguard(folder, **options))
        return running[-1]

    yield start
    for server in running:
        server.stop()

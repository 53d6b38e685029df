"""One gate for all contract tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract_lab import Contracts, running_contracts


@pytest.fixture(scope="session")
def contracts(envoy_binary: Path) -> Iterator[Contracts]:
    with running_contracts(envoy_binary) as running:
        yield running

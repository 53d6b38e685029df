"""The clients of docs/agents.md work against a gate as they are written there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from contract_lab import Contracts
from support import make_token

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "agents.md"
BLOCKS = re.findall(r"^```python sdk$\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
PACKAGES = ["openai", "openai", "anthropic", "google", "google", "boto3", "ollama", "cohere", "mistralai", "a2a"]


def test_every_sdk_has_an_example() -> None:
    assert [next(name for name in PACKAGES if f" {name}" in block) for block in BLOCKS] == PACKAGES


@pytest.mark.parametrize("block", [pytest.param(block, id=f"{n}-{PACKAGES[n]}") for n, block in enumerate(BLOCKS)])
def test_a_documented_client_reaches_its_vendor(
    contracts: Contracts, block: str, request: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", make_token(f"agent-documented-{request.node.callspec.id}"))
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "")  # the example sets it: put back afterwards
    code = block.replace("http://127.0.0.1:10000", contracts.plain).replace("ca.pem", str(contracts.stub.ca))
    code = code.replace("https://gate.internal:10443", contracts.tls)
    before = len(contracts.stub.seen)
    exec(compile(code, str(DOCUMENT), "exec"), {"__name__": "documented"})
    assert len(contracts.stub.seen) == before + (".create(card)" not in block)

"""What honest clients send passes the real pipeline where policy and catalog allow it: no form of theirs is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import yaml

from kalguard_core.request import AgentRequest, BufferedBody
from permissive_guard import decided, token

_GROUPS: Final = yaml.safe_load((Path(__file__).parent / "honest_requests.yaml").read_text())


def _requests() -> Iterator[Any]:
    for group in _GROUPS:
        asked = [("POST", group.get("path", "/"), orjson.dumps(body)) for body in group.get("bodies", ())]
        asked += [(*target.split(" ", 1), b"") for target in group.get("targets", ())]
        for method, path, body in asked:
            yield pytest.param(group, method, path, body, id=f"{group['kind']} {(body or path.encode())[:60].decode()}")


@pytest.mark.parametrize(("group", "method", "path", "body"), list(_requests()))
def test_it_passes(group: dict[str, Any], method: str, path: str, body: bytes) -> None:
    headers = {"x-kalguard-token": token()}
    if body:
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
    decision = decided(
        AgentRequest(
            id="req_1",
            kind=group["kind"],
            method=method,
            host=group.get("host", "upstream.test"),
            path=path,
            headers=headers | group.get("headers", {}),
            time=1_700_000_000.0,
            monotonic=0.0,
            body=BufferedBody(body),
            context=group.get("context", {}),
        )
    )
    assert decision.code is None, (decision.reason, decision.verdicts)

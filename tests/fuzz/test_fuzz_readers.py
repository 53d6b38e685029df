"""Any bytes, headers and paths: actions or a refusal, never anything else. `make fuzz` goes on for longer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz_requests import check, requests
from kalguard_core.wire.registry import PROTOCOLS


@pytest.mark.parametrize("kind", sorted(PROTOCOLS))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_reader_ends_in_actions_or_a_refusal_whatever_comes(kind: str, data: st.DataObject) -> None:
    check(data.draw(requests(kind)))

"""Several web upstreams behind one Envoy: a policy about one of them opens no other."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from envoy_lab import Demo
from stack import running_stack
from support import make_token

POLICY = """
rules:
  - id: read-the-documentation
    match: {{actions: ["http:request"], resources: ["{allowed}"], attributes: {{method: [GET]}}}}
    decision: allow
"""


@pytest.mark.parametrize("host", ["docs.example.com", "DOCS.example.com", "docs.example.com:443"])
def test_an_agent_cannot_write_the_host_that_policy_allows_and_reach_another_upstream(
    socket_directory: Path, envoy_binary: Path, demo_upstream: Demo, host: str
) -> None:
    headers = {"authorization": f"Bearer {make_token()}", "host": host}
    policy = POLICY.format(allowed="docs.example.com/*")
    with running_stack(socket_directory, envoy_binary, demo_upstream.url, policy=policy) as stack:
        answer = httpx.get(f"{stack.url}/web/echo", headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (403, "POLICY_DENY")


def test_policy_names_the_upstream_as_the_operator_wrote_it(
    socket_directory: Path, envoy_binary: Path, demo_upstream: Demo
) -> None:
    upstream = demo_upstream.url.removeprefix("http://")
    with running_stack(
        socket_directory, envoy_binary, demo_upstream.url, policy=POLICY.format(allowed=f"{upstream}/echo")
    ) as stack:
        headers = {"authorization": f"Bearer {make_token()}", "host": "anything.example"}
        reached = httpx.get(f"{stack.url}/web/echo", headers=headers)
        elsewhere = httpx.get(f"{stack.url}/web/other", headers=headers)
        events = [event["resource"] for event in stack.kalguard.audit_events() if event.get("action") == "http:request"]
    assert (reached.status_code, elsewhere.status_code) == (200, 403)
    assert events == [f"{upstream}/echo", f"{upstream}/other"]

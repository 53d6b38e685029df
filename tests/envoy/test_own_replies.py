"""Envoy's own answers can be found again, and an upstream outside is not told where an agent runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from raw_http import exchange
from stack import Stack, running_stack
from support import make_token


@pytest.fixture(scope="module")
def stack(module_socket_directory: Path, envoy_binary: Path, demo_upstream: Any) -> Iterator[Stack]:
    with running_stack(module_socket_directory, envoy_binary, demo_upstream.url) as running:
        yield running


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /openai/v1/chat/completions HTTP/1.1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["no host", "two lengths"],
)
def test_what_the_codec_refuses_has_an_id_in_the_answer_and_in_the_access_log(
    stack: Stack, request_bytes: bytes
) -> None:
    before = len(stack.access_lines())
    answer = exchange(stack.port, request_bytes, 5.0)
    body = json.loads(answer.answers[0].body)
    line = stack.access_lines(before + 1)[-1]
    assert body["errorCode"] == "BAD_REQUEST"
    assert body["requestId"]
    assert line["requestId"] == body["requestId"]


def test_an_upstream_that_is_not_ours_is_not_told_where_the_agent_runs(stack: Stack, demo_upstream: Any) -> None:
    seen = httpx.get(f"{stack.url}/web/echo", headers={"authorization": f"Bearer {make_token()}"}).text.lower()
    assert "x-forwarded-for" not in seen
    assert "x-envoy-external-address" not in seen
    assert "x-kalguard-agent" not in seen


def test_a_token_in_the_query_of_a_web_route_stays_here(stack: Stack, demo_upstream: Any) -> None:
    token = make_token()
    answer = httpx.get(f"{stack.url}/web/echo?key={token}&q=1", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert token not in str(demo_upstream.seen()[-1])
    assert "q=1" in str(demo_upstream.seen()[-1])

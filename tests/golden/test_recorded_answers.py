"""Every recorded answer of the original sidecar, against a real server process."""

from __future__ import annotations

import base64
import http.client
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import KalGuardProcess, StartFailed, start_kalguard

CASES = [json.loads(line) for line in Path(__file__).with_name("kalguard-http.jsonl").read_text().splitlines()]
# Cases that need the cloud connector, which is later work: without it KALGUARD_API_KEY stops the start.
CLOUD = [case for case in CASES if case["name"].startswith("cloud/")]
LOCAL = [case for case in CASES if not case["name"].startswith("cloud/")]

_servers: dict[str, KalGuardProcess | str] = {}


@pytest.fixture(scope="module", autouse=True)
def _stop_servers() -> Iterator[None]:
    yield
    running = [server for server in _servers.values() if isinstance(server, KalGuardProcess)]
    for server in running:  # all at once: each takes its time
        server.process.terminate()
    for server in running:
        server.stop()
    _servers.clear()


def _server_for(case: dict[str, Any]) -> KalGuardProcess | str:
    """The server of a case, or what it said when it refused to start. Cases with equal settings share one."""
    key = json.dumps([case["env"], case["policy"]], sort_keys=True)
    if key not in _servers:
        folder = Path(tempfile.mkdtemp(prefix="kg-"))
        existing = folder / "a-file"
        existing.write_text("")
        env = {name: value.replace("${A_FILE}", str(existing)) for name, value in case["env"].items()}
        policy = None if case["policy"] is None else json.dumps(case["policy"])
        try:
            _servers[key] = start_kalguard(folder, policy=policy, env=env, audit=False)
        except StartFailed as failure:
            _servers[key] = str(failure)
    return _servers[key]


def _body(request: dict[str, Any]) -> bytes | None:
    if "bodyBase64" in request:
        return base64.b64decode(request["bodyBase64"])
    if "bodySpec" in request:
        size = int(re.search(r"(\d+) bytes", request["bodySpec"]).group(1))  # type: ignore[union-attr]
        frame = json.dumps({"messages": [{"role": "user", "content": ""}]}).encode()
        return frame.replace(b'""', b'"' + b"a" * (size - len(frame)) + b'"')
    if "body" not in request:
        return None
    body = request["body"]
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _send(server: KalGuardProcess, request: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
    connection = http.client.HTTPConnection(server.addresses["http"], timeout=20)
    body = _body(request)
    chunked = bool(request.get("chunked"))
    connection.request(
        request["method"],
        request["path"],
        body=iter([body]) if chunked and body is not None else body,
        headers=request["headers"],
        encode_chunked=chunked,
    )
    response = connection.getresponse()
    data = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    connection.close()
    return response.status, headers, json.loads(data)


@pytest.mark.parametrize("case", LOCAL, ids=lambda case: case["name"])
def test_a_recorded_answer_holds(case: dict[str, Any]) -> None:
    expect = case["expect"]
    server = _server_for(case)
    if expect == "startup-error":
        assert isinstance(server, str), "the server started with a policy that it must refuse"
        assert "policy.yaml:1: rules[0].match" in server
        return
    if expect == "startup-error-or-honoured":
        expect = {"status": 403, "body": {"allowed": False, "errorCode": "POLICY_DENY"}}
    assert isinstance(server, KalGuardProcess), server
    sent = {**case["request"]["headers"]}
    status, headers, body = _send(server, case["request"])
    statuses = expect["status"] if isinstance(expect["status"], list) else [expect["status"]]
    assert status in statuses, body
    for field, value in expect.get("body", {}).items():
        assert body[field] == value
    assert headers["content-type"] == "application/json"
    if "requestId" in expect:
        assert body["requestId"] == headers["x-kalguard-request-id"] == expect["requestId"]
    if expect.get("requestIdGenerated"):
        assert re.fullmatch(r"req_[0-9a-f]{24}", body["requestId"])
        assert body["requestId"] not in sent.values()
    if "allowed" in body:
        assert list(body)[:4] == ["allowed", "decision", "message", "requestId"]
        assert body["reason"] == body["message"]
        assert isinstance(body["ok"], bool)


@pytest.mark.parametrize("case", CLOUD, ids=lambda case: case["name"])
def test_a_case_of_the_cloud_connector_stops_the_start_until_there_is_one(case: dict[str, Any]) -> None:
    """Later work, by name: `cloud/*`. Until then the key must not be silently ignored."""
    server = _server_for({**case, "env": {name: value.replace("${PORT}", "1") for name, value in case["env"].items()}})
    assert isinstance(server, str)
    assert "KALGUARD_API_KEY" in server

"""Who may use the admin interface, and what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from http_support import serving
from kalguard_ext_authz.admin import create_admin
from kalguard_ext_authz.health import Check, Health
from kalguard_ext_authz.http_server import HttpServer
from kalguard_ext_authz.operator_auth import OperatorToken

TOKEN = "operator-0123456789abcdef0123456789abcdef"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZ2VudC0xIn0.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU"


class FakeActions:
    def __init__(self) -> None:
        self.reloads = 0
        self.error: str | None = None
        self.failure: Exception | None = None

    def config(self) -> dict[str, Any]:
        return {
            "settings": {"port": 9292, "token_secret": "hunter2hunter2", "policy_path": Path("/etc/policy.yaml")},
            "versions": {"policy": "p1"},
        }

    async def reload(self) -> dict[str, dict[str, Any]]:
        self.reloads += 1
        if self.failure is not None:
            raise self.failure
        return {
            "policy": {"changed": self.error is None, "error": self.error, "version": "p2"},
            "tools": {"changed": False, "error": None, "version": "t1"},
        }


def over_tcp(server: HttpServer, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=False, base_url=f"http://127.0.0.1:{server.port}", headers=headers)


def over_unix(path: Path, **headers: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=str(path), verify=False)
    return httpx.AsyncClient(transport=transport, verify=False, base_url="http://anything", headers=headers)


PROTECTED = [("GET", "/"), ("GET", "/config"), ("POST", "/reload"), ("GET", "/nope"), ("DELETE", "/config")]


async def test_over_a_unix_socket_no_token_is_needed(short_folder: Path) -> None:
    actions = FakeActions()
    path = short_folder / "admin.sock"
    async with serving(create_admin(actions, Health(), operator_token=None), uds=path), over_unix(path) as http:
        assert "POST /reload" in (await http.get("/")).json()["endpoints"]
        config = (await http.get("/config")).json()
        assert config["settings"]["port"] == 9292
        assert config["settings"]["policy_path"] == "/etc/policy.yaml"
        assert config["versions"] == {"policy": "p1"}
        assert "hunter2" not in str(config)
        response = await http.post("/reload")
        assert response.status_code == 200
        assert response.json()["documents"]["policy"] == {"changed": True, "error": None, "version": "p2"}
        assert actions.reloads == 1


async def test_over_a_unix_socket_a_token_that_is_set_is_asked_for(short_folder: Path) -> None:
    path = short_folder / "admin.sock"
    async with serving(create_admin(FakeActions(), Health(), operator_token=TOKEN), uds=path):
        async with over_unix(path) as http:
            assert (await http.get("/config")).status_code == 401
        async with over_unix(path, authorization=f"Bearer {TOKEN}") as http:
            assert (await http.get("/config")).status_code == 200


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_over_tcp_without_a_configured_token_everything_is_closed(method: str, path: str) -> None:
    actions = FakeActions()
    async with serving(create_admin(actions, Health(), operator_token=None)) as server:
        for headers in ({}, {"authorization": "Bearer"}, {"authorization": f"Bearer {JWT}"}):
            async with over_tcp(server, **headers) as http:
                assert (await http.request(method, path)).status_code == 401
    assert actions.reloads == 0


WRONG = {
    "none": {},
    "an agent's JWT": {"authorization": f"Bearer {JWT}"},
    "an empty token": {"authorization": "Bearer"},
    "no scheme": {"authorization": TOKEN},
    "another scheme": {"authorization": f"Basic {TOKEN}"},
    "a prefix": {"authorization": f"Bearer {TOKEN[:-1]}"},
    "one character more": {"authorization": f"Bearer {TOKEN}x"},
    "another case": {"authorization": f"Bearer {TOKEN.upper()}"},
    "twice": {"authorization": f"Bearer {TOKEN},Bearer {TOKEN}"},
    "a tab": {"authorization": f"Bearer\t{TOKEN}"},
    "the agent's header": {"x-kalguard-token": TOKEN},
    "an API key header": {"x-api-key": TOKEN},
    "a cookie": {"cookie": f"token={TOKEN}"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG.keys())
async def test_over_tcp_anything_but_the_operator_token_is_a_401(headers: dict[str, str]) -> None:
    actions = FakeActions()
    async with (
        serving(create_admin(actions, Health(), operator_token=TOKEN)) as server,
        over_tcp(server, **headers) as http,
    ):
        for method, path in PROTECTED:
            response = await http.request(method, path, params={"token": TOKEN})
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert "error" in response.json()
            assert TOKEN not in response.text
    assert actions.reloads == 0


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_over_tcp_the_operator_token_opens_it(scheme: str) -> None:
    async with (
        serving(create_admin(FakeActions(), Health(), operator_token=TOKEN)) as server,
        over_tcp(server, authorization=f"{scheme} {TOKEN}") as http,
    ):
        assert (await http.get("/config")).status_code == 200
        assert (await http.get("/nope")).status_code == 404
        assert (await http.get("/reload")).status_code == 405
        assert (await http.post("/config")).status_code == 405


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:9901", True),
        ("127.8.8.8", True),
        ("[::1]:9901", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("admin.internal:9901", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1:9901@evil.example", False),
        ("localhost.evil.example", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("[::1", False),
        ("[::1]evil", False),
        ("::1", False),
        ("127.1", False),
        ("127.0.0.1:", False),
        ("127.0.0.1:x", False),
        ("", False),
    ],
)
async def test_over_tcp_the_host_must_name_this_machine(host: str, allowed: bool) -> None:
    admin = create_admin(FakeActions(), Health(), operator_token=TOKEN, hosts=["admin.internal"])
    async with serving(admin) as server, over_tcp(server, authorization=f"Bearer {TOKEN}", host=host) as http:
        assert (await http.get("/config")).status_code == (200 if allowed else 403)
        assert (await http.get("/readyz")).status_code == (200 if allowed else 403)


async def test_probes_need_no_token() -> None:
    health = Health()
    health.add("policy", lambda: Check("unavailable", "no policy"))
    async with serving(create_admin(FakeActions(), health, operator_token=TOKEN)) as server, over_tcp(server) as http:
        assert (await http.get("/livez")).status_code == 200
        response = await http.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == {"policy": {"status": "unavailable", "detail": "no policy"}}


async def test_a_document_that_cannot_be_used_is_a_409_with_the_reason(short_folder: Path) -> None:
    actions = FakeActions()
    actions.error = "policy.yaml:3: rules[0].match: unknown key"
    path = short_folder / "admin.sock"
    async with serving(create_admin(actions, Health(), operator_token=None), uds=path), over_unix(path) as http:
        response = await http.post("/reload")
    assert response.status_code == 409
    assert response.json()["documents"]["policy"]["error"] == actions.error
    assert response.json()["documents"]["tools"]["error"] is None


async def test_an_action_that_fails_is_a_500_that_tells_nothing(short_folder: Path) -> None:
    actions = FakeActions()
    actions.failure = RuntimeError("hunter2")
    path = short_folder / "admin.sock"
    async with serving(create_admin(actions, Health(), operator_token=None), uds=path), over_unix(path) as http:
        response = await http.post("/reload")
    assert response.status_code == 500
    assert "hunter2" not in response.text


async def test_nothing_is_granted_to_web_pages() -> None:
    async with (
        serving(create_admin(FakeActions(), Health(), operator_token=TOKEN)) as server,
        over_tcp(server, authorization=f"Bearer {TOKEN}", origin="http://evil.example") as http,
    ):
        for method in ("GET", "OPTIONS"):
            response = await http.request(method, "/config")
            assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("short", "must have 32"),
        ("x" * 31, "must have 32"),
        ("x" * 2000, "must have 32"),
        (JWT, "looks like a JWT"),
        ("x" * 31 + "é", "printable ASCII"),
        ("x" * 31 + "\n", "printable ASCII"),
        ("x" * 16 + " " + "x" * 16, "printable ASCII"),
    ],
)
def test_a_weak_operator_token_stops_the_start(token: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        create_admin(FakeActions(), Health(), operator_token=token)
    assert token not in str(refused.value)


def test_an_operator_token_shows_nothing_of_itself() -> None:
    assert TOKEN not in repr(OperatorToken(TOKEN))
    assert OperatorToken(TOKEN).matches({"authorization": f"Bearer {TOKEN}"})
    assert not OperatorToken(TOKEN).matches({"authorization": "Bearer \udcff"})


def test_a_check_that_raises_is_unavailable_and_tells_no_reason() -> None:
    health = Health()

    def broken() -> Check:
        raise RuntimeError("hunter2")

    health.add("store", broken)
    report = health.report()
    assert report.status == "unavailable"
    assert report.http_status == 503
    assert "hunter2" not in report.checks["store"].detail


def test_a_health_check_has_a_name_of_its_own() -> None:
    health = Health()
    health.add("policy", lambda: Check("ok"))
    with pytest.raises(ValueError, match="registered already"):
        health.add("policy", lambda: Check("ok"))


def test_an_empty_health_is_ok_until_it_drains() -> None:
    health = Health()
    assert health.report().status == "ok"
    health.draining = True
    assert health.report().status == "unavailable"

"""Documents that change under a running server: the right version decides, nothing is dropped, nothing bad gets in."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kalguard_ext_authz.cli import main
from process_support import (
    ALLOW_ALL,
    NO_TLS,
    admin,
    ask_once,
    check_of,
    comes_true,
    envoy_of,
    eventually,
    log_lines,
    mcp_call,
    metrics,
    readyz,
    tool_call,
)
from support import ALL_CAPABILITIES, SECRET, TOOLS, KalGuardProcess, make_token

Start = Callable[..., KalGuardProcess]

CHANGES = 50
TOOL_NAMES = ("search", "get_weather")


def policy_of(version: int) -> str:
    """Even versions allow only `search`, odd ones only `get_weather`; the rules and reasons carry the version."""
    allowed, denied = TOOL_NAMES if version % 2 == 0 else TOOL_NAMES[::-1]
    return (
        f"rules:\n  - {{id: v{version}-allow, match: {{tools: [{allowed}]}}, decision: allow}}\n"
        f"  - {{id: v{version}-deny, match: {{tools: [{denied}]}}, decision: deny, reason: v{version}}}\n"
    )


def may(version: int, tool: str) -> bool:
    return TOOL_NAMES[version % 2] == tool


class InPlace:
    """`cp new policy.yaml`: the same file gets other bytes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "policy.yaml"

    def put(self, version: int) -> None:
        self.path.write_text(policy_of(version))


class Renamed:
    """What editors and configuration management do: write beside it, rename over it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "policy.yaml"

    def put(self, version: int) -> None:
        beside = self.path.with_name(f".policy.{version}")
        beside.write_text(policy_of(version))
        beside.rename(self.path)


class ConfigMap:
    """What the kubelet does: policy.yaml -> ..data/policy.yaml, and ..data -> ..v<n> is swapped."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "policy.yaml"
        self.path.symlink_to("..data/policy.yaml")

    def put(self, version: int) -> None:
        folder, data = self.path.parent, self.path.with_name("..data")
        before = data.resolve() if data.is_symlink() else None
        (folder / f"..v{version}").mkdir()
        (folder / f"..v{version}" / "policy.yaml").write_text(policy_of(version))
        data.with_name("..data_tmp").symlink_to(f"..v{version}")
        data.with_name("..data_tmp").rename(data)
        if before is not None:
            shutil.rmtree(before)


class Watcher:
    """Judges every answer: its version must be one that was in force while the call was under way."""

    def __init__(self) -> None:
        self.written = 0  # the newest version that was put into the file
        self.seen = 0  # the newest version that an answer came from: later calls must not get an older one
        self.calls = 0

    def judge(self, floor: int, tool: str, allowed: bool, version: int | None) -> None:
        self.calls += 1
        possible = range(floor, self.written + 1) if version is None else (version,)
        assert all(floor <= each <= self.written for each in possible), (floor, version, self.written)
        assert any(may(each, tool) == allowed for each in possible), (tool, allowed, possible)
        if version is not None:
            self.seen = max(self.seen, version)


async def call_http(server: KalGuardProcess, watcher: Watcher, token: str) -> None:
    async with httpx.AsyncClient(timeout=20, verify=NO_TLS) as client:
        while True:
            for tool, arguments in (("search", {"query": "tea"}), ("get_weather", {"location": "Oslo"})):
                floor = watcher.seen
                answer = await client.post(
                    f"{server.http}/v1/tool/check",
                    json={"toolName": tool, "arguments": arguments},
                    headers={"authorization": f"Bearer {token}"},
                )
                assert answer.status_code in (200, 403), answer.text
                allowed = answer.json()["allowed"]
                version = None if allowed else int(answer.json()["message"].removeprefix("v"))
                watcher.judge(floor, tool, allowed, version)
                await asyncio.sleep(0.002)


async def call_grpc(server: KalGuardProcess, watcher: Watcher, token: str) -> None:
    async with envoy_of(server) as envoy:
        while True:
            for tool in TOOL_NAMES:
                floor = watcher.seen
                answer = await envoy.check(mcp_call(tool, token=token))
                version = int(answer.dynamic_metadata["rule"].removeprefix("v").partition("-")[0])
                watcher.judge(floor, tool, answer.status.code == 0, version)
                await asyncio.sleep(0.002)


async def under_load(server: KalGuardProcess, watcher: Watcher, change: Callable[[], Any]) -> None:
    """Run `change()` beside clients of both transports. A wrong answer or a dropped call ends it with its error."""
    async with asyncio.TaskGroup() as group:
        tokens = [make_token(f"agent-{number}") for number in range(4)]
        clients = [
            *(group.create_task(call_http(server, watcher, token)) for token in tokens[:2]),
            *(group.create_task(call_grpc(server, watcher, token)) for token in tokens[2:]),
        ]
        await change()
        for client in clients:
            client.cancel()


@pytest.mark.parametrize("kind", [InPlace, Renamed, ConfigMap])
async def test_fifty_changes_under_load_make_no_wrong_decision_and_drop_no_call(
    kalguard: Start, short_folder: Path, kind: type[InPlace | Renamed | ConfigMap]
) -> None:
    (short_folder / "etc").mkdir()
    policy = kind(short_folder / "etc")
    policy.put(0)
    server = kalguard(env={"KALGUARD_POLICY_PATH": str(policy.path)})
    watcher = Watcher()

    async def change() -> None:
        for version in range(1, CHANGES + 1):
            watcher.written = version
            policy.put(version)
            async with asyncio.timeout(5):
                while watcher.seen != version:
                    await asyncio.sleep(0.001)

    await under_load(server, watcher, change)
    assert metrics(server)['kalguard_reloads_total{document="policy",result="ok"}'] == CHANGES
    assert watcher.calls >= 10 * CHANGES
    assert {line["event"] for line in log_lines(server)} == {"serving", "reloaded"}


async def test_a_file_that_is_written_slowly_is_never_taken_half(kalguard: Start) -> None:
    # cut anywhere, the policy is a good document; cut in the middle, it denies what both versions allow
    def text(version: int) -> tuple[str, str]:
        return (
            f"rules:\n  - {{id: v{version}-deny, match: {{tools: [search]}}, decision: deny}}\n",
            f"  - {{id: v{version}, match: {{tools: [get_weather]}}, decision: allow}}\n",
        )

    server = kalguard(policy="".join(text(0)))
    assert server.policy is not None
    async with envoy_of(server) as envoy:

        async def rule() -> str:
            answer = await envoy.check(mcp_call("get_weather"))
            assert answer.status.code == 0, "half a policy was in force"
            return str(answer.dynamic_metadata["rule"])

        for version in range(1, 16):
            with server.policy.open("w") as file:
                file.write(text(version)[0])
                file.flush()
                server.process.send_signal(signal.SIGHUP)  # look now, in the worst moment
                until = time.monotonic() + 0.03
                while time.monotonic() < until:
                    await rule()
                    await asyncio.sleep(0.002)
                file.write(text(version)[1])

            async def arrived(wanted: str = f"v{version}") -> bool:
                return await rule() == wanted

            await comes_true(arrived)


MISSPELLED = b"rules:\n  - {id: a, decision: allow, mach: {}}\n"
BAD_POLICIES: dict[str, tuple[bytes, str]] = {
    "a YAML error": (b"rules:\n  - {id: a, decision: allow\n", "policy.yaml:2: not valid YAML"),
    "an unknown key": (
        b"rules:\n  - {id: a, decision: allow, mach: {}}\n",
        "policy.yaml:2: rules[0].mach: unknown key",
    ),
    "a value that means nothing": (b"rules:\n  - id: a\n    decision: maybe\n", "policy.yaml:3: rules[0].decision: "),
    "an empty file": (b"", "policy.yaml:1: the document is empty"),
    "half a file": (policy_of(0).encode()[: len(policy_of(0)) * 2 // 3], "policy.yaml:3: "),
    "no UTF-8": (b"rules: []\n# \xff\n", "policy.yaml: not UTF-8"),
    "a list": (b"- a\n", "policy.yaml:1: must be a mapping"),
}


def removed(path: Path) -> None:
    path.unlink()


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_loop_of_links(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def its_folder_is_gone(path: Path) -> None:
    path.parent.rename(path.parent.with_name("old"))


def mend(path: Path, text: str) -> None:
    """Put `text` where `path` points, whatever is there now."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    shutil.rmtree(path.parent.with_name("old"), ignore_errors=True)
    path.write_text(text)


UNREADABLE = {
    removed: "No such file or directory",
    a_directory: "is a directory",
    a_pipe: "is not a regular file",
    a_loop_of_links: "Too many levels of symbolic links",
    its_folder_is_gone: "No such file or directory",
}


def test_a_bad_file_changes_nothing_and_is_told_until_it_is_mended(kalguard: Start, short_folder: Path) -> None:
    path = short_folder / "etc" / "policy.yaml"
    path.parent.mkdir()
    path.write_text(policy_of(0))
    server = kalguard(env={"KALGUARD_POLICY_PATH": str(path), "KALGUARD_POLICY_WATCH_INTERVAL_MS": "60"})
    in_force = admin(server, "GET", "/config").json()["documents"]["policy"]
    cases: list[tuple[str, Callable[[Path], Any], str]] = [
        (name, lambda path, data=data: path.write_bytes(data), problem)  # type: ignore[misc]
        for name, (data, problem) in BAD_POLICIES.items()
    ]
    cases += [(spoil.__name__, spoil, problem) for spoil, problem in UNREADABLE.items()]

    for version, (name, spoil, problem) in enumerate(cases):
        spoil(path)
        detail = eventually(lambda: check_of(server, "policy")[0] == "degraded" and check_of(server, "policy")[1])
        assert problem in str(detail), name
        assert in_force in str(detail), name
        status, report = readyz(server)
        assert (status, report["status"]) == (200, "degraded"), name
        for tool in TOOL_NAMES:
            assert tool_call(server, tool).json()["allowed"] == may(version, tool), name
        told = metrics(server)
        assert told['kalguard_document_degraded{document="policy"}'] == 1, name
        assert told['kalguard_reloads_total{document="policy",result="failed"}'] == version + 1, name
        refused = [line for line in log_lines(server) if line["event"] == "reload_refused"]
        assert problem in refused[-1]["error"], name
        assert len(refused) == version + 1, "said once, not on every look"

        mend(path, policy_of(version + 1))
        eventually(lambda: check_of(server, "policy")[0] == "ok")
        in_force = admin(server, "GET", "/config").json()["documents"]["policy"]
        assert tool_call(server, TOOL_NAMES[(version + 1) % 2]).json()["allowed"], name
        assert metrics(server)['kalguard_document_degraded{document="policy"}'] == 0, name
    assert readyz(server)[1]["status"] == "ok"


def test_a_file_that_was_bad_and_is_what_it_was_before_is_fine_again(kalguard: Start) -> None:
    server = kalguard(policy=ALLOW_ALL)
    assert server.policy is not None
    server.policy.write_text("rules: [")
    eventually(lambda: check_of(server, "policy")[0] == "degraded")
    server.policy.write_text(ALLOW_ALL)
    eventually(lambda: check_of(server, "policy")[0] == "ok")
    assert [line["event"] for line in log_lines(server)] == ["serving", "reload_refused", "reload_recovered"]


def token_with(key: Any, kid: str, agent: str) -> str:
    now = int(time.time())
    claims = {"sub": agent, "iss": "tests", "iat": now, "exp": now + 600, "capabilities": list(ALL_CAPABILITIES)}
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid})


def jwks(**keys: Ed25519PrivateKey) -> str:
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    points = {kid: base64.urlsafe_b64encode(key.public_key().public_bytes(*raw)) for kid, key in keys.items()}
    members = [
        {"kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "x": point.rstrip(b"=").decode()}
        for kid, point in points.items()
    ]
    return json.dumps({"keys": members})


@pytest.fixture
def rotating(kalguard: Start, short_folder: Path) -> KalGuardProcess:
    """A server with every document that can change; the files are in its `etc` folder."""
    etc = short_folder / "etc"
    etc.mkdir()
    (etc / "tools.yaml").write_text(TOOLS)
    (etc / "revocations.yaml").write_text("agentIds: []\n")
    (etc / "principals.yaml").write_text("principals: []\n")
    (etc / "secret").write_text(SECRET + "\n")
    (etc / "keys.json").write_text(jwks(old=OLD))
    return kalguard(
        policy=ALLOW_ALL,
        env={
            "KALGUARD_TOOLS_PATH": str(etc / "tools.yaml"),
            "KALGUARD_REVOCATIONS_PATH": str(etc / "revocations.yaml"),
            "KALGUARD_PRINCIPALS_PATH": str(etc / "principals.yaml"),
            "KALGUARD_TOKEN_SECRET": "",
            "KALGUARD_TOKEN_SECRET_FILE": str(etc / "secret"),
            "KALGUARD_TOKEN_KEYS_PATH": str(etc / "keys.json"),
        },
    )


OLD, NEW = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def test_tools_revocations_principals_and_keys_follow_their_files(
    rotating: KalGuardProcess, short_folder: Path
) -> None:
    server, etc = rotating, short_folder / "etc"
    assert tool_call(server).json()["allowed"]

    # tools
    (etc / "tools.yaml").write_text("deny: [search]\n" + TOOLS)
    refused = eventually(lambda: (answer := tool_call(server)).status_code == 403 and answer)
    assert isinstance(refused, httpx.Response)
    assert refused.json()["errorCode"] == "TOOL_DENIED"
    (etc / "tools.yaml").write_text(TOOLS)
    eventually(lambda: tool_call(server).json()["allowed"])

    # the emergency switch: within a second, and only that agent
    other = make_token("agent-2")
    (etc / "revocations.yaml").write_text("agentIds: [agent-1]\n")
    eventually(lambda: tool_call(server).status_code == 401, 1.0)
    assert tool_call(server).json()["errorCode"] == "TOKEN_REVOKED"
    assert tool_call(server, token=other).json()["allowed"]
    (etc / "revocations.yaml").write_text("agentIds: []\n")
    eventually(lambda: tool_call(server).json()["allowed"])

    # principals
    spiffe = "spiffe://mesh/ns/a/sa/b"
    nobody = ask_once(server, mcp_call(token=None, principal=spiffe))
    assert nobody.denied_response.status.code == 401
    (etc / "principals.yaml").write_text(
        f"principals:\n  - {{principal: {spiffe}, agentId: agent-9, capabilities: ['tool:execute']}}\n"
    )
    eventually(lambda: ask_once(server, mcp_call(token=None, principal=spiffe)).status.code == 0)

    # a secret: its old tokens are refused although they were verified, and remembered, before
    (etc / "secret").write_text("another-secret-0123456789abcdef0123456789abcdef")
    eventually(lambda: tool_call(server).status_code == 401)
    assert tool_call(server).json()["errorCode"] == "AUTH_FAILED"

    # keys: both are good while both are in the set
    old, new = token_with(OLD, "old", "agent-1"), token_with(NEW, "new", "agent-1")
    assert tool_call(server, token=old).json()["allowed"]
    assert tool_call(server, token=new).status_code == 401
    (etc / "keys.json").write_text(jwks(old=OLD, new=NEW))
    eventually(lambda: tool_call(server, token=new).json()["allowed"])
    assert tool_call(server, token=old).json()["allowed"]
    (etc / "keys.json").write_text(jwks(new=NEW))
    eventually(lambda: tool_call(server, token=old).status_code == 401)
    assert tool_call(server, token=new).json()["allowed"]

    # a bad key file keeps the good keys, and no message holds key material
    (etc / "secret").write_text("too-short-to-be-a-secret")
    eventually(lambda: check_of(server, "keys")[0] == "degraded")
    assert "KALGUARD_TOKEN_SECRET_FILE" in check_of(server, "keys")[1]
    assert tool_call(server, token=new).json()["allowed"]
    assert "too-short-to-be-a-secret" not in server.log.read_text() + admin(server, "GET", "/config").text


def test_documents_that_change_together_are_in_force_together(kalguard: Start, short_folder: Path) -> None:
    """The new policy allows a tool that the new catalog denies: with the old catalog it would have passed."""
    etc = short_folder / "etc"
    etc.mkdir()

    def put(version: int) -> None:
        folder = etc / f"..v{version}"
        folder.mkdir()
        tool = TOOL_NAMES[version % 2]
        (folder / "policy.yaml").write_text(f"rules: [{{id: v{version}, match: {{tools: [{tool}]}}, decision: allow}}]")
        (folder / "tools.yaml").write_text(f"deny: [{tool}]\n{TOOLS}")
        (etc / "..tmp").symlink_to(folder.name)
        (etc / "..tmp").rename(etc / "..data")

    put(0)
    for name in ("policy.yaml", "tools.yaml"):
        (etc / name).symlink_to(f"..data/{name}")
    server = kalguard(
        env={"KALGUARD_POLICY_PATH": str(etc / "policy.yaml"), "KALGUARD_TOOLS_PATH": str(etc / "tools.yaml")}
    )
    for version in range(1, 6):
        put(version)
        told = eventually(
            lambda version=version: (  # type: ignore[misc]
                (answer := tool_call(server, TOOL_NAMES[version % 2])).status_code == 403
                and answer.json()["errorCode"] == "TOOL_DENIED"
            )
        )
        assert told
        for tool in TOOL_NAMES:
            assert tool_call(server, tool).status_code == 403


def test_without_watching_files_are_read_at_sighup_and_when_the_admin_asks(kalguard: Start) -> None:
    server = kalguard(policy=policy_of(0), env={"KALGUARD_POLICY_WATCH": "false"})
    assert server.policy is not None
    server.policy.write_text(policy_of(1))
    time.sleep(0.3)
    assert tool_call(server, "search").json()["allowed"], "nobody told us to look"

    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: tool_call(server, "get_weather").json()["allowed"])

    server.policy.write_text(policy_of(2))
    answer = admin(server, "POST", "/reload")
    assert answer.status_code == 200
    assert answer.json()["documents"]["policy"]["changed"] is True
    assert tool_call(server, "search").json()["allowed"], "what the admin API confirmed is in force"
    assert admin(server, "POST", "/reload").json()["documents"]["policy"]["changed"] is False

    server.policy.write_text("rules: [{id: a}]")
    answer = admin(server, "POST", "/reload")
    assert answer.status_code == 409
    assert "policy.yaml:1: rules[0].decision: " in answer.json()["documents"]["policy"]["error"]
    assert tool_call(server, "search").json()["allowed"]
    assert check_of(server, "policy")[0] == "degraded"
    for _ in range(20):  # a storm of signals is no reason to fall over
        server.process.send_signal(signal.SIGHUP)
    assert tool_call(server, "search").json()["allowed"]


def test_a_server_that_nobody_changes_does_not_read_its_log_folder_all_the_time(kalguard: Start) -> None:
    """The audit log lies beside the policy here: agents that are busy must not make us busy with reloading."""
    server = kalguard(policy=ALLOW_ALL)
    before = cpu_seconds(server.process.pid)
    assert server.audit is not None
    beside = server.audit.with_name("some.log")
    until = time.monotonic() + 1.0
    with beside.open("w") as file:
        while time.monotonic() < until:
            file.write("line\n")
            file.flush()
            time.sleep(0.001)
    assert cpu_seconds(server.process.pid) - before < 0.25


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


HALF_PRINCIPAL = b"principals:\n  - principal: spiffe://a/b\n"
BAD_STARTS: dict[str, tuple[str, bytes | None, str]] = {
    "policy: YAML": ("POLICY_PATH", b"rules:\n  - {id: a\n", "doc:2: not valid YAML"),
    "policy: unknown key": ("POLICY_PATH", MISSPELLED, "doc:2: rules[0].mach: unknown key"),
    "policy: missing": ("POLICY_PATH", None, "KALGUARD_POLICY_PATH: "),
    "tools: wrong type": ("TOOLS_PATH", b"tools:\n  a:\n    rateLimit: many\n", "doc:3: tools.a.rateLimit: "),
    "firewall: a threshold": ("FIREWALL_PATH", b"profiles:\n  a:\n    block: 200\n", "doc:3: profiles.a.block: "),
    "firewall: a pack": ("FIREWALL_PATH", b"packs: [none.yaml]\n", "none.yaml: cannot be read"),
    "revocations: no hash": ("REVOCATIONS_PATH", b"tokenHashes:\n  - abc\n", "doc:2: tokenHashes[0]: "),
    "principals: half": ("PRINCIPALS_PATH", HALF_PRINCIPAL, "doc:2: principals[0].agentId: "),
    "secret: short": ("TOKEN_SECRET_FILE", b"short", "KALGUARD_TOKEN_SECRET_FILE"),
    "keys: private": (
        "TOKEN_KEYS_PATH",
        OLD.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        "doc: ",
    ),
    "settings: misspelled": ("CONFIG", b"port: 1\npolicy_pth: x\n", "doc:2: policy_pth: not a setting"),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_bad_document_is_one_clear_line(tmp_path: Path, name: str) -> None:
    variable, data, problem = BAD_STARTS[name]
    document = tmp_path / "doc"
    if data is not None:
        document.write_bytes(data)
    done = CliRunner().invoke(main, ["serve", "--check"], env={f"KALGUARD_{variable}": str(document)})
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1, done.output
    assert done.output.startswith("kalguard: ")
    assert problem in done.output
    assert str(tmp_path) in done.output


def test_a_bad_document_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "doc").write_bytes(MISSPELLED)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KALGUARD_")}
    done = subprocess.run(
        [sys.executable, "-m", "kalguard_ext_authz", "serve"],
        env={**clean, "KALGUARD_POLICY_PATH": str(tmp_path / "doc")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"kalguard: {tmp_path}/doc:2: rules[0].mach: unknown key")

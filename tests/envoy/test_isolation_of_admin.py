"""What an agent on the same machine, under its own user, can reach of the gate: the doors that are for it, only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from envoy_lab import Demo
from stack import Stack, running_stack
from support import SECRET, make_token

AGENT_USER = 65534  # nobody
LOOPBACK = "0100007F"  # as /proc/net/tcp writes it on a little-endian machine

# Runs as root until it has loaded what it needs, since the agent's user may not even see this interpreter.
AS_AGENT = """
import encodings.idna, json, os, socket, sys
paths, ports, pids, user = json.loads(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(user); os.setuid(user)

def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return error.strerror
    return "done"

def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(path)

def replace(path):
    os.rename(path, path + ".stolen")

def bind(port):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", port))
        server.listen()

def call(port):
    socket.create_connection(("127.0.0.1", port), 2).close()

def read(path):
    with open(path, "rb") as file:
        file.read(1)

print(json.dumps({
    "paths": {path: {
        "read": attempt(os.listdir if os.path.isdir(path) else read, path),
        "write": attempt(open, path, "ab"),
        "connect": attempt(connect, path),
        "replace": attempt(replace, path),
        "add beside": attempt(open, os.path.dirname(path) + "/planted", "wb"),
    } for path in paths},
    "ports": {str(port): {"call": attempt(call, port), "take over": attempt(bind, port)} for port in ports},
    "processes": {str(pid): {
        "environment": attempt(read, f"/proc/{pid}/environ"),
        "memory": attempt(read, f"/proc/{pid}/mem"),
        "files": attempt(os.listdir, f"/proc/{pid}/fd"),
        "signal": attempt(os.kill, pid, 0),
    } for pid in pids},
}))
"""


@dataclass(frozen=True)
class Attempts:
    """What the agent's user got by trying: "done", or the words of the operating system."""

    paths: dict[str, dict[str, str]]
    ports: dict[str, dict[str, str]]
    processes: dict[str, dict[str, str]]


def attempts_of_the_agent(paths: list[Path], ports: list[int], pids: list[int]) -> Attempts:
    told = json.dumps([[str(path) for path in paths], ports, pids, AGENT_USER])
    result = subprocess.run(
        [sys.executable, "-c", AS_AGENT, told], capture_output=True, text=True, check=True, timeout=60
    )
    return Attempts(**json.loads(result.stdout))


def assert_closed(paths: list[Path], pids: list[int], ports: list[int]) -> None:
    """Nothing of it opens for others. Only root can become another user: elsewhere the modes must say it."""
    for path in paths:
        assert path.exists(), path
        assert path.stat().st_mode & 0o007 == 0, f"{path} is open to others"
    if os.getuid() != 0:
        return
    tried = attempts_of_the_agent(paths, ports, pids)
    for name, results in tried.paths.items():
        assert "done" not in results.values(), (name, results)
        if name.endswith(".sock"):
            assert results["connect"] == "Permission denied"
    for pid, results in tried.processes.items():
        assert "done" not in results.values(), (pid, results)
    for port, results in tried.ports.items():
        assert results["call"] == "done", "the attempts themselves work"
        assert results["take over"] == "Address already in use", port


@dataclass(frozen=True)
class Listening:
    """What processes listen on: TCP as (address, port), UDP ports, abstract Unix sockets."""

    tcp: set[tuple[str, int]]
    udp: set[int]
    abstract: set[str]


def listening(*pids: int) -> Listening:
    """From /proc (Linux)."""
    inodes = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(entry.readlink())
            except OSError:
                continue  # closed meanwhile
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = Listening(set(), set(), set())
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pids[0]}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].rpartition(":")
            if fields[9] not in inodes:
                continue
            if table.startswith("udp"):
                found.udp.add(int(port, 16))
            elif fields[3] == "0A":
                found.tcp.add((address, int(port, 16)))
    for line in Path(f"/proc/{pids[0]}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in inodes and len(fields) > 7 and fields[7].startswith("@") and fields[3] == "00010000":
            found.abstract.add(fields[7])
    return found


# -- kalguard serve and Envoy, with every directory above them open -----------------------------------------------


@pytest.fixture(scope="module")
def stack(module_socket_directory: Path, envoy_binary: Path, demo_upstream: Demo) -> Iterator[Stack]:
    """The folder is open to others, so that what is shown is the mode of each thing in it."""
    secret = module_socket_directory / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    env = {
        "KALGUARD_METRICS_ADDRESS": "127.0.0.1:0",
        "KALGUARD_TOKEN_SECRET": "",
        "KALGUARD_TOKEN_SECRET_FILE": str(secret),
        "KALGUARD_AUDIT_CHECKPOINT_EVENTS": "1",
    }
    with running_stack(module_socket_directory, envoy_binary, demo_upstream.url, env=env) as running:
        module_socket_directory.chmod(0o755)
        running.kalguard.folder.chmod(0o755)
        assert ask(running).status_code == 200
        yield running


def ask(stack: Stack) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": "good morning"}]}
    headers = {"authorization": f"Bearer {make_token()}"}
    return httpx.post(f"{stack.url}/openai/v1/chat/completions", headers=headers, json=body)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def ports_of(stack: Stack) -> dict[str, int]:
    """The doors that are on TCP."""
    return {
        "envoy": stack.port,
        "http": port_of(stack.kalguard.addresses["http"]),
        "metrics": port_of(stack.kalguard.addresses["metrics"]),
    }


def test_sockets_secrets_and_records_are_closed_to_the_agents_user(stack: Stack) -> None:
    folder = stack.kalguard.folder
    paths = [
        folder / "authz.sock",
        folder / "admin.sock",
        stack.envoy.admin,
        folder / "audit.log",
        folder / "audit.log.state",
        folder / "audit.log.checkpoints",
        folder.parent / "secret",
    ]
    pids = [stack.kalguard.process.pid, stack.envoy.child.pid]
    assert_closed(paths, pids, list(ports_of(stack).values()))
    assert ask(stack).status_code == 200


def test_the_secret_is_not_on_a_command_line(stack: Stack) -> None:
    for pid in (stack.kalguard.process.pid, stack.envoy.child.pid):
        assert SECRET not in Path(f"/proc/{pid}/cmdline").read_text()


def test_only_the_expected_ports_listen_and_only_on_loopback(stack: Stack) -> None:
    ports = ports_of(stack)
    envoy = listening(stack.envoy.child.pid)
    assert envoy == Listening({(LOOPBACK, ports["envoy"])}, set(), set())
    kalguard = listening(stack.kalguard.process.pid)
    assert kalguard == Listening({(LOOPBACK, ports["http"]), (LOOPBACK, ports["metrics"])}, set(), set())


OPERATORS_PATHS = (
    "/config",
    "/reload",
    "/livez/../config",
    "/quitquitquit",
    "/healthcheck/fail",
    "/config_dump",
    "/stats",
    "/clusters",
    "/listeners",
    "/server_info",
    "/certs",
    "/logging?level=trace",
    "/runtime_modify?x=y",
    "/drain_listeners",
    "/reset_counters",
    "/admin",
    "/admin/config",
    "/debug/pprof",
)


@pytest.mark.parametrize("door", ["envoy", "http", "metrics"])
def test_what_is_the_operators_is_behind_no_door_of_the_agent(stack: Stack, door: str) -> None:
    headers = {"authorization": f"Bearer {make_token()}", "host": "localhost"}
    with httpx.Client(base_url=f"http://127.0.0.1:{ports_of(stack)[door]}", headers=headers) as agent:
        for path in OPERATORS_PATHS:
            for method in ("GET", "POST"):
                answer = agent.request(method, path)
                assert answer.status_code in (400, 401, 404, 405), f"{method} {path}: {answer.status_code}"
                assert "policy" not in answer.text
                assert "kalguard_authz" not in answer.text
    assert ask(stack).status_code == 200, "nothing was stopped"


def test_the_metrics_name_no_agent_and_no_secret(stack: Stack) -> None:
    text = httpx.get(f"http://{stack.kalguard.addresses['metrics']}/metrics").text
    assert "kalguard_" in text
    for secret in ("agent-1", SECRET, make_token().rpartition(".")[2], str(stack.kalguard.folder)):
        assert secret not in text


# -- kalguard up ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Up:
    """A running `kalguard up --json`, its ports and what it said."""

    process: subprocess.Popen[str]
    ports: tuple[int, int, int]
    said: dict[str, Any]


@pytest.fixture(scope="module")
def up(envoy_binary: Path, free_port: Callable[[], int], module_socket_directory: Path) -> Iterator[Up]:
    ports = free_port(), free_port(), free_port()
    command = [sys.executable, "-m", "kalguard_ext_authz", "up", "--json", "--envoy", str(envoy_binary)]
    command += ["--dir", str(module_socket_directory / "up"), "--listen", f"127.0.0.1:{ports[0]}"]
    command += ["--http-port", str(ports[1]), "--metrics-port", str(ports[2])]
    module_socket_directory.chmod(0o755)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Up(process, ports, json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.communicate(timeout=30)


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in children for found in (int(child), *descendants(int(child)))]


def test_what_kalguard_up_keeps_is_closed_to_the_agents_user(up: Up) -> None:
    directory = Path(up.said["tokenFile"]).parent
    assert directory.stat().st_mode & 0o777 == 0o700
    headers = {"authorization": f"Bearer {Path(up.said['tokenFile']).read_text()}"}
    assert httpx.post(f"{up.said['url']}/v1/prompt/check", headers=headers, json={}).status_code == 400
    inside = list(directory.rglob("*"))
    assert {"secret", "token", "authz.sock", "admin.sock", "envoy-admin.sock", "audit.jsonl", "audit.jsonl.state"} <= {
        path.name for path in inside
    }
    if os.getuid() == 0:
        tried = attempts_of_the_agent([directory, *inside], list(up.ports), descendants(up.process.pid))
        for attempts in (*tried.paths.values(), *tried.processes.values()):
            assert "done" not in attempts.values(), attempts
        for port in tried.ports.values():
            assert port == {"call": "done", "take over": "Address already in use"}


def test_kalguard_up_listens_on_its_ports_and_the_demos_on_loopback_alone(up: Up) -> None:
    found = listening(*descendants(up.process.pid))
    assert {address for address, _ in found.tcp} == {LOOPBACK}
    ports = {port for _, port in found.tcp}
    assert set(up.ports) <= ports
    assert len(ports) == len(up.ports) + 1, "and the demo upstream"
    assert (found.udp, found.abstract) == (set(), set())

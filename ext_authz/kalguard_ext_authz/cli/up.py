"""`kalguard up`: a real Envoy, KalGuard and a demo upstream on loopback, and requests to paste."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from kalguard_core.identity.keys import KeyMaterialError

from ..demo import documents
from ..demo.__main__ import loopback_listener
from ..envoy.binary import EnvoyNotFound, find_envoy
from ..envoy.process import Child, EnvoyProcess, ProcessFailed
from ..envoy.render import render
from ..envoy.sidecar import Sidecar
from ..envoy.targets import MAX_SOCKET_PATH, EnvoyConfigError, Pipe, Socket, Upstream
from .output import fail, json_option

_START_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = 0.2
_DRAIN_SECONDS: Final = 15.0
_LONGEST_SOCKET_NAME: Final = len("/envoy-admin.sock")


class _CannotStart(Exception):
    """Why nothing was started, in words for the person at the terminal."""


class _Stop(Exception):
    """SIGINT, SIGTERM or SIGHUP."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where everything is. `sockets` is apart where the directory's path is too long for Unix sockets."""

    directory: Path
    sockets: Path
    listen: Socket
    http_port: int
    metrics_port: int
    policy: Path
    tools: Path
    firewall: Path | None
    secret_file: Path
    token_file: Path

    @property
    def url(self) -> str:
        return f"http://{self.listen}"

    @property
    def audit_log(self) -> Path:
        return self.directory / "audit.jsonl"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"


@click.command()
@click.option("--listen", metavar="IP:PORT", default="127.0.0.1:10000", show_default=True, help="Where agents connect.")
@click.option("--http-port", type=click.IntRange(1, 65535), default=9292, show_default=True, help="The HTTP API.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), default=9293, show_default=True, help="Prometheus.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".kalguard"),
    show_default=True,
    help="Where secret, documents, audit log and logs are kept; private to you.",
)
@click.option("--policy", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Your policy.")
@click.option("--tools", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Your tool catalog.")
@click.option(
    "--firewall", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Your firewall document."
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Your HS256 secret (32 bytes or more).",
)
@click.option("--envoy", "binary", metavar="PATH", help="The Envoy binary (else KALGUARD_ENVOY, PATH, .venv-envoy).")
@click.option("--concurrency", type=click.IntRange(1, 64), default=2, show_default=True, help="Envoy's threads.")
@json_option
def up(  # one parameter an option
    listen: str,
    http_port: int,
    metrics_port: int,
    directory: Path,
    policy: Path | None,
    tools: Path | None,
    firewall: Path | None,
    secret_file: Path | None,
    binary: str | None,
    concurrency: int,
    as_json: bool,
) -> None:
    """Start Envoy, KalGuard and a demo upstream on loopback; print requests to paste.

    KALGUARD_* variables are not used here, but for KALGUARD_ENVOY: use `kalguard serve` for a real set-up.
    Ctrl-C or SIGTERM stops everything.
    """
    try:
        address = Socket.parse(listen, "--listen")
        envoy = find_envoy(binary)
        with ExitStack() as stack:
            stack.enter_context(_stopped_by_signals())
            root = stack.enter_context(_private_directory(directory))
            sockets = stack.enter_context(_socket_directory(root))
            _need_free_ports(address, http_port, metrics_port)
            plan = _prepare(root, sockets, address, http_port, metrics_port, policy, tools, firewall, secret_file)
            children = _start(plan, envoy, concurrency, stack, _say(as_json))
            _banner(plan, as_json)
            _watch(children)
    except _Stop:
        _say(as_json)("stopped")
    except (_CannotStart, EnvoyConfigError, EnvoyNotFound, KeyMaterialError) as error:
        fail(str(error), as_json=as_json, code=2)
    except ProcessFailed as error:
        fail(str(error), as_json=as_json)
    except OSError as error:
        fail(f"{error.filename or directory}: {error.strerror}", as_json=as_json, code=2)


def _say(as_json: bool) -> Callable[[str], None]:
    """Progress for people, on stderr so that stdout holds the banner only."""
    return lambda line: None if as_json else click.echo(f"kalguard: {line}", err=True)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        # Once is enough: a second Ctrl-C must not interrupt the stopping.
        for name in names:
            signal.signal(name, signal.SIG_IGN)
        raise _Stop

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(name, stop) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


@contextmanager
def _private_directory(directory: Path) -> Iterator[Path]:
    """The directory, for us alone: a second `kalguard up` on it is refused."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _CannotStart(f"{directory} is in use by another `kalguard up`; give --dir") from None
        yield directory.resolve()


@contextmanager
def _socket_directory(directory: Path) -> Iterator[Path]:
    """Where the Unix sockets go: their path may be 103 bytes long, so a deep checkout needs another place."""
    if len(os.fsencode(directory)) + _LONGEST_SOCKET_NAME <= MAX_SOCKET_PATH:
        yield directory
        return
    short = Path(tempfile.mkdtemp(prefix="kalguard-"))
    try:
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _need_free_ports(listen: Socket, http_port: int, metrics_port: int) -> None:
    for option, address in (
        ("--listen", listen),
        ("--http-port", Socket("127.0.0.1", http_port)),
        ("--metrics-port", Socket("127.0.0.1", metrics_port)),
    ):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
            except OSError as error:
                why = error.strerror or "cannot be used"
                raise _CannotStart(f"port {address.port}: {why} ({address}); choose another with {option}") from None


def _prepare(
    root: Path,
    sockets: Path,
    listen: Socket,
    http_port: int,
    metrics_port: int,
    policy: Path | None,
    tools: Path | None,
    firewall: Path | None,
    secret_file: Path | None,
) -> _Plan:
    """Make what was not given. Raises `_CannotStart` for a secret that can't be used."""
    secret_file = secret_file or documents.keep_or_write(root / "secret", documents.new_secret())
    try:
        token = documents.demo_token(secret_file.read_text(encoding="utf-8").strip("\r\n"), time.time())
    except UnicodeDecodeError:
        raise _CannotStart(f"{_shown(secret_file)}: the secret is not valid UTF-8") from None
    except KeyMaterialError as error:
        raise _CannotStart(str(error).replace("secret", str(_shown(secret_file)), 1)) from None
    return _Plan(
        directory=root,
        sockets=sockets,
        listen=listen,
        http_port=http_port,
        metrics_port=metrics_port,
        policy=policy or documents.keep_or_write(root / "policy.yaml", documents.POLICY),
        tools=tools or documents.keep_or_write(root / "tools.yaml", documents.TOOLS),
        firewall=firewall,
        secret_file=secret_file,
        token_file=documents.write_private(root / "token", token),
    )


def _start(
    plan: _Plan, envoy: Path, concurrency: int, stack: ExitStack, say: Callable[[str], None]
) -> tuple[Child, ...]:
    """Start in the order of need; `stack` stops in the opposite one, so that Envoy closes the door first."""
    listener = stack.enter_context(loopback_listener())
    demo_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    say(f"starting the demo upstream on {demo_url}")
    demo = Child(
        "the demo upstream",
        [sys.executable, "-m", "kalguard_ext_authz.demo", "--fd", str(listener.fileno())],
        plan.logs / "demo.log",
        pass_fds=[listener.fileno()],
    )
    stack.callback(demo.stop)
    say("starting kalguard serve")
    serve = Child(
        "kalguard serve",
        [sys.executable, "-m", "kalguard_ext_authz", "serve"],
        plan.logs / "serve.log",
        environment=_environment(plan),
    )
    stack.callback(serve.stop, _DRAIN_SECONDS)
    say(f"starting {envoy}")
    sidecar = Sidecar(
        upstreams=(
            Upstream.parse("openai", f"openai={demo_url}"),
            Upstream.parse("mcp", f"tools={demo_url}/mcp", internal=True),
            Upstream.parse("http", f"demo={demo_url}"),
        ),
        listen=plan.listen,
        authz=Pipe(f"{plan.sockets}/authz.sock"),
        http_api=Socket("127.0.0.1", plan.http_port),
        admin=Pipe(f"{plan.sockets}/envoy-admin.sock"),
        access_log=str(plan.logs / "access.jsonl"),
    )
    proxy = EnvoyProcess(envoy, render(sidecar), plan.logs, concurrency=concurrency)
    stack.callback(proxy.stop)
    child = proxy.spawn()
    demo.wait_until(lambda: _http_ready(listener.getsockname()[1], "/healthz"), _START_SECONDS)
    serve.wait_until(lambda: _http_ready(plan.http_port, "/readyz"), _START_SECONDS)
    child.wait_until(proxy.ready, _START_SECONDS)
    say("ready")
    return demo, serve, child


def _environment(plan: _Plan) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KALGUARD_")}
    optional = {} if plan.firewall is None else {"KALGUARD_FIREWALL_PATH": str(plan.firewall.resolve())}
    return (
        inherited
        | optional
        | {
            "KALGUARD_HOST": "127.0.0.1",
            "KALGUARD_PORT": str(plan.http_port),
            "KALGUARD_METRICS_ADDRESS": f"127.0.0.1:{plan.metrics_port}",
            "KALGUARD_GRPC_ADDRESS": f"unix://{plan.sockets}/authz.sock",
            "KALGUARD_ADMIN_ADDRESS": f"unix://{plan.sockets}/admin.sock",
            "KALGUARD_TOKEN_SECRET_FILE": str(plan.secret_file.resolve()),
            "KALGUARD_POLICY_PATH": str(plan.policy.resolve()),
            "KALGUARD_TOOLS_PATH": str(plan.tools.resolve()),
            "KALGUARD_AUDIT_LOG_PATH": str(plan.audit_log),
        }
    )


def _http_ready(port: int, path: str) -> bool:
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(request.encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _watch(children: tuple[Child, ...]) -> None:
    """Returns never: one child that ends is the end of all. Raises `ProcessFailed`."""
    while True:
        for child in children:
            if not child.running:
                raise child.failure("ended; everything was stopped")
        time.sleep(_WATCH_SECONDS)


def _banner(plan: _Plan, as_json: bool) -> None:
    token_file = _shown(plan.token_file)
    if as_json:
        click.echo(json.dumps(_as_data(plan)))
        return
    lines = [
        "",
        f"KalGuard is up. Agents talk to {plan.url}; the upstream behind it is a demo, not a model.",
        "",
    ]
    for number, example in enumerate(documents.EXAMPLES, 1):
        lines += [
            f"{number}. {example.title}",
            example.curl(plan.url, Path(shlex.quote(str(token_file)))),
            f"   -> HTTP {example.status}: … {example.contains} …",
            "",
        ]
    lines += [
        f"model API   {plan.url}/openai/v1   (the OpenAI SDK's base_url; the token is its api_key)",
        f"MCP server  {plan.url}/mcp/tools",
        f"HTTP API    {plan.url}/v1/prompt/check, /v1/tool/check, /health",
        f"metrics     http://127.0.0.1:{plan.metrics_port}/metrics",
        f"policy      {_shown(plan.policy)} and {_shown(plan.tools)}: change them, they are read again at once",
        *([] if plan.firewall is None else [f"firewall    {_shown(plan.firewall)}: read again, too"]),
        f"audit log   {_shown(plan.audit_log)}",
        f"logs        {_shown(plan.logs)}/",
        "stop        Ctrl-C",
        "",
    ]
    click.echo("\n".join(lines))


def _as_data(plan: _Plan) -> dict[str, Any]:
    return {
        "ready": True,
        "url": plan.url,
        "httpApi": f"http://127.0.0.1:{plan.http_port}",
        "metrics": f"http://127.0.0.1:{plan.metrics_port}/metrics",
        "tokenFile": str(plan.token_file),
        "policy": str(plan.policy),
        "tools": str(plan.tools),
        "firewall": None if plan.firewall is None else str(plan.firewall),
        "auditLog": str(plan.audit_log),
        "logs": str(plan.logs),
        "requests": [
            {
                "title": example.title,
                "curl": example.curl(plan.url, Path(shlex.quote(str(plan.token_file)))),
                "status": example.status,
                "contains": example.contains,
            }
            for example in documents.EXAMPLES
        ],
    }


def _shown(path: Path) -> Path:
    """Relative to where the person is, if it is below."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path

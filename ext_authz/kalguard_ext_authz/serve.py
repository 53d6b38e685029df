"""One process, one event loop: puts the rooms together, starts the servers, and takes them down in order.

Order of the start: documents (a bad one stops us before anything listens), audit, servers. Order of the end:
health goes unready while calls are still answered, so that who asks can tell; then servers refuse new calls and
finish those in flight, the audit is flushed and signed, state is closed. A second signal ends the waiting.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog

from kalguard_core.guard import Guard, Snapshot
from kalguard_core.inflight import InFlight
from kalguard_core.tools import SlidingWindowStore
from kalguard_core.wire.registry import PROTOCOLS

from . import logs
from .admin import create_admin
from .audit_log import AuditLog
from .cache_dir import cache_dir
from .gate import Gate
from .grpc_server import GrpcServer
from .health import Check, Health
from .http_api import create_api
from .http_server import ASGIApp, HttpServer, Receive, Send
from .metrics import Metrics, create_metrics_app
from .reload import Documents
from .settings import Settings, SettingsError, host_port, is_unix, unix_path
from .sinks import open_sink
from .state import State
from .unix_listener import is_stale
from .workers import LargeBodyWorker

# Whoever starts us or waits for us has the processor first.
PREPARE_SECONDS: Final = 1.0
_log = structlog.get_logger("kalguard.serve")


class Application:
    """Everything that runs. `start()`, then `stop()`; `addresses` says where it listens."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.addresses: dict[str, str] = {}
        self.health = Health()
        self.metrics = Metrics()
        self._stopping = False
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._servers: list[HttpServer] = []
        self._grpc: GrpcServer | None = None
        self._large = LargeBodyWorker()
        self._preparing: asyncio.TimerHandle | None = None
        self._prepared = False
        self._inflight = InFlight(settings.agent_max_calls, settings.agent_max_bytes)
        self.metrics.build(version("kalguard"))
        self.metrics.in_flight(lambda: self._inflight.calls, lambda: self._inflight.bytes)
        cache, problem = cache_dir(settings, os.environ)
        if problem:
            _log.info("no_cache", problem=problem, costs="a slower start")
        self._documents = Documents(settings, self.metrics, self._replace, cache=cache)
        snapshot = self._documents.load()
        if slowed := snapshot.firewalls.slowed_by:
            _log.warning("no_hyperscan", problem=slowed, costs="slower scoring, by google-re2")
        state = open_state(settings)
        self._audit = AuditLog(
            open_sink(settings),
            state=state,
            clock=time.time,
            checkpoint_path=checkpoint_path(settings),
            checkpoint_every=settings.audit_checkpoint_events,
            checkpoint_seconds=settings.audit_checkpoint_seconds,
        )
        self._guard = Guard(
            snapshot,
            protocols=PROTOCOLS,
            limits=SlidingWindowStore(),
            inflight=self._inflight,
            large=self._large,
            digest=self._audit.digest,
            max_body_bytes=settings.max_body_bytes,
        )
        self._gate = Gate(self._guard, self._audit, self.metrics, PROTOCOLS, time.perf_counter)

    async def start(self) -> None:
        """Listen. Raises `SettingsError` or `OSError` naming the setting whose address can't be used."""
        self._add_checks()
        await self._audit.open()
        try:
            await self._start_servers()
        except BaseException:
            self.hurry()
            await self.stop()
            raise
        # What exists now lives as long as the process: the garbage collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        self._preparing = asyncio.get_running_loop().call_later(PREPARE_SECONDS, self._prepare)
        self._spawn(self._audit.run())
        if self.settings.policy_watch:
            self._spawn(self._documents.watch())

    async def reload(self) -> dict[str, Any]:
        """Read all documents again (SIGHUP, admin API) and let the audit sink reopen its file."""
        await self._audit.reopen()
        results = await self._documents.reload()
        return {
            name: {"changed": result.changed, "error": result.error, "version": result.version}
            for name, result in results.items()
        }

    def config(self) -> dict[str, Any]:
        """What is in force, without secrets (admin API)."""
        return {
            "version": version("kalguard"),
            "addresses": self.addresses,
            "settings": self.settings.redacted(),
            "documents": self._documents.versions(),
        }

    def hurry(self) -> None:
        """Stop waiting: `stop` cuts the calls that are still in flight. What was answered is audited all the same."""
        self._hurry.set()

    async def stop(self) -> None:
        """Drain and end. Safe to call twice."""
        if self._stopping:
            return
        self._stopping = True
        self.health.draining = True
        if self._grpc is not None:
            await self._grpc.set_serving(False)
        grace = self.settings.drain_seconds
        # We answer and say that we are not ready before we refuse: the default is enough for a gRPC health watch and
        # a busy prober; how long a balancer needs that asks every few seconds, only its operator can measure.
        notice = min(self.settings.drain_notice_seconds, grace / 2)
        await self._wait_for_hurry(notice)
        draining = asyncio.create_task(self._stop_servers(grace - notice))
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not draining.done():
            await self._stop_servers(0)
        await draining
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._preparing is not None:
            self._preparing.cancel()
        self._large.close()
        await self._audit.close()

    async def _wait_for_hurry(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._hurry.wait(), seconds)
        except TimeoutError:
            pass  # nobody is in a hurry

    async def _stop_servers(self, grace: float) -> None:
        grpc = [] if self._grpc is None else [self._grpc.stop(grace)]
        await asyncio.gather(*(server.stop(grace) for server in self._servers), *grpc)

    def _replace(self, snapshot: Snapshot) -> None:
        self._guard.snapshot = snapshot
        if self._prepared:
            self._prepare()

    def _prepare(self) -> None:
        """A catalog takes a second to load for the process that examines large bodies, too."""
        self._prepared = True
        self._large.prepare(self._guard.examiner(self._guard.snapshot))

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _start_servers(self) -> None:
        settings = self.settings
        if settings.grpc_address != "off":
            _require_free(settings.grpc_address, "KALGUARD_GRPC_ADDRESS")
            self._grpc = GrpcServer(
                self._gate,
                address=settings.grpc_address,
                trust=settings.grpc_trust,
                max_body_bytes=settings.max_body_bytes,
                now=time.time,
                monotonic=time.monotonic,
                tls_cert=settings.grpc_tls_cert,
                tls_key=settings.grpc_tls_key,
                tls_client_ca=settings.grpc_tls_client_ca,
                reflection=settings.grpc_reflection,
                upstreams=self._documents.upstreams,
                routes=self._documents.routes,
            )
            self.addresses["grpc"] = await self._grpc.start()
        if settings.http:
            api = create_api(
                self._gate,
                self.health,
                max_body_bytes=settings.max_body_bytes,
                body_timeout=settings.body_timeout_seconds,
                now=time.time,
                monotonic=time.monotonic,
                unsigned_tokens=settings.allow_unsigned_tokens,
            )
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            await self._serve("http", api, f"{host}:{settings.port}", "KALGUARD_PORT", audited=True)
        token = settings.admin_token.get_secret_value() if settings.admin_token else None
        if settings.admin_address != "off":
            admin = create_admin(self, self.health, operator_token=token)
            await self._serve("admin", admin, settings.admin_address, "KALGUARD_ADMIN_ADDRESS")
        if settings.metrics_address != "off":
            await self._serve(
                "metrics",
                self._metrics_app(),
                settings.metrics_address,
                "KALGUARD_METRICS_ADDRESS",
            )

    def _metrics_app(self) -> ASGIApp:
        """The metrics, with the state of the audit log as it is now: an idle server is scraped too."""
        app = create_metrics_app(self.metrics)

        async def fresh(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
            self.metrics.audit_up(self._audit.health().status != "unavailable")
            await app(scope, receive, send)

        return fresh

    async def _serve(self, name: str, app: Any, address: str, setting: str, *, audited: bool = False) -> None:
        on_unread = (lambda answered: self._gate.unread(answered, time.time())) if audited else None
        if is_unix(address):
            server = HttpServer(app, uds=unix_path(address), on_unread=on_unread)
        else:
            host, port = host_port(address, setting)
            server = HttpServer(app, host=host, port=port, on_unread=on_unread)
        try:
            self.addresses[name] = await server.start()
        except OSError as error:
            problem = error.strerror or str(error)
            # the plain errors of the file system don't say where
            text = problem if "cannot listen" in problem else f"cannot listen on {address}: {problem.lower()}"
            raise SettingsError(f"{setting}: {text}") from None
        self._servers.append(server)

    def _add_checks(self) -> None:
        settings = self.settings
        for name, check in self._documents.checks().items():
            self.health.add(name, check)
        self.health.add("audit", self._audit.health)
        if settings.allow_unsigned_tokens:
            self.health.add(
                "tokens",
                lambda: Check("degraded", "KALGUARD_ALLOW_UNSIGNED_TOKENS is on: anyone can be any agent"),
            )
        if settings.grpc_trust == "network" and not is_unix(settings.grpc_address):
            self.health.add(
                "trust",
                lambda: Check("ok", "KALGUARD_GRPC_TRUST=network: every caller on the gRPC port is believed"),
            )
        elif settings.grpc_address != "off" and not is_unix(settings.grpc_address) and not settings.grpc_tls_client_ca:
            self.health.add(
                "trust",
                lambda: Check(
                    "degraded",
                    "gRPC on TCP without client certificates: principals and route kinds are ignored; use a Unix "
                    "socket, KALGUARD_GRPC_TLS_CLIENT_CA, or KALGUARD_GRPC_TRUST=network in a mesh with mTLS",
                ),
            )


def open_state(settings: Settings) -> State:
    """The keys of the audit log: from the state directory, or made for this run where nothing is kept."""
    path = settings.state_path
    if path is None and settings.audit_log_path is not None and settings.audit_sink in ("auto", "file"):
        path = settings.audit_log_path.with_name(settings.audit_log_path.name + ".state")
    return State.ephemeral() if path is None else State.open(path)


def checkpoint_path(settings: Settings) -> Any:
    """Where signed checkpoints go; None where no audit file is kept."""
    if settings.audit_checkpoint_path is not None or settings.audit_log_path is None:
        return settings.audit_checkpoint_path
    return settings.audit_log_path.with_name(settings.audit_log_path.name + ".checkpoints")


async def run(settings: Settings, warnings: list[str], ready: Callable[[Mapping[str, str]], None]) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called with the addresses once everything listens.

    Raises `SettingsError` when it can't start.
    """
    logs.configure(settings.log_level, settings.log_format)
    if settings.allow_unsigned_tokens:
        # on every line, because whoever reads one of them must know what the others are worth
        structlog.contextvars.bind_contextvars(unsigned_tokens="accepted")
        _log.warning("unsigned_tokens", problem="KALGUARD_ALLOW_UNSIGNED_TOKENS is on: anyone can be any agent")
    for warning in warnings:
        _log.warning("setting_ignored", problem=warning)
    application = Application(settings)
    stop = asyncio.Event()
    _handle_signals(application, stop)  # before we listen: from then on somebody may depend on an orderly end
    try:
        await application.start()
    except OSError as error:
        raise SettingsError(_explain(settings, error)) from None
    _log.info("serving", version=version("kalguard"), pid=os.getpid(), **application.addresses)
    for name, check in application.health.report().checks.items():
        if check.status != "ok":
            _log.warning(check.status, check=name, problem=check.detail)
    ready(application.addresses)
    await stop.wait()
    _log.info("draining", seconds=settings.drain_seconds)
    await application.stop()
    _log.info("stopped")


def _handle_signals(application: Application, stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT: drain; once more: at once. SIGHUP: reload."""
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[dict[str, Any]]] = set()

    def end() -> None:
        if stop.is_set():
            application.hurry()
        stop.set()

    def hang_up() -> None:
        task = asyncio.create_task(application.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, hang_up)


def _require_free(address: str, setting: str) -> None:
    """Raises `SettingsError` if somebody listens on `address`.

    gRPC takes a Unix socket away from a server that listens on it, and names no cause when a port can't be had.
    """
    try:
        if is_unix(address):
            is_stale(Path(unix_path(address)))
            return
        host, port = host_port(address, setting)
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of our last run don't count
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        raise SettingsError(
            f"{setting}: cannot listen on {address}: {(error.strerror or str(error)).lower()}"
        ) from None


def _explain(settings: Settings, error: OSError) -> str:
    """One line that names the setting: errors about addresses do, errors about files are given theirs."""
    if error.filename is None:
        return str(error)
    named = [name for name, value in settings if str(value) == str(error.filename)]
    return ": ".join([*(f"KALGUARD_{name.upper()}" for name in named), f"{error.filename}: {error.strerror}"])

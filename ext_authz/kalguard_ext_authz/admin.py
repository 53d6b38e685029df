"""The operator's interface as an ASGI app: what is configured, reload, probes.

Rules of this file: an agent shares our loopback, so TCP is not proof of being an operator; a Unix socket that only
the operator can open is. Over TCP the operator token is needed, and the Host header must name this machine, so that
a web page in the operator's browser can't reach us by DNS rebinding. No agent credential opens anything here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any, Final, Protocol

import orjson
import structlog

from .health import Health
from .http_server import ASGIApp, Receive, Send
from .logs import redact
from .operator_auth import OperatorToken

ENDPOINTS: Final[Mapping[str, str]] = {
    "GET /": "this list",
    "GET /config": "settings (secrets hidden) and the versions of policy, tools and keys",
    "POST /reload": "read policy, tools and keys again; 409 if one of them could not be used",
    "GET /livez": "is the process alive?",
    "GET /readyz": "can it decide?",
}
_METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "/": ("GET", "HEAD"),
    "/config": ("GET", "HEAD"),
    "/reload": ("POST",),
    "/livez": ("GET", "HEAD"),
    "/readyz": ("GET", "HEAD"),
}
_OPEN: Final = frozenset({"/livez", "/readyz"})  # probes carry no credential and learn nothing that is secret
_log = structlog.get_logger(__name__)


class AdminActions(Protocol):
    """What the admin interface can do. The server behind it implements this."""

    def config(self) -> dict[str, Any]:
        """The settings in use, secrets left out, and the versions of all documents."""
        ...

    async def reload(self) -> dict[str, dict[str, Any]]:
        """Read all documents again. By name: {"changed": bool, "error": str | None, "version": str}."""
        ...


def create_admin(
    actions: AdminActions,
    health: Health,
    *,
    operator_token: str | None,
    hosts: Collection[str] = (),
) -> ASGIApp:
    """The ASGI app of the admin interface.

    `operator_token`: needed over TCP (without one, TCP callers are refused); asked for on a Unix socket too when
    it is set. `hosts`: names that the Host header may have over TCP besides the loopback addresses.
    Raises `ValueError` for a token that is too weak.
    """
    return _Admin(actions, health, OperatorToken(operator_token) if operator_token else None, hosts)


class _Answer(Exception):
    """Ends a request early with a status and an error text."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class _Admin:
    def __init__(
        self, actions: AdminActions, health: Health, token: OperatorToken | None, hosts: Collection[str]
    ) -> None:
        self._actions = actions
        self._health = health
        self._token = token
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: MutableMapping[str, Any], _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        extra: tuple[tuple[bytes, bytes], ...] = ()
        try:
            status, body = await self._handle(scope)
        except _Answer as answer:
            status, body = answer.status, {"error": str(answer)}
            if status == 401:
                extra = ((b"www-authenticate", b"Bearer"),)
        except Exception:  # noqa: BLE001 - an operator gets an answer and the log has the reason
            _log.exception("admin_failed", path=scope["path"])
            status, body = 500, {"error": "the action failed; see the log"}
        await _send(send, status, body, extra)

    async def _handle(self, scope: MutableMapping[str, Any]) -> tuple[int, dict[str, Any]]:
        headers = _headers(scope["headers"])
        path = scope["raw_path"].decode("latin-1")
        self._authorize(scope, headers, path)
        methods = _METHODS.get(path)
        if methods is None:
            raise _Answer(404, "no such endpoint; GET / lists them")
        if scope["method"] not in methods:
            raise _Answer(405, f"use {methods[0]}")
        match path:
            case "/":
                return 200, {"endpoints": ENDPOINTS}
            case "/config":
                return 200, redact(self._actions.config())
            case "/reload":
                return await self._reload()
            case "/livez":
                return 200, {"status": "ok"}
        report = self._health.report()
        return report.http_status, report.as_dict()

    async def _reload(self) -> tuple[int, dict[str, Any]]:
        documents = await self._actions.reload()
        failed = [name for name, result in documents.items() if result.get("error")]
        _log.info("reload_asked", documents=list(documents), failed=failed)
        return (409 if failed else 200), {"documents": redact(documents)}

    def _authorize(self, scope: MutableMapping[str, Any], headers: Mapping[str, str], path: str) -> None:
        over_unix = _over_unix(scope)
        if not over_unix and not self._host_is_ours(headers.get("host", "")):
            raise _Answer(403, "the Host header does not name this machine")
        if path in _OPEN:
            return
        if self._token is None:
            if over_unix:
                return
            raise _Answer(401, "no operator token is configured, so this interface is closed over TCP")
        if not self._token.matches(headers):
            raise _Answer(401, "an operator token is needed: Authorization: Bearer …")

    def _host_is_ours(self, host: str) -> bool:
        name = _without_port(host.lower())
        if name in self._hosts or name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def _over_unix(scope: MutableMapping[str, Any]) -> bool:
    """Whether the server listens on a Unix socket: ASGI then gives (path, None). Anything unclear counts as TCP."""
    path, port = scope.get("server") or ("", 0)
    return port is None and str(path).startswith("/") and scope.get("client") is None


def _without_port(host: str) -> str:
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        return name if bracket and (not rest or _is_port(rest)) else ""
    name, colon, port = host.partition(":")
    return name if not colon or _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdigit()


def _headers(raw: Collection[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


async def _send(send: Send, status: int, body: dict[str, Any], extra: tuple[tuple[bytes, bytes], ...]) -> None:
    data = orjson.dumps(body, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(data)),
        (b"cache-control", b"no-store"),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})

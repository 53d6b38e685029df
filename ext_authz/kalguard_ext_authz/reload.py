"""Operator documents on disk: loaded at start, watched, reloaded; the last good one stays when a new one is bad.

Rules of this file: at start a bad document stops the program; later it changes nothing and is reported
(`/readyz`, log, metric) until it is good again. A file is taken only when two reads in a row agree, because a
half-written YAML file can be a valid document that says something else. All documents together make one
`Snapshot`, replaced at once: no request ever sees the new policy with the old catalog.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from watchfiles import awatch

from kalguard_core.codes import Outcome
from kalguard_core.documents import DocumentError
from kalguard_core.firewall import RulePackFirewall
from kalguard_core.guard import Snapshot
from kalguard_core.identity import (
    Authenticator,
    KeyMaterialError,
    KeySet,
    PrincipalMap,
    Revocations,
    TokenVerifier,
)
from kalguard_core.policy import Policy
from kalguard_core.tools import ToolCatalog

from .health import Check
from .metrics import Metrics
from .settings import Settings, SettingsError

SETTLE_SECONDS: Final = 0.05
MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
_log = structlog.get_logger("kalguard.reload")

Contents = tuple[bytes, ...]


@dataclass(slots=True)
class _Watched:
    """One kind of document: where it is, how it is read, and what is in force."""

    name: str
    paths: tuple[Path, ...]
    parse: Callable[[Contents], Any]
    value: Any = None
    version: str = ""
    contents: Contents | None = None
    error: str = ""
    rejected: Contents | None = field(default=None, repr=False)

    def read(self) -> Contents:
        """The bytes of all files. Raises `OSError` with the path in it."""
        contents = []
        for path in self.paths:
            with path.open("rb") as file:
                data = file.read(MAX_DOCUMENT_BYTES + 1)
            if len(data) > MAX_DOCUMENT_BYTES:
                raise OSError(27, "larger than 64 MiB", str(path))
            contents.append(data)
        return tuple(contents)


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload did to one document. `error` is None when the file is in force."""

    changed: bool
    error: str | None
    version: str


class Documents:
    """All documents that can change while we run.

    `replace` is called with a new `Snapshot` after each change. Construct, `load()`, then run `watch()`.
    """

    def __init__(self, settings: Settings, metrics: Metrics, replace: Callable[[Snapshot], None]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._replace = replace
        self._firewall = RulePackFirewall()
        self._reloading = asyncio.Lock()
        default = Outcome.DENY if settings.policy_default_deny else Outcome.ALLOW
        self._watched = {
            watched.name: watched
            for watched in (
                _Watched(
                    "policy",
                    _paths(settings.policy_path),
                    _one(lambda text, source: Policy.parse(text, source, default=default), settings.policy_path),
                ),
                _Watched("tools", _paths(settings.tools_path), _one(ToolCatalog.parse, settings.tools_path)),
                _Watched(
                    "revocations",
                    _paths(settings.revocations_path),
                    _one(Revocations.parse, settings.revocations_path),
                ),
                _Watched(
                    "principals",
                    _paths(settings.principals_path),
                    _one(PrincipalMap.parse, settings.principals_path),
                ),
                _Watched(
                    "keys",
                    (*_paths(settings.token_secret_file), *map(Path, settings.token_keys_path)),
                    self._parse_keys,
                ),
            )
        }

    def load(self) -> Snapshot:
        """Read everything for the first time. Raises `SettingsError` naming file, line and field."""
        for watched in self._watched.values():
            try:
                self._accept(watched, watched.read())
            except (OSError, ValueError, DocumentError) as error:
                raise SettingsError(_describe(watched, error)) from None
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """What is in force now."""
        settings = self._settings
        value = {name: watched.value for name, watched in self._watched.items()}
        verifier = TokenVerifier(
            value["keys"],
            issuers=frozenset(settings.token_issuers) or None,
            audiences=frozenset(settings.token_audiences) or None,
            leeway=settings.token_leeway_seconds,
            allow_unsigned=settings.allow_unsigned_tokens,
        )
        return Snapshot(
            authenticator=Authenticator(
                verifier,
                value["revocations"] or Revocations.none(),
                value["principals"] or PrincipalMap.none(),
            ),
            policy=value["policy"],
            tools=value["tools"] or ToolCatalog.empty(),
            firewall=self._firewall,
            block_threshold=settings.prompt_block_threshold,
            sanitize_threshold=settings.prompt_sanitize_threshold,
            tool_rate_limit=settings.tool_rate_limit,
            attempt_limit=settings.agent_rate_limit,
        )

    async def reload(self) -> dict[str, ReloadResult]:
        """Look at every file now. Never raises; a bad file is reported and changes nothing."""
        async with self._reloading:
            results = {name: await self._reload_one(watched) for name, watched in self._watched.items()}
            if any(result.changed for result in results.values()):
                self._replace(self.snapshot())
            return results

    async def watch(self, stop: asyncio.Event) -> None:
        """Reload on change until `stop` is set: at once where the system tells us of changes, else by looking
        at the files every `policy_watch_interval_ms` (network file systems tell nobody)."""
        interval = self._settings.policy_watch_interval_ms
        folders = {path.parent for watched in self._watched.values() for path in watched.paths}
        if not folders:
            return
        while not stop.is_set():
            try:
                async for _ in awatch(
                    *folders,
                    watch_filter=None,
                    debounce=50,
                    step=10,
                    rust_timeout=interval,
                    yield_on_timeout=True,
                    stop_event=stop,
                    recursive=False,
                    ignore_permission_denied=True,
                ):
                    await self.reload()
            except (
                OSError,
                RuntimeError,
            ) as error:  # a watched folder is gone: look by hand until it is back
                _log.warning("watch_failed", error=str(error))
                await self.reload()
                await asyncio.sleep(interval / 1000)

    def checks(self) -> dict[str, Callable[[], Check]]:
        """Health checks: one a document that is configured, and one for the keys."""
        checks: dict[str, Callable[[], Check]] = {}
        for name, watched in self._watched.items():
            if watched.paths or name in ("policy", "keys"):
                checks[name] = lambda watched=watched: self._check(watched)  # type: ignore[misc]
        return checks

    def versions(self) -> dict[str, str]:
        """Version of each document in force, "" where there is none."""
        return {name: watched.version for name, watched in self._watched.items()}

    def _check(self, watched: _Watched) -> Check:
        if watched.error:
            return Check(
                "degraded",
                f"the last good version ({watched.version or 'none'}) is in force: {watched.error}",
            )
        if watched.name == "policy" and watched.value is None:
            return Check("degraded", "KALGUARD_POLICY_PATH is not set: every request is denied")
        if watched.name == "keys" and not watched.value.names and not self._settings.principals_path:
            return Check("degraded", "no token key and no principals: nobody can authenticate")
        return Check("ok", f"version {watched.version}" if watched.version else "")

    async def _reload_one(self, watched: _Watched) -> ReloadResult:
        try:
            contents = await asyncio.to_thread(watched.read)
            if contents == watched.contents:
                self._clear(watched)
                return ReloadResult(False, None, watched.version)
            if contents == watched.rejected and watched.error:
                return ReloadResult(False, watched.error, watched.version)
            contents = await self._settled(watched, contents)
            value = await asyncio.to_thread(watched.parse, contents)
        except (OSError, ValueError, DocumentError) as error:
            problem = _describe(watched, error)
            if problem != watched.error:
                _log.error("reload_refused", document=watched.name, error=problem, in_force=watched.version)
                self._metrics.reloaded(watched.name, "failed")
            watched.error = problem
            watched.rejected = contents if isinstance(error, (ValueError, DocumentError)) else None
            self._metrics.document(watched.name, watched.version, degraded=True)
            return ReloadResult(False, problem, watched.version)
        self._put(watched, contents, value)
        self._metrics.reloaded(watched.name, "ok")
        _log.info("reloaded", document=watched.name, version=watched.version)
        return ReloadResult(True, None, watched.version)

    async def _settled(self, watched: _Watched, contents: Contents) -> Contents:
        """The contents once two reads in a row agree."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            again = await asyncio.to_thread(watched.read)
            if again == contents:
                return contents
            contents = again

    def _accept(self, watched: _Watched, contents: Contents) -> None:
        self._put(watched, contents, watched.parse(contents))

    def _put(self, watched: _Watched, contents: Contents, value: Any) -> None:
        watched.value, watched.contents, watched.rejected = value, contents, None
        watched.version = getattr(value, "version", "") or _version(watched, contents)
        watched.error = ""
        self._metrics.document(watched.name, watched.version, degraded=False)

    def _clear(self, watched: _Watched) -> None:
        """A bad file was put back to what is in force."""
        if watched.error:
            _log.info("reload_recovered", document=watched.name, version=watched.version)
            watched.error, watched.rejected = "", None
            self._metrics.document(watched.name, watched.version, degraded=False)

    def _parse_keys(self, contents: Contents) -> KeySet:
        settings = self._settings
        sets: list[KeySet] = []
        if settings.token_secret is not None:
            sets.append(_secret(settings.token_secret.get_secret_value().encode(), "KALGUARD_TOKEN_SECRET"))
        files: Sequence[bytes] = contents
        if settings.token_secret_file is not None:
            sets.append(
                _secret(contents[0].strip(b"\r\n"), f"KALGUARD_TOKEN_SECRET_FILE ({settings.token_secret_file})")
            )
            files = contents[1:]
        for path, data in zip(settings.token_keys_path, files, strict=True):
            text = data.decode("utf-8")
            try:
                sets.append(KeySet.from_jwks(text, path) if text.lstrip().startswith("{") else KeySet.from_pem(text))
            except KeyMaterialError as error:
                raise KeyMaterialError(f"{path}: {error}" if path not in str(error) else str(error)) from None
        return KeySet.merge(*sets)


def _paths(path: Path | None) -> tuple[Path, ...]:
    return () if path is None else (path,)


def _one(parse: Callable[[str, str], Any], path: Path | None) -> Callable[[Contents], Any]:
    """A parser of one optional text document."""

    def parse_contents(contents: Contents) -> Any:
        return parse(contents[0].decode("utf-8"), str(path)) if contents else None

    return parse_contents


def _secret(secret: bytes, setting: str) -> KeySet:
    try:
        return KeySet.from_secret(secret)
    except KeyMaterialError as error:
        raise KeyMaterialError(f"{setting}: {error}") from None


def _version(watched: _Watched, contents: Contents) -> str:
    if watched.name == "keys":  # never a digest of a secret: it could be searched for
        return f"{len(watched.value.names)} keys" if watched.value is not None else ""
    return hashlib.sha256(b"\0".join(contents)).hexdigest()[:12] if contents else ""


def _describe(watched: _Watched, error: Exception) -> str:
    """One line: what is wrong, where."""
    if isinstance(error, UnicodeDecodeError):
        return f"{', '.join(map(str, watched.paths))}: not UTF-8 (byte {error.start})"
    if isinstance(error, OSError):
        return f"{error.filename or watched.name}: cannot be read: {error.strerror or error}"
    return str(error)

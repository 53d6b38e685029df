"""Operator documents on disk: loaded at start, watched, reloaded; the last good one stays when a new one is bad.

Rules of this file: at start a bad document stops the program; later it changes nothing and is reported
(`/readyz`, log, metric) until it is good again. Files are taken only when two reads of all of them agree, because a
half-written YAML file can be a valid document that says something else. All documents together make one
`Snapshot`, replaced at once: no request ever sees the new policy with the old catalog.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from watchfiles import Change, awatch

from kalguard_core.codes import Outcome
from kalguard_core.documents import DocumentError
from kalguard_core.firewall.detectors import Here
from kalguard_core.firewall.document import Defaults, Firewalls, pack_paths
from kalguard_core.guard import Snapshot
from kalguard_core.identity import (
    Authenticator,
    KeySet,
    PrincipalMap,
    Revocations,
    TokenVerifier,
)
from kalguard_core.policy import Policy
from kalguard_core.tools import ToolCatalog
from kalguard_core.wire.routes import RouteTable

from .credentials import Access, CredentialError, Upstreams
from .firewall_cache import Cached
from .health import Check
from .metrics import Metrics
from .routes import Routes
from .settings import Settings, SettingsError

# A writer that pauses for longer than this in the middle of a file can't be told from one that is done.
SETTLE_SECONDS: Final = 0.05
SETTLE_LIMIT_SECONDS: Final = 0.5  # a file that never rests must not hold up the revocations beside it
MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
_UPSTREAM: Final = "upstream:"
FIREWALL: Final = "firewall"
_NAMING: Final = ("policy", "routes")  # documents that name profiles of the firewall
_log = structlog.get_logger("kalguard.reload")

Contents = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What a read found instead of contents. `problem` is one line with the path in it."""

    problem: str


Reading = Contents | Unreadable


@dataclass(slots=True)
class _Watched:
    """One kind of document: where it is, how it is read, and what is in force."""

    name: str
    paths: tuple[Path, ...]
    parse: Callable[[Contents], Any]
    value: Any = field(default=None, repr=False)
    version: str = ""
    contents: Contents | None = field(default=None, repr=False)
    error: str = ""
    rejected: Reading | None = field(default=None, repr=False)
    more: Callable[[bytes], tuple[Path, ...]] | None = None
    """The files that the first one names."""

    def read(self) -> Contents:
        """The bytes of all files. Raises `OSError` with the path in it."""
        contents = tuple(map(_read_file, self.paths))
        if self.more is None or not contents:
            return contents
        return (*contents, *map(_read_file, self.more(contents[0])))

    def look(self) -> Reading:
        """What `read` finds, as a value that can be compared."""
        try:
            return self.read()
        except OSError as error:
            return Unreadable(_describe(self, error))

    def knows(self, reading: Reading) -> bool:
        """Whether `reading` is in force, or was refused already."""
        return reading in (self.contents, self.rejected)


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload did to one document. `error` is None when the file is in force."""

    changed: bool
    error: str | None
    version: str


class Documents:
    """All documents that can change while we run.

    `replace` is called with a new `Snapshot` after each change. Construct, `load()`, then run `watch()`.
    `upstreams` holds the credentials of upstreams; each is a document of its own, so that a bad file holds up the
    rotation of no other. `routes` holds the route table. `environ`: where variables that hold a credential are
    looked up. `cache`: directory of compiled firewall rules.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        replace: Callable[[Snapshot], None],
        *,
        environ: Mapping[str, str] = os.environ,
        cache: Path | None = None,
    ) -> None:
        self.upstreams = Upstreams()
        self.routes = Routes()
        self._environ = environ
        self._compiler = Here() if cache is None else Cached(cache)
        self._settings = settings
        self._metrics = metrics
        self._replace = replace
        self._reloading = asyncio.Lock()
        self._kept_for_names = False  # new profiles wait until nothing names one that they lack
        default = Outcome.DENY if settings.policy_default_deny else Outcome.ALLOW
        self._watched = {
            watched.name: watched
            for watched in (
                # before what names its profiles
                _Watched(FIREWALL, _paths(settings.firewall_path), self._parse_firewall, more=self._packs),
                _Watched(
                    "policy",
                    _paths(settings.policy_path),
                    self._naming(
                        _one(lambda text, source: Policy.parse(text, source, default=default), settings.policy_path),
                        settings.policy_path,
                    ),
                ),
                _Watched("tools", _paths(settings.tools_path), _one(ToolCatalog.parse, settings.tools_path)),
                _Watched(
                    "routes",
                    _paths(settings.routes_path),
                    self._naming(_one(RouteTable.parse, settings.routes_path), settings.routes_path),
                ),
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
                *map(self._watch_credential, settings.upstreams),
            )
        }
        paths = [path for watched in self._watched.values() for path in watched.paths]
        self._folders = tuple({path.parent: None for path in paths})
        self._names = frozenset(path.name for path in paths)

    def load(self) -> Snapshot:
        """Read everything for the first time. Raises `SettingsError` naming file, line and field."""
        for watched in self._watched.values():
            try:
                self._accept(watched, watched.read())
            except OSError as error:
                raise SettingsError(f"{self._setting(watched, error)}: {_describe(watched, error)}") from None
            except (ValueError, DocumentError) as error:
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
            firewalls=value[FIREWALL],
            tool_rate_limit=settings.tool_rate_limit,
            attempt_limit=settings.agent_rate_limit,
        )

    async def reload(self) -> dict[str, ReloadResult]:
        """Look at every file now. Never raises; a bad file is reported and changes nothing."""
        async with self._reloading:
            readings = await self._settled()
            results = {FIREWALL: await self._apply_firewall(readings)}
            for name, watched in self._watched.items():
                if name != FIREWALL:
                    results[name] = await self._apply(watched, readings[name])
            if self._kept_for_names and any(results[name].changed for name in _NAMING):
                self._watched[FIREWALL].rejected = None  # what kept it back may be gone
                results[FIREWALL] = await self._apply_firewall(readings)
            if any(result.changed for name, result in results.items() if not name.startswith(_UPSTREAM)):
                self._replace(self.snapshot())
            return results

    async def watch(self) -> None:
        """Reload on change until cancelled: soon where the system tells us of changes, and by looking at the files
        every `policy_watch_interval_ms` (network file systems tell nobody)."""
        if not self._folders:
            return
        interval = self._settings.policy_watch_interval_ms / 1000
        changed = asyncio.Event()
        listener = asyncio.create_task(self._listen(changed, interval))
        try:
            while True:
                try:
                    await asyncio.wait_for(changed.wait(), interval)
                except TimeoutError:
                    pass
                changed.clear()
                await self.reload()
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self, changed: asyncio.Event, interval: float) -> None:
        """Set `changed` when the system tells of a change. Only a help: without it, changes are found by looking."""
        problem = ""
        while True:
            try:
                await self._listen_once(changed, interval)
                problem = ""
            except (OSError, RuntimeError) as error:  # a folder is gone, or the system has no watches left
                if str(error) != problem:
                    problem = str(error)
                    _log.warning("watch_failed", error=problem, looking_every_seconds=interval)
            await asyncio.sleep(interval)

    async def _listen_once(self, changed: asyncio.Event, interval: float) -> None:
        """Until a folder is another one than it was: the system goes on to watch the one that was moved away."""
        folders = await asyncio.to_thread(_identities, self._folders)
        events = awatch(
            *folders,
            watch_filter=self._concerns_us,
            debounce=50,
            step=20,
            rust_timeout=int(interval * 1000),
            yield_on_timeout=True,
            recursive=False,
            ignore_permission_denied=True,
        )
        async with aclosing(events):
            async for changes in events:
                if changes:
                    changed.set()
                if await asyncio.to_thread(_identities, self._folders) != folders:
                    changed.set()
                    return

    def _concerns_us(self, _change: Change, path: str) -> bool:
        """Not the log that somebody writes a thousand lines a second to in the same folder."""
        name = os.path.basename(path)
        return name in self._names or name.startswith("..")  # Kubernetes swaps ..data, which our path goes through

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

    def _look(self) -> dict[str, Reading]:
        return {name: watched.look() for name, watched in self._watched.items()}

    async def _settled(self) -> Mapping[str, Reading]:
        """What all files hold, once two looks in a row agree about everything (if anything is new at all)."""
        loop = asyncio.get_running_loop()
        readings = await asyncio.to_thread(self._look)
        deadline = loop.time() + SETTLE_LIMIT_SECONDS
        while not all(watched.knows(readings[name]) for name, watched in self._watched.items()):
            await asyncio.sleep(SETTLE_SECONDS)
            again = await asyncio.to_thread(self._look)
            if again == readings:
                break
            if loop.time() >= deadline:
                return {
                    name: reading if reading == readings[name] else Unreadable(_restless(self._watched[name]))
                    for name, reading in again.items()
                }
            readings = again
        return readings

    async def _apply_firewall(self, readings: Mapping[str, Reading]) -> ReloadResult:
        """Put new profiles into force, unless a document that stays as it is names one that would be gone."""
        firewall = self._watched[FIREWALL]
        before = firewall.value, firewall.contents, firewall.version
        result = await self._apply(firewall, readings[FIREWALL])
        self._kept_for_names = self._kept_for_names and firewall.rejected is not None
        if not result.changed:
            return result
        for name in _NAMING:
            watched = self._watched[name]
            if watched.rejected is not None and watched.rejected == readings[name]:
                watched.rejected = None  # it may have been refused for a profile that is there now
            problem = self._missing_profile(watched.value, watched.paths)
            if problem and watched.knows(readings[name]):
                firewall.value, firewall.contents, firewall.version = before
                self._kept_for_names = True
                return self._refuse(firewall, readings[FIREWALL], problem)
        return result

    async def _apply(self, watched: _Watched, reading: Reading) -> ReloadResult:
        """Put `reading` into force, or say why not."""
        if reading == watched.contents:
            self._clear(watched)
            return ReloadResult(False, None, watched.version)
        if reading == watched.rejected:
            return ReloadResult(False, watched.error, watched.version)
        if isinstance(reading, Unreadable):
            return self._refuse(watched, reading, reading.problem)
        try:
            value = await asyncio.to_thread(watched.parse, reading)
        except (ValueError, DocumentError) as error:
            return self._refuse(watched, reading, _describe(watched, error))
        except Exception as error:  # noqa: BLE001 - a bug in a parser must not end the watching of all others
            _log.exception("reload_failed", document=watched.name)
            return self._refuse(
                watched, reading, f"{watched.name}: {type(error).__name__} while it was read; see the log"
            )
        self._put(watched, reading, value)
        self._metrics.reloaded(watched.name, "ok")
        _log.info("reloaded", document=watched.name, version=watched.version)
        return ReloadResult(True, None, watched.version)

    def _refuse(self, watched: _Watched, reading: Reading, problem: str) -> ReloadResult:
        """Keep what is in force."""
        if problem != watched.error:
            _log.error("reload_refused", document=watched.name, error=problem, in_force=watched.version)
        watched.error, watched.rejected = problem, reading
        self._metrics.reloaded(watched.name, "failed")
        self._metrics.document(watched.name, watched.version, degraded=True)
        return ReloadResult(False, problem, watched.version)

    def _packs(self, document: bytes) -> tuple[Path, ...]:
        """The rule packs that a firewall document names, relative to it."""
        path = self._settings.firewall_path
        assert path is not None
        return tuple(path.parent / name for name in pack_paths(document.decode("utf-8", "replace"), str(path)))

    def _parse_firewall(self, contents: Contents) -> Firewalls:
        settings = self._settings
        defaults = Defaults(settings.prompt_block_threshold, settings.prompt_sanitize_threshold)
        if not contents:
            return Firewalls.built_in(defaults, self._compiler)
        texts = [content.decode("utf-8") for content in contents]
        packs = tuple(zip(map(str, self._packs(contents[0])), texts[1:], strict=True))
        return Firewalls.parse(texts[0], str(settings.firewall_path), packs, defaults, self._compiler)

    def _missing_profile(self, document: Any, paths: Sequence[Path]) -> str:
        """What is wrong about the profiles that a document names; "" if nothing is."""
        known = self._watched[FIREWALL].value.names
        for wanted, line in document.firewalls.items() if document is not None else ():
            if wanted not in known:
                return (
                    f"{', '.join(map(str, paths))}:{line}: firewall: there is no profile {wanted!r} "
                    f"(KALGUARD_FIREWALL_PATH): known are {', '.join(sorted(known))}"
                )
        return ""

    def _naming(self, parse: Callable[[Contents], Any], path: Path | None) -> Callable[[Contents], Any]:
        """`parse`, and that what is read names no profile that is not there."""

        def parse_contents(contents: Contents) -> Any:
            document = parse(contents)
            problem = self._missing_profile(document, _paths(path))
            if problem:
                raise ValueError(problem)
            return document

        return parse_contents

    def _setting(self, watched: _Watched, error: OSError) -> str:
        """The variable that names the file of `error`."""
        if watched.name.startswith(_UPSTREAM):
            return f"upstreams.{watched.name.removeprefix(_UPSTREAM)}.credential.file"
        if watched.name != "keys":
            return f"KALGUARD_{watched.name.upper()}_PATH"
        secret = self._settings.token_secret_file
        return "KALGUARD_TOKEN_SECRET_FILE" if error.filename == str(secret) else "KALGUARD_TOKEN_KEYS_PATH"

    def _accept(self, watched: _Watched, contents: Contents) -> None:
        self._put(watched, contents, watched.parse(contents))

    def _put(self, watched: _Watched, contents: Contents, value: Any) -> None:
        watched.value, watched.contents, watched.rejected = value, contents, None
        watched.version = getattr(value, "version", "") or _version(watched, contents)
        watched.error = ""
        if isinstance(value, Access):
            self.upstreams.put(watched.name.removeprefix(_UPSTREAM), value)
        if watched.name == "routes":
            self.routes.table = value
        self._metrics.document(watched.name, watched.version, degraded=False)

    def _clear(self, watched: _Watched) -> None:
        """A bad file was put back to what is in force."""
        if watched.error:
            _log.info("reload_recovered", document=watched.name, version=watched.version)
            watched.error, watched.rejected = "", None
            self._metrics.document(watched.name, watched.version, degraded=False)

    def _watch_credential(self, name: str) -> _Watched:
        """The credential of upstream `name`, a document without contents where it comes from the environment."""
        settings = self._settings.upstreams[name]
        source = settings.credential

        def parse(contents: Contents) -> Access:
            where, secret = f"upstreams.{name}", contents[0] if contents else None
            if source is not None and source.file is not None:
                where += f".credential.file ({source.file})"
            elif source is not None and source.env is not None:
                where += ".credential.env"  # not its name: that might be a secret in the wrong place
                value = self._environ.get(source.env)
                if value is None:
                    raise CredentialError(
                        f"{where}: the variable that it names is not set: set it where kalguard runs, or use file"
                    )
                secret = os.fsencode(value)
            try:
                return Access.of(settings, secret)
            except CredentialError as error:
                raise CredentialError(f"{where}: the credential {error}") from None

        return _Watched(f"{_UPSTREAM}{name}", _paths(source.file if source else None), parse)

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
            is_jwks = text.lstrip().startswith("{")
            sets.append(KeySet.from_jwks(text, path) if is_jwks else KeySet.from_pem(text, source=path))
        return KeySet.merge(*sets)


def _read_file(path: Path) -> bytes:
    """All bytes of a regular file. Raises `OSError` with the path in it."""
    # not blocking: a FIFO in the place of a document would hold up every reload, for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            problem = "is a directory" if stat.S_ISDIR(mode) else "is not a regular file"
            raise OSError(errno.EINVAL, problem, str(path))
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise OSError(errno.EFBIG, "larger than 64 MiB", str(path))
    return data


def _identities(folders: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Which folders are there, and which ones they are."""
    found = {}
    for folder in folders:
        try:
            info = folder.stat()
        except OSError:
            continue
        found[folder] = (info.st_dev, info.st_ino)
    return found


def _restless(watched: _Watched) -> str:
    return f"{', '.join(map(str, watched.paths))}: keeps changing while it is read"


def _paths(path: Path | None) -> tuple[Path, ...]:
    return () if path is None else (path,)


def _one(parse: Callable[[str, str], Any], path: Path | None) -> Callable[[Contents], Any]:
    """A parser of one optional text document."""

    def parse_contents(contents: Contents) -> Any:
        return parse(contents[0].decode("utf-8"), str(path)) if contents else None

    return parse_contents


def _secret(secret: bytes, setting: str) -> KeySet:
    return KeySet.from_secret(secret, source=setting)


def _version(watched: _Watched, contents: Contents) -> str:
    if watched.name.startswith(_UPSTREAM):
        return "passthrough" if watched.value.passthrough else "set"
    if watched.name == "keys":  # never a digest of a secret: it could be searched for
        count = len(watched.value.names) if watched.value is not None else 0
        return f"{count} key" if count == 1 else f"{count} keys"
    return hashlib.sha256(b"\0".join(contents)).hexdigest()[:12] if contents else ""


def _describe(watched: _Watched, error: Exception) -> str:
    """One line: what is wrong, where."""
    if isinstance(error, UnicodeDecodeError):
        return f"{', '.join(map(str, watched.paths))}: not UTF-8 (byte {error.start})"
    if isinstance(error, OSError):
        return f"{error.filename or watched.name}: cannot be read: {error.strerror or error}"
    return str(error)

"""What one installation keeps for itself: its instance id, its checkpoint key, its digest keys.

Rules of this file: made once, then read; written whole (temporary file, fsync, rename), so a crash leaves the old
file or the new one. Secrets are 0600 in a directory of 0700. What cannot be read is an error, never made anew: a
new instance id or key in place of a lost one would look like tampering, or hide it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from kalguard_core.audit.checkpoint import key_id
from kalguard_core.audit.digest import DigestKey, DigestKeys

INSTANCE: Final = "instance"
CHECKPOINT_KEY: Final = "checkpoint-key.pem"
PUBLIC_KEY: Final = "checkpoint-key.pub.pem"
DIGEST_KEYS: Final = "digest-keys.json"


class StateError(Exception):
    """A state directory that cannot be used. `str()` names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the directory holds."""

    instance: str
    signing_key: Ed25519PrivateKey
    digest_keys: DigestKeys


class State:
    """Instance id and keys. `path` is None when they live in memory only, and die with the process.

    A state that cannot be read is no reason to crash: nothing can be audited with it, so every answer is a denial,
    health says why, and `load` is tried again until somebody has repaired it.
    """

    def __init__(self, path: Path | None, kept: _Kept | None, throwaway: DigestKeys) -> None:
        self.path = path
        self._kept = kept
        self._throwaway = throwaway

    @classmethod
    def ephemeral(cls, now: float | None = None) -> State:
        """Fresh state in memory, for sinks that remember nothing over a restart either."""
        keys = DigestKeys(_new_digest_key(time.time() if now is None else now))
        return cls(None, _Kept(_new_instance(), Ed25519PrivateKey.generate(), keys), keys)

    @classmethod
    def open(cls, path: Path, now: float | None = None) -> State:
        """The state in directory `path`; what is not there yet is made. Never raises: `load` tells what is wrong."""
        now = time.time() if now is None else now
        state = cls(path, None, DigestKeys(_new_digest_key(now)))
        try:
            state.load(now)
        except StateError:
            pass  # whoever needs the state calls `load`, which says so again
        return state

    def load(self, now: float | None = None) -> None:
        """Read the directory, unless that was done. Raises `StateError`."""
        if self._kept is not None:
            return
        assert self.path is not None
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.path):
                self._kept = _load(self.path, time.time() if now is None else now)
        except OSError as error:
            place = error.filename or self.path
            raise StateError(f"{place}: {error.strerror}; KALGUARD_STATE_PATH must be a directory of ours") from None

    @property
    def instance(self) -> str:
        """32 hex digits, the same for every process that ever used this state. Raises `StateError`."""
        return self._loaded().instance

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """Signs checkpoints. Raises `StateError`."""
        return self._loaded().signing_key

    @property
    def key_id(self) -> str:
        """Short name of the signing key, as checkpoints state it. Raises `StateError`."""
        return key_id(self.signing_key.public_key())

    @property
    def digest_keys(self) -> DigestKeys:
        """The keys of input digests; as long as the state is not loaded, ones that nobody will know again."""
        return self._throwaway if self._kept is None else self._kept.digest_keys

    def _loaded(self) -> _Kept:
        if self._kept is None:
            raise StateError(f"{self.path}: the state was not loaded")
        return self._kept

    def digest(self, data: bytes) -> str:
        """Keyed digest of `data` under the key of the day."""
        return self.digest_keys.digest(data)

    def rotate_digest_key(self, now: float) -> bool:
        """Replace the digest key if it is due. Raises `OSError`; then the old key stays in use."""
        kept = self._kept
        if kept is None or not kept.digest_keys.due(now):
            return False
        keys = kept.digest_keys.rotated(_new_digest_key(now))
        if self.path is not None:
            _write(self.path / DIGEST_KEYS, _digest_document(keys))
        self._kept = replace(kept, digest_keys=keys)
        return True


def _load(path: Path, now: float) -> _Kept:
    known = [name for name in (INSTANCE, CHECKPOINT_KEY, DIGEST_KEYS) if (path / name).exists()]
    if not known:
        _write(path / CHECKPOINT_KEY, _private_pem(Ed25519PrivateKey.generate()))
        _write(path / DIGEST_KEYS, _digest_document(DigestKeys(_new_digest_key(now))))
        _write(path / INSTANCE, f"{_new_instance()}\n".encode())  # last: it says that the rest is there
    elif INSTANCE not in known:
        _refuse_half(path, known)
    key = _read_key(path / CHECKPOINT_KEY)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not (path / PUBLIC_KEY).exists():
        _write(path / PUBLIC_KEY, public, mode=0o644)
    return _Kept(_read_instance(path / INSTANCE), key, _read_digest_keys(path / DIGEST_KEYS))


def _new_instance() -> str:
    return uuid.uuid4().hex


def _new_digest_key(now: float) -> DigestKey:
    return DigestKey(secrets.token_hex(4), secrets.token_bytes(32), now)


def _refuse_half(path: Path, known: list[str]) -> None:
    """A directory with keys and no instance: a first start that crashed half-way, or a lost file."""
    raise StateError(
        f"{path / INSTANCE}: is missing, but {', '.join(known)} is there; restore it from a backup, or, if no audit "
        "log was written with this state yet, empty the directory"
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time makes or reads the state; it is held for milliseconds."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(path: Path, data: bytes, mode: int = 0o600) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path, *, secret: bool) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        # a group may be allowed in by a volume (Kubernetes fsGroup); everybody never is
        if secret and mode & (stat.S_IROTH | stat.S_IWOTH):
            raise StateError(f"{path}: everybody on this machine may read or change this key; chmod 600 it")
        return file.read(1 << 20)


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_key(path: Path) -> Ed25519PrivateKey:
    data = _read(path, secret=True)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        raise StateError(f"{path}: not an unencrypted PEM private key; restore it from a backup") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise StateError(f"{path}: not an Ed25519 key; restore it from a backup")
    return key


def _read_instance(path: Path) -> str:
    text = _read(path, secret=False).decode("ascii", "replace").strip()
    if len(text) != 32 or not set(text) <= set("0123456789abcdef"):
        raise StateError(f"{path}: not an instance id (32 hex digits); restore it from a backup")
    return text


def _digest_document(keys: DigestKeys) -> bytes:
    listed = [{"id": key.id, "secret": key.secret.hex(), "created": key.created} for key in keys]
    return (json.dumps({"keys": listed}, indent=1) + "\n").encode()


def _read_digest_keys(path: Path) -> DigestKeys:
    data = _read(path, secret=True)
    try:
        listed = [
            DigestKey(str(key["id"]), bytes.fromhex(key["secret"]), float(key["created"]))
            for key in json.loads(data)["keys"]
        ]
        return DigestKeys(listed[0], tuple(listed[1:]))
    except (ValueError, KeyError, TypeError, IndexError):
        raise StateError(f"{path}: not a list of digest keys; restore it from a backup") from None

"""Keyed digests of what agents sent: enough to tell whether two inputs are the same, useless for guessing them.

A plain hash of a short prompt can be guessed; an HMAC cannot without its key. Keys rotate, so that a leaked key
says nothing about other months. Old keys stay listed: an operator who has an input can still find its events.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

ROTATE_SECONDS: Final = 30 * 86_400.0
_PREFIX: Final = "hmac-sha256"


@dataclass(frozen=True, slots=True)
class DigestKey:
    """One key. `id` stands in every digest made with it. `created`: Unix seconds. `secret`: at least 32 bytes."""

    id: str
    secret: bytes = field(repr=False)
    created: float
    # Copying a keyed state costs half of what making one does. Never updated itself, so threads may share it.
    _keyed: hmac.HMAC = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) < 32:
            raise ValueError("a digest key has at least 32 bytes")
        if not self.id or not (self.id.isascii() and self.id.isalnum()):
            raise ValueError("a digest key is named by letters and digits")
        object.__setattr__(self, "_keyed", hmac.new(self.secret, digestmod="sha256"))

    def digest(self, data: bytes) -> str:
        """`hmac-sha256:<key id>:<hex>` of `data`."""
        keyed = self._keyed.copy()
        keyed.update(data)
        return f"{_PREFIX}:{self.id}:{keyed.hexdigest()}"


@dataclass(frozen=True, slots=True)
class DigestKeys:
    """The key in use and those before it, newest first."""

    current: DigestKey
    former: tuple[DigestKey, ...] = ()

    def __iter__(self) -> Iterator[DigestKey]:
        yield self.current
        yield from self.former

    def digest(self, data: bytes) -> str:
        """Digest of `data` under the current key."""
        return self.current.digest(data)

    def matches(self, digest: str, data: bytes) -> bool:
        """Whether `digest`, made with any listed key, is that of `data`."""
        name = digest.split(":")[1] if digest.count(":") == 2 else ""
        return any(key.id == name and hmac.compare_digest(key.digest(data), digest) for key in self)

    def due(self, now: float, rotate_seconds: float = ROTATE_SECONDS) -> bool:
        """Whether the current key is old enough to be replaced."""
        return now - self.current.created >= rotate_seconds

    def rotated(self, key: DigestKey) -> DigestKeys:
        """These keys with `key` as the current one. Raises `ValueError` if its id was used before."""
        if any(key.id == known.id for known in self):
            raise ValueError(f"digest key id {key.id} was used before")
        return DigestKeys(key, (self.current, *self.former))

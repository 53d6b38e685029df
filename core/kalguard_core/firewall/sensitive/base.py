"""The words of this package: what a detector is, what it finds, and what is to be done about it.

Rules of this file: no value that was found is ever kept in one of these. They name places and kinds, so that they
can be audited, logged and sent to another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

Group = Literal["secret", "personal"]
Confidence = Literal["high", "medium", "low"]

ANY: Final = "*"
ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "document", "file", "unread", ANY})
FLOOD_KIND: Final = "flood"
"""Kind of the finding that says: here are more candidates than are looked at."""


class Mode(StrEnum):
    """What is done about a kind of value: nothing, a line in the audit, a placeholder, a refusal."""

    OFF = "off"
    TAG = "tag"
    REDACT = "redact"
    BLOCK = "block"

    @property
    def severity(self) -> int:
        """0 (off) to 3 (block)."""
        return _SEVERITY[self]


_SEVERITY: Final = {Mode.OFF: 0, Mode.TAG: 1, Mode.REDACT: 2, Mode.BLOCK: 3}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Bytes `start` to `end` (exclusive) of a reading, which look like what a detector is after."""

    data: bytes
    start: int
    end: int

    @property
    def value(self) -> bytes:
        """The candidate itself."""
        return self.data[self.start : self.end]

    @property
    def digits(self) -> bytes:
        """The ASCII digits of the candidate."""
        return self.value.translate(None, _NOT_DIGITS)

    def before(self, size: int) -> bytes:
        """At most `size` bytes in front of it."""
        return self.data[max(0, self.start - size) : self.start]

    def after(self, size: int) -> bytes:
        """At most `size` bytes behind it."""
        return self.data[self.end : self.end + size]


_NOT_DIGITS: Final = bytes(sorted(set(range(256)) - set(b"0123456789")))

# What a check answers: whether it is one, or which bytes (start, end) of the reading are. An empty place says that
# there is none up to it; after False, one that begins inside the candidate is looked for.
Checked = bool | tuple[int, int]
Check = Callable[[Candidate], Checked]


def _as_it_is(value: bytes) -> bytes:
    return value


@dataclass(frozen=True, slots=True)
class Detector:
    """One way to recognise one kind of value.

    `id`: unique. `kind`: what operators name, and what placeholders are called after; several detectors may share
    one. `pattern`: RE2 syntax over the bytes of a reading (see `reading.py`); its first group is the value. It
    must not match a NUL, which stands between messages, except as a neighbour.
    `context`: if given, the pattern is looked for only near matches of this one: from `reach[0]` bytes before it
    to `reach[1]` behind it. `check`: a checksum or the like; None: the shape is enough.
    `checked`: in words, for the documents, what tells it from other text. `normal`: what two ways to write one
    value have in common. `mode`, `strict`: what the standard and the strict profile do about it.
    """

    id: str
    kind: str
    group: Group
    title: str
    pattern: str
    checked: str
    confidence: Confidence = "high"
    check: Check | None = None
    context: str | None = None
    reach: tuple[int, int] = (0, 64)
    normal: Callable[[bytes], bytes] = _as_it_is
    mode: Mode = Mode.TAG
    strict: Mode = Mode.REDACT


@dataclass(frozen=True, slots=True)
class Finding:
    """Characters `start` to `end` (exclusive) of `messages[message].text` are a `kind` of value. Never the value."""

    message: int
    start: int
    end: int
    kind: str
    group: str
    detector: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What findings amount to under a policy.

    `tags`: the kinds that were found, sorted, with how often: for the audit. `blocked`: kinds for which the request
    is to be refused; `redacted`: kinds whose values are to be replaced (`SensitiveData.redact`); `stuck`: those of
    the blocked kinds that a policy wants replaced, but that stand where nothing can be (decoded text, names of
    members). All sorted.
    """

    tags: tuple[tuple[str, int], ...] = ()
    blocked: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()

    @property
    def block(self) -> bool:
        """Whether the request is to be refused."""
        return bool(self.blocked)

    @property
    def redact(self) -> bool:
        """Whether something is to be replaced."""
        return bool(self.redacted)


@dataclass(frozen=True, slots=True)
class Allow:
    """Values that are nobody's secret: they are never found.

    `values`: compared after normalisation (spaces in cards, case of domains). `domains`: of e-mail addresses; one
    with a leading dot means its subdomains too. `networks`: CIDRs of IP addresses. `prefixes`: values that begin
    so. `patterns`: RE2 expressions that match the whole value.
    """

    values: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


_NO_MODES: Final[Mapping[str, Mapping[str, Mode]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SensitivePolicy:
    """What an operator wants done: `modes[kind, group or "*"][role or "*"]`, and what is allowed.

    The most specific word wins: a kind before a group before "*", and under each a role before "*". What no word
    is about has the mode that its detector has in the `profile`: standard tags everything and changes nothing;
    strict refuses secrets and replaces personal data that a checksum confirms; off looks for nothing.
    """

    modes: Mapping[str, Mapping[str, Mode]] = field(default_factory=lambda: _NO_MODES)
    allow: Allow = Allow()
    profile: Literal["standard", "strict", "off"] = "standard"

    def mode(self, kind: str, group: str, role: str, detectors: Iterable[Detector] = ()) -> Mode:
        """What to do about a kind in text of a role; `detectors` (of that kind) know the defaults."""
        for name in (kind, group, ANY):
            roles = self.modes.get(name)
            if roles is None:
                continue
            for wanted in (role, ANY):
                if wanted in roles:
                    return roles[wanted]
        if self.profile == "off":
            return Mode.OFF
        strict = self.profile == "strict"
        return max(
            (detector.strict if strict else detector.mode for detector in detectors),
            key=lambda mode: mode.severity,
            default=Mode.TAG,
        )

    def __reduce__(self) -> tuple[object, ...]:
        # read-only mappings can't be pickled, and large bodies are examined in other processes
        modes = {name: dict(roles) for name, roles in self.modes.items()}
        return type(self), (modes, self.allow, self.profile)

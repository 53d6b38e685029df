"""Finds secrets and personal data in messages, and replaces them.

Rules of this file:
- A finding is a place and a kind. No value leaves this file, not in an error either.
- Text is read as it is written, and again without invisible characters, so that neither a zero-width space in a
  card number nor one glued to a key hides it. All messages are read at once, with a NUL between them.
- A key may be cut between texts of one role that a model reads as one: all its pieces are findings.
- A placeholder (`[EMAIL_1]`) is a wall like that: nothing is found in it, nor across it. Numbers that the text already
  has are never given to another value.
- Where findings of modes that act overlap, they are one, over all that any of them covers: half a secret is not left
  because the other half looked like something else. Its kind is that of the strictest, then longest, then surest.
- What is looked at is bounded. More candidates than that are a finding of their own (`flood`), which is refused
  where the policy would have acted on them.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from itertools import accumulate, islice, pairwise
from typing import Any, Final

import re2
from msgspec.structs import replace

from ...action import Message
from ...wire.text import NAME, is_decoded
from .base import ANY, FLOOD_KIND, ROLES, Candidate, Detector, Finding, Mode, SensitivePolicy, Verdict
from .reading import OTHER, UNSEEN, Reading, read, seen
from .registry import BY_ID, BY_KIND, DETECTORS, GROUPS
from .sieve import Backend, HyperscanSieve, Sieve, compiled, sieve

MAX_CANDIDATES: Final = 20_000
"""Of kinds that a policy acts on, in all messages of a request together."""
MAX_TAGGED: Final = 2_000
"""Of kinds that are only recorded."""
MAX_RECORDED: Final = 64
"""Findings of one detector that are recorded, if nothing else is done about them."""
WITHHELD: Final = "[REDACTED:sensitive]"

_WALL: Final = b"\0"
_ROUNDS: Final = 8
_BEYOND: Final = 512  # bytes behind the reach of a context that its value may end in
_SEAM: Final = 256  # bytes on either side of a cut between two texts
_BLOCK: Final = 32_768  # bytes that are sieved at once
_OVERLAP: Final = 4_096  # and behind them: no value that counts is longer
_SHORT: Final = 4_096
_SURE: Final = {"high": 2, "medium": 1, "low": 0}
_PLACEHOLDER: Final = r"\[[A-Z0-9_]{2,40}_[0-9]{1,5}\]"
_BRACKETED: Final = re.compile(rb"\[([A-Z0-9_]{3,46})\]")  # one class, between what is not in it
_DIGITS_OF_A_NUMBER: Final = 5  # fewer than any number that would be found could hide in
_ORDER: Final = {detector.id: index for index, detector in enumerate(DETECTORS)}
_LABELS: Final = frozenset(kind.upper().replace("-", "_").encode() for kind in BY_KIND)
_DOMAIN: Final = re.compile(r"\.?[^\s@/:*.]+(?:\.[^\s@/:*.]+)*")
_ADDRESS_KINDS: Final = frozenset({"ipv4", "ipv4-private", "ipv6", "ipv6-private"})


@dataclass(frozen=True, slots=True)
class _Found:
    """A value at characters `start` to `end` of a message."""

    start: int
    end: int
    detector: Detector
    severity: int

    @property
    def rank(self) -> tuple[int, int, int, bool, int]:
        return (
            self.severity,
            self.end - self.start,
            _SURE[self.detector.confidence],
            self.detector.context is not None,
            -_ORDER.get(self.detector.id, 0),
        )


class _Patterns:
    """What is compiled once and shared by all policies."""

    def __init__(self, backend: Backend, serialized: bytes | None) -> None:
        self.sieve: Sieve = sieve(_sieve_patterns(), backend, serialized)
        self._compiled: dict[str, Any] = {}
        self._plain: dict[str, Any] = {}

    def __getitem__(self, pattern: str) -> Any:
        # on first use: most of them are never asked for
        known = self._compiled.get(pattern)
        if known is None:
            known = self._compiled[pattern] = compiled(pattern)
        return known

    def plain(self, pattern: str) -> Any:
        """It without its group."""
        known = self._plain.get(pattern)
        if known is None:
            known = self._plain[pattern] = compiled(pattern, captures=False)
        return known


def _sieve_patterns() -> tuple[str, ...]:
    return (*(detector.context or detector.pattern for detector in DETECTORS), _PLACEHOLDER)


@cache
def _patterns(backend: Backend, serialized: bytes | None) -> _Patterns:
    return _Patterns(backend, serialized)


def sieve_key() -> str:
    """What tells the patterns of `compile_sieve` from those of another version. Hexadecimal."""
    return sha256(repr(_sieve_patterns()).encode()).hexdigest()


def compile_sieve() -> bytes:
    """The patterns of all detectors as Hyperscan keeps them, for `SensitiveData(compiled=...)`.

    Good for this version of Hyperscan and this kind of CPU only. Raises `ImportError` where there is none.
    """
    return HyperscanSieve(_sieve_patterns()).serialized()


class SensitiveData:
    """The detectors under a policy. Safe to use from any thread.

    `compiled`: what `compile_sieve` gave, to start faster. `backend`: "auto" is Hyperscan where it is installed.
    Raises `ValueError` for a policy with a kind, role, network or pattern that does not exist.
    """

    def __init__(self, policy: SensitivePolicy, *, compiled: bytes | None = None, backend: Backend = "auto") -> None:
        self.policy = policy
        self._backend: Backend = backend
        self._serialized = compiled
        _refuse_unknown(policy)
        self._allowed = _Allowed(policy)
        self._modes = {
            (kind, role): policy.mode(kind, detectors[0].group, role, detectors)
            for kind, detectors in BY_KIND.items()
            for role in sorted(ROLES)
        }
        self._active = any(mode is not Mode.OFF for mode in self._modes.values())
        self._patterns = _patterns(backend, compiled) if self._active else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.policy, self._serialized, self._backend)

    def mode(self, kind: str, role: str) -> Mode:
        """What is done about a kind in text of a role. Raises `KeyError` for a kind that does not exist."""
        return self._modes[kind, role if role in ROLES else ANY]

    def find(self, messages: Sequence[Message]) -> tuple[Finding, ...]:
        """What is there, in order; nothing of kinds that are off. Never raises, never keeps a value."""
        if self._patterns is None or not messages:
            return ()
        parts = [read(message.text) for message in messages]
        written = Reading(_WALL.join(parts) if len(parts) > 1 else parts[0])
        readings = [written]
        if UNSEEN in written.data and (without := seen(written.data)) is not None:
            readings.append(without)
        hits = [self._ranges(reading.data) for reading in readings]
        cut = list(self._cut(messages, parts)) if len(parts) > 1 else []
        if not cut and not any(hits):
            return ()
        return self._findings(messages, parts, readings, hits, cut)

    def verdict(self, messages: Sequence[Message], findings: Sequence[Finding]) -> Verdict:
        """What findings in these messages amount to."""
        counts: dict[str, int] = {}
        blocked: set[str] = set()
        redacted: set[str] = set()
        stuck: set[str] = set()
        for finding in findings:
            counts[finding.kind] = counts.get(finding.kind, 0) + 1
            message = messages[finding.message]
            mode = self._mode_of(finding, message.role)
            if mode is Mode.BLOCK:
                blocked.add(finding.kind)
            elif mode is Mode.REDACT:
                if _can_be_rewritten(message):
                    redacted.add(finding.kind)
                else:
                    stuck.add(finding.kind)
        return Verdict(
            tags=tuple(sorted(counts.items())),
            blocked=tuple(sorted(blocked | stuck)),
            redacted=tuple(sorted(redacted)),
            stuck=tuple(sorted(stuck)),
        )

    def redact(self, messages: Sequence[Message], findings: Sequence[Finding]) -> tuple[Message, ...]:
        """The messages with a placeholder for each value that the policy wants replaced (or refused).

        The same value has the same placeholder in all of them. Nothing outside the findings changes, and what is
        left has nothing more to replace, but for texts in which nothing can be (`Verdict.stuck`).
        """
        # where there is more than is looked at, nothing says that the rest is clean
        flooded = {
            finding.message
            for finding in findings
            if finding.kind == FLOOD_KIND
            and self._mode_of(finding, messages[finding.message].role) is Mode.BLOCK
            and _can_be_rewritten(messages[finding.message])
        }
        cleaned = tuple(
            replace(message, text=WITHHELD) if index in flooded else message for index, message in enumerate(messages)
        )
        findings = [finding for finding in findings if finding.message not in flooded]
        numbers = _Numbers(cleaned)
        for _ in range(_ROUNDS):
            acting = self._acting(cleaned, findings)
            if not acting:
                return cleaned
            cleaned = _replaced(cleaned, acting, numbers)
            findings = self.find(cleaned)  # a cut may bring together what was apart
        left = {finding.message for finding in self._acting(cleaned, findings)}
        return tuple(
            replace(message, text=WITHHELD) if index in left else message for index, message in enumerate(cleaned)
        )

    def _acting(self, messages: Sequence[Message], findings: Sequence[Finding]) -> list[Finding]:
        return [
            finding
            for finding in findings
            if finding.kind != FLOOD_KIND
            and self._mode_of(finding, messages[finding.message].role).severity >= Mode.REDACT.severity
            and _can_be_rewritten(messages[finding.message])
        ]

    def _mode_of(self, finding: Finding, role: str) -> Mode:
        if finding.kind != FLOOD_KIND:
            return self.mode(finding.kind, role)
        mode = self.mode(BY_ID[finding.detector].kind, role)
        return Mode.BLOCK if mode.severity > Mode.TAG.severity else mode

    def _findings(
        self,
        messages: Sequence[Message],
        parts: Sequence[bytes],
        readings: Sequence[Reading],
        hits: Sequence[Mapping[int, Sequence[tuple[int, int]]]],
        cut: Sequence[tuple[int, _Found]],
    ) -> tuple[Finding, ...]:
        starts = list(accumulate((len(part) + 1 for part in parts[:-1]), initial=0))
        roles = {message.role for message in messages}
        found: dict[int, set[_Found]] = {}
        for index, one in cut:
            found.setdefault(index, set()).add(one)
        floods: list[tuple[Detector, int]] = []
        for reading, matched in zip(readings, hits, strict=True):
            for detector, start, end in self._located(reading, matched, roles, floods):
                first, last = reading.original(start, end)
                index = bisect_right(starts, first) - 1
                mode = self.mode(detector.kind, messages[index].role)
                if mode is not Mode.OFF:
                    place = first - starts[index], last - starts[index]
                    found.setdefault(index, set()).add(_Found(*place, detector, mode.severity))
        findings = {
            Finding(index, one.start, one.end, one.detector.kind, one.detector.group, one.detector.id)
            for index, places in found.items()
            for one in _resolved(places)
        }
        for detector, offset in floods:
            index = bisect_right(starts, offset) - 1
            findings.add(Finding(index, 0, len(parts[index]), FLOOD_KIND, detector.group, detector.id))
        return tuple(sorted(findings, key=lambda one: (one.message, one.start, one.end, one.detector)))

    def _cut(self, messages: Sequence[Message], parts: Sequence[bytes]) -> Iterator[tuple[int, _Found]]:
        """All pieces of keys that are cut between texts of one role: (message, place)."""
        assert self._patterns is not None
        beside = _Beside(messages, parts)
        if not beside.seams:
            return
        roles = {message.role for message in messages}
        data = _walled(b"".join(beside.data))
        for hit in self._patterns.sieve.hits(data):
            if hit == len(DETECTORS) or not _is_told_by_its_shape(detector := DETECTORS[hit]):
                continue
            severity = max(self.mode(detector.kind, role).severity for role in roles)
            # where that is too few to look at, it is too few for the texts that these are the ends of: a flood there
            most = MAX_CANDIDATES if severity > Mode.TAG.severity else MAX_TAGGED
            for _, place in islice(self._candidates(detector, data, ((0, len(data)),)), most):
                if place is None or not beside.is_cut(*place):
                    continue
                for index, first, last in beside.pieces(*place):
                    mode = self.mode(detector.kind, messages[index].role)
                    if mode is not Mode.OFF:
                        yield index, _Found(first, last, detector, mode.severity)

    def _located(
        self,
        reading: Reading,
        hits: Mapping[int, Sequence[tuple[int, int]]],
        roles: set[str],
        floods: list[tuple[Detector, int]],
    ) -> Iterator[tuple[Detector, int, int]]:
        """Each value in a reading: (detector, start, end). Where there are too many to look at goes to `floods`."""
        assert self._patterns is not None
        data = reading.data
        if len(DETECTORS) in hits:
            data = _walled(data)
            hits = self._ranges(data)
        acting, tagged = MAX_CANDIDATES, MAX_TAGGED
        wanted = [
            (max(self.mode(DETECTORS[index].kind, role).severity for role in roles), DETECTORS[index])
            for index in hits
            if index < len(DETECTORS)
        ]
        # what is acted on first: the rest must not use up what is looked at
        for severity, detector in sorted(wanted, key=lambda one: (-one[0], _ORDER[one[1].id])):
            if severity == Mode.OFF.severity:
                continue
            acts = severity > Mode.TAG.severity
            left = acting if acts else tagged
            recorded = 0
            for candidate, place in self._candidates(detector, data, hits[_ORDER[detector.id]]):
                left -= 1
                if place is not None:
                    recorded += 1
                    yield detector, *place
                if left <= 0 or (recorded >= MAX_RECORDED and not acts):
                    if acts:
                        floods.append((detector, reading.original(candidate.start, candidate.end)[0]))
                    break
            if acts:
                acting = max(left, 1)
            else:
                tagged = max(left, 1)

    def _ranges(self, data: bytes) -> dict[int, list[tuple[int, int]]]:
        """For each pattern that occurs, the parts of the text that it can begin in."""
        assert self._patterns is not None
        if len(data) <= _BLOCK + _OVERLAP:
            return {index: [(0, len(data))] for index in self._patterns.sieve.hits(data)}
        ranges: dict[int, list[tuple[int, int]]] = {}
        for block in range(0, len(data), _BLOCK):
            end = min(len(data), block + _BLOCK)
            # the neighbour on the left, and on the right as much as a value may have
            for index in self._patterns.sieve.hits(data[max(0, block - 1) : end + _OVERLAP]):
                known = ranges.setdefault(index, [])
                if known and known[-1][1] >= block:
                    known[-1] = known[-1][0], end
                else:
                    known.append((block, end))
        return ranges

    def _candidates(
        self, detector: Detector, data: bytes, ranges: Iterable[tuple[int, int]]
    ) -> Iterator[tuple[Candidate, tuple[int, int] | None]]:
        """What looks like it, in order, with the bytes that are it, if any are."""
        done = 0
        for first, last in ranges:
            for candidate, place in self._within(detector, data, max(first - 1, done), last):
                yield candidate, place
                if place is not None:
                    done = place[1]

    def _within(
        self, detector: Detector, data: bytes, begin: int, until: int
    ) -> Iterator[tuple[Candidate, tuple[int, int] | None]]:
        assert self._patterns is not None
        limit = min(len(data), until + _OVERLAP)
        if detector.context is None:
            yield from self._between(detector, data, begin, until, limit)
            return
        context = self._patterns[detector.context]
        before, behind = detector.reach
        position, done = begin, 0  # starts of values are looked at up to `done`
        while (near := context.search(data, position, limit)) is not None:
            start, end = near.span()
            if start > until:
                return
            position = max(end, start + 1)
            first = max(0, start - before, done, data.rfind(_WALL, max(0, start - before), start) + 1)
            last = min(len(data), end + behind)
            wall = data.find(_WALL, end, last)
            last = last if wall < 0 else wall
            if before == 0:
                first = max(end - 1, done)
            yield Candidate(data, start, end), None  # looking costs time, too
            for candidate, place in self._between(detector, data, first, last, min(len(data), last + _BEYOND)):
                yield candidate, place
                if place is not None:
                    done = place[1]
            done = max(done, last)

    def _between(
        self, detector: Detector, data: bytes, first: int, last: int, end: int
    ) -> Iterator[tuple[Candidate, tuple[int, int] | None]]:
        """Candidates that begin in `first` to `last`, and end before `end`."""
        assert self._patterns is not None
        value = self._patterns[detector.pattern]
        # in short pieces RE2 takes ten times as long for groups as for the whole match
        whole = value if end - first > _SHORT else self._patterns.plain(detector.pattern)
        while first <= last and (match := whole.search(data, first, end)) is not None:
            if match.start() > last:
                return
            if whole is not value:
                match = value.match(data, *match.span())
            begin, finish = match.span(1)
            if begin > last:
                return
            candidate = Candidate(data, begin, finish)
            checked = True if detector.check is None else detector.check(candidate)
            if checked is False:
                yield candidate, None
                first = begin + 1
                continue
            place = (begin, finish) if checked is True else checked
            first = max(place[1], begin + 1)
            nothing = place[0] == place[1] or self._allowed(detector, data[place[0] : place[1]])
            yield candidate, None if nothing else place


class _Beside:
    """The ends of texts that neighbours of their role follow, without a break, as a model may read them.

    `data`: pieces of texts, and walls. `seams`: where one text ends in it and the next begins.
    """

    def __init__(self, messages: Sequence[Message], parts: Sequence[bytes]) -> None:
        self.data: list[bytes] = []
        self.seams: list[int] = []
        self._size = 0
        self._starts: list[int] = []
        self._places: list[tuple[int, int, int]] = []  # of each piece its text, and where it begins and ends there
        written = [index for index, part in enumerate(parts) if part]  # nothing between two is no break
        goes_on = [messages[left].role == messages[right].role for left, right in pairwise(written)]
        for index, left, right in zip(written, [False, *goes_on], [*goes_on, False], strict=False):
            size = len(parts[index])
            if left:
                self.seams.append(self._size)
            if left and right and size <= 2 * _SEAM:
                self._put(index, parts[index], 0, size)  # a key may go on behind it
                continue
            if left:
                self._put(index, parts[index], 0, min(_SEAM, size))
                self._wall()
            if right:
                self._put(index, parts[index], max(size - _SEAM, 0), size)

    def is_cut(self, start: int, end: int) -> bool:
        """Whether there is a seam in the middle of a place."""
        index = bisect_right(self.seams, start)
        return index < len(self.seams) and self.seams[index] < end

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The texts that a place is in, and where: (message, start, end)."""
        for at in range(bisect_right(self._starts, start) - 1, len(self._starts)):
            begin = self._starts[at]
            if begin >= end:
                return
            index, first, last = self._places[at]
            yield index, first + max(start - begin, 0), min(first + end - begin, last)

    def _put(self, index: int, part: bytes, first: int, last: int) -> None:
        self._starts.append(self._size)
        self._places.append((index, first, last))
        self.data.append(part[first:last])
        self._size += last - first

    def _wall(self) -> None:
        self.data.append(_WALL)
        self._size += len(_WALL)


def _is_told_by_its_shape(detector: Detector) -> bool:
    # numbers that follow each other in a list would make cards and ids by chance
    return detector.group == "secret" and detector.confidence == "high" and detector.context is None


def _restored(policy: SensitivePolicy, serialized: bytes | None, backend: Backend) -> SensitiveData:
    return SensitiveData(policy, compiled=serialized, backend=backend)


class _Allowed:
    """The allow-lists of a policy, compiled."""

    def __init__(self, policy: SensitivePolicy) -> None:
        allow = policy.allow
        self._empty = allow == type(allow)()
        self._values = [read(value) for value in allow.values]
        self._normal: dict[str, frozenset[bytes]] = {}
        self._domains = tuple(domain.lower() for domain in allow.domains)
        for domain in self._domains:
            if not _DOMAIN.fullmatch(domain):
                raise ValueError(
                    f"allow.domains: {domain!r} is no domain; write example.com, or .example.com for it and all below"
                )
        self._prefixes = tuple(read(prefix) for prefix in allow.prefixes if prefix)
        self._patterns = [_whole(pattern) for pattern in allow.patterns]
        try:
            self._networks = [ipaddress.ip_network(network, strict=False) for network in allow.networks]
        except ValueError as error:
            raise ValueError(f"allow.networks: {error}; write a CIDR such as 10.0.0.0/8") from None

    def __call__(self, detector: Detector, value: bytes) -> bool:
        if self._empty:
            return False
        normal = self._normal.get(detector.id)
        if normal is None:
            normal = self._normal[detector.id] = frozenset(map(detector.normal, self._values))
        return (
            detector.normal(value) in normal
            or value.startswith(self._prefixes)
            or (detector.kind == "email" and self._of_domain(value))
            or (detector.kind in _ADDRESS_KINDS and self._in_network(value))
            or any(pattern.fullmatch(value) for pattern in self._patterns)
        )

    def _of_domain(self, value: bytes) -> bool:
        domain = value.replace(b"%40", b"@").rpartition(b"@")[2].lower().decode("latin-1")
        return any(
            domain == known.lstrip(".") or (known.startswith(".") and domain.endswith(known)) for known in self._domains
        )

    def _in_network(self, value: bytes) -> bool:
        address = ipaddress.ip_address(value.decode("ascii"))
        return any(address in network for network in self._networks)


def _whole(pattern: str) -> Any:
    try:
        return compiled(pattern)
    except UnicodeEncodeError:
        raise ValueError(f"allow.patterns: {pattern!r} has characters that no value has: Latin-1 only") from None
    except re2.error as error:
        said = error.args[0] if error.args else ""
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        raise ValueError(f"allow.patterns: {pattern!r} is no regular expression that RE2 reads: {reason}") from None


def _refuse_unknown(policy: SensitivePolicy) -> None:
    names = {*BY_KIND, *GROUPS, ANY}
    for name, roles in policy.modes.items():
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else "docs/firewall.md has all of them"
            raise ValueError(f"modes: there is no kind or group {name!r}; {hint}")
        for role, mode in roles.items():
            if role not in ROLES:
                raise ValueError(f"modes.{name}: there is no role {role!r}; there are {', '.join(sorted(ROLES))}")
            if not isinstance(mode, Mode):
                raise ValueError(f"modes.{name}.{role}: {mode!r} is none of {', '.join(Mode)}")


def _can_be_rewritten(message: Message) -> bool:
    """Whether other text can be put in its place; a member under another name would be another member."""
    return not is_decoded(message) and message.where[-1:] != (NAME,)


def _placeholders(data: bytes) -> Iterator[tuple[int, int]]:
    """Where placeholders are: (start, end)."""
    for match in _BRACKETED.finditer(data):
        label, _, number = match.group(1).rpartition(b"_")
        if label in _LABELS and len(number) <= _DIGITS_OF_A_NUMBER and number.isdigit():
            yield match.span()


def _walled(data: bytes) -> bytes:
    """The text with walls in place of placeholders."""
    parts: list[bytes] = []
    kept = 0
    for start, end in _placeholders(data):
        parts += (data[kept:start], _WALL * (end - start))
        kept = end
    parts.append(data[kept:])
    return b"".join(parts)


def _resolved(places: set[_Found]) -> Iterator[_Found]:
    """The findings without overlaps, in no order."""
    acting = list(_united(one for one in places if one.severity > Mode.TAG.severity))
    yield from acting
    ends = [one.end for one in acting]
    for one in _united(one for one in places if one.severity <= Mode.TAG.severity):
        after = bisect_right(ends, one.start)  # the first that ends behind its start
        if after == len(acting) or acting[after].start >= one.end:
            yield one


def _united(places: Iterable[_Found]) -> Iterator[_Found]:
    """Overlapping findings as one each, in order of place."""
    best: _Found | None = None
    start = end = 0
    for one in sorted(places, key=lambda one: (one.start, -one.end, _ORDER[one.detector.id])):
        if best is not None and one.start < end:
            end = max(end, one.end)
            best = max(best, one, key=lambda found: found.rank)
            continue
        if best is not None:
            yield _Found(start, end, best.detector, best.severity)
        best, start, end = one, one.start, one.end
    if best is not None:
        yield _Found(start, end, best.detector, best.severity)


class _Numbers:
    """Which placeholder stands for which value, in one conversation."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._given: dict[tuple[str, object], str] = {}
        self._next: dict[str, int] = {}
        self._taken: set[bytes] = set()
        for message in messages:
            if "[" in message.text:
                data = read(message.text)
                self._taken.update(data[start:end] for start, end in _placeholders(data))

    def placeholder(self, finding: Finding, text: str) -> str:
        """For the value that is found in `text`."""
        data = read(text[finding.start : finding.end])
        without = seen(data)
        data = data if without is None else without.data
        # what a reading can't tell apart, the text can
        value: object = text[finding.start : finding.end] if OTHER in data else BY_ID[finding.detector].normal(data)
        key = finding.kind, value
        known = self._given.get(key)
        if known is None:
            label = finding.kind.upper().replace("-", "_")
            number = self._next.get(label, 1)
            while f"[{label}_{number}]".encode() in self._taken:
                number += 1
            self._next[label] = number + 1
            known = self._given[key] = f"[{label}_{number}]"
        return known


def _replaced(messages: Sequence[Message], findings: Sequence[Finding], numbers: _Numbers) -> tuple[Message, ...]:
    by_message: dict[int, list[Finding]] = {}
    for finding in sorted(findings, key=lambda one: (one.message, one.start)):
        by_message.setdefault(finding.message, []).append(finding)
    cleaned = list(messages)
    for index, places in by_message.items():
        text, kept = messages[index].text, 0
        parts: list[str] = []
        for finding in places:
            parts += (text[kept : finding.start], numbers.placeholder(finding, text))
            kept = finding.end
        parts.append(text[kept:])
        cleaned[index] = replace(messages[index], text="".join(parts))
    return tuple(cleaned)

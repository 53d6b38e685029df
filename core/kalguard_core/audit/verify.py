"""Whether an audit log is what was written: streaming, with nothing but its lines and, better, signed checkpoints.

What each part proves:
- the chain alone: no line between the first and the last was changed, removed, added or reordered by someone who
  did not also re-hash everything after it;
- checkpoints with the public key: every line up to the last checkpoint is the one that was signed, and none of them
  is missing at the end. The few lines after the last checkpoint have the chain only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .chain import GENESIS, Line, LineError, read_line
from .checkpoint import Checkpoint, key_id, read_checkpoint

MAX_PROBLEMS: Final = 100
_PROGRESS_LINES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the file, its 1-based line (0: the file as a whole), and what."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


@dataclass(slots=True)
class Report:
    """What verification found.

    `problems`: signs of tampering or damage, the first `MAX_PROBLEMS`; `problem_count`: all of them.
    `unproven`: what could not be proved. `notes`: what is worth knowing and no problem.
    `covered_to`: number of the last line that a good checkpoint vouches for, 0 for none.
    """

    events: int = 0
    instance: str = ""
    first_seq: int = 0
    last_seq: int = 0
    checkpoints: int = 0
    covered_to: int = 0
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """ "tampered" if anything is wrong, "unproven" if not enough could be checked to say, else "ok"."""
        if self.problem_count:
            return "tampered"
        return "unproven" if self.unproven else "ok"

    @property
    def ok(self) -> bool:
        """Whether everything was proved."""
        return self.verdict == "ok"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "events": self.events,
            "instance": self.instance,
            "firstSeq": self.first_seq,
            "lastSeq": self.last_seq,
            "checkpoints": self.checkpoints,
            "coveredTo": self.covered_to,
            "problemCount": self.problem_count,
            "problems": [{"file": p.file, "line": p.line, "what": p.what} for p in self.problems],
            "unproven": self.unproven,
            "notes": self.notes,
        }


def verify_log(
    files: Iterable[tuple[str, Iterable[bytes]]],
    *,
    checkpoints: tuple[str, Iterable[bytes]] | None = None,
    public_keys: Iterable[Ed25519PublicKey] = (),
    instance: str | None = None,
    from_start: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify the lines of `files` (name and lines with their line feeds; oldest first, the current one last).

    `checkpoints`: name and lines of the checkpoint file, None if there is none. Read it before the log when the
    log is being written, or its newest checkpoint may be ahead of what was read.
    `instance`: whose log it must be; None: whoever the checkpoints or the first line name.
    `from_start`: a log that does not begin with line 1 is a problem, not retention at work.
    `progress` is called now and then with the number of lines read so far.
    """
    return _Verifier(checkpoints, {key_id(key): key for key in public_keys}, instance, from_start, progress).run(files)


class _Verifier:
    def __init__(
        self,
        checkpoints: tuple[str, Iterable[bytes]] | None,
        keys: Mapping[str, Ed25519PublicKey],
        instance: str | None,
        from_start: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.report = Report()
        self.from_start = from_start
        self.progress = progress
        self.instance = instance
        self.previous: Line | None = None
        # number of a line -> (its signed hash, where that stands)
        self.signed: dict[int, tuple[str, str]] = {}
        if checkpoints is None:
            self.report.unproven.append(
                "no checkpoints: a log that was re-hashed as a whole, or cut at its end, would not be noticed"
            )
        elif not keys:
            self.report.unproven.append(
                "no public key: checkpoints prove nothing, so a log that was re-hashed as a whole or cut at its end "
                "would not be noticed"
            )
        else:
            self._read_checkpoints(*checkpoints, keys)

    def problem(self, file: str, line: int, what: str) -> None:
        self.report.problem_count += 1
        if len(self.report.problems) < MAX_PROBLEMS:
            self.report.problems.append(Problem(file, line, what))

    def _read_checkpoints(self, name: str, lines: Iterable[bytes], keys: Mapping[str, Ed25519PublicKey]) -> None:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                self.report.notes.append(f"{name}:{number}: the last checkpoint is cut short and was not used")
                continue
            try:
                checkpoint = read_checkpoint(line)
            except LineError as error:
                self.problem(name, number, str(error))
                continue
            what = self._wrong(checkpoint, keys)
            if what:
                self.problem(name, number, what)
                continue
            self.instance = checkpoint.instance
            self.signed[checkpoint.seq] = (checkpoint.hash, f"{name}:{number}")
        if not self.signed and not self.report.problem_count:
            self.report.unproven.append(
                f"{name} holds no checkpoint: a log that was re-hashed as a whole, or cut, would not be noticed"
            )

    def _wrong(self, checkpoint: Checkpoint, keys: Mapping[str, Ed25519PublicKey]) -> str | None:
        key = keys.get(checkpoint.key_id)
        if key is None:
            return f"bad signature: signed by key {checkpoint.key_id}, which is not a given public key"
        if not checkpoint.verify(key):
            return "bad signature: the checkpoint was changed, or another key made it"
        if self.instance is not None and checkpoint.instance != self.instance:
            return f"foreign instance: a checkpoint of {checkpoint.instance}, not of {self.instance}"
        known = self.signed.get(checkpoint.seq)
        if known is not None and known[0] != checkpoint.hash:
            return f"fork: {known[1]} signs another hash for line {checkpoint.seq}; the log was written twice"
        return None

    def run(self, files: Iterable[tuple[str, Iterable[bytes]]]) -> Report:
        name = ""
        for name, lines in files:
            self._file(name, lines)
        self._end(name)
        return self.report

    def _file(self, name: str, lines: Iterable[bytes]) -> None:
        number = 0
        for number, raw in enumerate(lines, 1):
            self._line(name, number, raw)
            if self.progress is not None and self.report.events % _PROGRESS_LINES == 0:
                self.progress(self.report.events)
        if not number:
            self.report.notes.append(f"{name} is empty")

    def _line(self, name: str, number: int, raw: bytes) -> None:
        self.report.events += 1
        if not raw.endswith(b"\n"):
            self.problem(name, number, "truncated: the last line is not complete")
            return
        try:
            line = read_line(raw)
        except LineError as error:
            self.problem(name, number, str(error))
            return
        if self.instance is None:
            self.instance = line.instance
        if line.instance != self.instance:
            self.problem(name, number, f"foreign instance: written by {line.instance}, not by {self.instance}")
            return
        self._follows(name, number, line)
        self._checkpoint(name, number, line.seq, line.hash)
        self.previous = line
        self.report.last_seq = max(self.report.last_seq, line.seq)

    def _follows(self, name: str, number: int, line: Line) -> None:
        previous = self.previous
        if previous is None:
            self._begins(name, number, line)
        elif line.seq > previous.seq + 1:
            missing = line.seq - previous.seq - 1
            where = "a file between" if number == 1 else "removed"
            self.problem(
                name,
                number,
                f"{missing} line(s) missing ({where}): line {line.seq} comes after {previous.seq}",
            )
        elif line.seq <= previous.seq:
            self.problem(
                name,
                number,
                f"out of order: line {line.seq} comes after {previous.seq} (moved, repeated or forked)",
            )
        elif line.prev_hash != previous.hash:
            self.problem(name, number, "broken link: the line before it is not the one that it was written after")

    def _begins(self, name: str, number: int, line: Line) -> None:
        self.report.first_seq = line.seq
        if line.seq == 1:
            if line.prev_hash != GENESIS:
                self.problem(name, number, "broken link: line 1 names a line before it")
            return
        if self.report.problem_count and number > 1:
            return  # the unreadable lines before it were reported
        begins = f"the log begins with line {line.seq}"
        if self.from_start:
            self.problem(name, number, f"{begins}; {line.seq - 1} line(s) before it are missing")
            return
        covered = line.seq - 1 in self.signed
        if covered:
            self._checkpoint(name, number, line.seq - 1, line.prev_hash)
        self.report.notes.append(
            f"{begins}: the {line.seq - 1} before it are not here (deleted by retention?)"
            + ("; a checkpoint vouches for the cut" if covered else "")
        )

    def _checkpoint(self, name: str, number: int, seq: int, digest: str) -> None:
        """Compare with the signed hash of that line. A line that comes twice is compared twice."""
        signed = self.signed.get(seq)
        if signed is None:
            return
        if signed[0] != digest:
            self.problem(
                name,
                number,
                f"rewritten: line {seq} is not the one that was signed ({signed[1]}), it was re-hashed",
            )
            return
        self.report.checkpoints += 1
        self.report.covered_to = max(self.report.covered_to, seq)

    def _end(self, name: str) -> None:
        report = self.report
        report.instance = self.instance or ""
        last_signed = max(self.signed, default=0)
        if last_signed > report.last_seq:
            self.problem(
                name,
                0,
                f"cut: line {last_signed} was signed ({self.signed[last_signed][1]}), "
                f"but the log ends with line {report.last_seq}",
            )
        if not report.events:
            report.unproven.append("the log holds no event")
        elif report.covered_to and report.covered_to < report.last_seq:
            report.notes.append(
                f"{report.last_seq - report.covered_to} line(s) after the last checkpoint are proved by the chain only"
            )
        elif self.signed and not report.covered_to and not report.problem_count:
            report.unproven.append("every checkpoint is about lines that are not here")

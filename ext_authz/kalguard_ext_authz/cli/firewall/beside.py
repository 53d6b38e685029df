"""Other detectors, asked the same texts: programs that read and answer lines of JSON.

Rules of this file:
- A detector runs in a process of its own, in an environment of its own: `COMMAND --list` names those there are (a line
  of JSON each: name, version, licence, title; version null if it is not installed), `COMMAND NAME` starts one. It says
  {"ready": true}, then answers each {"text"} with {"flagged", "suspicious", "score"}.
- Whatever happens to it is told and counts as not flagged; it never ends the run. One that takes longer than
  `TEXT_SECONDS` for a text is started again for the next one.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

START_SECONDS: Final = 120.0
TEXT_SECONDS: Final = 30.0
_MAX_ANSWER: Final = 1 << 20


class DetectorFailed(Exception):
    """The program can't be started, or does not speak as it should; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A detector that the program knows. `version`: None if it is not installed."""

    name: str
    version: str | None
    licence: str
    title: str


@dataclass(slots=True)
class Answers:
    """What a detector said of each text, and what it took. `failed`: texts that it gave no answer to."""

    flagged: list[bool] = field(default_factory=list)
    suspicious: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0


def listed(command: Sequence[str]) -> list[Listed]:
    """The detectors of a program. Raises `DetectorFailed`."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own words
            [*command, "--list"], stdin=subprocess.DEVNULL, capture_output=True, timeout=START_SECONDS, check=True
        )
        entries = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
        return [Listed(entry["name"], entry["version"], entry["licence"], entry["title"]) for entry in entries]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise DetectorFailed(f"{' '.join(command)} --list: {error}") from None


def ask(
    command: Sequence[str],
    name: str,
    texts: Iterable[str],
    advance: Callable[[], None],
    text_seconds: float = TEXT_SECONDS,
) -> Answers:
    """What a detector says of texts, in order. Raises `DetectorFailed` if it does not start at all."""
    answers = Answers()
    process: _Process | None = None
    try:
        for text in texts:
            if process is None:
                process = _Process([*command, name])
            start = time.perf_counter()
            try:
                answer = process.ask(text, text_seconds)
                flagged, suspicious, score = bool(answer["flagged"]), bool(answer["suspicious"]), float(answer["score"])
            except _Lost:
                process.__exit__(None, None, None)
                process, flagged, suspicious, score = None, False, False, 0.0
                answers.failed += 1
            except (KeyError, TypeError, ValueError):
                flagged, suspicious, score = False, False, 0.0
                answers.failed += 1
            answers.seconds += time.perf_counter() - start
            answers.flagged.append(flagged)
            answers.suspicious.append(suspicious)
            answers.scores.append(score)
            advance()
    finally:
        if process is not None:
            process.__exit__(None, None, None)
    return answers


class _Lost(Exception):
    """A detector ended, or took too long."""


class _Process:
    def __init__(self, command: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the operator's own words
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise DetectorFailed(f"{' '.join(command)}: {error}") from None
        self._buffer = b""
        try:
            ready = json.loads(self._line(START_SECONDS))
        except (_Lost, ValueError):
            ready = None
        if not isinstance(ready, dict) or not ready.get("ready"):
            self.__exit__(None, None, None)
            raise DetectorFailed(f"{' '.join(command)}: it did not start; run it by hand to see why")

    def ask(self, text: str, seconds: float) -> Any:
        assert self._process.stdin is not None
        try:
            # a detector reads a line before it answers, so this can't wait for us to read
            self._process.stdin.write(json.dumps({"text": text}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _Lost from None
        return json.loads(self._line(seconds))

    def _line(self, seconds: float) -> bytes:
        assert self._process.stdout is not None
        pipe, end = self._process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._buffer:
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                raise _Lost
            read = os.read(pipe, 1 << 16)
            if not read or len(self._buffer) > _MAX_ANSWER:
                raise _Lost
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.kill()
        # an unread rest of a text would be flushed into a closed pipe
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                pass
        self._process.wait()

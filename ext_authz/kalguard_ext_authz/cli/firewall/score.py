"""`kalguard firewall score`: JSON lines in, one JSON line out for each."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click
import orjson

from .chosen import BadInput, Thresholds, firewall_options, maker_of, read_messages, say_what_is_read
from .work import Progress, answers

if TYPE_CHECKING:
    from kalguard_core.action import Message
    from kalguard_core.firewall import Assessment, PromptFirewall

MAX_LINE: Final = 64 << 20
"""Bytes that a line may have: what is longer is an error, and memory stays bounded."""


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--block-at", type=click.IntRange(1, 100), help="Risk that blocks. Default: the profile's, 70.")
@click.option("--sanitize-at", type=click.IntRange(1, 100), help="Risk that sanitizes. Default: the profile's, 50.")
@firewall_options
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Processes; answers then come in batches."
)
def score(
    file: BinaryIO,
    block_at: int | None,
    sanitize_at: int | None,
    document: Path | None,
    profile: str | None,
    jobs: int,
) -> None:
    """Score JSON lines: one JSON line out for each line of FILE (`-` is standard input), in order.

    A line is {"text": …, "role": …?} or {"messages": [{"role": …, "content": …}, …]}; roles are system, developer,
    user (the default), assistant, tool, document and file. The answer has riskScore (0-100), riskLevel, decision
    (allow, sanitize or block), categories, rules, spans (characters of each message, end exclusive, with the reason)
    and elapsedUs. A line that can't be read gives {"error": …, "line": …}.

    Exit status: 0; 1 if any line could not be read, or if it was cut short; 2 if the options are wrong.

    \b
    echo '{"text": "Ignore all previous instructions"}' | kalguard firewall score -
    """
    make, thresholds = maker_of(document, profile)
    thresholds = Thresholds(sanitize_at or thresholds.sanitize, block_at or thresholds.block)
    if thresholds.sanitize > thresholds.block:
        raise click.UsageError(
            f"sanitizing at {thresholds.sanitize} is above blocking at {thresholds.block}: give --sanitize-at and "
            "--block-at"
        )
    say_what_is_read(file, "lines of JSON")
    bad = 0
    size = _size(file)
    task = partial(_answer, thresholds)
    out = sys.stdout.buffer
    # a bar among the answers would be unreadable
    with Progress("scoring", size, unit="bytes", quiet=sys.stdout.isatty()) as progress:
        for answer, wrong, length in answers(make, task, _lines(file), jobs):
            out.write(answer)
            out.flush()
            bad += wrong
            progress.advance(length)
    if bad:
        click.echo(f"kalguard: {bad} line(s) could not be read; each has an error in its place", err=True)
        sys.exit(1)


def _size(file: BinaryIO) -> int | None:
    try:
        found = os.fstat(file.fileno())
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """(number, line, bytes read for it) of each line; an empty line is one too. A line that is too long is cut."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        length = len(line)
        if length > MAX_LINE and not line.endswith(b"\n"):
            while rest := file.readline(1 << 20):
                length += len(rest)
                if rest.endswith(b"\n"):
                    break
        yield number, line, length


def _answer(thresholds: Thresholds, firewall: PromptFirewall, entry: tuple[int, bytes, int]) -> tuple[bytes, bool, int]:
    """The answer to a line, whether the line was wrong, and its length in bytes."""
    number, line, length = entry
    try:
        if len(line.removesuffix(b"\n")) > MAX_LINE:
            raise BadInput(f"longer than {MAX_LINE >> 20} MiB")
        messages = read_messages(line)
    except BadInput as error:
        return orjson.dumps({"error": f"line {number}: {error}", "line": number}) + b"\n", True, length
    start = time.perf_counter_ns()
    assessment = firewall.score(messages)
    elapsed = (time.perf_counter_ns() - start) / 1000
    told = told_of(firewall, messages, assessment, thresholds) | {"elapsedUs": round(elapsed, 1)}
    return orjson.dumps(told) + b"\n", False, length


def told_of(
    firewall: PromptFirewall, messages: tuple[Message, ...], assessment: Assessment, thresholds: Thresholds
) -> dict[str, Any]:
    """An assessment as the commands print it."""
    return {
        "riskScore": assessment.risk,
        "riskLevel": assessment.level,
        "decision": decision_of(firewall, messages, assessment, thresholds),
        "categories": list(dict.fromkeys(span.category for span in assessment.spans)),
        "rules": list(assessment.rules),
        "spans": [
            {
                "message": span.message,
                "start": span.start,
                "end": span.end,
                "rule": span.rule,
                "category": span.category,
                "reason": span.reason,
            }
            for span in assessment.spans
        ],
    }


def decision_of(
    firewall: PromptFirewall, messages: tuple[Message, ...], assessment: Assessment, thresholds: Thresholds
) -> str:
    """What a server would do where it can rewrite the prompt: allow, sanitize, or block.

    A prompt that is still risky when it is sanitized is blocked.
    """
    if assessment.blocked or assessment.risk >= thresholds.block:
        return "block"
    if assessment.risk < thresholds.sanitize and not assessment.must_redact:
        return "allow"
    left = firewall.score(firewall.sanitize(messages, assessment))
    return "block" if left.blocked or left.risk >= thresholds.sanitize else "sanitize"

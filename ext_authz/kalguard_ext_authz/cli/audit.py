"""`kalguard audit`: verify the audit log, and read it.

Rule of this file: what comes out of a log was chosen by agents. It is escaped before it reaches a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from kalguard_core.audit.event import CUT_MARK
from kalguard_core.audit.verify import MAX_PROBLEMS, Report, verify_log
from kalguard_ext_authz.sinks.lines import (
    end_of_lines,
    follow_lines,
    lines_backwards,
    lines_of,
    read_lines,
    rotated_files,
)

from .output import emit, fail, json_option

TAMPERED: Final = 1
CANNOT_TELL: Final = 2
_COLOURS: Final = {"allow": "green", "deny": "red", "require_approval": "yellow"}
_LOG = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def audit() -> None:
    """Verify and read the audit log."""


@audit.command()
@_LOG
@click.option("--checkpoints", type=click.Path(path_type=Path), help="Signed checkpoints. Default: FILE.checkpoints")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    help="Public key of the checkpoints (PEM). Default: FILE.state/checkpoint-key.pub.pem. Keep a copy elsewhere: "
    "whoever may write here could replace the log, the checkpoints and this key together.",
)
@click.option("--from-start", is_flag=True, help="Nothing was deleted by retention: the log must begin with line 1.")
@json_option
def verify(file: Path, checkpoints: Path | None, public_key: Path | None, from_start: bool, as_json: bool) -> None:
    """Prove that an audit log is what was written.

    FILE and the files rotated out of it are read.

    Exit status: 0 proved, 1 tampered with or damaged, 2 cannot tell.
    """
    checkpoint_file = checkpoints or file.with_name(f"{file.name}.checkpoints")
    key_file = public_key or file.with_name(f"{file.name}.state") / "checkpoint-key.pub.pem"
    try:
        # the checkpoints first: the log may be growing, and must be the newer of the two
        signed = _checkpoints(checkpoint_file, wanted=checkpoints is not None)
        keys = _public_keys(key_file, wanted=public_key is not None)
        with file.open("rb") as current, _progress(as_json) as progress:
            # the current file is open before the others are listed, so a rotation in between hides nothing
            files = [
                path for path in rotated_files(file) if not os.path.samestat(path.stat(), os.fstat(current.fileno()))
            ]
            report = verify_log(
                [*((path.name, read_lines(path)) for path in files), (file.name, lines_of(current))],
                checkpoints=signed,
                public_keys=keys,
                from_start=from_start,
                progress=progress,
            )
    except (OSError, EOFError) as error:
        place = getattr(error, "filename", None) or file
        fail(
            f"{place}: {getattr(error, 'strerror', None) or error}",
            as_json=as_json,
            code=CANNOT_TELL,
            data={"verdict": "unproven"},
        )
        return
    names = [*(path.name for path in files), file.name]
    emit(_human(report, len(names)), {**report.as_dict(), "files": names}, as_json=as_json)
    sys.exit({"ok": 0, "tampered": TAMPERED}.get(report.verdict, CANNOT_TELL))


def _checkpoints(path: Path, *, wanted: bool) -> tuple[str, Iterable[bytes]] | None:
    if not wanted and not path.exists():
        return None
    return path.name, list(read_lines(path))


def _public_keys(path: Path, *, wanted: bool) -> list[Ed25519PublicKey]:
    if not wanted and not path.exists():
        return []
    try:
        key = load_pem_public_key(path.read_bytes())
    except ValueError:
        raise OSError(None, "not a PEM public key", str(path)) from None
    if not isinstance(key, Ed25519PublicKey):
        raise OSError(None, "not an Ed25519 public key", str(path))
    return [key]


class _progress:  # noqa: N801 - used as a function
    """A line count on a terminal, nothing elsewhere."""

    def __init__(self, as_json: bool) -> None:
        self._shown = sys.stderr.isatty() and not as_json

    def __enter__(self) -> Callable[[int], None] | None:
        return self._show if self._shown else None

    def _show(self, count: int) -> None:
        click.echo(f"\r{count:,} lines", nl=False, err=True)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _human(report: Report, files: int) -> str:
    title = {"ok": "ok", "tampered": "TAMPERED WITH OR DAMAGED", "unproven": "cannot tell"}[report.verdict]
    colour = {"ok": "green", "tampered": "red"}.get(report.verdict, "yellow")
    lines = [
        f"{click.style(title, fg=colour, bold=True)}: {report.events} event(s) in {files} file(s), "
        f"lines {report.first_seq} to {report.last_seq}, {report.checkpoints} checkpoint(s) checked",
        *(f"  problem: {printable(str(problem), limit=None)}" for problem in report.problems),
    ]
    if report.problem_count > MAX_PROBLEMS:
        lines.append(f"  … and {report.problem_count - MAX_PROBLEMS} more")
    lines += [f"  not proved: {printable(text, limit=None)}" for text in report.unproven]
    lines += [f"  note: {printable(text, limit=None)}" for text in report.notes]
    return "\n".join(lines)


@audit.command()
@_LOG
@click.option("-n", "count", default=20, show_default=True, type=click.IntRange(min=0), help="Events to show.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing events as they come.")
@click.option("--agent", help="Only events of this agent.")
@click.option("--denied", is_flag=True, help="Only what was not allowed.")
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON, one a line.")
def tail(file: Path, count: int, follow: bool, agent: str | None, denied: bool, as_json: bool) -> None:
    """Show the last events of FILE, one a line."""

    def wanted(event: dict[str, Any]) -> bool:
        if not event:
            return False
        if agent is not None and event.get("agent") != agent:
            return False
        return not denied or event.get("decision") not in (None, "allow")

    render = _json_line if as_json else human_line
    try:
        with file.open("rb") as log:
            end = end_of_lines(log)
            events = filter(wanted, map(_event, lines_backwards(log, end)))
            for event in reversed(list(islice(events, count))):
                click.echo(render(event))
            if follow:
                for event in filter(wanted, map(_event, follow_lines(file, log, end, time.sleep))):
                    click.echo(render(event))
    except OSError as error:
        fail(f"{error.filename or file}: {error.strerror}", as_json=as_json)
    except ValueError as error:
        fail(f"{file}: {error}", as_json=as_json)
    except KeyboardInterrupt:
        return


def _event(line: bytes) -> dict[str, Any]:
    """The event of a line; empty for what is none (`verify` is there to complain)."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return event if isinstance(event, dict) else {}


def _json_line(event: dict[str, Any]) -> str:
    """ASCII only, so that it can be looked at on a terminal too."""
    return json.dumps(event, ensure_ascii=True)


def human_line(event: dict[str, Any]) -> str:
    """One event as one line for people: when, what was decided, about whom and what, and why."""
    decision = str(event.get("decision", ""))
    named = [str(event[name]) for name in ("action", "tool", "model") if event.get(name)]
    resource = str(event.get("resource", ""))
    what = " ".join([*named, resource] if resource and resource not in named else named)
    detail = f"({printable(str(event['detail']))})" if event.get("detail") else ""
    if not decision:  # an event of the log itself
        shown = ("version", "count", "from", "to", "cause", "tornBytes", "keptIn", "detail")
        what, detail = " ".join(f"{name}={event[name]}" for name in shown if name in event), ""
    # a block says its score in its reason; what was let through says it here
    risk = f"risk={event['risk']}" if event.get("risk") and "risk score" not in f"{event.get('reason')}{detail}" else ""
    parts = [
        click.style(printable(str(event.get("time", ""))), dim=True),
        click.style(printable(decision or str(event.get("type", "?"))).ljust(8), fg=_COLOURS.get(decision, "cyan")),
        printable(str(event.get("status", ""))),
        click.style(printable(str(event.get("agent", ""))), bold=True),
        printable(what),
        printable(str(event.get("errorCode", ""))),
        printable(risk),
        click.style(f"{printable(str(event.get('reason', '')))} {detail}".strip(), dim=True),
        click.style(printable(str(event.get("requestId", ""))), dim=True),
    ]
    return "  ".join(part for part in parts if click.unstyle(part).strip())


def printable(text: str, limit: int | None = 200) -> str:
    """`text` with nothing in it that a terminal would obey: escape sequences, bells, direction marks."""
    if limit is not None and len(text) > limit:
        text = text[:limit] + CUT_MARK
    return "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in text)

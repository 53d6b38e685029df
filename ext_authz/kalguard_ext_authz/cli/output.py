"""What every command prints: lines for people by default, one JSON document with `--json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Adds `--json` to a command, passed to it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(command)


def emit(human: str, data: Any, *, as_json: bool) -> None:
    """Print `data` as JSON, or `human`."""
    click.echo(json.dumps(data, ensure_ascii=False) if as_json else human)


def fail(message: str, *, as_json: bool = False, code: int = 1, data: Any = None) -> None:
    """Say what is wrong (on stderr, or as JSON on stdout) and end with exit status `code`."""
    if as_json:
        click.echo(json.dumps({"ok": False, "error": message, **(data or {})}, ensure_ascii=False))
    else:
        click.echo(f"kalguard: {message}", err=True)
    sys.exit(code)

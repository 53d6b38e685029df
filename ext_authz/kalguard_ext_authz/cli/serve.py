"""`kalguard serve`: run the servers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path

import click

from ..settings import PREFIX, Settings, SettingsError, load_settings
from .output import fail, json_option


@click.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (YAML).")
@click.option(
    "--check",
    "only_check",
    is_flag=True,
    help="Read settings and documents, say whether they are good, end. Nothing listens, nothing is written.",
)
@click.option("--settings", "list_settings", is_flag=True, help="List all settings with their defaults, and end.")
@json_option
def serve(config: Path | None, only_check: bool, list_settings: bool, as_json: bool) -> None:
    """Run the servers: ext_authz gRPC, HTTP API, admin, metrics.

    Settings come from KALGUARD_* variables, then from the file (--config or KALGUARD_CONFIG), then defaults.
    SIGHUP reloads documents and reopens the audit log; SIGTERM drains and ends.
    """
    if list_settings:
        _list_settings(as_json)
        return
    try:
        settings, warnings = load_settings(os.environ, config)
        if only_check:
            _check(settings, warnings, as_json)
            return
        import uvloop

        from ..serve import run

        def ready(addresses: Mapping[str, str]) -> None:
            if as_json:
                click.echo(json.dumps({"ready": True, "addresses": dict(addresses)}))
                return
            for name, address in addresses.items():
                click.echo(f"kalguard: {name:8} {address}")

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, warnings, ready))
    except SettingsError as error:
        fail(str(error), as_json=as_json, code=2)


def _check(settings: Settings, warnings: list[str], as_json: bool) -> None:
    from kalguard_core.guard import Snapshot

    from ..cache_dir import cache_dir
    from ..metrics import Metrics
    from ..reload import Documents

    cache, problem = cache_dir(settings, os.environ)
    if problem:
        warnings = [*warnings, f"compiled firewall rules are not kept, so each start compiles them again: {problem}"]

    async def read() -> tuple[Documents, Snapshot]:
        # what is compiled here the server that is started next need not compile again
        documents = Documents(settings, Metrics(), lambda _: None, cache=cache)
        return documents, documents.load()

    documents, snapshot = asyncio.run(read())
    found = documents.versions()
    checks = [check() for check in documents.checks().values()]
    warnings = [*warnings, *snapshot.firewalls.warnings()]
    if slowed := snapshot.firewalls.slowed_by:
        warnings.append(f"the firewall reads text with google-re2, which is slower: {slowed}")
    warnings += [check.detail for check in checks if check.status != "ok"]
    if as_json:
        click.echo(json.dumps({"ok": True, "documents": found, "warnings": warnings}))
        return
    for warning in warnings:
        click.echo(f"warning: {warning}")
    for name, version in found.items():
        click.echo(f"{name:12} {version or '-'}")
    click.echo("OK")


def _list_settings(as_json: bool) -> None:
    rows = [
        {
            "variable": PREFIX + name.upper(),
            "default": default_text(field.default),
            "description": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        default = f" [{row['default']}]" if row["default"] else ""
        click.echo(f"{row['variable']}{default}\n    {row['description']}")


def default_text(value: object) -> str | None:
    """A setting's default as it would be written in a variable; None where there is none."""
    if value is None or value in ((), {}):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)

"""`kalguard routes`: is a route table sound, and which of its entries does a request fit?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kalguard_core.documents import DocumentError
from kalguard_core.wire.routes import RouteTable

from .output import emit, fail, json_option


@click.group()
def routes() -> None:
    """Validate route tables, and ask them."""


@routes.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def validate(file: Path, as_json: bool) -> None:
    """Check the route table FILE. Ends with status 1 if it can't be used."""
    table = _read(file, as_json)
    count = "1 route" if len(table.routes) == 1 else f"{len(table.routes)} routes"
    data = {"ok": True, "file": str(file), "routes": len(table.routes), "version": table.version}
    emit(f"{file}: OK: {count}, version {table.version}", data, as_json=as_json)


@routes.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("url")
@click.option("--destination", multiple=True, help="What the proxy connects to: its principal, or address:port.")
@json_option
def match(file: Path, url: str, destination: tuple[str, ...], as_json: bool) -> None:
    """Say which entry of FILE a request for URL fits. Ends with status 3 if none does."""
    table = _read(file, as_json)
    _, separator, rest = url.partition("://")
    host, slash, path = (rest if separator else url).partition("/")
    route = table.match(host, slash + path or "/", destination)
    if route is None:
        emit("no route: refused with 404 NOT_FOUND", {"ok": True, "route": None}, as_json=as_json)
        sys.exit(3)
    said = ", ".join(f"{name} {value}" for name, value in route.context.items())
    data = {"ok": True, "route": {"line": route.line, "kind": route.kind, "context": dict(route.context)}}
    emit(f"{file}:{route.line}: {said}", data, as_json=as_json)


def _read(file: Path, as_json: bool) -> RouteTable:
    try:
        return RouteTable.parse(file.read_text(encoding="utf-8"), str(file))
    except DocumentError as error:
        fail(str(error), as_json=as_json)
    except OSError as error:
        fail(f"{file}: can't be read: {error.strerror}", as_json=as_json)
    except UnicodeDecodeError:
        fail(f"{file}: not UTF-8", as_json=as_json)
    raise AssertionError("fail does not return")

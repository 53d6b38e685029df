"""The tables of docs/protocols.md, made from the registry of wire protocols.

`python tests/lab/protocols_table.py` writes them anew after a protocol has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kalguard_core.wire.base import Endpoint, WireProtocol
from kalguard_core.wire.mcp_methods import VERSIONS
from kalguard_core.wire.registry import PROTOCOLS

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
BEGIN: Final = "<!-- protocols: made by tests/lab/protocols_table.py -->"
END: Final = "<!-- /protocols -->"


def tables() -> str:
    """Every protocol as Markdown: its endpoints, and what it refuses."""
    return "\n".join(line for protocol in PROTOCOLS.values() for line in _protocol(protocol)) + "\n"


def _protocol(protocol: WireProtocol) -> Iterator[str]:
    yield f"\n### {protocol.title}\n"
    yield f"Route kind `{protocol.kind}`.\n"
    yield "| method | path | becomes | what is read |"
    yield "|---|---|---|---|"
    yield from dict.fromkeys(map(_endpoint, protocol.endpoints))
    if methods := getattr(protocol, "methods", ()):
        yield "\n| method of a message | becomes | versions | what is read |"
        yield "|---|---|---|---|"
        for method in methods:
            yield f"| `{method.name}` | `{method.action}` | {_versions(method.versions)} | {_cell(method.reads)} |"
    if protocol.refused:
        yield "\n| refused | why |"
        yield "|---|---|"
        for what, why in protocol.refused:
            yield f"| {_cell(what)} | {_cell(why)} |"


def _endpoint(endpoint: Endpoint) -> str:
    upgrade = " (upgrade)" if endpoint.upgrade else ""
    path = _cell(endpoint.path) or "/"
    return f"| {endpoint.method}{upgrade} | `{path}` | {_actions(endpoint.actions)} | {_cell(endpoint.reads)} |"


def _versions(versions: frozenset[str]) -> str:
    if versions == VERSIONS:
        return "all"
    first, last = min(versions), max(versions)
    if len(versions) > 2 and versions == {version for version in VERSIONS if first <= version <= last}:
        return f"{first} to {last}"
    return ", ".join(sorted(versions))


def _actions(text: str) -> str:
    """Names of actions as code; where the protocol marks them itself, its own words."""
    if "`" in text:
        return _cell(text)
    return ", ".join(f"`{_cell(name.strip())}`" if ":" in name else _cell(name.strip()) for name in text.split(","))


def _cell(text: str) -> str:
    """Text of a table's cell; what stands in backticks is no HTML anyway."""
    parts = text.replace("|", "\\|").replace("\n", " ").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def with_tables(document: str) -> str:
    """`document` with the tables that belong between the two marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")

"""The tables of docs/protocols.md, made from the registry of wire protocols.

`python tests/lab/protocols_table.py` writes them anew after a protocol has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kalguard_core.wire.base import WireProtocol
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
    for endpoint in protocol.endpoints:
        upgrade = " (upgrade)" if endpoint.upgrade else ""
        path = _cell(endpoint.path) or "/"
        yield f"| {endpoint.method}{upgrade} | `{path}` | {_actions(endpoint.actions)} | {_cell(endpoint.reads)} |"
    if protocol.refused:
        yield "\n| refused | why |"
        yield "|---|---|"
        for what, why in protocol.refused:
            yield f"| {_cell(what)} | {_cell(why)} |"


def _actions(text: str) -> str:
    return ", ".join(f"`{_cell(name.strip())}`" if ":" in name else _cell(name.strip()) for name in text.split(","))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def with_tables(document: str) -> str:
    """`document` with the tables that belong between the two marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")

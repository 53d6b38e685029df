"""The table of detectors of secrets and personal data, made from the registry.

`python tests/lab/sensitive_table.py` prints it as Markdown, for the documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kalguard_core.firewall.sensitive import DETECTORS, Mode

_TITLES: Final = {"secret": "Secrets", "personal": "Personal data"}


def table() -> str:
    """All detectors, a table a group."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    for group, title in _TITLES.items():
        yield f"\n### {title}\n"
        yield "| kind | detector | what | told by | standard | strict |"
        yield "|---|---|---|---|---|---|"
        for one in DETECTORS:
            if one.group == group:
                told = f"{one.checked} ({one.confidence})"
                cells = (f"`{one.kind}`", f"`{one.id}`", one.title, told, _mode(one.mode), _mode(one.strict))
                yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _mode(mode: Mode) -> str:
    return f"`{mode}`"


if __name__ == "__main__":
    print(table(), end="")

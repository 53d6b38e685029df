"""The table of docs/configuration.md, made from the settings themselves.

`python tests/lab/settings_table.py` writes it anew after a setting has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from kalguard_ext_authz.cli.serve import default_text
from kalguard_ext_authz.settings import PREFIX, Settings

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
BEGIN: Final = "<!-- settings: made by tests/lab/settings_table.py -->"
END: Final = "<!-- /settings -->"
# The first setting of each part, in the order of the model.
PARTS: Final = {
    "host": "Where it listens",
    "token_secret": "Who may ask",
    "policy_path": "What they may do",
    "max_body_bytes": "Bodies",
    "audit_sink": "What is kept",
    "log_level": "The process",
    "api_key": "Known, and not there yet",
}

_BOUNDS: Final = {"gt": "above", "ge": "from", "le": "to"}


def table() -> str:
    """All settings as Markdown, one table a part."""
    return "\n".join(_lines(list(Settings.model_fields.items()))) + "\n"


def _lines(fields: Sequence[tuple[str, FieldInfo]]) -> Iterator[str]:
    for name, field in fields:
        if name in PARTS:
            yield f"\n### {PARTS[name]}\n"
            yield "| variable | default | meaning |"
            yield "|---|---|---|"
        yield f"| `{PREFIX}{name.upper()}` | {_default(field)} | {_meaning(field)} |"


def _default(field: FieldInfo) -> str:
    text = default_text(field.default)
    return "-" if text is None else f"`{text}`"


def _meaning(field: FieldInfo) -> str:
    parts = [(field.description or "").replace("|", "\\|").replace("<", "&lt;")]
    if get_origin(field.annotation) is Literal:
        parts.append(f"One of {', '.join(f'`{choice}`' for choice in get_args(field.annotation))}.")
    limits = {
        name: value for limit in field.metadata for name in _BOUNDS if (value := getattr(limit, name, None)) is not None
    }
    if limits:
        bounds = " ".join(f"{_BOUNDS[name]} {value}" for name, value in limits.items())
        parts.append(f"{bounds.capitalize()}.")
    return " ".join(parts)


def with_table(document: str) -> str:
    """`document` with the table that belongs between the two marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")

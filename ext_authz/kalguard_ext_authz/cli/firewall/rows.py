"""The labelled texts of a folder."""

from __future__ import annotations

from pathlib import Path

from kalguard_core.firewall.evaluation import BadRow, Row, read_row


def read_folder(folder: Path) -> list[Row]:
    """The rows of every *.jsonl in a folder, files in the order of their names; a file is the source of rows that
    name none. Raises `BadRow` with file and line, or `OSError`."""
    rows: list[Row] = []
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise BadRow(f"{folder}: no *.jsonl in it")
    for file in files:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    rows.append(read_row(line, file.stem))
                except BadRow as error:
                    raise BadRow(f"{file}, line {number}: {error}") from None
    if not rows:
        raise BadRow(f"{folder}: its *.jsonl are empty")
    return rows

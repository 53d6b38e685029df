"""`kalguard firewall train`: rebuilds the learned model from labelled texts."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import click

from kalguard_core.firewall.evaluation import BadRow

from ..output import emit, fail, json_option
from .rows import read_folder
from .trained import bundled_artifact, model_of
from .work import Progress

DIFFERENT = 1


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where the model is written.")
@click.option("--check", is_flag=True, help="Compare with the model of this build; exit status 1 if it is another.")
@json_option
def train(folder: Path, output: Path | None, check: bool, as_json: bool) -> None:
    """Rebuild the model of the firewall from the labelled texts in DIR and the texts that KalGuard brings along.

    DIR is as `kalguard firewall evaluate` reads it. The same texts give the same bytes on the same kind of machine.
    """
    if output is None and not check:
        fail("say what to do with the model: --output FILE, --check, or both", as_json=as_json, code=2)
    if output is not None and not output.parent.is_dir():  # said before minutes of work, not after
        fail(f"--output: there is no directory {output.parent}", as_json=as_json, code=2)
    try:
        rows = read_folder(folder)
        start = time.perf_counter()
        with Progress("training", None, unit="steps", quiet=as_json) as progress:
            artifact = model_of(rows, lambda: progress.advance())
        seconds = time.perf_counter() - start
        if output is not None:
            _write(output, artifact)
    except BadRow as error:
        fail(str(error), as_json=as_json, code=2)
        return
    except OSError as error:
        fail(f"{error.filename or output}: {error.strerror}", as_json=as_json, code=2)
        return
    digest = hashlib.sha256(artifact).hexdigest()
    told = {
        "ok": True,
        "rows": len(rows),
        "bytes": len(artifact),
        "sha256": digest,
        "seconds": round(seconds, 3),
        "output": None if output is None else str(output),
    }
    human = f"sha256 {digest}, {len(artifact):,} bytes, from {len(rows):,} rows in {seconds:.1f} s"
    if not check:
        emit(human, told, as_json=as_json)
        return
    bundled = hashlib.sha256(bundled_artifact()).hexdigest()
    same = bundled == digest
    verdict = "the same as in this build" if same else f"another than in this build, which has sha256 {bundled}"
    emit(f"{human}\n{verdict}", told | {"bundled": bundled, "same": same}, as_json=as_json)
    sys.exit(0 if same else DIFFERENT)


def _write(output: Path, artifact: bytes) -> None:
    """Whole or not at all."""
    part = output.with_name(f"{output.name}.part")
    part.write_bytes(artifact)
    part.replace(output)

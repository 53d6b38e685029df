"""`kalguard firewall evaluate`: what is caught, and what honest text is flagged, on a folder of labelled texts."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

import click

from kalguard_core.firewall.evaluation import (
    ROLES,
    BadRow,
    Row,
    family_of,
    folds,
    groups_of,
    sample,
)

from ..output import emit, fail, json_option
from .beside import DetectorFailed, Listed, ask, listed
from .chosen import Maker, firewall_options, maker_of
from .rows import read_folder
from .tables import Chosen, Other, Result, data_of, lines_of
from .trained import models_left_out, trained_maker
from .work import Progress, answers

if TYPE_CHECKING:
    from kalguard_core.firewall import PromptFirewall

DETECTORS: Final = ".venv-detectors/bin/python benchmarks/detectors.py"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--by-source", is_flag=True, help="Show the sources of each family, too.")
@click.option(
    "--leave-source-out", is_flag=True, help="Score each source by a model trained on all others; takes its time."
)
@click.option(
    "--folds",
    "fold_count",
    type=click.IntRange(min=2),
    help="With --leave-source-out: leave several sources out at once, in so many folds. Default: one at a time.",
)
@click.option(
    "--together",
    multiple=True,
    metavar="SOURCE,SOURCE",
    help="With --leave-source-out: sources that share texts, and leave together (repeatable).",
)
@click.option("--beside", is_flag=True, help="Ask other detectors the same texts (see --detectors).")
@click.option(
    "--detectors",
    default=DETECTORS,
    show_default=True,
    metavar="COMMAND",
    help="The program that runs them; `make detectors` installs its environment.",
)
@click.option("--only", multiple=True, metavar="NAME", help="With --beside: this detector only (repeatable).")
@click.option("--sample", "count", type=click.IntRange(min=1), help="At most so many texts of a source and family.")
@click.option("--seed", default=0, show_default=True, help="Which ones --sample takes.")
@click.option("--role", help="Score all texts in this role (tool, document, …) instead of their own (user).")
@click.option(
    "--role-of",
    multiple=True,
    metavar="SOURCE=ROLE",
    help="Score the texts of a source in this role, as a source of system prompts wants it (repeatable).",
)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Processes.")
@firewall_options
@json_option
def evaluate(
    folder: Path,
    by_source: bool,
    leave_source_out: bool,
    fold_count: int | None,
    together: tuple[str, ...],
    beside: bool,
    detectors: str,
    only: tuple[str, ...],
    count: int | None,
    seed: int,
    role: str | None,
    role_of: tuple[str, ...],
    jobs: int,
    document: Path | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Measure the firewall on labelled texts: what it catches, and what honest text it flags.

    DIR holds *.jsonl with {"text", "label": attack or benign, "source", "kind"} a line. Printed are, at the thresholds
    that block and that sanitize (70 and 50, unless a profile has others), the caught share of each family of attacks
    and the flagged share of honest texts.

    \b
    kalguard firewall evaluate prompts/ --leave-source-out --folds 8 --beside --jobs 2
    """
    for each in role_of:
        if not all(each.partition("=")):
            fail(f"--role-of: {each!r} is not SOURCE=ROLE", as_json=as_json, code=2)
    roles = dict(each.partition("=")[::2] for each in role_of)
    for named in (*roles.values(), *([] if role is None else [role])):
        if named not in ROLES:
            fail(f"unknown role {named!r}: use one of {', '.join(ROLES)}", as_json=as_json, code=2)
    if not beside and (only or detectors != DETECTORS):
        fail("--only and --detectors need --beside", as_json=as_json, code=2)
    if (fold_count or together) and not leave_source_out:
        fail("--folds and --together need --leave-source-out", as_json=as_json, code=2)
    if leave_source_out and (document or profile):
        fail("--leave-source-out trains the built-in firewall: no --firewall, no --profile", as_json=as_json, code=2)
    make, thresholds = maker_of(document, profile)
    try:
        everything = [
            replace(row, role=role or roles.get(row.source, row.role)) if role or roles else row
            for row in read_folder(folder)
        ]
        strangers = roles.keys() - {row.source for row in everything}
        if strangers:
            raise BadRow(f"--role-of: no source {', '.join(sorted(strangers))} in {folder}")
        chosen = _chosen(everything, count, seed, quiet=as_json)
        programs = _programs(shlex.split(detectors), only) if beside else []
        start = time.perf_counter()
        if leave_source_out:
            plan = _plan(everything, fold_count, together)
            scores = _scores_left_out(everything, plan, chosen.rows, jobs, quiet=as_json)
        else:
            plan = []
            scores = _scores(make, chosen.rows, jobs, quiet=as_json)
        seconds = time.perf_counter() - start
        others = _others(shlex.split(detectors), programs, chosen.rows, jobs, quiet=as_json)
    except (BadRow, DetectorFailed) as error:
        fail(str(error), as_json=as_json, code=2)
        return
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}", as_json=as_json, code=2)
        return
    result = Result(chosen, scores, plan, others, count, seed, role, seconds, thresholds)
    emit("\n".join(lines_of(result, by_source=by_source)) if not as_json else "", data_of(result), as_json=as_json)


def _chosen(everything: Sequence[Row], count: int | None, seed: int, *, quiet: bool) -> Chosen:
    keys = []
    with Progress("sorting", len(everything), quiet=quiet) as progress:
        for row in everything:
            keys.append((family_of(row), row.source))
            progress.advance()
    # pooled before sampling: what counts as a source of its own must not depend on the sample
    pooled = groups_of(keys)
    entries = list(zip(everything, pooled, strict=True))
    if count is not None:
        # the sample is taken of each source, also of those that are pooled
        entries = sample(
            ((key, row.text, (row, group)) for key, row, group in zip(keys, everything, pooled, strict=True)),
            count,
            seed,
        )
    return Chosen([row for row, _ in entries], [group for _, group in entries])


def _plan(rows: Sequence[Row], count: int | None, together: Sequence[str]) -> list[tuple[str, ...]]:
    try:
        plan = folds(Counter(row.source for row in rows), count, [each.split(",") for each in together])
    except ValueError as error:
        raise BadRow(f"--together: {error}") from None
    # the curve of each model comes from the honest texts that other folds leave out
    honest = {row.source for row in rows if not row.attack}
    if sum(1 for fold in plan if honest.intersection(fold)) < 2:
        raise BadRow("--leave-source-out needs honest texts in two sources at least that are left out apart")
    return plan


# --- scores


def _risk(firewall: PromptFirewall, row: Row) -> int:
    from kalguard_core.action import Message

    return firewall.score((Message(row.role, row.text),)).risk


def _scores(make: Maker, rows: Sequence[Row], jobs: int, *, quiet: bool) -> list[int]:
    found: list[int] = []
    with Progress("scoring", len(rows), quiet=quiet) as progress:
        for risk in answers(make, _risk, rows, jobs):
            found.append(risk)
            progress.advance()
    return found


def _scores_left_out(
    everything: Sequence[Row], plan: Sequence[tuple[str, ...]], rows: Sequence[Row], jobs: int, *, quiet: bool
) -> list[int]:
    """The risk of each row by a model that saw no row of its source, nor of those in its fold."""
    places: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        places.setdefault(row.source, []).append(index)
    found = [0] * len(rows)
    with Progress("training", None, unit="steps", quiet=quiet) as training:
        artifacts = models_left_out(everything, plan, lambda: training.advance())
    with Progress("scoring", len(rows), quiet=quiet) as progress:
        for sources, artifact in zip(plan, artifacts, strict=True):
            indices = [index for source in sources for index in places.get(source, ())]
            risks = answers(trained_maker(artifact), _risk, [rows[index] for index in indices], jobs)
            for index, risk in zip(indices, risks, strict=True):
                found[index] = risk
                progress.advance()
    return found


# --- other detectors


def _programs(command: Sequence[str], only: Sequence[str]) -> list[Listed]:
    try:
        found = listed(command)
    except DetectorFailed as error:
        raise DetectorFailed(f"{error}\n  `make detectors` installs them; --detectors names another program") from None
    unknown = set(only) - {each.name for each in found}
    if unknown:
        raise DetectorFailed(f"no detector {', '.join(sorted(unknown))}: {', '.join(each.name for each in found)}")
    return [each for each in found if not only or each.name in only]


def _others(
    command: Sequence[str], programs: Sequence[Listed], rows: Sequence[Row], jobs: int, *, quiet: bool
) -> list[Other]:
    if not programs:
        return []
    there = [each for each in programs if each.version is not None]
    texts = [row.text for row in rows]
    lock = Lock()
    with Progress("other detectors", len(there) * len(rows), quiet=quiet) as progress:

        def advance() -> None:
            with lock:
                progress.advance()

        with ThreadPoolExecutor(jobs) as pool:
            said = dict(
                zip(
                    [each.name for each in there],
                    pool.map(lambda each: ask(command, each.name, texts, advance), there),
                    strict=True,
                )
            )
    return [Other(each, said.get(each.name)) for each in programs]

"""How measurements are printed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Final

from kalguard_core.firewall.evaluation import (
    DEFINITIONS,
    FAMILIES,
    HONEST,
    Column,
    Group,
    Rate,
    Row,
    at_threshold,
    column,
    threshold_for,
)

from .beside import Answers, Listed
from .chosen import Thresholds

_WIDTH: Final = 120
_RATES: Final = (0.001, 0.005, 0.01, 0.02, 0.05)
"""Shares of honest texts at which the caught share is told, whatever the thresholds are."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The texts that are measured, and the group that each counts in."""

    rows: list[Row]
    groups: list[Group]


@dataclass(frozen=True, slots=True)
class Other:
    """Another detector and what it said; `answers` is None if it is not installed."""

    listed: Listed
    answers: Answers | None


@dataclass(frozen=True, slots=True)
class Result:
    chosen: Chosen
    scores: list[int]
    plan: Sequence[tuple[str, ...]]
    others: list[Other]
    count: int | None
    seed: int
    role: str | None
    seconds: float
    thresholds: Thresholds

    def at(self, threshold: float) -> Column:
        """What is flagged from that risk on."""
        return at_threshold(self.chosen.groups, self.scores, threshold)

    def at_rate(self, honest: float) -> tuple[float, Column]:
        """The lowest threshold that flags no more honest text than that, and what it catches."""
        threshold = threshold_for(self.chosen.groups, self.scores, honest)
        return threshold, self.at(threshold)


@dataclass(frozen=True, slots=True)
class _Beside:
    """Another detector at one of its levels, ours at its honest rate, and it at our honest rate at 70."""

    name: str
    level: str
    its: Column
    ours: Column
    its_at_ours: Column


def _beside(result: Result) -> list[_Beside]:
    groups, rows = result.chosen.groups, []
    wanted = result.at(result.thresholds.block).honest.share
    for other in result.others:
        if other.answers is None:
            continue
        limit = threshold_for(groups, other.answers.scores, wanted)
        at_ours = at_threshold(groups, other.answers.scores, limit)
        levels = [("flags", other.answers.flagged)]
        if other.answers.suspicious != other.answers.flagged:
            levels = [("blocks", other.answers.flagged), ("warns", other.answers.suspicious)]
        for level, hits in levels:
            its = column(groups, hits)
            rows.append(_Beside(other.listed.name, level, its, result.at_rate(its.honest.share)[1], at_ours))
    return rows


def data_of(result: Result) -> dict[str, Any]:
    """For JSON."""
    columns = {threshold: result.at(threshold) for threshold in (result.thresholds.block, result.thresholds.sanitize)}
    return {
        "ok": True,
        "texts": len(result.chosen.rows),
        "sample": result.count,
        "seed": result.seed,
        "role": result.role,
        "leaveSourceOut": [list(fold) for fold in result.plan] or None,
        "seconds": round(result.seconds, 3),
        "thresholds": {
            str(threshold): found.as_dict()
            | {
                "sources": [
                    {"family": family, "source": source, **rate.as_dict()}
                    for (family, source), rate in found.sources.items()
                ]
            }
            for threshold, found in columns.items()
        },
        "atHonestRates": [
            {
                "atMost": 100 * rate,
                "threshold": None if math.isinf(threshold) else threshold,
                "caught": found.caught.as_dict(),
                "honest": found.honest.as_dict(),
            }
            for rate, (threshold, found) in ((rate, result.at_rate(rate)) for rate in _RATES)
        ],
        "beside": [
            {
                "name": entry.name,
                "level": entry.level,
                **entry.its.as_dict(),
                "oursAtItsHonestRate": entry.ours.as_dict(),
                "itsAtOurHonestRate": entry.its_at_ours.as_dict(),
            }
            for entry in _beside(result)
        ],
        "detectors": [
            {
                "name": other.listed.name,
                "version": other.listed.version,
                "licence": other.listed.licence,
                "title": other.listed.title,
                "installed": other.answers is not None,
                "failed": other.answers.failed if other.answers else None,
                "seconds": round(other.answers.seconds, 3) if other.answers else None,
            }
            for other in result.others
        ],
        "definitions": list(DEFINITIONS),
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.0995 else f"{100 * share:.2f}%"


def lines_of(result: Result, *, by_source: bool) -> list[str]:
    """For people."""
    block, sanitize = result.at(result.thresholds.block), result.at(result.thresholds.sanitize)
    attacks = sum(row.attack for row in result.chosen.rows)
    how = "the bundled model"
    if result.plan:
        how = f"each source by a model that never saw it ({len(result.plan)} folds)"
    some = f", at most {result.count} of a source and family (seed {result.seed})" if result.count else ""
    lines = [
        f"{attacks:,} attacks, {len(result.chosen.rows) - attacks:,} honest texts{some}; {how}"
        + (f"; role {result.role}" if result.role else ""),
        "",
    ]
    table = [
        ("", f"at {result.thresholds.block}", "95%", f"at {result.thresholds.sanitize}", "95%", "texts", "sources")
    ]

    def add(name: str, first: Rate, second: Rate) -> None:
        shares = (_percent(first.share), _interval(first), _percent(second.share), _interval(second))
        table.append((name, *shares, f"{first.texts:,}", str(first.sources)))

    def add_sources(family: str) -> None:
        for group in [group for group in block.sources if by_source and group[0] == family]:
            add(f"  {group[1]}", block.sources[group], sanitize.sources[group])

    for family, rate in block.families.items():
        add(family, rate, sanitize.families[family])
        add_sources(family)
    if block.families:
        add("caught, macro", block.caught, sanitize.caught)
    if block.honest.texts:
        add("honest flagged, macro", block.honest, sanitize.honest)
        add_sources(HONEST)
        for name in dict.fromkeys((block.worst[0], sanitize.worst[0])):
            group = (HONEST, name)
            add(f"worst: {name}", block.sources[group], sanitize.sources[group])
    lines += _laid_out(table)
    per_text = 1e6 * result.seconds / max(1, len(result.chosen.rows))
    lines += ["", f"{result.seconds:.1f} s" + ("" if result.plan else f", {per_text:.0f} µs a text")]
    if block.families and block.honest.texts:
        lines += ["", "caught where at most so much honest text is flagged (macro), and the risk from which on:"]
        for share in _RATES:
            threshold, found = result.at_rate(share)
            risk = "none" if math.isinf(threshold) else f"{threshold:g}"
            lines.append(f"  {100 * share:g}%: {_percent(found.caught.share)}, risk {risk}")
    lines += _beside_lines(result)
    return [*lines, "", *(line for text in DEFINITIONS for line in wrap(text, _WIDTH))]


def _beside_lines(result: Result) -> list[str]:
    if not result.others:
        return []
    entries = _beside(result)
    there = [family for family in FAMILIES if entries and family in entries[0].its.families]
    table = [("", "", "caught", *there, "honest", "worst", "ours there", "it at ours")]
    for entry in entries:
        its = entry.its
        table.append(
            (
                entry.name,
                entry.level,
                _percent(its.caught.share),
                *(_percent(its.families[family].share) for family in there),
                _percent(its.honest.share),
                _percent(its.worst[1].share),
                _percent(entry.ours.caught.share),
                _percent(entry.its_at_ours.caught.share),
            )
        )
    lines = ["", "Other detectors on the same texts:", "", *_laid_out(table), ""]
    lines += wrap(
        "ours there: what KalGuard catches where it flags no more honest text than that detector does. "
        f"it at ours: what that detector catches where it flags no more than KalGuard at {result.thresholds.block}.",
        _WIDTH,
    )
    for other in result.others:
        if other.answers is None:
            lines.append(f"  {other.listed.name}: not installed ({other.listed.title})")
            continue
        texts = len(result.chosen.rows)
        speed = f"{1000 * other.answers.seconds / max(1, texts):.1f} ms a text"
        failed = f", no answer to {other.answers.failed}" if other.answers.failed else ""
        about = f"{other.listed.version}, {other.listed.licence}: {other.listed.title}"
        lines.append(f"  {other.listed.name} {about}; {speed}{failed}")
    return lines


def _interval(rate: Rate) -> str:
    return f"{100 * rate.low:.1f}-{100 * rate.high:.1f}"


def _laid_out(table: Sequence[Sequence[str]]) -> list[str]:
    """Cells below each other: names on the left, numbers on the right of their columns."""
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    numeric = [any(map(str.isdigit, "".join(cells))) and at > 0 for at, cells in enumerate(zip(*table, strict=True))]
    return [
        "  ".join(
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in table
    ]

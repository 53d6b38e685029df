"""`kalguard firewall rules`: the rules that there are, and whether they do what their examples say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..audit import printable
from ..output import fail, json_option
from .chosen import engine_of

if TYPE_CHECKING:
    from kalguard_core.firewall.examples import WrongExample
    from kalguard_core.firewall.pack import Rule


@click.command()
@click.option(
    "--firewall",
    "document",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Firewall document (YAML): its rule packs are listed too.",
)
@click.option("--check", is_flag=True, help="Hold each rule against its examples; exit status 1 if one is wrong.")
@json_option
def rules(document: Path | None, check: bool, as_json: bool) -> None:
    """List the rules by their ids, as `disabledRules` of a firewall document wants them.

    Weight is the risk of a text in which nothing else is found; a discount (in percent, with a minus) is what talk
    about attacks takes off what stands near it.
    """
    from kalguard_core.firewall.detector import OWN_RULES
    from kalguard_core.firewall.examples import wrong_examples

    engine = engine_of(document)
    listed = sorted([*engine.rules, *OWN_RULES], key=lambda rule: (rule.pack, rule.id))
    wrong = list(wrong_examples(engine, engine.rules)) if check else []
    if as_json:
        click.echo(json.dumps({"ok": not wrong, "rules": [*map(_entry, listed)], "wrong": [*map(_wrong, wrong)]}))
    elif check:
        for each in wrong:
            does = "finds its counterexample" if each.found else "does not find its example"
            click.echo(f"{each.rule.pack}: {each.rule.id} {does}: {printable(each.text)}")
    else:
        _print(listed)
    if wrong:
        if not as_json:
            fail(f"{len(wrong)} of the examples are not as their rules say", as_json=False)
        raise SystemExit(1)
    if check and not as_json:
        count = sum(len(rule.examples) + len(rule.counterexamples) for rule in engine.rules)
        click.echo(f"{len(engine.rules)} rules, {count} examples: all as they say")


def _print(listed: Sequence[Rule]) -> None:
    width = max(len(rule.id) for rule in listed)
    kinds = max(len(rule.category) for rule in listed)
    for rule in listed:
        weight = f"-{rule.discount}%" if rule.discount else str(rule.weight)
        click.echo(f"{rule.id:{width}}  {rule.category:{kinds}}  {weight:>4}  {rule.title}")


def _entry(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "pack": rule.pack,
        "category": rule.category,
        "weight": rule.weight,
        "discount": rule.discount,
        "severity": rule.severity,
        "title": rule.title,
        "languages": rule.languages,
        "roles": rule.roles,
        "owasp": rule.owasp,
        "atlas": rule.atlas,
    }


def _wrong(each: WrongExample) -> dict[str, Any]:
    return {"rule": each.rule.id, "pack": each.rule.pack, "text": each.text, "found": each.found}

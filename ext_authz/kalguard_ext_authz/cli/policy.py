"""`kalguard policy`: is a policy document sound, and what does it say about one action?"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from kalguard_core.action import Scalar, must_be_named
from kalguard_core.documents import DocumentError
from kalguard_core.policy import Explanation, Policy, PolicyQuery, PolicyWarning, Trial, explain, warnings
from kalguard_core.policy.values import OneOf
from kalguard_core.yaml_scalars import plain

from .output import emit, fail, json_option


@click.group()
def policy() -> None:
    """Validate policy documents, and ask them."""


@policy.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Warnings are failures, too.")
@json_option
def validate(files: tuple[Path, ...], strict: bool, as_json: bool) -> None:
    """Check policy FILES. Ends with status 1 if one can't be used."""
    reports = [_report(file) for file in files]
    ok = all(report["ok"] and not (strict and report["warnings"]) for report in reports)
    text = "\n".join(line for report in reports for line in _report_lines(report))
    emit(text, {"ok": ok, "files": reports}, as_json=as_json)
    sys.exit(0 if ok else 1)


def _read(file: Path) -> Policy:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DocumentError(str(file), 1, "", f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DocumentError(str(file), line, "", "not UTF-8: save the file in that encoding") from None
    return Policy.parse(text, str(file))


def _report(file: Path) -> dict[str, Any]:
    try:
        read = _read(file)
    except DocumentError as error:
        problem = {"line": error.line, "field": error.field, "problem": error.problem}
        return {"file": str(file), "ok": False, "error": problem, "text": str(error)}
    return {
        "file": str(file),
        "ok": True,
        "rules": len(read.rules),
        "default": read.default.outcome.value,
        "version": read.version,
        "warnings": [{"line": w.line, "rule": w.rule, "warning": w.text} for w in _warnings(read)],
    }


def _warnings(read: Policy) -> list[PolicyWarning]:
    """Those of the policy, and names of actions that no request becomes."""
    known = known_actions()
    found = list(warnings(read))
    for rule in read.rules:
        for condition in rule.conditions:
            if condition.key != "actions" or not isinstance(condition.test, OneOf):
                continue
            unknown = [str(name) for name in condition.test.exact if name not in known]
            unknown += [each.text for each in condition.test.patterns if not any(map(each.matches, known))]
            for name in unknown:
                near = get_close_matches(name, known, 1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                found.append(PolicyWarning(rule.line, rule.id, f"no request becomes the action {name!r}{hint}"))
    return sorted(found, key=lambda warning: warning.line)


def known_actions() -> list[str]:
    """Every action that a protocol's tables name."""
    from kalguard_core.wire.registry import PROTOCOLS

    said = [endpoint.actions for protocol in PROTOCOLS.values() for endpoint in protocol.endpoints]
    said += [method.action for protocol in PROTOCOLS.values() for method in getattr(protocol, "methods", ())]
    return sorted({name for text in said for name in re.findall(r"\b[a-z0-9]+:[A-Za-z/_]+", text)})


def _report_lines(report: dict[str, Any]) -> Iterable[str]:
    if not report["ok"]:
        yield report["text"]
        return
    rules = "1 rule" if report["rules"] == 1 else f"{report['rules']} rules"
    yield f"{report['file']}: OK: {rules}, default {report['default']}, version {report['version']}"
    for warning in report["warnings"]:
        about = "default" if warning["rule"] is None else f"rule {warning['rule']!r}"
        yield f"{report['file']}:{warning['line']}: warning: {about}: {warning['warning']}"


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, Scalar], ...]:
    """Each `key=value`; the value as YAML reads it: 3 is a number, true a boolean, "3" (with quotes) text."""
    return tuple(_pair(value, ctx, param) for value in values)


def _pair(pair: str, ctx: click.Context, param: click.Parameter) -> tuple[str, Scalar]:
    key, equals, text = pair.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{pair!r} is not key=value", ctx, param)
    if len(text) > 1 and text[0] == text[-1] == '"':
        return key, text[1:-1]
    try:
        value = plain(text)
    except ValueError:
        return key, text
    return key, text if value is None else value


@policy.command("explain")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--agent", required=True, help="Id of the agent (the token's sub).")
@click.option(
    "--action", required=True, help="prompt:check, tool:execute, content:media, mcp:tools/list, http:request, …"
)
@click.option("--resource", help="Model, media type, server, or host and path (docs/policy.md).")
@click.option("--tool", help="Name of the tool.")
@click.option(
    "--attribute",
    "attributes",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_pairs,
    help="Of the action; may be repeated.",
)
@click.option(
    "--metadata",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_pairs,
    help="Of the token; may be repeated, one key twice makes a list.",
)
@click.option("--risk", type=click.IntRange(0, 100), help="The firewall's score, if a rule asks for it.")
@json_option
def explain_command(
    file: Path,
    agent: str,
    action: str,
    resource: str | None,
    tool: str | None,
    attributes: tuple[tuple[str, Scalar], ...],
    metadata: tuple[tuple[str, Scalar], ...],
    risk: int | None,
    as_json: bool,
) -> None:
    """Say which rule of FILE decides about an action.

    And why the rules before it don't match.
    """
    try:
        read = _read(file)
    except DocumentError as error:
        fail(str(error), as_json=as_json)
        return
    query = PolicyQuery(
        agent, action, resource, tool, dict(attributes), _lists(metadata), explicit=must_be_named(action, tool)
    )
    explanation = explain(read, query, risk)
    emit("\n".join(_lines(explanation)), _data(explanation, read), as_json=as_json)


def _lists(pairs: Iterable[tuple[str, Scalar]]) -> dict[str, Any]:
    """The pairs as a mapping; a key that comes twice has a list."""
    values: dict[str, list[Scalar]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return {key: found[0] if len(found) == 1 else found for key, found in values.items()}


def _lines(explanation: Explanation) -> Iterable[str]:
    match, trials = explanation.match, explanation.trials
    decider = trials[-1] if trials and trials[-1].matches else None
    if match is None:
        assert decider is not None
        yield f"depends on the risk: {_where(decider)} asks for it; give one with --risk"
    elif decider is None:
        yield f"{match.outcome.value}: {match.reason} (no rule matches, the default decides)"
    else:
        yield f"{match.outcome.value}: {match.reason} ({_where(decider)} decides)"
    for trial in trials:
        if trial.unnamed and not trial.missed:
            yield f"  {_where(trial)} does not count: to allow this, it must name the action or tool ('*' names none)"
        for miss in trial.missed:
            yield f"  {_where(trial)} does not match: {miss}"


def _where(trial: Trial) -> str:
    return f"rule {trial.rule.id!r} in line {trial.rule.line}"


def _data(explanation: Explanation, read: Policy) -> dict[str, Any]:
    match = explanation.match
    return {
        "decision": None if match is None else match.outcome.value,
        "rule": None if match is None else match.rule,
        "reason": None if match is None else match.reason,
        "needsRisk": match is None,
        "policyVersion": read.version,
        "tried": [
            {
                "rule": trial.rule.id,
                "line": trial.rule.line,
                "matches": trial.matches,
                "unnamed": trial.unnamed,
                "missed": [str(miss) for miss in trial.missed],
            }
            for trial in explanation.trials
        ],
    }

"""`kalguard firewall explain`: one text, with what is suspicious in it marked, and why.

Rule of this file: the text was written by somebody who may attack. Nothing in it that a terminal would obey (escape
sequences, direction marks) gets there, and invisible characters are shown by their numbers.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from ..audit import printable
from ..output import fail, json_option
from .chosen import BadInput, Thresholds, firewall_options, maker_of, read_messages, say_what_is_read
from .score import told_of

if TYPE_CHECKING:
    from kalguard_core.action import Message
    from kalguard_core.firewall import Assessment, Span

MAX_TEXT: Final = 16 << 20
_QUIET: Final = 400  # characters between marks that are shown whole; of longer stretches the ends are
_END: Final = 120
_VIEW: Final = 400  # characters shown of another reading
_COLOURS: Final = ((70, "red"), (50, "yellow"), (0, "cyan"))
_DECISIONS: Final = {"allow": "green", "sanitize": "yellow", "block": "red"}
MODEL: Final = "learned"
"""The rule id of spans that the learned model contributes."""
OWN_WORDS: Final = {"phrase:": "phrases", "sensitive:": "sensitive data"}
"""How the rule ids of findings begin that a profile acts on whatever the risk is, and what those are."""


@click.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--text", help="The text itself, instead of a file.")
@click.option("--role", help="Whose text it is: user (the default), tool, document, …")
@click.option("--lines", "as_lines", is_flag=True, help="FILE has one JSON object with its roles, as `score` reads it.")
@click.option("--full", is_flag=True, help="Show all of a long text, not only what is near the marks.")
@firewall_options
@json_option
def explain(
    file: BinaryIO | None,
    text: str | None,
    role: str | None,
    as_lines: bool,
    full: bool,
    document: Path | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Show one text with what is suspicious in it marked, and the rules and reasons behind its score.

    The text is FILE, standard input (`-`, or no argument), or --text. On a terminal the marks are colours (NO_COLOR
    is respected); elsewhere they are [[…]]{rule}. Characters that nobody would see are shown as \\u{…}.
    """
    from kalguard_core.action import Message
    from kalguard_core.firewall.evaluation import ROLES

    if text is not None and file is not None:
        fail("give either FILE or --text", as_json=as_json, code=2)
    if as_lines and (text is not None or role is not None):
        fail("--lines reads texts and roles from FILE: no --text, no --role", as_json=as_json, code=2)
    role = "user" if role is None else role
    if role not in ROLES:
        fail(f"unknown role {role!r}: use one of {', '.join(ROLES)}", as_json=as_json, code=2)
    if text is None:
        source = file if file is not None else sys.stdin.buffer
        say_what_is_read(source, "one JSON object" if as_lines else "the text")
        data = source.read(MAX_TEXT + 1)
        if len(data) > MAX_TEXT:
            fail(
                f"the text is longer than {MAX_TEXT >> 20} MiB: use `kalguard firewall score`", as_json=as_json, code=2
            )
        try:
            if as_lines and len([line for line in data.splitlines() if line.strip()]) > 1 and _is_json_lines(data):
                raise BadInput("--lines explains one line of JSON, and there are more: `head -n 1` takes one")
            messages = read_messages(data) if as_lines else (Message(role, data.decode()),)
        except BadInput as error:
            fail(str(error), as_json=as_json, code=2)
            return
        except UnicodeDecodeError as error:
            fail(f"the text is not UTF-8: {error.reason} at byte {error.start}", as_json=as_json, code=2)
            return
    else:
        # what is not UTF-8 on the command line comes as lone surrogates
        messages = (Message(role, text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")),)
    make, thresholds = maker_of(document, profile)
    firewall = make()
    assessment = firewall.score(messages)
    told = told_of(firewall, messages, assessment, thresholds)
    told |= {"tags": list(assessment.tags), "because": _because(told["decision"], assessment, thresholds)}
    told |= {"contributions": _contributions(assessment), "views": _views(messages)}
    if as_json:
        # ASCII only: it may be looked at on a terminal, and the readings in it are an agent's words
        click.echo(json.dumps(told))
        return
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in _shown(messages, assessment, told, colour=colour, full=full):
        click.echo(line, color=colour)


def _is_json_lines(data: bytes) -> bool:
    """Whether the first line is JSON by itself: an object laid out over many lines is fine, several are not."""
    try:
        json.loads(data.strip().split(b"\n", 1)[0])
    except ValueError:
        return False
    return True


def _because(decision: str, assessment: Assessment, thresholds: Thresholds) -> str:
    """Where the risk alone is not why: what is; else empty."""
    if decision == "allow" or assessment.risk >= (thresholds.block if decision == "block" else thresholds.sanitize):
        return ""
    if decision == "block" and not assessment.blocked:
        return "rewriting would leave it suspicious"
    own = [kind for kind in OWN_WORDS if any(span.rule.startswith(kind) for span in assessment.spans)]
    return assessment.reason or (
        f"it holds {' and '.join(OWN_WORDS[kind] for kind in own)} that the profile replaces"
        if own
        else "a threshold of its category or role"
    )


def _contributions(assessment: Assessment) -> list[dict[str, Any]]:
    """Each rule that matched, the heaviest first: its weight, category and reason, and how often it matched."""
    found: dict[str, dict[str, Any]] = {}
    for span in assessment.spans:
        entry = found.setdefault(
            span.rule,
            {"rule": span.rule, "category": span.category, "weight": span.weight, "reason": span.reason, "spans": 0},
        )
        entry["weight"] = max(entry["weight"], span.weight)
        entry["spans"] += 1
    return sorted(found.values(), key=lambda entry: (-entry["weight"], entry["rule"]))


def _views(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The other ways in which the text can be read: decoded, joined, turned around."""
    from kalguard_core.firewall.views import views

    return [
        {"kind": view.kind, "depth": view.depth, "text": view.data.decode("utf-8", "replace")[: 4 * _VIEW]}
        for view in views(messages).views
        if view.kind != "plain"
    ]


def _shown(
    messages: Sequence[Message], assessment: Assessment, told: dict[str, Any], *, colour: bool, full: bool
) -> Iterable[str]:
    decision = told["decision"]
    risk = f"risk {assessment.risk} of 100 ({assessment.level})"
    because = f"; {printable(told['because'])}" if told["because"] else ""
    yield f"{click.style(decision, fg=_DECISIONS[decision], bold=True)}: {risk}{because}"
    for index, message in enumerate(messages):
        spans = [span for span in assessment.spans if span.message == index]
        title = f"message {index}, {printable(message.role)}" if len(messages) > 1 else printable(message.role)
        yield ""
        yield click.style(f"{title}, {len(message.text):,} characters:", dim=True)
        yield _marked(message.text, spans, colour=colour, full=full)
    if told["contributions"]:
        yield ""
        yield "why:"
        width = max(len(printable(entry["rule"])) for entry in told["contributions"])
        for entry in told["contributions"]:
            name = "learned model" if entry["rule"] == MODEL else entry["category"]
            reason = f": {printable(entry['reason'])}" if entry["reason"] else ""
            often = f" (in {entry['spans']} places)" if entry["spans"] > 1 else ""
            rule = click.style(f"{printable(entry['rule']):{width}}", fg=_colour(entry["weight"]))
            yield f"  {entry['weight'] or '-':>3}  {rule}  {printable(name)}{reason}{often}"
    if told["tags"]:
        yield ""
        yield f"noted: {', '.join(map(printable, told['tags']))}"
    shown = [view for view in told["views"] if view["text"].strip()]
    if shown:
        yield ""
        yield "also read as:"
        for view in shown[:12]:
            yield f"  {printable(view['kind'])}: {_visible(view['text'][:_VIEW], joined=True)}"
        if len(shown) > 12:
            yield f"  … and {len(shown) - 12} more (--json has all)"


def _colour(weight: int) -> str:
    return next(colour for least, colour in _COLOURS if weight >= least)


def _marked(text: str, spans: Sequence[Span], *, colour: bool, full: bool) -> str:
    """The text, with marks around what spans cover; where spans overlap, around all of it, with each rule named."""
    spans = sorted(spans, key=lambda span: (span.start, span.end))
    shown: list[str] = []
    at = index = 0
    while index < len(spans):
        start, end, first = spans[index].start, spans[index].end, index
        while index < len(spans) and spans[index].start < max(end, start + 1):
            end = max(end, spans[index].end)
            index += 1
        over = spans[first:index]
        shown.append(_plain(text[at:start], full=full, before=at > 0, after=True))
        rules = ",".join(printable(rule) for rule in dict.fromkeys(span.rule for span in over))
        marked = _plain(text[start:end], full=full, before=True, after=True)
        if colour:
            weight = max(span.weight for span in over)
            shown.append(click.style(marked, fg=_colour(weight), bold=True, underline=True))
            shown.append(click.style(f"{{{rules}}}", dim=True))
        else:
            shown.append(f"[[{marked}]]{{{rules}}}")
        at = end
    shown.append(_plain(text[at:], full=full, before=at > 0, after=False))
    return "".join(shown)


def _plain(text: str, *, full: bool, before: bool, after: bool) -> str:
    """A stretch of text; the middle of a long one is left out."""
    if full or len(text) <= _QUIET:
        return _visible(text)
    head = _visible(text[:_END]) if before or not after else ""
    tail = _visible(text[-_END:]) if after else ""
    left_out = len(text) - (_END if head else 0) - (_END if tail else 0)
    return f"{head} … {left_out:,} characters … {tail}"


def _visible(text: str, *, joined: bool = False) -> str:
    if joined:
        return printable(text.replace("\0", " ").replace("\n", " ").strip(), limit=None)
    return "\n".join(printable(line, limit=None).replace("\\u{9}", "\t") for line in text.split("\n"))

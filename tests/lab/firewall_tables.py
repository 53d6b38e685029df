"""The generated parts of docs/firewall.md and docs/model-card.md.

`python tests/lab/firewall_tables.py` writes them anew after a detector, a language or the model has changed.
`python tests/lab/firewall_tables.py FIGURES.json` also puts in the figures that `kalguard firewall evaluate --json`
printed; nothing but a new measurement changes those.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np

import sensitive_table
from kalguard_core.firewall.evaluation import FAMILIES
from kalguard_core.firewall.lexicon import bundled_lexicons
from kalguard_core.firewall.model import FILE, STRIDE, WINDOW, bundled_model
from kalguard_core.firewall.pack import bundled_packs, load_packs

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
DOCUMENTS: Final = (DOCS / "firewall.md", DOCS / "model-card.md")
MADE: Final = "made by tests/lab/firewall_tables.py"
_NAMES: Final[Mapping[str, str]] = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hi-latn": "Hindi in Latin letters",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "ms": "Malay",
    "nb": "Norwegian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sr": "Serbian",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "th": "Thai",
    "tl": "Tagalog",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}


def languages() -> str:
    """Which languages there are rules for, and which words."""
    lexicons = {name.removesuffix(".yaml") for name, _ in bundled_lexicons()}
    packs = load_packs(bundled_packs())
    counted = dict.fromkeys(lexicons, 0)
    for rule in packs.rules:
        code = "hi-latn" if rule.pack == "kalguard-hi-latn" else ""
        for language in [code] if code else rule.languages:
            if language != "mul":
                counted[language] = counted.get(language, 0) + 1
    ruled = sorted((code for code, rules in counted.items() if rules), key=lambda code: (-counted[code], code))
    worded = sorted(code for code, rules in counted.items() if not rules)
    many = sum("mul" in rule.languages for rule in packs.rules)
    return (
        "| | |\n|---|---|\n"
        f"| rules and words | {', '.join(f'{_NAMES[code]} ({counted[code]})' for code in ruled)} |\n"
        f"| words that the model knows, no rules | {', '.join(_NAMES[code] for code in worded) or '-'} |\n"
        f"| rules about no language (markup, chat tokens, disguises) | {many} |\n"
    )


def categories() -> str:
    """What the bundled rules are about."""
    packs = load_packs(bundled_packs())
    rows: dict[str, list[int]] = {}
    for rule in packs.rules:
        rows.setdefault(rule.category, []).append(rule.weight)
    lines = ["| category | rules | weights |", "|---|---:|---|"]
    for category, weights in sorted(rows.items(), key=lambda row: (-len(row[1]), row[0])):
        told = f"{min(weights)} to {max(weights)}" if max(weights) else "none: it takes from others"
        lines.append(f"| `{category}` | {len(weights)} | {told} |")
    return "\n".join(lines) + "\n"


def artifact() -> str:
    """The model that comes with KalGuard."""
    data = resources.files("kalguard_core.firewall").joinpath(FILE).read_bytes()
    model = bundled_model()
    lexicon = model.lexicon
    entries = len(lexicon.words) + len(lexicon.stems) + len(lexicon.strings)
    points = ", ".join(f"{evidence / 1000:+.2f} → {risk}" for evidence, risk in model.curve)
    return (
        "| | |\n|---|---|\n"
        f"| SHA-256 of `{FILE}` | `{sha256(data).hexdigest()}` |\n"
        f"| size | {len(data):,} bytes; {2 * len(model.weights):,} in memory |\n"
        f"| weights | {len(model.weights):,} of 16 bits, {int(np.count_nonzero(model.weights)):,} not zero |\n"
        f"| windows | {WINDOW} words, a new one every {STRIDE} |\n"
        f"| lexicon | {len(lexicon.names)} concepts, {entries:,} words and beginnings of words |\n"
        f"| curve (evidence in logits → risk) | {points} |\n"
    )


def language_of(name: str) -> str:
    """The language of a file of the corpus, by its name: `hi-latn-style.jsonl` is no Hindi."""
    name = name.removesuffix(".jsonl")
    while name not in _NAMES and "-" in name:
        name = name.rpartition("-")[0]
    return name


def corpus() -> str:
    """KalGuard's own texts that the model is trained on."""
    found: dict[str, list[int]] = {}
    for file in resources.files("kalguard_core.firewall").joinpath("corpus").iterdir():
        if not file.name.endswith(".jsonl"):
            continue
        counts = found.setdefault(language_of(file.name), [0, 0])
        for line in file.read_bytes().splitlines():
            counts[json.loads(line)["label"] != "attack"] += 1
    lines = ["| language | attacks | honest texts |", "|---|---:|---:|"]
    ordered = sorted(found.items(), key=lambda entry: (-sum(entry[1]), entry[0]))
    shown, rest = ordered[:8], ordered[8:]
    lines += [f"| {_NAMES[code]} | {attacks:,} | {honest:,} |" for code, (attacks, honest) in shown]
    if rest:
        attacks, honest = (sum(counts[place] for _, counts in rest) for place in (0, 1))
        lines.append(f"| {len(rest)} more | {attacks:,} | {honest:,} |")
    return "\n".join(lines) + "\n"


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "languages": languages,
    "categories": categories,
    "sensitive": sensitive_table.table,
    "artifact": artifact,
    "corpus": corpus,
}


def with_tables(document: str) -> str:
    """`document` with the tables that belong between its marks."""
    for name, made in PARTS.items():
        begin = f"<!-- {name}: {MADE} -->"
        if begin in document:
            document = _filled(document, begin, name, made())
    return document


def with_figures(document: str, told: Mapping[str, Any]) -> str:
    """`document` with the figures of a measurement between its marks."""
    return _filled(document, "<!-- figures -->", "figures", "\n".join(_figures(told)) + "\n")


def _filled(document: str, begin: str, name: str, text: str) -> str:
    end = f"<!-- /{name} -->"
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no {end} after {begin}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def _figures(told: Mapping[str, Any]) -> Iterator[str]:
    """The tables of a measurement. `told`: what `kalguard firewall evaluate --json` printed."""
    block, sanitize = (told["thresholds"][key] for key in sorted(told["thresholds"], key=int, reverse=True))
    high, low = sorted((int(key) for key in told["thresholds"]), reverse=True)
    folds = told["leaveSourceOut"]
    how = f"each source scored by a model that never saw it, in {len(folds)} folds" if folds else "the bundled model"
    some = f", at most {told['sample']} of a source and family" if told["sample"] else ""
    yield f"{told['texts']:,} texts{some}; {how}.\n"
    yield f"| | caught or flagged at {high} | 95% | at {low} | 95% | texts | sources |"
    yield "|---|---:|---|---:|---|---:|---:|"
    for family in FAMILIES:
        if family in block["families"]:
            yield _row(family, block["families"][family], sanitize["families"][family])
    yield _row("**caught, mean of families**", block["caught"], sanitize["caught"])
    yield _row("**honest texts flagged, mean of sources**", block["honest"], sanitize["honest"])
    for at, found in ((high, block), (low, sanitize)):
        worst = found["worstHonestSource"]
        yield _worst(f"the worst honest source at {at}: {worst['source']}", worst, first=at == high)
    yield "\n| so much honest text flagged, at most | caught | from risk |\n|---:|---:|---:|"
    for entry in told["atHonestRates"]:
        risk = "none" if entry["threshold"] is None else f"{entry['threshold']:g}"
        yield f"| {entry['atMost']:g}% | {_percent(entry['caught']['percent'])} | {risk} |"
    if told["beside"]:
        there = [family for family in FAMILIES if family in told["beside"][0]["families"]]
        yield "\nOther detectors, on the same texts in the same run:\n"
        yield (
            "| | caught | "
            + " | ".join(there)
            + " | honest flagged | worst source | KalGuard there | it at KalGuard's |"
        )
        yield "|---|" + "---:|" * (len(there) + 5)
        for entry in told["beside"]:
            cells = [entry["caught"], *(entry["families"][family] for family in there), entry["honest"]]
            cells += [entry["worstHonestSource"], entry["oursAtItsHonestRate"], entry["itsAtOurHonestRate"]]
            yield f"| {_detector(told, entry)} | {' | '.join(_percent(_share(cell)) for cell in cells)} |"
        yield (
            '\n"KalGuard there": what it catches where it flags no more honest text than that detector does. "It at '
            f"KalGuard's\": what that detector catches where it flags no more than KalGuard at {high}."
        )


def _detector(told: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    version = next(each["version"] for each in told["detectors"] if each["name"] == entry["name"])
    return f"{entry['name']} {version or ''} ({entry['level']})"


def _share(cell: Mapping[str, Any]) -> float:
    share: float = cell["caught"]["percent"] if "caught" in cell else cell["percent"]
    return share


def _row(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    cells: Sequence[str] = (
        *(part for rate in (first, second) for part in (_percent(rate["percent"]), _interval(rate))),
        f"{first['texts']:,}",
        str(first["sources"]),
    )
    return f"| {name} | {' | '.join(cells)} |"


def _worst(name: str, rate: Mapping[str, Any], *, first: bool) -> str:
    found = f"{_percent(rate['percent'])} | {_interval(rate)}"
    return (
        f"| {name} | {found} | | | {rate['texts']:,} | 1 |"
        if first
        else (f"| {name} | | | {found} | {rate['texts']:,} | 1 |")
    )


def _percent(share: float) -> str:
    return f"{share:.1f}%" if share >= 9.95 else f"{share:.2f}%"


def _interval(rate: Mapping[str, Any]) -> str:
    return f"{rate['low']:.1f} to {rate['high']:.1f}"


def main() -> None:
    """Write what is generated; with a file of figures those, too."""
    for path in DOCUMENTS:
        text = with_tables(path.read_text(encoding="utf-8"))
        if len(sys.argv) > 1 and "<!-- figures -->" in text:
            text = with_figures(text, json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

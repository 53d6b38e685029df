"""Other detectors of prompt injection, each behind the same two lines of JSON, to measure beside KalGuard.

Run: python benchmarks/detectors.py --list      one line for each: name, version, licence, whether it is installed
     python benchmarks/detectors.py NAME        reads {"text"} a line, answers {"flagged", "suspicious", "score"} a line

Rules of this file:
- It runs in an environment of its own (`make detectors`), so nothing of KalGuard is imported here.
- Each detector is asked as its documentation shows, with its defaults. `flagged` is what it would block by its own
  default threshold, `suspicious` what it would at least warn about; where it has one level, both are the same.
- Offline: what a detector would fetch at run time (model weights) is not there, and it works with what its package
  holds. The titles say so where it matters.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Answer = tuple[bool, bool, float]
"""Flagged, suspicious, score (higher is worse; a scale of the detector's own)."""


@dataclass(frozen=True)
class Detector:
    """`package`: its distribution on PyPI, "" for one that is written here."""

    name: str
    package: str
    licence: str
    title: str
    load: Callable[[], Callable[[str], Answer]]

    @property
    def version(self) -> str | None:
        """None if it is not installed."""
        if not self.package:
            return "1.0.3"
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


# --- the original sidecar

# What JavaScript means by white space and by any character but a line's end; Python means others.
_SPACE = "\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_NOT_END = "[^\n\r\u2028\u2029]"
# Each of its indicators and what it adds: "_" is white space, "-" optional white space, "." the rest of a line.
_INDICATORS = (
    ("ignore _ (?:previous|above|all) _ instructions", 80),
    ("you _ are _ now _", 70),
    ("system - :", 40),
    (r"\[/?INST\]", 50),
    ("< - script - >", 90),
    ("prompt _ injection", 60),
    ("override _ your _ (?:instructions|rules)", 85),
    ("reveal _ (?:your|the) _ (?:system _ )?prompt", 75),
    ("disregard _ (?:your|the) _", 70),
    ("new _ instructions - :", 65),
    ("human - : - . \n - assistant - :", 55),
)
_BRACKET_AFTER_LINES = 30  # for three ends of lines, then white space, then "["
_LONG = 500  # UTF-16 units; a longer text that gives orders adds:
_LONG_ORDERS = 25


def _original() -> Callable[[str], Answer]:
    """The 12 indicators of the KalGuard sidecar 1.0.3, scored as it does for one user message.

    What it does is written down anew from `packages/core/src/prompt/firewall.ts` of github.com/infrarix/kalguard
    (Apache-2.0): each indicator adds its score once, the sum ends at 100, 70 blocks and 50 redacts.
    """
    words = {"_": f"[{_SPACE}]+", "-": f"[{_SPACE}]*", ".": f"{_NOT_END}*"}
    flags = re.IGNORECASE | re.ASCII  # JavaScript folds case of ASCII letters only against ASCII letters
    indicators = [
        (re.compile("".join(words.get(part, part) for part in pattern.split(" ")), flags), score)
        for pattern, score in _INDICATORS
    ]
    spaces = re.compile(f"[{_SPACE}]+")
    three_lines = re.compile(r"(?:\r?\n){3}")
    orders = re.compile("instruction|rule|always|never", flags)

    def ask(text: str) -> Answer:
        score = sum(weight for pattern, weight in indicators if pattern.search(text))
        # the original's expression for this is cubic
        for run in spaces.finditer(text):
            if text.startswith("[", run.end()) and three_lines.search(run[0]):
                score += _BRACKET_AFTER_LINES
                break
        if len(text.encode("utf-16-le", "surrogatepass")) // 2 > _LONG and orders.search(text):
            score += _LONG_ORDERS
        score = min(100, score)
        return score >= 70, score >= 50, float(score)

    return ask


# --- detectors from PyPI


def _prompt_armor() -> Callable[[str], Answer]:
    from prompt_armor import LiteEngine, ShieldConfig  # type: ignore[import-not-found,unused-ignore]

    engine = LiteEngine(config=ShieldConfig())  # without looking for a settings file of this machine's user

    def ask(text: str) -> Answer:
        found = engine.analyze(text)
        return found.decision.value == "block", found.decision.value != "allow", float(found.risk_score)

    return ask


def _inferwall() -> Callable[[str], Answer]:
    import inferwall  # type: ignore[import-not-found,unused-ignore]

    def ask(text: str) -> Answer:
        found = inferwall.scan_input(text)
        return found.decision == "block", found.decision != "allow", float(found.score)

    return ask


def _promptbadger(*, classifier: bool) -> Callable[[str], Answer]:
    from promptbadger import Scanner  # type: ignore[import-not-found,unused-ignore]

    scanner = Scanner(classifier=classifier)

    def ask(text: str) -> Answer:
        found = scanner.scan(text)
        return found.verdict == "malicious", found.verdict != "benign", float(found.score)

    return ask


def _forcefield() -> Callable[[str], Answer]:
    from forcefield import Guard  # type: ignore[import-not-found,unused-ignore]
    from forcefield.ml import is_available  # type: ignore[import-not-found,unused-ignore]

    guard = Guard()
    if not is_available():
        raise RuntimeError("forcefield does not find its model: install forcefield[ml-sklearn]")

    def ask(text: str) -> Answer:
        found = guard.scan(text)
        return bool(found.blocked), found.risk_score > 0, float(found.risk_score)

    return ask


def _injectionguard() -> Callable[[str], Answer]:
    from injectionguard import detect  # type: ignore[import-not-found,unused-ignore]

    levels = ("none", "low", "medium", "high", "critical")

    def ask(text: str) -> Answer:
        found = detect(text)
        return not found.is_safe, not found.is_safe, float(levels.index(found.threat_level.value))

    return ask


def _clawguard() -> Callable[[str], Answer]:
    from clawguard_core import Scanner  # type: ignore[import-not-found,unused-ignore]

    scanner = Scanner()

    def ask(text: str) -> Answer:
        found = scanner.scan(text)
        return bool(found.detected), bool(found.detected), float(found.risk_score)

    return ask


DETECTORS = (
    Detector("kalguard-original", "", "Apache-2.0", "the 12 patterns of the KalGuard sidecar (Node.js)", _original),
    Detector(
        "prompt-armor",
        "prompt-armor",
        "Apache-2.0",
        "patterns and structure; its downloaded models are not there",
        _prompt_armor,
    ),
    Detector("inferwall", "inferwall", "Apache-2.0", "signatures, profile lite", _inferwall),
    Detector(
        "promptbadger", "promptbadger", "MIT", "rules over decoded views", lambda: _promptbadger(classifier=False)
    ),
    Detector(
        "promptbadger-ml",
        "promptbadger",
        "MIT",
        "the same with its bundled classifier (trained on deepset, safe-guard and jailbreak-classification)",
        lambda: _promptbadger(classifier=True),
    ),
    Detector("forcefield", "forcefield", "Apache-2.0", "patterns and a bundled TF-IDF model", _forcefield),
    Detector("injectionguard", "injectionguard", "Apache-2.0", "patterns, structure, encodings", _injectionguard),
    Detector("clawguard", "clawguard-core", "MIT", "patterns", _clawguard),
)


def _serve(detector: Detector) -> None:
    # A detector may print to standard output, which is ours.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    ask = detector.load()
    answers.write('{"ready": true}\n')
    answers.flush()
    for line in sys.stdin.buffer:
        text: str = json.loads(line)["text"]
        answer: dict[str, Any]
        try:
            flagged, suspicious, score = ask(text)
            answer = {"flagged": flagged, "suspicious": suspicious, "score": score}
        except Exception as error:  # noqa: BLE001 - whatever happens inside is its answer to this text
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main(arguments: list[str]) -> int:
    """See the top of this file."""
    # Nothing may be fetched while it is measured, and one core is what each gets.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    if arguments == ["--list"]:
        for each in DETECTORS:
            found = {"name": each.name, "package": each.package, "version": each.version}
            print(json.dumps(found | {"licence": each.licence, "title": each.title}))
        return 0
    chosen = [each for each in DETECTORS if [each.name] == arguments]
    if not chosen:
        print(f"usage: detectors.py --list | {' | '.join(each.name for each in DETECTORS)}", file=sys.stderr)
        return 2
    _serve(chosen[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

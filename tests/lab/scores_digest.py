"""Prints what the default firewall finds in a fixed list of texts, as one digest: equal wherever it is run.

`python scores_digest.py [--engine re2] [--threads 8] [--folder FOLDER] [--dump]`
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import cast

from kalguard_core.action import Message
from kalguard_core.firewall import Detector, PromptFirewall, default_firewall
from kalguard_core.firewall.engine import Backend, build_engine
from kalguard_core.firewall.model import bundled_model
from kalguard_core.firewall.pack import bundled_packs
from obfuscations import TRANSFORMATIONS

FIREWALL_TESTS = Path(__file__).parents[1] / "core" / "firewall"
_EVERY_ATTACK, _EVERY_TRAP = 4, 8


def conversations(folder: Path = FIREWALL_TESTS) -> Iterator[tuple[Message, ...]]:
    """About 300: attacks, honest texts, each disguise, traps in all languages, and several roles."""
    attacks = _lines(folder / "obfuscation" / "attacks.txt")
    honest = _lines(folder / "obfuscation" / "honest.txt")
    for text in (*attacks[::_EVERY_ATTACK], *honest[::_EVERY_ATTACK]):
        yield (Message("user", text),)
    for number, (_, disguise) in enumerate(sorted(TRANSFORMATIONS.items())):
        yield (Message("user", f"{honest[number]} {disguise(attacks[number])} {honest[-number]}"),)
    for path in sorted((folder / "traps").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines()[::_EVERY_TRAP]:
            row = json.loads(line)
            yield (Message(row.get("role", "user"), row["text"]),)
    for number, role in enumerate(("system", "developer", "user", "assistant", "tool", "document", "file")):
        asked = attacks[3 * number : 3 * number + 3]
        yield tuple(Message(role if odd else "user", text) for odd, text in enumerate((*asked, *honest[:2])))
    yield (Message("user", " ".join((*honest, *attacks, *honest))),)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[1:]


def firewall_of(backend: str) -> PromptFirewall:
    """The default firewall, on one of the engines."""
    if backend == "auto":
        return default_firewall()
    return Detector(build_engine(bundled_packs(), backend=cast(Backend, backend)), bundled_model())


def found(firewall: PromptFirewall, messages: Sequence[Message]) -> str:
    """All that an assessment says, as text."""
    assessment = firewall.score(messages)
    cleaned = [message.text for message in firewall.sanitize(messages, assessment)]
    return json.dumps(
        [
            assessment.risk,
            [(span.message, span.start, span.end, span.rule, span.category, span.weight) for span in assessment.spans],
            cleaned,
        ]
    )


def digest(lines: Sequence[str]) -> str:
    """Of all findings."""
    return sha256("\n".join(lines).encode()).hexdigest()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FIREWALL_TESTS)
    parser.add_argument("--dump", action="store_true")
    chosen = parser.parse_args()
    firewall = firewall_of(chosen.engine)
    with ThreadPoolExecutor(chosen.threads) as pool:
        lines = list(pool.map(lambda messages: found(firewall, messages), conversations(chosen.folder)))
    print(*(lines if chosen.dump else [f"{len(lines)} {digest(lines)}"]), sep="\n")


if __name__ == "__main__":
    _main()

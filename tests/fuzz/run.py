"""`make fuzz ARGS=60`: try broken requests of all protocols, for so many seconds.

A failure is shown as small as it can be made, with the request that caused it; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import traceback
from collections import Counter
from pathlib import Path
from time import monotonic

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

from hypothesis import HealthCheck, given, seed, settings

from fuzz_requests import check, requests
from kalguard_core.request import AgentRequest
from kalguard_core.wire.registry import PROTOCOLS

ROUND = 300  # requests of one protocol before it is the turn of the next one


def fuzz(kind: str, number: int) -> Counter[str]:
    """What became of the requests of one round: "read" or "refused". Raises what a reader should not have raised."""
    found: Counter[str] = Counter()

    @seed(number)
    @settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(requests(kind))
    def attempt(request: AgentRequest) -> None:
        found[check(request)] += 1

    attempt()
    return found


def main() -> int:
    """Parse the command line, fuzz, and say what was tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument(
        "--kind", choices=sorted(PROTOCOLS), action="append", help="only this protocol; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of the first round")
    options = parser.parse_args()
    kinds = options.kind or sorted(PROTOCOLS)
    found: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    end = monotonic() + options.seconds
    number, failed = options.seed, set[str]()
    while monotonic() < end:
        for kind in kinds:
            if kind in failed or monotonic() >= end:
                continue
            try:
                found[kind] += fuzz(kind, number)
            except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
                failed.add(kind)
                traceback.print_exc()
                print(f"again with: --kind {kind} --seed {number}", file=sys.stderr)
        if len(failed) == len(kinds):
            break
        number += 1
    for kind, counted in found.items():
        print(f"{kind:12} {counted.total():8} requests, {counted['read']:8} read{'  FAILED' if kind in failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

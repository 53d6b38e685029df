"""`make slow ARGS=60`: look for texts that are slow to score, for so many seconds.

Hypothesis is told what each text cost, and goes where it is more. A text fails if four times as much of it takes more
than `MOST_GROWTH` times as long, again and again, and longer than `LEAST_MS`. The slowest are shown in any case.
Times are of this thread's CPU.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from time import monotonic, thread_time
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))

from hypothesis import HealthCheck, Phase, given, seed, settings, target

from kalguard_core.firewall import PromptFirewall, default_firewall
from slow_texts import Plan, plans

SIZE: Final = 40_000
"""Characters; and four times as many. What is decoded is bounded at less than this, what is read is not."""
MOST_GROWTH: Final = 7.0  # four times is linear; memory and caches do the rest
LEAST_MS: Final = 40.0
TRIES: Final = 4
ROUND: Final = 150
SHOWN: Final = 8
_RESERVE_SECONDS: Final = 1.0


def milliseconds(firewall: PromptFirewall, plan: Plan, size: int, times: int) -> float:
    """What scoring so many characters of a plan takes at best."""
    messages = plan.written(size)
    best = float("inf")
    for _ in range(times):
        begin = thread_time()
        firewall.score(messages)
        best = min(best, (thread_time() - begin) * 1_000)
    return best


def main() -> int:
    """Parse the command line, look, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of the first round")
    options = parser.parse_args()
    firewall = default_firewall()
    found: dict[Plan, tuple[float, float]] = {}
    steep: dict[Plan, tuple[float, float]] = {}
    end, number = monotonic() + options.seconds, options.seed

    def look(plan: Plan) -> None:
        if monotonic() > end - _RESERVE_SECONDS or plan in found:
            return
        small, large = (milliseconds(firewall, plan, size, 1) for size in (SIZE, 4 * SIZE))
        found[plan] = small, large
        target(large, label="milliseconds")
        if large > LEAST_MS and large > MOST_GROWTH * small:
            small, large = (milliseconds(firewall, plan, size, TRIES) for size in (SIZE, 4 * SIZE))
            larger = milliseconds(firewall, plan, 16 * SIZE, 2)
            # a limit that is reached once makes one step; what is not linear makes every one
            if large > MOST_GROWTH * small and larger > MOST_GROWTH * large:
                steep[plan] = large, larger

    while monotonic() < end - _RESERVE_SECONDS:
        phases = (Phase.generate, Phase.target)
        checks = list(HealthCheck)
        attempt = settings(
            max_examples=ROUND, deadline=None, database=None, phases=phases, suppress_health_check=checks
        )
        seed(number)(attempt(given(plans())(look)))()
        number += 1
    print(f"{len(found)} texts of {SIZE:,} and {4 * SIZE:,} characters (--seed {options.seed}); the slowest:")
    for plan, (small, large) in sorted(found.items(), key=lambda entry: -entry[1][1])[:SHOWN]:
        print(f"{large:8.1f} ms, {large / max(small, 0.001):5.1f} times as long  {_shown(plan)}")
    for plan, (large, larger) in steep.items():
        print(f"NOT LINEAR: {large:.0f} ms, then {larger:.0f} ms  {plan!r}", file=sys.stderr)
    return 1 if steep else 0


def _shown(plan: Plan) -> str:
    order = "blocks of" if plan.blocks else "in turn"
    pieces = ", ".join(ascii(piece[:60]) for piece in plan.pieces)
    return f"{order} {pieces}; messages {plan.messages}, of {', '.join(plan.roles)}"


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: what a call costs, in one run and interleaved, as ratios against empty handlers beside it.

Prints a Markdown table (the one in benchmarks/README.md). Nothing is asserted: machines differ and are noisy;
compare the columns of one run with each other, not runs with runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import Progress

import servers
from calls import Call, HttpClient, Timing, channel_to, chat, check_request, grpc_call, prompt, timed, tool_call
from kalguard_ext_authz.envoy.binary import find_envoy
from kalguard_ext_authz.envoy.process import EnvoyProcess

MCP = {"kind": "mcp", "prefix": "/mcp/demo", "server": "demo"}
OPENAI = {"kind": "openai", "prefix": "/openai"}
MIB = 1024 * 1024
ALLOWED = b"x-kalguard-request-id"  # stands in every allow of ours
ISOLATION_ROUNDS = 3


@dataclass
class Scenario:
    """One row of the table."""

    name: str
    call: Call
    server: servers.Server
    rounds: list[Timing] = field(default_factory=list)

    def median(self, column: Callable[[Timing], float]) -> float:
        """Median over the rounds."""
        return statistics.median(column(timing) for timing in self.rounds)


@contextmanager
def _envoy(folder: Path, port: int, binary: Path) -> Iterator[int]:
    """A real Envoy in front of `kalguard serve`, with an upstream that answers at once."""
    listen, upstream = port, port + 1
    rendered = subprocess.run(
        [
            *(sys.executable, "-m", "kalguard_ext_authz", "envoy", "render"),
            *("--listen", f"127.0.0.1:{listen}", "--authz", f"unix://{folder}/authz.sock"),
            *("--http-api", f"127.0.0.1:{port + 2}", "--mcp", f"demo=http://127.0.0.1:{upstream}"),
            *("--admin", f"{folder}/envoy.sock", "--access-log", f"{folder}/access.log"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with (
        servers.started([sys.executable, servers.__file__, "asgi", f"127.0.0.1:{upstream}"], ""),
        EnvoyProcess(binary, rendered, folder),
    ):
        yield listen


@asynccontextmanager
async def _channels(*addresses: str) -> AsyncIterator[list[Any]]:
    channels = [channel_to(address) for address in addresses]
    try:
        yield channels
    finally:
        for channel in channels:
            await channel.close()


async def _isolation(address: str, server: servers.Server, console: Console) -> list[str]:
    """Latency of one agent's small calls, alone and while another agent sends 5 MiB bodies without pause."""
    small = check_request(tool_call(), "/mcp/demo", MCP, "bench-small")
    alone = Scenario("idle", grpc_call(channel_to(address), small, ALLOWED), server)
    beside = Scenario("while another agent sends 5 MiB chats without pause", alone.call, server)
    for _ in range(ISOLATION_ROUNDS):
        alone.rounds.append(await timed(alone.call, server, 3000, 1))
        with _large_bodies(address):
            await asyncio.sleep(2)
            beside.rounds.append(await timed(beside.call, server, 3000, 1))
    console.print("isolation measured")
    ratios = [busy.p99_us / idle.p99_us for idle, busy in zip(alone.rounds, beside.rounds, strict=True)]
    return [
        "| small tool Check, one at a time | p50 µs | p99 µs | p99 against idle |",
        "|---|---:|---:|---:|",
        *(
            f"| {row.name} | {row.median(lambda timing: timing.p50_us):.0f} "
            f"| {row.median(lambda timing: timing.p99_us):.0f} | {ratio:.1f} |"
            for row, ratio in ((alone, 1.0), (beside, statistics.median(ratios)))
        ),
    ]


@contextmanager
def _large_bodies(address: str) -> Iterator[None]:
    """Another agent, in a process of its own. Raises `RuntimeError` if it did not go on until the end."""
    sender = subprocess.Popen([sys.executable, __file__, "--send-large", address])
    try:
        yield
        if sender.poll() is not None:
            raise RuntimeError("the sender of large bodies ended early")
    finally:
        sender.terminate()
        sender.wait(10)


async def _send_large(address: str) -> None:
    """In a process of its own: 5 MiB bodies, two at a time, until it is stopped."""
    os.nice(10)  # it stands for another machine: it may not take a core from those that are measured
    data = check_request(chat(5 * MIB - 200), "/openai/v1/chat/completions", OPENAI, "bench-large")
    async with _channels(address) as (channel,):
        call = grpc_call(channel, data, ALLOWED)

        async def forever() -> None:
            while True:
                await call()

        await asyncio.gather(forever(), forever())


async def _measure(rounds: int, calls: int, envoy: Path, console: Console) -> list[str]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(servers.temporary_folder()))
        port = 23000 + os.getpid() % 5000
        http_port = port + 2
        empty_grpc = stack.enter_context(servers.empty("grpc", folder, 0))
        empty_asgi = stack.enter_context(servers.empty("asgi", folder, port + 3))
        kalguard = stack.enter_context(servers.kalguard(folder, http_port))
        tool = check_request(tool_call(), "/mcp/demo", MCP, "bench-small")
        chat_2k = check_request(chat(2048), "/openai/v1/chat/completions", OPENAI, "bench-small")
        prompt_2k = HttpClient("127.0.0.1", http_port, "/v1/prompt/check", prompt(2048), "bench-small")
        nothing = HttpClient("127.0.0.1", port + 3, "/", prompt(2048), "bench-small")
        async with _channels(empty_grpc.address, kalguard.address) as (to_empty, to_kalguard):
            rows = [
                Scenario("empty grpcio handler", grpc_call(to_empty, tool), empty_grpc),
                Scenario("full Check, MCP tools/call", grpc_call(to_kalguard, tool, ALLOWED), kalguard),
                Scenario("full Check, OpenAI chat of 2 KB", grpc_call(to_kalguard, chat_2k, ALLOWED), kalguard),
                Scenario("empty ASGI handler, 2 KB body", nothing, empty_asgi),
                Scenario("full HTTP prompt check of 2 KB", prompt_2k, kalguard),
            ]
            listen = stack.enter_context(_envoy(folder, port, envoy))
            through = HttpClient("127.0.0.1", listen, "/mcp/demo", tool_call(), "bench-small")
            rows.append(Scenario("full Check, MCP tools/call, through Envoy", through, kalguard))
            rss_before = kalguard.rss_mib()
            with Progress(console=console) as progress:
                bar = progress.add_task("interleaved rounds", total=rounds * len(rows))
                for _ in range(rounds):
                    for row in rows:
                        row.rounds.append(await timed(row.call, row.server, calls, 8))
                        progress.advance(bar)
            rss_after = kalguard.rss_mib()
            isolation = await _isolation(kalguard.address, kalguard, console)
            rss_large, rss_examiner = kalguard.rss_mib(), kalguard.children_rss_mib()
            await asyncio.sleep(5)
            rss_rest = kalguard.rss_mib()
    return [
        *_table(rows),
        "",
        *isolation,
        "",
        f"Resident memory of `kalguard serve`: {rss_before:.0f} MiB after the start, {rss_after:.0f} MiB after "
        f"{rounds * calls * 4} calls, {rss_large:.0f} MiB right after the 5 MiB bodies, {rss_rest:.0f} MiB 5 s later. "
        f"Of the process beside it that examines large bodies: {rss_examiner:.0f} MiB.",
    ]


def _table(rows: list[Scenario]) -> list[str]:
    base = {"grpc": rows[0], "asgi": rows[3]}
    lines = [
        "| 8 calls at a time | calls/s | p50 µs | p99 µs | CPU µs/call | more CPU than empty, µs |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        empty = base["asgi" if "ASGI" in row.name or "HTTP" in row.name else "grpc"]
        more = row.median(lambda timing: timing.cpu_us) - empty.median(lambda timing: timing.cpu_us)
        lines.append(
            f"| {row.name} | {row.median(lambda timing: timing.per_second):.0f} "
            f"| {row.median(lambda timing: timing.p50_us):.0f} | {row.median(lambda timing: timing.p99_us):.0f} "
            f"| {row.median(lambda timing: timing.cpu_us):.0f} | {more:.0f} |"
        )
    return lines


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (medians are printed)")
    parser.add_argument("--calls", type=int, default=2000, help="calls of each row in each round")
    parser.add_argument("--envoy", help="the Envoy binary (default: $KALGUARD_ENVOY, PATH, the checkout's)")
    parser.add_argument("--send-large", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.send_large:
            runner.run(_send_large(options.send_large))
            return
        lines = runner.run(_measure(options.rounds, options.calls, find_envoy(options.envoy), Console(stderr=True)))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}\n")
    print("\n".join(lines))
    print(json.dumps({"rounds": options.rounds, "calls": options.calls}), file=sys.stderr)


if __name__ == "__main__":
    main()

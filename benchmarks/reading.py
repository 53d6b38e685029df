"""What reading a body costs: strict JSON, every text with its role, actions. Nothing is scored here.

Run: python benchmarks/reading.py [ROUNDS]

The rows are measured in turn, round by round. "µs" is the median of the rounds, each the mean of its calls;
"x parse" compares it with the median of `orjson.loads` of the same bytes, measured beside it.
"""

from __future__ import annotations

import gc
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import orjson

from kalguard_core.request import AgentRequest, BufferedBody
from kalguard_core.wire.registry import PROTOCOLS

ROUNDS = 9
# A round of a row takes about this many seconds.
ROUND_SECONDS = 0.05
KIB, MIB = 1024, 1024 * 1024
_random = random.Random(7)
_TEXT = (
    "the quarterly report shows that revenue in the northern region grew while costs of delivery fell slightly and "
    "customers asked for shorter invoices, better search and a way to export all their data as a table"
)
_WORDS = _TEXT.split()


def prose(size: int) -> str:
    """Some `size` characters of words and lines."""
    words: list[str] = []
    length = 0
    while length < size:
        words.append(_random.choice(_WORDS) + ("\n" if len(words) % 40 == 39 else ""))
        length += len(words[-1]) + 1
    return " ".join(words)[:size]


def chat(size: int, pieces: int, **more: Any) -> dict[str, Any]:
    """A chat of about `size` bytes in so many messages."""
    roles = ("user", "assistant")
    room = max(size // pieces - 32, 8)
    messages = [{"role": roles[number % 2], "content": prose(room)} for number in range(pieces)]
    return {"model": "gpt-4.1-mini", "messages": messages, **more}


def offered(number: int) -> dict[str, Any]:
    """A tool as a client offers it."""
    properties = {
        "query": {"type": "string", "description": "What to look for, in plain words."},
        "limit": {"type": "integer", "description": "How many results at most.", "minimum": 1, "maximum": 50},
    }
    schema = {"type": "object", "properties": properties, "required": ["query"], "additionalProperties": False}
    function = {"name": f"search_{number}", "description": "Search the catalog of the shop.", "parameters": schema}
    return {"type": "function", "function": function}


def call(size: int) -> dict[str, Any]:
    """An MCP `tools/call`."""
    arguments = {"path": "/reports/2024.txt", "mode": "append", "content": prose(size)}
    parameters = {"name": "write_file", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": parameters}


@dataclass
class Row:
    """`aim` in µs. `spaced`: the body is written as Python's `json` does, with a space behind each comma and colon;
    the SDKs of OpenAI and MCP write none."""

    name: str
    kind: str
    path: str
    document: dict[str, Any]
    aim: float
    spaced: bool = False
    times: list[float] = field(default_factory=list)
    parse_times: list[float] = field(default_factory=list)

    def prepare(self) -> tuple[Callable[[], Any], Callable[[], Any], int]:
        """Reading, parsing, and the size of the body."""
        body = json.dumps(self.document, separators=None if self.spaced else (",", ":")).encode()
        request = AgentRequest(
            id="req_1",
            kind=self.kind,
            method="POST",
            host="upstream.test",
            path=self.path,
            headers={"content-type": "application/json", "accept": "application/json, text/event-stream"},
            time=0.0,
            monotonic=0.0,
            body=BufferedBody(body),
            context={"server": "files"},
        )
        protocol = PROTOCOLS[self.kind]
        route = protocol.route(request)
        return lambda: protocol.read(request, route, body), lambda: orjson.loads(body), len(body)


CHAT, MCP = ("openai", "/v1/chat/completions"), ("mcp", "/mcp")


def rows() -> list[Row]:
    """All that is measured."""
    tools = [offered(number) for number in range(3)]
    return [
        Row("OpenAI chat, 2 KB", *CHAT, chat(2 * KIB, 4), 20),
        Row("OpenAI chat, 2 KB with spaces", *CHAT, chat(2 * KIB, 4), 20, spaced=True),
        Row("OpenAI chat, 2 KB with 3 tools", *CHAT, chat(KIB, 4, tools=tools), 20),
        Row("MCP tools/call, 2 KB", *MCP, call(2 * KIB - 128), 20),
        Row("OpenAI chat, 100 KB in 20 messages", *CHAT, chat(100 * KIB, 20), 1_000),
        Row("OpenAI chat, 100 KB in 400 messages", *CHAT, chat(100 * KIB, 400), 1_000),
        Row("MCP tools/call, 100 KB", *MCP, call(100 * KIB), 1_000),
        Row("OpenAI chat, 5 MiB in 4 messages", *CHAT, chat(5 * MIB, 4), 60_000),
        Row("OpenAI chat, 5 MiB in 10,000 messages", *CHAT, chat(5 * MIB, 10_000), 60_000),
        Row("MCP tools/call, 5 MiB", *MCP, call(5 * MIB), 60_000),
    ]


def timed(work: Callable[[], Any], calls: int) -> float:
    """Mean µs of a call."""
    start = perf_counter()
    for _ in range(calls):
        work()
    return (perf_counter() - start) / calls * 1e6


def main() -> None:
    """Measure and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    measured = [(row, *row.prepare()) for row in rows()]
    gc.collect()
    gc.freeze()
    calls = {row.name: max(1, int(ROUND_SECONDS * 1e6 / timed(read, 2))) for row, read, _, _ in measured}
    for _ in range(rounds):
        for row, read, parse, _ in measured:
            row.times.append(timed(read, calls[row.name]))
            row.parse_times.append(timed(parse, calls[row.name]))
    print("| reading | bytes | µs | x parse | aim µs | |")
    print("|---|---:|---:|---:|---:|---|")
    for row, _, _, size in measured:
        cost = median(row.times)
        verdict = "met" if cost < row.aim else "**missed**"
        ratio = cost / median(row.parse_times)
        print(f"| {row.name} | {size} | {cost:.1f} | {ratio:.1f} | {row.aim:.0f} | {verdict} |")


if __name__ == "__main__":
    main()

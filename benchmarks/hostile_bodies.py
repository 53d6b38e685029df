"""What reading costs when a body is made to cost: is it still in proportion to its bytes?

Run: python benchmarks/hostile_bodies.py [--kind KIND]… [--shape SHAPE]…

For each protocol and shape, a body of 1, 2.5 and 5 MiB is read (the scoring is measured beside it, at 5 MiB). Times
are of the CPU. "x parse" compares 5 MiB with `orjson.loads` of the same bytes, "growth" is the time of 5 MiB in times
of 1 MiB (5 is linear). A body that is refused has its time too; "!" marks what takes more than 500 ms, or more than
60 ms and grows by more than 8.
"""

from __future__ import annotations

import argparse
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any, Final

import orjson

from kalguard_core.action import Action
from kalguard_core.firewall import default_firewall
from kalguard_core.request import AgentRequest, BufferedBody, Refusal
from kalguard_core.tools import ToolCatalog
from kalguard_core.wire.registry import PROTOCOLS

MIB: Final = 1024 * 1024
SIZES: Final = (MIB, MIB * 5 // 2, MIB * 5)
LIMIT_MS: Final = 500
MAX_GROWTH: Final = 8
SHORT_MS: Final = 60  # below, the caches of the processor make as much of a difference
_FIREWALL: Final = default_firewall()
_TOOLS: Final = ToolCatalog.parse("tools: {note: {http: {method: POST, host: api.test, path: /notes}}}", "tools.yaml")
# A value where a protocol takes any, a text, and a list of small parts; the holes are filled with `_HOLE`.
_HOLE: Final = "\0hole\0"
_PART: Final = "\0part\0"


def _openai(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


def _mcp(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _a2a(*parts: Any) -> dict[str, Any]:
    return _mcp("message/send", message={"role": "user", "messageId": "m", "parts": list(parts)})


def _gemini(*parts: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}]}


# Kind: path, then a body with a hole for a text, one for any value, and one for a part of a list with its part.
Bodies = tuple[str, Any, Any, Any, Any]
_TEXT_PART: Final = {"type": "text", "text": "a"}
PROTOCOL_BODIES: Final[dict[str, Bodies]] = {
    "openai": (
        "/v1/chat/completions",
        _openai(_HOLE),
        _openai("a", metadata=_HOLE),
        _openai([_PART]),
        _TEXT_PART,
    ),
    "compatible": (
        "/v1/responses",
        {"model": "m", "input": _HOLE},
        {"model": "m", "input": "a", "metadata": _HOLE},
        {"model": "m", "input": [{"role": "user", "content": [_PART]}]},
        {"type": "input_text", "text": "a"},
    ),
    "anthropic": (
        "/v1/messages",
        _openai(_HOLE, max_tokens=1),
        _openai("a", max_tokens=1, tools=[{"name": "t", "input_schema": _HOLE}]),
        _openai([_PART], max_tokens=1),
        _TEXT_PART,
    ),
    "gemini": (
        "/v1beta/models/m:generateContent",
        _gemini({"text": _HOLE}),
        _gemini({"functionResponse": {"name": "f", "response": {"a": _HOLE}}}),
        _gemini(_PART),
        {"text": "a"},
    ),
    "bedrock": (
        "/model/m/converse",
        {"messages": [{"role": "user", "content": [{"text": _HOLE}]}]},
        {"messages": [{"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"json": _HOLE}]}}]}]},
        {"messages": [{"role": "user", "content": [_PART]}]},
        {"text": "a"},
    ),
    "cohere": (
        "/v2/chat",
        _openai(_HOLE),
        _openai("a", documents=[{"data": {"a": _HOLE}}]),
        _openai([_PART]),
        _TEXT_PART,
    ),
    "mistral": ("/v1/chat/completions", _openai(_HOLE), _openai("a", metadata=_HOLE), _openai([_PART]), _TEXT_PART),
    "ollama": (
        "/api/chat",
        _openai(_HOLE),
        _openai("a", format=_HOLE),
        {"model": "m", "messages": [_PART]},
        {"role": "user", "content": "a"},
    ),
    "mcp": (
        "/mcp",
        _mcp("prompts/get", name="a", arguments={"x": _HOLE}),
        {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": _HOLE}},
        {"jsonrpc": "2.0", "id": 1, "result": {"role": "assistant", "model": "m", "content": [_PART]}},
        _TEXT_PART,
    ),
    "a2a": (
        "/",
        _a2a({"kind": "text", "text": _HOLE}),
        _a2a({"kind": "data", "data": {"a": _HOLE}}),
        _a2a(_PART),
        {"kind": "text", "text": "a"},
    ),
    "rest": ("/notes", {"text": _HOLE}, {"text": _HOLE}, {"text": [_PART]}, _TEXT_PART),
    "api": ("/v1/prompt/check", {"prompt": _HOLE}, _openai("a", metadata=_HOLE), _openai([_PART]), _TEXT_PART),
}


def _deep(size: int) -> Any:
    """Arrays of 40 levels, side by side."""
    one: Any = "a"
    for level in range(40):
        one = [one] if level % 2 else {"a": one}
    return [one] * (size // (40 * 4 + 4))


TEXTS: Final[dict[str, Callable[[int], str]]] = {
    "prose": lambda size: "the cost of delivery fell slightly in the north, " * (size // 49),
    "colons": lambda size: ":" * size,
    "quotes": lambda size: '"' * (size // 2),
    "backslashes": lambda size: "\\" * (size // 2),
    "escapes in text": lambda size: "\\u0061" * (size // 7),
    "escapes and letters in text": lambda size: "\\u0061b" * (size // 8),
    "short escapes in text": lambda size: "\\u0061" + "\\n" * (size // 3),
    "surrogates in text": lambda size: "\\ud83d" * (size // 7),
    "percent escapes": lambda size: "%41" * (size // 3),
    "broken percent escapes": lambda size: "%20" + "%z" * (size // 2),
    "percent signs": lambda size: "%20" + "%" * size,
    "base64 runs": lambda size: (b64encode(b"plain words of a text").decode() + " ") * (size // 29),
    "one base64 run": lambda size: b64encode(b"plain words " * (size // 16)).decode(),
    "JSON in text": lambda size: '{"a":"\\u0061","b":[' + ",".join(['"x"'] * (size // 6)) + "]}",
    "JSON in JSON in text": lambda size: json.dumps(
        {"a": json.dumps({"b": json.dumps({"c": "\\u0061" * (size // 20)})})}
    ),
    "brackets in text": lambda size: "\\u0061" + "[" * size,
    "data URL": lambda size: "data:text/plain;base64," + b64encode(b"plain words " * (size // 16)).decode(),
    "markup": lambda size: "&#97;<a>" * (size // 8),
}
VALUES: Final[dict[str, Callable[[int], Any]]] = {
    "many keys": lambda size: {f"key{number}": 1 for number in range(size // 12)},
    "many long keys": lambda size: {f"a key of some length {number:07}": 1 for number in range(size // 34)},
    "many strings": lambda size: ["word"] * (size // 7),
    "many numbers": lambda size: [7] * (size // 2),
    "many objects": lambda size: [{"a": "b"}] * (size // 10),
    "deep": _deep,
    "many long numbers": lambda size: [1234567890123456789] * (size // 20),
    "numbers as strings": lambda size: ["1234567890123456789012"] * (size // 25),
}
RAW: Final[dict[str, Callable[[int], bytes]]] = {
    "every letter escaped": lambda size: b'"' + b"\\u0061" * (size // 6) + b'"',
    "escaped colons": lambda size: b'"' + b"\\u003a" * (size // 6) + b'"',
}


def bodies(kind: str) -> Iterator[tuple[str, Callable[[int], bytes]]]:
    """Each shape of that protocol, by its name: a function from a size in bytes to a body."""
    _, text, value, parts, part = PROTOCOL_BODIES[kind]

    def filled(pattern: Any, hole: bytes) -> bytes:
        return orjson.dumps(pattern).replace(orjson.dumps(_HOLE), hole)

    for name, shape in TEXTS.items():
        yield name, lambda size, shape=shape: filled(text, orjson.dumps(shape(size)))  # type: ignore[misc]
    for name, raw in RAW.items():
        yield name, lambda size, raw=raw: filled(text, raw(size))  # type: ignore[misc]
    for name, any_value in VALUES.items():
        yield name, lambda size, shape=any_value: filled(value, orjson.dumps(shape(size)))  # type: ignore[misc]
    one = orjson.dumps(part)
    yield (
        "many parts",
        lambda size: orjson.dumps(parts).replace(orjson.dumps(_PART), b",".join([one] * (size // (len(one) + 1)))),
    )


def read(kind: str, body: bytes) -> tuple[float, tuple[Action, ...], str]:
    """Milliseconds of CPU that reading takes (the better of two times), what was read, and why it was refused."""
    protocol = PROTOCOLS[kind]
    request = AgentRequest(
        id="req_1",
        kind=kind,
        method="POST",
        host="upstream.test",
        path=PROTOCOL_BODIES[kind][0],
        headers={"content-type": "application/json"},
        time=0.0,
        monotonic=0.0,
        body=BufferedBody(body),
        context={"authority": "api.test"} if kind == "rest" else {},
    )
    route = protocol.route(request)
    reader: Any = getattr(protocol, "read_with", None)
    best, reason = float("inf"), ""
    actions: tuple[Action, ...] = ()
    for _ in range(2):
        begin = process_time()
        try:
            reading = reader(request, route, body, _TOOLS.http) if reader else protocol.read(request, route, body)
            actions = reading.actions
        except Refusal as refusal:
            reason = refusal.reason
        best = min(best, (process_time() - begin) * 1000)
    return best, actions, reason


def _milliseconds(work: Callable[[], Any]) -> float:
    begin = process_time()
    work()
    return (process_time() - begin) * 1000


def rows(kind: str, shapes: list[str] | None) -> Iterator[str]:
    """The rows of the table for one protocol."""
    for name, build in bodies(kind):
        if shapes and name not in shapes:
            continue
        times = []
        for size in SIZES:
            body = build(size)
            taken, actions, reason = read(kind, body)
            times.append(taken)
        parse = min(_milliseconds(lambda body=body: orjson.loads(body)) for _ in range(2))  # type: ignore[misc]
        score = _milliseconds(lambda actions=actions: [_FIREWALL.score(each.messages) for each in actions])  # type: ignore[misc]
        growth = times[-1] / times[0]
        mark = " !" if times[-1] > LIMIT_MS or (growth > MAX_GROWTH and times[-1] > SHORT_MS) else ""
        yield (
            f"| {kind} | {name} | {' | '.join(f'{taken:.1f}' for taken in times)} | {times[-1] / parse:.1f} "
            f"| {growth:.1f}{mark} | {score:.0f} | {reason[:60]} |"
        )


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=sorted(PROTOCOL_BODIES), action="append")
    parser.add_argument("--shape", action="append")
    options = parser.parse_args()
    print("| protocol | body | 1 MiB, ms | 2.5 MiB, ms | 5 MiB, ms | x parse | growth | scoring 5 MiB, ms | refused |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---|")
    for kind in options.kind or PROTOCOL_BODIES:
        for row in rows(kind, options.shape):
            print(row, flush=True)


if __name__ == "__main__":
    main()

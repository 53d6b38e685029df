"""Requests that nobody would send: made from the table of smuggling cases and the endpoints, then broken; and what
every reader owes to any of them.

A reader answers with actions or with `Refusal`. What it finds has the types that the rest of the pipeline counts on,
and the pipeline comes to a decision that has an answer.
"""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from random import Random
from typing import Any, Final

from hypothesis import strategies as st
from msgspec.structs import replace

from kalguard_core.action import Action, Message
from kalguard_core.decision import Decision, Reply
from kalguard_core.examination import examine
from kalguard_core.request import AgentRequest, BufferedBody, Refusal
from kalguard_core.wire.encoding import decoded
from kalguard_core.wire.registry import PROTOCOLS
from permissive_guard import guard, token
from smuggling_cases import HARMLESS, STEPS, all_cases

_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "document", "file", "unread"})
# Above this, the whole pipeline is not asked: the fuzzer is to try many bodies rather than a few large ones.
_SMALL: Final = 64 * 1024
_SEGMENTS: Final = (
    "x",
    "a:b",
    "gpt-4o",
    "%41",
    "%2e%2e",
    "..",
    "",
    "a%2Fb",
    "é",
    "file-1",
    "publishers",
    "models",
    "v1",
)
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "post", "BREW", "")
_HEADERS: Final = {
    "content-type": (
        "application/json; charset=utf-8",
        "application/json;charset=utf-16",
        "application/grpc",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=XX",
        'multipart/form-data; boundary="X;',
        "text/plain",
        "",
        ";",
    ),
    "content-encoding": ("gzip", "deflate", "br", "zstd", "gzip, br", "identity", ",", "x"),
    "content-length": ("0", "-1", "x", "99999999999999999999"),
    "transfer-encoding": ("chunked", ""),
    "grpc-encoding": ("gzip", "identity", "x"),
    "te": ("trailers", ""),
    "upgrade": ("websocket", "h2c", ""),
    "connection": ("upgrade", "x"),
    "sec-websocket-key": ("dGhlIHNhbXBsZSBub25jZQ==",),
    "sec-websocket-version": ("13",),
    "mcp-protocol-version": ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28", "x"),
    "mcp-method": ("tools/call", "tools/list", "é"),
    "mcp-name": ("search", "=?base64?c2VhcmNo?=", "=?base64?!?=", ""),
    "mcp-session-id": ("a", "\x7f", ""),
    "mcp-param-a": ("1", "true"),
    "last-event-id": ("1", "a,b"),
    "accept": ("text/event-stream", "*/*"),
    "a2a-version": ("0.3", "1.0", "..", "x"),
    "a2a-extensions": ("https://a.test/x", '"'),
    "anthropic-beta": ("files-api-2025-04-14", "mcp-client-2025-04-04,x", ""),
    "anthropic-version": ("2023-06-01", "x"),
    "openai-beta": ("realtime=v1", "assistants=v2", "x"),
    "sec-websocket-protocol": ("realtime, openai-insecure-api-key.x", ""),
    "x-amzn-bedrock-guardrailidentifier": ("g", ""),
    "x-goog-upload-protocol": ("resumable", "x"),
    "x-goog-upload-command": ("start", "upload, finalize", "x"),
    "x-http-method-override": ("PUT",),
    "x_original_url": ("/",),
    "trailer": ("x",),
    "content-range": ("bytes 0-1/2",),
}
_CONTEXTS: Final = {
    "prefix": ("/openai", "/", "x"),
    "authority": ("api.test", "upstream.test:8080", "[::1]:1", ".."),
    "base": ("/v1", ""),
    "server": ("demo", ""),
    "transport": ("sse", "x"),
    "provider": ("openai", "x"),
}
# For kinds that have no cases in the table.
_UNLISTED: Final[tuple[tuple[str, str, Any], ...]] = (
    ("POST", "/v1/prompt/check", {"prompt": "hello"}),
    ("POST", "/v1/prompt/check", {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}),
    ("POST", "/v1/llm/check", {"model": "m", "messages": [{"role": "user", "content": "hello"}], "maxTokens": 5}),
    ("POST", "/v1/llm/check", {"provider": "anthropic", "model": "m", "messages": [{"role": "user", "content": "a"}]}),
    ("POST", "/v1/tool/check", {"toolName": "search", "arguments": {"q": ["a", {"b": 1}]}}),
    ("POST", "/v1/tool/check", {"toolName": "search", "args": {}}),
    ("GET", "/a/b?c=d", {}),
    ("GET", "http://a.test/b", {}),
    ("CONNECT", "a.test:443", {}),
)
_ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    2**63,
    -(2**63),
    "",
    " ",
    "\0",
    "\u2028",
    "\ufffe",
    "😀",
    "%41",
    "\\u0041",
    "{",
    '{"a":"\\u0062"}',
    "data:",
    "data:text/plain;base64,QUFB",
    "data:image/png;base64,iVBORw0K",
    "http://[",
    "https://a.test/x",
    "s3://b/k",
    "image/png",
    "text/plain",
    "AAAA",
    "=",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"type": "text"},
    {"type": None},
)


@cache
def seeds(kind: str) -> tuple[AgentRequest, ...]:
    """Harmless requests of that kind, from the table and one for each endpoint."""
    found = [twin.request(HARMLESS, token()) for _, twin in all_cases() if twin.kind == kind]
    if not found:
        found = [
            replace(pattern, kind=kind, method=method, path=path, body=BufferedBody(json.dumps(body).encode()))
            for pattern in [all_cases()[0][1].request(HARMLESS, token())]
            for method, path, body in _UNLISTED
        ]
    patterns = cycle(found[:: max(1, len(found) // 7)])
    for endpoint in PROTOCOLS[kind].endpoints:
        path = "/".join("x" + part.partition("}")[2] if part[:1] == "{" else part for part in endpoint.path.split("/"))
        method = endpoint.method if endpoint.method.isupper() else "GET"
        found.append(replace(next(patterns), path=path, method=method))
    return tuple(found)


@cache
def _vocabulary(kind: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The names and the other values in the documents of the seeds."""
    names: dict[str, None] = {"": None}
    values: list[Any] = list(_ODD)
    for seed in seeds(kind):
        assert isinstance(seed.body, BufferedBody)
        try:
            document = json.loads(seed.body.data)
        except ValueError:
            continue
        for container, key in _places([document]):
            if isinstance(key, str):
                names[key] = None
            values.append(container[key])
    return tuple(names), tuple(values)


def _places(root: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in `root` with each of its keys or indices."""
    waiting = [root]
    for container in waiting:  # grows while it is read
        for key, member in list(container.items() if isinstance(container, dict) else enumerate(container)):
            yield container, key
            if isinstance(member, dict | list):
                waiting.append(member)


def _broken_document(random: Random, kind: str, body: bytes) -> bytes:
    """The JSON of `body` with some of its members changed, dropped, moved, or renamed."""
    try:
        root = [json.loads(body)]
    except (ValueError, RecursionError):
        return body
    names, values = _vocabulary(kind)
    for _ in range(random.choice((1, 1, 2, 4))):
        container, key = random.choice(list(_places(root)))
        change = random.randrange(7)
        value = json.loads(json.dumps(random.choice(values)))
        if change == 0 and container is not root:
            del container[key]
        elif change == 1 and isinstance(container, dict):
            container[random.choice(names)] = value
        elif change == 2 and isinstance(container, dict):
            container[random.choice((key.upper(), random.choice(names), f"{key} "))] = container.pop(key)
        elif change == 3 and isinstance(container, list):
            container.insert(key, value)
        elif change == 4:
            container[key] = json.dumps(container[key])
        elif change == 5:
            container[key] = [container[key]] * random.choice((1, 2, 70))
        else:
            container[key] = value
    return json.dumps(root[0], ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _broken_bytes(random: Random, body: bytes) -> bytes:
    """`body` with some bytes changed, dropped or doubled."""
    data = bytearray(body)
    for _ in range(random.choice((1, 1, 2, 8))):
        place = random.randrange(len(data) + 1)
        length = random.choice((0, 1, 1, 2, 16))
        change = random.randrange(3)
        if change == 0:
            data[place : place + length] = random.randbytes(length)
        elif change == 1:
            data[place:place] = random.choice(
                (b'"', b"{", b"[", b"\\u", b"\xff", b",", b":", b"\r\n", b"--XX", b"\x0a\x02")
            )
        else:
            data[place:place] = data[place : place + 64]
    return bytes(data)


def _broken_path(random: Random, path: str) -> str:
    place, question, query = path.partition("?")
    segments = place.split("/")
    if random.random() < 0.7:
        segments[random.randrange(len(segments))] = random.choice(_SEGMENTS)
    else:
        segments.insert(random.randrange(len(segments) + 1), random.choice(_SEGMENTS))
    if random.random() < 0.3:
        member = random.choice(("api-version=2024-10-21", "key=x", "alt=sse", "a=%zz", "beta=true", "x", "_method=PUT"))
        query, question = f"{query}&{member}" if query else member, "?"
    return "/".join(segments) + question + query


def broken(seed: AgentRequest, number: int, extra: bytes) -> AgentRequest:
    """The request with things changed in it: which ones, `number` decides. `extra`: bytes that may become its body."""
    random = Random(number)
    assert isinstance(seed.body, BufferedBody)
    body, headers, context, path, method = (
        seed.body.data,
        dict(seed.headers),
        dict(seed.context),
        seed.path,
        seed.method,
    )
    choice = random.random()
    if choice < 0.55:
        body = _broken_document(random, seed.kind, body)
    elif choice < 0.8:
        body = _broken_bytes(random, body)
    elif choice < 0.9:
        body = extra
    if random.random() < 0.3:
        name = random.choice(tuple(_HEADERS))
        headers[name] = random.choice(_HEADERS[name])
        if name == "content-encoding" and headers[name] in STEPS:
            body = STEPS[headers[name]](body)
        if name == "grpc-encoding":
            body = b"\x01" + len(packed := gzip.compress(body)).to_bytes(4, "big") + packed
    if random.random() < 0.05:
        headers.pop(random.choice(tuple(headers)))
    if random.random() < 0.1:
        other = random.choice(seeds(seed.kind))
        path, method = other.path, other.method
    if random.random() < 0.15:
        path = _broken_path(random, path)
    if random.random() < 0.05:
        method = random.choice(_METHODS)
    if random.random() < 0.1:
        name = random.choice(tuple(_CONTEXTS))
        context[name] = random.choice(_CONTEXTS[name])
    return replace(seed, body=BufferedBody(body), headers=headers, context=context, path=path, method=method)


def requests(kind: str) -> st.SearchStrategy[AgentRequest]:
    """Requests of that kind, most of them broken in some way."""
    known = seeds(kind)
    return st.builds(broken, st.sampled_from(known), st.integers(0, 2**48), st.binary(max_size=200))


def check(request: AgentRequest) -> str:
    """What the reader made of it, "read" or "refused". Raises what should not have been raised."""
    protocol = PROTOCOLS[request.kind]
    assert isinstance(request.body, BufferedBody)
    reason = ""
    try:
        _check_actions(request.kind, _actions(request))
    except Refusal as refusal:
        reason = refusal.reason
        assert reason and reason.isprintable(), f"a reason that can't be shown: {reason!r}"  # noqa: PT018
    if len(request.body.data) <= _SMALL:
        decision = _decided(request)
        assert not reason or not decision.allowed, "what can't be read is allowed"
        if not decision.allowed or protocol.answers_itself:
            _check_reply(protocol.reply(request, decision))
    return "refused" if reason else "read"


def _decided(request: AgentRequest) -> Decision:
    headers = {**request.headers, "authorization": f"Bearer {token()}"}
    deciding = guard().decide(replace(request, headers=headers))
    try:
        deciding.send(None)
    except StopIteration as done:
        decision: Decision = done.value
        return decision
    raise AssertionError("a decision that waits for something")


def _actions(request: AgentRequest) -> tuple[Action, ...]:
    """What the pipeline would get to see. Raises `Refusal`."""
    protocol = PROTOCOLS[request.kind]
    route = protocol.route(request)
    assert isinstance(request.body, BufferedBody)
    body = request.body.data if route.reads_body else b""
    plain = decoded(request.headers, body) if body else b""
    return examine(guard().snapshot.tools, protocol, request, route, plain).reading.actions


def _check_actions(kind: str, actions: tuple[Action, ...]) -> None:
    assert actions, "a reading without actions"
    for action in actions:
        _check_action(action)
        # who asks the check API may have roles of their own
        assert kind == "api" or _ROLES.issuperset(message.role for message in action.messages)
    assert pickle.loads(pickle.dumps(actions)) == actions, "what is read does not survive the way between processes"


def _check_action(action: Action) -> None:
    assert type(action.name) is str
    assert ":" in action.name
    assert all(type(capability) is str for capability in action.capabilities)
    assert all(value is None or type(value) is str for value in (action.resource, action.tool, action.model))
    assert action.arguments is None or isinstance(action.arguments, dict)
    assert action.call_id is None or type(action.call_id) in (str, int)
    for message in action.messages:
        assert type(message) is Message
        assert type(message.role) is str
        assert type(message.text) is str
        assert all(type(part) in (str, int) for part in message.where)
    for name, value in action.attributes.items():
        assert type(name) is str
        kinds = {type(each) for each in value} if type(value) is tuple else {type(value)}
        assert kinds <= ({str} if type(value) is tuple else {str, int, float, bool}), f"{name} is {value!r}"


def _check_reply(reply: Reply) -> None:
    assert 200 <= reply.status <= 599
    assert type(reply.body) is bytes
    for name, value in reply.headers.items():
        assert name == name.lower()
        assert value.isascii(), f"{name}: {value!r}"
        assert value.isprintable(), f"{name}: {value!r}"
    if reply.headers.get("content-type") == "application/json":
        json.loads(reply.body)

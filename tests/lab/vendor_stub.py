"""Model vendors, as far as their SDKs can tell: one server that answers in each vendor's wire format.

Each vendor lives under a path of its own (`/openai/v1/…`, `/anthropic/v1/…`). The server keeps what it was sent.
A stream stops after its first event until `release` is called, so that a test can prove that the first event is
not held back on its way. Sources of the formats: the vendors' API references and the parsers of their SDKs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from certificates import Authority

ANSWER = "The capital of Portugal is Lisbon."
WORDS = ("The capital ", "of Portugal ", "is Lisbon.")


@dataclass(frozen=True)
class Seen:
    """A request as the vendor got it. `path` has the query; header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass
class VendorStub:
    """A running stub. `url`, `tls_url` have no path; `ca`: signs the certificate of the latter, and what `issue`
    makes (certificate and key of a server on loopback)."""

    issue: Callable[[str], tuple[Path, Path]]

    url: str = ""
    tls_url: str = ""
    ca: Path | None = None
    seen: list[Seen] = field(default_factory=list)
    _released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let streams go on after their first event; they wait again in the next test."""
        self._released.set()

    def hold(self) -> None:
        """Streams stop after their first event from now on."""
        self._released.clear()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI 3."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        query = scope["query_string"].decode()
        path = scope["raw_path"].decode()
        self.seen.append(
            Seen(
                scope["method"],
                f"{path}?{query}" if query else path,
                {name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
                body,
            )
        )
        answer = _answer(scope["method"], path, query, body)
        status = 200
        if answer is None:
            status, answer = 404, ("application/json", b'{"error": {"message": "the stub has no such endpoint"}}')
        media_type, content = answer
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", media_type.encode()), (b"x-vendor", b"stub")],
            }
        )
        if isinstance(content, bytes):
            await send({"type": "http.response.body", "body": content})
            return
        for index, event in enumerate(content):
            if index == 1:
                await asyncio.to_thread(self._released.wait, 20)
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def running_vendor_stub(folder: Path) -> Iterator[VendorStub]:
    """The stub on free ports of loopback, plain and over TLS, in threads of this process. `folder`: for its keys."""
    authority = Authority(folder, "vendors")
    stub = VendorStub(ca=authority.certificate, issue=lambda name: authority.issue(name, ip="127.0.0.1"))
    certificate, key = stub.issue("vendor")
    stub.release()
    with (
        _serving(stub) as plain,
        _serving(stub, ssl_certfile=str(certificate), ssl_keyfile=str(key)) as tls,
    ):
        stub.url, stub.tls_url = f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}"
        try:
            yield stub
        finally:
            stub.release()


@contextmanager
def _serving(stub: VendorStub, **options: Any) -> Iterator[int]:
    config = uvicorn.Config(stub, host="127.0.0.1", port=0, log_level="warning", lifespan="off", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the stub did not start"
            threading.Event().wait(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


_Content = bytes | Iterable[bytes]
_JSON = "application/json"
_SSE = "text/event-stream; charset=utf-8"


def _answer(method: str, path: str, query: str, body: bytes) -> tuple[str, _Content] | None:
    vendor, _, rest = path.lstrip("/").partition("/")
    handler = _VENDORS.get(vendor)
    try:
        document = json.loads(body) if body else {}
    except ValueError:
        document = {}
    return None if handler is None else handler(method, f"/{rest}", query, document)


def _json(value: Any) -> tuple[str, bytes]:
    return _JSON, json.dumps(value).encode()


def _sse(events: Iterable[Any], *, named: bool = False, done: bool = False) -> tuple[str, list[bytes]]:
    written = []
    for event in events:
        name = f"event: {event['type']}\n" if named else ""
        written.append(f"{name}data: {json.dumps(event)}\n\n".encode())
    if done:
        written.append(b"data: [DONE]\n\n")
    return _SSE, written


def _openai(method: str, path: str, query: str, body: Any) -> tuple[str, _Content] | None:
    path = path.removeprefix("/v1")
    if "/deployments/" in path:
        path = "/" + path.split("/deployments/", 1)[1].split("/", 1)[1]
    head = {"id": "chatcmpl-1", "created": 1700000000, "model": body.get("model", "gpt-4o")}
    usage = {"prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15}
    match (method, path):
        case ("GET", "/models"):
            return _json(
                {"object": "list", "data": [{"id": "gpt-4o", "object": "model", "created": 0, "owned_by": "x"}]}
            )
        case ("POST", "/chat/completions") if body.get("stream"):
            deltas: list[Any] = [{"role": "assistant", "content": WORDS[0]}, *({"content": w} for w in WORDS[1:]), {}]
            return _sse(
                (
                    {
                        **head,
                        "object": "chat.completion.chunk",
                        "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
                    }
                    for delta in deltas
                ),
                done=True,
            )
        case ("POST", "/chat/completions"):
            message: dict[str, Any] = {"role": "assistant", "content": ANSWER, "refusal": None}
            reason = "stop"
            if body.get("tools") and body["messages"][-1]["role"] != "tool":
                call = {"name": "get_weather", "arguments": '{"location":"Lisbon"}'}
                message = {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
                }
                reason = "tool_calls"
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
            return _json({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        case ("POST", "/completions"):
            choice = {"index": 0, "text": ANSWER, "logprobs": None, "finish_reason": "stop"}
            return _json({**head, "object": "text_completion", "choices": [choice], "usage": usage})
        case ("POST", "/embeddings"):
            vector: Any = [0.5, -0.25]
            if body.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
            row = {"object": "embedding", "index": 0, "embedding": vector}
            usage = {"prompt_tokens": 7, "total_tokens": 7}
            return _json({"object": "list", "data": [row], "model": head["model"], "usage": usage, "id": "emb-1"})
        case ("POST", "/moderations"):
            return _json({"id": "modr-1", "model": "omni", "results": []})
        case ("POST", "/responses"):
            text = {"type": "output_text", "text": ANSWER, "annotations": []}
            item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
            response = {
                "id": "resp_1",
                "object": "response",
                "created_at": 1700000000,
                "status": "completed",
                "model": head["model"],
                "output": [item],
                "parallel_tool_calls": True,
                "tool_choice": "auto",
                "tools": [],
                "error": None,
                "incomplete_details": None,
                "instructions": None,
                "metadata": {},
            }
            if not body.get("stream"):
                return _json(response)
            place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
            opening = {**response, "status": "in_progress", "output": []}
            events: list[dict[str, Any]] = [
                {"type": "response.created", "response": opening},
                *({"type": "response.output_text.delta", "delta": word, **place} for word in WORDS),
                {"type": "response.completed", "response": response},
            ]
            return _sse(({**e, "sequence_number": n} for n, e in enumerate(events)), named=True)
    return None


def _anthropic(method: str, path: str, query: str, body: Any) -> tuple[str, _Content] | None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", "claude"),
        "content": [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 8},
    }
    match (method, path):
        case ("POST", "/v1/messages") if body.get("stream"):
            opening = {**message, "content": [], "stop_reason": None}
            return _sse(
                [
                    {"type": "message_start", "message": opening},
                    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                    *(
                        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
                        for word in WORDS
                    ),
                    {"type": "content_block_stop", "index": 0},
                    {
                        "type": "message_delta",
                        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                        "usage": {"output_tokens": 8},
                    },
                    {"type": "message_stop"},
                ],
                named=True,
            )
        case ("POST", "/v1/messages"):
            if body.get("tools") and isinstance(body["messages"][-1]["content"], str):
                call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"location": "Lisbon"}}
                message |= {"content": [call], "stop_reason": "tool_use"}
            return _json(message)
        case ("POST", "/v1/messages/count_tokens"):
            return _json({"input_tokens": 7})
    return None


def _gemini(method: str, path: str, query: str, body: Any) -> tuple[str, _Content] | None:
    def candidate(text: str, reason: str | None = "STOP") -> dict[str, Any]:
        found: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        return found | ({"finishReason": reason} if reason else {})

    usage = {"promptTokenCount": 7, "candidatesTokenCount": 8, "totalTokenCount": 15}
    match path.rpartition(":")[2]:
        case "generateContent":
            answer = candidate(ANSWER)
            if body.get("tools") and "text" in body["contents"][-1]["parts"][0]:
                call = {"functionCall": {"name": "get_weather", "args": {"location": "Lisbon"}}}
                answer["content"]["parts"] = [call]
            return _json({"candidates": [answer], "usageMetadata": usage, "modelVersion": "gemini-x"})
        case "streamGenerateContent":
            last = len(WORDS) - 1
            chunks = [{"candidates": [candidate(w, "STOP" if i == last else None)]} for i, w in enumerate(WORDS)]
            return _sse(chunks)
        case "embedContent":
            return _json({"embedding": {"values": [0.5, -0.25]}})
        case "batchEmbedContents":
            return _json({"embeddings": [{"values": [0.5, -0.25]}]})
        case "countTokens":
            return _json({"totalTokens": 7})
    return None


def _event(name: str, payload: Any) -> bytes:
    """One message of application/vnd.amazon.eventstream."""
    headers = b""
    for key, value in ((":event-type", name), (":content-type", _JSON), (":message-type", "event")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    data = json.dumps(payload).encode()
    prelude = struct.pack(">II", len(headers) + len(data) + 16, len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + data
    return message + struct.pack(">I", binascii.crc32(message))


def _bedrock(method: str, path: str, query: str, body: Any) -> tuple[str, _Content] | None:
    operation = path.rpartition("/")[2]
    stream = "application/vnd.amazon.eventstream"
    usage = {"inputTokens": 7, "outputTokens": 8, "totalTokens": 15}
    match operation:
        case "converse":
            message = {"role": "assistant", "content": [{"text": ANSWER}]}
            metrics = {"latencyMs": 1}
            return _json({"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": metrics})
        case "converse-stream":
            return stream, [
                _event("messageStart", {"role": "assistant"}),
                *(_event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in WORDS),
                _event("contentBlockStop", {"contentBlockIndex": 0}),
                _event("messageStop", {"stopReason": "end_turn"}),
                _event("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
            ]
        case "invoke":
            return _anthropic("POST", "/v1/messages", "", {**body, "stream": False})
        case "invoke-with-response-stream":
            _, events = _anthropic("POST", "/v1/messages", "", {**body, "stream": True}) or ("", [])
            chunks = [event.partition(b"data: ")[2].strip() for event in events if isinstance(event, bytes)]
            return stream, [_event("chunk", {"bytes": base64.b64encode(chunk).decode()}) for chunk in chunks]
    return None


def _ollama(method: str, path: str, query: str, body: Any) -> tuple[str, _Content] | None:
    head = {"model": body.get("model", "llama3"), "created_at": "2024-01-01T00:00:00Z"}

    def lines(make: Callable[[str], dict[str, Any]]) -> tuple[str, list[bytes]]:
        parts = [{**head, **make(word), "done": False} for word in WORDS]
        parts.append({**head, **make(""), "done": True, "done_reason": "stop"})
        return "application/x-ndjson", [json.dumps(part).encode() + b"\n" for part in parts]

    match path:
        case "/api/chat":
            if body.get("stream"):
                return lines(lambda text: {"message": {"role": "assistant", "content": text}})
            message: dict[str, Any] = {"role": "assistant", "content": ANSWER}
            if body.get("tools") and body["messages"][-1]["role"] != "tool":
                call = {"function": {"name": "get_weather", "arguments": {"location": "Lisbon"}}}
                message = {"role": "assistant", "content": "", "tool_calls": [call]}
            return _json({**head, "message": message, "done": True, "done_reason": "stop"})
        case "/api/generate":
            if body.get("stream"):
                return lines(lambda text: {"response": text})
            return _json({**head, "response": ANSWER, "done": True})
        case "/api/embed":
            return _json({**head, "embeddings": [[0.5, -0.25]]})
        case "/api/tags":
            return _json({"models": []})
    return None


def _cohere(method: str, path: str, query: str, body: Any) -> tuple[str, _Content] | None:
    match path:
        case "/v2/chat" if body.get("stream"):
            delta = {
                "message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
            }
            return _sse(
                [
                    {"type": "message-start", "id": "c-1", "delta": delta},
                    {
                        "type": "content-start",
                        "index": 0,
                        "delta": {"message": {"content": {"type": "text", "text": ""}}},
                    },
                    *(
                        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}}
                        for word in WORDS
                    ),
                    {"type": "content-end", "index": 0},
                    {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
                ],
                named=True,
            )
        case "/v2/chat":
            message: dict[str, Any] = {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}
            if body.get("tools") and body["messages"][-1]["role"] != "tool":
                call = {"name": "get_weather", "arguments": '{"location":"Lisbon"}'}
                message = {
                    "role": "assistant",
                    "tool_plan": "ask",
                    "tool_calls": [{"id": "c1", "type": "function", "function": call}],
                }
            return _json({"id": "c-1", "message": message, "finish_reason": "COMPLETE"})
        case "/v2/embed":
            return _json({"id": "e-1", "embeddings": {"float": [[0.5, -0.25]]}, "texts": body.get("texts", [])})
        case "/v2/rerank":
            return _json({"id": "r-1", "results": [{"index": 0, "relevance_score": 0.9}]})
    return None


_VENDORS: dict[str, Callable[[str, str, str, Any], tuple[str, _Content] | None]] = {
    "openai": _openai,
    "azure": _openai,
    "compatible": _openai,
    "mistral": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "vertex": _gemini,
    "bedrock": _bedrock,
    "ollama": _ollama,
    "cohere": _cohere,
}

__all__ = ["ANSWER", "WORDS", "Seen", "VendorStub", "running_vendor_stub"]

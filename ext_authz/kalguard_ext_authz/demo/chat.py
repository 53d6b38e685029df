"""OpenAI chat completions as the demo upstream answers them (platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

MODEL: Final = "kalguard-demo"
MODELS: Final = {
    "object": "list",
    "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "kalguard-demo"}],
}
_QUOTED: Final = 200  # characters of the last message that are repeated in the answer


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for. `words`: a rough token count of the prompt."""

    model: str
    text: str
    words: int
    stream: bool
    usage: bool


def read(body: bytes) -> Asked:
    """The request in `body`. Raises `ValueError` with a message for the client."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ValueError("the body is not JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("messages"), list):
        raise ValueError("'messages' must be a list")
    texts = [_text(message) for message in document["messages"]]
    options = document.get("stream_options")
    return Asked(
        model=str(document.get("model") or MODEL),
        text=texts[-1] if texts else "",
        words=sum(len(text.split()) for text in texts),
        stream=document.get("stream") is True,
        usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def completion(asked: Asked) -> dict[str, Any]:
    """The whole answer at once."""
    answer = _answer(asked)
    return {
        **_head(asked, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _usage(asked, answer),
    }


def events(asked: Asked) -> Iterator[bytes]:
    """The answer as server-sent events, word by word, ended by `[DONE]`."""
    head = _head(asked, "chat.completion.chunk")
    answer = _answer(asked)
    yield _event({**head, "choices": [_delta({"role": "assistant", "content": ""})]})
    for word in answer.split(" "):
        yield _event({**head, "choices": [_delta({"content": f"{word} "})]})
    yield _event({**head, "choices": [_delta({}, "stop")]})
    if asked.usage:
        yield _event({**head, "choices": [], "usage": _usage(asked, answer)})
    yield b"data: [DONE]\n\n"


def _answer(asked: Asked) -> str:
    said = asked.text[:_QUOTED] or "nothing"
    return f"This is the KalGuard demo upstream, not a model. You said: {said}"


def _head(asked: Asked, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-demo-{uuid.uuid4().hex[:24]}",
        "object": kind,
        "created": int(time.time()),
        "model": asked.model,
        "system_fingerprint": "kalguard-demo",
    }


def _usage(asked: Asked, answer: str) -> dict[str, int]:
    words = len(answer.split())
    return {"prompt_tokens": asked.words, "completion_tokens": words, "total_tokens": asked.words + words}


def _delta(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)

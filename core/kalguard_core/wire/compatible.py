"""Servers that speak OpenAI's language: vLLM, LiteLLM, Groq, Ollama's `/v1`, and the like.

Rules of this file: the readers are OpenAI's. What such servers understand beyond OpenAI and what leads elsewhere
(another model, server, template or plugin) is refused by those readers already.
Sources: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, https://docs.litellm.ai.
"""

from __future__ import annotations

from typing import Any, Final

from ..action import Action
from .base import LLM_CALL, Route
from .openai import (
    BASIC,
    BATCHED,
    BATCHES,
    CHAT,
    MODERATE,
    PICTURES,
    REALTIME,
    REFUSED,
    RESPONSES,
    SPEAK,
    STORED_RESPONSES,
    TRANSCRIBE,
    TRANSLATE,
    files,
)
from .openai_calls import CLASSIFY, EMBEDDINGS, RERANK, SCORE, TOKENIZE
from .openai_chat import read_chat
from .openai_family import Call, Calls, Family

_RERANK: Final = Call(
    "POST", "/rerank", "rerank", RERANK, "llm:rerank", "the query and the documents", capabilities=LLM_CALL
)
_COMMON: Final = (
    CHAT,
    *BASIC,
    *RESPONSES,
    *STORED_RESPONSES,
    MODERATE,
    *PICTURES,
    SPEAK,
    TRANSCRIBE,
    TRANSLATE,
    *files(BATCHED),
    *BATCHES,
    *REALTIME,
    _RERANK,
    Call("POST", "/score", "score", SCORE, "llm:rerank", "both texts", capabilities=LLM_CALL),
)
_SERVER: Final = (
    Call("POST", "/tokenize", "tokenize", TOKENIZE, "llm:count", "the prompt or the messages", capabilities=LLM_CALL),
    Call("POST", "/classify", "classify", CLASSIFY, "llm:classify", "the inputs as text", capabilities=LLM_CALL),
    Call("POST", "/pooling", "pooling", EMBEDDINGS, "llm:embed", "the inputs as text", capabilities=LLM_CALL),
)
_CALLS: Final = Calls("compatible", (("/v1", _COMMON), ("", _SERVER), ("", _COMMON), ("/v2", (_RERANK,))), documented=2)
_ROUTE: Final = Route("compatible.chat")


def read_chat_body(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of a chat completion. Raises `BodyError`."""
    return read_chat("compatible", document, _ROUTE)


class Compatible(Family):
    """Servers compatible with OpenAI's API. Each path with `/v1` is also known without it."""

    kind = "compatible"
    title = "OpenAI-compatible servers"
    provider = "compatible"
    calls = _CALLS
    endpoints = _CALLS.documented
    refused = (
        *REFUSED,
        ("`/detokenize`", "tokens can't be read: 404"),
        (
            "`prompt_embeds`, `logits_processors`, `kv_transfer_params`",
            "a prompt, code or a server that can't be judged",
        ),
        ("management endpoints (`/load_lora_adapter`, `/key/generate`, `/sleep`, …)", "no agent needs them: 404"),
    )

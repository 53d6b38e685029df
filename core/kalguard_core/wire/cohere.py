"""Cohere: chat (v2 and v1), embeddings, reranking, and the smaller calls of v1.

Rules of this file: an endpoint that is not in the table is not found: data sets, embedding jobs, fine-tuning and
connectors keep content or credentials at the vendor.
Sources: https://docs.cohere.com/reference and the `cohere` SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..action import Action
from ..codes import PROMPT_CHECK
from ..decision import Decision, Reply
from ..request import AgentRequest
from .answers import vendor_headers, vendor_message
from .anthropic_messages import refuse_redirects
from .base import LLM_CALL, Endpoint, Reading, Route
from .cohere_chat import (
    read_chat,
    read_classify,
    read_embed,
    read_generate,
    read_old_chat,
    read_rerank,
    read_summarize,
    read_tokens,
)
from .endpoints import Endpoints
from .headers import require_json
from .json import encode_json
from .prompt import Prompt, model_name, read_json
from .text import Place

_PROVIDER: Final = "cohere"

Reader = Callable[[Prompt, dict[str, Any], Place], bool]
# By the name of the endpoint: the action, whether the model may be left to the vendor, and the reader of the body.
_CALLS: Final[Mapping[str, tuple[str, bool, Reader]]] = {
    "cohere.chat": (PROMPT_CHECK, False, read_chat),
    "cohere.embed": ("llm:embed", False, read_embed),
    "cohere.rerank": ("llm:rerank", False, read_rerank),
    "cohere.chat_v1": (PROMPT_CHECK, True, read_old_chat),
    "cohere.generate": (PROMPT_CHECK, True, read_generate),
    "cohere.summarize": (PROMPT_CHECK, True, read_summarize),
    "cohere.classify": ("llm:classify", True, read_classify),
    "cohere.embed_v1": ("llm:embed", True, read_embed),
    "cohere.rerank_v1": ("llm:rerank", True, read_rerank),
    "cohere.tokenize": ("llm:count", True, read_tokens),
    "cohere.detokenize": ("llm:count", True, read_tokens),
}


def _call(path: str, name: str, reads: str) -> Endpoint:
    action = _CALLS[name][0]
    if action == PROMPT_CHECK:
        return Endpoint("POST", path, name, f"`{action}`", reads)
    return Endpoint("POST", path, name, f"`{action}`", reads, LLM_CALL)


class Cohere:
    """Cohere's API for models."""

    kind = "cohere"
    title = "Cohere"
    endpoints: tuple[Endpoint, ...] = (
        _call("/v2/chat", "cohere.chat", "all turns, documents, tools, tool calls and results, images"),
        _call("/v2/embed", "cohere.embed", "texts, images, and inputs of both"),
        _call("/v2/rerank", "cohere.rerank", "the question and the documents"),
        _call(
            "/v1/chat",
            "cohere.chat_v1",
            "message, preamble, history, documents, tools and their results; connectors as `hosted:connector` or "
            "`hosted:web_search`, a conversation as `content:reference`",
        ),
        _call("/v1/generate", "cohere.generate", "the prompt; a preset as `content:reference`"),
        _call("/v1/summarize", "cohere.summarize", "the text and the command"),
        _call("/v1/classify", "cohere.classify", "inputs and examples; a preset as `content:reference`"),
        _call("/v1/embed", "cohere.embed_v1", "texts and images"),
        _call("/v1/rerank", "cohere.rerank_v1", "the question and the documents"),
        _call("/v1/tokenize", "cohere.tokenize", "the text"),
        _call("/v1/detokenize", "cohere.detokenize", "numbers, and every text beside them"),
        Endpoint(
            "GET",
            "/v1/models",
            "cohere.models",
            "`llm:models`",
            "nothing; it lists models",
            LLM_CALL,
            frozenset({"page_size", "page_token", "endpoint", "default_only"}),
            body=False,
        ),
        Endpoint("GET", "/v1/models/{model}", "cohere.model", "`llm:models`", "the model's id", LLM_CALL, body=False),
    )
    refused: tuple[tuple[str, str], ...] = (
        ("members of gateways like `fallbacks` and `api_base`", "another model or server would get the prompt"),
        ("`raw_prompting`", "the template that separates roles would be left out"),
        ("parts of an unknown type", "what they carry is not known"),
        ("`/v2/parse`", "a document that is read by the vendor alone"),
        ("data sets, embedding jobs, batches, fine-tuning, connectors", "the vendor keeps what is sent there"),
        ("`/v1/check-api-key`", "the credential is not the agent's to try"),
    )
    answers_itself = False

    def __init__(self) -> None:
        self._table: Final = Endpoints("model", self.endpoints)

    def route(self, request: AgentRequest) -> Route:
        """The endpoint. Raises `Refusal` for every other path, method and query member."""
        return self._table.route(request)

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """What the body asks for. Raises `Refusal`."""
        if not route.reads_body:
            return Reading(Prompt(_PROVIDER, route.parameters.get("model")).actions("llm:models"))
        require_json(request.headers)
        return read_json(body, lambda document: _read(route.name, document))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """An error as Cohere's API sends it: its SDK raises the exception of the status, with this body."""
        body = encode_json({"id": decision.request_id, "message": vendor_message(decision)})
        return Reply(decision.status, body, vendor_headers(decision))


def read_cohere(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of `POST /v2/chat`. Raises `BodyError`."""
    return _read("cohere.chat", document)


def _read(name: str, document: dict[str, Any]) -> tuple[Action, ...]:
    action, optional, reader = _CALLS[name]
    refuse_redirects(document, ())
    model = document.get("model")
    prompt = Prompt(_PROVIDER, None if optional and model is None else model_name(model))
    stream = reader(prompt, document, ())
    return prompt.actions(action, stream=stream, max_tokens=document.get("max_tokens"))

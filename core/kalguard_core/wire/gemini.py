"""Google's Gemini API, `generativelanguage.googleapis.com`, v1 and v1beta.

Rules of this file: the model is that of the path; a query may hold `alt` and `key` and nothing else that changes
an answer. Uploads are refused, since the bytes of a file are not looked at. Sources: https://ai.google.dev/api,
https://ai.google.dev/api/live, and the google-genai SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..action import Action
from ..codes import ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .base import Endpoint, Reading, Route
from .endpoints import Endpoints
from .google_content import (
    google_reply,
    max_tokens,
    read_batch,
    read_cache,
    read_count,
    read_embed,
    read_generate,
    read_predict,
    stored,
)
from .google_endpoints import (
    CALL,
    GENERATES,
    ID,
    INSTANCES,
    LIST,
    LISTS,
    NAMED,
    REFERENCE,
    UPDATE,
    Row,
    checked_route,
    endpoint,
    live_endpoint,
    realtime,
)
from .headers import path_in_route, require_json
from .prompt import Prompt, read_json

_EACH: Final = f"of each request: {GENERATES}"

_TABLE: Final[tuple[Row, ...]] = (
    ("POST", "models/{model}:generateContent", "generate", "prompt:check", GENERATES, CALL),
    ("POST", "models/{model}:streamGenerateContent", "stream", "prompt:check", GENERATES, CALL),
    ("POST", "tunedModels/{tuned}:generateContent", "generate", "prompt:check", GENERATES, CALL),
    ("POST", "tunedModels/{tuned}:streamGenerateContent", "stream", "prompt:check", GENERATES, CALL),
    ("POST", "models/{model}:countTokens", "count", "llm:count", GENERATES, CALL),
    ("POST", "models/{model}:embedContent", "embed", "llm:embed", "content, title", CALL),
    ("POST", "models/{model}:batchEmbedContents", "embed", "llm:embed", "content and title of each request", CALL),
    ("POST", "models/{model}:predict", "predict", "llm:image", INSTANCES, CALL),
    ("POST", "models/{model}:predictLongRunning", "video", "llm:video", INSTANCES, CALL),
    (
        "POST",
        "models/{model}:batchGenerateContent",
        "batch",
        "llm:batch, prompt:check",
        _EACH,
        CALL,
    ),
    ("GET", "models", "models", "llm:models", LISTS, LIST),
    ("GET", "models/{model}", "models", "llm:models", NAMED, CALL),
    ("GET", "tunedModels", "models", "llm:models", LISTS, LIST),
    ("GET", "tunedModels/{tuned}", "models", "llm:models", NAMED, CALL),
    ("POST", "cachedContents", "cache.write", "llm:cache", GENERATES, CALL),
    ("GET", "cachedContents", "cache", REFERENCE, LISTS, LIST),
    ("GET", "cachedContents/{cache}", "cache", REFERENCE, ID, CALL),
    ("PATCH", "cachedContents/{cache}", "cache.write", f"llm:cache, {REFERENCE}", "every text", UPDATE),
    ("DELETE", "cachedContents/{cache}", "cache", REFERENCE, ID, CALL),
    ("GET", "files", "file", REFERENCE, LISTS, LIST),
    ("GET", "files/{file}:download", "file", REFERENCE, ID, CALL),
    ("GET", "files/{file}", "file", REFERENCE, ID, CALL),
    ("DELETE", "files/{file}", "file", REFERENCE, ID, CALL),
    ("GET", "batches", "batch.stored", REFERENCE, LISTS, LIST),
    ("POST", "batches/{batch}:cancel", "batch.stored", REFERENCE, ID, CALL),
    ("GET", "batches/{batch}", "batch.stored", REFERENCE, ID, CALL),
    ("DELETE", "batches/{batch}", "batch.stored", REFERENCE, ID, CALL),
    ("GET", "operations/{operation}", "operation", REFERENCE, ID, CALL),
    ("GET", "models/{model}/operations/{operation}", "operation", REFERENCE, ID, CALL),
)
_VERSIONS: Final = ("v1beta", "v1")
_LIVE: Final = "/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"

_ENDPOINTS: Final = Endpoints(
    "model",
    (
        *(endpoint("gemini", f"/{version}/", row) for version in _VERSIONS for row in _TABLE),
        *(live_endpoint("gemini", _LIVE.replace("{version}", version)) for version in _VERSIONS),
    ),
)

_UPLOAD: Final = "the bytes of an upload are not looked at: send what the model shall read in the request"
_NO_ASYNC: Final = "it takes its input from files at Google's, which are not looked at"


class Gemini:
    """Google's Gemini API."""

    kind = "gemini"
    title = "Google Gemini"
    endpoints: tuple[Endpoint, ...] = _ENDPOINTS.all
    refused: tuple[tuple[str, str], ...] = (
        ("/upload/…, POST files, files:register", _UPLOAD),
        ("models/{model}:asyncBatchEmbedContent", _NO_ASYNC),
        ("interactions, agents, triggers, environments", "their conversations and tools live at Google's"),
        ("fileSearchStores, corpora, documents, auth_tokens, tuning", "they change what later requests mean"),
        ("generateMessage, generateText, generateAnswer, embedText", "retired shapes that no reader knows"),
        ("both spellings of one field, a model other than the path's", "the request means two things"),
        ("webhookConfig, routingConfig, modelConfig", "they send the answer, or the prompt, elsewhere"),
        ("every query member but alt, key and those of lists", "Google's servers read fields and methods from it"),
        ("v1alpha", "its shapes change without notice"),
    )
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """The endpoint. Raises `Refusal` for every other path, method, query or upgrade."""
        path = path_in_route(request) or ""
        if path.startswith("/upload/") or (path.endswith("/files") and request.method == "POST"):
            raise Refusal(ErrorCode.POLICY_DENY, f"uploads are not supported: {_UPLOAD}")
        if path.endswith(":asyncBatchEmbedContent"):
            raise Refusal(ErrorCode.POLICY_DENY, f"asyncBatchEmbedContent is not supported: {_NO_ASYNC}")
        return checked_route(_ENDPOINTS.route(request))

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """The actions of a call. Raises `Refusal`."""
        if not route.reads_body:
            return Reading(_bodiless(route))
        require_json(request.headers)
        reader = _READERS[route.name]
        return read_json(body, lambda document: reader(document, route))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """An error as Google's APIs send it, which the SDK raises as `ClientError` with its message."""
        return google_reply(decision)


def _prompt(route: Route) -> Prompt:
    tuned = route.parameters.get("tuned")
    return Prompt("gemini", route.parameters.get("model") if tuned is None else f"tunedModels/{tuned}")


def _bodiless(route: Route) -> tuple[Action, ...]:
    name = route.name.removeprefix("gemini.").partition(".")[0]
    if name == "models":
        return _prompt(route).actions("llm:models")
    if name == "realtime":
        return realtime("gemini")
    return stored("gemini", name, route.parameters.get(name, "*"))


def _generate(document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    prompt = _prompt(route)
    members = read_generate(document, prompt)
    return prompt.actions(stream=route.name == "gemini.stream", max_tokens=max_tokens(members))


def _batch(document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    return read_batch(document, "gemini", _prompt(route).model)


def _other(
    read: Callable[[dict[str, Any], Prompt], None], name: str
) -> Callable[[dict[str, Any], Route], tuple[Action, ...]]:
    def reader(document: dict[str, Any], route: Route) -> tuple[Action, ...]:
        prompt = _prompt(route)
        cache = route.parameters.get("cache")
        if cache is not None:
            prompt.refer("cache", cache, ())
        read(document, prompt)
        return prompt.actions(name)

    return reader


_READERS: Final[dict[str, Callable[[dict[str, Any], Route], tuple[Action, ...]]]] = {
    "gemini.generate": _generate,
    "gemini.stream": _generate,
    "gemini.count": _other(read_count, "llm:count"),
    "gemini.embed": _other(read_embed, "llm:embed"),
    "gemini.predict": _other(read_predict, "llm:image"),
    "gemini.video": _other(read_predict, "llm:video"),
    "gemini.batch": _batch,
    "gemini.cache.write": _other(read_cache, "llm:cache"),
}


def check_body(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of a generateContent body whose `model`, if any, stands in it. Raises `BodyError`."""
    prompt = Prompt("gemini", None)
    members = read_generate(document, prompt)
    return prompt.actions(max_tokens=max_tokens(members))

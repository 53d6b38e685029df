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
from .base import LLM_CALL, PROMPT, Endpoint, Reading, Route
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
from .headers import path_in_route, require_json
from .prompt import Prompt, read_json

_CALL: Final = frozenset({"alt", "key"})
_LIST: Final = _CALL | {"pageSize", "pageToken", "filter"}
_UPDATE: Final = _CALL | {"updateMask"}
_GENERATES: Final = "contents, system instruction, tools, schemas; media, files and hosted tools as actions"
_EACH: Final = f"of each request: {_GENERATES}"
_INSTANCES: Final = "instances and parameters; media and buckets as actions"
_REFERENCE: Final = "content:reference"
_LISTS: Final = "nothing: it lists them"
_NAMED: Final = "the name in the path"
_ID: Final = "the id in the path"
_BARE: Final = frozenset({_LISTS, _NAMED, _ID})
"""What is read where there is no body."""

# (method, path under the version, name, actions, what is read, query)
_TABLE: Final[tuple[tuple[str, str, str, str, str, frozenset[str]], ...]] = (
    ("POST", "models/{model}:generateContent", "generate", "prompt:check", _GENERATES, _CALL),
    ("POST", "models/{model}:streamGenerateContent", "stream", "prompt:check", _GENERATES, _CALL),
    ("POST", "tunedModels/{tuned}:generateContent", "generate", "prompt:check", _GENERATES, _CALL),
    ("POST", "tunedModels/{tuned}:streamGenerateContent", "stream", "prompt:check", _GENERATES, _CALL),
    ("POST", "models/{model}:countTokens", "count", "llm:count", _GENERATES, _CALL),
    ("POST", "models/{model}:embedContent", "embed", "llm:embed", "content, title", _CALL),
    ("POST", "models/{model}:batchEmbedContents", "embed", "llm:embed", "content and title of each request", _CALL),
    ("POST", "models/{model}:predict", "predict", "llm:image", _INSTANCES, _CALL),
    ("POST", "models/{model}:predictLongRunning", "video", "llm:video", _INSTANCES, _CALL),
    (
        "POST",
        "models/{model}:batchGenerateContent",
        "batch",
        "llm:batch, prompt:check",
        _EACH,
        _CALL,
    ),
    ("GET", "models", "models", "llm:models", _LISTS, _LIST),
    ("GET", "models/{model}", "models", "llm:models", _NAMED, _CALL),
    ("GET", "tunedModels", "models", "llm:models", _LISTS, _LIST),
    ("GET", "tunedModels/{tuned}", "models", "llm:models", _NAMED, _CALL),
    ("POST", "cachedContents", "cache.write", "llm:cache", _GENERATES, _CALL),
    ("GET", "cachedContents", "cache", _REFERENCE, _LISTS, _LIST),
    ("GET", "cachedContents/{cache}", "cache", _REFERENCE, _ID, _CALL),
    ("PATCH", "cachedContents/{cache}", "cache.write", f"llm:cache, {_REFERENCE}", "every text", _UPDATE),
    ("DELETE", "cachedContents/{cache}", "cache", _REFERENCE, _ID, _CALL),
    ("GET", "files", "file", _REFERENCE, _LISTS, _LIST),
    ("GET", "files/{file}:download", "file", _REFERENCE, _ID, _CALL),
    ("GET", "files/{file}", "file", _REFERENCE, _ID, _CALL),
    ("DELETE", "files/{file}", "file", _REFERENCE, _ID, _CALL),
    ("GET", "batches", "batch.stored", _REFERENCE, _LISTS, _LIST),
    ("POST", "batches/{batch}:cancel", "batch.stored", _REFERENCE, _ID, _CALL),
    ("GET", "batches/{batch}", "batch.stored", _REFERENCE, _ID, _CALL),
    ("DELETE", "batches/{batch}", "batch.stored", _REFERENCE, _ID, _CALL),
    ("GET", "operations/{operation}", "operation", _REFERENCE, _ID, _CALL),
    ("GET", "models/{model}/operations/{operation}", "operation", _REFERENCE, _ID, _CALL),
)
_VERSIONS: Final = ("v1beta", "v1")
_LIVE: Final = "/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"


def _endpoints() -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(
            method,
            f"/{version}/{path}",
            f"gemini.{name}",
            actions,
            reads,
            capabilities=PROMPT if actions == "prompt:check" else LLM_CALL,
            query=query,
            body=reads not in _BARE,
        )
        for version in _VERSIONS
        for method, path, name, actions, reads, query in _TABLE
    ) + tuple(
        Endpoint(
            "GET",
            _LIVE.replace("{version}", version),
            "gemini.realtime",
            "llm:realtime",
            "nothing that is said: a rule has to name it",
            capabilities=LLM_CALL,
            query=_CALL,
            body=False,
            upgrade=True,
        )
        for version in _VERSIONS
    )


_ENDPOINTS: Final = Endpoints("model", _endpoints())

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


def checked_route(route: Route) -> Route:
    """`route`, unless a colon in an identifier or `alt` would make another call of it. Raises `Refusal`."""
    if any(":" in value for value in route.parameters.values()):
        raise Refusal(ErrorCode.NOT_FOUND, "unknown model endpoint: it is no method of its resource")
    alt = route.query.get("alt")
    if alt is not None and alt not in ("json", "sse") and not (alt == "media" and "file" in route.parameters):
        raise Refusal(ErrorCode.BAD_REQUEST, "the query member 'alt' must be json or sse")
    return route


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


def realtime(provider: str) -> tuple[Action, ...]:
    """A conversation over a WebSocket: nobody looks into it, so only a rule that names it allows it."""
    return (Action("llm:realtime", LLM_CALL, attributes={"provider": provider}, explicit=True),)


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

"""Google's Vertex AI, `<location>-aiplatform.googleapis.com`, v1 and v1beta1: its own models and its partners'.

Rules of this file: the model, the project and the location are those of the path; a body has the shape that the
publisher in the path defines, and no other. A publisher whose shape is not known here is not found. Sources:
https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest, the google-genai and the anthropic SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from ..action import Action
from ..codes import ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .anthropic_messages import read_messages_body
from .base import Endpoint, Reading, Route
from .endpoints import Endpoints
from .google_content import (
    google_reply,
    max_tokens,
    read_cache,
    read_count,
    read_embed,
    read_generate,
    read_operation,
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
from .openai_chat import read_chat
from .prompt import BodyError, Prompt, model_name, read_json
from .text import shown

_MESSAGES: Final = "what Anthropic's POST /v1/messages has"
_CHAT: Final = "what OpenAI's POST /v1/chat/completions has"

_GOOGLE: Final[tuple[Row, ...]] = (
    ("POST", "publishers/google/models/{model}:generateContent", "generate", "prompt:check", GENERATES, CALL),
    ("POST", "publishers/google/models/{model}:streamGenerateContent", "stream", "prompt:check", GENERATES, CALL),
    ("POST", "publishers/google/models/{model}:countTokens", "count", "llm:count", GENERATES, CALL),
    ("POST", "publishers/google/models/{model}:embedContent", "embed", "llm:embed", "content, title", CALL),
    ("POST", "publishers/google/models/{model}:batchEmbedContents", "embed", "llm:embed", "each content", CALL),
    ("POST", "publishers/google/models/{model}:predict", "predict", "llm:predict", INSTANCES, CALL),
)
_LOCATED: Final[tuple[Row, ...]] = (
    *_GOOGLE,
    ("POST", "publishers/anthropic/models/{model}:rawPredict", "messages", "prompt:check", _MESSAGES, CALL),
    ("POST", "publishers/anthropic/models/{model}:streamRawPredict", "messages", "prompt:check", _MESSAGES, CALL),
    ("POST", "publishers/mistralai/models/{model}:rawPredict", "chat", "prompt:check", _CHAT, CALL),
    ("POST", "publishers/mistralai/models/{model}:streamRawPredict", "chat", "prompt:check", _CHAT, CALL),
    ("POST", "endpoints/{endpoint}/chat/completions", "chat", "prompt:check", _CHAT, CALL),
    ("POST", "endpoints/{endpoint}:generateContent", "generate", "prompt:check", GENERATES, CALL),
    ("POST", "endpoints/{endpoint}:streamGenerateContent", "stream", "prompt:check", GENERATES, CALL),
    ("POST", "endpoints/{endpoint}:countTokens", "count", "llm:count", GENERATES, CALL),
    ("POST", "endpoints/{endpoint}:predict", "predict", "llm:predict", INSTANCES, CALL),
    ("POST", "publishers/google/models/{model}:computeTokens", "count", "llm:count", "contents", CALL),
    ("POST", "publishers/google/models/{model}:predictLongRunning", "video", "llm:video", INSTANCES, CALL),
    (
        "POST",
        "publishers/google/models/{model}:fetchPredictOperation",
        "operation.fetch",
        f"llm:operation, {REFERENCE}",
        "the operation's name",
        CALL,
    ),
    ("GET", "publishers/google/models/{model}/operations/{operation}", "operation", REFERENCE, ID, CALL),
    ("GET", "operations/{operation}", "operation", REFERENCE, ID, CALL),
    ("POST", "cachedContents", "cache.write", "llm:cache", GENERATES, CALL),
    ("GET", "cachedContents", "cache", REFERENCE, LISTS, LIST),
    ("GET", "cachedContents/{cache}", "cache", REFERENCE, ID, CALL),
    ("PATCH", "cachedContents/{cache}", "cache.write", f"llm:cache, {REFERENCE}", "every text", UPDATE),
    ("DELETE", "cachedContents/{cache}", "cache", REFERENCE, ID, CALL),
    ("GET", "batchPredictionJobs", "batch.stored", REFERENCE, LISTS, LIST),
    ("POST", "batchPredictionJobs/{batch}:cancel", "batch.stored", REFERENCE, ID, CALL),
    ("GET", "batchPredictionJobs/{batch}", "batch.stored", REFERENCE, ID, CALL),
    ("DELETE", "batchPredictionJobs/{batch}", "batch.stored", REFERENCE, ID, CALL),
    ("GET", "models", "models", "llm:models", LISTS, LIST),
    ("GET", "models/{model}", "models", "llm:models", NAMED, CALL),
)
_PUBLIC: Final[tuple[Row, ...]] = (
    ("GET", "publishers/google/models", "models", "llm:models", LISTS, LIST),
    ("GET", "publishers/google/models/{model}", "models", "llm:models", NAMED, CALL),
)
_VERSIONS: Final = ("v1beta1", "v1")
_PROJECT: Final = "projects/{project}/locations/{location}/"
_LIVE: Final = "/ws/google.cloud.aiplatform.{version}.LlmBidiService/BidiGenerateContent"


_ENDPOINTS: Final = Endpoints(
    "model",
    (
        # Without a project, an API key says whose it is.
        *(
            endpoint("vertex", f"/{version}/{prefix}", row)
            for version in _VERSIONS
            for prefix, rows in ((_PROJECT, _LOCATED), ("", (*_GOOGLE, *_PUBLIC)))
            for row in rows
        ),
        *(live_endpoint("vertex", _LIVE.replace("{version}", version)) for version in _VERSIONS),
    ),
)

_BATCH: Final = "it takes its input from a bucket or a table, which is not looked at"


class Vertex:
    """Google's Vertex AI."""

    kind = "vertex"
    title = "Google Vertex AI"
    endpoints: tuple[Endpoint, ...] = _ENDPOINTS.all
    refused: tuple[tuple[str, str], ...] = (
        ("POST batchPredictionJobs", _BATCH),
        ("publishers other than google, anthropic and mistralai", "the shape of their bodies is the publisher's own"),
        ("endpoints/{endpoint}:rawPredict and the like", "the shape of the body is the deployed model's own"),
        ("`google` in chat/completions", "it names caches and tools; Gemini's own endpoints say where they are"),
        ("tuningJobs, ragCorpora, reasoningEngines, extensions, datasets", "they change what later requests mean"),
        ("both spellings of one field, a model other than the path's", "the request means two things"),
        ("webhookConfig, routingConfig, modelConfig", "they send the answer, or the prompt, elsewhere"),
        ("every query member but alt, key and those of lists", "Google's servers read fields and methods from it"),
    )
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """The endpoint. Raises `Refusal` for every other path, method, query or upgrade."""
        if request.method == "POST" and (path_in_route(request) or "").endswith("/batchPredictionJobs"):
            raise Refusal(ErrorCode.POLICY_DENY, f"batch predictions are not supported: {_BATCH}")
        return checked_route(_ENDPOINTS.route(request))

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """The actions of a call. Raises `Refusal`."""
        if not route.reads_body:
            return Reading(_bodiless(route))
        require_json(request.headers)
        reader = _READERS[route.name]
        streams = route.name == "vertex.stream" or request.route_path.endswith(":streamRawPredict")
        return read_json(body, lambda document: reader(document, route, streams))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """An error as Google's APIs send it, whose status the SDKs of all publishers go by."""
        return google_reply(decision)


def _prompt(route: Route) -> Prompt:
    endpoint = route.parameters.get("endpoint")
    return Prompt("vertex", route.parameters.get("model") if endpoint is None else f"endpoints/{endpoint}")


def _where(route: Route) -> dict[str, Any]:
    """Attributes: whose project pays, and where the model runs."""
    return {name: route.parameters[name] for name in ("project", "location") if name in route.parameters}


def _bodiless(route: Route) -> tuple[Action, ...]:
    name = route.name.removeprefix("vertex.").partition(".")[0]
    if name == "models":
        return _prompt(route).actions("llm:models", **_where(route))
    if name == "realtime":
        return realtime("vertex")
    return stored("vertex", name, route.parameters.get(name, "*"))


def _generate(document: dict[str, Any], route: Route, streams: bool) -> tuple[Action, ...]:
    prompt = _prompt(route)
    members = read_generate(document, prompt)
    return prompt.actions(stream=streams, max_tokens=max_tokens(members), **_where(route))


def _messages(document: dict[str, Any], route: Route, streams: bool) -> tuple[Action, ...]:
    """A body of Anthropic's, whose model is that of the path; a count is asked of a model of its own name."""
    model = route.parameters["model"]
    counts = model == "count-tokens"
    if counts:
        model = model_name(document.get("model"))
    elif document.get("model") not in (None, model):
        raise BodyError(("model",), f"must be the model of the path, '{shown(model)}'")
    prompt = Prompt("vertex", model)
    streams = read_messages_body(prompt, document, ()) or streams
    if counts:
        return prompt.actions("llm:count", **_where(route))
    return prompt.actions(stream=streams, max_tokens=document.get("max_tokens"), **_where(route))


def _chat(document: dict[str, Any], route: Route, streams: bool) -> tuple[Action, ...]:
    """A chat as OpenAI's clients write it. Where the path has the model, a body may say it without the version."""
    model = route.parameters.get("model")
    if model is not None and document.get("model") not in (None, model, model.partition("@")[0]):
        raise BodyError(("model",), f"must be the model of the path, '{shown(model)}'")
    if document.get("google") is not None:
        raise BodyError(("google",), "is not supported: it names what Google keeps and runs", ErrorCode.POLICY_DENY)
    asked = route if model is None else Route(route.name, parameters={"deployment": model})
    first, *others = read_chat("vertex", document, asked)
    attributes = {**first.attributes, **_where(route)}
    if streams:
        attributes["stream"] = True
    return (replace(first, attributes=attributes), *others)


_Reader = Callable[[dict[str, Any], Route, bool], tuple[Action, ...]]


def _other(read: Callable[[dict[str, Any], Prompt], None], name: str) -> _Reader:
    def reader(document: dict[str, Any], route: Route, _: bool) -> tuple[Action, ...]:
        prompt = _prompt(route)
        cache = route.parameters.get("cache")
        if cache is not None:
            prompt.refer("cache", cache, ())
        read(document, prompt)
        return prompt.actions(name, **_where(route))

    return reader


_READERS: Final[dict[str, _Reader]] = {
    "vertex.generate": _generate,
    "vertex.stream": _generate,
    "vertex.messages": _messages,
    "vertex.chat": _chat,
    "vertex.count": _other(read_count, "llm:count"),
    "vertex.embed": _other(read_embed, "llm:embed"),
    "vertex.predict": _other(read_predict, "llm:predict"),
    "vertex.video": _other(read_predict, "llm:video"),
    "vertex.operation.fetch": _other(read_operation, "llm:operation"),
    "vertex.cache.write": _other(read_cache, "llm:cache"),
}


def check_body(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of a generateContent body whose `model`, if any, stands in it. Raises `BodyError`."""
    prompt = Prompt("vertex", None)
    members = read_generate(document, prompt)
    return prompt.actions(max_tokens=max_tokens(members))

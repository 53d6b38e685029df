"""Ollama's own API, under `/api`. Its OpenAI-compatible paths under `/v1` are another kind's.

Rules of this file: Ollama is written in Go, whose JSON reader takes a name in any case and passes over names that
it does not know, so a name that differs from a known one by case only is refused at every level. What replaces
the template that parts the roles is refused, and so is what was tokenised before. Sources:
https://github.com/ollama/ollama/blob/main/docs/api.md, its `api/types.go`, and the ollama SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..action import Action
from ..codes import ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .answers import vendor_headers, vendor_message
from .base import LLM_CALL, Endpoint, Reading, Route
from .endpoints import Endpoints
from .headers import path_in_route, require_json
from .json import encode_json
from .members import flag
from .prompt import BodyError, Prompt, model_name, read_json
from .text import Place, shown

_READS: Final = "messages with thinking, images and tool calls, tools, format, options"

_ENDPOINTS: Final = Endpoints(
    "model",
    (
        Endpoint("POST", "/api/chat", "ollama.chat", "prompt:check", _READS),
        Endpoint(
            "POST",
            "/api/generate",
            "ollama.generate",
            "prompt:check",
            "prompt, suffix, system, images, format, options",
        ),
        Endpoint("POST", "/api/embed", "ollama.embed", "llm:embed", "input, options", LLM_CALL),
        Endpoint("POST", "/api/embeddings", "ollama.embeddings", "llm:embed", "prompt, options", LLM_CALL),
        Endpoint("POST", "/api/show", "ollama.show", "llm:models", "model, every other text", LLM_CALL),
        Endpoint(
            "POST",
            "/api/web_search",
            "ollama.web_search",
            "`llm:search`, `tool:execute` of `hosted:web_search`",
            "query",
            LLM_CALL,
        ),
        Endpoint(
            "POST",
            "/api/web_fetch",
            "ollama.web_fetch",
            "`llm:search`, `tool:execute` of `hosted:web_fetch`",
            "url",
            LLM_CALL,
        ),
        *(
            Endpoint(method, path, "ollama.models", "llm:models", "nothing", LLM_CALL, body=False)
            for path in ("/", "/api/tags", "/api/version", "/api/ps")
            for method in ("GET", "HEAD")
        ),
    ),
)

_MANAGEMENT: Final = "it changes which models the server has, or what they are told"
_CLOSED: Final = frozenset({"pull", "push", "create", "copy", "delete", "blobs", "me", "signout", "user"})

# Members that no reader may take for another one. `Prompt.others` refuses what differs from them by case only.
_SHARED: Final = frozenset({"model", "name", "stream", "format", "options", "keep_alive", "think"}) | {
    "images",
    "prompt",
    "raw",
    "template",
    "context",
    "system",
    "suffix",
    "messages",
    "tools",
    "input",
    "from",
    "runner",
}
_MESSAGE: Final = frozenset(
    {"role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id", "name"}
)
_CALL: Final = frozenset({"id", "type", "function"})
_FUNCTION: Final = frozenset({"index", "name", "arguments", "description", "parameters"})
_TOOL: Final = frozenset({"type", "function", "items"})
_OPTIONS: Final = frozenset({"num_predict"})
_SEARCH: Final = frozenset({"query", "max_results", "url"})

# Ollama puts roles in lower case before it uses them.
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})

_TEMPLATE: Final = "replaces the template that parts system from user, so nobody can say what the model is told"
_REPLACES: Final = (
    ("template", _TEMPLATE),
    ("raw", _TEMPLATE),
    ("context", "holds tokens, which cannot be read: send the conversation to /api/chat"),
)


class Ollama:
    """Ollama's API."""

    kind = "ollama"
    title = "Ollama"
    endpoints: tuple[Endpoint, ...] = _ENDPOINTS.all
    refused: tuple[tuple[str, str], ...] = (
        ("/api/pull, push, create, copy, delete, blobs, me, signout", _MANAGEMENT),
        ("template, raw", _TEMPLATE),
        ("context", "tokens cannot be read"),
        ("names in another case", "Go's JSON reader would take them for the known ones"),
        ("roles other than system, developer, user, assistant and tool", "a template may give them any meaning"),
        ("models that run elsewhere (`:cloud`, `-cloud`)", "`content:reference`, which a rule has to name"),
        ("/v1/…", "a route of the kind `compatible` reads it"),
    )
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """The endpoint. Raises `Refusal` for every other path, method, query or upgrade."""
        path = path_in_route(request) or ""
        if path.startswith("/api/") and path.split("/")[2] in _CLOSED:
            raise Refusal(ErrorCode.POLICY_DENY, f"managing models is not supported: {_MANAGEMENT}")
        return _ENDPOINTS.route(request)

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """The actions of a call. Raises `Refusal`."""
        if not route.reads_body:
            return Reading(Prompt("ollama", None).actions("llm:models"))
        require_json(request.headers)
        return read_json(body, _READERS[route.name])

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """An error as Ollama's API sends it, which the SDK raises as `ResponseError`."""
        return Reply(decision.status, encode_json({"error": vendor_message(decision)}), vendor_headers(decision))


def read_chat(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of `POST /api/chat`. Raises `BodyError`."""
    prompt = _prompt(document)
    messages = document.get("messages")
    # Without messages the call loads or unloads the model.
    if messages is not None and type(messages) is not list:
        raise BodyError(("messages",), "must be a list")
    for index, message in enumerate(messages or ()):
        _message(message, prompt, ("messages", index))
    prompt.message_count = len(messages or ())
    _tools(document.get("tools"), prompt)
    return _conversation(document, prompt, frozenset({"model", "messages", "tools", "stream"}))


def _generate(document: dict[str, Any]) -> tuple[Action, ...]:
    prompt = _prompt(document)
    for name, role in (("system", "system"), ("prompt", "user"), ("suffix", "user")):
        text = document.get(name)
        if text is not None:
            if type(text) is not str:
                raise BodyError((name,), "must be a string")
            prompt.say(role, text, (name,))
            prompt.message_count += 1
    _images(document.get("images"), prompt, ("images",))
    return _conversation(document, prompt, frozenset({"model", "system", "prompt", "suffix", "images", "stream"}))


def _embed(document: dict[str, Any]) -> tuple[Action, ...]:
    prompt = _prompt(document)
    given = document.get("input")
    texts = given if type(given) is list else [given]
    for index, text in enumerate(texts):
        place: Place = ("input", index) if type(given) is list else ("input",)
        if type(text) is not str:
            raise BodyError(place, "must be a string")
        prompt.say("user", text, place)
    prompt.message_count = len(texts)
    _leave(document, prompt, frozenset({"model", "input"}))
    return prompt.actions("llm:embed")


def _embeddings(document: dict[str, Any]) -> tuple[Action, ...]:
    prompt = _prompt(document)
    text = document.get("prompt")
    if type(text) is not str:
        raise BodyError(("prompt",), "must be a string")
    prompt.say("user", text, ("prompt",))
    prompt.message_count = 1
    _leave(document, prompt, frozenset({"model", "prompt"}))
    return prompt.actions("llm:embed")


def _show(document: dict[str, Any]) -> tuple[Action, ...]:
    # `name` is what `model` was called before; the server takes the one that is not empty.
    names = [name for name in ("model", "name") if document.get(name) not in (None, "")]
    if len(names) == 2 and document["model"] != document["name"]:
        raise BodyError(("name",), "names another model than `model`")
    place = names[0] if names else "model"
    prompt = Prompt("ollama", model_name(document.get(place), (place,)))
    _leave(document, prompt, frozenset({"model", "name"}))
    return prompt.actions("llm:models")


def _prompt(document: dict[str, Any]) -> Prompt:
    model = model_name(document.get("model"))
    prompt = Prompt("ollama", model)
    # The server sends these on to ollama.com; it cuts the tag off before it looks for the name.
    if model.lower().endswith((":cloud", "-cloud")):
        prompt.refer("cloud", model, ("model",))
    return prompt


def _search(document: dict[str, Any]) -> tuple[Action, ...]:
    prompt = Prompt("ollama", None)
    prompt.others(document, _SEARCH, ())
    prompt.host("web_search", document, ())
    return prompt.actions("llm:search")


def _fetch(document: dict[str, Any]) -> tuple[Action, ...]:
    prompt = Prompt("ollama", None)
    url = document.get("url")
    if type(url) is not str:
        raise BodyError(("url",), "must be a URL")
    prompt.others(document, _SEARCH, ())
    # Without a scheme the server takes https.
    prompt.host("web_fetch", document, (), url=url if "://" in url else f"https://{url}")
    return prompt.actions("llm:search")


_READERS: Final[dict[str, Callable[[dict[str, Any]], tuple[Action, ...]]]] = {
    "ollama.chat": read_chat,
    "ollama.generate": _generate,
    "ollama.embed": _embed,
    "ollama.embeddings": _embeddings,
    "ollama.show": _show,
    "ollama.web_search": _search,
    "ollama.web_fetch": _fetch,
}


def _conversation(document: dict[str, Any], prompt: Prompt, read: frozenset[str]) -> tuple[Action, ...]:
    for name, problem in _REPLACES:
        if document.get(name) not in (None, False, "", []):
            raise BodyError((name,), problem, ErrorCode.POLICY_DENY)
    flag(document, "stream", ())
    options = document.get("options")
    limit: Any = None
    if options is not None:
        if type(options) is not dict:
            raise BodyError(("options",), "must be an object")
        limit = options.get("num_predict")
    _leave(document, prompt, read)
    return prompt.actions(stream=document.get("stream") is not False, max_tokens=limit)


def _leave(document: dict[str, Any], prompt: Prompt, read: frozenset[str]) -> None:
    """Gather every string in the members that were not `read`."""
    prompt.others(document, _SHARED, ())
    for name, value in document.items():
        if name in _SHARED and name not in read:
            prompt.rest("unread", value, (name,))
    options = document.get("options")
    if type(options) is dict:
        prompt.others(dict.fromkeys(options), _OPTIONS, ("options",))


def _message(message: Any, prompt: Prompt, place: Place) -> None:
    if type(message) is not dict:
        raise BodyError(place, "must be an object")
    role = message.get("role")
    role = role.lower() if type(role) is str else None
    if role is None or role not in _ROLES:
        raise BodyError((*place, "role"), f"'{shown(role or '')}' is not a known role")
    for name in ("thinking", "content"):
        text = message.get(name)
        if text is not None:
            if type(text) is not str:
                raise BodyError((*place, name), "must be a string")
            prompt.say(role, text, (*place, name))
    _images(message.get("images"), prompt, (*place, "images"))
    calls = message.get("tool_calls")
    if calls is not None:
        _calls(calls, prompt, (*place, "tool_calls"))
    for name in ("tool_name", "tool_call_id", "name"):
        prompt.rest("tool", message.get(name), (*place, name))
    if not message.keys() <= _MESSAGE:
        prompt.others(message, _MESSAGE, place)


def _images(images: Any, prompt: Prompt, place: Place) -> None:
    if images is None:
        return
    if type(images) is not list:
        raise BodyError(place, "must be a list")
    for index, image in enumerate(images):
        prompt.attach(None, image, (*place, index))


def _calls(calls: Any, prompt: Prompt, place: Place) -> None:
    if type(calls) is not list:
        raise BodyError(place, "must be a list")
    for index, call in enumerate(calls):
        here = (*place, index)
        function = _function(call, here, "function")
        prompt.rest("tool", call, here)
        prompt.others(dict.fromkeys(call), _CALL, here, "tool")
        prompt.others(dict.fromkeys(function), _FUNCTION, (*here, "function"), "tool")


def _tools(tools: Any, prompt: Prompt) -> None:
    if tools is None:
        return
    if type(tools) is not list:
        raise BodyError(("tools",), "must be a list")
    for index, tool in enumerate(tools):
        here: Place = ("tools", index)
        function = _function(tool, here, "function")
        # Ollama runs no tools: whatever type is written, the model is offered a function of the agent's.
        prompt.offer(function.get("name"))
        prompt.rest("tool", tool, here)
        prompt.others(dict.fromkeys(tool), _TOOL, here, "tool")
        prompt.others(dict.fromkeys(function), _FUNCTION, (*here, "function"), "tool")


def _function(value: Any, place: Place, name: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise BodyError(place, "must be an object")
    function = value.get(name)
    if type(function) is not dict:
        raise BodyError((*place, name), "must be an object")
    return function

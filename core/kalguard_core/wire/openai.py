"""OpenAI chat completions: `POST /v1/chat/completions`, as the official SDKs and many servers speak it.

Rules of this file: one endpoint is understood, everything else on a model route is refused. Whatever the body
holds besides numbers reaches the firewall: what this reader does not know is scored as text of the agent.
Source: https://platform.openai.com/docs/api-reference/chat/create and its OpenAPI description.
"""

from __future__ import annotations

from typing import Any, Final

from ..action import Action, Message
from ..codes import PROMPT_CHECK, Capability, ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .answers import vendor_headers, vendor_message
from .base import Endpoint, Reading, Route
from .chat import ChatError, read_messages, refuse_variants
from .headers import path_in_route, refuse_overrides, refuse_query, require_json
from .json import JsonError, encode_json, parse_json
from .text import Place, collect, collect_names, shown

_PATHS: Final = frozenset({"/v1/chat/completions", "/chat/completions"})
_CAPABILITIES: Final = (Capability.PROMPT_SEND.value, Capability.LLM_CALL.value)
_ROUTE: Final = Route("openai.chat", _CAPABILITIES)

# Every value may become a message, so this is lower than what the JSON reader could take.
_MAX_NODES: Final = 50_000
_MAX_MODEL: Final = 256

# Members that another reader could take for one of ours, or that change what we judged.
_KEYS: Final = frozenset({"model", "messages", "tools", "functions", "stream", "web_search_options"})
_TOOL_KEYS: Final = frozenset({"type", "function", "custom"})
_TOOL_TYPES: Final = frozenset({"function", "custom"})

# Extensions of gateways (OpenRouter, LiteLLM, vLLM) that send the prompt to another model or server than
# the one that policy was asked about, or replace the template that separates roles.
_REDIRECTS: Final = frozenset(
    {
        "api_base",
        "api_key",
        "base_url",
        "chat_template",
        "content_policy_fallbacks",
        "context_window_fallback_dict",
        "context_window_fallbacks",
        "custom_llm_provider",
        "default_fallbacks",
        "extra_body",
        "fallbacks",
        "mcp_servers",
        "model_list",
        "models",
        "plugins",
        "preset",
        "user_config",
    }
)

# `error.type` by status, in the words of OpenAI and the servers that imitate it; the SDKs go by the status alone.
_ERROR_TYPE: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class OpenAI:
    """Chat completions of OpenAI's API."""

    kind = "openai"
    title = "OpenAI"
    endpoints: tuple[Endpoint, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        """The chat endpoint. Raises `Refusal` for every other path, method, query, encoding or media type."""
        path = path_in_route(request)
        if path not in _PATHS:
            where = shown(request.route_path, 128)
            raise Refusal(ErrorCode.NOT_FOUND, f"unknown model endpoint {where}")
        if request.method != "POST":
            raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "chat completions are asked for with POST")
        refuse_query(request)
        refuse_overrides(request.headers)
        return _ROUTE

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """One `prompt:check` with every text in the body."""
        require_json(request.headers)
        try:
            document = parse_json(body, max_nodes=_MAX_NODES)
        except JsonError as error:
            raise Refusal(ErrorCode.BAD_REQUEST, f"the body is not valid JSON: {error}") from None
        try:
            return Reading((_chat(document),), document)
        except ChatError as error:
            code = ErrorCode.UNSUPPORTED_MEDIA_TYPE if error.unsupported else ErrorCode.BAD_REQUEST
            raise Refusal(code, str(error)) from None

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """An error as OpenAI's API sends it, so that its SDKs raise the exception that fits the status."""
        status = decision.status
        error = {
            "message": vendor_message(decision),
            "type": _ERROR_TYPE.get(status, "invalid_request_error"),
            "param": None,
            "code": None if decision.code is None else decision.code.value.lower(),
        }
        return Reply(status, encode_json({"error": error}), vendor_headers(decision))


def _chat(document: Any) -> Action:
    if type(document) is not dict:
        raise ChatError((), "the body must be a JSON object")
    model = document.get("model")
    if type(model) is not str or not 0 < len(model) <= _MAX_MODEL or not model.isprintable() or " " in model:
        raise ChatError(("model",), "must be the name of a model")
    stream = document.get("stream")
    if stream is not None and type(stream) is not bool:
        raise ChatError(("stream",), "must be true or false")
    found: list[Message] = []
    message_count = read_messages(document.get("messages"), found)
    tool_count = 0
    if len(document) > 2:
        refuse_variants(document, _KEYS, ())
        tool_count = _read_rest(document, found)
    return Action(
        PROMPT_CHECK,
        _CAPABILITIES,
        resource=model,
        model=model,
        messages=tuple(found),
        attributes={
            "messageCount": message_count,
            "model": model,
            "provider": "openai",
            "stream": stream is True,
            "toolCount": tool_count,
        },
    )


def _read_rest(document: dict[str, Any], found: list[Message]) -> int:
    """Append the text of all members but model, messages and stream; answers how many tools are offered."""
    tool_count = 0
    for key, value in document.items():
        if key in ("model", "messages", "stream"):
            continue
        if key.casefold() in _REDIRECTS and value is not None:
            raise ChatError((key,), "is not supported: it changes where the prompt goes or how it is read")
        if key == "web_search_options" and value is not None:
            raise _hosted("web_search", (key,))
        if key in ("tools", "functions") and value is not None:
            if type(value) is not list:
                raise ChatError((key,), "must be a list")
            tool_count += len(value)
            if key == "tools":
                _check_tools(value)
            collect(found, "tool", value, (key,))
            continue
        collect(found, "unread", value, (key,))
    collect_names(found, "unread", document, ())
    return tool_count


def _check_tools(tools: list[Any]) -> None:
    """Only tools that the agent itself runs: those that the vendor runs would pass no tool check."""
    for index, tool in enumerate(tools):
        place: Place = ("tools", index)
        if type(tool) is not dict:
            raise ChatError(place, "must be an object")
        kind = tool.get("type")
        if type(kind) is not str:
            raise ChatError((*place, "type"), "must be a string")
        if kind not in _TOOL_TYPES:
            raise _hosted(kind, place)
        refuse_variants(tool, _TOOL_KEYS, place)


def _hosted(kind: str, place: Place) -> Refusal:
    return Refusal(
        ErrorCode.TOOL_DENIED,
        f"vendor-hosted tool '{shown(kind)}' is not supported",
        detail=f"offered at {place}",
    )

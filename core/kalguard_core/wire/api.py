"""The HTTP API for agents without a mesh: `/v1/prompt/check`, `/v1/llm/check`, `/v1/tool/check`.

Rules of this file: what the original sidecar answered is kept word for word, since its SDK and users rely on it.
Nothing is forwarded from here: the text that is judged is the text in `messages`. With `provider`, the rest of a
body is that vendor's own, and is read (and answered about) as on that vendor's route. What such a body attaches,
refers to or has the vendor run is an action of its own here too.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from ..action import Action
from ..codes import TOOL_EXECUTE, Capability, ErrorCode
from ..decision import Decision, Reply
from ..firewall.base import risk_level
from ..request import AgentRequest, Refusal
from .answers import headers, security_response
from .base import Endpoint, Reading, Route
from .chat import read_messages
from .json import JsonError, parse_json
from .prompt import BodyError, Prompt, guarded
from .text import TooMuchText, rewritten, shown
from .vendors import VENDORS

_PROMPT_CAPABILITIES: Final = (Capability.PROMPT_SEND.value,)
_TOOL_CAPABILITIES: Final = (Capability.TOOL_EXECUTE.value,)
_TOOL_ROUTE: Final = "api.tool"
_LLM_ROUTE: Final = "api.llm"

_ROUTES: Final = {
    "/v1/prompt/check": Route("api.prompt", _PROMPT_CAPABILITIES),
    "/v1/llm/check": Route(_LLM_ROUTE, _PROMPT_CAPABILITIES),
    # The catalog may ask for another capability than tool:execute, so nothing is asked before the tool is known.
    "/v1/tool/check": Route(_TOOL_ROUTE),
}

_BAD_MESSAGES: Final = "Missing or invalid messages"
_BAD_TOOL: Final = "Missing or invalid toolName/arguments"
# Every value of a prompt may become a message; the arguments of a tool may hold long lists of numbers.
_MAX_PROMPT_NODES: Final = 50_000
_MAX_TOOL_NODES: Final = 250_000
# Names are matched against every pattern of the policy, on the event loop.
_MAX_NAME: Final = 256


class Api:
    """KalGuard's own HTTP API."""

    kind = "api"
    title = "KalGuard's HTTP API"
    endpoints: tuple[Endpoint, ...] = (
        Endpoint(
            "POST",
            "/v1/prompt/check",
            "api.prompt",
            "prompt:check",
            "`messages`: contents, parts, tool calls, every other text of a message; `model`",
            _PROMPT_CAPABILITIES,
        ),
        Endpoint(
            "POST",
            "/v1/llm/check",
            _LLM_ROUTE,
            "prompt:check",
            "the same; with `provider` the vendor's own body, as on the vendor's route",
            _PROMPT_CAPABILITIES,
        ),
        Endpoint(
            "POST", "/v1/tool/check", _TOOL_ROUTE, "tool:execute", "`toolName`, and `arguments` or else `args`", ()
        ),
    )
    refused: tuple[tuple[str, str], ...] = (
        ("a `provider` that is not known", "its body can't be read"),
        ("content parts of an unknown type", "what they hold can't be read"),
    )
    answers_itself = True

    def route(self, request: AgentRequest) -> Route:
        """The endpoint of the path; a query is not looked at."""
        route = _ROUTES.get(request.route_path)
        if route is None:
            raise Refusal(ErrorCode.NOT_FOUND, "Not Found")
        if request.method != "POST":
            raise Refusal(ErrorCode.METHOD_NOT_ALLOWED, "Method Not Allowed")
        return route

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """One `prompt:check` or `tool:execute`. The media type is not enforced: older SDKs send none."""
        is_tool = route.name == _TOOL_ROUTE
        try:
            document = parse_json(body, max_nodes=_MAX_TOOL_NODES if is_tool else _MAX_PROMPT_NODES)
        except JsonError as error:
            raise Refusal(ErrorCode.BAD_REQUEST, "Invalid JSON", detail=str(error)) from None
        if is_tool:
            return Reading((_tool(document),), document)
        if route.name == _LLM_ROUTE and type(document) is dict and document.get("provider") is not None:
            return _vendor(document)
        return Reading(_prompt(document), document)

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """The answer, also to what is allowed: this protocol has no upstream."""
        return Reply(decision.status, security_response(decision, _data(decision)), headers(decision))


def _prompt(document: Any) -> tuple[Action, ...]:
    if type(document) is not dict:
        raise Refusal(ErrorCode.BAD_REQUEST, _BAD_MESSAGES, detail="the body is not an object")
    model = document.get("model")
    if type(model) is str and len(model) > _MAX_NAME:
        raise Refusal(ErrorCode.BAD_REQUEST, "model is too long", detail=f"over {_MAX_NAME} characters")
    if type(model) is not str or not model:
        model = None
    prompt = Prompt("", model)
    try:
        read_messages(prompt, document.get("messages"), any_role=True)
        first, *more = prompt.actions()
    except BodyError as error:
        reason = str(error) if error.code is ErrorCode.UNSUPPORTED_MEDIA_TYPE else _BAD_MESSAGES
        raise Refusal(ErrorCode.BAD_REQUEST, reason, detail=str(error)) from None
    except TooMuchText:
        raise Refusal(ErrorCode.BAD_REQUEST, _BAD_MESSAGES, detail="too many texts") from None
    return (_own(replace(first, resource=None)), *map(_own, more))


def _own(action: Action) -> Action:
    """The action as one of this API, which has no provider and asks for one capability alone."""
    attributes = {name: value for name, value in action.attributes.items() if name != "provider"}
    return replace(action, capabilities=_PROMPT_CAPABILITIES, attributes=attributes)


def _vendor(document: dict[str, Any]) -> Reading:
    provider = document["provider"]
    reader = VENDORS.get(provider) if type(provider) is str else None
    if reader is None:
        name = f" '{shown(provider)}'" if type(provider) is str else ""
        raise Refusal(
            ErrorCode.BAD_REQUEST, f"Unknown provider{name}: it is one of {', '.join(sorted(VENDORS)) or 'none'}"
        )
    body = {name: value for name, value in document.items() if name != "provider"}
    return Reading(guarded(reader, body), body)


def _tool(document: Any) -> Action:
    if type(document) is not dict:
        raise Refusal(ErrorCode.BAD_REQUEST, _BAD_TOOL, detail="the body is not an object")
    tool = document.get("toolName")
    if type(tool) is not str or not 0 < len(tool) <= _MAX_NAME:
        raise Refusal(
            ErrorCode.BAD_REQUEST, _BAD_TOOL, detail=f"toolName is not a string of 1 to {_MAX_NAME} characters"
        )
    arguments = document.get("arguments")
    if arguments is None:
        arguments = document.get("args")
    return Action(
        TOOL_EXECUTE,
        _TOOL_CAPABILITIES,
        resource=tool,
        tool=tool,
        arguments=arguments if type(arguments) is dict else {},
        attributes={"toolName": tool},
    )


def _data(decision: Decision) -> dict[str, Any] | None:
    """What the answer says beyond the decision: the risk of a prompt, its sanitized form."""
    if not decision.verdicts:
        return None
    verdict = decision.verdicts[0]
    data: dict[str, Any] = {}
    if decision.allowed:
        data["allowed"] = True
    elif decision.code is not ErrorCode.PROMPT_BLOCKED:
        return None
    if verdict.risk is not None:
        data["riskScore"] = verdict.risk
        data["riskLevel"] = risk_level(verdict.risk)
    if decision.allowed and verdict.sanitized is not None:
        clean = rewritten(decision.document, verdict.action.messages, verdict.sanitized)
        if "messages" in clean:
            data["sanitizedMessages"] = clean["messages"]
        if "provider" in verdict.action.attributes:
            data["sanitizedBody"] = clean
    return data

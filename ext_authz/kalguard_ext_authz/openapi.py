"""The OpenAPI 3.1 description of the HTTP API, generated from the models below.

Rules of this file: the models describe what is on the wire for people and code generators; the protocol reader in
the core is what decides. Statuses and error codes come from the core's table, so they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from kalguard_core.codes import STATUS, ErrorCode


class PromptMessage(BaseModel):
    """One message of a conversation, in the shape of the OpenAI chat API."""

    role: str = Field(examples=["user"])
    content: str | list[dict[str, Any]] | None = Field(
        default=None, description="Text, or a list of content parts. All text in it is scored."
    )


class PromptCheck(BaseModel):
    """Messages that an agent is about to send to a model."""

    messages: list[PromptMessage] = Field(min_length=1)
    context: dict[str, Any] | None = Field(default=None, description="Ignored; kept for existing clients.")


class ToolCheck(BaseModel):
    """A tool call that an agent is about to make."""

    tool_name: str = Field(alias="toolName", min_length=1, description="Exact name in the tool catalog.")
    arguments: dict[str, Any] | None = Field(default=None, description="Checked against the tool's schema.")
    args: dict[str, Any] | None = Field(default=None, description="Read when `arguments` is missing or null.")


class SecurityResponse(BaseModel):
    """The answer to every request except the probes."""

    model_config = ConfigDict(
        json_schema_extra={"required": ["allowed", "decision", "message", "requestId", "ok", "reason"]}
    )

    allowed: bool = Field(description="Whether the agent may go on. Anything but true is a refusal.")
    decision: Literal["allow", "deny", "require_approval"]
    message: str = Field(description="Why, in words for the agent.")
    request_id: str = Field(alias="requestId", description="Also in the header x-kalguard-request-id.")
    data: dict[str, Any] | None = Field(
        default=None, description="More about the decision, such as sanitized messages to send instead."
    )
    error_code: ErrorCode | None = Field(default=None, alias="errorCode", description="Set on a refusal.")
    ok: bool = Field(description="Whether the question was answered, by an allow or by a refusal.")
    reason: str = Field(description="The same as message.")


class HealthAnswer(BaseModel):
    """The process is up and answers."""

    status: Literal["ok"]
    request_id: str = Field(alias="requestId")
    warning: str | None = Field(default=None, description="Set while unsigned tokens are accepted.")


class LiveAnswer(BaseModel):
    """The process is alive."""

    status: Literal["ok"]


class CheckAnswer(BaseModel):
    """The state of one part."""

    status: Literal["ok", "degraded", "unavailable"]
    detail: str


class ReadyAnswer(BaseModel):
    """The state of all parts: the policy, keys, the audit sink, and so on."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, CheckAnswer]


_MODELS: Final[tuple[type[BaseModel], ...]] = (
    PromptCheck,
    ToolCheck,
    SecurityResponse,
    HealthAnswer,
    LiveAnswer,
    ReadyAnswer,
)
_PROMPT_EXAMPLE: Final = {"messages": [{"role": "user", "content": "What is the weather in NYC?"}]}
_TOOL_EXAMPLE: Final = {"toolName": "get_weather", "arguments": {"location": "NYC"}}
_REQUEST_ID: Final = {
    "name": "x-kalguard-request-id",
    "in": "header",
    "required": False,
    "description": "Your id of this request; echoed, audited. Anything that doesn't match is replaced.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
}
_ID_HEADER: Final = {
    "x-kalguard-request-id": {
        "description": "Id of this request, as the audit log has it.",
        "schema": {"type": "string"},
    }
}
_DESCRIPTION: Final = (
    "Asks KalGuard whether an agent may send messages to a model or call a tool. Every check needs the agent's"
    " token. Everything fails closed: an answer that is not 200 with `allowed: true` is a refusal."
)


def document(max_body_bytes: int) -> dict[str, Any]:
    """The description as plain data. `max_body_bytes` is the limit that a 413 names."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "KalGuard HTTP API",
            "version": version("kalguard"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "checks", "description": "Decisions. Each answer has an audit line."},
            {"name": "probes", "description": "No token, no audit."},
        ],
        "paths": {
            "/v1/prompt/check": _check("checkPrompt", "May these messages go to a model?", "PromptCheck"),
            "/v1/llm/check": _check("checkLlm", "The same as /v1/prompt/check.", "PromptCheck"),
            "/v1/tool/check": _check("checkTool", "May this tool be called?", "ToolCheck"),
            "/health": _probe("health", "Is the process up? Always 200.", "HealthAnswer"),
            "/livez": _probe("livez", "Liveness: is the process alive?", "LiveAnswer"),
            "/readyz": _probe("readyz", "Readiness: can it decide? Names each part.", "ReadyAnswer", 503),
            "/openapi.json": {
                "get": {
                    "operationId": "openapi",
                    "summary": "This document.",
                    "tags": ["probes"],
                    "security": [],
                    "responses": {
                        "200": {
                            "description": "OK",
                            "headers": _ID_HEADER,
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        }
                    },
                }
            },
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "header": {"type": "apiKey", "in": "header", "name": "x-kalguard-token"},
            },
        },
        "security": [{"bearer": []}, {"header": []}],
        "x-kalguard-max-body-bytes": max_body_bytes,
    }


def _check(operation: str, summary: str, body: str) -> dict[str, Any]:
    example = _TOOL_EXAMPLE if body == "ToolCheck" else _PROMPT_EXAMPLE
    responses = {
        "200": _response("Allowed.", "SecurityResponse", {"allowed": _answer("OK", None)}),
    }
    for status, codes in _codes_by_status().items():
        examples = {code.value: _answer(_EXAMPLE_REASONS.get(code, code.value), code) for code in codes}
        responses[str(status)] = _response(HTTPStatus(status).phrase, "SecurityResponse", examples)
    responses["429"]["headers"] = {
        **_ID_HEADER,
        "retry-after": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
    }
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "tags": ["checks"],
            "parameters": [_REQUEST_ID],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"$ref": f"#/components/schemas/{body}"},
                        "examples": {"benign": {"value": example}},
                    }
                },
            },
            "responses": responses,
        }
    }


def _probe(operation: str, summary: str, model: str, *other_statuses: int) -> dict[str, Any]:
    responses = {"200": _response("OK", model, {})}
    for status in other_statuses:
        responses[str(status)] = _response(HTTPStatus(status).phrase, model, {})
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "tags": ["probes"],
            "security": [],
            "responses": responses,
        }
    }


def _response(description: str, model: str, examples: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{model}"}}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"description": description, "headers": _ID_HEADER, "content": {"application/json": content}}


_EXAMPLE_REASONS: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.AUTH_FAILED: "Unauthorized",
    ErrorCode.BAD_REQUEST: "Invalid JSON",
    ErrorCode.CAPABILITY_DENIED: "missing capability: prompt:send",
    ErrorCode.POLICY_DENY: "no matching rule",
    ErrorCode.PROMPT_BLOCKED: "prompt blocked: risk score 80 >= 70",
    ErrorCode.TOOL_DENIED: "tool not on allowlist",
    ErrorCode.RATE_LIMIT_EXCEEDED: "rate limit exceeded",
    ErrorCode.PAYLOAD_TOO_LARGE: "Payload Too Large",
    ErrorCode.REQUEST_TIMEOUT: "request body timed out",
    ErrorCode.NOT_FOUND: "Not Found",
}


def _answer(reason: str, code: ErrorCode | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "allowed": code is None,
        "decision": _decision(code),
        "message": reason,
        "requestId": "req_0123456789abcdef01234567",
    }
    if code is not None:
        answer["errorCode"] = code.value
    return answer | {"ok": code is None or STATUS[code] in (403, 429), "reason": reason}


def _decision(code: ErrorCode | None) -> str:
    if code is None:
        return "allow"
    return "require_approval" if code is ErrorCode.REQUIRE_APPROVAL else "deny"


def _codes_by_status() -> Mapping[int, Iterable[ErrorCode]]:
    grouped: dict[int, list[ErrorCode]] = {}
    for code, status in sorted(STATUS.items(), key=lambda item: item[1]):
        grouped.setdefault(status, []).append(code)
    return grouped

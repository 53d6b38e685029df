"""The words of every answer: outcomes, error codes with their HTTP status, capabilities, action names.

Rule of this file: an error code and its HTTP status are stated here once, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Outcome(StrEnum):
    """What was decided. Anything but `ALLOW` is a refusal."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


class ErrorCode(StrEnum):
    """Why a request was refused, in a form that programs can branch on."""

    BAD_REQUEST = "BAD_REQUEST"
    AUTH_FAILED = "AUTH_FAILED"
    TOKEN_REVOKED = "TOKEN_REVOKED"  # noqa: S105 - an error code, not a secret
    CAPABILITY_DENIED = "CAPABILITY_DENIED"
    POLICY_DENY = "POLICY_DENY"
    REQUIRE_APPROVAL = "REQUIRE_APPROVAL"
    PROMPT_BLOCKED = "PROMPT_BLOCKED"
    TOOL_DENIED = "TOOL_DENIED"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    INTERNAL = "INTERNAL"
    AUDIT_UNAVAILABLE = "AUDIT_UNAVAILABLE"
    STATE_UNAVAILABLE = "STATE_UNAVAILABLE"


STATUS: Final[Mapping[ErrorCode, int]] = MappingProxyType(
    {
        ErrorCode.BAD_REQUEST: 400,
        ErrorCode.AUTH_FAILED: 401,
        ErrorCode.TOKEN_REVOKED: 401,
        ErrorCode.CAPABILITY_DENIED: 403,
        ErrorCode.POLICY_DENY: 403,
        ErrorCode.REQUIRE_APPROVAL: 403,
        ErrorCode.PROMPT_BLOCKED: 403,
        ErrorCode.TOOL_DENIED: 403,
        ErrorCode.NOT_FOUND: 404,
        ErrorCode.METHOD_NOT_ALLOWED: 405,
        ErrorCode.REQUEST_TIMEOUT: 408,
        ErrorCode.PAYLOAD_TOO_LARGE: 413,
        ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
        ErrorCode.RATE_LIMIT_EXCEEDED: 429,
        ErrorCode.INTERNAL: 500,
        ErrorCode.AUDIT_UNAVAILABLE: 503,
        ErrorCode.STATE_UNAVAILABLE: 503,
    }
)


class Capability(StrEnum):
    """What a token may be good for. Unknown capabilities in a token are dropped."""

    LLM_CALL = "llm:call"
    TOOL_EXECUTE = "tool:execute"
    TOOL_READ = "tool:read"
    TOOL_WRITE = "tool:write"
    NETWORK_OUTBOUND = "network:outbound"
    PROMPT_SEND = "prompt:send"
    PROMPT_RECEIVE = "prompt:receive"


PROMPT_CHECK: Final = "prompt:check"
TOOL_EXECUTE: Final = "tool:execute"
HTTP_REQUEST: Final = "http:request"
# What a model request points at or carries that we cannot look into; both need a rule that names them.
CONTENT_REFERENCE: Final = "content:reference"
CONTENT_MEDIA: Final = "content:media"

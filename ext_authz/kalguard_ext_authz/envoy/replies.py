"""The answers that Envoy gives by itself, in our words: which they are, and their JSON.

Rules of this file: a body that the ext_authz server wrote is never touched. Envoy passes denials of the
server through the same mappers, so every mapper here excludes `ext_authz_denied`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from envoy_data_plane.envoy.config.accesslog import v3 as accesslog
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel import v3 as cel
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.google.protobuf import Any, Struct

from kalguard_core.codes import ErrorCode

# Envoy's own id of a request. What its codec refuses has none; it ends its connection, whose number stands for it.
REQUEST_ID: Final = '%COALESCE({"operators": [{"command": "REQ", "param": "X-REQUEST-ID"}, "CONNECTION_ID"]})%'
_NOT_OURS: Final = 'response.code_details != "ext_authz_denied"'


@dataclass(frozen=True, slots=True)
class _OwnReply:
    """`when`: CEL over Envoy's response attributes. `message`: for the agent; nothing about our insides."""

    when: str
    code: ErrorCode
    message: str


# First match wins. `%RESPONSE_CODE_DETAILS%` says more, in the access log only.
_OWN_REPLIES: Final = (
    _OwnReply('response.code_details == "ext_authz_error"', ErrorCode.INTERNAL, "authorization service unavailable"),
    _OwnReply("response.code == 400", ErrorCode.BAD_REQUEST, "malformed request"),
    _OwnReply(
        'response.code_details == "http1.https_url_on_plaintext_connection"',
        ErrorCode.BAD_REQUEST,
        "an https URL needs CONNECT",
    ),
    _OwnReply("response.code == 403", ErrorCode.BAD_REQUEST, "protocol upgrades are not allowed"),
    _OwnReply("response.code == 404", ErrorCode.NOT_FOUND, "no route for this path"),
    _OwnReply("response.code == 408", ErrorCode.REQUEST_TIMEOUT, "the request took too long to arrive"),
    _OwnReply("response.code == 413", ErrorCode.PAYLOAD_TOO_LARGE, "request body too large"),
    _OwnReply("response.code == 431", ErrorCode.BAD_REQUEST, "request headers too large"),
    _OwnReply("response.code == 502", ErrorCode.INTERNAL, "the upstream sent an invalid response"),
    _OwnReply("response.code == 503", ErrorCode.INTERNAL, "the upstream is unavailable"),
    _OwnReply("response.code == 504", ErrorCode.INTERNAL, "the upstream did not answer in time"),
    _OwnReply("response.code >= 400 && response.code < 500", ErrorCode.BAD_REQUEST, "malformed request"),
    _OwnReply("response.code >= 500", ErrorCode.INTERNAL, "internal error"),
)


def local_replies() -> hcm.LocalReplyConfig:
    """The `local_reply_config` of the agent-facing connection manager."""
    return hcm.LocalReplyConfig(mappers=[_mapper(reply) for reply in _OWN_REPLIES])


def _mapper(reply: _OwnReply) -> hcm.ResponseMapper:
    body = {
        "ok": False,
        "allowed": False,
        "decision": "deny",
        "message": reply.message,
        "reason": reply.message,
        "requestId": REQUEST_ID,
        "errorCode": reply.code.value,
    }
    expression = cel.ExpressionFilter(expression=f"{reply.when} && {_NOT_OURS}")
    return hcm.ResponseMapper(
        filter=accesslog.AccessLogFilter(
            extension_filter=accesslog.ExtensionFilter(
                name="envoy.access_loggers.extension_filters.cel", typed_config=Any.pack(expression)
            )
        ),
        body_format_override=core.SubstitutionFormatString(
            json_format=Struct.from_dict(body), content_type="application/json"
        ),
    )

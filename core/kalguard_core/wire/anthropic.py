"""Anthropic: messages, counting of tokens, batches, files and models.

Rules of this file: an endpoint that is not in the table is not found. What the vendor keeps (batches, files) is
read or changed only where a rule names `content:reference`; what is sent there is read first.
Beta headers (`anthropic-beta`) switch on members and blocks of the body and nothing else, and the body is read
without regard to them: what they would switch on is known, or refused.
Sources: https://platform.claude.com/docs/en/api and the `anthropic` SDK.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

from ..action import Action
from ..codes import ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .answers import vendor_headers, vendor_message
from .anthropic_messages import read_complete_body, read_messages_body
from .base import LLM_CALL, Endpoint, Reading, Route
from .batch import Batch
from .endpoints import Endpoints
from .headers import require_json
from .json import encode_json
from .multipart import once, read_multipart
from .prompt import BodyError, Prompt, guarded, model_name, read_json

_PROVIDER: Final = "anthropic"
_BETA: Final = frozenset({"beta"})
_PAGE: Final = _BETA | {"limit", "after_id", "before_id"}
_FILE_QUERY: Final = frozenset({"page", "scope_id", "ids[]"})

# Headers that choose for whom a credential acts. It is the operator's, who can set them in Envoy.
_ON_BEHALF: Final = frozenset({"anthropic-organization-id", "anthropic-user-profile-id", "anthropic-workspace-id"})
_REQUEST: Final = frozenset({"custom_id", "params"})
_BATCH: Final = frozenset({"requests"})
_FIELDS: Final = frozenset({"file", "expires_in_seconds", "purpose"})

# `error.type` by status (https://platform.claude.com/docs/en/api/errors); the SDKs go by the status.
_ERROR_TYPE: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
}

_MESSAGE: Final = (
    "system, all turns with every kind of block, tools (Anthropic's own and MCP servers as `hosted:…`), "
    "attachments, references to files, containers, skills and threads"
)


def _stored(method: str, path: str, name: str, reads: str, query: frozenset[str] = _BETA) -> Endpoint:
    what = "`llm:file`" if path.startswith("/v1/files") else "`llm:batch`"
    return Endpoint(method, path, name, f"{what} and `content:reference`", reads, LLM_CALL, query, body=False)


class Anthropic:
    """Anthropic's API for models."""

    kind = "anthropic"
    title = "Anthropic"
    endpoints: tuple[Endpoint, ...] = (
        Endpoint("POST", "/v1/messages", "anthropic.messages", "`prompt:check`", _MESSAGE, query=_BETA),
        Endpoint(
            "POST", "/v1/messages/count_tokens", "anthropic.count_tokens", "`llm:count`", _MESSAGE, LLM_CALL, _BETA
        ),
        Endpoint(
            "POST",
            "/v1/messages/batches",
            "anthropic.batch",
            "`llm:batch`, and `prompt:check` for each element",
            "each element as a message is; elements that ask for the same kind of thing are one action together",
            query=_BETA,
        ),
        _stored("GET", "/v1/messages/batches", "anthropic.batches", "nothing; it lists batches", _PAGE),
        _stored("GET", "/v1/messages/batches/{batch}", "anthropic.batch_read", "the batch's id"),
        _stored("DELETE", "/v1/messages/batches/{batch}", "anthropic.batch_delete", "the batch's id"),
        _stored("POST", "/v1/messages/batches/{batch}/cancel", "anthropic.batch_cancel", "the batch's id"),
        _stored("GET", "/v1/messages/batches/{batch}/results", "anthropic.batch_results", "the batch's id"),
        Endpoint("POST", "/v1/complete", "anthropic.complete", "`prompt:check`", "the prompt", query=_BETA),
        Endpoint(
            "GET",
            "/v1/models",
            "anthropic.models",
            "`llm:models`",
            "nothing; it lists models",
            LLM_CALL,
            _PAGE | {"lifecycle"},
            body=False,
        ),
        Endpoint(
            "GET",
            "/v1/models/{model}",
            "anthropic.model",
            "`llm:models`",
            "the model's id",
            LLM_CALL,
            _BETA,
            body=False,
        ),
        Endpoint(
            "POST",
            "/v1/files",
            "anthropic.upload",
            "`llm:file`",
            "the file where it is text (other files are `content:media`), its name, the other fields of the form",
            LLM_CALL,
            _BETA,
        ),
        _stored("GET", "/v1/files", "anthropic.files", "nothing; it lists files", _PAGE | _FILE_QUERY),
        _stored("GET", "/v1/files/{file}", "anthropic.file", "the file's id"),
        _stored("DELETE", "/v1/files/{file}", "anthropic.file_delete", "the file's id"),
        _stored("GET", "/v1/files/{file}/content", "anthropic.file_content", "the file's id"),
    )
    refused: tuple[tuple[str, str], ...] = (
        ("blocks of an unknown type", "what they carry is not known"),
        ("`fallbacks`, and members of gateways like `api_base`", "another model or server would get the prompt"),
        (
            "the headers `anthropic-workspace-id`, `anthropic-user-profile-id`, `anthropic-organization-id`",
            "they choose for whom the operator's credential acts; the operator can set them in Envoy",
        ),
        ("skills, agents, sessions, environments, memory stores, vaults", "they act outside of any one request"),
        ("organization and workspace administration", "it is no work of an agent"),
    )
    answers_itself = False

    def __init__(self) -> None:
        self._table: Final = Endpoints("model", self.endpoints)

    def route(self, request: AgentRequest) -> Route:
        """The endpoint. Raises `Refusal` for every other path, method and query member, and for whom it would act."""
        if not _ON_BEHALF.isdisjoint(request.headers):
            name = min(_ON_BEHALF.intersection(request.headers))
            raise Refusal(ErrorCode.POLICY_DENY, f"the header {name} is not accepted: it is the operator's choice")
        return self._table.route(request)

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """What the body asks for. Raises `Refusal`."""
        if not route.reads_body:
            return Reading(_read_stored(route))
        if route.name == "anthropic.upload":
            return Reading(_read_upload(request, body))
        require_json(request.headers)
        return read_json(body, _READERS[route.name])

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """An error as Anthropic's API sends it; its SDKs show the header `request-id`."""
        error = {"type": _ERROR_TYPE.get(decision.status, "api_error"), "message": vendor_message(decision)}
        body = encode_json({"type": "error", "error": error, "request_id": decision.request_id})
        return Reply(decision.status, body, {**vendor_headers(decision), "request-id": decision.request_id})


def _read_stored(route: Route) -> tuple[Action, ...]:
    """A call whose meaning is its path alone."""
    kind = _KINDS.get(route.name)
    if kind is None:
        return Prompt(_PROVIDER, route.parameters.get("model")).actions("llm:models")
    prompt = Prompt(_PROVIDER, None)
    prompt.refer(kind, route.parameters.get(kind, "*"), (kind,))
    return prompt.actions(f"llm:{kind}")


def read_message(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of `POST /v1/messages`. Raises `BodyError`."""
    prompt = Prompt(_PROVIDER, model_name(document.get("model")))
    stream = read_messages_body(prompt, document, ())
    return prompt.actions(stream=stream, max_tokens=document.get("max_tokens"))


def _read_count(document: dict[str, Any]) -> tuple[Action, ...]:
    prompt = Prompt(_PROVIDER, model_name(document.get("model")))
    read_messages_body(prompt, document, ())
    return prompt.actions("llm:count")


def _read_complete(document: dict[str, Any]) -> tuple[Action, ...]:
    prompt = Prompt(_PROVIDER, model_name(document.get("model")))
    stream = read_complete_body(prompt, document, ())
    return prompt.actions(stream=stream, max_tokens=document.get("max_tokens_to_sample"))


def _read_batch(document: dict[str, Any]) -> tuple[Action, ...]:
    requests = document.get("requests")
    if type(requests) is not list or not requests:
        raise BodyError(("requests",), "must be a list with at least one request")
    whole = Prompt(_PROVIDER, None)
    batch = Batch()
    for index, element in enumerate(requests):
        place = ("requests", index)
        if type(element) is not dict or type(element.get("params")) is not dict:
            raise BodyError(place, "must be an object with params")
        params = element["params"]
        here = (*place, "params")
        prompt = Prompt(_PROVIDER, model_name(params.get("model"), (*here, "model")))
        stream = read_messages_body(prompt, params, here)
        prompt.others(element, _REQUEST, place)
        whole.rest("unread", element.get("custom_id"), (*place, "custom_id"))
        batch.add(prompt.actions(stream=stream, max_tokens=params.get("max_tokens")), place, inside=False)
    whole.message_count = len(requests)
    whole.others(document, _BATCH, ())
    return (*whole.actions("llm:batch"), *batch.actions())


_KINDS: Final = {
    "anthropic.batches": "batch",
    "anthropic.batch_read": "batch",
    "anthropic.batch_delete": "batch",
    "anthropic.batch_cancel": "batch",
    "anthropic.batch_results": "batch",
    "anthropic.files": "file",
    "anthropic.file": "file",
    "anthropic.file_delete": "file",
    "anthropic.file_content": "file",
}
_READERS: Final = {
    "anthropic.messages": read_message,
    "anthropic.count_tokens": _read_count,
    "anthropic.batch": _read_batch,
    "anthropic.complete": _read_complete,
}


def _read_upload(request: AgentRequest, body: bytes) -> tuple[Action, ...]:
    parts = once(read_multipart(request.headers, body))
    file = parts.get("file")
    if file is None or file.filename is None:
        raise Refusal(ErrorCode.BAD_REQUEST, "the form has no file")

    def read(_: dict[str, Any]) -> tuple[Action, ...]:
        prompt = Prompt(_PROVIDER, None)
        for name, part in parts.items():
            if part is not file:
                prompt.rest("unread", part.text(), (name,))
            if name not in _FIELDS:
                prompt.rest("unread", name, ())
        data = b64encode(file.data).decode("ascii")
        prompt.attach(file.media_type, data, ("file",), name=file.filename)
        return prompt.actions("llm:file")

    return guarded(read, {})

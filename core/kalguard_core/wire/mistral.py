"""Mistral's API: chat, FIM, agents, conversations, OCR, embeddings, files and batches.

Rules of this file: an endpoint is in the table with its reader, or it does not exist. An agent or a conversation
that Mistral keeps is a reference, and a tool that is no function is one that Mistral runs.
Source: the official SDK (`mistralai.client`), https://docs.mistral.ai/api.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..action import Action
from ..decision import Decision, Reply
from ..request import AgentRequest
from .answers import vendor_headers, vendor_message
from .base import LLM_CALL, Route
from .batch import Batch
from .chat import read_messages
from .json import encode_json
from .members import objects
from .openai import BASIC, CHAT, MODERATE, RESPONSES, SPEAK, TRANSCRIBE, files, stored
from .openai_calls import CLASSIFY, COMPLETIONS, EMBEDDINGS, MODERATIONS, OCR
from .openai_chat import MEMBERS, limit_of, model_of, read_chat, read_members, stream_of
from .openai_family import ERROR_TYPE, Call, Calls, Family
from .openai_files import JsonReader, read_element
from .openai_parts import read_content, refuse_media, unsupported
from .openai_stored import Stored
from .prompt import BodyError, Prompt
from .text import Place

_Member = Callable[[Prompt, Any, Place], None]


def read_agent_chat(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """A completion of an agent that Mistral keeps: it has the model."""
    prompt = Prompt(provider, model_of(document, route, required=False))
    if document.get("agent_id") is None:
        raise BodyError(("agent_id",), "is missing")
    read_messages(prompt, document.get("messages"))
    stream = stream_of(document)
    read_members(prompt, document, _AGENT_CHAT, frozenset(_AGENT_CHAT))
    return prompt.actions(stream=stream, max_tokens=limit_of(document))


def read_conversation(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """A conversation that is begun, carried on or begun again; or an agent that is made or changed."""
    prompt = Prompt(provider, model_of(document, route, required=False))
    for kind in ("conversation", "agent"):
        if kind in route.parameters:
            prompt.refer(kind, route.parameters[kind], (kind,))
    stream = stream_of(document)
    read_members(prompt, document, _CONVERSATION, frozenset(_CONVERSATION))
    limits = document.get("completion_args")
    limit = limit_of(limits) if type(limits) is dict else None
    return prompt.actions(stream=stream, max_tokens=limit)


def read_job(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """A batch: its requests one by one, and its files as references."""
    model = model_of(document, route, required=False)
    prompt = Prompt(provider, model)
    reader = _BATCHED.get(document["endpoint"]) if type(document.get("endpoint")) is str else None
    if reader is None:
        raise BodyError(("endpoint",), "is not one that can be batched")
    requests = document.get("requests")
    batch = Batch()
    if requests is not None:
        if type(requests) is not list:
            raise BodyError(("requests",), "must be a list")
        for index, request in enumerate(requests):
            here: Place = ("requests", index)
            body = request.get("body") if type(request) is dict else None
            if type(body) is not dict:
                raise BodyError(here, "must be an object with a body")
            prompt.others(request, frozenset({"body"}), here)
            for name in ("model", "agent_id"):
                if document.get(name) is not None:
                    body = {**body, name: document[name]}
            read_element(batch, reader, provider, body, here)
    read_members(prompt, document, _JOB, frozenset(_JOB))
    return (*prompt.actions("llm:batch"), *batch.actions())


def _input_files(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is not list:
        raise BodyError(place, "must be a list")
    for index, identifier in enumerate(value):
        prompt.refer("file", identifier, (*place, index))


def _agents(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is not list:
        raise BodyError(place, "must be a list")
    for index, identifier in enumerate(value):
        prompt.refer("agent", identifier, (*place, index))


def _entry_id(prompt: Prompt, value: Any, place: Place) -> None:
    prompt.refer("entry", value, place)


def _instructions(prompt: Prompt, value: Any, place: Place) -> None:
    read_content(prompt, value, "system", place)


def _inputs(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is str:
        prompt.message_count += 1
        prompt.say("user", value, place)
        return
    for entry, here in objects(value, place, "must be a string or a list of entries"):
        prompt.message_count += 1
        kind = entry.get("type", "message.input")
        if type(kind) is not str:
            raise BodyError((*here, "type"), "must be a string")
        if kind in ("message.input", "message.output"):
            role = entry.get("role", "user" if kind == "message.input" else "assistant")
            if role not in ("user", "assistant"):
                raise BodyError((*here, "role"), "must be user or assistant")
            read_content(prompt, entry.get("content"), role, (*here, "content"))
            known = frozenset({"type", "role", "content", "object"})
        elif kind in ("function.call", "function.result", "tool.execution", "agent.handoff"):
            prompt.rest("tool", {name: entry[name] for name in entry if name != "type"}, here)
            known = frozenset(entry)
        else:
            raise unsupported(kind, here)
        refuse_media(entry, known, here)
        prompt.others(entry, known, here)


def _confirmations(prompt: Prompt, value: Any, place: Place) -> None:
    """What lets Mistral make calls that it has asked about."""
    prompt.host("mcp", {"confirmations": value}, place)


_CONVERSATION: Final[dict[str, _Member | None]] = {
    **MEMBERS,
    "inputs": _inputs,
    "instructions": _instructions,
    "handoffs": _agents,
    "from_entry_id": _entry_id,
    "tool_confirmations": _confirmations,
}
_AGENT_CHAT: Final[dict[str, _Member | None]] = {**MEMBERS, "messages": None}
_JOB: Final[dict[str, _Member | None]] = {
    "model": None,
    "requests": None,
    "endpoint": None,
    "input_files": _input_files,
    "agent_id": MEMBERS["agent_id"],
}
_BATCHED: Final[dict[str, JsonReader]] = {
    "/v1/chat/completions": read_chat,
    "/v1/fim/completions": COMPLETIONS,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/moderations": MODERATIONS,
    "/v1/chat/moderations": MODERATIONS,
    "/v1/classifications": CLASSIFY,
    "/v1/chat/classifications": CLASSIFY,
    "/v1/ocr": OCR,
    "/v1/conversations": read_conversation,
    "/v1/agents/completions": read_agent_chat,
}

_PAGE: Final = frozenset({"page", "page_size"})
_KEPT: Final = Stored("conversation", "conversation")
_AGENT: Final = Stored("agent", "agent")
_TEXT: Final = "all entries, instructions, tools, every other text; ids as references"


def _prompt(path: str, name: str, reader: JsonReader, method: str = "POST") -> Call:
    return Call(method, path, name, reader, "prompt:check", _TEXT)


def _call(path: str, name: str, reader: JsonReader, action: str, reads: str) -> Call:
    return Call("POST", path, name, reader, action, reads, capabilities=LLM_CALL)


_TABLE: Final = (
    CHAT,
    Call("POST", "/fim/completions", "fim", COMPLETIONS, "prompt:check", "the prompt and the suffix, every other text"),
    _prompt("/agents/completions", "agents.chat", read_agent_chat),
    *(call for call in BASIC if call.name != "completions"),
    MODERATE,
    _call("/chat/moderations", "chat.moderations", MODERATIONS, "llm:moderate", "all texts"),
    _call("/classifications", "classifications", CLASSIFY, "llm:classify", "all texts"),
    _call("/chat/classifications", "chat.classifications", CLASSIFY, "llm:classify", "all texts"),
    _call("/ocr", "ocr", OCR, "llm:ocr", "every text; the document is `content:media` or a reference"),
    *RESPONSES,
    SPEAK,
    TRANSCRIBE,
    _prompt("/conversations", "conversations", read_conversation),
    stored("/conversations", "conversations.list", Stored("conversation", "", "list"), query=_PAGE),
    _prompt("/conversations/{conversation}", "conversations.append", read_conversation),
    _prompt("/conversations/{conversation}/restart", "conversations.restart", read_conversation),
    stored("/conversations/{conversation}", "conversations.get", _KEPT),
    stored("/conversations/{conversation}/history", "conversations.history", _KEPT),
    stored("/conversations/{conversation}/messages", "conversations.messages", _KEPT),
    stored(
        "/conversations/{conversation}",
        "conversations.delete",
        Stored("conversation", "conversation", "delete"),
        "DELETE",
    ),
    _prompt("/agents", "agents", read_conversation),
    stored("/agents", "agents.list", Stored("agent", "", "list"), query=_PAGE),
    _prompt("/agents/{agent}", "agents.update", read_conversation, "PATCH"),
    stored("/agents/{agent}", "agents.get", _AGENT, query=frozenset({"agent_version"})),
    stored("/agents/{agent}", "agents.delete", Stored("agent", "agent", "delete"), "DELETE"),
    *files({}),
    _call("/batch/jobs", "jobs", read_job, "llm:batch", "each request with its own reader; files as references"),
    stored("/batch/jobs", "jobs.list", Stored("batch", "", "list"), query=_PAGE | {"model", "status"}),
    stored("/batch/jobs/{job}", "jobs.get", Stored("batch", "job"), query=frozenset({"inline"})),
    stored("/batch/jobs/{job}/cancel", "jobs.cancel", Stored("batch", "job", "cancel"), "POST"),
)
_CALLS: Final = Calls("mistral", (("/v1", _TABLE),))
_ROUTE: Final = Route("mistral.chat")


def read_chat_body(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of a chat completion. Raises `BodyError`."""
    return read_chat("mistral", document, _ROUTE)


class Mistral(Family):
    """Mistral's API."""

    kind = "mistral"
    title = "Mistral"
    provider = "mistral"
    calls = _CALLS
    endpoints = _CALLS.documented
    refused = (
        ("tokens in place of text", "nobody can read them"),
        ("parts and entries of an unknown type", "what they hold can't be read"),
        ("uploads with the purpose `batch` or `fine-tune`", "their lines do not say which endpoint reads them"),
        ("fine-tuning, libraries, connectors, workflows, observability, RAG, skills, voices", "not understood: 404"),
    )

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """The refusal as Mistral's API sends it; its SDK raises `SDKError` with this body for every status."""
        error = {
            "object": "error",
            "message": vendor_message(decision),
            "type": ERROR_TYPE.get(decision.status, "invalid_request_error"),
            "param": None,
            "code": None if decision.code is None else decision.code.value.lower(),
        }
        return Reply(decision.status, encode_json(error), vendor_headers(decision))

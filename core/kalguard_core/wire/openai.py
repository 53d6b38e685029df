"""OpenAI's API: chat completions, responses, and everything around them.

Rules of this file: an endpoint is in the table with its reader, or it does not exist. What is in the table and is
no call of a model (files, threads, what was stored) is a reference that a rule has to name.
Sources: https://platform.openai.com/docs/api-reference and the official SDK (`openai.resources`).
"""

from __future__ import annotations

from typing import Any, Final

from ..action import Action
from .base import LLM_CALL, Route
from .openai_calls import COMPLETIONS, EMBEDDINGS, IMAGES, MODERATIONS, SPEECH, read_realtime_session
from .openai_chat import read_chat
from .openai_family import FORM, NOTHING, Call, Calls, Family
from .openai_files import EDITS, TRANSCRIPTIONS, VARIATIONS, JsonReader, Upload, read_batch
from .openai_responses import read_count, read_items_body, read_responses
from .openai_stored import Listed, Stored, read_realtime
from .openai_threads import read_assistant, read_message, read_run, read_thread

_PAGE: Final = frozenset({"after", "before", "limit", "order"})
_INCLUDE: Final = frozenset({"include", "include[]", "include[0]", "include[1]", "include[2]", "include[3]"})
_STREAM: Final = frozenset({"stream", "starting_after", "include_obfuscation"})
_REFERENCE: Final = "content:reference"
_PROMPT: Final = "prompt:check"

CHAT: Final = Call(
    "POST",
    "/chat/completions",
    "chat",
    read_chat,
    _PROMPT,
    "all messages and parts, tools, tool calls and results, every other text; attachments; hosted tools, also those "
    "that a model's name brings (`…-search-preview`, `sonar…`, `compound…`, `…:online`)",
)
BASIC: Final = (
    Call("POST", "/completions", "completions", COMPLETIONS, _PROMPT, "the prompts as text (no tokens), the suffix"),
    Call(
        "POST",
        "/embeddings",
        "embeddings",
        EMBEDDINGS,
        "llm:embed",
        "the inputs as text (no tokens)",
        capabilities=LLM_CALL,
    ),
    Call("GET", "/models", "models", Listed(), "llm:models", "nothing", NOTHING, LLM_CALL),
    Call("GET", "/models/{model}", "model", Listed(), "llm:models", "the name in the path", NOTHING, LLM_CALL),
)
MODERATE: Final = Call(
    "POST", "/moderations", "moderations", MODERATIONS, "llm:moderate", "texts and image URLs", capabilities=LLM_CALL
)
SPEAK: Final = Call(
    "POST", "/audio/speech", "audio.speech", SPEECH, "llm:audio", "the text and the instructions", capabilities=LLM_CALL
)
TRANSCRIBE: Final = Call(
    "POST",
    "/audio/transcriptions",
    "audio.transcriptions",
    TRANSCRIPTIONS,
    "llm:audio",
    "the prompt and all other fields; the sound is `content:media`",
    FORM,
    LLM_CALL,
)
RESPONSES: Final = (
    Call(
        "POST",
        "/responses",
        "responses",
        read_responses,
        _PROMPT,
        "instructions, all items, tools, every other text; what the vendor keeps (responses, prompts, …) as references",
    ),
    Call("POST", "/responses/compact", "responses.compact", read_responses, _PROMPT, "as a response"),
    Call(
        "POST",
        "/responses/input_tokens",
        "responses.count",
        read_count,
        "llm:count",
        "as a response",
        capabilities=LLM_CALL,
    ),
)


def stored(path: str, name: str, reader: Stored, method: str = "GET", query: frozenset[str] = frozenset()) -> Call:
    """An endpoint about what the vendor keeps."""
    reads = "the id in the path" if "{" in path else "nothing: it lists them"
    return Call(method, path, name, reader, _REFERENCE, reads, NOTHING, LLM_CALL, query)


def changed(path: str, name: str, reader: Stored) -> Call:
    """An endpoint that changes what the vendor keeps."""
    return Call("POST", path, name, reader, _REFERENCE, "the id in the path, every text", capabilities=LLM_CALL)


STORED_RESPONSES: Final = (
    stored("/responses/{response}", "responses.get", Stored("response", "response"), query=_INCLUDE | _STREAM),
    stored("/responses/{response}", "responses.delete", Stored("response", "response", "delete"), "DELETE"),
    stored("/responses/{response}/cancel", "responses.cancel", Stored("response", "response", "cancel"), "POST"),
    stored(
        "/responses/{response}/input_items", "responses.items", Stored("response", "response"), query=_INCLUDE | _PAGE
    ),
)

# Requests that a batch may hold, by the `url` of its elements.
BATCHED: Final[dict[str, JsonReader]] = {
    "/v1/chat/completions": read_chat,
    "/v1/responses": read_responses,
    "/v1/completions": COMPLETIONS,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/moderations": MODERATIONS,
    "/v1/images/generations": IMAGES,
}


def files(batches: dict[str, JsonReader]) -> tuple[Call, ...]:
    """The endpoints of files, whose batches hold requests for the readers in `batches`."""
    return (
        Call(
            "POST",
            "/files",
            "files.upload",
            Upload(batches),
            "llm:file",
            "text files; each request of a batch with its own reader; other files are `content:media`",
            FORM,
        ),
        stored("/files", "files.list", Stored("file", "", "list"), query=_PAGE | {"purpose"}),
        stored("/files/{file}", "files.get", Stored("file", "file")),
        stored("/files/{file}", "files.delete", Stored("file", "file", "delete"), "DELETE"),
        stored("/files/{file}/content", "files.content", Stored("file", "file")),
    )


BATCHES: Final = (
    Call("POST", "/batches", "batches", read_batch, "llm:batch", "the file id as a reference, every text"),
    stored("/batches", "batches.list", Stored("batch", "", "list"), query=_PAGE),
    stored("/batches/{batch}", "batches.get", Stored("batch", "batch")),
    stored("/batches/{batch}/cancel", "batches.cancel", Stored("batch", "batch", "cancel"), "POST"),
)
PICTURES: Final = (
    Call("POST", "/images/generations", "images", IMAGES, "llm:image", "the prompt", capabilities=LLM_CALL),
    Call(
        "POST",
        "/images/edits",
        "images.edits",
        EDITS,
        "llm:image",
        "the prompt and all other fields; the images are `content:media`",
        FORM,
        LLM_CALL,
    ),
)
TRANSLATE: Final = Call(
    "POST",
    "/audio/translations",
    "audio.translations",
    TRANSCRIPTIONS,
    "llm:audio",
    "the prompt and all other fields; the sound is `content:media`",
    FORM,
    LLM_CALL,
)
_CONVERSATION: Final = Stored("conversation", "conversation")
CONVERSATIONS: Final = (
    Call("POST", "/conversations", "conversations", read_items_body, _PROMPT, "all items"),
    stored("/conversations/{conversation}", "conversations.get", _CONVERSATION),
    changed("/conversations/{conversation}", "conversations.update", Stored("conversation", "conversation", "write")),
    stored(
        "/conversations/{conversation}",
        "conversations.delete",
        Stored("conversation", "conversation", "delete"),
        "DELETE",
    ),
    Call(
        "POST",
        "/conversations/{conversation}/items",
        "conversations.add",
        read_items_body,
        _PROMPT,
        "all items",
        query=_INCLUDE,
    ),
    stored("/conversations/{conversation}/items", "conversations.items", _CONVERSATION, query=_INCLUDE | _PAGE),
    stored("/conversations/{conversation}/items/{item}", "conversations.item", _CONVERSATION, query=_INCLUDE),
    stored(
        "/conversations/{conversation}/items/{item}",
        "conversations.remove",
        Stored("conversation", "conversation", "delete"),
        "DELETE",
    ),
)
_COMPLETION: Final = Stored("completion", "completion")
STORED_CHATS: Final = (
    stored("/chat/completions", "chat.list", Stored("completion", "", "list"), query=_PAGE | {"model"}),
    stored("/chat/completions/{completion}", "chat.get", _COMPLETION),
    stored("/chat/completions/{completion}/messages", "chat.messages", _COMPLETION, query=_PAGE),
    changed("/chat/completions/{completion}", "chat.update", Stored("completion", "completion", "write")),
    stored("/chat/completions/{completion}", "chat.delete", Stored("completion", "completion", "delete"), "DELETE"),
)
_THREAD: Final = Stored("thread", "thread")
_WRITE: Final = Stored("thread", "thread", "write")
ASSISTANTS: Final = (
    Call("POST", "/assistants", "assistants", read_assistant, _PROMPT, "instructions, tools, every text"),
    stored("/assistants", "assistants.list", Stored("assistant", "", "list"), query=_PAGE),
    stored("/assistants/{assistant}", "assistants.get", Stored("assistant", "assistant")),
    Call(
        "POST",
        "/assistants/{assistant}",
        "assistants.update",
        read_assistant,
        _PROMPT,
        "instructions, tools, every text",
    ),
    stored("/assistants/{assistant}", "assistants.delete", Stored("assistant", "assistant", "delete"), "DELETE"),
    Call("POST", "/threads", "threads", read_thread, _PROMPT, "all messages; files as references"),
    stored("/threads/{thread}", "threads.get", _THREAD),
    Call("POST", "/threads/{thread}", "threads.update", read_thread, _PROMPT, "every text; files as references"),
    stored("/threads/{thread}", "threads.delete", Stored("thread", "thread", "delete"), "DELETE"),
    Call(
        "POST",
        "/threads/{thread}/messages",
        "threads.message",
        read_message,
        _PROMPT,
        "the message; files as references",
    ),
    stored("/threads/{thread}/messages", "threads.messages", _THREAD, query=_PAGE | {"run_id"}),
    stored("/threads/{thread}/messages/{message}", "threads.message.get", _THREAD),
    changed("/threads/{thread}/messages/{message}", "threads.message.update", _WRITE),
    stored(
        "/threads/{thread}/messages/{message}", "threads.message.delete", Stored("thread", "thread", "delete"), "DELETE"
    ),
    Call("POST", "/threads/runs", "threads.start", read_run, _PROMPT, "thread, instructions, tools; ids as references"),
    Call(
        "POST",
        "/threads/{thread}/runs",
        "runs",
        read_run,
        _PROMPT,
        "instructions, messages, tools; ids as references",
        query=_INCLUDE,
    ),
    stored("/threads/{thread}/runs", "runs.list", _THREAD, query=_PAGE),
    stored("/threads/{thread}/runs/{run}", "runs.get", _THREAD),
    changed("/threads/{thread}/runs/{run}", "runs.update", _WRITE),
    stored("/threads/{thread}/runs/{run}/cancel", "runs.cancel", Stored("thread", "thread", "cancel"), "POST"),
    Call(
        "POST",
        "/threads/{thread}/runs/{run}/submit_tool_outputs",
        "runs.outputs",
        read_run,
        _PROMPT,
        "the results of the tools",
    ),
    stored("/threads/{thread}/runs/{run}/steps", "runs.steps", _THREAD, query=_INCLUDE | _PAGE),
    stored("/threads/{thread}/runs/{run}/steps/{step}", "runs.step", _THREAD, query=_INCLUDE),
)


def _session(path: str, name: str) -> Call:
    return Call(
        "POST",
        path,
        name,
        read_realtime_session,
        "llm:realtime",
        "instructions, tools, every text; a rule has to name it, since who has the secret speaks past the gate",
        capabilities=LLM_CALL,
    )


REALTIME: Final = (
    Call(
        "GET",
        "/realtime",
        "realtime",
        read_realtime,
        "llm:realtime",
        "the model in the query and nothing that is said: a rule has to name it",
        NOTHING,
        LLM_CALL,
        frozenset({"model", "deployment", "intent", "call_id"}),
        upgrade=True,
    ),
    _session("/realtime/client_secrets", "realtime.client_secrets"),
    _session("/realtime/sessions", "realtime.sessions"),
    _session("/realtime/transcription_sessions", "realtime.transcription_sessions"),
)
REFUSED: Final = (
    ("tokens in place of text (`prompt`, `input`)", "nobody can read them"),
    (
        "members that name another server, model or template (`fallbacks`, `api_base`, `chat_template`, …)",
        "policy was asked about the one in `model`",
    ),
    ("parts and items of an unknown type", "what they hold can't be read"),
    ("attachments in members where no reader looks for one", "a lax server may read them all the same"),
)

VARY: Final = Call(
    "POST",
    "/images/variations",
    "images.variations",
    VARIATIONS,
    "llm:image",
    "all fields; the image is `content:media`",
    FORM,
    LLM_CALL,
)
EVERYTHING: Final = (
    CHAT,
    *BASIC,
    MODERATE,
    *RESPONSES,
    *STORED_RESPONSES,
    *CONVERSATIONS,
    *STORED_CHATS,
    *PICTURES,
    VARY,
    SPEAK,
    TRANSCRIBE,
    TRANSLATE,
    *files(BATCHED),
    *BATCHES,
    *ASSISTANTS,
    *REALTIME,
)
_CALLS: Final = Calls("openai", (("/v1", EVERYTHING), ("", EVERYTHING)))
_CHAT_ROUTE: Final = Route("openai.chat")
_RESPONSES_ROUTE: Final = Route("openai.responses")


def read_chat_body(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of a chat completion. Raises `BodyError`."""
    return read_chat("openai", document, _CHAT_ROUTE)


def read_responses_body(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of a response that is asked for. Raises `BodyError`."""
    return read_responses("openai", document, _RESPONSES_ROUTE)


class OpenAI(Family):
    """OpenAI. Each path is also known without `/v1`."""

    kind = "openai"
    title = "OpenAI"
    provider = "openai"
    calls = _CALLS
    endpoints = _CALLS.documented
    refused = (
        *REFUSED,
        (
            "uploads in parts, fine-tuning, evals, containers, vector stores, skills, videos, agents",
            "not understood: 404",
        ),
        ("`/v1/realtime/calls`, `/v1/live`", "sound over WebRTC does not come by here: 404"),
        ("files with a purpose of training (`fine-tune`)", "they change models"),
    )

"""The calls of OpenAI's APIs and their likes that are no conversation: embeddings, images, speech, ranking, ….

Rules of this file: the text of each is read as the prompt's is. Numbers that stand for text (tokens) cannot be
read, so they are refused.
Sources: the `*_create_params` types of OpenAI's SDK, Mistral's SDK, vLLM's OpenAI-compatible server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ..action import Action
from ..codes import PROMPT_CHECK, ErrorCode
from .base import Route
from .chat import read_messages
from .openai_chat import limit_of, model_of, one_model, read_members, stream_of
from .openai_parts import read_audio, read_content, read_part, refuse_media
from .openai_responses import read_stored_prompt
from .openai_tools import read_tools
from .prompt import BodyError, Prompt
from .text import Place

_Member = Callable[[Prompt, Any, Place], None]


def read_texts(prompt: Prompt, value: Any, place: Place, role: str = "user") -> None:
    """A text, a list of them, of parts, of messages, or of such lists. Raises `BodyError`; 415 for tokens."""
    if type(value) is not list:
        prompt.message_count += 1
        _read_text(prompt, value, place, role)
        return
    for index, member in enumerate(value):
        here = (*place, index)
        if type(member) is not list:
            prompt.message_count += 1
            _read_text(prompt, member, here, role)
            continue
        prompt.message_count += len(member)
        for number, inner in enumerate(member):
            _read_text(prompt, inner, (*here, number), role)


def _read_text(prompt: Prompt, value: Any, place: Place, role: str) -> None:
    if type(value) is str:
        prompt.say(role, value, place)
    elif type(value) is int:
        raise BodyError(place, "is a token, which nobody can read: send text", ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    elif type(value) is not dict:
        raise BodyError(place, "must be a text")
    elif "role" in value or "content" in value:  # a message, or what vLLM ranks
        if value.get("content") is not None:
            read_content(prompt, value["content"], role, (*place, "content"))
        refuse_media(value, frozenset(), place)
        prompt.others(value, frozenset({"content"}), place)
    elif "type" in value:
        read_part(prompt, value, role, place)
    else:
        refuse_media(value, frozenset(), place)
        prompt.rest(role, value, place)


class _Texts(Struct, frozen=True):
    """Reads a member as texts of one role."""

    role: str

    def __call__(self, prompt: Prompt, value: Any, place: Place) -> None:
        read_texts(prompt, value, place, self.role)


def _messages(prompt: Prompt, value: Any, place: Place) -> None:
    read_messages(prompt, value, place)


def _voice(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is dict:
        prompt.refer("voice", value.get("id"), (*place, "id"))
        prompt.others(value, frozenset({"id"}), place)
    else:
        prompt.rest("unread", value, place)


def _kept_voice(prompt: Prompt, value: Any, place: Place) -> None:
    prompt.refer("voice", value, place)


def _document(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is dict and value.get("type") is None:
        # The type may be left out; the member that is there says it.
        value = {**value, "type": "image_url" if "image_url" in value else "document_url"}
        value = value if "file_id" not in value else {**value, "type": "file"}
    read_part(prompt, value, "user", place)


class Call(Struct, frozen=True):
    """One kind of call: its action, and the members that are more than settings.

    `needs`: of these members one at least must be there. `required`: whether the model must be named.
    """

    action: str
    members: Mapping[str, _Member | None]
    needs: tuple[str, ...]
    required: bool = True

    def __call__(self, provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
        """The actions of the call. Raises `BodyError`."""
        prompt = Prompt(provider, model_of(document, route, required=self.required))
        stream = stream_of(document)
        if all(document.get(name) is None for name in self.needs):
            raise BodyError((self.needs[0],), "is missing")
        read_members(prompt, document, self.members, frozenset(self.members))
        return prompt.actions(self.action, stream=stream, max_tokens=limit_of(document))


_ALWAYS: Final[dict[str, _Member | None]] = {"model": None, "stream": None}
_USER: Final = _Texts("user")
_DOCUMENT: Final = _Texts("document")
_SYSTEM: Final = _Texts("system")

COMPLETIONS: Final = Call(PROMPT_CHECK, {**_ALWAYS, "prompt": _USER, "suffix": _USER}, ("prompt",))
EMBEDDINGS: Final = Call(
    "llm:embed", {**_ALWAYS, "input": _USER, "inputs": _USER, "messages": _messages}, ("input", "inputs", "messages")
)
MODERATIONS: Final = Call(
    "llm:moderate", {**_ALWAYS, "input": _USER, "inputs": _USER}, ("input", "inputs"), required=False
)
IMAGES: Final = Call("llm:image", {**_ALWAYS, "prompt": _USER}, ("prompt",), required=False)
SPEECH: Final = Call(
    "llm:audio",
    {
        **_ALWAYS,
        "input": _USER,
        "instructions": _SYSTEM,
        "voice": _voice,
        "voice_id": _kept_voice,
        "ref_audio": read_audio,
        "conversation_history": _DOCUMENT,
    },
    ("input",),
    required=False,
)
RERANK: Final = Call("llm:rerank", {**_ALWAYS, "query": _USER, "documents": _DOCUMENT}, ("query",))
SCORE: Final = Call(
    "llm:rerank",
    {
        **_ALWAYS,
        "text_1": _USER,
        "text_2": _DOCUMENT,
        "queries": _USER,
        "documents": _DOCUMENT,
        "data_1": _USER,
        "data_2": _DOCUMENT,
    },
    ("text_1", "queries", "data_1"),
)
TOKENIZE: Final = Call(
    "llm:count",
    {**_ALWAYS, "prompt": _USER, "messages": _messages, "tools": read_tools},
    ("prompt", "messages"),
    required=False,
)
CLASSIFY: Final = Call(
    "llm:classify", {**_ALWAYS, "input": _USER, "inputs": _USER, "messages": _messages}, ("input", "inputs", "messages")
)
OCR: Final = Call(
    "llm:ocr", {**_ALWAYS, "document": _document, "document_annotation_prompt": _USER}, ("document",), required=False
)


_TOP: Final[Place] = ()
_SESSION: Final[Place] = ("session",)


def read_realtime_session(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """A secret for a session of its own: who has it speaks past this gate, so a rule has to name the action."""
    session, place = document, _TOP
    if route.name.endswith(".client_secrets"):
        session, place = document.get("session", {}), _SESSION
        if type(session) is not dict:
            raise BodyError(place, "must be an object")
    model = session.get("model")
    prompt = Prompt(provider, None if model is None else one_model(model, (*place, "model")))
    if session.get("instructions") is not None:
        read_texts(prompt, session["instructions"], (*place, "instructions"), "system")
    if session.get("tools") is not None:
        read_tools(prompt, session["tools"], (*place, "tools"))
    if session.get("prompt") is not None:
        read_stored_prompt(prompt, session["prompt"], (*place, "prompt"))
    prompt.others(session, frozenset({"model", "instructions", "tools", "prompt"}), place)
    if place:
        prompt.others(document, frozenset({"session"}), ())
    first, *more = prompt.actions("llm:realtime")
    return (replace(first, explicit=True), *more)

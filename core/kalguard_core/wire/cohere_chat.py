"""The bodies of Cohere's calls: the same at Cohere itself and on AWS Bedrock, where they name no model.

Rules of this file: every string in a body is read; a part has a type that is known here, or the request is refused.
Connectors and web search run at the vendor. The messages of chat v2 have the shape that Mistral's models take too.
Sources: https://docs.cohere.com/reference and the types of the `cohere` SDK; for Mistral
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-chat-completion.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..codes import ErrorCode
from .members import flag, items, limit, objects, string
from .prompt import BodyError, Prompt
from .text import Place, shown

Body = dict[str, Any]

_ROLES: Final = frozenset({"system", "user", "assistant", "tool"})
_HISTORY_ROLES: Final[Mapping[str, str]] = {
    "SYSTEM": "system",
    "USER": "user",
    "CHATBOT": "assistant",
    "TOOL": "tool",
}

_CHAT: Final = frozenset({"model", "messages", "documents", "tools", "stream", "max_tokens"})
# Of chat v1: a model that goes by them reads another conversation than the one in `messages`.
OLD_MEMBERS: Final = frozenset(
    {"message", "preamble", "chat_history", "tool_results", "connectors", "conversation_id", "raw_prompting"}
)
_OLD_CHAT: Final = frozenset(
    {
        "model",
        "message",
        "preamble",
        "chat_history",
        "documents",
        "tools",
        "tool_results",
        "connectors",
        "conversation_id",
        "raw_prompting",
        "stream",
        "max_tokens",
    }
)
_GENERATE: Final = frozenset({"model", "prompt", "preset", "raw_prompting", "stream", "max_tokens"})
_SUMMARIZE: Final = frozenset({"model", "text", "additional_command"})
_CLASSIFY: Final = frozenset({"model", "inputs", "examples", "preset"})
_EMBED: Final = frozenset({"model", "texts", "images", "inputs"})
_RERANK: Final = frozenset({"model", "query", "documents"})
_TOKENS: Final = frozenset({"model", "text"})

_MESSAGE: Final = frozenset({"role", "content", "tool_calls", "tool_plan", "tool_call_id", "citations"})
_TURN: Final = frozenset({"role", "message", "tool_calls", "tool_results"})
_INPUT: Final = frozenset({"content"})
_IMAGE_URL: Final = frozenset({"url"})


def read_chat(prompt: Prompt, body: Body, place: Place) -> bool:
    """Chat v2; answers whether it asks for a stream. Raises `BodyError`, as all of these do."""
    for key, value in body.items():
        if key.casefold() in OLD_MEMBERS and value is not None and value is not False:
            raise BodyError((*place, key), "does not go with messages")
    read_turns(prompt, body.get("messages"), (*place, "messages"))
    prompt.rest("document", body.get("documents"), (*place, "documents"))
    read_functions(prompt, body.get("tools"), (*place, "tools"))
    prompt.others(body, _CHAT, place)
    return _stream(body, place)


def read_old_chat(prompt: Prompt, body: Body, place: Place) -> bool:
    """Chat v1: one message, and the history beside it."""
    _refuse_raw(body, place)
    if body.get("preamble") is not None:
        prompt.say("system", string(body, "preamble", place), (*place, "preamble"))
    history = items(body, "chat_history", place)
    for index, turn in enumerate(history):
        _read_turn(prompt, turn, (*place, "chat_history", index))
    prompt.say("user", string(body, "message", place), (*place, "message"))
    prompt.message_count += len(history) + 1
    prompt.rest("tool", body.get("tool_results"), (*place, "tool_results"))
    prompt.rest("document", body.get("documents"), (*place, "documents"))
    for index, tool in enumerate(items(body, "tools", place)):
        prompt.offer(tool.get("name") if type(tool) is dict else None)
        prompt.rest("tool", tool, (*place, "tools", index))
    for index, connector in enumerate(items(body, "connectors", place)):
        _read_connector(prompt, connector, (*place, "connectors", index))
    if body.get("conversation_id") is not None:
        prompt.refer("conversation", body["conversation_id"], (*place, "conversation_id"))
    prompt.others(body, _OLD_CHAT, place)
    return _stream(body, place)


def read_generate(prompt: Prompt, body: Body, place: Place) -> bool:
    """Text that is to be continued."""
    _refuse_raw(body, place)
    prompt.say("user", string(body, "prompt", place), (*place, "prompt"))
    prompt.message_count += 1
    _read_preset(prompt, body, place)
    prompt.others(body, _GENERATE, place)
    return _stream(body, place)


def read_summarize(prompt: Prompt, body: Body, place: Place) -> bool:
    """Text that is to be summarised."""
    if body.get("additional_command") is not None:
        prompt.say("user", string(body, "additional_command", place), (*place, "additional_command"))
    prompt.say("document", string(body, "text", place), (*place, "text"))
    prompt.message_count += 1
    prompt.others(body, _SUMMARIZE, place)
    return False


def read_classify(prompt: Prompt, body: Body, place: Place) -> bool:
    """Texts that are to be sorted, with examples."""
    _say_all(prompt, body, "inputs", place)
    prompt.rest("user", body.get("examples"), (*place, "examples"))
    _read_preset(prompt, body, place)
    prompt.others(body, _CLASSIFY, place)
    return False


def read_embed(prompt: Prompt, body: Body, place: Place) -> bool:
    """Texts and images that become vectors."""
    _say_all(prompt, body, "texts", place)
    for index, image in enumerate(items(body, "images", place)):
        prompt.attach_url(image, (*place, "images", index), kind="image/*")
    for index, item in enumerate(items(body, "inputs", place)):
        here = (*place, "inputs", index)
        if type(item) is not dict:
            raise BodyError(here, "must be an object")
        read_content(prompt, item.get("content"), "user", (*here, "content"))
        prompt.others(item, _INPUT, here)
    prompt.others(body, _EMBED, place)
    return False


def read_rerank(prompt: Prompt, body: Body, place: Place) -> bool:
    """A question, and the documents that are to be put in order."""
    prompt.say("user", string(body, "query", place), (*place, "query"))
    prompt.rest("document", items(body, "documents", place), (*place, "documents"))
    prompt.others(body, _RERANK, place)
    return False


def read_tokens(prompt: Prompt, body: Body, place: Place) -> bool:
    """Text that is cut into tokens, or tokens (numbers) that become text."""
    if body.get("text") is not None:
        prompt.say("user", string(body, "text", place), (*place, "text"))
    prompt.others(body, _TOKENS, place)
    return False


def read_turns(prompt: Prompt, messages: Any, place: Place) -> None:
    """The messages of chat v2, and of Mistral's models on Bedrock."""
    if type(messages) is not list or not messages:
        raise BodyError(place, "must be a list with at least one message")
    for index, message in enumerate(messages):
        here = (*place, index)
        if type(message) is not dict:
            raise BodyError(here, "must be an object")
        role = message.get("role")
        if type(role) is not str or role not in _ROLES:
            raise BodyError((*here, "role"), "must be system, user, assistant or tool")
        content = message.get("content")
        if content is not None:
            read_content(prompt, content, role, (*here, "content"))
        elif role != "assistant":
            raise BodyError((*here, "content"), "is missing")
        if len(message) > 2 or content is None:
            prompt.rest("tool", message.get("tool_calls"), (*here, "tool_calls"))
            prompt.rest("tool", message.get("tool_call_id"), (*here, "tool_call_id"))
            prompt.rest("assistant", message.get("tool_plan"), (*here, "tool_plan"))
            prompt.rest("document", message.get("citations"), (*here, "citations"))
            prompt.others(message, _MESSAGE, here)
    prompt.message_count += len(messages)


def read_content(prompt: Prompt, content: Any, role: str, place: Place) -> None:
    """Content that is a text or a list of parts."""
    if type(content) is str:
        prompt.say(role, content, place)
        return
    for part, here in objects(content, place, "must be a string or a list of parts"):
        kind = part.get("type")
        reader = _PARTS.get(kind) if type(kind) is str else None
        if reader is None:
            problem = f"has the type '{shown(str(kind))}', which is not supported here"
            raise BodyError(here, problem, ErrorCode.UNSUPPORTED_MEDIA_TYPE)
        reader(prompt, part, role, here)


def _text(prompt: Prompt, part: Body, role: str, place: Place) -> None:
    prompt.say(role, string(part, "text", place), (*place, "text"))
    if len(part) > 2:
        prompt.others(part, _TEXT, place)


def _thinking(prompt: Prompt, part: Body, role: str, place: Place) -> None:
    thoughts = part.get("thinking")
    if type(thoughts) is str:
        prompt.say(role, thoughts, (*place, "thinking"))
    else:  # Mistral's have parts of their own
        prompt.rest(role, thoughts, (*place, "thinking"))
    prompt.others(part, _THINKING, place)


def _image(prompt: Prompt, part: Body, role: str, place: Place) -> None:
    image = part.get("image_url")
    here = (*place, "image_url")
    if type(image) is dict:
        prompt.attach_url(image.get("url"), (*here, "url"), kind="image/*")
        prompt.others(image, _IMAGE_URL, here)
    else:
        prompt.attach_url(image, here, kind="image/*")
    prompt.others(part, _IMAGE, place)


def _document(prompt: Prompt, part: Body, role: str, place: Place) -> None:
    prompt.rest("document", part.get("document"), (*place, "document"))
    prompt.others(part, _DOCUMENT, place)


_TEXT: Final = frozenset({"type", "text"})
_THINKING: Final = frozenset({"type", "thinking"})
_IMAGE: Final = frozenset({"type", "image_url"})
_DOCUMENT: Final = frozenset({"type", "document"})
_PARTS: Final[Mapping[str, Callable[[Prompt, Body, str, Place], None]]] = {
    "text": _text,
    "thinking": _thinking,
    "image_url": _image,
    "document": _document,
}


def _read_turn(prompt: Prompt, turn: Any, place: Place) -> None:
    """One turn of the history of chat v1."""
    if type(turn) is not dict:
        raise BodyError(place, "must be an object")
    name = turn.get("role")
    role = _HISTORY_ROLES.get(name.upper()) if type(name) is str and name.isascii() else None  # LangChain: "User"
    if role is None:
        raise BodyError((*place, "role"), "must be SYSTEM, USER, CHATBOT or TOOL")
    if turn.get("message") is not None:
        prompt.say(role, string(turn, "message", place), (*place, "message"))
    prompt.rest("tool", turn.get("tool_calls"), (*place, "tool_calls"))
    prompt.rest("tool", turn.get("tool_results"), (*place, "tool_results"))
    prompt.others(turn, _TURN, place)


def read_functions(prompt: Prompt, tools: Any, place: Place) -> None:
    """The functions that the agent offers; a tool of another type is the vendor's."""
    if tools is None:
        return
    for tool, here in objects(tools, place):
        kind = tool.get("type")
        if kind is not None and kind != "function":
            if type(kind) is not str:
                raise BodyError((*here, "type"), "must be a string")
            prompt.host(kind, tool, here)
            continue
        function = tool.get("function")
        prompt.offer(function.get("name") if type(function) is dict else None)
        prompt.rest("tool", tool, here)


def _read_connector(prompt: Prompt, connector: Any, place: Place) -> None:
    if type(connector) is not dict or type(connector.get("id")) is not str:
        raise BodyError(place, "must be an object with an id")
    # A token is no argument that policy or the audit log should see; its text is read all the same.
    arguments = {key: value for key, value in connector.items() if key != "user_access_token"}
    prompt.rest("tool", connector.get("user_access_token"), (*place, "user_access_token"))
    prompt.host("web_search" if connector["id"] == "web-search" else "connector", arguments, place)


def _read_preset(prompt: Prompt, body: Body, place: Place) -> None:
    if body.get("preset") is not None:
        prompt.refer("prompt", body["preset"], (*place, "preset"))


def _refuse_raw(body: Body, place: Place) -> None:
    if flag(body, "raw_prompting", place):
        problem = "is not supported: the template that separates roles would be left out"
        raise BodyError((*place, "raw_prompting"), problem, ErrorCode.POLICY_DENY)


def _say_all(prompt: Prompt, body: Body, name: str, place: Place) -> None:
    for index, text in enumerate(items(body, name, place)):
        if type(text) is not str:
            raise BodyError((*place, name, index), "must be a string")
        prompt.say("user", text, (*place, name, index))


def _stream(body: Body, place: Place) -> bool:
    limit(body, "max_tokens", place)
    return flag(body, "stream", place)

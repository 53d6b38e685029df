"""The body of AWS Bedrock's Converse, which is the same for all models; the body of Amazon's Nova is one too.

Rules of this file: a block has one member, which says what it is, and stands in a table here, or the request is
refused. Names are as AWS writes them: its parsers know no other case. What is meant for one model alone
(`additionalModelRequestFields`) may offer tools too, and may not bring turns of its own.
Sources: the service model of `bedrock-runtime` in botocore,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..codes import ErrorCode
from .anthropic_messages import read_servers, read_tools
from .cohere_chat import OLD_MEMBERS
from .members import limit
from .prompt import BodyError, Prompt
from .text import Place, shown

Block = dict[str, Any]
_Reader = Callable[[Prompt, Block, str, Place], None]

_ROLES: Final = frozenset({"user", "assistant", "system"})
_BODY: Final = frozenset(
    {"messages", "system", "toolConfig", "inferenceConfig", "additionalModelRequestFields", "promptVariables"}
)
_MESSAGE: Final = frozenset({"role", "content"})
_LIMITS: Final = frozenset({"maxTokens"})
_TOOLS: Final = frozenset({"tools"})
_EXTRA: Final = frozenset({"tools", "mcp_servers"})
# In the fields of one model (folded): members with which it would get other turns than those that were judged as
# turns, or tools, images and conversations that are not looked for there.
_TURNS: Final = OLD_MEMBERS | {
    "container",
    "fallbacks",
    "images",
    "inputimage",
    "inputtext",
    "messages",
    "model",
    "prompt",
    "system",
    "thread",
    "tool_config",
    "toolconfig",
}

# Media types of a document's formats; all others are no text.
_FORMATS: Final[Mapping[str, str]] = {
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "xml": "application/xml",
}
_FORMAT_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")

# Canonical names of tools that AWS runs.
_SYSTEM_TOOLS: Final[Mapping[str, str]] = {
    "nova_grounding": "web_search",
    "nova_code_interpreter": "code_interpreter",
}


def read_converse_body(prompt: Prompt, body: Block, place: Place) -> int | None:
    """Gather what the body holds; answers how many tokens it asks for at most. Raises `BodyError`."""
    messages = body.get("messages")
    if messages is None and body.get("promptVariables") is not None:
        messages = []  # a stored prompt has its own
    if type(messages) is not list:
        raise BodyError((*place, "messages"), "must be a list")
    system = body.get("system")
    if system is not None:
        _read_blocks(prompt, system, "system", (*place, "system"), _SYSTEM_BLOCKS)
    for index, message in enumerate(messages):
        here = (*place, "messages", index)
        if type(message) is not dict:
            raise BodyError(here, "must be an object")
        role = message.get("role")
        if type(role) is not str or role not in _ROLES:
            raise BodyError((*here, "role"), "must be user, assistant or system")
        _read_blocks(prompt, message.get("content"), role, (*here, "content"), _BLOCKS)
        if len(message) > 2:
            prompt.others(message, _MESSAGE, here)
    prompt.message_count += len(messages)
    _read_tool_config(prompt, body.get("toolConfig"), (*place, "toolConfig"))
    _read_extra(prompt, body.get("additionalModelRequestFields"), (*place, "additionalModelRequestFields"))
    variables = body.get("promptVariables")
    if variables is not None:
        prompt.refer("prompt", prompt.model, (*place, "promptVariables"))
        prompt.rest("user", variables, (*place, "promptVariables"))
    prompt.others(body, _BODY, place)
    return _read_limits(prompt, body.get("inferenceConfig"), (*place, "inferenceConfig"))


def _read_limits(prompt: Prompt, limits: Any, place: Place) -> int | None:
    if limits is None:
        return None
    if type(limits) is not dict:
        raise BodyError(place, "must be an object")
    prompt.others(limits, _LIMITS, place)
    return limit(limits, "maxTokens", place)


def _read_tool_config(prompt: Prompt, config: Any, place: Place) -> None:
    if config is None:
        return
    if type(config) is not dict:
        raise BodyError(place, "must be an object")
    tools = config.get("tools")
    if tools is not None:
        if type(tools) is not list:
            raise BodyError((*place, "tools"), "must be a list")
        for index, tool in enumerate(tools):
            here = (*place, "tools", index)
            name, value = _only_member(tool, here)
            if name == "toolSpec" and type(value) is dict:
                prompt.offer(value.get("name"))
                prompt.rest("tool", value, (*here, name))
            elif name == "systemTool" and type(value) is dict and type(value.get("name")) is str:
                prompt.host(_SYSTEM_TOOLS.get(value["name"], value["name"]), value, (*here, name))
            elif name == "cachePoint":
                prompt.rest("unread", value, (*here, name))
            else:
                raise BodyError((*here, name), "is no known kind of tool", ErrorCode.POLICY_DENY)
    prompt.others(config, _TOOLS, place)


def _read_extra(prompt: Prompt, fields: Any, place: Place) -> None:
    """Members that AWS hands on to the model as they are."""
    if fields is None:
        return
    if type(fields) is not dict:
        raise BodyError(place, "must be an object")
    for key, value in fields.items():
        if key.casefold() in _TURNS and value is not None:
            raise BodyError((*place, key), "is not supported: it belongs beside the messages", ErrorCode.POLICY_DENY)
    servers = read_servers(prompt, fields.get("mcp_servers"), (*place, "mcp_servers"))
    read_tools(prompt, fields.get("tools"), (*place, "tools"), servers)
    prompt.others(fields, _EXTRA, place)


def _read_blocks(prompt: Prompt, blocks: Any, role: str, place: Place, readers: Mapping[str, _Reader]) -> None:
    """A list of blocks. `readers`: by the member that may stand here."""
    if type(blocks) is not list:
        raise BodyError(place, "must be a list of blocks")
    for index, block in enumerate(blocks):
        here = (*place, index)
        name, value = _only_member(block, here)
        if name == "text":
            if type(value) is not str:
                raise BodyError((*here, name), "must be a string")
            prompt.say(role, value, (*here, name))
            continue
        if name == "json" and readers is _RESULT_BLOCKS:
            prompt.rest("tool", value, (*here, name))
            continue
        reader = readers.get(name)
        if reader is None:
            problem = f"has the member '{shown(name)}', which is not supported here"
            raise BodyError(here, problem, ErrorCode.UNSUPPORTED_MEDIA_TYPE)
        if type(value) is not dict:
            raise BodyError((*here, name), "must be an object")
        reader(prompt, value, role, (*here, name))


def _only_member(block: Any, place: Place) -> tuple[str, Any]:
    """The one member of a union: which of two another reader would take, nobody can say."""
    if type(block) is not dict or len(block) != 1:
        raise BodyError(place, "must be an object with one member, which says what it is")
    return next(iter(block.items()))


def _media(kind: str) -> _Reader:
    """The reader of images, videos or sounds."""

    def read(prompt: Prompt, block: Block, role: str, place: Place) -> None:
        _read_source(prompt, block, f"{kind}/{_format(block, place)}", place)
        prompt.others(block, _FORMATTED, place)

    return read


def _document(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    name = _format(block, place)
    _read_source(prompt, block, _FORMATS.get(name, f"application/{name}"), place)
    prompt.others(block, _FORMATTED, place, "file")  # its name and context, which the model is shown


def _format(block: Block, place: Place) -> str:
    name = block.get("format")
    if name is None:
        return "*"
    if type(name) is not str or not 0 < len(name) <= 32 or not _FORMAT_LETTERS.issuperset(name):
        raise BodyError((*place, "format"), "must be the name of a format")
    return name


def _read_source(prompt: Prompt, block: Block, media_type: str, place: Place) -> None:
    here = (*place, "source")
    name, value = _only_member(block.get("source"), here)
    if name == "bytes":
        prompt.attach(None if media_type.endswith("*") else media_type, value, (*here, name))
    elif name == "s3Location":
        if type(value) is not dict:
            raise BodyError((*here, name), "must be an object")
        prompt.refer("s3", value.get("uri"), (*here, name, "uri"))
        prompt.others(value, _LOCATED, (*here, name))
    elif name == "text":
        prompt.attach("text/plain", value, (*here, name), encoded=False)
    elif name == "content":
        _read_blocks(prompt, value, "document", (*here, name), _NO_BLOCKS)
    else:
        raise BodyError((*here, name), "is no known kind of source", ErrorCode.UNSUPPORTED_MEDIA_TYPE)


def _called(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    prompt.rest("tool", block, place)


def _marked(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    prompt.rest("unread", block, place)


def _result(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    _read_blocks(prompt, block.get("content"), "tool", (*place, "content"), _RESULT_BLOCKS)
    prompt.others(block, _CONTENT, place, "tool")


def _guarded(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    """Content that a guardrail is to look at; the model reads it as any other."""
    name, value = _only_member(block, place)
    here = (*place, name)
    if type(value) is not dict:
        raise BodyError(here, "must be an object")
    if name == "image":
        _IMAGE(prompt, value, role, here)
        return
    text = value.get("text")
    if name != "text" or type(text) is not str:
        raise BodyError(here, "is no text", ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    prompt.say(role, text, (*here, "text"))
    prompt.others(value, _TEXT, here)


def _reasoning(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    thoughts = block.get("reasoningText")
    if type(thoughts) is dict and type(thoughts.get("text")) is str:
        prompt.say(role, thoughts["text"], (*place, "reasoningText", "text"))
        prompt.others(thoughts, _TEXT, (*place, "reasoningText"), role)
        prompt.others(block, _REASONED, place, role)
        return
    prompt.rest(role, block, place)


def _cited(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    _read_blocks(prompt, block.get("content"), role, (*place, "content"), _NO_BLOCKS)
    prompt.others(block, _CONTENT, place, "document")


def _found(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    _read_blocks(prompt, block.get("content"), "document", (*place, "content"), _NO_BLOCKS)
    prompt.others(block, _CONTENT, place, "document")


_FORMATTED: Final = frozenset({"format", "source"})
_LOCATED: Final = frozenset({"uri"})
_CONTENT: Final = frozenset({"content"})
_TEXT: Final = frozenset({"text"})
_REASONED: Final = frozenset({"reasoningText"})
_IMAGE: Final = _media("image")

_NO_BLOCKS: Final[Mapping[str, _Reader]] = {}
_RESULT_BLOCKS: Final[Mapping[str, _Reader]] = {
    "image": _IMAGE,
    "document": _document,
    "video": _media("video"),
    "searchResult": _found,
}
_SYSTEM_BLOCKS: Final[Mapping[str, _Reader]] = {"guardContent": _guarded, "cachePoint": _marked}
_BLOCKS: Final[Mapping[str, _Reader]] = {
    "image": _IMAGE,
    "document": _document,
    "video": _media("video"),
    "audio": _media("audio"),
    "toolUse": _called,
    "toolResult": _result,
    "guardContent": _guarded,
    "cachePoint": _marked,
    "reasoningContent": _reasoning,
    "citationsContent": _cited,
    "searchResult": _found,
    "toolAddition": _called,
    "toolRemoval": _called,
}

"""The body of Anthropic's messages: the same at Anthropic itself, in its batches, and on AWS Bedrock.

Rules of this file: a block has a type that stands in a table here, or the request is refused (what a new type
would carry is not known); inside of a block every string is read. A tool with a type of its own is Anthropic's,
also where the agent runs it (bash, text editor, computer, memory): only a rule that names it allows it. Thoughts
that the vendor has sealed are read as the letters that they are; a compaction or a result of a tool that is sealed
is a reference, unless the tool that brought it stands in the same request.
Sources: https://platform.claude.com/docs/en/api/messages and the parameter types of the `anthropic` SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..codes import ErrorCode
from .members import flag, limit, objects
from .prompt import BodyError, Prompt
from .text import Place, shown

Block = dict[str, Any]
_Reader = Callable[[Prompt, Block, str, Place], None]

_ROLES: Final = frozenset({"user", "assistant", "system"})

_MESSAGES: Final = frozenset({"model", "messages", "system", "tools", "mcp_servers", "stream", "max_tokens"}) | {
    "container",
    "thread",
    "cache_control",
    "fallbacks",
}
_COMPLETE: Final = frozenset({"model", "prompt", "stream", "max_tokens_to_sample"})
_MESSAGE: Final = frozenset({"role", "content"})
# Members that send the prompt to another model or server than the one that policy is asked about: Anthropic's
# own, and those of gateways that speak its protocol.
_REDIRECTS: Final = frozenset(
    {
        "api_base",
        "api_key",
        "base_url",
        "context_window_fallbacks",
        "custom_llm_provider",
        "extra_body",
        "fallbacks",
        "model_list",
        "user_config",
    }
)

# Canonical names of Anthropic's tools, by their type without the version.
_TOOLS: Final[Mapping[str, str]] = {
    "bash": "shell",
    "browser_toolset": "browser",
    "code_execution": "code_interpreter",
    "computer": "computer_use",
    "computer_toolset": "computer_use",
    "mcp_toolset": "mcp",
    "tool_search_tool_bm25": "tool_search",
    "tool_search_tool_regex": "tool_search",
}
_MARKS: Final = frozenset({"type", "ttl"})
_BLOCK: Final = frozenset({"type", "cache_control"})


def read_messages_body(prompt: Prompt, body: Block, place: Place) -> bool:
    """Gather what the body of a message holds; answers whether it asks for a stream. Raises `BodyError`."""
    limit(body, "max_tokens", place)
    refuse_redirects(body, place)
    messages = body.get("messages")
    if type(messages) is not list or not messages:
        raise BodyError((*place, "messages"), "must be a list with at least one message")
    system = body.get("system")
    if system is not None:
        _content(prompt, system, "system", (*place, "system"), _SYSTEM_BLOCKS)
    servers = read_servers(prompt, body.get("mcp_servers"), (*place, "mcp_servers"))
    read_tools(prompt, body.get("tools"), (*place, "tools"), servers)
    _read_turns(prompt, messages, (*place, "messages"))  # behind the tools, which answer for what they brought
    _read_container(prompt, body.get("container"), (*place, "container"))
    _read_thread(prompt, body.get("thread"), (*place, "thread"))
    _read_mark(prompt, body, place)
    prompt.others(body, _MESSAGES, place)
    return flag(body, "stream", place)


def read_complete_body(prompt: Prompt, body: Block, place: Place) -> bool:
    """Gather what the body of a text completion (the API before messages) holds; answers as above."""
    limit(body, "max_tokens_to_sample", place)
    refuse_redirects(body, place)
    text = body.get("prompt")
    if type(text) is not str:
        raise BodyError((*place, "prompt"), "must be a string")
    prompt.message_count += 1
    prompt.say("user", text, (*place, "prompt"))
    prompt.others(body, _COMPLETE, place)
    return flag(body, "stream", place)


def read_tools(prompt: Prompt, tools: Any, place: Place, servers: frozenset[str] = frozenset()) -> None:
    """Gather a list of tools. `servers`: names of the MCP servers that the request has told already."""
    if tools is None:
        return
    if type(tools) is not list:
        raise BodyError(place, "must be a list")
    for index, tool in enumerate(tools):
        _read_tool(prompt, tool, (*place, index), servers)


def refuse_redirects(body: Block, place: Place) -> None:
    """Raise `BodyError` for a member that sends the prompt to another model or server."""
    for key, value in body.items():
        if key.casefold() in _REDIRECTS and value is not None:
            raise BodyError(
                (*place, key),
                "is not supported: it changes which model or server gets the prompt",
                ErrorCode.POLICY_DENY,
            )


def _read_turns(prompt: Prompt, messages: list[Any], place: Place) -> None:
    for index, message in enumerate(messages):
        here = (*place, index)
        if type(message) is not dict:
            raise BodyError(here, "must be an object")
        role = message.get("role")
        if type(role) is not str or role not in _ROLES:
            raise BodyError((*here, "role"), "must be user, assistant or system")
        content = message.get("content")
        if type(content) is str:
            prompt.say(role, content, (*here, "content"))
        else:
            _content(prompt, content, role, (*here, "content"), _BLOCKS)
        if len(message) > 2:
            prompt.others(message, _MESSAGE, here)
    prompt.message_count += len(messages)


def _content(prompt: Prompt, content: Any, role: str, place: Place, readers: Mapping[str, _Reader]) -> None:
    """Content that is a text or a list of blocks. `readers`: by the types that may stand here."""
    if type(content) is str:
        prompt.say(role, content, place)
        return
    if type(content) is not list:
        raise BodyError(place, "must be a string or a list of blocks")
    for index, block in enumerate(content):
        _read_block(prompt, block, role, (*place, index), readers)


def _read_block(prompt: Prompt, block: Any, role: str, place: Place, readers: Mapping[str, _Reader]) -> None:
    if type(block) is not dict:
        raise BodyError(place, "must be an object")
    kind = block.get("type")
    if type(kind) is not str:
        raise BodyError((*place, "type"), "must be a string")
    reader = readers.get(kind)
    if reader is None:
        problem = f"has the type '{shown(kind)}', which is not supported here"
        raise BodyError(place, problem, ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    reader(prompt, block, role, place)


def _rest(prompt: Prompt, block: Block, known: frozenset[str], place: Place, role: str = "unread") -> None:
    """What no reader took: all members but `known`, and the mark of the cache."""
    if len(block) > 1:
        _read_mark(prompt, block, place)
        prompt.others(block, known, place, role)


def _read_mark(prompt: Prompt, block: Block, place: Place) -> None:
    mark = block.get("cache_control")
    if mark is None:
        return
    if type(mark) is dict and _MARKS.issuperset(mark) and mark.get("type") == "ephemeral":
        lifetime = mark.get("ttl")
        if lifetime is None or lifetime == "5m" or lifetime == "1h":
            return
    prompt.rest("unread", mark, (*place, "cache_control"))


def _object(block: Block, name: str, place: Place) -> Block:
    value = block.get(name)
    if type(value) is not dict:
        raise BodyError((*place, name), "must be an object")
    return value


# Blocks


_TEXT: Final = _BLOCK | {"text"}
_THINKING: Final = _BLOCK | {"thinking"}
_SOURCED: Final = _BLOCK | {"source"}
_CONTENT: Final = _BLOCK | {"content"}
_FETCHED: Final = frozenset({"type", "content"})


def _text(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    text = block.get("text")
    if type(text) is not str:
        raise BodyError((*place, "text"), "must be a string")
    prompt.say(role, text, (*place, "text"))
    if len(block) > 2:
        _rest(prompt, block, _TEXT, place)


def _thinking(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    text = block.get("thinking")
    if type(text) is not str:
        raise BodyError((*place, "thinking"), "must be a string")
    prompt.say(role, text, (*place, "thinking"))
    _rest(prompt, block, _THINKING, place, role)


def _image(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    _read_source(prompt, _object(block, "source", place), (*place, "source"), "image/*", _NO_BLOCKS)
    _rest(prompt, block, _SOURCED, place)


def _document(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    _read_source(prompt, _object(block, "source", place), (*place, "source"), "application/pdf", _PLAIN_BLOCKS)
    _rest(prompt, block, _SOURCED, place, "document")


def _read_source(prompt: Prompt, source: Block, place: Place, kind: str, readers: Mapping[str, _Reader]) -> None:
    """Where an image or document is. `kind`: what a URL leads to; `readers`: of blocks that stand in its place."""
    way = source.get("type")
    if way == "base64":
        prompt.attach(source.get("media_type"), source.get("data"), (*place, "data"))
    elif way == "text":
        prompt.attach("text/plain", source.get("data"), (*place, "data"), encoded=False)
        prompt.rest("file", source.get("media_type"), (*place, "media_type"))
    elif way == "url":
        prompt.attach_url(source.get("url"), (*place, "url"), kind=kind)
    elif way == "file":
        prompt.refer("file", source.get("file_id"), (*place, "file_id"))
    elif way == "content" and readers:
        _content(prompt, source.get("content"), "document", (*place, "content"), readers)
    else:
        raise BodyError((*place, "type"), "is no known kind of source", ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    prompt.others(source, _TAKEN[way], place)


_TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "base64": frozenset({"type", "media_type", "data"}),
    "text": frozenset({"type", "media_type", "data"}),
    "url": frozenset({"type", "url"}),
    "file": frozenset({"type", "file_id"}),
    "content": frozenset({"type", "content"}),
}


def _search_result(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    _content(prompt, block.get("content"), "document", (*place, "content"), _TEXT_BLOCKS)
    _rest(prompt, block, _CONTENT, place, "document")


def _tool_result(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    content = block.get("content")
    if content is not None:
        _content(prompt, content, "tool", (*place, "content"), _RESULT_BLOCKS)
    _rest(prompt, block, _CONTENT, place, "tool")


def _called(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    """A call of a tool, or what it said in a form of its own."""
    _rest(prompt, block, _BLOCK, place, "tool")


def _said(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    _rest(prompt, block, _BLOCK, place, role)


def _found(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    _refer_sealed(prompt, block, _SEARCHES, place)
    _rest(prompt, block, _BLOCK, place, "document")


def _advised(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    _refer_sealed(prompt, block, _ADVISES, place)
    _called(prompt, block, role, place)


def _refer_sealed(prompt: Prompt, block: Block, tools: frozenset[str], place: Place) -> None:
    """What a tool of the vendor's brought, where only the vendor can read it: a rule that names the tool allows it."""
    content = block.get("content")
    for result in content if type(content) is list else (content,):
        if type(result) is dict and any(key.startswith("encrypted_") and value for key, value in result.items()):
            if not prompt.hosts(tools):
                prompt.refer("result", "encrypted", place)
            return


_SEARCHES: Final = frozenset({"web_search", "web_fetch"})
_EXECUTES: Final = _SEARCHES | {"code_interpreter"}  # a search runs code of its own
_ADVISES: Final = frozenset({"advisor"})


def _fetched(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    page = block.get("content")
    if type(page) is dict and page.get("type") == "web_fetch_result":
        here = (*place, "content")
        _read_block(prompt, page.get("content"), role, (*here, "content"), _DOCUMENT_BLOCKS)
        prompt.others(page, _FETCHED, here, "document")
        _rest(prompt, block, _CONTENT, place, "document")
        return
    _found(prompt, block, role, place)


def _executed(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    """What code said in the vendor's container, with the files that it left there."""
    result = block.get("content")
    outputs = result.get("content") if type(result) is dict else None
    if type(outputs) is list:
        for index, output in enumerate(outputs):
            if type(output) is dict and output.get("file_id") is not None:
                prompt.refer("file", output["file_id"], (*place, "content", "content", index, "file_id"))
    _refer_sealed(prompt, block, _EXECUTES, place)
    _called(prompt, block, role, place)


def _upload(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    prompt.refer("file", block.get("file_id"), (*place, "file_id"))
    _rest(prompt, block, _BLOCK | {"file_id"}, place)


def _compaction(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    """A summary that stands for turns that were left out."""
    if block.get("encrypted_content"):
        prompt.refer("compaction", "encrypted", (*place, "encrypted_content"))
    content = block.get("content")
    if content is not None:
        _content(prompt, content, role, (*place, "content"), _TEXT_BLOCKS)
    changes = block.get("tool_changes")
    if changes is not None:
        if type(changes) is not list:
            raise BodyError((*place, "tool_changes"), "must be a list")
        for index, change in enumerate(changes):
            _read_block(prompt, change, role, (*place, "tool_changes", index), _CHANGE_BLOCKS)
    _rest(prompt, block, _CONTENT | {"tool_changes"}, place, role)


def _tool_change(prompt: Prompt, block: Block, role: str, place: Place) -> None:
    """A tool that comes or goes in the middle of a conversation; one that comes may bring its definition."""
    tool = _object(block, "tool", place)
    here = (*place, "tool")
    if tool.get("definition") is not None:
        _read_tool(prompt, tool["definition"], (*here, "definition"), frozenset())
    prompt.others(tool, _DEFINITION, here, "tool")
    _rest(prompt, block, _BLOCK | {"tool"}, place)


_DEFINITION: Final = frozenset({"definition"})

_NO_BLOCKS: Final[Mapping[str, _Reader]] = {}
_TEXT_BLOCKS: Final[Mapping[str, _Reader]] = {"text": _text}
_PLAIN_BLOCKS: Final[Mapping[str, _Reader]] = {"text": _text, "image": _image}
_DOCUMENT_BLOCKS: Final[Mapping[str, _Reader]] = {"document": _document}
_RESULT_BLOCKS: Final[Mapping[str, _Reader]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_reference": _called,
    "browser_state": _called,
}
_CHANGE_BLOCKS: Final[Mapping[str, _Reader]] = {"tool_addition": _tool_change, "tool_removal": _tool_change}
_SYSTEM_BLOCKS: Final[Mapping[str, _Reader]] = {"text": _text, **_CHANGE_BLOCKS}
_BLOCKS: Final[Mapping[str, _Reader]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "thinking": _thinking,
    "redacted_thinking": _said,
    "tool_use": _called,
    "tool_result": _tool_result,
    "server_tool_use": _called,
    "mcp_tool_use": _called,
    "mcp_tool_result": _tool_result,
    "mcp_tool_listing": _called,
    "web_search_tool_result": _found,
    "web_fetch_tool_result": _fetched,
    "code_execution_tool_result": _executed,
    "bash_code_execution_tool_result": _executed,
    "text_editor_code_execution_tool_result": _called,
    "tool_search_tool_result": _called,
    "advisor_tool_result": _advised,
    "container_upload": _upload,
    "compaction": _compaction,
    "fallback": _said,
    **_CHANGE_BLOCKS,
}


# Tools, and what the vendor runs or keeps


def _read_tool(prompt: Prompt, tool: Any, place: Place, servers: frozenset[str]) -> None:
    if type(tool) is not dict:
        raise BodyError(place, "must be an object")
    kind = tool.get("type")
    for key in tool:
        if len(key) == len("type") and key != "type" and key.casefold() == "type":
            raise BodyError((*place, key), "is not a known member (did you mean 'type'?)")
    if kind is None or kind == "custom":
        prompt.offer(tool.get("name"))
    elif type(kind) is not str:
        raise BodyError((*place, "type"), "must be a string")
    elif kind != "mcp_toolset" or not _is_told(tool.get("mcp_server_name"), servers):
        name = _without_version(kind)
        prompt.host(_TOOLS.get(name, name), tool, place)
        return
    prompt.rest("tool", tool, place)


def _is_told(name: Any, servers: frozenset[str]) -> bool:
    """Whether that MCP server is one of the request: then it is an action already, and one with its host."""
    return type(name) is str and name in servers


def _without_version(kind: str) -> str:
    """`web_search` for `web_search_20250305`."""
    name, line, version = kind.rpartition("_")
    return name if line and len(version) == 8 and version.isascii() and version.isdigit() else kind


def read_servers(prompt: Prompt, servers: Any, place: Place) -> frozenset[str]:
    """The MCP servers that the vendor is to connect to; answers their names."""
    if servers is None:
        return frozenset()
    if type(servers) is not list:
        raise BodyError(place, "must be a list")
    names: set[str] = set()
    for index, server in enumerate(servers):
        here = (*place, index)
        if type(server) is not dict or type(server.get("name")) is not str:
            raise BodyError(here, "must be an object with a name")
        names.add(server["name"])
        # A token is no argument that policy or the audit log should see; its text is read all the same.
        arguments = {key: value for key, value in server.items() if key != "authorization_token"}
        prompt.rest("tool", server.get("authorization_token"), (*here, "authorization_token"))
        prompt.host("mcp", arguments, here, url=server.get("url", ""))
    return frozenset(names)


def _read_container(prompt: Prompt, container: Any, place: Place) -> None:
    """A container of the vendor that is used again, with the skills in it."""
    if container is None:
        return
    if type(container) is str:
        prompt.refer("container", container, place)
        return
    if type(container) is not dict:
        raise BodyError(place, "must be an identifier or an object")
    if container.get("id") is not None:
        prompt.refer("container", container["id"], (*place, "id"))
    if container.get("skills") is not None:
        for skill, here in objects(container["skills"], (*place, "skills")):
            prompt.refer("skill", skill.get("skill_id"), (*here, "skill_id"))
            prompt.others(skill, frozenset({"skill_id"}), here)
    prompt.others(container, frozenset({"id", "skills"}), place)


def _read_thread(prompt: Prompt, thread: Any, place: Place) -> None:
    """A conversation that the vendor keeps."""
    if thread is None:
        return
    if type(thread) is not dict:
        raise BodyError(place, "must be an object")
    if thread.get("previous_message_id") is not None:
        prompt.refer("message", thread["previous_message_id"], (*place, "previous_message_id"))
    elif thread.get("type") != "create":
        raise BodyError(place, "is no known kind of thread", ErrorCode.POLICY_DENY)
    prompt.others(thread, frozenset({"previous_message_id"}), place)

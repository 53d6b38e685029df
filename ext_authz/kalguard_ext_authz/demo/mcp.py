"""An MCP server over streamable HTTP with four demo tools (modelcontextprotocol.io, revisions below).

It answers with `application/json`, keeps sessions, and offers no server-to-client stream (GET is a 405, as the
specification allows). No tool does anything: `delete_file` deletes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

# The revisions with an `initialize` handshake. A client that probes a later one with `server/discover`
# gets "method not found" and falls back to the handshake, as that revision tells it to.
PROTOCOL_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MAX_SESSIONS: Final = 1024
_JSON: Final = (b"content-type", b"application/json")


def _tool(name: str, description: str, argument: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": f"[kalguard-demo] {description}",
        "inputSchema": {
            "type": "object",
            "properties": {argument: {"type": "string"}},
            "required": [argument],
        },
    }


TOOLS: Final = (
    _tool("get_weather", "The weather at a place, made up.", "location"),
    _tool("search", "Search results, made up.", "query"),
    _tool("read_file", "The content of a file, made up.", "path"),
    _tool("delete_file", "Says that it deletes a file; deletes nothing.", "path"),
)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What goes back over HTTP."""

    status: int
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class _RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class McpServer:
    """Holds the sessions. The oldest one is forgotten when there are too many."""

    def __init__(self) -> None:
        self._sessions: dict[str, None] = {}

    def answer(self, method: str, headers: Mapping[bytes, bytes], body: bytes) -> HttpReply:
        """Answer one HTTP request on the MCP endpoint."""
        session = headers.get(b"mcp-session-id", b"").decode("latin-1")
        if method == "DELETE":
            known = session in self._sessions
            self._sessions.pop(session, None)
            return HttpReply(200 if known else 404)
        if method != "POST":
            return HttpReply(405, b"", [(b"allow", b"POST, DELETE")])
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _rpc(400, _error(None, -32700, "parse error"))
        messages = document if isinstance(document, list) else [document]
        if not messages or not all(isinstance(message, dict) for message in messages):
            return _rpc(400, _error(None, -32600, "invalid request"))
        if any(message.get("method") == "initialize" for message in messages):
            session = self._open()
        elif messages[0].get("method") != "server/discover" and session not in self._sessions:
            # A client opens a new session on 404; 400 says that it forgot to send the id.
            return _rpc(404 if session else 400, _error(None, -32600, "no such session: initialize first"))
        replies = [reply for message in messages if (reply := _answer_message(message)) is not None]
        headers_out = [(b"mcp-session-id", session.encode())] if session in self._sessions else []
        if not replies:
            return HttpReply(202, b"", headers_out)
        return _rpc(200, replies if isinstance(document, list) else replies[0], headers_out)

    def _open(self) -> str:
        if len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = uuid.uuid4().hex
        self._sessions[session] = None
        return session


def _answer_message(message: dict[str, Any]) -> dict[str, Any] | None:
    """The reply to one JSON-RPC message, None for a notification or a client's response."""
    if "method" not in message or "id" not in message:
        return None
    params = message.get("params")
    try:
        result = _call(str(message["method"]), params if isinstance(params, dict) else {})
    except _RpcError as error:
        return _error(message["id"], error.code, str(error))
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _call(method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "initialize":
            asked = params.get("protocolVersion")
            return {
                "protocolVersion": asked if asked in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[-1],
                "capabilities": {"tools": {"listChanged": False}},
                "serverInfo": {"name": "kalguard-demo", "version": "1"},
                "instructions": "The KalGuard demo upstream: its tools make everything up.",
            }
        case "ping":
            return {}
        case "tools/list":
            return {"tools": list(TOOLS)}
        case "tools/call":
            return _call_tool(params)
        case _:
            raise _RpcError(-32601, f"kalguard-demo has no method {method[:64]!r}")


def _call_tool(params: dict[str, Any]) -> dict[str, Any]:
    tool = next((tool for tool in TOOLS if tool["name"] == params.get("name")), None)
    if tool is None:
        raise _RpcError(-32602, "kalguard-demo has no such tool")
    arguments = params.get("arguments")
    name = tool["inputSchema"]["required"][0]
    value = arguments.get(name) if isinstance(arguments, dict) else None
    if not isinstance(value, str):
        raise _RpcError(-32602, f"{tool['name']} needs the string {name!r}")
    answer = {
        "get_weather": f"Weather in {value}: 18 °C, made up.",
        "search": f"Three results for {value!r}, made up.",
        "read_file": f"Content of {value}, made up.",
        "delete_file": f"{value} would be deleted now; the demo deletes nothing.",
    }[tool["name"]]
    return {"content": [{"type": "text", "text": f"[kalguard-demo] {answer}"}], "isError": False}


def _error(call_id: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": message}}


def _rpc(status: int, value: Any, headers: list[tuple[bytes, bytes]] | None = None) -> HttpReply:
    return HttpReply(status, orjson.dumps(value), [_JSON, *(headers or [])])

"""A real MCP server of the official SDK, over both of its HTTP transports: what an operator would put behind us."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    CreateMessageResult,
    ListRootsResult,
    PromptReference,
    ResourceTemplateReference,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel

from support import free_port


class Person(BaseModel):
    """What the server asks the user."""

    name: str


def ask_model() -> Sample:
    """The server borrows the client's model."""
    question = SamplingMessage(role="user", content=TextContent(type="text", text="A word for the day?"))
    return Sample([question], max_tokens=16)


def ask_user() -> Elicit[Person]:
    """The server asks the client's user."""
    return Elicit("Who are you?", Person)


def ask_roots() -> ListRoots:
    """The server asks which folders the client has."""
    return ListRoots()


def notes_server() -> MCPServer:
    """A server with tools, resources, prompts and completion, three of whose tools ask the client back."""
    server = MCPServer("notes")

    @server.tool()
    def search(query: str) -> str:
        return f"found {query}"

    @server.tool()
    def delete_file(path: str) -> str:
        return f"deleted {path}"

    @server.tool()
    def borrow(said: Annotated[CreateMessageResult, Resolve(ask_model)]) -> str:
        return f"the model said {said.content}"

    @server.tool()
    def greet(person: Annotated[Person, Resolve(ask_user)]) -> str:
        return f"hello {person.name}"

    @server.tool()
    def folders(roots: Annotated[ListRootsResult, Resolve(ask_roots)]) -> str:
        return ", ".join(str(root.uri) for root in roots.roots)

    @server.resource("notes://{name}")
    def note(name: str) -> str:
        return f"the note {name}"

    @server.resource("file:///readme.md")
    def readme() -> str:
        return "read me"

    @server.prompt()
    def translate(text: str) -> str:
        return f"Translate: {text}"

    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        return Completion(values=[f"{argument.value}…"])

    decorator: Any = server.completion  # which the SDK has not typed
    decorator()(complete)
    return server


@contextmanager
def running_mcp_server() -> Iterator[str]:
    """Serve it in a thread; the base URL: streamable HTTP at `/mcp`, HTTP+SSE at `/sse` and `/messages/`."""
    notes = notes_server()
    streamable, older = notes.streamable_http_app(), notes.sse_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        is_older = scope["type"] == "http" and scope["path"].startswith(("/sse", "/messages"))
        await (older if is_older else streamable)(scope, receive, send)

    port = free_port()
    config = uvicorn.Config(app, "127.0.0.1", port, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)

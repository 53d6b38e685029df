"""An A2A agent of the official SDK, on all bindings of both eras, and a small gRPC service beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import uvicorn
from a2a.compat.v0_3 import a2a_v0_3_pb2_grpc
from a2a.compat.v0_3.grpc_handler import CompatGrpcHandler
from a2a.helpers.proto_helpers import new_task_from_user_message, new_text_message, new_text_status_update_event
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler, GrpcHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import a2a_pb2_grpc
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, Role, TaskState
from starlette.applications import Starlette

from support import free_port

PAUSE = 0.15  # seconds between the first and the last event of a task


@dataclass
class Agent:
    """Where it listens, and the texts that it got."""

    http: str
    grpc: str
    heard: list[str] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)


class _Executor(AgentExecutor):
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        text = context.get_user_input()
        self._agent.heard.append(text)
        if not text.startswith("task"):
            await event_queue.enqueue_event(new_text_message(f"you said {text}", role=Role.ROLE_AGENT))
            return
        assert context.message is not None
        context.message.task_id = context.task_id or ""
        context.message.context_id = context.context_id or ""
        task = new_task_from_user_message(context.message)
        await event_queue.enqueue_event(task)
        await asyncio.sleep(PAUSE)
        done = new_text_status_update_event(task.id, task.context_id, TaskState.TASK_STATE_COMPLETED, "done")
        await event_queue.enqueue_event(done)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        raise NotImplementedError  # its tasks end by themselves; the interface wants the method


def card(url: str, binding: str, version: str) -> AgentCard:
    """A card that leads to `url`: what a client is given."""
    return AgentCard(
        name="planner",
        description="plans",
        version="1",
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        supported_interfaces=[AgentInterface(url=url, protocol_binding=binding, protocol_version=version)],
    )


@contextmanager
def running_agent() -> Iterator[Agent]:
    """Start it in a thread, and stop it."""
    ports = free_port(), free_port()
    agent = Agent(f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
    described = card(agent.http, "JSONRPC", "1.0")
    handler = DefaultRequestHandler(_Executor(agent), InMemoryTaskStore(), described)
    app = Starlette(
        routes=[
            *create_agent_card_routes(described),
            *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True),
            *create_rest_routes(handler, enable_v0_3_compat=True),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, port=ports[0], log_level="warning", lifespan="off"))
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def create(request: bytes, context: Any) -> bytes:
        agent.metadata.append({str(key): str(value) for key, value in context.invocation_metadata()})
        return request

    async def serve() -> None:
        rpc = grpc.aio.server()
        add: Any = a2a_pb2_grpc.add_A2AServiceServicer_to_server  # not typed
        add(GrpcHandler(handler), rpc)
        add = a2a_v0_3_pb2_grpc.add_A2AServiceServicer_to_server
        add(CompatGrpcHandler(handler), rpc)
        orders = {"Create": grpc.unary_unary_rpc_method_handler(create)}
        rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.v1.Orders", orders),))
        rpc.add_insecure_port(f"127.0.0.1:{ports[1]}")
        await rpc.start()
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        started.set()
        await serving
        await rpc.stop(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield agent
    finally:
        server.should_exit = True
        thread.join(20)

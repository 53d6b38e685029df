"""What the google-genai SDK sends, for the tests of the protocols that read it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import httpx
import orjson
from google import genai
from google.genai import types
from google.genai.errors import APIError
from google.oauth2.credentials import Credentials

from kalguard_core.action import Action
from kalguard_core.request import AgentRequest
from wire_support import read, request

MARK = "mark-"


class Sent:
    """A client of Google's whose requests go nowhere: the last one is kept."""

    def __init__(self, *, vertex: bool = False, answer: httpx.Response | None = None) -> None:
        self.kind = "vertex" if vertex else "gemini"
        self._answer = answer
        self._kept: list[httpx.Request] = []
        http = types.HttpOptions(httpx_client=httpx.Client(transport=httpx.MockTransport(self._keep)))
        if vertex:
            who = Credentials(token="token")  # type: ignore[no-untyped-call]
            self.client = genai.Client(
                vertexai=True, project="p1", location="us-central1", credentials=who, http_options=http
            )
        else:
            self.client = genai.Client(api_key="key", http_options=http)

    def _keep(self, sent: httpx.Request) -> httpx.Response:
        self._kept.append(sent)
        return self._answer or httpx.Response(
            404, json={"error": {"code": 404, "message": "none", "status": "NOT_FOUND"}}
        )

    def request(self, call: Callable[[genai.Client], Any]) -> tuple[AgentRequest, bytes]:
        """What `call` sends, as the gate sees it."""
        with contextlib.suppress(APIError):
            answer = call(self.client)
            if hasattr(answer, "__next__"):
                next(answer)
        sent = self._kept.pop()
        asked = request(
            self.kind,
            sent.url.raw_path.decode(),
            method=sent.method,
            host=sent.url.host,
            headers={name.lower(): value for name, value in sent.headers.items()},
        )
        return asked, sent.content

    def actions(self, call: Callable[[genai.Client], Any]) -> tuple[Action, ...]:
        """What the gate reads of what `call` sends."""
        asked, body = self.request(call)
        return read(asked, body).actions

    def assert_all_is_read(self, call: Callable[[genai.Client], Any]) -> None:
        """Every marked string that `call` sends is seen by policy or firewall, and there are some."""
        asked, body = self.request(call)
        seen = found(read(asked, body).actions)
        written = strings(body)
        assert written
        assert [text for text in written if text not in seen] == []


def found(actions: tuple[Action, ...]) -> str:
    """Everything that policy and firewall see of these actions."""
    return "\n".join(
        [message.text for action in actions for message in action.messages]
        + [str((action.resource, action.tool, action.arguments, dict(action.attributes))) for action in actions]
    )


def strings(body: bytes) -> list[str]:
    """Every marked string of a JSON document."""
    waiting: list[Any] = [orjson.loads(body)]
    texts: list[str] = []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and MARK in value:
            texts.append(value)
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
    return texts

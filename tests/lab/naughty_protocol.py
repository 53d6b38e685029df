"""A protocol and a firewall for tests of the process that examines large bodies. It imports as little as that does."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kalguard_core.action import Action, Message
from kalguard_core.codes import ErrorCode
from kalguard_core.decision import Decision, Reply
from kalguard_core.firewall.base import Assessment
from kalguard_core.request import AgentRequest, Refusal
from kalguard_core.wire.base import Endpoint, Reading, Route

ROUTE = Route("api.prompt")


class Deaf:
    """A firewall that hears nothing. It starts faster than a real one."""

    def score(self, messages: Sequence[Message]) -> Assessment:
        return Assessment(0)

    def sanitize(self, messages: Sequence[Message], assessment: Assessment) -> tuple[Message, ...]:
        raise AssertionError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Deaf)

    def __hash__(self) -> int:
        return 0


class Naughty:
    """A protocol that does to the process what its body says."""

    kind = "naughty"
    title = "for tests"
    endpoints: tuple[Endpoint, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    answers_itself = False

    def route(self, request: AgentRequest) -> Route:
        return ROUTE

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        match body.decode():
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "hang":
                time.sleep(60)
            case "fail":
                raise ZeroDivisionError("a bug")
            case "memory":
                raise MemoryError
            case "refuse":
                raise Refusal(ErrorCode.BAD_REQUEST, "no", detail="because", retry_after=2.0)
            case "grow":
                self.kept = b"x" * (64 << 20)
            case "evil":
                return Reading((Action(_Evil(), ()),))  # type: ignore[arg-type]
            case "look":
                return _said(
                    environment=" ".join(os.environ),
                    nice=os.nice(0),
                    parent=os.getppid(),
                    session=os.getsid(0) == os.getpid(),
                    modules=" ".join(sys.modules),
                    headers=" ".join(request.headers),
                    oom=Path("/proc/self/oom_score_adj").read_text().strip() if sys.platform == "linux" else "",
                )
        return _said(pid=os.getpid())

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        raise AssertionError


class _Evil:
    """What a process that was taken over might answer."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


def _said(**attributes: Any) -> Reading:
    return Reading((Action("said", (), attributes=attributes, messages=(Message("user", "hello"),)),))

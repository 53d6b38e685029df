"""`kalguard check`: a decision without a server, by the same pipeline."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from ..settings import SettingsError, load_settings
from .output import fail, json_option


@click.group()
def check() -> None:
    """Decide about one prompt or tool call without a server.

    Policy, tools and keys come from the same settings as `kalguard serve` (KALGUARD_POLICY_PATH, …). Nothing is
    audited, no limit is counted. Exit status: 0 allowed, 3 refused, 2 the settings or the input are wrong.
    """


_config = click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (YAML).")
_agent = click.option(
    "--agent",
    help="Decide as this agent with all capabilities, without a token (else KALGUARD_TOKEN names one).",
)


@check.command()
@click.argument("text")
@click.option("--role", default="user", show_default=True, help="Role of the message.")
@_agent
@_config
@json_option
def prompt(text: str, role: str, agent: str | None, config: Path | None, as_json: bool) -> None:
    """Check one message. TEXT `-` reads it from standard input."""
    content = sys.stdin.read() if text == "-" else text
    body = {"messages": [{"role": role, "content": content}]}
    _decide("/v1/prompt/check", body, agent, config, as_json)


@check.command()
@click.argument("name")
@click.argument("arguments", default="{}")
@_agent
@_config
@json_option
def tool(name: str, arguments: str, agent: str | None, config: Path | None, as_json: bool) -> None:
    """Check a call of tool NAME with ARGUMENTS (a JSON object; `-` reads it from standard input)."""
    try:
        parsed = json.loads(sys.stdin.read() if arguments == "-" else arguments)
    except ValueError as error:
        fail(f"ARGUMENTS are not JSON: {error}", as_json=as_json, code=2)
        return
    if not isinstance(parsed, dict):
        fail("ARGUMENTS must be a JSON object", as_json=as_json, code=2)
    _decide("/v1/tool/check", {"toolName": name, "arguments": parsed}, agent, config, as_json)


def _decide(path: str, body: dict[str, Any], agent: str | None, config: Path | None, as_json: bool) -> None:
    try:
        settings, _ = load_settings(os.environ, config)
        answer, detail = asyncio.run(_answer(settings, path, body, agent))
    except SettingsError as error:
        fail(str(error), as_json=as_json, code=2)
        return
    if as_json:
        click.echo(json.dumps(answer | ({"detail": detail} if detail else {}), ensure_ascii=False))
    else:
        risk = answer.get("data", {}).get("riskScore")
        shown = f" (risk {risk})" if risk is not None else ""
        click.echo(f"{answer['decision']}: {answer['message']}{shown}")
        if answer.get("errorCode"):
            click.echo(f"  {answer['errorCode']}" + (f": {detail}" if detail else ""))
        if agent is None and not os.environ.get("KALGUARD_TOKEN"):
            click.echo("  say who asks: --agent ID, or a token in KALGUARD_TOKEN")
    sys.exit(0 if answer["allowed"] else 3)


async def _answer(settings: Any, path: str, body: dict[str, Any], agent: str | None) -> tuple[dict[str, Any], str]:
    """What the agent would be told, and what only the operator is."""
    from dataclasses import replace

    from kalguard_core.examination import AtOnce
    from kalguard_core.guard import Guard
    from kalguard_core.inflight import InFlight
    from kalguard_core.request import AgentRequest, BufferedBody
    from kalguard_core.tools import SlidingWindowStore
    from kalguard_core.wire.registry import PROTOCOLS

    from ..metrics import Metrics
    from ..reload import Documents
    from ..request_id import new_request_id

    snapshot = Documents(settings, Metrics(), lambda _: None).load()
    headers = {"content-type": "application/json"}
    if agent is not None:
        snapshot = replace(snapshot, authenticator=_Everyone(agent))  # type: ignore[arg-type]
    elif token := os.environ.get("KALGUARD_TOKEN"):
        headers["authorization"] = f"Bearer {token}"
    guard = Guard(
        snapshot,
        protocols=PROTOCOLS,
        limits=SlidingWindowStore(),
        inflight=InFlight(1, settings.max_body_bytes),
        large=AtOnce(),
        digest=lambda _: "",
        max_body_bytes=settings.max_body_bytes,
    )
    request = AgentRequest(
        id=new_request_id(),
        kind="api",
        method="POST",
        host="localhost",
        path=path,
        headers=headers,
        time=time.time(),
        monotonic=time.monotonic(),
        body=BufferedBody(json.dumps(body).encode()),
        can_rewrite=True,
    )
    decision = await guard.decide(request)
    answer = json.loads(PROTOCOLS["api"].reply(request, decision).body)
    assert isinstance(answer, dict)
    return answer, decision.detail


class _Everyone:
    """Stands in for authentication where the operator at the keyboard says who asks."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id

    def authenticate(self, _request: Any) -> Any:
        from kalguard_core.codes import Capability
        from kalguard_core.identity import Identity

        return Identity(
            agent_id=self._agent_id,
            capabilities=frozenset(Capability),
            issuer="kalguard check",
            token_id="",
            token_hash="",
            metadata={},
            expires_at=None,
            source="principal",
        )

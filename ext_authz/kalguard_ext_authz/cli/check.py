"""`kalguard check`: a decision without a server, by the same pipeline."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ..settings import SettingsError, load_settings
from .audit import printable
from .output import fail, json_option


@click.group()
def check() -> None:
    """Decide about one prompt, tool call or request of an agent without a server.

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
    content = _words(text, "TEXT", as_json)
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
        parsed = json.loads(_words(arguments, "ARGUMENTS", as_json))
    except ValueError as error:
        fail(f"ARGUMENTS are not JSON: {error}", as_json=as_json, code=2)
        return
    if not isinstance(parsed, dict):
        fail("ARGUMENTS must be a JSON object", as_json=as_json, code=2)
    _decide("/v1/tool/check", {"toolName": name, "arguments": parsed}, agent, config, as_json)


@check.command()
@click.argument("kind")
@click.argument("method")
@click.argument("path")
@click.argument("body", type=click.File("rb"), required=False)
@click.option("--header", "headers", metavar="NAME:VALUE", multiple=True, help="A header of the request (repeatable).")
@click.option(
    "--context",
    metavar="NAME=VALUE",
    multiple=True,
    help="What the route would say beside its kind: server, prefix, authority, … (repeatable).",
)
@click.option("--host", default="localhost", show_default=True, help="The Host that the agent writes.")
@_agent
@_config
@json_option
def request(
    kind: str,
    method: str,
    path: str,
    body: Any,
    headers: tuple[str, ...],
    context: tuple[str, ...],
    host: str,
    agent: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Check a request as an agent sends it through Envoy: what it becomes, and what is decided about each part.

    KIND is that of the route (`kalguard protocols` lists them), PATH the path below the route's prefix, BODY a file or
    `-`. A body is JSON unless a content-type header says otherwise.

    \b
    kalguard check request anthropic POST /v1/messages body.json --agent research-7
    kalguard check request mcp POST / call.json --context server=files --agent research-7
    """
    from kalguard_core.wire.registry import PROTOCOLS

    if kind not in PROTOCOLS:
        fail(f"unknown kind {kind!r}: use one of {', '.join(sorted(PROTOCOLS))}", as_json=as_json, code=2)
    data: bytes = body.read() if body is not None else b""
    fields = {"content-type": "application/json", "content-length": str(len(data))} if data else {}
    fields |= {name.lower(): value for name, value in _pairs(headers, ":", "--header", as_json)}
    asked = _Asked(kind, method.upper(), path, host, fields, dict(_pairs(context, "=", "--context", as_json)), data)
    try:
        settings, _ = load_settings(os.environ, config)
        decision, reply = asyncio.run(_decision(settings, asked, agent))
    except SettingsError as error:
        fail(str(error), as_json=as_json, code=2)
        return
    told = _told(decision, reply)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(told)))
        _ask_who(agent)
    sys.exit(0 if told["allowed"] else 3)


def _pairs(texts: tuple[str, ...], mark: str, option: str, as_json: bool) -> list[tuple[str, str]]:
    pairs = [text.partition(mark) for text in texts]
    for (name, found, _), text in zip(pairs, texts, strict=True):
        if not found or not name:
            fail(f"{option} {text!r}: expected NAME{mark}VALUE", as_json=as_json, code=2)
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _told(decision: Any, reply: Any) -> dict[str, Any]:
    """What an operator wants to know of a decision."""
    actions = [
        {
            "action": verdict.action.name,
            "resource": verdict.action.resource,
            "tool": verdict.action.tool,
            "model": verdict.action.model,
            "decision": str(verdict.outcome),
            "rule": verdict.rule,
            "reason": verdict.reason,
            "detail": verdict.detail,
            "risk": verdict.risk,
            "firewall": verdict.firewall,
            "rules": list(verdict.rules),
            "categories": list(verdict.categories),
            "tags": list(verdict.tags),
            "texts": len(verdict.action.messages),
            "attributes": dict(verdict.action.attributes),
        }
        for verdict in decision.verdicts
    ]
    return {
        "allowed": decision.allowed,
        "decision": str(decision.outcome),
        "message": decision.reason,
        "errorCode": None if decision.code is None else str(decision.code),
        "detail": decision.detail,
        "status": decision.status,
        "route": decision.route,
        "actions": actions,
        "reply": None if decision.allowed else reply.body.decode("utf-8", "replace"),
    }


def _lines(told: dict[str, Any]) -> list[str]:
    code = f" ({told['status']} {told['errorCode']})" if told["errorCode"] else ""
    lines = [f"{told['decision']}: {told['message']}{code}"]
    if told["detail"]:
        lines.append(f"  {told['detail']}")
    if told["route"]:
        lines.append(f"  route {told['route']}")
    for action in told["actions"]:
        about = " ".join(filter(None, (action["action"], action["tool"] or action["resource"])))
        risk = "" if action["risk"] is None else f", risk {action['risk']}"
        rule = "" if action["rule"] is None else f", rule {action['rule']}"
        found = [*action["rules"], *action["tags"]]
        lines.append(f"  {action['decision']:16}  {about}  ({action['reason']}{rule}{risk})")
        if found:
            lines.append(f"  {'':16}  found under {action['firewall']}: {', '.join(found)}")
    if told["reply"]:
        lines += ["  the agent gets:", f"    {told['reply']}"]
    return lines


def _words(argument: str, name: str, as_json: bool) -> str:
    """An argument, or standard input for `-`. Ends the command if it is not UTF-8."""
    try:
        # what is not UTF-8 on the command line comes as lone surrogates
        return (sys.stdin.buffer.read() if argument == "-" else argument.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError as error:
        fail(f"{name}: not UTF-8 (byte {error.start})", as_json=as_json, code=2)
        raise  # `fail` ends the process


def _ask_who(agent: str | None) -> None:
    if agent is None and not os.environ.get("KALGUARD_TOKEN"):
        click.echo("  say who asks: --agent ID, or a token in KALGUARD_TOKEN")


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
        rewritten = answer.get("data", {}).get("sanitizedMessages", ())
        if rewritten:
            click.echo("  only as it is rewritten; where that can't be done, as behind Envoy, it is refused unless")
            click.echo("  `onUnrewritable` of the rule or the profile says otherwise:")
        for message in rewritten:
            click.echo(f"  {printable(message['role'])}: {printable(message['content'], limit=None)}")
        if answer.get("errorCode"):
            click.echo(f"  {answer['errorCode']}" + (f": {detail}" if detail else ""))
        _ask_who(agent)
    sys.exit(0 if answer["allowed"] else 3)


async def _answer(settings: Any, path: str, body: dict[str, Any], agent: str | None) -> tuple[dict[str, Any], str]:
    """What the agent would be told, and what only the operator is."""
    headers = {"content-type": "application/json"}
    asked = _Asked("api", "POST", path, "localhost", headers, {}, json.dumps(body).encode())
    decision, reply = await _decision(settings, asked, agent)
    answer = json.loads(reply.body)
    assert isinstance(answer, dict)
    return answer, decision.detail


@dataclass(frozen=True, slots=True)
class _Asked:
    kind: str
    method: str
    path: str
    host: str
    headers: dict[str, str]
    context: dict[str, str]
    body: bytes


async def _decision(settings: Any, asked: _Asked, agent: str | None) -> tuple[Any, Any]:
    """The decision, and the reply that an agent would get."""
    from kalguard_core.examination import AtOnce
    from kalguard_core.guard import Guard
    from kalguard_core.inflight import InFlight
    from kalguard_core.request import AgentRequest, BufferedBody
    from kalguard_core.tools import SlidingWindowStore
    from kalguard_core.wire.registry import PROTOCOLS

    from ..cache_dir import cache_dir
    from ..metrics import Metrics
    from ..reload import Documents
    from ..request_id import new_request_id

    cache, _ = cache_dir(settings, os.environ)
    snapshot = Documents(settings, Metrics(), lambda _: None, cache=cache).load()
    headers = dict(asked.headers)
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
        kind=asked.kind,
        method=asked.method,
        host=asked.host,
        path=asked.path,
        headers=headers,
        time=time.time(),
        monotonic=time.monotonic(),
        body=BufferedBody(asked.body),
        context=asked.context,
        can_rewrite=asked.kind == "api",
    )
    decision = await guard.decide(request)
    return decision, PROTOCOLS[asked.kind].reply(request, decision)


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

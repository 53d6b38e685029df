"""`kalguard protocols`: what the gate understands, from the same tables that route requests."""

from __future__ import annotations

from typing import Any

import click

from .output import emit, fail, json_option


@click.command()
@click.argument("kind", required=False)
@json_option
def protocols(kind: str | None, as_json: bool) -> None:
    """Show the wire protocols: each endpoint, the action that it becomes, and what is refused.

    KIND (a route's kind, like openai or mcp) shows one of them in full; without it, all kinds are listed.
    """
    from kalguard_core.wire.registry import PROTOCOLS

    if kind is not None and kind not in PROTOCOLS:
        fail(f"unknown kind {kind!r}: use one of {', '.join(sorted(PROTOCOLS))}", as_json=as_json, code=2)
        return
    chosen = PROTOCOLS.values() if kind is None else [PROTOCOLS[kind]]
    data = [_data(protocol) for protocol in chosen]
    if kind is None:
        width = max(len(entry["kind"]) for entry in data)
        lines = [f"{entry['kind']:{width}}  {entry['title']}" for entry in data]
        emit("\n".join([*lines, "", "`kalguard protocols KIND` shows one in full."]), data, as_json=as_json)
        return
    emit("\n".join(_lines(data[0])), data[0], as_json=as_json)


def _data(protocol: Any) -> dict[str, Any]:
    return {
        "kind": protocol.kind,
        "title": protocol.title,
        "endpoints": [
            {
                "method": endpoint.method,
                "path": endpoint.path,
                "route": endpoint.name,
                "actions": endpoint.actions,
                "reads": endpoint.reads,
                "capabilities": list(endpoint.capabilities),
                "query": sorted(endpoint.query),
                "upgrade": endpoint.upgrade,
            }
            for endpoint in protocol.endpoints
        ],
        "methods": [
            {"name": method.name, "action": method.action, "reads": method.reads, "versions": sorted(method.versions)}
            for method in getattr(protocol, "methods", ())
        ],
        "refused": [{"what": what, "why": why} for what, why in protocol.refused],
    }


def _lines(protocol: dict[str, Any]) -> list[str]:
    lines = [f"{protocol['title']} (kind {protocol['kind']})", ""]
    for endpoint in protocol["endpoints"]:
        lines.append(f"{endpoint['method']} {endpoint['path'] or '/'}{' (upgrade)' if endpoint['upgrade'] else ''}")
        lines.append(f"    becomes {endpoint['actions']}")
        lines.append(f"    reads   {endpoint['reads']}")
    if protocol["methods"]:
        lines += ["", "Methods of a message:"]
        lines += [f"    {entry['name']} becomes {entry['action']}: {entry['reads']}" for entry in protocol["methods"]]
    if protocol["refused"]:
        lines += ["", "Refused:"]
        lines += [f"    {entry['what']}: {entry['why']}" for entry in protocol["refused"]]
    return [line.replace("`", "") for line in lines]

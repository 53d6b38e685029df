"""`kalguard protocols`, as an operator runs it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from kalguard_core.wire.registry import PROTOCOLS
from kalguard_ext_authz.cli import main


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["protocols", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_every_kind_of_route_is_listed_with_its_title() -> None:
    lines = run().stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(PROTOCOLS)]] == list(PROTOCOLS)
    assert "cohere      Cohere" in lines


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_a_kind_is_shown_with_each_endpoint_and_refusal(kind: str) -> None:
    protocol, text = PROTOCOLS[kind], run(kind).stdout
    assert text.startswith(f"{protocol.title} (kind {kind})\n")
    for endpoint in protocol.endpoints:
        assert f"\n{endpoint.method} {endpoint.path or '/'}" in text
    for what, why in protocol.refused:
        assert f"    {what}: {why}".replace("`", "") in text


def test_the_methods_of_mcp_messages_are_shown() -> None:
    assert "    resources/read becomes mcp:resources/read: the URI" in run("mcp").stdout


def test_json_says_what_a_request_needs() -> None:
    shown = json.loads(run("openai", "--json").stdout)
    (chat,) = [entry for entry in shown["endpoints"] if entry["route"] == "openai.chat"]
    assert chat["capabilities"] == ["prompt:send", "llm:call"]
    assert {entry["kind"] for entry in json.loads(run("--json").stdout)} == set(PROTOCOLS)


def test_an_unknown_kind_is_an_error_that_names_those_there_are() -> None:
    result = run("opnai")
    assert result.exit_code == 2
    assert result.stderr.startswith("kalguard: unknown kind 'opnai': use one of a2a, anthropic, ")

"""`kalguard envoy`: what people and programs get from render and validate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from kalguard_ext_authz.cli.envoy import envoy
from kalguard_ext_authz.envoy.binary import EnvoyNotFound, find_envoy


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(envoy, arguments)


def test_render_without_options_prints_the_committed_sidecar() -> None:
    committed = Path(__file__).parents[2] / "envoy" / "sidecar.yaml"
    assert _run("render").output == committed.read_text()


def test_render_writes_a_file_that_validate_accepts(envoy_binary: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "envoy.yaml")
    options = ["--openai", "openai=http://llm:8000", "--mcp", "files=http://files/mcp", "--internal", "files"]
    assert _run("render", *options, "--listen", "[::1]:1234", "-o", file).exit_code == 0
    answer = _run("validate", file, "--envoy", str(envoy_binary), "--json")
    assert (answer.exit_code, json.loads(answer.output)["ok"]) == (0, True)


def test_render_says_which_route_goes_where_and_which_name_a_credential_needs(tmp_path: Path) -> None:
    options = ["--provider", "openai", "--grpc", "orders=http://orders/shop.v1.Orders", "-o", str(tmp_path / "e.yaml")]
    assert _run("render", *options).output.splitlines()[1:] == [
        "  /openai: kind openai, upstream openai_openai, to https://api.openai.com",
        "  /shop.v1.Orders: kind grpc, upstream grpc_orders, to http://orders/shop.v1.Orders",
    ]
    assert json.loads(_run("render", *options, "--json").output)["routes"][0] == {
        "paths": ["/openai"],
        "kind": "openai",
        "url": "https://api.openai.com",
        "upstream": "openai_openai",
    }


def test_render_json_holds_the_configuration() -> None:
    document = json.loads(_run("render", "--json").output)
    assert yaml.safe_load(document["config"])["admin"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--openai", "x"], "--openai 'x': expected NAME=URL"),
        (["--anthropic", "a=https://api.anthropic.com/v1"], "clients ask for /v1/… by themselves"),
        (["--azure", "a=https://r.openai.azure.com/openai/v1/"], "leave /openai/v1 off the URL"),
        (["--internal", "ghost"], "--internal ghost: no upstream has that name"),
        (["--authz", "unix:x"], "--authz 'unix:x': expected an absolute socket path"),
        (["--authz", "h:1", "--authz-ca", "f"], "belong together"),
        (["--listen", "agents"], "--listen 'agents'"),
        (["--max-body", "-1"], "--max-body"),
        (["--admin", "localhost:9901"], "--admin"),
    ],
)
def test_a_wrong_option_is_named_and_is_status_2(arguments: list[str], problem: str) -> None:
    answer = _run("render", *arguments)
    assert answer.exit_code == 2
    assert problem in answer.output
    as_json = _run("render", "--json", *arguments)
    assert json.loads(as_json.output)["ok"] is False


def test_validate_says_in_envoys_words_what_is_wrong(envoy_binary: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("static_resources: {listeners: [{nam: x}]}\n")
    answer = _run("validate", str(file), "--envoy", str(envoy_binary))
    assert answer.exit_code == 1
    assert "nam" in answer.output


def test_validate_of_no_file_is_status_2(tmp_path: Path) -> None:
    assert _run("validate", str(tmp_path / "none.yaml")).exit_code == 2


def test_an_envoy_that_was_named_is_never_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvoyNotFound, match="--envoy names"):
        find_envoy(tmp_path / "nothing")
    monkeypatch.setenv("KALGUARD_ENVOY", str(tmp_path))
    with pytest.raises(EnvoyNotFound, match="KALGUARD_ENVOY names"):
        find_envoy()


def test_envoy_is_found_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.delenv("KALGUARD_ENVOY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_envoy() == program

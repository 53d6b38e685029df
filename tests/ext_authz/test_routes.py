"""The route table at work: who is believed, what comes first, and its reload."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from kalguard_core.guard import Snapshot
from kalguard_core.wire.providers import provider_of
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_core.wire.routes import RouteTable
from kalguard_ext_authz.cli import main
from kalguard_ext_authz.envoy.providers import PROVIDERS
from kalguard_ext_authz.metrics import Metrics
from kalguard_ext_authz.reload import Documents
from kalguard_ext_authz.routes import Routes
from kalguard_ext_authz.settings import Settings, SettingsError

TEXT = """
routes:
  - {host: api.openai.com, kind: openai, upstream: openai}
  - {destination: spiffe://cluster.local/ns/tools/sa/files, kind: mcp, server: files}
  - {destination: "10.0.0.7:8000", kind: mcp, server: plain}
  - {host: wiki.example.com, kind: http}
  - {host: api.example.com, kind: http, authority: other.example.com}
"""
TABLE = RouteTable.parse(TEXT, "routes.yaml")


def route(
    host: str,
    *,
    trusted: bool = True,
    table: RouteTable | None = TABLE,
    context: dict[str, str] | None = None,
    principal: str = "",
    address: str = "",
) -> tuple[str, dict[str, str]]:
    attributes = CheckRequest().attributes
    attributes.request.http.host = host
    attributes.request.http.path = "/x"
    attributes.context_extensions.update(context or {})
    attributes.destination.principal = principal
    if address:
        attributes.destination.address.socket_address.address = address
        attributes.destination.address.socket_address.port_value = 8000
    kind, found = Routes(table).route(attributes, trusted=trusted)
    return kind, dict(found)


def test_the_table_says_what_a_request_is_where_the_route_says_nothing() -> None:
    assert route("api.openai.com") == ("openai", {"kind": "openai"})
    assert route("wiki.example.com")[0] == "http"


def test_the_word_of_the_route_comes_first() -> None:
    assert route("api.openai.com", context={"kind": "mcp", "server": "s"}) == ("mcp", {"kind": "mcp", "server": "s"})
    assert route("nobody.example", context={"kind": "http"})[0] == "http"


def test_a_request_that_no_entry_fits_is_on_no_route() -> None:
    assert route("nobody.example")[0] not in PROTOCOLS
    assert route("api.openai.com:x")[0] not in PROTOCOLS
    assert route("nobody.example", table=None) == ("http", {})


def test_a_host_that_the_agent_writes_names_no_credential_but_where_the_request_goes_does() -> None:
    entries = "{host: a.example, kind: openai, upstream: a}", "{destination: 'spiffe://b', kind: openai, upstream: b}"
    table = RouteTable.parse("routes:\n" + "".join(f"  - {entry}\n" for entry in entries), "routes.yaml")
    assert "upstream" not in route("a.example", table=table)[1]
    assert route("b.example", table=table, principal="spiffe://b")[1]["upstream"] == "b"


def test_a_route_may_be_known_by_where_it_goes() -> None:
    assert route("x", principal="spiffe://cluster.local/ns/tools/sa/files")[1]["server"] == "files"
    assert route("x", address="10.0.0.7")[1]["server"] == "plain"
    assert route("x", address="10.0.0.8")[0] not in PROTOCOLS


def test_to_a_caller_that_is_not_believed_the_table_can_only_forbid() -> None:
    assert route("wiki.example.com", trusted=False, context={"internal": "true"}) == ("http", {})
    for host in ("api.openai.com", "api.example.com", "nobody.example"):
        assert route(host, trusted=False)[0] not in PROTOCOLS
    assert route("x", trusted=False, address="10.0.0.7")[0] not in PROTOCOLS
    assert route("wiki.example.com", trusted=False, context={"kind": "openai"})[0] not in PROTOCOLS
    assert route("any.example", trusted=False, table=None) == ("http", {})
    assert route("any.example", trusted=False, table=None, context={"authority": "a"})[0] not in PROTOCOLS


async def test_the_table_is_read_again_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(TEXT)
    replaced: list[Snapshot] = []
    documents = Documents(Settings.model_validate({"routes_path": file}), Metrics(), replaced.append)
    documents.load()
    first = documents.routes.table
    assert first is not None
    assert documents.versions()["routes"] == first.version

    file.write_text("routes: [{host: h, kind: openai}]")
    assert (await documents.reload())["routes"].changed
    second = documents.routes.table
    assert second is not None
    assert second.match("h", "/") is not None

    file.write_text("routes: [{host: h, kind: nonsense}]")
    result = (await documents.reload())["routes"]
    assert f"{file}:1: routes[0].kind: must be one of" in str(result.error)
    assert documents.routes.table is second
    assert documents.checks()["routes"]().status == "degraded"


def test_a_bad_table_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    settings = Settings.model_validate({"routes_path": file})
    with pytest.raises(SettingsError, match=r"KALGUARD_ROUTES_PATH: .*cannot be read"):
        Documents(settings, Metrics(), lambda _: None).load()
    file.write_text("routes:\n  - {host: h}\n")
    with pytest.raises(SettingsError, match=r"routes.yaml:2: routes\[0\].kind: required key is missing"):
        Documents(settings, Metrics(), lambda _: None).load()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["match", "https://api.openai.com/v1/x"], 0, "routes.yaml:3: kind openai, upstream openai"),
        (["match", "wiki.example.com"], 0, "routes.yaml:6: kind http"),
        (["match", "x", "--destination", "10.0.0.7:8000"], 0, "routes.yaml:5: kind mcp, server plain"),
        (["match", "https://nobody.example/"], 3, "no route"),
        (["match", "wiki.example.com", "--json"], 0, '"kind": "http"'),
        (["validate"], 0, "OK: 5 routes"),
    ],
)
def test_an_operator_can_ask_the_table(tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(TEXT)
    result = CliRunner().invoke(main, ["routes", arguments[0], str(file), *arguments[1:]])
    assert (result.exit_code, said in result.output) == (status, True), result.output


@pytest.mark.parametrize(("content", "said"), [(b"routes: []", "routes.yaml:1"), (b"\xff", "UTF-8"), (None, "read")])
def test_the_command_says_what_is_wrong_with_a_table(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "routes.yaml"
    if content is not None:
        file.write_bytes(content)
    result = CliRunner().invoke(main, ["routes", "validate", str(file)])
    assert (result.exit_code, said in result.output) == (1, True), result.output


def test_every_provider_that_can_be_rendered_is_one_that_no_tunnel_reaches() -> None:
    for provider in PROVIDERS:
        host = urlsplit(provider.url.replace("{}", provider.example)).hostname
        assert host is not None
        assert provider_of(host) is not None, host

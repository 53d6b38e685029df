"""Every document is true: what it shows runs and answers as shown, what it names exists, what it links to is there.

How a code block is read from the words behind its language:

    sh                run in the document's scratch directory, one shell for the document
    sh up             run beside a running `kalguard up`
    sh serve          started, awaited until it is ready, and stopped after the document's last block
    sh make           targets of the Makefile: they must exist
    sh manual         not run, for the reason in `MANUAL`
    python            run beside a running `kalguard up`
    python sdk        run by tests/envoy/contracts/test_documented_clients.py, which has a vendor to talk to
    yaml KIND, json KIND   read by the reader of that kind; json without a kind must parse
    yaml route        fields of an Envoy route: a real Envoy reads the bundled configuration with them
    text              the output of the block above, `…` stands for anything
    text figure       a picture
    status=N          on sh: the exit status that is wanted
    file=NAME         the block is also written into the scratch directory
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

import firewall_tables
import protocols_table
import settings_table
from kalguard_core.codes import STATUS
from kalguard_core.firewall.document import Firewalls, pack_paths
from kalguard_core.firewall.engine import Engine, build_engine
from kalguard_core.firewall.fold import fold_bytes
from kalguard_core.firewall.pack import load_packs
from kalguard_core.identity import PrincipalMap, Revocations
from kalguard_core.policy import Policy
from kalguard_core.tools import ToolCatalog
from kalguard_core.wire.registry import PROTOCOLS
from kalguard_core.wire.routes import RouteTable
from kalguard_ext_authz.cli import main
from kalguard_ext_authz.cli.serve import default_text
from kalguard_ext_authz.envoy.binary import validate
from kalguard_ext_authz.metrics import Metrics
from kalguard_ext_authz.settings import OTHER_VARIABLES, PREFIX, Settings, load_settings
from support import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
ANYTHING: Final = "…"
SECONDS: Final = 30

# Blocks that nothing here can run: document, a part of the block, and why.
MANUAL: Final = (
    ("docs/agents.md", "envoy -c", "runs until it is stopped; both files are validated in the block above"),
    ("docs/audit.md", "/var/log/kalguard", "names places of an operator's machine"),
    ("docs/audit.md", "--follow", "follows the log until it is interrupted"),
    ("docs/envoy.md", "envoy -c", "runs until it is stopped; the configuration is validated in the block above"),
    ("docs/envoy.md", "HTTPS_PROXY", "would send the rest through a proxy; test_forward_proxy.py has one"),
    (
        "docs/firewall.md",
        "firewall train",
        "trains for minutes; test_firewall_evaluate_command.py runs the command around the training",
    ),
    (
        "docs/http-api.md",
        "/run/kalguard/admin.sock",
        "needs the installed service; docs/operations.md asks a running one",
    ),
    ("docs/install.md", "pip install", "installs from a registry"),
    ("docs/install.md", "systemctl", "needs a machine that systemd runs"),
    ("docs/istio.md", "kubectl", "needs a cluster"),
    ("docs/operations.md", "kill -", "signals an installed service; reload and drain have tests of their own"),
)
TAGS: Final[Mapping[str, frozenset[str]]] = {
    "sh": frozenset({"", "up", "serve", "make", "manual"}),
    "python": frozenset({"", "sdk"}),
    "yaml": frozenset(
        {"policy", "firewall", "pack", "tools", "routes", "principals", "revocations", "settings", "envoy", "route"}
        | {"istio"}
    ),
    "json": frozenset({"", "policy", "tools", "principals", "revocations"}),
    "text": frozenset({"", "figure"}),
}


@dataclass
class Block:
    """A code block. `tag` is its first word, `options` are its `name=value` words, `output` is what it prints."""

    path: Path
    line: int
    language: str
    tag: str
    options: dict[str, str]
    text: str
    output: str | None = None

    def __str__(self) -> str:
        return f"{_shown(self.path)}:{self.line}"


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def _blocks(path: Path) -> list[Block]:
    """The code blocks of a document; a `text` block is put with the block above it."""
    found: list[Block] = []
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if not line.startswith("```"):
            assert not line.lstrip().startswith("```"), (
                f"{_shown(path)}:{number}: an indented block would not be tested"
            )
            continue
        language, *words = line.removeprefix("```").split() or [""]
        options = dict(word.split("=", 1) for word in words if "=" in word)
        tags = [word for word in words if "=" not in word]
        body = []
        for _, inner in lines:
            if inner == "```":
                break
            body.append(inner)
        else:
            raise AssertionError(f"{_shown(path)}:{number}: the block has no end")
        assert len(tags) < 2, f"{_shown(path)}:{number}: more than one tag: {tags}"
        block = Block(path, number, language, "".join(tags), options, "\n".join(body) + "\n")
        if language == "text" and not tags:
            assert found, f"{block}: an output without a command (a picture is `text figure`)"
            assert found[-1].language in ("sh", "python"), f"{block}: an output without a command"
            assert found[-1].output is None, f"{block}: a second output"
            found[-1].output = block.text
            continue
        found.append(block)
    return found


DOCUMENTS: Final = _documents()
IDS: Final = [_shown(path) for path in DOCUMENTS]
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)


# -- running what is shown ------------------------------------------------------------------------------------


@dataclass
class Place:
    """Where blocks run: a directory, its environment, and the ports that stand for the documented ones."""

    directory: Path
    environment: dict[str, str]
    ports: dict[str, str] = field(
        default_factory=lambda: {port: str(free_port()) for port in ("10000", "9292", "9293")}
    )

    def local(self, text: str) -> str:
        """`text` with our ports in place of the documented ones: those may be in use here."""
        return re.sub(r"(?<![\d.])(?:10000|9292|9293)(?!\d)", lambda found: self.ports[found.group()], text)

    def shell(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run commands as a reader would paste them: variables of one block are there in the next."""
        kept = self.directory / ".environment"
        script = f"set -eu\n[ ! -f {kept} ] || . {kept}\ntrap 'export -p >{kept}' EXIT\n{self.local(text)}"
        return self.run(["bash", "-c", script])

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command; what it says on both streams is in `stdout`."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def environment(envoy_binary: Path) -> dict[str, str]:
    """A new user's: no KALGUARD_* but the Envoy; our Python and `kalguard` come first."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    return clean | {"PATH": programs, "KALGUARD_ENVOY": str(envoy_binary), "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def up(environment: dict[str, str]) -> Iterator[Place]:
    """A running `kalguard up`, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="kg-docs-") as directory:
        place = Place(Path(directory), environment)
        (place.directory / ".venv").symlink_to(sys.prefix)  # as in the checkout, where `make run` runs
        listen, http, metrics = place.ports.values()
        options = ["--listen", f"127.0.0.1:{listen}", "--http-port", http, "--metrics-port", metrics, "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "kalguard_ext_authz", "up", *options],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        told = json.loads(process.stdout.readline() or "{}")
        assert told.get("ready"), f"kalguard up did not start: {told}"
        yield place
        process.terminate()
        process.communicate(timeout=SECONDS)


@pytest.fixture
def scratch(environment: dict[str, str]) -> Iterator[Place]:
    """The scratch directory of one document."""
    with tempfile.TemporaryDirectory(prefix="kg-docs-") as directory:
        yield Place(Path(directory), environment)


RUNNING: Final = [path for path in DOCUMENTS if any(block.language != "text" for block in _blocks(path))]


@pytest.mark.parametrize("path", RUNNING, ids=[_shown(path) for path in RUNNING])
def test_what_a_document_shows_works_as_shown(path: Path, scratch: Place, up: Place, envoy_binary: Path) -> None:
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for block in _blocks(path):
            _write(block, scratch)
            if block.language in ("yaml", "json"):
                _read(block, scratch, envoy_binary)
            elif block.tag == "serve":
                servers.append(_serve(block, scratch))
            elif block.language == "python" and not block.tag:
                _check_output(block, up, up.run([sys.executable, "-c", up.local(block.text)]))
            elif block.language == "sh" and block.tag in ("", "up"):
                place = up if block.tag else scratch
                _check_output(block, place, place.shell(block.text))
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
            server.wait(SECONDS)


def _write(block: Block, place: Place) -> None:
    if name := block.options.get("file"):
        (place.directory / name).write_text(place.local(block.text), encoding="utf-8")


def _check_output(block: Block, place: Place, ended: subprocess.CompletedProcess[str]) -> None:
    status = int(block.options.get("status", "0"))
    if ended.returncode != status:
        pytest.fail(f"{block}: ended with {ended.returncode}, not {status}\n{ended.stdout}", pytrace=False)
    if block.output is None:
        return
    wanted = re.escape(place.local(block.output).strip()).replace(re.escape(ANYTHING), ".*?")
    if not re.fullmatch(wanted, ended.stdout.strip(), re.DOTALL):
        pytest.fail(f"{block}: it printed\n{ended.stdout}", pytrace=False)


def _serve(block: Block, place: Place) -> subprocess.Popen[bytes]:
    log = place.directory / ".serve.log"
    kept = place.directory / ".environment"
    script = f"[ ! -f {kept} ] || . {kept}\nexec {place.local(block.text)}"
    with log.open("wb") as said:
        server = subprocess.Popen(
            ["bash", "-c", script], cwd=place.directory, env=place.environment, stdout=said, stderr=said
        )
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{place.ports['9292']}/livez", timeout=1):
                return server
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    server.kill()
    raise AssertionError(f"{block}: did not start\n{log.read_text()}")


# -- reading what is shown ------------------------------------------------------------------------------------


def _read(block: Block, place: Place, envoy: Path) -> None:
    """Raises what the reader of the block's kind raises."""
    readers: dict[str, Callable[[str, str], object]] = {
        "": lambda text, _: json.loads(text),
        "policy": Policy.parse,
        "firewall": lambda text, where: _read_firewall(text, where, place),
        "pack": _read_pack,
        "tools": ToolCatalog.parse,
        "routes": RouteTable.parse,
        "principals": PrincipalMap.parse,
        "revocations": Revocations.parse,
        "settings": lambda text, _: _read_settings(text, place),
        "envoy": lambda text, _: _read_envoy(text, place, envoy),
        "route": lambda text, _: _read_envoy(_with_route_fields(text), place, envoy),
        "istio": lambda text, _: _read_istio(text),
    }
    if block.language == "json":
        json.loads(block.text)
    readers[block.tag](block.text, str(block))


def _read_firewall(text: str, where: str, place: Place) -> None:
    packs = tuple((path, (place.directory / path).read_text(encoding="utf-8")) for path in pack_paths(text, where))
    Firewalls.parse(text, where, packs)


def _read_pack(text: str, where: str) -> None:
    engine = build_engine([(where, text)])
    for rule in load_packs([(where, text)]).rules:
        for example in rule.examples:
            assert _matched(engine, example, rule.id), f"{where}: {rule.id} does not match {example!r}"
        for example in rule.counterexamples:
            assert not _matched(engine, example, rule.id), f"{where}: {rule.id} matches {example!r}"


def _matched(engine: Engine, text: str, rule_id: str) -> bool:
    return any(match.rule.id == rule_id for match in engine.matches(fold_bytes(text)))


def _read_settings(text: str, place: Place) -> None:
    file = place.directory / ".settings.yaml"
    file.write_text(text, encoding="utf-8")
    load_settings({}, file)


def _read_envoy(text: str, place: Place, envoy: Path) -> None:
    file = place.directory / ".envoy.yaml"
    file.write_text(text, encoding="utf-8")
    found = validate(file, envoy)
    assert found.ok, found.problem


def _with_route_fields(text: str) -> str:
    """The bundled configuration, with more fields in the route to its model API."""
    config = yaml.safe_load((ROOT / "envoy" / "sidecar.yaml").read_text(encoding="utf-8"))
    routes = list(_named(config, "openai_openai"))
    assert routes, "the bundled configuration has no route openai_openai"
    for route in routes:
        route.update(yaml.safe_load(text))
    return yaml.safe_dump(config)


def _named(value: object, name: str) -> Iterator[dict[str, Any]]:
    """The routes called `name`, wherever they are."""
    if isinstance(value, dict) and value.get("name") == name and "match" in value:
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _named(inner, name)


# The fields that docs/istio.md uses, with the fields inside them ("[]": in each element). Sources: Istio's MeshConfig
# (ExtensionProvider), AuthorizationPolicy, PeerAuthentication references; Kubernetes' Service.
_META: Final[Mapping[str, Any]] = {"name": {}, "namespace": {}, "labels": None}
_HEAD: Final = {"apiVersion": {}, "kind": {}, "metadata": _META}
ISTIO: Final[Mapping[str, Any]] = {
    "MeshConfig": {
        "extensionProviders": {
            "[]": {
                "name": {},
                "envoyExtAuthzGrpc": {
                    "service": {},
                    "port": {},
                    "timeout": {},
                    "failOpen": {},
                    "clearRouteCache": {},
                    "statusOnError": {},
                    "includeRequestBodyInCheck": {"maxRequestBytes": {}, "allowPartialMessage": {}, "packAsBytes": {}},
                },
            }
        }
    },
    "AuthorizationPolicy": {
        **_HEAD,
        "spec": {"selector": {"matchLabels": None}, "action": {}, "provider": {"name": {}}, "rules": None},
    },
    "PeerAuthentication": {**_HEAD, "spec": {"selector": {"matchLabels": None}, "mtls": {"mode": {}}}},
    "Service": {
        **_HEAD,
        "spec": {"selector": None, "ports": {"[]": {"name": {}, "port": {}, "targetPort": {}, "appProtocol": {}}}},
    },
}


def _read_istio(text: str) -> None:
    for document in yaml.safe_load_all(text):
        kind = document.get("kind", "MeshConfig")
        _known_fields(document, ISTIO[kind], kind)


def _known_fields(value: object, known: Mapping[str, Any] | None, where: str) -> None:
    """None: any fields; {}: a scalar."""
    if known is None:
        return
    if isinstance(value, list):
        for each in value:
            _known_fields(each, known["[]"], where)
        return
    if not isinstance(value, dict):
        assert not known, f"{where}: must have fields"
        return
    for name, inner in value.items():
        assert name in known, f"{where}.{name}: not a field"
        _known_fields(inner, known[name], f"{where}.{name}")


def test_istio_policies_name_a_provider_that_the_mesh_config_declares() -> None:
    blocks = [block for block in _blocks(ROOT / "docs" / "istio.md") if block.tag == "istio"]
    documents = [each for block in blocks for each in yaml.safe_load_all(block.text)]
    declared = {each["name"] for document in documents for each in document.get("extensionProviders", [])}
    used = {
        document["spec"]["provider"]["name"] for document in documents if document.get("kind") == "AuthorizationPolicy"
    }
    assert used
    assert used <= declared


# -- what is not run has a reason -----------------------------------------------------------------------------


@every_document
def test_every_block_has_a_known_tag(path: Path) -> None:
    for block in _blocks(path):
        assert block.language in TAGS, f"{block}: language {block.language!r}; use {', '.join(TAGS)}"
        assert block.tag in TAGS[block.language], f"{block}: tag {block.tag!r}; use {sorted(TAGS[block.language])}"


@every_document
def test_a_block_that_is_not_run_says_why(path: Path) -> None:
    for block in (block for block in _blocks(path) if block.tag == "manual"):
        reasons = [reason for name, part, reason in MANUAL if name == _shown(path) and part in block.text]
        assert reasons, f"{block}: no reason in MANUAL"


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, part, _ in MANUAL])
def test_every_reason_is_that_of_a_block(name: str, part: str) -> None:
    assert any(part in block.text for block in _blocks(ROOT / name) if block.tag == "manual")


# -- what is named exists -------------------------------------------------------------------------------------


@every_document
def test_every_link_leads_somewhere(path: Path) -> None:
    prose = _prose(path)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{_shown(path)}: {target} is not there"
        assert file.is_relative_to(ROOT), f"{_shown(path)}: {target} is outside the repository"
        if anchor:
            assert anchor in _anchors(file), f"{_shown(path)}: {target}: no such heading"


def _prose(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings."""
    headings = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_every_variable_that_is_named_is_a_setting(path: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    named = set(re.findall(r"KALGUARD_[A-Z0-9_]+\b(?!\*)", path.read_text(encoding="utf-8")))
    assert named <= known


@every_document
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    blocks = [block.text for block in _blocks(path) if block.tag == "make"]
    for line in (line for text in blocks for line in text.splitlines()):
        assert re.match(r"make [a-z]+|make$", line), f"{_shown(path)}: {line!r} is no make command"
    named = re.findall(r"(?:^|`)make ([a-z]+)", "\n".join([_prose(path), *blocks]), re.MULTILINE)
    assert set(named) <= targets


@every_document
def test_every_command_that_is_named_exists(path: Path) -> None:
    for words in re.findall(r"`kalguard((?: [a-z]+)+)", _prose(path)):
        command: click.Command | None = main
        for word in words.split():
            if not isinstance(command, click.Group):
                break  # an argument
            command = command.get_command(click.Context(command), word)
            assert command is not None, f"{_shown(path)}: kalguard{words}"


@every_document
def test_commands_that_are_not_run_have_options_that_exist(path: Path) -> None:
    for block in (block for block in _blocks(path) if block.tag in ("manual", "serve")):
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["kalguard"]:
                _parse(words[1:], str(block))


def test_the_systemd_unit_starts_commands_that_exist() -> None:
    unit = (ROOT / "deploy" / "systemd" / "kalguard.service").read_text(encoding="utf-8")
    commands = re.findall(r"^ExecStart(?:Pre)?=\S+/kalguard (.+)$", unit, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        _parse(shlex.split(command), "kalguard.service")


def _parse(words: list[str], where: str) -> None:
    """Read a command line as `kalguard` does, without running it."""
    command: click.Command = main
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"{where}: kalguard {words[0]}"
        command, words = found, words[1:]
    try:
        command.make_context(where, list(words))
    except click.UsageError as error:
        pytest.fail(f"{where}: {error.format_message()}", pytrace=False)


def test_every_setting_is_in_the_table() -> None:
    document = settings_table.DOCUMENT.read_text(encoding="utf-8")
    assert document == settings_table.with_table(document), "run: python tests/lab/settings_table.py"
    for name in Settings.model_fields:
        assert f"| `{PREFIX}{name.upper()}` |" in document


def test_every_endpoint_that_is_understood_is_in_the_tables_of_protocols() -> None:
    document = protocols_table.DOCUMENT.read_text(encoding="utf-8")
    assert document == protocols_table.with_tables(document), "run: python tests/lab/protocols_table.py"
    for protocol in PROTOCOLS.values():
        assert f"Route kind `{protocol.kind}`." in document
        assert protocol.endpoints
        for endpoint in protocol.endpoints:
            assert endpoint.reads
            assert endpoint.actions


@pytest.mark.parametrize("path", firewall_tables.DOCUMENTS, ids=lambda path: _shown(path))
def test_what_is_told_of_rules_languages_and_model_is_that_of_this_build(path: Path) -> None:
    document = path.read_text(encoding="utf-8")
    assert document == firewall_tables.with_tables(document), "run: python tests/lab/firewall_tables.py"
    assert firewall_tables.MADE in document


@every_document
def test_a_default_that_is_told_elsewhere_is_the_same(path: Path) -> None:
    for name, told in re.findall(rf"^\| `{PREFIX}(\w+)` \| (\S+) \|", path.read_text(encoding="utf-8"), re.MULTILINE):
        default = default_text(Settings.model_fields[name.lower()].default)
        if default is not None and path != settings_table.DOCUMENT:
            assert told.strip("`") == default


@every_document
def test_every_metric_that_is_named_exists(path: Path) -> None:
    metrics = Metrics()
    known = {metric.name for metric in metrics.registry.collect()}
    named = set(re.findall(r"\b(kalguard_(?!core|ext_authz)[a-z_]+)\b", path.read_text(encoding="utf-8")))
    assert {name.removesuffix("_total") for name in named} <= known


@pytest.mark.parametrize("name", ["README.md", "docs/http-api.md"])
def test_every_error_code_is_listed_with_its_status(name: str) -> None:
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \| (.*?) \|$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    listed = {code: statuses.split(", ") for statuses, codes in rows for code in re.findall(r"`([A-Z_]+)`", codes)}
    assert set(listed) == set(STATUS)
    for code, status in STATUS.items():
        assert str(status) in listed[code]


def test_the_tools_that_the_documents_need_are_here() -> None:
    assert not [name for name in ("bash", "curl", "openssl") if shutil.which(name) is None]

"""`kalguard envoy`: write the sidecar's configuration, and ask a real Envoy what it thinks of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..envoy.providers import PROVIDERS
from ..envoy.targets import OPTIONS
from .output import emit, fail, json_option

if TYPE_CHECKING:
    from ..envoy.sidecar import Sidecar


USAGES = [provider.usage for provider in PROVIDERS]


def _upstream_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for every way to name an upstream."""
    for option in reversed(OPTIONS):
        command = click.option(
            f"--{option.name}", metavar="NAME=URL", multiple=True, help=f"{option.help.rstrip('.')} (repeatable)."
        )(command)
    return command


@click.group()
def envoy() -> None:
    """Render and validate Envoy configuration."""


@envoy.command()
@click.option("--listen", metavar="IP:PORT", default="127.0.0.1:10000", show_default=True, help="Where agents connect.")
@click.option(
    "--authz",
    metavar="ADDRESS",
    default="unix:///run/kalguard/authz.sock",
    show_default=True,
    help="The ext_authz server: unix:///path or host:port.",
)
@click.option("--authz-ca", metavar="FILE", help="CA of an ext_authz server on TCP (PEM).")
@click.option("--authz-cert", metavar="FILE", help="Our client certificate for it (PEM).")
@click.option("--authz-key", metavar="FILE", help="The key of that certificate (PEM).")
@click.option("--authz-name", metavar="NAME", default="", help="Name in its certificate, if it is not the host.")
@click.option("--http-api", metavar="HOST:PORT", default="127.0.0.1:9292", show_default=True, help="The HTTP API.")
@click.option(
    "--provider",
    metavar="NAME[=VALUE]",
    multiple=True,
    help=f"A public provider, reached as /NAME/…: {', '.join(USAGES)} (repeatable).",
)
@_upstream_options
@click.option(
    "--mcp-messages",
    metavar="NAME=PATH",
    multiple=True,
    help="Where clients of --mcp-sse NAME post, if the server announces a path like /messages/ (repeatable).",
)
@click.option(
    "--internal", metavar="NAME", multiple=True, help="This upstream is ours: tell it the agent's id (repeatable)."
)
@click.option(
    "--sign", metavar="NAME=REGION", multiple=True, help="Sign the requests of this --bedrock for AWS (repeatable)."
)
@click.option("--unsigned", is_flag=True, help="Do not sign --provider bedrock: a Bedrock API key goes in instead.")
@click.option("--aws-credentials", metavar="FILE", default="", help="AWS credentials file instead of AWS' chain.")
@click.option("--listen-cert", metavar="FILE", default="", help="Serve agents over TLS with this certificate (PEM).")
@click.option("--listen-key", metavar="FILE", default="", help="The key of that certificate (PEM).")
@click.option("--listen-client-ca", metavar="FILE", default="", help="Agents must show a certificate of this CA (PEM).")
@click.option("--forward-proxy", metavar="IP:PORT", help="Also serve as forward proxy (HTTP_PROXY, HTTPS_PROXY) there.")
@click.option("--proxy-private", is_flag=True, help="Names may resolve to private addresses in the forward proxy.")
@click.option(
    "--intercept",
    metavar="HOST=IP:PORT",
    multiple=True,
    help="Tunnels of the forward proxy to HOST:443 end at this listener of yours instead (repeatable).",
)
@click.option("--max-body", metavar="BYTES", type=int, default=5 << 20, show_default=True, help="More is a 413.")
@click.option(
    "--authz-timeout", metavar="SECONDS", type=float, default=2.0, show_default=True, help="Then it is a denial."
)
@click.option(
    "--admin",
    metavar="PATH",
    default="/run/kalguard/envoy-admin.sock",
    show_default=True,
    help="Unix socket of Envoy's admin interface.",
)
@click.option("--access-log", metavar="PATH", default="", help="Access log file instead of stdout.")
@click.option("--ca-file", metavar="FILE", help="CA bundle that https upstreams are checked against.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@json_option
def render(output: Path | None, as_json: bool, **options: object) -> None:
    """Write the sidecar's Envoy configuration (YAML).

    Without any upstream among the options, the upstreams are those of the demo: openai and tools on 127.0.0.1:9400.
    """
    from ..envoy.render import render as to_yaml
    from ..envoy.targets import EnvoyConfigError

    try:
        sidecar = _sidecar(options)
        text = to_yaml(sidecar)
        if output is not None:
            output.write_text(text, encoding="utf-8")
    except EnvoyConfigError as error:
        fail(str(error), as_json=as_json, code=2)
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}", as_json=as_json)
    if output is None:
        emit(text.rstrip("\n"), {"ok": True, "config": text}, as_json=as_json)
        return
    routes = [
        {"paths": list(each.paths), "kind": each.kind, "url": each.url, "upstream": each.cluster}
        for each in sidecar.upstreams
    ]
    lines = [
        f"  {', '.join(each.paths)}: kind {each.kind}, upstream {each.cluster}, to {each.url}"
        for each in sidecar.upstreams
    ]
    emit("\n".join([f"wrote {output}", *lines]), {"ok": True, "output": str(output), "routes": routes}, as_json=as_json)


@envoy.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--envoy", "binary", metavar="PATH", help="The Envoy binary (else KALGUARD_ENVOY, PATH, .venv-envoy).")
@json_option
def validate(file: Path, binary: str | None, as_json: bool) -> None:
    """Ask a real Envoy about the configuration FILE.

    It runs as `envoy --mode validate`: nothing is started and no port is opened.
    """
    from ..envoy.binary import EnvoyNotFound, find_envoy
    from ..envoy.binary import validate as ask

    if not file.is_file():
        fail(f"{file}: no such file", as_json=as_json, code=2)
    try:
        program = find_envoy(binary)
    except EnvoyNotFound as error:
        fail(str(error), as_json=as_json, code=2)
    found = ask(file, program)
    if not found.ok:
        fail(f"{file}: refused by Envoy\n{found.problem}", as_json=as_json, data={"problem": found.problem})
    emit(f"{file}: OK", {"ok": True, "file": str(file), "envoy": str(program)}, as_json=as_json)


def _sidecar(options: dict[str, object]) -> Sidecar:
    """The options as a `Sidecar`. Raises `EnvoyConfigError`."""
    from dataclasses import replace

    from ..envoy.providers import provider
    from ..envoy.sidecar import DEFAULT_CA_FILE, DEFAULT_UPSTREAMS, AuthzTls, ListenTls, Sidecar
    from ..envoy.targets import EnvoyConfigError, Intercept, Pipe, Socket, Upstream, parse_target

    def word(name: str) -> str:
        return str(options[name] or "")

    def words(name: str) -> tuple[str, ...]:
        value = options[name]
        assert isinstance(value, tuple)
        return value

    internal = set(words("internal"))
    messages = dict(text.partition("=")[::2] for text in words("mcp_messages"))
    if unknown := set(messages) - {text.partition("=")[0] for text in words("mcp_sse")}:
        raise EnvoyConfigError(f"--mcp-messages {min(unknown)}: no --mcp-sse has that name")
    upstreams = tuple(
        Upstream.parse(
            option.name,
            text,
            internal=(name := text.partition("=")[0]) in internal,
            messages=messages.get(name, "") if option.transport == "sse" else "",
        )
        for option in OPTIONS
        for text in words(option.name.replace("-", "_"))
    )
    upstreams = (
        tuple(replace(each, region="") if options["unsigned"] else each for each in map(provider, words("provider")))
        + upstreams
    )
    regions = dict(text.partition("=")[::2] for text in words("sign"))
    if unknown := set(regions) - {each.name for each in upstreams if each.kind == "bedrock"}:
        raise EnvoyConfigError(f"--sign {min(unknown)}: no --bedrock has that name")
    for name, region in regions.items():
        if not region or not set(region) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"):
            raise EnvoyConfigError(f"--sign {name}={region}: expected NAME=REGION, like {name}=us-east-1")
    upstreams = tuple(
        replace(each, region=regions.get(each.name, each.region)) if each.kind == "bedrock" else each
        for each in upstreams
    )
    if unknown := internal - {upstream.name for upstream in upstreams}:
        raise EnvoyConfigError(f"--internal {min(unknown)}: no upstream has that name")
    files = (word("authz_ca"), word("authz_cert"), word("authz_key"))
    if any(files) and not all(files):
        raise EnvoyConfigError("--authz-ca, --authz-cert and --authz-key belong together: give all three")
    tls = (word("listen_cert"), word("listen_key"), word("listen_client_ca"))
    if any(tls) and not all(tls[:2]):
        raise EnvoyConfigError("--listen-cert and --listen-key belong together: give both")
    max_body, timeout = options["max_body"], options["authz_timeout"]
    assert isinstance(max_body, int)
    assert isinstance(timeout, float)
    return Sidecar(
        upstreams=upstreams or DEFAULT_UPSTREAMS,
        listen=Socket.parse(word("listen"), "--listen"),
        authz=parse_target(word("authz"), "--authz"),
        authz_tls=AuthzTls(*files, word("authz_name")) if all(files) else None,
        http_api=Socket.parse(word("http_api"), "--http-api"),
        max_body=max_body,
        authz_timeout=timeout,
        admin=Pipe.parse(word("admin"), "--admin"),
        access_log=word("access_log"),
        ca_file=word("ca_file") or DEFAULT_CA_FILE,
        listen_tls=ListenTls(*tls) if all(tls[:2]) else None,
        proxy=Socket.parse(word("forward_proxy"), "--forward-proxy") if word("forward_proxy") else None,
        proxy_inside=bool(options["proxy_private"]),
        intercepts=tuple(map(Intercept.parse, words("intercept"))),
        aws_credentials=word("aws_credentials"),
    )

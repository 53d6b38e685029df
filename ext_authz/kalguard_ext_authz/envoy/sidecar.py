"""What a sidecar is to do, as values: `Sidecar` is what `render` makes an Envoy configuration of.

Rules of this file: parts that do not fit together are refused here, with the option that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .targets import EnvoyConfigError, Intercept, Pipe, Socket, Upstream

MIB: Final = 1 << 20
MAX_BODY: Final = 5 * MIB  # the original's limit
MAX_BODY_CEILING: Final = 512 * MIB
# Room for headers, chunk framing and the bytes that are on their way while the body limit is checked.
BUFFER_SLACK: Final = 3 * MIB
DEFAULT_CA_FILE: Final = "/etc/ssl/certs/ca-certificates.crt"
DEFAULT_LISTEN: Final = Socket("127.0.0.1", 10000)
DEFAULT_AUTHZ: Final = Pipe("/run/kalguard/authz.sock")
DEFAULT_HTTP_API: Final = Socket("127.0.0.1", 9292)
DEFAULT_ADMIN: Final = Pipe("/run/kalguard/envoy-admin.sock")
DEFAULT_UPSTREAMS: Final = (
    Upstream.parse("openai", "openai=http://127.0.0.1:9400"),
    Upstream.parse("mcp", "tools=http://127.0.0.1:9400/mcp", internal=True),
)


@dataclass(frozen=True, slots=True)
class AuthzTls:
    """How Envoy proves itself to an ext_authz server on TCP: files, PEM. `name` is in the server's certificate."""

    ca: str
    certificate: str
    key: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ListenTls:
    """How the listener proves itself to agents: files, PEM. `client_ca`: agents must show a certificate of it."""

    certificate: str
    key: str
    client_ca: str = ""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What one sidecar is to do.

    `max_body` in bytes: larger requests are a 413. `authz_timeout` in seconds: no answer by then is a denial.
    `access_log`: a file, "" for stdout. `admin`: a Unix socket, never TCP (its port answers
    `POST /quitquitquit` to anyone). `ca_file`: PEM bundle that https upstreams are checked against.
    `proxy`: where the forward proxy listens; None for none. `proxy_inside`: names may resolve to private and
    loopback addresses there. `intercepts`: hosts whose tunnels end at a listener of the operator's.
    `aws_credentials`: AWS credentials file of signed upstreams, "" for AWS' usual chain.
    Raises `EnvoyConfigError` when the parts do not fit together.
    """

    upstreams: tuple[Upstream, ...] = DEFAULT_UPSTREAMS
    listen: Socket = DEFAULT_LISTEN
    authz: Socket | Pipe = DEFAULT_AUTHZ
    authz_tls: AuthzTls | None = None
    http_api: Socket = DEFAULT_HTTP_API
    max_body: int = MAX_BODY
    authz_timeout: float = 2.0
    admin: Pipe = DEFAULT_ADMIN
    access_log: str = ""
    ca_file: str = DEFAULT_CA_FILE
    listen_tls: ListenTls | None = None
    proxy: Socket | None = None
    proxy_inside: bool = False
    intercepts: tuple[Intercept, ...] = ()
    aws_credentials: str = ""

    def __post_init__(self) -> None:
        prefixes: dict[str, Upstream] = {}
        for upstream in self.upstreams:
            for path in upstream.paths:
                if (other := prefixes.get(path)) is not None:
                    raise EnvoyConfigError(
                        f"two upstreams on {path}: {other.option} {other.name} and "
                        f"{upstream.option} {upstream.name}; give one another name"
                    )
                prefixes[path] = upstream
        if not self.listen.is_ip:
            raise EnvoyConfigError(f"--listen {self.listen}: a listener needs an IP address, not a name")
        if self.proxy is not None and not self.proxy.is_ip:
            raise EnvoyConfigError(f"--forward-proxy {self.proxy}: a listener needs an IP address, not a name")
        if self.proxy == self.listen:
            raise EnvoyConfigError(f"--forward-proxy {self.proxy}: --listen is there already")
        if self.intercepts and self.proxy is None:
            raise EnvoyConfigError(f"--intercept {self.intercepts[0].host}: needs --forward-proxy")
        if len({each.host for each in self.intercepts}) < len(self.intercepts):
            raise EnvoyConfigError("--intercept: each host once")
        if not 0 < self.max_body <= MAX_BODY_CEILING:
            raise EnvoyConfigError(f"--max-body {self.max_body}: expected 1 to {MAX_BODY_CEILING} bytes")
        if not 0.001 <= self.authz_timeout <= 300:
            raise EnvoyConfigError(f"--authz-timeout {self.authz_timeout}: expected 0.001 to 300 seconds")
        if self.authz_tls is not None and isinstance(self.authz, Pipe):
            raise EnvoyConfigError(f"--authz {self.authz}: TLS is for TCP; a Unix socket is closed by its mode")

    @property
    def buffer_limit(self) -> int:
        """Bytes a connection may buffer. Envoy's default of 1 MiB would cut larger bodies off."""
        return self.max_body + BUFFER_SLACK

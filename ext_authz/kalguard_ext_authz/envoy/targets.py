"""What the operator types, as values: addresses, Unix sockets and upstreams.

Rules of this file: what reaches the Envoy configuration has been read here, strictly. A name is an alphabet
of letters, digits and dashes; a URL has a scheme, a host and perhaps a path, and nothing else.
"""

from __future__ import annotations

import ipaddress
import string
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

# sun_path is 108 bytes on Linux, with the closing NUL; 104 on macOS (unix(7)).
MAX_SOCKET_PATH: Final = 103
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Where a client of that kind begins by itself: below a URL that ends so, it would ask for it twice. OpenAI's paths
# are known with and without their version.
_CLIENTS_OWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "azure": ("/openai/v1", "/openai"),
        "anthropic": ("/v1",),
        "gemini": ("/v1beta", "/v1"),
        "vertex": ("/v1beta1", "/v1"),
        "ollama": ("/api",),
        "cohere": ("/v2", "/v1"),
        "mistral": ("/v1",),
    }
)
# Of the others, Envoy refuses every upgrade itself.
UPGRADE_KINDS: Final = frozenset({"openai", "azure", "compatible", "gemini", "vertex", "http"})
# Services of the A2A gRPC binding, 0.3 and 1.x (https://a2a-protocol.org/latest/specification/).
A2A_SERVICES: Final = ("a2a.v1.A2AService", "lf.a2a.v1.A2AService")
# First path segments that the sidecar's own routes own.
RESERVED_NAMES: Final = frozenset({"v1", "health", "mcp"})
_NAME_LETTERS: Final = frozenset(string.ascii_lowercase + string.digits + "-")
_HOST_LETTERS: Final = frozenset(string.ascii_lowercase + string.digits + "-._")
_SERVICE_LETTERS: Final = frozenset(string.ascii_letters + string.digits + "._")
_PATH_LETTERS: Final = frozenset(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/")


_LOOPBACK: Final = ("localhost", "*.localhost", "127.*", "[::1]")


class EnvoyConfigError(ValueError):
    """A setting that no Envoy configuration can be made of. `str()` names the option and the problem."""


@dataclass(frozen=True, slots=True)
class Socket:
    """A TCP endpoint. `host` is an IP address or a DNS name, without brackets."""

    host: str
    port: int

    @property
    def is_ip(self) -> bool:
        """Whether `host` is an IP address, so that no resolver is needed."""
        return _is_ip(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def names(self) -> tuple[str, ...]:
        """How a host in a request names this one: in the one spelling of an address, and loopback in all."""
        if not self.is_ip:
            loopback = self.host == "localhost" or self.host.endswith(".localhost")
            return _LOOPBACK if loopback else (self.host,)
        address = ipaddress.ip_address(self.host)
        if address.is_loopback:
            return _LOOPBACK
        return (f"[{address.compressed}]" if address.version == 6 else str(address),)

    @classmethod
    def parse(cls, text: str, option: str) -> Socket:
        """`host:port` or `[ipv6]:port`. Raises `EnvoyConfigError`."""
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise EnvoyConfigError(f"{option} {text!r}: put an IPv6 address in brackets, like [::1]:10000")
        if not colon or not host:
            raise EnvoyConfigError(f"{option} {text!r}: expected host:port, like 127.0.0.1:10000")
        return cls(_host(host, f"{option} {text!r}"), _port(port, f"{option} {text!r}"))


@dataclass(frozen=True, slots=True)
class Pipe:
    """A Unix stream socket, by its absolute path."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"

    @classmethod
    def parse(cls, text: str, option: str) -> Pipe:
        """`unix:///path` or `/path`. Raises `EnvoyConfigError`."""
        path = text.removeprefix("unix://").removeprefix("unix:")
        if not path.startswith("/"):
            raise EnvoyConfigError(f"{option} {text!r}: expected an absolute socket path, like unix:///run/x.sock")
        if len(path.encode()) > MAX_SOCKET_PATH:
            raise EnvoyConfigError(
                f"{option}: {path!r} is {len(path.encode())} bytes long; a socket path may have {MAX_SOCKET_PATH}"
            )
        if not path.isprintable():
            raise EnvoyConfigError(f"{option} {text!r}: unprintable characters in a path")
        return cls(path)


@dataclass(frozen=True, slots=True)
class Intercept:
    """A host whose tunnels the forward proxy leads to a listener of the operator's, which takes them apart.

    `host`: a DNS name; port 443 is meant. `listener`: an IP address and a port.
    """

    host: str
    listener: Socket

    @property
    def cluster(self) -> str:
        """Name of the Envoy cluster."""
        return f"intercept_{self.host}"

    @classmethod
    def parse(cls, text: str) -> Intercept:
        """`HOST=IP:PORT`. Raises `EnvoyConfigError`."""
        name, equals, place = text.partition("=")
        where = f"--intercept {text!r}"
        if not equals:
            raise EnvoyConfigError(f"{where}: expected HOST=IP:PORT, like api.openai.com=127.0.0.1:10443")
        host = _host(name, where)
        listener = Socket.parse(place, "--intercept")
        if _is_ip(host) or not listener.is_ip:
            raise EnvoyConfigError(f"{where}: expected a name before the = and an IP address behind it")
        return cls(host, listener)


def parse_target(text: str, option: str) -> Socket | Pipe:
    """A Unix socket where the text looks like one, else `host:port`. Raises `EnvoyConfigError`."""
    if text.startswith(("unix:", "/")):
        return Pipe.parse(text, option)
    return Socket.parse(text, option)


@dataclass(frozen=True, slots=True)
class Option:
    """One way to name an upstream on the command line: `--<name> NAME=URL`.

    `kind`: wire protocol of the route. `transport`: "" for the usual one of that kind, else "sse" or "grpc".
    `help`: what it is for, a sentence.
    """

    name: str
    kind: str
    help: str
    transport: str = ""


OPTIONS: Final = (
    Option("openai", "openai", "The OpenAI API, reached as /NAME/…"),
    Option("azure", "azure", "Azure OpenAI, reached as /NAME/openai/…"),
    Option("anthropic", "anthropic", "The Anthropic API, reached as /NAME/…"),
    Option("gemini", "gemini", "The Gemini API, reached as /NAME/…"),
    Option("vertex", "vertex", "Vertex AI, reached as /NAME/…"),
    Option("bedrock", "bedrock", "The AWS Bedrock runtime, reached as /NAME/…"),
    Option("ollama", "ollama", "An Ollama server, reached as /NAME/api/…"),
    Option("cohere", "cohere", "The Cohere API, reached as /NAME/…"),
    Option("mistral", "mistral", "The Mistral API, reached as /NAME/…"),
    Option("compatible", "compatible", "A server that speaks OpenAI's protocol (vLLM, LiteLLM, Groq), as /NAME/…"),
    Option("mcp", "mcp", "An MCP server, reached as /mcp/NAME."),
    Option("mcp-sse", "mcp", "An MCP server of the older HTTP+SSE kind, reached as /mcp/NAME/…", "sse"),
    Option("a2a", "a2a", "An A2A agent over JSON-RPC or REST, reached as /NAME/…"),
    Option("a2a-grpc", "a2a", "An A2A agent over gRPC, by the service name of the protocol.", "grpc"),
    Option("grpc", "grpc", "A gRPC service, NAME=URL/package.Service, reached as /package.Service/…"),
    Option("rest", "rest", "A REST API whose calls the tool catalog maps to tools, reached as /NAME/…"),
    Option("http", "http", "Another upstream, reached as /NAME/…"),
)
_OPTIONS: Final = {option.name: option for option in OPTIONS}


@dataclass(frozen=True, slots=True)
class Upstream:
    """One place that agents may be let through to.

    `kind`: wire protocol of the route ("openai", "mcp", "http", …); ext_authz is told it as a context extension.
    `path`: where it begins on the upstream, "" or "/base" without a trailing slash; the service of a `grpc` one.
    `internal`: ours, so it may be told the agent's id (a vendor outside learns nothing about our agents).
    `transport`: "" for the usual one of the kind, "sse" (MCP) or "grpc" (A2A).
    `messages`: path to which clients of an "sse" server post, as that server announces it; "" where it is under
    the route's own prefix. `region`: requests are signed for this AWS region; "" for no signature.
    """

    kind: str
    name: str
    socket: Socket
    tls: bool = False
    path: str = ""
    internal: bool = False
    transport: str = ""
    messages: str = ""
    region: str = ""

    @property
    def upgrades(self) -> bool:
        """Whether its protocol has WebSocket endpoints; each of them is asked for as any other request is."""
        return self.kind in UPGRADE_KINDS

    @property
    def is_grpc(self) -> bool:
        """Whether its routes are the names of gRPC services, so that no prefix of ours stands before them."""
        return self.kind == "grpc" or self.transport == "grpc"

    @property
    def option(self) -> str:
        """The option by which it is named."""
        return f"--{self.kind}-{self.transport}" if self.transport else f"--{self.kind}"

    @property
    def prefix(self) -> str:
        """The path on our listener, without a trailing slash; "" for gRPC, whose clients can't add one."""
        if self.is_grpc:
            return ""
        return f"/mcp/{self.name}" if self.kind == "mcp" else f"/{self.name}"

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths on our listener that it takes: no other upstream may have one of them."""
        if self.transport == "grpc":
            return tuple(f"/{service}" for service in A2A_SERVICES)
        if self.kind == "grpc":
            return (self.path,)
        return (self.prefix, self.messages.rstrip("/")) if self.messages else (self.prefix,)

    @property
    def cluster(self) -> str:
        """Name of the Envoy cluster, and of the upstream wherever an operator names one."""
        return f"{self.kind}_grpc_{self.name}" if self.transport == "grpc" else f"{self.kind}_{self.name}"

    @property
    def url(self) -> str:
        """Where it is, without a trailing slash."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """What the upstream sees as Host, whatever the agent wrote there."""
        if self.socket.port == DEFAULT_PORTS["https" if self.tls else "http"]:
            return str(self.socket).rpartition(":")[0]
        return str(self.socket)

    @classmethod
    def parse(cls, option: str, text: str, *, internal: bool = False, messages: str = "") -> Upstream:
        """`NAME=URL` of `option`, one of `OPTIONS` without its dashes. Raises `EnvoyConfigError` that names it."""
        meant = _OPTIONS[option]
        kind, option = meant.kind, f"--{option}"
        name, equals, url = text.partition("=")
        if not equals:
            raise EnvoyConfigError(f"{option} {text!r}: expected NAME=URL, like {kind}=https://example.com")
        where = f"{option} {text!r}"
        _name(name, where)
        if kind != "mcp" and name in RESERVED_NAMES:
            raise EnvoyConfigError(f"{where}: the name {name!r} is taken by the sidecar's own routes")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise EnvoyConfigError(f"{where}: write the URL in ASCII, without spaces (punycode for hosts)")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise EnvoyConfigError(f"{where}: not a URL: {error}") from None
        if parts.scheme not in DEFAULT_PORTS:
            raise EnvoyConfigError(f"{where}: the URL must start with http:// or https://")
        if parts.username is not None or parts.password is not None:
            raise EnvoyConfigError(f"{where}: no credentials in the URL; they would end in logs")
        if parts.query or parts.fragment or "?" in url or "#" in url:
            raise EnvoyConfigError(f"{where}: no query and no fragment in the URL")
        if not parts.hostname:
            raise EnvoyConfigError(f"{where}: the URL has no host")
        if port == 0:
            raise EnvoyConfigError(f"{where}: port 0 cannot be connected to")
        host = _host(parts.hostname, where)
        path = parts.path.rstrip("/")
        if not _is_plain(path):
            raise EnvoyConfigError(f"{where}: the path must be plain, without escapes, '//' or '..'")
        for end in _CLIENTS_OWN.get(kind, ()):
            if path.endswith(end):
                raise EnvoyConfigError(f"{where}: clients ask for {end}/… by themselves: leave {end} off the URL")
        if kind == "grpc" and (path.count("/") != 1 or not _SERVICE_LETTERS.issuperset(path[1:])):
            raise EnvoyConfigError(f"{where}: the path must be the full name of one service, like /package.Service")
        if meant.transport == "grpc" and path:
            raise EnvoyConfigError(f"{where}: no path in the URL; gRPC clients call the service by its name")
        if messages and (not messages.startswith("/") or not _is_plain(messages.rstrip("/"))):
            raise EnvoyConfigError(f"--mcp-messages {name}={messages}: expected a plain absolute path, like /messages/")
        if messages and messages.split("/")[1] in RESERVED_NAMES | {""}:
            raise EnvoyConfigError(f"--mcp-messages {name}={messages}: taken by the sidecar's own routes")
        socket = Socket(host, port or DEFAULT_PORTS[parts.scheme])
        return cls(kind, name, socket, parts.scheme == "https", path, internal, meant.transport, messages)


def _is_plain(path: str) -> bool:
    """Whether every reader of a path without its trailing slash reads it in the same way."""
    return _PATH_LETTERS.issuperset(path) and not any(part in ("", ".", "..") for part in path.split("/")[1:])


def _name(name: str, where: str) -> None:
    if not name or len(name) > 63 or name.startswith("-") or not _NAME_LETTERS.issuperset(name):
        raise EnvoyConfigError(f"{where}: a name is 1 to 63 letters a-z, digits and dashes, and starts with no dash")


def _host(host: str, where: str) -> str:
    if _is_ip(host):
        return host
    lower = host.lower()
    # All-numeric "hosts" such as 127.1 are read as addresses by some resolvers: refuse the ambiguity.
    if len(lower) > 253 or not _HOST_LETTERS.issuperset(lower) or lower.rpartition(".")[2].isdigit():
        raise EnvoyConfigError(f"{where}: {host!r} is neither an IP address nor a host name")
    if any(not label or label.startswith("-") for label in lower.split(".")):
        raise EnvoyConfigError(f"{where}: {host!r} is neither an IP address nor a host name")
    return lower


def _port(port: str, where: str) -> int:
    if not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise EnvoyConfigError(f"{where}: the port must be a number from 1 to 65535")
    return int(port)


def _is_ip(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not getattr(address, "scope_id", None)

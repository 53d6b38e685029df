"""Settings: what an operator can say, from `KALGUARD_*` variables and an optional `kalguard.yaml`.

Rules of this file: every setting is here, with its default and its reason. Precedence: environment, then the
file (`--config` or KALGUARD_CONFIG), then the default. An empty variable counts as not set. A value that can't
be used stops the start and names the variable or the line; nothing is silently replaced by a default.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from kalguard_core.documents import Document, DocumentError

PREFIX: Final = "KALGUARD_"
# Read by other parts of the command, so they are no misspelling of a setting.
OTHER_VARIABLES: Final = frozenset({"KALGUARD_CONFIG", "KALGUARD_ENVOY", "KALGUARD_TOKEN"})
MIB: Final = 1024 * 1024
_PROBLEMS: Final = {
    "extra_forbidden": "unknown key",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "missing": "a key is missing",
}


class SettingsError(Exception):
    """A setting that cannot be used. `str()` is one line that names it and says what to do."""


def _boolean(value: object) -> object:
    """Only true/false (and 1/0): "yes", "on" and "enabled" mean different things to different programs."""
    if isinstance(value, str):
        known = {"true": True, "1": True, "false": False, "0": False}
        if value.strip().lower() not in known:
            raise ValueError("must be true or false")
        return known[value.strip().lower()]
    return value


def _names(value: object) -> object:
    """Comma-separated names, as environment variables carry lists."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


Flag = Annotated[bool, BeforeValidator(_boolean)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


def _mapping(value: object) -> object:
    """A mapping as an environment variable carries one: JSON or YAML text."""
    if isinstance(value, str):
        try:
            return Document(value, "").value
        except DocumentError as error:
            raise ValueError(f"must be a mapping: {error.problem}") from None
    return value


# Names that steer a connection or a message are no place for a secret, and ours and Envoy's are said by us only.
_UNFIT_HEADERS: Final = frozenset(
    {"connection", "content-length", "content-type", "expect", "host", "keep-alive", "proxy-connection", "te"}
    | {"trailer", "transfer-encoding", "upgrade", "content-encoding", "accept-encoding"}
)
_UNFIT_PREFIXES: Final = ("x-kalguard-", "x-envoy-", "x-forwarded-")
_HEADER_LETTERS: Final = frozenset(string.ascii_lowercase + string.digits + "-")
_QUERY_LETTERS: Final = frozenset(string.ascii_letters + string.digits + "-._")
_VARIABLE_LETTERS: Final = frozenset(string.ascii_letters + string.digits + "_")


class CredentialSettings(BaseModel):
    """Where a credential comes from: a file or an environment variable, never the settings themselves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path | None = Field(None, description="File that holds it, and nothing else; read again when it changes.")
    env: str | None = Field(None, description="Environment variable that holds it.")

    @model_validator(mode="after")
    def _one(self) -> CredentialSettings:
        if (self.file is None) == (self.env is None):
            raise ValueError("say either file or env")
        # A secret that somebody wrote here by mistake must not be quoted by "cannot read …".
        if self.file is not None and not self.file.is_absolute():
            raise ValueError("file must be an absolute path")
        if self.env is not None and (
            not self.env or self.env[0].isdigit() or not _VARIABLE_LETTERS.issuperset(self.env)
        ):
            raise ValueError("env must be the name of an environment variable")
        return self


class UpstreamSettings(BaseModel):
    """What one upstream wants of those who call it. The key is its name in the routes: `openai_openai`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    credential: CredentialSettings | None = Field(None, description="Where its credential comes from.")
    header: str | None = Field(None, description="Header that carries it; authorization if neither is said.")
    scheme: str | None = Field(None, description="Word before it; Bearer in authorization, else none.")
    query: str | None = Field(None, description="Query member that carries it instead of a header.")
    passthrough: Flag = Field(False, description="The agent's own credentials go on instead.")

    @model_validator(mode="after")
    def _fits(self) -> UpstreamSettings:
        if self.passthrough == (self.credential is not None):
            raise ValueError("say either credential or passthrough: true")
        if self.credential is None and (self.header, self.scheme, self.query) != (None, None, None):
            raise ValueError("header, scheme and query belong to a credential")
        if self.query is not None and (self.header is not None or self.scheme is not None):
            raise ValueError("say either header or query")
        header, scheme, query = self.header, self.scheme, self.query
        if header is not None and (
            not header
            or not _HEADER_LETTERS.issuperset(header)
            or header in _UNFIT_HEADERS
            or header.startswith(_UNFIT_PREFIXES)
        ):
            raise ValueError("header must be a header's name in lower case, and none that HTTP, Envoy or KalGuard own")
        if scheme and not _HEADER_LETTERS.issuperset(scheme.lower()):
            raise ValueError("scheme must be one word, like Bearer")
        if query is not None and (not query or not _QUERY_LETTERS.issuperset(query)):
            raise ValueError("query must be a plain name, like key")
        return self


def _fixed(upstreams: dict[str, UpstreamSettings]) -> dict[str, UpstreamSettings]:
    proxy = upstreams.get("forward_proxy")
    if proxy is not None and proxy.credential is not None:
        raise ValueError("forward_proxy can have passthrough only: a credential would go wherever an agent says")
    return upstreams


class Settings(BaseModel):
    """All settings of `kalguard serve`. Field `policy_path` is variable KALGUARD_POLICY_PATH and key `policy_path`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # -- where it listens ---------------------------------------------------------------------------------
    host: str = Field("0.0.0.0", description="HTTP API: address to listen on.")  # noqa: S104 - the original's default
    port: int = Field(9292, ge=0, le=65535, description="HTTP API: port (0 picks a free one).")
    http: Flag = Field(True, description="Serve the HTTP API.")
    grpc_address: str = Field(
        "unix:///run/kalguard/authz.sock",
        description="ext_authz gRPC: unix:///path, host:port, or off.",
    )
    grpc_trust: Literal["auto", "network"] = Field(
        "auto", description="'network': believe any TCP caller (the mesh enforces mTLS). Shown in /readyz."
    )
    grpc_tls_cert: Path | None = Field(None, description="gRPC over TCP: server certificate (PEM).")
    grpc_tls_key: Path | None = Field(None, description="gRPC over TCP: server key (PEM).")
    grpc_tls_client_ca: Path | None = Field(
        None,
        description="gRPC over TCP: CA of client certificates; makes them mandatory, and callers trusted.",
    )
    grpc_reflection: Flag = Field(False, description="Serve gRPC reflection.")
    admin_address: str = Field(
        "unix:///run/kalguard/admin.sock",
        description="Admin API: unix:///path, host:port (needs a token), or off.",
    )
    admin_token: SecretStr | None = Field(None, description="Operator token of the admin API, 32 characters or more.")
    metrics_address: str = Field("127.0.0.1:9293", description="Prometheus metrics: host:port, unix:///path or off.")

    # -- who may ask --------------------------------------------------------------------------------------
    token_secret: SecretStr | None = Field(None, description="HS256 secret of agent tokens, 32 bytes or more.")
    token_secret_file: Path | None = Field(None, description="File that holds the HS256 secret.")
    token_keys_path: Names = Field((), description="PEM public keys or JWKS files, separated by commas.")
    token_issuers: Names = Field((), description="Accepted issuers; any when empty.")
    token_audiences: Names = Field((), description="Accepted audiences; any when empty.")
    token_leeway_seconds: float = Field(5.0, ge=0, le=300, description="Seconds that clocks may differ, in tokens.")
    allow_unsigned_tokens: Flag = Field(False, description="Accept unsigned tokens. Never outside a laboratory.")
    revocations_path: Path | None = Field(None, description="Revoked token hashes, token ids and agents.")
    principals_path: Path | None = Field(None, description="mTLS principals and the agents they are.")

    upstreams: Annotated[dict[str, UpstreamSettings], BeforeValidator(_mapping), AfterValidator(_fixed)] = Field(
        {}, description="Credentials of upstreams, by the name of the upstream; see docs/credentials.md."
    )

    # -- what they may do ---------------------------------------------------------------------------------
    policy_path: Path | None = Field(None, description="Policy document; without one every request is denied.")
    policy_default_deny: Flag = Field(True, description="Deny what no rule names.")
    policy_default_allow_confirmed: Flag = Field(False, description="Needed for KALGUARD_POLICY_DEFAULT_DENY=false.")
    policy_watch: Flag = Field(True, description="Reload documents and keys when their files change.")
    policy_watch_interval_ms: int = Field(
        500, ge=50, le=60_000, description="Milliseconds between two looks at files, whatever the system tells."
    )
    tools_path: Path | None = Field(None, description="Tool catalog; without one every tool is denied.")
    routes_path: Path | None = Field(
        None, description="Route table, for meshes that send no context extensions; see docs/istio.md."
    )
    firewall_path: Path | None = Field(
        None, description="Firewall document: profiles, phrases, sensitive data; without one the built-in profiles."
    )
    tool_rate_limit: int | None = Field(
        None, ge=1, description="Tool calls of one agent in a minute; no limit when empty."
    )
    agent_rate_limit: int | None = Field(
        None, ge=1, description="Requests of one agent in a minute, refused ones too; no limit when empty."
    )
    agent_max_calls: int = Field(256, ge=1, description="Calls of one agent in flight.")
    agent_max_bytes: int = Field(32 * MIB, ge=64 * 1024, description="Body bytes of one agent in flight.")
    prompt_block_threshold: int = Field(
        70, ge=1, le=100, description="Risk from which a prompt is blocked, in the profile `standard`."
    )
    prompt_sanitize_threshold: int = Field(
        50, ge=1, le=100, description="Risk from which a prompt is rewritten, in the profile `standard`."
    )

    # -- bodies -------------------------------------------------------------------------------------------
    max_body_bytes: int = Field(5 * MIB, ge=1024, le=64 * MIB, description="Largest body in bytes; more is a 413.")
    body_timeout_seconds: float = Field(10.0, gt=0, le=300, description="Seconds for a body to arrive (HTTP API).")

    # -- what is kept -------------------------------------------------------------------------------------
    audit_sink: Literal["auto", "file", "memory", "stdout"] = Field(
        "auto", description="'auto': file when KALGUARD_AUDIT_LOG_PATH is set, else memory."
    )
    audit_log_path: Path | None = Field(
        None, description="Audit log file; without one, events are kept in memory only."
    )
    audit_fsync: Literal["always", "interval", "never"] = Field("interval", description="When lines reach the disk.")
    audit_rotate_bytes: int = Field(256 * MIB, ge=0, description="Rotate the file at this size in bytes; 0 never.")
    audit_keep_files: int = Field(0, ge=0, description="Rotated files to keep; 0 keeps all.")
    audit_checkpoint_path: Path | None = Field(None, description="Signed checkpoints. Else <audit log>.checkpoints.")
    audit_checkpoint_events: int = Field(1000, ge=1, description="Events between two checkpoints at most.")
    audit_checkpoint_seconds: float = Field(60.0, gt=0, description="Seconds between two checkpoints at most.")
    audit_memory_events: int = Field(10_000, ge=1, description="Events that the memory sink remembers.")
    state_path: Path | None = Field(None, description="Directory of instance id and keys. Else <audit log>.state.")
    cache_dir: Path | Literal["off"] | None = Field(
        None,
        description="Directory of compiled firewall rules, or off. Else the service's cache directory, or the user's.",
    )

    # -- the process --------------------------------------------------------------------------------------
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Log level.")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="'auto': console on a terminal.")
    drain_seconds: float = Field(10.0, ge=0, le=600, description="Seconds for calls in flight at SIGTERM.")
    drain_notice_seconds: float = Field(
        0.2, ge=0, le=60, description="Seconds from going unready to refusing new calls, for probes to notice."
    )

    # -- known, and not there yet -------------------------------------------------------------------------
    api_key: SecretStr | None = Field(None, description="KalGuard Cloud key (no cloud connector yet: stops the start).")
    cloud_url: str | None = Field(None, description="KalGuard Cloud URL (needs the cloud connector).")
    cloud_sync_interval_ms: int | None = Field(None, description="KalGuard Cloud sync (needs the cloud connector).")

    @model_validator(mode="after")
    def _together(self) -> Settings:
        """What no single field can know. Messages start with the variable to change."""
        problems = {
            "KALGUARD_API_KEY: there is no cloud connector in this version, so plan limits and cloud revocations would "
            "not be enforced; unset it to run without the cloud": self.api_key is not None,
            "KALGUARD_POLICY_DEFAULT_DENY: false allows whatever no rule names; if you mean it, set "
            "KALGUARD_POLICY_DEFAULT_ALLOW_CONFIRMED=true too": not self.policy_default_deny
            and not self.policy_default_allow_confirmed,
            "KALGUARD_PROMPT_SANITIZE_THRESHOLD: must not be above KALGUARD_PROMPT_BLOCK_THRESHOLD": (
                self.prompt_sanitize_threshold > self.prompt_block_threshold
            ),
            "KALGUARD_TOKEN_SECRET_FILE: set it or KALGUARD_TOKEN_SECRET, not both": self.token_secret is not None
            and self.token_secret_file is not None,
            "KALGUARD_AUDIT_SINK: 'file' needs KALGUARD_AUDIT_LOG_PATH": self.audit_sink == "file"
            and self.audit_log_path is None,
            "KALGUARD_GRPC_TLS_CERT: certificate and key (KALGUARD_GRPC_TLS_KEY) go together": (
                (self.grpc_tls_cert is None) != (self.grpc_tls_key is None)
            ),
            "KALGUARD_GRPC_TLS_CLIENT_CA: needs KALGUARD_GRPC_TLS_CERT and KALGUARD_GRPC_TLS_KEY": (
                self.grpc_tls_client_ca is not None and self.grpc_tls_cert is None
            ),
            "KALGUARD_ADMIN_TOKEN: must have 32 characters or more": self.admin_token is not None
            and len(self.admin_token.get_secret_value()) < 32,
            "KALGUARD_ADMIN_TOKEN: the admin API on TCP needs an operator token (or use a unix:// address)": (
                self.admin_token is None and self.admin_address != "off" and not is_unix(self.admin_address)
            ),
        }
        for problem, found in problems.items():
            if found:
                raise ValueError(problem)
        for name in ("grpc_address", "admin_address", "metrics_address"):
            _check_address(getattr(self, name), PREFIX + name.upper())
        return self

    def redacted(self) -> dict[str, Any]:
        """All settings as plain data, secrets as "[redacted]"."""
        shown = self.model_dump(mode="json")
        for name, value in self.model_dump().items():
            if isinstance(value, SecretStr):
                shown[name] = "[redacted]"
        return shown


def _check_address(address: str, setting: str) -> None:
    if address == "off" or (is_unix(address) and unix_path(address)):
        return
    try:
        host_port(address, setting)
    except SettingsError as error:
        raise ValueError(f"{error}, nor off") from None


def is_unix(address: str) -> bool:
    """Whether an address is a Unix socket."""
    return address.startswith("unix:")


def unix_path(address: str) -> str:
    """File system path of a `unix:` or `unix://` address."""
    return address.removeprefix("unix:").removeprefix("//")


def host_port(address: str, setting: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises `SettingsError` naming `setting`."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535 or not host:
        raise SettingsError(f"{setting}: {address!r} is neither host:port nor unix:///path")
    return host.removeprefix("[").removesuffix("]"), int(port)


def load_settings(environ: Mapping[str, str], config: Path | None = None) -> tuple[Settings, list[str]]:
    """The settings and warnings about variables that look like misspelled ones.

    `config`: path of `kalguard.yaml`; if None, KALGUARD_CONFIG names it or there is none.
    Raises `SettingsError`.
    """
    path = config or (Path(environ["KALGUARD_CONFIG"]) if environ.get("KALGUARD_CONFIG") else None)
    values, document = _from_file(path) if path else ({}, None)
    unknown = []
    for name, value in environ.items():
        field = name.removeprefix(PREFIX).lower()
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES or value == "":
            continue
        if field in Settings.model_fields:
            values[field] = value
            continue
        unknown.append(name)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error, environ, document)) from None
    holders = {upstream.credential.env for upstream in settings.upstreams.values() if upstream.credential}
    return settings, [_ignored(name) for name in unknown if name not in holders]


def _ignored(name: str) -> str:
    close = difflib.get_close_matches(name.removeprefix(PREFIX).lower(), Settings.model_fields, 1)
    hint = f"; did you mean {PREFIX}{close[0].upper()}?" if close else ""
    return f"{name} is not a setting and is ignored{hint}"


def _from_file(path: Path) -> tuple[dict[str, Any], Document]:
    try:
        document = Document(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    except DocumentError as error:
        raise SettingsError(str(error)) from None
    if not isinstance(document.value, dict):
        raise SettingsError(f"{path}:1: expected `name: value` lines")
    unknown = [name for name in document.value if name not in Settings.model_fields]
    if unknown:
        close = difflib.get_close_matches(unknown[0], Settings.model_fields, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SettingsError(str(document.error((unknown[0],), f"not a setting{hint}")))
    return dict(document.value), document


def _explain(error: ValidationError, environ: Mapping[str, str], document: Document | None) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    message = _PROBLEMS.get(first["type"], message)
    if not first["loc"]:
        return message
    field = str(first["loc"][0])
    variable = PREFIX + field.upper()
    if environ.get(variable):
        return f"{variable}: {message}"
    if document is not None and field in document.value:
        return str(document.error(_known(first["loc"], document.value), message))
    return f"{variable}: {message}"


def _known(loc: tuple[int | str, ...], value: Any) -> tuple[int | str, ...]:
    """The part of `loc` that stands in the file; the last of an unknown key is left out, it may be a secret."""
    path: list[int | str] = []
    for part in loc[:-1] if len(loc) > 2 else loc:
        if not isinstance(value, dict) or part not in value:
            break
        path.append(part)
        value = value[part]
    return tuple(path)

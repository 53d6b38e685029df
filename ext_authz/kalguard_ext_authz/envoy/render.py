"""The sidecar's Envoy configuration, built from typed messages: `Sidecar` in, YAML out.

Rules of this file: what is not listed is not routed; the default of every choice is the closed one; each
limit says where it comes from. The output depends on its input only, so that the committed
`envoy/sidecar.yaml` can be compared byte for byte.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any as AnyValue
from typing import Final

import betterproto2
import yaml
from envoy_data_plane.envoy.config.accesslog import v3 as accesslog
from envoy_data_plane.envoy.config.bootstrap import v3 as bootstrap
from envoy_data_plane.envoy.config.cluster import v3 as cluster
from envoy_data_plane.envoy.config.common.mutation_rules import v3 as mutation_rules
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.endpoint import v3 as endpoint
from envoy_data_plane.envoy.config.listener import v3 as listener
from envoy_data_plane.envoy.config.overload import v3 as overload
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.access_loggers.file import v3 as file_log
from envoy_data_plane.envoy.extensions.access_loggers.stream import v3 as stream_log
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state import v3 as filter_state
from envoy_data_plane.envoy.extensions.filters.http.ext_authz import v3 as ext_authz
from envoy_data_plane.envoy.extensions.filters.http.router import v3 as router
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state import v3 as set_filter_state
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation import v3 as early
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections import v3 as connections
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap import v3 as heap
from envoy_data_plane.envoy.extensions.transport_sockets.tls import v3 as tls
from envoy_data_plane.envoy.extensions.upstreams.http import v3 as upstream_http
from envoy_data_plane.envoy.type import v3 as envoy_type
from envoy_data_plane.envoy.type.matcher import v3 as matcher
from envoy_data_plane.google.protobuf import Any, Struct

from .forward_proxy import proxy_cluster, proxy_filter, proxy_routes
from .replies import REQUEST_ID, local_replies
from .signing import signing_filters
from .targets import EnvoyConfigError, Intercept, Pipe, Socket, Upstream

EXT_AUTHZ: Final = "envoy.filters.http.ext_authz"
EXT_AUTHZ_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
PATH_STATE: Final = "kalguard.path"
_PATH_OPERATORS: Final = json.dumps(
    {
        "operators": [
            {"command": "FILTER_STATE", "param": f"{PATH_STATE}:PLAIN"},
            {"command": "PATH", "param": "NQ:PATH"},
        ]
    }
)
AUTHZ_CLUSTER: Final = "kalguard_authz"
HTTP_API_CLUSTER: Final = "kalguard_http"
# Answered by the HTTP API, which decides by itself: nothing is counted or audited twice.
API_PATHS: Final = ("/v1/prompt/check", "/v1/tool/check", "/v1/llm/check", "/health")
MIB: Final = 1 << 20
MAX_BODY: Final = 5 * MIB  # the original's limit
MAX_BODY_CEILING: Final = 512 * MIB
# Room for headers, chunk framing and the bytes that are on their way while the body limit is checked.
BUFFER_SLACK: Final = 3 * MIB
MAX_CONNECTIONS: Final = 1024
MAX_HEAP: Final = 1024 * MIB
MAX_HEADERS_KB: Final = 60  # Envoy's default, stated because ext_authz must be able to receive as much
REQUEST_TIMEOUT: Final = timedelta(seconds=60)  # 5 MiB at 700 kbit/s
# An agent thinks between calls, a model thinks between tokens: idle, not total, time ends a stream.
MODEL_IDLE: Final = timedelta(minutes=10)
MCP_IDLE: Final = timedelta(minutes=60)
HTTP_IDLE: Final = timedelta(minutes=5)
_IDLE: Final = {"mcp": MCP_IDLE, "a2a": MCP_IDLE, "http": HTTP_IDLE, "rest": HTTP_IDLE, "grpc": HTTP_IDLE}
# Kinds whose hosts a forward proxy may reach too: nothing in them is read that would pass unread there.
_OPEN_KINDS: Final = frozenset({"http"})
MAX_STREAM: Final = timedelta(hours=1)
DEFAULT_CA_FILE: Final = "/etc/ssl/certs/ca-certificates.crt"
DEFAULT_LISTEN: Final = Socket("127.0.0.1", 10000)
DEFAULT_AUTHZ: Final = Pipe("/run/kalguard/authz.sock")
DEFAULT_HTTP_API: Final = Socket("127.0.0.1", 9292)
DEFAULT_ADMIN: Final = Pipe("/run/kalguard/envoy-admin.sock")
DEFAULT_UPSTREAMS: Final = (
    Upstream.parse("openai", "openai=http://127.0.0.1:9400"),
    Upstream.parse("mcp", "tools=http://127.0.0.1:9400/mcp", internal=True),
)

# Names by which a client could claim to be us or Envoy, or make an upstream see another request than the
# one that was decided about. `x-kalguard-token` and `x-kalguard-request-id` are the client's to send;
# ext_authz removes whatever else begins with `x-kalguard-`.
STRIPPED_PREFIXES: Final = ("x-envoy-", "x-forwarded-")
# Envoy's own, about where an agent runs: an upstream that is not ours is not told.
INSIDE_HEADERS: Final = ("x-forwarded-for", "x-envoy-external-address")
STRIPPED_HEADERS: Final = (
    "forwarded",
    "x-real-ip",
    "x-original-url",
    "x-original-method",
    "x-original-host",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-kalguard-agent",
    "x-kalguard-decision",
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


def render(sidecar: Sidecar) -> str:
    """The configuration as YAML, ready for `envoy -c`."""
    document = to_plain(_bootstrap(sidecar))
    _state_defaults(document)
    text = yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)
    return (
        "# Written by `kalguard envoy render`, which explains each choice (docs/envoy.md).\n"
        "# Change the command's options, not this file.\n" + text
    )


def to_plain(message: betterproto2.Message) -> dict[str, AnyValue]:
    """A typed Envoy message as the plain data that Envoy reads, with its field names as documented."""
    return message.to_dict(casing=betterproto2.Casing.SNAKE)


def _state_defaults(value: AnyValue) -> None:
    """Write out the defaults that reviewers look for: protobuf leaves a false out."""
    if isinstance(value, list):
        for item in value:
            _state_defaults(item)
    if isinstance(value, dict):
        if value.get("@type") == EXT_AUTHZ_TYPE:
            value["failure_mode_allow"] = False
            value["clear_route_cache"] = False  # an answer must never send the request to another upstream
            value["with_request_body"]["allow_partial_message"] = False
        for item in value.values():
            _state_defaults(item)


def _bootstrap(sidecar: Sidecar) -> bootstrap.Bootstrap:
    return bootstrap.Bootstrap(
        node=core.Node(id="kalguard-sidecar", cluster="kalguard"),
        admin=bootstrap.Admin(
            address=core.Address(pipe=core.Pipe(path=sidecar.admin.path, mode=0o600)),
            # What operators read. Nothing here changes or stops the gate.
            allow_paths=[
                matcher.StringMatcher(prefix=path)
                for path in ("/ready", "/stats", "/clusters", "/listeners", "/server_info", "/config_dump")
            ],
        ),
        static_resources=bootstrap.BootstrapStaticResources(
            listeners=[
                _listener(sidecar, "agents", sidecar.listen, _connection_manager(sidecar)),
                *([_listener(sidecar, "proxy", sidecar.proxy, _proxy_manager(sidecar))] if sidecar.proxy else []),
            ],
            clusters=[
                _authz_cluster(sidecar),
                _http_api_cluster(sidecar),
                *(_upstream_cluster(sidecar, upstream) for upstream in sidecar.upstreams),
                *([proxy_cluster(sidecar.proxy_inside, sidecar.buffer_limit)] if sidecar.proxy else []),
                *(_cluster(sidecar, each.cluster, each.listener, _http1(HTTP_IDLE)) for each in sidecar.intercepts),
            ],
        ),
        overload_manager=_overload_manager(),
    )


def _overload_manager() -> overload.OverloadManager:
    """Sheds load before memory ends: a killed gate is an outage, a refused request is a 503."""
    heap_monitor = "envoy.resource_monitors.fixed_heap"
    return overload.OverloadManager(
        refresh_interval=timedelta(milliseconds=250),
        resource_monitors=[
            overload.ResourceMonitor(
                name=heap_monitor, typed_config=Any.pack(heap.FixedHeapConfig(max_heap_size_bytes=MAX_HEAP))
            ),
            overload.ResourceMonitor(
                name="envoy.resource_monitors.global_downstream_max_connections",
                typed_config=Any.pack(
                    connections.DownstreamConnectionsConfig(max_active_downstream_connections=MAX_CONNECTIONS)
                ),
            ),
        ],
        actions=[
            overload.OverloadAction(
                name=f"envoy.overload_actions.{action}",
                triggers=[overload.Trigger(name=heap_monitor, threshold=overload.ThresholdTrigger(value=value))],
            )
            for action, value in (
                ("shrink_heap", 0.9),
                ("disable_http_keepalive", 0.92),
                ("stop_accepting_requests", 0.95),
                ("stop_accepting_connections", 0.98),
            )
        ],
    )


def _listener(sidecar: Sidecar, name: str, place: Socket, manager: hcm.HttpConnectionManager) -> listener.Listener:
    return listener.Listener(
        name=name,
        address=_address(place),
        # With the default (true) a second process of our user could share the port and take agents' calls.
        enable_reuse_port=False,
        per_connection_buffer_limit_bytes=sidecar.buffer_limit,
        filter_chains=[
            listener.FilterChain(
                filters=[
                    listener.Filter(
                        name="envoy.filters.network.http_connection_manager",
                        typed_config=Any.pack(manager),
                    )
                ],
                transport_socket=_agents_tls(sidecar.listen_tls) if sidecar.listen_tls else None,
            )
        ],
    )


def _agents_tls(files: ListenTls) -> core.TransportSocket:
    check = None
    if files.client_ca:
        check = tls.CertificateValidationContext(trusted_ca=core.DataSource(filename=files.client_ca))
    context = tls.DownstreamTlsContext(
        require_client_certificate=bool(files.client_ca),
        common_tls_context=tls.CommonTlsContext(
            tls_params=_tls_versions(),
            alpn_protocols=["h2", "http/1.1"],
            tls_certificates=[_own_certificate(files.certificate, files.key)],
            validation_context=check,
        ),
    )
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def _proxy_manager(sidecar: Sidecar) -> hcm.HttpConnectionManager:
    """As for agents' calls, but the host is the agent's choice: its port counts, and policy is asked about it."""
    closed = (each for each in sidecar.upstreams if each.kind not in _OPEN_KINDS)
    guarded = tuple(dict.fromkeys(name for each in closed for name in each.socket.names))
    manager = _connection_manager(sidecar)
    manager.stat_prefix = "proxy"
    manager.strip_any_host_port = False
    manager.route_config = route.RouteConfiguration(
        name="proxy",
        virtual_hosts=[
            route.VirtualHost(
                name="proxy",
                domains=["*"],
                routes=proxy_routes(EXT_AUTHZ, guarded, sidecar.intercepts, HTTP_IDLE, MAX_STREAM),
            )
        ],
    )
    manager.http_filters.insert(-1, proxy_filter(sidecar.proxy_inside))
    return manager


def _connection_manager(sidecar: Sidecar) -> hcm.HttpConnectionManager:
    return hcm.HttpConnectionManager(
        stat_prefix="agents",
        route_config=_routes(sidecar),
        http_filters=[
            hcm.HttpFilter(name="envoy.filters.http.set_filter_state", typed_config=Any.pack(_remember_path())),
            hcm.HttpFilter(name=EXT_AUTHZ, typed_config=Any.pack(_ext_authz(sidecar))),
            hcm.HttpFilter(
                name="envoy.filters.http.router",
                typed_config=Any.pack(router.Router(suppress_envoy_headers=True)),
            ),
        ],
        server_name="kalguard",
        access_log=[_access_log(sidecar)],
        local_reply_config=local_replies(),
        # Nobody is internal: not loopback, not a private network. Agents live there.
        use_remote_address=True,
        internal_address_config=hcm.HttpConnectionManagerInternalAddressConfig(
            # An empty list means the private networks, so it names an address that no peer can have.
            cidr_ranges=[core.CidrRange(address_prefix="255.255.255.255", prefix_len=32)]
        ),
        early_header_mutation_extensions=[_strip_claims()],
        generate_request_id=True,
        always_set_request_id_in_response=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=hcm.HttpConnectionManagerPathWithEscapedSlashesAction.REJECT_REQUEST,
        strip_any_host_port=True,
        max_request_headers_kb=MAX_HEADERS_KB,
        request_headers_timeout=timedelta(seconds=10),
        request_timeout=REQUEST_TIMEOUT,
        stream_idle_timeout=HTTP_IDLE,
        common_http_protocol_options=core.HttpProtocolOptions(
            idle_timeout=timedelta(minutes=5),
            max_headers_count=100,
            headers_with_underscores_action=core.HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
        ),
        http2_protocol_options=core.Http2ProtocolOptions(
            # Envoy's advice for an edge: enough for an agent, and a bound on what one connection may buffer.
            max_concurrent_streams=100,
            initial_stream_window_size=64 * 1024,
            initial_connection_window_size=MIB,
        ),
    )


def _strip_claims() -> core.TypedExtensionConfig:
    mutations = [
        mutation_rules.HeaderMutation(
            remove_on_match=mutation_rules.HeaderMutationRemoveOnMatch(key_matcher=matcher.StringMatcher(prefix=prefix))
        )
        for prefix in STRIPPED_PREFIXES
    ]
    mutations += [mutation_rules.HeaderMutation(remove=name) for name in STRIPPED_HEADERS]
    return core.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=Any.pack(early.HeaderMutation(mutations=mutations)),
    )


def _remember_path() -> set_filter_state.Config:
    """Keeps the agent's path for the access log; the route rewrites it, and upstreams are not told."""
    path = core.SubstitutionFormatString(text_format_source=core.DataSource(inline_string="%PATH(NQ:PATH)%"))
    return set_filter_state.Config(
        on_request_headers=[
            filter_state.FilterStateValue(object_key=PATH_STATE, factory_key="envoy.string", format_string=path)
        ]
    )


def _ext_authz(sidecar: Sidecar) -> ext_authz.ExtAuthz:
    return ext_authz.ExtAuthz(
        stat_prefix="kalguard",
        transport_api_version=core.ApiVersion.V3,
        grpc_service=core.GrpcService(
            envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=AUTHZ_CLUSTER),
            timeout=timedelta(seconds=sidecar.authz_timeout),
        ),
        # A gate that cannot answer is not a policy decision: 503, so that clients and alerts can tell.
        status_on_error=envoy_type.HttpStatus(code=envoy_type.StatusCode.ServiceUnavailable),
        with_request_body=ext_authz.BufferSettings(
            max_request_bytes=sidecar.max_body,
            pack_as_bytes=True,  # without it bytes that are not UTF-8 arrive as "!"
        ),
        include_peer_certificate=True,
        validate_mutations=True,
    )


def _routes(sidecar: Sidecar) -> route.RouteConfiguration:
    unasked = {EXT_AUTHZ: Any.pack(ext_authz.ExtAuthzPerRoute(disabled=True))}
    api = [
        route.Route(
            name=f"api{path.replace('/', '.')}",
            match=route.RouteMatch(path=path),
            route=route.RouteAction(cluster=HTTP_API_CLUSTER, timeout=timedelta(seconds=30)),
            typed_per_filter_config=unasked,
        )
        for path in API_PATHS
    ]
    upstreams = [item for upstream in sidecar.upstreams for item in _upstream_routes(upstream)]
    # Nothing is forwarded there, so there is nothing to ask about.
    rest = route.Route(
        name="not-found",
        match=route.RouteMatch(prefix="/"),
        direct_response=route.DirectResponseAction(status=404),
        typed_per_filter_config=unasked,
    )
    return route.RouteConfiguration(
        name="agents",
        virtual_hosts=[route.VirtualHost(name="agents", domains=["*"], routes=[*api, *upstreams, rest])],
    )


def _upstream_routes(upstream: Upstream) -> list[route.Route]:
    """MCP has one endpoint a server, so exactly that path is routed; other kinds own what is below theirs."""
    context = {"kind": upstream.kind, "prefix": upstream.prefix, "upstream": upstream.cluster}
    if upstream.kind in ("mcp", "a2a"):
        context["server"] = upstream.name
    if upstream.kind in ("http", "rest", "grpc"):
        # what policy is asked about; the agent's Host header and our prefix say nothing about where it goes
        context |= {"authority": upstream.authority, "base": "" if upstream.is_grpc else upstream.path}
    if upstream.transport:
        context["transport"] = upstream.transport
    if upstream.internal:
        context["internal"] = "true"
    return [
        route.Route(
            name=f"{upstream.cluster}{index or ''}",
            match=match,
            route=route.RouteAction(
                cluster=upstream.cluster,
                prefix_rewrite=rewrite,
                host_rewrite_literal=upstream.authority,
                timeout=timedelta(0),  # the default of 15 s cuts model streams
                idle_timeout=_IDLE.get(upstream.kind, MODEL_IDLE),
                # a stream that was allowed once must not outlive a later revocation for ever
                max_stream_duration=route.RouteActionMaxStreamDuration(max_stream_duration=MAX_STREAM),
                upgrade_configs=(
                    [route.RouteActionUpgradeConfig(upgrade_type="websocket")] if upstream.upgrades else []
                ),
            ),
            request_headers_to_remove=[] if upstream.internal else list(INSIDE_HEADERS),
            typed_per_filter_config={
                EXT_AUTHZ: Any.pack(
                    ext_authz.ExtAuthzPerRoute(
                        check_settings=ext_authz.CheckSettings(context_extensions=context | more)
                    )
                )
            },
        )
        for index, (match, rewrite, more) in enumerate(_matches(upstream))
    ]


def _matches(upstream: Upstream) -> list[tuple[route.RouteMatch, str, dict[str, str]]]:
    """What is routed to `upstream`, what its path becomes there ("" for: stays), and what only that route says."""
    prefix = upstream.prefix
    if upstream.is_grpc:
        return [(route.RouteMatch(prefix=f"{path}/"), "", {}) for path in upstream.paths]
    below: tuple[route.RouteMatch, str, dict[str, str]] = (
        route.RouteMatch(prefix=f"{prefix}/"),
        f"{upstream.path}/",
        {},
    )
    if upstream.transport == "sse":
        path = upstream.messages
        # Its clients post where the server tells them to, and servers don't know of our prefix.
        return [below, (route.RouteMatch(path=path), path, {"prefix": path.rstrip("/")})] if path else [below]
    if upstream.kind == "mcp":
        target = upstream.path or "/"
        return [(route.RouteMatch(path=path), target, {}) for path in (prefix, f"{prefix}/")]
    if upstream.kind == "a2a":  # its JSON-RPC endpoint is the agent's URL itself
        return [below, (route.RouteMatch(path=prefix), upstream.path or "/", {})]
    return [below]


def _access_log(sidecar: Sidecar) -> accesslog.AccessLog:
    metadata = {
        f"authz{name[0].upper()}{name[1:]}": f"%DYNAMIC_METADATA({EXT_AUTHZ}:{name})%"
        for name in ("decision", "rule", "agent", "action", "risk", "requestId")
    }
    line = {
        "time": "%START_TIME%",
        # Envoy's own id joins a line to its local replies; authzRequestId joins it to the audit log.
        "requestId": REQUEST_ID,
        "clientRequestId": "%REQ(X-KALGUARD-REQUEST-ID):128%",
        "method": "%REQ(:METHOD)%",
        # No query: it may carry a key. The second operator is for what is refused before the filters.
        "path": f"%COALESCE({_PATH_OPERATORS}):1024%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "durationMs": "%DURATION%",
        "bytesReceived": "%BYTES_RECEIVED%",
        "bytesSent": "%BYTES_SENT%",
        "route": "%ROUTE_NAME%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "peer": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "upstreamError": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        **metadata,
    }
    log_format = core.SubstitutionFormatString(json_format=Struct.from_dict(line))
    if sidecar.access_log:
        return accesslog.AccessLog(
            name="envoy.access_loggers.file",
            typed_config=Any.pack(file_log.FileAccessLog(path=sidecar.access_log, log_format=log_format)),
        )
    return accesslog.AccessLog(
        name="envoy.access_loggers.stdout",
        typed_config=Any.pack(stream_log.StdoutAccessLog(log_format=log_format)),
    )


def _authz_cluster(sidecar: Sidecar) -> cluster.Cluster:
    http2 = upstream_http.HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=core.Http2ProtocolOptions())
    return _cluster(
        sidecar,
        AUTHZ_CLUSTER,
        sidecar.authz,
        upstream_http.HttpProtocolOptions(explicit_http_config=http2),
        _authz_transport(sidecar),
    )


def _http_api_cluster(sidecar: Sidecar) -> cluster.Cluster:
    # Shorter than the server's keep-alive of 75 s: a connection is never used while the other end closes it.
    return _cluster(sidecar, HTTP_API_CLUSTER, sidecar.http_api, _http1(timedelta(seconds=4)))


def _upstream_cluster(sidecar: Sidecar, upstream: Upstream) -> cluster.Cluster:
    idle = timedelta(seconds=30)
    transport = _tls(_server_check(sidecar.ca_file, upstream.socket.host)) if upstream.tls else None
    if upstream.is_grpc:
        return _cluster(sidecar, upstream.cluster, upstream.socket, _http2(idle), transport)
    filters = signing_filters(upstream.region, sidecar.aws_credentials) if upstream.region else []
    if not upstream.tls:
        plain = _http1(idle)
        plain.http_filters = filters
        return _cluster(sidecar, upstream.cluster, upstream.socket, plain)
    options = upstream_http.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(idle_timeout=idle),
        auto_config=upstream_http.HttpProtocolOptionsAutoHttpConfig(
            http_protocol_options=core.Http1ProtocolOptions(),
            http2_protocol_options=core.Http2ProtocolOptions(),
        ),
        http_filters=filters,
    )
    return _cluster(sidecar, upstream.cluster, upstream.socket, options, transport)


def _http2(idle: timedelta) -> upstream_http.HttpProtocolOptions:
    return upstream_http.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(idle_timeout=idle),
        explicit_http_config=upstream_http.HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=core.Http2ProtocolOptions()
        ),
    )


def _http1(idle: timedelta) -> upstream_http.HttpProtocolOptions:
    return upstream_http.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(idle_timeout=idle),
        explicit_http_config=upstream_http.HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=core.Http1ProtocolOptions()
        ),
    )


def _cluster(
    sidecar: Sidecar,
    name: str,
    target: Socket | Pipe,
    options: upstream_http.HttpProtocolOptions,
    transport: core.TransportSocket | None = None,
) -> cluster.Cluster:
    by_name = isinstance(target, Socket) and not target.is_ip
    kinds, families = cluster.ClusterDiscoveryType, cluster.ClusterDnsLookupFamily
    return cluster.Cluster(
        name=name,
        type=kinds.LOGICAL_DNS if by_name else kinds.STATIC,
        dns_lookup_family=families.V4_PREFERRED if by_name else families.AUTO,
        connect_timeout=timedelta(seconds=5 if by_name else 1),
        per_connection_buffer_limit_bytes=sidecar.buffer_limit,
        circuit_breakers=cluster.CircuitBreakers(
            thresholds=[
                cluster.CircuitBreakersThresholds(
                    max_connections=MAX_CONNECTIONS,
                    max_pending_requests=MAX_CONNECTIONS,
                    max_requests=MAX_CONNECTIONS,
                    max_retries=0,  # a tool call that is sent twice may act twice
                )
            ]
        ),
        load_assignment=endpoint.ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[
                endpoint.LocalityLbEndpoints(
                    lb_endpoints=[endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=_address(target)))]
                )
            ],
        ),
        typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": Any.pack(options)},
        transport_socket=transport,
    )


def _authz_transport(sidecar: Sidecar) -> core.TransportSocket | None:
    files = sidecar.authz_tls
    if files is None or not isinstance(sidecar.authz, Socket):
        return None
    context = _server_check(files.ca, files.name or sidecar.authz.host)
    assert context.common_tls_context is not None
    context.common_tls_context.alpn_protocols = ["h2"]
    context.common_tls_context.tls_certificates = [_own_certificate(files.certificate, files.key)]
    return _tls(context)


def _server_check(ca_file: str, host: str) -> tls.UpstreamTlsContext:
    """TLS that checks both the chain and that the certificate names `host` (Envoy checks neither by default)."""
    is_ip = Socket(host, 1).is_ip
    kinds = tls.SubjectAltNameMatcherSanType
    return tls.UpstreamTlsContext(
        sni="" if is_ip else host,  # RFC 6066: no literal addresses in SNI
        common_tls_context=tls.CommonTlsContext(
            tls_params=_tls_versions(),
            validation_context=tls.CertificateValidationContext(
                trusted_ca=core.DataSource(filename=ca_file),
                match_typed_subject_alt_names=[
                    tls.SubjectAltNameMatcher(
                        san_type=kinds.IP_ADDRESS if is_ip else kinds.DNS,
                        matcher=matcher.StringMatcher(exact=host),
                    )
                ],
            ),
        ),
    )


def _tls_versions() -> tls.TlsParameters:
    return tls.TlsParameters(
        tls_minimum_protocol_version=tls.TlsParametersTlsProtocol.TLSv1_2,
        tls_maximum_protocol_version=tls.TlsParametersTlsProtocol.TLSv1_3,
    )


def _own_certificate(certificate: str, key: str) -> tls.TlsCertificate:
    return tls.TlsCertificate(
        certificate_chain=core.DataSource(filename=certificate), private_key=core.DataSource(filename=key)
    )


def _tls(context: tls.UpstreamTlsContext) -> core.TransportSocket:
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def _address(target: Socket | Pipe) -> core.Address:
    if isinstance(target, Pipe):
        return core.Address(pipe=core.Pipe(path=target.path))
    return core.Address(socket_address=core.SocketAddress(address=target.host, port_value=target.port))

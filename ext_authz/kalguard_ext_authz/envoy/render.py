"""The sidecar's Envoy configuration, built from typed messages: `Sidecar` in, YAML out.

Rules of this file: what is not listed is not routed; the default of every choice is the closed one; each
limit says where it comes from. The output depends on its input only, so that the committed
`envoy/sidecar.yaml` can be compared byte for byte.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any as AnyValue
from typing import Final

import betterproto2
import yaml
from envoy_data_plane.envoy.config.accesslog import v3 as accesslog
from envoy_data_plane.envoy.config.bootstrap import v3 as bootstrap
from envoy_data_plane.envoy.config.common.mutation_rules import v3 as mutation_rules
from envoy_data_plane.envoy.config.core import v3 as core
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
from envoy_data_plane.envoy.type import v3 as envoy_type
from envoy_data_plane.envoy.type.matcher import v3 as matcher
from envoy_data_plane.google.protobuf import Any, Struct

from .clusters import (
    AUTHZ_CLUSTER,
    HTTP_API_CLUSTER,
    MAX_CONNECTIONS,
    address_of,
    authz_cluster,
    http1,
    http_api_cluster,
    own_certificate,
    plain_cluster,
    tls_versions,
    upstream_cluster,
)
from .forward_proxy import proxy_cluster, proxy_filter, proxy_routes
from .replies import REQUEST_ID, local_replies
from .sidecar import MIB, ListenTls, Sidecar
from .targets import Socket, Upstream

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
# Answered by the HTTP API, which decides by itself: nothing is counted or audited twice.
API_PATHS: Final = ("/v1/prompt/check", "/v1/tool/check", "/v1/llm/check", "/health")
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
                authz_cluster(sidecar),
                http_api_cluster(sidecar),
                *(upstream_cluster(sidecar, upstream) for upstream in sidecar.upstreams),
                *([proxy_cluster(sidecar.proxy_inside, sidecar.buffer_limit)] if sidecar.proxy else []),
                *(plain_cluster(sidecar, each.cluster, each.listener, http1(HTTP_IDLE)) for each in sidecar.intercepts),
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
        address=address_of(place),
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
            tls_params=tls_versions(),
            alpn_protocols=["h2", "http/1.1"],
            tls_certificates=[own_certificate(files.certificate, files.key)],
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

"""Where the sidecar connects to: Envoy's clusters, with their limits and their TLS.

Rules of this file: every connection has a limit, nothing is sent twice, and TLS checks the chain and the name.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster import v3 as cluster
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.endpoint import v3 as endpoint
from envoy_data_plane.envoy.extensions.transport_sockets.tls import v3 as tls
from envoy_data_plane.envoy.extensions.upstreams.http import v3 as upstream_http
from envoy_data_plane.envoy.type.matcher import v3 as matcher
from envoy_data_plane.google.protobuf import Any

from .sidecar import Sidecar
from .signing import signing_filters
from .targets import Pipe, Socket, Upstream

AUTHZ_CLUSTER: Final = "kalguard_authz"
HTTP_API_CLUSTER: Final = "kalguard_http"
MAX_CONNECTIONS: Final = 1024


def authz_cluster(sidecar: Sidecar) -> cluster.Cluster:
    """The ext_authz server."""
    http2 = upstream_http.HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=core.Http2ProtocolOptions())
    return plain_cluster(
        sidecar,
        AUTHZ_CLUSTER,
        sidecar.authz,
        upstream_http.HttpProtocolOptions(explicit_http_config=http2),
        _authz_transport(sidecar),
    )


def http_api_cluster(sidecar: Sidecar) -> cluster.Cluster:
    """The HTTP API."""
    # Shorter than the server's keep-alive of 75 s: a connection is never used while the other end closes it.
    return plain_cluster(sidecar, HTTP_API_CLUSTER, sidecar.http_api, http1(timedelta(seconds=4)))


def upstream_cluster(sidecar: Sidecar, upstream: Upstream) -> cluster.Cluster:
    """Where agents may be let through to. A signed one has its signature made here, after all changes."""
    idle = timedelta(seconds=30)
    transport = _tls(_server_check(sidecar.ca_file, upstream.socket.host)) if upstream.tls else None
    if upstream.is_grpc:
        return plain_cluster(sidecar, upstream.cluster, upstream.socket, _http2(idle), transport)
    filters = signing_filters(upstream.region, sidecar.aws_credentials) if upstream.region else []
    if not upstream.tls:
        plain = http1(idle)
        plain.http_filters = filters
        return plain_cluster(sidecar, upstream.cluster, upstream.socket, plain)
    options = upstream_http.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(idle_timeout=idle),
        auto_config=upstream_http.HttpProtocolOptionsAutoHttpConfig(
            http_protocol_options=core.Http1ProtocolOptions(),
            http2_protocol_options=core.Http2ProtocolOptions(),
        ),
        http_filters=filters,
    )
    return plain_cluster(sidecar, upstream.cluster, upstream.socket, options, transport)


def _http2(idle: timedelta) -> upstream_http.HttpProtocolOptions:
    return upstream_http.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(idle_timeout=idle),
        explicit_http_config=upstream_http.HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=core.Http2ProtocolOptions()
        ),
    )


def http1(idle: timedelta) -> upstream_http.HttpProtocolOptions:
    """HTTP/1.1 only; a connection without a request is closed after `idle`."""
    return upstream_http.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(idle_timeout=idle),
        explicit_http_config=upstream_http.HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=core.Http1ProtocolOptions()
        ),
    )


def plain_cluster(
    sidecar: Sidecar,
    name: str,
    target: Socket | Pipe,
    options: upstream_http.HttpProtocolOptions,
    transport: core.TransportSocket | None = None,
) -> cluster.Cluster:
    """A cluster of one address; a name is looked up. `transport`: None for no TLS."""
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
                    lb_endpoints=[endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=address_of(target)))]
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
    context.common_tls_context.tls_certificates = [own_certificate(files.certificate, files.key)]
    return _tls(context)


def _server_check(ca_file: str, host: str) -> tls.UpstreamTlsContext:
    """TLS that checks both the chain and that the certificate names `host` (Envoy checks neither by default)."""
    is_ip = Socket(host, 1).is_ip
    kinds = tls.SubjectAltNameMatcherSanType
    return tls.UpstreamTlsContext(
        sni="" if is_ip else host,  # RFC 6066: no literal addresses in SNI
        common_tls_context=tls.CommonTlsContext(
            tls_params=tls_versions(),
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


def tls_versions() -> tls.TlsParameters:
    """Those that either side may speak."""
    return tls.TlsParameters(
        tls_minimum_protocol_version=tls.TlsParametersTlsProtocol.TLSv1_2,
        tls_maximum_protocol_version=tls.TlsParametersTlsProtocol.TLSv1_3,
    )


def own_certificate(certificate: str, key: str) -> tls.TlsCertificate:
    """A certificate and its key, from files (PEM)."""
    return tls.TlsCertificate(
        certificate_chain=core.DataSource(filename=certificate), private_key=core.DataSource(filename=key)
    )


def _tls(context: tls.UpstreamTlsContext) -> core.TransportSocket:
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def address_of(target: Socket | Pipe) -> core.Address:
    """Where `target` is, as Envoy writes it."""
    if isinstance(target, Pipe):
        return core.Address(pipe=core.Pipe(path=target.path))
    return core.Address(socket_address=core.SocketAddress(address=target.host, port_value=target.port))

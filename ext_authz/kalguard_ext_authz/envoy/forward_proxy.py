"""The forward proxy: a listener for agents that use HTTP_PROXY and HTTPS_PROXY.

Rules of this file: ext_authz is asked before a name is even resolved. A name that resolves to an address inside is no
way in: what policy was asked about is the name. A tunnel that may lead to a model because somebody takes it apart can
lead nowhere but to who does. Sources: envoy.extensions.filters.http.dynamic_forward_proxy.v3;
IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster import v3 as cluster
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.clusters.dynamic_forward_proxy import v3 as dynamic_cluster
from envoy_data_plane.envoy.extensions.common.dynamic_forward_proxy import v3 as common
from envoy_data_plane.envoy.extensions.filters.http.dynamic_forward_proxy import v3 as dynamic_filter
from envoy_data_plane.envoy.extensions.filters.http.ext_authz import v3 as ext_authz
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.type.matcher import v3 as matcher
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.xds.core import v3 as xds

from .targets import Intercept

PROXY_CLUSTER: Final = "forward_proxy"
DYNAMIC_FILTER: Final = "envoy.filters.http.dynamic_forward_proxy"
MAX_HOSTS: Final = 1024
# Nobody has business there: this host, link-local (metadata services of clouds), multicast, and metadata elsewhere.
_NEVER: Final = (
    "0.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/3",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.0/24",
    "::/128",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::/32",
    "fd20:ce::/32",
    "2002::/16",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
)
_INSIDE: Final = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "::1/128",
    "fc00::/7",
)


def proxy_filter(inside: bool) -> hcm.HttpFilter:
    """Resolves the host that the agent asked for, after ext_authz allowed it."""
    config = dynamic_filter.FilterConfig(dns_cache_config=_dns(inside))
    return hcm.HttpFilter(name=DYNAMIC_FILTER, typed_config=Any.pack(config))


def proxy_routes(
    ext_authz_name: str,
    guarded: tuple[str, ...],
    intercepts: tuple[Intercept, ...],
    idle: timedelta,
    longest: timedelta,
) -> list[route.Route]:
    """CONNECT, and requests whose target is a whole URL. `guarded`: hosts that have routes of their own."""
    context = {"kind": "proxy", "upstream": PROXY_CLUSTER}
    if guarded:
        context["guarded"] = ",".join(guarded)
    upgrades = route.RouteActionUpgradeConfig

    def one(
        name: str,
        match: route.RouteMatch,
        upgrade: route.RouteActionUpgradeConfig,
        unread: bool,
        intercept: Intercept | None = None,
    ) -> route.Route:
        said = context | ({"intercepted": intercept.host} if intercept else {})
        settings = ext_authz.CheckSettings(context_extensions=said, disable_request_body_buffering=unread)
        return route.Route(
            name=name,
            match=match,
            route=route.RouteAction(
                cluster=intercept.cluster if intercept else PROXY_CLUSTER,
                timeout=timedelta(0),
                idle_timeout=idle,
                max_stream_duration=route.RouteActionMaxStreamDuration(max_stream_duration=longest),
                upgrade_configs=[upgrade],
            ),
            request_headers_to_remove=["x-forwarded-for", "x-envoy-external-address", "proxy-connection"],
            typed_per_filter_config={ext_authz_name: Any.pack(ext_authz.ExtAuthzPerRoute(check_settings=settings))},
        )

    # What flows in a tunnel is no body: to wait for its end would be to wait for ever.
    tunnel = upgrades(upgrade_type="CONNECT", connect_config=route.RouteActionUpgradeConfigConnectConfig())
    connect = route.RouteMatchConnectMatcher()
    return [
        *(
            one(each.cluster, route.RouteMatch(connect_matcher=connect, headers=[_to(each.host)]), tunnel, True, each)
            for each in intercepts
        ),
        one("connect", route.RouteMatch(connect_matcher=connect), tunnel, unread=True),
        one("proxy", route.RouteMatch(prefix="/"), upgrades(upgrade_type="websocket"), unread=False),
    ]


def _to(host: str) -> route.HeaderMatcher:
    # in one spelling; who writes another meets the route that refuses models
    return route.HeaderMatcher(name=":authority", string_match=matcher.StringMatcher(exact=f"{host}:443"))


def proxy_cluster(inside: bool, buffer_limit: int) -> cluster.Cluster:
    """Wherever the allowed name resolves to."""
    config = dynamic_cluster.ClusterConfig(dns_cache_config=_dns(inside))
    return cluster.Cluster(
        name=PROXY_CLUSTER,
        lb_policy=cluster.ClusterLbPolicy.CLUSTER_PROVIDED,
        connect_timeout=timedelta(seconds=5),
        per_connection_buffer_limit_bytes=buffer_limit,
        circuit_breakers=cluster.CircuitBreakers(
            thresholds=[
                cluster.CircuitBreakersThresholds(
                    max_connections=MAX_HOSTS, max_pending_requests=MAX_HOSTS, max_requests=MAX_HOSTS, max_retries=0
                )
            ]
        ),
        cluster_type=cluster.ClusterCustomClusterType(
            name="envoy.clusters.dynamic_forward_proxy", typed_config=Any.pack(config)
        ),
    )


def _dns(inside: bool) -> common.DnsCacheConfig:
    refused = _NEVER if inside else (*_NEVER, *_INSIDE)
    ranges = [
        xds.CidrRange(address_prefix=prefix, prefix_len=int(length))
        for prefix, _, length in (text.partition("/") for text in refused)
    ]
    # The filter and the cluster share the cache by its name, and both must say the same.
    return common.DnsCacheConfig(
        name="kalguard_forward_proxy",
        dns_lookup_family=cluster.ClusterDnsLookupFamily.V4_PREFERRED,
        max_hosts=MAX_HOSTS,
        dns_query_timeout=timedelta(seconds=5),
        resolved_address_filter=matcher.AddressMatcher(ranges=ranges),
    )

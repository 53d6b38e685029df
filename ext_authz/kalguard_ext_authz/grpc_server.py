"""The ext_authz gRPC server: translates CheckRequest to AgentRequest, Answer to CheckResponse.

Rules of this file: nothing is decided here, except who may be believed. A caller on a Unix socket, with a client
certificate that we verified, or in a network that the operator vouches for (`KALGUARD_GRPC_TRUST=network`) is
trusted: its principal and context extensions count. From any other caller both are ignored, except that a route
which is said to be a model's or a tool server's is refused: plain HTTP, as which we would judge it, is less strict.
API: envoy.service.auth.v3.Authorization, https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/external_auth.proto
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.struct_pb2 import Value
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from kalguard_core.codes import ErrorCode, Outcome
from kalguard_core.decision import Decision
from kalguard_core.request import AgentRequest, Body, BufferedBody, Peer, Refusal

from .answer import Answer, Answerer
from .credentials import (
    KALGUARD_TOKEN,
    NO_ACCESS,
    Access,
    Upstreams,
    headers_to_remove,
    other_headers_to_remove,
    proxy_token,
    query_to_remove,
    token_of,
    websocket_protocols,
)
from .request_id import new_request_id, sane_request_id
from .routes import Routes
from .settings import host_port, is_unix, unix_path

SERVICE: Final = "envoy.service.auth.v3.Authorization"
# What a CheckRequest holds besides the body: headers (Envoy: 60 KiB by default), certificates, attributes.
ENVELOPE_BYTES: Final = 1024 * 1024
_OVERWRITE: Final = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_OK, _PERMISSION_DENIED, _UNAUTHENTICATED = 0, 7, 16  # google.rpc.Code
_SOCKET_MODE: Final = 0o660  # ours and our group's (Envoy's), nobody else's: whoever opens it is believed
_REQUEST_ID: Final = "x-kalguard-request-id"


@dataclass(frozen=True, slots=True)
class _IncompleteBody:
    """A body of which Envoy sent us a part. Deciding about a part would leave a blind spot."""

    size_hint: int
    refusal: Refusal

    async def read(self) -> bytes:
        raise self.refusal


class CheckService:
    """The `Check` call. `trusted` says whether callers of this listener may be believed."""

    def __init__(
        self,
        answerer: Answerer,
        *,
        trusted: bool,
        max_body_bytes: int,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        upstreams: Upstreams,
        routes: Routes | None = None,
    ) -> None:
        self._answerer = answerer
        self._routes = routes or Routes()
        self._upstreams = upstreams
        self._trusted = trusted
        self._max_body_bytes = max_body_bytes
        self._now = now
        self._monotonic = monotonic

    async def check(self, message: CheckRequest, _context: Any) -> CheckResponse:
        """One decision."""
        request = self._translate(message)
        answer = await self._answerer.answer(request, transport="grpc")
        return self._respond(request, answer)

    def _translate(self, message: CheckRequest) -> AgentRequest:
        attributes = message.attributes
        http = attributes.request.http
        headers = _headers(http)
        source = attributes.source
        address = source.address.socket_address
        kind, context = self._routes.route(attributes, trusted=self._trusted)
        offered = proxy_token(headers) if kind == "proxy" else None
        if offered is not None and headers.setdefault(KALGUARD_TOKEN, offered) != offered:
            headers[KALGUARD_TOKEN] += f",{offered}"  # two that differ are refused, as a repeated header is
        return AgentRequest(
            id=(
                # Envoy's own id first: an agent that could choose it could make two calls look like one.
                sane_request_id(headers.get("x-request-id"))
                or sane_request_id(headers.get(_REQUEST_ID))
                or new_request_id()
            ),
            kind=kind,
            method=http.method,
            host=http.host,
            path=http.path,
            headers=headers,
            time=self._now(),
            monotonic=self._monotonic(),
            body=self._body(http, headers),
            peer=Peer(
                f"{address.address}:{address.port_value}" if address.address else "",
                source.principal if self._trusted else "",
            ),
            context=context,
        )

    def _body(self, http: Any, headers: Mapping[str, str]) -> Body:
        data: bytes = http.raw_body or http.body.encode("utf-8", "surrogatepass")
        size = len(data)
        if size > self._max_body_bytes:
            return _IncompleteBody(size, Refusal(ErrorCode.PAYLOAD_TOO_LARGE, "Payload Too Large"))
        announced = headers.get("content-length", "")
        full = max(
            http.size,
            int(announced) if announced.isascii() and announced.isdigit() and len(announced) < 19 else 0,
        )
        # The header is Envoy's word for a body that it cut, but a client can send it too; the lengths can't be forged.
        if full > size or headers.get("x-envoy-auth-partial-body", "false").lower() != "false":
            detail = (
                f"{size} of {full} bytes arrived: set with_request_body (max_request_bytes {self._max_body_bytes}, "
                "allow_partial_message false, pack_as_bytes true) on the ext_authz filter"
            )
            code = ErrorCode.PAYLOAD_TOO_LARGE if full > self._max_body_bytes else ErrorCode.BAD_REQUEST
            return _IncompleteBody(size, Refusal(code, "the request body did not arrive in full", detail=detail))
        return BufferedBody(data)

    def _respond(self, request: AgentRequest, answer: Answer) -> CheckResponse:
        decision, reply = answer.decision, answer.reply
        if reply is None:
            # Only whom we believe gets a credential, and a route is what they say that it is.
            access = self._upstreams.access(request.context) if self._trusted else NO_ACCESS
            if request.kind == "proxy" and not access.passthrough:
                access = NO_ACCESS  # it would go wherever the agent says
            return _allowed(request, decision, access)
        response = CheckResponse()
        _describe(response, decision.outcome, *_facts(decision))
        response.dynamic_metadata.fields["requestId"].string_value = decision.request_id
        if decision.code is not None:
            response.dynamic_metadata.fields["errorCode"].string_value = decision.code.value
        response.status.code = _UNAUTHENTICATED if decision.status == 401 else _PERMISSION_DENIED
        denied = response.denied_response
        denied.status.code = reply.status
        denied.body = reply.body.decode("utf-8", "replace")
        for name, value in reply.headers.items():
            _set(denied.headers, name, value)
        _set(denied.headers, _REQUEST_ID, decision.request_id)
        return response


def _allowed(request: AgentRequest, decision: Decision, access: Access) -> CheckResponse:
    headers = request.headers
    internal = request.context.get("internal") == "true" and decision.identity is not None
    response = CheckResponse()
    response.CopyFrom(_allowance(*_facts(decision), internal, headers_to_remove(headers, access)))
    request_id = decision.request_id
    response.dynamic_metadata.fields["requestId"].string_value = request_id
    ok = response.ok_response
    ok.headers[0].header.value = request_id
    ok.response_headers_to_add[0].header.value = request_id
    if "x-kalguard-" in "\n".join(headers):
        ours = {option.header.key for option in ok.headers}
        # Envoy removes after it sets: a name in both lists would be lost.
        ok.headers_to_remove.extend(
            name
            for name in headers
            if name.startswith("x-kalguard-") and name not in ours and name != "x-kalguard-token"
        )
    token = token_of(headers)
    ok.headers_to_remove.extend(other_headers_to_remove(headers, access, token))
    # Never into the template: what is kept there outlives a rotation, and is shared.
    if access.header:
        _set(ok.headers, access.header, access.value)
    protocols = websocket_protocols(headers, access, token)
    if protocols:
        _set(ok.headers, "sec-websocket-protocol", protocols)
    elif protocols is not None:
        ok.headers_to_remove.append("sec-websocket-protocol")
    if access.query:
        ok.query_parameters_to_set.add(key=access.query, value=access.value)
    if "?" in request.path:
        ok.query_parameters_to_remove.extend(query_to_remove(request.path, access, token))
    return response


@lru_cache(maxsize=1024)
def _allowance(
    agent: str, action: str, rule: str | None, risk: int | None, internal: bool, credentials: tuple[str, ...]
) -> CheckResponse:
    """What is the same in all such allows: to copy it costs a third of building it. The request's id is left out,
    and so is what an agent can choose freely: this is kept. Never change what this returns."""
    response = CheckResponse()
    _describe(response, Outcome.ALLOW, agent, action, rule, risk)
    response.status.code = _OK
    ok = response.ok_response
    _set(ok.headers, _REQUEST_ID, "")
    if internal:
        _set(ok.headers, "x-kalguard-agent", agent)
        _set(ok.headers, "x-kalguard-decision", Outcome.ALLOW.value)
    ok.headers_to_remove.extend(credentials)
    _set(ok.response_headers_to_add, _REQUEST_ID, "")
    return response


def _headers(http: Any) -> dict[str, str]:
    """Lower-case names; with `encode_raw_headers` repeated headers are joined as Envoy joins them otherwise."""
    if http.headers or not http.header_map.headers:
        return dict(http.headers)
    headers: dict[str, str] = {}
    for header in http.header_map.headers:
        value = header.value or header.raw_value.decode("utf-8", "replace")
        name = header.key.lower()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _set(target: Any, name: str, value: str) -> None:
    option = target.add()  # filled in place: half the time of building and copying one
    option.header.key = name
    option.header.value = value
    option.append_action = _OVERWRITE


def _facts(decision: Decision) -> tuple[str, str, str | None, int | None]:
    """Agent, action, rule and risk, as Envoy is told."""
    verdicts = decision.verdicts
    if len(verdicts) == 1:
        action = verdicts[0].action.name
    else:
        action = ",".join(dict.fromkeys(verdict.action.name for verdict in verdicts))
    agent = decision.identity.agent_id if decision.identity else ""
    return agent, action or decision.route, decision.rule, decision.risk


def _describe(
    response: CheckResponse, outcome: Outcome, agent: str, action: str, rule: str | None, risk: int | None
) -> None:
    """Dynamic metadata for Envoy's access log and later filters (namespace envoy.filters.http.ext_authz)."""
    fields = response.dynamic_metadata.fields
    fields["decision"].string_value = outcome.value
    fields["agent"].string_value = agent
    fields["action"].string_value = action
    if rule is not None:
        fields["rule"].string_value = rule
    if risk is not None:
        fields["risk"].CopyFrom(Value(number_value=risk))


class GrpcServer:
    """Listens for Envoy. Start and stop it inside one event loop."""

    def __init__(
        self,
        answerer: Answerer,
        *,
        address: str,
        trust: str,
        max_body_bytes: int,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        tls_client_ca: Path | None = None,
        reflection: bool = False,
        upstreams: Upstreams | None = None,
        routes: Routes | None = None,
    ) -> None:
        self._address = address
        self._credentials = _credentials(tls_cert, tls_key, tls_client_ca)
        self.trusted = is_unix(address) or tls_client_ca is not None or trust == "network"
        self._service = CheckService(
            answerer,
            trusted=self.trusted,
            max_body_bytes=max_body_bytes,
            now=now,
            monotonic=monotonic,
            upstreams=upstreams or Upstreams(),
            routes=routes,
        )
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", max_body_bytes + ENVELOPE_BYTES),
                ("grpc.so_reuseport", 0),
            )
        )
        method = grpc.unary_unary_rpc_method_handler(
            self._service.check,
            request_deserializer=CheckRequest.FromString,
            response_serializer=CheckResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Check": method}),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflection:
            from grpc_reflection.v1alpha import reflection as grpc_reflection

            grpc_reflection.enable_server_reflection(
                (SERVICE, health.SERVICE_NAME, grpc_reflection.SERVICE_NAME), self._server
            )

    async def start(self) -> str:
        """Bind and serve; the address that was bound. Raises `OSError` when it can't be bound."""
        bound = self._bind()
        await self._server.start()
        await self.set_serving(True)
        return bound

    async def set_serving(self, serving: bool) -> None:
        """What gRPC health checks see."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, status)

    async def stop(self, grace: float) -> None:
        """Refuse new calls, let those in flight finish for `grace` seconds."""
        await self._server.stop(grace)

    def _bind(self) -> str:
        if not is_unix(self._address):
            host, port = host_port(self._address, "KALGUARD_GRPC_ADDRESS")
            target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            bound = self._add_port(target)
            return f"{target.rpartition(':')[0]}:{bound}"
        path = Path(unix_path(self._address))
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"KALGUARD_GRPC_ADDRESS: cannot make {path.parent}: {error.strerror}") from None
        # The mode must be right from the first moment, so it comes from the umask, not from a later chmod.
        before = os.umask(0o777 & ~_SOCKET_MODE)
        try:
            self._add_port(f"unix:{path}")
        finally:
            os.umask(before)
        return f"unix://{path}"

    def _add_port(self, target: str) -> int:
        try:
            if self._credentials is None:
                return int(self._server.add_insecure_port(target))
            return int(self._server.add_secure_port(target, self._credentials))
        except RuntimeError as error:
            raise OSError(f"KALGUARD_GRPC_ADDRESS: cannot listen on {target}: {error}") from None


def _credentials(cert: Path | None, key: Path | None, client_ca: Path | None) -> Any:
    if cert is None or key is None:
        return None
    certificate, private = _pem("CERT", cert), _pem("KEY", key)
    return grpc.ssl_server_credentials(
        ((private, certificate),),
        root_certificates=_pem("CLIENT_CA", client_ca) if client_ca else None,
        require_client_auth=client_ca is not None,
    )


def _pem(setting: str, path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OSError(f"KALGUARD_GRPC_TLS_{setting}: cannot read {path}: {error.strerror}") from None
    if b"-----BEGIN " not in data:
        raise OSError(f"KALGUARD_GRPC_TLS_{setting}: {path} is not PEM (it has no -----BEGIN line)")
    return data

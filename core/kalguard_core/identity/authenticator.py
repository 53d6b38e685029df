"""From a request to the agent behind it. Every doubt is a refusal.

Rules of this file, in order:
1. A repeated credential header (joined with ",") is refused: two readers would pick different halves.
2. `x-kalguard-token`, and a Bearer value in `authorization`, must be a valid token. Only beside an
   `x-kalguard-token` may the Bearer value be something not JWT-shaped: the agent's own key for its vendor.
3. A JWT-shaped value in `x-api-key`, `api-key` or `x-goog-api-key` is a token; anything else is a vendor's key.
4. All JWT-shaped values in these headers are one and the same token, or the request is refused.
5. A principal that maps to an agent must name the token's agent. It speaks alone only when no token was
   offered; a token that fails never falls back to it.
6. Revocation is asked last, on every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NoReturn

from ..codes import ErrorCode
from ..request import AgentRequest, Refusal
from .identity import Identity
from .jws import looks_like_token, may_hide_token
from .principals import PrincipalMap
from .revocations import Revocations
from .verifier import TokenVerifier

AUTHORIZATION: Final = "authorization"
KALGUARD_TOKEN: Final = "x-kalguard-token"  # noqa: S105 - a header's name
VENDOR_HEADERS: Final = ("x-api-key", "api-key", "x-goog-api-key")

PROXY_AUTHORIZATION: Final = "proxy-authorization"
CREDENTIAL_HEADERS: Final = (AUTHORIZATION, PROXY_AUTHORIZATION, KALGUARD_TOKEN, *VENDOR_HEADERS)


def credential_headers(headers: Mapping[str, str]) -> list[str]:
    """The names of the credential headers in `headers` (lower-case names): remove them before forwarding."""
    return [name for name in CREDENTIAL_HEADERS if name in headers]


class Authenticator:
    """Says who a request comes from, or refuses it."""

    __slots__ = ("_principals", "_revocations", "_verifier")

    def __init__(self, verifier: TokenVerifier, revocations: Revocations, principals: PrincipalMap) -> None:
        self._verifier = verifier
        self._revocations = revocations
        self._principals = principals

    def authenticate(self, request: AgentRequest) -> Identity:
        """The agent behind `request`. Raises `Refusal` AUTH_FAILED or TOKEN_REVOKED, and nothing else."""
        token = offered_token(request.headers)
        principal = request.peer.principal
        mapped = self._principals.identity(principal) if principal else None
        if token is None:
            if mapped is None:
                _refuse("no credential" if not principal else "no token, and the principal is not mapped to an agent")
            identity = mapped
        else:
            identity = self._verifier.verify(token, request.time)
            if mapped is not None:
                if mapped.agent_id != identity.agent_id:
                    _refuse("token and principal belong to different agents")
                identity = replace(identity, principal=principal)
        revoked = self._revocations.reason(identity)
        if revoked is not None:
            raise Refusal(ErrorCode.TOKEN_REVOKED, "Token revoked", detail=revoked)
        return identity


def offered_token(headers: Mapping[str, str]) -> str | None:
    """The one token that the agent offers, not yet verified; None if it offers none.

    Raises `Refusal` AUTH_FAILED when the credentials contradict each other or cannot be a token.
    """
    dedicated = headers.get(KALGUARD_TOKEN)
    if dedicated is not None:
        dedicated = dedicated.strip(" \t")
        if not looks_like_token(dedicated) or "," in dedicated:
            _refuse("x-kalguard-token is repeated or not a token")
    token = dedicated
    for name in VENDOR_HEADERS:
        value = headers.get(name)
        if value is not None:
            token = _same(token, _token_in(value))
    value = headers.get(AUTHORIZATION)
    if value is not None:
        token = _authorization(value, token, dedicated)
    value = headers.get(PROXY_AUTHORIZATION)
    if value is not None:
        # never where our token is read from, but another agent's token there is a contradiction all the same
        for word in value.replace(",", " ").split():
            if _token_in(word) not in (None, token):
                _refuse("proxy-authorization holds another token")
    return token


def _authorization(value: str, token: str | None, dedicated: str | None) -> str | None:
    """`token`, or the one that the `authorization` header holds."""
    scheme, _, rest = value.strip(" \t").partition(" ")
    if scheme.lower() != "bearer":
        # another scheme is the agent's own affair with the upstream (AWS signatures have commas), as long as
        # it hides no second token
        token = _same(token, _token_in(value)) if token is not None else None
        if token is None or _has_bearer(value):
            _refuse("authorization is not one Bearer token")
        return token
    bearer = rest.strip(" \t")
    if "," in bearer:
        _refuse("authorization is repeated")
    if looks_like_token(bearer):
        return _same(token, bearer)
    if dedicated is None:
        _refuse("the Bearer value is not a token")
    return _same(token, _token_in(bearer))


def _same(token: str | None, other: str | None) -> str | None:
    if token is not None and other is not None and token != other:
        _refuse("two different tokens in one request")
    return token if other is None else other


def _token_in(value: str) -> str | None:
    """The token in a value that need not hold one. A token beside anything else is refused."""
    value = value.strip(" \t")
    if not may_hide_token(value):
        return None
    if not looks_like_token(value) or "," in value or " " in value:
        _refuse("a credential header is repeated or holds more than a token")
    return value


def _has_bearer(value: str) -> bool:
    return any(piece.strip(" \t").partition(" ")[0].lower() == "bearer" for piece in value.split(","))


def _refuse(detail: str) -> NoReturn:
    raise Refusal(ErrorCode.AUTH_FAILED, "Unauthorized", detail=detail)

"""The credentials that upstreams want: what an allowed request gets, and what it loses.

Rules of this file: a credential belongs to one upstream, by the name that the matched route gives (`upstream`, which
only a trusted caller can say); neither host nor path that an agent writes has a say. What the agent itself sent as a
credential never goes on, unless the operator said `passthrough`. A secret stands in one attribute that no `repr`
shows, and no message quotes what was read: it may be a secret in the wrong place.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_plus

import structlog

from kalguard_core.identity import CREDENTIAL_HEADERS, credential_headers, looks_like_token, offered_token
from kalguard_core.request import Refusal

from .settings import UpstreamSettings

_log = structlog.get_logger("kalguard.credentials")

MAX_CREDENTIAL_BYTES: Final = 16 * 1024  # Google's and Azure's access tokens have 1 to 4 KiB
MAX_TOLD: Final = 100  # upstreams without a credential that the log names
AUTHORIZATION: Final = "authorization"
KALGUARD_TOKEN: Final = "x-kalguard-token"  # noqa: S105 - a header's name
# Beside those that the gate itself reads a token from (`CREDENTIAL_HEADERS`): with these, clients and gateways of
# vendors say who pays. Those of AWS belong to a signature that the agent made.
VENDOR_HEADERS: Final = (
    "ocp-apim-subscription-key",
    "x-access-token",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-auth-token",
    "x-authorization",
    "x-functions-key",
    "x-goog-iam-authorization-token",
)
VENDOR_QUERY: Final = frozenset(
    {
        "access-token",
        "access_token",
        "accesstoken",
        "api-key",
        "api_key",
        "apikey",
        "auth_token",
        "authorization",
        "bearer_token",
        "client_secret",
        "key",
        "oauth_token",
        "ocp-apim-subscription-key",
        "subscription-key",
        "token",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
        "x-api-key",
        "x-goog-algorithm",
        "x-goog-api-key",
        "x-goog-credential",
        "x-goog-signature",
    }
)


# What names of other headers say of themselves: gateways keep making up new ones (cf-aig-authorization, helicone-auth).
_MARKS: Final = (
    "access-token",
    "api-key",
    "apikey",
    "auth-key",
    "authentic",
    "authorization",
    "bearer",
    "jwt",
    "subscription-key",
)
_ENDINGS: Final = ("-auth", "-secret", "-token")
_BARE: Final = frozenset({"auth", "secret", "token"})
_FORGERY_TOKENS: Final = ("csrf-token", "xsrf-token")  # they prove a page, and no caller
_COMMON_NAME: Final = 64  # bytes; names up to here are remembered, which nobody should fill our memory with
# What `headers_to_remove` looks at, and what nobody can do without: subprotocols are looked at one by one.
_LISTED: Final = frozenset({*CREDENTIAL_HEADERS, "host", "sec-websocket-protocol"})
_LISTED_ALL: Final = _LISTED.union(VENDOR_HEADERS)
_KEY_IN_PROTOCOL: Final = ("api-key.", "api_key.", "access-token.", "access_token", "bearer", "authorization")
# As a subprotocol of its own, each of these says that the next one is a key.
_KEY_FOLLOWS: Final = frozenset({"access-token", "access_token", "api-key", "authorization", "bearer", "token"})


class CredentialError(ValueError):
    """A credential that cannot be sent. `str()` says why, and nothing of what it is."""


@dataclass(frozen=True, slots=True)
class Access:
    """What goes to one upstream with an allowed request.

    `header` or `query` is the name under which `value` goes there; both are "" where there is no credential.
    `passthrough`: the agent's own credentials go on.
    """

    header: str = ""
    query: str = ""
    value: str = field(default="", repr=False)
    passthrough: bool = False

    @classmethod
    def of(cls, settings: UpstreamSettings, secret: bytes | None) -> Access:
        """What `settings` say, with the bytes that the file or variable held. Raises `CredentialError`."""
        if secret is None:
            return cls(passthrough=settings.passthrough)
        text = _text(secret)
        if settings.query is not None:
            # a "&" in it would be another member
            return cls(query=settings.query, value=quote(text, safe=""))
        header = settings.header or AUTHORIZATION
        scheme = settings.scheme if settings.scheme is not None else "Bearer" if header == AUTHORIZATION else ""
        return cls(header=header, value=f"{scheme} {text}" if scheme else text)


NO_ACCESS: Final = Access()
"""Of an upstream that the settings say nothing about: the agent's credentials go, and none comes."""


class Upstreams:
    """The access of each upstream, as it is now."""

    __slots__ = ("_entries", "_told")

    def __init__(self) -> None:
        self._entries: dict[str, Access] = {}
        self._told: set[str] = set()

    def put(self, name: str, access: Access) -> None:
        """From now on."""
        self._entries[name] = access

    def access(self, context: Mapping[str, str]) -> Access:
        """Of the upstream that `context` (of a route that a trusted caller matched) names."""
        name = context.get("upstream", "")
        found = self._entries.get(name)
        if found is None:
            self._tell(name)
            return NO_ACCESS
        return found

    def _tell(self, name: str) -> None:
        """Once for a name: if settings and route spell it in two ways, only the vendor's 401 would show it."""
        if name and self._entries and name not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(name)
            _log.info("upstream_without_credential", upstream=name, upstreams=sorted(self._entries))


def token_of(headers: Mapping[str, str]) -> str:
    """The token of an allowed request, "" if it came without one."""
    try:
        return offered_token(headers) or ""
    except Refusal:
        return ""  # not of a request that was authenticated


def headers_to_remove(headers: Mapping[str, str], access: Access) -> tuple[str, ...]:
    """Names of the known credential headers of the agent that must not go on, without the one that will be set."""
    if access.passthrough:
        return tuple(name for name in credential_headers(headers) if _is_ours(name, headers[name]))
    found = [*credential_headers(headers), *(name for name in VENDOR_HEADERS if name in headers)]
    # Envoy removes after it sets: a name in both lists would be lost.
    return tuple(name for name in found if name != access.header)


def other_headers_to_remove(headers: Mapping[str, str], access: Access, token: str) -> list[str]:
    """As `headers_to_remove`, of those with names that nobody lists: what sounds like a credential, and whatever
    holds `token`, cookies too."""
    known, passes = (_LISTED, True) if access.passthrough else (_LISTED_ALL, False)
    return [
        name
        for name, value in headers.items()
        if name not in known
        # a pseudo-header is no header; one of them is the path
        and ((token in value and name[0] != ":" and token != "") or (not passes and _sounds_secret(name)))
        and name != access.header
    ]


def query_to_remove(path: str, access: Access, token: str = "") -> list[str]:
    """Names, as they are written, of the query members of the agent that must not go on.

    Tokens never go on, whatever their name is. Envoy compares names as they are written, upstreams decode them.
    """
    query = path.partition("?")[2]
    if not query:
        return []
    names = dict.fromkeys(
        name
        for name, pair in ((pair.partition("=")[0], pair) for pair in query.split("&"))
        if name != access.query and any(_is_credential(part, access.passthrough, token) for part in pair.split(";"))
    )
    return [name for name in names if name]  # Envoy removes no member without a name, and none can be a key


def proxy_token(headers: Mapping[str, str]) -> str | None:
    """The token that an agent offers to a forward proxy in `proxy-authorization`; None if there is none.

    `HTTPS_PROXY=http://agent:TOKEN@host:port` is all that most programs let one say, and becomes Basic (RFC 7617).
    """
    scheme, _, rest = headers.get("proxy-authorization", "").strip(" \t").partition(" ")
    text = rest.strip(" \t")
    if scheme.lower() == "basic":
        try:
            text = b64decode(text, validate=True).decode("ascii").partition(":")[2]
        except ValueError:
            return None
    elif scheme.lower() != "bearer":
        return None
    return text if looks_like_token(text) else None


def websocket_protocols(headers: Mapping[str, str], access: Access, token: str = "") -> str | None:
    """What `sec-websocket-protocol` is to be, where the agent put a key into it as browsers must; None if it didn't.

    Source: https://platform.openai.com/docs/guides/realtime-websocket
    """
    value = headers.get("sec-websocket-protocol")
    if value is None:
        return None
    offered = [protocol.strip(" \t") for protocol in value.split(",")]
    kept, follows = [], False
    for name in offered:
        lower = name.lower()
        secret = looks_like_token(name) or (token != "" and token in name)
        if not access.passthrough:
            secret = secret or follows or any(mark in lower for mark in _KEY_IN_PROTOCOL)
            follows = lower in _KEY_FOLLOWS
            secret = secret or follows
        if not secret:
            kept.append(name)
    return None if kept == offered else ", ".join(kept)


def _sounds_secret(name: str) -> bool:
    return _sounds_secret_at_all(name) if len(name) > _COMMON_NAME else _sounds_secret_often(name)


def _sounds_secret_at_all(name: str) -> bool:
    return (
        name in _BARE
        or any(mark in name for mark in _MARKS)
        or (name.endswith(_ENDINGS) and not name.endswith(_FORGERY_TOKENS))
    )


_sounds_secret_often = lru_cache(maxsize=2048)(_sounds_secret_at_all)


def _is_credential(member: str, passthrough: bool, token: str) -> bool:
    text = unquote_plus(member)
    if token and token in text:
        return True
    name, _, value = member.partition("=")
    name = unquote_plus(name)
    if any(looks_like_token(word) for word in (name, *unquote_plus(value).split())):
        return True
    # some servers read `key[]=` as `key`, some end a name at a NUL, and no vendor minds case
    return not passthrough and name.partition("[")[0].partition("\0")[0].strip().casefold() in VENDOR_QUERY


def _is_ours(name: str, value: str) -> bool:
    """Whether a credential header is for us and not for the upstream."""
    return name in (KALGUARD_TOKEN, "proxy-authorization") or any(
        looks_like_token(word) for word in value.replace(",", " ").split()
    )


def _text(secret: bytes) -> str:
    data = secret.removesuffix(b"\n").removesuffix(b"\r")  # what editors and `echo` leave behind
    if not data:
        raise CredentialError("is empty")
    if len(data) > MAX_CREDENTIAL_BYTES:
        raise CredentialError(f"has more than {MAX_CREDENTIAL_BYTES} bytes")
    if any(not 0x20 <= byte <= 0x7E for byte in data):
        raise CredentialError("must be one line of printable ASCII")
    text = data.decode("ascii")
    if text != text.strip():
        raise CredentialError("begins or ends with a space")
    return text

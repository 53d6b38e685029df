"""Where a request goes: hosts, ports, addresses and paths in the one form that policy sees.

Rules of this file: policy decides about a path, so a path that two readers may understand differently is
refused: dot segments, encoded separators, double encoding, empty segments, control characters. A host has one
spelling: lower case, no trailing dot, no user, no zone, and a number is an address only in the form that every
resolver reads in the same way (127.1, 0x7f.1 and 2130706433 are refused). Sources: RFC 3986 sections 3.2.2, 5.2.4
and 6.2.2, RFC 6890 and the IANA special-purpose registries (as `ipaddress` knows them), RFC 6761, RFC 6762.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import unquote_to_bytes

from ..codes import ErrorCode
from ..request import Refusal

_HEX: Final = frozenset("0123456789abcdefABCDEF")
_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
_MAX_HOST: Final = 253
# What may be written plainly is judged plainly: %61 is a (RFC 3986 section 6.2.2.2).
_UNRESERVED: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~")
_SEPARATORS: Final = frozenset(b"/\\.%")

# Names that no public resolver answers, or that a cloud gives to its metadata service.
_METADATA_NAMES: Final = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.tencentyun.com",
        "api.metadata.cloud.ibm.com",
    }
)
_LOCAL_SUFFIXES: Final = (
    ".localhost",
    ".local",
    ".localdomain",
    ".internal",
    ".intranet",
    ".private",
    ".lan",
    ".home",
    ".corp",
    ".home.arpa",
    ".test",
    ".invalid",
    ".onion",
    ".svc",
)
# Addresses of metadata services that are not link-local: Alibaba's, Azure's wire server, Oracle's; over IPv6 those of
# AWS (and of its pods' credentials) and of Google.
METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    )
)
# An IPv4 address inside: NAT64 (RFC 6052, RFC 8215), deprecated IPv4-compatible addresses.
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def bad(reason: str) -> Refusal:
    """A BAD_REQUEST."""
    return Refusal(ErrorCode.BAD_REQUEST, reason)


def read_host(authority: str) -> tuple[str, str]:
    """Name (lower case) and port ("" without one) of a host. Raises `Refusal`."""
    host = authority.lower()
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        name += bracket
        valid = len(name) > 3 and set(name[1:-1]) <= _HEX | {":", "."} and bool(bracket)
        colon, port = rest[:1], rest[1:]
        if rest and colon != ":":
            valid = False
    else:
        name, colon, port = host.partition(":")
        # "example.com." is the same host as "example.com", but not the same text.
        valid = (
            0 < len(name) <= _MAX_HOST
            and _HOST.issuperset(name)
            and ".." not in name
            and name[0] != "."
            and name[-1] != "."
        )
    if colon and not (port.isascii() and port.isdigit() and len(port) <= 5 and port == str(int(port))):
        valid = False
    if not valid:
        raise bad("the host is missing or not valid")
    return name, port


def read_destination(authority: str) -> tuple[str, str, str]:
    """Name, port ("" without one) and class of a host that the agent itself chose.

    The class is that of `address_class`; an IPv6 address is written in its shortest form. Raises `Refusal` for
    a host that resolvers read differently, and for a port that is none.
    """
    name, port = read_host(authority)
    if port and not 0 < int(port) < 65536:
        raise bad("the port must be from 1 to 65535")
    address: Address | None = None
    try:
        if name.startswith("["):
            address = ipaddress.IPv6Address(name[1:-1])
            name = f"[{address.compressed}]"
        elif _looks_numeric(name):
            address = ipaddress.IPv4Address(name)
    except ValueError:
        raise bad("the host is an address in a form that not every resolver reads in the same way") from None
    return name, port, address_class(name, address)


def address_class(name: str, address: Address | None) -> str:
    """What kind of place a host is: `name` (of public DNS), `local` (a name of some private network), or for an
    address `public`, `private`, `loopback`, `link-local` or `reserved`. `metadata`: of a cloud's metadata service."""
    if address is None:
        if name in _METADATA_NAMES:
            return "metadata"
        if name == "localhost" or name.endswith(".localhost"):
            return "loopback"
        return "local" if "." not in name or name.endswith(_LOCAL_SUFFIXES) else "name"
    inner = _inner(address)
    if inner in METADATA or address in METADATA or str(inner) == "169.254.169.254":
        return "metadata"
    if inner.is_loopback:
        return "loopback"
    if inner.is_link_local:
        return "link-local"
    if inner.is_multicast or inner.is_unspecified or inner.is_reserved:
        return "reserved"
    return "public" if inner.is_global else "private"


def _looks_numeric(name: str) -> bool:
    """Whether some resolver takes the name for an address (inet_aton: decimal, octal, hexadecimal, short forms)."""
    last = name.rpartition(".")[2]
    return last.isdigit() or (last.startswith("0x") and _HEX.issuperset(last[2:]))


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def read_path(path: str) -> str:
    """The path as policy sees it: characters that need no escape are not escaped. Raises `Refusal`."""
    if not path.startswith("/"):
        raise bad("the path must start with /")
    if not (path.isascii() and path.isprintable()) or " " in path:
        raise bad("the path has characters that must be percent-encoded")
    if "\\" in path or "#" in path:
        raise bad("the path has a backslash or a fragment")
    if "//" in path:
        raise bad("the path has an empty segment")
    if "%" in path:
        path = _decoded(path)
    if "/." in path:
        for segment in path.split("/"):
            # Some servers cut path parameters first: "/..;x=1/" is "/../" to them.
            if segment.partition(";")[0] in (".", ".."):
                raise bad("the path has a dot segment")
    return path


def _decoded(path: str) -> str:
    first, *rest = path.split("%")
    pieces = [first]
    for piece in rest:
        digits = piece[:2]
        if len(digits) != 2 or not _HEX.issuperset(digits):
            raise bad("the path has a % that starts no escape")
        byte = int(digits, 16)
        if byte in _UNRESERVED:
            pieces.append(chr(byte) + piece[2:])
            continue
        if byte in _SEPARATORS or byte < 0x20 or byte == 0x7F:
            raise bad(f"the path has %{digits.upper()}, which not every server reads in the same way")
        pieces.append(f"%{digits.upper()}{piece[2:]}")
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise bad("the path has escapes that are not UTF-8") from None
    return "".join(pieces)

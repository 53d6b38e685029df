"""Which agent an mTLS principal (SPIFFE ID) speaks for, in meshes where workloads carry no token.

Rules of this file: a principal named in full is looked up first; else the first pattern in the document that covers it.
A pattern ends with `/*`, which stands for one or more whole path segments; the trust domain is always spelled out.
An entry that can never match is an error: it means somebody believes something that is not so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from pydantic import Field

from ..documents import Document, StrictModel, load
from .claims import KNOWN_CAPABILITIES, is_name
from .identity import Identity

MAX_PRINCIPAL: Final = 2048  # SPIFFE-ID, 2.3

_NOTHING: Final[Mapping[str, Identity]] = MappingProxyType({})
_NO_PATTERNS: Final[Mapping[str, tuple[int, Identity]]] = MappingProxyType({})


class _Entry(StrictModel):
    principal: str
    agent_id: str = Field(alias="agentId")
    capabilities: list[str]
    metadata: dict[str, Any] = Field(default_factory=dict)


class _PrincipalDocument(StrictModel):
    principals: list[_Entry]


@dataclass(frozen=True, slots=True)
class PrincipalMap:
    """`exact`: principal -> identity. `patterns`: prefix that ends with "/" -> (place in the document, identity)."""

    exact: Mapping[str, Identity] = field(default_factory=lambda: _NOTHING)
    patterns: Mapping[str, tuple[int, Identity]] = field(default_factory=lambda: _NO_PATTERNS)

    @classmethod
    def none(cls) -> PrincipalMap:
        """No principal speaks for an agent."""
        return cls()

    @classmethod
    def parse(cls, text: str, source: str) -> PrincipalMap:
        """Read a principal document. Raises `DocumentError`."""
        model, document = load(_PrincipalDocument, text, source)
        exact: dict[str, Identity] = {}
        patterns: dict[str, tuple[int, Identity]] = {}
        for index, entry in enumerate(model.principals):
            place = ("principals", index, "principal")
            identity = _identity(entry, document, index)
            if entry.principal.endswith("/*"):
                prefix = entry.principal[:-1]
                _require_prefix(prefix, document, place)
                covering = [earlier for earlier in _prefixes(prefix) if earlier in patterns]
                if covering:
                    first = patterns[covering[0]][0]
                    raise document.error(place, f"never matches: principals[{first}] covers it already")
                patterns[prefix] = (index, identity)
            else:
                _require_principal(entry.principal, document, place)
                if entry.principal in exact:
                    raise document.error(place, "the principal appears twice")
                exact[entry.principal] = identity
        return cls(exact, patterns)

    def identity(self, principal: str) -> Identity | None:
        """The agent that `principal` speaks for; None if the document says nothing about it."""
        if not principal:
            return None
        found = self.exact.get(principal)
        if found is not None or not self.patterns or not _is_plain(principal):
            return found
        matches = [self.patterns[prefix] for prefix in _prefixes(principal) if prefix in self.patterns]
        if not matches:
            return None
        return replace(min(matches, key=lambda match: match[0])[1], principal=principal)


def _prefixes(principal: str) -> list[str]:
    """All beginnings of `principal` that end with a slash and are shorter than it or equal to it."""
    return [principal[: index + 1] for index, character in enumerate(principal) if character == "/"]


def _is_plain(principal: str) -> bool:
    """Whether a pattern may cover `principal`: whole, literal path segments only.

    SPIFFE allows neither empty nor dot segments nor percent-encoding; a principal that has them could mean another one
    to the next reader.
    """
    if len(principal) > MAX_PRINCIPAL or not is_name(principal, MAX_PRINCIPAL):
        return False
    if not {" ", "%", "?", "#", "\\", "*", ","}.isdisjoint(principal):
        return False
    scheme, separator, rest = principal.partition("://")
    segments = rest.split("/") if separator else scheme.split("/")
    return all(segment not in ("", ".", "..") for segment in segments)


def _identity(entry: _Entry, document: Document, index: int) -> Identity:
    if not is_name(entry.agent_id):
        raise document.error(("principals", index, "agentId"), "must be 1 to 256 printable characters")
    for position, capability in enumerate(entry.capabilities):
        if capability not in KNOWN_CAPABILITIES:
            raise document.error(
                ("principals", index, "capabilities", position),
                f"unknown capability {capability!r}; known are {', '.join(KNOWN_CAPABILITIES)}",
            )
    return Identity(
        agent_id=entry.agent_id,
        capabilities=frozenset(entry.capabilities),
        metadata=MappingProxyType(entry.metadata),
        source="principal",
        principal=entry.principal,
    )


def _require_principal(principal: str, document: Document, place: tuple[str | int, ...]) -> None:
    if "*" in principal:
        raise document.error(place, "* may stand only for the last path segments, as in spiffe://domain/ns/x/*")
    if not is_name(principal, MAX_PRINCIPAL):
        raise document.error(place, f"must be 1 to {MAX_PRINCIPAL} printable characters")


def _require_prefix(prefix: str, document: Document, place: tuple[str | int, ...]) -> None:
    _require_principal(prefix, document, place)
    scheme, separator, _ = prefix.partition("://")
    if not separator or not scheme or not _is_plain(prefix.removesuffix("/")):
        raise document.error(place, "a pattern needs a scheme and a trust domain, as in spiffe://domain/ns/x/*")

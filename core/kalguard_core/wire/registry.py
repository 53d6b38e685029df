"""The wire protocols that the gate understands, by the kind that a route names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .anthropic import Anthropic
from .api import Api
from .base import WireProtocol
from .http import Http
from .mcp import Mcp
from .openai import OpenAI

_ALL: Final[tuple[WireProtocol, ...]] = (
    OpenAI(),
    Anthropic(),
    Mcp(),
    Http(),
    Api(),
)

PROTOCOLS: Final[Mapping[str, WireProtocol]] = MappingProxyType({protocol.kind: protocol for protocol in _ALL})

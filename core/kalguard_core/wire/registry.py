"""The wire protocols that the gate understands, by the kind that a route names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .a2a import A2a
from .anthropic import Anthropic
from .api import Api
from .base import WireProtocol
from .bedrock import Bedrock
from .cohere import Cohere
from .grpc import Grpc
from .http import Http
from .mcp import Mcp
from .openai import OpenAI
from .proxy import Proxy
from .rest import Rest

_ALL: Final[tuple[WireProtocol, ...]] = (
    OpenAI(),
    Anthropic(),
    Bedrock(),
    Cohere(),
    Mcp(),
    A2a(),
    Grpc(),
    Rest(),
    Http(),
    Proxy(),
    Api(),
)

PROTOCOLS: Final[Mapping[str, WireProtocol]] = MappingProxyType({protocol.kind: protocol for protocol in _ALL})

"""The wire protocols that the gate understands, by the kind that a route names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .a2a import A2a
from .anthropic import Anthropic
from .api import Api
from .azure import Azure
from .base import WireProtocol
from .bedrock import Bedrock
from .cohere import Cohere
from .compatible import Compatible
from .gemini import Gemini
from .grpc import Grpc
from .http import Http
from .mcp import Mcp
from .mistral import Mistral
from .ollama import Ollama
from .openai import OpenAI
from .proxy import Proxy
from .rest import Rest
from .vertex import Vertex

_ALL: Final[tuple[WireProtocol, ...]] = (
    OpenAI(),
    Azure(),
    Mistral(),
    Compatible(),
    Anthropic(),
    Gemini(),
    Vertex(),
    Bedrock(),
    Cohere(),
    Ollama(),
    Mcp(),
    A2a(),
    Grpc(),
    Rest(),
    Http(),
    Proxy(),
    Api(),
)

PROTOCOLS: Final[Mapping[str, WireProtocol]] = MappingProxyType({protocol.kind: protocol for protocol in _ALL})

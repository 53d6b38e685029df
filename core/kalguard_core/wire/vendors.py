"""The request bodies that `/v1/llm/check` takes with a `provider`: each vendor's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ..action import Action
from .anthropic import read_message as read_anthropic
from .azure import read_chat_body as read_azure
from .bedrock import read_bedrock
from .cohere import read_cohere
from .compatible import read_chat_body as read_compatible
from .gemini import check_body as read_gemini
from .mistral import read_chat_body as read_mistral
from .ollama import read_chat as read_ollama
from .openai import read_chat_body as read_openai
from .openai import read_responses_body as read_openai_responses
from .vertex import check_body as read_vertex

BodyReader = Callable[[dict[str, Any]], tuple[Action, ...]]
"""A vendor's main request body in, actions out. Raises `prompt.BodyError`."""

VENDORS: Final[Mapping[str, BodyReader]] = MappingProxyType(
    {
        "openai": read_openai,
        "openai-responses": read_openai_responses,
        "azure": read_azure,
        "mistral": read_mistral,
        "compatible": read_compatible,
        "anthropic": read_anthropic,
        "bedrock": read_bedrock,
        "cohere": read_cohere,
        "gemini": read_gemini,
        "vertex": read_vertex,
        "ollama": read_ollama,
    }
)

"""The request bodies that `/v1/llm/check` takes with a `provider`: each vendor's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ..action import Action
from .anthropic import read_message as read_anthropic
from .bedrock import read_bedrock
from .cohere import read_cohere

BodyReader = Callable[[dict[str, Any]], tuple[Action, ...]]
"""A vendor's main request body in, actions out. Raises `prompt.BodyError`."""

VENDORS: Final[Mapping[str, BodyReader]] = MappingProxyType(
    {
        "anthropic": read_anthropic,
        "bedrock": read_bedrock,
        "cohere": read_cohere,
    }
)

"""Every match key, in the order in which they are looked up: what cuts most, first."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .actions import ACTIONS
from .agents import AGENT_IDS
from .attributes import ATTRIBUTES
from .base import MatchKey
from .metadata import METADATA
from .resources import RESOURCES
from .tools import TOOLS

_KEYS: Final[tuple[MatchKey, ...]] = (
    AGENT_IDS,
    ACTIONS,
    TOOLS,
    RESOURCES,
    ATTRIBUTES,
    METADATA,
)

MATCH_KEYS: Final[Mapping[str, MatchKey]] = MappingProxyType({key.name: key for key in _KEYS})

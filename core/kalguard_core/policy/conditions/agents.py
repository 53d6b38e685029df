"""Which agents a rule is about."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from .base import TextKey

AGENT_IDS: Final = TextKey("agentIds", attrgetter("agent_id"))

"""Which actions a rule is about: `prompt:check`, `tool:execute`, `mcp:*`, …"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from .base import TextKey

ACTIONS: Final = TextKey("actions", attrgetter("action"))

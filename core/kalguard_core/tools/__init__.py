"""Tools: the catalog that judges a call, and the in-process store of its limits."""

from __future__ import annotations

from .catalog import ToolCatalog, ToolRefusal
from .limits import SlidingWindowStore

__all__ = ["SlidingWindowStore", "ToolCatalog", "ToolRefusal"]

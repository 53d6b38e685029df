"""Who asks, and whether that may be believed."""

from __future__ import annotations

from .identity import Identity

__all__ = ["Identity"]

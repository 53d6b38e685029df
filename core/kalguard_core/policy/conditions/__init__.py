"""The keys of a rule's `match`."""

from .base import Condition, KeyIndex, MatchKey
from .registry import MATCH_KEYS

__all__ = ["MATCH_KEYS", "Condition", "KeyIndex", "MatchKey"]

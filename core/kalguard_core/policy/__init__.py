"""Policy: rules in an operator's document, asked about one action at a time."""

from .policy import Policy
from .query import NO_POLICY_MATCH, Match, OnUnrewritable, PolicyQuery
from .rule import Rule

__all__ = ["NO_POLICY_MATCH", "Match", "OnUnrewritable", "Policy", "PolicyQuery", "Rule"]

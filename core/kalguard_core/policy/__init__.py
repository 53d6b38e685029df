"""Policy: rules in an operator's document, asked about one action at a time."""

from .explain import Explanation, Miss, Trial, explain
from .lint import PolicyWarning, warnings
from .policy import Policy
from .query import NO_POLICY_MATCH, Match, OnUnrewritable, PolicyQuery, Risk
from .rule import Rule

__all__ = [
    "NO_POLICY_MATCH",
    "Explanation",
    "Match",
    "Miss",
    "OnUnrewritable",
    "Policy",
    "PolicyQuery",
    "PolicyWarning",
    "Risk",
    "Rule",
    "Trial",
    "explain",
    "warnings",
]

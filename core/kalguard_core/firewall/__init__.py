"""The prompt firewall: its interface, and the rule pack that stands behind it now."""

from .base import Assessment, PromptFirewall, Span, risk_level
from .rulepack import RulePackFirewall

__all__ = ["Assessment", "PromptFirewall", "RulePackFirewall", "Span", "risk_level"]

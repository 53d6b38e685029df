"""The prompt firewall: its interface, and what finds attacks behind it."""

from .base import Assessment, PromptFirewall, Span, risk_level
from .detector import Detector
from .detectors import default_firewall

__all__ = ["Assessment", "Detector", "PromptFirewall", "Span", "default_firewall", "risk_level"]

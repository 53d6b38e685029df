"""Secrets and personal data in messages: found, recorded, replaced or refused."""

from .base import Allow, Detector, Finding, Mode, SensitivePolicy, Verdict
from .data import SensitiveData, compile_sieve, sieve_key
from .registry import DETECTORS

__all__ = [
    "DETECTORS",
    "Allow",
    "Detector",
    "Finding",
    "Mode",
    "SensitiveData",
    "SensitivePolicy",
    "Verdict",
    "compile_sieve",
    "sieve_key",
]

"""The audit log as values: events, the hash chain, signed checkpoints, digests, and verification."""

from __future__ import annotations

from .chain import GENESIS, Chain, LineError, read_line
from .checkpoint import key_id, read_checkpoint, sign_checkpoint
from .digest import DigestKey, DigestKeys
from .event import events_of
from .verify import Report, verify_log

__all__ = [
    "GENESIS",
    "Chain",
    "DigestKey",
    "DigestKeys",
    "LineError",
    "Report",
    "events_of",
    "key_id",
    "read_checkpoint",
    "read_line",
    "sign_checkpoint",
    "verify_log",
]

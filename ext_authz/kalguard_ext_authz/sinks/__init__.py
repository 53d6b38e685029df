"""Where audit lines go."""

from __future__ import annotations

from .base import Sink, SinkError, SinkHealth
from .file import FileSink
from .memory import MemorySink
from .registry import SINKS, SinkOptions, make_sink, open_sink
from .stdout import StdoutSink

__all__ = [
    "SINKS",
    "FileSink",
    "MemorySink",
    "Sink",
    "SinkError",
    "SinkHealth",
    "SinkOptions",
    "StdoutSink",
    "make_sink",
    "open_sink",
]

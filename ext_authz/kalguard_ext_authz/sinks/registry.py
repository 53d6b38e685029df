"""Which sinks there are. A new sink is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from kalguard_ext_authz.settings import Settings

from .base import Fsync, Sink, SinkError
from .file import DEFAULT_ROTATE_BYTES, FileSink
from .memory import DEFAULT_EVENTS, MemorySink
from .stdout import StdoutSink


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """What an operator can set about a sink. `rotate_bytes` and `keep_files` 0: never rotate, keep all."""

    path: Path | None = None
    fsync: Fsync = "interval"
    rotate_bytes: int = DEFAULT_ROTATE_BYTES
    keep_files: int = 0
    memory_events: int = DEFAULT_EVENTS


def _file(options: SinkOptions) -> Sink:
    if options.path is None:
        raise SinkError("the file sink needs a path (KALGUARD_AUDIT_LOG_PATH)")
    return FileSink(options.path, fsync=options.fsync, rotate_bytes=options.rotate_bytes, keep_files=options.keep_files)


SINKS: Final[Mapping[str, Callable[[SinkOptions], Sink]]] = MappingProxyType(
    {
        "file": _file,
        "memory": lambda options: MemorySink(options.memory_events),
        "stdout": lambda _: StdoutSink(),
    }
)


def make_sink(name: str, options: SinkOptions) -> Sink:
    """The sink called `name`, not yet opened. Raises `SinkError` for an unknown name or a missing option."""
    if name not in SINKS:
        raise SinkError(f"unknown audit sink {name!r}; known: {', '.join(SINKS)}")
    return SINKS[name](options)


def open_sink(settings: Settings) -> Sink:
    """The sink that the settings ask for, not yet opened. Raises `SinkError` if they name none."""
    name = settings.audit_sink
    if name == "auto":
        name = "memory" if settings.audit_log_path is None else "file"
    options = SinkOptions(
        path=settings.audit_log_path,
        fsync=settings.audit_fsync,
        rotate_bytes=settings.audit_rotate_bytes,
        keep_files=settings.audit_keep_files,
        memory_events=settings.audit_memory_events,
    )
    return make_sink(name, options)

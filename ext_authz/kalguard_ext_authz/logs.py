"""One log stream: structlog to stderr, JSON for programs, colours for people; secrets never get that far.

Rules of this file: logs go to stderr only (stdout may be an audit sink); every event passes the redaction,
also those of uvicorn, grpc and other users of the standard library's logging.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal

import orjson
import structlog

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]

REDACTED: Final = "[redacted]"
_MAX_DEPTH: Final = 8
_SECRET_WORDS: Final = (
    "token",
    "secret",
    "password",
    "passwd",
    "authorization",
    "api_key",
    "apikey",
    "api-key",
    "cookie",
    "credential",
    "private_key",
    "privatekey",
    "private-key",
)
# keys that hold a secret word but never a secret; a path is what an operator needs to see
_HARMLESS_ENDINGS: Final = (
    "_path",
    "_file",
    "_count",
    "_id",
    "_leeway",
    "_ttl",
    "_tokens",
    "_type",
    "_set",
    "_version",
)


def configure(level: LogLevel = "info", format: LogFormat = "auto") -> None:  # noqa: A002 - the setting's name
    """Send all logs of this process to stderr. `auto`: console on a terminal, else JSON.

    May be called again; the last call counts. Raises `ValueError` for an unknown level or format.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level {level!r}; use debug, info, warning, error or critical")
    if format not in ("auto", "json", "console"):
        raise ValueError(f"unknown log format {format!r}; use auto, json or console")
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        last += [
            structlog.processors.format_exc_info,
            redact_event,
            structlog.processors.JSONRenderer(_dumps),
        ]
    else:
        last += [
            structlog.processors.format_exc_info,
            redact_event,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "grpc", "grpc._cython.cygrpc"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # libraries that narrate at info: their warnings are worth a line, their progress is not
    for name in ("uvicorn.error", "asyncio", "watchfiles.main"):
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: hides secrets in every value of the event."""
    for key, value in event.items():
        event[key] = _shown(key, value, 0)
    return event


def redact(value: Any, depth: int = 0) -> Any:
    """`value` with secrets hidden: values under secret-looking keys, and JWTs and bearer tokens in any text."""
    if isinstance(value, str):
        return _redact_text(value)
    if isinstance(value, bytes | bytearray):
        return _redact_text(bytes(value).decode("utf-8", "replace"))
    if depth >= _MAX_DEPTH:
        return REDACTED if isinstance(value, Mapping | list | tuple) else value
    if isinstance(value, Mapping):
        return {str(key): _shown(key, item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    return value


def _shown(key: object, value: Any, depth: int) -> Any:
    # whether a secret is set, and that it is not, may be shown
    if value is None or value == "" or isinstance(value, bool):
        return value
    return REDACTED if isinstance(key, str) and _is_secret(key) else redact(value, depth)


def _is_secret(key: str) -> bool:
    lowered = key.lower()
    if lowered.endswith(_HARMLESS_ENDINGS):
        return False
    return any(word in lowered for word in _SECRET_WORDS)


def _redact_text(text: str) -> str:
    if "eyJ" not in text and "bearer" not in text.lower():
        return text
    words = text.split(" ")
    hidden = False
    for place, word in enumerate(words):
        if hidden or _holds_jwt(word):
            words[place] = REDACTED if word else word
        hidden = word.lower().endswith("bearer") or (hidden and not word)
    return " ".join(words)


def _holds_jwt(word: str) -> bool:
    start = word.find("eyJ")
    return start >= 0 and word.count(".", start) >= 2


def _dumps(value: Any, **_: Any) -> str:
    try:
        return orjson.dumps(value, default=repr).decode()
    except TypeError:  # lone surrogates or huge integers: a log line must never be lost to what it says
        return json.dumps(value, default=repr)

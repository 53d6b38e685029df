"""Logs go to stderr, and no secret goes with them."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from kalguard_ext_authz.logs import REDACTED, configure, redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def lines(monkeypatch: pytest.MonkeyPatch, **options: Any) -> io.StringIO:
    """What is logged after `configure(**options)`."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure(**options)
    return stream


def test_logs_are_json_when_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines(monkeypatch)
    structlog.get_logger("kalguard.test").info("started", port=9292)
    entry = json.loads(stream.getvalue())
    assert entry["event"] == "started"
    assert entry["port"] == 9292
    assert entry["level"] == "info"
    assert entry["logger"] == "kalguard.test"
    assert entry["timestamp"].endswith("Z")


def test_console_is_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines(monkeypatch, format="console")
    structlog.get_logger("x").warning("policy_changed", version="v2", api_key="hunter2")
    assert "policy_changed" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_the_level_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines(monkeypatch, level="warning")
    structlog.get_logger("x").info("quiet")
    logging.getLogger("y").info("quiet")
    structlog.get_logger("x").warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize("name", ["uvicorn.error", "uvicorn.access", "grpc._cython.cygrpc", "any.library"])
def test_libraries_log_into_the_same_stream(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    stream = lines(monkeypatch)
    logging.getLogger(name).error("went wrong with Bearer %s", JWT)
    entry = json.loads(stream.getvalue())
    assert entry["logger"] == name
    assert JWT not in entry["event"]


def test_an_exception_is_logged_without_the_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines(monkeypatch)
    try:
        raise RuntimeError(f"bad token {JWT}")
    except RuntimeError:
        structlog.get_logger("x").exception("failed")
    entry = json.loads(stream.getvalue())
    assert "RuntimeError" in entry["exception"]
    assert JWT not in stream.getvalue()


def test_anything_can_be_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines(monkeypatch)
    structlog.get_logger("x").info("odd", value=object(), lone="\udcff", many={1: b"\xff"}, nan=float("nan"))
    assert json.loads(stream.getvalue())["event"] == "odd"


@pytest.mark.parametrize(
    "key",
    [
        "token",
        "token_secret",
        "Authorization",
        "x-api-key",
        "apiKey",
        "password",
        "cookie",
        "private_key",
        "client_secret",
    ],
)
def test_values_under_secret_names_are_hidden_at_any_depth(key: str) -> None:
    assert redact({"a": [{key: "hunter2"}]}) == {"a": [{key: REDACTED}]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token_path", "/etc/kalguard/token"),
        ("secret_file", "/run/secrets/x"),
        ("allow_unsigned_tokens", True),
        ("token", None),
        ("token", ""),
        ("port", 9292),
        ("agent", "agent-1"),
    ],
)
def test_what_is_no_secret_is_shown(key: str, value: object) -> None:
    assert redact({key: value}) == {key: value}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token {JWT} refused", f"token {REDACTED} refused"),
        (f"Authorization: Bearer {JWT}", f"Authorization: Bearer {REDACTED}"),
        ("authorization: bearer opaque-secret", f"authorization: bearer {REDACTED}"),
        ("BEARER  opaque-secret x", f"BEARER  {REDACTED} x"),
        (f"GET /?key={JWT}", f"GET {REDACTED}"),
        ("the bearer", "the bearer"),
        ("eyJ is no token", "eyJ is no token"),
        ("nothing here", "nothing here"),
    ],
)
def test_tokens_inside_text_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(text.encode()) == shown


def test_values_nested_too_deeply_are_hidden_rather_than_followed() -> None:
    deep: Any = "hunter2"
    for _ in range(50):
        deep = {"a": deep}
    assert "hunter2" not in str(redact(deep))


@pytest.mark.parametrize("options", [{"level": "loud"}, {"format": "xml"}])
def test_an_unknown_level_or_format_is_an_error_that_lists_the_known_ones(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unknown log .* use "):
        configure(**options)

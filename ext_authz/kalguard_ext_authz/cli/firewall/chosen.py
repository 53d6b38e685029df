"""Which firewall the commands use, and how they say where things are wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click
import orjson

from kalguard_core.action import Message
from kalguard_core.firewall.evaluation import ROLES

if TYPE_CHECKING:
    from kalguard_core.firewall import PromptFirewall
    from kalguard_core.firewall.detectors import Compiler
    from kalguard_core.firewall.engine import Engine

Maker = Callable[[], "PromptFirewall"]
"""Makes a firewall; can be sent to another process, which a firewall need not be."""

F = TypeVar("F", bound=Callable[..., Any])


class BadInput(ValueError):
    """A line that can't be scored; the message says why."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which risk (1-100) on a prompt is sanitized, and blocked."""

    sanitize: int = 50
    block: int = 70


def default_firewall() -> PromptFirewall:
    """The firewall of a server without a firewall document."""
    from kalguard_core.firewall.detectors import Detectors
    from kalguard_core.firewall.profile import DetectorOptions

    return Detectors((), compiler()).make(DetectorOptions())


def compiler() -> Compiler:
    """What compiles the rules: it keeps them for the next command, as a server does for its next start."""
    from kalguard_core.firewall.detectors import Here

    from ...cache_dir import users_cache_dir
    from ...firewall_cache import Cached

    folder = users_cache_dir(os.environ)
    return Here() if folder is None else Cached(folder)


def firewall_options(command: F) -> F:
    """Adds `--firewall` and `--profile` to a command, passed to it as `document` and `profile`."""
    for option in (
        click.option("--profile", metavar="NAME", help="A profile: strict, standard, relaxed, or one of --firewall."),
        click.option(
            "--firewall",
            "document",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="Firewall document (YAML), with its rule packs. Default: what is built in.",
        ),
    ):
        command = option(command)
    return command


def maker_of(document: Path | None, profile: str | None) -> tuple[Maker, Thresholds]:
    """What makes the firewall that was asked for, and its thresholds. Raises `click.UsageError` if there is none."""
    if document is None and profile is None:
        return default_firewall, Thresholds()
    found = _profiled(document, profile)
    return partial(_profiled, document, profile), Thresholds(found.profile.sanitize, found.profile.block)


def engine_of(document: Path | None) -> Engine:
    """The compiled rules: those built in, and those of a document's packs. Raises `click.UsageError`."""
    if document is None:
        return compiler().engine(())
    from kalguard_core.documents import DocumentError
    from kalguard_core.firewall.pack import PackError

    try:
        return compiler().engine(_packs(document, _text(document)))
    except (DocumentError, PackError) as error:
        raise click.UsageError(str(error)) from None


def _profiled(document: Path | None, profile: str | None) -> Any:
    from kalguard_core.documents import DocumentError
    from kalguard_core.firewall.document import Firewalls

    try:
        if document is None:
            firewalls = Firewalls.built_in(compiler=compiler())
        else:
            text = _text(document)
            firewalls = Firewalls.parse(text, str(document), _packs(document, text), compiler=compiler())
    except DocumentError as error:
        raise click.UsageError(str(error)) from None
    found = firewalls.default if profile is None else firewalls.get(profile)
    if found is None:
        raise click.UsageError(f"no profile {profile!r}: use one of {', '.join(firewalls.names)}")
    return found


def _packs(document: Path, text: str) -> tuple[tuple[str, str], ...]:
    """The rule packs that a document names. Raises `DocumentError` and `click.UsageError`."""
    from kalguard_core.firewall.document import pack_paths

    return tuple((path, _text(document.parent / path, of=document)) for path in pack_paths(text, str(document)))


def _text(path: Path, of: Path | None = None) -> str:
    """A document; `of`: the one that names it as a rule pack. Raises `click.UsageError`."""
    named = f"{path}" if of is None else f"{of}: packs: {path}"
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{named}: not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise click.UsageError(f"{named}: cannot be read: {error.strerror}") from None


def say_what_is_read(stream: BinaryIO, what: str) -> None:
    """On a terminal: a command that waits for somebody to type looks as if it hung."""
    if stream.isatty():
        click.echo(f"kalguard: reading {what} from the terminal; Ctrl-D ends it", err=True)


def read_messages(line: bytes) -> tuple[Message, ...]:
    """The messages of a line: `{"text", "role"?}` or `{"messages": [{"role"?, "text" or "content"}, …]}`.

    Content may be a list of parts, as model APIs take it; each text is a message then. Raises `BadInput`.
    """
    if not line.strip():
        raise BadInput("not JSON: nothing is there")
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode()
        except UnicodeDecodeError as bad:
            raise BadInput(f"not UTF-8 (byte {bad.start} of the line)") from None
        # the line that it counts is one of this JSON, not of the file
        raise BadInput(f"not JSON: {error.msg} (character {error.pos + 1})") from None
    if not isinstance(found, dict):
        raise BadInput('expected a JSON object, {"text": …} or {"messages": […]}')
    if ("text" in found) == ("messages" in found):
        raise BadInput("expected either 'text' or 'messages'")
    if "text" in found:
        return (_message(found, "text", ""),)
    messages = found["messages"]
    if not isinstance(messages, list):
        raise BadInput("'messages' must be a list")
    return tuple(message for index, entry in enumerate(messages) for message in _messages(entry, f"messages[{index}]"))


def _messages(entry: Any, place: str) -> Sequence[Message]:
    if not isinstance(entry, dict):
        raise BadInput(f"{place} must be an object")
    if "text" in entry:
        return (_message(entry, "text", f"{place}."),)
    if not isinstance(entry.get("content"), list):
        return (_message(entry, "content", f"{place}."),)
    role = _role(entry, f"{place}.")
    texts = []
    for index, part in enumerate(entry["content"]):
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise BadInput(f"{place}.content[{index}] has no text: only text can be scored")
        texts.append(Message(role, text))
    return texts


def _message(entry: dict[str, Any], name: str, place: str) -> Message:
    if not isinstance(entry.get(name), str):
        raise BadInput(f"{place}{name} must be a string")
    return Message(_role(entry, place), entry[name])


def _role(entry: dict[str, Any], place: str) -> str:
    role = entry.get("role", "user")
    if role not in ROLES:
        raise BadInput(f"{place}role must be one of {', '.join(ROLES)}")
    assert isinstance(role, str)
    return role

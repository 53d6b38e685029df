"""Operator documents (policy, tool catalog, revocations, principals): YAML or JSON, every error with its place.

Rules of this file: a document is read strictly or not at all. Duplicate keys, unknown keys, wrong types and
words that YAML readers disagree about are errors that name source, line and field. YAML is a superset of JSON
here, so one reader serves both. Tags and merge keys are refused; aliases count as what they stand for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .yaml_scalars import plain

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML without libyaml: slower, same result
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

Path = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_CHARACTERS: Final = 16 * 1024 * 1024
MAX_VALUES: Final = 1_000_000
"""Values in one document, aliases counted as what they stand for (the "billion laughs" bound)."""
MAX_DEPTH: Final = 64

# A character beyond U+FFFF as JSON escapes it; libyaml refuses this form, Python's json.dumps writes it.
_SURROGATE_PAIR: Final = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
# All but the "printable" characters of the YAML specification: control characters and lone surrogates. Also the
# line breaks that only YAML 1.1 knows (U+0085, U+2028, U+2029): inside quotes it would fold them to a space.
_UNREADABLE: Final = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_EXPECTED: Final = "Input should be "
_PROBLEMS: Final = {
    "extra_forbidden": "unknown key (misspelled? it would be ignored, so it is refused)",
    "missing": "required key is missing",
}
_MAPPINGS: Final = frozenset({"model_type", "dict_type", "mapping_type"})


class StrictModel(BaseModel):
    """Base of all document models: unknown keys are errors, types are not coerced, values are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class DocumentError(Exception):
    """An operator document that cannot be used. `str()` is one line: `file:line: field: problem`."""

    def __init__(self, source: str, line: int, field: str, problem: str) -> None:
        super().__init__(f"{source}:{line}: {field}: {problem}" if field else f"{source}:{line}: {problem}")
        self.source = source
        self.line = line
        self.field = field
        self.problem = problem


class Document:
    """A parsed document and the line of each of its values.

    `value` is plain data. `line(path)` is the 1-based line of the value at `path`, or of its nearest
    parent that exists (an error about a missing field points at the mapping that misses it; what is inside
    an alias is at the line of the alias). Raises `DocumentError`.
    """

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        reader = _Reader(text.removeprefix("\ufeff"), source)
        self.value: Any = reader.read()
        self._lines = reader.lines

    def line(self, path: Sequence[str | int]) -> int:
        """1-based line of the value at `path` or of its nearest existing parent."""
        place = tuple(path)
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 1)

    def error(self, path: Sequence[str | int], problem: str) -> DocumentError:
        """A `DocumentError` that points at `path`."""
        return DocumentError(self.source, self.line(path), field_name(path), problem)

    def parse(self, model: type[ModelT]) -> ModelT:
        """The document as `model`. Raises `DocumentError` for the first thing that is wrong."""
        if not isinstance(self.value, dict):
            raise self.error((), f"must be a mapping, found {kind_of(self.value)}")
        try:
            return model.model_validate(self.value)
        except ValidationError as error:
            raise self._first_problem(error) from None

    def _first_problem(self, error: ValidationError) -> DocumentError:
        """The problem that comes first in the document; the branches of a union are one problem."""
        problems: dict[Path, list[str]] = {}
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            place = self._place(detail["loc"], missing=detail["type"] == "missing")
            texts = problems.setdefault(place, [])
            text = _PROBLEMS.get(detail["type"], detail["msg"].removeprefix("Value error, "))
            if detail["type"] in _MAPPINGS:  # pydantic's words for it are Python's
                text = f"{_EXPECTED}a mapping"
            if text not in texts:
                texts.append(text)
        # Of the branches of a union, the one that got furthest into the value says best what is wrong.
        deepest = [p for p in problems if not any(q[: len(p)] == p and q != p for q in problems)]
        # A misspelled key is also a missing one; the misspelling is what the operator has to see.
        unknown = [p for p in deepest if _PROBLEMS["extra_forbidden"] in problems[p]]
        place = min(unknown or deepest, key=self.line)
        texts = problems[place]
        if not all(text.startswith(_EXPECTED) for text in texts):
            return self.error(place, next(text for text in texts if not text.startswith(_EXPECTED)))
        expected = " or ".join(text.removeprefix(_EXPECTED) for text in texts)
        return self.error(place, f"must be {expected}, found {kind_of(self._at(place))}")

    def _place(self, loc: Sequence[str | int], *, missing: bool) -> Path:
        """A pydantic location without the names of union branches and validators that it puts in between."""
        place: list[str | int] = []
        here: Any = self.value
        for part in loc:
            in_list = isinstance(here, list) and isinstance(part, int) and part < len(here)
            if in_list or (isinstance(here, dict) and part in here):
                place.append(part)
                here = here[part]
        if missing:
            place.append(loc[-1])
        return tuple(place)

    def _at(self, place: Path) -> Any:
        here: Any = self.value
        for part in place:
            here = here[part]
        return here


@dataclass(frozen=True, slots=True)
class Place:
    """A value inside a document, for readers that check it by hand."""

    document: Document
    path: Path

    def at(self, *parts: str | int) -> Place:
        """The place of a value inside this one."""
        return Place(self.document, (*self.path, *parts))

    @property
    def line(self) -> int:
        """1-based line of the value."""
        return self.document.line(self.path)

    def error(self, problem: str) -> DocumentError:
        """A `DocumentError` that points here."""
        return self.document.error(self.path, problem)


class _Reader:
    """Builds plain data from YAML events: one pass, bounded depth and size, nothing constructed by tag."""

    def __init__(self, text: str, source: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._source = source
        self._values = 0
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._seen_anchors: set[str] = set()
        self._events: Iterator[Any] = iter(())

    def read(self) -> Any:
        if len(self._text) > MAX_CHARACTERS:
            raise self._error(1, (), f"the document is longer than {MAX_CHARACTERS} characters")
        bad = _UNREADABLE.search(self._text)
        if bad:
            line = self._text.count("\n", 0, bad.start()) + 1
            code = f"U+{ord(bad.group()):04X}"
            raise self._error(line, (), f"the character {code} is not allowed in a document: escape it in quotes")
        try:
            self._events = yaml.parse(_with_characters_for_pairs(self._text), Loader=_Loader)
            return self._document()
        except yaml.YAMLError as error:
            raise self._syntax_error(error) from None
        finally:
            # Frees the parser now: a generator that is dropped half-way keeps the whole text until collected.
            getattr(self._events, "close", lambda: None)()

    def _document(self) -> Any:
        event = next(self._events)
        while isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise self._error(1, (), "the document is empty")
        self.lines[()] = _line_of(event)
        value = self._node(event, ())
        next(self._events)  # the end of the document
        event = next(self._events)
        if isinstance(event, yaml.DocumentStartEvent):
            raise self._error(_line_of(event), (), "a second document starts here (---): one a file")
        return value

    def _node(self, event: Any, path: Path) -> Any:
        line = _line_of(event)
        self.lines.setdefault(path, line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if event.tag is not None:
            raise self._error(line, path, "tags (!…) are not allowed: quote what is meant as text")
        if len(path) > MAX_DEPTH:
            raise self._error(line, path[:3], f"nested more than {MAX_DEPTH} deep")
        before = self._values
        self._count(1, line, path)
        if event.anchor is None:
            return self._content(event, path)
        if event.anchor in self._seen_anchors:
            raise self._error(line, path, f"the anchor &{event.anchor} appears twice")
        self._seen_anchors.add(event.anchor)
        value = self._content(event, path)
        self._anchors[event.anchor] = (value, self._values - before)
        return value

    def _content(self, event: Any, path: Path) -> Any:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(event, path)

    def _mapping(self, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = _line_of(event)
            key = self._scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str) or event.tag is not None or event.anchor is not None:
                raise self._error(line, path, "keys must be plain text (quote the key)")
            if key == "<<" and event.implicit[0]:
                raise self._error(line, path, "merge keys (<<) are not allowed: they override silently; write the keys")
            if key in result:
                raise self._error(line, (*path, key), "the key appears twice")
            place = (*path, key)
            self.lines[place] = line
            result[key] = self._node(next(self._events), place)
        return result

    def _sequence(self, path: Path) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            result.append(self._node(event, (*path, len(result))))
        return result

    def _scalar(self, event: Any, path: Path) -> Any:
        if not event.implicit[0]:  # quoted, or a block of text
            return event.value
        try:
            return plain(event.value)
        except ValueError as error:
            raise self._error(_line_of(event), path, str(error)) from None

    def _alias(self, event: Any, path: Path) -> Any:
        line = _line_of(event)
        if event.anchor not in self._anchors:
            inside = " inside itself" if event.anchor in self._seen_anchors else ", which has no anchor before it"
            raise self._error(line, path, f"the alias *{event.anchor} is used{inside}")
        value, size = self._anchors[event.anchor]
        self._count(size, line, path)
        return value

    def _count(self, values: int, line: int, path: Path) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._error(line, path[:3], f"more than {MAX_VALUES} values (aliases count as what they stand for)")

    def _syntax_error(self, error: yaml.YAMLError) -> DocumentError:
        if not isinstance(error, yaml.MarkedYAMLError):
            return self._error(1, (), f"not valid YAML or JSON: {str(error).partition(chr(10))[0]}")
        problem = f"not valid YAML or JSON: {error.problem or error.context}"
        if error.context and error.context_mark:
            problem += f" ({error.context} that starts in line {error.context_mark.line + 1})"
        mark = error.problem_mark or error.context_mark
        last = len(self._text.splitlines())  # libyaml finds the end of the text one line further
        return self._error(min(mark.line + 1, last) if mark else 1, (), problem)

    def _error(self, line: int, path: Path, problem: str) -> DocumentError:
        return DocumentError(self._source, line, field_name(path), problem)


def _line_of(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _with_characters_for_pairs(text: str) -> str:
    """A JSON text with each escaped surrogate pair as the character that it stands for."""
    if "\\ud" not in text.lower():
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text  # YAML, where the same characters may stand for themselves, or an error for the reader

    def character(pair: re.Match[str]) -> str:
        if pair[1] is None:
            return pair[0]
        return chr(0x10000 + ((int(pair[1], 16) - 0xD800) << 10) + int(pair[2], 16) - 0xDC00)

    return _SURROGATE_PAIR.sub(character, text)


def kind_of(value: object) -> str:
    """What a value is, in the words of somebody who writes a document."""
    if value is None:
        return "null (nothing)"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping"


def field_name(path: Sequence[str | int]) -> str:
    """`("rules", 0, "match")` as `rules[0].match`."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else (f".{part}" if name else part)
    return name


def load(model: type[ModelT], text: str, source: str) -> tuple[ModelT, Document]:
    """Read `text` as `model`. `source` is the name that errors show. Raises `DocumentError`."""
    document = Document(text, source)
    return document.parse(model), document

"""Operator documents (policy, tool catalog, revocations, principals): YAML or JSON with places in every error.

Rules of this file: a document is read strictly or not at all. Duplicate keys, unknown keys and wrong types
are errors that name source, line and field. YAML is a superset of JSON here, so one reader serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML without libyaml: slower, same result
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

Path = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)


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
    parent that exists (an error about a missing field points at the mapping that misses it).
    """

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self._lines: dict[Path, int] = {}
        try:
            loader = _Loader(text)
            try:
                node = loader.get_single_node()
                if node is None:
                    raise DocumentError(source, 1, "", "the document is empty")
                self.value: Any = self._build(loader, node, ())
            finally:
                loader.dispose()
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise DocumentError(
                source, mark.line + 1 if mark else 1, "", f"not valid YAML or JSON: {problem}"
            ) from None
        except RecursionError:
            raise DocumentError(source, 1, "", "nested too deeply") from None

    def line(self, path: Sequence[str | int]) -> int:
        """1-based line of the value at `path` or of its nearest existing parent."""
        place = tuple(path)
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 1)

    def error(self, path: Sequence[str | int], problem: str) -> DocumentError:
        """A `DocumentError` that points at `path`."""
        return DocumentError(self.source, self.line(path), field_name(path), problem)

    def _build(self, loader: Any, node: yaml.Node, path: Path) -> Any:
        self._lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = loader.construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else None
                if not isinstance(key, str):
                    raise DocumentError(
                        self.source,
                        key_node.start_mark.line + 1,
                        field_name(path),
                        "keys must be strings (quote it)",
                    )
                if key in result:
                    raise DocumentError(
                        self.source,
                        key_node.start_mark.line + 1,
                        field_name((*path, key)),
                        "the key appears twice",
                    )
                result[key] = self._build(loader, value_node, (*path, key))
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self._build(loader, item, (*path, index)) for index, item in enumerate(node.value)]
        return loader.construct_object(node)

    def parse(self, model: type[ModelT]) -> ModelT:
        """The document as `model`. Raises `DocumentError` for the first thing that is wrong."""
        if not isinstance(self.value, dict):
            raise self.error((), f"expected a mapping, found {type(self.value).__name__}")
        try:
            return model.model_validate(self.value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            # pydantic puts names of union branches and validators into `loc`; keep what is in the document
            place = tuple(
                part
                for part in first["loc"]
                if isinstance(part, int) or _is_key(self.value, part, first["loc"])
            )
            problem = {
                "extra_forbidden": "unknown key (misspelled? it would be ignored, so it is refused)",
                "missing": "required key is missing",
            }.get(first["type"], first["msg"].removeprefix("Value error, "))
            raise self.error(place, problem) from None


def _is_key(value: Any, part: str, loc: tuple[str | int, ...]) -> bool:
    """Whether `part` of a pydantic location names a key of the document or the missing last key."""
    if part == loc[-1]:
        return True
    here = value
    for step in loc[: loc.index(part)]:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            continue
    return isinstance(here, dict) and part in here


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

"""Argument schemas: JSON Schema, or the flat form `{argument: {type, required}}`.

Rules of this file: a schema that would check less than its author thinks is refused when it is loaded. So an
unknown keyword, a keyword of another draft, an unknown `format` and a reference to another document are errors;
nothing is ever fetched. Patterns run on an engine without backtracking (linear time); a pattern that needs
look-around or back-references is an error.

Which form a schema has is read from its top level. Flat: every value is a mapping with `type` and perhaps
`required`, nothing else, and no key is a JSON Schema keyword. If the values look flat but a key is a keyword
(`{title: {type: string}}`), nobody can tell which was meant, and that is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import jsonschema_rs

from ..documents import Document, Path


def _words(text: str) -> list[str]:
    return text.split()


_DRAFTS: Final[Mapping[str, int]] = {
    "Draft4Validator": 4,
    "Draft6Validator": 6,
    "Draft7Validator": 7,
    "Draft201909Validator": 2019,
    "Draft202012Validator": 2020,
}
# keyword: (first draft, last draft) that gives it a meaning
_KEYWORDS: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys(
        _words(
            "$schema title description default type enum multipleOf maximum minimum exclusiveMaximum exclusiveMinimum "
            "maxLength minLength pattern maxItems minItems uniqueItems maxProperties minProperties required properties "
            "patternProperties additionalProperties items allOf anyOf oneOf not format definitions $ref"
        ),
        (4, 2020),
    ),
    "id": (4, 4),
    **dict.fromkeys(("$id", "const", "contains", "propertyNames", "examples"), (6, 2020)),
    **dict.fromkeys(
        ("$comment", "if", "then", "else", "readOnly", "writeOnly", "contentEncoding", "contentMediaType"), (7, 2020)
    ),
    **dict.fromkeys(
        _words(
            "$defs $anchor $vocabulary dependentRequired dependentSchemas unevaluatedItems unevaluatedProperties "
            "maxContains minContains contentSchema deprecated"
        ),
        (2019, 2020),
    ),
    **dict.fromkeys(("$recursiveRef", "$recursiveAnchor"), (2019, 2019)),
    **dict.fromkeys(("prefixItems", "$dynamicRef", "$dynamicAnchor"), (2020, 2020)),
    "additionalItems": (4, 2019),
    "dependencies": (4, 7),
}
_SCHEMA_MAPS: Final = frozenset(
    ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
)
_SCHEMA_LISTS: Final = frozenset(("allOf", "anyOf", "oneOf", "prefixItems", "items"))
_SCHEMAS: Final = frozenset(
    _words(
        "items additionalItems additionalProperties not if then else contains propertyNames unevaluatedItems "
        "unevaluatedProperties contentSchema"
    )
)
_FLAT_TYPES: Final = ("string", "number", "integer", "boolean", "object", "array")
_FLAT_KEYS: Final = frozenset(("type", "required"))


class ArgumentSchema(Protocol):
    """A compiled schema (the part of a `jsonschema_rs` validator that is used)."""

    def is_valid(self, instance: Any) -> bool:
        """Whether the arguments satisfy the schema."""
        ...

    def validate(self, instance: Any) -> None:
        """Raises `jsonschema_rs.ValidationError` for the first thing that is wrong."""
        ...


def compile_schema(document: Document, path: Path, schema: Mapping[str, Any]) -> ArgumentSchema | None:
    """The compiled form of the schema at `path`; None for `{}`, which accepts everything.

    Raises `documents.DocumentError` at the line of the schema (or the keyword in it) that can't be used.
    """
    if not schema:
        return None
    if all(_looks_flat(value) for value in schema.values()):
        keywords = [key for key in schema if key in _KEYWORDS]
        if keywords:
            raise document.error(
                (*path, keywords[0]),
                "ambiguous: an argument of the flat form, or a JSON Schema keyword? Write the schema as "
                "{type: object, properties: {...}}",
            )
        return _compile(document, path, _from_flat(document, path, schema))
    for key, value in schema.items():
        if key not in _KEYWORDS and not key.startswith("x-"):
            hint = (
                "neither a JSON Schema keyword nor an argument of the flat form, which takes only `type` (one of "
                f"{', '.join(_FLAT_TYPES)}) and `required`"
                if isinstance(value, dict)
                else "unknown JSON Schema keyword (misspelled? it would be ignored, so it is refused)"
            )
            raise document.error((*path, key), hint)
    return _compile(document, path, schema)


def _looks_flat(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and "type" in value
        and value.keys() <= _FLAT_KEYS
        and isinstance(value["type"], str)
        and not isinstance(value.get("required"), list)
    )


def _from_flat(document: Document, path: Path, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema that means the same: further arguments are allowed, null is of no type."""
    for name, argument in schema.items():
        if argument["type"] not in _FLAT_TYPES:
            raise document.error((*path, name, "type"), f"must be one of {', '.join(_FLAT_TYPES)}")
        if not isinstance(argument.get("required", False), bool):
            raise document.error((*path, name, "required"), "must be true or false")
    return {
        "type": "object",
        "properties": {name: {"type": argument["type"]} for name, argument in schema.items()},
        "required": [name for name, argument in schema.items() if argument.get("required", False)],
    }


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError("references to other documents are not followed")


def _compile(document: Document, path: Path, schema: Mapping[str, Any]) -> ArgumentSchema:
    try:
        validator = jsonschema_rs.validator_for(
            dict(schema),
            validate_formats=True,
            ignore_unknown_formats=False,
            retriever=_refuse_to_fetch,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except jsonschema_rs.ValidationError as error:
        place = _existing(schema, error.instance_path)
        raise document.error((*path, *place), f"not a usable JSON Schema: {_problem(error)}") from None
    except (ValueError, TypeError, RecursionError, jsonschema_rs.ReferencingError) as error:
        raise document.error(path, f"not a usable JSON Schema: {_first_line(error)}") from None
    draft = _DRAFTS[type(validator).__name__]
    for place, keyword in _keywords(schema):
        first, last = _KEYWORDS.get(keyword, (0, 0))
        if not first <= draft <= last and not keyword.startswith("x-"):
            raise document.error(
                (*path, *place, keyword),
                f"not a keyword of JSON Schema draft {draft} (it would be ignored, so it is refused)",
            )
    return validator


def _keywords(schema: Any) -> Iterator[tuple[Path, str]]:
    """Every keyword of the schema and the schemas inside it, with the path of the schema that holds it."""
    stack: list[tuple[Path, Any]] = [((), schema)]
    while stack:
        path, here = stack.pop()
        if not isinstance(here, dict):
            continue
        for key, value in here.items():
            yield path, key
            if key in _SCHEMA_MAPS and isinstance(value, dict):
                stack.extend(((*path, key, name), inner) for name, inner in value.items())
            elif key in _SCHEMA_LISTS and isinstance(value, list):
                stack.extend(((*path, key, index), inner) for index, inner in enumerate(value))
            elif key in _SCHEMAS:
                stack.append(((*path, key), value))


def _existing(schema: Any, place: list[str | int]) -> Path:
    """As much of `place` as the schema really has."""
    found: list[str | int] = []
    for step in place:
        try:
            schema = schema[step]
        except (KeyError, IndexError, TypeError):
            break
        found.append(step)
    return tuple(found)


def _problem(error: jsonschema_rs.ValidationError) -> str:
    text = _first_line(error.message)
    if text.endswith('is not a "regex"'):
        return f"{text} that runs in linear time (no look-around, no back-references)"
    if "not present in a registry" in text:
        return f"{text.split(' is not present')[0]} is another document; references must stay inside the schema"
    return text


def _first_line(error: object) -> str:
    return (str(error).splitlines() or ["unknown problem"])[0][:300]

"""What an unquoted word in an operator document means: the part of YAML that all YAML readers agree on.

Rules of this file: YAML 1.1 and 1.2 (and the readers in use) disagree about `on`, `017` or `1_000`. A policy
must not mean two things, so such a word is refused with the ways to write it clearly. Dates are text.
"""

from __future__ import annotations

import math
import re
from typing import Final

_WORDS: Final[dict[str, bool | None]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_SWITCHES: Final = frozenset(
    form for word in ("yes", "no", "on", "off") for form in (word, word.capitalize(), word.upper())
)
_NOT_FINITE: Final = frozenset(
    sign + word
    for sign in ("", "+", "-")
    for word in (".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", "NaN", "Infinity")
)
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
# Octal and binary of YAML 1.1 and 1.2, digit groups, and base 60 (`1:30` is 90 for a YAML 1.1 reader).
_DISPUTED_NUMBER: Final = re.compile(
    r"[-+]?(?:0[0-9][0-9_]*|0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|0[bB][01_]+"
    r"|[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)",
    re.ASCII,
)
_STARTS_A_NUMBER: Final = frozenset("+-.0123456789")
_MAX_NUMBER_TEXT: Final = 40
"""Characters of a number: a 64-bit integer has 20, a float printed in full 25."""


def plain(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar. Raises `ValueError`, saying what to write, where readers disagree."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _SWITCHES:
        raise ValueError(
            f'`{text}` is true/false to some YAML readers and text to others: write true, false or "{text}"'
        )
    if text in _NOT_FINITE:
        raise ValueError(f'`{text}` is not a finite number: quote it if it is text ("{text}")')
    if text[0] in _STARTS_A_NUMBER:
        return _number(text)
    return text


def _number(text: str) -> str | int | float:
    if _DISPUTED_NUMBER.fullmatch(text):
        raise ValueError(
            f'YAML readers disagree about the number `{text}`: write it in plain decimal, or quote it ("…")'
        )
    is_integer = _INTEGER.fullmatch(text)
    if not is_integer and not _FLOAT.fullmatch(text):
        return text
    if len(text) > _MAX_NUMBER_TEXT:
        raise ValueError("the number is too long: quote it if it is text")
    if is_integer:
        return int(text)
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'the number `{text}` is too large: quote it if it is text ("…")')
    return value

"""Shapes: regular expressions over folded text, rewritten so that both engines read them alike.

Rules of this file:
- Text is read in lower case, as folded bytes: ASCII, and UTF-8 for the rest. Hyperscan and google-re2 both read bytes;
  where they or PCRE differ (`\\s`, `.`, case), the expression is rewritten until they can't.
- No shape matches NUL, the wall between messages: `.`, negated classes, `\\W`, `\\D`, `\\S` are rewritten without it.
- A character outside ASCII is several bytes: it becomes a group, and a class that holds some becomes a choice.
- What can't be read in linear time (look-around, back-references) does not compile, and is refused.
"""

from __future__ import annotations

import re
from math import inf
from typing import Final

from .fold import fold_bytes
from .phrase import PatternError

_SPACE: Final = rb"\x09-\x0d\x20"
_CHARACTER: Final = rb"(?:[^\x00\n\x80-\xbf][\x80-\xbf]{0,3})"
_OUTSIDE: Final = {
    "s": b"[" + _SPACE + b"]",
    "S": rb"[^\x00" + _SPACE + b"]",
    "w": b"[0-9a-z_]",
    "W": rb"[^\x000-9a-z_]",
    "d": b"[0-9]",
    "D": rb"[^\x000-9]",
    "b": rb"\b",
    "n": rb"\n",
    "t": rb"\t",
    "r": rb"\r",
}
_INSIDE: Final = {
    "s": _SPACE,
    "S": rb"\x01-\x08\x0e-\x1f\x21-\xff",
    "w": b"0-9a-z_",
    "W": rb"\x01-\x2f\x3a-\x5e\x60\x7b-\xff",
    "d": b"0-9",
    "D": rb"\x01-\x2f\x3a-\xff",
    "n": rb"\n",
    "t": rb"\t",
    "r": rb"\r",
}
_QUANTIFIER: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_HEX: Final = re.compile(r"x([0-9a-fA-F]{2})")
_MAX_REPEAT: Final = 400
# Of a rewritten pattern: what matches nothing; parentheses and choices; repetitions; all else is one byte.
_TOKEN: Final = re.compile(
    rb"(\\b|[$^])|(\(\?:|[)|])|([?*+])|\{(\d+)(,?)(\d*)\}|(?:\[\^?(?:\\.|[^\]\\])*\]|\\x[0-9a-f]{2}|\\?.)", re.DOTALL
)
_SPECIAL: Final = frozenset(rb"\^$.|?*+()[]{}-")


def rewrite(pattern: str) -> bytes:
    """The expression as both engines are to read it, in multi-line mode. Raises `PatternError`."""
    written: list[bytes] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            piece, at = _escape(pattern, at + 1, _OUTSIDE)
            written.append(piece)
        elif char == "[":
            piece, at = _class(pattern, at + 1)
            written.append(piece)
        elif char == ".":
            written.append(_CHARACTER)
            at += 1
        elif char == "(":
            if pattern.startswith("(?", at):
                if not pattern.startswith("(?:", at):
                    raise PatternError(
                        "'(?' is followed by something else than ':'; there is no look-around, and text is read in "
                        "lower case and line by line without asking"
                    )
                at += 3
            else:
                at += 1
            written.append(b"(?:")
        elif char == "{":
            times = _QUANTIFIER.match(pattern, at)
            if times is None:
                raise PatternError("'{' that is no number of times is written \\{")
            if max(int(times.group(1)), int(times.group(2) or 0)) > _MAX_REPEAT:
                raise PatternError(f"{times.group()} is more than {_MAX_REPEAT} times")
            written.append(times.group().encode("ascii"))
            at = times.end()
        elif char.isascii():
            _refuse_capital(char)
            written.append(char.encode("ascii"))
            at += 1
        else:
            written.append(_literal(char))
            at += 1
    return b"".join(written)


def longest_match(pattern: bytes) -> int | None:
    """The most bytes of a match of a rewritten pattern or of a phrase written out; None: there is no bound."""
    outside: list[tuple[float, float]] = []
    longest = here = last = 0.0  # of the choices so far, of this one up to its last part, and of that part
    for nothing, mark, repeated, least, comma, most in _TOKEN.findall(pattern):
        if mark == b"(?:":
            outside.append((longest, here + last))
            longest = here = last = 0.0
        elif mark:
            longest, here, last = max(longest, here + last), 0.0, 0.0
            if mark == b")":
                last = longest
                longest, here = outside.pop()
        elif repeated or least:
            times = float(most or least) if most or (least and not comma) else 1.0 if repeated == b"?" else inf
            last = last and last * times
        elif not nothing:
            here, last = here + last, 1.0
    found = max(longest, here + last)
    return None if found == inf else int(found)


def _literal(char: str) -> bytes:
    """A character outside ASCII as one thing that can be repeated; nothing for what folding takes away."""
    folded = fold_bytes(char).lower()
    escaped = b"".join(
        b"\\x%02x" % byte if byte >= 0x80 or byte in _SPECIAL or byte < 0x20 else bytes([byte]) for byte in folded
    )
    return escaped if len(folded) <= 1 else b"(?:" + escaped + b")"


def _refuse_capital(char: str) -> None:
    if char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        raise PatternError(f"text is read in lower case, so {char!r} never matches; write {char.lower()!r}")


def _escape(pattern: str, at: int, meanings: dict[str, bytes]) -> tuple[bytes, int]:
    """The escape whose backslash stands before `at`, and where it ends."""
    char = pattern[at : at + 1]
    if char in meanings and char:
        return meanings[char], at + 1
    if char == "x":
        code = _HEX.match(pattern, at)
        if code is None:
            raise PatternError("\\x is followed by two hexadecimal digits")
        value = int(code.group(1), 16)
        if value == 0:
            raise PatternError("\\x00 is the wall between messages, which no rule matches")
        _refuse_capital(chr(value))
        return b"\\x%02x" % value, code.end()
    if char and char.isascii() and not char.isalnum():
        return b"\\" + char.encode("ascii"), at + 1
    allowed = " ".join("\\" + name for name in meanings)
    raise PatternError(f"'\\{char}' is not known here; there are {allowed} \\xHH, and \\ before punctuation")


def _class(pattern: str, at: int) -> tuple[bytes, int]:
    """The class whose bracket stands before `at`, and where it ends."""
    negated = pattern.startswith("^", at)
    at += negated
    inside: list[bytes] = []
    wide: list[bytes] = []
    first = at
    while True:
        char = pattern[at : at + 1]
        if not char:
            raise PatternError("'[' is never closed")
        if char == "]" and at > first:
            at += 1
            break
        if char == "\\":
            piece, at = _escape(pattern, at + 1, _INSIDE)
            inside.append(piece)
        elif char.isascii():
            # A range may hold capitals, for instance [!-~]; a capital at its end is an error.
            _refuse_capital(char)
            inside.append(b"\\" + char.encode() if char in "[]^" else char.encode())
            at += 1
        else:
            if pattern[at + 1 : at + 2] == "-" and pattern[at + 2 : at + 3] not in ("]", ""):
                raise PatternError(f"the range from {char!r} is of characters outside ASCII; write them out")
            folded = fold_bytes(char).lower()
            if len(folded) > 1:
                wide.append(_literal(char))
            elif folded:
                inside.append(_literal(char))
            at += 1
    if negated:
        if wide:
            raise PatternError("a negated class holds characters outside ASCII, which are several bytes")
        return rb"[^\x00" + b"".join(inside) + b"]", at
    choices = [*wide, *([b"[" + b"".join(inside) + b"]"] if inside else [])]
    if not choices:
        raise PatternError("a class is empty once its characters are folded")
    return (choices[0] if len(choices) == 1 else b"(?:" + b"|".join(choices) + b")"), at

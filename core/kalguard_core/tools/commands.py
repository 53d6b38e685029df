"""The command denylist: does a string in a tool call look like something meant to be run by a shell or interpreter?

What is looked at: every string among the arguments' values, at any depth, and every object key; also the
strings of a call one after the other, so that a command split over a list or over several arguments is seen. Each is
read as it is and, where it has quotes, escapes, percent-encoding or base64 in it, once more with those undone.
Look-alike letters are folded to ASCII and invisible ones removed first. What counts as a command is in
`command_rules`.

Back-ticks are command substitution in a shell and code marks in Markdown. The rule, from the inside out:
1. What is between them starts with no known program: text (`config.yaml`, `my_function(x)`).
2. It starts with a program that does harm or sends data, with something to work on (`rm -rf x`, `curl https://…`,
   `cat /etc/passwd`), or it pipes or chains into a program: a command, whatever is around it.
3. It starts with any other known program (`id`, `npm install`, `git status`): a command, unless the text around it
   reads as a sentence: two words of three letters or more, or one that introduces code ("use", "run", "the"), and
   its first word is not itself a program being called ("echo hello big world `id`").
   An agent can write such a sentence, and gains a program of rule 3 by it: that is the price of leaving
   documentation alone. A code fence (three back-ticks and a line break) is a sentence of its own.
`$(word)` with one word that is no known program is text too ("$(approx) 5", `$(CC)`, `$(this)`).

This is a denylist, hence a second fence behind the catalog's schemas, never the only one.

Rules of this file: linear time, no recursion, no exception. What can't be judged within bounds is a finding.
"""

from __future__ import annotations

import binascii
import re
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import hyperscan

from .command_rules import COMMAND, RULES, When

# A call that needs more than this to say what it wants isn't a tool call; and each costs time (about 1 µs).
MAX_STRINGS: Final = 20_000
# Of percent-encoded or backslash-escaped characters in all strings together; undoing one costs about 0.3 µs.
MAX_ESCAPES: Final = 50_000
# An encoding inside an encoding is still undone.
MAX_DEPTH: Final = 2
_FEW: Final = 16

_PLAIN: Final = (int, float, type(None))
_SEPARATOR: Final = "\n\x1f\n"
_PROSE_WINDOW: Final = 4_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks like a command. `rule`: its name in `command_rules`. `path`: where in the arguments."""

    rule: str
    path: str

    def describe(self) -> str:
        """One line for the operator."""
        return f"{self.path}: rule {self.rule}"


class CommandDenylist:
    """The compiled rules. Thread-safe; compiling takes a moment, so one is shared (`command_denylist`)."""

    def __init__(self) -> None:
        self._database = hyperscan.Database()
        self._database.compile(
            expressions=[rule.pattern.encode() for rule in RULES],
            ids=list(range(len(RULES))),
            flags=hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_SINGLEMATCH,
        )
        self._database.scratch = hyperscan.Scratch(self._database)
        # hyperscan allows one scan at a time for each scratch space
        self._local = threading.local()

    def find(self, arguments: Mapping[str, Any]) -> Finding | None:
        """The first thing in `arguments` that looks like a command, or None."""
        strings = _strings(arguments)
        if strings is None:
            return Finding("unjudgeable-values", "arguments")
        rule = self._judge("\x1f\n" + _SEPARATOR.join(strings) + "\n\x1f", sentence=False)
        if rule is None:
            return None
        return self._locate(arguments, rule)

    def find_in(self, text: str) -> str | None:
        """The name of the rule that `text` alone matches, or None."""
        return self._judge("\x1f\n" + text + "\n\x1f", sentence=None)

    def _locate(self, arguments: Mapping[str, Any], rule: str) -> Finding | None:
        """Which string it is. A match that only the strings together give counts, back-ticks apart."""
        for path, text in _walk(arguments):
            here = self.find_in(text)
            if here is not None:
                return Finding(here, path)
        return None if rule == _BACKTICK else Finding(rule, "arguments")

    def _judge(self, text: str, sentence: bool | None) -> str | None:
        """Name of a rule that matches in any view of `text`. `sentence`: whether it is prose; None: find out."""
        data = view = _encode(text)
        for _ in range(MAX_DEPTH + 1):
            hints, rule = self._scan(view, data, sentence)
            if rule is None and hints & _QUOTE:
                rule = self._scan(_unquoted(view), data, sentence)[1]
            if rule is None and hints & _LIST:
                rule = self._scan(_unquoted(view).replace(b",", b" "), data, sentence)[1]
            if rule is None and hints & _BASE64:
                rule = self._encoded_command(view)
            if rule is not None:
                return rule
            if not hints & (_PERCENT | _ESCAPE):
                return None
            if view.count(b"%") + view.count(b"\\") > MAX_ESCAPES:
                return "too-many-escapes"
            view = _ESCAPED.sub(_unescape, unquote_to_bytes(view))
        return None

    def _scan(self, view: bytes, text: bytes, sentence: bool | None) -> tuple[int, str | None]:
        hints = pairs = 0
        for number in self._hits(view):
            hint = _HINT_OF.get(number)
            if hint is not None:
                hints |= hint
            elif number in _PAIRED:
                pairs |= _PAIRED[number]
            elif number in _ALWAYS or sentence is False or not _reads_as_sentence(text):
                return 0, RULES[number].name
        return hints, "shell-command" if pairs == 3 else None

    def _hits(self, data: bytes) -> list[int]:
        scratch = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = self._database.scratch.clone()
        hits: list[int] = []
        self._database.scan(data, match_event_handler=_collect, context=hits, scratch=scratch)
        return hits

    def _encoded_command(self, view: bytes) -> str | None:
        """A rule that matches in what the base64 runs of `view` decode to."""
        tokens = [token[: len(token) & ~3] for token in _BASE64_RUN.findall(view.translate(_FROM_URLSAFE))]
        # Of many runs, all at once first: one decoding and one scan for any number of them.
        if len(tokens) > _FEW and not self._strong(_from_base64(b"".join(tokens))):
            return None
        if len(tokens) > MAX_STRINGS:
            return "too-many-escapes"
        for token in tokens:
            decoded = _from_base64(token)
            rule = self._strong(decoded) if decoded.translate(None, _TEXT_BYTES) == b"" else None
            if rule is not None:
                return rule
        return None

    def _strong(self, data: bytes) -> str | None:
        for number in self._hits(data):
            if number in _IN_DECODED:
                return RULES[number].name
        return None


def _collect(number: int, start: int, end: int, flags: int, hits: Any) -> None:
    hits.append(number)


@cache
def command_denylist() -> CommandDenylist:
    """The denylist, compiled once a process: it holds nothing but the constant rules."""
    return CommandDenylist()


def _strings(arguments: Mapping[str, Any]) -> list[str] | None:
    """All strings, in document order, the keys after the values.

    None if there are too many values, or one that JSON doesn't know and that might hide a string.
    """
    strings: list[str] = []
    keys: list[str] = list(arguments)
    stack: list[Any] = list(arguments.values())[::-1]
    seen = len(stack)
    while stack:
        if seen > MAX_STRINGS:
            return None
        value = stack.pop()
        if isinstance(value, str):
            strings.append(value)
        elif isinstance(value, dict):
            seen += len(value)
            keys.extend(value)
            stack.extend(list(value.values())[::-1])
        elif isinstance(value, (list, tuple)):
            seen += len(value)
            stack.extend(value[::-1])
        elif not isinstance(value, _PLAIN):
            return None
    strings.extend(keys)
    return strings


def _walk(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """All strings with their paths. Names in a path that are the agent's own words are shortened."""
    stack: list[tuple[str, Any]] = [("arguments", arguments)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, Mapping):
            for key in value:
                yield f"{path} (a key)", key
            stack.extend((_join(path, key), inner) for key, inner in list(value.items())[::-1])
        elif isinstance(value, (list, tuple)):
            stack.extend((f"{path}[{index}]", value[index]) for index in range(len(value) - 1, -1, -1))


def _join(path: str, key: str) -> str:
    if len(path) > 200:
        return path
    return f"{path}.{key}" if len(key) <= 40 and key.isidentifier() else f"{path}.{key[:40]!a}"


def _encode(text: str) -> bytes:
    if not text.isascii():
        text = text.translate(_FOLD)
    return text.encode("utf-8", "replace")


def _unquoted(view: bytes) -> bytes:
    """What a shell makes of it: quotes, escapes (also those of cmd) and empty expansions fall away."""
    for nothing in (b"\\\n", b"$@", b"$*", b"$()"):
        view = view.replace(nothing, b"")
    return view.translate(None, b"\"'\\^")


_ESCAPED: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}|([0-7]{3})|([nrt]))")


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[5]:
        return b" "
    code = int(match[4], 8) if match[4] else int(match[1] or match[2] or match[3], 16)
    # Only ASCII can be part of a command's name; anything else is a border.
    return bytes((code,)) if code < 128 else b" "


# Runs of one class: linear.
_BASE64_RUN: Final = re.compile(rb"[A-Za-z0-9+/]{12,}={0,2}")
_FROM_URLSAFE: Final = bytes.maketrans(b"-_", b"+/")
_TEXT_BYTES: Final = bytes(range(32, 127)) + b"\t\n\r"


def _from_base64(token: bytes) -> bytes:
    # Padding read as "A" decodes to NUL; UTF-16 (PowerShell) has a NUL in each character: both go.
    try:
        return binascii.a2b_base64(token.replace(b"=", b"A")).replace(b"\0", b"")
    except binascii.Error:
        return b""


_BACKTICK: Final = "backtick-command"
_QUOTE, _PERCENT, _ESCAPE, _BASE64, _LIST = 1, 2, 4, 8, 16
_HINTS: Final = {
    "hint-quote": _QUOTE,
    "hint-percent": _PERCENT,
    "hint-escape": _ESCAPE,
    "hint-base64": _BASE64,
    "hint-list": _LIST,
}
# By number of the rule, in plain integers: flags of an enumeration cost half a microsecond each time.
_ALWAYS: Final = frozenset(number for number, rule in enumerate(RULES) if rule.when & When.ALWAYS)
_IN_DECODED: Final = frozenset(number for number, rule in enumerate(RULES) if rule.when & When.DECODED)
_HINT_OF: Final = {number: _HINTS[rule.name] for number, rule in enumerate(RULES) if rule.when & When.HINT}
_PAIRED: Final = {
    number: 2 if rule.name == "run-option" else 1 for number, rule in enumerate(RULES) if rule.when & When.PAIR
}

# Free-standing words only: "file-`date`.txt" has none.
_WORD: Final = re.compile(rb"(?<![^\s(])[A-Za-z]{3,}(?=[\s.,;:!?)]|\Z)")
_INTRODUCES_CODE: Final = frozenset(
    b"use run see the call type try via with and named called like using command function field column option "
    b"program tool then for execute install enter".split()
)
_FIRST_WORDS: Final = re.compile(rb"[\s\x1f]*(\S+)(?:[ \t]+([A-Za-z]+))?")
_FENCE: Final = re.compile(rb"(?:\A|\n)[ \t]*```[\w+#-]*\n")
_PROGRAM: Final = re.compile(rb"(?:\S{0,200}/)?" + COMMAND.encode() + rb"\Z")
_AFTER_A_VERB: Final = frozenset(
    b"the a an by all every each this that these my your our its for in on if to and or which out with from of is "
    b"are was it".split()
)


def _reads_as_sentence(text: bytes) -> bool:
    """Whether the text outside the back-ticks reads like one (see the module's rule 3)."""
    text = text[:_PROSE_WINDOW].strip(b"\x1f \t\r\n")
    if _FENCE.search(text):
        return True
    outside = b"`".join(text.split(b"`")[::2])
    first = _FIRST_WORDS.match(text)
    if first is not None and _PROGRAM.match(first[1][:300]) and first[2] not in _AFTER_A_VERB:
        return False
    words = _WORD.findall(outside)
    return len(words) >= 2 or any(word.lower() in _INTRODUCES_CODE for word in words)


def _fold_table() -> dict[int, str | None]:
    """Characters that look like ASCII, or like nothing, to what they look like.

    Compatibility forms (fullwidth, mathematical, enclosed) by Unicode NFKC; Cyrillic and Greek letters from
    Unicode's confusables (UTS #39), as far as they look like the letters of commands.
    """
    table: dict[int, str | None] = {}
    for first, last in (
        (0x80, 0x24FF),
        (0x2E00, 0x33FF),
        (0xFB00, 0xFB06),
        (0xFE00, 0xFFFF),
        (0x1D400, 0x1D7FF),
        (0x1F100, 0x1F1FF),
        (0xE0000, 0xE01EF),
    ):
        for code in range(first, last + 1):
            character = chr(code)
            if unicodedata.category(character) in ("Cf", "Mn", "Me", "Cc"):
                table[code] = None
                continue
            folded = unicodedata.normalize("NFKC", character)
            if folded != character and folded.isascii():
                table[code] = folded
            elif unicodedata.category(character) in ("Zs", "Zl", "Zp"):
                table[code] = " "
            elif unicodedata.category(character) == "Pd":
                table[code] = "-"
    table[0x85] = " "
    for code in (*range(0x115F, 0x1161), 0x3164, 0xFFA0, 0x2800, 0x034F, 0x180B, 0x180C, 0x180D):
        table[code] = None
    look_alikes = (
        "аaеeоoрpсcуyхxіiјjѕsһhԁdԛqԝwкkмmтtвbнhАAВBЕEКKМMНHОOРPСCТTХXІIЈJЅS"
        "αaοoρpνvιiκkυuΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXɡgıiℓlɑa∣|│|｜|⁄/∕/＇'‘'’'“\"”\"´'ˋ`‵`"
    )
    for index in range(0, len(look_alikes), 2):
        table[ord(look_alikes[index])] = look_alikes[index + 1]
    return table


_FOLD: Final = _fold_table()

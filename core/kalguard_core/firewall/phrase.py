"""Phrases: patterns whose letters are words. Read from a rule pack, written out as expressions over word bytes.

Rules of this file:
- The engine reads a text a second time as a string of one byte for each word (`engine`). A phrase becomes a regular
  expression over such bytes: a list is the class of the bytes that stand for its words, `ANY` any byte but the wall.
- Spaces mean nothing; `|`, `( )`, `?`, `*`, `+`, `{m}`, `{m,}` and `{m,n}` mean what they mean in a regular expression.
- Every phrase *requires* words: a stretch of text that lacks them can't match and is not looked at (`requirements`,
  `reach`). A requirement may ask for less than the phrase does, never for more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Final, TypeAlias

from .fold import fold_bytes

ANY: Final = "ANY"
MAX_DEPTH: Final = 16
MAX_REPEAT: Final = 40
MAX_REQUIREMENTS: Final = 32

TO_WORDS: Final = bytes(
    byte if byte >= 0x80 or byte == 0 or chr(byte).isalnum() else 0x20 for byte in range(0x100)
).lower()
"""Folded bytes to bytes that `split` splits into words: letters, digits, all that is not ASCII, and the wall."""

_LIST: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_TOKEN: Final = re.compile(r"(\s+)|([|()?*+])|\{(\d{1,3})(,?)(\d{0,3})\}|([^\s|()?*+{}]+)")


class PatternError(ValueError):
    """A pattern is refused. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Atom:
    """A list of words (`name`), or a word that stands for itself (`name` in folded lower case)."""

    name: str

    @property
    def is_list(self) -> bool:
        """Whether the name is a list's: lists have upper-case names, folded words never do."""
        return self.name[:1].isupper()


@dataclass(frozen=True, slots=True)
class Sequence:
    """One thing after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several things."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A thing `least` to `most` times (None: without end)."""

    part: Node
    least: int
    most: int | None


Node: TypeAlias = Atom | Sequence | Choice | Repeat


def words_of(text: str) -> list[str]:
    """The words of a text as the engine sees them, folded and in lower case."""
    return [word.decode("utf-8") for word in fold_bytes(text).translate(TO_WORDS).split()]


def parse(pattern: str) -> Node:
    """Read a phrase. Raises `PatternError`."""
    return _Parser(pattern).read()


def any_order(names: Iterable[str], gap: int) -> Node:
    """All of these lists or words, in any order, with at most `gap` other words between one and the next."""
    atoms = [_named(name) for name in names]
    between = Repeat(Atom(ANY), 0, gap)
    orders: list[Node] = []
    for order in permutations(atoms):
        parts: list[Node] = [order[0]]
        for atom in order[1:]:
            parts += (between, atom) if gap else (atom,)
        orders.append(Sequence(tuple(parts)))
    return Choice(tuple(orders))


def atoms(node: Node) -> Iterator[Atom]:
    """All lists and words of a phrase, with repetitions."""
    match node:
        case Atom():
            yield node
        case Repeat():
            yield from atoms(node.part)
        case _:
            for part in node.parts:
                yield from atoms(part)


def may_be_empty(node: Node) -> bool:
    """Whether the phrase matches no words at all."""
    match node:
        case Atom():
            return False
        case Repeat():
            return node.least == 0 or may_be_empty(node.part)
        case Sequence():
            return all(map(may_be_empty, node.parts))
        case _:
            return any(map(may_be_empty, node.parts))


Clause: TypeAlias = frozenset[Atom]
"""Lists or words one of which must be there."""

Requirement: TypeAlias = frozenset[Clause]
"""What must be there together."""


def requirements(node: Node, commonness: Callable[[Atom], float]) -> frozenset[Requirement]:
    """One of these is met wherever the phrase matches. At most `MAX_REQUIREMENTS`; rarer words are kept first.

    An empty requirement is met by any text.
    """
    match node:
        case Atom():
            return _NOTHING if node.name == ANY else frozenset([frozenset([frozenset([node])])])
        case Repeat():
            return requirements(node.part, commonness) if node.least else _NOTHING
        case Choice():
            found = _simpler(one for part in node.parts for one in requirements(part, commonness))
            return found if len(found) <= MAX_REQUIREMENTS else _weaker(found, commonness)
        case Sequence():
            every = sorted((requirements(part, commonness) for part in node.parts), key=len)
            found = _NOTHING
            for some in every:
                if len(found) * len(some) > MAX_REQUIREMENTS:
                    some = _weaker(some, commonness)
                found = _simpler(one | other for one in found for other in some)
            return found


def reach(node: Node) -> int | None:
    """The most words of a match, those of endless repetitions (`endless`) aside. None: `ANY` repeats without end."""
    match node:
        case Atom():
            return 1
        case Repeat(part, _, None):
            return None if any(atom.name == ANY for atom in atoms(part)) else 0
        case Repeat(part, _, most):
            inner = reach(part)
            return None if inner is None else inner * (most or 0)
        case Sequence():
            lengths = [reach(part) for part in node.parts]
            return None if None in lengths else sum(length or 0 for length in lengths)
        case _:
            lengths = [reach(part) for part in node.parts]
            return None if None in lengths else max(length or 0 for length in lengths)


def endless(node: Node) -> Iterator[Atom]:
    """Lists and words, not `ANY`, that may stand in a match any number of times."""
    match node:
        case Atom():
            return
        case Repeat():
            if node.most is None:
                yield from (atom for atom in atoms(node.part) if atom.name != ANY)
            else:
                yield from endless(node.part)
        case _:
            for part in node.parts:
                yield from endless(part)


_NOTHING: Final[frozenset[Requirement]] = frozenset([frozenset()])


def _simpler(found: Iterable[Requirement]) -> frozenset[Requirement]:
    """The same with fewer words: single clauses as one, and none that asks for more than another."""
    kept: list[Requirement] = []
    single: set[Atom] = set()
    several: list[Requirement] = []
    for one in found:
        if not one:
            return _NOTHING
        if len(one) == 1:
            single |= next(iter(one))
        else:
            several.append(one)
    if single:
        kept.append(frozenset([frozenset(single)]))
    for one in sorted(set(several), key=len):
        if not any(all(any(clause <= needed for clause in one) for needed in other) for other in kept):
            kept.append(one)
    return frozenset(kept)


def _weaker(found: frozenset[Requirement], commonness: Callable[[Atom], float]) -> frozenset[Requirement]:
    """One clause in place of many requirements: the rarest of each."""
    if not all(found):
        return _NOTHING
    return frozenset(
        [frozenset([frozenset(atom for one in found for atom in rarest(one, commonness)[0])])],
    )


def rarest(requirement: Requirement, commonness: Callable[[Atom], float]) -> list[Clause]:
    """The clauses of a requirement, those first whose words few texts have."""
    return sorted(requirement, key=lambda clause: (sum(map(commonness, clause)), sorted(atom.name for atom in clause)))


def expression(node: Node, classes: Callable[[Atom], bytes]) -> bytes:
    """The phrase as a regular expression over word bytes."""
    match node:
        case Atom():
            return classes(node)
        case Sequence():
            return b"".join(expression(part, classes) for part in node.parts)
        case Choice():
            return b"(?:" + b"|".join(expression(part, classes) for part in node.parts) + b")"
        case Repeat():
            inner = expression(node.part, classes)
            if not isinstance(node.part, Atom):
                inner = b"(?:" + inner + b")"
            if (node.least, node.most) == (0, 1):
                return inner + b"?"
            if node.most is None:
                return inner + (b"{%d,}" % node.least if node.least > 1 else b"+" if node.least else b"*")
            return inner + b"{%d,%d}" % (node.least, node.most)


def _named(token: str) -> Node:
    if _LIST.fullmatch(token):
        return Atom(token)
    if re.search(r"[A-Z]", token):
        raise PatternError(f"{token!r} is neither a list (all upper case) nor a word (all lower case)")
    words = words_of(token)
    if not words:
        raise PatternError(f"{token!r} holds no word; what stands between words is not written in a phrase")
    parts = tuple(map(Atom, words))
    return parts[0] if len(parts) == 1 else Sequence(parts)


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._tokens: list[re.Match[str]] = []
        at = 0
        while at < len(pattern):
            token = _TOKEN.match(pattern, at)
            if token is None:
                raise PatternError(f"{pattern[at]!r} at character {at + 1} is not understood")
            at = token.end()
            if token.group(1) is None:
                self._tokens.append(token)
        self._next = 0

    def read(self) -> Node:
        node = self._choice(0)
        if self._next < len(self._tokens):
            raise PatternError(f"')' at character {self._tokens[self._next].start() + 1} closes nothing")
        if may_be_empty(node):
            raise PatternError("it can match no words at all; make at least one of them necessary")
        return node

    def _peek(self) -> str | None:
        return self._tokens[self._next].group() if self._next < len(self._tokens) else None

    def _choice(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise PatternError(f"it has more than {MAX_DEPTH} parentheses inside one another")
        parts = [self._sequence(depth)]
        while self._peek() == "|":
            self._next += 1
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while (token := self._peek()) is not None and token not in ("|", ")"):
            parts.append(self._repeated(depth))
        if not parts:
            raise PatternError("there is an empty alternative; write ? after the group instead")
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self, depth: int) -> Node:
        token = self._tokens[self._next]
        self._next += 1
        if token.group(2) == "(":
            node = self._choice(depth + 1)
            if self._peek() != ")":
                raise PatternError(f"'(' at character {token.start() + 1} is never closed")
            self._next += 1
        elif token.group(6) is not None:
            node = _named(token.group(6))
        else:
            raise PatternError(f"{token.group()!r} at character {token.start() + 1} repeats nothing")
        following = self._peek()
        if following is not None and (following in "?*+" or following[0] == "{"):
            least, most = _times(self._tokens[self._next])
            if most is None and isinstance(node, Atom) and not node.is_list:
                raise PatternError(
                    f"{node.name}{following} is the word {node.name!r} over and over; words that begin so are a list "
                    f"under words: NAME: {node.name}*"
                )
            self._next += 1
            node = Repeat(node, least, most)
        return node


def _times(token: re.Match[str]) -> tuple[int, int | None]:
    if token.group(2) is not None:
        return {"?": (0, 1), "*": (0, None), "+": (1, None)}[token.group(2)]
    least = int(token.group(3))
    most = (int(token.group(5)) if token.group(5) else None) if token.group(4) else least
    if max(least, most or 0) > MAX_REPEAT or (most is not None and not 0 < max(least, 1) <= most):
        raise PatternError(f"{token.group()} is no number of times from 1 to {MAX_REPEAT}, the smaller one first")
    return least, most

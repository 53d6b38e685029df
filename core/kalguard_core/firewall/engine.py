"""The engine: all rules over one text in linear time, with the place of each match.

Rules of this file:
- Every text is read twice: once as it is (shapes), and once as strings with one byte for each word, which says what
  the word can be in a phrase (phrases). A word is in several lists, so its byte stands for the set of lists it is in.
  There are more such sets than bytes: phrases are spread over *books*, each with bytes of its own.
- Phrases are looked for only where a text has the words that they require (`sieve`): English text pays next to nothing
  for the rules of twenty other languages, and little for those of its own.
- Words are numbered once for all books (`_Vocabulary`), and together with the model's (`reading`); numpy turns the
  numbers into the bytes of a book.
- What was compiled can be kept (`compiled`) and is taken back only if it is whole and fits; anything else is compiled
  anew. It holds data, never code.
- The number of places that are looked up is bounded. A text with more of them is an attack by itself (`FLOOD`).
- Which rules match is never bounded, and does not depend on the order of rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby, pairwise, repeat
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import matcher
from .features import Vocabulary
from .matcher import HAS_HYPERSCAN, HyperscanSet, PlaceFinder, first_places, place_finder
from .pack import SHORTEST_STEM, PackError, Rule, RulePacks, commonness, load_packs, packs_digest
from .phrase import ANY, Atom, Node, PatternError, atoms, endless, expression, rarest, reach, requirements
from .reading import Glossary, Numbers, Reading
from .shape import longest_match, rewrite
from .sieve import Sieve, Stretches, Wanted

Backend: TypeAlias = Literal["auto", "hyperscan", "re2"]

WALL: Final = b"\n\x00\n"
"""Stands between texts that no match may reach across."""

FLOOD: Final = Rule("flood", "flood", 80, "more matches than an honest text could have")
MAX_MATCHES: Final = 256
"""Places of one rule in one text that are looked up."""
MAX_PLACES: Final = 2048
"""Places of all rules in one text that are looked up, but one of each rule that matches."""

_FORMAT: Final = 5  # of what `compiled` writes; goes up with every change of it or of what patterns become
_MAGIC: Final = b"KALGUARD-RULES\n"
_WALL_WORD: Final = 0  # numbers of words
_UNKNOWN: Final = 1
_OTHER: Final = 1  # the byte of a word that is in no list of a book; 0 is the wall's
_KINDS: Final = 0xFF - _OTHER  # sets of lists that a book can tell apart
_MAX_WORDS: Final = 0xFFFF
# Patterns compiled into one database. Compiling many phrases takes much longer than compiling each of them: they begin
# with classes of bytes, so their automata grow into one another. Shapes begin with literals, and do not. Texts hold the
# words that one phrase requires more seldom than those of one of several: each has a database of its own.
_SHAPES_TOGETHER: Final = 128
# Long strings are looked through part by part: if there are walls in them, or if no match is longer than `_NEAR` bytes.
# So google-re2, which is slower than Hyperscan, reads only the parts that hold a match.
_NEAR: Final = 512
_PART: Final = 1 << 12
_Parts: TypeAlias = list[tuple[int, int]]  # of a string, in order and apart
_UNFIT: Final[tuple[type[Exception], ...]] = (
    *matcher.HYPERSCAN_ERRORS,
    StopIteration,
    IndexError,
    KeyError,
    PatternError,
)


class Match(msgspec.Struct, frozen=True, gc=False):
    """A rule that matched bytes `start` to `end` (exclusive) of a text."""

    rule: Rule
    start: int
    end: int


class _Book(msgspec.Struct, frozen=True):
    """Phrases that share one meaning of bytes. `rules`: indexes into the rules of all packs."""

    rules: list[int]
    patterns: list[bytes]
    codes: dict[str, int]  # of each word and stem (with its asterisk) the byte, if it is in a list
    needs: list[list[list[list[int]]]]  # of each rule, its requirements; bytes for atoms (`phrase.requirements`)
    reaches: list[int]  # of each rule, in words; -1: without bound (`phrase.reach`)
    endless: list[int]  # bytes of words that rules repeat without end
    far: list[int]  # of all patterns, those whose matches may be long


class _Program(msgspec.Struct, frozen=True):
    """What rule packs become, without the parts that depend on the machine."""

    shapes: list[int]
    shape_patterns: list[bytes]
    far_shapes: list[int]  # of all patterns, those whose matches may be long
    books: list[_Book]


class _Compiled(msgspec.Struct, frozen=True):
    key: str
    rules: list[Rule]
    program: _Program
    databases: list[bytes]  # of Hyperscan: the shapes', then each book's


class Engine:
    """The compiled rules of some packs. Safe to use from any thread.

    `backend`: `auto` takes Hyperscan where it is installed. Raises `PackError` for a pattern that an engine can't
    read. `build_engine` makes one from YAML, or from what an earlier one left. `was_warm`: nothing was compiled.
    """

    _glossary: tuple[Vocabulary | None, Glossary] | None

    def __init__(self, packs: RulePacks, *, backend: Backend = "auto", compiled: bytes | None = None) -> None:
        self.backend = _backend(backend)
        self.key = cache_key(packs.digest, self.backend)
        kept = None if compiled is None else _read_compiled(compiled, self.key)
        if kept is None:
            self._assemble(packs.rules, _program(packs), None)
        else:
            self._take(kept)

    @classmethod
    def warm(cls, compiled: bytes, digest: str, *, backend: Backend = "auto") -> Engine | None:
        """An engine from what `compiled()` wrote for packs of this digest; None if it does not fit or is not whole."""
        engine = cls.__new__(cls)
        engine.backend = _backend(backend)
        engine.key = cache_key(digest, engine.backend)
        kept = _read_compiled(compiled, engine.key)
        if kept is None:
            return None
        engine._take(kept)
        return engine

    def compiled(self) -> bytes:
        """All that a later engine of the same `key` needs to be there at once. Data, with a checksum."""
        databases = [data for matcher_ in (self._shapes, *self._books) for data in matcher_.serialized()]
        body = msgspec.msgpack.encode(_Compiled(self.key, list(self.rules), self._program, databases))
        return _MAGIC + sha256(body).digest() + body

    def glossary(self, vocabulary: Vocabulary | None = None) -> Glossary:
        """What reads texts for these rules, and for a model that has this vocabulary."""
        kept = self._glossary
        if kept is None or kept[0] is not vocabulary:
            # one for all detectors that share this engine: they have the same model
            words = self._vocabulary
            kept = self._glossary = (
                vocabulary,
                Glossary(words.number, None)
                if vocabulary is None
                else Glossary(words.number, vocabulary.entry, (words.numbers, vocabulary.entries)),
            )
        return kept[1]

    def matches(self, data: bytes, reading: Reading | None = None) -> list[Match]:
        """All matches in folded text, in order of their starts; a `FLOOD` for those past the bounds.

        `reading`: of this text, by a `glossary` of this engine, if there is one.
        """
        found = _Found()
        lowered = data.lower()
        for number, parts in self._shapes.where(lowered):
            self._shapes.find(number, lowered, found, parts)
        self._match_phrases(reading if reading is not None else self.glossary().read(data), found)
        return found.ordered()

    def _match_phrases(self, reading: Reading, found: _Found) -> None:
        vocabulary = self._vocabulary
        numbers = reading.numbers
        strings: dict[int, bytes] = {}  # the whole text in the bytes of a book
        for phrase, stretches in vocabulary.sieve.suspects(numbers):
            book, number = vocabulary.phrases[phrase]
            if stretches is None:
                string = strings.get(book)
                if string is None:
                    string = strings[book] = vocabulary.string(book, numbers)
            else:
                string = vocabulary.string(book, stretches.of(numbers, _WALL_WORD))
            if len(string) <= _PART:  # most of all
                if self._books[book].has(number, string):
                    self._books[book].find(number, string, found, [(0, len(string))], reading, stretches)
                continue
            cuts = stretches.cuts(_PART) if stretches is not None else None
            for _, parts in self._books[book].where(string, number, cuts):
                self._books[book].find(number, string, found, parts, reading, stretches)

    def _take(self, kept: _Compiled) -> None:
        try:
            self._assemble(kept.rules, kept.program, kept.databases)
        except _UNFIT:
            # the checksum was right, so this is a library or CPU that the key does not tell apart
            self._assemble(kept.rules, kept.program, None)

    def _assemble(self, rules: Sequence[Rule], program: _Program, databases: Sequence[bytes] | None) -> None:
        self.was_warm = databases is not None
        self.rules: tuple[Rule, ...] = tuple(rules)
        self._program = program
        self._vocabulary = _Vocabulary(program.books)
        waiting = iter(databases) if databases is not None else None

        def ready(numbers: Sequence[int], patterns: Sequence[bytes], groups: Iterable[_Group]) -> _Matcher:
            named = [self.rules[number] for number in numbers]
            return _Matcher(named, patterns, groups if self.backend == "hyperscan" else None, waiting)

        far = frozenset(program.far_shapes)
        near = [number for number in range(len(program.shapes)) if number not in far]
        groups = [
            _Group(numbers[first : first + _SHAPES_TOGETHER], is_near=numbers is near)
            for numbers in (near, program.far_shapes)
            for first in range(0, len(numbers), _SHAPES_TOGETHER)
        ]
        self._shapes = ready(program.shapes, program.shape_patterns, groups)
        self._books = [
            ready(
                book.rules,
                book.patterns,
                [_Group([number], is_near=number not in book.far) for number in range(len(book.rules))],
            )
            for book in program.books
        ]
        self._glossary = None


def build_engine(
    sources: Sequence[tuple[str, str | bytes]],
    disabled: Collection[str] = (),
    *,
    backend: Backend = "auto",
    compiled: bytes | None = None,
) -> Engine:
    """The engine of rule packs: from `compiled` if that fits (without reading any YAML), else from the packs.

    Raises `PackError`.
    """
    if compiled is not None:
        engine = Engine.warm(compiled, packs_digest(sources, disabled), backend=backend)
        if engine is not None:
            return engine
    return Engine(load_packs(sources, disabled), backend=backend)


def cache_key(digest: str, backend: Backend = "auto") -> str:
    """What `Engine.compiled` depends on: rules, engine, its version, CPU, and how all is written. Hexadecimal."""
    backend = _backend(backend)
    machine = matcher.hyperscan_platform() if backend == "hyperscan" else ""
    return sha256(repr((_FORMAT, digest, backend, machine)).encode()).hexdigest()


def _backend(backend: Backend) -> Literal["hyperscan", "re2"]:
    if backend == "hyperscan" and not HAS_HYPERSCAN:
        raise PackError("hyperscan is not installed; choose the engine re2 or auto")
    if backend == "auto":
        return "hyperscan" if HAS_HYPERSCAN else "re2"
    return backend


def _read_compiled(compiled: bytes, key: str) -> _Compiled | None:
    start = len(_MAGIC) + sha256().digest_size
    if not compiled.startswith(_MAGIC) or sha256(compiled[start:]).digest() != compiled[len(_MAGIC) : start]:
        return None
    try:
        kept = msgspec.msgpack.decode(memoryview(compiled)[start:], type=_Compiled)
    except msgspec.MsgspecError:
        return None
    return kept if kept.key == key else None


class _Found:
    """Matches as they come in, and how many more are looked up."""

    def __init__(self) -> None:
        self._matches: list[tuple[int, int, str, Rule]] = []  # in the order in which they are told of
        self._left = MAX_PLACES
        self._flood: tuple[int, int] | None = None

    def most(self) -> int:
        """How many places of the next rule are looked up: one more says that there are too many."""
        return min(MAX_MATCHES, max(self._left, 0)) + 1

    def add(self, rule: Rule, places: Sequence[tuple[int, int]], most: int, end: int) -> None:
        """The first `most` places of a rule in a text that ends at `end`."""
        self._left -= len(places)
        if len(places) >= most:
            self._left += 1
            start = places[-1][0]
            first, last = self._flood or (start, end)
            self._flood = (min(first, start), max(last, end))
            if most > 1:
                places = places[:-1]
        self._matches += [(start, end, rule.id, rule) for start, end in places]

    def ordered(self) -> list[Match]:
        """All of them, and the flood."""
        if self._flood is not None:
            self._matches.append((*self._flood, FLOOD.id, FLOOD))
        self._matches.sort()
        return [Match(rule, start, end) for start, end, _, rule in self._matches]


@dataclass(frozen=True, slots=True)
class _Group:
    """Patterns that share a database. `is_near`: no match has more than `_NEAR` bytes."""

    numbers: Sequence[int]
    is_near: bool = False


class _Matcher:
    """Rules of one kind of string: which match, and where. `groups`: of all patterns; None does without Hyperscan."""

    def __init__(
        self,
        rules: Sequence[Rule],
        patterns: Sequence[bytes],
        groups: Iterable[_Group] | None,
        serialized: Iterator[bytes] | None,
    ) -> None:
        self._rules = rules
        self._patterns = patterns
        self._finders: list[PlaceFinder | None] = [None] * len(rules)
        self._sets: list[tuple[_Group, HyperscanSet]] = []
        self._has_sets = groups is not None
        for group in groups or ():
            some = [patterns[number] for number in group.numbers]
            database = next(serialized) if serialized is not None else None
            try:
                self._sets.append((group, HyperscanSet(some, database)))
            except matcher.HYPERSCAN_ERRORS:
                if database is None:
                    _tell_refused([rules[number] for number in group.numbers], some)
                raise

    def serialized(self) -> list[bytes]:
        """Each database, in the order in which they are taken back."""
        return [database.serialized() for _, database in self._sets]

    def has(self, number: int, text: bytes) -> bool:
        """Whether a rule that is the only one of its group matches, or may match."""
        return not self._has_sets or bool(self._sets[number][1].which(text))

    def where(self, text: bytes, group: int | None = None, cuts: list[int] | None = None) -> list[tuple[int, _Parts]]:
        """Indexes of rules that match, or may match, in order, and the parts of the text in which they do.

        `group`: the only one to look for. `cuts`: from the start of the text to its end, places that no match crosses.
        """
        if not self._has_sets:
            return [(number, [(0, len(text))]) for number in (range(len(self._rules)) if group is None else (group,))]
        found: dict[int, _Parts] = {}
        for some, database in self._sets if group is None else (self._sets[group],):
            for start, end in _parts(len(text), some.is_near, cuts):
                # a byte more on either side, as that decides where words and lines end
                for number in database.which(text[max(start - 1, 0) : end + 1]):
                    parts = found.setdefault(some.numbers[number], [])
                    first = parts.pop()[0] if parts and parts[-1][1] >= start else start
                    parts.append((first, end))
        return sorted(found.items())

    def find(
        self,
        number: int,
        string: bytes,
        found: _Found,
        parts: _Parts,
        reading: Reading | None = None,
        stretches: Stretches | None = None,
    ) -> None:
        """All matches of a rule in a string: of bytes of a text, or of one byte for each word of a `reading`.

        `parts`: of the string, in which they all are. `stretches`: of the words that the string is made of, if it is
        not of all.
        """
        rule, most = self._rules[number], found.most()
        places = first_places(self._finder(number), string, most, parts)
        if not places:
            return
        end = len(string)
        if reading is not None:
            starts, ends = reading.bounds
            words = np.array(places)
            if stretches is not None:
                words = stretches.places(words)
            first, last = starts[words[:, 0]], ends[words[:, 1] - 1]
            places = list(zip(first.tolist(), last.tolist(), strict=True))
            end = int(ends[-1])
        found.add(rule, places, most, end)

    def _finder(self, number: int) -> PlaceFinder:
        finder = self._finders[number]
        if finder is None:  # two threads may both make it; they are alike
            finder = self._finders[number] = place_finder(self._patterns[number])
        return finder


def _parts(size: int, is_near: bool, cuts: list[int] | None) -> Iterable[tuple[int, int]]:
    """Parts of a string one of which holds all of a match."""
    if cuts is not None:
        return pairwise(cuts)
    if is_near and size > _PART:
        return [(start, min(start + _PART + _NEAR, size)) for start in range(0, size, _PART)]
    return [(0, size)]


def _tell_refused(rules: Sequence[Rule], patterns: Sequence[bytes]) -> None:
    """Raise `PackError` for those that Hyperscan refuses."""
    wrong = []
    for rule, pattern in zip(rules, patterns, strict=True):
        try:
            HyperscanSet([pattern])
        except matcher.HYPERSCAN_ERRORS as error:
            wrong.append(f"{rule.pack}: rule {rule.id!r}: field {rule.kind}: Hyperscan can't read it: {error}")
    if wrong:
        raise PackError("\n".join(wrong))


def _program(packs: RulePacks) -> _Program:
    """All patterns written out. Raises `PackError`."""
    shapes: list[int] = []
    patterns: list[bytes] = []
    books: list[_Book] = []
    drafts: dict[str, _Draft] = {}  # of each pack the one that is open
    for number, rule in enumerate(packs.rules):
        if rule.kind == "shape":
            shapes.append(number)
            patterns.append(rewrite(rule.pattern))
            continue
        draft = drafts.get(rule.pack)
        if draft is None:
            draft = drafts[rule.pack] = _Draft(packs.words[rule.pack])
        phrase = rule.phrase()
        if not draft.add(number, phrase):
            books.append(draft.closed())
            draft = drafts[rule.pack] = _Draft(packs.words[rule.pack])
            if not draft.add(number, phrase):
                raise PackError(
                    f"{rule.pack}: rule {rule.id!r}: field {rule.kind}: its lists overlap in more than {_KINDS} ways; "
                    "make it several rules"
                )
    books.extend(draft.closed() for draft in drafts.values())
    return _Program(shapes, patterns, _far(patterns), books)


def _far(patterns: Sequence[bytes]) -> list[int]:
    """The indexes of those whose matches may be long."""
    reaches = enumerate(map(longest_match, patterns))
    return [number for number, most in reaches if most is None or most > _NEAR]


class _Draft:
    """A book that is being filled."""

    def __init__(self, words: Mapping[str, tuple[str, ...]]) -> None:
        self._words = words
        self._members: dict[Atom, frozenset[str]] = {}  # words and stems of each list that a phrase names
        self._numbers: list[int] = []
        self._phrases: list[Node] = []

    def add(self, number: int, phrase: Node) -> bool:
        """Take a phrase in, if there is room."""
        members = dict(self._members)
        for atom in atoms(phrase):
            if atom.name != ANY and atom not in members:
                members[atom] = frozenset(self._words[atom.name] if atom.is_list else (atom.name,))
        if len(set(_kinds(members).values())) > _KINDS:
            return False
        self._members = members
        self._numbers.append(number)
        self._phrases.append(phrase)
        return True

    def closed(self) -> _Book:
        """The book, with its bytes fixed."""
        kinds = _kinds(self._members)
        byte_of = {kind: number for number, kind in enumerate(sorted(set(kinds.values())), _OTHER + 1)}
        bytes_of: dict[str, list[int]] = {atom.name: [] for atom in self._members}
        for kind, byte in byte_of.items():
            for name in kind:
                bytes_of[name].append(byte)

        def written(atom: Atom) -> bytes:
            if atom.name == ANY:
                return rb"[^\x00]"
            return b"[" + b"".join(b"\\x%02x" % byte for byte in bytes_of[atom.name]) + b"]"

        def common(atom: Atom) -> float:
            return commonness(self._words, atom)

        def needs(phrase: Node) -> list[list[list[int]]]:
            needed = requirements(phrase, common)
            if not all(needed):
                raise PackError("a phrase can match any words at all")
            return sorted(
                [sorted({byte for atom in clause for byte in bytes_of[atom.name]}) for clause in rarest(one, common)]
                for one in needed
            )

        repeated = sorted(
            {byte for phrase in self._phrases for atom in endless(phrase) for byte in bytes_of[atom.name]}
        )
        patterns = [expression(phrase, written) for phrase in self._phrases]
        return _Book(
            self._numbers,
            patterns,
            {word: byte_of[kind] for word, kind in kinds.items()},
            [needs(phrase) for phrase in self._phrases],
            [-1 if (most := reach(phrase)) is None else most for phrase in self._phrases],
            repeated,
            _far(patterns),
        )


def _kinds(members: Mapping[Atom, frozenset[str]]) -> dict[str, tuple[str, ...]]:
    """For each word and stem the names of the lists that it is in, also by a stem that it begins with."""
    stems: dict[str, list[str]] = {}
    for atom in sorted(members, key=lambda atom: atom.name):
        for word in members[atom]:
            if word.endswith("*"):
                stems.setdefault(word[:-1], []).append(atom.name)
    lengths = sorted({len(stem) for stem in stems})
    kinds: dict[str, set[str]] = {}
    for atom, words in members.items():
        for word in words:
            kind = kinds.setdefault(word, set())
            kind.add(atom.name)
    for word, kind in kinds.items():
        plain = word.removesuffix("*")
        for length in lengths:
            if length > len(plain):
                break
            kind.update(stems.get(plain[:length], ()))
    return {word: tuple(sorted(kind)) for word, kind in kinds.items()}


class _Vocabulary:
    """The words of all books, each with one number, and what they are in each book."""

    def __init__(self, books: Sequence[_Book]) -> None:
        stems: dict[str, dict[int, int]] = {}
        exact: dict[str, dict[int, int]] = {}
        for number, book in enumerate(books):
            for word, byte in book.codes.items():
                table = stems if word.endswith("*") else exact
                table.setdefault(word.removesuffix("*"), {})[number] = byte
        # a word is also what the longest stem that it begins with is, in books that don't name the word
        lengths = sorted({len(stem) for stem in stems})
        beginnings = {stem[: lengths[0]] for stem in stems}  # most words begin like none of them
        for table in (stems, exact):
            for word, places in table.items():
                if not lengths or word[: lengths[0]] not in beginnings:
                    continue
                for length in reversed(lengths):
                    if length <= len(word) and (inherited := stems.get(word[:length])):
                        for number, byte in inherited.items():
                            places.setdefault(number, byte)
        kinds: dict[tuple[tuple[int, int], ...], int] = {}
        for table in (stems, exact):
            for places in table.values():
                kinds.setdefault(tuple(sorted(places.items())), len(kinds) + _UNKNOWN + 1)
        size = len(kinds) + _UNKNOWN + 1
        if size > _MAX_WORDS:
            raise PackError(f"the lists of all rule packs overlap in more than {_MAX_WORDS} ways; load fewer packs")
        self._tables: list[NDArray[np.uint8]] = [np.full(size, _OTHER, np.uint8) for _ in books]
        for table_ in self._tables:
            table_[_WALL_WORD] = 0
        meanings: list[dict[int, list[int]]] = [{} for _ in books]  # of each byte of a book, the numbers of its words
        for kind, number in kinds.items():
            for book_number, byte in kind:
                self._tables[book_number][number] = byte
                meanings[book_number].setdefault(byte, []).append(number)
        self.phrases: list[tuple[int, int]] = []  # of each phrase its book, and its index there
        wanted: list[Wanted] = []
        clauses: list[list[int]] = []
        seen: dict[tuple[int, ...], int] = {}  # of each clause its number
        solid = np.ones(size, np.bool_)
        for book_number, (book, meaning) in enumerate(zip(books, meanings, strict=True)):
            solid[[number for byte in book.endless for number in meaning[byte]]] = False
            for index, (needs, most) in enumerate(zip(book.needs, book.reaches, strict=True)):
                self.phrases.append((book_number, index))
                required = []
                for requirement in needs:
                    numbered_clauses = []
                    for chosen in requirement:
                        key = (book_number, *chosen)
                        clause = seen.setdefault(key, len(clauses))
                        if clause == len(clauses):
                            clauses.append([number for byte in chosen for number in meaning[byte]])
                        numbered_clauses.append(clause)
                    required.append(numbered_clauses)
                wanted.append(Wanted(required, most if most >= 0 else None))
        self.sieve = Sieve(wanted, clauses, solid)

        def numbered(table: Mapping[str, Mapping[int, int]]) -> dict[bytes, int]:
            return {word.encode("utf-8"): kinds[tuple(sorted(places.items()))] for word, places in table.items()}

        self._exact = {b"\x00": _WALL_WORD, **numbered(exact)}
        self._stems = numbered(stems)
        # of the first bytes of stems, how long such stems are, longest first
        self._stem_sizes = {
            start: sorted({len(stem) for stem in alike}, reverse=True)
            for start, alike in groupby(sorted(self._stems), lambda stem: stem[:SHORTEST_STEM])
        }

    def number(self, word: bytes) -> int:
        """The number of a word: its own, or that of the longest stem that it begins with."""
        number = self._exact.get(word)
        if number is None:
            return self._number_of_stem(word, self._stem_sizes.get(word[:SHORTEST_STEM], ()))
        return number

    def numbers(self, words: Sequence[bytes]) -> list[int]:
        """The same of many words."""
        numbers = list(map(self._exact.get, words, repeat(_UNKNOWN)))
        for index, sizes in enumerate(map(self._stem_sizes.get, [word[:SHORTEST_STEM] for word in words])):
            if sizes and numbers[index] == _UNKNOWN:
                numbers[index] = self._number_of_stem(words[index], sizes)
        return numbers

    def _number_of_stem(self, word: bytes, sizes: Iterable[int]) -> int:
        for size in sizes:
            number = self._stems.get(word[:size])
            if number is not None:
                return number
        return _UNKNOWN

    def string(self, book: int, numbers: Numbers) -> bytes:
        """The text in the bytes of a book."""
        return self._tables[book].take(numbers).tobytes()

"""The learned score: a linear model over features of words, in overlapping windows.

Rules of this file:
- Whole numbers from the words to the risk, so that a text has one score on every machine.
- Evidence is that of a window of words, and a text is as bad as its worst one: no amount of honest text around an
  attack hides it.
- `Model.load` takes an artifact whole or not at all: it has a checksum, and its numbers are bounded.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from functools import cache
from hashlib import sha256
from importlib import resources
from itertools import pairwise
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from .features import (
    ALONE,
    FIRST,
    NEAR,
    NEAR_THREE,
    PAIRS,
    SIZE,
    TRIPLES,
    Numbers,
    Vocabulary,
    Words,
    concepts_of,
    in_a_row,
)
from .lexicon import Lexicon

WINDOW: Final = 64
"""Words of a window."""
STRIDE: Final = 32
"""Words from one window to the next."""
MOST_PER_WORD: Final = 9
"""Features that can stand at one word."""
THOUSANDTHS: Final = 1000
"""The evidence of a model is counted in thousandths of a logit."""

FILE: Final = "model.bin"
_FORMAT: Final = 1
_MAGIC: Final = b"KALGUARD-MODEL\n"
_FRACTION: Final = 20  # bits behind the point of `scale`
_MAX_BYTES: Final = 1 << 26
_BLOCK: Final = 1 << 12  # words whose features are made at once, so that they stay in the cache of the processor

_LACKING: Final = np.array([3, 2])  # features that the first two words have less than others

COUNT_BITS: Final = 12
"""What words add is one number: the sum of their weights above these bits, and in them how many features they have."""
COUNTED: Final = (1 << COUNT_BITS) - 1

# A place and two concepts in one number, and a difference of places too large for them to belong together.
_CONCEPT_BITS: Final = 6
_TWO_CONCEPTS: Final = (1 << 2 * _CONCEPT_BITS) - 1
_FIRST_CONCEPT: Final = _TWO_CONCEPTS >> _CONCEPT_BITS << _CONCEPT_BITS
_APART: Final = NEAR + 1 << 2 * _CONCEPT_BITS
_APART_THREE: Final = NEAR_THREE + 1 << 2 * _CONCEPT_BITS
_LONG_AGO: Final = -1 << 60

Curve: TypeAlias = tuple[tuple[int, int], ...]
"""Points (evidence, risk), both rising; risks between them are on straight lines, those outside are the outermost."""


class ModelError(ValueError):
    """An artifact can't be used."""


class _Artifact(msgspec.Struct, frozen=True):
    """A model as it is kept. `weights` are int16, `scale` int64, little endian."""

    format: int
    weights: bytes
    scale: bytes
    bias: int
    curve: list[tuple[int, int]]
    concepts: list[str]
    words: dict[bytes, int]
    stems: dict[bytes, int]
    strings: dict[bytes, int]


class Model:
    """Weights, a lexicon, and a curve from evidence to risk. Immutable; safe to use from any thread.

    `weights`: int16, one for each feature. `scale`: what a sum of n weights is multiplied with, in units of 2^-20
    thousandths of a logit. `bias`: in thousandths of a logit.
    """

    def __init__(
        self, weights: NDArray[np.int16], scale: NDArray[np.int64], bias: int, curve: Curve, lexicon: Lexicon
    ) -> None:
        if len(weights) != SIZE or len(scale) <= WINDOW * MOST_PER_WORD:
            raise ModelError(f"a model has {SIZE} weights and {WINDOW * MOST_PER_WORD + 1} scales")
        if len(curve) < 2 or any(right[0] <= left[0] or right[1] < left[1] for left, right in pairwise(curve)):
            raise ModelError("the curve of a model has at least two points, and rises")
        self.weights = weights
        self.scale = scale
        self.bias = bias
        self.curve = curve
        self.lexicon = lexicon
        self.vocabulary = Vocabulary(lexicon)
        self._thresholds = [evidence for evidence, _ in curve]
        # what one to three concepts add; the first of three that is none stands for all that is not near the others
        one, two, three = ((weights.take(each).astype(np.int32) << COUNT_BITS) + 1 for each in (ALONE, PAIRS, TRIPLES))
        two[0] = three[0] = 0
        three += one
        self._of_two, self._of_three = two.ravel(), three.ravel()

    @classmethod
    def load(cls, artifact: bytes) -> Model:
        """The model of an artifact. Raises `ModelError`."""
        start = len(_MAGIC) + sha256().digest_size
        if not artifact.startswith(_MAGIC) or sha256(artifact[start:]).digest() != artifact[len(_MAGIC) : start]:
            raise ModelError("not a whole model: train it again, or take it again from where it came from")
        try:
            kept = msgspec.msgpack.decode(_inflated(artifact[start:]), type=_Artifact)
        except (msgspec.MsgspecError, zlib.error) as error:
            raise ModelError(f"not a model: {error}") from None
        if kept.format != _FORMAT:
            raise ModelError(f"a model of format {kept.format}; this version reads {_FORMAT}: train it again")
        if len(kept.weights) % 2 or len(kept.scale) % 8:
            raise ModelError("not a model: half a number in it")
        return cls(
            np.frombuffer(kept.weights, "<i2").astype(np.int16),
            np.frombuffer(kept.scale, "<i8").astype(np.int64),
            kept.bias,
            tuple(kept.curve),
            Lexicon(tuple(kept.concepts), kept.words, kept.stems, kept.strings),
        )

    def dump(self) -> bytes:
        """The artifact. Equal models have equal artifacts."""
        lexicon = self.lexicon
        body = msgspec.msgpack.encode(
            _Artifact(
                _FORMAT,
                self.weights.astype("<i2").tobytes(),
                self.scale.astype("<i8").tobytes(),
                self.bias,
                list(self.curve),
                list(lexicon.names),
                *(dict(sorted(entries.items())) for entries in (lexicon.words, lexicon.stems, lexicon.strings)),
            )
        )
        packed = zlib.compress(body, 9)
        return _MAGIC + sha256(packed).digest() + packed

    def contributions(self, words: Words) -> Numbers:
        """What each word adds: the weights of the features that stand at it (see `weights_of`), and their number.

        Sums of them are what several words add.
        """
        added = np.empty(len(words), np.int64)
        for start in range(0, len(words), _BLOCK):
            before = max(start - max(FIRST), 0)
            weights = self.weights.take(in_a_row(words[before : start + _BLOCK]))
            if not start:
                weights[1:, 0] = weights[2:, 1:2] = 0  # nothing stands before the first words
            np.add.reduce(weights[:, start - before :], axis=0, dtype=np.int64, out=added[start : start + _BLOCK])
        added <<= COUNT_BITS
        added += len(FIRST)
        added[:2] -= _LACKING[: len(words)]
        concepts = concepts_of(words)
        known = concepts.nonzero()[0]
        if len(known):
            added[known] += self._of_concepts(known, concepts.take(known))
        return added

    def _of_concepts(self, places: Numbers, concepts: Numbers) -> NDArray[np.int32]:
        """What concepts at these words add: each alone, and with one, two or three before it."""
        # A place and a concept are one number here, so that a difference of two says how far apart two words are, and
        # in its lowest bits which two concepts they are.
        places = places << 2 * _CONCEPT_BITS
        before = np.empty(len(places) + 3, np.int64)
        before[:3] = _LONG_AGO
        np.subtract(places, concepts << _CONCEPT_BITS, out=before[3:])
        # of three, two, and one concept before each: the same numbers, moved
        away = places + concepts - np.ndarray((3, len(places)), np.int64, before, 0, (8, 8))
        together = np.minimum(away, _APART) & _TWO_CONCEPTS
        three = (np.minimum(away[1], _APART_THREE) & _FIRST_CONCEPT) << _CONCEPT_BITS | away[2] & _TWO_CONCEPTS
        added: NDArray[np.int32] = np.add.reduce(self._of_two.take(together), axis=0, dtype=np.int32)
        added += self._of_three.take(three)
        return added

    def evidence(self, weights: Numbers, count: Numbers) -> Numbers:
        """The evidence of windows, from the sum of their weights and the number of their features."""
        return (weights * self.scale.take(count) >> _FRACTION) + self.bias

    def risk(self, evidence: int) -> int:
        """The risk (0-100) that the curve gives to evidence."""
        index = bisect_right(self._thresholds, evidence)
        if index == 0:
            return self.curve[0][1]
        if index == len(self.curve):
            return self.curve[-1][1]
        (left, low), (right, high) = self.curve[index - 1], self.curve[index]
        return low + (evidence - left) * (high - low) // (right - left)


def window_bounds(start: int, end: int) -> list[tuple[int, int]]:
    """The windows of a stretch of words: overlapping, the last one as long as the others."""
    if end - start <= WINDOW:
        return [(start, end)] if end > start else []
    starts = [*range(start, end - WINDOW, STRIDE), end - WINDOW]
    return [(first, first + WINDOW) for first in starts]


def weights_of(added: Numbers) -> Numbers:
    """The weights in what words add."""
    return added >> COUNT_BITS


@cache
def bundled_model() -> Model:
    """The model that comes with KalGuard. Raises `ModelError`."""
    return Model.load(resources.files(__package__).joinpath(FILE).read_bytes())


def _inflated(packed: bytes) -> bytes:
    machine: Any = zlib.decompressobj()
    body: bytes = machine.decompress(packed, _MAX_BYTES)
    if machine.unconsumed_tail:
        raise zlib.error("it is larger than any model")
    return body

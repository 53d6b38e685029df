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
    CONCEPTS,
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
_STEPS: Final = np.array([[2], [1], [0]])

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
        self._of_one, self._of_two, self._of_three = (
            _without_none(weights.take(each)) for each in (ALONE, PAIRS, TRIPLES)
        )

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

    def contributions(self, words: Words) -> tuple[Numbers, Numbers]:
        """What each word adds to the sum of weights, and how many features stand at it."""
        sums = np.empty(len(words), np.int64)
        counts = np.full(len(words), len(FIRST), np.int64)
        counts[:2] = (1, 2)[: len(words)]
        for start in range(0, len(words), _BLOCK):
            before = max(start - max(FIRST), 0)
            weights = self.weights.take(in_a_row(words[before : start + _BLOCK]))
            if not start:
                for row, first in zip(weights, FIRST, strict=True):
                    row[:first] = 0
            weights[:, start - before :].sum(axis=0, out=sums[start : start + _BLOCK])
        concepts = concepts_of(words)
        known = np.flatnonzero(concepts)
        if len(known):
            added, many = self._of_concepts(known, concepts.take(known))
            sums[known] += added
            counts[known] += many
        return sums, counts

    def _of_concepts(self, places: Numbers, concepts: Numbers) -> tuple[Numbers, Numbers]:
        """What concepts at these words add: each alone, and with one, two or three before it."""
        alone, pairs, triples = self._of_one, self._of_two, self._of_three
        padded = np.zeros((2, len(places) + 3), np.int64)
        padded[0, :3] = -NEAR_THREE - 1
        padded[:, 3:] = places, concepts
        before = np.arange(len(places)) + _STEPS
        away = places - padded[0].take(before)
        others = padded[1].take(before)
        near = away <= NEAR
        near_three = away[1] <= NEAR_THREE
        together = (others * near) * CONCEPTS + concepts
        three = ((others[1] * CONCEPTS + others[0]) * CONCEPTS + concepts) * near_three
        added = alone.take(concepts) + pairs.take(together).sum(axis=0) + triples.take(three)
        return added, near.sum(axis=0) + near_three + 1

    def evidence(self, total: Numbers, count: Numbers) -> Numbers:
        """The evidence of windows, from the sum of their weights and the number of their features."""
        return (total * self.scale[np.minimum(count, len(self.scale) - 1)] >> _FRACTION) + self.bias

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


def _without_none(weights: NDArray[np.int16]) -> NDArray[np.int16]:
    """The weights of concepts in a row, with nothing where one of them is none."""
    for axis in range(weights.ndim):
        weights.swapaxes(0, axis)[0] = 0
    return weights.ravel()


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

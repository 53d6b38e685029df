"""Training: labelled texts in, a model out.

Rules of this file:
- The same rows in the same order give the same model on the same machine. (Sums of floats may differ in the last bits
  between CPUs; a model, once trained, scores alike everywhere.)
- Sources, not texts, are what a model must get over: a feature counts only if at least `LEAST_SOURCES` sources have it,
  large sources count by the root of their size, and KalGuard's own texts twice as much.
- The curve from evidence to risk comes from honest texts of sources that the model had not seen when it scored them.
- The texts of an attack that are not the attack are not learned as one: after a first round only the windows of an
  attack that look most like attacks stay.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from random import Random
from typing import Any, Final, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from .evaluation import Row, folds
from .features import SIZE, Numbers, Vocabulary, features_of
from .fold import fold_bytes
from .legible import legible
from .lexicon import bundled_lexicons, read_lexicons
from .model import MOST_PER_WORD, THOUSANDTHS, WINDOW, Curve, Model, window_bounds

Floats: TypeAlias = NDArray[np.float64]
Progress: TypeAlias = Callable[[], None]

LEAST_SOURCES: Final = 3
MOST_ROWS: Final = 2500
"""Texts of one source and label; of more, a part is taken."""
NOISY: Final = frozenset({("prompt_armor:jackhhao_jailbreak", True)})
"""(source, attack) that are not learned from: most of what this one calls attacks are honest questions."""
SYSTEM_PROMPTS: Final = frozenset({"claude-code-system-prompts"})
"""Sources of system prompts: read by nobody as a user's text, so they don't decide what a user's text may score."""

_MOST_CHARACTERS: Final = 12_000
_MOST_WINDOWS: Final = 24
_LEAST_FEATURES: Final = 30  # a window with fewer is learned from as if it had so many
_LEAST_TRUSTED: Final = 60  # and scored as if it had so many: a few words are weak evidence, whatever they are
_POWER: Final = 0.7  # evidence grows with the sum of weights over this power of the number of features
_GAIN: Final = 4.0
_PENALTY: Final = 1e-5
_ATTACK_SHARE: Final = 0.5  # of the weight of honest texts, what all attacks together have
_OWN_SHARE: Final = 2.0  # of the weight that another source of its size has: it holds the contrasts that others lack
_ROUND_ONE, _ROUND_TWO = 26, 14  # steps of L-BFGS
_NEAR_BEST: Final = 0.5  # logits below the best window of an attack
_FOLDS: Final = 6
# Honest texts of unseen sources that the model alone may score 50 and 70 or more: the macro average over sources,
# and the worst source. Rules add theirs.
_RATES: Final = {50: (0.015, 0.08), 70: (0.0030, 0.018)}


@dataclass(frozen=True, slots=True)
class _Matrix:
    """Windows and the features in each: those of window i are `features[bounds[i]:bounds[i + 1]]`."""

    features: NDArray[np.int32]
    bounds: Numbers
    scale: NDArray[np.float32]

    def taken(self, windows: Numbers) -> _Matrix:
        """Some of the windows."""
        sizes = np.diff(self.bounds)[windows]
        bounds = np.concatenate(([0], np.cumsum(sizes)))
        where = np.arange(bounds[-1]) + np.repeat(self.bounds[windows] - bounds[:-1], sizes)
        return _Matrix(self.features[where], bounds, self.scale[windows])

    def times(self, weights: Floats) -> Floats:
        """The scaled sum of weights of each window."""
        sums = np.concatenate(([0.0], np.cumsum(weights.astype(np.float32)[self.features], dtype=np.float64)))
        return (sums[self.bounds[1:]] - sums[self.bounds[:-1]]) * self.scale

    def transposed_times(self, values: Floats) -> Floats:
        """For each feature the scaled sum of the values of its windows."""
        spread = np.repeat((values * self.scale).astype(np.float32), np.diff(self.bounds))
        return np.bincount(self.features, weights=spread, minlength=SIZE).astype(np.float64, copy=False)


class Trainer:
    """Labelled texts as features, made once for any number of models.

    `rows` are joined by KalGuard's own corpus. `progress` is called once for each text, and for each model.
    """

    def __init__(self, rows: Iterable[Row], progress: Progress = lambda: None) -> None:
        self._progress = progress
        self.lexicon = read_lexicons(bundled_lexicons())
        rows = list(rows)
        self._sizes = Counter(row.source for row in rows)
        self.rows = [*_sampled(rows), *bundled_corpus()]
        attacks = np.array([row.attack for row in self.rows])
        numbers = {source: number for number, source in enumerate(sorted({row.source for row in self.rows}))}
        source_of_row = np.array([numbers[row.source] for row in self.rows])
        self._names = sorted(numbers)
        self._matrix, self._owner = self._read()
        self._attack = attacks[self._owner]
        self._source = source_of_row[self._owner]
        sizes = Counter((row.source, row.attack) for row in self.rows)
        self._row_weight = np.array([_weight(row, sizes[row.source, row.attack]) for row in self.rows])

    def _read(self) -> tuple[_Matrix, Numbers]:
        vocabulary = Vocabulary(self.lexicon)
        features: list[NDArray[np.int32]] = []
        sizes: list[int] = []
        owner: list[int] = []
        for index, row in enumerate(self.rows):
            self._progress()
            words = vocabulary.words_of(legible(fold_bytes(row.text[:_MOST_CHARACTERS])))
            if not len(words):
                continue
            kinds = list(features_of(words))
            everywhere = np.arange(len(words))
            places = np.concatenate([everywhere[each] if isinstance(each, slice) else each for each, _ in kinds])
            order = np.argsort(places, kind="stable")
            places = places[order]
            found = np.concatenate([each for _, each in kinds])[order].astype(np.int32)
            bounds = window_bounds(0, len(words))
            if len(bounds) > _MOST_WINDOWS:
                bounds = [bounds[at] for at in np.linspace(0, len(bounds) - 1, _MOST_WINDOWS).astype(int)]
            for start, end in bounds:
                first, last = np.searchsorted(places, (start, end))
                features.append(found[first:last])
                sizes.append(int(last - first))
                owner.append(index)
        counted = np.array(sizes)
        return (
            _Matrix(
                np.concatenate(features),
                np.concatenate(([0], np.cumsum(counted))),
                _scale(counted).astype(np.float32),
            ),
            np.array(owner),
        )

    @cached_property
    def _sources_with(self) -> NDArray[np.bool_]:
        """Which sources (rows) have which features (columns)."""
        found = np.zeros((len(self._names), SIZE), bool)
        sizes = np.diff(self._matrix.bounds)
        found[np.repeat(self._source, sizes), self._matrix.features] = True
        return found

    def fit(self, without: Collection[str] = ()) -> Model:
        """A model of all sources but some; its curve knows nothing yet (`with_curve`)."""
        left_out = np.array([name in without for name in self._names])
        windows = np.flatnonzero(~left_out[self._source] & (self._row_weight[self._owner] > 0))
        matrix = self._matrix.taken(windows)
        known = self._sources_with[~left_out].sum(axis=0) >= LEAST_SOURCES
        owner, attack = self._owner[windows], self._attack[windows]
        of_row = np.bincount(owner, minlength=len(self.rows))
        weights = self._row_weight[owner] / np.where(attack, of_row[owner], 1)
        solution = _solve(matrix, attack, _balanced(weights, attack), known, np.zeros(SIZE + 1), _ROUND_ONE)
        found = matrix.times(solution[:-1]) + solution[-1]
        best = np.full(len(self.rows), -np.inf)
        np.maximum.at(best, owner, found)
        weights = self._row_weight[owner] * np.where(attack, found >= best[owner] - _NEAR_BEST, 1.0)
        solution = _solve(matrix, attack, _balanced(weights, attack), known, solution, _ROUND_TWO)
        self._progress()
        return self._quantized(solution)

    def _quantized(self, solution: Floats) -> Model:
        weights, bias = solution[:-1], float(solution[-1])
        unit = max(float(np.abs(weights).max()), 1e-9) / np.iinfo(np.int16).max
        counts = np.arange(WINDOW * MOST_PER_WORD + 1)
        scale = np.rint(_scale(np.maximum(counts, _LEAST_TRUSTED)) * unit * THOUSANDTHS * (1 << 20)).astype(np.int64)
        return Model(
            np.rint(weights / unit).astype(np.int16), scale, round(bias * THOUSANDTHS), ((0, 0), (1, 0)), self.lexicon
        )

    def evidence(self, model: Model, sources: Collection[str]) -> dict[int, int]:
        """The evidence that a model sees in each row (by index) of some sources."""
        chosen = np.flatnonzero(np.array([name in sources for name in self._names])[self._source])
        matrix = self._matrix.taken(chosen)
        sums = np.concatenate(([0], np.cumsum(model.weights[matrix.features], dtype=np.int64)))
        found = model.evidence(sums[matrix.bounds[1:]] - sums[matrix.bounds[:-1]], np.diff(matrix.bounds))
        best: dict[int, int] = {}
        for row, evidence in zip(self._owner[chosen].tolist(), found.tolist(), strict=True):
            best[row] = max(evidence, best.get(row, evidence))
        return best

    def left_out(self, plan: Sequence[Collection[str]]) -> list[Model]:
        """For each fold (sources that are left out together) a model that never saw it.

        The curve of each comes from the honest texts of the other folds, scored by the models that never saw those.
        """
        models = [self.fit(fold) for fold in plan]
        seen = [self.evidence(model, fold) for model, fold in zip(models, plan, strict=True)]
        return [
            with_curve(model, self.curve([found for other, found in enumerate(seen) if other != index]))
            for index, model in enumerate(models)
        ]

    def final(self) -> Model:
        """The model of all rows; its curve comes from models that had not seen what they scored."""
        plan = self.plan()
        seen = [self.evidence(self.fit(fold), fold) for fold in plan]
        return with_curve(self.fit(), self.curve(seen))

    def plan(self) -> list[tuple[str, ...]]:
        """The folds that `kalguard firewall evaluate --folds 6` measures: what it says of thresholds is then of this
        curve."""
        return folds(self._sizes, _FOLDS)

    def curve(self, seen: Sequence[Mapping[int, int]]) -> Curve:
        """From evidence to risk, so that honest texts score as `_RATES` says."""
        by_source: dict[str, list[int]] = defaultdict(list)
        for found in seen:
            for index, evidence in found.items():
                row = self.rows[index]
                if not row.attack and row.source not in SYSTEM_PROMPTS:
                    by_source[row.source].append(evidence)
        honest = [np.sort(np.array(found)) for _, found in sorted(by_source.items())]
        at = {risk: _threshold(honest, *rates) for risk, rates in _RATES.items()}
        low = min(at[50], at[70] - 10)
        step = at[70] - low
        none = low - max(2 * step, 1500)
        return ((none, 0), (low, 50), (at[70], 70), (at[70] + 2 * step + 1000, 95))


def train(rows: Iterable[Row], progress: Progress = lambda: None) -> bytes:
    """The artifact of a model trained on these rows and KalGuard's own corpus.

    `progress` is called once for each text, and for each of the seven models that are fitted.
    """
    return Trainer(rows, progress).final().dump()


def with_curve(model: Model, curve: Curve) -> Model:
    """The model with another curve."""
    return Model(model.weights, model.scale, model.bias, curve, model.lexicon)


OWN: Final = "kalguard:"
"""How the sources of KalGuard's own corpus begin."""


def bundled_corpus() -> list[Row]:
    """KalGuard's own texts, each language a source; Hindi in Latin letters is one with Hindi."""
    folder = resources.files(__package__).joinpath("corpus")
    files = sorted((file.name, file) for file in folder.iterdir() if file.name.endswith(".jsonl"))
    rows = []
    for name, file in files:
        for line in file.read_bytes().splitlines():
            entry: dict[str, Any] = orjson.loads(line)
            rows.append(
                Row(
                    entry["text"],
                    entry["label"] == "attack",
                    OWN + name.removesuffix(".jsonl").split("-")[0],
                    entry["kind"],
                )
            )
    return rows


def _weight(row: Row, size: int) -> float:
    """The weight of a row of a source that has so many of its label."""
    if (row.source, row.attack) in NOISY:
        return 0.0
    share: float = size**-0.5
    return share * _OWN_SHARE if row.source.startswith(OWN) else share


def _sampled(rows: Iterable[Row]) -> list[Row]:
    groups: dict[tuple[str, bool], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.source, row.attack].append(row)
    taken = []
    for key, group in sorted(groups.items()):
        taken += group if len(group) <= MOST_ROWS else Random(repr(key)).sample(group, MOST_ROWS)  # noqa: S311
    return taken


def _scale(counts: Numbers) -> Floats:
    scale: Floats = _GAIN / np.maximum(counts, _LEAST_FEATURES) ** _POWER
    return scale


def _balanced(weights: Floats, attack: NDArray[np.bool_]) -> Floats:
    weights = weights.copy()
    weights[attack] *= _ATTACK_SHARE * weights[~attack].sum() / max(weights[attack].sum(), 1e-12)
    balanced: Floats = weights / weights.sum()
    return balanced


def _threshold(honest: Sequence[Numbers], macro: float, worst: float) -> int:
    """The lowest evidence that no more than these shares of honest texts have: in the mean of sources, and in any."""
    candidates = np.unique(np.concatenate(honest))
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        rates = [1 - np.searchsorted(found, candidates[middle]) / len(found) for found in honest]
        if sum(rates) / len(rates) <= macro and max(rates) <= worst:
            high = middle
        else:
            low = middle + 1
    return int(candidates[low]) if low < len(candidates) else int(candidates[-1]) + 1


def _solve(
    matrix: _Matrix, attack: NDArray[np.bool_], share: Floats, known: NDArray[np.bool_], start: Floats, steps: int
) -> Floats:
    """Weights and bias of a logistic regression with a quadratic penalty, over the known features."""
    sign = np.where(attack, 1.0, -1.0)

    def loss(solution: Floats) -> tuple[float, Floats]:
        weights = solution[:-1]
        margin = sign * (matrix.times(weights) + solution[-1])
        slope = -sign * share / (1 + np.exp(np.clip(margin, -50, 50)))
        gradient = (matrix.transposed_times(slope) + _PENALTY * weights) * known
        value = float(share @ np.logaddexp(0, -margin)) + 0.5 * _PENALTY * float(weights @ weights)
        return value, np.append(gradient, slope.sum())

    return _minimize(loss, start, steps)


def _minimize(loss: Callable[[Floats], tuple[float, Floats]], start: Floats, steps: int, memory: int = 8) -> Floats:
    """L-BFGS with backtracking (Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 3.1)."""
    point = start
    value, gradient = loss(point)
    moves: list[tuple[Floats, Floats, float]] = []
    for _ in range(steps):
        direction = gradient.copy()
        factors = []
        for move, change, curvature in reversed(moves):
            factor = float(move @ direction) / curvature
            direction -= factor * change
            factors.append(factor)
        if moves:
            move, change, curvature = moves[-1]
            direction *= curvature / float(change @ change)
        else:
            direction /= max(float(np.linalg.norm(gradient)), 1e-12)
        for (move, change, curvature), factor in zip(moves, reversed(factors), strict=True):
            direction += (factor - float(change @ direction) / curvature) * move
        slope, size = float(gradient @ direction), 1.0
        for _ in range(12):
            new = point - size * direction
            new_value, new_gradient = loss(new)
            if new_value <= value - 1e-4 * size * slope:
                break
            size /= 2
        else:
            return point
        move, change = new - point, new_gradient - gradient
        if float(move @ change) > 1e-12:
            moves = [*moves[1 - memory :], (move, change, float(move @ change))]
        point, value, gradient = new, new_value, new_gradient
    return point

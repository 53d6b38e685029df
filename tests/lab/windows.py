"""What a model sees in each window of a text, one after another: what the firewall does in bulk, written plainly."""

from __future__ import annotations

from kalguard_core.firewall.features import Words
from kalguard_core.firewall.model import COUNTED, Model, weights_of, window_bounds


def evidence_of_windows(model: Model, words: Words) -> dict[tuple[int, int], int]:
    """The evidence in each window (words from, to)."""
    added = model.contributions(words)
    weights, counts = weights_of(added), added & COUNTED
    return {
        (start, end): int(
            model.evidence(weights[start:end].sum(keepdims=True), counts[start:end].sum(keepdims=True))[0]
        )
        for start, end in window_bounds(0, len(words))
    }

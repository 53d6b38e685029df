"""What a model sees in each window of a text, one after another: what the firewall does in bulk, written plainly."""

from __future__ import annotations

import numpy as np

from kalguard_core.firewall.features import Words
from kalguard_core.firewall.model import Model, window_bounds


def evidence_of_windows(model: Model, words: Words) -> dict[tuple[int, int], int]:
    """The evidence in each window (words from, to)."""
    sums, counts = model.contributions(words)
    return {
        (start, end): int(model.evidence(np.array([sums[start:end].sum()]), np.array([counts[start:end].sum()]))[0])
        for start, end in window_bounds(0, len(words))
    }

"""All detectors. To add one: an entry in one of the lists below these names, and its cases in the tests."""

from __future__ import annotations

from typing import Final

from .base import Detector
from .personal import PERSONAL
from .secrets import SECRETS

DETECTORS: Final[tuple[Detector, ...]] = (*SECRETS, *PERSONAL)
BY_ID: Final = {detector.id: detector for detector in DETECTORS}
GROUPS: Final = frozenset({"secret", "personal"})


def _by_kind() -> dict[str, tuple[Detector, ...]]:
    kinds: dict[str, tuple[Detector, ...]] = {}
    for detector in DETECTORS:
        kinds[detector.kind] = (*kinds.get(detector.kind, ()), detector)
    return kinds


BY_KIND: Final = _by_kind()

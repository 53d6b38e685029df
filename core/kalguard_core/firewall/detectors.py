"""What finds attacks in text, for all profiles of one document: one set of compiled rules, and what each leaves out."""

from __future__ import annotations

from functools import lru_cache

from .base import PromptFirewall
from .engine import FLOOD, Engine, build_engine
from .pack import bundled_packs
from .profile import DetectorOptions
from .profiled import Muted
from .rulepack import ENCODED, RulePackFirewall

Packs = tuple[tuple[str, str], ...]
"""(source, YAML) of an operator's own rule packs."""


class Detectors:
    """Makes the detectors of profiles: those with equal options are one and the same.

    `packs`: beside the bundled ones. `compiled`: what `compiled()` gave for the same packs, to start faster; what
    does not fit is compiled anew. `rules`: the category of each rule, by id. Raises `pack.PackError`.
    """

    def __init__(self, packs: Packs = (), compiled: bytes | None = None) -> None:
        self._engine = _engine(packs, compiled)
        self._firewall = RulePackFirewall(self._engine)
        self.rules = {rule.id: rule.category for rule in (*self._engine.rules, ENCODED, FLOOD)}
        self._made: dict[DetectorOptions, PromptFirewall] = {}

    def make(self, options: DetectorOptions) -> PromptFirewall:
        """The detector with these options."""
        if options not in self._made:
            bare = not options.disabled_rules and not options.disabled_categories
            self._made[options] = self._firewall if bare else Muted(self._firewall, options)
        return self._made[options]

    def compiled(self) -> bytes:
        """The rules as they were compiled here, for the same packs on the same machine."""
        return self._engine.compiled()


@lru_cache(maxsize=2)
def _engine(packs: Packs, compiled: bytes | None) -> Engine:
    return build_engine([*bundled_packs(), *packs], compiled=compiled)

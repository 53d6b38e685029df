"""What finds attacks in text, for all profiles of one document: one set of compiled rules, and what each leaves out."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Protocol

from .base import PromptFirewall
from .detector import OWN_RULES, Detector
from .engine import Engine, build_engine
from .model import bundled_model
from .pack import bundled_packs
from .profile import DetectorOptions
from .sensitive import compile_sieve

Packs = tuple[tuple[str, str], ...]
"""(source, YAML) of an operator's own rule packs."""


class Compiler(Protocol):
    """Compiles what profiles are made of, or has it ready."""

    def engine(self, packs: Packs) -> Engine:
        """The engine of an operator's packs and the bundled ones. Raises `pack.PackError`."""
        ...

    def sieve(self) -> bytes | None:
        """The patterns of sensitive data, for `SensitiveData(compiled=…)`; None where Hyperscan is missing."""
        ...


class Here:
    """Compiles here, once for each set of packs."""

    def engine(self, packs: Packs) -> Engine:
        """See `Compiler.engine`."""
        return _engine(packs, None)

    def sieve(self) -> bytes | None:
        """See `Compiler.sieve`."""
        return _sieve()


class Ready:
    """Has what was compiled elsewhere, on the same machine; what does not fit is compiled anew."""

    def __init__(self, engine: bytes, sieve: bytes | None) -> None:
        self._engine = engine
        self._sieve = sieve

    def engine(self, packs: Packs) -> Engine:
        """See `Compiler.engine`."""
        return _engine(packs, self._engine)

    def sieve(self) -> bytes | None:
        """See `Compiler.sieve`."""
        return self._sieve


@lru_cache(maxsize=2)
def _engine(packs: Packs, compiled: bytes | None) -> Engine:
    return build_engine([*bundled_packs(), *packs], compiled=compiled)


@cache
def _sieve() -> bytes | None:
    try:
        return compile_sieve()
    except ImportError:
        return None


class Detectors:
    """Makes the detectors of profiles: those with equal options are one and the same.

    `rules`: the category of each rule, by id. `sieve`: see `Compiler`. Raises `pack.PackError`.
    """

    def __init__(self, packs: Packs, compiler: Compiler) -> None:
        self.engine = engine = compiler.engine(packs)
        self.sieve = compiler.sieve()
        self.rules = {rule.id: rule.category for rule in (*engine.rules, *OWN_RULES)}
        self._made: dict[DetectorOptions, PromptFirewall] = {}

    def make(self, options: DetectorOptions) -> PromptFirewall:
        """The detector with these options."""
        if options not in self._made:
            self._made[options] = Detector(
                self.engine,
                bundled_model() if options.model else None,
                decoding=options.decoding,
                disabled_rules=options.disabled_rules,
                disabled_categories=options.disabled_categories,
            )
        return self._made[options]


def default_firewall() -> PromptFirewall:
    """The detector that is there without a firewall document: the bundled rules and model."""
    return _default()


@cache
def _default() -> PromptFirewall:
    return Detectors((), Here()).make(DetectorOptions())

"""The one place where the commands reach for training: a model from rows, and a firewall with that model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any

from .chosen import Maker, compiler

if TYPE_CHECKING:
    from kalguard_core.firewall import PromptFirewall
    from kalguard_core.firewall.evaluation import Row


def bundled_artifact() -> bytes:
    """The artifact of the model that comes with KalGuard."""
    from kalguard_core.firewall.model import FILE

    return resources.files("kalguard_core.firewall").joinpath(FILE).read_bytes()


def model_of(rows: Sequence[Row], step: Callable[[], None] = lambda: None) -> bytes:
    """The artifact of a model trained on these rows and the bundled corpus. `step` is called now and then."""
    artifact: bytes = training().train(rows, step)
    return artifact


def models_left_out(
    rows: Sequence[Row], plan: Sequence[Sequence[str]], step: Callable[[], None] = lambda: None
) -> list[bytes]:
    """For each fold of sources the artifact of a model that saw nothing of them. `step` is called now and then."""
    return [model.dump() for model in training().Trainer(rows, step).left_out(plan)]


def firewall_with(artifact: bytes) -> PromptFirewall:
    """The firewall that a server uses, with another model. Raises `ModelError`."""
    from kalguard_core.firewall import Detector
    from kalguard_core.firewall.model import Model

    return Detector(compiler().engine(()), Model.load(artifact))


def trained_maker(artifact: bytes) -> Maker:
    """`firewall_with`, for another process."""
    return partial(firewall_with, artifact)


def training() -> Any:
    """The module that trains; nothing else needs it, so it is imported where it is used."""
    return import_module("kalguard_core.firewall.training")

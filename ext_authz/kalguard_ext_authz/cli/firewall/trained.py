"""The one place where the commands reach for training: a model from rows, and a firewall with that model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .chosen import Maker

if TYPE_CHECKING:
    from kalguard_core.firewall import PromptFirewall
    from kalguard_core.firewall.evaluation import Row

ARTIFACT: Final = "model.bin"
"""The bundled model, in the folder of `kalguard_core.firewall`."""

_MODULE: Final = "kalguard_core.firewall.training"


class TrainingMissing(Exception):
    """This build has no means to train."""


def model_of(rows: Sequence[Row], step: Callable[[], None] = lambda: None) -> bytes:
    """The artifact of a model trained on these rows and the bundled corpus. Raises `TrainingMissing`.

    `step` is called now and then.
    """
    artifact = _training().train(rows, progress=step)
    assert isinstance(artifact, bytes)
    return artifact


def firewall_with(artifact: bytes) -> PromptFirewall:
    """The firewall that a server uses, with another model."""
    firewall: PromptFirewall = _training().firewall_with(artifact)
    return firewall


def trained_maker(artifact: bytes) -> Maker:
    """`firewall_with`, for another process."""
    return partial(firewall_with, artifact)


def _training() -> Any:
    try:
        return import_module(_MODULE)
    except ModuleNotFoundError as error:
        if error.name != _MODULE:
            raise
        raise TrainingMissing("this build can't train a model") from None

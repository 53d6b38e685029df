"""`kalguard firewall`: score texts, see why, measure, and rebuild the model."""

from __future__ import annotations

import click

from .evaluate import evaluate
from .explain import explain
from .score import score
from .train import train


@click.group()
def firewall() -> None:
    """Score texts with the prompt firewall, see why, and measure it.

    Nothing leaves this machine, and no server is needed.
    """


for _command in (score, explain, evaluate, train):
    firewall.add_command(_command)

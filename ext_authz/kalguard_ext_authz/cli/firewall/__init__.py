"""`kalguard firewall`: score texts, see why, list the rules, measure, and rebuild the model."""

from __future__ import annotations

import click

from .evaluate import evaluate
from .explain import explain
from .rules import rules
from .score import score
from .train import train


@click.group()
def firewall() -> None:
    """Score texts with the prompt firewall, see why, and measure it.

    Nothing leaves this machine, and no server is needed.
    """


for _command in (score, explain, rules, evaluate, train):
    firewall.add_command(_command)

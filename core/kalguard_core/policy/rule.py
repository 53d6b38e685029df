"""A rule, and the document it is read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, StringConstraints

from ..codes import Outcome
from ..documents import Place, StrictModel
from .conditions import MATCH_KEYS, Condition
from .query import Match, OnUnrewritable
from .values import OneOf

_Decision = Literal["allow", "deny", "require_approval"]


def _printable(text: str) -> str:
    # Ids go into logs, metrics and headers, where a line break would forge a line.
    if not text.isprintable():
        raise ValueError("must hold no line breaks or other control characters")
    return text


_Id = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
_Text = Annotated[str, StringConstraints(min_length=1)]


class _PolicyModel(StrictModel):
    # Keys are written one way only; the Python names of fields are no second spelling.
    model_config = ConfigDict(populate_by_name=False)


class RuleDocument(_PolicyModel):
    """One entry of `rules`. `match` is read by the registry of match keys."""

    id: _Id | None = None
    match: dict[str, Any] = Field(default_factory=dict)
    decision: _Decision
    reason: _Text | None = None
    on_unrewritable: OnUnrewritable | None = Field(
        default=None, validation_alias=AliasChoices("onUnrewritable", "on_unrewritable")
    )
    firewall: _Id | None = None
    description: str = ""


class PolicyDocument(_PolicyModel):
    """A policy file."""

    version: Literal["1.0"] = "1.0"
    rules: list[RuleDocument]
    default_decision: _Decision = Field(default="deny", validation_alias="defaultDecision")
    default_reason: _Text = Field(default="default policy", validation_alias="defaultReason")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a policy: `match` is what it answers when all `conditions` hold.

    `id`: its own, or `rule-<index>`. `line`: where it starts in the document. `conditions`: at most one for
    each key, or for each name of attributes and metadata; none matches everything.
    """

    id: str
    match: Match
    conditions: tuple[Condition, ...]
    line: int
    description: str = ""

    @property
    def asks_risk(self) -> bool:
        """Whether the rule can't be decided without the firewall's score."""
        return any(condition.asks_risk for condition in self.conditions)

    def names(self, key: str) -> bool:
        """Whether the rule has a condition under `key` that not every value fulfils."""
        tests = [condition.test for condition in self.conditions if condition.key == key]
        return any(
            not any(pattern.text.strip("*") == "" for pattern in test.patterns)
            for test in tests
            if isinstance(test, OneOf)
        )


def read_rule(document: RuleDocument, index: int, place: Place) -> Rule:
    """The rule at `index`. Raises `DocumentError`."""
    rule_id = document.id if document.id is not None else f"rule-{index}"
    if document.firewall is not None and document.decision != "allow":
        raise place.at("firewall").error("belongs to a rule that allows: nothing else is judged by a firewall")
    return Rule(
        id=rule_id,
        match=Match(
            Outcome(document.decision),
            rule_id,
            document.reason or f"rule: {rule_id}",
            document.on_unrewritable,
            document.firewall,
        ),
        conditions=_read_match(document.match, place.at("match")),
        line=place.line,
        description=document.description,
    )


def _read_match(match: dict[str, Any], place: Place) -> tuple[Condition, ...]:
    conditions: list[Condition] = []
    for name, value in match.items():
        key = MATCH_KEYS.get(name)
        if key is None:
            raise place.at(name).error(
                f"unknown match key (ignoring it would widen the rule): use {', '.join(MATCH_KEYS)}"
            )
        conditions += key.read(value, place.at(name))
    return tuple(conditions)

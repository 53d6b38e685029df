"""A profile: how strictly text is judged, as plain values. What reads them is `profiled`, what writes them `document`.

Rules of this file: values only, so that two profiles can be compared without text. A comparison that can't be sure
says no: a name that comes from less than the operator may only make things stricter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from .content import PhraseRule
from .sensitive import SensitivePolicy

OnUnrewritable = Literal["deny", "require_approval", "allow"]

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "document", "file", "unread")
"""Roles that `Message` knows. Any other that a client makes up is treated as `user`."""


class Trust(StrEnum):
    """How text of a role is read: as the operator's own, as a person's, or as data that should not give orders."""

    TRUSTED = "trusted"
    USER = "user"
    DATA = "data"


class Scoring(StrEnum):
    """Whether text of a role is scored: always, never, or only what no pin names (and that like a user's)."""

    ALWAYS = "true"
    NEVER = "false"
    PINNED = "pinned"


STAND_IN: Final[Mapping[Trust, str]] = MappingProxyType(
    {Trust.TRUSTED: "system", Trust.USER: "user", Trust.DATA: "document"}
)
"""The role by which a detector knows a trust: it has its own idea of each role, and no other word for it."""

_NATURAL: Final[Mapping[str, Trust]] = MappingProxyType(
    {
        "system": Trust.TRUSTED,
        "developer": Trust.TRUSTED,
        "tool": Trust.DATA,
        "document": Trust.DATA,
        "file": Trust.DATA,
    }
)
UNSEEING: Final = SensitivePolicy(profile="off")
"""Looks for no sensitive data."""

_RANK: Final[Mapping[Trust, int]] = MappingProxyType({Trust.TRUSTED: 0, Trust.USER: 1, Trust.DATA: 2})


def natural_trust(role: str) -> Trust:
    """The trust of a role of which a profile says nothing."""
    return _NATURAL.get(role, Trust.USER)


@dataclass(frozen=True, slots=True)
class RoleProfile:
    """What a profile says of one role. `trust`: None for the natural one. `stricter`: points off both thresholds for
    what is found in text of this role."""

    scoring: Scoring = Scoring.ALWAYS
    trust: Trust | None = None
    stricter: int = 0


@dataclass(frozen=True, slots=True)
class CategoryProfile:
    """What a profile says of one category: weights (1-100) of its heaviest finding from which text is blocked or
    rewritten, whatever the whole risk is; None for no such weight."""

    block: int | None = None
    sanitize: int | None = None


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """What a detector leaves out. Two profiles with equal options (and roles) share one scoring."""

    model: bool = True
    decoding: bool = True
    disabled_rules: frozenset[str] = frozenset()
    disabled_categories: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Profile:
    """How strictly text is judged.

    `block`, `sanitize`: risks (1-100) from which a prompt is blocked or rewritten. `on_unrewritable`: what becomes of
    one that would have to be rewritten where that can't be done, if the policy's rule doesn't say; None is a denial.
    `pins`: SHA-256 in hex of texts that a role with `Scoring.PINNED` may hold unread.
    """

    name: str
    block: int = 70
    sanitize: int = 50
    on_unrewritable: OnUnrewritable | None = None
    options: DetectorOptions = DetectorOptions()
    roles: Mapping[str, RoleProfile] = field(default_factory=dict)
    pins: frozenset[str] = frozenset()
    categories: Mapping[str, CategoryProfile] = field(default_factory=dict)
    phrases: tuple[PhraseRule, ...] = ()
    sensitive: SensitivePolicy = field(default_factory=lambda: UNSEEING)

    def role(self, role: str) -> RoleProfile:
        """What is said of a role."""
        return self.roles.get(role, _PLAIN)

    def at_least_as_strict_as(self, other: Profile) -> bool:
        """Whether this profile lets nothing pass that `other` stops, as far as can be told without text."""
        mine, theirs = self.options, other.options
        return (
            self.block <= other.block
            and self.sanitize <= other.sanitize
            and mine.model >= theirs.model
            and mine.decoding >= theirs.decoding
            and mine.disabled_rules <= theirs.disabled_rules
            and mine.disabled_categories <= theirs.disabled_categories
            and all(_as_strict(self, other, role) for role in ROLES)
            and all(_covers(self.categories.get(name), wanted) for name, wanted in other.categories.items())
            and set(self.phrases) >= set(other.phrases)
            and other.sensitive in (self.sensitive, UNSEEING)
            and (self.on_unrewritable in (None, "deny") or self.on_unrewritable == other.on_unrewritable)
        )


def weaknesses(profile: Profile) -> Iterator[str]:
    """What a profile leaves unread, in words: an operator may want that, and should know."""
    options = profile.options
    if not options.model or "learned" in options.disabled_rules:
        yield "the model is off, so only attacks in the words of a rule are seen"
    if not options.decoding:
        yield "decoding is off, so what is encoded or disguised is not read"
    if options.disabled_categories:
        yield f"categories that are off: {', '.join(sorted(options.disabled_categories))}"
    unread = sorted(role for role, said in profile.roles.items() if said.scoring is Scoring.NEVER)
    if unread:
        yield f"text of these roles is never scored: {', '.join(unread)}"


_PLAIN: Final = RoleProfile()


def _as_strict(profile: Profile, other: Profile, role: str) -> bool:
    mine, theirs = profile.role(role), other.role(role)
    if mine.stricter < theirs.stricter:
        return False
    if theirs.scoring is Scoring.NEVER:
        return True
    if mine.scoring is not theirs.scoring:
        return False
    if mine.scoring is Scoring.PINNED:
        return profile.pins <= other.pins
    natural = natural_trust(role)
    return _RANK[mine.trust or natural] >= _RANK[theirs.trust or natural]


def _covers(mine: CategoryProfile | None, theirs: CategoryProfile) -> bool:
    mine = mine or CategoryProfile()
    pairs = ((mine.block, theirs.block), (mine.sanitize, theirs.sanitize))
    return all(wanted is None or (have is not None and have <= wanted) for have, wanted in pairs)

"""The firewall document: profiles, an operator's phrases, sensitive data, and who gets which profile.

Rules of this file:
- Like every document it is read whole or not at all; what is misspelled is an error with its line.
- A profile begins as a copy of the one that it extends, and says what is different. `strict`, `standard` and `relaxed`
  are always there; an entry of such a name changes it.
- The most specific word wins: the policy's rule, then the route, then `assign` (its first entry that fits), then
  `default`. What only the Host says, which is an agent's to write, can make things stricter and nothing else.
- A name that does not exist is never a default: who asks is told, and denies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from ..documents import Document, DocumentError, Path, Place, StrictModel, load
from ..policy.values import OneOf, read_texts
from .base import PromptFirewall
from .content import Effect, PatternError, PhraseRule, Phrases, compile_pattern
from .detectors import Compiler, Detectors, Here, Packs, Ready
from .pack import PackError
from .profile import (
    CategoryProfile,
    OnUnrewritable,
    Profile,
    RoleProfile,
    Scoring,
    Trust,
    weaknesses,
)
from .profiled import ProfiledFirewall
from .scanning import PROBLEM
from .sensitive import Allow, Mode, SensitiveData, SensitivePolicy

STRICT: Final = "strict"
STANDARD: Final = "standard"
RELAXED: Final = "relaxed"
MAX_PROFILES: Final = 64
MAX_PACKS: Final = 32

ROUTE_KEY: Final = "firewall"
"""Member of a route's context that names its profile."""
HOST_KEY: Final = "firewallByHost"
"""The same, where only the Host that an agent wrote has chosen the route."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_HERE: Final = Here()


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a name is letters, digits and . _ -, begins with a letter or digit, and has 64 at most")
    return text


def _digest(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError("must be the SHA-256 of a text: 64 of 0-9 and a-f, as sha256sum prints it")
    return text


_Name = Annotated[str, AfterValidator(_name)]
_Digest = Annotated[str, AfterValidator(_digest)]
_Text = Annotated[str, Field(min_length=1, max_length=500)]
_Risk = Annotated[int, Field(ge=1, le=100)]
_Role = Literal["system", "developer", "user", "assistant", "tool", "document", "file", "unread"]
_Mode = Literal["off", "tag", "redact", "block"]


class _RoleDocument(StrictModel):
    score: bool | Literal["pinned"] | None = None
    profile: Literal["trusted", "user", "data"] | None = None
    stricter: Annotated[int, Field(ge=0, le=50)] | None = None


class _SwitchDocument(StrictModel):
    enabled: bool


class _CategoryDocument(StrictModel):
    enabled: bool | None = None
    block: _Risk | None = None
    sanitize: _Risk | None = None


class _PhraseDocument(StrictModel):
    id: _Name
    text: _Text | Annotated[list[_Text], Field(min_length=1)] | None = None
    pattern: Annotated[str, Field(min_length=1)] | None = None
    action: Effect
    category: _Name = "content"
    roles: Annotated[list[_Role], Field(min_length=1)] | None = None
    exceptions: list[_Text] = Field(default_factory=list, alias="except")
    whole_words: bool = Field(default=True, alias="wholeWords")
    message: Annotated[str, Field(max_length=200)] = ""


class _AllowDocument(StrictModel):
    values: list[_Text] = Field(default_factory=list)
    domains: list[_Text] = Field(default_factory=list)
    networks: list[_Text] = Field(default_factory=list)
    prefixes: list[_Text] = Field(default_factory=list)
    patterns: list[_Text] = Field(default_factory=list)


class _SensitiveDocument(StrictModel):
    defaults: Literal["off", "standard", "strict"] | None = None
    modes: dict[str, _Mode | dict[str, _Mode]] = Field(default_factory=dict)
    allow: _AllowDocument | None = None


class _ContentDocument(StrictModel):
    trusted: list[_Digest] = Field(default_factory=list)
    disabled_rules: list[_Text] = Field(default_factory=list, alias="disabledRules")
    phrases: list[_PhraseDocument] = Field(default_factory=list)
    sensitive: _SensitiveDocument | None = None


class _ProfileDocument(_ContentDocument):
    extends: _Name | None = None
    description: str = ""
    block: _Risk | None = None
    sanitize: _Risk | None = None
    on_unrewritable: OnUnrewritable | None = Field(default=None, alias="onUnrewritable")
    roles: dict[_Role, _RoleDocument] = Field(default_factory=dict)
    model: _SwitchDocument | None = None
    decoding: _SwitchDocument | None = None
    categories: dict[_Name, _CategoryDocument] = Field(default_factory=dict)


class _AssignDocument(StrictModel):
    profile: _Name
    agents: Any = None
    kinds: Any = None
    upstreams: Any = None


class _FirewallDocument(_ContentDocument):
    version: Literal["1.0"] = "1.0"
    default: _Name = STANDARD
    packs: list[_Text] = Field(default_factory=list, max_length=MAX_PACKS)
    profiles: dict[_Name, _ProfileDocument] = Field(default_factory=dict, max_length=MAX_PROFILES)
    assign: list[_AssignDocument] = Field(default_factory=list, max_length=1000)


@dataclass(frozen=True, slots=True)
class Defaults:
    """Thresholds of `standard` (1-100) where no document says others."""

    block: int = 70
    sanitize: int = 50


@dataclass(frozen=True, slots=True)
class Assignment:
    """One entry of `assign`: who gets a profile; None matches everybody."""

    profile: str
    agents: OneOf | None = None
    kinds: OneOf | None = None
    upstreams: OneOf | None = None

    def fits(self, agent_id: str, kind: str, upstream: str | None) -> bool:
        """Whether the entry is about such a request."""
        return (
            (self.agents is None or self.agents.matches(agent_id))
            and (self.kinds is None or self.kinds.matches(kind))
            and (self.upstreams is None or (upstream is not None and self.upstreams.matches(upstream)))
        )


class Firewalls:
    """All profiles, and which request gets which. Immutable; a reload makes a new one. Equal if made of the same.

    `version`: first 12 hex digits of the SHA-256 of the document and its packs, "" without one.
    """

    __slots__ = ("_assignments", "_by_name", "_detectors", "_origin", "default", "version")

    def __init__(
        self,
        firewalls: Sequence[ProfiledFirewall],
        default: str,
        assignments: Sequence[Assignment] = (),
        *,
        version: str = "",
        origin: tuple[Any, ...] = (),
        detectors: Detectors | None = None,
    ) -> None:
        self._by_name = {firewall.name: firewall for firewall in firewalls}
        self._assignments = tuple(assignments)
        self._origin = origin
        self._detectors = detectors
        self.default = self._by_name[default]
        self.version = version

    @classmethod
    def of(cls, firewall: PromptFirewall, block: int = 70, sanitize: int = 50) -> Firewalls:
        """One firewall for everybody, with these thresholds."""
        profile = Profile(STANDARD, block, sanitize)
        return cls([ProfiledFirewall(profile, firewall)], STANDARD, origin=("of", firewall, block, sanitize))

    @classmethod
    def built_in(cls, defaults: Defaults = Defaults(), compiler: Compiler = _HERE) -> Firewalls:
        """The profiles that are there without a document."""
        detectors = Detectors((), compiler)
        made = _Maker(detectors)
        firewalls = [made.firewall(profile) for profile in _built_in(defaults).values()]
        return cls(firewalls, STANDARD, origin=("built in", defaults), detectors=detectors)

    @classmethod
    def parse(
        cls,
        text: str,
        source: str,
        packs: Packs = (),
        defaults: Defaults = Defaults(),
        compiler: Compiler = _HERE,
    ) -> Firewalls:
        """Read a firewall document (YAML or JSON). `packs`: (path, text) of each of its rule packs, in order.

        Raises `documents.DocumentError` with line and field for the first thing that is wrong.
        """
        content, document = load(_FirewallDocument, text, source)
        try:
            detectors = Detectors(packs, compiler)
        except PackError as error:
            raise document.error(("packs",), "; ".join(str(error).splitlines())) from None
        profiles = _Reader(document, content, detectors, defaults).profiles()
        if content.default not in profiles:
            raise document.error(("default",), _unknown(content.default, profiles))
        assignments = [
            _assignment(entry, Place(document, ("assign", index)), profiles)
            for index, entry in enumerate(content.assign)
        ]
        made = _Maker(detectors)
        firewalls = []
        for profile in profiles.values():
            try:
                firewalls.append(made.firewall(profile))
            except ValueError as error:
                place: Path = ("profiles", profile.name) if profile.name in content.profiles else ()
                raise document.error((*place, "sensitive"), str(error)) from None
        digest = hashlib.sha256(b"\0".join(part.encode("utf-8", "surrogatepass") for _, part in (("", text), *packs)))
        return cls(
            firewalls,
            content.default,
            assignments,
            version=digest.hexdigest()[:12],
            origin=("parse", text, source, packs, defaults),
            detectors=detectors,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # compiled patterns can't be pickled; what they were made of can
        made = self._detectors
        return _restored, (None if made is None else (made.engine.compiled(), made.sieve), *self._origin)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Firewalls) and (self is other or self._origin == other._origin)

    def __hash__(self) -> int:
        return hash(self.version)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all profiles."""
        return tuple(self._by_name)

    def warnings(self) -> tuple[str, ...]:
        """What profiles that requests can get leave unread, each in a sentence: allowed, and worth a second look."""
        return tuple(
            f"firewall profile {name!r}: {weakness}"
            for name, firewall in self._by_name.items()
            for weakness in weaknesses(firewall.profile)
        )

    @property
    def slowed_by(self) -> str:
        """Why the slower engine reads all text, in one clause; nothing if it does not."""
        return PROBLEM

    def get(self, name: str) -> ProfiledFirewall | None:
        """The firewall with the profile of that name; None if there is none."""
        return self._by_name.get(name)

    def choose(self, agent_id: str, kind: str, context: Mapping[str, str]) -> ProfiledFirewall | None:
        """The firewall of a request that no rule says another one for; None if its route names one that is not there.

        `context`: of the route; nothing in it is the agent's word.
        """
        if not self._assignments and not context:
            return self.default
        named = context.get(ROUTE_KEY)
        if named is not None:
            return self._by_name.get(named)
        chosen = self._assigned(agent_id, kind, context.get("upstream"))
        hinted = context.get(HOST_KEY)
        if hinted is None:
            return chosen
        firewall = self._by_name.get(hinted)
        if firewall is None or firewall.profile.at_least_as_strict_as(chosen.profile):
            return firewall
        return chosen

    def _assigned(self, agent_id: str, kind: str, upstream: str | None) -> ProfiledFirewall:
        for entry in self._assignments:
            if entry.fits(agent_id, kind, upstream):
                return self._by_name[entry.profile]
        return self.default


def _restored(compiled: tuple[bytes, bytes | None] | None, how: str, *rest: Any) -> Firewalls:
    if compiled is None:
        return Firewalls.of(*rest)
    ready = Ready(*compiled)
    if how == "built in":
        (defaults,) = rest
        return Firewalls.built_in(defaults, ready)
    text, source, packs, defaults = rest
    return Firewalls.parse(text, source, packs, defaults, ready)


def pack_paths(text: str, source: str) -> tuple[str, ...]:
    """The paths under `packs`, as written; none where the document can't be read (`parse` says why)."""
    try:
        value = Document(text, source).value
    except DocumentError:
        return ()
    packs = value.get("packs") if isinstance(value, dict) else None
    if not isinstance(packs, list):
        return ()
    return tuple(path for path in packs[:MAX_PACKS] if isinstance(path, str) and path)


def _built_in(defaults: Defaults) -> dict[str, Profile]:
    stricter = RoleProfile(stricter=10)
    return {
        STRICT: Profile(
            STRICT,
            block=60,
            sanitize=40,
            on_unrewritable="deny",
            roles=MappingProxyType(
                {
                    "system": RoleProfile(trust=Trust.USER),
                    "developer": RoleProfile(trust=Trust.USER),
                    "tool": stricter,
                    "document": stricter,
                    "file": stricter,
                }
            ),
            sensitive=SensitivePolicy(profile="strict"),
        ),
        STANDARD: Profile(STANDARD, defaults.block, defaults.sanitize, sensitive=SensitivePolicy(profile="standard")),
        RELAXED: Profile(RELAXED, block=85, sanitize=70, sensitive=SensitivePolicy(profile="standard")),
    }


class _Maker:
    """Makes firewalls of profiles; what is compiled for one serves all that say the same."""

    def __init__(self, detectors: Detectors) -> None:
        self._detectors = detectors
        self._phrases: dict[tuple[PhraseRule, ...], Phrases] = {}
        self._sensitive: list[SensitiveData] = []

    def firewall(self, profile: Profile) -> ProfiledFirewall:
        """Raises `ValueError` for an unknown kind of sensitive data."""
        phrases = tuple(rule for rule in profile.phrases if rule.category not in profile.options.disabled_categories)
        if phrases not in self._phrases:
            self._phrases[phrases] = Phrases(phrases)
        return ProfiledFirewall(
            profile,
            self._detectors.make(profile.options),
            phrases=self._phrases[phrases],
            sensitive=self._data(profile.sensitive),
        )

    def _data(self, policy: SensitivePolicy) -> SensitiveData | None:
        if policy.profile == "off" and not policy.modes:
            return None
        for known in self._sensitive:
            if known.policy == policy:
                return known
        self._sensitive.append(SensitiveData(policy, compiled=self._detectors.sieve))
        return self._sensitive[-1]


class _Reader:
    """Profiles from a document."""

    def __init__(self, document: Document, content: _FirewallDocument, detectors: Detectors, defaults: Defaults):
        self._document = document
        self._content = content
        self._detectors = detectors
        self._categories = {
            *detectors.rules.values(),
            *(phrase.category for each in (content, *content.profiles.values()) for phrase in each.phrases),
        }
        self._built_in = {name: self._add(profile, content, ()) for name, profile in _built_in(defaults).items()}
        self._done: dict[str, Profile] = {}
        self._doing: list[str] = []

    def profiles(self) -> dict[str, Profile]:
        """All of them, those that are always there first."""
        made = {name: self._profile(name) for name in (*self._built_in, *self._content.profiles)}
        pinned = any(role.scoring is Scoring.PINNED for profile in made.values() for role in profile.roles.values())
        if self._content.trusted and not pinned:
            raise self._document.error(
                ("trusted",), "no role of any profile has `score: pinned`, so nobody would look at these"
            )
        return made

    def _profile(self, name: str) -> Profile:
        known = self._done.get(name)
        if known is not None:
            return known
        entry = self._content.profiles.get(name)
        if entry is None:
            return self._built_in[name]
        place: Path = ("profiles", name)
        self._doing.append(name)
        base = entry.extends or (name if name in self._built_in else STANDARD)
        if base == name and name in self._built_in and entry.extends is None:
            parent = self._built_in[name]
        elif base in self._doing:
            chain = " extends ".join((*self._doing, base))
            raise self._document.error((*place, "extends"), f"a profile can't extend itself: {chain}")
        elif base not in self._content.profiles and base not in self._built_in:
            known_names = {**self._built_in, **self._content.profiles}
            raise self._document.error((*place, "extends"), _unknown(base, known_names))
        else:
            parent = self._profile(base)
        profile = self._done[name] = self._changed(replace(parent, name=name), entry, place)
        self._doing.pop()
        return profile

    def _changed(self, base: Profile, entry: _ProfileDocument, place: Path) -> Profile:
        block = base.block if entry.block is None else entry.block
        sanitize = base.sanitize if entry.sanitize is None else entry.sanitize
        if sanitize > block:
            key = "block" if entry.sanitize is None else "sanitize"
            raise self._document.error(
                (*place, key), f"sanitize ({sanitize}) must not be above block ({block}); say both"
            )
        options = base.options
        if entry.model is not None:
            options = replace(options, model=entry.model.enabled)
        if entry.decoding is not None:
            options = replace(options, decoding=entry.decoding.enabled)
        disabled = set(options.disabled_categories)
        categories = dict(base.categories)
        for name, category in entry.categories.items():
            if name not in self._categories:
                problem = f"no rule and no phrase has the category {name!r}{_near(name, self._categories)}"
                raise self._document.error((*place, "categories", name), problem)
            if category.enabled is not None:
                (disabled.discard if category.enabled else disabled.add)(name)
            before = categories.get(name, CategoryProfile())
            changed = categories[name] = CategoryProfile(
                before.block if category.block is None else category.block,
                before.sanitize if category.sanitize is None else category.sanitize,
            )
            if changed.block is not None and changed.sanitize is not None and changed.sanitize > changed.block:
                key = "block" if category.sanitize is None else "sanitize"
                raise self._document.error(
                    (*place, "categories", name, key),
                    f"sanitize ({changed.sanitize}) must not be above block ({changed.block}); say both",
                )
        roles = dict(base.roles)
        for role, wanted in entry.roles.items():
            roles[role] = _role(roles.get(role, RoleProfile()), wanted)
        for name, said in roles.items():
            if said.stricter >= sanitize:
                raise self._document.error(
                    (*place, "roles", name, "stricter"), f"must be below sanitize ({sanitize}), or all text would match"
                )
        profile = replace(
            base,
            block=block,
            sanitize=sanitize,
            on_unrewritable=entry.on_unrewritable or base.on_unrewritable,
            options=replace(options, disabled_categories=frozenset(disabled)),
            categories=MappingProxyType(categories),
            roles=MappingProxyType(roles),
        )
        profile = self._add(profile, entry, place)
        if entry.trusted and not any(role.scoring is Scoring.PINNED for role in roles.values()):
            raise self._document.error(
                (*place, "trusted"), "no role of this profile has `score: pinned`, so nobody would look at these"
            )
        return profile

    def _add(self, base: Profile, entry: _ContentDocument, place: Path) -> Profile:
        """What adds up: pins, disabled rules, phrases; and sensitive data."""
        for index, rule in enumerate(entry.disabled_rules):
            if rule not in self._detectors.rules:
                problem = f"there is no rule {rule!r}{_near(rule, self._detectors.rules)}"
                raise self._document.error((*place, "disabledRules", index), problem)
        phrases = list(base.phrases)
        for index, phrase in enumerate(entry.phrases):
            where: Path = (*place, "phrases", index)
            if any(known.id == phrase.id for known in phrases):
                raise self._document.error((*where, "id"), f"there is a phrase of the id {phrase.id!r} already")
            phrases.append(self._phrase(phrase, where))
        return replace(
            base,
            pins=base.pins | frozenset(entry.trusted),
            options=replace(base.options, disabled_rules=base.options.disabled_rules | frozenset(entry.disabled_rules)),
            phrases=tuple(phrases),
            sensitive=self._sensitive(base.sensitive, entry.sensitive, (*place, "sensitive")),
        )

    def _phrase(self, entry: _PhraseDocument, place: Path) -> PhraseRule:
        if (entry.text is None) == (entry.pattern is None):
            raise self._document.error(place, "say either text or pattern")
        if entry.pattern is not None:
            try:
                compile_pattern(entry.pattern)
            except PatternError as error:
                raise self._document.error((*place, "pattern"), f"the pattern {error}") from None
        texts = () if entry.text is None else tuple([entry.text] if isinstance(entry.text, str) else entry.text)
        rule = PhraseRule(
            entry.id,
            entry.action,
            entry.category,
            texts,
            entry.pattern,
            tuple(entry.exceptions),
            entry.whole_words,
            None if entry.roles is None else frozenset(entry.roles),
            entry.message,
        )
        for key, mine in (("text", texts), ("except", rule.exceptions)):
            for index, text in enumerate(mine):
                try:
                    Phrases([PhraseRule(entry.id, "tag", texts=(text,))])
                except PatternError as error:
                    where = (*place, key) if isinstance(entry.text, str) and key == "text" else (*place, key, index)
                    raise self._document.error(where, f"the phrase {error}") from None
        return rule

    def _sensitive(self, base: SensitivePolicy, entry: _SensitiveDocument | None, place: Path) -> SensitivePolicy:
        if entry is None:
            return base
        modes: dict[str, Mapping[str, Mode]] = dict(base.modes)
        for kind, wanted in entry.modes.items():
            roles = {"*": wanted} if isinstance(wanted, str) else wanted
            said = {**modes.get(kind, {}), **{role: Mode(mode) for role, mode in roles.items()}}
            try:
                SensitiveData(SensitivePolicy({kind: said}, profile="off"), compiled=self._detectors.sieve)
            except ValueError as error:
                # it names the field, as the place does
                raise self._document.error((*place, "modes", kind), str(error).partition(": ")[2]) from None
            modes[kind] = said
        allow = base.allow
        if entry.allow is not None:
            allow = Allow(
                **{name: (*getattr(base.allow, name), *values) for name, values in entry.allow.model_dump().items()}
            )
            try:
                SensitiveData(SensitivePolicy({"*": {"*": Mode.TAG}}, allow), compiled=self._detectors.sieve)
            except ValueError as error:
                field, _, problem = str(error).partition(": ")
                raise self._document.error((*place, *field.split(".")), problem) from None
        return SensitivePolicy(modes, allow, entry.defaults or base.profile)


def _role(base: RoleProfile, entry: _RoleDocument) -> RoleProfile:
    scoring = base.scoring
    if entry.score is not None:
        scoring = Scoring.PINNED if entry.score == "pinned" else Scoring.ALWAYS if entry.score else Scoring.NEVER
    return RoleProfile(
        scoring,
        base.trust if entry.profile is None else Trust(entry.profile),
        base.stricter if entry.stricter is None else entry.stricter,
    )


def _assignment(entry: _AssignDocument, place: Place, profiles: Mapping[str, Profile]) -> Assignment:
    from ..wire.registry import PROTOCOLS  # the protocols know the firewall's words, so not when this file is loaded

    if entry.profile not in profiles:
        raise place.at("profile").error(_unknown(entry.profile, profiles))
    tests = {
        name: None if value is None else read_texts(value, place.at(name))
        for name, value in (("agents", entry.agents), ("kinds", entry.kinds), ("upstreams", entry.upstreams))
    }
    if not any(tests.values()):
        raise place.error("say who gets this profile: agents, kinds or upstreams (all that are said must fit)")
    kinds = tests["kinds"]
    for index, kind in enumerate(entry.kinds if kinds is not None else ()):
        if not any(OneOf((name,)).matches(kind) for name in PROTOCOLS) and "*" not in kind:
            raise place.at("kinds", index).error(f"must be one of {', '.join(sorted(PROTOCOLS))}")
    return Assignment(entry.profile, **tests)


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown(name: str, profiles: Mapping[str, object]) -> str:
    return f"there is no profile {name!r}: known are {', '.join(sorted(profiles))}"

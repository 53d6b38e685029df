"""How well a detector does on labelled texts: families of attacks, macro averages, intervals, equal false positives.

Rules of this file:
- A source with 10,000 texts says no more about attacks that nobody has seen than one with 300. So a rate is taken for
  each source, then averaged over the sources of a family, then over the families; each average counts its parts alike.
- Sources with fewer than `POOL_BELOW` texts of a family are taken together as one, `POOLED`: two texts must not weigh
  as much as two thousand.
- What family a text is in is decided here by means of its own, not by the firewall's readings: otherwise a change of
  the firewall would move texts between families, and figures before and after could not be compared.
- The decisions are deterministic and need no data but this file. They are made for attacks; an honest text has no
  family.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

DIRECT: Final = "direct"
JAILBREAK: Final = "jailbreak"
MULTILINGUAL: Final = "multilingual"
OBFUSCATED: Final = "obfuscated"
INDIRECT: Final = "indirect"
HONEST: Final = "honest"
FAMILIES: Final = (DIRECT, JAILBREAK, MULTILINGUAL, OBFUSCATED, INDIRECT)

POOL_BELOW: Final = 20
"""Texts of a family below which a source does not stand for itself."""
POOLED: Final = "(small sources)"
MAX_LOOKED_AT: Final = 20_000
"""Characters of a text that are looked at to tell its family."""

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "document", "file", "unread")
DEFINITIONS: Final = (
    "Family: an indirect attack by its label; of the others, obfuscated if the text as written is disguised (invisible "
    "or styled characters, mixed scripts in a word, spaced letters, leetspeak, reversal, rot13, encodings), else "
    "multilingual if it is not English (script, stop words), else as labelled.",
    f"Averages: over the sources of a family, then over families; sources with fewer than {POOL_BELOW} texts of a "
    "family count as one. Intervals: 95%, Wilson, for the texts; they do not cover that other sources differ.",
)

_WORD: Final = re.compile(r"[^\W_]+")

T = TypeVar("T")


class BadRow(ValueError):
    """A line that is no labelled text; its message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Row:
    """A labelled text. `kind`: of the label (direct, jailbreak, multilingual, obfuscated, indirect, or of honest text).

    `lang` is empty where the data does not say it.
    """

    text: str
    attack: bool
    source: str
    kind: str
    role: str = "user"
    lang: str = ""


def read_row(line: str | bytes, default_source: str = "") -> Row:
    """A line of a labelled folder: `{"text", "label": "attack"|"benign", "source"?, "kind"?, "role"?, "lang"?}`.

    Raises `BadRow`.
    """
    try:
        found = json.loads(line.decode() if isinstance(line, bytes) else line)
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8 (byte {error.start} of the line)") from None
    except ValueError as error:
        raise BadRow(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadRow("not a JSON object")
    words: dict[str, str] = {}
    for name in ("text", "label", "source", "kind", "role", "lang"):
        value = found.get(name, "")
        if not isinstance(value, str):
            raise BadRow(f"{name!r} is not a string")
        words[name] = value
    if "text" not in found:
        raise BadRow("no 'text'")
    if words["label"] not in ("attack", "benign"):
        raise BadRow(f"'label' must be attack or benign, not {words['label']!r}")
    role = words["role"] or "user"
    if role not in ROLES:
        raise BadRow(f"unknown role {role!r}: use one of {', '.join(ROLES)}")
    attack = words["label"] == "attack"
    kind = words["kind"] or (DIRECT if attack else "benign")
    if attack and kind not in FAMILIES:
        raise BadRow(f"'kind' of an attack must be one of {', '.join(FAMILIES)}, not {kind!r}")
    return Row(words["text"], attack, words["source"] or default_source, kind, role, words["lang"])


def family_of(row: Row) -> str:
    """The family that a text counts in: one of `FAMILIES`, or `HONEST`. See `DEFINITIONS`."""
    if not row.attack:
        return HONEST
    if row.kind not in (DIRECT, JAILBREAK):
        return row.kind
    if disguises(row.text):
        return OBFUSCATED
    if row.lang:
        return row.kind if row.lang.split("-")[0].lower() == "en" else MULTILINGUAL
    return row.kind if is_english(row.text) else MULTILINGUAL


# --- English or not


def _list(*words: str) -> frozenset[str]:
    return frozenset(" ".join(words).split())


_ENGLISH: Final = _list(
    "the of and to in is you that it he was for on are as with his they at be this have from or had by but not what "
    "all were we when your can said there use an each which she do how their if will up other about out many then "
    "them these so some her would make like him into has look more no way could my than been who its now did get "
    "may any please tell give write show forget previous instructions instead only without everything answer"
)
# Words of other languages in Latin letters that are not English words too (folded: no accents).
_FOREIGN: Final = _list(
    # German, Dutch, Swedish, Danish, Norwegian
    "der das und nicht ist ein eine einen einem ich mir mich du dich dir sie wir ihr ihre deine dein deinen mit auf "
    "fur von zu zum zur alle alles bitte auch aber oder wenn wie wird sind nur noch vorherigen anweisungen "
    "het een van niet dat dit deze voor jij je jouw mij mijn zijn maar alleen vorige instructies naar geen ook wat "
    "och att det som inte jag har med kan vad alla tidigare ikke jeg og er hvad deg dine "
    # French, Spanish, Portuguese, Italian, Catalan, Romanian
    "les des une est vous votre vos nous que qui dans pour avec sur pas ce cette ces mais ou et au aux je tu il elle "
    "toutes tous precedentes moi ton ta tes du la le el los las una unos que por para con como pero mas esta este "
    "eso esto todo todas todos tu tus su sus mi mis usted eres sin ahora instrucciones anteriores cual dime "
    "uma um nao voce seu sua seus suas dos da na em ao isso esse essa mas quando agora todas instrucoes "
    "anteriores gli della delle dei degli che non per sono sei questo questa tutte tutti come cosa hai tuo tua tue "
    "istruzioni precedenti ignora si toate si nu este pentru "
    # Polish, Czech, Croatian, Hungarian, Finnish
    "nie jest na sie to wszystkie poprzednie instrukcje twoje prosze jak czy dla ze tak nebo jsem jako vsechny "
    "predchozi pokyny sve prethodne upute sve hogy nem az egy es vagy minden elozo utasitasokat kaikki ja etta "
    "aiemmat ohjeet "
    # Turkish, Vietnamese, Indonesian and Malay, Tagalog, Swahili
    "bir ve bu icin ne ile tum onceki talimatlari bana degil olarak sen misin nedir var mi hay va cua cho khong "
    "nhung cac toi ban la mot duoc voi yang dan di dari untuk dengan tidak ini itu anda kamu saya adalah semua "
    "sebelumnya instruksi abaikan tolong bisa pada ang mga ng sa mo ako lahat hindi kwa ya na yote "
    # Hindi, Urdu, Bengali and other Indian languages in Latin letters
    "hai hain kya ka ki ke ko se mein mai main mujhe aap apna apne apni tum tumhara tera mera meri mere karo kar "
    "karke kare karna karne bhai nahi nahin mat bhi aur ye yeh wo woh isko iske uska sab sabhi saare pehle wale wali "
    "batao bata dikhao bolo likho hona hoga raha rahe rahi kuch kaise kyun kyu jo agar toh abhi ab pichle bhool jao "
    "chahiye sakte sakta liye wala de do yaar ji haan kabhi phir"
)
# Words of both lists tell nothing.
_BOTH: Final = _ENGLISH & _FOREIGN


def is_english(text: str) -> bool:
    """Whether a text is English, or has too few words to tell.

    It is not if 30% of its letters stand outside the Latin script, or if it has more words that only other languages
    have (from a list, or with an accented letter; at least two, or one in a text without any English one) than
    common English words.
    """
    text = text[:MAX_LOOKED_AT]
    if not text.isascii():
        letters = [char for char in text if char.isalpha()]
        if sum(not _is_latin(char) for char in letters) * 10 >= max(len(letters), 1) * 3:
            return False
    english = foreign = 0
    for word in _words(text.lower()):
        if word.isascii():
            if word not in _BOTH:
                english += word in _ENGLISH
                foreign += word in _FOREIGN
        else:  # an accent; a word of mixed scripts tells no language
            foreign += (
                len(word) > 1 and not _is_mixed(word) and any(char.isalpha() and not char.isascii() for char in word)
            )
    return foreign <= english or (foreign < 2 and english > 0)


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _is_latin(char: str) -> bool:
    return char < "\u0250" or "\u1e00" <= char <= "\u1eff" or "\uff21" <= char <= "\uff5a" or char >= "\U0001d400"


# --- disguised or not

_VOCABULARY: Final = _list(
    "ignore disregard forget override bypass previous prior above instruction instructions rule rules system prompt "
    "reveal show tell print repeat secret password confidential hidden jailbreak developer mode unrestricted filter "
    "filters safety guidelines restrictions assistant model pretend explosive weapon hack malware bomb drug steal "
    "kill virus the and you your all any this that with from without about what how make give please everything "
    "write instead will must not now are"
)
_LEET: Final = str.maketrans("013457@$!|8", "oieastasiib")
_INVISIBLE: Final = frozenset("\u00ad\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\ufeff\u180e\u034f\u115f\u3164")
_TURNED: Final = frozenset("\u202d\u202e")
_JOINTS: Final = ".-_*|/~+"


def disguises(text: str) -> tuple[str, ...]:
    """How a text hides what it says: names of disguises, in a fixed order; empty for plain text."""
    text = text[:MAX_LOOKED_AT]
    return tuple(name for name, found in _DISGUISES if found(text))


def _has_invisible(text: str) -> bool:
    if text.isascii():
        return False
    between = sum(
        char in _INVISIBLE and _is_plain_letter(text[at - 1 : at]) and _is_plain_letter(text[at + 1 : at + 2])
        for at, char in enumerate(text)
    )
    # a flag made of tag characters has six of them
    tags = sum("\U000e0000" <= char <= "\U000e01ef" for char in text)
    return between >= 2 or tags >= 8 or any(char in _TURNED for char in text)


def _is_plain_letter(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _has_mixed_scripts(text: str) -> bool:
    if text.isascii():
        return False
    words = _words(text)
    mixed = sum(map(_is_mixed, words))
    return mixed >= 2 or mixed * 8 >= max(len(words), 1)


def _is_mixed(word: str) -> bool:
    """Whether a word has letters of the Latin alphabet and of one that looks like it."""
    if word.isascii() or len(word) < 3:
        return False
    # Greek, Cyrillic, Armenian; Cherokee; phonetic letters; small capitals
    return any("a" <= char.lower() <= "z" for char in word) and any(
        "\u0370" <= char <= "\u058f"
        or "\u13a0" <= char <= "\u13ff"
        or "\u0250" <= char <= "\u02af"
        or "\u1d00" <= char <= "\u1d2b"
        for char in word
    )


def _has_styled(text: str) -> bool:
    if text.isascii():
        return False
    styled = sum(
        "\U0001d400" <= char <= "\U0001d7ff"  # mathematical alphabets
        or "\uff21" <= char <= "\uff5a"  # full width
        or "\u24b6" <= char <= "\u24e9"  # circled
        or "\U0001f130" <= char <= "\U0001f189"  # squared
        or "\U0001f1e6" <= char <= "\U0001f1ff"  # regional indicators
        or "\u1d00" <= char <= "\u1d2b"  # small capitals
        for char in text
    )
    marks = sum("\u0300" <= char <= "\u036f" for char in text)
    return styled >= 8 or (marks >= 8 and marks * 5 >= len(text))


def _has_spaced(text: str) -> bool:
    run: list[str] = []
    for token in text.split():
        if len(token) == 1 and token.isalpha():
            run.append(token)
            if len(run) >= 5 and len(set(run)) >= 4:
                return True
            continue
        run = []
        if len(token) < 9:
            continue
        for joint in _JOINTS:
            if token.count(joint) < 4:
                continue
            pieces = token.strip(joint).split(joint)
            if len(pieces) >= 5 and all(len(piece) == 1 and piece.isalpha() for piece in pieces):
                return True
    return False


def _has_leet(text: str) -> bool:
    found = 0
    for token in text.lower().split():
        word = token.strip(".,:;?\"'()[]{}")
        if word.isalpha() or not any(char.isalpha() for char in word):
            continue
        found += word.translate(_LEET).strip("!") in _VOCABULARY and word.strip("!") not in _VOCABULARY
    return found >= 2


def _has_turned_words(text: str) -> bool:
    words = _words(text.lower())
    known = sum(word in _VOCABULARY for word in words)
    long = [word for word in words if len(word) >= 3]
    backwards = sum(word[::-1] in _VOCABULARY and word not in _VOCABULARY for word in long)
    rotated = sum(word.translate(_ROT13) in _VOCABULARY and word not in _VOCABULARY for word in long)
    return max(backwards, rotated) >= 2 and max(backwards, rotated) * 4 >= known


_ROT13: Final = str.maketrans(
    "abcdefghijklmnopqrstuvwxyz",
    "nopqrstuvwxyzabcdefghijklm",
)


def _has_encoding(text: str) -> bool:
    if text.count("%") >= 8 and text.count("%20") + text.count("%6") + text.count("%7") >= 6:
        return True
    if text.count("\\u00") + text.count("\\x") + text.count("&#") >= 8:
        return True
    codes = bits = 0
    for token in text.split():
        stripped = token.strip("\"'`.,:;()[]{}<>")
        if len(stripped) == 8 and not stripped.strip("01"):
            bits += 1
        if token and not token.strip(".-/") and len(token) <= 6:
            codes += 1
        if len(stripped) >= 16 and _is_encoded(stripped):
            return True
    # "- " begins the items of a list, so dashes alone are not Morse
    return bits >= 4 or (codes >= 12 and codes * 2 >= len(text.split()))


def _is_encoded(token: str) -> bool:
    """Whether a token is base64, base32 or hexadecimal of words."""
    ways: tuple[Callable[[str], bytes], ...] = (
        bytes.fromhex,
        lambda value: base64.b32decode(value + "=" * (-len(value) % 8)),
        lambda value: base64.b64decode(value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4), validate=True),
    )
    for decode in ways:
        try:
            data = decode(token)
        except (ValueError, binascii.Error):
            continue
        said = data.decode("latin-1").lower()
        if sum(char.isascii() and char.isprintable() for char in said) < 0.95 * len(said):
            continue
        if len(data) >= 10 and (b" " in data or any(word in _VOCABULARY for word in _words(said) if len(word) > 3)):
            return True
    return False


_DISGUISES: Final[tuple[tuple[str, Callable[[str], bool]], ...]] = (
    ("invisible", _has_invisible),
    ("mixed-scripts", _has_mixed_scripts),
    ("styled", _has_styled),
    ("spaced", _has_spaced),
    ("leetspeak", _has_leet),
    ("turned", _has_turned_words),
    ("encoded", _has_encoding),
)


# --- samples and folds


def sample(rows: Iterable[tuple[Hashable, str, T]], count: int, seed: int = 0) -> list[T]:
    """At most `count` things of each group, in their order: `rows` are (group, text, thing).

    Which ones depends on the texts and the seed alone, not on the order of the rows or on other groups.
    """
    ranked: dict[Hashable, list[tuple[bytes, int, T]]] = {}
    for index, (group, text, thing) in enumerate(rows):
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=b"%d" % seed).digest()
        ranked.setdefault(group, []).append((key, index, thing))
    kept = [entry for group in ranked.values() for entry in sorted(group, key=lambda entry: entry[:2])[:count]]
    return [thing for _, _, thing in sorted(kept, key=lambda entry: entry[1])]


def folds(
    sizes: Mapping[str, int], count: int | None = None, together: Sequence[Sequence[str]] = ()
) -> list[tuple[str, ...]]:
    """Sources dealt into folds of about equal size; each fold is scored by a model that saw none of its sources.

    `sizes`: texts of each source. `count`: folds; None gives each source one of its own. `together`: sources that
    share texts or authors, and so must stay in one fold. Raises `ValueError` for a source that there is not.
    """
    leader = {source: source for source in sizes}
    for group in together:
        for source in group:
            if source not in sizes:
                raise ValueError(f"unknown source {source!r}: use some of {', '.join(sorted(sizes))}")
        old = {leader[source] for source in group}
        leader = {source: min(old) if lead in old else lead for source, lead in leader.items()}
    groups: dict[str, list[str]] = {}
    for source in sorted(sizes):
        groups.setdefault(leader[source], []).append(source)
    if count is None:
        return [tuple(group) for group in groups.values()]
    dealt: list[list[str]] = [[] for _ in range(max(1, min(count, len(groups))))]
    for group in sorted(groups.values(), key=lambda group: (-sum(sizes[source] for source in group), group)):
        smallest = min(dealt, key=lambda fold: sum(sizes[source] for source in fold))
        smallest += group
    return [tuple(sorted(fold)) for fold in dealt]


# --- rates


@dataclass(frozen=True, slots=True)
class Rate:
    """A share (0-1) with its 95% interval. `texts` of `sources` are behind it.

    `worth`: how many texts of one source would tell as much; less than `texts` in an average.
    """

    share: float
    low: float
    high: float
    texts: int
    sources: int
    worth: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the shares in percent."""
        return {
            "percent": round(100 * self.share, 3),
            "low": round(100 * self.low, 3),
            "high": round(100 * self.high, 3),
            "texts": self.texts,
            "sources": self.sources,
        }


def wilson(share: float, texts: float) -> tuple[float, float]:
    """The 95% interval (E. B. Wilson, 1927) of a share seen in so many texts; (0, 1) without any."""
    if texts <= 0:
        return 0.0, 1.0
    z = 1.959963984540054
    middle = share + z * z / (2 * texts)
    spread = z * math.sqrt(max(0.0, share * (1 - share) / texts + z * z / (4 * texts * texts)))
    scale = 1 + z * z / texts
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def single(flagged: int, texts: int) -> Rate:
    """The rate of one source."""
    share = flagged / texts if texts else 0.0
    return Rate(share, *wilson(share, texts), texts, 1, texts)


def macro(rates: Sequence[Rate]) -> Rate:
    """The average of rates, each counted alike.

    It is worth n = k² / Σ (1 / nᵢ) texts: what would have the same variance if all k rates were the same.
    """
    rates = [rate for rate in rates if rate.texts]
    if not rates:
        return Rate(0.0, 0.0, 1.0, 0, 0, 0.0)
    share = sum(rate.share for rate in rates) / len(rates)
    worth = len(rates) ** 2 / sum(1 / rate.worth for rate in rates)
    texts, sources = sum(rate.texts for rate in rates), sum(rate.sources for rate in rates)
    return Rate(share, *wilson(share, worth), texts, sources, worth)


Group = tuple[str, str]
"""(family, source), as `groups_of` pools them."""


def groups_of(keys: Iterable[Group], pool_below: int = POOL_BELOW) -> list[Group]:
    """The group that each text counts in: its (family, source), with small sources of a family pooled.

    A pool that is small itself takes in the smallest of the other sources, if there is one.
    """
    keys = list(keys)
    sizes = Counter(keys)
    pooled = {group for group, size in sizes.items() if size < pool_below}
    for family in {family for family, _ in pooled}:
        inside = sum(size for group, size in sizes.items() if group in pooled and group[0] == family)
        outside = [(size, group) for group, size in sizes.items() if group not in pooled and group[0] == family]
        if inside < pool_below and outside:
            pooled.add(min(outside)[1])
    return [(family, POOLED) if (family, source) in pooled else (family, source) for family, source in keys]


@dataclass(frozen=True, slots=True)
class Column:
    """What is flagged at one threshold.

    `families`: rate of each family that has texts. `caught`: their average. `honest`: average over honest sources.
    `worst`: the honest source with the highest rate ("" if there is none). `sources`: rate of each (family, source).
    """

    families: Mapping[str, Rate]
    caught: Rate
    honest: Rate
    worst: tuple[str, Rate]
    sources: Mapping[Group, Rate]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "caught": self.caught.as_dict(),
            "families": {family: rate.as_dict() for family, rate in self.families.items()},
            "honest": self.honest.as_dict(),
            "worstHonestSource": {"source": self.worst[0], **self.worst[1].as_dict()},
        }


def column(groups: Sequence[Group], flagged: Sequence[bool]) -> Column:
    """The rates of texts, given the group of each and whether it is flagged."""
    totals: Counter[Group] = Counter(groups)
    hits: Counter[Group] = Counter(group for group, hit in zip(groups, flagged, strict=True) if hit)
    sources = {group: single(hits[group], totals[group]) for group in sorted(totals)}
    families = {
        family: macro([rate for (name, _), rate in sources.items() if name == family])
        for family in FAMILIES
        if any(name == family for name, _ in sources)
    }
    honest = {source: rate for (name, source), rate in sources.items() if name == HONEST}
    worst = max(honest.items(), key=lambda entry: (entry[1].share, entry[0]), default=("", single(0, 0)))
    return Column(families, macro(list(families.values())), macro(list(honest.values())), worst, sources)


def threshold_for(groups: Sequence[Group], scores: Sequence[float], honest: float) -> float:
    """The lowest threshold at which the average share of honest texts with that score or more is at most `honest`.

    Infinite if there is none: then nothing is flagged.
    """
    totals: Counter[str] = Counter(source for family, source in groups if family == HONEST)
    if not totals:
        return -math.inf
    steps: dict[float, float] = {}
    for (family, source), score in zip(groups, scores, strict=True):
        if family == HONEST:
            steps[score] = steps.get(score, 0.0) + 1 / totals[source] / len(totals)
    # scores of attacks are thresholds too: between two honest ones they change what is caught, not what it costs
    flagged, lowest = 0.0, math.inf
    for score in sorted(set(scores), reverse=True):
        flagged += steps.get(score, 0.0)
        if flagged > honest + 1e-12:
            break
        lowest = score
    return lowest


def at_threshold(groups: Sequence[Group], scores: Sequence[float], threshold: float) -> Column:
    """The rates if each text of that score or more is flagged."""
    return column(groups, [score >= threshold for score in scores])

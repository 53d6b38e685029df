"""Detectors of personal data: how to reach somebody, how they pay, which numbers a state gave them.

Rules of this file: a checksum where there is one; where it is weak (one number in ten or eleven passes) or there is
none, a word such as "SSN" must be near, or the usual separators must be there. Dates inside numbers must be dates.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from .base import Candidate, Check, Checked, Confidence, Detector, Mode
from .checksums import base58check, bech32, digits_only, eip55, letters_and_digits, luhn, numbers
from .identities import IDENTITIES

_L: Final = r"(?:\A|[^A-Za-z0-9])"
_R: Final = r"(?:\z|[^A-Za-z0-9])"
_DIGITS: Final = frozenset(b"0123456789")


def _lower(value: bytes) -> bytes:
    return value.lower()


# --- e-mail ---------------------------------------------------------------------------------------------------

# Generic domains that people have addresses in; any two letters are taken for a country.
_GENERIC: Final = frozenset(
    b"com org net edu gov mil int info biz name pro aero coop museum jobs mobi travel tel cat asia post arpa app dev "
    b"io ai cloud online site website store shop blog tech xyz club live life world email mail media news agency "
    b"academy company consulting digital design events expert finance fund global group health help house law legal "
    b"management marketing network one page partners photo photography plus press pub school science security services "
    b"social "
    b"software solutions space studio systems team technology tips today tools top university ventures video vip "
    b"wiki work works zone eus gal berlin hamburg koeln bayern wien paris london nyc tokyo swiss saarland cymru scot "
    b"bank insurance church hospital clinic doctor dental estate example test invalid".split()
)
# Two letters that end names of files far more often than addresses: images and code behind an @.
_FILES: Final = frozenset(b"js ts py rb rs sh md cc hh so pl ps".split())


def _email(candidate: Candidate) -> Checked:
    value = candidate.value.replace(b"%40", b"@")
    local, _, domain = value.partition(b"@")
    top = domain.rpartition(b".")[2].lower()
    # the whole is none, so a part of it is none either
    nothing = candidate.end, candidate.end
    if top not in _GENERIC and (len(top) != 2 or top in _FILES):
        return nothing
    if local == b"git" or domain[:1] in b".-" or not local.strip(b"._%+-"):
        return nothing
    # the end of `https://user:password@host`, which is no address
    before = candidate.before(260)
    scheme = before.rfind(b"://")
    if scheme >= 0 and not any(char in b" \t\r\n/?#\"'<>\0" for char in before[scheme + 3 :]):
        return nothing
    long = len(local) - 64
    lead = max(long, len(local) - len(local.lstrip(b"._%+-")), 0)
    return (candidate.start + lead, candidate.end) if lead else True


def _email_normal(value: bytes) -> bytes:
    local, _, domain = value.replace(b"%40", b"@").rpartition(b"@")
    return local + b"@" + domain.lower()


# --- phone ----------------------------------------------------------------------------------------------------

# Country codes of ITU E.164: one, two and three digits.
_TWO_DIGITS: Final = frozenset(
    b"20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 "
    b"90 91 92 93 94 95 98".split()
)
_THREE_DIGITS: Final = frozenset(b"21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 69 80 85 87 88 96 97 99".split())


def _e164(candidate: Candidate) -> bool:
    digits = candidate.digits.lstrip(b"0")
    if b"." in candidate.value and b"-" in candidate.value:
        return False  # numbers of a drawing
    if not 9 <= len(digits) <= 15 or len(set(digits)) < 4:
        return False
    if not candidate.value.startswith(b"+") and candidate.value.isdigit():
        return False  # a number filled up with zeros
    if digits[:1] == b"1":
        return len(digits) == 11 and _nanp(digits[1:])
    if digits[:1] == b"7":
        return len(digits) == 11
    return digits[:2] in _TWO_DIGITS or (digits[:2] in _THREE_DIGITS and len(digits) >= 10)


def _international(candidate: Candidate) -> Checked:
    if not _e164(candidate):
        return False
    closed = candidate.value.endswith(b")") and candidate.value.count(b"(") < candidate.value.count(b")")
    return (candidate.start, candidate.end - 1) if closed else True


_TOLL_FREE: Final = frozenset(b"800 833 844 855 866 877 888".split())


def _nanp(digits: bytes) -> bool:
    """Area and exchange from 2; not N11; not the numbers that are kept for fiction; nobody's own toll-free number."""
    return (
        digits[0] >= 0x32
        and digits[3] >= 0x32
        and digits[1:3] != b"11"
        and digits[4:6] != b"11"
        and digits[3:8] != b"55501"
        and digits[:3] not in _TOLL_FREE
        and len(set(digits)) >= 4
    )


def _us_phone(candidate: Candidate) -> bool:
    digits = candidate.digits[-10:]
    return _nanp(digits) and not _in_longer_number(candidate)


def _national_phone(candidate: Candidate) -> bool:
    digits = candidate.digits
    return (
        7 <= len(digits) <= 13
        and len(set(digits)) >= 4
        and not _in_longer_number(candidate)
        and not _dated(candidate.value)
    )


def _european_phone(candidate: Candidate) -> bool:
    return len(set(candidate.digits)) >= 4 and not _in_longer_number(candidate)


def _in_longer_number(candidate: Candidate) -> bool:
    """Whether it is a piece of a longer chain of digits, as in tables, versions and serial numbers."""
    before, after = candidate.before(2), candidate.after(2)
    return (len(before) == 2 and before[1] in b"-./_+:" and before[0] in _DIGITS) or (
        len(after) == 2 and after[0] in b"-./_:" and after[1] in _DIGITS
    )


def _dated(value: bytes) -> bool:
    """Years and dates: 2024-01-31, 31.01.2024."""
    for separator in (b"-", b".", b"/"):
        parts = value.split(separator)
        if len(parts) == 3 and all(part.isdigit() for part in parts) and sorted(map(len, parts)) in _SIZES_OF_DATES:
            return True
    return False


_SIZES_OF_DATES: Final = ([2, 2, 4], [1, 1, 4], [1, 2, 4])


# --- addresses of machines ------------------------------------------------------------------------------------


_WORDS_FOR_ADDRESSES: Final = (b"ip", b"addr", b"host", b"server", b"dns", b"//", b"@", b"ping ")
_WORDS_FOR_VERSIONS: Final = (
    b"version", b" ver ", b" ver.", b" v.", b"release", b"section", b"chapter", b"==", b">=", b"<=", b"rev ",
)  # fmt: skip
# Resolvers that everybody uses, and what is written for any address.
_NOBODYS: Final = frozenset(
    map(ipaddress.IPv4Address, ("1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "1.2.3.4", "5.6.7.8"))
)


def _quad(candidate: Candidate) -> ipaddress.IPv4Address | None:
    before, after = candidate.before(24).lower(), candidate.after(2)
    if (len(after) == 2 and after[:1] == b"." and after[1] in _DIGITS) or before[-1:] in (
        b".",
        b"-",
        b"_",
        b"+",
        b"^",
        b"~",
    ):
        return None
    if before[-1:] == b"/" and before[-2:] not in (b"//", b" /"):
        return None  # Chrome/120.0.0.0
    if any(word in before for word in _WORDS_FOR_VERSIONS):
        return None
    try:
        address = ipaddress.IPv4Address(candidate.value.decode("ascii"))
    except ValueError:
        return None
    octets = address.packed
    # a section or a version, if nothing says that it is none
    small = max(octets) < 20 and not any(word in before for word in _WORDS_FOR_ADDRESSES)
    if small or address in _NOBODYS:
        return None
    return None if octets[0] == 0 or octets[0] >= 224 or address.is_loopback else address


def _is_documentation(address: ipaddress.IPv4Address) -> bool:
    return address.packed[:3] in (b"\xc0\x00\x02", b"\xc6\x33\x64", b"\xcb\x00\x71")


def _public_ipv4(candidate: Candidate) -> bool:
    address = _quad(candidate)
    return address is not None and (address.is_global and not _is_documentation(address))


def _private_ipv4(candidate: Candidate) -> bool:
    address = _quad(candidate)
    return address is not None and not address.is_global and not _is_documentation(address)


def _six(candidate: Candidate) -> ipaddress.IPv6Address | None:
    value = candidate.value
    if value.count(b":") < 3 or candidate.before(1) in (b":", b".") or candidate.after(1)[:1] in (b":",):
        return None
    try:
        return ipaddress.IPv6Address(value.decode("ascii"))
    except ValueError:
        return None


_IPV6_DOCUMENTATION: Final = (ipaddress.IPv6Network("2001:db8::/32"), ipaddress.IPv6Network("3fff::/20"))


def _public_ipv6(candidate: Candidate) -> bool:
    address = _six(candidate)
    return (
        address is not None and address.packed[0] >> 5 == 1 and not any(address in net for net in _IPV6_DOCUMENTATION)
    )


def _private_ipv6(candidate: Candidate) -> bool:
    address = _six(candidate)
    return address is not None and (address.packed[0] in (0xFC, 0xFD) or address.is_link_local)


def _ip_normal(value: bytes) -> bytes:
    try:
        return ipaddress.ip_address(value.decode("ascii")).compressed.encode()
    except ValueError:  # also of values that operators allow, and that are no addresses
        return value


def _mac(candidate: Candidate) -> bool:
    value = letters_and_digits(candidate.value)
    separator = candidate.value[2:3]
    if candidate.before(1) == separator or (candidate.after(1) == separator and candidate.after(2)[1:2].isalnum()):
        return False  # a fingerprint
    return len(set(value)) >= 4 and candidate.value.count(separator) == 5 and value != b"001122334455"


# --- money ----------------------------------------------------------------------------------------------------

# First digits of issuers, and how long their numbers are (ISO/IEC 7812).
_ISSUERS: Final[tuple[tuple[int, int, tuple[int, ...]], ...]] = (
    (34, 34, (15,)), (37, 37, (15,)),  # American Express
    (300, 305, (14,)), (36, 36, (14,)), (38, 39, (14, 16)),  # Diners
    (3528, 3589, (16,)),  # JCB
    (4, 4, (13, 16, 19)),  # Visa
    (51, 55, (16,)), (2221, 2720, (16,)),  # Mastercard
    (5018, 5018, (16, 19)), (5020, 5020, (16, 19)), (5038, 5038, (16, 19)), (5893, 5893, (16, 19)),
    (6304, 6304, (16, 19)), (6759, 6759, (16, 19)), (6761, 6763, (16, 19)),  # Maestro
    (6011, 6011, (16, 19)), (644, 649, (16,)), (65, 65, (16, 19)),  # Discover
    (62, 62, (16, 17, 18, 19)),  # UnionPay
    (2200, 2204, (16,)),  # Mir
    (60, 60, (16,)), (81, 82, (16,)), (508, 508, (16,)),  # RuPay
)  # fmt: skip
_CARD_LENGTHS: Final = (19, 18, 17, 16, 15, 14, 13)
_LAST_GROUPS: Final = 18
_MOST_STRAY: Final = 4  # groups beside a card that is written in small ones


def _is_card(digits: bytes) -> bool:
    if len(set(digits)) < 2:
        return False
    for low, high, lengths in _ISSUERS:
        if len(digits) in lengths and low <= int(digits[: len(str(low))]) <= high:
            return luhn(digits)
    return False


def _card(candidate: Candidate) -> Checked:
    """A card in a chain of groups of digits: whole groups, of the sizes that cards are written in."""
    groups: list[tuple[int, int]] = []
    start: int | None = None
    for index, char in enumerate(candidate.value, candidate.start):
        if char in _DIGITS:
            start = index if start is None else start
        elif start is not None:
            groups.append((start, index))
            start = None
    if start is not None:
        groups.append((start, candidate.end))
    sizes = [end - begin for begin, end in groups]
    for first in range(len(groups)):
        if sizes[first] < 4 and len(groups) > 19 + _MOST_STRAY:
            continue  # a table of small numbers
        total = 0
        for last in range(first, min(len(groups), first + 19)):
            total += sizes[last]
            if total > 19:
                break
            if total in _CARD_LENGTHS and _grouped(sizes[first : last + 1]):
                if sizes[first] < 4 and len(groups) > last - first + 1 + _MOST_STRAY:
                    continue
                begin, end = groups[first][0], groups[last][1]
                if _is_card(digits_only(candidate.data[begin:end])):
                    return begin, end
    # the chain may go on: a card may begin in its last groups
    rest = groups[-_LAST_GROUPS][0] if len(groups) > 2 * _LAST_GROUPS else candidate.end
    return rest, rest


def _grouped(sizes: list[int]) -> bool:
    """4-4-4-4, 4-6-5, 4-6-4, one piece, or all alike with what is left at the end."""
    # an invisible character instead of a space leaves 8-4-4
    if len(sizes) == 1 or sizes in ([4, 6, 5], [4, 6, 4]) or all(size % 4 == 0 for size in sizes):
        return True
    return len(set(sizes[:-1])) == 1 and sizes[-1] <= max(sizes[0], 3)


_IBAN_LENGTHS: Final = {
    country.encode(): length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FO FI GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


def _iban(candidate: Candidate) -> Checked:
    value = candidate.value
    length = _IBAN_LENGTHS[value[:2].upper()]
    kept = bytearray()
    for offset, char in enumerate(value):
        if char in b" -":
            continue
        kept.append(char)
        if len(kept) == length:
            after = candidate.data[candidate.start + offset + 1 : candidate.start + offset + 2]
            if after.isalnum():
                return False
            text = bytes(kept).upper()
            moved = (text[4:] + text[:4]).decode("ascii")
            if int("".join(str(int(part, 36)) for part in moved)) % 97 != 1 or len(set(text[4:])) < 3:
                return False
            return candidate.start, candidate.start + offset + 1
    return False


def _bic(candidate: Candidate) -> bool:
    return candidate.value[4:6] in _IBAN_LENGTHS or candidate.value[4:6] in _MORE_COUNTRIES


_MORE_COUNTRIES: Final = frozenset(b"US CA AU NZ JP CN IN KR SG HK MX AR CL CO ZA NG KE TH MY ID PH VN".split())


def _bitcoin(candidate: Candidate) -> bool:
    return base58check(candidate.value)


def _segwit(candidate: Candidate) -> bool:
    return candidate.value in (candidate.value.lower(), candidate.value.upper()) and bech32(candidate.value)


def _ethereum(candidate: Candidate) -> bool:
    address = candidate.value[2:]
    return len(set(address.lower())) >= 6 and eip55(address)


# --- other ----------------------------------------------------------------------------------------------------


def _birth(candidate: Candidate) -> bool:
    """A date between 1900 and 2029."""
    value = bytes(char if char in _DIGITS else 0x20 for char in candidate.value)
    parts = [int(part) for part in value.split()]
    if len(parts) == 2:  # a month in words between them
        parts.insert(1, 1)
    year = max(parts)
    if len(parts) != 3 or not (1900 <= year <= 2029 or year < 100):
        return False
    rest = sorted(part for index, part in enumerate(parts) if index != parts.index(year))
    return 1 <= rest[0] <= 12 and 1 <= rest[1] <= 31


def _coordinates(candidate: Candidate) -> bool:
    latitude, _, longitude = candidate.value.replace(b";", b",").partition(b",")
    try:
        return abs(float(latitude)) <= 90 and abs(float(longitude)) <= 180
    except ValueError:
        return False


_VIN_VALUES: Final = dict(
    zip(b"ABCDEFGHJKLMNPRSTUVWXYZ0123456789", numbers(b"123456781234579234567890123456789"), strict=True)
)
_VIN_WEIGHTS: Final = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def _vin(candidate: Candidate) -> bool:
    value = candidate.value
    rest = sum(_VIN_VALUES[char] * weight for char, weight in zip(value, _VIN_WEIGHTS, strict=True)) % 11
    return value[8] == (ord("X") if rest == 10 else rest + 0x30) and len(set(value)) >= 6


def _personal(
    kind: str,
    title: str,
    pattern: str,
    checked: str,
    check: Check | None,
    *,
    detector: str = "",
    confidence: Confidence = "high",
    context: str | None = None,
    reach: tuple[int, int] = (24, 64),
    normal: object = None,
    mode: Mode = Mode.TAG,
    strict: Mode = Mode.TAG,
) -> Detector:
    form = normal if callable(normal) else digits_only
    return Detector(
        detector or kind,
        kind,
        "personal",
        title,
        pattern,
        checked,
        confidence,
        check,
        context,
        reach,
        form,
        mode,
        strict,
    )


_QUAD: Final = r"(?:\A|[^A-Za-z0-9.])((?:[0-9]{1,3}\.){3}[0-9]{1,3})(?:\z|[^0-9A-Za-z])"
_SIX: Final = r"(?:\A|[^A-Za-z0-9:.])([0-9A-Fa-f]{1,4}:[0-9A-Fa-f:]{2,34}[0-9A-Fa-f:])(?:\z|[^0-9A-Za-z:.])"

PERSONAL: Final[tuple[Detector, ...]] = (
    _personal(
        "email",
        "E-mail address",
        r"([A-Za-z0-9._%+-]+(?:@|%40)(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24})(?:\z|[^A-Za-z0-9-])",
        "a domain that exists, no name of a file, no URL with a password",
        _email,
        normal=_email_normal,
    ),
    _personal(
        "phone",
        "Phone number (international)",
        r"(?:\A|[^A-Za-z0-9+])((?:\+|00)[1-9](?:[ ./-]{0,2}\(?[0-9]\)?){8,14})" + _R,
        "country code, length",
        _international,
        detector="phone-international",
        confidence="medium",
    ),
    _personal(
        "phone",
        "Phone number (North America)",
        _L + r"((?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[ .-][0-9]{4})" + _R,
        "area and exchange, separators, not 555-01xx",
        _us_phone,
        detector="phone-north-america",
        confidence="medium",
    ),
    _personal(
        "phone",
        "Phone number (national forms of Great Britain and France)",
        _L
        + r"(07[0-9]{3} [0-9]{6}|07[0-9]{3} [0-9]{3} [0-9]{3}|0[1-9](?:[ .][0-9]{2}){4}|020 [378][0-9]{3} [0-9]{4})"
        + _R,
        "groups",
        _european_phone,
        detector="phone-europe",
        confidence="medium",
    ),
    _personal(
        "phone",
        "Phone number behind a word for it",
        r"(?:\A|[^A-Za-z0-9.,-])(\(?0?[0-9](?:[ ./()-]{0,3}[0-9]){6,12})" + _R,
        "a word for it in front, length, no date",
        _national_phone,
        detector="phone-named",
        confidence="medium",
        context=r"(?i:(?:\A|[^a-z])(?:phone|tel|telephone|mobile|cell|fax|whatsapp|handy|telefon|telefono|mobil|rufnummer"
        r"|telefoon|call me (?:at|on))"
        r"(?: ?(?:no|number|nr|num))?[.]?[\"']? ?[:=#(])",
        reach=(0, 12),
    ),
    _personal(
        "ipv4",
        "IPv4 address (public)",
        _QUAD,
        "public, no version, no section, not of a documentation block",
        _public_ipv4,
        confidence="medium",
        normal=_ip_normal,
    ),
    _personal(
        "ipv4-private",
        "IPv4 address (private)",
        _QUAD,
        "private, no version",
        _private_ipv4,
        confidence="medium",
        normal=_ip_normal,
        mode=Mode.OFF,
    ),
    _personal(
        "ipv6",
        "IPv6 address (public)",
        _SIX,
        "global unicast, not of a documentation block",
        _public_ipv6,
        normal=_ip_normal,
    ),
    _personal(
        "ipv6-private",
        "IPv6 address (private)",
        _SIX,
        "unique local or link local",
        _private_ipv6,
        normal=_ip_normal,
        mode=Mode.OFF,
    ),
    _personal(
        "mac-address",
        "MAC address",
        _L + r"((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2})" + _R,
        "six bytes, no fingerprint",
        _mac,
        normal=letters_and_digits,
    ),
    _personal(
        "credit-card",
        "Payment card",
        r"(?:\A|[^A-Za-z0-9])([0-9](?:[ ._/-]{0,2}[0-9]){12,80})" + _R,
        "Luhn, issuer and its length, groups",
        _card,
        strict=Mode.REDACT,
    ),
    _personal(
        "iban",
        "IBAN",
        _L
        + r"((?i:"
        + "|".join(sorted(country.decode() for country in _IBAN_LENGTHS))
        + r")[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30})",
        "mod 97, length of the country",
        _iban,
        normal=letters_and_digits,
        strict=Mode.REDACT,
    ),
    _personal(
        "bic",
        "BIC",
        _L + r"([A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)" + _R,
        "a word for it in front, country",
        _bic,
        context=r"(?i:(?:\A|[^a-z])(?:bic|swift)(?:[ /-](?:bic|code))?[\"']?[ ]?[:=(])",
        reach=(0, 24),
        confidence="medium",
        normal=letters_and_digits,
    ),
    _personal(
        "bitcoin-address",
        "Bitcoin address",
        _L + r"([13][1-9A-HJ-NP-Za-km-z]{25,34})" + _R,
        "base58check",
        _bitcoin,
        normal=bytes,
    ),
    _personal(
        "bitcoin-address",
        "Bitcoin address (segwit)",
        _L + r"((?:bc1|BC1)[02-9ac-hj-np-zAC-HJ-NP-Z]{11,71})" + _R,
        "bech32 checksum",
        _segwit,
        detector="bitcoin-segwit-address",
        normal=_lower,
    ),
    _personal(
        "ethereum-address",
        "Ethereum address",
        _L + r"(0x[0-9a-fA-F]{40})" + _R,
        "EIP-55, or one case",
        _ethereum,
        normal=_lower,
    ),
    _personal(
        "date-of-birth",
        "Date of birth",
        r"(?:\A|[^0-9])([0-9]{4}[./-][0-9]{1,2}[./-][0-9]{1,2}|[0-9]{1,2}[./-][0-9]{1,2}[./-](?:[0-9]{4}|[0-9]{2})"
        r"|[0-9]{1,2}(?:st|nd|rd|th|[.])? [A-Za-z]{3,9},? [0-9]{4}"
        r"|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6} [0-9]{1,2},? [0-9]{4})(?:\z|[^0-9])",
        "a word for it in front, a date",
        _birth,
        confidence="medium",
        normal=letters_and_digits,
        context=r"(?i:(?:\A|[^a-z])(?:d\.?o\.?b\.?|date of birth|birth ?date|birthday|born on|geburtsdatum|geb\. ?am"
        r"|geboren am|date de naissance|nee? le|fecha de nacimiento"
        r"|data di nascita|data de nascimento|geboortedatum)(?:\z|[^a-z]))",
        reach=(0, 16),
    ),
    _personal(
        "coordinates",
        "Coordinates",
        r"(?:\A|[^0-9.])(-?[0-9]{1,2}\.[0-9]{4,10} ?[,;] ?-?[0-9]{1,3}\.[0-9]{4,10})(?:\z|[^0-9])",
        "a word for it in front, 4 decimals",
        _coordinates,
        confidence="medium",
        normal=bytes,
        context=r"(?i:coordinates?|gps|location|lat ?[,/] ?(?:lon|lng)|latlng|geo:|koordinaten)",
        reach=(0, 24),
    ),
    _personal(
        "vin",
        "Vehicle identification number",
        _L + r"([A-HJ-NPR-Z0-9]{17})" + _R,
        "a word for it near, check digit",
        _vin,
        context=r"(?i:(?:\A|[^a-z])(?:vin|vehicle|chassis|fahrgestell|fin)(?:\z|[^a-z]))",
        reach=(24, 40),
        confidence="medium",
        normal=letters_and_digits,
    ),
    *IDENTITIES,
)

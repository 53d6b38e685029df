"""Detectors of numbers that states give to people.

Rules of this file: see `personal.py`. Where the checksum alone is weak, a word for the number must be near.
"""

from __future__ import annotations

from typing import Final

from .base import Candidate, Check, Confidence, Detector, Mode
from .checksums import (
    digits_only,
    letters_and_digits,
    luhn,
    mod11_2,
    mod11_10,
    numbers,
    verhoeff,
    weighted,
)

_L: Final = r"(?:\A|[^A-Za-z0-9])"
_R: Final = r"(?:\z|[^A-Za-z0-9])"
_DIGITS: Final = frozenset(b"0123456789")


def _date(day: int, month: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= (29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31)


def _two(digits: bytes, at: int) -> int:
    return int(digits[at : at + 2])


def _apart(candidate: Candidate) -> bool:
    """Not a piece of a longer chain of digits and separators."""
    before, after = candidate.before(2), candidate.after(2)
    return not (
        (len(before) == 2 and before[1] in b"-./_" and before[0] in _DIGITS)
        or (len(after) == 2 and after[0] in b"-./_" and after[1] in _DIGITS)
    )


def _alone(candidate: Candidate) -> bool:
    """`_apart`, and no other number next to it either, as in tables."""
    before, after = candidate.before(2), candidate.after(2)
    return _apart(candidate) and not (
        (len(before) == 2 and before[1] == 0x20 and before[0] in _DIGITS)
        or (len(after) == 2 and after[0] == 0x20 and after[1] in _DIGITS)
    )


def _ssn(candidate: Candidate) -> bool:
    digits = candidate.digits
    # the two numbers that advertisements made famous
    return (
        digits[:3] not in (b"000", b"666")
        and digits[0] != 0x39
        and digits[3:5] != b"00"
        and digits[5:] != b"0000"
        and digits not in (b"078051120", b"219099999", b"123456789", b"987654321")
        and len(set(digits)) >= 3
        and _apart(candidate)
    )


def _itin(candidate: Candidate) -> bool:
    group = _two(candidate.digits, 3)
    return (50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99) and _apart(candidate)


def _nino(candidate: Candidate) -> bool:
    return candidate.value[:2] not in (b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ")


def _nhs(candidate: Candidate) -> bool:
    digits = numbers(candidate.digits)
    rest = 11 - weighted(digits[:9], range(10, 1, -1)) % 11
    return len(set(digits)) >= 3 and rest % 11 == digits[9] and rest != 10


def _steuer_id(candidate: Candidate) -> bool:
    """Of the first ten digits one appears twice or three times, all others at most once."""
    digits = candidate.digits
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    return digits[0] != 0x30 and counts[-1] in (2, 3) and counts[:-1].count(1) == len(counts) - 1 and mod11_10(digits)


def _nir(candidate: Candidate) -> bool:
    value = letters_and_digits(candidate.value)
    if len(value) != 15 or value[:1] not in (b"1", b"2", b"3", b"4", b"7", b"8"):
        return False
    month = int(value[3:5])
    body = value[:13].replace(b"2A", b"19").replace(b"2B", b"18")
    return (1 <= month <= 12 or 20 <= month <= 42 or month >= 50) and 97 - int(body) % 97 == int(value[13:])


_DNI: Final = b"TRWAGMYFPDXBNJZSQVHLCKE"


def _dni(candidate: Candidate) -> bool:
    value = letters_and_digits(candidate.value)
    number = int(value[:-1].translate(bytes.maketrans(b"XYZ", b"012")))
    return _DNI[number % 23] == value[-1] and len(set(value[:-1])) >= 3


_ODD: Final = dict(
    zip(
        b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21),
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        ),
        strict=True,
    )
)  # fmt: skip


def _codice_fiscale(candidate: Candidate) -> bool:
    value = candidate.value.upper()
    total = sum(
        _ODD[char] if index % 2 == 0 else (char - 0x30 if char < 0x41 else char - 0x41)
        for index, char in enumerate(value[:15])
    )
    return total % 26 == value[15] - 0x41


def _bsn(candidate: Candidate) -> bool:
    digits = numbers(candidate.digits.rjust(9, b"0"))
    return weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and len(set(digits)) >= 3


def _pesel(candidate: Candidate) -> bool:
    digits = candidate.digits
    total = weighted(numbers(digits), (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1))
    return total % 10 == 0 and _date(_two(digits, 4), _two(digits, 2) % 20) and len(set(digits)) >= 4


def _belgian(candidate: Candidate) -> bool:
    digits = candidate.digits
    month = _two(digits, 2) % 20
    body, check = int(digits[:9]), int(digits[9:])
    dated = (month == 0 or 1 <= month <= 12) and _two(digits, 4) <= 31
    return dated and check in (97 - body % 97, 97 - (2_000_000_000 + body) % 97) and len(set(digits)) >= 4


def _personnummer(candidate: Candidate) -> bool:
    digits = candidate.digits[-10:]
    day = _two(digits, 4)
    return _date(day - 60 if day > 60 else day, _two(digits, 2)) and luhn(digits) and _apart(candidate)


def _hetu(candidate: Candidate) -> bool:
    value = candidate.value
    if not _date(int(value[:2]), int(value[2:4])):
        return False
    return b"0123456789ABCDEFHJKLMNPRSTUVWXY"[int(value[:6] + value[7:10]) % 31] == value[10]


def _cpr(candidate: Candidate) -> bool:
    # the old checksum does not hold for numbers given since 2007
    digits = candidate.digits
    return _date(_two(digits, 0), _two(digits, 2)) and _apart(candidate)


def _nif(candidate: Candidate) -> bool:
    digits = numbers(candidate.digits)
    rest = 11 - weighted(digits[:8], range(9, 1, -1)) % 11
    return (0 if rest >= 10 else rest) == digits[8] and len(set(digits)) >= 3


def _ahv(candidate: Candidate) -> bool:
    digits = numbers(candidate.digits)
    return weighted(digits, (1, 3) * 6 + (1,)) % 10 == 0


def _mod11(digits: list[int], first: int, weights: range | tuple[int, ...]) -> bool:
    rest = weighted(digits[:first], weights) % 11
    return digits[first] == (0 if rest < 2 else 11 - rest)


def _cpf(candidate: Candidate) -> bool:
    digits = numbers(candidate.digits)
    return len(set(digits)) >= 3 and _mod11(digits, 9, range(10, 1, -1)) and _mod11(digits, 10, range(11, 1, -1))


def _cnpj(candidate: Candidate) -> bool:
    digits = numbers(candidate.digits)
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    return len(set(digits)) >= 3 and _mod11(digits, 12, weights[1:]) and _mod11(digits, 13, weights)


def _curp(candidate: Candidate) -> bool:
    value = candidate.value
    letters = "0123456789ABCDEFGHIJKLMN\u00d1OPQRSTUVWXYZ"
    total = sum(letters.index(chr(char)) * (18 - index) for index, char in enumerate(value[:17]))
    return (10 - total % 10) % 10 == value[17] - 0x30 and _date(int(value[8:10]), int(value[6:8]))


def _sin(candidate: Candidate) -> bool:
    return candidate.digits[0] not in b"08" and luhn(candidate.digits) and len(set(candidate.digits)) >= 3


def _tfn(candidate: Candidate) -> bool:
    digits = numbers(candidate.digits)
    return weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0 and len(set(digits)) >= 3


def _aadhaar(candidate: Candidate) -> bool:
    digits = candidate.digits
    return verhoeff(digits) and len(set(digits)) >= 4 and _alone(candidate)


def _chinese(candidate: Candidate) -> bool:
    value = candidate.value
    region, year = int(value[:2]), int(value[6:10])
    return (
        11 <= region <= 82 and 1900 <= year <= 2029 and _date(int(value[12:14]), int(value[10:12])) and mod11_2(value)
    )


def _my_number(candidate: Candidate) -> bool:
    digits = numbers(candidate.digits)
    rest = weighted(digits[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return digits[11] == (0 if rest <= 1 else 11 - rest) and len(set(digits)) >= 3


def _rrn(candidate: Candidate) -> bool:
    digits = numbers(candidate.digits)
    if not _date(_two(candidate.digits, 4), _two(candidate.digits, 2)):
        return False
    rest = (11 - weighted(digits, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10
    # numbers given since October 2020 have no checksum, and are those of children
    return rest == digits[12] or (digits[6] in (3, 4, 7, 8) and _two(candidate.digits, 0) >= 20)


def _south_african(candidate: Candidate) -> bool:
    digits = candidate.digits
    return _date(_two(digits, 4), _two(digits, 2)) and digits[10] in b"01" and luhn(digits)


def _mrz_check(text: bytes, check: int) -> bool:
    total = sum(
        (0 if char == 0x3C else int(chr(char), 36)) * weight for char, weight in zip(text, (7, 3, 1) * 15, strict=False)
    )
    return total % 10 == (0 if check == 0x3C else check - 0x30)


def _mrz(candidate: Candidate) -> bool:
    """The second line of a passport: check digits of number, birth and expiry."""
    line = candidate.value.rstrip()[-44:]
    return (
        all(chr(line[at]).isdigit() for at in (9, 19, 27))
        and _mrz_check(line[:9], line[9])
        and _mrz_check(line[13:19], line[19])
        and _mrz_check(line[21:27], line[27])
    )


def _identity(
    kind: str,
    title: str,
    pattern: str,
    checked: str,
    check: Check | None,
    *,
    context: str | None = None,
    detector: str = "",
    confidence: Confidence = "high",
) -> Detector:
    words = None if context is None else r"(?i:(?:\A|[^a-z])(?:" + context + r")(?:\z|[^a-z]))"
    return Detector(
        detector or kind,
        kind,
        "personal",
        title,
        _L + "(" + pattern + ")" + _R,
        checked if context is None else f"a word for it near, {checked}",
        confidence if context is None else "medium",
        check,
        words,
        (24, 48),
        letters_and_digits if "A-Z" in pattern else digits_only,
        Mode.TAG,
        Mode.REDACT,
    )


IDENTITIES: Final[tuple[Detector, ...]] = (
    _identity("us-ssn", "US Social Security number", r"[0-9]{3}-[0-9]{2}-[0-9]{4}", "dashes, valid ranges", _ssn),
    _identity(
        "us-ssn",
        "US Social Security number, otherwise written",
        r"[0-9]{3}[ .]?[0-9]{2}[ .]?[0-9]{4}",
        "valid ranges",
        _ssn,
        context=r"ssn|ss#|social security(?: (?:number|no))?",
        detector="us-ssn-named",
    ),
    _identity("us-itin", "US taxpayer number (ITIN)", r"9[0-9]{2}[ -][0-9]{2}[ -][0-9]{4}", "valid groups", _itin),
    _identity(
        "uk-nino",
        "UK National Insurance number",
        r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]",
        "valid prefixes and suffixes",
        _nino,
    ),
    _identity(
        "uk-nhs",
        "UK NHS number",
        r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}",
        "mod 11",
        _nhs,
        context=r"nhs(?: (?:number|no))?",
    ),
    _identity(
        "de-steuer-id",
        "German tax number",
        r"[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}",
        "mod 11,10, one digit repeated",
        _steuer_id,
        context=r"steuer-?id(?:entifikationsnummer)?|steuernummer|idnr|tin|tax id",
    ),
    _identity(
        "fr-nir",
        "French social security number (NIR)",
        r"[1-478] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        "mod 97, month",
        _nir,
    ),
    _identity(
        "es-dni", "Spanish DNI or NIE", r"[0-9]{8}-?[A-HJ-NP-TV-Z]|[XYZ]-?[0-9]{7}-?[A-HJ-NP-TV-Z]", "letter", _dni
    ),
    _identity(
        "it-codice-fiscale",
        "Italian codice fiscale",
        r"(?i:[A-Z]{6}[0-9]{2}[ABCDEHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z])",
        "check letter",
        _codice_fiscale,
    ),
    _identity(
        "nl-bsn",
        "Dutch BSN",
        r"[0-9]{4}[ .]?[0-9]{2}[ .]?[0-9]{2,3}",
        "11-test",
        _bsn,
        context=r"bsn|burgerservicenummer|sofinummer",
    ),
    _identity("pl-pesel", "Polish PESEL", r"[0-9]{11}", "date, check digit", _pesel, context=r"pesel(?:u|em)?"),
    _identity(
        "be-national-number",
        "Belgian national number",
        r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}",
        "mod 97, date",
        _belgian,
    ),
    _identity(
        "be-national-number",
        "Belgian national number, otherwise written",
        r"[0-9]{6}[ -]?[0-9]{3}[ -.]?[0-9]{2}",
        "mod 97, date",
        _belgian,
        context=r"rijksregisternummer|registre national|national (?:register )?number|insz|niss",
        detector="be-national-number-named",
    ),
    _identity(
        "se-personnummer",
        "Swedish personnummer",
        r"(?:19|20)?[0-9]{6}[-+][0-9]{4}",
        "date, Luhn",
        _personnummer,
        confidence="medium",
    ),
    _identity(
        "fi-hetu", "Finnish HETU", r"[0-9]{6}[-+ABCDEFUVWXY][0-9]{3}[0-9A-FHJ-NPR-Y]", "date, check character", _hetu
    ),
    _identity(
        "dk-cpr",
        "Danish CPR number",
        r"[0-9]{6}-?[0-9]{4}",
        "date",
        _cpr,
        context=r"cpr(?:[ -]?(?:nr|nummer|number))?|personnummer",
    ),
    _identity(
        "pt-nif", "Portuguese NIF", r"[1-3569][0-9]{2} ?[0-9]{3} ?[0-9]{3}", "mod 11", _nif, context=r"nif|contribuinte"
    ),
    _identity("ch-ahv", "Swiss AHV number", r"756[.]?[0-9]{4}[.]?[0-9]{4}[.]?[0-9]{2}", "prefix, EAN-13", _ahv),
    _identity("br-cpf", "Brazilian CPF", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", "both check digits", _cpf),
    _identity(
        "br-cpf",
        "Brazilian CPF, digits alone",
        r"[0-9]{11}",
        "both check digits",
        _cpf,
        context=r"cpf",
        detector="br-cpf-named",
    ),
    _identity(
        "br-cnpj", "Brazilian CNPJ", r"[0-9]{2}\.[0-9]{3}\.[0-9]{3}/[0-9]{4}-[0-9]{2}", "both check digits", _cnpj
    ),
    _identity(
        "br-cnpj",
        "Brazilian CNPJ, digits alone",
        r"[0-9]{14}",
        "both check digits",
        _cnpj,
        context=r"cnpj",
        detector="br-cnpj-named",
    ),
    _identity(
        "mx-curp",
        "Mexican CURP",
        r"[A-Z][AEIOUX][A-Z]{2}[0-9]{6}[HMX][A-Z]{2}[B-DF-HJ-NP-TV-Z]{3}[0-9A-Z][0-9]",
        "date, check digit",
        _curp,
    ),
    _identity(
        "ca-sin",
        "Canadian SIN",
        r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}",
        "Luhn",
        _sin,
        context=r"sin|social insurance(?: (?:number|no))?|nas",
    ),
    _identity(
        "au-tfn",
        "Australian tax file number",
        r"[0-9]{3}[ ]?[0-9]{3}[ ]?[0-9]{3}",
        "mod 11",
        _tfn,
        context=r"tfn|tax file(?: (?:number|no))?",
    ),
    _identity(
        "in-aadhaar",
        "Indian Aadhaar number",
        r"[2-9][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}",
        "Verhoeff, groups of four",
        _aadhaar,
        confidence="medium",
    ),
    _identity(
        "in-aadhaar",
        "Indian Aadhaar number, digits alone",
        r"[2-9][0-9]{11}",
        "Verhoeff",
        _aadhaar,
        context=r"aadhaar|aadhar|uidai|uid",
        detector="in-aadhaar-named",
    ),
    _identity(
        "in-pan",
        "Indian PAN",
        r"[A-Z]{3}[ABCFGHLJPT][A-Z][0-9]{4}[A-Z]",
        "letters of the kinds of holder",
        None,
        context=r"pan(?: (?:card|number|no))?|permanent account number|income tax",
    ),
    _identity(
        "cn-resident-id", "Chinese resident number", r"[1-8][0-9]{16}[0-9Xx]", "region, date, mod 11-2", _chinese
    ),
    _identity(
        "jp-my-number",
        "Japanese My Number",
        r"[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}",
        "mod 11",
        _my_number,
        context=r"my ?number|individual number|kojin bango",
    ),
    _identity("kr-rrn", "Korean resident number", r"[0-9]{6}-[1-8][0-9]{6}", "date, mod 11", _rrn),
    _identity(
        "za-id",
        "South African id",
        r"[0-9]{6} ?[0-9]{4} ?[01][0-9]{2}",
        "date, Luhn",
        _south_african,
        context=r"(?:sa |south african |rsa )?id(?:entity)?(?: (?:number|no|document))?",
    ),
    _identity(
        "passport-mrz",
        "Machine-readable lines of a passport",
        r"P[A-Z<][A-Z]{3}[A-Z<]{39}[ \t]{0,4}(?:\r?\n|\\n)?[ \t]{0,4}"
        r"[A-Z0-9<]{9}[0-9][A-Z<]{3}[0-9]{7}[A-Z<][0-9]{7}[A-Z0-9<]{14}[0-9<][0-9]",
        "check digits",
        _mrz,
    ),
)

"""The ways in which attackers disguise a text, each as a function: the same text always gives the same disguise."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
import unicodedata
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

Transformation = Callable[[str], str]

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_CAPITALS: Final = _LETTERS.upper()
_WORD: Final = re.compile(r"[A-Za-z]+")

_CYRILLIC: Final = str.maketrans("acehijkmopstuxyABCEHIJKMOPSTXYdqw", "асеһіјкморѕтυхуАВСЕНІЈКМОРЅТХУԁԛԝ")
_GREEK: Final = str.maketrans("aeiknoptuvxyABEHIKMNOPTXYZ", "αεικηορτυνχγΑΒΕΗΙΚΜΝΟΡΤΧΥΖ")
_SMALL_CAPITALS: Final = str.maketrans(_LETTERS, "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘǫʀꜱᴛᴜᴠᴡxʏᴢ")
_SUPERSCRIPTS: Final = str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")
_TURNED: Final = str.maketrans(_LETTERS, "ɐqɔpǝɟƃɥıɾʞlɯuodbɹsʇnʌʍxʎz")
_LEET_LIGHT: Final = str.maketrans("oeiOEI", "031031")
_LEET_HEAVY: Final = str.maketrans("oieastbgOIEASTBG", "013@$78901345789")
_MORSE_SIGNS: Final = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .-.-.- --..-- ..--.. .----. -.-.-- -..-. -.--. "
    "-.--.- .-... ---... -.-.-. -...- .-.-. -....- .-..-. .--.-."
)
_MORSE: Final = dict(zip("abcdefghijklmnopqrstuvwxyz0123456789.,?'!/()&:;=+-\"@", _MORSE_SIGNS.split(), strict=True))


def _seeded(text: str) -> random.Random:
    return random.Random(zlib.crc32(text.encode("utf-8", "surrogatepass")))


def _within_words(text: str, filler: str) -> str:
    """The filler between the letters of each word."""
    return _WORD.sub(lambda word: filler.join(word.group()), text)


def _shifted(text: str, lower: int, upper: int) -> str:
    """Letters from another alphabet of Unicode that has them in order."""
    return "".join(
        chr(ord(char) - 0x61 + lower)
        if "a" <= char <= "z"
        else chr(ord(char) - 0x41 + upper)
        if "A" <= char <= "Z"
        else char
        for char in text
    )


def _script(text: str) -> str:
    # holes of the block, filled from elsewhere
    holes = {0x1D4BA: 0x212F, 0x1D4BC: 0x210A, 0x1D4C4: 0x2134, 0x1D49D: 0x212C, 0x1D4A0: 0x2130, 0x1D4A1: 0x2131}
    holes |= {0x1D4A3: 0x210B, 0x1D4A4: 0x2110, 0x1D4A7: 0x2112, 0x1D4A8: 0x2133, 0x1D4AD: 0x211B}
    return _shifted(text, 0x1D4B6, 0x1D49C).translate(holes)


def _fraktur(text: str) -> str:
    holes = {0x1D506: 0x212D, 0x1D50B: 0x210C, 0x1D50C: 0x2111, 0x1D515: 0x211C, 0x1D51D: 0x2128}
    return _shifted(text, 0x1D51E, 0x1D504).translate(holes)


def _fullwidth(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def _some(text: str, table: Mapping[int, int], share: float) -> str:
    dice = _seeded(text)
    return "".join(char.translate(table) if dice.random() < share else char for char in text)


def _zalgo(text: str) -> str:
    dice = _seeded(text)
    marks = "\u0300\u0301\u0302\u0308\u0323\u0330\u0335\u0338\u035c"
    return "".join(char + dice.choice(marks) if char.isalpha() else char for char in text)


def _spaced(text: str, gap: str, words: str) -> str:
    return words.join(gap.join(word) for word in text.split())


def _alternating(text: str) -> str:
    return "".join(char.upper() if index % 2 else char.lower() for index, char in enumerate(text))


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _base64(text: str) -> str:
    return base64.b64encode(_bytes_of(text)).decode("ascii")


def _url_safe(text: str) -> str:
    return base64.urlsafe_b64encode(_bytes_of(text)).decode("ascii").rstrip("=")


def _mime(text: str) -> str:
    return base64.encodebytes(_bytes_of(text)).decode("ascii").rstrip("\n")


def _base64_in_pieces(text: str) -> str:
    whole = _base64(text)
    return " + ".join(f'"{whole[at : at + 8]}"' for at in range(0, len(whole), 8))


def _quoted_printable(text: str) -> str:
    # every byte, as the standard encoder leaves ASCII alone
    return "".join(f"={byte:02X}" for byte in _bytes_of(text))


def _rot13(text: str) -> str:
    return text.translate(str.maketrans(_LETTERS + _CAPITALS, "nopqrstuvwxyzabcdefghijklmNOPQRSTUVWXYZABCDEFGHIJKLM"))


def _caesar(text: str) -> str:
    return text.translate(
        str.maketrans(_LETTERS + _CAPITALS, _LETTERS[3:] + _LETTERS[:3] + _CAPITALS[3:] + _CAPITALS[:3])
    )


def _atbash(text: str) -> str:
    return text.translate(str.maketrans(_LETTERS + _CAPITALS, _LETTERS[::-1] + _CAPITALS[::-1]))


def _each_reversed(text: str) -> str:
    return " ".join(word[::-1] for word in text.split(" "))


def _morse(text: str) -> str:
    return " / ".join(
        " ".join(_MORSE[char] for char in unicodedata.normalize("NFKD", word).lower() if char in _MORSE)
        for word in text.split()
    )


def _gzip(text: str) -> str:
    packed = bytearray(gzip.compress(_bytes_of(text), mtime=0))
    packed[9] = 255  # "unknown": which system it was made on is said otherwise by other versions of Python
    return base64.b64encode(packed).decode("ascii")


def _unicode_escapes(text: str) -> str:
    return "".join(f"\\u{unit:04x}" for unit in _units(text))


def _units(text: str) -> list[int]:
    raw = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


def _tagged(text: str) -> str:
    return "".join(chr(0xE0000 + ord(char)) if " " <= char <= "~" else char for char in text)


def _selectors(text: str) -> str:
    """Each byte as an invisible variation selector behind one emoji."""
    return "\U0001f600" + "".join(
        chr(0xFE00 + byte) if byte < 16 else chr(0xE0100 + byte - 16) for byte in _bytes_of(text)
    )


def _cut_words(text: str, *fillers: str) -> str:
    """A filler in the middle of each word of four letters and more, and its fellow behind the next letter."""

    def cut(word: re.Match[str]) -> str:
        letters = word.group()
        if len(letters) < 4:
            return letters
        middle = len(letters) // 2
        if len(fillers) == 1:
            return letters[:middle] + fillers[0] + letters[middle:]
        return letters[:middle] + fillers[0] + letters[middle : middle + 1] + fillers[1] + letters[middle + 1 :]

    return _WORD.sub(cut, text)


def _swapped(text: str) -> str:
    """Two neighbouring letters inside each long word swapped."""
    dice = _seeded(text)

    def swap(word: re.Match[str]) -> str:
        letters = word.group()
        if len(letters) < 6:
            return letters
        at = dice.randrange(1, len(letters) - 2)
        return letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :]

    return _WORD.sub(swap, text)


def _pig_latin(text: str) -> str:
    def turn(word: re.Match[str]) -> str:
        letters = word.group()
        head = next((at for at, char in enumerate(letters) if char in "aeiouAEIOU"), 0)
        return letters[head:] + letters[:head] + "ay" if head else letters + "way"

    return _WORD.sub(turn, text)


TRANSFORMATIONS: Final[Mapping[str, Transformation]] = MappingProxyType(
    {
        "zero-width-in-words": lambda text: _within_words(text, "\u200b"),
        "zero-width-for-spaces": lambda text: text.replace(" ", "\u200b"),
        "zero-width-mojibake": lambda text: _within_words(text, "\u200c".encode().decode("cp1252")),
        "soft-hyphens": lambda text: _within_words(text, "\u00ad"),
        "tag-characters": _tagged,
        "variation-selector-bytes": _selectors,
        "bidi-override": lambda text: f"\u202e{text[::-1]}\u202c",
        "bidi-marks": lambda text: _within_words(text, "\u200e"),
        "fullwidth": _fullwidth,
        "math-bold": lambda text: _shifted(text, 0x1D41A, 0x1D400),
        "math-script": _script,
        "math-fraktur": _fraktur,
        "math-monospace": lambda text: _shifted(text, 0x1D68A, 0x1D670),
        "circled": lambda text: _shifted(text, 0x24D0, 0x24B6),
        "squared": lambda text: _shifted(text.upper(), 0x1F130, 0x1F130),
        "regional-indicators": lambda text: " ".join(
            "\u200b".join(_shifted(word.upper(), 0x1F1E6, 0x1F1E6)) for word in text.split(" ")
        ),
        "small-capitals": lambda text: text.lower().translate(_SMALL_CAPITALS),
        "superscript": lambda text: text.lower().translate(_SUPERSCRIPTS),
        "upside-down": lambda text: text.lower().translate(_TURNED)[::-1],
        "cyrillic-some": lambda text: _some(text, _CYRILLIC, 0.2),
        "cyrillic-all": lambda text: text.translate(_CYRILLIC),
        "greek-all": lambda text: text.translate(_GREEK),
        "combining-marks": _zalgo,
        "variation-selectors": lambda text: _within_words(text, "\ufe0f"),
        "spaces-between-letters": lambda text: _spaced(text, " ", "   "),
        "spaces-without-gaps": lambda text: _spaced(text, " ", " "),
        "dots-between-letters": lambda text: _spaced(text, ".", " "),
        "hyphens-between-letters": lambda text: _spaced(text, "-", " "),
        "underscores-between-letters": lambda text: _spaced(text, "_", " "),
        "newlines-between-letters": lambda text: _spaced(text, "\n", "\n\n"),
        "newlines-between-words": lambda text: "\n".join(text.split()),
        "no-spaces": lambda text: text.replace(" ", ""),
        "hyphens-in-words": lambda text: _cut_words(text, "-"),
        "spaces-in-words": lambda text: _cut_words(text, " "),
        "leetspeak-light": lambda text: text.translate(_LEET_LIGHT),
        "leetspeak-heavy": lambda text: text.translate(_LEET_HEAVY),
        "alternating-case": _alternating,
        "upper-case": str.upper,
        "base64": _base64,
        "base64-url-safe": _url_safe,
        "base64-mime": _mime,
        "base64-in-pieces": _base64_in_pieces,
        "base64-twice": lambda text: _base64(_base64(text)),
        "base64-of-gzip": _gzip,
        "base64-of-rot13": lambda text: _base64(_rot13(text)),
        "base32": lambda text: base64.b32encode(_bytes_of(text)).decode("ascii"),
        "hex": lambda text: _bytes_of(text).hex(),
        "hex-with-spaces": lambda text: _bytes_of(text).hex(" "),
        "percent": lambda text: "".join(f"%{byte:02X}" for byte in _bytes_of(text)),
        "percent-twice": lambda text: "".join(f"%25{byte:02X}" for byte in _bytes_of(text)),
        "html-decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
        "html-hexadecimal": lambda text: "".join(f"&#x{ord(char):x};" for char in text),
        "unicode-escapes": _unicode_escapes,
        "hex-escapes": lambda text: "".join(f"\\x{byte:02x}" for byte in _bytes_of(text)),
        "quoted-printable": _quoted_printable,
        "rot13": _rot13,
        "caesar-3": _caesar,
        "atbash": _atbash,
        "reversed": lambda text: text[::-1],
        "words-reversed": _each_reversed,
        "word-order-reversed": lambda text: " ".join(text.split(" ")[::-1]),
        "pig-latin": _pig_latin,
        "morse": _morse,
        "binary": lambda text: " ".join(f"{byte:08b}" for byte in _bytes_of(text)),
        "decimal-codes": lambda text: " ".join(str(byte) for byte in _bytes_of(text)),
        "octal-codes": lambda text: " ".join(f"{byte:03o}" for byte in _bytes_of(text)),
        "html-tags-in-words": lambda text: _cut_words(text, "<b>", "</b>"),
        "html-comments-in-words": lambda text: _cut_words(text, "<!-- -->"),
        "markdown-emphasis-in-words": lambda text: _cut_words(text, "**", "**"),
        "backslashes-between-letters": lambda text: _WORD.sub(lambda w: "".join("\\" + c for c in w.group()), text),
        "json-in-json": lambda text: json.dumps(json.dumps({"text": text}))[1:-1],
        "typos": _swapped,
    }
)
# What a program undoes exactly; the others change words for good, or lose their order.
LOSSY: Final = frozenset({"typos"})

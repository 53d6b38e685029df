"""Checksums of keys, cards and national numbers. Each takes bytes of the right shape and says whether they add up.

Rules of this file: pure arithmetic, with the source of each. Callers have checked lengths and alphabets, or get False.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Final

_BASE62: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE58: Final = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32: Final = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"


_NOT_DIGITS: Final = bytes(sorted(set(range(256)) - set(b"0123456789")))
_NOT_ALNUM: Final = bytes(char for char in range(256) if not (chr(char).isascii() and chr(char).isalnum()))


def digits_only(value: bytes) -> bytes:
    """The normal form of numbers that are written in groups."""
    return value.translate(None, _NOT_DIGITS)


def letters_and_digits(value: bytes) -> bytes:
    """The normal form of numbers with letters that are written in groups."""
    return value.translate(None, _NOT_ALNUM).upper()


def numbers(digits: bytes) -> list[int]:
    """The values of ASCII digits."""
    return [digit - 0x30 for digit in digits]


def weighted(digits: Sequence[int], weights: Sequence[int]) -> int:
    """The sum of the products, as far as both go."""
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


_VALUES: Final = bytes((code - 0x30) % 10 for code in range(256))
_DOUBLED: Final = bytes(value * 2 - 9 * (value > 4) for value in _VALUES)


def luhn(digits: bytes) -> bool:
    """ISO/IEC 7812: cards, Canadian SIN, Swedish and South African numbers."""
    return (sum(digits[-1::-2].translate(_VALUES)) + sum(digits[-2::-2].translate(_DOUBLED))) % 10 == 0


_D: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_P: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def verhoeff(digits: bytes) -> bool:
    """The dihedral check of Aadhaar."""
    state = 0
    for index, digit in enumerate(reversed(digits)):
        state = int(_D[state][int(_P[index % 8][digit - 0x30])])
    return state == 0


def mod11_10(digits: bytes) -> bool:
    """ISO 7064 mod 11,10: the German tax number."""
    product = 10
    for digit in digits[:-1]:
        product = ((digit - 0x30 + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == digits[-1] - 0x30


def mod11_2(text: bytes) -> bool:
    """ISO 7064 mod 11-2: the Chinese resident number. The last may be X, for ten."""
    total = 0
    for char in text:
        total = total * 2 + (10 if char in b"Xx" else char - 0x30)
    return total % 11 == 1


def base62_crc32(body: bytes, check: bytes) -> bool:
    """Whether `check` is the CRC-32 of `body` in base 62, as GitHub and npm end their tokens."""
    rest = zlib.crc32(body)
    digits = bytearray()
    for _ in check:
        rest, digit = divmod(rest, 62)
        digits.append(_BASE62[digit])
    return rest == 0 and bytes(reversed(digits)) == check


def base58check(text: bytes) -> bool:
    """Whether it is a Bitcoin address of version 0 or 5 (base58check over 25 bytes)."""
    number = 0
    for char in text:
        digit = _BASE58.find(char)
        if digit < 0:
            return False
        number = number * 58 + digit
    if number.bit_length() > 200:
        return False
    raw = number.to_bytes(25, "big")
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    if raw[0] not in (0, 5) or len(text) - len(text.lstrip(b"1")) != zeros:
        return False
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


def bech32(text: bytes) -> bool:
    """BIP 173 and 350: whether the checksum holds, in either form."""
    text = text.lower()
    split = text.rfind(b"1")
    if split < 1 or len(text) - split < 7:
        return False
    prefix, body = text[:split], text[split + 1 :]
    values = [char >> 5 for char in prefix] + [0] + [char & 31 for char in prefix]
    for char in body:
        digit = _BECH32.find(char)
        if digit < 0:
            return False
        values.append(digit)
    state = 1
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> bit & 1:
                state ^= generator
    return state in (1, 0x2BC830A3)


_MASK: Final = (1 << 64) - 1


def _round_constants() -> list[int]:
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for bit in range(7):
            register = (register << 1 ^ (register >> 7) * 0x171) % 256
            if register & 2:
                constant ^= 1 << ((1 << bit) - 1)
        constants.append(constant)
    return constants


_ROUND_CONSTANTS: Final = _round_constants()


def keccak256(data: bytes) -> bytes:
    """The hash of Ethereum: Keccak with its first padding, which hashlib does not have. For less than 136 bytes."""
    block = bytearray(136)
    block[: len(data)] = data
    block[len(data)] ^= 0x01
    block[135] ^= 0x80
    lanes = [[0] * 5 for _ in range(5)]
    for index in range(17):
        lanes[index % 5][index // 5] = int.from_bytes(block[index * 8 : index * 8 + 8], "little")
    for constant in _ROUND_CONSTANTS:
        columns = [lane[0] ^ lane[1] ^ lane[2] ^ lane[3] ^ lane[4] for lane in lanes]
        for x in range(5):
            mixed = columns[(x + 4) % 5] ^ _rotated(columns[(x + 1) % 5], 1)
            lanes[x] = [lane ^ mixed for lane in lanes[x]]
        x, y, current = 1, 0, lanes[1][0]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, lanes[x][y] = lanes[x][y], _rotated(current, (step + 1) * (step + 2) // 2)
        for y in range(5):
            row = [lanes[x][y] for x in range(5)]
            for x in range(5):
                lanes[x][y] = row[x] ^ (~row[(x + 1) % 5] & _MASK & row[(x + 2) % 5])
        lanes[0][0] ^= constant
    return b"".join(lanes[index][0].to_bytes(8, "little") for index in range(4))


def _rotated(lane: int, by: int) -> int:
    by %= 64
    return (lane << by | lane >> (64 - by)) & _MASK


def eip55(address: bytes) -> bool:
    """Whether 40 hexadecimal digits are in the case that EIP-55 asks for, or all in one case."""
    if address in (address.lower(), address.upper()):
        return True
    digest = keccak256(address.lower()).hex()
    return all(
        chr(char).isdigit() or chr(char).isupper() == (digest[index] >= "8") for index, char in enumerate(address)
    )

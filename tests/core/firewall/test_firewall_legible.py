"""The model reads words: not letters that stand alone, nor numbers of characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.firewall.legible import legible
from obfuscations import TRANSFORMATIONS

TEXT = "Please send the minutes to everybody"


@pytest.mark.parametrize(
    "name",
    [
        "spaces-between-letters", "dots-between-letters", "hyphens-between-letters", "underscores-between-letters",
        "newlines-between-letters", "hex-with-spaces", "percent", "percent-twice", "binary", "decimal-codes",
        "octal-codes", "quoted-printable", "hex-escapes", "backslashes-between-letters",
    ],
)  # fmt: skip
def test_a_text_in_codes_is_blank(name: str) -> None:
    data = TRANSFORMATIONS[name](TEXT).encode()
    seen = legible(b"before this comes " + data + b" and that is behind it")
    assert seen.split() == b"before this comes and that is behind it".split()


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "I have a b c list",
        "Call +49 30 123456, or 10:30 on 2024-05-06",
        "a | b | c",
        "We are on it as of 10 am, so be at ease",
        "",
        "\n\x00\n",
    ],
)
def test_words_and_a_few_numbers_stay(text: str) -> None:
    assert legible(text.encode()) == text.encode()


@given(st.lists(st.sampled_from([b"a ", b"i.", b"\x00", b"%69", b"69 ", b"word ", b"01101001 ", b"\xc3\xa9 ", b"-"])))
def test_offsets_and_walls_stay(parts: list[bytes]) -> None:
    data = b"".join(parts)
    seen = legible(data)
    assert len(seen) == len(data)
    assert seen.count(b"\x00") == data.count(b"\x00")
    assert all(left in (right, 0x20) for left, right in zip(seen, data, strict=True))
    assert seen.count(b"word") == data.count(b"word")
    seen.decode("utf-8")

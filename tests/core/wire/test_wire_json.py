"""The strict JSON reader accepts exactly what every reader understands in the same way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.wire.json import JsonError, encode_json, parse_json


class Duplicate(Exception):
    pass


def slow_reader(data: bytes) -> Any:
    """An independent reader: the standard library with every strictness switched on."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise Duplicate
        return dict(pairs)

    return json.loads(data.decode(), object_pairs_hook=members)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"{} x",
        b"{}{}",
        b"{'a':1}",
        b"[1,]",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"[1.]",
        b"// c\n1",
        b'"\x01"',
        b'"\xff"',
        b'"\xc0\xae"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\x41"',
        b"\x00",
        b"1\x00",
        "[1]".encode("utf-16"),
        "[1]".encode("utf-32-le"),
        b"[1e400]",
        b"nul",
        b'{"a"}',
        b'{"a":}',
        b"{1:2}",
        b"\xc2\xa01",
    ],
)
def test_what_is_not_strict_json_is_refused(data: bytes) -> None:
    with pytest.raises(JsonError):
        parse_json(data)


@pytest.mark.parametrize(
    ("data", "key", "position"),
    [
        (b'{"a":1,"a":2}', "a", 7),
        (b'{"a":1,"a":1}', "a", 7),
        (b'{"a":1,"\\u0061":2}', "a", 7),
        (b'[{"x":{"a":":","b":[],"a":{}}}]', "a", 22),
        (b'{"a:":1,"a\\u003a":2}', "a:", 8),
        (b'{"a:":1,"a\\u003A":2}', "a:", 8),
        (b'{"":1,"":2}', "", 6),
        (b'{"x":"\\\\u003a","a":1,"a":"\\u003a"}', "a", 21),
        (b'{"a":1,"b":"\\u003a","a":2}', "a", 20),
        (b'{"k":["a","a",{"a":"a"}],"k":0}', "k", 25),
    ],
)
def test_a_duplicate_key_is_refused_with_its_name_and_place(data: bytes, key: str, position: int) -> None:
    with pytest.raises(JsonError) as caught:
        parse_json(data)
    assert repr(key) in caught.value.problem
    assert caught.value.position == position


def test_a_duplicate_key_in_a_large_body_is_refused_too() -> None:
    with pytest.raises(JsonError, match="twice"):
        parse_json(b'{"a":"' + b": " * 100_000 + b'","b":1,"b":2}')


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"\\\\u003a"}',
        b'{"a":"\\\\\\u003a\\\\"}',
        b'{"a\\\\":":\\":","b":"\\\\\\\\u003a"}',
        b'{"a":"\\u003a\\u003A:","b:":{"a":1}}',
        b'[{"a":1},{"a":1}]',
        b'"a:b"',
    ],
)
def test_colons_in_strings_are_not_mistaken_for_keys(data: bytes) -> None:
    assert parse_json(data) == json.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b"18446744073709551616",
        b"-9223372036854775809",
        b'{"id": 99999999999999999999}',
        b"[1.5, -18446744073709551615 ]",
        b"[" + b"9" * 300 + b"]",
        b'["1234567890123456789",1e30,123456789012345678901]',
    ],
)
def test_an_integer_beyond_64_bits_is_refused_since_others_would_round_it(data: bytes) -> None:
    with pytest.raises(JsonError):
        parse_json(data)


@pytest.mark.parametrize(
    "data",
    [
        b"18446744073709551615",
        b"-9223372036854775808",
        b'"123456789012345678901234567890"',
        b"[0.12345678901234567890123]",
        b"[12345678901234567890123.5]",
        b"[1234567890123456789012e5, 1e30, 1E+0000000000000000000030, 5e-0000000000000000000003]",
        b'{"12345678901234567890":1e30}',
    ],
)
def test_long_digits_that_lose_nothing_are_accepted(data: bytes) -> None:
    assert parse_json(data) == json.loads(data)


def test_numbers_that_are_long_and_large_are_limited_in_count() -> None:
    with pytest.raises(JsonError, match="19 digits"):
        parse_json(b"[1e30," + b"0.1234567890123456789," * 10_001 + b"1]")
    assert len(parse_json(b"[1," + b"0.1234567890123456789," * 10_001 + b"1]")) == 10_003


def test_depth_is_limited() -> None:
    assert parse_json(b"[" * 64 + b"]" * 64)
    for deep in (b"[" * 65 + b"]" * 65, b'{"a":' * 65 + b"1" + b"}" * 65, b"[" * 5000 + b"]" * 5000, b"[" * 2_000_000):
        with pytest.raises(JsonError):
            parse_json(deep)
    assert parse_json(b"[" + b"[]," * 1000 + b"[]]", max_depth=2)
    assert parse_json(b'{"a":"' + b"[{" * 1000 + b'"}', max_depth=1)
    with pytest.raises(JsonError, match="deeper than 1 "):
        parse_json(b'[{"a":1}]', max_depth=1)
    with pytest.raises(JsonError, match="deeper"):
        parse_json(b"[" * 300 + b"]" * 300, max_depth=1000)


def test_the_number_of_values_is_limited_before_anything_is_built() -> None:
    with pytest.raises(JsonError, match="more than 100 values"):
        parse_json(b"[" + b"1," * 100 + b"1]", max_nodes=100)
    assert parse_json(b'["' + b"," * 1000 + b'\\"[[[\\\\"]', max_nodes=100)
    assert len(parse_json(b"[" + b"1," * 97 + b"1]", max_nodes=100)) == 98


class Pairs:
    """An object as a list of members, which may repeat a name."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        self.members = members

    def __repr__(self) -> str:
        return f"Pairs({self.members!r})"


# Few letters, so that keys collide; colons, backslashes and quotes, since the counting is about them.
_text = st.text(st.sampled_from('a:\\"u03A,{[') | st.characters(codec="utf-8"), max_size=4)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(_text, inner), max_size=4).map(Pairs),
    max_leaves=12,
)


def written(value: Any, draw: Any) -> str:
    """JSON text of a value, with escapes where the drawn booleans say so."""
    if isinstance(value, str):
        return (
            '"'
            + "".join(
                f"\\u{ord(c):04x}"
                if ord(c) < 0x10000 and draw(st.booleans())
                else json.dumps(c, ensure_ascii=False)[1:-1]
                for c in value
            )
            + '"'
        )
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{written(k, draw)}: {written(v, draw)}" for k, v in value.members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(v, draw) for v in value) + "]"
    return json.dumps(value)


@given(st.data())
def test_documents_are_accepted_exactly_when_the_slow_reader_accepts_them(data: st.DataObject) -> None:
    text = written(data.draw(_values), data.draw).encode()
    try:
        expected = slow_reader(text)
    except Duplicate:
        with pytest.raises(JsonError):
            parse_json(text)
        return
    assert parse_json(text) == expected


@given(st.binary(max_size=40) | st.text(st.sampled_from('{}[]":,\\u003a1e.- \n'), max_size=40).map(str.encode))
def test_arbitrary_bytes_raise_nothing_else_and_mean_what_the_slow_reader_says(data: bytes) -> None:
    try:
        document = parse_json(data)
    except JsonError:
        return
    assert document == slow_reader(data)


def test_an_answer_can_be_written_even_if_utf8_cannot_hold_its_text() -> None:
    assert json.loads(encode_json({"reason": "bad \ud800 text"})) == {"reason": "bad \ud800 text"}

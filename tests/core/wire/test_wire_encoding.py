"""Content encodings: decoded as an upstream would, within limits, or refused."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable
from functools import reduce

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.request import Refusal
from kalguard_core.wire import encoding
from kalguard_core.wire.encoding import FREE_BYTES, MAX_RATIO, decoded, decoded_within

TEXT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "good morning, " * 20}]}).encode()
# As varied as JSON, so that it shrinks by less than the limit.
_random = random.Random(1)
LARGE = b" ".join(b"%d" % _random.getrandbits(64) for _ in range(5000))
MIB = 1024 * 1024


def zstd_stream(data: bytes, **parameters: int) -> bytes:
    """A frame that does not say how long its content is."""
    options = zstandard.ZstdCompressionParameters(**parameters) if parameters else None
    stream = zstandard.ZstdCompressor(compression_params=options).compressobj()
    return stream.compress(data) + stream.flush()


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


def encoded(names: str, data: bytes) -> bytes:
    return reduce(lambda plain, name: ENCODERS[name.strip()](plain), names.split(","), data)


def status(name: str, body: bytes, limit: int = MIB) -> int:
    with pytest.raises(Refusal) as caught:
        decoded({"content-encoding": name}, body, limit)
    return caught.value.status


@pytest.mark.parametrize("names", ["gzip", "deflate", "br", "zstd", "gzip, br", "gzip,gzip", "deflate, zstd, gzip"])
@pytest.mark.parametrize("data", [b"", b"{}", TEXT, LARGE], ids=["empty", "tiny", "small", "large"])
def test_a_body_is_decoded_in_the_reverse_of_the_order_in_which_it_was_encoded(names: str, data: bytes) -> None:
    assert decoded({"content-encoding": names}, encoded(names, data), MIB) == data


@pytest.mark.parametrize("name", ["", "identity", " Identity ", "GZIP", "x-gzip", "\tgzip "])
def test_names_are_read_in_any_case(name: str) -> None:
    body = gzip.compress(TEXT) if "gzip" in name.lower() else TEXT
    assert decoded({"content-encoding": name}, body) == TEXT
    assert decoded({}, TEXT) == TEXT


def test_every_quality_of_an_encoder_is_decoded() -> None:
    for level in (0, 1, 6, 9):
        assert decoded({"content-encoding": "deflate"}, zlib.compress(LARGE, level)) == LARGE
    for quality in (0, 1, 5, 11):
        assert decoded({"content-encoding": "br"}, brotli.compress(LARGE, quality=quality)) == LARGE
    for level in (-5, 1, 19):
        assert decoded({"content-encoding": "zstd"}, zstandard.compress(LARGE, level)) == LARGE
    assert decoded({"content-encoding": "zstd"}, zstd_stream(LARGE)) == LARGE


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "compress",
        "x-compress",
        "dcz",
        "zip",
        "*",
        "gzip;q=1",
        "gzip br",
        "identity, gzip",
        "gzip, identity",
        "gzip,",
        ",gzip",
        ",",
        "gzip,,br",
        "gzip, gzip, gzip, gzip",
        "g\u017dip",
    ],
)
def test_an_encoding_that_is_not_known_is_refused(name: str) -> None:
    assert status(name, gzip.compress(TEXT)) == 415


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "the text itself": lambda _: TEXT,
    "cut by one byte": lambda body: body[:-1],
    "cut in half": lambda body: body[: len(body) // 2],
    "only a header": lambda body: body[:4],
    "followed by a byte": lambda body: body + b"\0",
    "followed by text": lambda body: body + TEXT,
    "after a byte": lambda body: b"\0" + body,
}
ODD_BODIES = {
    f"{name}: {what}": (name, change(encode(TEXT)))
    for name, encode in ENCODERS.items()
    for what, change in CHANGES.items()
} | {
    "gzip: two members": ("gzip", gzip.compress(b"{}") + gzip.compress(TEXT)),
    "gzip: an empty member first": ("gzip", gzip.compress(b"") + gzip.compress(TEXT)),
    "gzip: a wrong checksum": ("gzip", gzip.compress(TEXT)[:-8] + bytes(4) + gzip.compress(TEXT)[-4:]),
    "gzip: a wrong length": ("gzip", gzip.compress(TEXT)[:-4] + bytes(4)),
    "gzip: zlib": ("gzip", zlib.compress(TEXT)),
    "deflate: raw": ("deflate", raw_deflate(TEXT)),
    "deflate: gzip": ("deflate", gzip.compress(TEXT)),
    "deflate: two streams": ("deflate", zlib.compress(b"{}") + zlib.compress(TEXT)),
    "deflate: a wrong checksum": ("deflate", zlib.compress(TEXT)[:-4] + bytes(4)),
    "br: two streams": ("br", brotli.compress(b"{}") + brotli.compress(TEXT)),
    "zstd: two frames": ("zstd", zstandard.compress(b"{}") + zstandard.compress(TEXT)),
    "zstd: an empty frame first": ("zstd", zstandard.compress(b"") + zstandard.compress(TEXT)),
    "zstd: a frame to skip first": ("zstd", b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(TEXT)),
    "zstd: a frame to skip last": ("zstd", zstandard.compress(TEXT) + b"\x50\x2a\x4d\x18\x04\0\0\0abcd"),
    "zstd: a window of 16 MiB": ("zstd", zstd_stream(TEXT, window_log=24)),
    "in the wrong order": ("gzip, br", gzip.compress(brotli.compress(TEXT))),
    "only one of two layers": ("gzip, br", brotli.compress(TEXT)),
}


@pytest.mark.parametrize(("name", "body"), ODD_BODIES.values(), ids=ODD_BODIES)
def test_a_body_that_does_not_end_where_its_encoding_ends_is_refused(name: str, body: bytes) -> None:
    assert status(name, body) == 400


def test_a_dictionary_is_not_supported() -> None:
    words = zstandard.train_dictionary(1000, [b"good morning %d" % number * 3 for number in range(2000)])
    assert status("zstd", zstandard.ZstdCompressor(dict_data=words).compress(TEXT)) == 400
    stream = zlib.compressobj(zdict=b"good morning")
    assert status("deflate", stream.compress(TEXT) + stream.flush()) == 400


def test_a_zlib_body_that_is_raw_deflate_too_is_refused() -> None:
    # To a reader of raw deflate, a stored block of two bytes ("hi") stands where the zlib header does.
    body = b"\x78\x02\x00\xfd\xffhi\x01\x00\x00\xff\xff"
    assert zlib.decompress(body, -15) == b"hi"
    assert status("deflate", body) == 400


def test_a_brotli_body_that_is_json_for_who_does_not_decode_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for body in (
        b'{"model":"m\xff"}',
        b'\xef\xbb\xbf [{"a":1}] and more',
        '{"model":"m"}'.encode("utf-16"),
        b"[" * 100_000,
    ):
        with pytest.raises(Refusal, match="can be read as JSON without being decoded"):
            decoded({"content-encoding": "br"}, body)
    # a body may well begin with such a byte
    body = brotli.compress(LARGE)
    assert body[:1] == b"["
    assert decoded({"content-encoding": "br"}, body) == LARGE


@pytest.mark.parametrize("name", ENCODERS)
def test_a_decoded_body_obeys_the_limit_of_bodies(name: str) -> None:
    headers, body = {"content-encoding": name}, ENCODERS[name](LARGE)
    assert decoded(headers, body, len(LARGE)) == LARGE
    assert decoded_within(headers, body, len(LARGE) - 1) is None
    assert status(name, body, len(LARGE) - 1) == 413


def test_a_plain_body_obeys_the_limit_too() -> None:
    assert decoded_within({}, b"ab", 2) == b"ab"
    assert decoded_within({}, b"abc", 2) is None


@pytest.mark.parametrize("name", ENCODERS)
def test_a_small_body_may_shrink_as_far_as_it_can_and_a_larger_one_may_not(name: str) -> None:
    assert decoded({"content-encoding": name}, ENCODERS[name](b" " * FREE_BYTES)) == b" " * FREE_BYTES
    bomb = ENCODERS[name](b" " * MIB)
    assert len(bomb) * MAX_RATIO < MIB
    assert status(name, bomb, MIB) == 413


def test_each_layer_obeys_the_limits() -> None:
    bomb = encoded("gzip,gzip", b" " * 8 * MIB)
    assert status("gzip, gzip", bomb, 64 * MIB) == 413
    # the layer in the middle is the large one
    inside = gzip.compress(b"{}") + bytes(2 * MIB)
    assert status("gzip, br", brotli.compress(inside), MIB) == 413


@pytest.mark.parametrize("name", ENCODERS)
def test_a_bomb_is_never_in_memory(name: str) -> None:
    bomb = ENCODERS[name](bytes(16 * MIB))
    tracemalloc.start()
    try:
        assert status(name, bomb) == 413
        assert decoded_within({"content-encoding": name}, bomb, FREE_BYTES) is None
        assert tracemalloc.get_traced_memory()[1] < 3 * MIB
    finally:
        tracemalloc.stop()


def test_what_decodes_to_nothing_takes_no_time() -> None:
    empty = b"\x00\x00\x00\xff\xff" * (MIB // 5)  # stored blocks without content
    body = b"\x78\x9c" + empty + b"\x01\x00\x00\xff\xff" + zlib.adler32(b"").to_bytes(4, "big")
    assert decoded({"content-encoding": "deflate"}, body, 2 * MIB) == b""
    blocks = b"\x28\xb5\x2f\xfd\x00\x00" + b"\x00\x00\x00" * (MIB // 3) + b"\x01\x00\x00"
    assert decoded({"content-encoding": "zstd"}, blocks, 2 * MIB) == b""


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br", "br, zstd"]),
    st.binary(max_size=40),
    st.integers(0, 400),
    st.binary(max_size=3),
)
def test_whatever_comes_is_decoded_or_refused(name: str, data: bytes, place: int, change: bytes) -> None:
    body = encoded(name, TEXT)
    for attempt in (data, body[:place] + change + body[place + len(change) :]):
        try:
            decoded({"content-encoding": name}, attempt, encoding.MAX_DECODED)
        except Refusal as refusal:
            refused = refusal.status
            assert refused in (400, 413)

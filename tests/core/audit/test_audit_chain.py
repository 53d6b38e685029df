"""The chain, its checkpoints and digests: the formats that others rely on."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kalguard_core.audit.chain import GENESIS, Chain, LineError, read_line
from kalguard_core.audit.checkpoint import key_id, read_checkpoint, sign_checkpoint
from kalguard_core.audit.digest import ROTATE_SECONDS, DigestKey, DigestKeys

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def test_a_line_can_be_checked_with_nothing_but_sha256() -> None:
    line, _ = Chain("a1").link({"id": "e"})
    signed, _, rest = line.partition(b',"hash":"')
    assert rest == hashlib.sha256(signed).hexdigest().encode() + b'"}\n'
    assert line[:-1][:-75] == signed
    assert json.loads(line) == {
        "id": "e", "instance": "a1", "seq": 1, "prevHash": GENESIS, "hash": rest[:64].decode(),
    }  # fmt: skip


def test_lines_are_numbered_and_name_the_line_before() -> None:
    first, chain = Chain("a1").link({"id": "e1"})
    second, chain = chain.link({"id": "e2"})
    assert read_line(second).seq == 2
    assert read_line(second).prev_hash == read_line(first).hash
    assert chain == Chain("a1", 2, read_line(second).hash)


def test_a_line_that_was_not_written_leaves_the_chain_where_it_was() -> None:
    chain = Chain("a1")
    chain.link({"id": "lost"})
    line, _ = chain.link({"id": "kept"})
    assert read_line(line).seq == 1


def test_an_instance_that_could_break_a_line_is_refused() -> None:
    for name in ("", 'a"b', "a b", "é", "-"):
        with pytest.raises(ValueError, match="instance"):
            Chain(name)


def test_a_second_seq_inside_the_event_cannot_hide_the_real_one() -> None:
    prefix = b'{"id":"e","instance":"a1","seq":1,"prevHash":"%b","seq":7' % GENESIS.encode()
    with pytest.raises(LineError, match="not where they belong"):
        read_line(prefix + b',"hash":"' + hashlib.sha256(prefix).hexdigest().encode() + b'"}\n')


@given(st.binary(max_size=300))
def test_no_bytes_make_the_readers_raise_anything_but_their_error(data: bytes) -> None:
    line, _ = Chain("a1").link({"id": "e"})
    for candidate in (data, data + line, line[: len(data)], data + line[-76:]):
        for read in (read_line, read_checkpoint):
            try:
                read(candidate)
            except LineError:
                pass


@pytest.mark.parametrize("event", [b"[1", b"1", b'{"instance":1', b'{"seq":1.5', b'{"seq":99999999999999999999'])
def test_a_right_hash_over_something_else_is_no_line(event: bytes) -> None:
    line = event + b',"hash":"' + hashlib.sha256(event).hexdigest().encode() + b'"}\n'
    with pytest.raises(LineError, match="not an audit line"):
        read_line(line)


def test_a_checkpoint_can_be_checked_with_the_public_key_alone() -> None:
    line = sign_checkpoint(Chain("a1", 7, "ab" * 32), 0.0, KEY)
    signed, _, rest = line.partition(b',"signature":"')
    KEY.public_key().verify(bytes.fromhex(rest[:128].decode()), signed)
    assert json.loads(line) == {
        "instance": "a1", "seq": 7, "hash": "ab" * 32, "time": "1970-01-01T00:00:00.000Z",
        "keyId": key_id(KEY.public_key()), "signature": rest[:128].decode(),
    }  # fmt: skip


def test_a_checkpoint_has_deterministic_bytes() -> None:
    chain = Chain("a1", 7, "ab" * 32)
    assert sign_checkpoint(chain, 1.0, KEY) == sign_checkpoint(chain, 1.0, KEY)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_checkpoint_does_not_verify(place: int, flip: int) -> None:
    line = bytearray(sign_checkpoint(Chain("a1", 7, "ab" * 32), 1.0, KEY)[:-1])
    line[place % len(line)] ^= flip
    try:
        checkpoint = read_checkpoint(bytes(line))
    except LineError:
        return
    assert not checkpoint.verify(KEY.public_key())


def test_a_digest_is_the_hmac_that_it_says_it_is() -> None:
    key = DigestKey("k1", b"s" * 32, 0.0)
    wanted = hmac.new(b"s" * 32, b"text", "sha256").hexdigest()
    assert DigestKeys(key).digest(b"text") == f"hmac-sha256:k1:{wanted}"


def test_a_digest_key_rotates_by_the_time_that_is_handed_in_and_stays_known() -> None:
    keys = DigestKeys(DigestKey("k1", b"1" * 32, 100.0))
    old = keys.digest(b"text")
    assert not keys.due(100.0 + ROTATE_SECONDS - 1)
    assert keys.due(100.0 + ROTATE_SECONDS)
    keys = keys.rotated(DigestKey("k2", b"2" * 32, 100.0 + ROTATE_SECONDS))
    assert keys.digest(b"text").startswith("hmac-sha256:k2:")
    assert [key.id for key in keys] == ["k2", "k1"]
    assert keys.matches(old, b"text")
    assert keys.matches(keys.digest(b"text"), b"text")
    assert not keys.matches(old, b"other")
    assert not keys.matches("nonsense", b"text")
    with pytest.raises(ValueError, match="used before"):
        keys.rotated(DigestKey("k1", b"3" * 32, 0.0))


def test_a_short_or_oddly_named_digest_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DigestKey("k1", b"short", 0.0)
    with pytest.raises(ValueError, match="letters and digits"):
        DigestKey("a:b", b"s" * 32, 0.0)


def test_a_digest_key_does_not_print_its_secret() -> None:
    assert "sss" not in repr(DigestKey("k1", b"s" * 32, 0.0))

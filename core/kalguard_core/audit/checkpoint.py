"""Signed checkpoints: "line `seq` of `instance` had this hash", under an Ed25519 signature.

The format, complete. One JSON object a line, fields in this order:

    {"instance":"…","seq":…,"hash":"…","time":"…","keyId":"…","signature":"<128 hex>"}

The signature is over the line's bytes before `,"signature":"`. Who holds only the public key can check it, and with
it every line up to `seq`, because the hash of a line covers all lines before it. `keyId` is the first 16 hex digits of
the SHA-256 of the raw public key.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .chain import HEX, Chain, LineError
from .event import timestamp

_MARK: Final = b',"signature":"'
_TAIL: Final = len(_MARK) + 128 + len(b'"}')
_FIELDS: Final = ("instance", "seq", "hash", "time", "keyId", "signature")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as it is read back. It proves something only after `verify`."""

    instance: str
    seq: int
    hash: str
    time: str
    key_id: str
    signature: bytes
    signed: bytes

    def verify(self, key: Ed25519PublicKey) -> bool:
        """Whether `key` signed this."""
        try:
            key.verify(self.signature, self.signed)
        except InvalidSignature:
            return False
        return True


def key_id(key: Ed25519PublicKey) -> str:
    """Short name of a public key, as checkpoints state it."""
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def sign_checkpoint(chain: Chain, now: float, key: Ed25519PrivateKey) -> bytes:
    """The checkpoint line (with its line feed) of where `chain` stands. Same input, same bytes."""
    signed = orjson.dumps(
        {
            "instance": chain.instance,
            "seq": chain.seq,
            "hash": chain.prev_hash,
            "time": timestamp(now),
            "keyId": key_id(key.public_key()),
        }
    )[:-1]
    return b'%b%b%b"}\n' % (signed, _MARK, key.sign(signed).hex().encode())


def read_checkpoint(line: bytes) -> Checkpoint:
    """A checkpoint line (with or without its line feed), not yet verified. Raises `LineError`."""
    line = line.removesuffix(b"\n")
    signed, tail = line[:-_TAIL], line[-_TAIL:]
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise LineError("not a checkpoint line: not valid JSON") from None
    if not (
        tail.startswith(_MARK)
        and tail.endswith(b'"}')
        and HEX.issuperset(tail[len(_MARK) : -2])
        and isinstance(document, dict)
        and tuple(document) == _FIELDS
        and isinstance(document["seq"], int)
        and all(isinstance(document[name], str) for name in _FIELDS if name != "seq")
    ):
        raise LineError("not a checkpoint line: wrong fields")
    return Checkpoint(
        instance=document["instance"],
        seq=document["seq"],
        hash=document["hash"],
        time=document["time"],
        key_id=document["keyId"],
        signature=bytes.fromhex(document["signature"]),
        signed=signed,
    )

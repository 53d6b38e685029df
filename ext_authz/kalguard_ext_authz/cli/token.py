"""`kalguard token`: issue agent tokens, and look into them. Keys come from files or the environment, never from the
command line, where every user of the machine could read them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from kalguard_core.codes import Capability
from kalguard_core.identity import (
    KeyMaterialError,
    KeySet,
    MalformedToken,
    TokenVerifier,
    issue_token,
    load_private_key,
    public_keys,
    read_unverified,
)
from kalguard_core.request import Refusal

from .output import emit, fail, json_option

SECRET_VARIABLE: Final = "KALGUARD_TOKEN_SECRET"  # noqa: S105 - the name of a variable
SECRET_FILE_VARIABLE: Final = "KALGUARD_TOKEN_SECRET_FILE"  # noqa: S105
KNOWN: Final = ", ".join(Capability)
UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MAX_TTL_DAYS: Final = 3650
MAX_INPUT: Final = 1 << 20  # bytes read from standard input

VERIFIED: Final = "VERIFIED"
NOT_VERIFIED: Final = "NOT VERIFIED"
INVALID: Final = "INVALID"

_file = click.Path(path_type=Path, dir_okay=False)
_secret_file = click.option(
    "--secret-file",
    type=_file,
    help=f"File that holds the HS256 secret. Without it: {SECRET_VARIABLE}, else {SECRET_FILE_VARIABLE}.",
)


class _ProblemError(Exception):
    """What the user has to put right."""


@dataclass(frozen=True, slots=True)
class _Signer:
    """A signing key, its algorithm, and the keys that verify what it signs."""

    key: Any
    alg: str
    keys: KeySet


@dataclass(frozen=True, slots=True)
class _Inspection:
    """What can be said about a token. `header` and `claims` are None when it cannot be read."""

    status: str
    reason: str
    token_hash: str
    header: Mapping[str, Any] | None = None
    claims: Mapping[str, Any] | None = None


@click.group()
def token() -> None:
    """Issue and inspect agent tokens."""


@token.command()
@click.option("--agent", required=True, help="The agent's id (claim sub).")
@click.option("--capability", "capabilities", multiple=True, help=f"May be repeated. Known: {KNOWN}.")
@click.option("--ttl", default="1h", show_default=True, help="How long it is valid: 90s, 30m, 1h, 7d.")
@click.option("--issuer", default="kalguard", show_default=True, help="Claim iss.")
@click.option("--audience", "audiences", multiple=True, help="Claim aud. May be repeated.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="For policy to match. May be repeated.")
@_secret_file
@click.option("--private-key", type=_file, help="PEM private key: RSA (RS256), EC P-256 (ES256) or Ed25519 (EdDSA).")
@click.option("--kid", help="Names the key in the token's header, for rotation.")
@json_option
def issue(
    agent: str,
    capabilities: tuple[str, ...],
    ttl: str,
    issuer: str,
    audiences: tuple[str, ...],
    metadata: tuple[str, ...],
    secret_file: Path | None,
    private_key: Path | None,
    kid: str | None,
    as_json: bool,
) -> None:
    """Print a new token for an agent.

    \b
    The token alone goes to standard output; what it says, to standard error:
      export TOKEN=$(kalguard token issue --agent agent-1 --capability prompt:send)
    Exit status: 0 issued, 2 something is missing or wrong.
    """
    try:
        signer = _signer(secret_file, private_key)
        now = time.time()
        expires_at = int(now) + _seconds(ttl)
        token_id = str(uuid.uuid4())
        text = issue_token(
            agent_id=agent,
            capabilities=_capabilities(capabilities),
            issuer=issuer,
            issued_at=now,
            expires_at=expires_at,
            key=signer.key,
            alg=signer.alg,
            kid=kid,
            audience=list(audiences) or None,
            token_id=token_id,
            metadata=_metadata(metadata),
        )
        # a token that the gate would refuse must not be handed out: ask the gate's own verifier
        TokenVerifier(signer.keys).verify(text, now)
    except Refusal as refusal:
        fail(f"the gate would refuse this token: {refusal.detail}", as_json=as_json, code=2)
        return
    except (KeyMaterialError, _ProblemError) as error:
        fail(str(error), as_json=as_json, code=2)
        return
    token_hash = hashlib.sha256(text.encode("ascii")).hexdigest()
    if not as_json:
        click.echo(
            f"agent {agent}: {', '.join(capabilities)}; {signer.alg}, expires {_moment(expires_at, now)}\n"
            f"to revoke it: tokenHashes {token_hash} or tokenIds {token_id}",
            err=True,
        )
    answer = {
        "ok": True,
        "token": text,
        "tokenHash": token_hash,
        "tokenId": token_id,
        "agentId": agent,
        "capabilities": list(capabilities),
        "alg": signer.alg,
        "expiresAt": expires_at,
    }
    emit(text, answer, as_json=as_json)


@token.command()
@click.argument("text", metavar="[TOKEN|-]", default="-")
@_secret_file
@click.option("--keys", "key_files", type=_file, multiple=True, help="JWKS or PEM public key file. May be repeated.")
@json_option
def inspect(text: str, secret_file: Path | None, key_files: tuple[Path, ...], as_json: bool) -> None:
    """Show what a token says, and whether that is true.

    Reads standard input without TOKEN or with `-`, so that the token stays out of the process list. With a key
    (an option, or a secret in the environment) it is verified as the gate does: signature, claims, time.
    Issuers, audiences and revocations are not looked at.

    \b
    Exit status: 0 VERIFIED; 1 INVALID, or NOT VERIFIED because no key was given;
    2 a key cannot be used.
    """
    try:
        keys = _verification_keys(secret_file, key_files)
    except (KeyMaterialError, _ProblemError) as error:
        fail(str(error), as_json=as_json, code=2)
        return
    if text == "-":
        if sys.stdin.isatty():
            click.echo("Paste the token, then press Ctrl-D:", err=True)
        text = sys.stdin.buffer.read(MAX_INPUT).decode("utf-8", "replace")
    text = text.strip()
    if text[:7].lower() == "bearer ":
        text = text[7:].strip()
    now = time.time()
    result = _inspect(text, keys, now)
    emit(_shown(result, now), _as_data(result), as_json=as_json)
    sys.exit(0 if result.status == VERIFIED else 1)


def _inspect(text: str, keys: KeySet | None, now: float) -> _Inspection:
    token_hash = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        header, claims = read_unverified(text)
    except MalformedToken as error:
        return _Inspection(INVALID, f"not a token: {error}", token_hash)
    if keys is None:
        reason = f"no key was given (--keys, --secret-file or {SECRET_VARIABLE}); anybody can have written this"
        return _Inspection(NOT_VERIFIED, reason, token_hash, header, claims)
    try:
        TokenVerifier(keys).verify(text, now)
    except Refusal as refusal:
        return _Inspection(INVALID, refusal.detail, token_hash, header, claims)
    return _Inspection(VERIFIED, "signature, claims and time are good", token_hash, header, claims)


def _as_data(result: _Inspection) -> dict[str, Any]:
    return {
        "ok": result.status == VERIFIED,
        "status": result.status,
        "reason": result.reason,
        "tokenHash": result.token_hash,
        "header": result.header,
        "claims": result.claims,
    }


def _shown(result: _Inspection, now: float) -> str:
    """For people. Claims are printed as ASCII JSON: an unverified token must not drive the terminal."""
    lines = [f"{result.status}: {result.reason}"]
    if result.header is not None and result.claims is not None:
        lines.append(f"  header       {json.dumps(result.header)}")
        for name, value in result.claims.items():
            moment = _moment(value, now) if name in ("exp", "iat", "nbf") else ""
            shown = name if name.isascii() and name.isprintable() else json.dumps(name)
            lines.append(f"  {shown:<12} {json.dumps(value)}{f'  {moment}' if moment else ''}")
        unknown = _unknown_capabilities(result.claims)
        if unknown:
            lines.append(f"  (unknown capabilities, which the gate drops: {json.dumps(unknown)})")
        lines.append(f"  hash         {result.token_hash}  (for tokenHashes in the revocation file)")
    return "\n".join(lines)


def _unknown_capabilities(claims: Mapping[str, Any]) -> list[Any]:
    named = claims.get("capabilities")
    return [each for each in named if each not in list(Capability)] if isinstance(named, list) else []


def _moment(value: object, now: float) -> str:
    """A time claim for people: "2026-01-31 12:00:00 UTC (in 59 minutes)"; "" for what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 253_402_300_800:
        return ""
    distance = value - now
    length, unit = abs(distance), "seconds"
    for name, size in (("minutes", 60), ("hours", 3600), ("days", 86_400)):
        if abs(distance) >= 2 * size:
            length, unit = abs(distance) / size, name
    amount = f"{length:.0f} {unit}"
    relation = f"in {amount}" if distance >= 0 else f"{amount} ago"
    return f"{datetime.fromtimestamp(int(value), UTC):%Y-%m-%d %H:%M:%S} UTC ({relation})"


def _seconds(ttl: str) -> int:
    number, unit = ttl[:-1], ttl[-1:]
    if unit not in UNITS or not (number.isascii() and number.isdigit()) or len(number) > 9 or int(number) == 0:
        raise _ProblemError(f"--ttl {ttl!r}: give a number and a unit, as in 90s, 30m, 1h or 7d")
    seconds = int(number) * UNITS[unit]
    if seconds > MAX_TTL_DAYS * UNITS["d"]:
        raise _ProblemError(f"--ttl {ttl!r}: at most {MAX_TTL_DAYS}d; a token that never ends cannot be rotated out")
    return seconds


def _capabilities(named: tuple[str, ...]) -> list[str]:
    if not named:
        raise _ProblemError(f"name at least one --capability; known are: {KNOWN}")
    for each in named:
        if each not in list(Capability):
            raise _ProblemError(f"--capability {each!r} is not known; known are: {KNOWN}")
    return list(dict.fromkeys(named))


def _metadata(pairs: tuple[str, ...]) -> dict[str, str]:
    result: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise _ProblemError(f"--metadata {pair!r}: write KEY=VALUE")
        if name in result:
            raise _ProblemError(f"--metadata {name} is given twice")
        result[name] = value
    return result


def _signer(secret_file: Path | None, private_key: Path | None) -> _Signer:
    if private_key is not None:
        if secret_file is not None:
            raise _ProblemError("give --secret-file or --private-key, not both")
        source = str(private_key)
        private, alg = load_private_key(_read(private_key).decode("utf-8", "replace"), source)
        return _Signer(private, alg, public_keys(private, source=source))
    found = _secret(secret_file)
    if found is None:
        raise _ProblemError(
            f"no key to sign with: give --secret-file or --private-key, or set {SECRET_VARIABLE} (32 bytes or more)"
        )
    secret, source = found
    return _Signer(secret, "HS256", KeySet.from_secret(secret, source=source))


def _verification_keys(secret_file: Path | None, key_files: tuple[Path, ...]) -> KeySet | None:
    """The given keys; without an option those of the environment; None when there are none."""
    sets: list[KeySet] = []
    for path in key_files:
        text = _read(path).decode("utf-8", "replace")
        source = str(path)
        is_jwks = text.lstrip().startswith("{")
        sets.append(KeySet.from_jwks(text, source) if is_jwks else KeySet.from_pem(text, source=source))
    found = _secret(secret_file) if secret_file is not None or not key_files else None
    if found is not None:
        sets.append(KeySet.from_secret(found[0], source=found[1]))
    return KeySet.merge(*sets) if sets else None


def _secret(secret_file: Path | None) -> tuple[bytes, str] | None:
    """The HS256 secret and where it is from: the file, else the environment. Line ends around it do not count."""
    if secret_file is None:
        value = os.environ.get(SECRET_VARIABLE)
        if value:
            return os.fsencode(value), SECRET_VARIABLE
        named = os.environ.get(SECRET_FILE_VARIABLE)
        if not named:
            return None
        secret_file = Path(named)
    return _read(secret_file).strip(b"\r\n"), str(secret_file)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _ProblemError(f"{path}: cannot be read: {error.strerror or error}") from None

"""`kalguard token`: what it prints, and what it never takes or prints."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from kalguard_core.identity import KeySet, Revocations, TokenVerifier, issue_token
from kalguard_ext_authz.cli import main

SECRET = "command-secret-0123456789abcdef0123456789abcdef"
OTHER = "another-secret-0123456789abcdef0123456789abcdef"
PRIVATE_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
ISSUE = ["token", "issue", "--agent", "agent-1", "--capability", "prompt:send"]


def kalguard(*arguments: str, secret: str | None = SECRET, stdin: str = "", **env: str | None) -> Result:
    variables = {"KALGUARD_TOKEN_SECRET": secret, "KALGUARD_TOKEN_SECRET_FILE": None} | env
    return CliRunner().invoke(main, list(arguments), input=stdin, env=variables)


def private_file(folder: Path, private: Any, password: bytes | None = None) -> str:
    path = folder / "private.pem"
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return str(path)


def public_file(folder: Path, private: Any) -> str:
    path = folder / "public.pem"
    path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


def test_the_token_alone_is_on_standard_output_and_the_gate_accepts_it() -> None:
    result = kalguard(*ISSUE, "--capability", "tool:read", "--metadata", "team=blue", "--metadata", "note=a=b")
    assert result.exit_code == 0
    text = result.stdout.strip()
    identity = TokenVerifier(KeySet.from_secret(SECRET)).verify(text, time.time())
    assert (identity.agent_id, identity.issuer) == ("agent-1", "kalguard")
    assert identity.capabilities == {"prompt:send", "tool:read"}
    assert identity.metadata == {"team": "blue", "note": "a=b"}
    assert identity.token_id
    assert identity.expires_at is not None
    assert 3590 <= identity.expires_at - time.time() <= 3601
    assert identity.token_hash in result.stderr
    assert SECRET not in result.output


def test_json_output_holds_everything_about_the_new_token() -> None:
    result = kalguard(*ISSUE, "--json", "--audience", "gate", "--issuer", "me", "--ttl", "30m", "--kid", "k1")
    answer = json.loads(result.stdout)
    identity = TokenVerifier(KeySet.from_secret(SECRET, "k1"), audiences=frozenset({"gate"})).verify(
        answer["token"], time.time()
    )
    assert answer["tokenHash"] == identity.token_hash
    assert answer["tokenId"] == identity.token_id
    assert answer["expiresAt"] == identity.expires_at
    assert (answer["ok"], answer["agentId"], answer["alg"]) == (True, "agent-1", "HS256")


@pytest.mark.parametrize("alg", PRIVATE_KEYS)
def test_a_private_key_signs_with_the_algorithm_of_its_type(alg: str, tmp_path: Path) -> None:
    private = PRIVATE_KEYS[alg]
    result = kalguard(*ISSUE, "--private-key", private_file(tmp_path, private), "--json")
    answer = json.loads(result.stdout)
    assert answer["alg"] == alg
    shown = kalguard("token", "inspect", "-", "--keys", public_file(tmp_path, private), stdin=answer["token"])
    assert shown.exit_code == 0
    assert shown.stdout.startswith("VERIFIED: ")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_secret_may_come_from_a_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(SECRET.encode() + ending.encode())
    by_option = kalguard(*ISSUE, "--secret-file", str(path), secret=OTHER)
    by_variable = kalguard(*ISSUE, secret=None, KALGUARD_TOKEN_SECRET_FILE=str(path))
    for result in (by_option, by_variable):
        assert (
            TokenVerifier(KeySet.from_secret(SECRET)).verify(result.stdout.strip(), time.time()).agent_id == "agent-1"
        )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--agent", "a"], "known are: llm:call, tool:execute"),
        (["--agent", "a", "--capability", "tool:reed"], "'tool:reed' is not known; known are: llm:call"),
        (["--agent", "", "--capability", "tool:read"], "the gate would refuse this token: token: sub"),
        (["--agent", "a\nb", "--capability", "tool:read"], "the gate would refuse this token: token: sub"),
        ([*ISSUE[2:], "--issuer", ""], "token: iss"),
        ([*ISSUE[2:], "--ttl", "1w"], "--ttl '1w'"),
        ([*ISSUE[2:], "--ttl", "h"], "--ttl 'h'"),
        ([*ISSUE[2:], "--ttl", ""], "--ttl ''"),
        ([*ISSUE[2:], "--ttl", "0h"], "--ttl '0h'"),
        ([*ISSUE[2:], "--ttl", "-1h"], "--ttl '-1h'"),
        ([*ISSUE[2:], "--ttl", "²h"], "--ttl"),
        ([*ISSUE[2:], "--ttl", "99999d"], "at most 3650d"),
        ([*ISSUE[2:], "--metadata", "team"], "write KEY=VALUE"),
        ([*ISSUE[2:], "--metadata", "a=1", "--metadata", "a=2"], "given twice"),
        ([*ISSUE[2:], "--metadata", "a=" + "x" * 9000], "too long"),
        ([*ISSUE[2:], "--secret-file", "missing.txt"], "missing.txt: cannot be read"),
        ([*ISSUE[2:], "--private-key", "missing.pem"], "missing.pem: cannot be read"),
        ([*ISSUE[2:], "--private-key", "a.pem", "--secret-file", "b"], "not both"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_issued(arguments: list[str], problem: str) -> None:
    result = kalguard("token", "issue", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert problem in result.stderr
    as_json = json.loads(kalguard("token", "issue", *arguments, "--json").stdout)
    assert as_json["ok"] is False
    assert problem in as_json["error"]


@pytest.mark.parametrize(
    ("secret", "problem"), [(None, "no key to sign with"), ("", "no key"), ("short", "at least 32")]
)
def test_without_a_good_secret_nothing_is_issued(secret: str | None, problem: str) -> None:
    result = kalguard(*ISSUE, secret=secret)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""


def test_keys_that_cannot_sign_are_named(tmp_path: Path) -> None:
    encrypted = private_file(tmp_path, PRIVATE_KEYS["RS256"], b"password")
    assert "private.pem: the private key is encrypted" in kalguard(*ISSUE, "--private-key", encrypted).stderr
    public = public_file(tmp_path, PRIVATE_KEYS["RS256"])
    assert "not a private key" in kalguard(*ISSUE, "--private-key", public).stderr
    weak = private_file(tmp_path, rsa.generate_private_key(65537, 1024))
    assert "1024 bits" in kalguard(*ISSUE, "--private-key", weak).stderr


def test_there_is_no_option_that_takes_a_secret_on_the_command_line() -> None:
    result = kalguard(*ISSUE, "--secret", SECRET)
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def made(key: str = SECRET, ttl: float = 3600, **more: Any) -> str:
    now = time.time()
    claims: dict[str, Any] = {"agent_id": "agent-1", "capabilities": ["prompt:send"], "issuer": "kalguard"}
    return issue_token(**(claims | more), issued_at=now - 7200, expires_at=now + ttl, key=key)


def test_inspect_says_that_a_good_token_is_verified() -> None:
    text = made(capabilities=["prompt:send", "fly"])
    result = kalguard("token", "inspect", "-", stdin=f"Bearer {text}\n")
    assert result.exit_code == 0
    assert result.stdout.startswith("VERIFIED: ")
    assert '"agent-1"' in result.stdout
    assert "UTC (in 60 minutes)" in result.stdout
    assert 'drops: ["fly"]' in result.stdout
    assert hashlib.sha256(text.encode()).hexdigest() in result.stdout


def test_the_hash_that_inspect_shows_revokes_the_token() -> None:
    text = made()
    shown = json.loads(kalguard("token", "inspect", text, "--json").stdout)
    revocations = Revocations.parse(json.dumps({"tokenHashes": [shown["tokenHash"]]}), "revoked.json")
    assert revocations.reason(TokenVerifier(KeySet.from_secret(SECRET)).verify(text, time.time()))


def test_inspect_without_a_key_says_that_nothing_is_verified() -> None:
    result = kalguard("token", "inspect", stdin=made(), secret=None)
    assert result.exit_code == 1
    assert result.stdout.startswith("NOT VERIFIED: no key was given")
    assert "agent-1" in result.stdout


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (made(key=OTHER), "signature does not match"),
        (made(ttl=-3600), "token has expired"),
        (made()[:-6] + "AAAAAA", "signature does not match"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "not signed"),
        ("hello", "not a token"),
        ("", "not a token"),
        ("é", "not a token"),
    ],
)
def test_inspect_says_why_a_token_is_invalid(text: str, reason: str) -> None:
    result = kalguard("token", "inspect", "-", stdin=text)
    assert result.exit_code == 1
    assert result.stdout.startswith("INVALID: ")
    assert reason in result.stdout
    shown = json.loads(kalguard("token", "inspect", "--json", stdin=text).stdout)
    assert (shown["ok"], shown["status"]) == (False, "INVALID")
    assert reason in shown["reason"]


def test_an_expired_token_shows_since_when() -> None:
    assert "UTC (60 minutes ago)" in kalguard("token", "inspect", stdin=made(ttl=-3600)).stdout


def test_a_token_cannot_drive_the_terminal() -> None:
    text = made(metadata={"a\x1b[2J": "\x1b]0;owned\x07\u202e"}, agent_id="a\x1b[31m")
    for secret in (SECRET, None):
        shown = kalguard("token", "inspect", stdin=text, secret=secret).stdout
        assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_given_key_file_counts_instead_of_the_environment(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{"kty": "RSA", "d": "AQAB"}]}))
    result = kalguard("token", "inspect", made(), "--keys", str(keys))
    assert result.exit_code == 2
    assert "keys.json: keys[0]: holds a private key" in result.stderr
    public = public_file(tmp_path, PRIVATE_KEYS["ES256"])
    assert kalguard("token", "inspect", made(), "--keys", public).stdout.startswith("INVALID: no key fits")


@pytest.mark.parametrize("command", ["issue", "inspect"])
def test_help_names_every_source_of_keys(command: str) -> None:
    shown = kalguard("token", command, "--help").stdout
    assert "--secret-file" in shown
    assert "KALGUARD_TOKEN_SECRET" in shown
    assert "Exit status" in shown

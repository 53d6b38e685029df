"""What an installation keeps: made once, private, and never quietly made anew."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from kalguard_core.audit.digest import ROTATE_SECONDS
from kalguard_ext_authz.state import State, StateError


def test_state_is_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    first, second = State.open(tmp_path / "state"), State.open(tmp_path / "state")
    assert first.instance == second.instance
    assert first.key_id == second.key_id
    assert first.digest(b"x") == second.digest(b"x")
    public = load_pem_public_key((tmp_path / "state" / "checkpoint-key.pub.pem").read_bytes())
    assert public == first.signing_key.public_key()


def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        State.open(tmp_path / "state")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert modes == {
        "instance": 0o600,
        "checkpoint-key.pem": 0o600,
        "checkpoint-key.pub.pem": 0o644,
        "digest-keys.json": 0o600,
    }
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_ephemeral_states_are_all_different() -> None:
    first, second = State.ephemeral(), State.ephemeral()
    assert first.instance != second.instance
    assert first.key_id != second.key_id


def test_the_digest_key_rotates_and_the_old_one_is_kept(tmp_path: Path) -> None:
    state = State.open(tmp_path / "state", 0.0)
    old = state.digest(b"x")
    assert not state.rotate_digest_key(ROTATE_SECONDS - 1)
    assert state.rotate_digest_key(ROTATE_SECONDS)
    assert state.digest(b"x") != old
    again = State.open(tmp_path / "state")
    assert again.digest(b"x") == state.digest(b"x")
    assert again.digest_keys.matches(old, b"x")


@pytest.mark.parametrize("name", ["instance", "checkpoint-key.pem", "digest-keys.json"])
@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_lost_or_damaged_file_is_an_error_that_names_it_and_nothing_is_made_anew(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    State.open(tmp_path / "state")
    place = tmp_path / "state" / name
    if content is None:
        place.unlink()
    else:
        place.write_bytes(content)
    state = State.open(tmp_path / "state")
    with pytest.raises(StateError, match=name):
        state.load()
    assert place.exists() == (content is not None)


def test_a_lost_public_key_is_derived_again(tmp_path: Path) -> None:
    State.open(tmp_path / "state")
    place = tmp_path / "state" / "checkpoint-key.pub.pem"
    before = place.read_bytes()
    place.unlink()
    State.open(tmp_path / "state")
    assert place.read_bytes() == before


def test_a_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    State.open(tmp_path / "state")
    (tmp_path / "state" / "checkpoint-key.pem").chmod(0o644)
    with pytest.raises(StateError, match="chmod 600"):
        State.open(tmp_path / "state").load()


def test_a_state_that_cannot_be_is_told_when_it_is_needed_and_may_come_later(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = State.open(tmp_path / "file" / "state")
    assert state.digest(b"x").startswith("hmac-sha256:")
    with pytest.raises(StateError, match="KALGUARD_STATE_PATH"):
        state.load()
    with pytest.raises(StateError, match="not loaded"):
        _ = state.instance
    (tmp_path / "file").unlink()
    state.load()
    assert len(state.instance) == 32


def test_a_key_behind_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    State.open(tmp_path / "state")
    place = tmp_path / "state" / "checkpoint-key.pem"
    place.rename(tmp_path / "elsewhere.pem")
    place.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(StateError):
        State.open(tmp_path / "state").load()


def test_a_rotation_that_cannot_be_written_keeps_the_old_key(tmp_path: Path) -> None:
    state = State.open(tmp_path / "state", 0.0)
    old = state.digest(b"x")
    (tmp_path / "state").rename(tmp_path / "gone")
    with pytest.raises(OSError, match="No such file"):
        state.rotate_digest_key(ROTATE_SECONDS)
    assert state.digest(b"x") == old

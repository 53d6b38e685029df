"""Where compiled rules are kept, and that it never stops a start."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from kalguard_core.firewall.document import Firewalls
from kalguard_core.firewall.sensitive import data as sensitive_data
from kalguard_ext_authz.cache_dir import cache_dir, users_cache_dir
from kalguard_ext_authz.firewall_cache import Cached
from kalguard_ext_authz.settings import Settings


def where(environ: dict[str, str], **settings: Any) -> tuple[Path | None, str]:
    return cache_dir(Settings.model_validate(settings), environ)


def test_the_setting_comes_before_the_service_and_that_before_the_user(tmp_path: Path) -> None:
    said, service, user, home = (tmp_path / name for name in ("said", "service", "user", "home"))
    environ = {"CACHE_DIRECTORY": f"{service}:/other", "XDG_CACHE_HOME": str(user), "HOME": str(home)}
    assert where(environ, cache_dir=said) == (said, "")
    assert where(environ) == (service, "")
    del environ["CACHE_DIRECTORY"]
    assert where(environ) == (user / "kalguard", "")
    environ["XDG_CACHE_HOME"] = "relative"
    assert where(environ) == (home / ".cache" / "kalguard", "")
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in (said, service, user / "kalguard"))


def test_a_place_that_can_not_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder, problem = where({}, cache_dir=tmp_path / "file" / "cache")
    assert folder is None
    assert problem.startswith(f"{tmp_path}/file/cache: not a directory")
    assert "KALGUARD_CACHE_DIR" in where({})[1]


def test_a_place_that_others_may_write_to_is_said(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    folder, problem = where({}, cache_dir=shared)
    assert folder is None
    assert problem.startswith(f"{shared}: it belongs to others, or others may write to it; chmod 700")


def test_a_command_without_settings_keeps_them_where_a_server_does(tmp_path: Path) -> None:
    home, said = tmp_path / "home", tmp_path / "said"
    assert users_cache_dir({"HOME": str(home)}) == home / ".cache" / "kalguard"
    assert users_cache_dir({"HOME": str(home), "KALGUARD_CACHE_DIR": str(said)}) == said
    assert users_cache_dir({"HOME": str(home), "KALGUARD_CACHE_DIR": "off"}) is None


def test_no_cache_is_no_problem() -> None:
    assert where({"HOME": "/"}, cache_dir="off") == (None, "")


def test_what_one_process_compiled_the_next_one_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Firewalls.built_in(compiler=Cached(tmp_path))
    files = sorted(os.listdir(tmp_path))
    assert len(files) == 2

    def compiled() -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr("kalguard_ext_authz.firewall_cache.compile_sieve", compiled)
    sensitive_data._patterns.cache_clear()
    began = time.monotonic()
    second = Firewalls.built_in(compiler=Cached(tmp_path))
    assert time.monotonic() - began < 1.5  # compiling takes several seconds
    assert (first, sorted(os.listdir(tmp_path))) == (second, files)


@pytest.mark.parametrize("data", [b"", b"x" * 100])
def test_a_damaged_sieve_is_compiled_again(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Cached(tmp_path)
    monkeypatch.setattr("kalguard_ext_authz.firewall_cache.compile_sieve", lambda: b"sieve")
    assert compiler.sieve() == b"sieve"
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(data)
    monkeypatch.setattr("kalguard_ext_authz.firewall_cache.compile_sieve", lambda: b"again")
    assert compiler.sieve() == b"again"
    assert compiler.sieve() == b"again"

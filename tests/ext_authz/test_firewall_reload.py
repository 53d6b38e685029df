"""The firewall document, its rule packs, and the documents that name its profiles, as they change together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kalguard_core.action import Message
from kalguard_core.guard import Snapshot
from kalguard_ext_authz.metrics import Metrics
from kalguard_ext_authz.reload import Documents
from kalguard_ext_authz.settings import Settings, SettingsError

POLICY = "rules: [{id: a, decision: allow, firewall: NAME}]"
ROUTES = "routes: [{host: api.openai.com, kind: openai, firewall: NAME}]"
CARE = "profiles: {care: {block: 61}}"
PACK = """
pack: acme
version: 1
rules:
  - {id: acme-codes, title: Asks for codes, category: leak, owasp: [LLM02], atlas: [AML.T0057], severity: high,
     weight: WEIGHT, languages: [en], phrase: "blue teapots", examples: ["blue teapots"], counterexamples: ["teapots"]}
"""


class Files:
    """The documents of one server, and what is in force."""

    def __init__(self, folder: Path, **texts: str) -> None:
        self.folder = folder
        self.snapshots: list[Snapshot] = []
        for name, text in texts.items():
            self.put(name, text)
        settings: dict[str, Any] = {f"{name}_path": folder / f"{name}.yaml" for name in ("firewall", "policy")}
        if "routes" in texts:
            settings["routes_path"] = folder / "routes.yaml"
        self.documents = Documents(Settings.model_validate(settings), Metrics(), self.snapshots.append)
        self.snapshots.append(self.documents.load())

    def put(self, name: str, text: str) -> None:
        (self.folder / f"{name}.yaml").write_text(text)

    @property
    def profiles(self) -> set[str]:
        return set(self.snapshots[-1].firewalls.names) - {"strict", "standard", "relaxed"}

    @property
    def named(self) -> list[str]:
        policy = self.snapshots[-1].policy
        assert policy is not None
        return list(policy.firewalls)

    async def errors(self) -> dict[str, str]:
        """What a reload refuses."""
        results = await self.documents.reload()
        return {name: result.error for name, result in results.items() if result.error}


@pytest.mark.parametrize("document", ["policy", "routes"])
def test_a_profile_that_is_not_there_stops_the_start(tmp_path: Path, document: str) -> None:
    texts = {"firewall": CARE, "policy": POLICY.replace("NAME", "care"), "routes": ROUTES.replace("NAME", "care")}
    Files(tmp_path, **texts)
    with pytest.raises(
        SettingsError, match=rf"{document}\.yaml:1: firewall: there is no profile 'caer'.*care, relaxed"
    ):
        Files(tmp_path, **{**texts, document: texts[document].replace("care", "caer")})


async def test_a_policy_that_names_a_missing_profile_changes_nothing_until_the_profile_is_there(tmp_path: Path) -> None:
    files = Files(tmp_path, firewall=CARE, policy=POLICY.replace("NAME", "care"))
    files.put("policy", POLICY.replace("NAME", "other"))
    assert "no profile 'other'" in (await files.errors())["policy"]
    assert files.documents.checks()["policy"]().status == "degraded"
    files.put("firewall", CARE + "\n")
    assert "no profile 'other'" in (await files.errors())["policy"]
    assert files.named == ["care"]
    files.put("firewall", "profiles: {care: {}, other: {}}")
    assert await files.errors() == {}
    assert (files.named, files.profiles) == (["other"], {"care", "other"})
    assert files.documents.checks()["policy"]().status == "ok"


async def test_a_profile_that_is_named_stays_until_nothing_names_it(tmp_path: Path) -> None:
    files = Files(tmp_path, firewall=CARE, policy=POLICY.replace("NAME", "care"))
    files.put("firewall", "profiles: {other: {}}")
    for _ in range(2):
        assert "no profile 'care'" in (await files.errors())["firewall"]
        assert files.profiles == {"care"}
    assert files.documents.checks()["firewall"]().status == "degraded"
    files.put("policy", POLICY.replace("NAME", "strict"))
    assert await files.errors() == {}
    assert (files.named, files.profiles) == (["strict"], {"other"})
    assert files.documents.checks()["firewall"]().status == "ok"


async def test_a_profile_and_the_rule_that_names_it_may_be_renamed_at_once(tmp_path: Path) -> None:
    files = Files(tmp_path, firewall=CARE, policy=POLICY.replace("NAME", "care"))
    files.put("firewall", "profiles: {other: {}}")
    files.put("policy", POLICY.replace("NAME", "other"))
    assert await files.errors() == {}
    assert (files.named, files.profiles) == (["other"], {"other"})


async def test_a_bad_document_keeps_the_last_good_one(tmp_path: Path) -> None:
    files = Files(tmp_path, firewall=CARE, policy=POLICY.replace("NAME", "care"))
    files.put("firewall", "profiles: {care: {block: 610}}")
    assert "firewall.yaml:1: profiles.care.block" in (await files.errors())["firewall"]
    care = files.snapshots[-1].firewalls.get("care")
    assert care is not None
    assert care.profile.block == 61


async def test_a_rule_pack_beside_the_document_is_read_and_followed(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    pack = tmp_path / "packs" / "acme.yaml"
    pack.write_text(PACK.replace("WEIGHT", "90"))
    files = Files(tmp_path, firewall="packs: [packs/acme.yaml]", policy="rules: []")
    text = (Message("user", "we sell blue teapots"),)
    assert files.snapshots[-1].firewalls.default.score(text).risk >= 90
    pack.write_text(PACK.replace("WEIGHT", "900"))
    assert "acme" in (await files.errors())["firewall"]
    pack.write_text(PACK.replace("WEIGHT", "20"))
    assert await files.errors() == {}
    assert files.snapshots[-1].firewalls.default.score(text).risk < 50
    pack.unlink()
    assert "acme.yaml: cannot be read" in (await files.errors())["firewall"]


def test_a_missing_rule_pack_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"KALGUARD_FIREWALL_PATH: .*acme\.yaml: cannot be read"):
        Files(tmp_path, firewall="packs: [acme.yaml]", policy="rules: []")


def test_without_a_document_the_settings_say_the_thresholds() -> None:
    settings = Settings.model_validate({"prompt_block_threshold": 66, "prompt_sanitize_threshold": 33})
    snapshot = Documents(settings, Metrics(), lambda _: None).load()
    profile = snapshot.firewalls.default.profile
    assert (profile.name, profile.block, profile.sanitize) == ("standard", 66, 33)

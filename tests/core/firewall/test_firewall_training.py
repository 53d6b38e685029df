"""Training: what separates texts of several sources is learned, and the same rows give the same model."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from kalguard_core.firewall import training
from kalguard_core.firewall.evaluation import Row
from kalguard_core.firewall.model import Model, weights_of
from kalguard_core.firewall.training import NOISY, OWN, Trainer, bundled_corpus, train
from windows import evidence_of_windows

ORDERS = ("zorble", "quaff", "mimsy", "vorpal")
THINGS = ("garden", "river", "train", "kettle", "ladder", "window", "button", "forest", "silver", "market")


def _texts(source: str, attack: bool, count: int) -> Iterator[Row]:
    dice = random.Random(f"{source}{attack}")
    for _ in range(count):
        words = dice.sample(THINGS, 6)
        if attack:
            words[2:2] = dice.sample(ORDERS, 2)
        yield Row(" ".join(words), attack, source, "direct" if attack else "benign")


def rows(count: int = 30) -> list[Row]:
    """Six sources; in all of them the attacks, and only they, hold words of a made-up language."""
    return [row for number in range(6) for label in (True, False) for row in _texts(f"s{number}", label, count)]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Without KalGuard's own corpus, with few folds and steps: these texts are easily told apart."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "bundled_corpus", list)
        patched.setattr(training, "_FOLDS", 2)
        patched.setattr(training, "_ROUND_ONE", 6)
        patched.setattr(training, "_ROUND_TWO", 3)
        yield


@pytest.fixture(scope="module")
def model(small: None) -> Model:
    """Trained on the rows, some of which only one source has, and on what a noisy source says."""
    marked = [
        Row(f"{row.text} jubjub", row.attack, row.source, row.kind) if row.source == "s0" and row.attack else row
        for row in rows()
    ]
    ((source, _),) = NOISY
    noisy = [Row(" ".join(THINGS), True, source, "jailbreak")] * 100
    return Model.load(train([*marked, *noisy]))


def risk(model: Model, text: str) -> int:
    return model.risk(max(evidence_of_windows(model, model.vocabulary.words_of(text.encode())).values()))


def test_a_small_folder_is_separated_and_what_it_never_saw_is_told_right(model: Model) -> None:
    attack = " ".join((*THINGS[:3], "mimsy", "zorble", *THINGS[3:5]))
    assert risk(model, attack) >= 70
    assert risk(model, " ".join(THINGS)) < 50
    assert risk(model, " ".join(reversed(THINGS))) < 50


def test_the_curve_rises_from_no_risk_to_high_risk(model: Model) -> None:
    evidence = [point for point, _ in model.curve]
    risks = [value for _, value in model.curve]
    assert evidence == sorted(set(evidence))
    assert risks == sorted(risks)
    assert risks[0] == 0
    assert {50, 70} <= set(risks)


def test_what_only_one_source_has_is_not_learned(model: Model) -> None:
    sums = weights_of(model.contributions(model.vocabulary.words_of(b"jubjub")))
    assert sums.tolist() == [0]


def test_attacks_of_a_noisy_source_are_not_learned_from(model: Model) -> None:
    assert risk(model, " ".join(THINGS)) < 50  # which it calls an attack a hundred times


def test_the_same_rows_give_the_same_model() -> None:
    steps: list[None] = []
    first = train(rows(8), lambda: steps.append(None))
    assert first == train(rows(8))
    assert len(steps) >= len(rows(8))


def test_a_model_that_leaves_a_source_out_has_not_seen_it() -> None:
    odd = [Row(f"{' '.join(THINGS[:5])} slithy toves {number}", True, "odd", "direct") for number in range(40)]
    trainer = Trainer([*rows(), *odd])
    plan = trainer.plan()
    assert sorted(name for fold in plan for name in fold) == sorted({row.source for row in trainer.rows})
    fold = next(fold for fold in plan if "odd" in fold)
    (seen,) = (model for model, names in zip(trainer.left_out(plan), plan, strict=True) if names == fold)
    sums = weights_of(seen.contributions(seen.vocabulary.words_of(b"slithy toves")))
    assert not sums.any()


def test_of_a_large_source_a_part_is_taken_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MOST_ROWS", 10)
    first, second = (Trainer(rows(30)).rows for _ in range(2))
    assert first == second
    assert len(first) == 6 * 2 * 10


def test_the_own_corpus_has_attacks_and_honest_texts_of_many_languages() -> None:
    corpus = bundled_corpus()  # as imported here: the fixture does not reach it
    assert all(row.source.startswith(OWN) and row.text.strip() for row in corpus)
    languages = {row.source for row in corpus}
    assert len(languages) >= 20
    for label in (True, False):
        assert len({row.source for row in corpus if row.attack is label}) >= 20

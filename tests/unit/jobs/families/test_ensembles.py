"""`jobs.families.ensembles` and `jobs.families.stacker`: what they learn, when they may know it, and from whom."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.ensemble_walks import H, member_run, random_walk, split_in_three, walked

from jobs.data.label import Label
from jobs.ensembles.against_best import against_best, best_member
from jobs.ensembles.members import Members, read_members
from jobs.evaluation.significance import skill_test
from jobs.families.ensembles import greedy_weights
from jobs.results.run_folder import PREDICTIONS
from jobs.trainer import BrokenSpec

pytestmark = pytest.mark.slow
LEARNERS = ("greedy_ensemble", "lightgbm_stacker")
EVERY = ("mean_ensemble", "median_ensemble", *LEARNERS)


@pytest.fixture(scope="module")
def knowing():
    """A walk, and members: a quarter of the truth with noise, its opposite with more, and noise."""
    frame = random_walk(1)
    noise = np.random.default_rng(2).normal(0, 0.02, (frame.rows, 3))
    y = np.nan_to_num(frame.y)
    return frame, split_in_three(frame), np.column_stack([0.6 * y, -0.5 * y, 0.0 * y]) + noise


def error(frame: Any, rows: np.ndarray, f: np.ndarray) -> float:
    return float(np.abs(frame.price[rows] * (np.exp(f[rows]) - np.exp(frame.y[rows]))).mean())


def test_mean_and_median_are_those_of_the_members(knowing) -> None:
    frame, split, f = knowing
    for model, rule in (("mean_ensemble", np.mean), ("median_ensemble", np.median)):
        _, predicted = walked(model, frame, split, f)
        rows = np.concatenate([split.validation, split.backtest, split.final])
        assert predicted[rows] == pytest.approx(rule(f[rows], axis=1))
        assert np.isnan(predicted[split.train]).all()


@pytest.mark.parametrize("model", LEARNERS)
def test_what_the_members_know_is_learned(knowing, model: str) -> None:
    """With one good member, one that is wrong on purpose and one of noise, weights beat equal ones by far."""
    frame, split, f = knowing
    trainer, predicted = walked(model, frame, split, f)
    _, mean = walked("mean_ensemble", frame, split, f)

    assert error(frame, split.backtest, predicted) < 0.95 * error(frame, split.backtest, mean)
    details = trainer.details()
    assert details["fits_learned"] > 0
    if model == "greedy_ensemble":
        weights = [member["weight"] for member in details["members"]]
        assert sum(weights) == pytest.approx(1.0)
        assert weights[0] > 0.7
        assert weights[1] == 0
    else:
        assert details["stacker_share"] > 0


@pytest.mark.parametrize("model", EVERY)
@pytest.mark.parametrize("where", ["validation", "backtest"])
def test_labels_after_t_change_no_forecast_before_t_plus_h(knowing, model: str, where: str) -> None:
    """Row s > t is known from s + h on: whatever its outcome, no earlier forecast may move."""
    frame, split, f = knowing
    t = int(getattr(split, where)[len(getattr(split, where)) // 2])
    shuffled = frame.y.copy()
    after = np.arange(t + 1, int(np.isfinite(frame.y).sum()))
    shuffled[after] = np.random.default_rng(3).permutation(shuffled[after]) * 3.0

    _, before = walked(model, frame, split, f)
    _, changed = walked(model, replace(frame, y=shuffled), split, f)

    assert np.array_equal(before[: t + H + 1], changed[: t + H + 1], equal_nan=True)
    if model in LEARNERS:
        assert not np.array_equal(before[t + H + 1 :], changed[t + H + 1 :], equal_nan=True), "it does learn from them"


@pytest.mark.parametrize("model", LEARNERS)
def test_the_first_rows_are_the_mean_until_enough_is_known(knowing, model: str) -> None:
    frame, split, f = knowing
    trainer, predicted = walked(model, frame, split, f, least_independent=20)
    learned = [fit["fit_row"] for fit in trainer.done.fits if fit["learned"] is not None]

    first = int(split.validation[0])
    assert learned[0] - first - H + 1 >= 20 * H > learned[0] - first - H + 1 - 20
    rows = np.arange(first, learned[0])
    assert predicted[rows] == pytest.approx(f[rows].mean(axis=1))


def test_skill_less_members_make_a_skill_less_ensemble() -> None:
    """On random walks nothing is told apart from naive, and the stacker's trees earn nothing (20 walks: `benchmarks`)."""
    earned, better = [], 0
    for seed in range(4):
        frame = random_walk(100 + seed)
        f = np.random.default_rng(seed).normal(0, 0.01, (frame.rows, 4))
        split = split_in_three(frame)
        for model in LEARNERS:
            trainer, predicted = walked(model, frame, split, f)
            rows, price = split.backtest, frame.price[split.backtest]
            actual = price * np.exp(frame.y[rows])
            tested = skill_test(np.abs(price * np.exp(predicted[rows]) - actual), np.abs(price - actual), H)
            better += tested.low is not None and tested.low > 0
            earned.append(trainer.details().get("stacker_share", 0.0))

    assert better == 0
    assert sum(share > 0 for share in earned) <= 1


@pytest.mark.parametrize("model", EVERY)
def test_a_lonely_member_is_repeated_or_corrected_but_nothing_breaks(knowing, model: str) -> None:
    frame, split, f = knowing
    trainer, predicted = walked(model, frame, split, f[:, :1])

    if model != "lightgbm_stacker":
        assert predicted[split.backtest] == pytest.approx(f[split.backtest, 0])
        assert trainer.details()["against_best"]["same"]
    assert np.isfinite(predicted[split.backtest]).all()


@pytest.mark.parametrize("model", EVERY)
def test_two_walks_are_equal(knowing, model: str) -> None:
    frame, split, f = knowing
    first, second = (walked(model, frame, split, f) for _ in range(2))

    assert np.array_equal(first[1], second[1], equal_nan=True)
    assert first[0].done == second[0].done


def test_greedy_weights_are_shares_of_the_picks() -> None:
    price, y = np.full(4, 100.0), np.array([0.01, -0.01, 0.01, -0.01])
    f, actual = np.column_stack([2.0 * y, 0.0 * y, -y]), price * np.exp(y)

    assert greedy_weights(f, actual, price, Label.LOG_RETURN, picks=2) == [0.5, 0.5, 0.0], (
        "twice the truth and nothing make the truth"
    )
    assert greedy_weights(np.column_stack([-y, y]), actual, price, Label.LOG_RETURN, picks=25) == [0.0, 1.0], (
        "the best alone is not diluted"
    )


def test_the_best_single_member_is_that_of_the_validation_block(knowing) -> None:
    """One that is best on the backtest alone is not it: it could only be known afterwards."""
    frame, split, f = knowing
    f = f.copy()
    f[split.backtest, 2] = frame.y[split.backtest]
    members = Members(("good", "bad", "late"), ("1.1", "2.1", "3.1"), f, ())

    assert best_member(frame, split, members) == 0
    told = against_best(frame, split, f[:, 2], members)
    assert told["name"] == "good"
    assert told["skill"] == pytest.approx(1.0)
    assert told["dm_p_value"] < 0.05
    assert not told["same"]


def task_for(*members: dict[str, Any], left_out: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(
        assignment=SimpleNamespace(members=members, left_out=left_out), spec=SimpleNamespace(name="mean-1w")
    )


def test_only_out_of_sample_rows_of_a_member_are_read(knowing, tmp_path) -> None:
    frame, split, f = knowing
    members = read_members(task_for(member_run(tmp_path / "a", frame, split, f[:, 0])), frame, split)

    assert members.names == ("a",)
    assert np.isnan(members.f[split.train]).all(), "what it was trained on says nothing about it"
    rows = np.concatenate([split.validation, split.backtest, split.final])
    assert np.array_equal(members.f[rows, 0], f[rows, 0])


def with_nan(folder, frame, split, f):
    f = f.copy()
    f[split.backtest[3:5]] = np.nan
    return member_run(folder, frame, split, f)


def split_otherwise(folder, frame, split, f):
    other = split_in_three(frame, final_rows=0)
    return member_run(folder, frame, other, f)


def changed_later(folder, frame, split, f):
    member = member_run(folder, frame, split, f)
    table = pl.read_parquet(folder / PREDICTIONS).with_columns(pl.col("predicted_return") * 2)
    table.write_parquet(folder / PREDICTIONS)
    return member


def of_another_job(folder, frame, split, f):
    return {**member_run(folder, frame, split, f), "run": "8.1"}


def gone(folder, frame, split, f):
    member = member_run(folder, frame, split, f)
    shutil.rmtree(folder)
    return member


def linked(folder, frame, split, f):
    member = member_run(folder, frame, split, f)
    (folder / PREDICTIONS).rename(folder.parent / "elsewhere")
    (folder / PREDICTIONS).symlink_to(folder.parent / "elsewhere")
    return member


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (with_nan, "no out-of-sample forecast for 2 of 400 backtest rows"),
        (split_otherwise, "give both the same `evaluation`"),
        (changed_later, "predictions.parquet is not as it was written"),
        (of_another_job, "its run folder is now that of job 7"),
        (gone, "is missing"),
        (linked, "symbolic link"),
    ],
)
def test_a_member_that_cannot_be_trusted_is_left_out_in_words(knowing, tmp_path, make, words: str) -> None:
    """One bad model never stops the others; alone, it is refused with what to do."""
    frame, split, f = knowing
    good, bad = member_run(tmp_path / "good", frame, split, f[:, 0]), make(tmp_path / "bad", frame, split, f[:, 1])

    members = read_members(task_for(good, bad, left_out=("ugly: it failed",)), frame, split)

    assert members.names == ("good",)
    assert members.left_out[0] == "ugly: it failed"
    assert members.left_out[1].startswith("bad: ")
    assert words in members.left_out[1]
    with pytest.raises(BrokenSpec, match=r"mean-1w has no run to combine. Left out: bad: .*cbi-queue retry mean-1w"):
        read_members(task_for(bad), frame, split)


def test_without_any_run_the_words_say_so(knowing) -> None:
    frame, split, _ = knowing
    with pytest.raises(BrokenSpec, match="No model of this horizon has been trained yet"):
        read_members(task_for(), frame, split)

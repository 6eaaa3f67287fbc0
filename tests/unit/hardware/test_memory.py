"""A job's formula, and the line that measured peaks make of it."""

from __future__ import annotations

import pytest

from cbi_queue.hardware.memory import (
    LAST_PEAKS,
    Estimate,
    Peak,
    formula_mib,
    kind_of,
    line_for,
    line_of_script,
    prior_for,
)
from cbi_queue.models import memory_formulas
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.memory_formulas import (
    BOOSTED_REGIMES,
    BOOSTING,
    CONVOLUTIONAL,
    DECLARED,
    DENSE,
    PLAIN_TABLE,
    PROPHET,
    RECURRENT_1_LAYER,
    STACKING,
    TABLE,
    Shape,
)
from cbi_queue.values.written import shape_of

SHAPE = Shape(5000, 200, "a test")


def defaults(model: str, **changed):
    return {**MODELS[model].params().model_dump(mode="json"), **changed}


def peaks(model: str, *points: tuple[float, float]) -> list[Peak]:
    return [Peak(model, formula, measured) for formula, measured in points]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_formula_above_zero_and_only_nets_have_a_batch_kind(model: str) -> None:
    assert formula_mib(model, defaults(model), SHAPE, None) > 0
    assert kind_of(model) == MODELS[model].batch_kind
    without = {DECLARED, TABLE, PLAIN_TABLE, PROPHET, BOOSTING, BOOSTED_REGIMES, STACKING}
    assert (MODELS[model].memory in without) == (MODELS[model].batch_kind is None)


def test_the_job_of_a_model_that_is_gone_counts_as_a_table() -> None:
    """A row of the ledger may outlive the package that brought its model."""
    assert formula_mib("gone", {}, SHAPE, None) == TABLE.mib({}, SHAPE, 1)
    assert kind_of("gone") is None


@pytest.mark.parametrize(
    ("model", "changed", "expected"),
    [
        ("lstm", {}, memory_formulas.recurrent(256, 32, 128, 1, 200)),
        ("gru_2_layer", {"hidden_size": 64}, memory_formulas.recurrent(256, 32, 64, 2, 200)),
        ("tcn", {"batch_size": 16}, memory_formulas.convolutional(256, 16, 64, 4, 200)),
        ("attention", {"sequence_length": 128}, memory_formulas.transformer(128, 16, 128, 2, 2)),
        ("feed_forward", {"hidden": [32]}, memory_formulas.dense(32, 64, [32], 200)),
        ("xgboost_dart", {"max_depth": 8}, memory_formulas.boosting(5000, 200, 8, num_trees=200)),
        ("lightgbm_dart", {}, memory_formulas.boosting(5000, 200, 5, num_trees=500)),
        (
            "lightgbm_dart",
            {"max_depth": -1, "num_leaves": 4096},
            memory_formulas.boosting(5000, 200, 12, num_trees=500),
        ),
    ],
)
def test_a_job_s_numbers_go_into_the_formula(model: str, changed: dict, expected: float) -> None:
    assert formula_mib(model, defaults(model, **changed), SHAPE, None) == expected


def test_the_micro_batch_stands_in_for_the_batch() -> None:
    assert formula_mib("lstm", defaults("lstm"), SHAPE, 4) == memory_formulas.recurrent(256, 4, 128, 1, 200)


def test_trees_of_any_depth_have_no_more_leaves_than_rows() -> None:
    """2^64 nodes of 64 bytes would refuse a plan that runs in 200 MB."""
    deep = formula_mib("xgboost_dart", defaults("xgboost_dart", max_depth=64), SHAPE, None)
    assert deep == memory_formulas.boosting(5000, 200, 13, num_trees=200)


def test_without_runs_the_line_that_ships_holds_and_tensorflow_is_doubted() -> None:
    assert line_for("lstm", "torch", []) == prior_for("lstm", "torch") == RECURRENT_1_LAYER.line
    foreign = line_for("lstm", "tensorflow", [])
    assert foreign.base_mib > RECURRENT_1_LAYER.line.base_mib
    assert foreign.doubt == 1.0


def test_a_base_and_a_slope_are_read_from_runs_that_lie_apart() -> None:
    line = line_for("lstm", "torch", peaks("lstm", (10, 430), (60, 830), (110, 1230), (160, 1630)))
    assert (line.base_mib, line.factor, line.samples) == pytest.approx((350, 8, 4))
    assert line.doubt < RECURRENT_1_LAYER.line.doubt
    assert Estimate(200, line, 64).corrected_mib == pytest.approx(1950)


def test_one_disturbed_run_moves_nothing() -> None:
    """A peak that something else caused must not decide for every later job."""
    points = [(formula, 350 + 8 * formula) for formula in (10, 50, 90, 130, 170)]
    line = line_for("lstm", "torch", peaks("lstm", *points, (100, 9000)))
    assert (line.base_mib, line.factor) == pytest.approx((350, 8), rel=0.02)


def test_runs_of_one_size_tell_a_base_and_no_slope() -> None:
    """From formulas 1 MB apart the noise of a resident set would make a slope of 40."""
    prior = DENSE.line
    line = line_for("feed_forward", "torch", peaks("feed_forward", (4, 440), (5, 480), (4.5, 460)))
    assert (line.factor, line.doubt) == (prior.factor, prior.doubt)
    assert Estimate(4.5, line, 64).corrected_mib == pytest.approx(460, abs=5)


def test_what_runs_lie_apart_widens_what_a_job_should_stay_below() -> None:
    calm = line_for("lstm", "torch", peaks("lstm", (10, 430), (10, 431), (10, 432)))
    wild = line_for("lstm", "torch", peaks("lstm", (10, 330), (10, 430), (10, 530)))
    assert Estimate(10, wild, 1).safe_mib - Estimate(10, calm, 1).safe_mib > 300


def test_small_runs_do_not_make_the_estimate_of_a_library_small() -> None:
    """As measured: baselines and ensembles take 100 MiB, and LightGBM 260, also when it has not run yet."""
    small = ("naive", "drift", "seasonal_naive", "mean_ensemble", "greedy_ensemble", "regime_mixture")
    line = line_for("lightgbm_dart", "native", [Peak(model, 1.6, 105.0) for model in small])
    assert Estimate(1.7, line, None).safe_mib >= 220


def test_a_model_without_runs_moves_with_its_backend() -> None:
    """A machine whose torch takes 100 MB more does so for every net."""
    moved = [Peak("lstm", 10, RECURRENT_1_LAYER.line.base_mib + 85 + 100 + noise) for noise in (-2, 0, 2)]
    line = line_for("tcn", "torch", moved)
    assert line.base_mib == pytest.approx(CONVOLUTIONAL.line.base_mib + 100)
    assert (line.factor, line.samples) == (CONVOLUTIONAL.line.factor, 3)


def test_two_runs_are_believed_by_nobody() -> None:
    assert line_for("lstm", "torch", peaks("lstm", (10, 5000), (60, 9000))) == RECURRENT_1_LAYER.line


def test_old_runs_are_forgotten() -> None:
    old = peaks("lstm", *[(10, 4000)] * LAST_PEAKS)
    new = peaks("lstm", *[(10, 500)] * LAST_PEAKS)
    assert Estimate(10, line_for("lstm", "torch", old + new), None).corrected_mib == 500


def test_a_slope_that_no_net_has_is_not_believed() -> None:
    falling = line_for("lstm", "torch", peaks("lstm", (10, 900), (60, 500), (110, 100), (160, 50)))
    assert falling.factor == 0.25
    assert falling.base_mib >= 0


def test_a_script_needs_what_it_declares_or_what_its_like_took_and_teaches_others_nothing() -> None:
    shape = shape_of(["python", "train.py", "--lr", "0.1"])
    assert shape == shape_of(["python", "train.py", "--lr", "0.01"])
    took = peaks(shape, (0.01, 900.0), (0.01, 1200.0)) + peaks("other", (0.01, 5000.0))

    def needs(declared: float | None) -> float:
        params = {**defaults("command"), "memory_mib": declared}
        formula = formula_mib("command", params, SHAPE, None)
        return Estimate(formula, line_of_script(shape, params, took), None).corrected_mib

    assert (needs(None), needs(500.0), needs(4096.0)) == (1200.0, 1200.0, 4096.0)
    assert line_for("command", "native", peaks("lstm", *[(1.0, 900.0)] * 5)) == prior_for("command", "native")

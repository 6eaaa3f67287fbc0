"""The ranking against naive: what counts, what ties, and that the baselines are always listed."""

from __future__ import annotations

import pytest
from support.api_installation import scores

from cbi_queue.ledger import JobRow
from cbi_queue.lifecycle import JobState, Reason
from cbi_queue.models.catalogue import entry_for
from cbi_queue.views.leaderboard import rank


def make_job(job_id, model, skill, *, horizon="1w", name=None, state=JobState.SUCCEEDED, **changes):
    family = next(f for f in ("trees", "statistical", "features", "simple_neural") if entry_for(f, model))
    values = {
        "id": job_id, "plan_id": 1, "day": 1, "name": name or f"{model.replace('_', '-')}-{horizon}", "family": family,
        "model": model, "horizon": horizon, "backend": "native", "spec": {}, "identity": str(job_id), "state": state,
        "reason": Reason.DONE, "priority": 0, "retries": 1, "timeout_s": None, "errors": 0, "ooms": 0, "attempts": 1,
        "micro_batch": None, "not_before": None, "cancel_requested_at": None, "run_dir": None,
        "metrics": None if skill is None else scores(skill), "veto": None, "enqueued_at": 0.0, "changed_at": 0.0,
        "ended_at": 1.0,
    }  # fmt: skip
    return JobRow(**{**values, **changes})


def test_models_are_ranked_by_skill_with_the_baselines_between_them():
    jobs = [
        make_job(1, "naive", 0.0),
        make_job(2, "drift", 0.1),
        make_job(3, "lightgbm_dart", 0.2),
        make_job(4, "xgboost_dart", -0.3),
        make_job(5, "seasonal_naive", -0.1),
    ]

    board = rank(jobs)["1w"]

    assert [(row.place, row.model) for row in board] == [
        (1, "lightgbm_dart"),
        (2, "drift"),
        (3, "naive"),
        (4, "seasonal_naive"),
        (5, "xgboost_dart"),
    ]
    assert [row.model for row in board if row.is_bar] == ["drift", "naive", "seasonal_naive"]
    assert (board[0].mase, board[0].rows, board[0].fit_s) == (pytest.approx(0.8), 504, 1.5)


def test_an_untrained_baseline_is_listed_and_naive_takes_its_scores_from_the_models():
    """A model is never shown without the baselines that it has to beat."""
    short, long = make_job(1, "ets", -0.2, metrics=scores(-0.2, rows=100)), make_job(2, "auto_arima", 0.2)

    board = rank([short, long])["1w"]

    assert [(row.place, row.name, row.mase) for row in board] == [
        (1, "auto-arima-1w", pytest.approx(0.8)),
        (2, "naive", 1.0),
        (3, "ets-1w", pytest.approx(1.2)),
        (None, "drift", None),
        (None, "seasonal_naive", None),
    ]
    naive = board[1]
    assert (naive.job_id, naive.skill_mase, naive.rows) == (None, 0.0, 504)


def test_equal_skill_by_mase_is_ordered_by_rmse_and_then_by_name():
    better_rmse = scores(0.1)
    better_rmse["backtest"]["skill_rmse"] = 0.2
    jobs = [
        make_job(1, "ets", 0.1, name="b"),
        make_job(2, "ets", 0.1, name="c", metrics=better_rmse),
        make_job(3, "ets", 0.1, name="a"),
    ]

    assert [row.name for row in rank(jobs)["1w"] if not row.is_bar] == ["c", "a", "b"]


def test_only_scored_jobs_that_succeeded_count_and_of_one_name_the_newest():
    jobs = [
        make_job(1, "ets", 0.5, state=JobState.VETOED, name="vetoed"),
        make_job(2, "ets", 0.5, state=JobState.RUNNING, name="running"),
        make_job(3, "feature_cache", None, metrics={"rows": 9}),
        make_job(4, "ets", None, name="unscored"),
        make_job(6, "ets", 0.1, name="twice"),
        make_job(5, "ets", 0.9, name="twice"),
    ]

    assert [(row.name, row.job_id) for row in rank(jobs)["1w"] if not row.is_bar] == [("twice", 6)]
    assert rank(jobs[:4]) == {}


def test_a_model_without_a_skill_comes_last_and_has_no_place():
    """Naive's error can be zero; there is no skill then, which is not the same as the worst skill."""
    unknown = scores(0.0)
    unknown["backtest"]["skill_mae"] = None

    board = rank([make_job(1, "ets", 0, name="unknown", metrics=unknown), make_job(2, "ets", -0.9, name="bad")])["1w"]

    places = {row.name: row.place for row in board}
    assert (places["bad"], places["unknown"]) == (2, None)


def test_each_horizon_has_its_own_board_shortest_first():
    jobs = [make_job(1, "ets", 0.1, horizon="12m"), make_job(2, "ets", 0.2, horizon="1m")]

    ranked = rank(jobs)

    assert list(ranked) == ["1m", "12m"]
    assert [row.name for row in ranked["12m"] if not row.is_bar] == ["ets-12m"]

"""The ranking against naive: what counts, what ties, and that the baselines are always listed."""

from __future__ import annotations

import pytest
from support.api_installation import scores
from support.board_jobs import make_job
from support.call_counting import calls_of

from cbi_queue.lifecycle import JobState
from cbi_queue.views.ensembles import LEAST_INDEPENDENT
from cbi_queue.views.leaderboard import rank
from cbi_queue.views.winner import ranked_models


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


def test_validation_ranks_and_the_backtest_only_judges():
    """Ranking by the backtest would select on it, and its skill would be luck."""
    jobs = [
        make_job(1, "ets", 0, metrics=scores(0.3, validation=-0.1)),
        make_job(2, "auto_arima", 0, metrics=scores(-0.2, validation=0.1)),
    ]

    board = [row for row in rank(jobs)["1w"] if row.place]

    assert [(row.name, row.validation_skill, row.skill_mase) for row in board] == [
        ("auto-arima-1w", 0.1, -0.2), ("naive", 0.0, 0.0), ("ets-1w", -0.1, 0.3),
    ]  # fmt: skip


def test_of_equals_the_baselines_come_first_and_then_the_name_decides():
    jobs = [make_job(1, "ets", 0.0, name="b"), make_job(2, "drift", 0.0, name="c"), make_job(3, "ets", 0.0, name="a")]

    assert [row.name for row in rank(jobs)["1w"] if row.place] == ["c", "naive", "a", "b"]


def test_only_jobs_that_ended_with_scores_count_and_of_one_name_the_newest():
    jobs = [
        make_job(2, "ets", 0.5, state=JobState.RUNNING, name="running"),
        make_job(3, "feature_cache", None, metrics={"rows": 9}),
        make_job(4, "ets", None, name="unscored"),
        make_job(6, "ets", 0.1, name="twice"),
        make_job(5, "ets", 0.9, name="twice"),
    ]

    assert [(row.name, row.job_id) for row in rank(jobs)["1w"] if not row.is_bar] == [("twice", 6)]
    assert rank(jobs[:3]) == {}


def test_a_vetoed_run_is_listed_with_its_verdict_and_neither_ranked_nor_scored():
    veto = "skill +0.50 on the backtest is beyond belief"
    jobs = [make_job(1, "ets", 0.5, state=JobState.VETOED, veto=veto), make_job(2, "auto_arima", 0.1)]

    rows = {row.model: row for row in rank(jobs)["1w"]}

    assert (rows["ets"].place, rows["ets"].skill_mase, rows["ets"].veto) == (None, None, veto)
    assert rows["auto_arima"].place == 1
    assert "ets" in {row.model for row in rank(jobs[:1])["1w"]}


def test_schemes_are_never_in_one_table():
    """A model fitted once, years before it is judged, is not compared with one fitted every quarter."""
    walked = make_job(1, "ets", 0, name="walked", metrics={**scores(0.1), "scheme": "walk_forward"})

    boards = rank([walked, make_job(2, "ets", 0.2, name="held")])

    assert {title: [row.name for row in rows if not row.is_bar] for title, rows in boards.items()} == {
        "1w walk-forward": ["walked"], "1w": ["held"],
    }  # fmt: skip
    assert [row.scheme for row in boards["1w walk-forward"]] == ["walk_forward"] * 4


def test_models_judged_on_other_rows_are_on_a_board_of_their_own_that_says_so():
    """A baseline of the quickstart stood on the week's board, with a MASE of other days."""
    week = {"validation_rows": 252, "backtest_rows": 252, "embargo_rows": 21, "final_block_rows": 0}
    walked = [
        (0, "auto_arima", "arima", {**week, "backtest_rows": 60}),  # trained again since, as the week judges
        (1, "ets", "ets", week), (2, "auto_arima", "arima", week),
        (3, "seasonal_naive", "quick", {**week, "backtest_rows": 504, "validation_rows": 504}),
        (4, "ets", "later", {**week, "final_block_rows": 252}), (5, "ets", "unknown", {}),
    ]  # fmt: skip
    jobs = [
        make_job(n, model, 0, name=name, metrics={**scores(0.1), "scheme": "walk_forward"}, spec={"params": params})
        for n, model, name, params in walked
    ]
    held = [
        make_job(7, "ets", 0.2, name=f"held-{rows}", spec={"params": {**week, "final_block_rows": rows}})
        for rows in (0, 9)
    ]

    boards = {title: [row.name for row in rows if row.job_id] for title, rows in rank([*jobs, *held]).items()}

    rows = "validation unknown, backtest unknown, embargo unknown, final block unknown"
    assert boards == {
        "1w walk-forward": ["arima", "ets"],
        f"1w walk-forward on other rows ({rows})": ["unknown"],
        "1w walk-forward on other rows (final block 252)": ["later"],
        "1w walk-forward on other rows (validation 504, backtest 504)": ["quick"],
        "1w": ["held-0", "held-9"],
    }  # fmt: skip
    assert ranked_models(jobs, "1w")[0].job.name == "arima", "the board of most models chooses, not the newest"


def test_a_model_without_a_skill_comes_last_and_has_no_place():
    """Naive's error can be zero; there is no skill then, which is not the same as the worst skill."""
    unknown = scores(0.0)
    unknown["validation"]["skill_mae"] = None

    board = rank([make_job(1, "ets", 0, name="unknown", metrics=unknown), make_job(2, "ets", -0.9, name="bad")])["1w"]

    places = {row.name: row.place for row in board}
    assert (places["bad"], places["unknown"]) == (2, None)


def test_each_horizon_has_its_own_board_shortest_first():
    jobs = [make_job(1, "ets", 0.1, horizon="12m"), make_job(2, "ets", 0.2, horizon="1m")]

    ranked = rank(jobs)

    assert list(ranked) == ["1m", "12m"]
    assert [row.name for row in ranked["12m"] if not row.is_bar] == ["ets-12m"]


@pytest.mark.parametrize(
    ("skill", "p", "models", "expected"),
    [
        (0.1, 0.04, 1, "better"),
        (-0.1, 0.04, 1, "worse"),
        (0.1, 0.06, 1, "no"),
        (0.1, 0.04, 2, "no"),
        (0.1, 0.025, 2, "better"),
        (0.1, None, 1, None),
    ],
)
def test_a_model_is_told_apart_by_its_p_value_shared_by_the_models_of_the_board(skill, p, models, expected):
    """One of twenty worthless models always passes 5 %."""
    jobs = [make_job(1, "ets", 0, name="it", metrics=scores(skill, se=0.01, p=p))]
    jobs += [make_job(2 + n, "ets", -0.5, name=f"other-{n}") for n in range(models - 1)]

    assert next(row for row in rank(jobs)["1w"] if row.name == "it").told_apart == expected


@pytest.mark.parametrize("which", ["skill_p_value", "skill_dm_p_value"])
def test_both_tests_must_tell_a_model_apart(which):
    metrics = scores(0.1, se=0.01, p=0.001)
    metrics["backtest"][which] = 0.2

    assert rank([make_job(1, "ets", 0, metrics=metrics)])["1w"][0].told_apart == "no"


def test_vetoed_and_damaged_models_were_tried_too():
    jobs = [
        make_job(1, "ets", 0, name="it", metrics=scores(0.1, se=0.01, p=0.04)),
        make_job(2, "ets", 0.9, name="vetoed", state=JobState.VETOED),
    ]

    assert rank(jobs)["1w"][0].told_apart == "no"


def test_too_few_independent_rows_are_said_and_are_no_verdict():
    few = scores(0.1, rows=29, p=0.001)

    assert rank([make_job(1, "ets", 0, metrics=few)])["1w"][0].told_apart == "too few"


def test_the_least_evidence_is_that_of_the_test_of_skill():
    from jobs.evaluation import significance

    assert LEAST_INDEPENDENT == significance.LEAST_INDEPENDENT


def test_metrics_of_another_shape_cost_no_board():
    """Manifests are files: what is in them is read, never trusted."""
    odd = {
        **scores(0.1), "naive": [1], "verdicts": {"name": "x"}, "coverage": [1], "shrinkage": "much", "scheme": 7,
        "best_round": True,
    }  # fmt: skip
    odd["backtest"] |= {"skill_low": float("nan"), "skill_p_value": "0", "rows": "many"}

    row = rank([make_job(1, "ets", 0, metrics=odd)])["1w"][0]

    assert (row.skill_low, row.p_value, row.rows, row.shrinkage, row.coverage_80, row.scheme, row.verdicts) == (
        None, None, None, None, None, "holdout", (),
    )  # fmt: skip


def test_the_cost_of_a_board_grows_with_its_runs_and_not_with_their_square():
    def calls(runs: int) -> int:
        jobs = [make_job(n, "ets", 0.1, name=str(n)) for n in range(1, runs + 1)]
        return calls_of(lambda: rank(jobs))

    assert calls(400) < 5 * calls(100)

"""The board of regime classifiers: against persistence, apart from the forecasts of the price."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from click.testing import CliRunner

from cbi_queue.cli.verbs.leaderboard import command
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.ledger import JobRow
from cbi_queue.lifecycle import JobState, Reason
from cbi_queue.models.mixtures import FALLS_BACK, NO_BETTER
from cbi_queue.views.board_words import regime_sentences, sentences
from cbi_queue.views.leaderboard import rank
from cbi_queue.views.regime_board import rank_regimes
from cbi_queue.views.result_table import result_lines
from cbi_queue.views.volatility_board import rank_volatility
from cbi_queue.views.winner_beside import chosen_beside

NEWEST = {
    "date": "2018-12-31", "target_date": "2019-01-07", "regime": "bear",
    "p_crisis": 0.03, "p_bull": 0.01, "p_bear": 0.95, "p_normal": 0.01,
}  # fmt: skip


def scores(log_loss: float, *, validation: float | None = None, p: float = 0.01) -> dict[str, Any]:
    """The metrics of a classifier beside a persistence of log loss 0.5 and frequencies of 1.2.

    *validation* is its log loss there, if it is another.
    """
    blocks = {"validation": _block(validation or log_loss, p), "backtest": _block(log_loss, p)}
    return {
        "regimes": blocks,
        "regime_share": 1.0,
        "regime_forecast": NEWEST,
        "fit_s": 1.5,
    }


def _block(log_loss: float, p: float) -> dict[str, Any]:
    skill = 1 - log_loss / 0.5
    shared = {"rows": 504, "brier": 0.3, "accuracy": 0.8}
    sure = {"skill_low": skill - 0.1, "skill_high": skill + 0.1, "skill_independent": 6.0}
    tests = {"skill_p_value": p, "skill_dm_p_value": p}
    model = {**shared, "log_loss": log_loss, "skill": skill, **sure, **tests}
    return {"model": model, "persistence": {**shared, "log_loss": 0.5}, "frequencies": {**shared, "log_loss": 1.2}}


def make_job(job_id: int, name: str, metrics: dict[str, Any], **changes: Any) -> JobRow:
    values = {
        "id": job_id, "plan_id": 1, "day": 6, "name": name, "family": "regime_classifier",
        "model": "regime_lightgbm", "horizon": "1w", "backend": "native", "spec": {}, "identity": str(job_id),
        "state": JobState.SUCCEEDED, "reason": Reason.DONE, "priority": 0, "retries": 1, "timeout_s": None,
        "errors": 0, "ooms": 0, "attempts": 1, "micro_batch": None, "not_before": None,
        "cancel_requested_at": None, "run_dir": None, "metrics": metrics, "veto": None, "enqueued_at": 0.0,
        "changed_at": 0.0, "ended_at": 1.0,
    }  # fmt: skip
    return JobRow(**{**values, **changes})


def test_validation_ranks_classifiers_and_the_backtest_only_judges() -> None:
    """The best of many on the backtest would be the luckiest there, and its skill there no longer a judgement."""
    jobs = [make_job(1, "lucky", scores(0.3, validation=0.45)), make_job(2, "chosen", scores(0.4))]

    (board,) = rank_regimes(jobs).values()
    (beside,) = chosen_beside(jobs, "1w", DEFAULT)

    assert [(row.place, row.name) for row in board][:3] == [(1, "chosen"), (2, "lucky"), (3, "persistence")]
    assert (beside.job.name, beside.place, beside.of) == ("chosen", 1, 2)
    assert beside.words == ("chosen beats persistence beyond luck (n = 6 independent stretches of 84 rows).",)


def test_a_vetoed_classifier_is_listed_and_not_ranked() -> None:
    veto = "skill +0.80 over persistence is beyond belief"
    (board,) = rank_regimes([make_job(1, "leaking", scores(0.1), state=JobState.VETOED, veto=veto)]).values()
    assert [(row.name, row.place, row.skill, row.veto) for row in board] == [("leaking", None, None, veto)]


def test_classifiers_are_ranked_against_both_baselines() -> None:
    ((title, board),) = rank_regimes([make_job(1, "good", scores(0.4)), make_job(2, "bad", scores(0.6))]).items()

    assert title == "1w regimes"
    assert [row.told_apart for row in board] == ["better", None, "worse", None]
    assert [(row.place, row.name, row.skill) for row in board] == [
        (1, "good", pytest.approx(0.2)),
        (2, "persistence", 0.0),
        (3, "bad", pytest.approx(-0.2)),
        (4, "frequencies", pytest.approx(-1.4)),
    ]
    assert (board[0].brier, board[0].accuracy, board[0].share, board[0].fit_s) == (0.3, 0.8, 1.0, 1.5)


def test_a_classifier_is_on_no_other_board_and_the_other_way_round() -> None:
    job = make_job(1, "good", scores(0.4))

    assert rank([job]) == {}
    assert rank_volatility([job]) == {}
    assert (
        rank_regimes([make_job(2, "ets", {"backtest": {"skill_mae": 0.1}}), make_job(3, "odd", {"regimes": 3})]) == {}
    )


@pytest.mark.parametrize("regimes", [{}, {"backtest": 3}, {"backtest": {"model": {"skill": "0.1"}}}])
def test_figures_that_are_none_are_shown_as_not_known(regimes: dict[str, Any]) -> None:
    board = rank_regimes([make_job(1, "odd", {"regimes": regimes})])["1w regimes"]
    assert {row.skill for row in board} == {None}


@pytest.mark.parametrize(
    ("log_loss", "share", "words"),
    [
        (0.4, 1.0, "1 of 1 model beats persistence beyond luck (n = 6 independent stretches of 84 rows): c."),
        (0.6, 1.0, "Worse than persistence, beyond luck: c."),
        (0.49, 1.0, "No model is told apart from persistence (n = 6 independent stretches of 84 rows)."),
        (0.5, 0.0, "Says what persistence says (no skill on validation): c."),
    ],
)
def test_the_table_says_what_may_be_believed(
    monkeypatch: pytest.MonkeyPatch, log_loss: float, share: float, words: str
) -> None:
    found = scores(log_loss, p=0.04 if abs(log_loss - 0.5) > 0.05 else 0.5)
    job = make_job(1, "c", {**found, "regime_share": share})
    monkeypatch.setattr("cbi_queue.cli.verbs.leaderboard.readonly_ledger", lambda: nullcontext(None))
    monkeypatch.setattr("cbi_queue.cli.verbs.leaderboard.scored_jobs", lambda _: [job])
    monkeypatch.setattr("cbi_queue.cli.verbs.leaderboard.script_results", lambda _: [])
    monkeypatch.setattr("cbi_queue.cli.verbs.leaderboard._comparisons", lambda _: {})

    told = CliRunner().invoke(command, env={"COLUMNS": "80"}).output

    assert "Horizon 1w regimes (holdout): ranked by validation, skill of the backtest" in told
    assert words in told
    two = regime_sentences(rank_regimes([job, make_job(2, "d", job.metrics or {})])["1w regimes"])
    assert two[0].startswith("No model is told apart from persistence"), "of two, one is this good by luck too often"
    assert max(map(len, told.splitlines()[:5])) <= 80


def test_a_damaged_classifier_is_listed_last_without_scores() -> None:
    board = rank_regimes([make_job(1, "good", scores(0.4), damage="model.txt is missing")])["1w regimes"]
    assert [(row.name, row.place, row.damage) for row in board] == [("good", None, "model.txt is missing")]


def test_show_says_the_regime_and_what_comes() -> None:
    score, line = result_lines(make_job(1, "c", scores(0.4)))
    assert score.startswith("Regimes: log loss ")
    assert line == "Regime on 2018-12-31: bear; on 2019-01-07: crisis 3 %, bull 1 %, bear 95 %, normal 1 %"


def test_show_says_that_a_net_of_a_short_regime_learned_from_all_rows() -> None:
    verdict = {"name": FALLS_BACK, "level": "warn", "evidence": "regime crisis has 37 rows"}
    metrics = {"regime": "crisis", "regime_rows": 37, "of_rows": 3000, "falls_back": True, "verdicts": [verdict]}
    assert list(result_lines(make_job(1, "net", metrics))) == [
        "Regime crisis: 37 of 3000 training rows; all rows weigh the same",
        "Verdict, warn: falls back to all rows: regime crisis has 37 rows",
    ]


def test_the_board_of_prices_says_when_regimes_do_not_help() -> None:
    verdicts = [{"name": name, "level": "warn", "evidence": "."} for name in (FALLS_BACK, NO_BETTER)]
    metrics = {"backtest": {"skill_mae": 0.1}, "validation": {"skill_mae": 0.1}, "verdicts": verdicts}
    (board,) = rank([make_job(1, "mixture", metrics)]).values()

    told = sentences(board)

    assert "Regimes do not help: not better than the same model without them: mixture." in told
    assert "Too few rows of a regime: its net learned from all rows: mixture." in told

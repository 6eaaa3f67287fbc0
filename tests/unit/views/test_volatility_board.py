"""The board of volatility models: against EWMA, apart from the forecasts of the price."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import pytest
from click.testing import CliRunner

from cbi_queue.cli.verbs.leaderboard import command
from cbi_queue.ledger import JobRow
from cbi_queue.lifecycle import JobState, Reason
from cbi_queue.views.leaderboard import rank
from cbi_queue.views.volatility_board import rank_volatility


def scores(qlike: float, rows: int = 504) -> dict[str, Any]:
    """The metrics of a volatility job whose EWMA has a QLIKE of 0.5 and whose rolling window one of 0.6."""
    shared = {"rows": rows, "volatility_pct": 30.0, "realised_pct": 33.0}
    model = {**shared, "qlike": qlike, "skill": 1 - qlike / 0.5, "skill_low": -0.1, "skill_high": 0.1}
    blocks = {"model": model, "ewma": {**shared, "qlike": 0.5}, "rolling": {**shared, "qlike": 0.6}}
    return {"volatility": {"validation": blocks, "backtest": blocks}, "fit_s": 1.5}


def make_job(job_id: int, model: str, qlike: float, **changes: Any) -> JobRow:
    values = {
        "id": job_id, "plan_id": 1, "day": 5, "name": f"{model}-1w", "family": "volatility", "model": model,
        "horizon": "1w", "backend": "native", "spec": {}, "identity": str(job_id), "state": JobState.SUCCEEDED,
        "reason": Reason.DONE, "priority": 0, "retries": 1, "timeout_s": None, "errors": 0, "ooms": 0, "attempts": 1,
        "micro_batch": None, "not_before": None, "cancel_requested_at": None, "run_dir": None,
        "metrics": scores(qlike), "veto": None, "enqueued_at": 0.0, "changed_at": 0.0, "ended_at": 1.0,
    }  # fmt: skip
    return JobRow(**{**values, **changes})


def test_models_are_ranked_by_qlike_with_both_baselines_between_them() -> None:
    (board,) = rank_volatility([make_job(1, "garch", 0.45), make_job(2, "egarch", 0.55)]).values()

    assert [(row.place, row.name, row.skill) for row in board] == [
        (1, "garch-1w", pytest.approx(0.1)),
        (2, "ewma", 0.0),
        (3, "egarch-1w", pytest.approx(-0.1)),
        (4, "rolling", pytest.approx(-0.2)),
    ]
    assert [row.is_bar for row in board] == [False, True, False, True]
    assert (board[0].realised_pct, board[0].rows, board[0].fit_s) == (33.0, 504, 1.5)


def test_a_volatility_model_is_on_no_board_of_prices_and_the_other_way_round() -> None:
    price = make_job(2, "ets", 0.1, family="statistical", metrics={"backtest": {"skill_mae": 0.1}})

    assert rank([make_job(1, "garch", 0.4)]) == {}
    assert rank_volatility([price]) == {}


def test_boards_are_apart_by_horizon_data_set_and_snapshot() -> None:
    jobs = [
        make_job(1, "garch", 0.4, spec={"snapshot": "a" * 64}),
        make_job(2, "garch", 0.4, spec={"snapshot": "b" * 64}),
        make_job(3, "garch", 0.4, horizon="1m", name="garch-1m"),
        make_job(4, "garch", 0.4, spec={"dataset": "zc"}),
    ]

    assert list(rank_volatility(jobs)) == [
        "1w volatility", "1m volatility", "1w zc volatility", "1w older data aaaaaaaa volatility",
    ]  # fmt: skip


def test_a_job_trained_again_counts_once_and_a_damaged_one_is_not_ranked() -> None:
    jobs = [make_job(1, "garch", 0.4), make_job(2, "garch", 0.45), make_job(3, "egarch", 0.1, damage="a bit is off")]

    (board,) = rank_volatility(jobs).values()

    assert [(row.place, row.name) for row in board] == [
        (1, "garch-1w"),
        (2, "ewma"),
        (3, "rolling"),
        (None, "egarch-1w"),
    ]
    assert (board[-1].skill, board[-1].damage) == (None, "a bit is off")


def test_the_verb_shows_both_kinds_of_board(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "cbi_queue.cli.verbs.leaderboard"
    monkeypatch.setattr(f"{place}.scored_jobs", lambda _: [make_job(1, "garch", 0.45)])
    monkeypatch.setattr(f"{place}.script_results", lambda _: [])
    monkeypatch.setattr(f"{place}.readonly_ledger", nullcontext)

    text = CliRunner().invoke(command, [], env={"COLUMNS": "80"}).output

    assert "Horizon 1w volatility (holdout): ranked by validation, skill of the backtest" in text
    assert "garch-1w" in text
    assert "+.100" in text
    assert re.search(r"ewma +0 +0 .* baseline", text)
    assert max(map(len, text.splitlines()[:5])) <= 80

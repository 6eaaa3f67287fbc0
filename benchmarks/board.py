"""`cbi-queue leaderboard` over 1,000 scored runs: processor time from start to end of its process.

Each run has metrics as a walk-forward run stores them, with intervals, coverage and verdicts. What is computed once and
kept (the confidence set of each board) is not in it: the runs have no forecasts to compare.
"""

from __future__ import annotations

import json
import random
from contextlib import closing
from typing import TYPE_CHECKING, Any

from benchmarks.installation import installation
from benchmarks.large_queue import HORIZONS, command_cost
from benchmarks.measuring import Line, Target
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.connection import connect
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.spec import DayPlan, JobSpec

if TYPE_CHECKING:
    from benchmarks.installation import Installation

RUNS = 1_000
MOST_CPU_S = 0.5
VERBS = (("leaderboard",), ("leaderboard", "--wide"), ("leaderboard", "--json"), ("leaderboard", "--csv"))


def lines(rounds: int) -> list[Line]:
    """Measure each form of the board *rounds* times."""
    with installation() as home:
        _fill(home)
        costs = {verb: [command_cost(home, *verb)[0] for _ in range(rounds)] for verb in VERBS}
    return [
        Line(f"`{' '.join(verb)}`, {RUNS} scored runs", "s", tuple(found), Target(MOST_CPU_S), "processor time")
        for verb, found in costs.items()
    ]


def _fill(home: Installation) -> None:
    home.settings.make_layout()
    rng = random.Random(0)
    jobs = tuple(
        JobSpec.model_validate(
            {"day": 1, "name": f"run-{n}", "family": "trees", "model": "lightgbm_dart", "horizon": HORIZONS[n % 5]}
        )
        for n in range(RUNS)
    )
    with Ledger.open(home.settings.ledger_path) as ledger:
        enqueue(ledger, [DayPlan(day=1, title="board", source="board.yaml", jobs=jobs)])
    with closing(connect(home.settings.ledger_path)) as conn:
        conn.executemany(
            "UPDATE jobs SET state = 'succeeded', reason = 'done', ended_at = changed_at, metrics = ? WHERE id = ?",
            [(json.dumps(_metrics(rng)), number) for number in range(1, RUNS + 1)],
        )


def _metrics(rng: random.Random) -> dict[str, Any]:
    naive = {
        "directional_accuracy": None, "mae": 1.742043650793651, "mape_pct": 4.015042107554228, "rows": 504,
        "mase": 0.7791543828857875, "rmse": 2.1896312746779123, "sharpe": None, "sharpe_days": 500,
        "sharpe_kurtosis": None, "sharpe_skew": None,
    }  # fmt: skip
    drift = {"name": "equals drift", "level": "warn", "evidence": "it always forecasts up, by +0.0100 on average"}
    return {
        "validation": _score(naive, rng.gauss(0.0, 0.02)), "backtest": _score(naive, rng.gauss(0.0, 0.02)),
        "naive": {"validation": naive, "backtest": naive}, "best_round": rng.randint(1, 90), "bins": 255,
        "coverage": {percent: {"backtest": 0.8, "validation": 0.7} for percent in ("80", "95")},
        "fit_s": 1.119, "fits": 8, "predict_s": 0.0398, "scheme": "walk_forward", "shrinkage": 1.0,
        "rows": {"train": 3688, "validation": 504, "backtest": 504, "final": 252}, "verdicts": [drift],
    }  # fmt: skip


def _score(naive: dict[str, Any], skill: float) -> dict[str, Any]:
    return {
        **naive, "directional_accuracy": 0.5178571428571429, "sharpe": 0.18943650570314133,
        "sharpe_kurtosis": 5.765257911504818, "sharpe_skew": 0.018128993630920603, "skill_mae": skill,
        "skill_rmse": skill, "skill_mape": skill, "skill_se": 0.0093787958, "skill_low": skill - 0.02,
        "skill_high": skill + 0.02, "skill_independent": 100.8, "skill_p_value": 0.4654690643,
        "skill_dm_p_value": 0.4951613536, "skill_dm_statistic": 0.6826205033,
    }  # fmt: skip

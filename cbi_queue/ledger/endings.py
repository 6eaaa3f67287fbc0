"""What lists tell of jobs that have ended, without reading their metrics whole. Read-only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger.ledger import Ledger


def errors_of_failed(ledger: Ledger, of: Iterable[int]) -> dict[int, str]:
    """Return job number -> what the last attempt of each failed job of the numbers *of* ended with."""
    sql = """
        SELECT a.job_id, a.error FROM json_each(?) JOIN jobs j ON j.id = value JOIN attempts a ON a.job_id = j.id
        WHERE j.state = 'failed' AND a.error IS NOT NULL ORDER BY a.number
    """
    return {row["job_id"]: row["error"] for row in ledger.conn.execute(sql, (json.dumps([*of]),))}


def results_of(ledger: Ledger, of: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """Return, of the jobs of the numbers *of*, job number -> skill of the backtest, its interval's ends, rows, features, texts, the name of a package,
    the model that a backtest traded first and its Sharpe ratio, the day of forecasts.

    The skill is that of the price, else of the variance, else of the regimes.

    Read without the metrics whole, and only of jobs with metrics. What a job does not have is None; `rows` of a forecasting
    model is no number.
    """
    skills = [
        f"{block}.{key}"
        for block, own in (
            ("backtest", "skill_mae"),
            ("volatility.backtest.model", "skill"),
            ("regimes.backtest.model", "skill"),
        )
        for key in (own, "skill_low", "skill_high")
    ]
    others = ("rows", "features", "texts", "model_id", "traded", "traded_sharpe", "forecast_day")
    paths = ", ".join(f"'$.{key}'" for key in (*skills, *others))
    among = "json_each(?) JOIN jobs ON jobs.id = value"
    sql = f"SELECT jobs.id, json_extract(metrics, {paths}) AS found FROM {among} WHERE metrics IS NOT NULL"  # noqa: S608
    return {row["id"]: _first_skill(json.loads(row["found"])) for row in ledger.conn.execute(sql, (json.dumps([*of]),))}


def _first_skill(found: list[Any]) -> tuple[Any, ...]:
    """Keep the first of three skills that is known, with the ends of its interval, and the rest."""
    first = next((start for start in (0, 3, 6) if found[start] is not None), 0)
    return (*found[first : first + 3], *found[9:])

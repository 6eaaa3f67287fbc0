"""The backtest of the best models of a horizon: which are traded, and what may be said of what they made. Read-only.

The computation is `python -m jobs.backtest`, in a process of its own. The validation block chose the models, the backtest
block is traded.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.errors import Refused
from cbi_queue.ledger.queries import scored_jobs
from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.views.boards import HOLDOUT, boards_of, comparable, scheme_of
from cbi_queue.views.leaderboard import label_of
from cbi_queue.views.results import forecast_files
from cbi_queue.views.results_query import ask
from cbi_queue.views.stored_values import number_of
from cbi_queue.views.winner import ranked_models

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.settings import Settings

LONG = "always long"
WITHIN_S = 120.0


def backtest(
    settings: Settings, ledger: Ledger, horizon: str, *, dataset: str = DEFAULT, best: int = 1, to: Path | None = None
) -> dict[str, Any]:
    """Trade the *best* ranked models of a horizon, drift (if it was trained) and a position that is always long.

    Returns:
        What `jobs.backtest.backtest` returns, with "board", "scheme", "trials" and "words".

    Raises:
        Refused: when no model is ranked, or no forecasts can be read.
        CbiError: when the process fails.
    """
    jobs = scored_jobs(ledger)
    chosen = ranked_models(jobs, horizon, dataset)[:best]
    board = boards_of(job for job in jobs if (job.horizon, job.dataset) == (horizon, dataset))[chosen[0].board]
    counted = comparable(board)
    traded = [found.job for found in chosen] + [job for job in counted if job.model == "drift"][:1]
    files, faults = forecast_files(ledger, traded, settings.models)
    by_id = {file["job_id"]: file for file in files}
    if not any(found.job.id in by_id for found in chosen):  # drift alone would answer another question
        why = "; ".join(f"{found.job.name}: {faults[found.job.id]}" for found in chosen)
        raise Refused(f"nothing of {horizon} can be traded: {why}", hint="`cbi-queue verify` checks every run")
    tried = list(tried_ratios(counted))
    year = number_of(chosen[0].job.metrics["backtest"].get("periods_per_year")) if chosen[0].job.metrics else None
    asked = {
        "horizon_days": HORIZON_DAYS[horizon],
        "periods_per_year": year or 252.0,
        "runs": [{**run_to_trade(job), **by_id[job.id]} for job in traded if job.id in by_id],
        "tried": tried,
        "to": str(to) if to else None,
    }
    found: dict[str, Any] = json.loads(
        ask("jobs.backtest", asked, settings.interpreter_for("native"), within_s=WITHIN_S)
    )
    found["left_out"] |= {job.name: faults[job.id] for job in traded if job.id in faults}
    if not found["rows"]:
        why = "; ".join(f"{name}: {words}" for name, words in found["left_out"].items())
        raise Refused(f"nothing of {horizon} can be traded: {why}", hint="`cbi-queue verify` checks every run")
    scheme = scheme_of(chosen[0].job)
    found |= {"horizon": horizon, "board": chosen[0].board, "scheme": scheme, "trials": len(tried)}
    found["words"] = [*words_of(found, scheme), *(f"{n} was left out: {why}" for n, why in found["left_out"].items())]
    return found


def run_to_trade(job: JobRow) -> dict[str, Any]:
    """Return what `jobs.backtest` needs to know of a run, besides its file."""
    metrics = job.metrics or {}
    notional, cost = number_of(metrics.get("notional")), number_of(metrics.get("cost_per_turnover"))
    return {"name": job.name, "label": label_of(job), "notional": notional or 1.0, "cost": cost or 0.0}


def tried_ratios(jobs: Iterable[JobRow]) -> Iterable[float]:
    """Yield the daily Sharpe ratio of everything that was tried, searches with all their trials."""
    for job in jobs:
        metrics = job.metrics or {}
        ratio = number_of(metrics["backtest"].get("sharpe"))
        if ratio is not None:
            year = number_of(metrics["backtest"].get("periods_per_year")) or 252.0
            yield from [ratio / math.sqrt(year)] * max(int(number_of(metrics.get("trials")) or 1), 1)


def words_of(found: dict[str, Any], scheme: str) -> Iterable[str]:
    """Yield what may be said of the books that were traded, a sentence each."""
    if scheme == HOLDOUT:
        yield "Judged by hold-out: one fit made every forecast, up to years later; nothing was fitted again."
    for row in found["rows"]:
        name, low, high = row["name"], row["sharpe_low"], row["sharpe_high"]
        if low is None:
            yield f"{name}: too little to say, or it never had a position."
            continue
        verdict = "above 0" if low > 0 else "below 0" if high < 0 else "not told apart from 0"
        lead_low, lead_high = row["lead_low"], row["lead_high"]
        lead = ""
        if name != LONG and lead_low is not None:
            side = "better than" if lead_low > 0 else "worse than" if lead_high < 0 else "not told apart from"
            lead = f"; {side} {LONG}"
        yield f"{name}: its Sharpe ratio is {verdict} ({low:+.2f} to {high:+.2f}){lead}."
        if row["days_left_out"]:
            yield f"{name}: {row['days_left_out']} of its days are left out, because not all have them."

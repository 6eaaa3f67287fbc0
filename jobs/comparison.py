"""Which models of one horizon can be told apart: `python -m jobs.comparison`, JSON on standard input and output.

In a process of its own because it needs numpy, Polars and arch, which neither the daemon nor the page loads. For runs
that forecast the same rows it returns, from their absolute errors in units of the price, or from their QLIKE where they
forecast variance:

- the model confidence set (Hansen, Lunde & Nason 2011): p-values by model; a model below 0.10 is worse than the best;
- the test for superior predictive ability (Hansen 2005): p of "nothing beats naive" (of variance: EWMA), corrected for
  all that was tried;
- the deflated Sharpe ratio of each (`significance.deflated_sharpe`), the number of trials counting searches as well.

Both tests resample blocks of 2h rows, with a fixed seed. Fewer than three such blocks, 6h rows, and nothing is said.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cbi_queue.regular_files import failure_of
from jobs.evaluation.scoring import TRADING_DAYS_PER_YEAR
from jobs.evaluation.significance import LEAST_INDEPENDENT, deflated_sharpe
from jobs.evaluation.volatility import qlike

NAIVE = "naive"
BENCHMARK = {"price": NAIVE, "volatility": "ewma"}
"""What a board forecasts -> the baseline that the others must beat; it and the other baselines join the set."""
RESAMPLES = 1000
SET_SIZE = 0.10
"""A model whose p-value is below this is left out of the 90 % confidence set."""
MOST_IN_PAIRS = 60
"""Models up to which the confidence set compares all pairs; it needs 8 kB a pair. Beyond, each with the mean of all."""
Group = dict[str, Any]


def compare(group: Group) -> dict[str, Any]:
    """Compare the runs of one board.

    Args:
        group: {"of": "price" or "volatility", "horizon_days": h, "runs": [{"name", "predictions": path, "sharpe", "sharpe_days", "sharpe_skew",
            "sharpe_kurtosis", "periods_per_year", "trials"}]}; figures may be None.

    Returns:
        {"rows": common rows, "set": {name: p or None}, "superior_p": p or None, "deflated": {name: 0..1 or None}}
    """
    names = [run["name"] for run in group["runs"]]
    said: dict[str, Any] = {
        "rows": 0,
        "set": dict.fromkeys(names),
        "superior_p": None,
        "deflated": _deflated(group["runs"]),
    }
    bar = BENCHMARK[group.get("of", "price")]
    losses, rows = price_losses(group["runs"]) if bar == NAIVE else _variance_losses(group["runs"])
    said["rows"] = rows
    block = 2 * int(group["horizon_days"])
    if rows < LEAST_INDEPENDENT * int(group["horizon_days"]) or len(losses) < 2:
        return said
    twins = _twins(losses, bar)
    leaders = {name: losses[name] for name in set(twins.values())}
    if len(leaders) > 1:
        p_values = _confidence_set(leaders, block)
        said["set"] |= {name: p_values[twin] for name, twin in twins.items() if name in said["set"] or bar != NAIVE}
        said["superior_p"] = _superior(leaders, twins[bar], block)
    return said


def price_losses(runs: list[dict[str, Any]]) -> tuple[dict[str, np.ndarray], int]:
    """Return each run's (rows,) absolute errors on the backtest rows that all share, and naive's; and the rows."""
    import polars as pl

    tables = {}
    for run in runs:
        table = pl.read_parquet(Path(run["predictions"]), glob=False).filter(pl.col("block") == "backtest")
        columns = pl.col("date"), pl.col("price"), pl.col("actual_price"), pl.col("predicted_price").alias("forecast")
        tables[run["name"]] = table.select(columns).drop_nulls()
    if not tables:
        return {}, 0
    shared = set.intersection(*(set(table["date"].to_list()) for table in tables.values()))
    losses = {}
    for name, table in tables.items():
        kept = table.filter(pl.col("date").is_in(list(shared))).sort("date")
        actual = kept["actual_price"].to_numpy()
        losses[name] = np.abs(kept["forecast"].to_numpy() - actual)
        losses.setdefault(NAIVE, np.abs(kept["price"].to_numpy() - actual))
    return losses, len(shared)


def _variance_losses(runs: list[dict[str, Any]]) -> tuple[dict[str, np.ndarray], int]:
    """Return each run's (rows,) QLIKE on the backtest rows that all share, and both baselines'; and the rows."""
    import polars as pl

    forecasts = {"predicted_variance": "forecast", "ewma_variance": "ewma", "rolling_variance": "rolling"}
    tables: dict[str, pl.DataFrame] = {}
    for run in runs:
        table = pl.read_parquet(Path(run["predictions"]), glob=False).filter(pl.col("block") == "backtest")
        table = table.select("date", "realised_variance", *forecasts).rename(forecasts).drop_nulls()
        tables[run["name"]] = table.filter(pl.all_horizontal(pl.exclude("date") > 0))
    if not tables:
        return {}, 0
    shared = set.intersection(*(set(table["date"].to_list()) for table in tables.values()))
    losses: dict[str, np.ndarray] = {}
    for name, table in tables.items():
        kept = table.filter(pl.col("date").is_in(list(shared))).sort("date")
        realised = kept["realised_variance"].to_numpy()
        losses[name] = qlike(realised, kept["forecast"].to_numpy())
        for baseline in ("ewma", "rolling"):
            losses.setdefault(baseline, qlike(realised, kept[baseline].to_numpy()))
    return losses, len(shared)


def _twins(losses: dict[str, np.ndarray], bar: str) -> dict[str, str]:
    """Return for each name the first one with the same errors: equal series have no difference to resample."""
    first: dict[bytes, str] = {losses[bar].round(9).tobytes(): bar}
    return {name: first.setdefault(errors.round(9).tobytes(), name) for name, errors in losses.items()}


def _confidence_set(losses: dict[str, np.ndarray], block: int) -> dict[str, float]:
    from arch.bootstrap import MCS

    method: Literal["R", "max"] = "R" if len(losses) <= MOST_IN_PAIRS else "max"
    columns = np.column_stack(list(losses.values()))  # (rows, models)
    mcs = MCS(columns, size=SET_SIZE, reps=RESAMPLES, block_size=block, method=method, seed=0)
    mcs.compute()
    names = list(losses)
    return {names[int(column)]: float(p) for column, p in mcs.pvalues["Pvalue"].items()}


def _superior(losses: dict[str, np.ndarray], bar: str, block: int) -> float:
    from arch.bootstrap import SPA

    others = np.column_stack([errors for name, errors in losses.items() if name != bar])  # (rows, models)
    spa = SPA(losses[bar], others, reps=RESAMPLES, block_size=block, seed=0)
    spa.compute()
    return float(spa.pvalues["consistent"])


def _deflated(runs: list[dict[str, Any]]) -> dict[str, float | None]:
    known = [run for run in runs if run.get("sharpe") is not None and run.get("sharpe_kurtosis") is not None]
    daily = {
        run["name"]: run["sharpe"] / math.sqrt(run.get("periods_per_year") or TRADING_DAYS_PER_YEAR) for run in known
    }
    tried = np.array([daily[run["name"]] for run in known for _ in range(max(int(run.get("trials") or 1), 1))])
    return dict.fromkeys(run["name"] for run in runs) | {
        run["name"]: deflated_sharpe(
            daily[run["name"]], run["sharpe_days"], run["sharpe_skew"], run["sharpe_kurtosis"], tried
        )
        for run in known
    }


def main() -> None:
    """Compare the groups on standard input: {key: group} -> {key: what `compare` returns, or {"error": words}}."""
    os.nice(10)  # a training may run beside it
    said = {}
    for key, group in json.load(sys.stdin).items():
        try:
            said[key] = compare(group)
        except Exception as exc:  # noqa: BLE001 - a top loop: one board must not cost the others
            said[key] = {"error": failure_of(exc)[:300]}
    json.dump(said, sys.stdout, allow_nan=False)


if __name__ == "__main__":
    main()

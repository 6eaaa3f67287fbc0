"""Whether two runs of one board can be told apart: `python -m jobs.pair`, JSON on standard input and output.

In a process of its own because it needs numpy and Polars, which the page does not load. Both runs are tested on the rows
of the backtest block that both forecast, as a skill is tested against naive's (`jobs.evaluation.significance`), with the
second run in naive's place. Runs that forecast the price are traded as well (`jobs.backtest`).
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.regular_files import failure_of
from jobs.backtest import backtest
from jobs.evaluation.significance import skill_test
from jobs.evaluation.volatility import qlike
from jobs.results.stored_forecasts import read_forecasts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

COLUMNS = {"price": ("predicted_price", "actual_price"), "volatility": ("predicted_variance", "realised_variance")}
"""What runs forecast -> the columns of the forecast and of what came."""


def losses_of(run: Mapping[str, Any], of: str) -> pl.DataFrame:
    """Return "date" and "loss" of the backtest rows of a run: absolute errors in units of the price, or QLIKE.

    Raises:
        Unreadable: when its forecasts cannot be read.
    """
    import polars as pl

    forecast, actual = COLUMNS[of]
    table = read_forecasts(Path(run["path"]), run["sha256"]).filter(pl.col("block") == "backtest")
    rows = table.select("date", forecast=forecast, actual=actual).drop_nulls().sort("date")
    if of == "volatility":
        rows = rows.filter((pl.col("forecast") > 0) & (pl.col("actual") > 0))
        loss = qlike(rows["actual"].to_numpy(), rows["forecast"].to_numpy())
    else:
        loss = np.abs(rows["forecast"].to_numpy() - rows["actual"].to_numpy())
    return pl.DataFrame({"date": rows["date"], "loss": loss})


def compare(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Test the first run against the second.

    Args:
        asked: {"of": "price" or "volatility", and what `jobs.backtest.backtest` takes, with two runs}.

    Returns:
        {"rows": shared rows, "skill": 1 - error of the first / error of the second, None where that is 0, "same": their
        errors are equal, "test": a `SkillTest`, "trade": what `backtest` returns, None for volatility}.

    Raises:
        Unreadable: when forecasts cannot be read.
    """
    first, second = (losses_of(run, asked["of"]) for run in asked["runs"])
    both = first.join(second, on="date", how="inner", suffix="_other").sort("date")
    own, other = both["loss"].to_numpy(), both["loss_other"].to_numpy()
    total = float(other.sum())
    return {
        "rows": len(both),
        "skill": 1.0 - float(own.sum()) / total if total > 0 else None,
        "same": len(both) > 0 and bool(np.array_equal(own.round(9), other.round(9))),
        "test": asdict(skill_test(own, other, asked["horizon_days"])),
        "trade": backtest(asked) if asked["of"] == "price" else None,
    }


def main() -> int:
    """Answer what stands on standard input."""
    os.nice(10)  # a training may run beside it
    try:
        print(json.dumps(compare(json.load(sys.stdin)), allow_nan=False))
    except Exception as exc:  # noqa: BLE001 - a top loop: its words are the answer
        print(failure_of(exc), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

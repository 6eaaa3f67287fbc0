"""What the rules for nets do on real series: the feed-forward net on the 20 daily stocks that skfolio ships, 1990-2022.

Each stock is the price once, with three others as covariates, one of which is taken away up to the last rows of the
training block, as in an export whose fourth series starts late. The net is fitted once, with and without the rule of
unused columns (`jobs.data.standardise.least_rows`); each forecast is scored as it is and shrunk (`shrinkage_of`).

Rules are to be chosen on random walks and on the earlier window, and reported on the last one. `python -m benchmarks.net_rules
--markdown docs/forecasting.md` puts the table into the docs; with `--store FILE`, what is in the file is not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from benchmarks.measuring import Line, Target
from benchmarks.pipeline import Pipeline
from benchmarks.report import write_markdown
from cbi_queue.models.kinds import HORIZON_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

HORIZONS = ("1w", "1m")
SERIES = 20
ROWS = 2600
WINDOWS = {"earlier": 5700, "last": 8313}
"""Name -> row of the series that the window of ROWS rows ends before: from 2002 to 2012, and to 2022."""
LATE_ROWS = 150
"""The late covariate has values in so many of the training rows, the last ones."""
FEATURES = {"lags": [1, 5, 21], "windows": [5, 21, 63]}
EVALUATION: dict[str, Any] = {"scheme": "holdout", "validation_rows": 504, "backtest_rows": 504, "embargo_rows": 21}
NET = {"sequence_length": 16, "hidden": [64], "epochs": 15, "patience": 4, "batch_size": 64, "shrink": False}
RULES = ("neither", "unused columns", "shrunk", "both")
MARK = "rules for nets"
Row = dict[str, Any]
"""One series: window, series, horizon, and the skill on the backtest by rule."""


def export_of(number: int, end: int, horizon: str) -> pl.DataFrame:
    """Return the window of stock *number* that ends before row *end*: date, price, three covariates, the last one late."""
    import polars as pl
    from skfolio.datasets import load_sp500_dataset

    prices = load_sp500_dataset().iloc[end - ROWS : end]
    names = list(prices.columns)
    price, *covariates = (names[(number + step) % len(names)] for step in (0, 1, 2, 3))
    late = prices[covariates[-1]].to_numpy().copy()
    h, judged = HORIZON_DAYS[horizon], EVALUATION["validation_rows"] + EVALUATION["backtest_rows"]
    train_rows = ROWS - h - judged - 2 * (h + EVALUATION["embargo_rows"])
    late[: train_rows - LATE_ROWS] = math.nan
    columns = {name: prices[name].to_numpy() for name in covariates[:-1]}
    table = {"date": prices.index.to_numpy(), "price": prices[price].to_numpy(), **columns, covariates[-1]: late}
    return pl.DataFrame(table).with_columns(pl.col("date").cast(pl.Date), pl.col(covariates[-1]).fill_nan(None))


def row_of(number: int, horizon: str, window: str) -> Row:
    """Fit the net on one series, with and without the unused columns; score its forecasts as they are and shrunk."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder), horizon)
        pipeline.build(export_of(number, WINDOWS[window], horizon), **FEATURES)
        used = _skills(pipeline)
        with patch("jobs.data.standardise.least_rows", lambda _rows: 1):
            every = _skills(pipeline)
    skills = {"neither": every[0], "unused columns": used[0], "shrunk": every[1], "both": used[1]}
    return {"window": window, "series": number, "horizon": horizon, **skills}


def _skills(pipeline: Pipeline) -> tuple[float, float]:
    """Train; return the skill on the backtest without and with shrinkage."""
    import numpy as np
    import polars as pl

    from cbi_queue.models.parameters.neural import FeedForwardParams
    from jobs.data.series import load_frame
    from jobs.evaluation.scoring import score
    from jobs.evaluation.significance import shrinkage_of
    from jobs.evaluation.splits import split_by
    from jobs.results.run_folder import PREDICTIONS

    params = {**EVALUATION, **NET}
    pipeline.train("feed_forward", params)
    frame = load_frame(pipeline.processed, pipeline.horizon)
    split = split_by(frame, FeedForwardParams.model_validate(params))
    told = pl.read_parquet(pipeline.run_dir("feed_forward") / PREDICTIONS)
    predicted = np.full(frame.rows, np.nan)
    predicted[np.searchsorted(frame.dates, told["date"].to_numpy().astype("datetime64[D]"))] = told["predicted_return"]
    factor = shrinkage_of(frame, split.validation, predicted)
    plain, shrunk = (
        score(frame, split, forecast)["backtest"]["skill_mae"] for forecast in (predicted, factor * predicted)
    )
    return plain, shrunk


def measured(store: Path | None = None) -> list[Row]:
    """Return a row for each series, horizon and window, from *store* as far as they are there."""
    known = [json.loads(line) for line in store.read_text().splitlines()] if store and store.exists() else []
    rows = []
    for window, number, horizon in wanted():
        done = next(
            (row for row in known if (row["window"], row["series"], row["horizon"]) == (window, number, horizon)), None
        )
        if done is None:
            done = row_of(number, horizon, window)
            if store:
                with store.open("a") as file:
                    file.write(f"{json.dumps(done)}\n")
        rows.append(done)
    return rows


def wanted() -> Iterable[tuple[str, int, str]]:
    """Yield window, series and horizon of each row."""
    for window in WINDOWS:
        for number in range(SERIES):
            for horizon in HORIZONS:
                yield window, number, horizon


def lines(rounds: int) -> list[Line]:  # noqa: ARG001 - the same numbers every time
    """Measure."""
    rows, said = measured(), []
    for window in WINDOWS:
        for horizon in HORIZONS:
            own = [row for row in rows if (row["window"], row["horizon"]) == (window, horizon)]
            gains = tuple(row["both"] - row["neither"] for row in own)
            note = ", ".join(f"{rule} {_mean_and_se([row[rule] for row in own])}" for rule in RULES)
            words = f"feed-forward on {len(own)} real series, {window} window, {horizon}: skill gained by the rules"
            said.append(Line(words, "", (statistics.fmean(gains),), Target(0.0, at_most=False), note))
    return said


def as_table(rows: list[Row]) -> str:
    """Write the mean skills as a Markdown table, a line a window and horizon."""
    text = [f"| window | horizon | series | {' | '.join(RULES)} |", f"|---|---|---|{'---|' * len(RULES)}"]
    for window in WINDOWS:
        for horizon in HORIZONS:
            own = [row for row in rows if (row["window"], row["horizon"]) == (window, horizon)]
            cells = [_mean_and_se([row[rule] for row in own]) for rule in RULES]
            text.append(f"| {window} | {horizon} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def _mean_and_se(skills: list[float]) -> str:
    se = statistics.stdev(skills) / math.sqrt(len(skills)) if len(skills) > 1 else 0.0
    return f"{statistics.fmean(skills):+.3f} ± {se:.3f}"


def main() -> None:
    """Measure, print the table, put it into a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, help="file that keeps what is done")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help=f"put the table between its marks ({MARK})")
    options = parser.parse_args()
    table = as_table(measured(options.store))
    print(table)
    if options.markdown:
        write_markdown(options.markdown, table, MARK)


if __name__ == "__main__":
    main()

"""AutoGluon's fast preset on one series, walked forward: run by a Python that has AutoGluon, so it imports nothing of ours.

    PYTHON benchmarks/autogluon_fit.py < WORK.json > FOUND.json

WORK.json: "levels", the log prices in time order; "blocks", lists of rows, each forecast by a fit on the levels up to and
including its first row; "rows_ahead", h; "season_rows". FOUND.json:
"forecasts", the level h rows after each of these rows, the predicted median; "members", the models of each fit's forecast with
their weights; "fit_s"; "version". Its calendar is business days counted from a made-up start: h rows are h steps, whatever the
exchange's holidays.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
import warnings

import numpy as np
import pandas as pd
from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor, __version__

PRESET = "fast_training"


def main() -> None:
    """Fit and forecast what standard input says."""
    work = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _walk(work)
    json.dump({**found, "version": __version__}, sys.stdout)


def _walk(work: dict) -> dict:
    levels, forecasts, members, fit_s = np.array(work["levels"]), [], [], 0.0
    for number, rows in enumerate(work["blocks"]):
        begun_s = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            predictor = TimeSeriesPredictor(
                prediction_length=work["rows_ahead"],
                freq="B",
                eval_metric="MASE",
                eval_metric_seasonal_period=work["season_rows"],
                path=f"{folder}/fit",
                verbosity=0,
            )
            predictor.fit(_items(levels, rows[:1]), presets=PRESET, random_seed=0)
            fit_s += time.monotonic() - begun_s
            median = predictor.predict(_items(levels, rows), random_seed=0)["0.5"]
            forecasts += [float(median[str(row)].iloc[-1]) for row in rows]
            members.append(_members(predictor))
        took = f"{time.monotonic() - begun_s:.0f} s"
        print(f"block {number + 1} of {len(work['blocks'])}: {members[-1]}, {took}", file=sys.stderr, flush=True)
    return {"forecasts": forecasts, "members": members, "fit_s": fit_s}


def _items(levels: np.ndarray, rows: list[int]) -> TimeSeriesDataFrame:
    """Return for each of *rows* a series of its own: the levels up to and including that row's."""
    days = pd.bdate_range("1990-01-01", periods=len(levels))
    tables = []
    for row in rows:
        table = {"item_id": str(row), "timestamp": days[: row + 1], "target": levels[: row + 1]}
        tables.append(pd.DataFrame(table))
    return TimeSeriesDataFrame.from_data_frame(pd.concat(tables, ignore_index=True))


def _members(predictor: TimeSeriesPredictor) -> dict[str, float]:
    trainer, best = predictor._trainer, predictor.model_best  # noqa: SLF001 - the weights are told nowhere else
    weights = getattr(trainer.load_model(best), "model_to_weight", {best: 1.0})
    return {name: round(float(weight), 2) for name, weight in weights.items()}


if __name__ == "__main__":
    main()

"""Everything in a package that does not depend on its name: model, preprocessing, schema, metrics, example, server."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.artifacts import write_json
from jobs.data.feature_store import cache_files
from jobs.exporting import package as shipped
from jobs.exporting.checks import check_example, check_forecasts, check_parity, measure
from jobs.exporting.feature_words import described
from jobs.exporting.kinds import MODEL_FOLDER, ONNX_FILE, NotExportable, native_model
from jobs.exporting.package.forecast import Package
from jobs.results.run_folder import library_versions

if TYPE_CHECKING:
    from jobs.exporting.finished_run import FinishedRun

SHIPPED_FILES = ("forecast.py", "server.py", "Dockerfile")
EXAMPLE = "example.csv"


def write_package(run: FinishedRun, processed_dir: Path, folder: Path) -> dict[str, Any]:
    """Fill the empty *folder*, check what was written, and return the facts for people.

    Raises:
        NotExportable: when the model cannot be exported or a check fails; *folder* is then of no use.
    """
    native = native_model(run)
    (folder / MODEL_FOLDER).mkdir()
    written = native.write(folder / MODEL_FOLDER)
    manifest = cache_files(processed_dir, run.metrics["horizon"]).read_manifest() or {}
    schema = described(manifest, run.frame.feature_names)
    write_json(folder / "feature_schema.json", _schema(run, schema, native.window_rows))
    write_json(folder / "preproc.json", preproc_of(run, native.window_rows))
    for name in SHIPPED_FILES:
        shutil.copyfile(Path(shipped.__file__).with_name(name), folder / name)
    _write_example(run, native.window_rows, folder / EXAMPLE)
    package = Package(folder)
    parity = check_parity(native, package, run)
    recorded = check_forecasts(package, run)
    forecast = check_example(folder, run)
    latency = measure(package, run)
    checks = {"parity": parity, "difference_from_the_run": recorded, "latency": latency, "onnx": written}
    write_json(folder / "metrics.json", {**_scores(run), **checks})
    (folder / "training_hash.txt").write_text(run.training_hash, encoding="utf-8")
    return {"parity": parity["largest_difference"], "latency": latency, "onnx": written, "forecast": forecast}


def _schema(run: FinishedRun, features: list[dict[str, Any]], window_rows: int) -> dict[str, Any]:
    return {
        "features": features,
        "window_rows": window_rows,
        "order": "a window is its rows in time order, the last one is the day of the forecast",
        "missing": "NaN; null in JSON; an empty cell in CSV",
        "also_needed": {"price": "the price at the close of the last row, to turn the move into a price"},
        "target": {"name": f"{_label(run)}_{run.frame.horizon_days}d", "rows_ahead": run.frame.horizon_days},
    }


def preproc_of(run: FinishedRun, window_rows: int) -> dict[str, Any]:
    """Return preproc.json of a package: all that stands before and behind a model that looks at *window_rows* rows."""
    forecast, label = run.metrics["forecast"], _label(run)
    return {
        "model": f"{MODEL_FOLDER}/{ONNX_FILE}",
        **steps_of(run, window_rows),
        "label": label,
        "horizon_rows": run.frame.horizon_days,
        "periods_per_year": run.frame.periods_per_year,
        "half_widths": {percent: _half_width(forecast, percent, label) for percent in ("80", "95")},
        "half_widths_as_of": forecast["date"],
        "chain": "quarantined features are missing; standardise (null: nothing, missing values go into the model); "
        "move = forecast_factor * (output * target_sd + target_mean); price = price * exp(move), with difference as the "
        "label price + move; the intervals add and take half_widths from the move",
    }


def steps_of(run: FinishedRun, window_rows: int) -> dict[str, Any]:
    """Return what `Preprocessing` needs to know of a run: its inputs from features, moves from its outputs."""
    told, standardise = run.preproc, None
    if told.get("kind") == "standardised":
        standardise = {name: told[name] for name in ("features", "mean", "scale", "limit_sd", "indicators", "missing")}
    return {
        "window_rows": window_rows,
        "quarantined": list(told.get("quarantined", ())),
        "standardise": standardise,
        "target_mean": told.get("target_mean", 0.0),
        "target_sd": told.get("target_sd", 1.0),
        "forecast_factor": told.get("forecast_factor", 1.0),
    }


def _label(run: FinishedRun) -> str:
    """Return what is forecast of the price: log_return, or difference where the data set chose it."""
    return str(run.preproc.get("label", "log_return"))


def _half_width(forecast: dict[str, Any], percent: str, label: str) -> float | None:
    upper, middle = forecast.get(f"upper_{percent}"), forecast.get("predicted_price")
    if upper is None or middle is None:
        return None
    return float(math.log(upper / middle)) if label == "log_return" else float(upper - middle)


def _scores(run: FinishedRun) -> dict[str, Any]:
    """Return what the package says about how good the model was: the figures people ask for first, then all of them."""
    metrics = run.metrics
    backtest = metrics["backtest"]
    return {
        "model": metrics["model"],
        "horizon": metrics["horizon"],
        "horizon_rows": metrics["horizon_days"],
        "mape_pct": backtest.get("mape_pct"),
        "sharpe": backtest.get("sharpe"),
        "skill": {name: backtest.get(f"skill_{name}") for name in ("mae", "low", "high", "p_value", "independent")},
        "cv_scheme": {"scheme": metrics.get("scheme"), **metrics["split"]},
        "forecast": metrics["forecast"],
        "verdicts": metrics.get("verdicts", []),
        "libraries": {**metrics.get("libraries", {}), "export": library_versions()},
        "run": metrics,
    }


def _write_example(run: FinishedRun, window_rows: int, path: Path) -> None:
    """Write the rows that the newest forecast was made of, so that anyone can make it again.

    Raises:
        NotExportable: when a price or date of the frame is not that of the run's forecast.
    """
    frame, told = run.frame, run.metrics["forecast"]
    last = int(run.held_out[-1]) if len(run.held_out) else -1
    if last < window_rows - 1 or str(frame.dates[last]) != told["date"]:
        raise NotExportable(
            f"the run's newest forecast, of {told['date']}, is not among the rows that can be forecast again"
        )
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["date", "price", *frame.feature_names])
        for row in range(last - window_rows + 1, last + 1):
            cells = ["" if np.isnan(value) else str(value) for value in frame.x[row]]
            out.writerow([frame.dates[row], repr(float(frame.price[row])), *cells])

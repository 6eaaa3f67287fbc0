"""Is what was exported the model that was trained? And how fast is it? A package that fails a check is not written.

Differences are in units of the label's standard deviation in the training block, so that 1e-5 means the same for a week and
for a year: a hundred-thousandth of a usual move of the price.
"""

from __future__ import annotations

import math
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.exporting.kinds import NotExportable
from jobs.exporting.package.forecast import Package, forecast_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobs.exporting.finished_run import FinishedRun
    from jobs.exporting.kinds import NativeModel

LIMIT = 1e-5
"""Most that ONNX and native may differ, and that the package and the recorded forecasts may."""
LIMIT_ROUNDED = 2e-2
"""The latter where the run itself computed in half precision or on a GPU; the package computes in single precision."""
PRICE_LIMIT = 1e-6
"""Most that the package's newest price forecast may differ from the run's, as a share of the price."""
BATCHES = (1, 32)
ROWS_ONE_BY_ONE = 64
CALLS, MOST_S = 200, 20.0
CLASSES = (("real time", 10.0), ("interactive", 50.0), ("slow", 1000.0))
"""Name, and most milliseconds of the 99th percentile of one window, features to price; slower is `batch only`."""


def check_parity(native: NativeModel, package: Package, run: FinishedRun) -> dict[str, Any]:
    """Compare ONNX with the native model on held-out rows, as they are and with missing values planted.

    Returns:
        As JSON values: the largest difference in all and for each batch, and what it is relative to.

    Raises:
        NotExportable: above `LIMIT`, or where either gives no number.
    """
    rows = run.held_out[run.held_out >= package.window_rows - 1]
    if not len(rows):
        raise NotExportable("no held-out row has a full window behind it, so the export cannot be checked")
    scale = float(package.preproc["target_sd"]) / run.label_sd
    found: dict[str, float] = {}
    for batch in BATCHES:
        chosen = rows[-ROWS_ONE_BY_ONE:] if batch == 1 else rows
        worst = 0.0
        for windows in batches_of(run, chosen, package.window_rows, batch):
            for inputs in (package.inputs(windows), package.inputs(_with_gaps(windows))):
                difference = float(np.abs(package.run(inputs) - native.run(inputs)).max()) * scale
                worst = max(worst, difference if math.isfinite(difference) else math.inf)
        found[str(batch)] = worst
    largest = max(found.values())
    if not largest <= LIMIT:
        raise NotExportable(
            f"the ONNX model does not forecast what the trained {run.model} does: they differ by {largest:.2g} standard "
            f"deviations of the label on {len(rows)} held-out rows, at most {LIMIT:g} is allowed; nothing was written"
        )
    return {
        "largest_difference": largest,
        "by_batch": found,
        "limit": LIMIT,
        "unit": "standard deviations of the label in the training block",
        "label_sd": run.label_sd,
        "held_out_rows": len(rows),
        "rows": "held out, each also with a third of the values missing",
    }


def check_forecasts(package: Package, run: FinishedRun) -> float:
    """Compare the whole chain with what the run recorded; return the largest difference, in deviations of the label.

    Raises:
        NotExportable: when they differ.
    """
    rows = run.held_out[run.held_out >= package.window_rows - 1]
    moves = np.concatenate([package.moves(windows) for windows in batches_of(run, rows, package.window_rows, 32)])
    difference = np.abs(moves - run.recorded[rows]) / run.label_sd
    worst, limit = float(difference.max()), LIMIT if run.is_exact else LIMIT_ROUNDED
    if not worst <= limit:
        at = rows[int(np.nan_to_num(difference, nan=math.inf).argmax())]
        raise NotExportable(
            f"the package does not forecast what the run recorded: they differ by {worst:.2g} standard deviations of the "
            f"label on {run.frame.dates[at]}, at most {limit:g} is allowed; the features changed since, or a file of the "
            f"run in {run.folder} did; train it again"
        )
    return worst


def check_example(folder: Path, run: FinishedRun) -> dict[str, Any]:
    """Forecast from the package's example as a stranger would, and compare with the run's newest forecast; return it.

    Raises:
        NotExportable: when they differ.
    """
    told: dict[str, Any] = run.metrics["forecast"]
    got = forecast_file(Package(folder), folder / "example.csv")
    limit = PRICE_LIMIT if run.is_exact else LIMIT_ROUNDED
    for name, wanted in told.items():
        is_same = (
            math.isclose(got[name], wanted, rel_tol=limit, abs_tol=limit * run.label_sd)
            if isinstance(wanted, float) and isinstance(got.get(name), float)
            else got.get(name) == wanted
        )
        if not is_same:
            raise NotExportable(f"the package's forecast has {name} {got.get(name)}, the run's own has {wanted}")
    return got


def measure(package: Package, run: FinishedRun) -> dict[str, Any]:
    """Time the package on this machine: one window and 32, from features to price, and the model alone."""
    rows = run.held_out[run.held_out >= package.window_rows - 1]
    one = next(batches_of(run, rows[-1:], package.window_rows, 1))
    many = np.repeat(one, 32, axis=0)
    ready = package.inputs(one)
    load = os.getloadavg()[0]
    timed = {
        "one_window": _timed(lambda: package.forecast(one, [1.0]), CALLS),
        "model_alone": _timed(lambda: package.run(ready), CALLS),
        "32_windows": _timed(lambda: package.forecast(many, [1.0] * 32), CALLS // 4),
    }
    slowest = timed["one_window"]["p99_ms"]
    return {
        "class": next((name for name, most_ms in CLASSES if slowest < most_ms), "batch only"),
        "unit": "ms",
        **timed,
        "threads": 1,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_1_minute": round(load, 2),
    }


def _timed(call: Callable[[], object], calls: int) -> dict[str, Any]:
    call()
    until = time.monotonic() + MOST_S / 3
    spent: list[float] = []
    while len(spent) < calls and (len(spent) < 10 or time.monotonic() < until):
        begun = time.perf_counter()
        call()
        spent.append(1000 * (time.perf_counter() - begun))
    p50, p99 = np.quantile(spent, (0.5, 0.99))
    return {"p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "min_ms": round(min(spent), 3), "calls": len(spent)}


def cpu_name() -> str:
    """Return the processor's name as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def batches_of(run: FinishedRun, rows: np.ndarray, window_rows: int, batch: int) -> Iterator[np.ndarray]:
    """Yield the windows that end at *rows*, (up to *batch*, L, F) float32 each."""
    back = np.arange(window_rows) - window_rows + 1
    for start in range(0, len(rows), batch):
        yield run.frame.x[rows[start : start + batch, None] + back]


def _with_gaps(windows: np.ndarray) -> np.ndarray:
    """Return the windows with a third of the values missing, always the same ones."""
    gaps = np.random.default_rng(0).random(windows.shape) < 1 / 3
    return np.where(gaps, np.float32(np.nan), windows)

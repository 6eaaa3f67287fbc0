"""Trains `ewma_drift`: tries each half-life on the training block and keeps the one with the least squared error.

With r[t] the change of day t, a log return or a difference as the data set's label, and a = 1 - 0.5^(1 / half-life): m[t] = (1 - a) m[t-1] + a r[t], f[t] = h m[t].
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, cast

import numpy as np

from cbi_queue.protocol import EpochReport, Started
from jobs.data.series import load_frame
from jobs.evaluation.splits import split_of
from jobs.results.run_folder import record_run

if TYPE_CHECKING:
    from cbi_queue.protocol import Finished
    from ewma_family.params import EwmaDriftParams
    from jobs.trainer import Task


def forecast(level: np.ndarray, horizon_days: int, half_life: int) -> np.ndarray:
    """Return f[t] for each row. *level*: (rows,) -> (rows,) float64; 0 in the first row, which has no change."""
    share = 1 - 0.5 ** (1 / half_life)
    mean = np.zeros(len(level))
    for t, change in enumerate(np.diff(level), start=1):
        mean[t] = (1 - share) * mean[t - 1] + share * change
    return horizon_days * mean


class EwmaDrift:
    """One attempt: `prepare`, then `train`."""

    def prepare(self, task: Task) -> Started:
        """Load the data, split it, and announce one report for each half-life."""
        self._params = p = cast("EwmaDriftParams", task.spec.typed_params)
        self._frame = load_frame(task.processed_dir, task.spec.horizon)
        self._split = split_of(task, self._frame)
        return Started(
            total_epochs=len(p.half_lives),
            unit="fit",
            samples=len(self._split.train),
            fingerprint=f"{task.spec.model} {task.spec.horizon} {self._frame.rows} rows, numpy {np.__version__}",
        )

    def train(self, task: Task) -> Finished:
        """Try every half-life with a safe point before each, then forecast with the best and fill the run folder."""
        frame, rows, tried = self._frame, self._split.train, self._params.half_lives
        level = frame.label.level(frame.price)  # log prices, or prices where the data set chose differences
        losses, fit_s = [], 0.0
        for number, half_life in enumerate(tried, start=1):
            task.channel.safe_point(number - 1)  # paused or stopped here, and nowhere else
            started_s = time.monotonic()
            misses = frame.y[rows] - forecast(level, frame.horizon_days, half_life)[rows]
            losses.append(float(np.mean(misses**2)))
            wall_s = time.monotonic() - started_s
            fit_s += wall_s
            resumed = task.channel.take_was_paused()
            report = EpochReport(number, len(tried), wall_s, samples=len(rows), train_loss=losses[-1], resumed=resumed)
            task.channel.report(report)
        task.channel.safe_point(len(tried))
        best = tried[int(np.argmin(losses))]
        started_s = time.monotonic()
        predicted = forecast(level, frame.horizon_days, best)
        return record_run(
            task,
            frame,
            self._split,
            predicted,
            fit_s=fit_s,
            predict_s=time.monotonic() - started_s,
            model_files={"model.json": json.dumps({"model": task.spec.model, "half_life": best}).encode()},
            preproc={"scaler": None, "features": []},
            details={"half_life": best},
        )

"""One run of one net around its loop, whatever its library: what is reported before it, forecasts and files after it.

A library's run places the net on its device and returns its model's file.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from cbi_queue.protocol import Note
from jobs.data.standardise import least_rows
from jobs.nets.data import load_neural_data
from jobs.process.channel import log
from jobs.process.heap import give_back
from jobs.results.run_folder import record_run
from jobs.results.why import Explainable, explain
from jobs.training.work_clock import WorkClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.models.parameters.neural import NeuralParams
    from cbi_queue.protocol import Finished, Started
    from jobs.nets.data import NeuralData
    from jobs.nets.loop import NetLoop
    from jobs.nets.parity import Placement
    from jobs.trainer import Task

ARCHITECTURE = "model.json"
COST_SHARE = 0.05
"""Most of the training's work that explaining the forecasts may take."""
FORECASTS_A_STEP = 3.0
"""Forecasts that cost about as much as training on one sample: forward, and twice that backward."""


class NetRun(ABC):
    """Prepared on construction; `started`, then `finish`. A subclass sets `_placement` and `loop`."""

    _placement: Placement
    loop: NetLoop
    record: ClassVar[Callable[..., Finished]] = staticmethod(record_run)
    """Scores the forecasts and fills the run's folder."""

    def __init__(self, task: Task) -> None:
        """Load the data.

        Raises:
            BrokenSpec: when the job cannot run as written on this data.
        """
        self._task, self._params = task, cast("NeuralParams", task.spec.typed_params)
        self.data = self._data_of(task)

    def _data_of(self, task: Task) -> NeuralData:
        return load_neural_data(task)

    def started(self) -> Started:
        """Report which device was refused, and return the report of what is about to be trained."""
        for refusal in self._placement.refusals:
            self._task.channel.report(Note(f"trains on {self._placement.device} instead: {refusal}"))
        if self._task.refit is None or self._task.refit.selects:
            self._name_unused_columns()
        return self.loop.started()

    def _name_unused_columns(self) -> None:
        names, away = self.data.input_names, set(self.data.frame.quarantined)
        sparse = [names[column] for column in self.data.standardiser.sparse if names[column] not in away]
        if sparse:
            first = ", ".join(sparse[:3])
            more = f" and {len(sparse) - 3} more" if len(sparse) > 3 else ""
            least = least_rows(len(self.data.split.train))
            text = f"{len(sparse)} of {len(names)} features are not used, fewer than {least} training rows have them: {first}{more}"
            log(text)

    def finish(self) -> Finished:
        """Train, forecast every row with a full window, record the run.

        Raises:
            StopRequested: after writing a checkpoint.
        """
        self.loop.run()
        clock = WorkClock(self._task.channel)
        clock.start(0.0)
        forecast = self._forecast()  # (n,) or (n, k)
        predict_s = clock.worked_s
        give_back()  # Polars, which writes the files, has its own allocator
        data, progress = self.data, self.loop.progress
        predicted = np.full((data.frame.rows, *forecast.shape[1:]), np.nan)
        predicted[data.forecast_rows] = data.unscaled(forecast)
        return self.record(
            self._task,
            data.frame,
            data.split,
            predicted,
            fit_s=self.loop.fit_s,
            predict_s=predict_s,
            model_files={**self._weights(), ARCHITECTURE: self._description()},
            preproc=data.preproc(),
            details={
                "epochs": progress.epoch,
                "best_epoch": progress.best_epoch,
                "features_unused": len(data.standardiser.sparse),
                **data.details,
            },
            explain=lambda: explain(self._task, data.frame, data.split, self._explainable()),
        )

    def _explainable(self) -> Explainable:
        data = self.data
        offsets = np.arange(1 - data.sequence_length, 1)  # (L,)
        indicators = [data.frame.feature_names[columns[0]] for columns in data.standardiser.groups]
        return Explainable(
            (*data.frame.feature_names, *indicators),  # an indicator speaks of the column that it marks as missing
            inputs=lambda rows: data.x[rows[:, None] + offsets],  # (n, L, F)
            predict=lambda windows: data.standardiser.forecast(self.loop.predict_windows(windows)),
            sample_cells=data.sequence_length * data.x.shape[1],
            most_forecasts=COST_SHARE * FORECASTS_A_STEP * self.loop.progress.epoch * len(data.train),
        )

    @abstractmethod
    def _forecast(self) -> np.ndarray:
        """Return the (n,) or (n, k) float32 forecasts of `data.forecast_rows`."""

    @abstractmethod
    def _weights(self) -> dict[str, bytes]:
        """Return the trained net as the library writes it: file name -> content."""

    @abstractmethod
    def _architecture(self) -> dict[str, Any]:
        """Return what it takes to build the net again, and the name of its file, as JSON values."""

    def _description(self) -> bytes:
        description = {
            **self._architecture(),
            "kind": self._task.spec.model,
            "window_rows": self.data.sequence_length,
            "micro_batch": self.loop.micro_batch,
            "device": self.loop.device,
            "precision": self._placement.precision,
        }
        return json.dumps(description, indent=2, sort_keys=True).encode() + b"\n"


class NetTrainer(ABC):
    """A trainer of nets: a family only defines the net, in `run_of`."""

    @abstractmethod
    def run_of(self, task: Task) -> NetRun:
        """Load the data, build the net, restore a checkpoint if there is one."""

    def prepare(self, task: Task) -> Started:
        """Load the data, build the net, restore a checkpoint if there is one."""
        self._run = self.run_of(task)
        return self._run.started()

    def train(self, task: Task) -> Finished:  # noqa: ARG002 - the run has it
        """Train, forecast every row with a full window, record the run."""
        return self._run.finish()

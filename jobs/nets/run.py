"""One run of one net around its loop, whatever its library: what is said before it, forecasts and files after it.

A library's run brings device, data and net together and says what its model's file is. Neighbours: `torch_run` and
`keras_run` above; `net_loop` and `neural_data` below.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from cbi_queue.protocol import Note
from jobs.nets.data import record_forecast
from jobs.training.work_clock import WorkClock

if TYPE_CHECKING:
    import numpy as np

    from cbi_queue.protocol import Finished, Started
    from jobs.nets.data import NeuralData
    from jobs.nets.loop import NetLoop
    from jobs.trainer import Task

ARCHITECTURE = "model.json"
PARITY_SAMPLES = 8
"""Windows that a device is compared with the CPU on: enough to see a wrong kernel, cheap enough for every start."""


class Placement(Protocol):
    """Where and in what a run computes, and what was refused on the way there, whatever the library."""

    @property
    def device(self) -> object:
        """The device; its text is cpu, mps or cuda."""

    @property
    def precision(self) -> str:
        """float32 | bfloat16 | float16."""

    @property
    def refusals(self) -> tuple[str, ...]:
        """Sentences for people."""


class NetRun(ABC):
    """Prepared on construction, by a subclass; `started`, then `finish`."""

    _task: Task
    _placement: Placement
    data: NeuralData
    loop: NetLoop

    def started(self) -> Started:
        """Say what is about to happen, and which device was refused."""
        for refusal in self._placement.refusals:
            self._task.channel.report(Note(f"trains on {self._placement.device} instead: {refusal}"))
        return self.loop.started()

    def finish(self) -> Finished:
        """Train, forecast every row with a full window, record the run.

        Raises:
            StopRequested: after leaving a checkpoint.
        """
        self.loop.run()
        clock = WorkClock(self._task.channel)
        clock.start(0.0)
        forecast = self._forecast()  # (n,)
        progress = self.loop.progress
        return record_forecast(
            self._task,
            self.data,
            forecast,
            fit_s=self.loop.fit_s,
            predict_s=clock.worked_s,
            model_files={**self._weights(), ARCHITECTURE: self._described()},
            details={"epochs": progress.epoch, "best_epoch": progress.best_epoch},
        )

    @abstractmethod
    def _forecast(self) -> np.ndarray:
        """Return the (n,) float32 forecasts of `data.forecast_rows`."""

    @abstractmethod
    def _weights(self) -> dict[str, bytes]:
        """Return the trained net as the library writes it: file name -> content."""

    @abstractmethod
    def _architecture(self) -> dict[str, Any]:
        """Return what it takes to build the net again, and the name of its file, as JSON values."""

    def _described(self) -> bytes:
        told = {
            **self._architecture(),
            "kind": self._task.spec.model,
            "window_rows": self.data.sequence_length,
            "micro_batch": self.loop.micro_batch,
            "device": self.loop.device,
            "precision": self._placement.precision,
        }
        return json.dumps(told, indent=2, sort_keys=True).encode() + b"\n"

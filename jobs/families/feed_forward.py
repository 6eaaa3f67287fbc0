"""A feed-forward net over a flattened window of feature rows (PyTorch).

The net's shape and what it is fed; training, stopping and resuming are the loop's. Neighbours: `jobs.torch_loop`,
`jobs.standardise`, `jobs.series`, `jobs.splits`, `jobs.run_record`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from jobs.torch_device import compute_repeatably, device_for  # before torch, whose memory ceilings it sets

# isort: split
import numpy as np
import safetensors.torch
import torch
from torch import nn

from jobs.batches import Windows
from jobs.dropout import RowDropout
from jobs.run_record import record_run
from jobs.series import load_frame
from jobs.splits import MIN_TRAIN_ROWS, holdout_split
from jobs.standardise import fit_standardiser
from jobs.torch_loop import Blocks, TorchLoop
from jobs.trainer import BrokenSpec
from jobs.work_clock import WorkClock

if TYPE_CHECKING:
    from cbi_queue.catalogue import FeedForwardParams
    from cbi_queue.protocol import Finished, Started
    from jobs.series import ForecastFrame
    from jobs.splits import Split
    from jobs.standardise import Standardiser
    from jobs.trainer import Task

DEVICES = ("cpu",)
"""Devices this net is trained on, the preferred one first: only the CPU promises equal bits after a stop."""

WEIGHTS, ARCHITECTURE = "model.safetensors", "model.json"


class FeedForwardNet(nn.Module):
    """(n, L, F) windows -> (n,) forecasts: flatten, then per hidden layer linear, ReLU, dropout, then one linear."""

    def __init__(self, window_rows: int, features: int, hidden: tuple[int, ...], dropout: float) -> None:
        """Take windows of *window_rows* rows and *features* columns through layers of *hidden* units."""
        super().__init__()
        widths = (window_rows * features, *hidden)
        layers: list[nn.Module] = [nn.Flatten()]
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.ReLU(), RowDropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Forecast each window."""
        return self.layers(windows).squeeze(-1)  # (n, L, F) -> (n, 1) -> (n,)


@dataclass(frozen=True, slots=True)
class _Prepared:
    frame: ForecastFrame
    split: Split
    standardiser: Standardiser
    data: Windows
    loop: TorchLoop


class FeedForward:
    """Trains the feed-forward net of one job."""

    def prepare(self, task: Task) -> Started:
        """Load and standardise the data, build the net, take over a checkpoint if there is one."""
        compute_repeatably(task.assignment.threads)
        params = cast("FeedForwardParams", task.spec.typed_params)
        frame = load_frame(task.processed_dir, task.spec.horizon)
        split = holdout_split(frame, params.validation_rows, params.backtest_rows, params.embargo_rows)
        standardiser = fit_standardiser(frame.x[split.train], frame.y[split.train])
        data = _windows(frame, standardiser, params.sequence_length)
        torch.manual_seed(params.seed)
        net = FeedForwardNet(params.sequence_length, data.x.shape[1], params.hidden, params.dropout)
        loop = TorchLoop(task, params, net.to(data.x.device), data, _blocks(split, data))
        loop.restore()
        self._prepared = _Prepared(frame, split, standardiser, data, loop)
        return loop.started()

    def train(self, task: Task) -> Finished:
        """Train, forecast every row with a full window, record the run."""
        ready = self._prepared
        ready.loop.run()
        clock = WorkClock(task.channel)
        clock.start(0.0)
        rows = np.arange(ready.data.first_row, ready.frame.rows)
        forecast = ready.loop.predict(torch.from_numpy(rows).to(ready.data.x.device)).cpu().numpy()  # (n,)
        predicted = np.full(ready.frame.rows, np.nan)
        predicted[rows] = ready.standardiser.log_return(forecast)
        return record_run(
            task,
            ready.frame,
            ready.split,
            predicted,
            fit_s=ready.loop.fit_s,
            predict_s=clock.worked_s,
            model_files=_model_files(cast("FeedForwardParams", task.spec.typed_params), ready),
            preproc=ready.standardiser.as_json(ready.frame.feature_names),
            details={"epochs": ready.loop.progress.epoch, "best_epoch": ready.loop.progress.best_epoch},
        )


def _windows(frame: ForecastFrame, standardiser: Standardiser, sequence_length: int) -> Windows:
    device = device_for(*DEVICES)
    x = torch.from_numpy(standardiser.features(frame.x)).to(device)  # (rows, F) float32
    y = torch.from_numpy(standardiser.label(frame.y)).to(device)  # (rows,) float32
    return Windows(x, y, sequence_length)


def _blocks(split: Split, data: Windows) -> Blocks:
    """Leave out the first training rows, which have no full window behind them.

    Raises:
        BrokenSpec: when too few rows are left.
    """
    train = split.train[split.train >= data.first_row]
    if len(train) < MIN_TRAIN_ROWS:
        msg = (
            f"{len(split.train)} training rows leave {len(train)} with a full window of {data.sequence_length} rows, "
            f"{MIN_TRAIN_ROWS} are needed; shorten sequence_length, or bring a longer series"
        )
        raise BrokenSpec(msg)
    device = data.x.device
    return Blocks(torch.from_numpy(train).to(device), torch.from_numpy(split.validation).to(device))


def _model_files(params: FeedForwardParams, ready: _Prepared) -> dict[str, bytes]:
    architecture: dict[str, Any] = {
        "kind": "feed_forward",
        "window_rows": params.sequence_length,
        "inputs": ready.data.x.shape[1],
        "hidden": list(params.hidden),
        "dropout": params.dropout,
        "weights": WEIGHTS,
        "micro_batch": ready.loop.micro_batch,
    }
    return {
        WEIGHTS: safetensors.torch.save(ready.loop.model.state_dict()),
        ARCHITECTURE: json.dumps(architecture, indent=2, sort_keys=True).encode() + b"\n",
    }

"""A small net on a small series, trained by the real loop; shared by the tests of the loop and of its resumption."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from cbi_queue.protocol import Assignment
from cbi_queue.spec import JobSpec
from jobs.process.channel import StopRequested
from jobs.torch_backend.batches import Windows
from jobs.torch_backend.dropout import RowDropout
from jobs.torch_backend.loop import Blocks, TorchLoop
from jobs.trainer import Task
from jobs.training.checkpoint_pace import CheckpointPace
from support.fakes import ScriptedChannel

ROWS, FEATURES, WINDOW = 260, 4, 5
TRAIN, VALIDATION = torch.arange(WINDOW - 1, 150), torch.arange(170, 240)
STEPS = 5  # 146 samples in batches of 32: the last one has 18
SAFE_POINTS = (
    3 * (STEPS + 1) + 2
)  # three epochs of five steps and one piece of validation, then two pieces of prediction
EVERY_EPOCH = {"every_s": 0.0, "cost_share": 1e9}
EVERY_STEP = {**EVERY_EPOCH, "mid_epoch_s": 0.0}
NEVER = {"every_s": 1e9, "mid_epoch_s": 1e9}


class Killed(Exception):
    """Raised in place of SIGKILL: nothing is saved."""


@dataclass(frozen=True)
class Outcome:
    """The result of a finished run; two are equal when every bit is."""

    weights: dict[str, torch.Tensor]
    predicted: torch.Tensor

    __hash__ = None

    def __eq__(self, other):
        same = [torch.equal(value, other.weights[name]) for name, value in self.weights.items()]
        return all(same) and torch.equal(self.predicted, other.predicted)


def series(dtype=torch.float32) -> Windows:
    """Return a series whose label a net can learn from its window, with noise."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, FEATURES))
    y = np.tanh(x[:, 0]) + 0.5 * np.roll(x[:, 1], 2) + 0.1 * rng.normal(size=ROWS)
    return Windows(torch.from_numpy(x).to(dtype), torch.from_numpy(y).to(dtype), WINDOW)


def net(dropout: float, dtype=torch.float32) -> nn.Module:
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(WINDOW * FEATURES, 16), nn.Tanh(), RowDropout(dropout))
    return nn.Sequential(flat, nn.Linear(16, 1), nn.Flatten(0)).to(dtype)


def make_loop(root: Path, channel: ScriptedChannel, **options) -> TorchLoop:
    """Return a loop of three epochs over 146 samples; *options* change parameters, assignment and pace."""
    params = {"epochs": 3, "batch_size": 32, "sequence_length": WINDOW, "dropout": 0.3, "learning_rate": 0.01}
    params |= {key: options.pop(key) for key in params.keys() | {"patience"} if key in options}
    spec = JobSpec(day=1, name="net", family="simple_neural", model="feed_forward", horizon="1w", params=params)
    assignment = Assignment(
        job_id=1,
        attempt=1,
        ledger_id="test",
        identity="c" * 64,
        spec=spec.model_dump(mode="json"),
        run_dir=str(root),
        exports_dir=str(root),
        processed_dir=str(root),
        micro_batch=options.pop("micro_batch", None),
    )
    dtype = options.pop("dtype", torch.float32)
    options.setdefault("pace", CheckpointPace(**NEVER))
    model, data = net(params["dropout"], dtype), options.pop("data", None) or series(dtype)
    blocks = Blocks(TRAIN, VALIDATION)
    return TorchLoop(Task(assignment, spec, channel), spec.typed_params, model, data, blocks, **options)


def attempt(root: Path, channel: ScriptedChannel, **options) -> Outcome | None:
    """Train as one process does; return the outcome, or None when it was stopped or killed."""
    torch.manual_seed(np.random.default_rng().integers(2**31))  # a fresh process owes nothing to the one before
    loop = make_loop(root, channel, **options)
    loop.restore()
    try:
        loop.run()
        predicted = loop.predict(torch.arange(WINDOW - 1, ROWS))
    except (StopRequested, Killed):
        return None
    return Outcome({name: value.clone() for name, value in loop.model.state_dict().items()}, predicted)


@cache
def uninterrupted(**options) -> Outcome:
    with TemporaryDirectory() as raw:
        return attempt(Path(raw), ScriptedChannel(), **options)


def to_the_end(root: Path, stops: list[int], **options) -> Outcome:
    for stop_at in stops:
        outcome = attempt(root, ScriptedChannel(stop_at=stop_at), **options)
        if outcome is not None:
            return outcome
    return attempt(root, ScriptedChannel(), **options)

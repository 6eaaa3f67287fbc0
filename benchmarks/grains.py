"""What grains cost: an epoch of each kind of net of the day plans in pieces, against the same epoch with whole batches.

The trainer's own loop, turn by turn in one process with a trainer's environment and one thread: whole, half, quarter,
eighth, then backwards, so that what changes from second to second falls on all; by processor time, which neighbours
disturb less. At most 3 % is what a grain by default might cost.

`python -m benchmarks.grains ROUNDS` is that process: it prints one line of JSON, processor seconds of an epoch by model and grain.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import Line, Target, in_ms, interval, ratios
from cbi_queue.hardware.profiles import profile_named
from cbi_queue.plan import read_plans
from cbi_queue.protocol import Assignment
from workers.trainer.trainer_process import trainer_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbi_queue.spec import JobSpec

TARGET = Target(1.03)
FEATURES = 152
PARTS = (1, 2, 4, 8)
ONLY = ""
"""Name of the one net to measure; empty: all."""
SCHEDULES = Path(__file__).parents[1] / "schedules"


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds."""
    command = [sys.executable, "-m", "benchmarks.grains", str(rounds), ONLY]
    done = subprocess.run(command, env=trainer_environment(1), stdout=subprocess.PIPE, check=True)
    told: dict[str, dict[str, list[float]]] = json.loads(done.stdout)
    return [
        _line(f"{model}, batch {max(map(int, by_grain))}: an epoch in grains of {grain} / whole batches", taken, whole)
        for model, by_grain in told.items()
        for whole in [by_grain[max(by_grain, key=int)]]
        for grain, taken in by_grain.items()
        if taken is not whole
    ]


def _line(words: str, taken: Sequence[float], whole: Sequence[float]) -> Line:
    values = ratios(taken, whole)
    low, high = interval(values)
    note = f"median within {low:.3f}..{high:.3f} (95 %), {in_ms(taken)} against {in_ms(whole)}"
    return Line(words, "x", values, TARGET, note)


def main() -> None:
    """Train turn by turn and print."""
    from jobs.torch_backend.device import compute_repeatably

    rounds = int(sys.argv[1])
    compute_repeatably(1)
    plans = read_plans(sorted(SCHEDULES.glob("day*.yaml")), profile=profile_named("m4-16gb"))
    nets = {job.model: job for plan in plans for job in plan.jobs if job.backend == "torch"}
    nets = {model: job for model, job in nets.items() if sys.argv[2] in ("", model)}
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        for model, job in nets.items():
            grains = [job.params["batch_size"] // part for part in PARTS]
            turns = {grain: _epoch_of(job, grain, folder) for grain in grains}
            for turn in turns.values():
                turn()
            taken: dict[int, list[float]] = {grain: [] for grain in grains}
            for number in range(rounds):
                for grain in grains[:: 1 - 2 * (number % 2)]:
                    taken[grain].append(turns[grain]())
            told[model] = taken
    print(json.dumps(told), flush=True)


def _epoch_of(job: JobSpec, grain: int, folder: str) -> Callable[[], float]:
    """Return what trains a fresh net for an epoch in pieces of *grain* and returns the seconds it took."""
    import torch

    from cbi_queue.spec import JobSpec
    from jobs.torch_backend.batches import Windows

    params = {**job.params, "grain": grain, "epochs": 1}
    spec = JobSpec(day=1, name="net", family=job.family, model=job.model, horizon="1w", params=params)
    assignment = Assignment(1, 1, "benchmark", "0" * 64, spec.model_dump(mode="json"), folder, folder, folder)
    length, batch = params["sequence_length"], params["batch_size"]
    steps = 64 if job.model == "feed_forward" else 4
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(length + (steps + 1) * batch, FEATURES, generator=generator)
    return partial(_epoch, assignment, spec, Windows(x, x[:, 0].clone(), length), length - 1 + steps * batch)


def _epoch(assignment: Assignment, spec: JobSpec, data: Any, split: int) -> float:
    import torch

    from jobs.process.channel import Channel
    from jobs.torch_backend.loop import Blocks, TorchLoop
    from jobs.trainer import Task
    from jobs.training.checkpoint_pace import CheckpointPace

    blocks = Blocks(torch.arange(data.first_row, split), torch.arange(split, len(data.x)))
    never = CheckpointPace(every_s=1e9, mid_epoch_s=1e9)
    null = Path(os.devnull)
    with null.open("wb") as up, null.open("rb") as down, null.open("w") as log, contextlib.redirect_stdout(log):
        task = Task(assignment, spec, Channel(up, down))
        loop = TorchLoop(task, spec.typed_params, _net(spec), data, blocks, pace=never)
        started_s = time.process_time()
        loop.run()
        return time.process_time() - started_s


def _net(spec: JobSpec) -> Any:
    """Build the net of *spec* as its family does."""
    import torch

    from jobs.families.attention import AttentionNet
    from jobs.families.feed_forward import FeedForwardNet
    from jobs.families.recurrent import RecurrentNet
    from jobs.families.temporal_convolution import TemporalConvolutionNet
    from jobs.nets.recurrent import KINDS

    params = spec.params
    torch.manual_seed(0)
    if spec.model in KINDS:
        return RecurrentNet(FEATURES, *KINDS[spec.model], params["hidden_size"], params["dropout"])
    shapes: dict[str, tuple[Any, tuple[str, ...]]] = {
        "feed_forward": (FeedForwardNet, ("hidden", "dropout")),
        "tcn": (TemporalConvolutionNet, ("channels", "kernel_size", "dilations", "dropout")),
        "attention": (AttentionNet, ("d_model", "heads", "layers", "dropout", "gradient_checkpointing")),
    }
    make, names = shapes[spec.model]
    window = {} if spec.model == "tcn" else {"window_rows": params["sequence_length"]}
    return make(inputs=FEATURES, **window, **{name: params[name] for name in names})


if __name__ == "__main__":
    main()

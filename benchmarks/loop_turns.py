"""The two loops that `loop_overhead` compares: the trainer's own, and the same steps by hand.

`python -m benchmarks.loop_turns ROUNDS REPORT_FD FOLDER PARAMS_JSON`, the parameters as far as they differ; the first line of standard input is the pid of the company,
what follows would be directives. Prints one line of JSON: seconds of two epochs, round by round, and their steps.

Both train the same LSTM from the same weights on the same windows in the same order, with the same optimiser, clipping
and validation. Ours has everything that a trainer of the queue has: a channel with a listening thread and a pipe that
is read, safe points, processor times, reports, a log. Checkpoints have a benchmark of their own and are left out here.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.torch_backend.device import compute_repeatably  # before torch, whose memory ceilings it sets

# isort: split
import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from cbi_queue.protocol import Assignment
from cbi_queue.spec import JobSpec
from jobs.families.recurrent import RecurrentNet
from jobs.process.channel import Channel
from jobs.torch_backend.batches import Windows, epoch_order
from jobs.torch_backend.loop import Blocks, TorchLoop
from jobs.torch_backend.passes import squared_error
from jobs.trainer import Task
from jobs.training.checkpoint_pace import CheckpointPace

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, FEATURES, TRAIN_ROWS = 1500, 20, 1200
PARAMS: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 32,
    "sequence_length": 64,
    "hidden_size": 64,
    "dropout": 0.0,
    "patience": 9,
}
NEVER = CheckpointPace(every_s=1e9, mid_epoch_s=1e9)


@dataclass
class Clocks:
    """What the turns of one round took, seconds."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def take(self, work: Callable[[], object]) -> None:
        """Do *work* and add what it takes; the processor time is that of all threads of this process."""
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        work()
        self.wall_s += time.perf_counter() - wall_s
        self.cpu_s += time.process_time() - cpu_s


@dataclass
class Turns:
    """The figures of all rounds."""

    ours_wall: list[float] = field(default_factory=list)
    ours_cpu: list[float] = field(default_factory=list)
    bare_wall: list[float] = field(default_factory=list)
    bare_cpu: list[float] = field(default_factory=list)

    def add(self, ours: Clocks, bare: Clocks) -> None:
        """Add a round."""
        self.ours_wall.append(ours.wall_s)
        self.ours_cpu.append(ours.cpu_s)
        self.bare_wall.append(bare.wall_s)
        self.bare_cpu.append(bare.cpu_s)


def main() -> None:
    """Train turn by turn and print."""
    rounds, report_fd, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    down = os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    company = int(down.readline())
    PARAMS.update(json.loads(sys.argv[4]))
    compute_repeatably(1)
    channel = Channel(os.fdopen(report_fd, "wb"), down)
    channel.listen()
    data, told = _data(), Turns()
    with (folder / "log").open("a") as log, contextlib.redirect_stdout(log):  # as that of a trainer
        _round(channel, company, folder, data)
        gc.collect()
        gc.freeze()
        for _ in range(rounds):
            told.add(*_round(channel, company, folder, data))
    steps = 2 * math.ceil(len(_blocks().train) / PARAMS["batch_size"])
    print(json.dumps({**vars(told), "steps": steps}), flush=True)


def _round(channel: Channel, company: int, folder: Path, data: Windows) -> tuple[Clocks, Clocks]:
    """Take two turns of each, in the order ours, bare, bare, ours: a drift falls on both."""
    ours, bare = Clocks(), Clocks()
    _ours(ours, channel, folder, data)
    os.kill(company, signal.SIGSTOP)
    _bare(bare, data)
    _bare(bare, data)
    os.kill(company, signal.SIGCONT)
    _ours(ours, channel, folder, data)
    return ours, bare


def _ours(clocks: Clocks, channel: Channel, folder: Path, data: Windows) -> None:
    """Train an epoch as a trainer does, from the first step to the last report."""
    spec = JobSpec(day=1, name="net", family="simple_neural", model="lstm", horizon="1w", params=PARAMS)
    here = str(folder)
    assignment = Assignment(1, 1, "benchmark", "0" * 64, spec.model_dump(mode="json"), here, here, here)
    loop = TorchLoop(Task(assignment, spec, channel), spec.typed_params, _net(), data, _blocks(), pace=NEVER)
    clocks.take(loop.run)


def _bare(clocks: Clocks, data: Windows) -> None:
    """Train the same epoch with nothing around it."""
    net = _net()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    blocks = _blocks()
    clocks.take(lambda: _bare_epoch(net, optimiser, data, blocks))


def _bare_epoch(net: RecurrentNet, optimiser: torch.optim.Optimizer, data: Windows, blocks: Blocks) -> None:
    batch = PARAMS["batch_size"]
    net.train()
    loss_sum = 0.0
    for rows in torch.split(blocks.train[epoch_order(len(blocks.train), 0, 0)], batch):
        optimiser.zero_grad()
        total = squared_error(net(data.gather(rows)), data.targets(rows)).sum()
        (total / len(rows)).backward()
        clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        loss_sum += total.item()
    net.eval()
    with torch.no_grad():
        predicted = torch.cat([net(data.gather(rows)) for rows in torch.split(blocks.validation, 4 * batch)])
        squared_error(predicted, data.targets(blocks.validation)).mean().item()


def _data() -> Windows:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(ROWS, FEATURES)).astype(np.float32))
    return Windows(x, x[:, 0].clone(), PARAMS["sequence_length"])


def _blocks() -> Blocks:
    return Blocks(torch.arange(PARAMS["sequence_length"] - 1, TRAIN_ROWS), torch.arange(TRAIN_ROWS, ROWS))


def _net() -> RecurrentNet:
    torch.manual_seed(0)
    return RecurrentNet(FEATURES, "lstm", 1, PARAMS["hidden_size"], PARAMS["dropout"])


if __name__ == "__main__":
    main()

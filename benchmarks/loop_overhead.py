"""Training with channel, reports, governor's offers and checkpoints' clockwork, against the same net in a bare loop.

Both train the same LSTM on the same windows in the same order, with the same optimiser, clipping and validation, turn
by turn in one process. Ours has everything that a trainer of the queue has: a real channel with a listening thread and
a real pipe, a safe point at every micro-batch, processor times, reports. Checkpoints have a benchmark of their own and
are left out here.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from benchmarks.measuring import Line, Target, alternate, in_ms, ratios, seconds
from cbi_queue.protocol import Assignment
from cbi_queue.spec import JobSpec
from jobs.batches import Windows, epoch_order
from jobs.channel import Channel
from jobs.checkpoint_pace import CheckpointPace
from jobs.families.recurrent import RecurrentNet
from jobs.torch_device import compute_repeatably
from jobs.torch_loop import Blocks, TorchLoop
from jobs.torch_passes import squared_error
from jobs.trainer import Task

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


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds of one epoch each."""
    compute_repeatably(1)
    data = _data()
    our_cpu, bare_cpu = [], []
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = alternate(
            lambda: _through_the_loop(Path(folder), data, our_cpu), lambda: _bare(data, bare_cpu), rounds
        )
    note = f"loop {in_ms(ours)}, bare {in_ms(bare)} an epoch of {TRAIN_ROWS - PARAMS['sequence_length'] + 1} samples"
    cpu_note = f"loop {in_ms(our_cpu[1:])}, bare {in_ms(bare_cpu[1:])} of processor time, which neighbours disturb less"
    return [
        Line("training with channel and reports / the same loop without", "x", ratios(ours, bare), Target(1.01), note),
        Line("the same by processor time", "x", ratios(our_cpu[1:], bare_cpu[1:]), note=cpu_note),
    ]


def _timed(work: Callable[[], object], cpu: list[float]) -> float:
    cpu_s = time.process_time()
    wall_s = seconds(work)
    cpu.append(time.process_time() - cpu_s)
    return wall_s


def _data() -> Windows:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(ROWS, FEATURES)).astype(np.float32))
    return Windows(x, x[:, 0].clone(), PARAMS["sequence_length"])


def _blocks() -> Blocks:
    return Blocks(torch.arange(PARAMS["sequence_length"] - 1, TRAIN_ROWS), torch.arange(TRAIN_ROWS, ROWS))


def _net() -> RecurrentNet:
    torch.manual_seed(0)
    return RecurrentNet(FEATURES, "lstm", 1, PARAMS["hidden_size"], PARAMS["dropout"])


def _through_the_loop(folder: Path, data: Windows, cpu: list[float]) -> float:
    """Train an epoch as a trainer does; return the seconds from the first step to the last report."""
    read_fd, write_fd = os.pipe()
    drain = threading.Thread(target=_drain, args=(read_fd,))
    drain.start()
    spec = JobSpec(day=1, name="net", family="simple_neural", model="lstm", horizon="1w", params=PARAMS)
    here = str(folder)
    assignment = Assignment(1, 1, "benchmark", "0" * 64, spec.model_dump(mode="json"), here, here, here)
    with os.fdopen(write_fd, "wb") as up, contextlib.redirect_stdout(io.StringIO()):  # the log of a trainer
        channel = Channel(up, io.BytesIO())
        loop = TorchLoop(Task(assignment, spec, channel), spec.typed_params, _net(), data, _blocks(), pace=NEVER)
        spent_s = _timed(loop.run, cpu)
    drain.join()
    return spent_s


def _bare(data: Windows, cpu: list[float]) -> float:
    """Train the same epoch with nothing around it; return its seconds."""
    net = _net()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    return _timed(lambda: _bare_epoch(net, optimiser, data), cpu)


def _bare_epoch(net: RecurrentNet, optimiser: torch.optim.Optimizer, data: Windows) -> None:
    blocks, batch = _blocks(), PARAMS["batch_size"]
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


def _drain(read_fd: int) -> None:
    with os.fdopen(read_fd, "rb") as up:
        while up.read(65536):
            pass

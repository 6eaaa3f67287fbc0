"""The calibration probe: a fixed small piece of work that tells how fast this device is just now.

"The machine is slow" and "this model is slow" look the same from inside a training; the probe tells them apart. It is
the same work every time, named by WORKLOADS: change a size and change the name, as only equal workloads are compared.
It draws no random number, keeps nothing, and leaves torch's settings alone, so that a training that was probed ends
with the same bits. Neighbours: `jobs.process.channel`, which runs it at a safe point; the governor, which compares.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cbi_queue.protocol import Probed
from jobs.torch_backend.device import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = 5
"""Equal parts; the fastest one is told, so that a spike in the others is left out."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The sizes of one part: dense products as in feed-forward nets, then steps like those of a recurrent one."""

    name: str
    side: int
    """Rows and columns of the square matrices."""
    products: int
    batch: int
    hidden: int
    steps: int


WORKLOADS = {
    "cpu": Workload("dense-recurrent-cpu-1", side=384, products=40, batch=32, hidden=128, steps=320),
    "gpu": Workload("dense-recurrent-gpu-1", side=2048, products=40, batch=64, hidden=256, steps=160),
}
"""Sized for about 0.1 s a part: on one core of a slow server, and on a small GPU (a large one takes less)."""


def probe_for(device: torch.device) -> Callable[[], Probed]:
    """Return the probe of *device*, to be run between two batches."""
    return lambda: probe(device, WORKLOADS["cpu" if device.type == "cpu" else "gpu"])


@torch.no_grad()
def probe(device: torch.device, workload: Workload) -> Probed:
    """Do the *workload* PARTS times on *device* and tell the fastest."""
    began_s = time.perf_counter()
    tensors = _Tensors(device, workload)
    wait_for(device)
    wall_s, cpu_s = min(_timed(tensors, device, workload) for _ in range(PARTS))
    return Probed(device.type, workload.name, wall_s, cpu_s, total_s=time.perf_counter() - began_s)


class _Tensors:
    """What the workload is done on: the same numbers every time, small enough that nothing overflows."""

    def __init__(self, device: torch.device, workload: Workload) -> None:
        self.square = _ramp(workload.side, workload.side, device)
        self.product = torch.empty_like(self.square)
        self.inputs = _ramp(workload.batch, workload.hidden, device)
        self.weights = _ramp(workload.hidden, 4 * workload.hidden, device)


def _ramp(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    return torch.linspace(-1.0, 1.0, rows * columns, device=device).reshape(rows, columns) / columns


def _timed(tensors: _Tensors, device: torch.device, workload: Workload) -> tuple[float, float]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    _work(tensors, workload)
    wait_for(device)
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def _work(tensors: _Tensors, workload: Workload) -> None:
    # of the same factors: a chain of them would run into numbers too small to be quick
    for _ in range(workload.products):
        torch.mm(tensors.square, tensors.square, out=tensors.product)
    hidden = cell = torch.zeros_like(tensors.inputs)
    for _ in range(workload.steps):  # the arithmetic of an LSTM's cell
        gates = (tensors.inputs + hidden) @ tensors.weights
        keep, take, show, new = gates.chunk(4, dim=1)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        hidden = show.sigmoid() * cell.tanh()

"""The calibration probe of a torch training, on its device. It leaves torch's settings as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from jobs.torch_backend.device import wait_for
from jobs.training.probe import probed

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.protocol import Probed


@dataclass(frozen=True, slots=True)
class ProbeSizes:
    """The sizes of one part: dense products as in feed-forward nets, then steps like those of a recurrent one."""

    name: str
    side: int
    """Rows and columns of the square matrices."""
    products: int
    batch: int
    hidden: int
    steps: int


WORKLOADS = {
    "cpu": ProbeSizes("dense-recurrent-cpu-1", side=384, products=40, batch=32, hidden=128, steps=320),
    "gpu": ProbeSizes("dense-recurrent-gpu-1", side=2048, products=40, batch=64, hidden=256, steps=160),
}
"""Sized for about 0.1 s a part: on one core of a slow server, and on a small GPU (a large one takes less)."""


@torch.no_grad()
def probe(device: torch.device) -> Probed:
    """Probe *device*, between two batches."""
    sizes = WORKLOADS["cpu" if device.type == "cpu" else "gpu"]
    return probed(device.type, sizes.name, lambda: _products_and_steps(device, sizes))


def _products_and_steps(device: torch.device, sizes: ProbeSizes) -> Callable[[], None]:
    square = _ramp(sizes.side, sizes.side, device)
    product = torch.empty_like(square)
    inputs = _ramp(sizes.batch, sizes.hidden, device)
    weights = _ramp(sizes.hidden, 4 * sizes.hidden, device)
    wait_for(device)

    def work() -> None:
        # of the same factors: a chain of them would shrink to numbers too small to be fast
        for _ in range(sizes.products):
            torch.mm(square, square, out=product)
        hidden = cell = torch.zeros_like(inputs)
        for _ in range(sizes.steps):  # the arithmetic of an LSTM's cell
            gates = (inputs + hidden) @ weights
            keep, take, show, new = gates.chunk(4, dim=1)
            cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
            hidden = show.sigmoid() * cell.tanh()
        wait_for(device)

    return work


def _ramp(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    return torch.linspace(-1.0, 1.0, rows * columns, device=device).reshape(rows, columns) / columns

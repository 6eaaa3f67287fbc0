"""The calibration probe: a fixed small piece of work that shows how fast a device is now.

"The machine is slow" and "this model is slow" look the same from inside a training; the probe distinguishes them. The
work is the same every time and named: change a size and change the name, as only equal workloads are compared. It draws
no random number and keeps nothing, so that a training that was probed ends with the same bits. `probe_cpu` is the one
for trainers without a net, in numpy; its threads are those that the slot set for BLAS.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from cbi_queue.protocol import Probed

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = 5
"""Equal parts; the fastest one is reported, so that a spike in the others is left out."""
WORKLOAD = "dense-scan-numpy-1"
SIDE = 384
"""Rows and columns of the matrices: 0.6 MB each, as much as a core's own cache holds."""
PRODUCTS = 24
SCANS = 48
"""Gathers over the whole matrix, as a tree's histogram makes them. With PRODUCTS: 0.05 to 0.1 s a part on a core of a
slow server."""


def probed(device: str, workload: str, prepare: Callable[[], Callable[[], object]]) -> Probed:
    """Do a piece of work PARTS times and return the fastest.

    Args:
        device: where it is done: cpu | mps | cuda.
        workload: its name.
        prepare: makes the tensors and returns the work; the work returns once the device has finished it.
    """
    began_s = time.perf_counter()
    work = prepare()
    wall_s, cpu_s = min(_timed(work) for _ in range(PARTS))
    return Probed(device, workload, wall_s, cpu_s, total_s=time.perf_counter() - began_s)


def probe_cpu() -> Probed:
    """Probe the processor with matrix products and scans in numpy."""
    return probed("cpu", WORKLOAD, _products_and_scans)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def _products_and_scans() -> Callable[[], None]:
    square = np.linspace(-1.0, 1.0, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE) / SIDE
    bins = (np.arange(SIDE * SIDE) * 7919) % SIDE

    def work() -> None:
        product = np.empty_like(square)
        for _ in range(PRODUCTS):
            np.matmul(square, square, out=product)  # not its powers: they shrink to denormal numbers, 10 times slower
        weights = product.ravel()
        for _ in range(SCANS):
            np.bincount(bins, weights, minlength=SIDE)

    return work

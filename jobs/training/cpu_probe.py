"""The calibration probe of trainers without torch: a fixed small piece of numpy work on the processor.

The same work every time, named by WORKLOAD: change a size and change the name, as only equal workloads are compared.
It draws no random number and keeps nothing, so that a training that was probed ends with the same bits. Threads are
those that the slot set for BLAS. Neighbours: `jobs.process.channel`, which runs it at a safe point; the governor, which
compares; `jobs.torch_backend.probe`, the same for nets on their device.
"""

from __future__ import annotations

import time

import numpy as np

from cbi_queue.protocol import Probed

WORKLOAD = "dense-scan-numpy-1"
PARTS = 5
"""Equal parts; the fastest one is told, so that a spike in the others is left out."""
SIDE = 384
"""Rows and columns of the matrices: 0.6 MB each, as much as a core's own cache holds."""
PRODUCTS = 24
SCANS = 48
"""Gathers over the whole matrix, as a tree's histogram makes them. With PRODUCTS: 0.05 to 0.1 s a part on a core of a
slow server."""


def probe_cpu() -> Probed:
    """Do the workload PARTS times and tell the fastest."""
    began_s = time.perf_counter()
    square = np.linspace(-1.0, 1.0, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE) / SIDE
    bins = (np.arange(SIDE * SIDE) * 7919) % SIDE
    wall_s, cpu_s = min(_timed(square, bins) for _ in range(PARTS))
    return Probed("cpu", WORKLOAD, wall_s, cpu_s, total_s=time.perf_counter() - began_s)


def _timed(square: np.ndarray, bins: np.ndarray) -> tuple[float, float]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    product = np.empty_like(square)
    for _ in range(PRODUCTS):
        np.matmul(square, square, out=product)  # not its powers: they shrink into denormal numbers, ten times slower
    weights = product.ravel()
    for _ in range(SCANS):
        np.bincount(bins, weights, minlength=SIDE)
    return time.perf_counter() - wall_s, time.process_time() - cpu_s

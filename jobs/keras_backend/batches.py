"""Which samples form which step and which micro-batch of a Keras epoch, in numpy. Imports no TensorFlow.

Keras' gradient accumulation divides by a fixed number of micro-batches k and never restarts its count: an epoch's last,
smaller batch would weigh too much, and one with fewer than k micro-batches would continue into the next epoch. So every
step is cut into exactly k micro-batches of equal size, filled up with samples of weight 0, and a real sample of a step
of n samples weighs k / n: the mean over k of the weighted sums is then the mean over the n samples, as without cutting.
The order is a function of (seed, epoch), stable across versions of numpy.

Letters: n samples of a step, k micro-batches a step, m micro-batches of all steps, b samples of a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.nets.progress import steps_of
from jobs.training.seeds import mixed_seed


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """Consecutive steps of one epoch, cut into micro-batches; the first axis is m, the second b."""

    rows: np.ndarray
    """(m, b) int32: row numbers of the samples."""
    positions: np.ndarray
    """(m, b) int32: places of the samples in their step's effective batch."""
    weights: np.ndarray
    """(m, b) float32: k / n, and 0 for samples that fill up."""
    keys: np.ndarray
    """(m, b) int64: the step's seed for dropout, the same along b and within a step."""
    per_step: int
    """k."""
    sizes: tuple[int, ...]
    """n of each step."""


def epoch_order(samples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the (samples,) int64 permutation of one epoch (0-based).

    numpy promises that the bits of its generators do not change; it does not promise that of its permutations.
    """
    bits = np.random.Philox(mixed_seed("order", seed, epoch)).random_raw(samples)  # (samples,) uint64
    return np.argsort(bits, kind="stable")


def micro_batches_of(
    train: np.ndarray, batch_size: int, micro_batch: int, *, seed: int, epoch: int, step: int
) -> MicroBatches:
    """Cut the rest of an epoch into micro-batches.

    Args:
        train: (samples,) row numbers of all training samples.
        batch_size: samples of a step.
        micro_batch: samples that go through the net at once, at most *batch_size*.
        seed: of the job.
        epoch: 0-based.
        step: finished steps of this epoch.
    """
    order = train[epoch_order(len(train), seed, epoch)]  # (samples,)
    per_step = steps_of(batch_size, micro_batch)
    batches = [order[at : at + batch_size] for at in range(step * batch_size, len(train), batch_size)]
    cuts = [_cut(batch, per_step, micro_batch) for batch in batches]
    keys = [mixed_seed("step", seed, epoch, step + number) for number in range(len(batches))]
    rows, positions, weights = (np.concatenate(column) for column in zip(*cuts, strict=True))  # (m, b) each
    by_piece = np.repeat(np.array(keys, dtype=np.int64), per_step)  # (m,)
    spread = np.ascontiguousarray(np.broadcast_to(by_piece[:, None], rows.shape))  # (m, b)
    return MicroBatches(rows, positions, weights, spread, per_step, tuple(map(len, batches)))


def _cut(batch: np.ndarray, per_step: int, micro_batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, positions and weights of one step, (k, b) each, filled up with its first sample at weight 0."""
    room, n = per_step * micro_batch, len(batch)
    rows, positions = np.full(room, batch[0], dtype=np.int32), np.zeros(room, dtype=np.int32)
    weights = np.zeros(room, dtype=np.float32)
    rows[:n], positions[:n], weights[:n] = batch, np.arange(n), per_step / n
    shape = (per_step, micro_batch)
    return rows.reshape(shape), positions.reshape(shape), weights.reshape(shape)

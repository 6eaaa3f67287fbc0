"""`jobs.nets.resumption`: what a checkpoint takes of memory is given back, and lacking memory for one ends no training."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from support.fakes import ScriptedChannel, make_task

from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, Note, Restored
from jobs.nets.circumstances import Circumstances
from jobs.nets.progress import NetProgress
from jobs.nets.resumption import Resumption

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.training.checkpoint import Checkpoint

AROUND = Circumstances(micro_batch=8, threads=1, device="cpu", precision="float32", versions={})
DATA = "d" * 64


class OneArray:
    """The state of a training that has one array of weights."""

    def __init__(self) -> None:
        self.progress = NetProgress(epoch=1)
        self.taken_over: list[weakref.ref[np.ndarray]] = []

    def capture(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the one array."""
        return {}, {"model.weight": np.ones(4, np.float32)}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Remember what was handed in, without keeping it alive."""
        self.taken_over = [weakref.ref(array) for array in checkpoint.arrays.values()]

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the one array."""
        return {"weight": (4,)}


def resumption_of(folder: Path, state: OneArray, channel: ScriptedChannel) -> Resumption:
    spec = {"family": "simple_neural", "model": "feed_forward", "horizon": "1w"}
    return Resumption(make_task(folder / "run", spec, folder, folder, channel), state, AROUND, DATA)


def test_the_checkpoint_that_was_taken_over_is_let_go_before_training_begins(tmp_path: Path) -> None:
    resumption_of(tmp_path, OneArray(), ScriptedChannel()).save()
    channel, state = ScriptedChannel(), OneArray()
    resumption = resumption_of(tmp_path, state, channel)

    resumption.restore()
    resumption.begin()

    assert [restored.epoch for restored in channel.of_type(Restored)] == [1]
    assert [array() for array in state.taken_over] == [None, None]


class TooLarge(OneArray):
    """Its copy cannot be had."""

    def capture(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Ask for more memory than any machine has."""
        return {}, {"model.weight": np.ones(1 << 55, np.float32)}


def test_a_checkpoint_that_finds_no_memory_is_reported_and_ends_no_training(tmp_path: Path) -> None:
    channel = ScriptedChannel()

    resumption_of(tmp_path, TooLarge(), channel).save()

    (failed,) = channel.of_type(CheckpointFailed)
    assert failed.epoch == 1
    assert failed.why.startswith("not enough memory for it: Unable to allocate")
    assert channel.of_type(CheckpointSaved) == []


class TwoArrays(OneArray):
    """Another net: its weight has another shape, and there is one more."""

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of both."""
        return {"weight": (5,), "bias": (1,)}


def test_a_checkpoint_of_a_net_of_another_shape_is_refused_with_the_names(tmp_path: Path) -> None:
    resumption_of(tmp_path, OneArray(), ScriptedChannel()).save()
    channel, state = ScriptedChannel(), TwoArrays()
    resumption = resumption_of(tmp_path, state, channel)

    resumption.restore()
    resumption.begin()

    (note,) = channel.of_type(Note)
    assert note.text.endswith("of a net of another shape: bias, weight")
    assert state.taken_over == []

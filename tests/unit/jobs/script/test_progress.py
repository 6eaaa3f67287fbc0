"""Progress is read from what real tools print, and from nothing else."""

from __future__ import annotations

import io

import pytest
from tqdm import tqdm

from jobs.script.progress import Progress, ProgressReader


def read(*chunks: bytes) -> Progress | None:
    reader = ProgressReader()
    for chunk in chunks:
        reader.read(chunk)
    return reader.newest


def test_a_bar_of_tqdm_is_read_wherever_it_is_cut():
    stream = io.StringIO()
    with tqdm(total=1000, file=stream, mininterval=0, ncols=80) as bar:
        for _ in range(9):
            bar.update(50)
        printed = stream.getvalue().encode()
    assert read(printed) == Progress(450, 1000, "step")
    assert read(*(printed[at : at + 7] for at in range(0, len(printed), 7))) == Progress(450, 1000, "step")


@pytest.mark.parametrize("inner", ["batch", None])
def test_of_nested_bars_the_outer_counts_when_they_have_names(inner):
    stream = io.StringIO()
    with tqdm(total=3, desc="epoch", file=stream, mininterval=0) as epochs:
        for _ in range(2):
            for _ in tqdm(range(40), desc=inner and "batch", file=stream, mininterval=0, leave=False):
                pass
            epochs.update()
        assert read(stream.getvalue().encode()) == Progress(2, 3, "step")


@pytest.mark.parametrize(
    ("printed", "done"),
    [
        (b"Epoch 3/10\n", 2), (b"Epoch: [3/10]\tloss 0.4\n", 2), (b"epoch 3 of 10\n", 2),
        (b"Epoch 2/10\n 50%|##  | 5/10 [00:01<00:01, 5it/s]\rEpoch 3/10\n 10%|#   | 1/10 [00:00<00:09, 1it/s]\r", 2),
    ],
)  # fmt: skip
def test_epochs_count_over_bars(printed, done):
    assert read(printed) == Progress(done, 10, "epoch")


@pytest.mark.parametrize(
    "printed",
    [
        b"3/10\n", b"Epoch 11/10\n", b"Epoch 3/0\n", b"50%| x | 7/5 [\n", b"loss 450/1000 [a]\n", b"\xff\x00" * 500,
        b" 90%|# | 9/10 [00:01<00:01]\r 10%|# | 1/10 [00:01<00:01]\r 20%|# | 2/10 [00:01<00:01]\r",
        b"load: 100%|##| 9/9 [00:01<00:00]\rfit: 10%|# | 1/10 [00:01<00:01]\r",
        b"Epoch " + b"9" * 400 + b"/" + b"9" * 400,
    ],
)  # fmt: skip
def test_what_is_no_progress_of_the_whole_is_not_taken(printed):
    assert read(printed) is None

"""The rival that `lstm_rivals` runs in a process of its own: an LSTM of neuralforecast or darts, as their users call it.

Run as a file by the Python of the rivals' environment, `python lstm_rival.py NAME PRICES_CSV THREADS SETTINGS_JSON`;
prints JSON: samples a second between two steps, processor seconds a sample, and the peak resident set in MiB. Imports
nothing of the queue.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
import warnings
from typing import Any

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np  # noqa: E402 - the libraries warn while they are imported
import pandas as pd  # noqa: E402
import pytorch_lightning as lightning  # noqa: E402
import torch  # noqa: E402

MARKS: list[tuple[float, float]] = []
"""Both clocks after each step; not in the callback, which neuralforecast copies."""


class Stopwatch(lightning.Callback):
    """Takes both clocks after each step."""

    def on_train_batch_end(self, *_arguments: Any, **_named: Any) -> None:
        """Take them."""
        MARKS.append((time.perf_counter(), time.process_time()))


def neuralforecast(prices: pd.DataFrame, settings: dict[str, int], trainer: dict[str, Any]) -> None:
    """Train with neuralforecast."""
    from neuralforecast import NeuralForecast
    from neuralforecast.models import LSTM

    model = LSTM(
        h=settings["h"],
        input_size=settings["window"],
        encoder_n_layers=1,
        encoder_hidden_size=settings["hidden"],
        encoder_dropout=0.0,
        max_steps=settings["steps"],
        batch_size=1,
        windows_batch_size=settings["batch"],
        scaler_type="identity",
        **trainer,
    )
    frame = pd.DataFrame({"unique_id": "wti", "ds": np.arange(len(prices)), "y": np.log(prices["price"])})
    NeuralForecast(models=[model], freq=1).fit(frame)


def darts(prices: pd.DataFrame, settings: dict[str, int], trainer: dict[str, Any]) -> None:
    """Train with darts."""
    from darts import TimeSeries
    from darts.models import BlockRNNModel

    model = BlockRNNModel(
        input_chunk_length=settings["window"],
        output_chunk_length=settings["h"],
        model="LSTM",
        hidden_dim=settings["hidden"],
        n_rnn_layers=1,
        batch_size=settings["batch"],
        n_epochs=100,
        pl_trainer_kwargs={**trainer, "max_steps": settings["steps"]},
    )
    model.fit(TimeSeries.from_values(np.log(prices["price"].to_numpy(dtype=np.float32))))


def main() -> None:
    """Train and print."""
    name, path, threads, settings = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
    torch.set_num_threads(threads)
    trainer = {
        "accelerator": "cpu",
        "callbacks": [Stopwatch()],
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    {"neuralforecast": neuralforecast, "darts": darts}[name](pd.read_csv(path), settings, trainer)
    (wall_from, cpu_from), (wall_to, cpu_to) = MARKS[settings["warm_steps"] - 1], MARKS[-1]
    samples = (len(MARKS) - settings["warm_steps"]) * settings["batch"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    told = {"samples_s": samples / (wall_to - wall_from), "cpu_s": (cpu_to - cpu_from) / samples, "peak_mib": peak}
    print(json.dumps(told))


if __name__ == "__main__":
    main()

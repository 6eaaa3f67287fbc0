"""Keras trainings for the tests, run by the Python that has TensorFlow: it prints one JSON line a scenario.

    python keras_scenarios.py EXPORTS PROCESSED ROOT

Run by `tests/integration/test_keras_backend.py`, which starts one process for all of them: importing TensorFlow takes
seconds. The trainer is the real one, the channel a scripted one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl

from cbi_queue.models.catalogue import MODELS
from cbi_queue.protocol import CheckpointSaved, EpochReport, MicroBatchChanged, Note, Restored
from jobs.keras_backend.device import keras
from jobs.keras_backend.parity import placed
from jobs.nets.parity import PassResult
from jobs.process.channel import StopRequested
from jobs.registry import trainer_for
from support.fakes import ScriptedChannel, make_task

SMALL = {
    "feed_forward": {"epochs": 3, "hidden": [16], "sequence_length": 8, "batch_size": 32, "shrink": False},
    "lstm": {"epochs": 3, "hidden_size": 8, "sequence_length": 8, "shrink": False},
    "gru_2_layer": {"epochs": 2, "hidden_size": 8, "sequence_length": 4, "shrink": False},
}
"""Not shrunk: without skill they would all forecast 0, and be equal whatever they learned."""
STEPS = 123  # 3911 training rows and more, in batches of 32: the last one is smaller
STOPS = {"feed_forward": (40, STEPS + 11), "lstm": (40, 7, STEPS + 11, 60), "gru_2_layer": (STEPS + 11,)}


class Killed(Exception):
    """Raised in place of SIGKILL: nothing is saved."""


class Bench:
    """Runs models, each scenario in its own folder."""

    def __init__(self, exports: Path, processed: Path, root: Path) -> None:
        self._exports, self._processed, self._root = exports, processed, root

    def attempt(self, run: str, model: str, channel: ScriptedChannel | None = None, **assigned) -> dict:
        """Run one attempt in the folder *run*; return its reports and the files it left."""
        channel = channel or ScriptedChannel()
        spec = {"family": MODELS[model].family, "model": model, "backend": "tensorflow", "params": SMALL[model]}
        task = make_task(self._root / run, spec, self._processed, self._exports, channel)
        task = replace(task, assignment=replace(task.assignment, **assigned))
        trainer = trainer_for(model, "tensorflow")
        told = {"started": asdict(trainer.prepare(task)), "ended": "finished", "seen": {}}
        try:
            told["metrics"] = trainer.train(task).metrics
        except StopRequested:
            told["ended"] = "stopped"
        except Killed:
            told["ended"] = "killed"
        else:
            told["seen"] = seen_in(task.run_dir)
        for kind in (EpochReport, CheckpointSaved, MicroBatchChanged, Note, Restored):
            told[kind.type] = [asdict(report) for report in channel.of_type(kind)]
        told["safe_points"] = channel.safe_points
        return told

    def to_the_end(self, run: str, model: str, stops: tuple[int, ...], **assigned) -> list[dict]:
        """Stop at one safe point after the other, then run to the end."""
        channels = [*(ScriptedChannel(stop_at=stop) for stop in stops), ScriptedChannel()]
        return [self.attempt(run, model, channel, **assigned) for channel in channels]


def seen_in(run_dir: Path) -> dict:
    """Return forecasts, files and the digest of the weights in a finished run's folder."""
    table = pl.read_parquet(run_dir / "predictions.parquet")
    net = keras.models.load_model(run_dir / "model.keras", compile=False)
    weights = b"".join(np.ascontiguousarray(weight).tobytes() for weight in net.get_weights())
    return {
        "predicted": table["predicted_return"].to_list(),
        "weights": hashlib.sha256(weights).hexdigest(),
        "files": sorted(path.name for path in run_dir.iterdir() if path.is_file()),
        "layers": [layer["class_name"] for layer in net.get_config()["layers"]],
        "policies": sorted({layer.dtype_policy.name for layer in net.layers}),
        "libraries": json.loads((run_dir / "metrics.json").read_text())["libraries"],
    }


def ordering(micro_batches: dict[int, int]) -> ScriptedChannel:
    """Make a channel on which each micro-batch is ordered at its safe point."""
    channel = ScriptedChannel()
    channel.at = {
        at: lambda size=size: setattr(channel, "wanted_micro_batch", size) for at, size in micro_batches.items()
    }
    return channel


def killed_at(safe_point: int) -> ScriptedChannel:
    """Make a channel on which the process dies at a safe point."""

    def die() -> None:
        raise Killed

    return ScriptedChannel(at={safe_point: die})


def reloaded(run_dir: Path, processed: Path) -> list[float]:
    """Forecast again from the files of a run alone, with Keras and without our code."""
    told, made = (json.loads((run_dir / name).read_text()) for name in ("model.json", "preproc.json"))
    net = keras.models.load_model(run_dir / told["model"], compile=False)
    frame = pl.read_parquet(processed / "1m_features.parquet")
    x = frame.select(made["features"]).to_numpy().astype(np.float32)
    z = np.clip((x - np.array(made["mean"])) * np.array(made["scale"]), -made["limit_sd"], made["limit_sd"])
    groups = [[made["features"].index(name) for name in names] for names in made["indicators"]]
    missing = [np.isnan(x[:, group]).mean(axis=1, keepdims=True) for group in groups]
    inputs = np.hstack([np.nan_to_num(z, nan=0.0), *missing]).astype(np.float32)
    length = told["window_rows"]
    windows = np.stack([inputs[row - length + 1 : row + 1] for row in range(length - 1, len(inputs))])
    forecast = net.predict(windows, verbose=0, batch_size=128).ravel()
    return (forecast.astype(np.float64) * made["target_sd"] + made["target_mean"]).tolist()


def parity(error: float) -> dict:
    """Tell where a run is placed whose GPU is off by *error*."""
    here = PassResult(1.0, np.array([3.0, 4.0]))

    def compute(device: str, _precision: str) -> PassResult:
        return here if device == "cpu" else PassResult(here.loss * (1 + error), here.gradient * (1 + error))

    return asdict(placed(("mps", "cpu"), "float16", compute, gpu=lambda: "mps"))


def scenarios(bench: Bench, root: Path, processed: Path):
    """Yield every scenario's name and result."""
    for model in SMALL:
        yield f"{model} undisturbed", bench.attempt(f"{model}-a", model)
        yield f"{model} stopped", bench.to_the_end(f"{model}-b", model, STOPS[model])
        yield f"{model} recut", bench.attempt(f"{model}-c", model, ordering({50: 16, 181: 5}))
    yield "again", bench.attempt("again", "lstm")
    yield "killed", [bench.attempt("killed", "lstm", killed_at(2 * STEPS)), bench.attempt("killed", "lstm")]
    yield "assigned", bench.attempt("assigned", "lstm", micro_batch=16)
    downgraded = ordering({50: 16})
    downgraded.stop_at = 200
    yield "sticky", [bench.attempt("sticky", "lstm", downgraded), bench.attempt("sticky", "lstm")]
    yield "half", bench.attempt("half", "lstm", precision="float16")
    yield "half stopped", bench.to_the_end("half-b", "lstm", (100,), precision="float16")
    yield "half recut", bench.attempt("half-c", "lstm", ordering({50: 16}), precision="float16")
    for model in SMALL:
        yield f"{model} reloaded", reloaded(root / f"{model}-a", processed)
    yield "parity", {str(error): parity(error) for error in (0.001, 0.05, 1.0, float("nan"))}
    channel = ScriptedChannel()
    bench.attempt("probed", "feed_forward", channel)
    yield "probed", asdict(channel.probe())


if __name__ == "__main__":
    exports, processed, root = map(Path, sys.argv[1:])
    for name, outcome in scenarios(Bench(exports, processed, root), root, processed):
        print(json.dumps([name, outcome]), flush=True)

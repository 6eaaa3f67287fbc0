"""LSTM 1x128, windows of 256 days, batch 64: our trainer against neuralforecast and darts, samples a second and memory.

Each turn is a fresh process with the same threads on the same real series, one after the other in changing order. Ours
is the trainer that the queue starts, with its environment, channel, reports and safe points; what is compared is the time between
training steps (a first epoch, or as many steps, warms up), and the peak of the whole process. The rivals forecast 21
days at once where ours forecasts the return over 21 days: beside 67,000 recurrent weights their heads weigh little.

The rivals live in an environment of their own, made at the first run in the user's cache folder (1.5 GB).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
import polars as pl

from benchmarks.measuring import Line, Target, ratios
from cbi_queue.artifacts import sha256_of
from cbi_queue.identity import identity_of
from cbi_queue.protocol import Assignment, Begin, EpochReport, Failed, Finished, decode_report, encode
from cbi_queue.spec import JobSpec
from jobs.data.feature_store import cache_files
from jobs.sample_data import build
from workers.trainer.environment import KEEP_FREED, trainer_environment

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = ("torch==2.13.0", "neuralforecast==3.3.0", "darts[torch]==0.48.1")
RIVALS = ("neuralforecast", "darts")
BATCH, WINDOW, HIDDEN, H, STEPS = 64, 256, 128, 21, 12
BLOCK = 30
DAYS = STEPS * BATCH + WINDOW - 1 + 2 * (H + BLOCK) + H
"""Days of the series: what our split leaves for training is STEPS whole batches."""
THREADS = 1
SETTINGS = {"batch": BATCH, "window": WINDOW, "hidden": HIDDEN, "h": H, "steps": 2 * STEPS, "warm_steps": STEPS}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one process came to."""

    samples_s: float
    cpu_s: float
    """Processor seconds a sample."""
    peak_mib: float


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds."""
    python = _environment() if RIVALS else Path(sys.executable)
    with tempfile.TemporaryDirectory() as raw:
        folder = Path(raw)
        _furnish(folder)
        turns: dict[str, list[Turn]] = {name: [] for name in ("ours", *RIVALS)}
        takes: dict[str, Callable[[int], Turn]] = {
            "ours": lambda number: _ours(folder, number),
            **{name: lambda _number, name=name: _rival(python, name, folder) for name in RIVALS},
        }
        for number in range(rounds):
            order = list(takes)[number % 3 :] + list(takes)[: number % 3]
            for name in order:
                turns[name].append(takes[name](number))
    alone = Line("LSTM, samples a second, ours", "1/s", tuple(turn.samples_s for turn in turns["ours"]))
    return [line for name in RIVALS for line in _compared(turns["ours"], turns[name], name)] or [alone]


def _compared(ours: list[Turn], theirs: list[Turn], name: str) -> list[Line]:
    speed = ratios([turn.samples_s for turn in ours], [turn.samples_s for turn in theirs])
    work = ratios([turn.cpu_s for turn in theirs], [turn.cpu_s for turn in ours])
    memory = ratios([turn.peak_mib for turn in ours], [turn.peak_mib for turn in theirs])
    told = f"ours {_middle(ours, 'samples_s'):.0f}, {name} {_middle(theirs, 'samples_s'):.0f} samples a second"
    cpu_ms = [f"{1000 * _middle(turns, 'cpu_s'):.2f}" for turns in (ours, theirs)]
    worked = f"ours {cpu_ms[0]}, {name} {cpu_ms[1]} ms of processor time a sample"
    peaks = f"ours {_middle(ours, 'peak_mib'):.0f}, {name} {_middle(theirs, 'peak_mib'):.0f} MiB"
    return [
        Line(f"LSTM, samples a second, ours / {name}", "x", speed, Target(1.0, at_most=False), told),
        Line(f"the same by processor time, which neighbours disturb less, ours / {name}", "x", work, note=worked),
        Line(f"LSTM, peak memory, ours / {name}", "x", memory, Target(1.0), peaks),
    ]


def _middle(turns: list[Turn], field: str) -> float:
    return statistics.median(getattr(turn, field) for turn in turns)


def _environment() -> Path:
    """Return the Python of the rivals' environment, made when it is not there."""
    root = Path(platformdirs.user_cache_dir("cbi-queue-benchmarks")) / "rivals"
    python, ready = root / "bin" / "python", root / "ready.json"
    if not ready.exists() or json.loads(ready.read_text()) != list(PACKAGES):
        subprocess.run([sys.executable, "-m", "venv", "--clear", root], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True, stdout=subprocess.DEVNULL)
        ready.write_text(json.dumps(PACKAGES))
    return python


def _furnish(folder: Path) -> None:
    """Put the last DAYS prices of the real series where ours and the rivals look for them."""
    for name in ("raw", "exports"):
        (folder / name).mkdir()
    build(folder / "raw", folder / "exports")
    export = pl.read_parquet(folder / "exports" / "production_training_data_1m.parquet").tail(DAYS)
    prices = export.select(pl.col("date").cast(pl.Date), pl.col("price").cast(pl.Float64))
    prices.select("price").write_csv(folder / "prices.csv")
    files = cache_files(folder, "1m")
    log_price = pl.Series("log_price", np.log(prices["price"].to_numpy()).astype(np.float32))
    prices.with_columns(log_price).write_parquet(files.parquet)
    files.write_manifest({"source_sha256": "0" * 64, "output_sha256": sha256_of(files.parquet)})


def _ours(folder: Path, number: int) -> Turn:
    """Run the trainer that the queue starts; its second epoch counts."""
    params = {
        "epochs": 2,
        "batch_size": BATCH,
        "sequence_length": WINDOW,
        "hidden_size": HIDDEN,
        "dropout": 0.0,
        "validation_rows": BLOCK,
        "backtest_rows": BLOCK,
        "embargo_rows": 0,
    }
    spec = JobSpec(day=1, name="lstm", family="simple_neural", model="lstm", horizon="1m", params=params)
    run_dir = folder / f"run-{number}"
    run_dir.mkdir()
    identity = identity_of(spec.canonical_json())
    assignment = Assignment(
        1, 1, "benchmark", identity, spec.model_dump(mode="json"), str(run_dir), str(folder), str(folder), THREADS
    )
    reports = _reports(assignment)
    epoch = [report for report in reports if isinstance(report, EpochReport)][-1]
    peak_mib = next(report.peak_rss_mib for report in reports if isinstance(report, Finished))
    return Turn(epoch.samples / epoch.train_s, epoch.cpu_s * epoch.train_s / epoch.wall_s / epoch.samples, peak_mib)


def _reports(assignment: Assignment) -> list[Any]:
    read_fd, write_fd = os.pipe()
    command = [sys.executable, "-m", "jobs", "--report-fd", str(write_fd)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[write_fd], env=trainer_environment(THREADS)
    )
    os.close(write_fd)
    process.stdin.write(encode(Begin(assignment)))
    process.stdin.flush()
    with os.fdopen(read_fd, "rb") as up:
        reports = [decode_report(line) for line in up]
    process.stdin.close()
    process.wait()
    if failed := [report for report in reports if isinstance(report, Failed)]:
        raise RuntimeError(failed[0].error)
    return reports


def _rival(python: Path, name: str, folder: Path) -> Turn:
    script = Path(__file__).with_name("lstm_rival.py")
    command = [python, "-P", script, name, str(folder / "prices.csv"), str(THREADS), json.dumps(SETTINGS)]
    done = subprocess.run(command, env=_plain_environment(), cwd=folder, check=True, capture_output=True, text=True)
    return Turn(**json.loads(done.stdout.splitlines()[-1]))


def _plain_environment() -> dict[str, str]:
    """Return the queue's environment of a trainer without its heap settings: no rival sets any for its users."""
    return {name: value for name, value in trainer_environment(THREADS).items() if name not in KEEP_FREED}

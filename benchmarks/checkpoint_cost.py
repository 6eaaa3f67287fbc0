"""`python benchmarks/checkpoint_cost.py`: the share of training time that checkpoints take, feed-forward net as planned.

Builds the sample exports and one feature cache (real daily series) in a folder of its own, trains the default
configuration without early stopping, and sets the seconds of training against the seconds spent on checkpoints. The
folder decides the disk that is measured: give --folder on the volume that holds the models.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.identity import identity_of
from cbi_queue.protocol import Assignment, CheckpointSaved, EpochReport
from cbi_queue.spec import JobSpec
from jobs.registry import trainer_for
from jobs.sample_data import build
from jobs.trainer import Task

if TYPE_CHECKING:
    from benchmarks.measuring import Line
    from cbi_queue.protocol import Message

HORIZON = "1m"
EPOCHS = 40
BOUND_SHARE = 0.035


class Listener:
    """A channel that asks for nothing and keeps what is reported."""

    def __init__(self) -> None:
        self.reports: list[Message] = []
        self.paused_s = 0.0
        self.is_paced = False
        self.wanted_micro_batch: int | None = None

    def report(self, message: Message) -> None:
        """Keep a report."""
        self.reports.append(message)

    def safe_point(self, epoch: int) -> None:
        """Go on."""

    def take_was_paused(self) -> bool:
        """Say that nobody paused."""
        return False


def measure(folder: Path, epochs: int, threads: int) -> dict[str, object]:
    """Train in *folder* and say what the checkpoints cost."""
    for name in ("raw", "exports", "processed"):
        (folder / name).mkdir()
    build(folder / "raw", folder / "exports")
    train(folder, Listener(), "features", "feature_cache", {}, threads)
    channel = Listener()
    params = {"epochs": epochs, "patience": epochs}
    trained_s, wall_s = train(folder, channel, "simple_neural", "feed_forward", params, threads)
    saved = [report for report in channel.reports if isinstance(report, CheckpointSaved)]
    epoch_s = [report.wall_s for report in channel.reports if isinstance(report, EpochReport)]
    share = (wall_s - trained_s) / trained_s
    return {
        "epochs": len(epoch_s),
        "epoch_s_median": round(statistics.median(epoch_s), 3),
        "training_s": round(trained_s, 2),
        "outside_training_s": round(wall_s - trained_s, 2),
        "checkpoints": len(saved),
        "checkpoint_mib": round(saved[-1].bytes / 2**20, 1),
        "checkpoint_s_median": round(statistics.median(report.wall_s for report in saved), 3),
        "share_pct": round(100 * share, 2),
        "bound_pct": round(100 * BOUND_SHARE, 2),
        "threads": threads,
        "within": share <= BOUND_SHARE,
    }


def train(
    folder: Path, channel: Listener, family: str, model: str, params: dict[str, int], threads: int
) -> tuple[float, float]:
    """Run one job; return the seconds of training and those from the first step to the last, checkpoints included."""
    spec = JobSpec(day=1, name=model, family=family, model=model, horizon=HORIZON, params=params)
    run_dir = folder / model
    run_dir.mkdir()
    assignment = Assignment(
        job_id=1,
        attempt=1,
        ledger_id="benchmark",
        identity=identity_of(spec.canonical_json()),
        spec=spec.model_dump(mode="json"),
        run_dir=str(run_dir),
        exports_dir=str(folder / "exports"),
        processed_dir=str(folder / "processed"),
        threads=threads,
    )
    task, trainer = Task(assignment, spec, channel), trainer_for(model, spec.backend)
    trainer.prepare(task)
    started_s = time.monotonic()
    finished = trainer.train(task)
    predict_s = finished.metrics.get("predict_s", 0.0)
    return finished.metrics.get("fit_s", 0.0), time.monotonic() - started_s - predict_s


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds, for `python -m benchmarks checkpoints`."""
    from benchmarks.measuring import Line, Target

    results = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(Path(folder), EPOCHS, threads=1))
    last, shares = results[-1], tuple(float(result["share_pct"]) for result in results)
    note = f"{last['checkpoints']} checkpoints of {last['checkpoint_mib']} MiB in {last['training_s']} s of training"
    return [Line("checkpoints, share of training time", "%", shares, Target(100 * BOUND_SHARE), note)]


def main() -> int:
    """Measure, print JSON, and fail when the bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="folder on the disk to measure; default: the system's temporary one"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(Path(folder), arguments.epochs, arguments.threads)
    print(json.dumps(result, indent=2))
    return 0 if result["within"] else 1


if __name__ == "__main__":
    sys.exit(main())

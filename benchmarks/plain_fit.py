"""One fit as a plain script makes it: a process of its own, the same trainer, nobody who listens.

Reads JSON on standard input: the spec, the folders, and the runs that were made before.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Train the job that is described on standard input."""
    from cbi_queue.artifacts import Manifest, complete_folder
    from cbi_queue.identity import identity_of
    from cbi_queue.protocol import Assignment
    from cbi_queue.spec import JobSpec
    from jobs.process.channel import Channel
    from jobs.registry import trainer_of
    from jobs.trainer import Task

    given = json.load(sys.stdin)
    spec = JobSpec.model_validate(given["spec"])
    run_dir = Path(given["run_dir"])
    run_dir.mkdir(parents=True)
    before = {run["name"]: run["run_dir"] for run in given["before"] if Path(run["run_dir"], "manifest.json").exists()}
    members = tuple(
        {"name": name, "model": "", "run": "1.1", "run_dir": before[name]} for name in spec.after if name in before
    )
    identity = identity_of(spec.canonical_json())
    assignment = Assignment(
        1, 1, "plain", identity, spec.model_dump(mode="json"), str(run_dir),
        exports_dir=given["exports_dir"], processed_dir=given["processed_dir"],
        needed_runs={name: before[name] for name in spec.needs if name in before}, members=members,
    )  # fmt: skip
    with Path(os.devnull).open("wb") as up, Path(os.devnull).open("rb") as down:
        task = Task(assignment, spec, Channel(up, down))
        trainer = trainer_of(spec)
        trainer.prepare(task)
        finished = trainer.train(task)
    complete_folder(run_dir, Manifest("plain", 1, 1, identity, metrics=finished.metrics))


if __name__ == "__main__":
    main()

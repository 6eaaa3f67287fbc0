"""`python -m cbi_queue.tracking`: the tracker, as the daemon starts it: once, beside the slot, behind everything else.

With `--experiment FOLDER NAME` it makes the store in FOLDER and the experiment, if they are missing, and writes no run.

With `--now` at full priority: when the queue is empty, and the daemon waits for it.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from cbi_queue.errors import CbiError
from cbi_queue.settings import load_settings
from cbi_queue.tracking.reading import TrackingFailed
from cbi_queue.tracking.store import MlflowStore
from cbi_queue.tracking.tracker import track
from cbi_queue.tracking_state import write_state

NICENESS = 10
"""A trainer on the same core keeps nine tenths of it for the seconds that this takes; with 19 a busy machine would not let
it end at all."""


def main() -> int:
    """Track once; return 0 when every run is in the store, 1 otherwise."""
    if sys.argv[1:2] == ["--experiment"]:
        return _make_experiment(Path(sys.argv[2]), sys.argv[3])
    if sys.argv[1:] != ["--now"]:
        os.nice(NICENESS)
    settings = load_settings()
    try:
        track(settings)
    except TrackingFailed:
        return 1  # it has written why, or another tracker is at work
    except CbiError as exc:
        write_state(settings, 0, f"runs are not tracked: {exc.message}")
        return 1
    return 0


def _make_experiment(folder: Path, name: str) -> int:
    """Make store and experiment for a script that logs its own runs; print why it cannot be."""
    try:
        MlflowStore(folder).make_experiment(name)
    except TrackingFailed as exc:
        print(exc.message)
        return 1
    return 0


if __name__ == "__main__":
    gc.disable()  # for seconds; collecting what MLflow's 1,800 modules are takes a fifth of them
    code = main()
    sys.stdout.flush()
    os._exit(code)  # everything is committed: taking those modules down again takes 0.2 s

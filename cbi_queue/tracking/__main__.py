"""`python -m cbi_queue.tracking`: the tracker, as the daemon starts it: once, beside the slot, behind everything else.

With `--experiment FOLDER NAME` it makes the store in FOLDER and the experiment, if they are missing, and writes no run.

With `--now` at full priority: when the queue is empty, and the daemon waits for it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path

import psutil

from cbi_queue.errors import CbiError
from cbi_queue.settings import load_settings
from cbi_queue.tracking.reading import TrackingFailed
from cbi_queue.tracking.store import MlflowStore
from cbi_queue.tracking.tracker import track
from cbi_queue.tracking_state import write_state

NICENESS = 19
"""A trainer on the same core keeps 98 hundredths of it. Where it trains on all of them, this takes a minute or two; the daemon
waits for a quarter of an hour. Only a transaction must stay short, or a script that logs to the same store would wait in
vain for it: see `store.BATCH`."""
_DARWIN_PROCESS, _DARWIN_BACKGROUND = 4, 0x1000
"""`PRIO_DARWIN_PROCESS` and `PRIO_DARWIN_BG` of <sys/resource.h>: efficiency cores, and disk access behind all others'."""


def main() -> int:
    """Track once; return 0 when every run is in the store, 1 otherwise."""
    if sys.argv[1:2] == ["--experiment"]:
        return _make_experiment(Path(sys.argv[2]), sys.argv[3])
    if sys.argv[1:] != ["--now"]:
        step_back()
    settings = load_settings()
    try:
        track(settings)
    except TrackingFailed:
        return 1  # it has written why, or another tracker is at work
    except CbiError as exc:
        write_state(settings, 0, f"runs are not tracked: {exc.message}")
        return 1
    return 0


def step_back() -> None:
    """Give way to every other process, on the cores and at the disk. A system that refuses is no reason not to track."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(OSError, psutil.Error):
        if sys.platform == "darwin":  # pragma: no cover - exercised on macOS only
            os.setpriority(_DARWIN_PROCESS, 0, _DARWIN_BACKGROUND)
        else:
            psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


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

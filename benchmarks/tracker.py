"""Processor time of the tracker: a net's run written to MLflow's store by a process of its own, and several by one.

The store exists, as from the second tracker on; every round writes the same runs into a fresh copy of it. The slot has no part in
it: the trainings are over.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from benchmarks.installation import installation
from benchmarks.measuring import Line, Target, in_seconds, processor_seconds
from cbi_queue.tracking.reading import database
from cbi_queue.tracking.store import is_installed

if TYPE_CHECKING:
    from benchmarks.installation import Installation

EPOCHS = 100
MORE = 4
"""Runs that end while the first one waits for its tracker; 0: not measured."""
MOST_S = 1.5
_PARAMS = {"hidden": [8], "sequence_length": 4, "batch_size": 1024}


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds."""
    alone: list[float] = []
    shared: list[float] = []
    if not is_installed():
        return [Line("a tracker for one run", "s", (), Target(MOST_S), "MLflow is not installed")]
    with installation() as home:
        (home.root / "config.toml").write_text('tracking = "off"\n')
        home.furnish()
        _track(home)
        kept = home.root / "mlflow.db"
        shutil.copyfile(database(home.settings), kept)
        for seeds, measured in ((range(1), alone), (range(1, 1 + MORE), shared)):
            if not seeds:
                break
            _train(home, seeds)
            for _ in range(rounds):
                shutil.copyfile(kept, database(home.settings))
                measured.append(processor_seconds(lambda: _track(home)))
                _check(home, 2 + seeds[-1])
    found = [Line(f"a tracker for one run of {EPOCHS} epochs", "s", tuple(alone), Target(MOST_S))]
    if shared:
        each = tuple((all_of_them - one) / MORE for all_of_them, one in zip(shared, alone, strict=True))
        found.append(Line("a tracker, for each run more", "s", each, note=f"{1 + MORE} runs {in_seconds(shared)}"))
    return found


def _train(home: Installation, seeds: range) -> None:
    """Train a net of *EPOCHS* epochs for each of the *seeds*."""
    params = {**_PARAMS, "epochs": EPOCHS, "patience": EPOCHS}
    job = {"family": "simple_neural", "model": "feed_forward", "horizon": "1w", "needs": ["features-1w"]}
    home.enqueue(*({**job, "name": f"net-{seed}", "params": {**params, "seed": seed}} for seed in seeds))
    home.work_off()


def _track(home: Installation) -> None:
    home.python("-m", "cbi_queue.tracking", "--now")


def _check(home: Installation, runs: int) -> None:
    """Check that the store has so many runs: a tracker that writes nothing is quick."""
    with closing(sqlite3.connect(database(home.settings))) as store:
        found = store.execute("SELECT count(*), (SELECT count(DISTINCT step) FROM metrics) FROM runs").fetchone()
    if found[0] != runs or found[1] < EPOCHS:
        msg = f"the store has {found[0]} runs with {found[1]} steps, not {runs} with {EPOCHS}"
        raise RuntimeError(msg)

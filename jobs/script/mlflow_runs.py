"""The runs that a script logs to MLflow itself: where they go, and which they were."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.protocol import Note

if TYPE_CHECKING:
    from cbi_queue.models.parameters.script import ScriptParams
    from jobs.trainer import Task

_MAKE_S = 120.0
_MOST = 20
_SQL = """
    SELECT r.run_uuid, r.name, e.name, e.experiment_id FROM runs r JOIN experiments e USING (experiment_id)
    WHERE r.start_time >= ? AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid AND t.key LIKE 'cbi_queue.%')
    ORDER BY r.start_time LIMIT ?
"""


class OwnRuns:
    """Hands the store over to a script that asks for it, and tells afterwards which runs began meanwhile."""

    def __init__(self, task: Task, params: ScriptParams) -> None:
        """Know where the store is; nothing is done for a script that does not ask."""
        self._task, self._since_ms = task, int(time.time() * 1000)
        self._folder = Path(task.assignment.mlflow_dir) if params.mlflow and task.assignment.mlflow_dir else None
        self._project = params.project or Path(params.workdir).name or "scripts"
        if params.mlflow and self._folder is None:
            self._tell("tracking is off: the script gets no address of MLflow's store")

    def environment(self) -> dict[str, str]:
        """Return MLflow's own variables, once store and experiment are there; none when they cannot be made."""
        if self._folder is None:
            return {}
        command = [sys.executable, "-P", "-m", "cbi_queue.tracking", "--experiment", str(self._folder), self._project]
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=_MAKE_S, check=False)
            why = None if made.returncode == 0 else made.stdout.strip() or "the tracker ended without a word"
        except subprocess.TimeoutExpired:
            why = f"the store was not made in {_MAKE_S:.0f} s"
        except OSError as exc:
            why = f"the tracker cannot be started: {exc.strerror}"
        if why is not None:
            self._folder = None
            self._tell(f"the script gets no address of MLflow's store: {why[:500]}")
            return {}
        uri = f"sqlite:///{self._folder / 'mlflow.db'}"
        return {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": self._project}

    def tell(self) -> None:
        """Tell which runs began in the store since the start, but for those that the queue wrote."""
        if self._folder is None:
            return
        path = self._folder / "mlflow.db"
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2.0)) as conn:
                rows = conn.execute(_SQL, (self._since_ms, _MOST)).fetchall()
        except (sqlite3.Error, ValueError) as exc:
            self._tell(f"its runs in MLflow are not known: {str(exc)[:200]}")
            return
        for run_id, name, experiment, number in rows:
            self._tell(f"logged to MLflow: run {name} of {experiment} (#/experiments/{number}/runs/{run_id})")

    def _tell(self, words: str) -> None:
        self._task.channel.report(Note(words))

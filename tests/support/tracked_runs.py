"""Ended runs without a training, their folders with a manifest, and MLflow's store as its own client reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import Manifest, complete_folder
from cbi_queue.ledger.claims import claim, record_trainer
from cbi_queue.ledger.settlement import fail, finish
from cbi_queue.lifecycle import Outcome, Reason
from cbi_queue.protocol import EpochReport
from cbi_queue.telemetry.telemetry import Telemetry
from support.ledger_rows import add, job

if TYPE_CHECKING:
    from pathlib import Path

    from support.installation import Installation

LOSSES = {"train_loss": 0.5, "validation_loss": 0.25}
_READ = """
import json, sys
from mlflow import MlflowClient
for line in sys.stdin:
    client, told = MlflowClient(tracking_uri=line.strip()), []
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id], max_results=5000):
            history = client.get_metric_history(run.info.run_id, "validation_loss")
            told.append({
                "experiment": experiment.name, "name": run.info.run_name, "status": run.info.status, "id": run.info.run_id,
                "params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
                "curve": sorted([metric.step, metric.value] for metric in history),
                "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
                "folder": run.info.artifact_uri, "took_ms": run.info.end_time - run.info.start_time,
            })
    print(json.dumps(told), flush=True)
"""


class MlflowReader:
    """MLflow's own client, in one process for many stores: to import it takes seconds."""

    def __init__(self, root: Path) -> None:
        """Start it; *root* is the folder that it works in."""
        self._errors = root / "stderr"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", _READ],
                cwd=root, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip

    def runs(self, uri: str) -> list[dict[str, Any]]:
        """Return what MLflow says of every run of the store at *uri*."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{uri}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._errors.read_text()[-2000:]
        told: list[dict[str, Any]] = json.loads(answer)
        return told

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@dataclass
class TrackedRuns:
    """Makes runs in one installation, and reads what MLflow has of them."""

    installation: Installation
    reader: MlflowReader

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return self.installation.settings.models / "mlflow"

    @property
    def uri(self) -> str:
        """The store as MLflow names it."""
        return f"sqlite:///{self.store / 'mlflow.db'}"

    def ended(
        self,
        name: str,
        epochs: int = 0,
        *,
        metrics: dict[str, Any] | None = None,
        veto: str | None = None,
        error: str | None = None,
        report: dict[str, Any] | None = None,
        **spec: Any,
    ) -> Path:
        """Take a job to its end as the slot does, with files and telemetry; return its run folder."""
        settings = self.installation.settings
        folder = settings.models / "local" / "1w" / name
        with self.installation.ledger() as ledger:
            number = add(ledger, name, **spec)
            attempt = claim(ledger, number)
            assert attempt is not None
            record_trainer(ledger, attempt.id, pid=1, started=0.0, log_path="", run_dir=str(folder), settings={})
            telemetry = Telemetry(settings.telemetry_path)
            for epoch in range(1, epochs + 1):
                values = LOSSES | {"validation_loss": 1.0 / epoch} | (report or {})
                telemetry.record(number, 1, "epoch", EpochReport(epoch, epochs, 0.1, samples=100, **values))
            telemetry.close()
            if error is not None:
                fail(ledger, number, Outcome.ERROR, Reason.RETRIES_SPENT, error)
                return folder
            folder.mkdir(parents=True)
            (folder / "model.txt").write_text("trees")
            (folder / "training_hash.txt").write_text(f"code commit {'a' * 40}\ndata sha256 0\nspec sha256 0\n")
            found = {"backtest": {"skill_mae": 0.01, "skill_low": -0.02, "skill_high": 0.04, "mape_pct": 2.5}} | (
                metrics or {}
            )
            manifest = Manifest(ledger.ledger_id, number, 1, job(ledger, name).identity, found, veto)
            complete_folder(folder, manifest)
            finish(ledger, number, metrics=found, veto=veto)
        return folder

    def track(self, *arguments: str, code: int = 0) -> str:
        """Run the verb."""
        return self.installation.cli("track", *arguments, code=code)

    def runs(self) -> dict[str, dict[str, Any]]:
        """Return name -> what MLflow's own client says of the run; every name must be there once."""
        told = self.reader.runs(self.uri)
        names = [run["name"] for run in told]
        assert len(set(names)) == len(names), "a run is there twice"
        return {run["name"]: run for run in told}

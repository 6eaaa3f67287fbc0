"""A job that exports the model of its horizon that ranks first, as `cbi-queue export` does, and by that verb itself.

A stopped export starts over; nothing of it is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cbi_queue.artifacts import write_json
from cbi_queue.protocol import Finished, Started
from jobs.queue_verb import run_verb

if TYPE_CHECKING:
    from cbi_queue.models.parameters.export import ExportParams
    from jobs.trainer import Task


class VertexPackage:
    """Exports one model."""

    def prepare(self, task: Task) -> Started:
        """Say what will be done."""
        return Started(
            total_epochs=1, unit="fit", one_shot=True, fingerprint=f"{task.spec.model} {task.spec.horizon} export"
        )

    def train(self, task: Task) -> Finished:
        """Run the verb; keep what it said. Raises as `run_verb` does."""
        spec, params = task.spec, cast("ExportParams", task.spec.typed_params)
        named = [] if params.job is None else ["--job", params.job]
        said = run_verb(task, "export", spec.horizon, "--dataset", spec.dataset, *named)
        metrics = {
            name: said[name] for name in ("job", "job_id", "model_id", "display_name", "folder", "parity", "words")
        }
        metrics["latency_class"] = said["latency"]["class"]
        write_json(task.run_dir / "metrics.json", metrics)
        return Finished(metrics)

"""A job that trades the best models of its horizon, as `cbi-queue backtest` does, and by that verb itself.

The equity curves, their picture and the results of all runs are files of its run folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cbi_queue.artifacts import write_json
from cbi_queue.protocol import Finished, Started
from jobs.queue_verb import run_verb

if TYPE_CHECKING:
    from cbi_queue.models.parameters.export import BacktestParams
    from jobs.trainer import Task


class Backtest:
    """Trades the best models of one horizon."""

    def prepare(self, task: Task) -> Started:
        """Say what will be done."""
        return Started(
            total_epochs=1, unit="fit", one_shot=True, fingerprint=f"{task.spec.model} {task.spec.horizon} backtest"
        )

    def train(self, task: Task) -> Finished:
        """Run the verb into the run folder; keep what it said. Raises as `run_verb` does."""
        spec, params = task.spec, cast("BacktestParams", task.spec.typed_params)
        options = {"--dataset": spec.dataset, "--best": str(params.best), "--to": str(task.run_dir)}
        said = run_verb(task, "backtest", spec.horizon, *(word for option in options.items() for word in option))
        first = said["rows"][0]
        metrics = {**said, "traded": first["name"], "traded_sharpe": first["sharpe"]}
        write_json(task.run_dir / "metrics.json", metrics)
        return Finished(metrics)

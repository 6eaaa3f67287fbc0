"""A job that forecasts a data set with the best model of each horizon, as `cbi-queue forecast` does, and by that verb.

It trains nothing, forecasts every horizon of its data set whatever its own, and ends in one step; a stopped one starts over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cbi_queue.artifacts import write_json
from cbi_queue.protocol import Finished, Started
from jobs.queue_verb import run_verb

if TYPE_CHECKING:
    from cbi_queue.models.parameters.export import DailyForecastParams
    from jobs.trainer import Task

SOME_REFUSED = 1
"""Exit code of the verb when some horizons could not be forecast."""


class DailyForecast:
    """Forecasts one data set."""

    def prepare(self, task: Task) -> Started:
        """Say what will be done."""
        return Started(total_epochs=1, unit="fit", one_shot=True, fingerprint=f"{task.spec.model} forecast")

    def train(self, task: Task) -> Finished:
        """Run the verb; keep what it said. Raises as `run_verb` does."""
        params = cast("DailyForecastParams", task.spec.typed_params)
        old = ["--old-data"] if params.old_data else []
        said = run_verb(task, "forecast", "--dataset", task.spec.dataset, *old, also=(SOME_REFUSED,))
        written = said["written"]
        metrics = {
            "forecast_day": written["day"],
            "path": written["path"],
            "change": written["change"],
            "forecasts": [
                {name: told[name] for name in ("horizon", "job", "date", "target_date", "price", "predicted_price")}
                for told in said["forecasts"]
            ],
            "refused": said["refused"],
            "retraining": said["retraining"],
        }
        write_json(task.run_dir / "metrics.json", metrics)
        return Finished(metrics)

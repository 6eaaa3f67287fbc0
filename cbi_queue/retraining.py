"""Jobs that forecasting queues: the forecast of the day, and models that are to be trained again on the present data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.datasets.snapshots import look
from cbi_queue.errors import Refused
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.ledger.queries import job_numbered, newest_named, scored_jobs
from cbi_queue.models.kinds import HORIZONS, Family
from cbi_queue.spec import CHECKED, DayPlan, JobSpec
from cbi_queue.views.winner import ranked_models
from cbi_queue.views.winner_beside import chosen_beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.ledger.enqueue import Enqueued
    from cbi_queue.settings import Settings

PRIORITY = 100
"""Of the forecast of the day: it takes seconds, and nobody wants it after tonight's training."""


def train_again(ledger: Ledger, settings: Settings, numbers: Sequence[int]) -> Enqueued:
    """Queue the jobs *numbers* again on the present data, with the features and other jobs that they need.

    Jobs that were trained on the present data are left alone, as by `cbi-queue refresh`.
    """
    found: dict[str, JobRow] = {}
    waiting = [job_numbered(ledger, number) for number in numbers]
    while waiting:
        job = waiting.pop()
        if job.name not in found:
            found[job.name] = job
            named = (*job.spec.get("needs", ()), *job.spec.get("after", ()))
            waiting += [needed for name in named if (needed := newest_named(ledger, name)) is not None]
    specs = [_spec(job) for job in sorted(found.values(), key=lambda job: job.id)]
    plan = DayPlan(day=0, title="trained again", source="cbi-queue forecast --retrain", jobs=tuple(specs))
    return _enqueued(ledger, settings, plan, refresh=True)


def _spec(job: JobRow) -> JobSpec:
    stored = {**job.spec, "needs": tuple(job.spec.get("needs", ())), "after": tuple(job.spec.get("after", ()))}
    return JobSpec.model_validate({**stored, "combines": None}, context=CHECKED)


def queue_forecasts(ledger: Ledger, settings: Settings, *, old_data: bool = False) -> Enqueued | None:
    """Queue the forecast of today for every data set with a ranked model; None when none has one.

    The same day again is the same job, so nothing is queued twice.
    """
    jobs, day = scored_jobs(ledger), clock.local_day()
    specs = []
    for dataset in sorted({job.dataset for job in jobs}):
        horizon = next((horizon for horizon in HORIZONS if _is_ranked(jobs, horizon, dataset)), None)
        if horizon is None:
            continue
        middle = "" if dataset == DEFAULT else f"{dataset}-"
        spec = {
            "day": 0,
            "name": f"forecast-{middle[:50]}{day}",
            "family": Family.FORECAST,
            "model": "daily_forecast",
            "horizon": horizon,
            "params": {"old_data": old_data},
            "dataset": dataset,
            "priority": PRIORITY,
        }
        specs.append(JobSpec.model_validate(spec))
    if not specs:
        return None
    plan = DayPlan(day=0, title=f"forecast of {day}", source="cbi-queue forecast --queue", jobs=tuple(specs))
    return _enqueued(ledger, settings, plan, refresh=False)


def _is_ranked(jobs: Sequence[JobRow], horizon: str, dataset: str) -> bool:
    try:
        return bool(ranked_models(jobs, horizon, dataset))
    except Refused:
        return bool(chosen_beside(jobs, horizon, dataset))


def _enqueued(ledger: Ledger, settings: Settings, plan: DayPlan, *, refresh: bool) -> Enqueued:
    keys = [(job.dataset, job.horizon) for job in plan.jobs]
    data = look(settings.exports_dir, settings.processed_dir, keys, settings.hashes_path)
    return enqueue(ledger, [plan], data, refresh=refresh)

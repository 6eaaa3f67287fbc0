"""Rows of jobs for tests of boards, without a ledger."""

from __future__ import annotations

from typing import Any

from cbi_queue.ledger import JobRow
from cbi_queue.lifecycle import JobState, Reason
from cbi_queue.models.catalogue import entry_for
from support.api_installation import scores


def make_job(
    job_id: int,
    model: str,
    skill: float | None,
    *,
    horizon: str = "1w",
    name: str | None = None,
    state: JobState = JobState.SUCCEEDED,
    **changes: Any,
) -> JobRow:
    """Return a scored job; *changes* set what matters to the test."""
    family = next(f for f in ("trees", "statistical", "features", "simple_neural") if entry_for(f, model))
    values = {
        "id": job_id, "plan_id": 1, "day": 1, "name": name or f"{model.replace('_', '-')}-{horizon}", "family": family,
        "model": model, "horizon": horizon, "backend": "native", "spec": {}, "identity": str(job_id), "state": state,
        "reason": Reason.DONE, "priority": 0, "retries": 1, "timeout_s": None, "errors": 0, "ooms": 0, "attempts": 1,
        "micro_batch": None, "not_before": None, "cancel_requested_at": None, "run_dir": None,
        "metrics": None if skill is None else scores(skill), "veto": None, "enqueued_at": 0.0, "changed_at": 0.0,
        "ended_at": 1.0,
    }  # fmt: skip
    return JobRow(**{**values, **changes})

"""The figures for Prometheus, made of one snapshot for each scrape; nothing is counted in this process.

A reading that is not known is left out, never zero. Labels are bounded: states, families, reasons; no name of a job.
Naming: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

import cbi_queue
from cbi_queue.ledger import queries
from cbi_queue.lifecycle import HoldReason, JobState
from cbi_queue.views.snapshot import open_snapshot, status_of
from cbi_queue.views.stored_values import number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from cbi_queue.settings import Settings
    from cbi_queue.views.snapshot import QueueStatus

PREFIX = "cbi_queue"
MIB = 1 << 20


class _Read(Collector):
    """Hands over what was read."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


def registry_of(settings: Settings) -> CollectorRegistry:
    """Return a registry of its own with the figures as they are now.

    Raises:
        LedgerError: when the ledger cannot be read.
    """
    with open_snapshot(settings) as (ledger, telemetry):
        status, events = status_of(settings, ledger, telemetry), queries.last_event_id(ledger)
    registry = CollectorRegistry()
    registry.register(_Read([*_queue(status, events), *_slot(status), *_governor(status), *_disk(settings)]))
    return registry


def _queue(status: QueueStatus, events: int) -> Iterator[Metric]:
    yield InfoMetricFamily(PREFIX, "The version that serves this page", value={"version": cbi_queue.__version__})
    yield _gauge("daemon_up", "1 while a daemon runs and is not stopped", float(status.daemon.is_well))
    jobs = GaugeMetricFamily(f"{PREFIX}_jobs", "Jobs by state", labels=["state"])
    for state in JobState:
        jobs.add_metric([state.value], status.counts.get(state, 0))
    yield jobs
    models = GaugeMetricFamily(
        f"{PREFIX}_budget_models", "Models of the week's budget by family and standing", labels=["family", "standing"]
    )
    for row in status.budget.rows:
        for standing in ("done", "running", "queued", "failed"):
            models.add_metric([row.family, standing], getattr(row.counts, standing))
    yield models
    holds = GaugeMetricFamily(f"{PREFIX}_hold", "1 while a hold of that reason closes the slot", labels=["reason"])
    for reason in HoldReason:
        holds.add_metric([reason.value], float(any(hold.reason == reason for hold in status.holds)))
    yield holds
    told = CounterMetricFamily(f"{PREFIX}_events", "Events in the ledger since it was created")
    told.add_metric([], events)
    yield told
    yield _gauge(
        "blocked_jobs", "Jobs that wait for one that ended without success", sum(b.waiting for b in status.blocked)
    )
    yield from _known("finish_timestamp_seconds", "When the queue will be done, seconds since 1970", status.finish.at)
    yield from _known("finish_work_seconds", "Time in the slot that the queue still needs", status.finish.work_s)


def _slot(status: QueueStatus) -> Iterator[Metric]:
    slot, progress = status.slot, status.slot.progress
    yield _gauge("slot_busy", "1 while a job is in the slot", float(slot.job is not None))
    if slot.job is not None:
        job = {"family": slot.job.family, "model": slot.job.model, "horizon": slot.job.horizon}
        yield InfoMetricFamily(f"{PREFIX}_slot_job", "What the job in the slot is", value=job)
    if slot.started_at is not None:
        passed_s = max(0.0, status.at - slot.started_at)
        yield _gauge("slot_attempt_seconds", "Seconds since the attempt in the slot began", passed_s)
    if progress is not None:
        yield _gauge("slot_epoch", "Finished epochs, rounds or fits of the job in the slot", progress.epoch)
        yield from _known("slot_epochs", "Epochs that it has at the most", progress.total_epochs)
        yield from _known("slot_remaining_seconds", "Seconds left at the current pace", progress.remaining_s)
        yield from _known("slot_train_loss", "Its last training loss", progress.train_loss)
        yield from _known("slot_validation_loss", "Its last validation loss", progress.validation_loss)


def _governor(status: QueueStatus) -> Iterator[Metric]:
    governor = status.governor
    heat, memory = governor.readings.get("thermal", {}), governor.readings.get("memory", {})
    yield from _known("governor_report_age_seconds", "Age of the daemon's last report", governor.age_s)
    yield from _known("governor_duty_ratio", "Share of the time that the trainer may work", governor.duty)
    yield from _known(
        "governor_slowdown_ratio", "Cost of a sample over its cold cost while work is slow", governor.factor
    )
    yield from _known("governor_cost_ratio", "Share of the time that the governor itself takes", governor.cost_share)
    yield from _known("temperature_celsius", "Temperature of the chip", number_of(heat.get("temp_c")))
    for name, key in (("available", "available_mib"), ("total", "total_mib")):
        size = number_of(memory.get(key))
        yield from _known(
            f"memory_{name}_bytes", f"Memory of the machine, {name}", None if size is None else size * MIB
        )


def _disk(settings: Settings) -> Iterator[Metric]:
    for name, path in (("ledger", settings.ledger_path), ("telemetry", settings.telemetry_path)):
        yield from _known(
            f"{name}_size_bytes", f"Size of the {name}'s file without its log", _size(settings, path.name)
        )
    try:
        free = os.statvfs(settings.state_dir)
    except OSError:
        return
    yield _gauge(
        "state_disk_available_bytes", "Free space on the disk of the state folder", free.f_bavail * free.f_frsize
    )


def _size(settings: Settings, name: str) -> int | None:
    try:
        return (settings.state_dir / name).stat().st_size
    except OSError:
        return None


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", words, value=value)


def _known(name: str, words: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield _gauge(name, words, value)

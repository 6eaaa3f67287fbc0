"""What the governor keeps across attempts: the monitor, the profile's thresholds, its memory; and its hands on the slot.

Neighbours: `governing` (one attempt under it), `daemon` (starts and stops it, and looks between jobs), `monitor` (the
sensors), `cbi_queue.governor` (which decides).
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.governor.governor import look_between_jobs, may_start
from cbi_queue.governor.slot_memory import GovernorMemory
from cbi_queue.governor.values import Action, Cause
from cbi_queue.hardware.detection import profile_for
from cbi_queue.ledger import queries
from cbi_queue.ledger.governor_log import record_decision, record_sample, record_standing
from cbi_queue.ledger.holds import holds_in_force, lift_hold, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason
from cbi_queue.readings import Unknown
from cbi_queue.readings_json import readings_to_json
from workers.monitor import Monitor

if TYPE_CHECKING:
    from cbi_queue.governor.governor import Governor
    from cbi_queue.governor.values import Decision
    from cbi_queue.ledger import Ledger
    from cbi_queue.ledger.telemetry import Telemetry
    from cbi_queue.readings import Readings
    from cbi_queue.settings import Settings

logger = logging.getLogger(__name__)

GOVERNOR_LOOK_S = 1.0
"""Seconds between looks of the governor: sensors are read every two, and no step has to come faster."""
NOTE_S = 2.0
"""Seconds between samples in the telemetry."""


class Governance:
    """The governor's standing house: one per daemon."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is sampled before `start`."""
        profile = profile_for(settings.profile, settings.profiles_dir).profile
        self.thresholds = profile.thresholds
        self.memory = GovernorMemory(self.thresholds)
        self.monitor = Monitor(settings)
        self._mode, self._profile = settings.governor, profile.name
        self._lock = threading.Lock()
        self._next_note_s = 0.0
        self._noted_job: int | None = None

    @property
    def is_watching(self) -> bool:
        """False when the governor is switched off: then it only samples."""
        return self._mode != "off"

    @property
    def acts(self) -> bool:
        """True when its decisions are carried out, not only written down."""
        return self._mode == "on"

    def start(self) -> None:
        """Start sampling."""
        self.monitor.start()

    def stop(self) -> None:
        """Stop sampling; stopping twice is fine."""
        self.monitor.stop()

    def readings(self) -> Readings:
        """Return the latest readings, with what is stale made Unknown."""
        return self.monitor.latest(clock.boot_s())

    def slept_s(self) -> float:
        """Seconds that the machine has slept since the daemon started; 0 while nobody knows (no time is taken off)."""
        sleep = self.readings().sleep
        return 0.0 if isinstance(sleep, Unknown) else sleep.slept_s

    def why_not_start(self) -> str | None:
        """Return why no job may start now; None when nothing speaks against it."""
        return may_start(clock.boot_s(), self.readings(), self.memory) if self.acts else None

    def look_at_idle_slot(self, ledger: Ledger, telemetry: Telemetry) -> None:
        """Between jobs: sample, and lift a hold of the governor's own when its cause is gone."""
        if queries.job_in_slot(ledger) is not None:
            return
        readings = self.readings()
        self.note(telemetry, None, readings, None)
        telemetry.commit_when_due()
        if not self.acts:
            return
        self.notice_lifted_hold(ledger)
        decision = look_between_jobs(clock.boot_s(), readings, self.memory)
        if decision is not None:
            record_decision(telemetry, decision, job_id=None, attempt=None, epoch=None, acted=True)
            act_on_slot(ledger, decision)

    def notice_lifted_hold(self, ledger: Ledger) -> None:
        """Tell the governor when a person lifted its hold, or its time was over."""
        hold = self.memory.hold
        if hold is not None and hold_reason(hold.cause) not in {held.reason for held in holds_in_force(ledger)}:
            self.memory.hold_is_gone()

    def note(self, telemetry: Telemetry, job_id: int | None, readings: Readings, governor: Governor | None) -> None:
        """Write down, every few seconds and when the job changes, what the sensors say and the governor makes of it."""
        with self._lock:
            if clock.monotonic_s() < self._next_note_s and job_id == self._noted_job:
                return
            self._next_note_s, self._noted_job = clock.monotonic_s() + NOTE_S, job_id
        plain = readings_to_json(readings, clock.boot_s())
        record_sample(telemetry, job_id, plain)
        record_standing(telemetry, self._standing(job_id, plain, governor))

    def _standing(self, job_id: int | None, readings: dict[str, Any], governor: Governor | None) -> dict[str, Any]:
        standing: dict[str, Any] = {
            "mode": self._mode,
            "profile": self._profile,
            "job_id": job_id,
            "readings": readings,
            "cost_share": self.memory.spent_share(clock.boot_s()),
        }
        return standing if governor is None else {**standing, **governor_standing(governor)}


def governor_standing(governor: Governor) -> dict[str, Any]:
    """Return what *governor* thinks of its job, as plain values."""
    slowdown, attribution = governor.slowdown, governor.attribution
    return {
        "rung": governor.rung.words,
        "duty": governor.rung.duty,
        "micro_batch": governor.rung.micro_batch,
        "factor": slowdown.factor if slowdown else None,
        "since_epoch": slowdown.since_epoch + 1 if slowdown else None,
        "confidence": slowdown.confidence if slowdown else None,
        "cause": str(attribution.cause) if attribution else None,
        "evidence": list(attribution.evidence) if attribution else [],
    }


def hold_reason(cause: Cause) -> HoldReason:
    """Return under which reason the governor holds the slot for *cause*."""
    return HoldReason.MEMORY if cause is Cause.MEMORY else HoldReason.THERMAL


def act_on_slot(ledger: Ledger, decision: Decision) -> None:
    """Carry out a decision that concerns the slot's holds; the others are the trainer's."""
    reason = hold_reason(decision.cause)
    match decision.action:
        case Action.PAUSE | Action.EVICT:
            mode = HoldMode.PAUSE if decision.action is Action.PAUSE else HoldMode.EVICT
            place_hold(ledger, reason, mode, decision.words, for_s=decision.figures["for_s"])
        case Action.RESUME:
            lift_hold(ledger, reason, decision.words)
        case _:
            pass

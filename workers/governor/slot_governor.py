"""What the governor keeps across attempts: the monitor, the profile's thresholds, its memory; and its hands on the slot.

The slot's thread and the main thread take turns with the memory: who looks or asks holds `deciding`. Whose telemetry it
is that just now may be written (the slot's while a trainer runs, the main thread's between jobs) writes it down, too. A
fault of the governor's own ends here: it is logged once with its traceback, and the governor starts anew without a hold.
Neighbours: `attempt_governor` (one attempt under it), `daemon` (starts and stops it, and looks between jobs), `monitor` (the
sensors), `state_store` (what brings the memory to the next daemon), `cbi_queue.governor` (which decides).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.errors import LedgerError
from cbi_queue.governor.policies.heat_policy import HOLD_MARGIN_S
from cbi_queue.governor.policies.slot_policy import check_empty_slot, may_start, take_back_end
from cbi_queue.governor.state.state import GovernorState, Hold
from cbi_queue.governor.values import Cause
from cbi_queue.hardware.detection import profile_for
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force, lift_hold
from cbi_queue.lifecycle import HoldReason
from cbi_queue.readings.as_json import readings_to_json
from cbi_queue.readings.values import Readings, Unknown
from cbi_queue.telemetry.governor_log import record_decision, record_sample, record_standing
from workers.governor.governor_hold import GovernorHold, hold_reason
from workers.governor.state_store import StateStore
from workers.sensors.monitor import FRESH_PERIODS, Monitor

if TYPE_CHECKING:
    from cbi_queue.governor.governor import Governor
    from cbi_queue.governor.values import Decision
    from cbi_queue.hardware.thresholds import Thresholds
    from cbi_queue.ledger import Ledger
    from cbi_queue.ledger.rows import HoldRow
    from cbi_queue.settings import Settings
    from cbi_queue.telemetry.telemetry import Telemetry

logger = logging.getLogger(__name__)

GOVERNOR_LOOK_S = 1.0
"""Seconds between looks of the governor: sensors are read every two, and no step has to come faster."""
NOTE_S = 2.0
"""Seconds between samples in the telemetry."""
CAUSES = {HoldReason.THERMAL: Cause.HEAT, HoldReason.MEMORY: Cause.MEMORY}
"""The reasons under which the governor, and nobody else, holds the slot."""


class SlotGovernor:
    """The governor's standing house: one per daemon."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is sampled before `start`."""
        profile = profile_for(settings.profile, settings.profiles_dir).profile
        self.thresholds = _with_age_of(settings, profile.thresholds)
        self.state = GovernorState(self.thresholds)
        self.monitor = Monitor(settings)
        self._mode, self._profile = settings.governor, profile.name
        self.deciding = threading.Lock()
        """Held by whoever lets the governor look or answer: its memory is not made for two at once."""
        self._state_store = StateStore(settings.telemetry_path)
        self._governor_hold = GovernorHold()
        self._lock = threading.Lock()
        self._faults: dict[str, str] = {}
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
        """Return the latest readings, with what is stale made Unknown; all of it, when they cannot be put together."""
        try:
            return self.monitor.latest(clock.boot_s())
        except Exception as exc:  # noqa: BLE001 - a monitor that fails in whatever way is an unknown reading
            self.log_once("readings", exc)
            return Readings.unknown(f"the monitor failed with {type(exc).__name__}", clock.boot_s())

    def slept_s(self) -> float | None:
        """Seconds that the machine has slept since the daemon started; None while nobody knows."""
        sleep = self.readings().sleep
        return None if isinstance(sleep, Unknown) else sleep.slept_s

    def why_not_start(self) -> str | None:
        """Return why no job may start now; None when nothing speaks against it."""
        if not self.acts:
            return None
        readings = self.readings()
        try:
            with self.deciding:
                return may_start(clock.boot_s(), readings, self.state)
        except Exception as exc:  # noqa: BLE001 - a fault of the governor's must not stop the queue
            self.log_once("why_not_start", exc)
            return None

    def take_over(self, ledger: Ledger) -> None:
        """Go on where the governor of an earlier daemon stopped: take up its memory, and answer for the holds it left.

        Which holds there are, the ledger says. One that this governor may not act on is lifted: nobody would look
        whether its cause is gone.
        """
        if self.acts:
            self.state = self._state_store.recall(self.thresholds) or self.state
        remembered, self.state.hold = self.state.hold, None
        for row in holds_in_force(ledger):
            if row.reason not in CAUSES:
                continue
            if self.acts and self.state.hold is None:
                self.state.hold = _hold_of(row, remembered)
            else:
                lift_hold(ledger, row.reason, f"the governor is in mode {self._mode} since the daemon was restarted")

    def check_idle_slot(self, ledger: Ledger, telemetry: Telemetry) -> None:
        """Between jobs: sample, and lift a hold of the governor's own when its cause is gone."""
        if queries.job_in_slot(ledger) is not None:
            return
        readings = self.readings()
        self.note(telemetry, None, readings, None)
        if not self.acts:
            telemetry.commit()
            return
        try:
            self.notice_lifted_hold(ledger)
            self._act_between_jobs(ledger, telemetry, readings)
        except (LedgerError, sqlite3.Error):
            raise
        except Exception as exc:  # noqa: BLE001 - a fault of the governor's must not end the daemon
            self.log_once("idle look", exc)
            self.start_anew(ledger)
        finally:
            self.remember(telemetry)
            telemetry.commit()  # a job may start at once; from then on only the slot's thread writes there

    def _act_between_jobs(self, ledger: Ledger, telemetry: Telemetry, readings: Readings) -> None:
        with self.deciding:
            before = self.state.hold
            decision = check_empty_slot(clock.boot_s(), readings, self.state)
        if decision is not None:
            acted = self.act_on_slot(ledger, decision, before)
            if not acted and self.was_refused_before:
                return
            record_decision(telemetry, decision, job_id=None, attempt=None, epoch=None, acted=acted)
            self.remember(telemetry, at_once=True)

    def act_on_slot(self, ledger: Ledger, decision: Decision, before: Hold | None) -> bool:
        """Carry out a decision about the slot's holds; tell whether it is done.

        A hold that cannot be written yet is in force all the same (`unplaced_hold`), until `place_hold` can.

        Args:
            ledger: that has the holds.
            decision: of the governor; what concerns the trainer alone changes nothing here.
            before: the hold that was in force before it. When the ledger cannot be written, it cannot be lifted, and
                the memory becomes again what it was: the next look decides by what it sees then.
        """
        try:
            self._governor_hold.carry_out(ledger, decision)
        except (LedgerError, sqlite3.Error) as exc:
            if not self.was_refused_before:
                logger.warning("event=decision.not_carried_out action=%s why=%r", decision.action, str(exc))
            if before is not None:
                with self.deciding:
                    take_back_end(self.state, before)
            return False
        return True

    @property
    def was_refused_before(self) -> bool:
        """True when the ledger refused the last end of a hold, and the one before it: that was told then."""
        return self._governor_hold.was_refused_before

    @property
    def unplaced_hold(self) -> HoldRow | None:
        """A hold of the governor's that is in force and stands in no row yet; None: there is none."""
        return self._governor_hold.unplaced

    def place_hold(self, ledger: Ledger) -> bool:
        """Write a hold that stands in no row yet; tell whether none is left that does not."""
        return self._governor_hold.place(ledger)

    def start_anew(self, ledger: Ledger) -> None:
        """Forget everything, and lift the hold in force: what decided it cannot be trusted to end it."""
        hold, self.state = self.state.hold, GovernorState(self.thresholds)
        self._state_store.keep_soon()
        self._governor_hold.forget()
        if hold is not None and self.acts:
            lift_hold(ledger, hold_reason(hold.cause), "the governor failed and starts anew")

    def remember(self, telemetry: Telemetry, *, at_once: bool = False) -> None:
        """Write the memory down for the next daemon: *at_once* after a decision, now and then otherwise.

        A governor that only watches leaves none: what it believes to be in force never was.
        """
        if self.acts:
            self._state_store.keep(telemetry, self.state, self.deciding, at_once=at_once)

    def log_once(self, doing: str, exc: Exception) -> None:
        """Log a fault of our own with its traceback; one that only repeats the last is not logged again."""
        if self._faults.get(doing) != repr(exc):
            logger.error("event=governor.failed doing=%r", doing, exc_info=exc)
        self._faults[doing] = repr(exc)

    def notice_lifted_hold(self, ledger: Ledger) -> None:
        """Tell the governor when a person lifted its hold, or its time was over."""
        hold = self.state.hold
        if self._governor_hold.unplaced is not None:
            return
        if hold is not None and hold_reason(hold.cause) not in {held.reason for held in holds_in_force(ledger)}:
            self.state.hold_is_gone()

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
        now_s = clock.boot_s()
        standing: dict[str, Any] = {
            "mode": self._mode,
            "profile": self._profile,
            "job_id": job_id,
            "readings": readings,
            "cost_share": self.state.spent_share(now_s),
            "left_alone_s": self.state.left_alone_s(now_s),
        }
        return standing if governor is None else {**standing, **governor_standing(governor)}


def _with_age_of(settings: Settings, thresholds: Thresholds) -> Thresholds:
    """Let a reading be as old as the monitor lets it be: one put together from sensors has the age of its oldest part."""
    oldest_s = max(thresholds.reading_max_age_s, FRESH_PERIODS * settings.sample_s)
    return replace(thresholds, reading_max_age_s=oldest_s)


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


def _hold_of(row: HoldRow, remembered: Hold | None) -> Hold:
    """Return the hold that stands in the ledger as the governor that placed it knew it; no trainer stands still for it."""
    if remembered is not None and remembered.cause is CAUSES[row.reason]:
        return replace(remembered, evicted=True)
    now, boot_s = clock.epoch_s(), clock.boot_s()
    left_s = 0.0 if row.expires_at is None else row.expires_at - now - HOLD_MARGIN_S
    return Hold(
        CAUSES[row.reason],
        boot_s - max(0.0, now - row.since),
        boot_s + left_s,
        evicted=True,
        least=None,
        least_level=None,
    )

"""The governor's state across attempts: one per daemon, with the sensors' monitor and the hold on the slot.

The slot's thread and the main thread take turns with the state: who lets the governor decide holds `deciding`. The
telemetry belongs to the slot's thread while a trainer runs, and to the main thread between jobs. A fault of the governor
itself ends here: it is logged once with its traceback, and the governor starts again from scratch without a hold.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.governor.policies.heat_policy import HOLD_MARGIN_S
from cbi_queue.governor.policies.slot_policy import check_empty_slot, may_start
from cbi_queue.governor.state.state import GovernorState, Hold
from cbi_queue.governor.values import Action
from cbi_queue.hardware.detection import profile_for
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force, lift_hold
from cbi_queue.readings.as_json import readings_to_json
from cbi_queue.readings.values import Readings, Unknown
from cbi_queue.telemetry.governor_log import record_decision, record_sample, record_standing
from workers.governor.governor_hold import CAUSES, GovernorHold
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
"""Seconds between checks of the governor: sensors are read every two, and no step has to come faster."""
NOTE_S = 2.0
"""Seconds between samples in the telemetry."""


class SlotGovernor:
    """The governor's state that all attempts share, with what carries out its decisions about the slot."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is sampled before `start`."""
        profile = profile_for(settings.profile, settings.profiles_dir).profile
        self.thresholds = _with_age_of(settings, profile.thresholds)
        self._heat_ladder = tuple(Action(rung) for rung in settings.heat_ladder)
        self.state = GovernorState(self.thresholds, self._heat_ladder)
        self.monitor = Monitor(settings)
        self._mode, self._profile = settings.governor, profile.name
        self.deciding = threading.Lock()
        """Held while the governor decides or its state is written: that is not made for two threads at once."""
        self._state_store = StateStore(settings.telemetry_path)
        self._governor_hold = GovernorHold()
        self._lock = threading.Lock()
        self._faults: dict[str, str] = {}
        self._next_note_s = 0.0
        self._noted_job: int | None = None

    @property
    def is_watching(self) -> bool:
        """False when the governor is switched off: only samples are taken then."""
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
        """Return the latest readings, stale ones as Unknown; all Unknown when the monitor fails."""
        try:
            return self.monitor.latest(clock.boot_s())
        except Exception as exc:  # noqa: BLE001 - whatever the fault, nothing is known
            self.log_once("readings", exc)
            return Readings.unknown(f"the monitor failed with {type(exc).__name__}", clock.boot_s())

    def slept_s(self) -> float | None:
        """Return the seconds that the machine has slept since the daemon started; None when not known."""
        sleep = self.readings().sleep
        return None if isinstance(sleep, Unknown) else sleep.slept_s

    def why_not_start(self) -> str | None:
        """Return why no job may start now; None when one may."""
        if not self.acts:
            return None
        readings = self.readings()
        try:
            with self.deciding:
                return may_start(clock.boot_s(), readings, self.state)
        except Exception as exc:  # noqa: BLE001 - a fault of the governor must not stop the queue
            self.log_once("why_not_start", exc)
            return None

    def take_over(self, ledger: Ledger) -> None:
        """Continue where the governor of an earlier daemon stopped: with its state, and with the hold that it left.

        The ledger is believed about which holds there are. One that this governor may not act on is lifted, since
        nothing would end it when its cause is gone.
        """
        if self.acts:
            self.state = self._state_store.restore(self.thresholds) or self.state
            self.state.heat_ladder = self._heat_ladder
        stored, self.state.hold = self.state.hold, None
        for row in holds_in_force(ledger):
            if row.reason not in CAUSES:
                continue
            if self.acts and self.state.hold is None:
                self.state.hold = _hold_of(row, stored)
                self._governor_hold.take_over(row)
            else:
                lift_hold(ledger, row.reason, f"the daemon was restarted with the governor in mode {self._mode}")

    def check_idle_slot(self, ledger: Ledger, telemetry: Telemetry) -> None:
        """Between jobs: sample, and end the governor's hold when its cause is gone."""
        if queries.job_in_slot(ledger) is not None:
            return
        readings = self.readings()
        self.note(telemetry, None, readings, None)
        if self.acts:
            self.update_hold_row(ledger)
            try:
                self._decide_between_jobs(ledger, telemetry, readings)
            except Exception as exc:  # noqa: BLE001 - a fault of the governor must not end the daemon
                self.log_once("idle check", exc)
                self.start_again(ledger)
            self.store_state(telemetry)
        telemetry.commit()  # a job may start at once; from then on only the slot's thread writes there

    def _decide_between_jobs(self, ledger: Ledger, telemetry: Telemetry, readings: Readings) -> None:
        with self.deciding:
            decision = check_empty_slot(clock.boot_s(), readings, self.state)
        if decision is not None:
            self.act_on_slot(ledger, decision)
            record_decision(telemetry, decision, job_id=None, attempt=None, epoch=None, acted=True)
            self.store_state(telemetry, at_once=True)

    def act_on_slot(self, ledger: Ledger, decision: Decision) -> None:
        """Begin or end the governor's hold as *decision* says; its row follows as soon as the ledger can be written."""
        self._governor_hold.carry_out(decision)
        self._governor_hold.copy_to(ledger)

    def holds(self, ledger: Ledger) -> list[HoldRow]:
        """Return every hold that the slot obeys, the governor's also while it has no row yet."""
        return self._governor_hold.obeyed(ledger)

    def update_hold_row(self, ledger: Ledger) -> bool:
        """Bring the governor's hold and its row together; return False when the ledger cannot be used now.

        A hold that the user lifted, or that expired, is over for the governor, too.
        """
        is_current = self._governor_hold.copy_to(ledger)
        if self.acts and self._governor_hold.in_force is None:
            self.state.hold = None
        return is_current

    def start_again(self, ledger: Ledger) -> None:
        """Forget everything, and end the hold in force: what decided it cannot be trusted to end it."""
        self.state = GovernorState(self.thresholds, self._heat_ladder)
        self._state_store.write_soon()
        self._governor_hold.end("the governor failed and starts again from scratch")
        self._governor_hold.copy_to(ledger)

    def store_state(self, telemetry: Telemetry, *, at_once: bool = False) -> None:
        """Write the state for the next daemon: *at_once* after a decision, every half minute otherwise.

        A governor that only watches writes none: what it believes to be in force never was.
        """
        if self.acts:
            self._state_store.write(telemetry, self.state, self.deciding, at_once=at_once)

    def log_once(self, doing: str, exc: Exception) -> None:
        """Log a fault of the governor with its traceback; one that only repeats the last is not logged again."""
        if self._faults.get(doing) != repr(exc):
            logger.error("event=governor.failed doing=%r", doing, exc_info=exc)
        self._faults[doing] = repr(exc)

    def note(self, telemetry: Telemetry, job_id: int | None, readings: Readings, governor: Governor | None) -> None:
        """Write a sample and what *governor* makes of it, every few seconds and when the job changes."""
        with self._lock:
            if clock.monotonic_s() < self._next_note_s and job_id == self._noted_job:
                return
            self._next_note_s, self._noted_job = clock.monotonic_s() + NOTE_S, job_id
        now_s = clock.boot_s()
        plain = readings_to_json(readings, now_s)
        record_sample(telemetry, job_id, plain)
        standing = {
            "mode": self._mode,
            "profile": self._profile,
            "job_id": job_id,
            "readings": plain,
            "cost_share": self.state.spent_share(now_s),
            "left_alone_s": self.state.left_alone_s(now_s),
        }
        record_standing(telemetry, standing if governor is None else standing | _view_of_job(governor))


def _with_age_of(settings: Settings, thresholds: Thresholds) -> Thresholds:
    """Allow a reading the age that the monitor allows: one put together from sensors is as old as its oldest part."""
    oldest_s = max(thresholds.reading_max_age_s, FRESH_PERIODS * settings.sample_s)
    return replace(thresholds, reading_max_age_s=oldest_s)


def _view_of_job(governor: Governor) -> dict[str, Any]:
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


def _hold_of(row: HoldRow, stored: Hold | None) -> Hold:
    """Return the hold of *row* as the governor that placed it knew it; its trainer has left."""
    if stored is not None and stored.cause is CAUSES[row.reason]:
        return replace(stored, evicted=True)
    now, boot_s = clock.epoch_s(), clock.boot_s()
    since_s = boot_s - max(0.0, now - row.since)
    until_s = boot_s + (0.0 if row.expires_at is None else row.expires_at - now - HOLD_MARGIN_S)
    return Hold(CAUSES[row.reason], since_s, until_s, evicted=True, least=None, least_level=None)

"""Brings the governor's state from one daemon to the next, through the telemetry file.

Whatever goes wrong here costs the queue nothing: what cannot be written is tried again, and without a record that can
be trusted the governor begins as after the first start.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.governor.state.record import Moment, RecordFault, state_from_json, state_to_json
from cbi_queue.governor.values import Cause
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.telemetry.governor_log import record_memory
from cbi_queue.telemetry.reader import TelemetryReader

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Lock

    from cbi_queue.governor.state.state import GovernorState
    from cbi_queue.hardware.thresholds import Thresholds
    from cbi_queue.telemetry.telemetry import Telemetry

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 30.0
"""Seconds between two records while nothing is decided: what the account of the day's cost may lose in a crash."""
FIRST_PID = 1
"""The process that starts with the machine: its start identifies the boot."""


class StateStore:
    """The place where one daemon leaves the governor's state for the next."""

    def __init__(self, path: Path) -> None:
        """Use the telemetry file at *path*; nothing is read or written yet."""
        self._path = path
        first = ProcessIdentity.of(FIRST_PID)
        self._boot = None if first is None else f"{first.started:.2f}"
        self._next_s = 0.0
        self._fault = ""

    def restore(self, thresholds: Thresholds) -> GovernorState | None:
        """Return what the last daemon wrote, its times on this boot's clock; None when there is nothing to trust."""
        try:
            with TelemetryReader(self._path) as telemetry:
                record = telemetry.governor_state()
            if record is None:
                return None
            state, age_s = state_from_json(record, thresholds, self._now())
        except Exception as exc:  # a fault of the record must not keep the daemon from starting
            fault = None if isinstance(exc, RecordFault) else exc
            logger.warning("event=governor.memory.refused path=%s why=%r", self._path, str(exc), exc_info=fault)
            return None
        now_s = clock.boot_s()
        logger.info(
            "event=governor.memory.restored age_s=%.0f duty=%g steps_within_hour=%d refuted=%s cost_share=%.4f",
            age_s,
            state.duty,
            sum(state.steps_within(cause, now_s) for cause in Cause),
            ",".join(what.replace(" ", "_") for what in state.left_alone_s(now_s)) or "nothing",
            state.spent_share(now_s),
        )
        return state

    def write(self, telemetry: Telemetry, state: GovernorState, deciding: Lock, *, at_once: bool) -> None:
        """Write *state*: *at_once*, as after a decision, or else when `WRITE_EVERY_S` have passed.

        Args:
            telemetry: of the thread that has the slot; what it has not yet committed is committed, too.
            state: as it is now.
            deciding: held by the thread that changes *state*; not by the caller.
            at_once: True after a decision.
        """
        if not at_once and clock.monotonic_s() < self._next_s:
            return
        self._next_s = clock.monotonic_s() + WRITE_EVERY_S
        try:
            with deciding:
                record = state_to_json(state, self._now())
            record_memory(telemetry, record)
        except Exception as exc:  # a fault of the record must cost neither the training nor the governor
            if repr(exc) != self._fault:
                logger.exception("event=governor.memory.not_written path=%s", self._path)
            self._fault = repr(exc)

    def write_soon(self) -> None:
        """Make the next `write` write, whenever the last one did."""
        self._next_s = 0.0

    def _now(self) -> Moment:
        return Moment(clock.boot_s(), clock.epoch_s(), self._boot)

"""Periodic work, run by Huey's scheduler: a daily online backup, retention, thinning of samples, the forecast of the day.

Each chore is keyed by its due date in the ledger, so it runs once per period, even after a restart within the minute
(Huey alone would run it twice) and after a gap (Huey alone would forget it). One that a crash cut off runs again.
"""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.ledger.learned import drop_unconfirmed
from cbi_queue.ledger.upkeep import back_up, chore_is_due, period_of, prune_backups, record_chore
from cbi_queue.regular_files import plain_words
from cbi_queue.settings.daily_time import last_due
from cbi_queue.telemetry.governor_log import thin_samples
from cbi_queue.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cbi_queue.huey_queue import LedgerHuey
    from cbi_queue.ledger import Ledger
    from cbi_queue.settings import Settings

logger = logging.getLogger(__name__)

DAY_S = 86_400
HOUR_S = 3_600
QUEUE_WITHIN_S = 60.0
"""Seconds that queuing the forecast of the day may take."""
BACKUPS_KEPT = 14
"""Daily backups that are kept: two weeks, twice the plan."""


def register_chores(huey: LedgerHuey, settings: Settings) -> None:
    """Give Huey's scheduler its periodic tasks."""
    _register(huey, "backup", lambda: period_of(DAY_S), lambda ledger: _backup(ledger, settings))
    _register(huey, "retention", lambda: period_of(DAY_S), lambda ledger: _retention(ledger, settings))
    _register(huey, "thinning", lambda: period_of(HOUR_S), lambda _ledger: _thinning(settings))
    if settings.forecast_at != "off":
        _register(huey, "forecast", lambda: last_due(settings.forecast_at, clock.utc_now()) or 0, _forecast)


def _register(huey: LedgerHuey, name: str, period: Callable[[], int], act: Callable[[Ledger], None]) -> None:
    def is_due(_now: datetime) -> bool:
        return chore_is_due(huey.ledger(), name, period())

    def chore() -> None:
        due = period()
        logger.info("event=chore.run name=%s", name)
        try:
            act(huey.ledger())
        finally:
            record_chore(huey.ledger(), name, due)

    huey.periodic_task(is_due, name=name)(chore)


def _forecast(ledger: Ledger) -> None:
    """Queue the forecasts of the day, by the verb: what checks a job's content is too large for the daemon."""
    command = [sys.executable, "-P", "-m", "cbi_queue.cli", "forecast", "--queue"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=QUEUE_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        why = plain_words(exc) if isinstance(exc, OSError) else f"it took longer than {QUEUE_WITHIN_S:.0f} s"
    else:
        if done.returncode == 0:
            return
        why = " ".join(done.stderr.split()).removeprefix("Error: ")[:400] or f"it ended with {done.returncode}"
    logger.warning("event=forecast.failed why=%r", why)
    ledger.add_event("forecast_failed", "forecast", words=f"the forecast of the day was not queued: {why}")


def _backup(ledger: Ledger, settings: Settings) -> None:
    try:
        path = back_up(ledger, settings.backup_dir)
    except (OSError, sqlite3.Error) as exc:
        logger.warning("event=backup.failed folder=%s why=%r", settings.backup_dir, plain_words(exc))
        why = getattr(exc, "strerror", None) or exc
        ledger.add_event("backup_failed", "backup", words=f"the daily backup into {settings.backup_dir} failed: {why}")
        return
    prune_backups(settings.backup_dir, BACKUPS_KEPT)
    ledger.add_event("backup", "backup", words=f"the ledger was backed up to {path.name}")


def _retention(ledger: Ledger, settings: Settings) -> None:
    drop_unconfirmed(ledger, clock.epoch_s())
    with closing(Telemetry(settings.telemetry_path)) as telemetry:
        telemetry.forget_before(clock.epoch_s() - settings.keep_days * DAY_S)


def _thinning(settings: Settings) -> None:
    with closing(Telemetry(settings.telemetry_path)) as telemetry:
        thin_samples(telemetry, clock.epoch_s())

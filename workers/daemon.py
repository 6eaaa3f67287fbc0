"""The daemon: take the slot, settle what a crashed daemon left, run Huey's consumer, end in good order.

Wiring and signals only. A signal handler only sets a flag.
"""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import CbiError, LedgerBusy, LedgerError, LedgerLost, SlotStuck
from cbi_queue.huey_queue import EmbeddedConsumer, LedgerHuey
from cbi_queue.ledger import DAEMON_PATIENCE_S, Ledger, queries
from cbi_queue.ledger.connection import is_damage
from cbi_queue.ledger.file_watch import LedgerFile
from cbi_queue.ledger.waits import recheck_unfit
from cbi_queue.lifecycle import Reason
from cbi_queue.regular_files import plain_words
from cbi_queue.slot_lock import SlotLock
from cbi_queue.telemetry.telemetry import Telemetry
from workers.chores import register_chores
from workers.governor.slot_governor import GOVERNOR_LOOK_S, SlotGovernor
from workers.keep_awake import AWAKE_CHECK_S, KeepAwake
from workers.notifying import NOTIFY_CHECK_S, NotifierWatch
from workers.recovery.recovery import end_orphan, end_unlocked_trainer, find_orphan, settle_leftovers
from workers.slot.slot import Slot
from workers.stop_flag import StopFlag
from workers.tracking import TRACKING_CHECK_S, TrackerWatch
from workers.volume import VolumeWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from cbi_queue.settings import Settings

logger = logging.getLogger(__name__)

HEALTH_S = 10.0
"""Seconds between checks of Huey's threads, and between checkpoints of the write-ahead log."""
POLL_S = 0.1
"""Seconds between the main thread's checks of its flags."""
FILE_CHECK_S = 1.0
"""Seconds between checks that the ledger's file is still the one that was opened."""
MOST_LEFTOVERS = 100
"""Events that settling a crashed daemon's job may write; far fewer come."""
SPARE_S = 5.0
"""Seconds beyond the trainer's grace that stopping may take: SIGKILL, settling, closing."""
STOPPED_BY_CTRL_C = 130
"""Exit code: 128 and the number of SIGINT, as shells report it."""
_LOST_HINT = (
    "`cbi-queue doctor` checks the ledger; if it is gone or damaged, `cbi-queue restore` lists the backups. "
    "Then start the daemon again"
)
_STUCK_HINT = "the service starts the daemon again by itself; in a terminal, start it again when that process is gone"


class Daemon:
    """One daemon, for one run of its process."""

    def __init__(self, settings: Settings, *, until_empty: bool = False) -> None:
        """Prepare; nothing is locked or started yet."""
        self._settings = settings
        self._volume_watch = VolumeWatch(settings)
        self._until_empty = until_empty
        self._stop = StopFlag()
        self._began_after_event = 0
        self._file: LedgerFile | None = None
        self._lock: SlotLock | None = None
        self._lost: str | None = None
        self.was_interrupted = False
        """True once Ctrl-C asked for the end."""

    def run(self) -> int:
        """Run until stopped (or until the queue is empty); return the exit code.

        Raises:
            SlotTaken: when another daemon holds the slot.
            SlotStuck: when a process that is not a daemon holds it and does not end.
            LedgerLost: when the ledger's file was taken away while it was in use.
            LedgerError: when the ledger cannot be used.
        """
        self._settings.make_state_dir()
        lock = take_slot(self._settings, self._stop)
        if lock is None:
            return 0
        try:
            return self._run_in_slot(lock)
        finally:
            lock.release()

    def stop(self, _signum: int | None = None, _frame: FrameType | None = None) -> None:
        """Ask for an orderly end. May be called twice."""
        self._stop.set()

    def interrupt(self, _signum: int | None = None, _frame: FrameType | None = None) -> None:
        """Stop as Ctrl-C asks for; the second time at once, and the trainer then leaves with its checkpoint by itself."""
        if self.was_interrupted:
            if self._lock is not None:
                self._lock.release()  # it is asked for, and no crash
            os._exit(STOPPED_BY_CTRL_C)
        self.was_interrupted = True
        self.stop()

    def _run_in_slot(self, lock: SlotLock) -> int:
        slot_governor = SlotGovernor(self._settings)
        ledger = Ledger.open(self._settings.ledger_path, patience_s=DAEMON_PATIENCE_S, checkpoints=True)
        telemetry = Telemetry(self._settings.telemetry_path)
        try:
            self._file, self._lock = LedgerFile(self._settings.ledger_path), lock
            self._began_after_event = queries.last_event_id(ledger)
            if not self._take_over(ledger, slot_governor):
                return 0
            slot_governor.start()
            slot = Slot(self._settings, telemetry, lock.descriptor, slot_governor)
            self._consume(ledger, slot, slot_governor)
            if self._lost is not None:
                raise LedgerLost(self._lost, hint=_LOST_HINT)
            return self._exit_code(ledger)
        finally:
            slot_governor.stop()
            telemetry.close()
            if self._lost is None or self._file is None or self._file.is_in_place:
                with suppress(sqlite3.Error):  # brings a log that was deleted from its folder into the ledger
                    ledger.conn.execute("PRAGMA wal_checkpoint(PASSIVE)")
                ledger.close()

    def _take_over(self, ledger: Ledger, slot_governor: SlotGovernor) -> bool:
        """Put the ledger in order after the last daemon, waiting for locks of others; return False if stopped."""
        steps: tuple[Callable[[], object], ...] = (
            lambda: end_unlocked_trainer(self._settings, self._stop),
            lambda: settle_leftovers(self._settings, ledger),
            lambda: self._note_crash(ledger),
            lambda: recheck_unfit(ledger),
            lambda: slot_governor.take_over(ledger),
            lambda: self._volume_watch.check(ledger, boots=True),
        )
        with ledger.brief_lock_waits():
            return all(self._do_when_unlocked(ledger, step) for step in steps)

    def _note_crash(self, ledger: Ledger) -> None:
        """Write down that the last daemon crashed, unless the event of the job that was in the slot says so already."""
        if self._lock is None or not self._lock.was_left:
            return
        crashes = {Reason.DAEMON_DIED, Reason.TAKES_DAEMON_DOWN}
        events = queries.events_after(ledger, self._began_after_event, MOST_LEFTOVERS)
        if not crashes & {event.reason for event in events}:
            words = "the daemon crashed or was killed, interrupted no job, and is back"
            ledger.add_event("daemon_back", Reason.DAEMON_DIED, words=words)

    def _do_when_unlocked(self, ledger: Ledger, step: Callable[[], object]) -> bool:
        """Do *step*, again as long as another program has the ledger locked; return False if stopped meanwhile."""
        while True:
            try:
                step()
            except LedgerBusy as exc:
                logger.warning("event=ledger.locked why=%r", exc.message)
                if not self._wait_for_lock(ledger):
                    return False
            else:
                return True

    def _wait_for_lock(self, ledger: Ledger) -> bool:
        while not self._stop.wait(POLL_S):
            with suppress(LedgerBusy), ledger.write():
                return True
        return False

    def _consume(self, ledger: Ledger, slot: Slot, slot_governor: SlotGovernor) -> None:
        huey = LedgerHuey(self._settings.ledger_path, admit=slot.admit, train=slot.train)
        register_chores(huey, self._settings)
        consumer = EmbeddedConsumer(
            huey,
            workers=1,
            worker_type="thread",
            initial_delay=self._settings.poll_s,
            max_delay=self._settings.poll_s,
            shutdown_timeout=self._settings.grace_s + SPARE_S,
        )
        keep_awake = KeepAwake()
        tracker = TrackerWatch(self._settings, slot_governor)
        notifier = NotifierWatch(self._settings, self._began_after_event)
        consumer.start()
        logger.info("event=daemon.ready state_dir=%s", self._settings.state_dir)
        try:
            with closing(Telemetry(self._settings.telemetry_path)) as telemetry, ledger.brief_lock_waits():
                self._check_until_stopped(
                    ledger, consumer, slot_governor, telemetry, keep_awake, tracker, notifier=notifier
                )
                if not self._stop.is_set():
                    tracker.finish(ledger)
                    notifier.finish(ledger)
        finally:
            slot.stopping.set()
            consumer.stop(graceful=True)
            keep_awake.release()
            tracker.stop()
            notifier.stop()
            logger.info("event=daemon.stopped")

    def _check_until_stopped(
        self,
        ledger: Ledger,
        consumer: EmbeddedConsumer,
        slot_governor: SlotGovernor,
        telemetry: Telemetry,
        keep_awake: KeepAwake,
        tracker: TrackerWatch,
        *,
        notifier: NotifierWatch,
    ) -> None:
        checks = (
            _PeriodicCheck("ledger", FILE_CHECK_S, self._check_file),
            _PeriodicCheck("awake", AWAKE_CHECK_S, lambda: keep_awake.follow(ledger)),
            _PeriodicCheck("governor", GOVERNOR_LOOK_S, lambda: slot_governor.check_idle_slot(ledger, telemetry)),
            _PeriodicCheck("volume", self._settings.volume_check_s, lambda: self._volume_watch.check(ledger)),
            _PeriodicCheck("workers", HEALTH_S, consumer.check_worker_health),
            _PeriodicCheck("tracker", TRACKING_CHECK_S, lambda: tracker.check(ledger)),
            _PeriodicCheck("notifier", NOTIFY_CHECK_S, lambda: notifier.check(ledger)),
            _PeriodicCheck("checkpoint", HEALTH_S, lambda: ledger.conn.execute("PRAGMA wal_checkpoint(PASSIVE)")),
        )
        while not self._stop.wait(POLL_S):
            for check in checks:
                if (damage := check.run_when_due()) is not None:
                    self._give_up(damage)
            if self._until_empty and _is_empty(ledger):
                return

    def _check_file(self) -> None:
        """Stop when the ledger's file is no longer the one that was opened: what is written to it would be lost."""
        fault = self._file.fault() if self._file else None
        if fault is None and self._lock is not None and not self._lock.is_in_place:
            fault = f"the slot's lock {self._settings.lock_path} was deleted or replaced: a second daemon could start"
        if fault is not None:
            self._give_up(fault)

    def _give_up(self, fault: str) -> None:
        """Have the trainer checkpoint, and end with *fault*."""
        if self._lost is None:
            logger.error("event=ledger.lost why=%r", fault)
            self._lost = fault
        self._stop.set()

    def _exit_code(self, ledger: Ledger) -> int:
        """Return 1 when an until-empty run leaves a job failed, waiting, held or unfit; else 0."""
        if not self._until_empty or self._stop.is_set():
            return 0
        return 1 if queries.failed_since(ledger, self._began_after_event) else 0


class _PeriodicCheck:
    """A check that the main thread repeats; an error in it must not end the daemon."""

    def __init__(self, name: str, every_s: float, act: Callable[[], object]) -> None:
        self._name = name
        self._every_s = every_s
        self._act = act
        self._next_s = 0.0
        self._logged: str | None = None

    def run_when_due(self) -> str | None:
        """Run it if it is due; log an error, once while it stays the same, and try again next time.

        Returns:
            What is wrong with the ledger when the error shows that its file is damaged; else None.
        """
        if clock.monotonic_s() < self._next_s:
            return None
        self._next_s = clock.monotonic_s() + self._every_s
        try:
            self._act()
        except (CbiError, sqlite3.Error, OSError) as exc:
            why = plain_words(exc)
            if why != self._logged:
                logger.warning("event=look.failed name=%s why=%r", self._name, why)
            self._logged = why
            return f"the ledger is damaged: {why}" if is_damage(exc) else None
        self._logged = None
        return None


def _is_empty(ledger: Ledger) -> bool:
    try:
        return queries.workload(ledger).is_empty
    except (LedgerError, sqlite3.Error) as exc:
        logger.warning("event=look.failed name=empty why=%r", str(exc))
        return False


def take_slot(settings: Settings, stop: StopFlag) -> SlotLock | None:
    """Take the slot's lock, after waiting for a trainer whose daemon crashed, or ending it.

    Returns:
        The held lock; None when *stop* was set while waiting.

    Raises:
        SlotTaken: when a living daemon holds it.
        SlotStuck: when a trainer that does not end even by SIGKILL, or a process that no row names, keeps holding it.
    """
    lock = SlotLock(settings.lock_path)
    deadline = clock.monotonic_s() + 2 * settings.grace_s + SPARE_S
    while not lock.try_acquire():
        lock.refuse_if_daemon_holds_it()
        end_orphan(settings, stop)
        if stop.wait(POLL_S):
            return None
        if clock.monotonic_s() > deadline:
            raise SlotStuck(_why_stuck(settings), hint=_STUCK_HINT)
    return lock


def _why_stuck(settings: Settings) -> str:
    orphan = find_orphan(settings)
    who = "a process that no row names"
    if orphan is not None and orphan.is_alive():
        who = f"the trainer with pid {orphan.pid}, which does not end,"
    return f"cannot take the slot: {who} still holds {settings.lock_path}"


def install_signals(daemon: Daemon) -> None:
    """Make SIGTERM, SIGINT and SIGHUP ask *daemon* for an orderly end."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, daemon.stop)
    signal.signal(signal.SIGINT, daemon.interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # `cbi-queue worker` blocked it until here

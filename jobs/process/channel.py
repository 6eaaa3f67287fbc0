"""The trainer's end of the protocol: it sends reports, and obeys directives at safe points.

A family calls `report` after each epoch (or block of rounds) and `safe_point` wherever it could pause: at every batch or
boosting round. `safe_point` blocks while paused, rests for a share of the time while paced, runs the calibration probe
when one was requested, and raises `StopRequested` when the slot requests a stop or the daemon has died; the family then
writes a checkpoint and does not catch the exception. A family that can change its micro-batch reads
`wanted_micro_batch` between steps.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from cbi_queue.errors import ProtocolError
from cbi_queue.protocol import (
    Begin,
    CheckpointFailed,
    CheckpointSaved,
    EpochReport,
    ExitCode,
    MicroBatchChanged,
    Note,
    Pace,
    Pause,
    Paused,
    Probe,
    Restored,
    Resume,
    Resumed,
    SetMicroBatch,
    StepsReport,
    Stop,
    decode_directive,
    encode,
)
from cbi_queue.regular_files import failure_of
from jobs.process.heap import give_back
from jobs.process.idle_time import IdleTime
from jobs.process.log_lines import log_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cbi_queue.protocol import Message, Probed

_CHUNK_BYTES = 65_536
LEAST_DUTY = 0.05
"""A trainer is never paced below a twentieth of the time: that is what a pause is for."""
LONGEST_REST_S = 60.0
"""Longest rest at one safe point: a step that something else delayed must not cause an equally long rest."""
_CHECK_AGAIN_S = 0.5
"""Longest wait without another check: a signal that comes between the check and the wait wakes no thread."""


class StopRequested(Exception):
    """The slot requests that this trainer writes a checkpoint and exits."""


class Channel:
    """Sends reports, receives directives. One per trainer process; any thread may report."""

    def __init__(self, up: BinaryIO, down: BinaryIO) -> None:
        """Write reports to *up*; `listen` reads directives from *down*.

        Open a pipe for *down* without buffering: a thread that waits inside a buffered reader aborts the interpreter
        at its exit.
        """
        self._up = up
        self._down = down
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._begin: Begin | None = None
        self._orders = 0
        self._paused = False
        self._stopping = False
        self._is_closed = False
        self._idle = IdleTime()
        self._was_paused = False
        self._duty = 1.0
        self._wanted_micro_batch: int | None = None
        self._probe_wanted = False
        self.on_pause: Callable[[], None] = give_back
        """Called once when a pause begins (not a rest while paced): frees cached memory."""
        self.probe: Callable[[], Probed] | None = None
        """The calibration probe of this trainer's device; None: a request for it is ignored."""
        self.has_nothing_to_save = False
        """True while a stop ends this process at once, even inside a library that is being imported."""
        self._hard_exit_s: float | None = None
        self._before, self._later = 0, 0
        self._last_epoch = 0
        self._checkpointed_at: int | None = None

    @property
    def last_epoch(self) -> int:
        """Finished epochs (rounds, fits), as passed to the last safe point."""
        return self._last_epoch

    @property
    def has_checkpoint(self) -> bool:
        """True when this attempt wrote a checkpoint, or continues from one."""
        return self._checkpointed_at is not None

    @property
    def paused_s(self) -> float:
        """Seconds not worked so far: paused, paced, or probing; subtract its growth from an epoch's wall time."""
        return self._idle.total_s

    @property
    def wanted_micro_batch(self) -> int | None:
        """The micro-batch last ordered; None when none was. A family applies it between steps."""
        return self._wanted_micro_batch

    @property
    def is_paced(self) -> bool:
        """True while the trainer rests for a share of the time: a device must then be waited for before a safe point."""
        return self._duty < 1.0

    @property
    def duty(self) -> float:
        """Share of the time that the trainer is to work."""
        return self._duty

    @property
    def is_stopping(self) -> bool:
        """True once a stop was requested."""
        return self._stopping

    def take_was_paused(self) -> bool:
        """Return True if a pause or a probe fell into the time since the last call: no cold baseline comes from it."""
        with self._changed:
            seen, self._was_paused = self._was_paused, False
        return seen

    def listen(self) -> None:
        """Start a thread that reads directives."""
        threading.Thread(target=self._listen, name="directives", daemon=True).start()

    def wait_begin(self) -> Begin | None:
        """Block until the assignment comes; None when the daemon closed the pipe first."""
        self._wait_for(lambda: self._begin is not None or self._is_closed)
        return self._begin

    def exit_hard_after(self, grace_s: float) -> None:
        """End this process *grace_s* seconds after the first request to stop, if it has not ended by then."""
        with self._changed:
            self._hard_exit_s = grace_s
            already = self._stopping
        if already:
            self._start_watchdog()

    def report(self, message: Message) -> None:
        """Send one report. A dead daemon is not an error here: `listen` notices the closed pipe.

        Raises:
            ProtocolError: when the report itself cannot be sent (a number that is not finite).
        """
        if self._before or self._later:
            message = self._counted(message)
        line = encode(message)
        if isinstance(message, CheckpointSaved | Restored):
            self._checkpointed_at = message.epoch
        if (words := log_line(message)) is not None:
            log(words)
        with self._writing, contextlib.suppress(BrokenPipeError):
            self._up.write(line)
            self._up.flush()

    def count_from(self, before: int, later: int) -> None:
        """Count epochs on from *before*, those of earlier fits of this run, with *later* more to come after this fit's.

        What a fit reports and passes to `safe_point` then stands for the whole run.
        """
        self._before, self._later = before, later

    def count_on(self, epochs: int) -> None:
        """Count from here on beyond *epochs* more that are done, those of a search before the training."""
        self._before += epochs

    def safe_point(self, epoch: int) -> None:
        """Obey the directives: wait while paused, rest while paced, probe, raise when a stop was requested, else return.

        Args:
            epoch: finished epochs (rounds, fits) so far, for the reports.

        Raises:
            StopRequested: when a stop was requested, by a directive, by SIGTERM, or by the daemon's death.
        """
        self._last_epoch = epoch = epoch + self._before
        if self._paused or self._probe_wanted or self._duty < 1.0:
            self._obey_orders(epoch)
        if self._stopping:
            raise StopRequested
        self._idle.work_begins()

    def stop(self) -> None:
        """Request a stop, as a Stop directive does (SIGTERM calls this); end at once when there is nothing to save."""
        if self.has_nothing_to_save:
            os._exit(int(ExitCode.STOPPED))
        with self._changed:
            if self._stopping:
                return
            self._stopping = True
            self._changed.notify_all()
        self._start_watchdog()

    def _obey_orders(self, epoch: int) -> None:
        """Obey the orders in force, reading them again after each; any time not worked counts as rest."""
        arrived_s, idle_before_s = time.monotonic(), self.paused_s
        while not self._stopping:
            orders = self._orders
            if self._paused:
                self._pause(epoch)
            elif self._probe_wanted:
                self._run_probe()
            elif (rest_s := self._rest_due_s(arrived_s) - (self.paused_s - idle_before_s)) > 0.0:
                self._rest(rest_s, orders)
            else:
                return

    def _rest_due_s(self, arrived_s: float) -> float:
        """Return the rest that gives the work since the last safe point its share of the time.

        rest = work * (1 / duty - 1); time that the kernel kept the trainer stopped was no work.
        """
        return min(self._idle.worked_s(arrived_s) * (1.0 / self._duty - 1.0), LONGEST_REST_S)

    def _rest(self, rest_s: float, orders: int) -> None:
        """Wait for *rest_s* seconds or until the next order after number *orders*."""
        with self._idle.waiting():
            self._wait_for(lambda: self._stopping or self._orders != orders, rest_s)

    def _pause(self, epoch: int) -> None:
        """Wait until a Resume or a stop."""
        with self._idle.waiting():
            self.report(Paused(epoch))  # counted by `safe_point`
            self.on_pause()
            self._wait_for(lambda: not self._paused or self._stopping)
        if not self._stopping:
            self.report(Resumed(epoch))

    def _counted(self, message: Message) -> Message:
        if isinstance(message, EpochReport):
            total = self._before + message.total_epochs + self._later
            return replace(message, epoch=self._before + message.epoch, total_epochs=total)
        if isinstance(message, StepsReport | CheckpointSaved | CheckpointFailed | Restored | MicroBatchChanged):
            return replace(message, epoch=self._before + message.epoch)
        return message

    def _run_probe(self) -> None:
        """Run the calibration probe; its time is not working time, and its epoch is no cold baseline.

        A probe that fails is reported and not tried again: it must not end the training.
        """
        self._probe_wanted = False
        if self.probe is None:
            return
        with self._idle.waiting():
            try:
                self.report(self.probe())
            except (RuntimeError, MemoryError, OSError) as exc:
                self.probe = None
                self.report(
                    Note(f"the calibration probe failed and will not run again in this attempt: {failure_of(exc):.200}")
                )
        with self._changed:
            self._was_paused = True

    def _wait_for(self, is_over: Callable[[], bool], timeout_s: float = float("inf")) -> None:
        """Wait until *is_over*, at most *timeout_s* seconds."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not is_over() and (left_s := deadline_s - time.monotonic()) > 0.0:
                self._changed.wait(min(left_s, _CHECK_AGAIN_S))

    def _listen(self) -> None:
        """Obey until the pipe is closed. However it ends, no more directives can come: the trainer must stop."""
        try:
            for line in _lines(self._down):
                try:
                    self._obey(decode_directive(line))
                except ProtocolError as exc:
                    log(f"ignored a line from the slot: {exc}")
        finally:
            with self._changed:
                self._is_closed = True
                self._changed.notify_all()
            self.stop()

    def _obey(self, directive: object) -> None:
        with self._changed:
            match directive:
                case Begin():
                    self._begin = directive
                case Pause():
                    self._paused = self._was_paused = True
                case Resume():
                    self._paused, self._was_paused = False, True
                    self._idle.was_suspended(directive.suspended_s)
                case Pace():
                    self._duty = min(max(directive.duty, LEAST_DUTY), 1.0)
                case SetMicroBatch():
                    self._wanted_micro_batch = max(1, directive.micro_batch)
                case Probe():
                    self._probe_wanted = True
            self._orders += 1
            self._changed.notify_all()
        if isinstance(directive, Stop):
            self.stop()

    def _start_watchdog(self) -> None:
        if self._hard_exit_s is None:
            return
        watchdog = threading.Timer(self._hard_exit_s, os._exit, (int(ExitCode.STOPPED),))
        watchdog.daemon = True
        watchdog.start()


def log(words: str) -> None:
    """Write a line to the attempt's log."""
    with contextlib.suppress(OSError):  # a full disk must stop neither reports nor directives
        print(words, flush=True)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Split the stream into lines; a last line without its end was cut off and is left out."""
    pending = b""
    while chunk := stream.read(_CHUNK_BYTES):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines

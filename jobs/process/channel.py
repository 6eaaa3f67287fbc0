"""The trainer's end of the line: reports go up, directives come down and are obeyed at safe points.

A family calls `report` after each epoch (or block of rounds) and `safe_point` wherever it could stand still: at every
batch or boosting round. `safe_point` blocks while paused, rests for a share of the time while paced, runs the
calibration probe when one was asked for, and raises `StopRequested` when the slot (or the death of the daemon) asks
for an end; the family then checkpoints and lets the exception pass. A family that can change its micro-batch asks for
`wanted_micro_batch` between steps.

Neighbours: `cbi_queue.protocol` (the lines), `jobs.process.standstill` (the time that is not work), `jobs.session` (which
opens it).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, BinaryIO

from cbi_queue.errors import ProtocolError
from cbi_queue.protocol import (
    Begin,
    CheckpointSaved,
    ExitCode,
    Note,
    Pace,
    Pause,
    Paused,
    Probe,
    Restored,
    Resume,
    Resumed,
    SetMicroBatch,
    Stop,
    decode_directive,
    encode,
)
from jobs.process.heap import give_back
from jobs.process.log_lines import narrate
from jobs.process.standstill import Standstill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cbi_queue.protocol import Message, Probed

_CHUNK_BYTES = 65_536
LEAST_DUTY = 0.05
"""A trainer is never paced below a twentieth of the time: that is what a pause is for."""
LONGEST_REST_S = 60.0
"""Longest rest at one safe point: a step that was held up by something else must not be paid for twice."""
_LOOK_AGAIN_S = 0.5
"""Longest wait without looking anew: a signal that comes between the look and the wait wakes nobody."""


class StopRequested(Exception):
    """The slot wants this trainer to checkpoint and leave."""


class Channel:
    """Reports up, directives down. One per trainer process; reports may come from any thread."""

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
        self._hung_up = False
        self._standstill = Standstill()
        self._was_paused = False
        self._duty = 1.0
        self._wanted_micro_batch: int | None = None
        self._probe_wanted = False
        self.on_pause: Callable[[], None] = give_back
        """Called once as the trainer begins to stand still (paused, not paced): gives cached memory back."""
        self.probe: Callable[[], Probed] | None = None
        """The calibration probe of this trainer's device; None: a request for it is ignored."""
        self._hard_exit_s: float | None = None
        self._last_epoch = 0
        self._checkpointed_at: int | None = None

    @property
    def last_epoch(self) -> int:
        """Finished epochs (rounds, fits) that the last safe point was told of."""
        return self._last_epoch

    @property
    def has_checkpoint(self) -> bool:
        """True when this attempt left a checkpoint, or goes on from one."""
        return self._checkpointed_at is not None

    @property
    def paused_s(self) -> float:
        """Seconds not worked so far: paused, paced, or probing; subtract its growth from an epoch's wall time."""
        return self._standstill.total_s

    @property
    def wanted_micro_batch(self) -> int | None:
        """The micro-batch last ordered; None when none was. A family takes it over between steps."""
        return self._wanted_micro_batch

    @property
    def is_paced(self) -> bool:
        """True while the trainer rests for a share of the time: a device must then be waited for before a safe point."""
        return self._duty < 1.0

    @property
    def is_stopping(self) -> bool:
        """True once an end was asked for."""
        return self._stopping

    def take_was_paused(self) -> bool:
        """Tell whether a pause or a probe fell into the time since the last call: such an epoch is no baseline."""
        with self._changed:
            seen, self._was_paused = self._was_paused, False
        return seen

    def listen(self) -> None:
        """Start reading directives in a thread of its own."""
        threading.Thread(target=self._listen, name="directives", daemon=True).start()

    def wait_begin(self) -> Begin | None:
        """Block until the assignment comes; None when the daemon hung up first."""
        self._wait_for(lambda: self._begin is not None or self._hung_up)
        return self._begin

    def exit_hard_after(self, grace_s: float) -> None:
        """From the first request to stop on, give the trainer *grace_s* seconds before the process ends itself."""
        with self._changed:
            self._hard_exit_s = grace_s
            already = self._stopping
        if already:
            self._start_watchdog()

    def report(self, message: Message) -> None:
        """Send one report. A dead daemon is not an error here: the hang-up is noticed by `listen`.

        Raises:
            ProtocolError: when the report itself cannot be sent (a number that is not finite).
        """
        line = encode(message)
        if isinstance(message, CheckpointSaved | Restored):
            self._checkpointed_at = message.epoch
        if (words := narrate(message)) is not None:
            with contextlib.suppress(OSError):  # the disk of the log may be full; the report still goes up
                print(words, flush=True)
        with self._writing, contextlib.suppress(BrokenPipeError):
            self._up.write(line)
            self._up.flush()

    def safe_point(self, epoch: int) -> None:
        """Obey what was asked: stand still while paused, rest while paced, probe, leave when stopped, else return.

        Args:
            epoch: finished epochs (rounds, fits) so far, for the reports.

        Raises:
            StopRequested: when an end was asked for, by a directive, SIGTERM, or the daemon's death.
        """
        self._last_epoch = epoch
        if self._paused or self._probe_wanted or self._duty < 1.0:
            self._heed_orders(epoch)
        if self._stopping:
            raise StopRequested
        self._standstill.work_goes_on()

    def stop(self) -> None:
        """Ask for an end, as a Stop directive would (SIGTERM comes here)."""
        with self._changed:
            if self._stopping:
                return
            self._stopping = True
            self._changed.notify_all()
        self._start_watchdog()

    def _heed_orders(self, epoch: int) -> None:
        """Do what the orders in force say, looking at them anew after each; any time not worked counts as rest."""
        arrived_s, idle_before_s = time.monotonic(), self.paused_s
        while not self._stopping:
            orders = self._orders
            if self._paused:
                self._stand_still(epoch)
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
        return min(self._standstill.worked_s(arrived_s) * (1.0 / self._duty - 1.0), LONGEST_REST_S)

    def _rest(self, rest_s: float, orders: int) -> None:
        """Stand still for *rest_s* seconds or until the next order after number *orders*."""
        with self._standstill.stretch():
            self._wait_for(lambda: self._stopping or self._orders != orders, rest_s)

    def _stand_still(self, epoch: int) -> None:
        """Stand still until told to go on or to leave."""
        with self._standstill.stretch():
            self.report(Paused(epoch))
            self.on_pause()
            self._wait_for(lambda: not self._paused or self._stopping)
        if not self._stopping:
            self.report(Resumed(epoch))

    def _run_probe(self) -> None:
        """Run the calibration probe; its time is no working time, and the epoch it falls into is no baseline.

        A probe that fails is told and not tried again: it must not cost the training.
        """
        self._probe_wanted = False
        if self.probe is None:
            return
        with self._standstill.stretch():
            try:
                self.report(self.probe())
            except (RuntimeError, MemoryError, OSError) as exc:
                self.probe = None
                self.report(Note(f"the calibration probe failed and is left out from now on: {exc!r:.200}"))
        with self._changed:
            self._was_paused = True

    def _wait_for(self, is_over: Callable[[], bool], timeout_s: float = float("inf")) -> None:
        """Wait until *is_over*, at most *timeout_s* seconds."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not is_over() and (left_s := deadline_s - time.monotonic()) > 0.0:
                self._changed.wait(min(left_s, _LOOK_AGAIN_S))

    def _listen(self) -> None:
        """Obey until the line ends. However it ends, nobody orders this trainer any more: it must leave."""
        try:
            for line in _lines(self._down):
                try:
                    self._obey(decode_directive(line))
                except ProtocolError as exc:
                    _log(f"ignored a line from the slot: {exc}")
        finally:
            with self._changed:
                self._hung_up = True
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
                    self._standstill.was_suspended(directive.suspended_s)
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


def _log(words: str) -> None:
    with contextlib.suppress(OSError):  # a full disk must not end the thread that hears of a stop
        print(words, flush=True)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Split what comes into lines; a last line without its end was cut off and is left out."""
    pending = b""
    while chunk := stream.read(_CHUNK_BYTES):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines

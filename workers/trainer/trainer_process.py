"""The trainer as a child process: spawn it, read its reports, send it directives, end it.

A new `python -m jobs` per attempt, by exec and never by fork alone, in its own process group, with the slot's lock
inherited. Its stdout and stderr go straight into the attempt's log, so they do not depend on the daemon; reports have
their own pipe, so that no output of a library can corrupt them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import ProtocolError
from cbi_queue.openmp import openmp_environment
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.process_marks import VARIABLE, kill_marked
from cbi_queue.protocol import (
    MAX_LINE_BYTES,
    Begin,
    Pace,
    Pause,
    Probe,
    Resume,
    SetMicroBatch,
    Stop,
    decode_report,
    encode,
)
from cbi_queue.regular_files import open_to_append
from cbi_queue.standard_streams import above_standard
from workers.trainer.environment import trainer_environment

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.protocol import Assignment, Directive, Report

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainerSetup:
    """What a trainer process is started with."""

    interpreter: str
    threads: int
    log_path: Path
    working_dir: Path
    lock_descriptor: int
    passed_variables: tuple[str, ...] = ()
    """Environment variables that it gets beside those that libraries need."""
    mark: str = ""
    """What every process that it starts carries in its environment (`process_marks`); empty: nothing."""
    notes: Path | None = None
    """File in which a script's runner notes the processes that it has seen."""


class TrainerProcess:
    """One running trainer."""

    def __init__(self, setup: TrainerSetup) -> None:
        """Spawn the process; it waits for `begin` before it does any work."""
        report_read, report_write = map(above_standard, os.pipe())
        try:
            self._process = _spawn(setup, report_write)
        except BaseException:
            os.close(report_read)
            raise
        finally:
            os.close(report_write)
        identity = ProcessIdentity.of(self._process.pid)
        self.identity = identity or ProcessIdentity(self._process.pid, 0.0)
        self._reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self.reports_ended = False
        self._suspended_at_s: float | None = None
        self._woken_boot_s = float("-inf")
        self._children: set[ProcessIdentity] = set()
        self._mark, self._notes = setup.mark, setup.notes
        threading.Thread(target=self._read, args=(report_read,), name="reports", daemon=True).start()

    @property
    def is_suspended(self) -> bool:
        """True while the kernel keeps it stopped (SIGSTOP)."""
        return self._suspended_at_s is not None

    def was_stopped_by_us(self, at_s: float) -> bool:
        """Return True if our own SIGSTOP may have kept it stopped at second *at_s* of the boot clock."""
        return self.is_suspended or at_s <= self._woken_boot_s

    def begin(self, assignment: Assignment) -> None:
        """Make it start work."""
        self._send(Begin(assignment))

    def pause(self) -> None:
        """Ask it to pause at its next safe point."""
        self._send(Pause())

    def suspend(self) -> None:
        """Make the kernel stop the whole group at once: for work without safe points."""
        self.identity.signal_group(signal.SIGSTOP)
        self._suspended_at_s = clock.monotonic_s()

    def resume(self) -> None:
        """Make it resume, and send how long the kernel kept it stopped, which it cannot measure itself."""
        at_s = self._suspended_at_s
        self._send(Resume(suspended_s=0.0 if at_s is None else clock.monotonic_s() - at_s))
        self._wake()

    def pace(self, duty: float) -> None:
        """Make it work only *duty* of the time: above 0; 1 is full speed."""
        self._send(Pace(duty))

    def set_micro_batch(self, micro_batch: int) -> None:
        """Make it use *micro_batch* samples at once; the effective batch stays."""
        self._send(SetMicroBatch(micro_batch))

    def probe(self) -> None:
        """Ask it to run the calibration probe at its next safe point."""
        self._send(Probe())

    def ask_to_stop(self) -> None:
        """Ask it to save a checkpoint and exit."""
        self._send(Stop())
        self._wake()

    def terminate(self) -> None:
        """SIGTERM the group."""
        self.note_children()
        self._wake()
        self.identity.signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the process with everything it started."""
        self.note_children()
        self.identity.kill_tree()
        self.kill_leftovers()

    def note_children(self) -> None:
        """Note the processes it has started so far, in whatever group: after its end they can no longer be found."""
        self._children.update(self.identity.descendants())

    def kill_leftovers(self) -> None:
        """SIGKILL what it left running: its group, every child that was noted, and what carries its mark."""
        self.identity.kill_leftovers()
        for child in self._children:
            child.kill()
        if self._mark and self._process.poll() is not None and (left := kill_marked(self._mark, self._notes)):
            logger.error("event=leftovers.stuck pid=%d left=%d", self.identity.pid, left)

    def next_report(self, timeout_s: float) -> Report | None:
        """Return the next report; None when none came in time or none will come any more (`reports_ended`)."""
        if self.reports_ended:
            self.wait(timeout_s)
            return None
        try:
            report = self._reports.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if report is None:
            self.reports_ended = True
        return report

    def exit_code(self) -> int | None:
        """Return the exit status (negative: the signal), or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end and return the exit status; None when it has not ended in time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Close our end of its standard input."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()

    def _wake(self) -> None:
        if self._suspended_at_s is not None:
            self.identity.signal_group(signal.SIGCONT)
            self._suspended_at_s, self._woken_boot_s = None, clock.boot_s()

    def _send(self, directive: Directive) -> None:
        stdin = self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has just ended; the exit code shows how
            if stdin is not None and not stdin.closed:
                stdin.write(encode(directive))
                stdin.flush()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as lines:
            while line := lines.readline(MAX_LINE_BYTES + 1):
                try:
                    self._reports.put(decode_report(line))
                except ProtocolError as exc:
                    logger.warning("event=report.refused pid=%d why=%r", self.identity.pid, exc.message)
        self._reports.put(None)


def _spawn(setup: TrainerSetup, report_descriptor: int) -> subprocess.Popen[bytes]:
    with open_to_append(setup.log_path) as log:
        return subprocess.Popen(
            [setup.interpreter, "-P", "-m", "jobs", "--report-fd", str(report_descriptor)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=setup.working_dir,
            env={
                **trainer_environment(setup.threads, setup.passed_variables),
                **openmp_environment(setup.interpreter),
                **({VARIABLE: setup.mark} if setup.mark else {}),
            },
            pass_fds=(report_descriptor, setup.lock_descriptor),
            process_group=0,
        )

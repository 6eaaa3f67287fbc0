"""All processes that a command started, whatever group, session or parent they have now.

On Linux the runner adopts the orphans of its descendants (PR_SET_CHILD_SUBREAPER, prctl(2)), so that a process which
forks twice comes back to it. On any system the mark in the environment finds what left, and what is seen running is noted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.process_marks import marked, note_processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_AGAIN_S = 0.02
_ROUNDS = 50
"""Most rounds in which processes that were forked meanwhile are looked for."""


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends; without Linux, do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Tree:
    """The processes below this one, and those that carry the mark."""

    def __init__(self, mark: str, notes: Path) -> None:
        """Know processes by *mark*; empty: by descent alone. *notes* is the file for those who come when we are gone."""
        self._mark, self._notes = mark, notes
        self._noted: set[ProcessIdentity] = set()
        self._me = ProcessIdentity.of(os.getpid())
        self.is_stopped = False
        self._stopped_s = 0.0
        self.before_resume: Callable[[float], object] = lambda _seconds: None
        """Called with the seconds that they stood still, just before they go on."""

    def processes(self) -> set[ProcessIdentity]:
        """Identify every process of the tree that runs now."""
        found = set(self._me.descendants()) if self._me else set()
        if self._mark:
            found.update(marked(self._mark))
        return {identity for identity in found if identity.is_alive()}

    def stop(self) -> None:
        """SIGSTOP all of them, until no new one appears."""
        if not self.is_stopped:
            self._stopped_s = time.monotonic()
        self.is_stopped = True
        seen: set[ProcessIdentity] = set()
        for _ in range(_ROUNDS):
            new = self.processes() - seen
            if not new:
                return
            _signal(new, signal.SIGSTOP)
            seen |= new

    def resume(self) -> None:
        """SIGCONT all of them."""
        if self.is_stopped:
            self.is_stopped = False
            self.before_resume(time.monotonic() - self._stopped_s)
            _signal(self.processes(), signal.SIGCONT)

    def end(self, grace_s: float) -> None:
        """SIGTERM all of them, and SIGKILL after *grace_s* seconds what is left, until nothing is."""
        _signal(self.processes(), signal.SIGTERM)
        self.is_stopped = False
        _signal(self.processes(), signal.SIGCONT)
        deadline = time.monotonic() + grace_s
        while self.processes() and time.monotonic() < deadline:
            time.sleep(_AGAIN_S)
            self.reap()
        self.kill()

    def kill(self) -> None:
        """SIGKILL all of them, again while new ones appear."""
        for _ in range(_ROUNDS):
            left = self.processes()
            if not left:
                break
            _signal(left, signal.SIGKILL)
            time.sleep(_AGAIN_S)
            self.reap()

    def note(self) -> None:
        """Note what runs, seen now or before: it may clear its environment and outlive this process."""
        running = {identity for identity in self._noted if identity.is_alive()}
        running.update(self._me.descendants() if self._me and self._mark else ())
        if running != self._noted:
            with contextlib.suppress(OSError):  # a full disk: the mark is left
                note_processes(self._notes, self._mark, running)
                self._noted = running

    def reap(self, keep: int = 0) -> None:
        """Take leave of adopted processes that have ended, all but *keep*, whose exit status another waits for."""
        if sys.platform != "linux":
            return
        for pid in _children():
            if pid != keep:
                with contextlib.suppress(ChildProcessError, OSError):
                    os.waitpid(pid, os.WNOHANG)


def _children() -> list[int]:
    import psutil

    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process().children()]
    return []


def _signal(processes: set[ProcessIdentity], signum: int) -> None:
    for identity in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if identity.is_alive():
                os.kill(identity.pid, signum)

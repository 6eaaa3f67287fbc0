"""Who a process is: pid and start time together, never a pid alone and never a name.

Pids are reused; a pid with its start time is not. Everything that is signalled here was identified first.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

import psutil

_SAME_START_S = 0.05
"""Start times of one process may be read with different rounding (clock ticks of 10 ms)."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, told apart from any later one with the same pid."""

    pid: int
    started: float
    """Seconds since 1970, as the kernel tells it."""

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Identify the running process *pid*; None when there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def is_alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME_START_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def signal_group(self, signum: int) -> None:
        """Send *signum* to the process group that this process leads; nothing when it is gone."""
        if not self.is_alive():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signum)
            else:
                os.kill(self.pid, signum)

    def descendants(self) -> list[ProcessIdentity]:
        """Identify every child, grandchild and so on that runs now, also those in groups of their own."""
        try:
            children = psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            return []
        found = [ProcessIdentity.of(child.pid) for child in children]
        return [identity for identity in found if identity is not None]

    def kill_tree(self) -> None:
        """SIGKILL the group and every descendant, wherever it moved."""
        descendants = self.descendants()
        self.signal_group(signal.SIGKILL)
        for identity in descendants:
            if identity.is_alive():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(identity.pid, signal.SIGKILL)

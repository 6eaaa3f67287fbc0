"""The mark of an attempt, by which every process that it started is known, whoever its parent is now.

A process may leave its group, its session and its parent (`setsid`, `nohup`, a double fork), and keeps its environment.
The slot puts the mark there; what clears its whole environment is known only as long as it has an ancestor.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

from cbi_queue.process_identity import ProcessIdentity

VARIABLE = "CBI_QUEUE_RUN"
_AGAIN_S = 0.02
_LONGEST_S = 5.0
"""Longest that what was killed is waited for: a process that hangs in the kernel cannot be ended."""


def mark_of(ledger_id: str, job_id: int, attempt: int) -> str:
    """Return the mark of an attempt: the same for every daemon of this ledger, and no other's."""
    return hashlib.sha256(f"{ledger_id}:{job_id}:{attempt}".encode()).hexdigest()[:32]


def marked(mark: str) -> list[ProcessIdentity]:
    """Identify every process that carries *mark* and runs now, except this one."""
    pids = _marked_on_linux(mark) if sys.platform == "linux" else _marked_elsewhere(mark)
    found = [ProcessIdentity.of(pid) for pid in pids if pid != os.getpid()]
    return [identity for identity in found if identity is not None and identity.is_alive()]


def kill_marked(mark: str) -> int:
    """SIGKILL every process that carries *mark*, until none is left; return how many are left after all."""
    deadline = time.monotonic() + _LONGEST_S
    while left := marked(mark):
        for identity in left:
            identity.kill()
        if time.monotonic() > deadline:
            break
        time.sleep(_AGAIN_S)
    return len(left)


def _marked_on_linux(mark: str) -> list[int]:
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:  # another user's, or it has just ended
                continue
    return found


def _marked_elsewhere(mark: str) -> list[int]:
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == mark:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found

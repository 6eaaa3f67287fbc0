"""The mark of an attempt, by which every process that it started is known, whoever its parent is now.

A process may leave its group, its session and its parent (`setsid`, `nohup`, a double fork), and keeps its environment.
The slot puts the mark there. Linux has a second place that children inherit, another user and a cleared environment
too: a limit on the time of real-time processes (setrlimit(2), RLIMIT_RTTIME), set to so many thousand years that it means
nothing. Elsewhere, what clears its environment is known as long as it has an ancestor, and afterwards by pid and start:
whoever watches an attempt notes in a file what it sees run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.regular_files import open_file, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "CBI_QUEUE_RUN"
NOTED = ".processes"
"""File in the folder of an attempt's checkpoints: a line with mark, pid and start for each process that was seen last."""
_NOTED = re.compile(r"([0-9a-f]{32}) ([1-9][0-9]{0,9}) ([0-9]{1,20}(?:\.[0-9]{1,20})?)")
_AGAIN_S = 0.02
_LONGEST_S = 5.0
"""Longest that what was killed is waited for: a process that hangs in the kernel cannot be ended."""


def mark_of(state_dir: Path, ledger_id: str, job_id: int, attempt: int) -> str:
    """Return the mark of an attempt: the same for every daemon of this state folder, and of no other, copies included.

    Raises:
        OSError: when the folder cannot be looked at.
    """
    folder = state_dir.stat()  # a copy has the same ledger
    told = f"{folder.st_dev}:{folder.st_ino}:{ledger_id}:{job_id}:{attempt}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def stamp(mark: str) -> None:
    """Give this process, and what it will start, the second mark of *mark*; without Linux, do nothing."""
    if sys.platform == "linux" and mark:
        import resource

        number = _number_of(mark)
        with contextlib.suppress(ValueError, OSError):  # somebody has set a lower one: the first mark is left
            resource.setrlimit(resource.RLIMIT_RTTIME, (number, number))


def _number_of(mark: str) -> int:
    """Return the limit that stands for *mark*, µs: no two are alike, and none is below 70,000 years."""
    return 2**61 + int(mark[:15], 16)


def marked(mark: str) -> list[ProcessIdentity]:
    """Identify every process that carries *mark* and runs now, except this one."""
    pids = _marked_on_linux(mark) if sys.platform == "linux" else _marked_elsewhere(mark)
    found = [ProcessIdentity.of(pid) for pid in pids if pid != os.getpid()]
    return [identity for identity in found if identity is not None and identity.is_alive()]


def is_of_another(identity: ProcessIdentity, mark: str) -> bool:
    """Return True if the process carries another mark than *mark*; False when it carries none, or cannot be read."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        return psutil.Process(identity.pid).environ().get(VARIABLE, mark) != mark
    return False


def note_processes(path: Path, mark: str, processes: Iterable[ProcessIdentity]) -> None:
    """Write down what runs of the attempt *mark*; whole, or what was there stays: the writer may be killed at any instant.

    Raises:
        OSError: when the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    with os.fdopen(open_file(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as stream:
        stream.writelines(f"{mark} {identity.pid} {identity.started!r}\n" for identity in processes)
    part.replace(path)


def noted(path: Path, mark: str) -> set[ProcessIdentity]:
    """Identify what was noted of *mark* and runs now, with its descendants; nothing when the file cannot be read."""
    found: set[ProcessIdentity] = set()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in read_text(path).splitlines():
            match = _NOTED.fullmatch(line)
            if match and match[1] == mark:
                found.add(ProcessIdentity(int(match[2]), float(match[3])))
    alive = {identity for identity in found if identity.is_alive() and identity.pid != os.getpid()}
    return alive.union(*(identity.descendants() for identity in alive))


def kill_marked(mark: str, path: Path | None = None) -> int:
    """SIGKILL every process that carries *mark* or was noted in *path*, until none is left; return how many are left."""
    deadline = time.monotonic() + _LONGEST_S
    while left := {*marked(mark), *(noted(path, mark) if path else ())}:
        for identity in left:
            identity.kill()
        if time.monotonic() > deadline:
            break
        time.sleep(_AGAIN_S)
    return len(left)


def _marked_on_linux(mark: str) -> list[int]:
    wanted, number = f"{VARIABLE}={mark}".encode(), str(_number_of(mark)).encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                has_number = number in (folder / "limits").read_bytes()  # of everyone; the environment is its owner's
                if has_number or wanted in (folder / "environ").read_bytes().split(b"\0"):
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

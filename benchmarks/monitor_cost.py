"""What the monitor takes while a model trains: processor time of its thread, and of the threads of slow sensors.

The real sensors of this machine at the default period, watching a process with torch's libraries mapped and a child of
its own: walking a trainer's pages is the dearest look. Commands of macOS (ioreg, vm_stat, pmset) run in processes of
their own and are counted as children.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from benchmarks.installation import installation
from benchmarks.measuring import Line, Target
from cbi_queue.process_identity import ProcessIdentity
from workers.sensors.monitor import Monitor

WATCHED_S = 60.0
SETTLING_S = 4.0
CHILD = "import time; time.sleep(600)"
TRAINER = f"""
import subprocess, sys, time
try:
    import torch
except ImportError:
    pass
ballast = bytearray(b"x" * (256 << 20))
subprocess.Popen([sys.executable, "-c", {CHILD!r}])
print("ready", flush=True)
time.sleep(600)
"""


def lines(rounds: int) -> list[Line]:
    """Watch for a minute, *rounds* times."""
    shares = tuple(_share() for _ in range(rounds))
    note = f"{shares[-1] / 100 * WATCHED_S * 1000:.0f} ms of processor time, all threads of the process"
    return [Line(f"monitor thread, share of a core over {WATCHED_S:.0f} s", "%", shares, Target(0.3), note)]


def _share() -> float:
    with installation() as home, subprocess.Popen([sys.executable, "-c", TRAINER], stdout=subprocess.PIPE) as trainer:
        try:
            assert trainer.stdout is not None
            trainer.stdout.readline()
            return _watch(Monitor(home.settings), ProcessIdentity.of(trainer.pid))
        finally:
            tree = ProcessIdentity.of(trainer.pid)
            if tree is not None:
                tree.kill_tree()


def _watch(monitor: Monitor, trainer: ProcessIdentity | None) -> float:
    """Return the percentage of a core that this process, which does nothing else, and its children used."""
    monitor.watch(trainer)
    monitor.start()
    time.sleep(SETTLING_S)
    before, started = _cpu_s(), time.monotonic()
    time.sleep(WATCHED_S)
    after, watched_s = _cpu_s(), time.monotonic() - started
    monitor.stop()
    return 100 * (after - before) / watched_s


def _cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

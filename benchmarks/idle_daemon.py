"""What the daemon takes while there is nothing to train: resident memory, and processor time over a minute.

The real process with its default settings, on a ledger of 70 ended jobs. Resident memory counts the pages of shared
libraries in full and is the larger number; the finer ones stand behind it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.footprint import Footprint
from benchmarks.installation import installation, until, week_of_jobs
from benchmarks.measuring import Line, Target
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.verbs import cancel
from cbi_queue.slot_lock import SlotLock

if TYPE_CHECKING:
    from benchmarks.installation import Installation

SETTLING_S = 3.0
"""Seconds after the start that do not count: imports, and the day's backup."""
WATCHED_S = 60.0


def lines(rounds: int) -> list[Line]:
    """Watch *rounds* daemons, one after the other."""
    looks = []
    for _ in range(rounds):
        with installation() as home:
            looks.append(_watch(home))
    last, _ = looks[-1]
    shares = tuple(share for _, share in looks)
    return [
        Line("idle daemon, resident memory", "MB", tuple(f.rss_mb for f, _ in looks), Target(60.0),
             last.memory_words()),
        Line(f"idle daemon, share of a core over {WATCHED_S:.0f} s", "%", shares, Target(0.5),
             f"{shares[-1] * WATCHED_S / 100:.2f} s of processor time"),
    ]  # fmt: skip


def _watch(home: Installation) -> tuple[Footprint, float]:
    """Return the footprint after the time of watching, and the percentage of a core during it."""
    jobs = week_of_jobs()
    home.enqueue(*jobs)
    with Ledger.open(home.settings.ledger_path) as ledger:
        cancel(ledger, [job["name"] for job in jobs])
    with home.process("-m", "workers", "--quiet") as daemon:
        until(lambda: SlotLock(home.settings.lock_path).holder() is not None, "the daemon to hold the slot")
        time.sleep(SETTLING_S)
        before, started = Footprint.of(daemon.pid), time.monotonic()
        time.sleep(WATCHED_S)
        after, watched_s = Footprint.of(daemon.pid), time.monotonic() - started
    return after, 100 * (after.cpu_s - before.cpu_s) / watched_s

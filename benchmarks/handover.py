"""How long the slot stands empty: from one trainer's end to the first line of the next, against a bare start.

The real daemon runs in this process on real trainers; its `TrainerProcess` is watched by a subclass that notes when
the pipe of one trainer closes (the process is gone) and when the next one's `Hello` comes in. What lies between is
ours: check the run folder, settle, look for the next job, claim it, spawn, record. The bare start is the same command
in the same environment, from its spawn to the same line.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING
from unittest.mock import patch

from benchmarks.installation import installation
from benchmarks.measuring import Line, Target, in_ms
from cbi_queue.protocol import Hello
from workers.daemon import Daemon
from workers.slot import slot
from workers.trainer.environment import trainer_environment
from workers.trainer.trainer_process import TrainerProcess, TrainerSetup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.installation import Installation
    from cbi_queue.protocol import Report

JOBS = 4
"""Jobs a round: three handovers."""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds of bare starts and handovers; each round gives the difference of its medians."""
    differences, gaps, starts = [], [], []
    with installation() as home, _environment_of(home):
        home.furnish()
        for number in range(rounds + 1):
            bare = [_bare_start(home) for _ in range(JOBS - 1)]
            between = _handovers(home, number)
            if number:  # the first round warms the disk's caches
                differences.append(statistics.median(between) - statistics.median(bare))
                gaps += between
                starts += bare
    note = f"handover {in_ms(gaps)}, bare start {in_ms(starts)}"
    return [Line("one job's end to the next trainer's first line, above a bare start", "s", tuple(differences),
                 Target(0.3), note)]  # fmt: skip


def _handovers(home: Installation, number: int) -> list[float]:
    """Let a daemon train a few naive models; return the seconds from each end to the next first line."""
    seen: list[tuple[str, float]] = []

    class Watched(TrainerProcess):
        """A trainer whose first line and end are noted."""

        def next_report(self, timeout_s: float) -> Report | None:
            had_ended = self.reports_ended
            report = super().next_report(timeout_s)
            if isinstance(report, Hello):
                seen.append(("hello", time.perf_counter()))
            elif self.reports_ended and not had_ended:
                seen.append(("gone", time.perf_counter()))
            return report

    job = {"family": "statistical", "model": "naive", "horizon": "1w"}
    home.enqueue(*({**job, "name": f"naive-{number}-{index}"} for index in range(JOBS)))
    with patch.object(slot, "TrainerProcess", Watched):
        Daemon(home.settings, until_empty=True).run()
    steps = [(after[1] - before[1]) for before, after in pairwise(seen) if before[0] == "gone"]
    if len(steps) != JOBS - 1:
        msg = f"expected {JOBS - 1} handovers, saw {seen}"
        raise RuntimeError(msg)
    return steps


def _bare_start(home: Installation) -> float:
    """Start a trainer by hand; return the seconds until its first line, then let it go."""
    reports, theirs = os.pipe()
    setup = TrainerSetup(sys.executable, home.settings.threads, home.root / "bare.log", home.root, theirs)
    with setup.log_path.open("ab") as log, os.fdopen(reports, "rb") as lines_up:
        started = time.perf_counter()
        child = subprocess.Popen(
            [setup.interpreter, "-P", "-m", "jobs", "--report-fd", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=setup.working_dir,
            env=trainer_environment(setup.threads),
            pass_fds=(theirs,),
            process_group=0,
        )
        os.close(theirs)
        lines_up.readline()
        took_s = time.perf_counter() - started
        if child.stdin:
            child.stdin.close()
        child.wait()
    return took_s


@contextmanager
def _environment_of(home: Installation) -> Iterator[None]:
    """Give this process the installation's environment: the daemon hands its own on to its trainers."""
    with patch.dict(os.environ, home.environ, clear=True):
        yield

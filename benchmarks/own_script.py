"""A script of the user's own through the queue: its time against the bare command, and a report.

The script does a fixed amount of work and reports nothing while it does; what is measured is the command in the slot,
from its start to its end. Then it makes 150 reports, as many as are really sent at once, and times them.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.installation import installation
from benchmarks.measuring import Line, Target, alternate, in_ms, ratios, seconds
from cbi_queue.ledger import Ledger, queries

if TYPE_CHECKING:
    from benchmarks.installation import Installation

WORK = 12_000_000
"""Hashes: about 20 s."""
REPORTS = 150
SCRIPT = """
import hashlib, sys, time
from cbi_queue.client import training
value = b""
for _ in range(int(sys.argv[1])):
    value = hashlib.sha256(value).digest()
begun = time.perf_counter()
for epoch in range(1, int(sys.argv[2]) + 1):
    training.report(epoch, of=1_000_000, loss=0.5, samples=32)
training.metric("report_us", (time.perf_counter() - begun) / int(sys.argv[2]) * 1e6)
"""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds of each pair."""
    reports: list[float] = []
    with installation() as home:
        (home.root / "train.py").write_text(SCRIPT)
        command = (sys.executable, "train.py", str(WORK), str(REPORTS))
        numbers = itertools.count()
        queued, bare = alternate(
            lambda: _through_queue(home, command, f"own-{next(numbers)}", reports), lambda: _run(home, command), rounds
        )
    return [
        Line("a script in the slot / the bare command", "x", ratios(queued, bare), Target(1.01), _both(queued, bare)),
        Line("one report of a script", "s", tuple(each / 1e6 for each in reports[1:]), Target(50e-6)),
    ]


def _both(queued: list[float], bare: list[float]) -> str:
    return f"queue {in_ms(queued)}, bare {in_ms(bare)}"


def _through_queue(home: Installation, command: tuple[str, ...], name: str, reports: list[float]) -> float:
    """Run *command* as a job; return its seconds in the slot, and note those of a report."""
    params = {"command": list(command), "workdir": str(home.root)}
    home.enqueue({"name": name, "family": "script", "model": "command", "horizon": "-", "params": params})
    home.work_off()
    with Ledger.open_readonly(home.settings.ledger_path) as ledger:
        job = queries.find_job(ledger, name)
    if job.metrics is None:
        msg = f"{name} did not succeed: it is {job.state}"
        raise RuntimeError(msg)
    reports.append(float(job.metrics["report_us"]))
    return float(job.metrics["fit_s"])


def _run(home: Installation, command: tuple[str, ...]) -> float:
    environment = {**home.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return seconds(
        lambda: subprocess.run(command, env=environment, cwd=home.root, check=True, stdout=subprocess.DEVNULL)
    )

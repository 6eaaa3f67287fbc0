"""The everyday verbs as a person meets them, processes: `cbi-queue status --json` on 70 jobs, `--help`, and `add`.

The baseline is the same interpreter with nothing to do. Help needs no ledger and must not be slower than the look. `add` is
measured in processor time: a script that adds a thousand jobs pays that.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.installation import installation, week_of_jobs
from benchmarks.measuring import Line, Target, alternate, in_ms, processor_seconds, ratios, seconds

if TYPE_CHECKING:
    from benchmarks.installation import Installation

COMMAND = str(Path(sys.executable).with_name("cbi-queue"))
STATUS = (COMMAND, "status", "--json")
HELP = (COMMAND, "--help")
ADD = (COMMAND, "add", "--", "true")
NOTHING = (sys.executable, "-c", "pass")


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds of each pair."""
    with installation() as home:
        home.enqueue(*week_of_jobs())
        status, bare = alternate(lambda: _run(home, STATUS), lambda: _run(home, NOTHING), rounds)
        help_, status_again = alternate(lambda: _run(home, HELP), lambda: _run(home, STATUS), rounds)
        numbers = itertools.count()
        add, nothing = alternate(
            lambda: _processor_time(home, (*ADD, str(next(numbers)))), lambda: _processor_time(home, NOTHING), rounds
        )
    return [
        Line(
            "`cbi-queue status --json`, 70 jobs / `python -c pass`",
            "x",
            ratios(status, bare),
            Target(10.0),
            f"status {in_ms(status)}, bare {in_ms(bare)}",
        ),
        Line(
            "`cbi-queue --help` / `cbi-queue status --json`",
            "x",
            ratios(help_, status_again),
            Target(1.0),
            f"help {in_ms(help_)}, status {in_ms(status_again)}",
        ),
        Line(
            "`cbi-queue add` / `python -c pass`",
            "x",
            ratios(add, nothing),
            Target(10.0),
            f"processor time: add {in_ms(add)}, bare {in_ms(nothing)}",
        ),
    ]


def _run(home: Installation, command: tuple[str, ...]) -> float:
    return seconds(lambda: _wait_for(home, command))


def _processor_time(home: Installation, command: tuple[str, ...]) -> float:
    return processor_seconds(lambda: _wait_for(home, command))


def _wait_for(home: Installation, command: tuple[str, ...]) -> None:
    subprocess.run(command, env=home.environ, cwd=home.root, check=True, stdout=subprocess.DEVNULL)

"""Training with channel, reports and the monitor's looks, against the same net in a bare loop, turn by turn.

`loop_turns` trains, in a process with a trainer's environment: ours through the trainer's own loop, bare by hand, one
epoch a turn in the order ours, bare, bare, ours. `loop_company` stands for the daemon: it reads the reports and watches
the trainer with the real sensors, and is stopped by the kernel while the bare loop has its turn. A ratio is taken of
every four turns, so that what changes from second to second falls on both; the median of many such ratios is judged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from benchmarks.measuring import Line, Target, in_ms, interval, ratios
from workers.trainer_process import trainer_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

TARGET = Target(1.01)


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds of four turns each."""
    turns = _turns(rounds)
    return [
        _line(
            "training with monitor, channel and reports / the same loop without", turns["ours_wall"], turns["bare_wall"]
        ),
        _line("the same by processor time, which neighbours disturb less", turns["ours_cpu"], turns["bare_cpu"]),
    ]


def _line(words: str, ours: Sequence[float], bare: Sequence[float]) -> Line:
    values = ratios(ours, bare)
    low, high = interval(values)
    note = f"median within {low:.4f}..{high:.4f} (95 %), loop {in_ms(ours)}, bare {in_ms(bare)} for two epochs"
    return Line(words, "x", values, TARGET, note)


def _turns(rounds: int) -> dict[str, list[float]]:
    """Let both processes run; return seconds of ours and of the bare loop, by either clock, round by round."""
    reports_out, reports_in = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        turns = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loop_turns", str(rounds), str(reports_in), folder],
            env=trainer_environment(1),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[reports_in],
        )
        company = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loop_company", str(turns.pid)], stdin=reports_out, stdout=subprocess.PIPE
        )
        os.close(reports_in)
        os.close(reports_out)
        try:
            _wait_for_line(company)
            turns.stdin.write(f"{company.pid}\n".encode())
            turns.stdin.flush()
            told: dict[str, list[float]] = json.loads(_wait_for_line(turns))
        finally:
            for process in (turns, company):
                process.kill()
                process.communicate()
    return told


def _wait_for_line(process: subprocess.Popen[bytes]) -> bytes:
    line = process.stdout.readline()
    if not line:
        msg = f"{process.args} ended with {process.wait()} before it said anything; its errors are above"
        raise RuntimeError(msg)
    return line

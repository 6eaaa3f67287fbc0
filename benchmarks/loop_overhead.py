"""Training with channel, reports and the monitor's looks, against the same net in a bare loop, turn by turn.

`loop_turns` trains, in a process with a trainer's environment: ours through the trainer's own loop, bare by hand, one
epoch a turn in the order ours, bare, bare, ours. `loop_company` stands for the daemon: it reads the reports and watches
the trainer with the real sensors, and is stopped by the kernel while the bare loop has its turn. A ratio is taken of
every four turns, so that what changes from second to second falls on both; the median of many such ratios is judged.

On a machine that others use the ratio of whole epochs scatters by more than what is looked for. So the same is measured
of the smallest net there is as well: what is added to one of its steps is added to every net's, and is told as a share
of the step of the net above.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import Line, Target, in_ms, interval, ratios
from workers.trainer.environment import trainer_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

TARGET = Target(1.01)
SMALLEST = {"batch_size": 1, "sequence_length": 1, "hidden_size": 2}
FEWER = 4
"""Rounds of the smallest net are so many times fewer: each has 33 times the steps."""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds of four turns each."""
    turns, small = _turns(rounds, {}), _turns(max(2, rounds // FEWER), SMALLEST)
    return [
        _line(
            "training with monitor, channel and reports / the same loop without", turns["ours_wall"], turns["bare_wall"]
        ),
        _line("the same by processor time, which neighbours disturb less", turns["ours_cpu"], turns["bare_cpu"]),
        _line_of_steps(turns, small),
    ]


def _line_of_steps(turns: dict[str, Any], small: dict[str, Any]) -> Line:
    step_s = statistics.median(turns["bare_cpu"]) / turns["steps"]
    added_s = [(ours - bare) / small["steps"] for ours, bare in zip(small["ours_cpu"], small["bare_cpu"], strict=True)]
    values = tuple(1.0 + added / step_s for added in added_s)
    low, high = interval(values)
    added = f"{1e6 * statistics.median(added_s):.0f} us added to a step, which takes {1e3 * step_s:.1f} ms"
    words = "the same, by what is added to a step of the smallest net"
    return Line(words, "x", values, TARGET, f"median within {low:.4f}..{high:.4f} (95 %), {added}")


def _line(words: str, ours: Sequence[float], bare: Sequence[float]) -> Line:
    values = ratios(ours, bare)
    low, high = interval(values)
    note = f"median within {low:.4f}..{high:.4f} (95 %), loop {in_ms(ours)}, bare {in_ms(bare)} for two epochs"
    return Line(words, "x", values, TARGET, note)


def _turns(rounds: int, params: dict[str, int]) -> dict[str, Any]:
    """Let both processes run; return seconds of ours and of the bare loop, by either clock, round by round."""
    reports_out, reports_in = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        turns = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loop_turns", str(rounds), str(reports_in), folder, json.dumps(params)],
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
            told: dict[str, Any] = json.loads(_wait_for_line(turns))
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

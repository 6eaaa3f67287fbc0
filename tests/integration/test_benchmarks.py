"""Every benchmark can be loaded, and one that fails leaves the figures of the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import __main__ as command
from benchmarks.measuring import Line, Target
from benchmarks.registry import BENCHMARKS, Benchmark

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


def test_every_benchmark_can_be_loaded() -> None:
    """A module that moved is found here, not on the day of the measurement."""
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(f'benchmarks.{name}').lines"
    modules = [benchmark.module for benchmark in BENCHMARKS]
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_benchmark_that_fails_is_a_row_that_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    works, fails = BENCHMARKS[0], BENCHMARKS[1]

    def run(benchmark: Benchmark, _rounds: int | None = None) -> list[Line]:
        if benchmark is fails:
            raise RuntimeError("expected 3 handovers, saw 2")
        return [Line("it", "x", (0.5,), Target(1.0))]

    monkeypatch.setattr(Benchmark, "run", run)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--json", works.name, fails.name])

    assert command.main() == 1
    rows = json.loads(capsys.readouterr().out)["lines"]
    assert [(row["median"], row["holds"]) for row in rows] == [(0.5, True), (None, None)]
    assert "expected 3 handovers" in rows[1]["note"]

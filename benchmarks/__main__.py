"""`python -m benchmarks [NAME …]`: measure all of them, or those named, and print what holds and what does not.

The exit code says whether the measuring worked, never how fast something was: a table of ratios is for people.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring import Line
from benchmarks.registry import BENCHMARKS, chosen
from benchmarks.report import as_json, as_markdown, as_text, load, machine, write_markdown

if TYPE_CHECKING:
    from benchmarks.registry import Benchmark


def main() -> int:
    """Run the benchmarks one after the other and print the table."""
    options = _options()
    loads = [load()]
    lines: list[Line] = []
    for benchmark in chosen(options.names):
        print(f"{benchmark.name}: {benchmark.words} …", file=sys.stderr, flush=True)
        lines += _measured(benchmark, options.rounds, smallest=options.smallest)
        loads.append(load())
    heading = f"{machine()}; load average {' → '.join(loads)} between the benchmarks."
    if options.markdown:
        write_markdown(options.markdown, as_markdown(lines, heading))
    if options.json:
        print(json.dumps({"machine": heading, "lines": as_json(lines)}, indent=2))
    else:
        print(f"{heading}\n\n{as_text(lines)}")
    return 0 if all(line.values for line in lines) else 1


def _measured(benchmark: Benchmark, rounds: int | None, *, smallest: bool) -> list[Line]:
    """Return the benchmark's lines, or one that says why it could not be measured: the others still count."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what trainers log is no part of the answer
            lines = benchmark.run_smallest() if smallest else benchmark.run(rounds)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - whatever one fails with, the others have been measured
        traceback.print_exc()
        return [Line(benchmark.name, "", (), note=f"not measured: {type(exc).__name__}: {exc}")]
    return lines or [Line(benchmark.name, "", (), note="not measured: it told no line")]


def _options() -> argparse.Namespace:
    listed = "\n".join(f"  {b.name:12} {b.words}{' (only when named)' if b.slow else ''}" for b in BENCHMARKS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__.splitlines()[0]}\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; default: all that are not slow")
    parser.add_argument("--rounds", type=int, help="rounds of each; default: what each needs")
    parser.add_argument(
        "--smallest",
        action="store_true",
        help="one round of each at the smallest size: shows that it runs, not how fast",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table into this Markdown file, too")
    options = parser.parse_args()
    unknown = set(options.names) - {benchmark.name for benchmark in BENCHMARKS}
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; see --help")
    return options


if __name__ == "__main__":
    sys.exit(main())

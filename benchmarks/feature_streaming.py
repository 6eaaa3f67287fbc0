"""`python benchmarks/feature_streaming.py --rows 990000`: memory and time of the feature cache on a long export.

A load test of memory, not of forecasts: no real daily series has a million rows, so the real sample panel is laid
end to end, values untouched, with one date after the other. The build runs as the slot runs it, the real trainer
class in a process of its own, whose peak resident set is what counts. This process stays small on purpose: on Linux a
child's `ru_maxrss` starts at its parent's. Repeated rows compress better than real ones would, so the size of the
output, and a part of the writing time, are flattered.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.datasets.description import Column, DataSet, write_description

if TYPE_CHECKING:
    from benchmarks.measuring import Line

HORIZON = "1m"
ROWS = 990_000
"""More are refused: a model could not hold the sample's 203 features of them."""
WIDE_ROWS, WIDE_COLUMNS = 9_000, 1_000
BOUND_MIB = 1536
"""The working set that one job may have."""
MAKE_EXPORT = """
import sys
import polars as pl, pyarrow.parquet as pq
source, target, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
panel = pl.read_parquet(source)
writer = None
for first in range(0, rows, panel.height):
    days = pl.int_range(first - 135_000, first - 135_000 + panel.height, dtype=pl.Int32, eager=True).cast(pl.Date)
    table = panel.with_columns(date=days).head(rows - first).to_arrow()
    writer = writer or pq.ParquetWriter(target, table.schema)
    writer.write_table(table)
writer.close()
"""
MAKE_WIDE = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
rows, columns = int(sys.argv[2]), int(sys.argv[3])
walks = 50 * np.exp(np.random.default_rng(0).normal(0, 0.01, (columns + 1, rows)).cumsum(axis=1))
names = ["date", "price", *(f"x{number}" for number in range(columns))]
pq.write_table(pa.table([np.busday_offset("1985-01-03", np.arange(rows)), *walks], names), sys.argv[1])
"""


def measure(rows: int, folder: Path) -> dict[str, object]:
    """Make an export of *rows* rows in *folder*, build its cache, and say what that took."""
    raw, exports, processed, run = (folder / name for name in ("raw", "exports", "processed", "run"))
    for made in (raw, exports, processed):
        made.mkdir()
    _run("-m", "jobs.sample_data", "--raw", str(raw), "--exports", str(exports))
    export = exports / f"production_training_data_{HORIZON}.parquet"
    _run("-c", MAKE_EXPORT, str(export), str(export), str(rows))
    # repeated rows look like foresight: every move comes again
    write_description(exports, DataSet(columns={name: Column() for name in ("sp500", "nasdaq", "vix")}))
    return _built(rows, run, exports, processed)


def measure_wide(rows: int, columns: int, folder: Path) -> dict[str, object]:
    """Do the same for random walks in many *columns*, capped as the refusal of so many says."""
    from jobs.data.feature_cap import most_features

    exports, processed, run = (folder / name for name in ("exports", "processed", "run"))
    for made in (exports, processed):
        made.mkdir()
    _run("-c", MAKE_WIDE, str(exports / f"production_training_data_{HORIZON}.parquet"), str(rows), str(columns))
    write_description(exports, DataSet(max_features=min(most_features(rows), 100_000)))
    return _built(rows, run, exports, processed)


def _built(rows: int, run: Path, exports: Path, processed: Path) -> dict[str, object]:
    started_s = time.monotonic()
    finished = train(run, exports, processed)
    export = exports / f"production_training_data_{HORIZON}.parquet"
    return {
        "rows": rows,
        "features": finished["metrics"]["features"],
        "peak_rss_mib": round(finished["peak_rss_mib"], 1),
        "bound_mib": BOUND_MIB,
        "seconds": round(time.monotonic() - started_s, 1),
        "export_mib": _mib(export),
        "cache_mib": _mib(processed / f"{HORIZON}_features.parquet"),
    }


def train(run: Path, exports: Path, processed: Path, params: dict[str, object] | None = None) -> dict:
    """Run one real trainer session and return its last report, which carries the peak of its resident set."""
    from cbi_queue.protocol import Assignment, Begin, encode
    from cbi_queue.spec import JobSpec
    from workers.trainer.environment import trainer_environment

    body = {
        "day": 1,
        "name": "load",
        "family": "features",
        "model": "feature_cache",
        "horizon": HORIZON,
        "params": params or {},
    }
    spec = JobSpec.model_validate(body).model_dump(mode="json")
    folders = {"run_dir": str(run), "exports_dir": str(exports), "processed_dir": str(processed)}
    begin = encode(Begin(Assignment(job_id=1, attempt=1, ledger_id="load", identity="load", spec=spec, **folders)))
    with (run.parent / "reports").open("w+b") as reports:
        child = subprocess.Popen(
            [sys.executable, "-m", "jobs", "--report-fd", str(reports.fileno())],
            stdin=subprocess.PIPE,
            stdout=sys.stderr,  # its log is no part of the answer
            env=trainer_environment(threads=1),
            pass_fds=[reports.fileno()],
        )
        child.stdin.write(begin)
        child.stdin.flush()
        child.wait()
        child.stdin.close()
        reports.seek(0)
        last = json.loads(reports.readlines()[-1])
    if last["type"] != "finished":
        sys.exit(f"the trainer did not finish: {last}")
    return last


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def _mib(path: Path) -> float:
    return round(path.stat().st_size / 2**20, 1)


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds, for `python -m benchmarks features`."""
    from benchmarks.measuring import Line, Target

    long, wide = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            long.append(measure(ROWS, Path(folder)))
        with tempfile.TemporaryDirectory() as folder:
            wide.append(measure_wide(WIDE_ROWS, WIDE_COLUMNS, Path(folder)))
    return [
        Line(
            f"feature cache of {what}, peak resident memory",
            "MiB",
            tuple(float(str(result["peak_rss_mib"])) for result in results),
            Target(BOUND_MIB),
            f"{results[-1]['features']:,} features, {results[-1]['seconds']} s",
        )
        for what, results in ((f"{ROWS:,} rows", long), (f"{WIDE_ROWS:,} rows of {WIDE_COLUMNS:,} columns", wide))
    ]


def main() -> int:
    """Measure, print, and fail when the bound was passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--folder", type=Path, help="existing folder for the files; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(arguments.rows, Path(folder))
    if arguments.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:>13}  {value}" for name, value in result.items()))
    return 0 if result["peak_rss_mib"] <= BOUND_MIB else 1


if __name__ == "__main__":
    sys.exit(main())

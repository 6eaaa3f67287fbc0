"""The forecasts of a run's validation block: `python -m jobs.forecast_series`, JSON on standard input and output.

In a process of its own because it needs Polars, which the page does not load. The final block stays closed: no row of
another block is ever returned.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cbi_queue.regular_files import failure_of
from jobs.results.stored_forecasts import Unreadable, read_forecasts

MOST_ROWS = 2_000
COLUMNS = ("predicted_price", "actual_price", "lower_95", "upper_95")


def series(path: Path, sha256: str) -> dict[str, Any]:
    """Return `target_date` as ISO text and each of `COLUMNS` that is there, in the order of time, None: not known.

    Of more than `MOST_ROWS` rows the newest are returned.

    Raises:
        Unreadable: when it is not the file that the run wrote.
    """
    import polars as pl

    table = read_forecasts(path, sha256)
    rows = table.filter(pl.col("block") == "validation").sort("target_date").tail(MOST_ROWS)
    there = [name for name in COLUMNS if rows[name].null_count() < len(rows)]
    return {
        "target_date": rows["target_date"].dt.to_string().to_list(),
        **{name: rows[name].fill_nan(None).to_list() for name in there},
    }


def main() -> int:
    """Read {"path", "sha256"} from standard input and write the series."""
    asked = json.load(sys.stdin)
    try:
        print(json.dumps(series(Path(asked["path"]), asked["sha256"])))
    except Unreadable as exc:
        print(exc, file=sys.stderr)
        return 1
    except Exception as exc:  # noqa: BLE001 - Polars raises errors of many kinds for a damaged file
        print(failure_of(exc), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The forecasts of a run's validation block: `python -m jobs.forecast_series`, JSON on standard input and output.

In a process of its own because it needs Polars, which the page does not load. The final block stays closed: no row of
another block is ever returned.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from cbi_queue.regular_files import LARGE, failure_of, read_whole

MOST_ROWS = 2_000
COLUMNS = ("predicted_price", "actual_price", "lower_95", "upper_95")


def series(path: Path) -> dict[str, Any]:
    """Return `target_date` as ISO text and each of `COLUMNS` that is there, in the order of time, None: not known.

    Of more than `MOST_ROWS` rows the newest are returned.
    """
    import polars as pl

    table = pl.read_parquet(io.BytesIO(read_whole(path, LARGE)))
    rows = table.filter(pl.col("block") == "validation").sort("target_date").tail(MOST_ROWS)
    found = {name: rows[name].cast(pl.Float64).fill_nan(None).to_list() for name in COLUMNS if name in rows.columns}
    return {"target_date": rows["target_date"].cast(pl.Date).dt.to_string().to_list(), **found}


def main() -> int:
    """Read {"path"} from standard input and write the series."""
    try:
        print(json.dumps(series(Path(json.load(sys.stdin)["path"]))))
    except Exception as exc:  # noqa: BLE001 - Polars raises errors of many kinds for a damaged file
        print(failure_of(exc), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m jobs.sample_data --raw DIR --exports DIR`: the five sample exports, built from real daily series.

Two steps. First the series that the `arch` package ships (WTI crude, S&P 500, NASDAQ, VIX) are written to `raw/`, one
Parquet file each. Then DuckDB joins those files on the S&P 500's trading days into one panel, which is written once
per horizon as `exports/production_training_data_<horizon>.parquet`. Nothing here is generated: a day without a quote
stays empty, except that WTI is carried forward over at most three trading days. A file that this program did not write
is the user's own and is never overwritten without `--force`.

Runs in its own process, started by `cbi-queue data sample`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import io
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import sha256_of, write_atomic
from cbi_queue.models.kinds import HORIZON_DAYS, HORIZONS
from cbi_queue.regular_files import plain_words

if TYPE_CHECKING:
    import pyarrow as pa

ORIGIN_KEY, ORIGIN = b"cbi_queue.origin", b"sample_data"
"""Parquet metadata that marks a file as written here."""
STAND_IN = "WTI crude stands in for soybean oil (ZL): no library here ships a daily ZL series; bring your own export."
SERIES: dict[str, str] = {
    "wti": "WTI spot price, US$ a barrel, daily (FRED DCOILWTICO), as shipped in arch.data.wti",
    "sp500": "S&P 500 index, daily, as shipped in arch.data.sp500",
    "nasdaq": "NASDAQ Composite index, daily, as shipped in arch.data.nasdaq",
    "vix": "Cboe VIX close, daily from 2014, as shipped in arch.data.vix",
}
_RENAMED = {"DCOILWTICO": "close", "vix": "close"}

PANEL_SQL = """
    SELECT
        sp500.date AS date,
        -- at most three trading days old: the exchanges' holidays differ
        last_value(wti.close IGNORE NULLS) OVER (
            ORDER BY sp500.date ROWS BETWEEN 3 PRECEDING AND CURRENT ROW
        ) AS price,
        sp500.close AS sp500,
        nasdaq.close AS nasdaq,
        vix.close AS vix
    FROM read_parquet($sp500) AS sp500
    LEFT JOIN read_parquet($wti) AS wti USING (date)
    LEFT JOIN read_parquet($nasdaq) AS nasdaq USING (date)
    LEFT JOIN read_parquet($vix) AS vix USING (date)
    ORDER BY sp500.date
"""


class ForeignFile(Exception):
    """A file that this program did not write is where a sample file would go."""


@dataclass(frozen=True, slots=True)
class Built:
    """One file of the sample."""

    path: str
    status: str
    """written | already there."""
    rows: int
    first_date: str
    last_date: str
    columns: tuple[str, ...]
    sha256: str


def build(raw: Path, exports: Path, *, force: bool = False) -> list[Built]:
    """Write the raw series, then the five exports; files with the same bytes are not written again.

    Raises:
        ForeignFile: before anything is written, when a user's own file would be overwritten and *force* is off.
    """
    raw_paths = {name: raw / f"{name}.parquet" for name in SERIES}
    export_paths = {h: exports / f"production_training_data_{h}.parquet" for h in HORIZONS}
    if not force:
        refuse_foreign([*raw_paths.values(), *export_paths.values()])
    built = [_write(path, _series(name), {"source": SERIES[name]}) for name, path in raw_paths.items()]
    panel = join_panel(raw_paths)
    built += [_write(path, panel, _export_notes(horizon)) for horizon, path in export_paths.items()]
    return built


def refuse_foreign(paths: list[Path]) -> None:
    """Check that every existing file of *paths* was written here.

    Raises:
        ForeignFile: naming the first that is not.
    """
    for path in paths:
        if path.exists() and not _is_ours(path):
            raise ForeignFile(
                f"{path} did not come from the sample builder; nothing was written. "
                "Move it away, or overwrite it with --force"
            )


def join_panel(raw_paths: dict[str, Path]) -> pa.Table:
    """Join the raw files on the S&P 500's trading days: date, price (WTI), sp500, nasdaq, vix."""
    import duckdb

    with duckdb.connect() as connection:
        params = {name: str(path) for name, path in raw_paths.items()}
        return connection.sql(PANEL_SQL, params=params).to_arrow_table()


def _series(name: str) -> pa.Table:
    """Load one series of `arch`: `date` (date32), then its columns in lower case with underscores."""
    import pyarrow as pa

    frame = importlib.import_module(f"arch.data.{name}").load()
    dates = pa.array(frame.index.date, type=pa.date32())
    columns = {_RENAMED.get(c, c.lower().replace(" ", "_")): pa.array(frame[c], from_pandas=True) for c in frame}
    return pa.table({"date": dates, **columns})


def _export_notes(horizon: str) -> dict[str, str]:
    return {
        "horizon": horizon,
        "horizon_trading_days": str(HORIZON_DAYS[horizon]),
        "price": SERIES["wti"],
        "stand_in": STAND_IN,
    }


def _write(path: Path, table: pa.Table, notes: dict[str, str]) -> Built:
    """Write *table* unless *path* already has the same bytes."""
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    metadata: dict[Any, Any] = {ORIGIN_KEY: ORIGIN, **notes}
    pq.write_table(table.replace_schema_metadata(metadata), stream, compression="zstd")
    content = stream.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    is_there = path.exists() and sha256_of(path, follow=True) == digest
    if not is_there:
        write_atomic(path, content)
    dates = table["date"]
    return Built(
        path=str(path),
        status="already there" if is_there else "written",
        rows=table.num_rows,
        first_date=str(dates[0].as_py()),
        last_date=str(dates[-1].as_py()),
        columns=tuple(table.column_names),
        sha256=digest,
    )


def _is_ours(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return metadata.get(ORIGIN_KEY) == ORIGIN


def render(built: list[Built]) -> str:
    """Return the result as a table for people."""
    rows = [(Path(b.path).name, b.status, f"{b.rows:,}", f"{b.first_date}..{b.last_date}", _names(b)) for b in built]
    head = ("file", "status", "rows", "dates", "columns")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(4)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in [head, *rows]
    ]
    return "\n".join([*lines, "", STAND_IN, "VIX starts in 2014 and is empty before: a series that starts late."])


def _names(built: Built) -> str:
    return ", ".join(built.columns)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.sample_data", description="Build the sample exports.")
    parser.add_argument("--raw", type=Path, required=True, help="existing folder for the raw series")
    parser.add_argument("--exports", type=Path, required=True, help="existing folder for the five exports")
    parser.add_argument(
        "--force", action="store_true", help="overwrite files that did not come from the sample builder"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Build the sample and print its files; return the exit code."""
    arguments = _arguments(argv)
    try:
        built = build(arguments.raw, arguments.exports, force=arguments.force)
    except ForeignFile as exc:
        print(f"Error: {exc}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as exc:
        print(f"Error: the sample needs {exc.name}; install it with: pip install 'cbi-queue[train]'", file=sys.stderr)
        return 1
    except OSError as exc:
        print(f"Error: cannot write the sample: {plain_words(exc)}", file=sys.stderr)
        return 1
    print(json.dumps(_as_json(built), indent=2) if arguments.json else render(built))
    return 0


def _as_json(built: list[Built]) -> dict[str, Any]:
    return {"files": [asdict(b) for b in built], "sources": SERIES, "stand_in": STAND_IN}


if __name__ == "__main__":
    sys.exit(main())

"""An export: `production_training_data_<horizon>.parquet`, opened, checked, and read in chunks.

Every error names file, column, row (from 0), date, the value seen and what is allowed. Columns that cannot be features
are left out, with a note; nothing inside a column is dropped, filled or repaired. One chunk is in memory at a time.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cbi_queue.datasets.place import export_path
from jobs.data.features import DATE, PRICE, Series, look_back_rows
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cbi_queue.models.parameters.features import FeatureParams

CHECK_ROWS = 262_144
"""Rows checked together: a few MiB a column."""
FULL_ROWS = 30
"""Fewest rows with every window full that an export must have; fewer is an incomplete file, not a history."""
SETTLING_VALUES = 252
"""First values of a covariate, about a year, that decide whether its returns are logarithms. Only features of that year
can depend on a later row through it; with fewer values, more series would wrongly be taken for positive."""
LARGEST = 1e30
"""Largest magnitude of a value: its square must stay finite in float64, and the feature in float32."""
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_LABEL_NAME = re.compile(r"(target|label|y|future|fwd|forward)(_|\Z)", re.IGNORECASE)
"""Columns that exports for other tools hold beside the data: the label itself, computed from later rows."""
_READ_BUFFER_BYTES = 1 << 20
_DATE_TYPES = (pl.Date, pl.Datetime)


@dataclass(frozen=True, slots=True)
class Export:
    """A checked export."""

    path: Path
    rows: int
    date_column: str
    series: tuple[Series, ...]
    """The price first, then every covariate in the file's order."""
    price_column: str
    notes: tuple[str, ...]
    """Sentences on what was left out, and what is missing inside a column."""


def open_export(path: Path, params: FeatureParams, safe_point: Callable[[], None]) -> Export:
    """Check the export at *path* from end to end, calling *safe_point* after each chunk.

    Raises:
        BrokenSpec: naming the first problem found.
    """
    schema = _schema(path)
    notes = list(_check_schema(path, schema, params))
    own = (params.date_column, params.price_column)
    covariates = [n for n, t in schema.items() if t.is_numeric() and n not in own and not _LABEL_NAME.match(n)]
    rows, seen = _check_rows(path, params, covariates, safe_point)
    needed = look_back_rows(params) + FULL_ROWS
    if rows < needed:
        raise BrokenSpec(
            f"{path} has {rows} rows; with a longest look-back of {look_back_rows(params)} rows, at least {needed} are needed"
        )
    series = [Series(PRICE, is_log=True)]
    for name in covariates:
        if seen[name].values:
            series.append(Series(name, is_log=seen[name].starts_positive))
        notes += seen[name].notes(name)
    return Export(path, rows, params.date_column, tuple(series), params.price_column, tuple(notes))


def chunks(export: Export, chunk_rows: int) -> Iterator[pl.DataFrame]:
    """Yield the export's rows in order, *chunk_rows* at a time: `date`, then a Float64 column per series."""
    covariates = [s.name for s in export.series[1:]]
    return _read(export.path, export.date_column, export.price_column, covariates, chunk_rows)


def find_export(exports_dir: Path, horizon: str) -> Path:
    """Return the path of *horizon*'s export.

    Raises:
        BrokenSpec: when the file does not exist.
        FileNotFoundError: when the folder does not exist, as after unplugging a disk: a later attempt may find it.
    """
    path = export_path(exports_dir, horizon)
    if not exports_dir.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "the folder of the exports does not exist; is its volume mounted?", exports_dir
        )
    if not path.is_file():
        raise BrokenSpec(f"{path} is missing; put the export there, or build the sample with: cbi-queue data sample")
    return path


def _schema(path: Path) -> dict[str, pl.DataType]:
    """Column name -> type, from the file's footer."""
    try:
        return dict(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as exc:
        if _may_recover(exc):
            raise
        raise BrokenSpec(f"{path} cannot be read as Parquet: {exc}") from exc


def _check_schema(path: Path, schema: dict[str, pl.DataType], params: FeatureParams) -> Iterator[str]:
    """Check names and types; yield a note per column that is left out."""
    have = ", ".join(schema) or "no columns"
    date, price = params.date_column, params.price_column
    for key, name in (("date_column", date), ("price_column", price)):
        if name not in schema:
            raise BrokenSpec(f"{path} has no column {name!r} ({key}); it has {have}")
    if schema[date].base_type() not in _DATE_TYPES:
        raise BrokenSpec(f"{path}: column {date!r} is of type {schema[date]}; allowed are Date and Datetime")
    if not schema[price].is_numeric():
        raise BrokenSpec(f"{path}: column {price!r} is of type {schema[price]}; allowed are numbers")
    for name, kind in schema.items():
        if name in (date, price):
            continue
        if _LABEL_NAME.match(name):
            yield f"column {name!r} is left out: its name is that of a label, which would leak the future to the models"
        elif not kind.is_numeric():
            yield f"column {name!r} is left out: its type {kind} is not a number"
        elif not _COLUMN_NAME.match(name) or name in (DATE, PRICE):
            raise BrokenSpec(
                f"{path}: column {name!r} cannot name features; allowed are letters, digits and _, not starting with "
                f"a digit, at most 64, other than {DATE!r} and {PRICE!r}; rename it in the export"
            )


@dataclass(slots=True)
class _Seen:
    """What was found in one covariate so far."""

    values: int = 0
    gaps: int = 0
    """Missing values after the first present one."""
    starts_positive: bool = True
    """None of the first `SETTLING_VALUES` values is 0 or below."""
    without_log: int = 0
    """Values of 0 or below."""

    def add(self, column: pl.Series) -> None:
        """Add the next chunk of the column, in which NaN is already null."""
        there = column.len() - column.null_count()
        started_at = 0 if self.values else column.is_not_null().arg_max() or 0
        if there or self.values:
            self.gaps += column.slice(started_at).null_count()
        if self.values < SETTLING_VALUES:
            first = column.drop_nulls().head(SETTLING_VALUES - self.values)
            self.starts_positive = self.starts_positive and bool((first > 0).all())
        self.values += there
        self.without_log += int((column <= 0).sum())

    def notes(self, name: str) -> Iterator[str]:
        """Yield what the user should know of the column."""
        if not self.values:
            yield f"column {name!r} is left out: it has no values"
        elif self.gaps:
            yield f"column {name!r} lacks {self.gaps} values after its first; windows that contain a gap stay empty"
        if not self.starts_positive:
            yield (
                f"column {name!r} is not above 0 in all of its first {SETTLING_VALUES} values: its returns are "
                "differences, not logarithms"
            )
        elif self.without_log:
            yield (
                f"column {name!r} is above 0 in its first {SETTLING_VALUES} values, so its returns are logarithms; "
                f"{self.without_log} later ones are not, and windows that contain one stay empty"
            )


def _check_rows(
    path: Path, params: FeatureParams, covariates: list[str], safe_point: Callable[[], None]
) -> tuple[int, dict[str, _Seen]]:
    """Check every value; return the number of rows and what was found in each covariate."""
    seen = {name: _Seen() for name in covariates}
    rows, last_day = 0, None
    for chunk in _read(path, params.date_column, params.price_column, covariates, CHECK_ROWS):
        where = _Where(path, rows, chunk[DATE], params)
        _check_dates(where, last_day)
        _check_price(where, chunk[PRICE])
        for name in covariates:
            _check_magnitude(where, name, chunk[name])
            seen[name].add(chunk[name])
        rows, last_day = rows + chunk.height, chunk[DATE].to_physical()[-1]
        safe_point()
    return rows, seen


@dataclass(frozen=True, slots=True)
class _Where:
    """Names a position in a chunk, for errors."""

    path: Path
    first_row: int
    dates: pl.Series
    params: FeatureParams

    def complain(self, column: str, bad: pl.Series, values: pl.Series, allowed: str) -> None:
        """Raise on the first row where *bad* is true."""
        at = bad.arg_max() or 0
        value, date = _text(values, at), _text(self.dates, at)
        raise BrokenSpec(f"{self.path}: column {column!r} is {value} in row {self.first_row + at} ({date}); {allowed}")


def _text(values: pl.Series, at: int) -> str:
    """Return one value as Polars writes it: its dates go beyond the year 9999, Python's do not."""
    return str(values.slice(at, 1).cast(pl.String)[0])


def _check_dates(where: _Where, last_day: int | None) -> None:
    """Check that no date is missing and that each is later than the one before (*last_day*: of the chunk before)."""
    dates, name = where.dates, where.params.date_column
    if (missing := dates.is_null()).any():
        where.complain(name, missing, dates, "every row needs a date")
    days = dates.to_physical()
    step = days - days.shift(1, fill_value=last_day)
    if (again := (step == 0).fill_null(value=False)).any():
        where.complain(name, again, dates, "the row before has the same date; one row a date is allowed")
    if (back := (step < 0).fill_null(value=False)).any():
        where.complain(name, back, dates, "the row before has a later date; dates must rise")


def _check_price(where: _Where, price: pl.Series) -> None:
    bad = ~((price > 0) & (price <= LARGEST)).fill_null(value=False)
    if bad.any():
        allowed = f"every row needs a price above 0 and at most {LARGEST:g}"
        where.complain(where.params.price_column, bad, price, allowed)


def _check_magnitude(where: _Where, name: str, values: pl.Series) -> None:
    bad = (values.abs() > LARGEST).fill_null(value=False)
    if bad.any():
        where.complain(name, bad, values, f"allowed are numbers up to {LARGEST:g} and missing values")


def _read(path: Path, date: str, price: str, covariates: list[str], chunk_rows: int) -> Iterator[pl.DataFrame]:
    """Yield `date`, `price` and the covariates, *chunk_rows* rows at a time; the last chunk may be shorter."""
    numbers = [
        pl.col(n).cast(pl.Float64).fill_nan(None).alias(a)
        for n, a in [(price, PRICE), *zip(covariates, covariates, strict=True)]
    ]
    wanted = [pl.col(date).cast(pl.Date).alias(DATE), *numbers]
    try:
        with pq.ParquetFile(path, buffer_size=_READ_BUFFER_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=chunk_rows, columns=[date, price, *covariates]):
                yield pl.DataFrame(batch).select(wanted)
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as exc:
        if _may_recover(exc):
            raise
        raise BrokenSpec(f"{path} cannot be read to its end: {exc}") from exc


def _may_recover(exc: Exception) -> bool:
    """Return True for a failing disk, which has an errno and may recover; a broken file stays broken."""
    return isinstance(exc, OSError) and exc.errno is not None

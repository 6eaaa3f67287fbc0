"""An export, `production_training_data_<horizon>.parquet` or the one for all horizons: opened, and read in chunks.

Columns that cannot be features are left out, with a note. Nothing inside a column is dropped, filled or repaired, except
as the data set's description says (`cbi_queue.datasets.description`). One chunk is in memory at a time.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cbi_queue.datasets.place import export_path
from cbi_queue.regular_files import check_file, plain_words
from jobs.data.as_of import as_known
from jobs.data.columns import Columns, columns_of
from jobs.data.feature_names import PRICE
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from cbi_queue.datasets.description import DataSet
    from cbi_queue.models.parameters.features import FeatureParams
    from jobs.data.columns import Rows
    from jobs.data.feature_names import Series
    from jobs.data.label import Label
    from jobs.data.spacing import Spacing

_READ_BUFFER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Export:
    """A checked export."""

    path: Path
    rows: int
    """Those that are read: without the days that the description drops."""
    columns: Columns
    series: tuple[Series, ...]
    """The price first, then every covariate that features are made of, in the file's order."""
    as_is: tuple[str, ...]
    """Covariates whose value is the feature."""
    spacing: Spacing
    label: Label
    drops_missing_price: bool
    notes: tuple[str, ...]
    """Sentences on what was left out, and what is missing inside a column."""
    news: Mapping[str, np.ndarray] = field(default_factory=dict)
    """As-is columns that are made from headlines: name -> (rows,) float64, NaN for none; see `jobs.data.news`."""


def open_export(
    path: Path, params: FeatureParams, safe_point: Callable[[], None], chosen: DataSet | None = None
) -> Export:
    """Check the export at *path* from end to end, calling *safe_point* after each chunk.

    Args:
        path: the file.
        params: names of the columns; look-back of the features.
        safe_point: called after each chunk.
        chosen: the data set's description; None: its defaults.

    Raises:
        BrokenSpec: naming every problem that was found.
    """
    from cbi_queue.datasets.description import DataSet
    from jobs.data.export_check import check_export

    report = check_export(path, params, chosen or DataSet(), safe_point)
    if report.export is None:
        raise BrokenSpec("\n".join([f"{path}: {fault}" for fault in report.faults]))
    return report.export


def chunks(export: Export, chunk_rows: int) -> Iterator[Rows]:
    """Yield the export's rows in order, *chunk_rows* at a time: days, then a column per series and as-is column.

    Values that are published late, and gaps that may be filled, stand on the rows on which they were known.
    """
    wanted = [*(s.name for s in export.series[1:]), *(name for name in export.as_is if name not in export.news)]
    known = _as_known(export, wanted)
    row = kept_row = 0
    for read_days, read in read_arrays(export.path, export.columns, wanted, chunk_rows):
        late = {name: values[row : row + len(read_days)] for name, values in known.items()}
        row += len(read_days)
        days, columns = _kept(export, read_days, read | late)
        news = {name: values[kept_row : kept_row + len(days)] for name, values in export.news.items()}
        kept_row += len(days)
        yield days, columns | news


def days_and_price(export: Export) -> tuple[np.ndarray, np.ndarray]:
    """Return the days since 1970 and the prices of all rows that are read: (rows,) int64, (rows,) float64."""
    days, columns = _kept(export, *read_all(export.path, export.columns, []))
    return days, columns[PRICE]


def _kept(export: Export, days: np.ndarray, columns: dict[str, np.ndarray]) -> Rows:
    """Leave out the days that the description drops."""
    there = ~np.isnan(columns[PRICE])
    if not export.drops_missing_price or there.all():
        return days, columns
    return days[there], {name: values[there] for name, values in columns.items()}


def _as_known(export: Export, wanted: list[str]) -> dict[str, np.ndarray]:
    """Read the columns that are published late or filled, whole: name -> (rows of the file,) float64, NaN for none."""
    roles = export.columns.roles
    names = [name for name in wanted if name in roles and (roles[name].lag_days or roles[name].max_age_days)]
    if not names:
        return {}
    days, columns = read_all(export.path, export.columns, names)
    return {name: as_known(days, columns[name], roles[name].lag_days, roles[name].max_age_days) for name in names}


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
    try:
        check_file(path, follow=True)
    except OSError as exc:
        raise BrokenSpec(f"{path} cannot be read: {exc.strerror}; put the export there") from exc
    if not path.exists():
        raise BrokenSpec(
            f"{path} is missing; import one with `cbi-queue data import FILE`, or build the sample with: "
            "cbi-queue data sample"
        )
    return path


def read_columns(path: Path, params: FeatureParams, chosen: DataSet) -> Columns:
    """Read the file's footer and decide about its columns.

    Raises:
        BrokenSpec: when it is no Parquet file.
    """
    if path.is_dir():
        raise BrokenSpec(f"it is a folder; `cbi-queue data import {path}` makes one file of its parts")
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as exc:
        raise _unreadable("cannot be read as Parquet", exc) from exc
    return columns_of(schema, params, chosen)


def read_arrays(path: Path, columns: Columns, wanted: list[str], chunk_rows: int) -> Iterator[Rows]:
    """Yield days and numbers of `price` and the *wanted* covariates, as `Columns.arrays` returns them.

    Args:
        path: the file.
        columns: of it.
        wanted: names among its covariates.
        chunk_rows: rows at a time; the last chunk may be shorter.

    Raises:
        BrokenSpec: when the file is damaged, or a value cannot be converted.
    """
    part = Columns(columns.date, columns.price, {name: columns.covariates[name] for name in wanted})
    names = list(dict.fromkeys([columns.date, columns.price, *part.covariates.values()]))
    try:
        with pq.ParquetFile(path, buffer_size=_READ_BUFFER_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=chunk_rows, columns=names, use_threads=False):
                yield part.arrays(batch)
    except (OSError, pa.ArrowException) as exc:
        raise _unreadable("cannot be read to its end", exc) from exc


def read_all(path: Path, columns: Columns, wanted: list[str]) -> Rows:
    """Return all rows of `read_arrays` at once.

    Raises:
        BrokenSpec: as it does, and when there are no rows.
    """
    parts = list(read_arrays(path, columns, wanted, 1 << 18))
    if not parts:
        raise BrokenSpec(f"{path} has no rows; export it again")
    days, numbers = zip(*parts, strict=True)
    return np.concatenate(days), {name: np.concatenate([part[name] for part in numbers]) for name in numbers[0]}


def _unreadable(what: str, exc: Exception) -> Exception:
    """Return a failing disk, which has an errno and may recover, as it is; a broken file stays broken."""
    if isinstance(exc, OSError) and exc.errno is not None:
        return exc
    return BrokenSpec(f"{what}: {' '.join(plain_words(exc).split())[:300]}; export it again")

"""The columns of an export: which are read, under which name, and how their values become dates and numbers.

Everything that a Parquet file may hold is either converted here, by Arrow, or named in a note or a fault.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from jobs.data.feature_names import CALENDAR, DATE, PRICE
from jobs.data.leaks import is_label_name
from jobs.data.safe_names import safe_names

if TYPE_CHECKING:
    from cbi_queue.datasets.description import Column, DataSet
    from cbi_queue.models.parameters.features import FeatureParams

Rows = tuple[np.ndarray, dict[str, np.ndarray]]
"""(rows,) int64 days since 1970, `NO_DATE` for none; name -> (rows,) float64, NaN for none."""
NO_DATE = -(2**31)
"""Stands for a missing date among days since 1970."""
_DAY_MS = 86_400_000
_INDEX_NAME = re.compile(r"__index_level_\d+__\Z")


@dataclass(slots=True)
class Columns:
    """What is read from a file, and what is not."""

    date: str
    price: str
    covariates: dict[str, str] = field(default_factory=dict)
    """Name in the features -> name in the file, in the file's order."""
    roles: dict[str, Column] = field(default_factory=dict)
    """Those with a choice, by their name in the features."""
    notes: list[str] = field(default_factory=list)
    """What is left out or renamed, and why."""
    faults: list[str] = field(default_factory=list)

    @property
    def as_is(self) -> tuple[str, ...]:
        """Covariates whose value is the feature."""
        return tuple(name for name in self.covariates if name in self.roles and self.roles[name].role == "as_is")

    @property
    def series(self) -> tuple[str, ...]:
        """Covariates that features are made of."""
        as_is = set(self.as_is)
        return tuple(name for name in self.covariates if name not in as_is)

    def arrays(self, batch: pa.RecordBatch) -> Rows:
        """Convert a batch: days, then `price` and the covariates in the file's order.

        Raises:
            pa.ArrowException: when a value cannot be converted.
        """
        days = _days(batch.column(self.date))
        since, is_there = _plain(days, np.dtype(np.int32 if pa.types.is_date32(days.type) else np.int64))
        if since.dtype == np.int64:
            since = since // _DAY_MS
        names = {PRICE: self.price, **self.covariates}
        numbers = {name: _with_nan(_numbers(batch.column(original))) for name, original in names.items()}
        return np.where(is_there, since, NO_DATE).astype(np.int64), numbers


def columns_of(schema: pa.Schema, params: FeatureParams, chosen: DataSet) -> Columns:
    """Decide about every column of *schema*; what is wrong is in `faults`, all of it at once."""
    found = Columns(params.date_column, params.price_column)
    have = ", ".join(schema.names[:40]) or "no columns"
    for key, name, what, is_right in (
        ("date_column", found.date, "dates or times", _is_date),
        ("price_column", found.price, "numbers", is_number),
    ):
        if schema.names.count(name) != 1:
            number = "no column" if name not in schema.names else "more than one column"
            found.faults.append(f"{number} {name!r} ({key}); it has {have}")
        elif not is_right(schema.field(name).type):
            kind = words_of(schema.field(name).type)
            remedy = "`cbi-queue data import` reads text" if pa.types.is_string(schema.field(name).type) else ""
            found.faults.append(f"column {name!r} is of type {kind}; allowed are {what}{remedy and '; ' + remedy}")
    _take_covariates(found, schema, chosen)
    return found


def _take_covariates(found: Columns, schema: pa.Schema, chosen: DataSet) -> None:
    index = index_columns(schema)
    wanted = []
    for name in dict.fromkeys(schema.names):
        if name not in {found.date, found.price}:
            why = _why_not(name, schema, index, chosen)
            if why is None:
                wanted.append(name)
            else:
                found.notes.append(f"column {name!r} is left out: {why}")
    safe = safe_names(wanted, taken=(DATE, PRICE, *CALENDAR))
    found.covariates = {safe[name]: name for name in wanted}
    renamed = [f"{name!r} as {safe[name]!r}" for name in wanted if safe[name] != name]
    if renamed:
        found.notes.append(f"columns whose names cannot name features: {', '.join(renamed)}")
    known = {**{name: safe_name for safe_name, name in found.covariates.items()}, **{n: n for n in found.covariates}}
    for name, column in chosen.columns.items():
        if name in known:
            found.roles[known[name]] = column
        elif name not in schema.names:
            found.faults.append(f"dataset.json has a choice for column {name!r}, which is not there")
    flags = [name for name, of in found.covariates.items() if pa.types.is_boolean(schema.field(of).type)]
    if flags:
        from cbi_queue.datasets.description import Column

        for name in flags:
            found.roles.setdefault(name, Column(role="as_is"))
        found.notes.append(f"true and false are used as they are, as 1 and 0: {', '.join(flags)}")


def _why_not(name: str, schema: pa.Schema, index: set[str], chosen: DataSet) -> str | None:
    kind = schema.field(schema.names.index(name)).type
    if name in chosen.columns and chosen.columns[name].role == "ignore":
        return "its role is ignore"
    if schema.names.count(name) > 1:
        return "several columns have that name"
    if name in index:
        return "it is the row number or index that pandas stored"
    if is_label_name(name) and name not in chosen.columns:
        return (
            "its name is that of a label, which would leak the future to the models; if it is none: "
            f"`cbi-queue data edit columns.{name}.role=series`"
        )
    return None if is_number(kind) else f"its type {words_of(kind)} is not a number"


def index_columns(schema: pa.Schema) -> set[str]:
    """Return the columns that pandas wrote as the index, by its metadata or by their names."""
    found = {name for name in schema.names if _INDEX_NAME.match(name)}
    try:
        stored = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
        return found | {name for name in stored if isinstance(name, str)}
    except (ValueError, AttributeError, RecursionError, TypeError):
        return found


def is_number(kind: Any) -> bool:
    """Return True for a type whose values have a number: also decimals of any width, booleans, categories of numbers."""
    if pa.types.is_dictionary(kind):
        return is_number(kind.value_type)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(is_kind(kind) for is_kind in kinds)


def _is_date(kind: Any) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_date, pa.types.is_timestamp))


def words_of(kind: Any) -> str:
    """Name a type as people do."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_dictionary(kind):
        return f"categories of {words_of(kind.value_type)}"
    return "a list or a structure" if pa.types.is_nested(kind) else str(kind)


def _days(column: Any) -> Any:
    """Convert dates and times to days; a time with a zone to the day in that zone."""
    if not pa.types.is_timestamp(column.type):
        return column.cast(pa.date32(), safe=False) if pa.types.is_date64(column.type) else column
    import pyarrow.compute as pc  # 20 ms that a file with plain dates does not need

    if column.type.tz:
        column = pc.local_timestamp(column)
    return pc.cast(pc.floor_temporal(column, unit="day"), pa.timestamp("ms"), safe=False)


def _numbers(column: Any) -> Any:
    if pa.types.is_float64(column.type):
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.float64(), safe=False)


def _with_nan(column: Any) -> np.ndarray:
    values, is_there = _plain(column, np.dtype(np.float64))
    return np.where(is_there, values, np.nan)


def _plain(column: Any, kind: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return values and where there are any, from Arrow's own buffers: its `to_numpy` imports pandas, 0.2 s, for gaps."""
    end = column.offset + len(column)
    validity, data = column.buffers()
    if not len(column) or column.null_count == len(column):
        return np.zeros(len(column), kind), np.zeros(len(column), dtype=bool)
    values = np.frombuffer(data, kind, end)[column.offset :]
    if validity is None:
        return values, np.ones(len(column), dtype=bool)
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), count=end, bitorder="little")
    return values, bits[column.offset :].astype(bool)

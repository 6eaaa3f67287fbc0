"""Everything that is wrong with an export, at once, with counts, columns, days and the remedy; and what is worth knowing.

Reads the file from end to end, a chunk at a time. `plan check`, `doctor` and `data check` print it before a job is
claimed, and the features job refuses what has a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.wording import counted
from jobs.data.columns import NO_DATE
from jobs.data.export_file import Export, read_arrays, read_columns
from jobs.data.feature_cap import capped, too_many
from jobs.data.feature_names import PRICE, Series, look_back_rows
from jobs.data.label import Label
from jobs.data.leaks import suspicions
from jobs.data.spacing import median_of, spacing_of
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cbi_queue.datasets.description import DataSet
    from cbi_queue.models.parameters.features import FeatureParams
    from jobs.data.columns import Columns

CHECK_ROWS = 262_144
"""Most rows checked together: a few MiB a column."""
CHECK_CELLS = 1 << 22
FULL_ROWS = 30
"""Fewest rows with every window full that an export must have; fewer is an incomplete file, not a history."""
SETTLING_VALUES = 252
"""First values of a covariate, about a year, that decide whether its returns are logarithms. Only features of that year
can depend on a later row through it; with fewer values, more series would wrongly be taken for positive."""
LARGEST = 1e30
"""Largest magnitude of a value: its square must stay finite in float64, and the feature in float32."""
LEAK_ROWS = 20_000
"""Rows, about, in which columns that know the future are looked for."""
ROLL_GAP = 12.0
"""Standard deviations of a daily move beyond which a jump is named: a roll between contracts, a split, an error."""


@dataclass(slots=True)
class Report:
    """What the check of one export found."""

    path: Path
    rows: int = 0
    first_day: str | None = None
    last_day: str | None = None
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Those of the notes that concern the rows: spacing, jumps, days that are left out."""
    export: Export | None = None
    """None when there are faults."""
    coverage: dict[str, float] = field(default_factory=dict)
    """Share of the rows on which each covariate has a value, and its original name's order."""


def check_export(path: Path, params: FeatureParams, chosen: DataSet, safe_point: Callable[[], None]) -> Report:
    """Check the export at *path*; never raises for what is wrong with the file, only for a disk that fails.

    Raises:
        OSError: when the disk fails, so that a later attempt may succeed.
    """
    report = Report(path)
    try:
        columns = read_columns(path, params, chosen)
        report.notes += columns.notes
        report.faults += columns.faults
        if not columns.faults:
            _Pass(report, columns, params, chosen).run(safe_point)
    except BrokenSpec as exc:
        report.faults.append(str(exc))
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":  # derives from BaseException
            raise
        report.faults.append(f"cannot be read: the data library failed on it ({str(exc)[:200]}); export it again")
    return report


class _Tally:
    """Rows of one column with the same fault: how many, and the first."""

    def __init__(self, words: str) -> None:
        self.words, self.rows = words, 0
        self.first_row, self.first_day, self.first_value = 0, "", ""

    def add(self, bad: np.ndarray, first_row: int, days: np.ndarray, values: np.ndarray) -> None:
        if not bad.any():
            return
        if not self.rows:
            at = int(bad.argmax())
            self.first_row, self.first_day = first_row + at, day_text(int(days[at]))
            self.first_value = (
                day_text(int(values[at])) if values.dtype.kind == "i" else _number_text(float(values[at]))
            )
        self.rows += int(bad.sum())

    def sentence(self) -> str:
        return self.words.format(
            n=f"{self.rows:,}", row=self.first_row, day=self.first_day, value=self.first_value, s="s" * (self.rows > 1)
        )


_FIRST_DAY, _LAST_DAY = date(1600, 1, 1).toordinal() - 719163, date(9999, 1, 1).toordinal() - 719163
"""Days since 1970 between which a date is believed."""


def day_text(day: int) -> str:
    """Write a day since 1970; also one that no calendar of Python's has."""
    if day == NO_DATE:
        return "None"
    ordinal = day + 719163
    return str(date.fromordinal(ordinal)) if 1 <= ordinal <= date.max.toordinal() else f"{day} days from 1970"


def _number_text(value: float) -> str:
    return "empty" if np.isnan(value) else f"{value:.12g}"


class _Pass:
    """One pass over the rows."""

    def __init__(self, report: Report, columns: Columns, params: FeatureParams, chosen: DataSet) -> None:
        self._report, self._columns, self._params, self._chosen = report, columns, params, chosen
        self._label = Label(chosen.label)
        above = " above 0" if self._label.is_relative else ""
        date_, price = columns.date, columns.price
        at = f"column {price!r} is {{value}} in row {{row}} ({{day}})"
        self._no_date = _Tally(
            f"{{n}} row{{s}} without a date: column {date_!r} is empty in row {{row}}; every row needs one"
        )
        self._odd_date = _Tally(
            f"{{n}} date{{s}} outside 1600 to 9998: column {date_!r} is {{value}} in row {{row}}; the file may be damaged"
        )
        self._again = _Tally(
            f"{{n}} date{{s}} twice: column {date_!r} is {{value}} in row {{row}} and the row before; one row a date is allowed"
        )
        self._back = _Tally(
            f"{{n}} row{{s}} out of order: column {date_!r} is {{value}} in row {{row}}, before the row above it; dates must "
            "rise: sort the export by date"
        )
        self._no_price = _Tally(
            f"{{n}} day{{s}} without a price, first {{day}}: {at}; every row needs a price{above}; fill "
            "them in the export, or leave these days out with `cbi-queue data edit missing_price=drop`"
        )
        self._low_price = _Tally(
            f"{{n}} price{{s}} of 0 or below, first {{day}}: {at}; log returns need prices above 0; correct them, or "
            "forecast differences of the price with `cbi-queue data edit label=difference`"
        )
        self._huge_price = _Tally(
            f"{{n}} price{{s}} beyond {LARGEST:g}, first {{day}}: {at}; allowed are prices{above} up to that"
        )
        self._huge: dict[str, _Tally] = {}
        self._dropped = 0
        self._days: list[np.ndarray] = []
        self._prices: list[np.ndarray] = []
        self._seen = {name: _Seen() for name in columns.covariates}

        self._read: dict[str, list[np.ndarray]] = {name: [] for name in columns.covariates}
        self._read_rows = 0

    def run(self, safe_point: Callable[[], None]) -> None:
        columns, rows, last = self._columns, 0, None
        size = min(CHECK_ROWS, max(1024, CHECK_CELLS // max(len(columns.covariates), 1)))
        for days, values in read_arrays(self._report.path, columns, list(columns.covariates), size):
            last = self._check(days, values, rows, last)
            rows += len(days)
            safe_point()
        self._conclude(rows)

    def _check(self, days: np.ndarray, columns: dict[str, np.ndarray], row: int, last: int | None) -> int | None:
        price = columns[PRICE]
        self._check_dates(days, row, last)
        self._check_price(price, days, row)
        kept = ~np.isnan(price) if self._chosen.missing_price == "drop" else slice(None)
        for name, seen in self._seen.items():
            values = columns[name]
            is_huge = np.abs(values) > LARGEST
            if is_huge.any():
                words = (
                    f"{{n}} value{{s}} beyond {LARGEST:g}: column {self._columns.covariates[name]!r} is {{value}} in row "
                    "{row} ({day}); allowed are smaller numbers and missing values"
                )
                tally = self._huge.setdefault(name, _Tally(words))
                tally.add(is_huge, row, days, values)
            seen.add(values[kept])
            if self._read_rows < LEAK_ROWS:
                self._read[name].append(values[kept].astype(np.float32))
        self._read_rows += len(price[kept])
        self._days.append(days)
        self._prices.append(price)
        return int(days[-1]) if len(days) else last

    def _check_dates(self, days: np.ndarray, row: int, last: int | None) -> None:
        missing = days == NO_DATE
        self._no_date.add(missing, row, days, days)
        self._odd_date.add(~missing & ((days < _FIRST_DAY) | (days >= _LAST_DAY)), row, days, days)
        before = np.concatenate([[NO_DATE if last is None else last], days[:-1]])
        both = ~missing & (before != NO_DATE)
        self._again.add(both & (days == before), row, days, days)
        self._back.add(both & (days < before), row, days, days)

    def _check_price(self, price: np.ndarray, days: np.ndarray, row: int) -> None:
        missing = np.isnan(price)
        if self._chosen.missing_price == "drop":
            self._dropped += int(missing.sum())
        else:
            self._no_price.add(missing, row, days, price)
        if self._label.is_relative:
            self._low_price.add(~missing & (price <= 0), row, days, price)
        self._huge_price.add(~missing & (np.abs(price) > LARGEST), row, days, price)

    def _conclude(self, rows: int) -> None:
        report = self._report
        tallies = [
            self._no_date,
            self._odd_date,
            self._again,
            self._back,
            self._no_price,
            self._low_price,
            self._huge_price,
        ]
        report.faults += [tally.sentence() for tally in (*tallies, *self._huge.values()) if tally.rows]
        days = np.concatenate(self._days) if self._days else np.array([], dtype=np.int64)
        price = np.concatenate(self._prices) if self._prices else np.array([])
        report.rows = used = rows - self._dropped
        if rows:
            report.first_day, report.last_day = day_text(int(days[0])), day_text(int(days[-1]))
        if self._dropped:
            first = day_text(int(days[int(np.isnan(price).argmax())]))
            report.warnings.append(
                f"{counted(self._dropped, 'day')} without a price left out, first {first} (missing_price: drop)"
            )
        needed = look_back_rows(self._params) + FULL_ROWS
        if used < needed:
            report.faults.append(
                f"it has {used} rows; with a longest look-back of {look_back_rows(self._params)} rows, at least {needed} are "
                "needed; export a longer history, or shorten `lags` and `windows` of the features job"
            )
        as_is = set(self._columns.as_is)
        report.notes += [
            note
            for name, seen in self._seen.items()
            for note in seen.notes(self._columns.covariates[name], has_returns=name not in as_is)
        ]
        report.coverage = {name: seen.values / max(used, 1) for name, seen in self._seen.items()}
        if not report.faults:
            self._finish(days, price, used)

    def _finish(self, days: np.ndarray, price: np.ndarray, used: int) -> None:
        report, columns = self._report, self._columns
        kept = ~np.isnan(price)
        if not kept.all():
            days, price = days[kept], price[kept]
        spacing = spacing_of(days, price)
        report.warnings += [*spacing.notes(), *_jumps(days, price, self._label)]
        if not np.ptp(price) > 0:
            report.warnings.append(
                f"column {columns.price!r} is {price[0]:g} in every row: no model can be told apart from another, and volatility "
                "and regimes cannot be learned; `cbi-queue data import FILE --price COLUMN` takes another column"
            )
        report.notes += report.warnings
        as_is = [name for name in columns.as_is if self._seen[name].values]
        series = [Series(PRICE, is_log=self._label.is_relative)]
        series += [Series(n, is_log=self._seen[n].starts_positive) for n in columns.series if self._seen[n].values]
        export = Export(
            path=report.path,
            rows=used,
            columns=columns,
            series=tuple(series),
            as_is=tuple(as_is),
            spacing=spacing,
            label=self._label,
            drops_missing_price=self._chosen.missing_price == "drop",
            notes=tuple(report.notes),
        )
        report.faults += self._leaks(price)
        export = capped(export, self._params, self._chosen.max_features, report.coverage)
        report.notes = list(export.notes)
        if (fault := too_many(export, self._params)) is not None:
            report.faults.append(fault)
        if not report.faults:
            report.export = export

    def _leaks(self, price: np.ndarray) -> Iterator[str]:
        """Name the columns that seem to know the future; a column with a choice was looked at by its owner."""
        chosen = self._chosen.columns.keys()
        names = {name: of for name, of in self._columns.covariates.items() if not {name, of} & chosen}
        rows = sum(len(part) for part in next(iter(self._read.values()), []))
        columns = {name: np.concatenate(self._read[name]).astype(np.float64) for name in names} if rows else {}
        for suspicion in suspicions(price[:rows], columns, HORIZON_DAYS.values(), self._label):
            of = names[suspicion.column]
            yield (
                f"column {of!r} seems to know the future: {suspicion.evidence}; leave it out with `cbi-queue data edit "
                f"columns.{of}.role=ignore`, or keep it, if each value was known on its day, with `...role=series`"
            )


def _jumps(days: np.ndarray, price: np.ndarray, label: Label) -> Iterator[str]:
    """Name moves that no market makes in a day: they may be rolls between contracts."""
    if len(price) < 100:
        return
    moves = np.diff(label.level(price))
    size = np.abs(moves)
    spread: float | np.ndarray = median_of(size) * 1.4826
    if not label.is_relative:  # differences are as large as the price of their time
        import polars as pl  # costs more than the rest of the check, which most exports need not

        spread = np.maximum(spread, pl.Series(size).rolling_median(253, min_samples=1, center=True).to_numpy() * 1.4826)
    far = np.flatnonzero((size > ROLL_GAP * spread) & np.greater(spread, 0))
    by_differences = " (with label=difference, if it is adjusted by differences)" if label.is_relative else ""
    if len(far):
        at = int(far[size[far].argmax()])
        yield (
            f"{counted(len(far), 'jump')} of the price beyond {ROLL_GAP:g} standard deviations, the largest "
            f"{_move_words(float(moves[at]), label)} on {day_text(int(days[at + 1]))}: if they are rolls between contracts, export a "
            f"back-adjusted series{by_differences}; the models take them for moves of the market"
        )


def _move_words(move: float, label: Label) -> str:
    return f"{np.expm1(move):+.0%}" if label.is_relative else f"{move:+.4g}"


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

    def add(self, column: np.ndarray) -> None:
        """Add the next chunk of the column: (rows,) float64, NaN for none."""
        is_there = ~np.isnan(column)
        there = int(is_there.sum())
        if there or self.values:
            started_at = 0 if self.values else int(is_there.argmax())
            self.gaps += len(column) - started_at - there
        if self.values < SETTLING_VALUES:
            first = column[is_there][: SETTLING_VALUES - self.values]
            self.starts_positive = self.starts_positive and bool((first > 0).all())
        self.values += there
        self.without_log += int((column <= 0).sum())

    def notes(self, name: str, *, has_returns: bool) -> Iterator[str]:
        """Yield what the user should know of the column."""
        if not self.values:
            yield f"column {name!r} is left out: it has no values"
        elif self.gaps:
            yield f"column {name!r} lacks {counted(self.gaps, 'value')} after its first; windows that contain a gap stay empty"
        if not has_returns or not self.values:
            return
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

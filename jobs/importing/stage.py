"""`python -m jobs.importing.stage`: read files into an export in a staging folder, and say what was found, as JSON.

Runs on the trainers' Python, started by `cbi-queue data import`, which shows the answer and moves the file into place, or
does not. Nothing outside the staging folder is written here.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from cbi_queue.datasets.description import checked_description
from cbi_queue.errors import CbiError
from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.export_check import check_export
from jobs.data.feature_cap import features_of, memory_mib
from jobs.data.feature_names import CALENDAR, DATE, PRICE
from jobs.data.safe_names import safe_names
from jobs.importing.proposal import flag_sql, propose
from jobs.importing.source import apart_words, open_source
from jobs.importing.values import any_date_sql, date_sql, plain_date_sql, quoted, text_of
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from jobs.importing.proposal import Proposal
    from jobs.importing.source import Source

STAGED = "export.parquet"
_PARQUET = (
    "FORMAT parquet",
    "PARQUET_VERSION V2",
    "COMPRESSION zstd",
    "COMPRESSION_LEVEL 1",
    "KV_METADATA {'cbi_queue.origin': 'data_import'}",
)
"""Version 2 keeps the bytes of floats apart instead of in a dictionary: half the time to write, a third to read."""
_UNWRITTEN = re.compile(r'Could not write file .*"errno":"([0-9]{1,4})"', re.DOTALL)
"""In what DuckDB says when it cannot write."""
MOST_BAD = 0.05
"""Share of a column's values that may be no numbers: with more, the column is text."""


@dataclass(slots=True)
class _Staging:
    """What was found on the way."""

    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def stage(request: dict[str, Any]) -> dict[str, Any]:
    """Read `files` into `work`/export.parquet.

    Args:
        request: `files`, `work`, `threads`, `date`, `price`, `date_format`, `decimal` and `description`.

    Returns:
        What would be imported; `faults` is not empty when it cannot be.
    """
    work, found = Path(request["work"]), _Staging()
    chosen = checked_description(request.get("description") or {}, "the choices of the data set")
    files = [Path(file) for file in request["files"]]
    source = open_source(files, work, request.get("threads") or 1, parallel=request.get("parallel", True))
    proposal = propose(
        source,
        date=request.get("date"),
        price=request.get("price"),
        date_form=request.get("date_format"),
        decimal=request.get("decimal"),
    )
    found.notes += apart_words(source.apart)
    names = _read(source, proposal, found, work / STAGED)
    answer: dict[str, Any] = {
        "files": list(source.files),
        "date": proposal.date,
        "date_format": proposal.date_form,
        "price": proposal.price,
        "decimal": proposal.number_form.decimal if "text" in source.columns.values() else None,
        "proposed": list(proposal.proposed),
        "left_out": proposal.left_out,
        "notes": found.notes,
        "faults": found.faults,
        "columns": {safe: name for name, safe in names.items()},
    }
    if found.faults:
        return answer
    report = check_export(work / STAGED, FeatureParams(), chosen, lambda: None)
    answer |= {
        "staged": str(work / STAGED),
        "rows": report.rows,
        "first_day": report.first_day,
        "last_day": report.last_day,
        "warnings": report.warnings,
        "coverage": report.coverage,
    }
    found.notes += [note for note in report.notes if note not in report.warnings]
    tomorrow = str(datetime.now(tz=UTC).date() + timedelta(1))  # a day ahead may be another zone's
    if (report.last_day or "") > tomorrow:
        text = f"the last row is of {report.last_day}, after {tomorrow}, tomorrow by this machine's clock"
        found.notes.append(
            f"{text}: nothing is forecast from it before that day; correct the date, or take the row out"
        )
    found.faults += [_in_the_file(fault, proposal) for fault in report.faults]
    if report.export is not None:
        features = features_of(report.export, FeatureParams())
        answer |= {
            "features": features,
            "memory_mib": round(memory_mib(report.export.rows, features), 1),
            "spacing": report.export.spacing.as_json(),
        }
    return answer


def _in_the_file(fault: str, proposal: Proposal) -> str:
    """Name columns as the file does, and the remedy as this command takes it."""
    own = fault.replace(f"column {PRICE!r}", f"column {proposal.price!r}").replace(
        f"column {DATE!r}", f"column {proposal.date!r}"
    )
    typed = {"missing_price=drop`": "--missing-price drop`", "label=difference`": "--label difference`"}
    for choice, option in {**typed, "max_features=": "--set max_features=", "columns.": "--set columns."}.items():
        own = own.replace(f"`cbi-queue data edit {choice}", f"`{option}")
    return own


def _read(source: Source, proposal: Proposal, found: _Staging, target: Path) -> dict[str, str]:
    """Write every row to *target*, dates and numbers, in the order of their dates; count what is neither.

    A file of plain values whose dates rise is written as it is read. Others become the table `typed` first, in which NaN
    stands for no number.
    """
    names = safe_names(proposal.numbers, taken=(DATE, PRICE, *CALENDAR))
    values = {PRICE: proposal.price, **{safe: name for name, safe in names.items()}}
    odd, rises = _sampled(source, proposal, values)
    if rises and not odd:
        is_whole, odd = _written_as_read(source, proposal, values, target)
        if is_whole:
            _name_renamed(names, found)
            return names
    if more := _read_as(source, proposal, values, odd=odd) - odd:
        _read_as(source, proposal, values, odd=odd | more)
    _settle_dates(source, proposal, found)
    names = _settle_numbers(source, proposal, names, found)
    if not found.faults:
        _write(source, target)
    return names


def _sampled(source: Source, proposal: Proposal, values: dict[str, str]) -> tuple[frozenset[str], bool]:
    """Return the columns whose first values are not all plain, and whether the dates of the first rows rise."""
    rows = source.connection.execute(f"SELECT {_listed(source, proposal, values)} FROM sample").fetchnumpy()
    odd = {name for safe, name in values.items() if bool(np.isnan(np.ma.filled(rows[safe], 0.0)).any())}
    if not np.ma.is_masked(rows[DATE]):
        return frozenset(odd), _rises(rows[DATE])
    return frozenset([*odd, proposal.date]), False


def _rises(days: np.ndarray) -> bool:
    return len(days) > 0 and bool((days[1:] > days[:-1]).all())


def _written_as_read(
    source: Source, proposal: Proposal, values: dict[str, str], target: Path
) -> tuple[bool, frozenset[str]]:
    """Write the rows as they come.

    Returns:
        Whether that is the export, nothing to leave out or to put in order; and the columns with values that are not
        plain.
    """
    listed = _listed(source, proposal, values)
    done = source.connection.execute(_copy_sql(f"SELECT {listed} FROM source", target, "RETURN_STATS"))
    rows, of = (done.fetchall() or [(target, 0, 0, 0, {})])[0][1:5:3]
    if not rows:
        return False, frozenset()
    # a count that is not told is no zero: the longer way counts again
    odd = {name for safe, name in values.items() if of[quoted(safe)].get("nan_count") != "0"}
    missing = {safe: int(of[quoted(safe)].get("null_count", rows)) for safe in (DATE, *values)}
    if missing[DATE]:
        odd.add(proposal.date)
    if odd or rows in missing.values():
        return False, frozenset(odd)
    days = source.connection.execute(f"SELECT {DATE} FROM read_parquet(?)", [str(target)]).fetchnumpy()[DATE]
    return _rises(days), frozenset()


def _listed(source: Source, proposal: Proposal, values: dict[str, str], odd: frozenset[str] = frozenset()) -> str:
    """Return SQL for the date and *values*; those in *odd* with all that may stand around a value, the others plain."""
    numbers = (
        f"{_number_sql(source, proposal, name, is_plain=name not in odd)} AS {quoted(safe)}"
        for safe, name in values.items()
    )
    day, _ = _date_columns(proposal, is_plain=proposal.date not in odd)
    return f"{day} AS {DATE}, {', '.join(numbers)}"


def _read_as(source: Source, proposal: Proposal, values: dict[str, str], *, odd: frozenset[str]) -> frozenset[str]:
    """Fill `typed`.

    Returns:
        The columns with values that are not plain: those in *odd* are ten times slower to read.
    """
    _, no_date = _date_columns(proposal, is_plain=proposal.date not in odd)
    source.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE typed AS SELECT {_listed(source, proposal, values, odd)}, {no_date} AS no_date FROM source"
    )
    counts = [f"count(*) FILTER (WHERE isnan({quoted(safe)}))" for safe in values]
    row = _one(source, f"SELECT {', '.join(['count(no_date)', *counts])} FROM typed")
    found = [name for name, count in zip(values.values(), row[1:], strict=True) if count]
    return frozenset([*found, *([proposal.date] if row[0] else [])])


def _number_sql(source: Source, proposal: Proposal, name: str, *, is_plain: bool) -> str:
    if source.columns[name] != "text":
        return f"nullif({quoted(name)}, 'nan'::DOUBLE)"
    if is_plain:
        return f"coalesce({proposal.number_form.plain_sql(name)}, CASE WHEN {quoted(name)} IS NOT NULL THEN 'nan'::DOUBLE END)"
    text = text_of(name)
    number = f"coalesce({proposal.number_form.sql(text)}, {flag_sql(text)}, 'nan'::DOUBLE)"
    return f"CASE WHEN {text} IS NOT NULL THEN {number} END"


def _date_columns(proposal: Proposal, *, is_plain: bool) -> tuple[str, str]:
    """Return SQL for the date, and for the text of a row that has none."""
    if proposal.date_form is None:
        return quoted(proposal.date), "NULL::VARCHAR"
    written = quoted(proposal.date) if is_plain else text_of(proposal.date)
    day = plain_date_sql(proposal.date, proposal.date_form) if is_plain else date_sql(written, proposal.date_form)
    return day, f"CASE WHEN {day} IS NULL THEN coalesce({written}, '') END"


def _one(source: Source, sql: str) -> tuple[Any, ...]:
    return source.connection.execute(sql).fetchone() or ()


def _settle_dates(source: Source, proposal: Proposal, found: _Staging) -> None:
    """Leave out rows without a date, and rows that are there twice; refuse one date with several values."""
    rows, dated, days = _one(source, f"SELECT count(*), count({DATE}), count(DISTINCT {DATE}) FROM typed")
    if not rows:
        found.faults.append("the files hold no row below the column names")
        return
    if dated < rows:
        first = _one(source, "SELECT first(no_date) FILTER (WHERE no_date <> '') FROM typed")[0]
        seen = f"such as {first!r}" if first else "it is empty there"
        words = f"{rows - dated:,} of {rows:,} rows have no date in column {proposal.date!r}, {seen}"
        if rows - dated > MOST_BAD * rows:
            found.faults.append(f"{words}; write the form of the dates with --date-format")
            return
        other = _one(source, f"SELECT count(*), first(no_date) FROM typed WHERE {any_date_sql('no_date')} IS NOT NULL")
        if other[0]:
            found.faults.append(
                f"{other[0]:,} of {rows:,} rows have their date in column {proposal.date!r} in another form than "
                f"{proposal.date_form}, the first has {other[1]!r}; write all dates in one form"
            )
            return
        found.notes.append(f"{words}; they are left out")
        source.connection.execute(f"DELETE FROM typed WHERE {DATE} IS NULL")
    source.connection.execute("ALTER TABLE typed DROP COLUMN no_date")
    if days < dated:
        source.connection.execute("CREATE TEMP TABLE once AS SELECT DISTINCT * FROM typed")
        single = _one(source, "SELECT count(*) FROM once")[0]
        if single > days:
            at = _one(
                source,
                f"SELECT min({DATE}), count(*) FROM (SELECT {DATE} FROM once GROUP BY {DATE} HAVING count(*) > 1)",
            )
            what = "the close of each day" if _has_times(source, proposal) else "one contract, or one row a day"
            found.faults.append(
                f"{at[1]:,} dates have several rows with different values, first {at[0]}: one row a date is allowed; keep {what}"
            )
            return
        found.notes.append(f"{dated - single:,} rows that are there twice are left out")
        source.connection.execute("DROP TABLE typed")
        source.connection.execute("ALTER TABLE once RENAME TO typed")


def _has_times(source: Source, proposal: Proposal) -> bool:
    if source.columns[proposal.date] != "text":
        return False
    clock = f"nullif(regexp_extract({quoted(proposal.date)}, '\\d{{1,2}}:\\d{{2}}'), '')"
    return bool(_one(source, f"SELECT count(DISTINCT {clock}) > 1 FROM source")[0])


def _settle_numbers(source: Source, proposal: Proposal, names: dict[str, str], found: _Staging) -> dict[str, str]:
    """Leave out columns that turn out to be text or empty; values that are no numbers become missing, and are counted."""
    if found.faults:
        return names
    columns = [PRICE, *names.values()]
    listed = ", ".join(f"count({quoted(c)}), count(*) FILTER (WHERE isnan({quoted(c)}))" for c in columns)
    row = _one(source, f"SELECT {listed} FROM typed")
    counts = dict(zip(columns, zip(row[::2], row[1::2], strict=True), strict=True))
    kept = {}
    there, bad = counts[PRICE]
    if bad:
        found.faults.append(
            f"{bad:,} of {there:,} prices in column {proposal.price!r} are no numbers; correct them, or leave them empty"
        )
    for name, safe in names.items():
        there, bad = counts[safe]
        if not there:
            proposal.left_out[name] = "it has no values"
        elif bad > MOST_BAD * there:
            proposal.left_out[name] = f"it is text: {bad:,} of its {there:,} values are no numbers"
        else:
            kept[name] = safe
            if bad:
                found.notes.append(f"column {name!r}: {bad:,} of {there:,} values are no numbers, and count as missing")
    for name, safe in names.items():
        if name not in kept:
            source.connection.execute(f"ALTER TABLE typed DROP COLUMN {quoted(safe)}")
    _name_renamed(kept, found)
    return kept


def _name_renamed(names: dict[str, str], found: _Staging) -> None:
    if renamed := [f"{name!r} as {safe}" for name, safe in names.items() if safe != name]:
        found.notes.append(f"column names that cannot name features: {', '.join(renamed)}")


def _write(source: Source, path: Path) -> None:
    """Write the rows in the order of their dates, a number that is none as missing."""
    columns = [row[0] for row in source.connection.execute("DESCRIBE typed").fetchall()]
    listed = ", ".join(
        quoted(c) if c == DATE else f"CASE WHEN NOT isnan({quoted(c)}) THEN {quoted(c)} END AS {quoted(c)}"
        for c in columns
    )
    source.connection.execute(_copy_sql(f"SELECT {listed} FROM typed ORDER BY {DATE}", path))


def _copy_sql(query: str, path: Path, *options: str) -> str:
    target = "'" + str(path).replace("'", "''") + "'"
    return f"COPY ({query}) TO {target} ({', '.join([*_PARQUET, *options])})"


def _staged(request: dict[str, Any]) -> dict[str, Any]:
    """Stage; a file with line breaks inside quotes, which cannot be read in parallel, once more."""
    try:
        return stage(request)
    except duckdb.Error as exc:
        if "parallel" not in str(exc):
            raise
    return stage({**request, "parallel": False})


def main() -> int:
    """Answer the request on standard input; return the exit code."""
    request = json.load(sys.stdin)
    try:
        answer = _staged(request)
    except (BrokenSpec, CbiError) as exc:
        answer = {"faults": [str(exc)]}
    except duckdb.Error as exc:
        why = f"the files cannot be read to their end: {' '.join(str(exc).split())[:400]}"
        if found := _UNWRITTEN.search(str(exc)):
            why = f"{Path(request['work']) / STAGED} cannot be written: {os.strerror(int(found[1]))}"
        answer = {"faults": [why]}
    except OSError as exc:
        answer = {"faults": [f"{exc.filename or 'a file'} cannot be read or written: {exc.strerror or exc}"]}
    except ModuleNotFoundError as exc:
        answer = {"faults": [f"this Python has no {exc.name}; install it with: pip install 'cbi-queue[train]'"]}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())

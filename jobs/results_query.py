"""One SELECT over the results of all runs: `python -m jobs.results_query`, JSON on standard input, rows on its output.

In a process of its own because it needs DuckDB, and because a stranger's SQL runs in it: one SELECT and nothing else, no
files, no network, no other statement; and once the tables are loaded, the process can open no file and write none. It
answers with one line of JSON (columns, or why it refused), then the rows in the form that was asked for.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import os
import re
import resource
import sys
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.results.stored_forecasts import all_forecasts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MEMORY = "1GiB"
CHUNK_ROWS = 5000
MOST_BYTES = 1 << 29
"""Of an answer as text; `--to` writes a larger one as Parquet, which is smaller."""
ABOUT = ("job", "model", "family", "horizon", "dataset", "scheme", "ranked", "why_not")
"""Columns of `runs` that every row of `predictions` has as well."""
VIEWS = ("runs", "predictions", "attempts", "epochs")
OTHERS = {
    "attempts": (
        "job", "job_id", "attempt", "outcome", "started_at", "ended_at", "seconds", "exit_code", "error",
        "peak_rss_mib",
    ),
    "epochs": (
        "job", "job_id", "attempt", "epoch", "total_epochs", "unit", "at", "wall_s", "samples", "train_loss",
        "validation_loss", "micro_batch", "resumed",
    ),
}  # fmt: skip
"""Columns of the other views, also while they are empty."""
RAW_MEMORY = re.compile(r"arrow_scan|pandas_scan|python_map|seq_scan|json_execute_serialized", re.IGNORECASE)
"""Functions that take addresses or plans; nobody asks results with them."""
SETTINGS = (
    "threads=2", f"memory_limit='{MEMORY}'", "temp_directory=''", "autoinstall_known_extensions=false",
    "autoload_known_extensions=false", "python_enable_replacements=false", "allow_community_extensions=false",
    "enable_external_access=false", "lock_configuration=true",
)  # fmt: skip
"""Set in this order; the last one makes the others final."""


class RefusedSql(Exception):
    """The SQL is not run, or its answer not given, and why."""


def connect(tables: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """Return a connection that knows *tables* and can reach nothing else."""
    connection = duckdb.connect()
    for name, table in tables.items():
        connection.register(name, table)
        connection.table(name).limit(1).fetchall()  # loads what reading needs, before files are shut
    for setting in SETTINGS:
        connection.execute(f"SET {setting}")
    return connection


def shut_files() -> None:
    """From here on this process opens no file or socket and writes none; what is open stays open."""
    first_free = os.dup(0)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, first_free))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def table_of(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> pa.Table:
    """Return *rows* as a table: a column whose values are of several kinds holds text."""
    names = dict.fromkeys([*columns, *(name for row in rows for name in row)])
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds and kinds <= {int, float}:
        is_whole = kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values)
        return pa.array(values if is_whole else [None if v is None else float(v) for v in values],
                        pa.int64() if is_whole else pa.float64())  # fmt: skip
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def tables_of(asked: Mapping[str, Any]) -> tuple[dict[str, pa.Table], dict[int, str]]:
    """Return the tables that were sent, and job number -> why its forecasts are in none of them."""
    import polars as pl

    runs = [dict(row) for row in asked["runs"]]
    by_id = {row["job_id"]: row for row in runs}
    faults: dict[int, str] = {int(job_id): why for job_id, why in asked.get("faults", {}).items()}
    tables: dict[str, pa.Table] = {}
    if "predictions" in asked:
        about = {job_id: {name: row.get(name) for name in ABOUT} for job_id, row in by_id.items()}
        forecasts, unread = all_forecasts(asked["predictions"], about)
        faults |= unread
        tables["predictions"] = forecasts.to_arrow(compat_level=pl.CompatLevel.oldest())
    for job_id, why in faults.items():
        row = by_id[job_id]
        row["ranked"], row["why_not"] = False, row["why_not"] or f"damaged: {why}"
    tables["runs"] = table_of(runs, ("job", "job_id", "ranked", "why_not"))
    for name, columns in OTHERS.items():
        if name in asked:
            tables[name] = table_of(asked[name], columns)
    return tables, faults


def run(connection: duckdb.DuckDBPyConnection, sql: str, within_s: float) -> duckdb.DuckDBPyConnection:
    """Run the one SELECT that *sql* is.

    Raises:
        RefusedSql: when it is something else, or fails, in words with the place.
    """
    if raw := RAW_MEMORY.search(sql):
        raise RefusedSql(f"{raw[0]} is not allowed here{_line_of(sql, raw.start())}")
    clock = threading.Timer(within_s, connection.interrupt)
    clock.daemon = True
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise RefusedSql(f"write one SELECT, not {'none' if not statements else len(statements)}")
        kind = statements[0].type.name
        if kind not in {"SELECT", "EXPLAIN"}:
            raise RefusedSql(f"only SELECT is allowed, not {kind}: results can be read and not changed")
        clock.start()
        return connection.execute(statements[0])
    except duckdb.Error as exc:
        raise RefusedSql(words_of(exc, sql, within_s)) from exc


_KNOWN = (
    ("ParserException", r'syntax error at or near "(.*)"', "the SQL cannot be read at {0!r}"),
    ("ParserException", r"syntax error at end of input", "the SQL ends too early"),
    ("CatalogException", r"Table with name (.*?) does not exist", "there is no view {0!r}; there are {views}"),
    ("CatalogException", r"Function with name (.*?) does not exist", "there is no function {0!r}"),
    ("BinderException", r'Referenced column "(.*?)" (?:was )?not found', "there is no column {0!r}"),
    ("BinderException", r"Referenced table \"(.*?)\" not found", "no view of this query is called {0!r}"),
    ("PermissionException", r"", "SQL may read the views and no file, network or extension"),
    ("InvalidInputException", r"configuration has been locked", "settings cannot be changed here"),
    (
        "InvalidInputException",
        r"Values were not provided",
        "a value must be written in the SQL: `?` and `$1` have none",
    ),
    ("OutOfMemoryException", r"", f"the query needs more than {MEMORY} of memory; ask for fewer rows or columns"),
    ("InterruptException", r"", "the query took longer than {seconds} s"),
    ("ConversionException", r"Could not convert (\w+) '(.*?)' to (\w+)", "{1!r} cannot be read as {2}"),
)


def words_of(exc: duckdb.Error, sql: str, within_s: float) -> str:
    """Return what is wrong with the SQL, and where."""
    text = str(exc)
    first, _, rest = text.partition("\n")
    place = _place(rest, sql)
    for kind, pattern, words in _KNOWN:
        if type(exc).__name__ == kind and (found := re.search(pattern, text)):
            said = words.format(*found.groups(), views=", ".join(VIEWS), seconds=f"{within_s:.0f}")
            near = re.search(r"(?:Candidate bindings|Did you mean)[: ]*(.*)", text)
            is_name = near and kind == "BinderException"
            return said + place + (f"; similar: {near[1][:200]}" if near and is_name else "")
    return re.sub(r"^[\w ]+ Error: ", "", first)[:300] + place


def _place(said: str, sql: str) -> str:
    """Return `, line 2, column 5: ` from DuckDB's caret, or nothing where it shortened the line."""
    found = re.search(r"LINE (\d+): (.*)\n( *)\^", said)
    if not found:
        return ""
    number, shown = int(found[1]), found[2]
    lines = sql.splitlines() or [""]
    column = len(found[3]) - len(f"LINE {number}: ") + 1
    if number > len(lines) or column < 1:
        return ""
    if shown == lines[number - 1]:
        return f" (line {number}, column {column})"
    return f" (line {number}, near {shown[max(0, column - 12) : column + 12].strip()!r})"


def _line_of(sql: str, at: int) -> str:
    before = sql[:at]
    return f" (line {before.count(chr(10)) + 1}, column {at - before.rfind(chr(10))})"


def columns_of(answer: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return names and types of the columns; a name that was there before gets a number."""
    taken: set[str] = set()
    found = []
    for name, kind, *_ in answer.description or ():
        unique = next(each for each in _numbered(str(name)) if each not in taken)
        taken.add(unique)
        found.append((unique, str(kind)))
    return found


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def plain(value: Any) -> Any:
    """Return *value* as JSON has it: no NaN, which becomes null; days and instants as ISO text; octets as hex."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | Decimal):
        number = float(value)
        is_whole = isinstance(value, Decimal) and value == value.to_integral_value()
        return (int(value) if is_whole else number) if math.isfinite(number) else None
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def text_cell(value: Any) -> str:
    """Return *value* as a cell of CSV: empty for null and NaN."""
    found = plain(value)
    if found is None:
        return ""
    return json.dumps(found) if isinstance(found, bool | dict | list) else str(found)


def rows_of(answer: duckdb.DuckDBPyConnection, most: int | None) -> Iterator[tuple[Any, ...]]:
    """Yield the rows, at most *most* of them."""
    left = math.inf if most is None else most
    while left > 0 and (chunk := answer.fetchmany(int(min(CHUNK_ROWS, left)))):
        left -= len(chunk)
        yield from chunk


def as_csv(names: list[str], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Yield lines of CSV."""
    buffer = io.StringIO()
    out = csv.writer(buffer, lineterminator="\n")
    out.writerow(names)
    for row in rows:
        out.writerow(map(text_cell, row))
        if buffer.tell() > 1 << 20:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def as_json(names: list[str], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Yield a JSON list of objects, a line each."""
    before = "["
    for row in rows:
        yield f"{before}\n  " + json.dumps(dict(zip(names, map(plain, row), strict=True)), allow_nan=False)
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def as_parquet(names: list[str], answer: duckdb.DuckDBPyConnection) -> bytes:
    """Return the whole answer as Parquet."""
    source: Any = answer  # older versions of DuckDB call it otherwise
    table = (source.to_arrow_table if hasattr(source, "to_arrow_table") else source.fetch_arrow_table)()
    sink = io.BytesIO()
    pq.write_table(table.rename_columns(names), sink)
    return sink.getvalue()


def answer_to(asked: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the line about the answer, then the answer.

    Args:
        asked: {"sql", "form": rows | json | csv | parquet, "most_rows": of the form rows, "within_s", "runs": rows,
            "predictions": files or absent, "faults", "attempts", "epochs": rows or absent}.

    Raises:
        RefusedSql: with the words.
    """
    tables, faults = tables_of(asked)
    connection = connect(tables)
    shut_files()
    answer = run(connection, asked["sql"], asked["within_s"])
    columns = columns_of(answer)
    head: dict[str, Any] = {"columns": columns, "faults": {str(job_id): why for job_id, why in faults.items()}}
    names = [name for name, _ in columns]
    form = asked["form"]
    try:
        if form == "parquet":
            body = as_parquet(names, answer)
            yield json.dumps(head).encode() + b"\n"
            yield body
            return
        if form == "rows":
            most = int(asked["most_rows"])
            found = [[plain(value) for value in row] for row in rows_of(answer, most + 1)]
            yield (
                json.dumps({**head, "rows": found[:most], "more": len(found) > most}, allow_nan=False).encode() + b"\n"
            )
            return
        texts = (as_csv if form == "csv" else as_json)(names, rows_of(answer, None))
        parts, size = [json.dumps(head).encode() + b"\n"], 0
        for text in texts:
            parts.append(text.encode())
            if (size := size + len(parts[-1])) > MOST_BYTES:
                raise RefusedSql(f"the answer is larger than {MOST_BYTES >> 20} MiB as text; write it with --to FILE")
        yield from parts
    except duckdb.Error as exc:
        raise RefusedSql(words_of(exc, asked["sql"], asked["within_s"])) from exc


def main() -> None:
    """Answer what stands on standard input."""
    os.nice(5)  # a training may run beside it
    out = sys.stdout.buffer
    try:
        for part in answer_to(json.load(sys.stdin)):
            out.write(part)
    except RefusedSql as exc:
        out.write(json.dumps({"refused": str(exc)}).encode() + b"\n")
    except MemoryError:
        out.write(json.dumps({"refused": "the query needs more memory than there is"}).encode() + b"\n")
    out.flush()
    os._exit(0)  # a query that does not heed its interruption would keep the process


if __name__ == "__main__":
    main()

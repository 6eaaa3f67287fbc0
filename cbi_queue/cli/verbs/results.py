"""`cbi-queue results`: SQL over the results of all runs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.artifacts import write_atomic
from cbi_queue.cli.arguments import examples
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import print_json, print_table, printable
from cbi_queue.errors import Refused
from cbi_queue.orderly_end import ended_in_order
from cbi_queue.regular_files import check_file, plain_words
from cbi_queue.settings import load_settings
from cbi_queue.views.results_query import query

if TYPE_CHECKING:
    from cbi_queue.views.results_query import Answer

SHOWN = 1000
"""Rows of a table; the other forms give all of them."""
LONGEST_CELL = 60
VIEWS = {
    "runs": "a row for each job: what it is, whether it counts (ranked, why_not), every metric (backtest_mase, …)",
    "predictions": "a row for each forecast, with that of its run; never of a final block, which stays closed",
    "attempts": "a row for each attempt at each job",
    "epochs": "a row for each epoch, round or fit that was reported",
}
DESCRIBED = "SELECT '{name}' AS view, column_name AS name, column_type AS kind FROM (DESCRIBE {name})"
THREE = (
    "SELECT horizon, job, place, backtest_skill_mae FROM runs WHERE ranked ORDER BY horizon, place",
    "SELECT job, avg(abs(predicted_price - actual_price)) FROM predictions WHERE block = 'backtest' GROUP BY job",
    "SELECT job, state, why_not FROM runs WHERE NOT ranked",
)


@click.command(
    epilog=examples(
        "results",
        'results --sql "SELECT job, horizon, backtest_mase FROM runs WHERE ranked"',
        'results --sql "SELECT * FROM predictions" --to forecasts.parquet',
        more="Exit codes: 0 done, 1 it failed, 2 the SQL was refused.",
    )
)
@click.option("--sql", metavar="SELECT", help="One SELECT, as DuckDB reads it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list with an object for each row.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--to", "to", type=click.Path(path_type=Path), metavar="FILE.parquet", help="Write a Parquet file.")
@ended_in_order()
def command(sql: str | None, as_json: bool, as_csv: bool, to: Path | None) -> None:
    """Ask the results of all runs with SQL; without --sql, show the views, their columns and three examples.

    The views are `runs`, `predictions`, `attempts` and `epochs`. A run that was vetoed, is damaged, was replaced or was
    trained on older data is a row like the others: `WHERE ranked` leaves it out, and `why_not` says why. Forecasts are
    read from the run folders and compared with their checksums; those that differ are left out, with a note.

    Nothing can be changed, and SQL reaches no file: one SELECT, at most 60 s and 1 GiB. A table shows up to 1,000 rows;
    --json, --csv and --to give all. NaN is null.
    """
    if as_json + as_csv + (to is not None) > 1:
        raise click.UsageError("--json, --csv and --to are three forms of the answer; choose one")
    if sql is None:
        if as_csv or to is not None:
            raise click.UsageError("--csv and --to need --sql")
        _describe(as_json=as_json)
        return
    if not sql.strip():
        raise Refused("the SQL is empty", hint=f'for example: cbi-queue results --sql "{THREE[0]}"')
    if to is not None:
        _check_target(to)
    answer = _ask(sql, "json" if as_json else "csv" if as_csv else "parquet" if to is not None else "rows")
    if to is not None:
        try:
            write_atomic(to, answer.body)
        except OSError as exc:
            raise Refused(f"cannot write {plain_words(exc, to)}") from exc
        click.echo(f"Wrote {printable(str(to))}: {len(answer.body):,} bytes")
    elif as_json or as_csv:
        sys.stdout.buffer.write(answer.body)
    else:
        _print(answer)


def _check_target(to: Path) -> None:
    try:
        check_file(to)
    except OSError as exc:
        raise Refused(f"cannot write {plain_words(exc, to)}") from exc
    if not to.parent.is_dir():
        raise Refused(f"cannot write {to}: the folder {to.parent} does not exist")


def _ask(sql: str, form: str) -> Answer:
    settings = load_settings()
    with readonly_ledger() as ledger:
        answer = query(settings, ledger, sql, form, most_rows=SHOWN)
    for note in answer.notes:
        click.echo(f"note: {printable(note)}", err=True)
    return answer


def _print(answer: Answer) -> None:
    if not answer.rows:
        click.echo("No rows: " + printable(", ".join(name for name, _ in answer.columns)))
        return
    columns = tuple((">" if _is_number(kind) else "") + name for name, kind in answer.columns)
    print_table("", columns, ([_cell(value) for value in row] for row in answer.rows))
    if answer.more:
        click.echo(f"The first {SHOWN:,} rows; there are more: --csv, --json and --to give all of them.")


def _is_number(kind: str) -> bool:
    return kind.startswith(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U", "FLOAT", "DOUBLE", "DECIMAL"))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    text = str(value)
    return text if len(text) <= LONGEST_CELL or sys.stdout.isatty() is False else f"{text[: LONGEST_CELL - 1]}…"


def _describe(*, as_json: bool) -> None:
    """Say which views there are, their columns, and what may be asked."""
    answer = _ask(" UNION ALL ".join(DESCRIBED.format(name=name) for name in VIEWS), "rows")
    columns: dict[str, list[tuple[str, str]]] = {}
    for view, name, kind in answer.rows:
        columns.setdefault(view, []).append((name, kind))
    if as_json:
        print_json({view: {"words": words, "columns": dict(columns.get(view, []))} for view, words in VIEWS.items()})
        return
    for view, words in VIEWS.items():
        click.secho(view, bold=True, nl=False)
        click.echo(f": {words}")
        listed = ", ".join(name for name, _ in columns.get(view, []))
        click.echo(click.wrap_text(printable(listed), 78, initial_indent="  ", subsequent_indent="  ") + "\n")
    click.echo("Ask with one SELECT, for example:\n")
    for sql in THREE:
        click.echo(f'  cbi-queue results --sql "{sql}"')

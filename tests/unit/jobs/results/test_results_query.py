"""`jobs.results_query`: one SELECT runs, everything else is refused in words; values keep their meaning as JSON and CSV."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import pytest

from jobs.results.stored_forecasts import COLUMNS, Unreadable, all_forecasts, read_forecasts
from jobs.results_query import RefusedSql, columns_of, connect, plain, run, table_of, text_cell

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    {"job": 'it\'s "quoted"; DROP', "job_id": 1, "ranked": True, "mixed": 1, "figure": 1},
    {"job": "b", "job_id": 2, "ranked": False, "mixed": "x", "figure": 0.5},
]


def tables() -> dict[str, object]:
    return {"runs": table_of(ROWS, ("job", "why_not"))}


def test_names_are_data_and_columns_of_several_kinds_are_text() -> None:
    answer = run(connect(tables()), "SELECT * FROM runs ORDER BY job_id DESC", 20)
    assert dict(columns_of(answer)) == {
        "job": "VARCHAR", "why_not": "VARCHAR", "job_id": "BIGINT", "ranked": "BOOLEAN", "mixed": "VARCHAR",
        "figure": "DOUBLE",
    }  # fmt: skip
    assert answer.fetchall()[1] == ('it\'s "quoted"; DROP', None, 1, True, "1", 1.0)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("selec 1", "the SQL cannot be read at 'selec' (line 1, column 1)"),
        ("SELECT job,\n nope FROM runs", "there is no column 'nope' (line 2, column 2)"),
        ("SELECT * FROM jobs", "there is no view 'jobs'"),
        ("SELECT foo(1)", "there is no function 'foo'"),
        (" ", "write one SELECT, not none"),
        ("-- nothing", "write one SELECT, not none"),
        ("SELECT 1; SELECT 2", "write one SELECT, not 2"),
        ("DROP VIEW runs", "only SELECT is allowed, not DROP"),
        ("UPDATE runs SET ranked = true", "only SELECT is allowed, not UPDATE"),
        ("ATTACH '{root}/x.db'", "only SELECT is allowed, not ATTACH"),
        ("COPY runs TO '{root}/out.csv'", "only SELECT is allowed, not COPY"),
        ("INSTALL httpfs", "only SELECT is allowed, not LOAD"),
        ("SET memory_limit = '99GB'", "only SELECT is allowed, not SET"),
        ("SELECT * FROM read_text('{secret}')", "SQL may read the views and no file"),
        ("SELECT * FROM read_csv('{secret}')", "SQL may read the views and no file"),
        ("FROM '{secret}'", "SQL may read the views and no file"),
        ("SELECT * FROM query('SELECT * FROM read_text(''{secret}'')')", "SQL may read the views and no file"),
        ("SELECT * FROM glob('/*')", "SQL may read the views and no file"),
        ("SELECT * FROM enable_logging(storage = 'file', storage_path = '{root}/out')", "settings cannot be changed"),
        ("SELECT * FROM tables", "there is no view 'tables'"),
        ("SELECT * FROM arrow_scan(1, 2, 3)", "arrow_scan is not allowed here (line 1, column 15)"),
        ("SELECT list(i) FROM range(1000000000) t(i)", "more than 1GiB of memory"),
    ],
)
def test_sql_that_asks_for_more_is_refused_in_words(tmp_path: Path, sql: str, words: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\nhush\n")
    with pytest.raises(RefusedSql) as caught:
        run(connect(tables()), sql.format(root=tmp_path, secret=secret), 20)
    assert words in str(caught.value)
    assert "hush" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_a_variable_of_the_process_is_no_view() -> None:
    hidden = table_of(ROWS, ())
    assert len(hidden) == 2
    with pytest.raises(RefusedSql, match="there is no view 'hidden'"):
        run(connect(tables()), "SELECT * FROM hidden", 20)


def test_a_query_that_takes_too_long_ends() -> None:
    with pytest.raises(RefusedSql, match="took longer than 0 s"):
        run(connect(tables()), "SELECT count(*) FROM range(100000000000)", 0.2)


def test_once_shut_the_process_opens_and_writes_no_file(tmp_path: Path) -> None:
    code = (
        "from jobs.results_query import shut_files\nopened = open(__import__('sys').argv[1], 'w')\nshut_files()\n"
        "try:\n    open('/etc/hostname')\nexcept OSError as exc:\n    print(exc.errno)\n"
        "try:\n    opened.write('x')\n    opened.flush()\nexcept OSError as exc:\n    print(exc.errno)\n"
        "__import__('os')._exit(0)".replace("print(exc.errno)", "print(exc.errno, flush=True)")
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["24", "27"], "EMFILE, EFBIG"
    assert (tmp_path / "x").read_bytes() == b""


def test_values_as_json_and_csv() -> None:
    assert plain([math.nan, Decimal(3), Decimal("1.5"), b"\x01", dt.date(2026, 1, 2)]) == [
        None, 3, 1.5, "01", "2026-01-02",
    ]  # fmt: skip
    assert [text_cell(value) for value in (None, math.inf, True, {"a": math.nan}, 2)] == [
        "",
        "",
        "true",
        '{"a": null}',
        "2",
    ]


def test_forecasts_are_read_with_their_checksum_and_without_the_final_block(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "predictions.parquet"
    pl.DataFrame({"block": ["backtest", "final"], "price": [1.0, 2.0], "other": [1, 2]}).write_parquet(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_forecasts(path, sha256)["price"].to_list() == [1.0]
    table, faults = all_forecasts(
        [{"job_id": 1, "path": str(path), "sha256": sha256}, {"job_id": 2, "path": str(path), "sha256": "0"}],
        {1: {"job": "a", "ranked": True}, 2: {"job": "b", "ranked": True}},
    )
    assert (table["job"].to_list(), faults) == (["a"], {2: "predictions.parquet differs from its checksum"})
    assert set(COLUMNS) <= set(table.columns)
    for content in (b"PAR1", b""):
        path.write_bytes(content)
        with pytest.raises(Unreadable, match="is not in the form of forecasts"):
            read_forecasts(path, hashlib.sha256(content).hexdigest())
    pl.DataFrame({"block": ["backtest"], "price": ["much"]}).write_parquet(path)
    with pytest.raises(Unreadable, match="is not in the form of forecasts"):
        read_forecasts(path, hashlib.sha256(path.read_bytes()).hexdigest())

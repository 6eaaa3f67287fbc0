"""Headlines in whatever file one gets them: read with instants, or refused with file, row, column, value and remedy."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.importing.headlines import stage
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path


def take(
    tmp_path: Path, content: str | bytes | pa.Table, **request: Any
) -> tuple[dict[str, Any], list[tuple[datetime, str]]]:
    """Import one file; return the answer and what is in the staged file."""
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    file = tmp_path / ("news.parquet" if isinstance(content, pa.Table) else "news.csv")
    if isinstance(content, pa.Table):
        pq.write_table(content, file)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    answer = stage({"files": [str(file)], "work": str(work), **request})
    table = pq.read_table(answer["staged"])
    return answer, list(zip(table["published_at"].to_pylist(), table["text"].to_pylist(), strict=True))


def refused(tmp_path: Path, content: str | pa.Table, **request: Any) -> str:
    with pytest.raises(BrokenSpec) as caught:
        take(tmp_path, content, **request)
    return str(caught.value)


@pytest.mark.parametrize(
    "written",
    [
        "2018-03-05T19:20:00Z",
        "2018-03-05T13:20:00-06:00",
        "2018-03-05 19:20:00+00:00",
        "1520277600",
        "1520277600000",
        '"Mon, 05 Mar 2018 19:20:00 GMT"',
        '"Mon, 05 Mar 2018 13:20:00 -0600"',
    ],
)
def test_a_time_with_a_zone_is_an_instant_however_it_is_written(tmp_path: Path, written: str) -> None:
    _, rows = take(tmp_path, f"time,headline\n{written},Soybean oil falls\n")

    assert rows == [(datetime(2018, 3, 5, 19, 20, tzinfo=UTC), "Soybean oil falls")]


def test_a_time_without_a_zone_needs_one_that_is_declared(tmp_path: Path) -> None:
    content = "time,headline\n2018-03-05 13:20:00,Soybean oil falls\n"

    words = refused(tmp_path, content)
    assert "news.csv, row 1, column 'time'" in words
    assert "--zone" in words
    answer, rows = take(tmp_path, content, zone="America/Chicago")
    assert rows[0][0] == datetime(2018, 3, 5, 19, 20, tzinfo=UTC)
    assert answer["notes"] == ["1 time without a zone: taken as America/Chicago"]


def test_an_hour_that_occurs_twice_is_the_later_one(tmp_path: Path) -> None:
    """So that no headline is taken for earlier than it was."""
    _, rows = take(tmp_path, "time,headline\n2018-11-04 01:30:00,Oil\n", zone="America/Chicago")

    assert rows[0][0] == datetime(2018, 11, 4, 7, 30, tzinfo=UTC)


def test_a_date_without_a_time_of_day_counts_from_the_end_of_the_day(tmp_path: Path) -> None:
    answer, rows = take(tmp_path, "date,headline\n2018-03-05,Oil\n", zone="UTC")

    assert rows[0][0] == datetime(2018, 3, 5, 23, 59, 59, 999999, tzinfo=UTC)
    assert "1 headline without a time of day: counted from the end of the day" in answer["notes"]


def test_parquet_files_bring_their_types(tmp_path: Path) -> None:
    moment = datetime(2018, 3, 5, 19, 20, tzinfo=UTC)
    aware = pa.table({"published": pa.array([moment], pa.timestamp("ns", tz="America/Chicago")), "title": ["Oil"]})
    assert take(tmp_path, aware)[1] == [(moment, "Oil")]
    naive = pa.table({"published": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ms")), "title": ["Oil"]})
    assert "has no zone" in refused(tmp_path, naive)
    days = pa.table({"published": pa.array([date(2018, 3, 5)]), "title": ["Oil"]})
    assert take(tmp_path, days, zone="UTC")[1][0][0].hour == 23
    assert "is of type a list" in refused(tmp_path, pa.table({"published": [[1]], "title": ["Oil"]}))


def test_doubles_and_empty_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    answer, rows = take(
        tmp_path,
        'time;headline\n2018-03-05T01:00Z;"Oil,\n  up"\n2018-03-05T01:00Z;Oil, up\n2018-03-06T01:00Z;\n2018-03-07T01:00Z;n/a\n',
    )

    assert [text for _, text in rows] == ["Oil, up"]
    assert "1 headline left out: the same text at the same time" in answer["notes"]
    assert "2 rows without a text left out" in answer["notes"]


def test_what_is_added_leaves_what_is_there(tmp_path: Path) -> None:
    answer, first = take(tmp_path, "time,headline\n2018-03-05T01:00Z,Oil\n")
    kept = tmp_path / "headlines.parquet"
    shutil.copy(answer["staged"], kept)

    answer, rows = take(tmp_path, "time,headline\n2018-03-05T01:00Z,Oil\n2018-03-04T01:00Z,Palm\n", add=str(kept))

    assert rows == [(datetime(2018, 3, 4, 1, tzinfo=UTC), "Palm"), *first]
    assert answer["new"] == 1


def test_other_forms_are_named_by_the_user(tmp_path: Path) -> None:
    content = "time,headline\n03/05/2018 01:20 PM,Oil\n"

    assert "is not a time such as" in refused(tmp_path, content)
    _, rows = take(tmp_path, content, zone="America/Chicago", time_format="%m/%d/%Y %I:%M %p")
    assert rows[0][0] == datetime(2018, 3, 5, 19, 20, tzinfo=UTC)
    assert "is not in the form '%Y'" in refused(tmp_path, content, zone="UTC", time_format="%Y")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("time,headline\n,Oil\n", "row 1, column 'time': the publication time is missing"),
        ("time,headline\n0018-03-05T01:00Z,Oil\n", "is in the year 18; allowed are 1900 to 2199"),
        ("time,headline\n2018-03-05T01:00Z,\n", "no headline in column 'headline'"),
        (
            "when,headline\n2018-03-05T01:00Z,Oil\n",
            "which column holds the publication times cannot be told; name it with --published",
        ),
        ("time,words\n2018-03-05T01:00Z,Oil\n", "which column holds the headlines cannot be told; name it with --text"),
        ("", "is empty"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path: Path, content: str, words: str) -> None:
    assert words in refused(tmp_path, content)

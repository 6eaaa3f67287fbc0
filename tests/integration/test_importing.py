"""Files as people have them become an export: every common way to write dates, numbers and tables, or words that say why not."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cbi_queue.errors import Refused
from jobs.importing.stage import _staged, stage
from jobs.importing.values import DATE_FORMS
from jobs.trainer import BrokenSpec

DAYS = [day for day in (date(2019, 1, 1) + timedelta(n) for n in range(400)) if day.weekday() < 5]
PRICES = [30 + row % 17 + row / 100 for row in range(len(DAYS))]


def table(day: str = "%Y-%m-%d", number: str = "{:.2f}", separator: str = ",", head: str = "Date,Close,Volume") -> str:
    rows = [
        f"{d:{day}}{separator}{number.format(p)}{separator}{n}"
        for n, (d, p) in enumerate(zip(DAYS, PRICES, strict=True))
    ]
    return "\n".join([head.replace(",", separator), *rows, ""])


@pytest.fixture
def read(tmp_path):
    """Stage *content* (text, bytes, or a path); return the answer and the export."""

    def run(content: object, name: str = "data.csv", **asked) -> tuple[dict, pl.DataFrame | None]:
        files = content if isinstance(content, list) else [tmp_path / name]
        if not isinstance(content, list):
            files[0].write_bytes(content if isinstance(content, bytes) else content.encode())
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        answer = stage({"files": list(map(str, files)), "work": str(work), **asked})
        json.dumps(answer, allow_nan=False)
        staged = pl.read_parquet(answer["staged"]) if "staged" in answer else None
        return answer, staged

    return run


def is_right(frame: pl.DataFrame) -> bool:
    return frame["date"].to_list() == DAYS and frame["price"].to_list() == [round(price, 2) for price in PRICES]


@pytest.mark.parametrize("form", DATE_FORMS)
def test_every_form_of_dates_is_found(read, form):
    text = table().splitlines()
    rows = [
        text[0],
        *(f'"{d:{DATE_FORMS[form]}}",{line.split(",", 1)[1]}' for d, line in zip(DAYS, text[1:], strict=True)),
    ]

    answer, frame = read("\n".join(rows))

    assert (answer["date_format"], answer["faults"]) == (form, [])
    assert is_right(frame)


@pytest.mark.parametrize("tail", [" 00:00", "T23:30:00Z", " 19:00:00-05:00", "T00:00:00.000+08:00"])
def test_a_time_of_day_leaves_the_day_that_is_written(read, tail):
    assert is_right(read(table(day=f"%Y-%m-%d{tail.replace('%', '%%')}"))[1])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_separators_and_encodings(read, separator, encoding):
    text = table(separator=separator, head="Date,Close,Größe")

    answer, frame = read(text.encode(encoding))

    assert is_right(frame)
    assert answer["columns"] == {"Groe": "Größe"}


@pytest.mark.parametrize(
    ("number", "separator", "decimal"),
    [
        ("{:.2f}", ";", "."),
        ("COMMA", ";", ","),
        ("THOUSANDS", ",", "."),
        ("POINTS", ";", ","),
        ("$ {:.2f}", ",", "."),
        ("{:.2f} %", ",", "."),
    ],
)
def test_numbers_with_commas_thousands_and_signs(read, number, separator, decimal):
    values = {
        "COMMA": lambda p: f"{p:.2f}".replace(".", ","),
        "THOUSANDS": lambda p: f'"{p + 1000:,.2f}"',
        "POINTS": lambda p: f"{p + 1000:,.2f}".translate(str.maketrans(",.", ".,")),
    }
    write = values.get(number, number.format)
    rows = [f"{d}{separator}{write(round(p, 2))}" for d, p in zip(DAYS, PRICES, strict=True)]

    answer, frame = read("\n".join([f"Date{separator}Close", *rows]))

    more = 1000 if number in {"THOUSANDS", "POINTS"} else 0
    assert answer["decimal"] == decimal
    assert frame["price"].to_list() == pytest.approx([round(p, 2) + more for p in PRICES])


def test_accounts_write_a_loss_in_brackets_and_volumes_have_units(read):
    _, frame = read(table().replace(",5\n", ",(5)\n").replace(",6\n", ",312.5K\n").replace(",7\n", ",1.2M\n"))
    assert frame["Volume"][5:8].to_list() == [-5, 312_500, 1_200_000]


def test_terms_are_no_volumes(read):
    """3M was 3,000,000: three months of a term structure, whether it names a column or fills one."""
    rows = (f"{line},{term},1.5M" for line, term in zip(table().splitlines()[1:], cycle(("3M", "6M")), strict=False))
    answer, frame = read("\n".join(["Date,Close,3M,Term,Traded", *rows]))
    assert answer["left_out"] == {"Term": "it is text, as '3M'"}
    assert list(answer["columns"].values()) == ["3M", "Traded"]
    assert frame.columns == ["date", "price", *answer["columns"]]
    assert set(frame["Traded"]) == {1_500_000}


def test_lines_above_the_header_and_rows_in_any_order(read):
    lines = table().splitlines()
    text = "\n".join(["# exported by a terminal", "Contract: ZL", "", lines[0], *reversed(lines[1:])])
    assert is_right(read(text)[1])


def test_words_for_missing_values_and_a_few_that_are_no_numbers(read):
    text = table().replace(",7\n", ",N/A\n").replace(",8\n", ",-\n").replace(",9\n", ",n.q.\n")

    answer, frame = read(text)

    assert frame["Volume"][7:10].to_list() == [None] * 3
    assert f"column 'Volume': 1 of {len(DAYS) - 2} values are no numbers, and count as missing" in answer["notes"]


def test_text_empty_and_second_date_columns_are_left_out_with_the_reason(read):
    lines = table(head="Date,Close,Volume,Contract,Empty,Updated").splitlines()
    text = "\n".join([lines[0], *(f"{line},ZLH,,{day}" for line, day in zip(lines[1:], DAYS, strict=True))])

    answer, frame = read(text)

    assert answer["left_out"]["Contract"] == "it is text, as 'ZLH'"
    assert answer["left_out"]["Empty"] == "it has no values"
    assert frame.columns == ["date", "price", "Volume"]


def test_a_column_named_in_any_case_and_one_that_is_not_there(read):
    assert read(table(), price="close", date="DATE")[0]["price"] == "Close"
    with pytest.raises(BrokenSpec, match=r"there is no column 'Settle' \(--price\); the file has Date, Close, Volume"):
        read(table(), price="Settle")


def test_a_price_that_cannot_be_told_is_asked_for_with_the_candidates(read):
    with pytest.raises(BrokenSpec, match="Name it with --price; columns with numbers: a, b"):
        read(table(head="Date,a,b"))


def test_days_and_months_are_told_apart_by_weekends_or_asked_for(read):
    assert read(table(day="%d/%m/%Y"))[0]["date_format"] == "DD/MM/YYYY"
    early = [day for day in DAYS if day.day <= 12]
    rows = [f"{day:%d/%m/%Y},{n}.5" for n, day in enumerate(early, start=1)]
    assert read("\n".join(["Date,Close", *rows]))[0]["date_format"] == "DD/MM/YYYY"
    with pytest.raises(BrokenSpec, match="can be DD/MM/YYYY or MM/DD/YYYY; write which with --date-format"):
        read("Date,Close\n05/05/2020,1.5\n")


def test_rows_that_are_there_twice_and_dates_that_are(read):
    text = table()
    answer, frame = read(text + "\n".join(text.splitlines()[1:4]) + "\n")
    assert "3 rows that are there twice are left out" in answer["notes"]
    assert is_right(frame)
    answer, frame = read(text + f"{DAYS[3]},99.5,1\n")
    assert f"1 dates have several rows with different values, first {DAYS[3]}" in answer["faults"][0]
    assert answer["faults"][0].endswith("keep one contract, or one row a day")
    assert frame is None
    hours = "".join(f"{day} {hour}:30,{hour}.5\n" for day in DAYS for hour in (10, 17))
    assert read(f"Date,Close\n{hours}")[0]["faults"][0].endswith("keep the close of each day")


def test_a_footer_is_left_out_and_said(read):
    answer, frame = read(table() + "Downloaded from somewhere,,\n")
    assert (
        f"1 of {len(DAYS) + 1} rows have no date in column 'Date', such as 'Downloaded from somewhere'"
        in answer["notes"][0]
    )
    assert is_right(frame)
    assert "have no date in column 'Date', it is empty there;" in read(table() + ",,\n")[0]["notes"][0]
    assert "in column 'Date', such as 'Source: X'" in read(table() + ",,\nSource: X,,\n")[0]["notes"][0]


def test_days_without_a_price_are_refused_or_dropped_as_chosen(read):
    text = table().replace(f"{DAYS[4]},{PRICES[4]:.2f}", f"{DAYS[4]},")
    answer, _ = read(text)
    assert f"1 day without a price, first {DAYS[4]}" in answer["faults"][0]
    assert "`--missing-price drop`" in answer["faults"][0]
    answer, _ = read(text, description={"missing_price": "drop"})
    assert (answer["faults"], answer["rows"]) == ([], len(DAYS) - 1)
    with pytest.raises(Refused):
        read(text, description={"missing_price": "perhaps"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"just words\nand more\n", "has one column"),
        (b"a\0b,c\n1,2\n", "is no text"),
        (b"2019-01-01,1.5\n2019-01-02,1.6\n", "no line of column names"),
        (b"PK\x03\x04 a workbook", "is a workbook or an archive"),
        (b"Date,Close\n", "no column holds dates"),
        (b"PAR1 and nothing", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_table_is_refused_in_words(read, content, words):
    with pytest.raises(BrokenSpec, match=words):
        read(content)


def parquet(path, **columns) -> None:
    stamps = pa.array([datetime.combine(day, datetime.min.time()) for day in DAYS], pa.timestamp("ns"))
    pq.write_table(pa.table({"Date": stamps, "Close": [round(p, 2) for p in PRICES], **columns}), path)


def test_parquet_and_the_types_of_other_tools(read, tmp_path):
    wide = pa.array([round(p, 2) for p in PRICES]).cast(pa.decimal128(20, 2)).cast(pa.decimal256(76, 38))
    words = pa.array(["x"] * len(DAYS)).dictionary_encode()
    parquet(tmp_path / "a.parquet", big=wide, word=words, __index_level_0__=range(len(DAYS)), flag=[True] * len(DAYS))

    answer, frame = read([tmp_path / "a.parquet"])

    assert is_right(frame)
    assert frame["big"].to_list() == frame["price"].to_list()
    assert answer["left_out"]["__index_level_0__"] == "it is the row number or index that pandas stored"
    assert answer["left_out"]["word"] == "it is text, as 'x'"


def test_a_folder_of_part_files_is_one_table(read, tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    whole = pl.DataFrame({"Date": DAYS, "Close": [round(p, 2) for p in PRICES]})
    for number in (1, 0):
        whole[number * 100 : number * 100 + (100 if number == 0 else 999)].write_parquet(
            folder / f"part-{number}.snappy.parquet"
        )
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.crc").write_bytes(b"x")
    (folder / "README.txt").write_text("Prices, as the exchange\ngave them, in cents.\n")

    answer, frame = read([folder])

    assert (len(answer["files"]), is_right(frame)) == (2, True)
    assert "left out, no tables with the columns of the others: README.txt" in answer["notes"]


def test_files_with_other_columns_are_not_mixed(read, tmp_path):
    (tmp_path / "a.csv").write_text(table())
    (tmp_path / "b.csv").write_text(table(head="Date,Open,Volume"))
    with pytest.raises(BrokenSpec, match=r"b\.csv has other columns than"):
        read([tmp_path / "a.csv", tmp_path / "b.csv"])


@pytest.mark.parametrize("name", ['a"b', "a'b", "a;b--", "DROP TABLE typed", "date", "price", "sélect"])
def test_a_column_may_have_any_name(read, name):
    quoted = '"' + name.replace('"', '""') + '"'
    answer, frame = read(table(head=f"Day,Close,{quoted}"), price="Close", date="Day")
    assert list(answer["columns"].values()) == [name]
    assert frame.width == 3


@pytest.mark.parametrize("unit", [1, 1000])
def test_times_since_1970_are_dates(read, unit):
    stamps = [int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * unit for day in DAYS]
    rows = [f"{stamp},{price:.2f}" for stamp, price in zip(stamps, PRICES, strict=True)]
    assert is_right(read("\n".join(["time,close", *rows]))[1])


def test_line_breaks_inside_quotes_are_no_new_row(tmp_path):
    lines = table().splitlines()
    text = "\n".join([f"{lines[0]},Note", *(f'{line},"a, ""b""\nc"' for line in lines[1:])])
    (tmp_path / "data.csv").write_text(text)
    (tmp_path / "work").mkdir()
    answer = _staged({"files": [str(tmp_path / "data.csv")], "work": str(tmp_path / "work")})
    assert is_right(pl.read_parquet(answer["staged"]))


def test_what_would_be_read_for_ever_is_refused_at_once(read, tmp_path):
    """`/proc/kmsg` calls itself a regular file, and reading it waits for the kernel's next word."""
    os.mkfifo(tmp_path / "pipe.csv")
    links = {"kernel.csv": "/proc/kmsg", "zero.csv": "/dev/zero"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    why = {"pipe.csv": "it is a pipe", "kernel.csv": "it belongs to the kernel", "zero.csv": "it is a device"}
    if not Path("/proc/kmsg").exists():
        del why["kernel.csv"]
    for name, words in why.items():
        with pytest.raises(BrokenSpec, match=f"{name} cannot be imported: {words}"):
            read([tmp_path / name])


def test_a_link_to_a_file_of_the_user_is_followed(read, tmp_path):
    (tmp_path / "real.csv").write_text(table())
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")

    assert is_right(read([tmp_path / "link.csv"])[1])

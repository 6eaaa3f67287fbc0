"""Tables as other programs export them: each is read right, or refused whole with what was seen and what to write."""

from __future__ import annotations

import gzip
import json
import math
import re
import zipfile
from datetime import date, timedelta
from itertools import accumulate

import polars as pl
import pytest

from jobs.importing import source
from jobs.importing.stage import stage
from jobs.trainer import BrokenSpec

DAYS = [day for day in (date(2019, 1, 1) + timedelta(n) for n in range(400)) if day.weekday() < 5]
MONTHS = [date(1990 + n // 12, n % 12 + 1, 1) for n in range(300)]
WEEKS = [date(2012, 1, 6) + timedelta(7 * n) for n in range(300)]
PRICES = [1300 + row % 17 + row / 100 for row in range(300)]


@pytest.fixture
def read(tmp_path):
    """Stage *content*; return the answer and the export."""

    def run(content: str | bytes, name: str = "data.csv", **asked) -> tuple[dict, pl.DataFrame]:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        (tmp_path / "work").mkdir(exist_ok=True)
        answer = stage({"files": [str(tmp_path / name)], "work": str(tmp_path / "work"), **asked})
        assert answer["faults"] == []
        json.dumps(answer, allow_nan=False)
        return answer, pl.read_parquet(answer["staged"])

    return run


def rows(head: str, days: list, write, separator: str = ",", number="{:.2f}".format) -> str:
    lines = [separator.join([write(day), number(price)]) for day, price in zip(days, PRICES, strict=False)]
    return "\n".join([head, *lines, ""])


def european(price: float) -> str:
    return f"{price:,.2f}".translate(str.maketrans(",.", ".,"))


def ends(days: list[date]) -> list[date]:
    return [(day.replace(day=28) + timedelta(4)).replace(day=1) - timedelta(1) for day in days]


@pytest.mark.parametrize(
    ("head", "days", "write", "wanted"),
    [
        ("Week,Close", WEEKS, "{:%Y-%m-%d}", WEEKS),
        ("Week,Close", WEEKS, "{:%G-W%V}", WEEKS),
        ("Trading Day,Settle", DAYS, "{:%m/%d/%Y}", DAYS),
        ("Month,Price", MONTHS, "{:%Y-%m}", ends(MONTHS)),
        ("Month,Price", MONTHS, "{:%b-%y}", ends(MONTHS)),
        ("Period,Price", MONTHS, "{:%b %Y}", ends(MONTHS)),
        ("Date,Price", MONTHS, "{:%Y%m}", ends(MONTHS)),
        (",Crude oil", MONTHS, "{:%YM%m}", ends(MONTHS)),
        (",Close", DAYS, "{:%Y-%m-%d}", DAYS),
        ("Day,Price", DAYS, "{:%d-%m-%y}", DAYS),
    ],
)
def test_the_column_of_the_days_is_known_by_what_it_holds(read, head, days, write, wanted):
    """A month, quarter or week is known at its end: its price must not stand on its first day."""
    answer, made = read(rows(head, days, write.format))
    assert made["date"].to_list() == wanted[: made.height]
    assert made["price"][0] == PRICES[0]
    assert "date" in answer["proposed"]


def test_quarters_end_on_their_last_day(read):
    _, made = read(
        rows("Quarter,Price", MONTHS, lambda day: f"{day.year + (day.month - 1) // 4 * 30}-Q{(day.month - 1) % 4 + 1}")
    )
    assert made["date"][0] == date(1990, 3, 31)
    assert set(made["date"].dt.month().unique()) == {3, 6, 9, 12}


def test_the_days_of_a_workbook_are_dates_and_a_price_like_them_is_none(read):
    _, made = read(rows("Date,Price", DAYS, lambda day: f"{(day - date(1899, 12, 30)).days}.75"))
    assert made["date"].to_list() == DAYS[: made.height]
    with pytest.raises(BrokenSpec, match=r"no column holds dates; the file has index \(as '43\d\d\d'\)"):
        read(rows("index,Price", DAYS, lambda day: f"{43466 + day.toordinal() * 7919 % 500}"))


def test_of_two_columns_with_dates_the_one_without_repeats_is_the_day(read):
    lines = [f"{day},2021-12-{10 + n % 3},{price}" for n, (day, price) in enumerate(zip(WEEKS, PRICES, strict=True))]
    assert read("\n".join(["Reported,Expiry,Settle", *lines]))[0]["date"] == "Reported"
    lines = [f"{day},{day + timedelta(1)},{price}" for day, price in zip(WEEKS, PRICES, strict=True)]
    with pytest.raises(BrokenSpec, match=r"several columns hold dates: A \(as '2012-01-06'\), B .* --date"):
        read("\n".join(["A,B,Settle", *lines]))


@pytest.mark.parametrize(
    ("number", "separator"),
    [
        (lambda price: f'"${price:,.2f}"', ","),
        (lambda price: f"USD {price:.2f}", ","),
        (lambda price: f"R$ {price:.2f}", ","),
        (lambda price: f"{price:,.2f}".replace(",", "'"), ","),
        (lambda price: f"{european(price)} €", ";"),
        (lambda price: f"{price:,.2f}".replace(",", "\u202f").replace(".", ","), ";"),
    ],
)
def test_currencies_and_what_stands_between_thousands(read, number, separator):
    _, made = read(rows(f"Date{separator}Price", DAYS, str, separator, number))
    assert made["price"].to_list() == [round(price, 2) for price in PRICES[: made.height]]


def test_contracts_are_no_currencies_and_a_day_to_come_is_named(read):
    """ZLF10 was the number 10 of a currency ZLF."""
    lines = [f"{day},ZL{'FHKN'[n % 4]}{day:%y},{PRICES[n]:.2f}" for n, day in enumerate([*DAYS, date(2108, 12, 31)])]
    answer, made = read("\n".join(["Date,Contract,Settle", *lines]))
    assert made.columns == ["date", "price"]
    assert "text" in answer["left_out"]["Contract"]
    assert any("the last row is of 2108-12-31, after" in note for note in answer["notes"])


def test_a_german_export_whose_days_look_like_numbers(read):
    """Without a point between thousands, 02.01.2019 was taken for the number 2012019."""
    answer, made = read(rows("Datum;Schluss", DAYS, "{:%d.%m.%Y}".format, ";", european))
    assert (answer["date"], answer["price"], answer["decimal"]) == ("Datum", "Schluss", ",")
    assert made["price"][0] == PRICES[0]


def test_numbers_that_can_be_a_thousand_times_as_large_are_asked_about(read):
    """1.316 was silently taken for 1.316 where 1316 was meant."""
    text = rows("Date;Price", DAYS, str, ";", lambda price: f"{price:,.0f}".replace(",", "."))
    with pytest.raises(BrokenSpec, match=r"as '1.300', can have a decimal point or points .* --decimal"):
        read(text)
    assert read(text, decimal=",")[1]["price"][0] == 1300.0
    assert read(text, decimal=".")[1]["price"][0] == 1.3


def test_prices_in_eighths_are_no_numbers(read):
    """1316'4 is 1316 and a half, and was read as 13164."""
    with pytest.raises(BrokenSpec, match=r"Price is left out: it is text, as .13\d\d'\d"):
        read(rows("Date,Price", DAYS, str, number=lambda price: f"{price:.0f}'{int(price) % 8}"))


def test_a_header_of_two_lines_and_one_name_twice(read):
    prices = [1300 + n * 7919 % 97 for n in range(300)]  # so irregular that no column foretells another
    others = [1300 + n * 104729 % 89 for n in range(300)]
    lines = [f"{day},{other},{other + 1},{price}" for day, price, other in zip(DAYS, prices, others, strict=False)]
    answer, made = read("\n".join([",Futures,Futures,Spot", "Date,Open,Close,Close", *lines]), price="Spot Close")
    assert set(answer["columns"].values()) == {"Futures Open", "Futures Close"}
    assert made["price"][0] == 1300.0
    titled = [
        "Prices of today,,,",
        ",,,",
        "Day,Open,High,Schlußkurs ($)",
        *lines,
        "As of today,,,",
    ]  # as Excel saves it
    answer, made = read("\n".join(titled))
    assert (answer["date"], answer["price"]) == ("Day", "Schlußkurs ($)")
    assert made["price"][0] == 1300.0
    with pytest.raises(BrokenSpec, match="several columns are called 'Close', read as Close, Close_2; name one with"):
        read("\n".join(["Date,Close,Close,Vol", *lines]))


def test_lines_for_excel_and_for_people_are_no_rows(read):
    text = rows("Date;Price", DAYS, str, ";", european)
    answer, made = read("sep=;\n" + text)
    assert (answer["price"], answer["notes"]) == ("Price", [])
    whole = text.splitlines()
    answer, again = read("\n".join([whole[0], "yyyy-mm-dd;USD/t", *whole[1:], "Total;588.000,10"]))
    assert again.equals(made)
    assert "2 of" in answer["notes"][0]


def test_words_of_workbooks_for_nothing(read):
    words = ["#N/A", "#DIV/0!", "n.a.", "N/D", "missing", "(blank)"]
    lines = [
        f"{day},{price:.2f},{words[n % 6] if n % 3 else n + 1}"
        for n, (day, price) in enumerate(zip(DAYS, PRICES, strict=False))
    ]
    _, made = read("\n".join(["Date,Close,x", *lines]))
    assert made["x"].null_count() == sum(n % 3 > 0 for n in range(made.height))


def test_a_table_of_many_columns_is_read(read):
    """With a join for each column, 150 of them took more memory than there was."""
    lines = [f"{day},{price:.2f}" + ",0.5" * 150 for day, price in zip(DAYS, PRICES, strict=False)]
    _, made = read("\n".join(["Date,Close," + ",".join(f"c{n}" for n in range(150)), *lines]))
    assert made.shape == (len(lines), 152)


def test_a_packed_table_is_unpacked_and_a_damaged_one_refused(read):
    packed = gzip.compress(rows("Date,Price", DAYS, str).encode())
    assert read(packed, "zl.csv.gz")[1]["price"][0] == PRICES[0]
    with pytest.raises(BrokenSpec, match="cannot be unpacked to its end"):
        read(packed[:-50], "zl.csv.gz")
    with pytest.raises(BrokenSpec, match="is an archive; unpack it, or name it as what it holds"):
        read(packed, "zl.gz")


def zipped(tmp_path, **members: str) -> bytes:
    """Return an archive of *members*; `__` in a name stands for a dot."""
    with zipfile.ZipFile(tmp_path / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return (tmp_path / "made.zip").read_bytes()


def test_a_zip_archive_of_part_files_is_one_table_and_nothing_leaves_the_staging_folder(read, tmp_path, monkeypatch):
    parts = {f"../../part-{n}__csv": rows("Date,Price", DAYS[n * 100 : n * 100 + 100], str) for n in (1, 0)}
    before = sorted(tmp_path.parent.rglob("part-*"))
    whole = zipped(tmp_path, **parts, README__txt="Prices, in cents.\n", LICENSE="CC0", **{"__MACOSX/x__csv": "?"})
    answer, frame = read(whole, "prices.zip")
    assert (answer["files"], frame.height) == ([str(tmp_path / "prices.zip")], 200)
    assert "left out, no tables with the columns of the others: LICENSE, README.txt" in answer["notes"]
    assert sorted(tmp_path.parent.rglob("part-*")) == before

    other = zipped(tmp_path, a__csv=parts["../../part-0__csv"], b__csv="Date,Open\n2019-01-01,1\n")
    for packed, words in (
        (other, r"prices\.zip: b\.csv has other columns than .*prices\.zip: a\.csv"),
        (zipped(tmp_path, x__json="{}"), r"holds no CSV file; it holds x\.json; unpack it yourself"),
        (whole[:-60], "cannot be unpacked to its end"),
        (whole[:80] + bytes(20) + whole[100:], "cannot be unpacked to its end"),
    ):
        with pytest.raises(BrokenSpec, match=words):
            read(packed, "prices.zip")
    monkeypatch.setattr(source, "UNPACKED_ANYWAY", 1 << 10)
    monkeypatch.setattr(source, "MOST_MEMBERS", 3)
    for packed, words in ((zipped(tmp_path, a__csv="0" * 999_999), "unpacks to 999,999"), (whole, "holds 4 files")):
        with pytest.raises(BrokenSpec, match=words):
            read(packed, "prices.zip")


def test_a_small_file_that_unpacks_without_end_is_refused_and_leaves_nothing(read, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "UNPACKED_ANYWAY", 1 << 20)
    packed = gzip.compress(b"Date,Price\n" + bytes(1 << 22))
    with pytest.raises(BrokenSpec, match=r"unpacks to more than 1,048,576; allowed are 100 times its size; unpack it"):
        read(packed, "zl.csv.gz")
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark(read, encoding):
    assert read(rows("Date\tPrice", DAYS, str, "\t").encode(encoding))[1]["price"][0] == PRICES[0]


def of_three(head: str) -> str:
    return "\n".join([head, *(f"{day},7,{price:.2f}" for day, price in zip(DAYS, PRICES, strict=False))])


@pytest.mark.parametrize("price", ["Settle ($)", "Close [USD/bbl]", "Settlement Price (c/lb)"])
def test_a_price_is_known_by_its_name_with_a_unit_behind_it(read, price):
    answer, _ = read(of_three(f"Date,Volume,{price}"))
    assert answer["price"] == price


def test_a_price_in_two_units_is_asked_for(read):
    with pytest.raises(BrokenSpec, match="which column is the price"):
        read(of_three("Date,Close (USD),Close (EUR)"))


def test_a_column_that_knows_the_future_is_refused_with_what_this_command_takes(tmp_path):
    """`data edit` cannot help before there is a data set."""
    moves = [((7919 * row) % 101 - 50) / 5000 for row in range(900)]
    prices = list(accumulate(moves, lambda price, move: price * math.exp(move), initial=100.0))
    days = [date(2010, 1, 1) + timedelta(row) for row in range(890)]
    lines = [f"{day},{prices[row]:.4f},{prices[row + 5]:.4f}" for row, day in enumerate(days)]
    (tmp_path / "leak.csv").write_text("\n".join(["date,price,lead", *lines]))
    (tmp_path / "work").mkdir()
    answer = stage({"files": [str(tmp_path / "leak.csv")], "work": str(tmp_path / "work")})
    (fault,) = answer["faults"]
    assert "leave it out with `--set columns.lead.role=ignore`" in fault


@pytest.mark.parametrize(
    ("name", "beside"), [("zl[1].csv", "zl1.csv"), ("zl*.csv", "zl-old.csv"), ("zl?.csv", "zl2.csv")]
)
def test_a_name_that_is_a_pattern_is_that_files_own_and_no_others(tmp_path, read, name, beside):
    (tmp_path / beside).write_text(
        rows("Date,Price", DAYS, "{:%Y-%m-%d}".format, number=lambda price: f"{price * 2:.2f}")
    )
    _, export = read(rows("Date,Price", DAYS, "{:%Y-%m-%d}".format), name)
    assert export["price"].to_list() == [float(f"{price:.2f}") for price in PRICES[: len(DAYS)]]


LONG = [date(2000, 1, 1) + timedelta(n) for n in range(1200)]


@pytest.mark.parametrize("late", ["plain", "word", "order", "twice"])
def test_what_only_late_rows_show_is_read_as_in_early_ones(read, late):
    """A file whose first thousand rows are plain is written as it is read: the rest may be anything."""
    prices = [30 + row % 17 + row / 100 for row in range(1200)]
    lines = [
        f"{day},{price:.2f},{row * 7919 % 97 or ''}" for row, (day, price) in enumerate(zip(LONG, prices, strict=True))
    ]
    if late == "word":
        lines[1100] = f"{LONG[1100]},$41.50,n/a"
    elif late == "order":
        lines[1100], lines[1101] = lines[1101], lines[1100]
    elif late == "twice":
        lines.append(lines[-1])

    answer, made = read("\n".join(["Date,Close,Volume", *lines, ""]))

    assert made["date"].to_list() == LONG
    assert made["price"].to_list() == [
        41.5 if late == "word" and n == 1100 else round(p, 2) for n, p in enumerate(prices)
    ]
    assert made["Volume"].null_count() == 13 + (late == "word")
    assert ("twice" in " ".join(answer["notes"])) == (late == "twice")


@pytest.mark.parametrize(
    ("from_row", "words"),
    [
        (lambda row: row % 3, r"column 'Datum' are written in several forms, as '01/02/2000' and '2000-01-01'; write"),
        (lambda row: row > 1170, r"29 of 1,200 rows have their date in column 'Datum' in another form than YYYY-MM-DD"),
    ],
)
def test_dates_in_two_forms_are_refused_and_none_is_lost(tmp_path, from_row, words):
    lines = [f"{day:%m/%d/%Y};{n % 9 + 30},5" if from_row(n) else f"{day};{n % 9 + 30},5" for n, day in enumerate(LONG)]
    (tmp_path / "data.csv").write_bytes("\r\n".join(["Datum;Schluss", *lines]).encode("utf-8-sig"))
    try:
        faults = stage({"files": [str(tmp_path / "data.csv")], "work": str(tmp_path)})["faults"]
    except BrokenSpec as exc:
        faults = [str(exc)]
    assert len(faults) == 1
    assert re.search(words, faults[0])


def test_a_page_is_no_table_and_names_in_angle_brackets_are_names(read):
    with pytest.raises(BrokenSpec, match="is a web page or XML, not a table"):
        read("<!DOCTYPE html>\n<html><td>Date,Price</td></html>")
    answer, _ = read(rows("<DATE>,<CLOSE>", DAYS, "{:%Y%m%d}".format))
    assert (answer["date"], answer["price"]) == ("<DATE>", "<CLOSE>")

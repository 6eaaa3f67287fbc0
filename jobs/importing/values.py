"""What the words in a column mean: how its numbers are written, in which form its dates are. SQL for DuckDB, and Python.

A form is chosen for the whole column by counting over every row, never row by row: a column has one form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MISSING = (
    "", "na", "n/a", "#n/a", "nan", "null", "none", "-", "--", ".", "…", "n.a.", "n/d", "nd", "nil", "missing",
    "(blank)", "?", "#n/a n/a", "#n/a n.a.", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!",
)  # fmt: skip
"""Words for a missing value, in any case."""
DATE_FORMS: dict[str, str] = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "YYYY/MM/DD": "%Y/%m/%d",
    "YYYY.MM.DD": "%Y.%m.%d",
    "YYYYMMDD": "%Y%m%d",
    "MM/DD/YYYY": "%m/%d/%Y",
    "DD/MM/YYYY": "%d/%m/%Y",
    "MM-DD-YYYY": "%m-%d-%Y",
    "DD-MM-YYYY": "%d-%m-%Y",
    "DD.MM.YYYY": "%d.%m.%Y",
    "MM/DD/YY": "%m/%d/%y",
    "DD/MM/YY": "%d/%m/%y",
    "DD.MM.YY": "%d.%m.%y",
    "MM-DD-YY": "%m-%d-%y",
    "DD-MM-YY": "%d-%m-%y",
    "DD-Mon-YYYY": "%d-%b-%Y",
    "DD-Mon-YY": "%d-%b-%y",
    "DD Mon YYYY": "%d %b %Y",
    "Mon DD, YYYY": "%b %d, %Y",
    "Mon DD YYYY": "%b %d %Y",
    "Month DD, YYYY": "%B %d, %Y",
    "DD Month YYYY": "%d %B %Y",
    "Weekday, DD Mon YYYY": "%a, %d %b %Y",
}
"""Name for people -> format. A time of day after it is left out: the day is the one that is written, in its own zone."""
PERIOD_FORMS: dict[str, str] = {
    "YYYY-MM": "%Y-%m",
    "YYYY/MM": "%Y/%m",
    "YYYYMM": "%Y%m",
    "YYYYMmm": "%YM%m",
    "MM/YYYY": "%m/%Y",
    "Mon YYYY": "%b %Y",
    "Mon-YYYY": "%b-%Y",
    "Mon-YY": "%b-%y",
    "Month YYYY": "%B %Y",
    "YYYY-Qn": "",
    "YYYY-Www": "",
}
"""Months, quarters and weeks (ISO): the value of one is known at its end, and so its last day is its date; Friday of a week."""
EXCEL = "Excel day"
"""Days since 1899-12-30, as a workbook keeps dates."""
_GAPS = "[\\x{A0}\\x{202F}\\x{2009}]"
"""Spaces that do not break, as French and Polish numbers have them."""
_NO_VALUE = "|".join(re.escape(word) for word in MISSING)
"""As a pattern, and no list for IN: DuckDB makes a join of each, and planned 300 columns for minutes."""
_CODES = (
    "AED|ARS|AUD|BRL|CAD|CHF|CLP|CNH|CNY|COP|CZK|DKK|EGP|EUR|GBP|GBX|HKD|HUF|IDR|ILS|INR|JPY|KES|KRW|MXN|MYR|NGN|NOK|NZD|"
    "PEN|PHP|PLN|RMB|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|USX|VND|ZAC|ZAR"
)
"""By name: with any three letters the contract ZLF10 was the number 10."""
_CURRENCIES = rf"(?:[A-Z]{{2}}|[RCAS])?[$€£¥₹₽¢]|{_CODES}|kr\.?|zł|Kč|Ft|Fr\.?"
_TIME = r"[ T]+\d{1,2}:\d{2}.*$"
"""A time of day, with or without a zone, after the date."""


def quoted(name: str) -> str:
    """Return *name* as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text_of(column: str) -> str:
    """Return SQL for the trimmed text of a column, NULL for a word that means missing."""
    trimmed = f"trim(regexp_replace({quoted(column)}, '{_GAPS}', ' ', 'g'))"
    return f"CASE WHEN NOT regexp_full_match(lower({trimmed}), '{_NO_VALUE}') THEN {trimmed} END"


def day_of(text: str) -> str:
    """Return SQL for the text of a date without a time of day."""
    return f"regexp_replace({text}, '{_TIME}', '')"


EPOCH_FORMS = {"epoch seconds": (r"^\d{9,10}$", 1_000_000), "epoch milliseconds": (r"^\d{12,13}$", 1_000)}
"""Times since 1970 in UTC: what they look like, and their unit in microseconds."""
ALL_FORMS = (*DATE_FORMS, *EPOCH_FORMS, *PERIOD_FORMS, EXCEL)


def date_sql(text: str, form: str) -> str:
    """Return SQL for the date in *text*, as `text_of` has it, that is written in *form*; NULL where it is not."""
    if form in EPOCH_FORMS:
        pattern, unit = EPOCH_FORMS[form]
        number = f"TRY_CAST({text} AS BIGINT)"
        return f"CASE WHEN regexp_matches({text}, '{pattern}') THEN CAST(make_timestamp({number} * {unit}) AS DATE) END"
    if form in PERIOD_FORMS:
        return _period_sql(text, form)
    if form == EXCEL:
        number = f"TRY_CAST({text} AS DOUBLE)"
        return (
            f"CASE WHEN {number} BETWEEN 10000 AND 80000 THEN DATE '1899-12-30' + CAST(floor({number}) AS INTEGER) END"
        )
    return f"CAST(try_strptime({day_of(text)}, '{DATE_FORMS[form]}') AS DATE)"


def any_date_sql(text: str) -> str:
    """Return SQL that is not NULL where *text* is a date in any form that no number has."""
    forms = ", ".join(f"'{form}'" for name, form in DATE_FORMS.items() if name != "YYYYMMDD")
    return f"try_strptime({day_of(text)}, [{forms}])"


def _period_sql(text: str, form: str) -> str:
    if form == "YYYY-Www":
        return f"CAST(try_strptime({text} || '-5', '%G-W%V-%u') AS DATE)"
    if form == "YYYY-Qn":
        year, quarter = (
            f"TRY_CAST(regexp_extract({text}, '^(\\d{{4}})[- ]?Q([1-4])$', {i}) AS INTEGER)" for i in (1, 2)
        )
        return f"last_day(make_date({year}, {quarter} * 3, 1))"
    length = "length({0}) = 6" if form == "YYYYMM" else "{0} IS NOT NULL"
    return (
        f"CASE WHEN {length.format(text)} THEN last_day(CAST(try_strptime({text}, '{PERIOD_FORMS[form]}') AS DATE)) END"
    )


def plain_date_sql(column: str, form: str) -> str:
    """Return SQL for the date where nothing but the date is written, NULL elsewhere: much faster."""
    text = quoted(column)
    if form not in DATE_FORMS:
        return date_sql(text_of(column), form)
    if form == "YYYY-MM-DD":
        return f"CASE WHEN length({text}) = 10 THEN TRY_CAST({text} AS DATE) END"
    return f"CAST(try_strptime({text}, '{DATE_FORMS[form]}') AS DATE)"


@dataclass(frozen=True, slots=True)
class NumberForm:
    """How numbers are written."""

    decimal: str
    """`.` or `,`; the other one, spaces and apostrophes stand between thousands."""

    def sql(self, text: str) -> str:
        """Return SQL for the number in *text*, as `text_of` has it, NULL where there is none.

        Signs and codes of currency and percent are left out, (1.2) is -1.2, as in accounts, and 312.5K is 312500, as in
        volumes. What stands between thousands must do so: 1.2.3, 12,34 where the point is decimal, and 1316'4, a price in
        eighths, are no numbers.
        """
        other = "\\." if self.decimal == "," else ","
        own = "," if self.decimal == "," else "\\."
        unit = f"regexp_extract({text}, '\\d([KMB])$', 1)"
        scale = f"CASE {unit} WHEN 'K' THEN 1e3 WHEN 'M' THEN 1e6 WHEN 'B' THEN 1e9 ELSE 1.0 END"
        minus = f"replace(regexp_replace({text}, '(\\d)[KMB]$', '\\1'), chr(8722), '-')"
        bare = f"regexp_replace({minus}, '^([-+(]*)\\s*(?:{_CURRENCIES})\\s*|\\s*(?:{_CURRENCIES}|%)(\\)?)$', '\\1\\2', 'g')"
        whole = f"regexp_matches({bare}, '^[-+(]*\\d{{1,3}}([\\s''{other}]\\d{{2,3}})*[\\s''{other}]\\d{{3}}(?:{own}\\d*)?\\)?$')"
        joined = f"regexp_replace({bare}, '[\\s''{other}]', '', 'g')"
        number = f"CASE WHEN NOT regexp_matches({bare}, '[\\s''{other}]') OR {whole} THEN {joined} END"
        signed = f"regexp_replace({number}, '^\\((.*)\\)$', '-\\1')"
        point = f"replace({signed}, ',', '.')" if self.decimal == "," else signed
        return f"TRY_CAST({point} AS DOUBLE) * {scale}"

    def plain_sql(self, column: str) -> str:
        """Return SQL for the number where it is written without anything else, NULL elsewhere: much faster."""
        text = quoted(column)
        if self.decimal == ",":
            return f"CASE WHEN NOT contains({text}, '.') THEN TRY_CAST(replace({text}, ',', '.') AS DOUBLE) END"
        return f"nullif(TRY_CAST({text} AS DOUBLE), 'nan'::DOUBLE)"


POINT, COMMA = NumberForm("."), NumberForm(",")


def comma_votes_sql(text: str) -> str:
    """Return SQL that counts values which can only be written with a decimal comma, less those with a decimal point."""
    comma = rf"regexp_matches({text}, '^[^,]*,(\d{{1,2}}|\d{{4,}})\D*$') OR regexp_matches({text}, '\.\d{{3}},\d')"
    point = rf"regexp_matches({text}, '^[^.]*\.(\d{{1,2}}|\d{{4,}})\D*$') OR regexp_matches({text}, ',\d{{3}}\.\d')"
    return f"count(*) FILTER (WHERE {comma}) - count(*) FILTER (WHERE {point})"


def term_sql(text: str) -> str:
    """Return SQL that is not NULL where *text* is a term, such as 3M for three months, and no volume of three million."""
    return rf"CASE WHEN regexp_matches({text}, '^\d{{1,2}}[DWMY]$') THEN 1 END"


def commas_sql(text: str) -> str:
    """Return SQL that counts values with a comma between digits."""
    return rf"count(*) FILTER (WHERE regexp_matches({text}, '\d,\d'))"


def only_thousands_sql(text: str) -> str:
    """Return SQL that counts values which a point before exactly three digits leaves open, less those that settle it."""
    is_open = rf"regexp_matches({text}, '^[-+]?[1-9]\d{{0,2}}\.\d{{3}}$')"
    is_settled = rf"regexp_matches({text}, '[.,]\d{{1,2}}$|[.,]\d{{4,}}$|^[-+]?0[.,]')"
    return f"CASE WHEN count(*) FILTER (WHERE {is_settled}) > 0 THEN 0 ELSE count(*) FILTER (WHERE {is_open}) END"

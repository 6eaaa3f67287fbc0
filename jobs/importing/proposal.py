"""What would be imported: which column is the date, in which form, which is the price, and which are numbers.

Named columns are taken as named; the others are proposed from names and from the first rows, and counted over all rows
when the source is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.importing.values import (
    ALL_FORMS,
    COMMA,
    DATE_FORMS,
    EPOCH_FORMS,
    EXCEL,
    POINT,
    NumberForm,
    any_date_sql,
    comma_votes_sql,
    commas_sql,
    date_sql,
    only_thousands_sql,
    quoted,
    term_sql,
    text_of,
)
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.importing.source import Source

AT_ONCE = 50
"""Aggregates in one query."""
SAMPLE_ROWS = 1_000
_DATE_NAMES = (
    "date",
    "day",
    "trade_date",
    "trading_day",
    "datetime",
    "timestamp",
    "time",
    "ds",
    "dt",
    "as_of_date",
    "period",
    "week",
    "month",
    "quarter",
    "datum",
    "fecha",
    "data",
)
_PRICE_NAMES = (
    "price", "settle", "settlement", "settlement_price", "settle_price", "close", "adj_close", "close_last", "last",
    "px_last", "px_settle", "closing_price", "value", "schlusskurs", "schluss", "kurs", "preis", "cierre", "último",
    "ultimo", "precio", "clôture", "dernier", "prix", "chiusura", "prezzo",
)  # fmt: skip
_UNIT = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")
"""A unit behind a name, in brackets: `Settle ($)`, `Close [USD/bbl]`."""
_OF_NUMBERS = ("YYYYMMDD", "YYYYMM", *EPOCH_FORMS, EXCEL)
_LEAST = 10_000
"""Smallest number that can be a date in one of these forms."""
_MOSTLY = 0.95
"""Share of a column's values that must be numbers, or dates, for it to be one."""


@dataclass(slots=True)
class Proposal:
    """What would be read."""

    date: str
    date_form: str | None
    """None: the column has dates already."""
    price: str
    numbers: tuple[str, ...]
    """Every column with numbers except the price, in the file's order."""
    number_form: NumberForm
    left_out: dict[str, str] = field(default_factory=dict)
    """Column -> why."""
    proposed: tuple[str, ...] = ()
    """Which of date and price were not named."""


def propose(
    source: Source, *, date: str | None, price: str | None, date_form: str | None, decimal: str | None
) -> Proposal:
    """Decide about every column.

    Raises:
        BrokenSpec: when a column is not there, or cannot be told apart; with the candidates and what to write.
    """
    texts = [name for name, kind in source.columns.items() if kind == "text"]
    _take_sample(source, texts)
    number_form = _number_form(source, texts, decimal)
    filled = _counts(source, {name: quoted(name) for name in texts})
    plain = _counts(source, {name: number_form.plain_sql(name) for name in texts})
    rest = [name for name in texts if plain[name] < filled[name]]
    numeric = plain | _counts(source, {name: number_form.sql(quoted(name)) for name in rest})
    terms = _counts(source, {name: term_sql(quoted(name)) for name in rest})
    numeric |= {name: 0 for name in rest if _is_mostly(terms[name], filled[name])}
    flags = dict.fromkeys(texts, 0) | _counts(source, {name: flag_sql(quoted(name)) for name in rest})
    words = [name for name in texts if not _is_mostly(numeric[name], filled[name])]
    day = _named(source, date, "--date") or _date_column(source, filled, words, date_form)
    form = _form_of(source, day, date_form)
    numbers, left_out = [], dict(source.left_out)
    for name, kind in source.columns.items():
        if name == day:
            continue
        if kind in {"number", "flag"} or (kind == "text" and _is_mostly(max(numeric[name], flags[name]), filled[name])):
            numbers.append(name)
        else:
            odd = f"{number_form.sql(text_of(name))} IS NULL" if kind == "text" and numeric[name] else "true"
            left_out[name] = (
                "it holds other dates" if kind == "date" else f"it is text, as {_example(source, name, odd)}"
            )
    value = _named(source, price, "--price") or _price_column(source, numbers, left_out)
    if value not in numbers:
        raise BrokenSpec(
            f"column {value!r} is no price: {left_out.get(value, 'it is the date')}; columns with numbers: "
            f"{', '.join(numbers[:20]) or 'none'}; name one with --price"
        )
    return Proposal(
        date=day,
        date_form=form,
        price=value,
        numbers=tuple(name for name in numbers if name != value),
        number_form=number_form,
        left_out=left_out,
        proposed=tuple(what for what, given in (("date", date), ("price", price)) if given is None),
    )


def _take_sample(source: Source, texts: Sequence[str]) -> None:
    """Make the tables `sample`, the first rows, and `words`: the same with texts as `text_of` has them.

    What is asked about many forms is asked of `words`: to plan SQL that trims each text again takes DuckDB seconds.
    """
    source.connection.execute(f"CREATE TEMP TABLE sample AS SELECT * FROM source LIMIT {SAMPLE_ROWS}")
    trimmed = set(texts)
    listed = (f"{text_of(name)} AS {quoted(name)}" if name in trimmed else quoted(name) for name in source.columns)
    source.connection.execute(f"CREATE TEMP TABLE words AS SELECT {', '.join(listed)} FROM sample")


def flag_sql(text: str) -> str:
    """Return SQL for true and false in *text* as 1 and 0, NULL for other words."""
    return f"CASE lower({text}) WHEN 'true' THEN 1.0 WHEN 'yes' THEN 1.0 WHEN 'false' THEN 0.0 WHEN 'no' THEN 0.0 END"


def _counts(source: Source, expressions: dict[str, str]) -> dict[str, int]:
    """Count the values of each expression in the sample's words."""
    row = _asked(source, [f"count({expression})" for expression in expressions.values()])
    return dict(zip(expressions, row, strict=True))


def _asked(source: Source, aggregates: Sequence[str]) -> list[int]:
    """Return each of *aggregates* over the sample's words; some at once, as DuckDB plans thousands for minutes."""
    row: list[int] = []
    for start in range(0, len(aggregates), AT_ONCE):
        listed = ", ".join(aggregates[start : start + AT_ONCE])
        row += source.connection.execute(f"SELECT {listed} FROM words").fetchone() or ()
    return row


def _is_mostly(count: int, of: int) -> bool:
    return of == 0 or count >= _MOSTLY * of


def _number_form(source: Source, texts: Sequence[str], decimal: str | None) -> NumberForm:
    if decimal is not None:
        return NumberForm(decimal)
    votes = sum(_asked(source, [comma_votes_sql(quoted(name)) for name in texts]))
    commas = sum(_asked(source, [commas_sql(quoted(name)) for name in texts]))
    if not votes and not commas and source.separator == ";":
        _refuse_open(source, texts)
    return COMMA if votes > 0 and commas else POINT


def _refuse_open(source: Source, texts: Sequence[str]) -> None:
    """Refuse a European file whose numbers all have a point before three digits: 1.316 is 1316 or 1.316."""
    counts = {name: only_thousands_sql(quoted(name)) for name in texts}
    row = _asked(source, list(counts.values()))
    if is_open := [name for name, count in zip(counts, row, strict=True) if count]:
        raise BrokenSpec(
            f"the numbers of column {is_open[0]!r}, as {_example(source, is_open[0])}, can have a decimal point or points "
            "between thousands; write the decimal sign with --decimal . or --decimal ,"
        )


def _named(source: Source, name: str | None, option: str) -> str | None:
    if name is None or name in source.columns:
        return name
    alike = [known for known in source.columns if known.casefold() == name.casefold()]
    if len(alike) == 1:
        return alike[0]
    raise BrokenSpec(f"there is no column {name!r} ({option}); the file has {', '.join(list(source.columns)[:30])}")


def _normal(name: str) -> str:
    return "_".join(re.sub(r"[*_/().<>]", " ", name.casefold()).split())


def _date_column(source: Source, filled: dict[str, int], words: Sequence[str], form: str | None) -> str:
    """Propose the column of the dates; one that holds numbers only can be YYYYMMDD, and no other form."""
    typed = [name for name, kind in source.columns.items() if kind == "date"]
    forms = [form] if form else list(ALL_FORMS)
    found = list(typed)
    texts = [name for name, kind in source.columns.items() if kind == "text" and filled[name]]
    large = _counts(
        source, {name: f"CASE WHEN TRY_CAST({quoted(name)} AS DOUBLE) >= {_LEAST} THEN 1 END" for name in texts}
    )
    for name in texts:
        if name not in words and large[name] < _MOSTLY * filled[name]:
            continue
        possible = [each for each in forms if each in ALL_FORMS and (name in words) != (each in _OF_NUMBERS)]
        counts = _dates_in(source, name, possible)
        best = max(counts, key=lambda each: counts[each], default=None)
        if best and counts[best] >= _MOSTLY * filled[name] and (best != EXCEL or form or _rises(source, name)):
            found.append(name)
    for wanted in _DATE_NAMES:
        if match := [name for name in found if _normal(name) == wanted]:
            return match[0]
    if len(found) > 1:  # an expiry or a report's date stands in many rows; the day of a row in one
        found = [name for name in found if _is_key(source, name)] or found
    if len(found) == 1:
        return found[0]
    if not found:
        _refuse_mixed(source, filled, words)
        raise BrokenSpec(
            f"no column holds dates; the file has {_seen(source, list(source.columns)[:12])}. Name it with --date, and its form "
            f"with --date-format, one of: {', '.join(ALL_FORMS)}"
        )
    raise BrokenSpec(f"several columns hold dates: {_seen(source, found)}; name one with --date")


def _refuse_mixed(source: Source, filled: dict[str, int], words: Sequence[str]) -> None:
    """Refuse a column whose dates are written in several forms, each in too few rows."""
    dates = _counts(source, {name: any_date_sql(quoted(name)) for name in words})
    for name in words:
        if filled[name] and dates[name] >= _MOSTLY * filled[name]:
            counts = _dates_in(source, name, list(DATE_FORMS))
            best = max(counts, key=lambda form: counts[form])
            inside, outside = (
                _example(source, name, f"{date_sql(text_of(name), best)} IS {which}") for which in ("NOT NULL", "NULL")
            )
            raise BrokenSpec(
                f"the dates of column {name!r} are written in several forms, as {inside} and {outside}; write them all in one"
            )


def _seen(source: Source, names: Sequence[str]) -> str:
    """Return names with a value of each."""
    return ", ".join(f"{name} (as {_example(source, name)})" for name in names)


def _rises(source: Source, name: str) -> bool:
    """Return True for a column of numbers that only rise, or only fall, as no price does over a thousand rows."""
    number = f"TRY_CAST({quoted(name)} AS DOUBLE)"
    sql = (
        f"SELECT count(*) FILTER (WHERE d > 0), count(*) FILTER (WHERE d < 0), count(d) FROM "
        f"(SELECT {number} - lag({number}) OVER () AS d FROM words WHERE {number} IS NOT NULL)"
    )
    up, down, steps = source.connection.execute(sql).fetchone() or (0, 0, 0)
    return bool(steps >= 20 and steps in {up, down})


def _is_key(source: Source, name: str) -> bool:
    sql = f"SELECT count({quoted(name)}), count(DISTINCT {quoted(name)}) FROM words"
    rows, different = source.connection.execute(sql).fetchone() or (0, 1)
    return bool(rows == different)


def _dates_in(source: Source, name: str, forms: Sequence[str]) -> dict[str, int]:
    """Count for each of *forms* the sample's words that are plausible dates in it."""
    each = ", ".join(f"{date_sql('word', form)} AS {quoted(form)}" for form in forms)
    source.connection.execute(
        f"CREATE OR REPLACE TEMP VIEW dates AS SELECT {each} FROM (SELECT {quoted(name)} AS word FROM words)"
    )
    likely = "BETWEEN DATE '1700-01-01' AND DATE '2200-01-01'"
    listed = ", ".join(f"count(*) FILTER (WHERE {quoted(form)} {likely})" for form in forms)
    return dict(zip(forms, source.connection.execute(f"SELECT {listed} FROM dates").fetchone() or (), strict=True))


def _form_of(source: Source, day: str, wanted: str | None) -> str | None:
    """Find the form of a text column's dates: the one in which every row is a date."""
    if source.columns[day] == "date":
        return None
    if wanted is not None:
        if wanted not in ALL_FORMS:
            raise BrokenSpec(f"--date-format {wanted!r} is not known; allowed: {', '.join(ALL_FORMS)}")
        return wanted
    counts = _dates_in(source, day, ALL_FORMS)
    best = max(counts.values())
    fitting = [form for form, count in counts.items() if count == best and count]
    if not fitting:
        raise BrokenSpec(
            f"column {day!r} holds no dates in a known form: {_example(source, day)}; allowed forms: {', '.join(ALL_FORMS)}"
        )
    return fitting[0] if len(fitting) == 1 else _apart(source, day, fitting)


def _apart(source: Source, day: str, forms: Sequence[str]) -> str:
    """Tell forms apart over all rows: the right one fits most, falls least on weekends, and is most in order."""
    listed = []
    for form in forms:
        value = date_sql(text_of(day), form)
        listed.append(
            f"(SELECT [-count(d), count(*) FILTER (WHERE isodow(d) > 5), least(count(*) FILTER (WHERE d < before), "
            f"count(*) FILTER (WHERE d > before))] FROM (SELECT d, lag(d) OVER () AS before FROM (SELECT {value} AS d FROM source)))"
        )
    row = source.connection.execute("SELECT " + ", ".join(listed)).fetchone() or ()
    ranked = sorted(zip(map(tuple, row), forms, strict=True))
    if ranked[0][0] == ranked[1][0]:
        raise BrokenSpec(
            f"the dates of column {day!r}, as {_example(source, day)}, can be {ranked[0][1]} or {ranked[1][1]}; write which with "
            "--date-format"
        )
    return str(ranked[0][1])


def _price_column(source: Source, numbers: Sequence[str], left_out: dict[str, str]) -> str:
    if len(numbers) == 1:
        return numbers[0]
    for wanted in _PRICE_NAMES:
        if match := [name for name in numbers if _normal(name) == wanted]:
            if match[0] in source.repeated:
                alike = ", ".join(name for name in numbers if name == match[0] or name.startswith(f"{match[0]}_"))
                raise BrokenSpec(f"several columns are called {match[0]!r}, read as {alike}; name one with --price")
            return match[0]
    bare = {name: _normal(_UNIT.sub("", name)) for name in numbers}
    for wanted in _PRICE_NAMES:
        if len(match := [name for name in numbers if bare[name] == wanted]) == 1:
            return match[0]
    others = "; ".join(f"{name} is left out: {why}" for name, why in list(left_out.items())[:5])
    raise BrokenSpec(
        f"which column is the price? Name it with --price; columns with numbers: {', '.join(numbers[:30]) or 'none'}"
        + (f" ({others})" if others else "")
    )


def _example(source: Source, name: str, where: str = "true") -> str:
    there = quoted(name) if source.columns[name] != "text" else text_of(name)
    sql = f"SELECT {quoted(name)} FROM sample WHERE {there} IS NOT NULL AND {where} LIMIT 1"
    row = source.connection.execute(sql).fetchone()
    return repr(str(row[0])[:40]) if row else "nothing"

"""One page of a list at a time, filtered and cut by SQLite: a short answer never reads a long ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.ledger import queries
from cbi_queue.ledger.rows import AttemptRow, EventRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger.ledger import Ledger
    from cbi_queue.ledger.rows import JobRow


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs a list holds; what is None or empty leaves out nothing."""

    states: tuple[str, ...] = ()
    family: str | None = None
    horizon: str | None = None
    dataset: str | None = None
    name: str | None = None
    """The beginning of its name."""

    def where(self) -> tuple[str, tuple[object, ...]]:
        """Return an SQL condition, and the values of its `?`."""
        terms: list[tuple[str, object]] = [
            (f"{column} = ?", value)
            for column, value in (
                ("family", self.family), ("horizon", self.horizon),
                (f"coalesce(json_extract(spec, '$.dataset'), '{DEFAULT}')", self.dataset),
            )
            if value is not None
        ]  # fmt: skip
        if self.dataset is not None:
            terms.append(("family <> ?", "script"))  # it reads none
        if self.name:
            terms += [("name >= ?", self.name), ("name < ?", f"{self.name}\U0010ffff")]
        return " AND ".join(["1", *(term for term, _ in terms)]), tuple(value for _, value in terms)


def jobs_after(ledger: Ledger, number: int, count: int, wanted: Wanted) -> list[JobRow]:
    """Return the *count* wanted jobs that follow the job *number*, in plan order, as `brief_jobs` does."""
    where, values = wanted.where()
    found: list[int] = []
    for state in wanted.states or (
        None,
    ):  # each by itself, because SQLite keeps the order of one state, not of several
        of_state, named = ("", ()) if state is None else ("state = ? AND", (state,))
        sql = f"SELECT id FROM jobs WHERE {of_state} id > ? AND {where} ORDER BY id LIMIT ?"  # noqa: S608 - our own words
        found += [row["id"] for row in ledger.conn.execute(sql, (*named, number, *values, count))]
    return queries.jobs_numbered(ledger, sorted(set(found))[:count])


def newest_attempts(ledger: Ledger, job_id: int, count: int) -> list[AttemptRow]:
    """Return the newest *count* attempts of a job, oldest first."""
    sql = "SELECT * FROM attempts WHERE job_id = ? ORDER BY number DESC LIMIT ?"
    return [AttemptRow.of(row) for row in ledger.conn.execute(sql, (job_id, count))][::-1]


def newest_events(ledger: Ledger, job_id: int, count: int) -> list[EventRow]:
    """Return the newest *count* events of a job, oldest first."""
    sql = "SELECT * FROM events WHERE job_id = ? ORDER BY id DESC LIMIT ?"
    return [EventRow.of(row) for row in ledger.conn.execute(sql, (job_id, count))][::-1]


def events_after(ledger: Ledger, number: int, count: int, job_id: int | None = None) -> list[EventRow]:
    """Return the *count* events that follow the event *number*, oldest first; with *job_id* only those of that job."""
    if job_id is None:
        return queries.events_after(ledger, number, count)
    sql = "SELECT * FROM events WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?"
    return [EventRow.of(row) for row in ledger.conn.execute(sql, (job_id, number, count))]


def attempts_after(ledger: Ledger, job_id: int, number: int, count: int) -> list[AttemptRow]:
    """Return the *count* attempts of a job that follow its attempt *number*, oldest first."""
    sql = "SELECT * FROM attempts WHERE job_id = ? AND number > ? ORDER BY number LIMIT ?"
    return [AttemptRow.of(row) for row in ledger.conn.execute(sql, (job_id, number, count))]


def failures_by_error(ledger: Ledger) -> dict[str, list[str]]:
    """Return what failed jobs ended with (empty: without a word) -> their names, of jobs of one name only the newest."""
    sql = """
        SELECT name, (SELECT error FROM attempts WHERE job_id = j.id AND error IS NOT NULL ORDER BY number DESC LIMIT 1)
        FROM jobs j
        WHERE state = 'failed' AND NOT EXISTS (SELECT 1 FROM jobs newer WHERE newer.name = j.name AND newer.id > j.id)
        ORDER BY id
    """
    found: dict[str, list[str]] = {}
    for name, error in ledger.conn.execute(sql):
        found.setdefault(error or "", []).append(name)
    return found


def has_event(ledger: Ledger, number: int, at: float) -> bool:
    """Return True if there is an event of that number and instant: the ledger goes on from there, and no other does."""
    found = ledger.conn.execute("SELECT at FROM events WHERE id = ?", (number,)).fetchone()
    return found is not None and found["at"] == at


def jobs_changed_since(ledger: Ledger, event_id: int) -> list[int]:
    """Return the numbers of the jobs that have events after the event *event_id*, in order."""
    sql = "SELECT DISTINCT job_id FROM events WHERE id > ? AND job_id IS NOT NULL ORDER BY job_id"
    return [row["job_id"] for row in ledger.conn.execute(sql, (event_id,))]


def scored_places(ledger: Ledger, among: Iterable[int] | None = None) -> dict[int, tuple[str, str]]:
    """Return the number of each of `queries.scored_jobs` -> its data set and horizon; with *among* only of these."""
    where, values = ("1", ()) if among is None else ("id IN (SELECT value FROM json_each(?))", (json.dumps([*among]),))
    sql = f"SELECT id, coalesce(spec ->> 'dataset', ?), horizon FROM jobs WHERE {queries.SCORED} AND {where}"  # noqa: S608 - our words
    return {row[0]: (row[1], row[2]) for row in ledger.conn.execute(sql, (DEFAULT, *values))}


def results_of(ledger: Ledger, of: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """Return, of the jobs of the numbers *of*, job number -> skill of the backtest, its interval's ends, rows, features, texts, the name of a package,
    the model that a backtest traded first and its Sharpe ratio, the day of forecasts.

    The skill is that of the price, else of the variance, else of the regimes.

    Read without the metrics whole, and only of jobs with metrics. What a job does not have is None; `rows` of a forecasting
    model is no number.
    """
    skills = [
        f"{block}.{key}"
        for block, own in (
            ("backtest", "skill_mae"),
            ("volatility.backtest.model", "skill"),
            ("regimes.backtest.model", "skill"),
        )
        for key in (own, "skill_low", "skill_high")
    ]
    others = ("rows", "features", "texts", "model_id", "traded", "traded_sharpe", "forecast_day")
    paths = ", ".join(f"'$.{key}'" for key in (*skills, *others))
    among = "json_each(?) JOIN jobs ON jobs.id = value"
    sql = f"SELECT jobs.id, json_extract(metrics, {paths}) AS found FROM {among} WHERE metrics IS NOT NULL"  # noqa: S608
    return {row["id"]: _first_skill(json.loads(row["found"])) for row in ledger.conn.execute(sql, (json.dumps([*of]),))}


def _first_skill(found: list[Any]) -> tuple[Any, ...]:
    """Keep the first of three skills that is known, with the ends of its interval, and the rest."""
    first = next((start for start in (0, 3, 6) if found[start] is not None), 0)
    return (*found[first : first + 3], *found[9:])

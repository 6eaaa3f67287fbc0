"""Read-only queries: jobs, attempts, events, counts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.errors import Refused, UnknownJob
from cbi_queue.ledger.rows import AttemptRow, EventRow, JobRow
from cbi_queue.lifecycle import JobState, Reason
from cbi_queue.models.kinds import SPLIT_PARAMS
from cbi_queue.values.words import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger.ledger import Ledger

MOST_NAMES = 500
"""Newest names that an unknown one is compared with: a wrong name must not cost more the longer the queue was in use."""
LONGEST_NAME = 100
"""Letters of an unknown name that are compared."""
_NUMBER = re.compile(r"#?([1-9][0-9]{0,17})")
"""A job's number as SQLite can hold it, `12` or `#12`; anything else can only be a name."""


def find_job(ledger: Ledger, name: str) -> JobRow:
    """Return the job called *name*: its number (`12` or `#12`), or its name (then the newest of that name).

    Plans refuse names of digits only. A ledger of an earlier version may have such a job: its name means that job as
    long as no other job has that number.

    Raises:
        UnknownJob: with the nearest names.
        Refused: when *name* is the number of one job and the name of another.
    """
    match = _NUMBER.fullmatch(name)
    by_number = _one(ledger, "SELECT * FROM jobs WHERE id = ?", int(match[1])) if match else None
    by_name = newest_named(ledger, name)
    if by_number and by_name and by_number.id != by_name.id:
        raise Refused(
            f"{name} is the number of job {by_number.id}, {by_number.name}, and the name of job {by_name.id}",
            hint=f"write '#{by_number.id}' for the first or '#{by_name.id}' for the second, with the quotes",
        )
    if found := by_number or by_name:
        return found
    import difflib

    near = difflib.get_close_matches(name[:LONGEST_NAME], _newest_names(ledger), n=3)
    raise UnknownJob(
        f"no job is called {shortened(name)!r}" + (f"; similar names: {', '.join(near)}" if near else ""),
        hint="`cbi-queue list --all` shows every job with its number",
    )


def job_numbered(ledger: Ledger, job_id: int) -> JobRow:
    """Return the job with that number.

    Raises:
        UnknownJob: when there is none.
    """
    if (found := _one(ledger, "SELECT * FROM jobs WHERE id = ?", job_id)) is None:
        raise UnknownJob(f"no job has the number {job_id}")
    return found


def newest_named(ledger: Ledger, name: str) -> JobRow | None:
    """Return the newest job of this very name; None when there is none."""
    return _one(ledger, "SELECT * FROM jobs WHERE name = ? ORDER BY id DESC LIMIT 1", name) if name.isascii() else None


def _one(ledger: Ledger, sql: str, *values: object) -> JobRow | None:
    return next(iter(_jobs(ledger, sql, *values)), None)


def _jobs(ledger: Ledger, sql: str, *values: object) -> list[JobRow]:
    return [JobRow.of(row) for row in ledger.conn.execute(sql, values)]


def _newest_names(ledger: Ledger) -> list[str]:
    rows = ledger.conn.execute("SELECT name FROM jobs ORDER BY id DESC LIMIT ?", (MOST_NAMES,))
    return list(dict.fromkeys(row["name"] for row in rows))


def job_names(ledger: Ledger) -> list[str]:
    """Return every name that a job ever had, once."""
    return [row["name"] for row in ledger.conn.execute("SELECT DISTINCT name FROM jobs ORDER BY name")]


def all_jobs(ledger: Ledger) -> list[JobRow]:
    """Return every job in plan order."""
    return _jobs(ledger, "SELECT * FROM jobs ORDER BY id")


_DATA = "'dataset', json_extract(spec, '$.dataset'), 'snapshot', json_extract(spec, '$.snapshot')"
_SPLIT = ", ".join(f"'{name}', json_extract(spec, '$.params.{name}')" for name in SPLIT_PARAMS)


def _columns(spec: str) -> str:
    """Return the columns of a job with *spec* of its spec: `json_patch` leaves out what is null."""
    some = f"json_patch('{{}}', json_object({spec})) AS spec"
    return ", ".join(some if field.name == "spec" else field.name for field in fields(JobRow))


_SCORED_COLUMNS = _columns(f"{_DATA}, 'params', json_object({_SPLIT})")
_BRIEF = _columns(_DATA).replace("metrics", "NULL AS metrics")
SCORED = "state IN ('succeeded', 'vetoed') AND metrics IS NOT NULL"
"""What a job that was trained and scored is, for SQL."""


OPEN_STATES = ", ".join(f"'{state}'" for state in JobState if not state.is_final)
"""The states of jobs that have not ended, for SQL: by them SQLite finds those without reading the others."""


def brief_jobs(ledger: Ledger, where: str = "1", *values: object) -> list[JobRow]:
    """Return the jobs in plan order, of their specs only the data set and its snapshot, and without metrics: reading
    those takes most of the time of a list.

    Args:
        ledger: open.
        where: an SQL condition of our own words on the columns of `jobs`, with `?` for each of *values*.
        values: what stands for them.
    """
    return _jobs(ledger, f"SELECT {_BRIEF} FROM jobs WHERE {where} ORDER BY id", *values)  # noqa: S608 - our own words


def jobs_numbered(ledger: Ledger, numbers: Iterable[int]) -> list[JobRow]:
    """Return the jobs of these numbers as `brief_jobs` does."""
    return brief_jobs(ledger, "id IN (SELECT value FROM json_each(?))", json.dumps([*numbers]))


def open_jobs(ledger: Ledger) -> list[JobRow]:
    """Return the jobs that have not ended as `brief_jobs` does; those that have cost nothing."""
    return brief_jobs(ledger, f"state IN ({OPEN_STATES})")


def newest_ended(ledger: Ledger, count: int) -> list[JobRow]:
    """Return the *count* jobs that ended last, newest first, as `brief_jobs` does."""
    sql = "SELECT id FROM jobs WHERE ended_at IS NOT NULL ORDER BY ended_at DESC, id LIMIT ?"
    order = [row["id"] for row in ledger.conn.execute(sql, (count,))]
    return sorted(jobs_numbered(ledger, order), key=lambda job: order.index(job.id))


def names_of(ledger: Ledger, numbers: Iterable[int]) -> dict[int, str]:
    """Return job number -> name of the jobs of these numbers."""
    sql = "SELECT jobs.id, name FROM json_each(?) JOIN jobs ON jobs.id = value"
    return {row["id"]: row["name"] for row in ledger.conn.execute(sql, (json.dumps([*numbers]),))}


def scored_jobs(ledger: Ledger, where: str = "1", *values: object) -> list[JobRow]:
    """Return every job that was trained and scored, vetoed ones too, in plan order, of its spec the data and the split.

    *where* and *values* are those of `brief_jobs`.
    """
    return _jobs(ledger, f"SELECT {_SCORED_COLUMNS} FROM jobs WHERE {SCORED} AND {where} ORDER BY id", *values)  # noqa: S608 - our words


def script_results(ledger: Ledger) -> list[JobRow]:
    """Return every script with a result, its former one where it runs again, in plan order."""
    sql = "SELECT * FROM jobs WHERE family = 'script' AND state != 'vetoed' AND metrics IS NOT NULL ORDER BY id"
    return [JobRow.with_former_result(row) for row in ledger.conn.execute(sql)]


def job_in_slot(ledger: Ledger) -> JobRow | None:
    """Return the running or paused job, if any."""
    return _one(ledger, "SELECT * FROM jobs WHERE state IN ('running', 'paused')")


def attempts_of(ledger: Ledger, job_id: int) -> list[AttemptRow]:
    """Return a job's attempts, oldest first."""
    rows = ledger.conn.execute("SELECT * FROM attempts WHERE job_id = ? ORDER BY number", (job_id,))
    return [AttemptRow.of(row) for row in rows]


def open_attempt(ledger: Ledger, job_id: int) -> AttemptRow | None:
    """Return the attempt of *job_id* that has not been closed, if any."""
    row = ledger.conn.execute("SELECT * FROM attempts WHERE job_id = ? AND ended_at IS NULL", (job_id,)).fetchone()
    return AttemptRow.of(row) if row else None


def ooms_of(ledger: Ledger, job_id: int) -> int:
    """Count the retries of a job after running out of memory, since it was enqueued or last ended."""
    sql = """
        SELECT COUNT(*) FROM events WHERE job_id = ?1 AND event = 'requeue' AND reason = ?2 AND id > (
            SELECT coalesce(MAX(id), 0) FROM events WHERE job_id = ?1 AND target IN ('failed', 'vetoed', 'cancelled')
        )
    """
    return int(ledger.conn.execute(sql, (job_id, Reason.OUT_OF_MEMORY)).fetchone()[0])


def events_of(ledger: Ledger, job_id: int) -> list[EventRow]:
    """Return a job's events, oldest first."""
    rows = ledger.conn.execute("SELECT * FROM events WHERE job_id = ? ORDER BY id", (job_id,))
    return [EventRow.of(row) for row in rows]


def last_events(ledger: Ledger, count: int) -> list[EventRow]:
    """Return the newest *count* events, newest first."""
    rows = ledger.conn.execute("SELECT * FROM events ORDER BY id DESC LIMIT ?", (count,))
    return [EventRow.of(row) for row in rows]


def events_after(ledger: Ledger, event_id: int, count: int) -> list[EventRow]:
    """Return the *count* events that follow the event *event_id*, oldest first."""
    rows = ledger.conn.execute("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", (event_id, count))
    return [EventRow.of(row) for row in rows]


def last_backup_event(ledger: Ledger) -> EventRow | None:
    """Return the event of the last daily backup, made or failed; None before the first."""
    sql = "SELECT * FROM events WHERE event IN ('backup', 'backup_failed') ORDER BY id DESC LIMIT 1"
    row = ledger.conn.execute(sql).fetchone()
    return EventRow.of(row) if row else None


def ended_stamp(ledger: Ledger) -> tuple[int, float, int]:
    """Return what differs once a run has ended, or one that had ended changed: how many, the latest change, the damaged."""
    sql = """
        SELECT COUNT(*), coalesce(MAX(changed_at), 0), COUNT(damage) FROM jobs
        WHERE ended_at IS NOT NULL AND attempts > 0
    """
    row = ledger.conn.execute(sql).fetchone()
    return int(row[0]), float(row[1]), int(row[2])


def last_event_id(ledger: Ledger) -> int:
    """Return the number of the newest event, 0 when there is none; later events have larger ones."""
    return int(ledger.conn.execute("SELECT coalesce(MAX(id), 0) FROM events").fetchone()[0])


def newest_event(ledger: Ledger) -> tuple[int, float]:
    """Return number and instant of the newest event, zeros when there is none: another one, and the ledger has changed."""
    row = ledger.conn.execute("SELECT id, at FROM events ORDER BY id DESC LIMIT 1").fetchone()
    return (int(row["id"]), float(row["at"])) if row else (0, 0.0)


def last_told_event(ledger: Ledger) -> int:
    """Return the number of the newest event that a person may want to be told of, 0 when there is none."""
    sql = """
        SELECT coalesce(MAX(id), 0) FROM events WHERE id > (SELECT coalesce(MAX(id), 0) - 500 FROM events)
        AND (event IN ('fail', 'finish', 'veto', 'cancel', 'hold', 'hold_placed') OR reason = ?)
    """
    return int(ledger.conn.execute(sql, (Reason.DAEMON_DIED,)).fetchone()[0])


def needs_of(ledger: Ledger, of: Iterable[int] | None = None) -> dict[int, list[int]]:
    """Return job number -> numbers of the jobs that it needs, and of those that it comes after and that have not ended.

    Args:
        ledger: open.
        of: only the needs of these jobs; None: of all.
    """
    needs: dict[int, list[int]] = {}
    among = "" if of is None else "n.job_id IN (SELECT value FROM json_each(?)) AND"
    sql = f"""
        SELECT n.job_id, n.needs_id FROM needs n
        WHERE {among} (NOT n.only_ended OR EXISTS (SELECT 1 FROM jobs j WHERE j.id = n.needs_id AND j.ended_at IS NULL))
        ORDER BY n.job_id, n.needs_id
    """  # noqa: S608 - our own words
    for row in ledger.conn.execute(sql, () if of is None else (json.dumps([*of]),)):
        needs.setdefault(row["job_id"], []).append(row["needs_id"])
    return needs


def needed_runs(ledger: Ledger, job_id: int) -> dict[str, str]:
    """Return the name of each job that *job_id* needs -> its run folder; without those that left none."""
    sql = (
        "SELECT name, run_dir FROM needs JOIN jobs ON jobs.id = needs_id "
        "WHERE job_id = ? AND run_dir IS NOT NULL ORDER BY needs_id"
    )
    return {row["name"]: row["run_dir"] for row in ledger.conn.execute(sql, (job_id,))}


@dataclass(frozen=True, slots=True)
class Workload:
    """How much is left to do."""

    runnable: int
    """Queued, now or after a wait, except those whose memory can never fit."""
    in_slot: int
    blocked: int
    """Waiting for a job that has not succeeded."""

    @property
    def is_empty(self) -> bool:
        """True when the daemon has nothing left to do by itself."""
        return self.runnable == 0 and self.in_slot == 0


def workload(ledger: Ledger) -> Workload:
    """Count the jobs that are still to be done."""
    counts = state_counts(ledger)
    queued = counts.get("queued", 0)
    if queued:
        queued -= len(unfit(ledger))
    in_slot = counts.get("running", 0) + counts.get("paused", 0)
    return Workload(queued, in_slot, counts.get("waiting", 0))


def unfit(ledger: Ledger) -> list[JobRow]:
    """Return the queued jobs whose memory can never fit here, as they and the limit are now; oldest first."""
    return _jobs(ledger, "SELECT * FROM jobs WHERE state = 'queued' AND reason = ? ORDER BY id", Reason.MEMORY_NEVER)


def is_job_coming(ledger: Ledger) -> bool:
    """Return True if a queued job will start without anyone's help: at once, or after a wait that ends by itself.

    One that does not fit into free memory, or never can, waits until someone makes room.
    """
    sql = "SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND reason NOT IN (?, ?))"
    return bool(ledger.conn.execute(sql, (Reason.MEMORY_SHORT, Reason.MEMORY_NEVER)).fetchone()[0])


def models_of(ledger: Ledger) -> list[tuple[int, str, str, str, JobState, int]]:
    """Return day, family, model, horizon and state of the newest job of each name that was not cancelled, and how many.

    A model that is trained again is still one model.
    """
    sql = """
        SELECT day, family, model, horizon, state, COUNT(*)
        FROM (SELECT MAX(id), day, family, model, horizon, state FROM jobs WHERE state <> 'cancelled' GROUP BY name)
        GROUP BY day, family, model, horizon, state
    """  # the other columns are those of the row with the maximum: https://www.sqlite.org/lang_select.html#bareagg
    return [(*row[:4], JobState(row[4]), row[5]) for row in ledger.conn.execute(sql)]


def state_counts(ledger: Ledger) -> dict[str, int]:
    """Return state -> number of jobs."""
    return {row["state"]: row["n"] for row in ledger.conn.execute("SELECT state, COUNT(*) n FROM jobs GROUP BY state")}


def users_of_data(ledger: Ledger) -> list[tuple[str, str, str, int]]:
    """Return data set, horizon, state and number of the jobs that read it; scripts read none."""
    sql = """SELECT coalesce(spec ->> 'dataset', ?), horizon, state, COUNT(*) FROM jobs WHERE family <> 'script'
             GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
    return [(str(row[0]), str(row[1]), str(row[2]), int(row[3])) for row in ledger.conn.execute(sql, (DEFAULT,))]


def failed_since(ledger: Ledger, event_id: int) -> list[JobRow]:
    """Return the jobs that failed after the event *event_id*, and all that do not run without the user's help.

    These wait for a job that ended without success, are held because the daemon crashed while they were running, or
    can never fit.
    """
    failed = _jobs(
        ledger,
        "SELECT * FROM jobs WHERE state = 'failed' "
        "AND id IN (SELECT job_id FROM events WHERE id > ? AND event = 'fail') ORDER BY id",
        event_id,
    )
    stuck = _jobs(
        ledger,
        """
        SELECT DISTINCT d.* FROM jobs d JOIN needs n ON n.job_id = d.id JOIN jobs j ON j.id = n.needs_id
        WHERE d.state = 'waiting' AND NOT n.only_ended AND j.state IN ('failed', 'vetoed', 'cancelled') ORDER BY d.id
        """,
    )
    held = _jobs(
        ledger,
        "SELECT * FROM jobs WHERE state = 'held' AND reason IN (?, ?) ORDER BY id",
        Reason.TAKES_DAEMON_DOWN,
        Reason.KILLED_REPEATEDLY,
    )
    return [*failed, *stuck, *held, *unfit(ledger)]

"""A SELECT over the results of all runs, run by a process of its own (`python -m jobs.results_query`). Read-only.

That process gets what the ledger knows as JSON, reads the forecasts itself, and can reach nothing else. It is ended when
it takes too long or too much memory, whatever it is doing.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import psutil

from cbi_queue.child_answers import ending_words
from cbi_queue.clock import from_epoch_s, monotonic_s
from cbi_queue.errors import CbiError, Refused
from cbi_queue.ledger.queries import all_jobs
from cbi_queue.telemetry.reader import TelemetryReader
from cbi_queue.views.results import attempt_rows, forecast_files, run_rows

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger
    from cbi_queue.settings import Settings

WITHIN_S = 60.0
GRACE_S = 20.0
"""Seconds that reading the forecasts and a query that does not heed its interruption may take beyond that."""
MOST_MIB = 3000.0
"""Resident memory of the process: DuckDB's own limit is 1 GiB, and some functions do not heed it."""
POLL_S = 0.1
LONGEST_SQL = 100_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gave."""

    columns: tuple[tuple[str, str], ...]
    """Name and type of each column."""
    body: bytes
    """In the form that was asked for; empty for the form `rows`."""
    rows: tuple[tuple[Any, ...], ...]
    """Of the form `rows`."""
    more: bool
    """True where there are more of them."""
    notes: tuple[str, ...]
    """Runs whose forecasts were left out, and why."""


def query(settings: Settings, ledger: Ledger, sql: str, form: str, *, most_rows: int = 1000) -> Answer:
    """Run *sql*, one SELECT, over the views.

    Args:
        settings: of this installation.
        ledger: open for reading.
        sql: what was typed. Views that it does not name are not made.
        form: rows | json | csv | parquet.
        most_rows: of the form `rows`.

    Raises:
        Refused: when the SQL is not a single SELECT, wrong, or asks too much.
        CbiError: when the process cannot be started or fails.
    """
    if len(sql) > LONGEST_SQL:
        raise Refused(f"the SQL has {len(sql):,} letters; at most {LONGEST_SQL:,} are read")
    asked = {"sql": sql, "form": form, "most_rows": most_rows, "within_s": WITHIN_S, **sources(settings, ledger, sql)}
    said = ask("jobs.results_query", asked, settings.interpreter_for("native"), within_s=WITHIN_S + GRACE_S)
    line, _, body = said.partition(b"\n")
    head = json.loads(line)
    names = {row["job_id"]: row["job"] for row in asked["runs"]}
    notes = [f"{names[int(job_id)]}: {why}" for job_id, why in head.get("faults", {}).items()]
    return Answer(
        tuple((name, kind) for name, kind in head["columns"]),
        body,
        tuple(tuple(row) for row in head.get("rows", ())),
        head.get("more", False),
        tuple(f"the forecasts of {note}; they are left out, and the run is not ranked" for note in notes),
    )


def sources(settings: Settings, ledger: Ledger, sql: str) -> dict[str, Any]:
    """Return what the views are made of; those that *sql* does not name are left out, which saves reading."""
    named = sql.lower()
    jobs = all_jobs(ledger)
    found: dict[str, Any] = {"runs": run_rows(jobs)}
    if "predictions" in named:
        files, faults = forecast_files(ledger, jobs, settings.models)
        found |= {"predictions": files, "faults": faults}
    if "attempts" in named:
        found["attempts"] = list(attempt_rows(ledger, jobs))
    if "epochs" in named:
        with TelemetryReader(settings.telemetry_path) as telemetry:
            found["epochs"] = [
                {"job": job.name, **asdict(row), "at": from_epoch_s(row.at).isoformat(sep=" ")}
                for job in jobs
                for row in (telemetry.epochs(job.id) if job.attempts else ())
            ]
    return found


def ask(module: str, asked: dict[str, Any], interpreter: str, *, within_s: float) -> bytes:
    """Give *asked* to `python -m module` as JSON; return what it said, whose first line is JSON as well.

    Raises:
        Refused: with the words of the line {"refused": words}, or because it took too long or too much memory.
        CbiError: when it cannot be started, or fails.
    """
    env = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")}
    command, pipe = [interpreter, "-P", "-m", module], subprocess.PIPE
    with tempfile.TemporaryFile() as question:
        question.write(json.dumps(asked, default=str).encode())
        question.seek(0)
        try:
            child = subprocess.Popen(command, stdin=question, stdout=pipe, stderr=pipe, env=env)
        except OSError as exc:
            raise CbiError(f"cannot read the results: {interpreter} cannot be started: {exc.strerror}") from exc
    until = monotonic_s() + within_s
    try:
        while True:
            try:
                said, complaint = child.communicate(timeout=POLL_S)
                break
            except subprocess.TimeoutExpired:
                _check(child.pid, until, within_s)
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode != 0:
        raise CbiError(f"cannot read the results: {ending_words(child.returncode, complaint.decode(errors='replace'))}")
    if said.startswith(b'{"refused"'):
        raise Refused(json.loads(said)["refused"])
    return bytes(said)


def _check(pid: int, until: float, within_s: float) -> None:
    if monotonic_s() > until:
        raise Refused(f"it took longer than {within_s:.0f} s and was ended", hint="ask for fewer rows")
    with contextlib.suppress(psutil.Error):
        held = psutil.Process(pid).memory_info().rss / 2**20
        if held > MOST_MIB:
            raise Refused(
                f"it took {held:,.0f} MiB of memory and was ended; at most {MOST_MIB:,.0f} are allowed",
                hint="ask for fewer rows or columns",
            )

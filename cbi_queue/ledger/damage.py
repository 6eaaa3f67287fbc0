"""Whether the results of finished runs are still what they were, and the mark in the row of a job whose run is not.

A run is checked against its manifest (every file's size and SHA-256) and the manifest against the ledger: whose
signature it bears, and which metrics the ledger recorded when the run ended. Nothing is repaired or removed.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.artifacts import faults, open_manifest, unnamed_files
from cbi_queue.errors import Refused
from cbi_queue.ledger.queries import find_job
from cbi_queue.ledger.rows import FINISHED, JobRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cbi_queue.artifacts import Manifest
    from cbi_queue.ledger.ledger import Ledger

DAMAGED, INTACT = "damaged", "intact"
"""Names of the events: a run was found damaged, or whole again after that."""
_FAULTS_TOLD = 3
SAMPLED = 10
"""Runs of a sample, for `doctor`."""


@dataclass(frozen=True, slots=True)
class RunCheck:
    """What a check of one run folder found."""

    job_id: int
    name: str
    run_dir: str
    damage: str | None
    """What is wrong, in words; None: the run is what it was."""
    remark: str | None
    """What else lies in the folder, in words: no part of the result."""
    files: int
    bytes: int
    """Of the files that the manifest names."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a look at a few runs found."""

    finished: int
    """How many runs there are."""
    marked: int
    """How many of all jobs are marked as damaged."""
    checks: tuple[RunCheck, ...]


def finished_runs(ledger: Ledger, names: Sequence[str] = ()) -> list[int]:
    """Return the numbers of the jobs *names* (none: of all) that left a run folder, oldest first.

    Raises:
        UnknownJob: for a name that no job has.
        Refused: for a job that has no finished run.
    """
    if not names:
        sql = "SELECT id FROM jobs WHERE state IN (?, ?) AND run_dir IS NOT NULL ORDER BY id"
        return [row["id"] for row in ledger.conn.execute(sql, FINISHED)]
    jobs = [find_job(ledger, name) for name in names]
    for job in jobs:
        if job.state not in FINISHED or job.run_dir is None:
            allowed = " or ".join(FINISHED)
            raise Refused(
                f"cannot verify job {job.id} {job.name}: it is {job.state}; only a job that {allowed} has a run"
            )
    return list(dict.fromkeys(job.id for job in jobs))


def check_runs(ledger: Ledger, job_ids: Sequence[int], models: Path) -> Iterator[RunCheck]:
    """Check the run folder of each job in turn; a job that is no longer finished is left out.

    A folder that is not where the ledger has it is looked for below *models*: the data may have been moved.
    """
    ledger_id = ledger.ledger_id
    for job_id in job_ids:
        row = ledger.conn.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        job = JobRow.of(row) if row else None
        if job is not None and job.state in FINISHED and job.run_dir is not None:
            yield check_run(ledger_id, job, run_folder(job.run_dir, models))


def run_folder(recorded: str, models: Path) -> Path:
    """Return where a run folder is: as recorded, else at the same place below *models* (local, shelf, name)."""
    moved = models.joinpath(*Path(recorded).parts[-3:])
    return moved if not os.path.lexists(recorded) and moved.is_dir() else Path(recorded)


def folder_inside(recorded: str, models: Path) -> tuple[Path | None, str]:
    """Return where a run folder is and "", or None and why it is not read: what is shown lies below *models*."""
    folder = run_folder(recorded, models)
    if folder.resolve().is_relative_to(models.resolve()):
        return folder, ""
    return None, f"the run folder {recorded} lies outside {models} and is not read"


def check_run(ledger_id: str, job: JobRow, run_dir: Path) -> RunCheck:
    """Check one run folder against its manifest, and the manifest against the ledger's row."""
    manifest, damage = open_manifest(run_dir)
    if manifest is None:
        return RunCheck(job.id, job.name, str(run_dir), damage, remark=None, files=0, bytes=0)
    found = faults(run_dir, manifest)
    if (manifest.ledger_id, manifest.job_id, manifest.identity) != (ledger_id, job.id, job.identity):
        found.insert(0, "its manifest is signed by another job or ledger")
    elif not 1 <= manifest.attempt <= job.attempts:
        found.insert(0, f"its manifest is signed by attempt {manifest.attempt}, of which the ledger knows nothing")
    elif manifest.metrics != (job.metrics or {}):
        found.insert(0, "its manifest has other metrics than the ledger recorded when the run ended")
    extra = unnamed_files(run_dir, manifest)
    return RunCheck(
        job.id,
        job.name,
        str(run_dir),
        damage=_joined(found) if found else None,
        remark=f"not part of the result, and not checked: {_joined(extra, ', ')}" if extra else None,
        files=len(manifest.files),
        bytes=_bytes_of(manifest),
    )


def sample_runs(ledger: Ledger, models: Path, most_bytes: int) -> Sample:
    """Check up to `SAMPLED` finished runs that are not marked yet, chosen anew each time; they are marked by `verify`.

    Args:
        ledger: open for reading.
        models: where run folders are, see `check_runs`.
        most_bytes: what the files of all of them may have together; a larger run is left out.
    """
    marked = int(ledger.conn.execute("SELECT COUNT(*) FROM jobs WHERE damage IS NOT NULL").fetchone()[0])
    finished = finished_runs(ledger)
    checks: list[RunCheck] = []
    for number in random.sample(finished, min(SAMPLED, len(finished))):
        row = ledger.conn.execute("SELECT * FROM jobs WHERE id = ? AND damage IS NULL", (number,)).fetchone()
        if row is None:
            continue
        job = JobRow.of(row)
        run_dir = run_folder(str(job.run_dir), models)
        manifest, _ = open_manifest(run_dir)
        if _bytes_of(manifest) > most_bytes:
            continue
        most_bytes -= _bytes_of(manifest)
        checks.append(check_run(ledger.ledger_id, job, run_dir))
    return Sample(len(finished), marked, tuple(checks))


def _bytes_of(manifest: Manifest | None) -> int:
    return sum(max(0, entry["bytes"]) for entry in manifest.files.values()) if manifest else 0


def _joined(words: Sequence[str], between: str = "; ") -> str:
    more = len(words) - _FAULTS_TOLD
    return between.join(words[:_FAULTS_TOLD]) + (f"{between}and {more} more" if more > 0 else "")


def record_check(ledger: Ledger, check: RunCheck) -> None:
    """Mark the job's row with what a check found, with an event when that changed.

    A job that was queued again meanwhile is left alone: its folder is being written.
    """
    with ledger.write() as conn:
        changed = conn.execute(
            "UPDATE jobs SET damage = ?1 WHERE id = ?2 AND damage IS NOT ?1 AND state IN (?3, ?4)",
            (check.damage, check.job_id, *FINISHED),
        )
        if changed.rowcount:
            event = INTACT if check.damage is None else DAMAGED
            ledger.add_event(event, "verify", job_id=check.job_id, words=check.damage or "every file is whole again")

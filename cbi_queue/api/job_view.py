"""What a job's page shows: its row, attempts, log, result, story, files, and the verbs that apply. Read-only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.artifacts import open_manifest
from cbi_queue.ledger import queries
from cbi_queue.ledger.damage import folder_inside
from cbi_queue.lifecycle import REASON_WORDS, JobState
from cbi_queue.models.catalogue import entry_for
from cbi_queue.models.kinds import Family
from cbi_queue.regular_files import plain_words
from cbi_queue.tracking.reading import LOOK_AT, TrackingFailed, look_command, place_of
from cbi_queue.tracking.runs import key_of
from cbi_queue.views.explanation import (
    contribution_rows,
    contribution_words,
    explanation_of,
    importance_rows,
    importance_words,
    luck_words,
)
from cbi_queue.views.forecast import BESIDE, LATEST, folder_of, read_latest
from cbi_queue.views.job_curves import paused_s
from cbi_queue.views.job_words import JobWords, params_shown
from cbi_queue.views.leaderboard import may_differ, verdicts_of
from cbi_queue.views.log_part import last_part
from cbi_queue.views.result_table import SCORE_COLUMNS, result_lines, score_rows, size_words
from cbi_queue.views.snapshot import daemon_status, open_snapshot
from cbi_queue.views.stored_values import number_of, object_of
from cbi_queue.views.story import history_of, story_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.ledger import AttemptRow, EventRow, JobRow
    from cbi_queue.settings import Settings
    from cbi_queue.telemetry.telemetry import EpochRow
    from cbi_queue.tracking.reading import Place
    from cbi_queue.views.log_part import LogPart
    from cbi_queue.views.snapshot import DaemonStatus
    from cbi_queue.views.story import Line

LOG_LINES = 200
STORY_EPOCHS = 5_000
"""Epochs up to which the page tells the story: it reads all of them, at each refresh."""
STORY_LINES = 200
ATTEMPTS_SHOWN = 100
FILES_SHOWN = 200


@dataclass(frozen=True, slots=True)
class AttemptShown:
    """One row of the table of attempts."""

    row: AttemptRow
    worked_s: float
    """Seconds in the slot, pauses excluded."""
    paused_s: float
    ended: str


@dataclass(frozen=True, slots=True)
class ResultShown:
    """What the run left."""

    columns: tuple[str, ...]
    scores: Sequence[tuple[str, ...]]
    lines: Sequence[str]
    verdicts: Sequence[Any]
    luck: str | None
    may_differ: Sequence[str]
    importance: Sequence[tuple[str, ...]]
    contributions: Sequence[tuple[str, ...]]
    explained: Sequence[str]
    """What is to be said about both, or why there is neither."""


@dataclass(frozen=True, slots=True)
class JobView:
    """Everything that the template needs."""

    at: float
    job: JobRow
    why: str
    left: str | None
    """Why it does not go on although it is in the slot; None: it does, or it is not there."""
    verbs: frozenset[str]
    params: Sequence[tuple[str, str, bool]]
    """Name, value, and True for a default."""
    attempts: Sequence[AttemptShown]
    last_epoch: EpochRow | None
    """The newest report of the attempt that runs."""
    plot_version: int | None
    """Changes when the plot may; None: there is nothing to draw."""
    log: LogPart | None
    log_attempt: int
    log_missing: str | None
    story: Sequence[Line]
    story_left_out: str | None
    result: ResultShown | None
    files: Sequence[tuple[str, str]]
    """Path and size of each file that the manifest names."""
    files_fault: str | None
    has_forecasts: bool
    tracked: Place | None
    """Where it is in MLflow's store; None: it is not there."""
    look: str
    """The command that shows the store, at `look_at`."""
    look_at: str
    forecast_files: Sequence[str]
    """Files of the newest forecast of its data set, if this run made a part of it."""


def job_view(settings: Settings, name: str) -> JobView:
    """Read everything that the page of one job shows.

    Raises:
        UnknownJob: with similar names.
        LedgerError: when the ledger cannot be read.
    """
    now = clock.epoch_s()
    with open_snapshot(settings) as (ledger, telemetry):
        job = queries.find_job(ledger, name)
        attempts, events = queries.attempts_of(ledger, job.id), queries.events_of(ledger, job.id)
        needs = {job.id: queries.needs_of(ledger).get(job.id, [])}
        rows = [job, *(queries.job_numbered(ledger, number) for number in needs[job.id])]
        why = JobWords(ledger, rows, needs).why(job)
        span = telemetry.epoch_span(job.id)
        last = telemetry.epochs(job.id, last=1)
        is_told = span is None or span[0] <= STORY_EPOCHS
        story = story_of(history_of(ledger, telemetry, name)) if is_told else []
        ledger_id = ledger.ledger_id
    number, log, log_missing = _log(settings, attempts)
    files, fault = _files(job, ledger_id, settings.models)
    left_out = f"{span[0]:,} epochs are recorded, too many to tell here" if span and not is_told else None
    return JobView(
        at=now,
        job=job,
        why=why or REASON_WORDS[job.reason],
        left=_left(daemon_status(settings)) if job.state.is_in_slot else None,
        verbs=verbs_of(job),
        params=_params(job),
        attempts=[_attempt(row, events, now) for row in attempts[-ATTEMPTS_SHOWN:]],
        last_epoch=last[0] if last and job.state.is_in_slot and last[0].attempt == job.attempts else None,
        plot_version=int(attempts[-1].ended_at or now) // 10 if attempts else None,
        log=log,
        log_attempt=number,
        log_missing=log_missing,
        story=story[-STORY_LINES:],
        story_left_out=left_out,
        result=_result(job, settings.models) if job.metrics else None,
        files=files[:FILES_SHOWN],
        files_fault=fault,
        has_forecasts=any(path == "predictions.parquet" for path, _ in files),
        tracked=_tracked(settings, job, ledger_id),
        look=look_command(settings),
        look_at=LOOK_AT,
        forecast_files=forecast_files(settings, job),
    )


def _left(daemon: DaemonStatus) -> str | None:
    if daemon.is_stopped:
        return f"The daemon is {daemon.words}."
    return None if daemon.is_running else "No daemon is running; it resumes from its last checkpoint when one starts."


def verbs_of(job: JobRow) -> frozenset[str]:
    """Return the verbs that change *job* as it is now."""
    state = job.state
    is_live = not state.is_final
    return frozenset(
        verb
        for verb, applies in (
            ("cancel", is_live and job.cancel_requested_at is None),
            ("hold", state in {JobState.QUEUED, JobState.WAITING}),
            ("release", state is JobState.HELD),
            ("retry", state in {JobState.FAILED, JobState.VETOED, JobState.CANCELLED} or job.damage is not None),
            ("accept", state is JobState.VETOED),
            ("priority", is_live),
        )
        if applies
    )


def _params(job: JobRow) -> list[tuple[str, str, bool]]:
    entry = entry_for(job.family, job.model)
    defaults = entry.params().model_dump(mode="json") if entry else {}
    given = object_of(job.spec.get("params"))
    return [(key, words, key in defaults and defaults[key] == given[key]) for key, words in params_shown(job).items()]


def _attempt(row: AttemptRow, events: Sequence[EventRow], now: float) -> AttemptShown:
    end = row.ended_at or now
    paused = paused_s(events, row.started_at, end)
    return AttemptShown(
        row, max(0.0, (row.slot_s or end - row.started_at) - paused), paused, row.outcome or "in the slot"
    )


def _result(job: JobRow, models: Path) -> ResultShown:
    metrics = object_of(job.metrics)
    told = explanation_of(job, models)
    price = number_of(object_of(metrics.get("forecast")).get("price"))
    if told.missing:
        said = [] if job.family == Family.SCRIPT else [told.missing]
    else:
        said = [importance_words(told.found), contribution_words(told.found)]
    return ResultShown(
        columns=tuple(column.lstrip("?>") for column in SCORE_COLUMNS),
        scores=score_rows(job),
        lines=[line for line in result_lines(job) if not line.startswith("Verdict, ")],
        verdicts=verdicts_of(metrics),
        luck=luck_words(job) if isinstance(metrics.get("backtest"), dict) else None,
        may_differ=may_differ(job),
        importance=importance_rows(told.found),
        contributions=contribution_rows(told.found, price),
        explained=[words for words in said if words],
    )


def _files(job: JobRow, ledger_id: str, models: Path) -> tuple[list[tuple[str, str]], str | None]:
    if job.run_dir is None:
        return [], None
    folder, why = folder_inside(job.run_dir, models)
    manifest, why = open_manifest(folder) if folder else (None, why)
    if manifest is None:
        return [], why if job.state in {JobState.SUCCEEDED, JobState.VETOED} else None
    if (manifest.ledger_id, manifest.job_id, manifest.identity) != (ledger_id, job.id, job.identity):
        return [], "the run folder belongs to another job now"
    return [(name, size_words(entry["bytes"])) for name, entry in sorted(manifest.files.items())], None


def _tracked(settings: Settings, job: JobRow, ledger_id: str) -> Place | None:
    if not job.state.is_final or not job.attempts:
        return None
    try:
        return place_of(settings, key_of(ledger_id, job.id, job.attempts))
    except TrackingFailed:
        return None  # the strip of the status page says why


def forecast_files(settings: Settings, job: JobRow) -> tuple[str, ...]:
    """Return the names of the newest forecast's files in its folder, if this run made a part of it; else none."""
    latest = read_latest(settings.logs, job.dataset)
    if latest is None or not any(
        isinstance(each, dict) and (each.get("job_id"), each.get("job")) == (job.id, job.name)
        for kind in ("forecasts", *BESIDE)
        for each in latest[kind]
    ):
        return ()
    folder, day = folder_of(settings.logs, job.dataset), str(latest.get("day"))
    names = (f"{day}.parquet", LATEST) if re.fullmatch(r"\d{4}-\d\d-\d\d", day) else (LATEST,)
    return tuple(name for name in names if (folder / name).is_file())


def log_path(settings: Settings, attempts: Sequence[AttemptRow], number: int) -> Path | str:
    """Return the log of an attempt, or why it is not shown: only files below the folder of training logs are."""
    path = next((Path(row.log_path) for row in attempts if row.number == number and row.log_path), None)
    if path is None:
        return "no attempt has written a log yet" if not number else f"attempt {number} has no log"
    resolved = path.resolve()
    if not resolved.is_relative_to(settings.training_log_dir.resolve()):
        return f"the log of attempt {number} lies outside {settings.training_log_dir} and is not shown"
    return resolved


def newest_log(attempts: Sequence[AttemptRow]) -> int:
    """Return the number of the newest attempt with a log; 0 when there is none."""
    return max((row.number for row in attempts if row.log_path), default=0)


def _log(settings: Settings, attempts: Sequence[AttemptRow]) -> tuple[int, LogPart | None, str | None]:
    number = newest_log(attempts)
    path = log_path(settings, attempts, number)
    if isinstance(path, str):
        return number, None, path
    try:
        return number, last_part(path, LOG_LINES), None
    except OSError as exc:
        return number, None, f"the log cannot be read: {plain_words(exc)}"

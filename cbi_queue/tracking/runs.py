"""What MLflow is told of a run: parameters, epochs, scores, tags and the files of its folder. Read-only; knows no MLflow.

One run is one end of a job: a job that failed and was retried by hand is two runs. It is known by its key, the ledger's
identity with the job's number and its last attempt, so it is never written twice.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import open_manifest
from cbi_queue.ledger import queries
from cbi_queue.lifecycle import REASON_WORDS, JobState
from cbi_queue.models.kinds import Family
from cbi_queue.regular_files import read_text
from cbi_queue.views.job_words import result_words
from cbi_queue.views.project_board import project_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.telemetry.governor_log import DecisionRow
    from cbi_queue.telemetry.reader import TelemetryReader
    from cbi_queue.telemetry.telemetry import EpochRow

MOST_EPOCHS = 2_000
"""Epochs of a run that are written; of a longer one every k-th, the best and the last. A screen shows no more."""
STATUS = {
    JobState.SUCCEEDED: "FINISHED", JobState.VETOED: "FAILED", JobState.FAILED: "FAILED", JobState.CANCELLED: "KILLED",
}  # fmt: skip
"""How a job ended -> MLflow's status. A vetoed run is failed there: sorted by a score, it must not stand on top."""
LONGEST_TAG, LONGEST_PARAM, LONGEST_KEY = 4_000, 5_000, 240
"""Characters; MLflow takes 8,000, 6,000 and 250."""
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_. -]")
_LOSSES = ("train_loss", "validation_loss")


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A job that ended after at least one attempt, as far as it takes to see whether it is tracked."""

    job_id: int
    key: str
    version: str
    """Changes when what is told of the run changes: its state, a mark of damage."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as it is written."""

    key: str
    version: str
    experiment: str
    name: str
    status: str
    started_ms: int
    ended_ms: int
    params: dict[str, str]
    metrics: dict[str, float]
    """Scores of the whole run."""
    epochs: tuple[EpochRow, ...]
    tags: dict[str, str]
    folder: Path | None
    files: dict[str, int] = field(default_factory=dict)
    """Path below the run folder -> bytes, as the manifest names them."""
    story: dict[str, Any] = field(default_factory=dict)
    """Spec, verdicts, attempts, events, decisions and slow-downs, for a file of its own."""


def ended_runs(ledger: Ledger) -> list[EndedRun]:
    """Return every run of the ledger, oldest first."""
    sql = """
        SELECT id, attempts, state, changed_at, damage IS NOT NULL AS is_damaged FROM jobs
        WHERE ended_at IS NOT NULL AND attempts > 0 ORDER BY ended_at, id
    """
    ledger_id = ledger.ledger_id
    return [
        EndedRun(
            row["id"],
            key_of(ledger_id, row["id"], row["attempts"]),
            f"{row['state']} {row['changed_at']:.3f}{' damaged' if row['is_damaged'] else ''}",
        )
        for row in ledger.conn.execute(sql)
    ]


def key_of(ledger_id: str, job_id: int, attempts: int) -> str:
    """Return the key of the run that a job's last attempt ended."""
    return f"{ledger_id}/{job_id}/{attempts}"


def record_of(ledger: Ledger, telemetry: TelemetryReader, run: EndedRun) -> RunRecord:
    """Read all that is told of *run*."""
    job = queries.job_numbered(ledger, run.job_id)
    attempts = queries.attempts_of(ledger, job.id)
    epochs, decisions = telemetry.epochs(job.id), telemetry.decisions(job.id)
    curve = thinned(_of_last_attempt(epochs))
    folder, files, why_none = _files(ledger, job)
    found = job.metrics or {}
    tags = {
        **_tags(job, found),
        "governor": governor_words(decisions),
        "batch changes": batch_words(_of_last_attempt(epochs), job),
        "not finite": _not_finite(epochs),
        "epochs written": f"{len(curve)} of {len(_of_last_attempt(epochs))}" if len(curve) < len(epochs) else "",
        "error": next((each.error for each in reversed(attempts) if each.error), "") or "",
        "no files": why_none,
        "run folder": str(folder or ""),
        **_code(folder if "training_hash.txt" in files else None),
    }
    return RunRecord(
        key=run.key,
        version=run.version,
        experiment=project_of(job) or f"{job.dataset} {job.horizon}",
        name=job.name,
        status=STATUS[job.state],
        started_ms=_ms(attempts[0].started_at),
        ended_ms=_ms(job.ended_at or job.changed_at),
        params=_params(job),
        metrics=dict(numbers({name: found[name] for name in found if name != "forecast"})),
        epochs=tuple(curve),
        tags={safe_key(name): _short(value, LONGEST_TAG) for name, value in tags.items() if value},
        folder=folder,
        files=files,
        story={
            "job": asdict(job),
            "attempts": [asdict(attempt) for attempt in attempts],
            "events": [asdict(event) for event in queries.events_of(ledger, job.id)],
            "decisions": [asdict(decision) for decision in decisions],
            "slowdowns": [asdict(slowdown) for slowdown in telemetry.slowdowns(job.id)],
        },
    )


def numbers(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Yield every finite number of nested JSON values with its place, such as `backtest/mape_pct`; lists are left out."""
    for name, value in values.items():
        key = before + safe_key(str(name))
        if isinstance(value, dict):
            yield from numbers(value, f"{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
            yield key[:LONGEST_KEY], float(value)


def thinned(epochs: Sequence[EpochRow]) -> list[EpochRow]:
    """Return at most about `MOST_EPOCHS` of *epochs*: every k-th, the best by validation and the last."""
    every = math.ceil(len(epochs) / MOST_EPOCHS)
    if every <= 1:
        return list(epochs)
    judged = [at for at, row in enumerate(epochs) if row.validation_loss is not None]
    best = min(judged, key=lambda at: epochs[at].validation_loss or 0.0, default=0)
    kept = sorted({*range(0, len(epochs), every), best, len(epochs) - 1})
    return [epochs[at] for at in kept]


def governor_words(decisions: Iterable[DecisionRow]) -> str:
    """Return how often the governor did what, most frequent first: `paced 3 times, paused once`; empty: no step."""
    counts = Counter(f"{row.action} ({row.cause})" for row in decisions if row.is_step)
    return ", ".join(f"{what} {'once' if count == 1 else f'{count} times'}" for what, count in counts.most_common())


def batch_words(epochs: Sequence[EpochRow], job: JobRow) -> str:
    """Return how the micro-batch changed: `64, 32 from epoch 12`; empty where it never did."""
    changes: list[str] = []
    before: int | None = None
    for row in epochs:
        if row.micro_batch is not None and row.micro_batch != before:
            changes.append(f"{row.micro_batch} from {row.unit} {row.epoch}" if changes else str(row.micro_batch))
            before = row.micro_batch
    limit = f"at most {job.micro_batch}, after running out of memory or by admission" if job.micro_batch else ""
    return "; ".join(filter(None, (", ".join(changes) if len(changes) > 1 else "", limit)))


def safe_key(name: str) -> str:
    """Return *name* as MLflow takes it for a key: what it refuses becomes `_`."""
    safe = _NOT_IN_KEYS.sub("_", name).strip() or "_"
    return ("_" + safe if safe.startswith(".") else safe)[:LONGEST_KEY]


def _of_last_attempt(epochs: Iterable[EpochRow]) -> list[EpochRow]:
    """Return one row an epoch, in order: of an epoch that was trained again, the later attempt's."""
    latest = {row.epoch: row for row in epochs}
    return [latest[epoch] for epoch in sorted(latest)]


def _tags(job: JobRow, found: Mapping[str, Any]) -> dict[str, str]:
    verdicts = found.get("verdicts")
    return {
        "state": str(job.state),
        "why": job.veto or REASON_WORDS[job.reason],
        "accepted": "yes, by the user" if job.veto and job.state is JobState.SUCCEEDED else "",
        "damage": job.damage or "",
        "verdicts": _verdict_words(verdicts) if isinstance(verdicts, list) else "",
        "skill": skill_words(found),
        **_read_by(job),
        "scheme": str(found.get("scheme", "")),
        "may differ": "; ".join(map(str, found.get("may_differ", ()))),
        "job": f"{job.id} {job.name}",
        "day": str(job.day),
        "mlflow.source.name": f"cbi-queue show {job.name}",
        "mlflow.source.type": "JOB",
        "mlflow.note.content": skill_words(found),
    }


def _read_by(job: JobRow) -> dict[str, str]:
    if job.family == Family.SCRIPT:
        return {"project": project_of(job) or "", "code and inputs": job.snapshot or "not recorded"}
    return {"data set": job.dataset, "snapshot": job.snapshot or "not recorded"}


def skill_words(found: Mapping[str, Any]) -> str:
    """Return the backtest's skill with its interval, and whether luck explains it; empty where none was scored."""
    backtest = found.get("backtest")
    if not isinstance(backtest, dict):
        return ""
    skill, low, high = (backtest.get(key) for key in ("skill_mae", "skill_low", "skill_high"))
    words = result_words(skill, low, high)
    if words is None:
        return ""
    if not (isinstance(low, int | float) and isinstance(high, int | float)):
        return f"backtest {words}: too few independent periods to tell it apart from naive"
    told = "worse than naive" if high < 0 else "not told apart from naive"
    if low > 0:  # which of many models luck explains, the board says
        told = "better than naive, taken alone"
    return f"backtest {words}: {told}"


def _verdict_words(verdicts: list[Any]) -> str:
    said = (each for each in verdicts if isinstance(each, dict))
    return "; ".join(f"{each.get('level')}: {each.get('name')}: {each.get('evidence')}" for each in said)


def _params(job: JobRow) -> dict[str, str]:
    params = job.spec.get("params")
    named = {"model": job.model, "family": job.family, "backend": job.backend, "horizon": job.horizon}
    if job.family == Family.SCRIPT and isinstance(params, dict):  # its own parameters, as it calls them
        del named["horizon"]
        values, command = params.get("values") or {}, params.get("command") or ()
        params = {"workdir": params.get("workdir"), **values, "command": shlex.join(map(str, command))}
    given = {safe_key(str(name)): str(value) for name, value in params.items()} if isinstance(params, dict) else {}
    return {name: _short(value, LONGEST_PARAM) for name, value in {**given, **named}.items()}


def _files(ledger: Ledger, job: JobRow) -> tuple[Path | None, dict[str, int], str]:
    """Return the run folder, its files with their sizes, and why there are none."""
    if not job.run_dir:
        return None, {}, ""
    folder = Path(job.run_dir)
    if job.state not in {JobState.SUCCEEDED, JobState.VETOED}:
        return folder, {}, ""
    manifest, why = open_manifest(folder)
    if manifest is None:
        return folder, {}, why
    if (manifest.ledger_id, manifest.job_id) != (ledger.ledger_id, job.id):
        return folder, {}, "the run folder belongs to another job now"
    return folder, {name: int(entry["bytes"]) for name, entry in manifest.files.items()}, ""


def _code(folder: Path | None) -> dict[str, str]:
    """Return which code trained the run, as the run wrote it down."""
    if folder is None:
        return {}
    try:
        first = read_text(folder / "training_hash.txt").partition("\n")[0]
    except (OSError, ValueError):
        return {}
    version = first.removeprefix("code ")
    commit = version.removeprefix("commit ") if version.startswith("commit ") else ""
    return {"code": version, "mlflow.source.git.commit": commit.removesuffix("-dirty")}


def _not_finite(epochs: Iterable[EpochRow]) -> str:
    found = [f"{name} of {row.unit} {row.epoch}" for row in epochs for name in _LOSSES if _is_infinite(row, name)]
    return f"{len(found)} values, first {found[0]}" if found else ""


def _is_infinite(row: EpochRow, name: str) -> bool:
    value = getattr(row, name)
    return value is not None and not _is_finite(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond float64
        return False


def _ms(at: float) -> int:
    return round(at * 1000)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 2]} …"

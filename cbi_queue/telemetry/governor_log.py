"""What the governor saw, made of it and decided, in the telemetry file: samples, slow-downs, decisions, its standing.

Written by the slot, read by `governor status|history|why` and the page; its memory is read by the next daemon. Samples
are thinned as they age: all of the last hours, one a minute for a week, one every ten minutes after that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.telemetry.telemetry import select

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.governor.values import Attribution, Decision, Slowdown
    from cbi_queue.telemetry.telemetry import Telemetry

HOUR_S, DAY_S = 3_600.0, 86_400.0
THINNING: tuple[tuple[float, float], ...] = ((6 * HOUR_S, 60.0), (7 * DAY_S, 600.0))
"""Age of a sample in seconds -> seconds of which only the first sample stays."""


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One decision of the governor."""

    id: int
    at: float
    job_id: int | None
    attempt: int | None
    epoch: int | None
    """Finished epochs when it was taken."""
    action: str
    cause: str
    words: str
    value: float | None
    upward: bool
    undo: bool
    acted: bool
    """False when the governor only watches."""
    figures: dict[str, float]
    carried: bool = False
    """True when it only told a trainer the pace that was in force already: no step."""

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> DecisionRow:
        """Read a row of `SELECT * FROM decisions`; one of an earlier version ends before `carried`."""
        values = dict(zip(cls.__slots__, row, strict=False))
        flags = {name: bool(values.get(name)) for name in ("upward", "undo", "acted", "carried")}
        return cls(**{**values, **flags, "figures": json.loads(values["figures"])})


@dataclass(frozen=True, slots=True)
class SlowdownRow:
    """One stretch of slow work, with the cause that the evidence spoke for last."""

    job_id: int
    attempt: int
    since_epoch: int
    """First slow epoch, 1-based, as reports count."""
    at: float
    """When it was noticed."""
    detected_epoch: int
    ended_epoch: int | None
    factor: float
    confidence: float
    cause: str
    evidence: tuple[str, ...]

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> SlowdownRow:
        """Read a row of `SELECT * FROM slowdowns`."""
        values = dict(zip(cls.__slots__, row, strict=True))
        return cls(**{**values, "evidence": tuple(json.loads(values["evidence"]))})


def record_sample(telemetry: Telemetry, job_id: int | None, readings: dict[str, Any]) -> None:
    """Add what the sensors say now, as plain JSON values."""
    body = json.dumps(readings, separators=(",", ":"))
    telemetry.write("INSERT OR REPLACE INTO samples VALUES (?, ?, ?)", (clock.epoch_s(), job_id, body))


def record_decision(
    telemetry: Telemetry, decision: Decision, *, job_id: int | None, attempt: int | None, epoch: int | None, acted: bool
) -> None:
    """Add a decision, and whether it was carried out."""
    values = (
        clock.epoch_s(), job_id, attempt, epoch, decision.action, decision.cause, decision.words, decision.value,
        int(decision.upward), int(decision.undo), int(acted), json.dumps(decision.figures), int(decision.carried),
    )  # fmt: skip
    telemetry.write("INSERT INTO decisions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def record_slowdown(
    telemetry: Telemetry, slowdown: Slowdown, attribution: Attribution | None, *, job_id: int, attempt: int
) -> None:
    """Add a slow-down, or bring the one that began with the same epoch up to date."""
    ended = slowdown.ended_epoch
    values = (
        job_id, attempt, slowdown.since_epoch + 1, clock.epoch_s(), slowdown.detected_epoch + 1,
        None if ended is None else ended + 1, slowdown.factor, slowdown.confidence,
        attribution.cause if attribution else "unknown", json.dumps(attribution.evidence if attribution else ()),
    )  # fmt: skip
    telemetry.write(
        "INSERT INTO slowdowns VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET detected_epoch = "
        "excluded.detected_epoch, ended_epoch = excluded.ended_epoch, factor = excluded.factor, confidence = "
        "excluded.confidence, cause = excluded.cause, evidence = excluded.evidence",
        values,
    )


def record_standing(telemetry: Telemetry, standing: dict[str, Any]) -> None:
    """Replace what the governor thinks just now: what `governor status` shows."""
    telemetry.write("INSERT OR REPLACE INTO standing VALUES (1, ?, ?)", (clock.epoch_s(), json.dumps(standing)))


def record_memory(telemetry: Telemetry, record: str) -> None:
    """Replace the governor's memory, as `governor.state.record` writes it; at once, so that a killed daemon leaves it."""
    telemetry.write("INSERT OR REPLACE INTO governor_memory VALUES (1, ?, ?)", (clock.epoch_s(), record))
    telemetry.commit()


def thin_samples(telemetry: Telemetry, now: float) -> None:
    """Keep fewer of the old samples, as `THINNING` says."""
    for age_s, period_s in THINNING:
        telemetry.write(
            "DELETE FROM samples WHERE at < ? AND at NOT IN (SELECT MIN(at) FROM samples WHERE at < ? GROUP BY "
            "CAST(at / ? AS INTEGER))",
            (now - age_s, now - age_s, period_s),
        )
    telemetry.commit()


def decisions_of(path: Path, job_id: int | None = None, *, last: int | None = None) -> list[DecisionRow]:
    """Return the decisions of a job (or all), oldest first."""
    sql = "SELECT * FROM decisions WHERE ? IS NULL OR job_id = ? ORDER BY id DESC LIMIT ?"
    rows = select(path, sql, (job_id, job_id, -1 if last is None else last))
    return [DecisionRow.of(row) for row in reversed(rows)]


def slowdowns_of(path: Path, job_id: int) -> list[SlowdownRow]:
    """Return the slow-downs of a job, oldest first."""
    rows = select(path, "SELECT * FROM slowdowns WHERE job_id = ? ORDER BY attempt, since_epoch", (job_id,))
    return [SlowdownRow.of(row) for row in rows]


def last_standing(path: Path) -> tuple[float, dict[str, Any]] | None:
    """Return the instant and the content of what the governor last thought; None when it never did."""
    rows = select(path, "SELECT at, body FROM standing")
    return (rows[0][0], json.loads(rows[0][1])) if rows else None


def last_memory(path: Path) -> str | None:
    """Return the governor's memory as it was written last, unchecked; None when none ever was, or it cannot be read."""
    rows = select(path, "SELECT body FROM governor_memory")
    return str(rows[0][0]) if rows else None


def last_sample_at(path: Path, job_id: int) -> float | None:
    """Return the instant of the last sample that was taken while *job_id* was in the slot; None when there is none."""
    rows = select(path, "SELECT MAX(at) FROM samples WHERE job_id = ?", (job_id,))
    return rows[0][0] if rows else None


def samples_between(path: Path, begin: float, end: float) -> list[tuple[float, dict[str, Any]]]:
    """Return the samples of a stretch of time, oldest first."""
    rows = select(path, "SELECT at, readings FROM samples WHERE at BETWEEN ? AND ? ORDER BY at", (begin, end))
    return [(at, json.loads(body)) for at, body in rows]

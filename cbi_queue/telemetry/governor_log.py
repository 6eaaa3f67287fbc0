"""The governor's rows in the telemetry file: samples, slow-downs, decisions, its latest report and its saved state.

The daemon writes them. `governor status|history|why` and the page read them; the next daemon reads the saved state.
Samples are thinned with age: all of the last six hours, one a minute for a week, one every ten minutes after that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.governor.values import Action

if TYPE_CHECKING:
    from cbi_queue.governor.values import Attribution, Decision, Slowdown
    from cbi_queue.telemetry.telemetry import Telemetry

HOUR_S, DAY_S = 3_600.0, 86_400.0
THINNING: tuple[tuple[float, float], ...] = ((6 * HOUR_S, 60.0), (7 * DAY_S, 600.0))
"""Age of samples in seconds -> seconds for each of which one sample is kept."""


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
    """False in mode `watch`, and where it could not be carried out."""
    figures: dict[str, float]
    carried: bool = False
    """True when a new trainer was only given the pace that was in force already: no step."""

    @property
    def is_step(self) -> bool:
        """True when it changed how a trainer works: not for a probe, a note, or a pace that was carried over."""
        return self.acted and not self.carried and self.action not in {Action.PROBE, Action.TELL}

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> DecisionRow:
        """Read a row of `SELECT * FROM decisions`; a row of an earlier version lacks `carried`."""
        values = dict(zip(cls.__slots__, row, strict=False))
        flags = {name: bool(values.get(name)) for name in ("upward", "undo", "acted", "carried")}
        return cls(**{**values, **flags, "figures": json.loads(values["figures"])})


@dataclass(frozen=True, slots=True)
class SlowdownRow:
    """One stretch of slow work, with the cause that its evidence pointed to last."""

    job_id: int
    attempt: int
    since_epoch: int
    """First slow epoch, 1-based."""
    at: float
    """Instant at which it was noticed."""
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
    """Add the current readings, as plain JSON values."""
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
    """Add a slow-down, or update the one that began with the same epoch."""
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
    """Replace the governor's latest report, which `governor status` and the page show."""
    telemetry.write("INSERT OR REPLACE INTO standing VALUES (1, ?, ?)", (clock.epoch_s(), json.dumps(standing)))


def record_memory(telemetry: Telemetry, record: str) -> None:
    """Replace the governor's memory, as `governor.state.record` writes it; at once, so that a killed daemon leaves it."""
    telemetry.write("INSERT OR REPLACE INTO governor_memory VALUES (1, ?, ?)", (clock.epoch_s(), record))
    telemetry.commit()


def thin_samples(telemetry: Telemetry, now: float) -> None:
    """Delete most of the old samples, as `THINNING` states."""
    for age_s, period_s in THINNING:
        telemetry.write(
            "DELETE FROM samples WHERE at < ? AND at NOT IN (SELECT MIN(at) FROM samples WHERE at < ? GROUP BY "
            "CAST(at / ? AS INTEGER))",
            (now - age_s, now - age_s, period_s),
        )
    telemetry.commit()

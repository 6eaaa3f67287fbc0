"""What the governor reads, concludes and does, as the queue's snapshot shows it. Read-only.

The daemon reports every two seconds. A report older than `STALE_S` is not shown as the present: heat and memory are
then unknown. What was reported about another job is not shown for this one. All values are plain, because the
everyday verbs import this module and must start quickly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cbi_queue.views.stored_values import number_of, object_of, text_of, whole_of
from cbi_queue.wording import span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.ledger import JobRow
    from cbi_queue.telemetry.governor_log import DecisionRow
    from cbi_queue.telemetry.reader import TelemetryReader

STALE_S = 15.0
"""Seconds after which the daemon's last report is no longer shown as the present. It reports every two."""
AHEAD_S = 1.0
"""Seconds by which a report may lie in the future; more means that the clock was set back and its age is unknown."""
DECISIONS_SHOWN = 5
UNKNOWN = "unknown"
PAUSED = "is paused"
"""How the rung begins in words while the governor pauses the job."""
_PAUSED_FORMERLY = "stands still"
"""How a daemon that was started before an upgrade may still report it."""
LEFT_ALONE = {
    "heat": "heat: no pacing for another {1}, because a slower pace did not help",
    "heat level": "heat level: ignored for another {1}, because it did not follow the work",
    "memory": "memory: no steps for another {1} or until it has eased, because making room did not help",
}
OTHERS_LEFT_ALONE = "{0}: no steps for another {1}, because the last one did not help"


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One decision of the governor, in words."""

    at: float
    job: str | None
    """Name of the job; None when it was taken between jobs, or the job is no longer in the ledger."""
    epoch: int | None
    """Finished epochs when it was taken."""
    action: str
    cause: str
    words: str
    acted: bool
    """False in mode `watch`, and where it could not be carried out."""
    carried: bool = False
    """True when a new trainer was only given the pace that was in force already: no step."""


@dataclass(frozen=True, slots=True)
class GovernorStatus:
    """The governor now. None and `unknown` mean that a value is not known, never that all is well."""

    words: str
    """A summary in one line."""
    doing: str
    """What it does now: the rung, or why there is none."""
    is_stale: bool
    """True when there is no recent report: nothing below is known except `at`, `age_s` and `decisions`."""
    at: float | None = None
    """Instant of the daemon's last report; None when there is none."""
    age_s: float | None = None
    """Seconds since that instant; None also when it lies in the future."""
    mode: str | None = None
    """on | watch | off, of the daemon."""
    profile: str | None = None
    rung: str | None = None
    """The running job's rung on the ladder, in words; in mode `watch` the rung that it would have."""
    duty: float | None = None
    """Share of the time that the trainer may work, 0 to 1."""
    micro_batch: int | None = None
    factor: float | None = None
    """How many times as long a sample takes as on the cold machine; None when no slow-down was detected."""
    since_epoch: int | None = None
    """First slow epoch, 1-based."""
    confidence: float | None = None
    """Confidence that the work is slow, 0 to 1."""
    cause: str | None = None
    evidence: tuple[str, ...] = ()
    """What points to that cause, each a sentence."""
    heat: str = UNKNOWN
    """In words: `heavy, 97 °C`."""
    memory: str = UNKNOWN
    """In words: `5.6 of 24 GiB available`."""
    cost_share: float | None = None
    """Share of the last day that the governor's steps cost, 0 to 1."""
    left_alone: tuple[str, ...] = ()
    """What it does not act on for a while because a step did not help, each a sentence."""
    readings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Kind -> the reading as the daemon reported it, or `{"unknown": why}`; empty when nothing is known."""
    decisions: tuple[DecisionLine, ...] = ()
    """The last five, newest first."""

    @property
    def slowdown_words(self) -> str | None:
        """The current slow-down: by how much, since when, how sure, why; None when there is none."""
        return self._slow_words("" if self.confidence is None else f" ({self.confidence:.0%} sure)")

    @property
    def duty_in_force(self) -> float | None:
        """Share of the time that the running trainer works, above 0 and up to 1; None when not known."""
        if self.mode in {"watch", "off"}:
            return 1.0
        return self.duty if self.duty is not None and 0 < self.duty <= 1 else None

    @property
    def work_words(self) -> str | None:
        """How the running job is paced and slowed, to put after its name; None when it is neither."""
        paced = None
        if self.mode == "on" and self.duty is not None and 0 < self.duty < 1:
            paced = f"works {self.duty:.0%} of the time"
        return "; ".join(filter(None, (paced, self._slow_words()))) or None

    @property
    def pause_words(self) -> str:
        """That a job is paused, to put after its name; with the cause when the governor paused it."""
        is_by_governor = self.mode == "on" and self.rung is not None and self.rung.startswith(PAUSED)
        return str(self.rung) if is_by_governor else PAUSED

    def _slow_words(self, sure: str = "") -> str | None:
        if self.factor is None:
            return None
        return slowdown_words(self.factor, self.since_epoch, self.cause or UNKNOWN, sure)


def slowdown_words(factor: float, since_epoch: int | None, cause: str, note: str = "") -> str:
    """Describe a slow-down, with a *note* in parentheses (and a space before them) after the factor."""
    since = "" if since_epoch is None else f" since epoch {since_epoch}"
    return f"slow{since} by factor {factor:.2f}{note}, cause {cause.replace('_', ' ')}"


def take_governor_status(
    telemetry: TelemetryReader, job: JobRow | None, names: Mapping[int, str], now: float, *, daemon_runs: bool
) -> GovernorStatus:
    """Read what the governor last reported and decided.

    Args:
        telemetry: where the daemon reported it.
        job: the job in the slot.
        names: number -> name of the jobs in the ledger.
        now: the instant of the snapshot, seconds since 1970 UTC.
        daemon_runs: False when there is no governor now.
    """
    decisions = tuple(_decision(row, names) for row in reversed(telemetry.decisions(last=DECISIONS_SHOWN)))
    try:
        found = telemetry.last_standing()
    except ValueError:
        return _not_known("the daemon's last report cannot be read", decisions)
    if found is None:
        return _not_known("no daemon has reported yet", decisions)
    at, standing = found
    age_s = now - at
    why_not = _why_not(age_s, standing, daemon_runs=daemon_runs)
    if why_not:
        return _not_known(why_not, decisions, at, age_s)
    return _present(at, max(0.0, age_s), standing, job, decisions)


def left_alone_words(standing: dict[str, Any], age_s: float) -> tuple[str, ...]:
    """Return what the daemon does not act on for a while, and why, each a sentence.

    Args:
        standing: its last report.
        age_s: the age of that report.
    """
    reported = {what: number_of(left_s) for what, left_s in object_of(standing.get("left_alone_s")).items()}
    lefts = {what: left_s - age_s for what, left_s in reported.items() if left_s is not None and left_s > age_s}
    return tuple(LEFT_ALONE.get(what, OTHERS_LEFT_ALONE).format(what, span(left_s)) for what, left_s in lefts.items())


def _decision(row: DecisionRow, names: Mapping[int, str]) -> DecisionLine:
    job = names.get(row.job_id) if row.job_id is not None else None
    return DecisionLine(row.at, job, row.epoch, row.action, row.cause, row.words, row.acted, row.carried)


def _not_known(
    why: str, decisions: tuple[DecisionLine, ...], at: float | None = None, age_s: float | None = None
) -> GovernorStatus:
    return GovernorStatus(
        f"unknown: {why}",
        f"unknown: {why}",
        is_stale=True,
        at=at,
        age_s=None if age_s is None or age_s < -AHEAD_S else max(0.0, age_s),
        decisions=decisions,
    )


def _why_not(age_s: float, standing: object, *, daemon_runs: bool) -> str | None:
    """Return why the daemon's last report is not the present; None when it is."""
    if age_s < -AHEAD_S:
        return "the daemon's last report lies in the future: the clock was set back"
    if not daemon_runs:
        return f"no daemon is running; the last report is {span(age_s)} old"
    if age_s > STALE_S:
        return f"the daemon's last report is {span(age_s)} old"
    return None if isinstance(standing, dict) else "the daemon's last report cannot be read"


def _present(
    at: float, age_s: float, standing: dict[str, Any], job: JobRow | None, decisions: tuple[DecisionLine, ...]
) -> GovernorStatus:
    readings = {kind: _plain(reading) for kind, reading in object_of(standing.get("readings")).items()}
    heat, memory = _heat(readings.get("thermal", {})), _memory(readings.get("memory", {}))
    mode = str(standing.get("mode", UNKNOWN))
    is_of_job = job is not None and standing.get("job_id") == job.id
    work = _work(standing) if is_of_job else {}
    doing = _doing(mode, work.get("rung"), job)
    seen = GovernorStatus("", doing, is_stale=False, **work)
    available = memory if memory[:1].isdigit() else f"memory {memory}"
    parts = (doing, seen.slowdown_words, f"heat {heat}", available)
    return GovernorStatus(
        words=" · ".join(filter(None, parts)),
        doing=doing,
        is_stale=False,
        at=at,
        age_s=age_s,
        mode=mode,
        profile=text_of(standing.get("profile")),
        **work,
        heat=heat,
        memory=memory,
        cost_share=number_of(standing.get("cost_share")),
        left_alone=left_alone_words(standing, age_s),
        readings=readings,
        decisions=decisions,
    )


def _work(standing: dict[str, Any]) -> dict[str, Any]:
    """Return what the daemon reported about its job."""
    evidence, rung = standing.get("evidence"), text_of(standing.get("rung"))
    if rung is not None and rung.startswith(_PAUSED_FORMERLY):
        rung = PAUSED + rung.removeprefix(_PAUSED_FORMERLY)
    return {
        "rung": rung,
        "duty": number_of(standing.get("duty")),
        "micro_batch": whole_of(standing.get("micro_batch")),
        "factor": number_of(standing.get("factor")),
        "since_epoch": whole_of(standing.get("since_epoch")),
        "confidence": number_of(standing.get("confidence")),
        "cause": text_of(standing.get("cause")),
        "evidence": tuple(map(str, evidence)) if isinstance(evidence, list) else (),
    }


def _doing(mode: str, rung: str | None, job: JobRow | None) -> str:
    if mode == "off":
        return "off: records readings and decides nothing"
    if job is None:
        return "watch only, nothing is training" if mode == "watch" else "nothing is training"
    if rung is None:
        return "no report from the running job yet"
    if mode == "watch":
        return f"watch only (would be: {rung})"
    is_paused_by_others = job.state == "paused" and not rung.startswith(PAUSED)
    return f"{PAUSED}, not by the governor (otherwise: {rung})" if is_paused_by_others else rung


def _heat(reading: dict[str, Any]) -> str:
    temp_c, advisory = number_of(reading.get("temp_c")), reading.get("advisory")
    note = " (advisory)" if isinstance(advisory, list) and "temp_c" in advisory else ""
    parts = [
        text_of(reading.get("level")),
        None if temp_c is None else f"{temp_c:.0f} °C{note}",
        "slowed by heat now" if reading.get("throttled") is True else None,
    ]
    return ", ".join(filter(None, parts)) or ("not slowed by heat" if reading.get("throttled") is False else UNKNOWN)


def _memory(reading: dict[str, Any]) -> str:
    available, total = number_of(reading.get("available_mib")), number_of(reading.get("total_mib"))
    level = text_of(reading.get("level"))
    parts = [f"pressure {level}"] if level and (level != "normal" or available is None) else []
    if available is not None:
        of = "" if total is None else f" of {total / 1024:.0f}"
        parts.append(f"{available / 1024:.1f}{of} GiB available")
    return ", ".join(parts) or UNKNOWN


def _plain(reported: Any) -> dict[str, Any]:
    """Return the reading as it was reported; one that JSON cannot hold is unknown."""
    reading = object_of(reported)
    if not reading or any(isinstance(value, float) and not math.isfinite(value) for value in reading.values()):
        return {"unknown": "the daemon reported something that is not a reading"}
    return reading

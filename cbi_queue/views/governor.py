"""What the governor sees, thinks and does, as the queue's snapshot shows it. Only looks, at the telemetry file.

What the daemon wrote longer ago than `STALE_S` is told as old: then nothing of it is called the present, and heat and
memory are unknown. What was written about another job is not told of this one. All values are plain, because the
everyday verbs load this and must stay quick. Neighbours: `status` (which holds it), `ledger.governor_log` (the rows),
`api.governor_view` (the panel of the page).
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
"""Seconds after which what the daemon wrote last is no longer called the present. It writes every two."""
AHEAD_S = 1.0
"""Seconds by which it may lie in the future; more means that the clock was set back, and its age is not known."""
DECISIONS_SHOWN = 5
UNKNOWN = "unknown"
STANDS_STILL = "stands still"
"""How the rung begins in words while the governor holds the job."""
LEFT_ALONE = {
    "heat": "heat is not paced against for another {1}: a slower pace did not help",
    "heat level": "the heat level is not believed for another {1}: it did not follow the work",
    "memory": "memory is left alone for another {1}, or until it was clear: standing aside did not ease it",
}
OTHERS_LEFT_ALONE = "{0} is left alone for another {1}: a step against it did not help"


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One decision of the governor, in words."""

    at: float
    job: str | None
    """Name of the job; None: it was taken between jobs, or the job is forgotten."""
    epoch: int | None
    """Finished epochs when it was taken."""
    action: str
    cause: str
    words: str
    acted: bool
    """False when the governor only watched."""
    carried: bool = False
    """True when it only told a trainer the pace that was in force already: no step."""


@dataclass(frozen=True, slots=True)
class GovernorStatus:
    """The governor now. None, or `unknown`, is what nobody knows; it never means that all is well."""

    words: str
    """All of it in one line."""
    doing: str
    """What it does just now: the rung, or why there is none."""
    is_stale: bool
    """The daemon never wrote, or not lately: nothing below but `at`, `age_s` and `decisions` is known."""
    at: float | None = None
    """Instant at which the daemon wrote last; None: it never did."""
    age_s: float | None = None
    """Seconds since then; None also when that instant lies in the future."""
    mode: str | None = None
    """on | watch | off, of the daemon."""
    profile: str | None = None
    rung: str | None = None
    """Where the running job stands on the ladder, in words; in mode `watch` what it would be."""
    duty: float | None = None
    """Share of the time in which the trainer may work, 0 to 1."""
    micro_batch: int | None = None
    factor: float | None = None
    """By how much the work is slower than on the cold machine; None: no slow-down is seen."""
    since_epoch: int | None = None
    """First slow epoch, 1-based."""
    confidence: float | None = None
    """That it is slow, 0 to 1."""
    cause: str | None = None
    evidence: tuple[str, ...] = ()
    """What speaks for that cause, each a sentence."""
    heat: str = UNKNOWN
    """In words: `heavy, 97 °C`."""
    memory: str = UNKNOWN
    """In words: `5.6 of 24 GiB available`."""
    cost_share: float | None = None
    """Share of the last day that its steps cost, 0 to 1."""
    left_alone: tuple[str, ...] = ()
    """What it does not act on for a while, because a step against it did not help, each a sentence."""
    readings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Kind -> the reading as the daemon wrote it, or `{"unknown": why}`; empty when nothing is known."""
    decisions: tuple[DecisionLine, ...] = ()
    """The last five, the newest first."""

    @property
    def slowdown_words(self) -> str | None:
        """The slow-down in force: by how much, since when, how sure, why; None without one."""
        return self._slow_words("" if self.confidence is None else f" ({self.confidence:.0%} sure)")

    @property
    def duty_in_force(self) -> float | None:
        """Share of the time that the running trainer was told to work, above 0 and up to 1; None: not known."""
        if self.mode in {"watch", "off"}:
            return 1.0
        return self.duty if self.duty is not None and 0 < self.duty <= 1 else None

    @property
    def work_words(self) -> str | None:
        """How the running job is held back and slowed, for behind its name; None when it is neither."""
        paced = None
        if self.mode == "on" and self.duty is not None and 0 < self.duty < 1:
            paced = f"works {self.duty:.0%} of the time"
        return "; ".join(filter(None, (paced, self._slow_words()))) or None

    @property
    def standstill_words(self) -> str:
        """How a paused job stands: for what, when it is the governor that holds it."""
        is_ours = self.mode == "on" and self.rung is not None and self.rung.startswith(STANDS_STILL)
        return str(self.rung) if is_ours else STANDS_STILL

    def _slow_words(self, sure: str = "") -> str | None:
        if self.factor is None:
            return None
        since = "" if self.since_epoch is None else f" since epoch {self.since_epoch}"
        return f"slow{since} by factor {self.factor:.2f}{sure}, cause {(self.cause or UNKNOWN).replace('_', ' ')}"


def take_governor_status(
    telemetry: TelemetryReader, job: JobRow | None, names: Mapping[int, str], now: float, *, daemon_runs: bool
) -> GovernorStatus:
    """Look at what the governor wrote last.

    Args:
        telemetry: what the daemon wrote.
        job: the job in the slot.
        names: number -> name of the jobs in the ledger.
        now: the instant of the snapshot, seconds since 1970 UTC.
        daemon_runs: whether there is a governor at all just now.
    """
    decisions = tuple(_decision(row, names) for row in reversed(telemetry.decisions(last=DECISIONS_SHOWN)))
    try:
        found = telemetry.last_standing()
    except ValueError:
        return _not_known("what the daemon wrote last cannot be read", decisions)
    if found is None:
        return _not_known("no daemon has written anything yet", decisions)
    at, standing = found
    age_s = now - at
    why_not = _why_not(age_s, standing, daemon_runs=daemon_runs)
    if why_not:
        return _not_known(why_not, decisions, at, age_s)
    return _present(at, max(0.0, age_s), standing, job, decisions)


def left_alone_words(standing: dict[str, Any], age_s: float) -> tuple[str, ...]:
    """Say what the daemon does not act on for a while, and why.

    Args:
        standing: what it wrote.
        age_s: how long ago it wrote that.
    """
    told = {what: number_of(left_s) for what, left_s in object_of(standing.get("left_alone_s")).items()}
    lefts = {what: left_s - age_s for what, left_s in told.items() if left_s is not None and left_s > age_s}
    return tuple(LEFT_ALONE.get(what, OTHERS_LEFT_ALONE).format(what, span(left_s)) for what, left_s in lefts.items())


def _decision(row: DecisionRow, names: Mapping[int, str]) -> DecisionLine:
    job = names.get(row.job_id) if row.job_id is not None else None
    return DecisionLine(row.at, job, row.epoch, row.action, row.cause, row.words, row.acted, row.carried)


def _not_known(
    why: str, decisions: tuple[DecisionLine, ...], at: float | None = None, age_s: float | None = None
) -> GovernorStatus:
    return GovernorStatus(
        f"not known: {why}",
        f"not known: {why}",
        is_stale=True,
        at=at,
        age_s=None if age_s is None or age_s < -AHEAD_S else max(0.0, age_s),
        decisions=decisions,
    )


def _why_not(age_s: float, standing: object, *, daemon_runs: bool) -> str | None:
    """Say why what the daemon wrote last is not the present; None when it is."""
    if age_s < -AHEAD_S:
        return "what the daemon wrote last lies in the future; the clock was set back"
    if not daemon_runs:
        return f"no daemon is running; the last one wrote {span(age_s)} ago"
    if age_s > STALE_S:
        return f"the daemon wrote last {span(age_s)} ago"
    return None if isinstance(standing, dict) else "what the daemon wrote last cannot be read"


def _present(
    at: float, age_s: float, standing: dict[str, Any], job: JobRow | None, decisions: tuple[DecisionLine, ...]
) -> GovernorStatus:
    readings = {kind: _plain(told) for kind, told in object_of(standing.get("readings")).items()}
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
    """Return what the standing says of its job."""
    evidence = standing.get("evidence")
    return {
        "rung": text_of(standing.get("rung")),
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
        return "off, only samples"
    if job is None:
        return "only watches, nothing is training" if mode == "watch" else "nothing is training"
    if rung is None:
        return "has not heard from the running job yet"
    if mode == "watch":
        return f"only watches (would be: {rung})"
    is_held_by_others = job.state == "paused" and not rung.startswith(STANDS_STILL)
    return f"{STANDS_STILL}, not by the governor (else: {rung})" if is_held_by_others else rung


def _heat(told: dict[str, Any]) -> str:
    temp_c, advisory = number_of(told.get("temp_c")), told.get("advisory")
    aside = " (advisory)" if isinstance(advisory, list) and "temp_c" in advisory else ""
    parts = [
        text_of(told.get("level")),
        None if temp_c is None else f"{temp_c:.0f} °C{aside}",
        "slowed by heat just now" if told.get("throttled") is True else None,
    ]
    return ", ".join(filter(None, parts)) or ("not slowed by heat" if told.get("throttled") is False else UNKNOWN)


def _memory(told: dict[str, Any]) -> str:
    available, total = number_of(told.get("available_mib")), number_of(told.get("total_mib"))
    level = text_of(told.get("level"))
    parts = [f"pressure {level}"] if level and (level != "normal" or available is None) else []
    if available is not None:
        of = "" if total is None else f" of {total / 1024:.0f}"
        parts.append(f"{available / 1024:.1f}{of} GiB available")
    return ", ".join(parts) or UNKNOWN


def _plain(told: Any) -> dict[str, Any]:
    """Return the reading as it was written; one that JSON could not tell again is unknown."""
    reading = object_of(told)
    if not reading or any(isinstance(value, float) and not math.isfinite(value) for value in reading.values()):
        return {"unknown": "the daemon wrote something that is no reading"}
    return reading

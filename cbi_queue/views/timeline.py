"""The week as a picture: each attempt with its pauses, the heat, and what is planned. Read-only.

Every query is bounded: a ledger of a hundred thousand jobs costs what one of sixty does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.ledger.rows import SLOT_TIME
from cbi_queue.wording import DAY_S, counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cbi_queue.ledger import Ledger
    from cbi_queue.telemetry.reader import TelemetryReader
    from cbi_queue.views.finish import QueueFinish, QueueForecast

BACK_S = 7 * DAY_S
"""How far back the picture reaches at most."""
AHEAD_S = 7 * DAY_S
"""How far ahead it reaches at most."""
MOST_ATTEMPTS = 300
"""Newest attempts that are drawn."""
MOST_PLANNED = 200
HEAT_BINS = 96
"""Stretches of the ribbon of heat: the first sample of each stands for it."""
WIDTH = 1000.0
"""Coordinates across; the page stretches them."""
LEAST_WIDTH = 1.5
"""An attempt of a second in a week is still to be seen."""
TICKS_S = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, DAY_S, 2 * DAY_S)
MOST_TICKS = 9
KNOWN_HEAT = frozenset({"nominal", "moderate", "heavy", "trapping", "sleeping"})
_ATTEMPTS = f"""
    SELECT a.job_id, a.number, a.started_at, a.ended_at, a.outcome, j.name, j.family,
        json_extract(a.settings, '$.{SLOT_TIME}') AS slot_s FROM attempts a
    JOIN jobs j ON j.id = a.job_id WHERE a.id > (SELECT coalesce(MAX(id), 0) - ? FROM attempts)
    AND coalesce(a.ended_at, ?) >= ? ORDER BY a.id
"""  # noqa: S608 - our own words
_PAUSES = """
    SELECT at, event FROM events WHERE job_id = ? AND at BETWEEN ? AND ? AND event IN ('pause', 'resume') ORDER BY id
"""
_PAUSED_JOBS = """
    SELECT DISTINCT job_id FROM events WHERE event = 'pause' AND id > (SELECT coalesce(MAX(id), 0) - 5000 FROM events)
"""
_SAMPLE = "SELECT at, json_extract(readings, '$.thermal') FROM samples WHERE at >= ? AND at < ? ORDER BY at LIMIT 1"


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the picture, in its coordinates."""

    x: float
    width: float
    kind: str
    """The family of the job; of heat, the level or `throttled`; `planned`; `pause`."""
    words: str
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """An instant that is marked on the axis."""

    x: float
    at: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """Attempts, pauses, heat and plan on one axis."""

    begin: float
    end: float
    now_x: float
    attempts: tuple[Block, ...]
    pauses: tuple[Block, ...]
    heat: tuple[Block, ...]
    planned: tuple[Block, ...]
    band: Block | None
    """The 80 % band of the finish."""
    ticks: tuple[Tick, ...]
    step_s: float
    """Seconds between two ticks."""
    words: str
    """All of it in a sentence, for those who do not see it."""


def timeline(
    ledger: Ledger, telemetry: TelemetryReader, forecast: QueueForecast, finish: QueueFinish
) -> Timeline | None:
    """Draw the last seven days, and what is planned; None before the first attempt.

    Args:
        ledger: open, with a snapshot in force.
        telemetry: open.
        forecast: the queue, as of the same instant.
        finish: what it says of the end.
    """
    now = forecast.now
    rows = ledger.conn.execute(_ATTEMPTS, (MOST_ATTEMPTS, now, now - BACK_S)).fetchall()
    if not rows:
        return None
    plan = list(_plan(forecast, now)) if finish.state == "known" else []
    begin = max(now - BACK_S, rows[0]["started_at"])
    last = max([now, finish.high_at or now, *(end for _, end, _ in plan)])
    axis = _Axis(min(begin, now - 60.0), min(last, now + AHEAD_S))
    attempts = tuple(
        axis.block(
            row["started_at"], row["ended_at"] or now, row["family"], _said(row, now), row["outcome"] or "running"
        )
        for row in rows
    )
    pauses = tuple(
        axis.block(since, until, "pause", f"{name} paused for {duration(until - since)}")
        for since, until, name in _pauses(ledger, rows, now)
    )
    band = None
    if finish.low_at is not None and finish.high_at is not None:
        band = axis.block(finish.low_at, finish.high_at, "band", "80 % band of the finish")
    step_s = next((step for step in TICKS_S if axis.span_s / step <= MOST_TICKS), TICKS_S[-1])
    return Timeline(
        begin=axis.begin,
        end=axis.end,
        now_x=axis.x(now),
        attempts=attempts,
        pauses=pauses,
        heat=tuple(_heat(telemetry, axis, now)),
        planned=tuple(axis.block(since, until, "planned", words) for since, until, words in plan),
        band=band,
        ticks=tuple(axis.ticks(step_s)),
        step_s=step_s,
        words=f"{counted(len(rows), 'attempt')} in {duration(now - axis.begin)}, {counted(len(pauses), 'pause')}, "
        f"{counted(len(plan), 'job')} planned",
    )


class _Axis:
    """Instants as coordinates."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, max(end, begin + 60.0)
        self.span_s = self.end - self.begin

    def x(self, at: float) -> float:
        return round(WIDTH * min(1.0, max(0.0, (at - self.begin) / self.span_s)), 2)

    def block(self, since: float, until: float, kind: str, words: str, outcome: str = "") -> Block:
        left = min(self.x(since), WIDTH - LEAST_WIDTH)
        return Block(left, max(LEAST_WIDTH, round(self.x(until) - left, 2)), kind, words, outcome)

    def ticks(self, step_s: float) -> Iterator[Tick]:
        at = (self.begin // step_s + 1) * step_s
        while at < self.end:
            yield Tick(self.x(at), at)
            at += step_s


def _said(row: Any, now: float) -> str:
    took = duration((row["ended_at"] or now) - row["started_at"] if row["slot_s"] is None else row["slot_s"])
    return f"{row['name']}, attempt {row['number']}: {row['outcome'] or 'in the slot'}, {took}"


def _pauses(ledger: Ledger, rows: Iterable[Any], now: float) -> Iterator[tuple[float, float, str]]:
    """Yield the pauses of attempts: since, until, name of the job."""
    paused = {row["job_id"] for row in ledger.conn.execute(_PAUSED_JOBS)}
    for row in rows:
        if row["job_id"] not in paused:
            continue
        until, since = row["ended_at"] or now, None
        for event in ledger.conn.execute(_PAUSES, (row["job_id"], row["started_at"], until)):
            if event["event"] == "pause":
                since = event["at"]
            elif since is not None:
                yield since, event["at"], row["name"]
                since = None
        if since is not None:
            yield since, until, row["name"]


def _plan(forecast: QueueForecast, now: float) -> Iterator[tuple[float, float, str]]:
    """Yield when each job that is to come probably runs, by the median of its time: since, until, words."""
    order, idle_s = forecast.ordered()
    at = now + idle_s
    if forecast.running is not None:
        left_s = forecast.running.remaining_s
        if left_s is None:
            guess = forecast.durations.soon(forecast.running.work)
            left_s = max(0.0, guess.median_s - forecast.running.elapsed_s) if guess is not None else 0.0
        yield now, now + left_s, f"{forecast.names[forecast.running_id or 0]}: {duration(left_s)} left"
        at = max(at, now + left_s)
    for job in order[:MOST_PLANNED]:
        guess = forecast.durations.soon(job.work)
        if guess is not None:
            yield at, at + guess.median_s, f"{forecast.names[job.id]}: about {duration(guess.median_s)}"
            at += guess.median_s


def _heat(telemetry: TelemetryReader, axis: _Axis, now: float) -> Iterator[Block]:
    """Yield a block for each stretch that has a sample with a known heat, neighbours of one level as one."""
    step_s, open_since, level = (now - axis.begin) / HEAT_BINS, axis.begin, None
    for number in range(HEAT_BINS + 1):
        at = axis.begin + number * step_s
        here = _level(telemetry.select(_SAMPLE, at, at + step_s)) if number < HEAT_BINS else None
        if here != level:
            if level is not None:
                yield axis.block(open_since, at, level, f"heat {level}")
            open_since, level = at, here


def _level(rows: list[tuple[Any, ...]]) -> str | None:
    try:
        reading = json.loads(rows[0][1]) if rows and rows[0][1] else {}
    except ValueError:
        return None
    if not isinstance(reading, dict):
        return None
    level = reading.get("level")
    if level in KNOWN_HEAT:
        return str(level)
    return {True: "heavy", False: "nominal"}.get(reading["throttled"]) if "throttled" in reading else None

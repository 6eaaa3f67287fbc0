"""Recorded traces through the governor's own detector, attribution and policy: what it would have said and done. Reads files, writes none.

Each trace is judged as a run would be, report by report. What stands for its stored baseline comes from the other
traces of the same model, never from itself; a trace that is alone has none, like the first run of a model.
Neighbours: `governor.traces` (the format), `cli.governor` (which prints).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cbi_queue.errors import Refused
from cbi_queue.governor.diagnosis.attribution import attribute
from cbi_queue.governor.diagnosis.evidence import EvidenceWindow
from cbi_queue.governor.governor import Governor
from cbi_queue.governor.slowdown.detector import Detector
from cbi_queue.governor.state.state import GovernorState
from cbi_queue.governor.values import Cause
from cbi_queue.readings.values import Readings
from cbi_queue.replay.traces import BrokenTrace, Trace, cold_baselines, read_trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cbi_queue.governor.slowdown.detector import DetectorSettings
    from cbi_queue.governor.values import Attribution, Baseline, Decision, Slowdown
    from cbi_queue.hardware.thresholds import Thresholds

LOOK_S = 1.0
"""Seconds between two looks of the governor, as the slot does it."""
MAX_BYTES = 200_000_000
"""A larger file is refused: it is no trace, and would fill the memory."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One slow-down that the detector saw in a trace. Epochs as numbered in the file."""

    trace: str
    start_epoch: int
    detected_epoch: int
    end_epoch: int | None
    """Last slow epoch; None when the trace ends slow."""
    factor: float
    cause: Cause
    confidence: float
    evidence: tuple[str, ...] = ()
    in_hindsight: bool = False
    """True when only the faster work after it showed that it had been slow."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A trace and what was seen in it."""

    trace: Trace
    alarms: tuple[Alarm, ...]
    cold: dict[int | None, Baseline]
    """What stood for the stored baseline, by micro-batch."""


def read_traces(paths: Sequence[Path]) -> list[Trace]:
    """Read all of *paths*, or refuse.

    Raises:
        Refused: with file and line, when one cannot be read or holds a line that is not of the format.
    """
    return [_read(path) for path in paths]


def replay(
    traces: Sequence[Trace], others: Sequence[Trace] = (), settings: DetectorSettings | None = None
) -> list[Replay]:
    """Judge each of *traces*; *others* lend their cold cost and are not judged. *settings*: None for the default."""
    known = [*traces, *others]
    return [
        replay_one(
            trace, cold_baselines(one for one in known if one is not trace and one.model == trace.model), settings
        )
        for trace in traces
    ]


def replay_one(trace: Trace, cold: dict[int | None, Baseline], settings: DetectorSettings | None = None) -> Replay:
    """Judge *trace* against the *cold* baselines of earlier runs, empty for none."""
    detector, window = Detector(cold, settings), EvidenceWindow()
    alarms: list[Alarm] = []
    current: Slowdown | None = None
    found: Attribution | None = None
    for work in trace.work:
        before, ended_before = current, detector.last_ended
        window.add_work(work)
        current = detector.observe(work)
        if detector.last_ended is not ended_before and detector.last_ended is not None:
            ended = detector.last_ended
            in_hindsight = before is None
            alarms.append(_alarm(trace, ended, None if in_hindsight else found, in_hindsight=in_hindsight))
        if current is not None:
            found = attribute(current, window.evidence(current, cold.get(work.micro_batch)))
    if current is not None:
        alarms.append(_alarm(trace, current, found))
    return Replay(trace, tuple(alarms), cold)


def steps(replayed: Replay, thresholds: Thresholds) -> list[Decision]:
    """Return what the governor would have decided, looking once a second.

    The recorded run cannot obey, so what a step would have changed is not in what comes after it. A trace holds no
    readings: to the policy, heat and memory are unknown all along.
    """
    work = replayed.trace.work
    governor = Governor(
        thresholds, GovernorState(thresholds), can=frozenset({"pace", "micro_batch", "probe"}), one_shot=False,
        micro_batch=work[0].micro_batch, baselines=replayed.cold,
    )  # fmt: skip
    decided: list[Decision] = []
    looked_s = -LOOK_S
    for one in work:
        governor.saw_work(one)
        if one.at_s - looked_s >= LOOK_S:
            looked_s = one.at_s
            decision = governor.check(one.at_s, Readings.unknown("a trace of epochs holds no readings", one.at_s))
            if decision is not None:
                decided.append(decision)
    return decided


def _alarm(trace: Trace, slowdown: Slowdown, found: Attribution | None, *, in_hindsight: bool = False) -> Alarm:
    alarm = Alarm(
        trace.name, slowdown.since_epoch, slowdown.detected_epoch, slowdown.ended_epoch, slowdown.factor,
        Cause.UNKNOWN, slowdown.confidence, in_hindsight=in_hindsight,
    )  # fmt: skip
    return alarm if found is None else replace(alarm, cause=found.cause, evidence=found.evidence)


def _read(path: Path) -> Trace:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Refused(f"{path} has more than {MAX_BYTES:,} bytes: it is no trace of epochs")
        with path.open(encoding="utf-8") as lines:
            return read_trace(lines)
    except OSError as exc:
        raise Refused(f"cannot read the trace {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise Refused(f"cannot read the trace {path}: it is no UTF-8 text ({exc.reason} at byte {exc.start})") from exc
    except BrokenTrace as exc:
        raise Refused(
            f"{path}:{exc.line}: {exc.why}", hint="tests/traces/README.md describes the format; nothing was replayed"
        ) from exc

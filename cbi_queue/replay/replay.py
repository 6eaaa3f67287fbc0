"""Recorded traces through the governor's own detector, attribution and policies: what it would have found and done.

Each trace is judged as a run would be, report by report. In place of a stored baseline it gets the cold cost of the
other traces of the same model; a trace that is alone has none, like the first run of a model. Reads files, writes none.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.errors import Refused
from cbi_queue.governor.diagnosis.attribution import attribute
from cbi_queue.governor.diagnosis.evidence import EvidenceWindow
from cbi_queue.governor.governor import Governor
from cbi_queue.governor.slowdown.detector import Detector
from cbi_queue.governor.state.state import GovernorState
from cbi_queue.governor.values import Attribution, Cause
from cbi_queue.readings.values import Readings
from cbi_queue.regular_files import read_text
from cbi_queue.replay.traces import BrokenTrace, cold_baselines, read_trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cbi_queue.governor.slowdown.detector import DetectorSettings
    from cbi_queue.governor.values import Baseline, Decision, Slowdown
    from cbi_queue.hardware.thresholds import Thresholds
    from cbi_queue.replay.traces import Trace

CHECK_S = 1.0
"""Seconds between two checks of the governor, as in the slot."""
MAX_BYTES = 200_000_000
"""A larger file is refused: it is no trace, and would fill the memory."""
UNEXPLAINED = Attribution(Cause.UNKNOWN, 0.0)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One slow-down that the detector found in a trace. Epochs as numbered in the file."""

    trace: str
    start_epoch: int
    detected_epoch: int
    end_epoch: int | None
    """Last slow epoch; None when the trace ends slow."""
    factor: float
    cause: Cause
    confidence: float
    evidence: tuple[str, ...]
    in_hindsight: bool
    """True when only the faster work after it showed that it had been slow."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A trace and what was found in it."""

    trace: Trace
    alarms: tuple[Alarm, ...]
    cold: dict[int | None, Baseline]
    """What was used as the stored baseline, by micro-batch."""


def read_traces(paths: Sequence[Path]) -> list[Trace]:
    """Read all of *paths*, or refuse.

    Raises:
        Refused: with file and line, when one cannot be read or holds a line that is not of the format.
    """
    return [_read(path) for path in paths]


def replay(
    traces: Sequence[Trace], others: Sequence[Trace] = (), settings: DetectorSettings | None = None
) -> list[Replay]:
    """Judge each of *traces*; *others* give their cold cost and are not judged. *settings*: None for the default."""
    known = [*traces, *others]
    replays = []
    for trace in traces:
        same_model = (one for one in known if one is not trace and one.model == trace.model)
        replays.append(replay_one(trace, cold_baselines(same_model), settings))
    return replays


def replay_one(trace: Trace, cold: dict[int | None, Baseline], settings: DetectorSettings | None = None) -> Replay:
    """Judge *trace* against the *cold* baselines of earlier runs, empty for none."""
    detector, window = Detector(cold, settings), EvidenceWindow()
    alarms: list[Alarm] = []
    current: Slowdown | None = None
    found = UNEXPLAINED
    for work in trace.work:
        before, ended_before = current, detector.last_ended
        window.add_work(work)
        current = detector.observe(work)
        ended = detector.last_ended
        if ended is not None and ended is not ended_before:
            alarms.append(_alarm(trace, ended, found if before is not None else None))
        if current is not None:
            found = attribute(current, window.evidence(current, cold.get(work.micro_batch)))
    if current is not None:
        alarms.append(_alarm(trace, current, found))
    return Replay(trace, tuple(alarms), cold)


def steps(replayed: Replay, thresholds: Thresholds) -> list[Decision]:
    """Return what the governor would have decided, with a check once a second.

    The recorded run cannot obey, so the effect of a step is not in what comes after it. A trace holds no readings: heat
    and memory are unknown throughout.
    """
    work = replayed.trace.work
    governor = Governor(
        thresholds,
        GovernorState(thresholds),
        can=frozenset({"pace", "micro_batch", "probe"}),
        one_shot=False,
        micro_batch=work[0].micro_batch,
        baselines=replayed.cold,
    )
    decided: list[Decision] = []
    checked_s = -CHECK_S
    for one in work:
        governor.saw_work(one)
        if one.at_s - checked_s >= CHECK_S:
            checked_s = one.at_s
            decision = governor.check(one.at_s, Readings.unknown("a trace of epochs holds no readings", one.at_s))
            if decision is not None:
                decided.append(decision)
    return decided


def _alarm(trace: Trace, slowdown: Slowdown, found: Attribution | None) -> Alarm:
    """Return *slowdown* with the cause that was *found*; None: it was found in hindsight."""
    cause = found or UNEXPLAINED
    return Alarm(
        trace=trace.name,
        start_epoch=slowdown.since_epoch,
        detected_epoch=slowdown.detected_epoch,
        end_epoch=slowdown.ended_epoch,
        factor=slowdown.factor,
        cause=cause.cause,
        confidence=slowdown.confidence,
        evidence=cause.evidence,
        in_hindsight=found is None,
    )


def _read(path: Path) -> Trace:
    try:
        return read_trace(io.StringIO(read_text(path, MAX_BYTES, follow=True)))
    except OSError as exc:
        raise Refused(f"cannot read the trace {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise Refused(f"cannot read the trace {path}: it is no UTF-8 text ({exc.reason} at byte {exc.start})") from exc
    except BrokenTrace as exc:
        raise Refused(
            f"{path}:{exc.line}: {exc.why}", hint="tests/traces/README.md describes the format; nothing was replayed"
        ) from exc

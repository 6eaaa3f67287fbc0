"""Recorded epoch times of a training: their lines, checked, and the work they stand for. Pure: text in, values out.

The format: one JSON object a line. The first is a header with `trace` and `model`; each further one is an epoch with
`epoch`, `t_s` (its start), `wall_s`, `samples`, and where known `micro_batch`, `cpu_s` and `data_s`. Labels (`slow`,
`factor`, `cause`) and any other key are ignored: a replay must not peek.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.governor.slowdown.cold_level import FLOOR, robust_spread
from cbi_queue.governor.values import Baseline, Work

if TYPE_CHECKING:
    from collections.abc import Iterable

WARM_UP = 3
"""First epochs of a trace that do not count for its cold cost."""
LEAST_EPOCHS = 20
"""Epochs of one micro-batch below which a trace has no cold cost."""
LOW = 0.25
"""Quantile of a trace's epochs that is its cold cost, and quantile over traces: up to three quarters of the epochs, and
of the traces, may be hot."""
TYPICAL_SPREAD = 0.03
GAP_S = 1.0
"""Seconds between two epochs from which they are unaccounted time; less is validation and bookkeeping."""


class BrokenTrace(ValueError):
    """A trace has a line that cannot be used."""

    def __init__(self, line: int, why: str) -> None:
        """Keep the 1-based *line* and *why* it cannot be used."""
        self.line, self.why = line, why
        super().__init__(f"line {line}: {why}")


@dataclass(frozen=True, slots=True)
class Trace:
    """One recorded training."""

    name: str
    model: str
    work: tuple[Work, ...]


def read_trace(lines: Iterable[str]) -> Trace:
    """Return the trace that *lines* hold.

    Raises:
        BrokenTrace: with the line, on the first one that is not of the format.
    """
    header: dict[str, Any] | None = None
    work: list[Work] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        body = _object(line, number)
        if header is None:
            header = _header(body, number)
        else:
            work.append(_work(body, number, work[-1] if work else None))
    if header is None or not work:
        raise BrokenTrace(1, "a header and at least one epoch are needed; the file has neither or no epoch")
    return Trace(header["trace"], header["model"], tuple(work))


def cold_baselines(traces: Iterable[Trace]) -> dict[int | None, Baseline]:
    """Return the cold cost of one model by micro-batch: low quantiles of *traces*, so that hot parts do not count."""
    found: dict[int | None, list[tuple[float, float]]] = defaultdict(list)
    for trace in traces:
        costs: dict[int | None, list[float]] = defaultdict(list)
        for one in trace.work[WARM_UP:]:
            costs[one.micro_batch].append(one.seconds_per_sample)
        for micro_batch, values in costs.items():
            if len(values) >= LEAST_EPOCHS:
                cold = _low(values)
                quiet = [value for value in values if value <= cold * FLOOR]
                spread = robust_spread(quiet) if len(quiet) >= LEAST_EPOCHS else TYPICAL_SPREAD
                found[micro_batch].append((cold, spread))
    return {
        micro_batch: Baseline(
            _low(cold for cold, _ in pairs), _low(spread for _, spread in pairs), LEAST_EPOCHS * len(pairs)
        )
        for micro_batch, pairs in found.items()
    }


def _low(values: Iterable[float]) -> float:
    ranked = sorted(values)
    return ranked[int(LOW * (len(ranked) - 1))]


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise BrokenTrace(number, f"not JSON: {line.strip()[:60]!r}") from exc
    if not isinstance(body, dict):
        raise BrokenTrace(number, f"an object is needed, got {line.strip()[:60]!r}")
    return body


def _header(body: dict[str, Any], number: int) -> dict[str, Any]:
    for key in ("trace", "model"):
        if not isinstance(body.get(key), str):
            raise BrokenTrace(number, f"the header needs {key!r} as text, got {body.get(key)!r}")
    return body


def _work(body: dict[str, Any], number: int, last: Work | None) -> Work:
    epoch = _whole(body, "epoch", number, least=0)
    if last is not None and epoch <= last.epoch:
        raise BrokenTrace(number, f"epoch {epoch} comes after epoch {last.epoch}; they must rise")
    starts_s, wall_s = _number(body, "t_s", number), _number(body, "wall_s", number)
    if wall_s <= 0.0:
        raise BrokenTrace(number, f"wall_s is {wall_s}; it must be above 0")
    micro_batch = None if body.get("micro_batch") is None else _whole(body, "micro_batch", number, least=1)
    gap_s = starts_s - last.at_s if last is not None else 0.0
    return Work(
        epoch=epoch,
        at_s=starts_s + wall_s,
        wall_s=wall_s,
        samples=_whole(body, "samples", number, least=1),
        micro_batch=micro_batch,
        disturbed=last is not None and micro_batch != last.micro_batch,
        cpu_s=_optional(body, "cpu_s", number),
        data_s=_optional(body, "data_s", number),
        gap_s=gap_s if gap_s > GAP_S else 0.0,
    )


def _whole(body: dict[str, Any], key: str, number: int, *, least: int) -> int:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BrokenTrace(number, f"{key} must be a whole number of at least {least}, got {value!r}")
    return value


def _number(body: dict[str, Any], key: str, number: int) -> float:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise BrokenTrace(number, f"{key} must be a number of at least 0, got {value!r}")
    return float(value)


def _optional(body: dict[str, Any], key: str, number: int) -> float | None:
    return None if body.get(key) is None else _number(body, key, number)

"""How well alarms fit the labels of recorded traces (tests/traces/README.md): what was found, delays, false alarms."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cbi_queue.replay.replay import Alarm

LEAST_FACTOR = 1.2
AFTERMATH_EPOCHS = 5
"""Epochs after a slow-down in which an alarm is neither right nor wrong."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """The epochs of a trace with their labels, as written in the file."""

    name: str
    model: str
    epochs: tuple[dict[str, Any], ...]

    @property
    def slowdowns(self) -> list[tuple[int, int, float]]:
        """First index, last index and measured factor of every slow-down that must be found."""
        runs = [[i for i, _ in run] for slow, run in groupby(enumerate(self.epochs), _is_slow) if slow]
        measured = [(run[0], run[-1], self._factor(run, runs)) for run in runs]
        return [one for one in measured if one[2] >= LEAST_FACTOR]

    def _factor(self, run: list[int], runs: list[list[int]]) -> float:
        starts_hot = runs[0][0] <= 5
        after = runs[0][-1] if starts_hot else -1
        quiet: dict[Any, list[float]] = defaultdict(list)
        for index, epoch in enumerate(self.epochs):
            if epoch["slow"] == 0 and index > after:
                quiet[epoch["micro_batch"]].append(_cost(epoch))
        ratios = [
            _cost(self.epochs[i]) / median(quiet[self.epochs[i]["micro_batch"]])
            for i in run
            if self.epochs[i]["micro_batch"] in quiet
        ]
        return median(ratios) if ratios else 0.0


@dataclass(slots=True)
class Score:
    """Counts over several traces."""

    slowdowns: int = 0
    found: int = 0
    delays: list[int] = field(default_factory=list)
    """Epochs, of traces that are not feed-forward."""
    delays_s: list[float] = field(default_factory=list)
    """Seconds from the first slow epoch's start to the alarm, of feed-forward traces."""
    false_alarms: int = 0
    quiet_epochs: int = 0

    @property
    def recall(self) -> float:
        """Share of the slow-downs that were found."""
        return self.found / self.slowdowns

    @property
    def false_per_1000(self) -> float:
        """False alarms in a thousand quiet epochs."""
        return 1000.0 * self.false_alarms / self.quiet_epochs

    def add(self, trace: Labelled, detected: Iterable[int]) -> None:
        """Count one trace and the epochs at which alarms came."""
        seen = sorted(detected)
        slowdowns = trace.slowdowns
        self.slowdowns += len(slowdowns)
        for first, last, _ in slowdowns:
            inside = [epoch for epoch in seen if first <= epoch <= last]
            self.found += bool(inside)
            if inside and trace.model.startswith("ffn"):
                epoch = trace.epochs[inside[0]]
                self.delays_s.append(epoch["t_s"] + epoch["wall_s"] - trace.epochs[first]["t_s"])
            elif inside:
                self.delays.append(inside[0] - first)
        self.quiet_epochs += sum(epoch["slow"] == 0 for epoch in trace.epochs)
        self.false_alarms += sum(_is_false(trace, epoch) for epoch in seen)


def _is_false(trace: Labelled, epoch: int) -> bool:
    recent = trace.epochs[max(0, epoch - AFTERMATH_EPOCHS) : epoch + 1]
    return trace.epochs[epoch]["slow"] == 0 and not any(one["slow"] >= 0.5 for one in recent)


def _is_slow(numbered: tuple[int, dict[str, Any]]) -> bool:
    return bool(numbered[1]["slow"] >= 0.5)


def _cost(epoch: dict[str, Any]) -> float:
    return float(epoch["wall_s"] / epoch["samples"])


def labelled(path: Path) -> Labelled:
    """Read a trace with its labels."""
    header, *epochs = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return Labelled(header["trace"], header["model"], tuple(epochs))


def score(traces: Sequence[Labelled], alarms: Iterable[Alarm]) -> Score:
    """Score *alarms*, which name their traces."""
    by_trace: dict[str, list[int]] = defaultdict(list)
    for alarm in alarms:
        by_trace[alarm.trace].append(alarm.detected_epoch)
    total = Score()
    for trace in traces:
        total.add(trace, by_trace[trace.name])
    return total

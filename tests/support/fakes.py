"""A clock and a trainer's channel that follow a script: tests use them in place of mocks of our own code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cbi_queue.identity import identity_of
from cbi_queue.protocol import Assignment
from cbi_queue.spec import JobSpec
from jobs.process.channel import StopRequested
from jobs.trainer import Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cbi_queue.protocol import Message


class FakeClock:
    """A clock that moves only when the test advances it."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Return the present second."""
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now_s += seconds


@dataclass
class ScriptedChannel:
    """A channel that stops, pauses or does anything else at its n-th safe point, and keeps every report."""

    stop_at: int | None = None
    """First safe point (1-based) at which the trainer is asked to stop; None: never."""
    pauses: dict[int, float] = field(default_factory=dict)
    """Safe point -> seconds paused there."""
    at: dict[int, Callable[[], None]] = field(default_factory=dict)
    """Safe point -> what else is done there."""
    clock: FakeClock | None = None
    """Advanced by `tick_s` at each safe point and by the length of each pause."""
    tick_s: float = 1.0
    reports: list[Message] = field(default_factory=list)
    safe_points: int = 0
    epochs_seen: list[int] = field(default_factory=list)
    """The number of finished epochs passed to each safe point."""
    paused_s: float = 0.0
    wanted_micro_batch: int | None = None
    """As on the real channel; set it from `at`."""
    is_paced: bool = False
    on_pause: Callable[[], None] | None = None
    probe: Callable[[], Any] | None = None
    _was_paused: bool = False

    @property
    def is_stopping(self) -> bool:
        """As on the channel."""
        return self.stop_at is not None and self.safe_points >= self.stop_at

    def report(self, message: Message) -> None:
        """Keep the report."""
        self.reports.append(message)

    def safe_point(self, epoch: int) -> None:
        """Do what the script says for this safe point."""
        self.epochs_seen.append(epoch)
        self.safe_points += 1
        if self.clock:
            self.clock.advance(self.tick_s)
        self._stand_still(self.pauses.get(self.safe_points, 0.0))
        self.at.get(self.safe_points, lambda: None)()
        if self.is_stopping:
            raise StopRequested

    def take_was_paused(self) -> bool:
        """As on the channel."""
        seen, self._was_paused = self._was_paused, False
        return seen

    def of_type(self, kind: type[Message]) -> list[Message]:
        """The reports of one kind, in order."""
        return [report for report in self.reports if isinstance(report, kind)]

    def _stand_still(self, seconds: float) -> None:
        if seconds:
            self.paused_s += seconds
            self._was_paused = True
            if self.clock:
                self.clock.advance(seconds)


def make_task(run_dir: Path, spec: dict[str, Any], processed_dir: Path, exports_dir: Path, channel: Any = None) -> Task:
    """Return a task as the session passes it to a family; *channel* defaults to one that never interferes.

    Args:
        run_dir: made when it is not there.
        spec: a JobSpec's keys; day, name and horizon have defaults.
        processed_dir: the feature cache.
        exports_dir: the exports.
        channel: a real `Channel` or a `ScriptedChannel`.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    full = JobSpec.model_validate({"day": 1, "name": spec.get("model", "job"), "horizon": "1m", **spec})
    assignment = Assignment(
        job_id=1,
        attempt=1,
        ledger_id="test-ledger",
        identity=identity_of(full.canonical_json()),
        spec=full.model_dump(mode="json"),
        run_dir=str(run_dir),
        exports_dir=str(exports_dir),
        processed_dir=str(processed_dir),
    )
    return Task(assignment, full, channel if channel is not None else ScriptedChannel())

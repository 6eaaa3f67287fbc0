"""How the last tracking of runs ended, for `status` and `doctor`: a small file in the state folder that may be deleted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.artifacts import write_json
from cbi_queue.regular_files import read_whole

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.settings import Settings


@dataclass(frozen=True, slots=True)
class TrackingState:
    """One attempt at tracking, over."""

    at: float
    written: int
    """Runs that it wrote."""
    failure: str | None = None
    """Why it ended early, in words with the remedy; None when every run is in the store."""


def write_state(settings: Settings, written: int, failure: str | None) -> None:
    """Keep how tracking ended."""
    write_json(_path(settings), asdict(TrackingState(clock.epoch_s(), written, failure)))


def read_state(settings: Settings) -> TrackingState | None:
    """Return how the last tracking ended; None before the first, or when the file cannot be read."""
    try:
        found: Any = json.loads(read_whole(_path(settings)))
        at, written, failure = found["at"], found["written"], found["failure"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_one = isinstance(at, int | float) and isinstance(written, int) and isinstance(failure, str | None)
    return TrackingState(float(at), written, failure) if is_one else None


def failure_of_tracking(settings: Settings) -> str | None:
    """Return why finished runs are missing in MLflow's store; None when nothing is wrong, or tracking is off."""
    state = read_state(settings) if settings.tracking == "on" else None
    return state.failure if state else None


def _path(settings: Settings) -> Path:
    return settings.state_dir / "tracking.json"

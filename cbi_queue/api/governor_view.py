"""What the governor's page shows: its history, the sensors now, and the thresholds in force. Read-only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.api.gauges import read
from cbi_queue.errors import SettingsError
from cbi_queue.hardware import profile_named
from cbi_queue.hardware.detection import AUTO, profile_for
from cbi_queue.ledger.queries import job_in_slot
from cbi_queue.readings.in_words import reading_words
from cbi_queue.readings.values import Unknown
from cbi_queue.views.governor import take_governor_status
from cbi_queue.views.governor_history import governor_history
from cbi_queue.views.snapshot import daemon_status, open_snapshot
from cbi_queue.wording import span as span_words

if TYPE_CHECKING:
    from cbi_queue.settings import Settings
    from cbi_queue.views.governor import GovernorStatus
    from cbi_queue.views.governor_history import GovernorHistory

READINGS = {
    "thermal": "Heat",
    "memory": "Memory",
    "contention": "Processor",
    "footprint": "Trainer memory",
    "gpu": "GPU",
    "power": "Power",
}
"""Kind -> its name on the page, in the order shown."""


@dataclass(frozen=True, slots=True)
class SensorShown:
    """One kind of reading now."""

    name: str
    words: str
    why: str | None
    """Why it is unknown; None when it is known."""
    source: str
    trust: str
    age: str


@dataclass(frozen=True, slots=True)
class ThresholdShown:
    """One threshold in force."""

    name: str
    value: str
    unit: str
    why: str


@dataclass(frozen=True, slots=True)
class GovernorView:
    """The page."""

    at: float
    now: GovernorStatus
    history: GovernorHistory
    sensors: tuple[SensorShown, ...]
    profile: str
    """Name of the profile whose thresholds are shown, and why it is that one."""
    thresholds: tuple[ThresholdShown, ...]

    @property
    def plot_version(self) -> int:
        """Another number when the picture may be another one: browsers keep it until then."""
        return int(self.at // 30)


def governor_view(settings: Settings, span: str) -> GovernorView:
    """Put the page together; *span* is one of `governor_history.SPANS`."""
    now = clock.epoch_s()
    daemon = daemon_status(settings)
    with open_snapshot(settings) as (ledger, telemetry):
        history = governor_history(ledger, telemetry, span, now)
        governor = take_governor_status(telemetry, job_in_slot(ledger), {}, now, daemon_runs=daemon.is_running)
    profile, thresholds = _thresholds(settings, governor.profile)
    sensors = tuple(_sensor(kind, name, governor) for kind, name in READINGS.items())
    return GovernorView(now, governor, history, sensors, profile=profile, thresholds=thresholds)


def _sensor(kind: str, name: str, governor: GovernorStatus) -> SensorShown:
    reading = read(kind, governor)
    if isinstance(reading, Unknown):
        return SensorShown(name, "unknown", reading.why, source="", trust="", age="")
    age = span_words(max(0.0, clock.boot_s() - reading.at_s))
    return SensorShown(name, reading_words(reading), None, source=reading.source, trust=reading.trust, age=age)


def _thresholds(settings: Settings, in_force: str | None) -> tuple[str, tuple[ThresholdShown, ...]]:
    """Return the thresholds of the daemon's profile, or of the one that a daemon would start with now."""
    try:
        if in_force is not None:
            profile, why = profile_named(in_force, settings.profiles_dir), "of the running daemon"
        else:
            chosen = profile_for(settings.profile, settings.profiles_dir)
            profile, why = chosen.profile, f"for the next daemon; {chosen.why}"
    except SettingsError as exc:
        return f"{in_force or settings.profile or AUTO}: its thresholds cannot be read: {exc.message}", ()
    shown = []
    for name, value in asdict(profile.thresholds).items():
        limits = profile.thresholds.limits_of(name)
        shown.append(ThresholdShown(name, _cell(value), limits.unit, limits.why))
    return f"{profile.name} ({why})", tuple(shown)


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_cell, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""A governed slot without processes: a real ledger, telemetry, monitor and governor; a trainer that follows a script;
a clock that the test moves.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.claims import claim
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.protocol import EpochReport, Started
from cbi_queue.readings.values import (
    ContentionReading,
    HeatLevel,
    MemoryReading,
    PressureLevel,
    SleepReading,
    ThermalReading,
    Unknown,
)
from cbi_queue.settings import load_settings
from cbi_queue.telemetry.telemetry import Telemetry
from support import ledger_rows
from workers.governor.attempt_governor import AttemptGovernor
from workers.governor.slot_governor import SlotGovernor
from workers.pending_writes import PendingWrites
from workers.sensors.monitor import Monitor
from workers.slot.supervision import Supervision
from workers.trainer.pausing import Pausing

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from cbi_queue.governor.values import Work
    from cbi_queue.protocol import Report
    from cbi_queue.readings.values import Reading

QUICK = Path(__file__).parents[2] / "schedules" / "governed-demo.toml"
"""A profile with waits of seconds in place of minutes."""
CAN = ("pace", "micro_batch", "probe", "checkpoint")
STARTED = Started(
    total_epochs=1000, samples=1000, fingerprint="net", micro_batch=32, can=("pace", "micro_batch", "checkpoint")
)


@dataclass
class Said:
    """A sensor that returns what the test last set."""

    kind: str
    said: Reading | Unknown = field(default_factory=lambda: Unknown("not told yet", 0.0))
    name: str = "told"
    is_slow: bool = False
    every: int = 1

    def read(self, now_s: float) -> Reading | Unknown:
        """Return the reading set, dated now."""
        return replace(self.said, at_s=now_s)


@dataclass
class ScriptedTrainer:
    """A trainer without a process: records each directive, and reports what the test wrote, one report a second."""

    pass_second: Callable[[], None]
    reports: list[Report | None] = field(default_factory=list)
    """Its reports, second by second; None: no report in that second. After the last one it exits."""
    told: list[tuple[str, Any]] = field(default_factory=list)
    stops_after: int = 0
    """Seconds until it obeys a stop."""
    suspended: bool = False
    reports_ended: bool = False
    identity: ProcessIdentity = field(default_factory=lambda: ProcessIdentity(2**22 + 1, 1.0))
    _left_s: int | None = None

    def named(self, name: str) -> list[Any]:
        """Return the values of the directives of this name."""
        return [value for said, value in self.told if said == name]

    def next_report(self, _timeout_s: float) -> Report | None:
        """Move the clock by a second; return the report of that second."""
        self.pass_second()
        if self._left_s is not None:
            self._left_s -= 1
        elif self.reports:
            return self.reports.pop(0)
        else:
            self._left_s = 0
        return None

    def exit_code(self) -> int | None:
        """None while it runs."""
        self.reports_ended = self._left_s is not None and self._left_s <= 0
        return 0 if self.reports_ended else None

    def ask_to_stop(self) -> None:
        """Exit after `stops_after` seconds."""
        self.told.append(("stop", None))
        self._left_s = self.stops_after

    def terminate(self) -> None:
        """Exit after `stops_after` seconds."""
        self.ask_to_stop()

    def kill(self) -> None:
        """Exit at once."""
        self._left_s = 0

    def pause(self) -> None:
        """Record it."""
        self.told.append(("pause", None))

    def suspend(self) -> None:
        """Record that the kernel stopped it."""
        self.suspended = True

    def resume(self) -> None:
        """Record it, and continue."""
        self.told.append(("resume", None))
        self.suspended = False

    def pace(self, duty: float) -> None:
        """Record it."""
        self.told.append(("pace", duty))

    def set_micro_batch(self, micro_batch: int) -> None:
        """Record it."""
        self.told.append(("micro_batch", micro_batch))

    def probe(self) -> None:
        """Record it."""
        self.told.append(("probe", None))

    def was_stopped_by_us(self, _at_s: float) -> bool:
        """As on the real process."""
        return self.suspended

    def note_children(self) -> None:
        """It has none."""

    def kill_leftovers(self) -> None:
        """It has none."""


class ScriptedSlot:
    """A ledger, a governor, and one job in the slot."""

    def __init__(self, root: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, *, mode: str = "on") -> None:
        self.now_s = 50_000.0
        for name, offset_s in (("boot_s", 0.0), ("monotonic_s", 0.0), ("epoch_s", 1.8e9)):
            monkeypatch.setattr(clock, name, lambda offset_s=offset_s: self.now_s + offset_s)
        self.settings = load_settings(
            {
                "CBI_STATE_DIR": str(root),
                "CBI_V14_REPO": str(root / "repo"),
                "CBI_GOVERNOR": mode,
                "CBI_PROFILE": "quick",
                "CBI_POLL_S": "0.05",
                "CBI_GRACE_S": "8",
                "CBI_CONFIG": str(_empty(root / "config.toml")),
            }
        )
        self.settings.profiles_dir.mkdir(exist_ok=True)
        shutil.copy(QUICK, self.settings.profiles_dir / "quick.toml")
        self.ledger = ledger
        self.telemetry_path = root / "telemetry.db"
        self.telemetry = Telemetry(self.telemetry_path)
        self.sensors = {kind: Said(kind) for kind in ("thermal", "memory", "contention", "sleep", "footprint")}
        self.slot_governor = self.new_governance()
        self.trainer = ScriptedTrainer(self.pass_second)
        self.stopping = Event()
        self.cool()

    def new_governance(self) -> SlotGovernor:
        """Replace the governor, as a new daemon does, with one that reads the same sensors."""
        slot_governor = SlotGovernor(self.settings)
        slot_governor.monitor = Monitor(self.settings, list(self.sensors.values()))
        self.slot_governor = slot_governor
        return slot_governor

    def cool(self) -> None:
        """Set calm heat and memory."""
        self.sensors["thermal"].said = ThermalReading(0.0, "told", level=HeatLevel.NOMINAL)
        self.sensors["memory"].said = MemoryReading(
            0.0, "told", level=PressureLevel.NORMAL, total_mib=16384.0, available_mib=9000.0
        )

    def heat(self, level: HeatLevel) -> None:
        """Set the heat level."""
        self.sensors["thermal"].said = ThermalReading(0.0, "told", level=level)

    def slept(self, slept_s: float | None) -> None:
        """Set the seconds that the machine has slept in all; None: unknown."""
        known = SleepReading(0.0, "told", slept_s=slept_s or 0.0)
        self.sensors["sleep"].said = Unknown("not told", 0.0) if slept_s is None else known

    def stopped(self) -> None:
        """Report a stopped process of the trainer."""
        self.sensors["contention"].said = ContentionReading(0.0, "told", trainer_cores=0.0, trainer_stopped=True)

    def pass_second(self) -> None:
        """Move the clock by a second and read the sensors."""
        self.now_s += 1.0
        self.slot_governor.monitor.sample(self.now_s, out_of_turn=True)

    def claim(self, name: str = "net", *, again: int | None = None, **keys: Any) -> tuple[Any, Any]:
        """Claim a new job, or the one numbered *again*."""
        number = again or ledger_rows.add(self.ledger, name, **{**ledger_rows.NET, **keys})
        attempt = claim(self.ledger, number)
        assert attempt is not None
        return queries.find_job(self.ledger, str(number)), attempt

    def attempt_governor(
        self, started: Started | None = STARTED, name: str = "net", *, again: int | None = None
    ) -> AttemptGovernor:
        """Claim a job and return the governor of its attempt, which has just started."""
        job, attempt = self.claim(name, again=again)
        pausing = Pausing(self.ledger, self.trainer, job.id)
        pending_writes = PendingWrites(self.ledger)
        attempt_governor = AttemptGovernor(
            self.slot_governor,
            self.ledger,
            self.telemetry,
            trainer=self.trainer,
            job=job,
            attempt=attempt,
            pausing=pausing,
            pending_writes=pending_writes,
        )
        if started is not None:
            attempt_governor.started(started)
        return attempt_governor

    def supervised(self, **keys: Any) -> Supervision:
        """Claim a job and return the supervision of its attempt; `run` plays the trainer's script."""
        job, attempt = self.claim(**keys)
        return Supervision(
            self.settings,
            self.ledger,
            self.telemetry,
            trainer=self.trainer,
            job=job,
            attempt=attempt,
            slot_governor=self.slot_governor,
            stopping=self.stopping,
        )

    def check(self, attempt_governor: AttemptGovernor, seconds: int) -> None:
        """Have the governor check once a second, for *seconds*."""
        for _ in range(seconds):
            self.pass_second()
            attempt_governor.check()

    def check_idle(self, seconds: int, telemetry: Telemetry | None = None) -> None:
        """Have the governor check an empty slot once a second, for *seconds*."""
        for _ in range(seconds):
            self.pass_second()
            self.slot_governor.check_idle_slot(self.ledger, telemetry or self.telemetry)

    def work(self, attempt_governor: AttemptGovernor, epochs: range, wall_s: float, **keys: Any) -> None:
        """Report *epochs* of 1000 samples and *wall_s* seconds each."""
        for epoch in epochs:
            self.now_s += wall_s
            attempt_governor.worked(EpochReport(epoch, 1000, wall_s, samples=1000, micro_batch=32, **keys))

    def events(self) -> list[tuple[str, str, str]]:
        """Return name, reason and words of every event."""
        return [(row.event, row.reason, row.words or "") for row in queries.last_events(self.ledger, 1000)]

    def close(self) -> None:
        """Stop the governor and close the telemetry."""
        self.slot_governor.stop()
        self.telemetry.close()


def _empty(path: Path) -> Path:
    path.write_text("")
    return path


def seen_work(attempt_governor: AttemptGovernor) -> list[Work]:
    """Return a list that fills with the work that the governor sees from now on."""
    seen: list[Work] = []
    governor = attempt_governor._governor
    assert governor is not None
    before = governor.saw_work

    def note(work: Work) -> None:
        seen.append(work)
        before(work)

    governor.saw_work = note  # type: ignore[method-assign]
    return seen

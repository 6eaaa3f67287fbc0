"""The contract of every sensor: a reading of its kind or `Unknown` with why, whatever happens; and a monitor that lives on.

Sensors of macOS run here too, on a machine without its libraries and commands: that is one more way to fail.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support.waiting import until

from cbi_queue import clock
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.readings.as_json import KINDS, reading_from_json
from cbi_queue.readings.values import Reading, Readings, SleepReading, Unknown
from cbi_queue.settings import load_settings
from workers.sensors.answers import TIMEOUT_S, ask
from workers.sensors.choice import sensors_for
from workers.sensors.monitor import FRESH_PERIODS, Monitor
from workers.sensors.sensor import COMMAND_TIMEOUT_S, Closing, Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cbi_queue.settings import Settings
    from workers.sensors.sensor import Sensor

GONE = ProcessIdentity(2**22 - 1, 1.0)
"""A process that does not exist."""
SCRIPT = '{"sensor_trace": 1, "hold": true}\n{"t_s": 0, "thermal": {"level": "heavy"}}\n'
PLATFORMS = ("linux", "darwin", "script", "cuda")


def settings_of(folder: Path, **environ: str) -> Settings:
    return load_settings({"CBI_STATE_DIR": str(folder), "CBI_CONFIG": str(empty_file(folder)), **environ})


def empty_file(folder: Path) -> Path:
    path = folder / "config.toml"
    path.touch()
    return path


def sensors_of(platform: str, folder: Path) -> list[Sensor]:
    if platform == "script":
        script = folder / "script.jsonl"
        script.write_text(SCRIPT)
        return sensors_for(settings_of(folder, CBI_SENSORS_SCRIPT=str(script)))
    if platform == "cuda":
        return sensors_for(settings_of(folder, CBI_PROFILE="cuda"), "linux")
    return sensors_for(settings_of(folder), platform)


@pytest.fixture(params=PLATFORMS)
def sensors(request, tmp_path) -> Iterator[list[Sensor]]:
    if request.param in {"linux", "cuda"} and sys.platform != "linux":
        pytest.skip("the sensors of Linux ask for Linux's own calls")
    made = sensors_of(request.param, tmp_path)
    yield made
    for sensor in made:
        if isinstance(sensor, Closing):
            sensor.close()


def test_every_kind_has_a_sensor_and_every_sensor_says_what_it_is(sensors):
    assert {sensor.kind for sensor in sensors} == set(KINDS)
    assert len({(sensor.kind, sensor.name) for sensor in sensors}) == len(sensors), "a log line must name one of them"
    for sensor in sensors:
        assert sensor.name
        assert isinstance(sensor.is_slow, bool)
        assert 1 <= sensor.every < FRESH_PERIODS, f"{sensor.name} would be stale before it is asked again"


def test_every_sensor_gives_a_reading_of_its_kind_or_says_why_not(sensors):
    for _ in range(2):
        for sensor in sensors:
            now_s = clock.boot_s()
            answer = ask(sensor, now_s)
            assert isinstance(answer, (KINDS[sensor.kind], Unknown)), sensor.name
            assert answer.at_s <= now_s + 1.0
            assert answer.why if isinstance(answer, Unknown) else answer.source


@pytest.mark.parametrize("trainer", [None, GONE, "self"])
def test_every_sensor_survives_any_trainer(sensors, trainer):
    identity = ProcessIdentity.of(os.getpid()) if trainer == "self" else trainer
    for sensor in sensors:
        if isinstance(sensor, Watching):
            sensor.watch(identity)
        answer = ask(sensor, clock.boot_s())
        if sensor.kind == "footprint" and trainer != "self":
            assert isinstance(answer, Unknown), "no trainer is not a trainer of 0 MiB"


def test_every_sensor_may_be_closed_twice_and_asked_after_that(sensors):
    for sensor in sensors:
        if isinstance(sensor, Closing):
            sensor.close()
            sensor.close()
        assert isinstance(ask(sensor, clock.boot_s()), (Reading, Unknown))


def test_a_command_is_given_up_before_its_sensor_is():
    """Or every slow command would be told as a hang, and its words lost."""
    assert COMMAND_TIMEOUT_S < TIMEOUT_S


@dataclass
class Saboteur:
    """A sensor that stands in for a real one and fails as it is told."""

    kind: str
    name: str
    is_slow: bool
    fail: Callable[[float], Any] | None = None
    every: int = 1
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, now_s: float) -> Any:
        """Fail, or give a good reading."""
        with self.lock:
            self.asked += 1
        return self.fail(now_s) if self.fail else reading_from_json(self.kind, GOOD[self.kind], now_s)


GOOD: dict[str, dict[str, Any]] = {
    "thermal": {"level": "nominal", "temp_c": 45.0}, "memory": {"level": "normal"}, "footprint": {"footprint_mib": 5},
    "contention": {}, "gpu": {"busy_share": 0.5}, "power": {"low_power_mode": False}, "sleep": {},
}  # fmt: skip


def raises(_now_s: float) -> Any:
    raise ZeroDivisionError("division by zero")


def exits(_now_s: float) -> Any:
    raise ConnectionResetError("the device went away")


def garbage(_now_s: float) -> Any:
    return "cool"


def wrong_kind(now_s: float) -> Any:
    return SleepReading(now_s, "x") if now_s else None


def stale(now_s: float) -> Any:
    return SleepReading(now_s - 3600.0, "x")


def missing(_now_s: float) -> Any:
    raise FileNotFoundError(2, "No such file or directory", "/sys/class/hwmon/hwmon3/temp1_input")


FAILURES = {"exception": raises, "lost device": exits, "garbage": garbage, "nothing": lambda _: None, "gone": missing}


@pytest.fixture
def settings(tmp_path) -> Settings:
    return settings_of(tmp_path, CBI_SAMPLE_S="0.2")


def crew(**saboteurs: Saboteur) -> list[Saboteur]:
    """One good sensor a kind, but for those given."""
    return [saboteurs.get(kind) or Saboteur(kind, f"good {kind}", is_slow=False) for kind in KINDS]


@pytest.mark.parametrize("is_slow", [False, True], ids=["quick", "slow"])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_sensor_is_unknown_alone_and_known_again_when_it_recovers(settings, kind, failure, is_slow):
    bad = Saboteur(kind, "bad", is_slow, fail=FAILURES[failure])
    monitor = Monitor(settings, crew(**{kind: bad}))

    def look(at_s: float) -> Readings:
        monitor.sample(at_s)
        until(lambda: monitor.collect(at_s), "every sensor to answer")
        return monitor.latest(at_s)

    first = look(100.0)
    assert isinstance(getattr(first, kind), Unknown)
    assert getattr(first, kind).why
    assert all(isinstance(getattr(first, other), Reading) for other in KINDS if other != kind)

    bad.fail = None
    assert isinstance(getattr(look(101.0), kind), Reading)
    bad.fail = FAILURES[failure]
    assert isinstance(getattr(look(102.0), kind), Unknown), "the last good reading must not stand in for this one"


def test_a_reading_of_another_kind_is_garbage(settings):
    monitor = Monitor(settings, crew(thermal=Saboteur("thermal", "bad", is_slow=False, fail=wrong_kind)))
    monitor.sample(50.0)
    assert "not a thermal reading" in monitor.latest(50.0).thermal.why


def test_a_stale_reading_is_unknown(settings):
    """A sensor that goes on telling what it saw an hour ago is worse than a dead one."""
    monitor = Monitor(settings, crew(sleep=Saboteur("sleep", "bad", is_slow=False, fail=stale)))
    monitor.sample(5000.0)
    assert "60 min old" in monitor.latest(5000.0).sleep.why


@pytest.mark.parametrize("kind", KINDS)
def test_a_hung_sensor_is_unknown_is_not_asked_again_and_comes_back(settings, kind):
    release = threading.Event()

    def hang(now_s: float) -> Any:
        release.wait(60)
        return reading_from_json(kind, GOOD[kind], now_s)

    bad = Saboteur(kind, "bad", is_slow=True)
    monitor = Monitor(settings, crew(**{kind: bad}))
    monitor.sample(100.0)
    until(lambda: monitor.collect(100.0), "the good answer")
    bad.fail = hang
    for at_s in (100.2, 100.4, 103.0, 100.2 + TIMEOUT_S + 0.1):
        monitor.sample(at_s)
    hung = monitor.latest(at_s)

    assert getattr(hung, kind) == Unknown(f"it did not answer within {TIMEOUT_S:g} s", at_s)
    assert all(isinstance(getattr(hung, other), Reading) for other in KINDS if other != kind)
    assert bad.asked == 2, "each further question would leave one more thread behind"

    bad.fail = None
    release.set()
    until(lambda: monitor.collect(at_s), "the hung sensor to come back")
    monitor.sample(106.0)
    until(lambda: monitor.collect(106.0), "the next answer")
    assert isinstance(getattr(monitor.latest(106.0), kind), Reading)


def test_while_a_slow_sensor_thinks_its_last_reading_ages_and_is_given_up(settings):
    release = threading.Event()
    bad = Saboteur("gpu", "bad", is_slow=True)
    monitor = Monitor(settings, crew(gpu=bad))
    monitor.sample(100.0)
    until(lambda: monitor.collect(100.0), "the good answer")
    bad.fail = lambda _now_s: release.wait(60)
    monitor.sample(100.2)

    assert isinstance(monitor.latest(100.9).gpu, Reading)
    assert "s old" in monitor.latest(100.0 + monitor.max_age_s + 0.5).gpu.why
    release.set()


def test_a_quick_sensor_that_hangs_after_all_leaves_nothing_that_looks_fresh(settings):
    """The thread stands still then; the readings must age and say so, for whoever asks from another thread."""
    release, hanging = threading.Event(), threading.Event()

    def hang(_now_s: float) -> Any:
        hanging.set()
        release.wait(60)

    bad = Saboteur("thermal", "bad", is_slow=False)
    monitor = Monitor(settings, crew(thermal=bad))
    monitor.start()
    until(lambda: isinstance(monitor.latest().thermal, Reading), "a first sample")
    bad.fail = hang
    assert hanging.wait(30)
    later_s = clock.boot_s() + monitor.max_age_s + 1.0

    assert all(isinstance(getattr(monitor.latest(later_s), kind), Unknown) for kind in KINDS)
    release.set()
    monitor.stop()


@dataclass
class TreeSaboteur(Saboteur):
    """One that looks at the trainer."""

    trainer: ProcessIdentity | None = None

    def watch(self, trainer: ProcessIdentity | None) -> None:
        """Remember whom."""
        self.trainer = trainer


@pytest.mark.parametrize("is_slow", [False, True], ids=["quick", "slow"])
def test_what_was_read_of_one_trainer_is_never_told_of_the_next(settings, is_slow):
    """A job of 100 MiB that follows one of 12 GiB would be evicted for a leak, and the estimate spoilt for good."""
    old, new = ProcessIdentity(4711, 1.0), ProcessIdentity(4712, 2.0)
    answering, release = threading.Event(), threading.Event()

    def tree(now_s: float) -> Any:
        footprint = 12_000 if sensor.trainer == old else 100
        if sensor.trainer == old and answering.is_set():
            release.wait(60)
        return reading_from_json("footprint", {"footprint_mib": footprint}, now_s)

    sensor = TreeSaboteur("footprint", "tree", is_slow, fail=tree, every=3)
    monitor = Monitor(settings, [sensor])

    def look(at_s: float) -> Any:
        monitor.sample(at_s)
        until(lambda: monitor.collect(at_s), "the tree's answer")
        return monitor.latest(at_s).footprint

    monitor.watch(old)
    assert look(100.0).footprint_mib == 12_000
    if is_slow:  # the next answer about the old trainer is under way when it goes
        answering.set()
        monitor.sample(100.2)
        monitor.sample(100.4)
        monitor.sample(100.6)
    monitor.watch(new)
    assert isinstance(monitor.latest(100.6).footprint, Unknown)
    release.set()
    until(lambda: monitor.collect(100.7), "the old answer")
    assert isinstance(monitor.latest(100.7).footprint, Unknown), "it came late, and is not about this trainer"
    assert look(100.8).footprint_mib == 100, "the first look is its turn"
    monitor.watch(new)
    assert monitor.latest(100.9).footprint.footprint_mib == 100, "the same trainer once more changes nothing"

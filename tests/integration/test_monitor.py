"""The monitor on this machine: real memory, real processors, real children; what it records it can replay."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from support.light_libraries import light_libraries
from support.waiting import until

from cbi_queue import clock
from cbi_queue.errors import SettingsError
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.readings.as_json import KINDS, reading_from_json, reading_to_json
from cbi_queue.readings.values import MemoryReading, Reading, Readings, Unknown
from cbi_queue.settings import load_settings
from workers.sensors.linux.tree import LinuxPlatform
from workers.sensors.monitor import Monitor
from workers.sensors.process_tree import Contention, Footprint
from workers.sensors.scripted import Player, parse_script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cbi_queue.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TICKS_S = 0.08
"""Seconds that two readings of counters, each in ticks of 10 ms for a few processes and processors, may differ by."""
SPINNING = "print('ready', flush=True)\nwhile True: pass"
TREE = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
child.wait()
"""
HOLDING = "ballast = bytearray(b'x' * (100 << 20))\nprint('ready', flush=True)\nimport time; time.sleep(600)"
WAITING = "print('ready', flush=True)\nimport time; time.sleep(600)"


@contextmanager
def child(code: str) -> Iterator[ProcessIdentity]:
    """A Python child that has said that it is ready; its whole tree is killed at the end."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        identity = ProcessIdentity.of(process.pid)
        assert identity
        try:
            yield identity
        finally:
            identity.kill_tree()


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    """The environment of an installation of its own that samples quickly."""
    (tmp_path / "config.toml").touch()
    own = {"CBI_STATE_DIR": str(tmp_path), "CBI_CONFIG": str(tmp_path / "config.toml"), "CBI_SAMPLE_S": "0.2"}
    return {**{k: v for k, v in os.environ.items() if not k.startswith("CBI_")}, **own}


@pytest.fixture
def settings(environ) -> Settings:
    return load_settings(environ)


@pytest.fixture
def monitor(settings) -> Iterator[Monitor]:
    made = Monitor(settings)
    yield made
    made.stop()


def test_the_thread_keeps_real_readings_fresh_until_it_is_stopped(monitor):
    monitor.start()
    monitor.start()
    first = until(lambda: known_memory(monitor), "a first reading of memory")
    later = until(lambda: newer(monitor, first), "a later one")

    assert later.total_mib * 2**20 == pytest.approx(psutil.virtual_memory().total, rel=0.01)
    assert 0 < later.available_mib < later.total_mib
    assert [thread.name for thread in threading.enumerate()].count("monitor") == 1
    monitor.stop()
    monitor.stop()
    assert "monitor" not in [thread.name for thread in threading.enumerate()]
    assert isinstance(monitor.latest(clock.boot_s() + monitor.max_age_s + 1).memory, Unknown)


def test_a_stopped_monitor_can_be_started_again(monitor):
    monitor.start()
    first = until(lambda: known_memory(monitor), "a reading")
    monitor.stop()
    monitor.start()
    until(lambda: newer(monitor, first), "a reading after the second start")


def known_memory(monitor: Monitor) -> MemoryReading | None:
    memory = monitor.latest().memory
    return memory if isinstance(memory, MemoryReading) else None


def newer(monitor: Monitor, than: Reading) -> MemoryReading | None:
    memory = known_memory(monitor)
    return memory if memory and memory.at_s > than.at_s else None


def test_before_the_first_sample_everything_is_unknown(monitor):
    assert all(isinstance(getattr(monitor.latest(), kind), Unknown) for kind in KINDS)


def test_a_listener_that_fails_is_logged_once_and_stops_nothing(settings, caplog):
    heard: list[Readings] = []

    def listen(readings: Readings) -> None:
        heard.append(readings)
        raise OSError("disk full")

    monitor = Monitor(settings, on_sample=listen)
    monitor.start()
    until(lambda: len(heard) > 3, "samples after the listener failed")
    monitor.stop()
    assert caplog.text.count("event=monitor.failed") == 1


class Flaky:
    """A sensor that says what it is told to."""

    kind, name, is_slow, every = "memory", "flaky", False, 1

    def __init__(self) -> None:
        self.why: str | None = None

    def read(self, now_s: float) -> MemoryReading | Unknown:
        """Say it."""
        return MemoryReading(now_s, self.name, total_mib=1.0) if self.why is None else Unknown(self.why, now_s)


def test_a_change_is_logged_and_a_state_is_not(settings, caplog):
    """A sensor that is not there would fill the log with a line every two seconds, a year long."""
    caplog.set_level(logging.INFO)
    sensor = Flaky()
    monitor = Monitor(settings, [sensor])
    for why in (None, None, "hung for 5 s", "hung for 7 s", "gone", "gone", None, None):
        sensor.why = why
        monitor.sample(1.0)

    events = [record.getMessage().split()[0] for record in caplog.records]
    assert events == ["event=sensor.unknown", "event=sensor.unknown", "event=sensor.known"]


def test_the_footprint_is_that_of_the_whole_tree():
    """A trainer's workers hold the data; its own process holds next to nothing."""
    footprint = Footprint(LinuxPlatform())
    with child(TREE.format(child=HOLDING)) as tree, child(HOLDING):
        footprint.watch(tree)
        reading = footprint.read(5.0)
        grandchild = psutil.Process(tree.pid).children()[0]

        assert reading.processes == 2
        assert 100 < reading.footprint_mib < 180, "the tree's 100 MiB, and not the stranger's"
        assert reading.footprint_mib > grandchild.memory_full_info().uss / 2**20
    assert isinstance(footprint.read(6.0), Unknown), "a tree that ended has no footprint of 0"


def spent_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def machine_s() -> float:
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


@pytest.mark.parametrize("is_in_tree", [True, False])
def test_a_busy_process_counts_as_trainer_inside_the_tree_and_as_others_outside(is_in_tree):
    """Held against psutil's own counters, read before and after each look: this machine may be busy with anything."""
    contention = Contention(LinuxPlatform())
    with child(TREE.format(child=SPINNING if is_in_tree else WAITING)) as tree, child(SPINNING) as outsider:
        busy = psutil.Process(tree.pid).children()[0].pid if is_in_tree else outsider.pid
        contention.watch(tree)

        def look(at_s: float):
            before = spent_s(busy), machine_s()
            return before, contention.read(at_s), (spent_s(busy), machine_s())

        first_low, first, first_high = look(100.0)
        until(lambda: spent_s(busy) > first_high[0] + 1.0, "the busy process to use a second")
        last_low, reading, last_high = look(110.0)

    assert isinstance(first, Unknown), "one look tells no rate"
    least = [last - first - TICKS_S for last, first in zip(last_low, first_high, strict=True)]
    most = [last - first + TICKS_S for last, first in zip(last_high, first_low, strict=True)]
    trainer_s, others_s = 10.0 * reading.trainer_cores, 10.0 * reading.others_cores
    assert least[1] <= trainer_s + others_s <= most[1]
    if is_in_tree:
        assert least[0] <= trainer_s <= most[0]
    else:
        assert trainer_s <= TICKS_S
        assert others_s >= least[0]
    assert reading.trainer_stopped is False


def test_time_of_children_that_ended_stays_the_trainer_s():
    """A trainer that starts a short process per batch must not look like a crowd of strangers."""
    code = (
        "import subprocess, sys\nprint('ready', flush=True)\n"
        "while True: subprocess.run([sys.executable, '-S', '-c', 'sum(range(10**7))'])"
    )
    contention = Contention(LinuxPlatform())
    with child(code) as tree:
        contention.watch(tree)
        contention.read(began_s := clock.boot_s())
        before = children_s(tree.pid)
        until(lambda: children_s(tree.pid) > before + 0.8, "children to end")
        reading = contention.read(ended_s := clock.boot_s())

    assert reading.trainer_cores * (ended_s - began_s) > 0.7


def children_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.children_user + times.children_system


def test_a_stopped_tree_is_seen_as_stopped():
    contention = Contention(LinuxPlatform())
    with child(TREE.format(child=WAITING)) as tree:
        contention.watch(tree)
        grandchild = psutil.Process(tree.pid).children()[0]
        contention.read(1.0)
        assert contention.read(2.0).trainer_stopped is False
        grandchild.send_signal(signal.SIGSTOP)
        until(lambda: grandchild.status() == psutil.STATUS_STOPPED, "the grandchild to stop")
        assert contention.read(3.0).trainer_stopped is True
        grandchild.send_signal(signal.SIGCONT)
        until(lambda: grandchild.status() != psutil.STATUS_STOPPED, "it to go on")
        assert contention.read(4.0).trainer_stopped is False


def test_a_new_trainer_s_time_is_not_held_against_the_old_one_s():
    contention = Contention(LinuxPlatform())
    contention.read(1.0)
    assert contention.read(2.0).trainer_cores is None
    with child(WAITING) as trainer:
        contention.watch(trainer)
        assert isinstance(contention.read(3.0), Unknown)
        assert contention.read(4.0).trainer_cores is not None
    assert isinstance(contention.read(5.0), Unknown), "the trainer has gone since"
    assert contention.read(6.0).trainer_cores is None


def sensors(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cbi_queue.cli", "sensors", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_what_is_recorded_here_is_what_a_script_says(environ, tmp_path):
    """A trace that a Mac owner sends is worth what it replays: every kind, every figure, every age."""
    trace = tmp_path / "trace.jsonl"
    with child(HOLDING) as trainer:
        done = sensors(environ, "record", str(trace), "--for", "1.5s", "--pid", str(trainer.pid))
    assert done.returncode == 0, done.stderr
    header, *rows = [json.loads(line) for line in trace.read_text().splitlines()]
    assert (header["sensor_trace"], header["period_s"]) == (1, 0.2)
    assert len(rows) >= 4
    assert any("footprint_mib" in row["footprint"] for row in rows)
    assert not any(word in trace.read_text() for word in (os.uname().nodename, str(tmp_path)))
    assert not re.search(rf"(?<![\d.]){trainer.pid}(?![\d.])", trace.read_text())

    player = Player(parse_script(trace.read_text(), "trace.jsonl"))
    player.start(1000.0, "monitor")
    for row in rows:
        now_s = 1000.0 + row["t_s"] + 1e-6
        said = {kind: reading_to_json(player.reading(kind, now_s), now_s) for kind in KINDS}
        assert close_to({kind: row[kind] for kind in KINDS}, said), row["t_s"]


def close_to(one: Any, other: Any) -> bool:
    """Equal, but for the last digit of an age that went through two clocks."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(close_to(one.get(key, 0.0), other.get(key, 0.0)) for key in one.keys() | other.keys())
    return one == pytest.approx(other, abs=1e-3) if isinstance(one, float) else one == other


def test_a_script_takes_the_place_of_every_sensor(environ, tmp_path):
    script = tmp_path / "script.jsonl"
    wave = {"thermal": {"level": "heavy", "source": "a Mac"}, "gpu": {"unknown": "unplugged"}}
    script.write_text('{"sensor_trace": 1, "hold": true}\n' + json.dumps({"t_s": 0, **wave}) + "\n")
    done = sensors({**environ, "CBI_SENSORS_SCRIPT": str(script)}, "show", "--json")
    rows = {row["kind"]: row for row in json.loads(done.stdout)}

    assert rows["thermal"]["words"] == "heavy"
    assert rows["thermal"]["source"] == "a Mac"
    assert rows["gpu"]["words"] == "unknown: unplugged"
    assert rows["memory"]["words"] == "unknown: the script has no reading of it", "nothing real is mixed in"


def test_a_script_that_starts_with_the_trainer_waits_for_watch(environ, tmp_path):
    script = tmp_path / "script.jsonl"
    rows = [{"t_s": 0, "thermal": {"level": "nominal"}}, {"t_s": 0.01, "thermal": {"level": "heavy"}}]
    header = {"sensor_trace": 1, "starts": "trainer", "hold": True}
    script.write_text("\n".join(json.dumps(row) for row in [header, *rows]))
    monitor = Monitor(load_settings({**environ, "CBI_SENSORS_SCRIPT": str(script)}))

    monitor.sample(now_s := clock.boot_s() + 0.5)
    assert monitor.latest(now_s).thermal.level.name == "NOMINAL"
    monitor.watch(ProcessIdentity.of(os.getpid()))
    monitor.sample(now_s := clock.boot_s() + 0.5)
    assert monitor.latest(now_s).thermal.level.name == "HEAVY"


def test_a_script_that_is_not_there_is_refused_with_its_name(environ, tmp_path):
    with pytest.raises(SettingsError, match=r"none\.jsonl"):
        Monitor(load_settings({**environ, "CBI_SENSORS_SCRIPT": str(tmp_path / "none.jsonl")}))


def test_show_names_value_source_trust_and_age_of_every_kind(environ):
    with child(HOLDING) as trainer:
        rows = json.loads(sensors(environ, "show", "--json", "--pid", str(trainer.pid)).stdout)
    by_kind = {row["kind"]: row for row in rows}

    assert set(by_kind) == set(KINDS)
    for row in rows:
        reading = reading_from_json(row["kind"], row["reading"], 100.0)
        assert isinstance(reading, Unknown) == (row["trust"] is None)
        assert row["words"]
        assert row["source"]
        assert 0 <= row["age_s"] < 60
    assert by_kind["footprint"]["reading"]["footprint_mib"] > 100
    assert by_kind["contention"]["trust"] == "firm", "rates need a second look"


def test_the_verbs_refuse_what_is_not_there(environ, tmp_path):
    taken = tmp_path / "taken.jsonl"
    taken.write_text("mine")
    for arguments, words in (
        (("show", "--pid", str(2**22 - 1)), "there is no process"),
        (("record", str(taken), "--for", "1s"), "File exists"),
        (("record", str(tmp_path / "none" / "x"), "--for", "1s"), "No such file"),
    ):
        done = sensors(environ, *arguments)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
    assert taken.read_text() == "mine"


def test_the_doctor_names_every_sensor_and_calls_none_bad(environ: dict[str, str], tmp_path: Path):
    script = tmp_path / "script.jsonl"
    script.write_text(
        '{"sensor_trace": 1, "hold": true}\n{"t_s": 0, "thermal": {"level": "heavy", "source": "a Mac"}}\n'
    )
    command = [sys.executable, "-P", "-m", "cbi_queue.cli", "doctor", "--json"]
    done = subprocess.run(
        command,
        env={**environ, "CBI_SENSORS_SCRIPT": str(script), **light_libraries()},
        capture_output=True,
        text=True,
        check=False,
    )
    findings = {f["subject"]: f for f in json.loads(done.stdout) if f["subject"].startswith("sensor ")}

    assert len(findings) == len(KINDS)
    heat = findings["sensor thermal, script script.jsonl"]
    assert heat["verdict"] == "ok"
    assert heat["seen"].startswith("heavy; ")
    assert heat["seen"].endswith(" s old, from a Mac, firm")
    unknown = [f for f in findings.values() if f is not heat]
    assert all(f["verdict"] == "note" and "has no reading of it" in f["seen"] for f in unknown)

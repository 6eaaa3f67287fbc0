"""A trace stands in for sensors: each second says what it says, and nothing is made up after the end."""

from __future__ import annotations

import json

import pytest

from cbi_queue.errors import SettingsError
from cbi_queue.readings.values import HeatLevel, ThermalReading, Unknown
from workers.sensors.scripted import Player, Scripted, parse_script, scripted_sensors


def trace(*rows: dict, **header: object) -> str:
    """A trace of *rows* below a header."""
    return "\n".join(json.dumps(row) for row in [{"sensor_trace": 1, "period_s": 2.0, **header}, *rows])


def heat(level: str, **more: object) -> dict:
    return {"thermal": {"level": level, **more}}


WAVE = (
    {"t_s": 0.0, **heat("nominal"), "memory": {"level": "normal"}},
    {"t_s": 10.0, **heat("heavy")},
    {"t_s": 20.0, "thermal": {"unknown": "unplugged"}},
    {"t_s": 30.0, **heat("moderate")},
)


def player(*rows: dict, **header: object) -> Player:
    return Player(parse_script(trace(*(rows or WAVE), **header), "wave.jsonl"))


def test_each_second_says_what_the_last_line_before_it_said():
    played = player()
    said = [played.reading("thermal", 100.0 + t) for t in (0.0, 9.9, 10.0, 19.0, 31.9)]
    assert [reading.level for reading in said] == [
        HeatLevel.NOMINAL, HeatLevel.NOMINAL, HeatLevel.HEAVY, HeatLevel.HEAVY, HeatLevel.MODERATE,
    ]  # fmt: skip
    assert [reading.at_s for reading in said] == [100.0, 109.9, 110.0, 119.0, 131.9], "held values stay fresh"
    assert played.reading("thermal", 120.0) == Unknown("unplugged", 120.0)


def test_a_kind_that_a_line_leaves_out_keeps_its_value():
    played = player()
    played.reading("memory", 0.0)
    assert played.reading("memory", 25.0).level.name == "NORMAL"


def test_a_kind_that_no_line_told_is_unknown():
    assert player().reading("gpu", 0.0) == Unknown("the script has no reading of it", 0.0)


def test_after_its_end_a_script_says_nothing():
    """A script that went on with its last value would hold a machine cool, or hot, for ever."""
    played = player()
    played.reading("thermal", 0.0)
    assert isinstance(played.reading("thermal", 32.0), ThermalReading)
    assert played.reading("thermal", 32.1) == Unknown("the script has ended", 32.1)


def test_a_script_that_holds_keeps_its_last_value():
    played = player(hold=True)
    played.reading("thermal", 0.0)
    assert played.reading("thermal", 9000.0).level is HeatLevel.MODERATE


def test_a_script_may_wait_for_the_first_trainer():
    """The demo's heat wave must meet the training, however long the features took."""
    played = player(starts="trainer")
    assert played.reading("thermal", 500.0).level is HeatLevel.NOMINAL
    played.start(500.0, "trainer")
    assert played.reading("thermal", 512.0).level is HeatLevel.HEAVY
    played.start(512.0, "trainer")
    assert played.reading("thermal", 531.0).level is HeatLevel.MODERATE, "a second trainer does not start it again"


def test_a_script_that_follows_the_training_tells_the_same_story_at_any_speed(monkeypatch):
    """On a busy machine an epoch takes ten times as long; on a quick one the story is no quicker than the clock."""
    now = [1000.0]
    monkeypatch.setattr("workers.sensors.scripted.clock.boot_s", lambda: now[0])
    for wall_s, epochs in ((10.0, 10), (1.0, 10), (0.5, 20)):
        played = player(starts="work", epoch_s=1.0)
        sensors = [Scripted(kind, played) for kind in ("thermal", "memory")]
        for sensor in sensors:
            sensor.epoch_done()  # of a trainer that has not begun: nothing moves
            sensor.work_begins()
        levels = []
        for _ in range(epochs):
            now[0] += wall_s
            levels.append(sensors[0].read(now[0]).level)
            for sensor in sensors:
                sensor.epoch_done()
        assert set(levels) == {HeatLevel.NOMINAL}
        assert sensors[0].read(now[0] + 500.0).level is HeatLevel.HEAVY, "without an epoch it stands still"


def test_a_script_that_follows_the_training_goes_on_while_the_trainer_is_paused(monkeypatch):
    """Or it would be paused in heat that never ends."""
    now = [0.0]
    monkeypatch.setattr("workers.sensors.scripted.clock.boot_s", lambda: now[0])
    played = player(starts="work", epoch_s=1.0)
    sensor = Scripted("thermal", played)
    sensor.work_begins()
    for _ in range(10):
        now[0] += 3.0
        sensor.epoch_done()
    assert sensor.read(now[0]).level is HeatLevel.HEAVY
    for _ in range(20):
        now[0] += 1.0
        sensor.work_rests()
    assert sensor.read(now[0]).level is HeatLevel.MODERATE


def test_losing_the_trainer_starts_nothing():
    played = player(starts="trainer")
    Scripted("thermal", played).watch(None)
    assert played.reading("thermal", 9000.0).level is HeatLevel.NOMINAL


def test_a_recorded_age_is_replayed():
    """So that a late reading can be written into a script."""
    played = player({"t_s": 0.0, **heat("heavy", age_s=30.0)})
    assert played.reading("thermal", 100.0).at_s == 70.0


def test_a_waking_stays_where_it_was():
    played = player(
        {"t_s": 0.0, "sleep": {"slept_s": 0.0}}, {"t_s": 10.0, "sleep": {"slept_s": 60.0, "woke_ago_s": 1.0}}
    )
    played.reading("sleep", 1000.0)
    assert [played.reading("sleep", t).woke_at_s for t in (1010.0, 1012.0)] == [1009.0, 1009.0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", 'header with "sensor_trace": 1'),
        ('{"t_s": 0}', 'header with "sensor_trace": 1'),
        ('{"sensor_trace": 2}', 'header with "sensor_trace": 1'),
        ("[1]", "line 1: the list [1] is not allowed; allowed: an object"),
        (trace(), "no sample follows"),
        (trace({"t_s": 0.0}) + "\n{", "line 3 is not JSON: '{'"),
        (trace({"t_s": 5.0}, {"t_s": 5.0}), "line 3: t_s is 5.0"),
        (trace({"t_s": True}), "line 2: t_s is true"),
        (trace({"thermal": {}}), "line 2: t_s is null"),
        (trace({"t_s": 0, "heat": {}}), "line 2: there is no reading 'heat'"),
        (trace({"t_s": 0, **heat("hot")}), "line 2: thermal.level is 'hot'"),
        (trace({"t_s": 0}, starts="daemon"), "starts is 'daemon'"),
        (trace({"t_s": 0}, starts="work", epoch_s=0), "epoch_s is 0; allowed is above 0"),
        (trace({"t_s": 0}, epoch_s=1), 'with it, starts must be "work"'),
        (trace({"t_s": 0}, hold="yes"), "hold is 'yes'"),
        (trace({"t_s": 0}, period_s=0), "period_s is 0"),
        (trace({"t_s": 0}, starts=[]), "starts is the list []"),
        (trace({"t_s": 0}, hold={}), "hold is a mapping"),
        (trace({"t_s": float("nan")}), "line 2: t_s is nan"),
        (trace({"t_s": 0}) + "\n" + "[" * 5000, "line 3 is not JSON"),
        (trace({"t_s": 0}) + '\n{"t_s": ' + "9" * 5000 + "}", "line 3 is not JSON"),
        ("\udce4", "line 1: byte 0 (0xe4) is not UTF-8"),
    ],
)
def test_a_script_that_is_none_is_refused_with_its_path_and_line(tmp_path, text, complaint):
    path = tmp_path / "wave.jsonl"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError) as refused:
        scripted_sensors(path)
    assert refused.value.message.startswith(f"cannot use the sensors' script {path}: ")
    assert complaint in refused.value.message
    assert "CBI_SENSORS_SCRIPT" in refused.value.hint

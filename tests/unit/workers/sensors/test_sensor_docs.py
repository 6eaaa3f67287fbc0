"""docs/sensors.md names every sensor of every platform with its turn, and every key of a trace."""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from cbi_queue.readings.as_json import KINDS
from cbi_queue.settings import load_settings
from workers.sensors.choice import THERMAL_KEY_SEEN, sensors_for

PAGE = (Path(__file__).parents[4] / "docs" / "sensors.md").read_text(encoding="utf-8")


def rows_of(section: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    lines = PAGE.partition(f"\n### {section}\n\n")[2].splitlines()
    table = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table][2:]


@pytest.mark.parametrize(
    ("section", "platform", "profile"), [("macOS", "darwin", "m4-16gb"), ("Linux", "linux", "cuda")]
)
def test_every_sensor_has_its_row_with_its_turn(section, platform, profile):
    if platform == "linux" and sys.platform != "linux":
        pytest.skip("the sensors of Linux ask for Linux's own calls")
    settings = load_settings({"CBI_STATE_DIR": "/none", "CBI_PROFILE": profile})
    sensors = sorted((sensor.kind, str(sensor.every)) for sensor in sensors_for(settings, platform))
    assert sorted((row[0], row[3]) for row in rows_of(section)) == sensors


def test_every_key_of_a_trace_is_told():
    rows = re.findall(r"^\| `(\w+)` \| (`.*) \|$", PAGE, flags=re.MULTILINE)
    told = {kind: set(re.findall(r"`(\w+)`", keys)) for kind, keys in rows if kind in KINDS}
    own = {"at_s", "source", "trust"}
    expected = {kind: {f.name for f in fields(cls)} - own for kind, cls in KINDS.items()}
    expected["sleep"] = expected["sleep"] - {"woke_at_s"} | {"woke_ago_s"}
    assert told == expected


def test_the_file_that_remembers_is_named():
    assert THERMAL_KEY_SEEN in PAGE


def test_the_key_of_one_s_own_works_as_it_is_typed():
    """The system forgets a key with its last user: the one who posts it is gone before anyone reads it."""
    assert "CBI_THERMAL_KEY=my.own.key cbi-queue worker" in PAGE
    assert "notifyutil -s my.own.key 2 -p my.own.key" in PAGE

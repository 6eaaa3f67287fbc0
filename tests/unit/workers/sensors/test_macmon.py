"""Lines of macmon: both namings, and temperatures that only look like some."""

from __future__ import annotations

import json

import pytest
from support.sensor_samples import sample

from workers.sensors.macos.macmon import MacmonFault, MacmonLine, parse_macmon

REAL = sample("macmon-0.7.json")


def line(cpu: object, gpu: object) -> str:
    """The real line with other temperatures."""
    return json.dumps({**json.loads(REAL), "temp": {"cpu_temp_avg": cpu, "gpu_temp_avg": gpu}})


def test_a_line_of_0_7_is_read():
    assert parse_macmon(REAL) == MacmonLine(43.73614, 0.021497859, 461.0)


def test_a_line_of_0_8_is_read_by_its_new_names():
    row = {"temp": {"cpu_temp_avg": 88.0, "gpu_temp_avg": 91.5}, "gpu_freq_mhz": 1470, "gpu_scaled_ratio": 0.9}
    assert parse_macmon(json.dumps({**row, "gpu_active_ratio": 0.97})) == MacmonLine(91.5, 0.97, 1470.0)


@pytest.mark.parametrize("sentinel", [6.7, 9.8, 40.0, 4.633, 0.0, -4.0, 1.5, 5.0, 14.99, 125.1, -9201.1, 1e308])
def test_a_sentinel_is_no_temperature(sentinel):
    """A parked core reads 6.7 whatever the die does: taken as heat it would be good news."""
    assert parse_macmon(line(sentinel, sentinel)).temp_c is None
    assert parse_macmon(line(sentinel, 71.25)).temp_c == 71.25
    assert parse_macmon(line(71.25, sentinel)).temp_c == 71.25


@pytest.mark.parametrize("value", [None, "71", True, [], {}])
def test_what_is_no_number_is_no_temperature(value):
    assert parse_macmon(line(value, value)).temp_c is None


@pytest.mark.parametrize("text", ["", "Error: unsupported", "[1]", "null", '{"temp":'])
def test_what_is_no_line_is_refused(text):
    with pytest.raises(MacmonFault):
        parse_macmon(text)


@pytest.mark.parametrize("temp", [None, [], "hot", 3])
def test_a_line_without_temperatures_still_tells_the_gpu(temp):
    told = parse_macmon(json.dumps({"temp": temp, "gpu_usage": [900, 0.5]}))
    assert told == MacmonLine(None, 0.5, 900.0)


@pytest.mark.parametrize("usage", [[461], [461, 2.5], "x", [None, None], [461, float("nan")]])
def test_a_share_beyond_reason_is_left_out(usage):
    assert parse_macmon(json.dumps({"gpu_usage": usage})).gpu_share is None

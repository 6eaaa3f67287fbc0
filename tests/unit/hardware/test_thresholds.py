"""`hardware.thresholds`: a wrong number is refused with what is allowed, and every number says why it is there."""

from __future__ import annotations

from dataclasses import fields

import pytest

from cbi_queue.errors import SettingsError
from cbi_queue.hardware.thresholds import Thresholds, thresholds_from

NUMBERS = [f.name for f in fields(Thresholds) if f.name != "paces"]


@pytest.mark.parametrize("name", [f.name for f in fields(Thresholds)])
def test_every_threshold_has_unit_range_and_reason_and_its_default_lies_inside(name: str) -> None:
    """A number nobody can justify cannot be tuned either."""
    limits = Thresholds().limits_of(name)

    value = getattr(Thresholds(), name)
    for each in value if isinstance(value, tuple) else (value,):
        assert limits.low <= each <= limits.high
    assert limits.unit
    assert len(limits.why) > 20


def test_a_table_overrides_what_it_names_and_nothing_else() -> None:
    """A profile says only what differs from the Mac Mini."""
    thresholds = thresholds_from({"hot_c": 85, "severe_c": 95, "cool_c": 78.5, "paces": [0.7, 0.5, 0.3]})

    assert (thresholds.hot_c, thresholds.severe_c, thresholds.cool_c) == (85.0, 95.0, 78.5)
    assert thresholds.paces == (0.7, 0.5, 0.3)
    changed = {"hot_c", "severe_c", "cool_c", "paces"}
    assert all(getattr(thresholds, n) == getattr(Thresholds(), n) for n in NUMBERS if n not in changed)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range_is_refused_with_the_range(name: str) -> None:
    """The complaint alone must be enough to correct the file."""
    limits = Thresholds().limits_of(name)

    for value in (limits.low - 1, limits.high * 1.01 + 1):
        with pytest.raises(SettingsError, match=name) as complaint:
            thresholds_from({name: value}, "m4-16gb.toml [governor]")
        assert f"from {limits.low:g} to {limits.high:g}" in str(complaint.value)
        assert "m4-16gb.toml [governor]" in str(complaint.value)


@pytest.mark.parametrize("value", ["100", True, None, float("nan"), float("inf"), [1.0]])
def test_what_is_no_number_is_refused(value: object) -> None:
    """TOML knows `nan` and `true`: a threshold that compares false with everything would never act."""
    with pytest.raises(SettingsError, match="hot_c"):
        thresholds_from({"hot_c": value})


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    """A typing error must not leave the default in force unnoticed."""
    with pytest.raises(SettingsError, match=r"'hot' is not a threshold.*hot_c"):
        thresholds_from({"hot": 90})


@pytest.mark.parametrize("paces", [[], [0.6, 0.8], [0.8, 0.8], [1.2], [0.9, 0.8, 0.7, 0.6, 0.5], 0.8, ["0.8"]])
def test_paces_must_fall_and_stay_in_range(paces: object) -> None:
    """A rung that is faster than the one above would make a step down a step up."""
    with pytest.raises(SettingsError, match="paces"):
        thresholds_from({"paces": paces})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"cool_c": 101}, "hot_c is 100 and cool_c 101"),
        ({"severe_c": 100}, "severe_c is 100 and hot_c 100"),
        ({"available_clear_share": 0.05}, "available_clear_share"),
        ({"stall_clear_share": 0.2}, "stall_share"),
        ({"pause_min_s": 1000}, "pause_max_s"),
        ({"heat_up_wait_max_s": 2}, "heat_up_wait_max_s is 2 and heat_up_wait_s 900"),
        ({"refuted_max_s": 10}, "refuted_max_s is 10 and refuted_s 3600"),
    ],
)
def test_thresholds_without_a_gap_are_refused(table: dict[str, float], words: str) -> None:
    """Hysteresis is the gap: without it each step undoes the one before."""
    with pytest.raises(SettingsError, match=words):
        thresholds_from(table)

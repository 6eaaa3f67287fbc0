"""The time of day of the forecast: how it is written, and which day's time came last."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from cbi_queue.errors import SettingsError
from cbi_queue.settings import load_settings
from cbi_queue.settings.daily_time import daily_time, last_due


def due(written: str, *moment: int) -> date:
    found = last_due(written, datetime(*moment, tzinfo=UTC))  # type: ignore[arg-type,misc]
    assert found is not None
    return date.fromordinal(found)


def test_before_the_time_the_day_before_is_due_and_from_it_on_the_day_itself() -> None:
    assert due("18:00 UTC", 2026, 11, 30, 17, 59) == date(2026, 11, 29)
    assert due("18:00 UTC", 2026, 11, 30, 18, 0) == date(2026, 11, 30)


def test_the_zone_decides_which_day_it_is() -> None:
    assert due("18:00 America/Chicago", 2026, 12, 1, 0, 30) == date(2026, 11, 30)
    assert due("18:00 UTC", 2026, 12, 1, 0, 30) == date(2026, 11, 30)
    assert due("00:15 UTC", 2026, 12, 1, 0, 30) == date(2026, 12, 1)


def test_each_day_is_due_once_through_both_changes_of_the_clocks() -> None:
    """02:30 does not exist on one day of March and comes twice on one of November."""
    for first in (datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 10, 30, tzinfo=UTC)):
        moments = [first + timedelta(minutes=minute) for minute in range(0, 5 * 1440, 5)]
        days = [last_due("02:30 America/Chicago", moment) for moment in moments]
        assert days == sorted(days)  # type: ignore[type-var]
        assert len(set(days)) in {5, 6}


@pytest.mark.parametrize(
    "written", ["", "24:00", "18:60", "6pm", "18:00 Mars/Olympus", "18:00 ../../etc/passwd", "18", "off"]
)
def test_any_other_text_is_no_time(written: str) -> None:
    assert daily_time(written) is None


def test_the_setting_is_off_unless_it_is_a_time_and_says_what_is_allowed() -> None:
    assert load_settings({}).forecast_at == "off"
    assert load_settings({"CBI_FORECAST_AT": "07:05 Europe/Berlin"}).forecast_at == "07:05 Europe/Berlin"
    with pytest.raises(SettingsError, match=r"CBI_FORECAST_AT.*'tomorrow'.*18:00"):
        load_settings({"CBI_FORECAST_AT": "tomorrow"})
    with pytest.raises(SettingsError, match="ask, enqueue"):
        load_settings({"CBI_RETRAIN": "yes"})

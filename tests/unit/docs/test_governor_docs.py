"""The governor's pages are held to the code: every threshold with its default, unit, range and reason; its length."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from cbi_queue.governor.values import Cause
from cbi_queue.hardware.thresholds import Thresholds

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "governor.md").read_text(encoding="utf-8")
THRESHOLDS = (DOCS / "thresholds.md").read_text(encoding="utf-8")


def row_of(name: str) -> str:
    limits, value = Thresholds().limits_of(name), getattr(Thresholds(), name)
    shown = f"[{', '.join(f'{one:g}' for one in value)}]" if isinstance(value, tuple) else f"{value:g}"
    return f"| `{name}` | {shown} | {limits.unit} | {limits.low:g} to {limits.high:g} | {limits.why} |"


def test_every_threshold_has_its_row() -> None:
    rows = [line for line in THRESHOLDS.splitlines() if line.startswith("| `")]
    assert rows == [row_of(field.name) for field in fields(Thresholds)]


def test_every_cause_is_on_the_page() -> None:
    assert [cause for cause in Cause if cause.replace("_", " ") not in PAGE] == []


def test_the_page_can_be_read_in_ten_minutes() -> None:
    assert len(PAGE.split()) < 2500

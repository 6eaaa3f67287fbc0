"""The FILE... argument: the user's own file first, then a plan that ships with cbi-queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from cbi_queue.cli.arguments import PlanPath, shipped_folder


def convert(value: str) -> Path:
    """What the argument becomes."""
    return PlanPath().convert(value, None, None)


def test_a_shipped_plan_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed cbi-queue has no checkout beside it."""
    monkeypatch.chdir(tmp_path)

    assert convert("schedules/day1.yaml") == shipped_folder() / "day1.yaml"
    assert convert("schedules/day1.yaml").is_file()


def test_the_users_own_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that was changed must not be passed over in silence."""
    monkeypatch.chdir(tmp_path)
    own = Path("schedules/day1.yaml")
    own.parent.mkdir()
    own.write_text("day: 1")

    assert convert("schedules/day1.yaml") == own


@pytest.mark.parametrize(
    "value", ["schedules/none.yaml", "day1.yaml", "schedules/../day1.yaml", "/schedules/day1.yaml"]
)
def test_anything_else_stays_as_given(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan reader then says that it is missing."""
    monkeypatch.chdir(tmp_path)

    assert convert(value) == Path(value)

"""The FILE... argument: the user's own file first, then a plan that ships with cbi-queue."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from cbi_queue.cli.arguments import PlanPath, days_in, shipped_folder


def convert(value: str) -> Path:
    """What the argument becomes."""
    return PlanPath().convert(value, None, None)


def test_a_shipped_plan_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed cbi-queue has no checkout beside it."""
    monkeypatch.chdir(tmp_path)

    assert convert("schedules/day1.yaml") == shipped_folder() / "day1.yaml"
    assert convert("schedules/day1.yaml").is_file()
    assert convert("schedules/mini-week/day1.yaml").is_file()
    assert convert("schedules/") == shipped_folder()


def test_the_users_own_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that was changed must not be passed over in silence."""
    monkeypatch.chdir(tmp_path)
    own = Path("schedules/day1.yaml")
    own.parent.mkdir()
    own.write_text("day: 1")

    assert convert("schedules/day1.yaml") == own


@pytest.mark.parametrize(
    "value", ["schedules/none.yaml", "day1.yaml", "schedules/../day1.yaml", "/schedules/day1.yaml", "mini-week"]
)
def test_anything_else_stays_as_given(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan reader then says that it is missing."""
    monkeypatch.chdir(tmp_path)

    assert convert(value) == Path(value)


def test_a_folder_stands_for_its_days_by_number(tmp_path: Path) -> None:
    """The quickstart beside them is no day, and day 10 comes after day 9."""
    for name in ("day10.yaml", "day9.yaml", "day1.yaml", "day01.yaml", "days.yaml", "day2.yaml.bak", "quickstart.yaml"):
        (tmp_path / name).touch()
    assert [path.name for path in days_in(tmp_path)] == ["day1.yaml", "day9.yaml", "day10.yaml"]


def test_a_folder_without_days_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match=r"without day1.yaml.*it holds no plan"):
        days_in(tmp_path)
    (tmp_path / "zl.yaml").touch()
    with pytest.raises(click.BadParameter, match=r"it holds zl.yaml: name the file"):
        days_in(tmp_path)


def test_a_folder_that_cannot_be_read_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(click.BadParameter, match="cannot be read: Permission denied"):
        days_in(tmp_path)

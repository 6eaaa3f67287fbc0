"""What the pages show of the command line has today's form, and says what the table of `docs/make_figures.py` says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cbi_queue.cli.board_table import NARROW
from cbi_queue.plan.template import plan_text

ROOT = Path(__file__).parents[3]
NAMES = {
    "README.md": ("1m", set(re.findall(r'name: "default-(\w+)-', plan_text("default", ["1m"])))),
    "docs/own-data.md": ("1m zl", set(re.findall(r'name: "zl-(\w+)-', plan_text("zl", ["1m"])))),
    "docs/forecasting.md": ("1m", {"lstm"}),
}
"""Page -> title of its board, and models that its plan trains beside the matrix of baselines."""


def sample(page: str, mark: str) -> list[str]:
    """The lines of the block between the marks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- {mark} -->\n\n```\w*\n(.*?)\n```\n<!-- end of {mark} -->", text, re.DOTALL)
    assert found, f"{page} has no block between the marks of {mark}: run docs/make_boards.py"
    return found[1].splitlines()


@pytest.mark.parametrize("page", NAMES)
def test_a_board_on_a_page_is_one_of_today(page: str) -> None:
    """When this fails: python docs/make_boards.py --folder DIR."""
    title, models = NAMES[page]
    lines = [line for line in sample(page, "board") if not line.startswith("$ ")]

    assert lines[0] == f"Horizon {title} walk-forward: ranked by validation, skill of the backtest"
    headings = [name.lstrip(">?").split() for name in NARROW]
    assert lines[1].split() == [word for words in headings for word in words]
    shown = {match[1] for line in lines if (match := re.match(r"\d+ +\w+-(\w+)-1m ", line))}
    assert models - {"features"} <= shown
    assert "naive" in shown
    assert any(re.match(r"Luck alone gives the best of \d+ models", line) for line in lines)
    assert any("told apart from naive (n = 24 independent months)" in line for line in lines)


def test_the_first_board_says_of_the_baselines_what_is_expected_of_them() -> None:
    """Both come from the same data, split and protocol."""
    page = (ROOT / "docs/forecasting.md").read_text(encoding="utf-8")
    for model, name in (("naive", "naive"), ("drift", "drift")):
        (expected,) = re.findall(rf"^\| {name} \(baseline\) \|.* (\d\.\d\d) % \|[^%]*$", page, re.MULTILINE)
        (line,) = [line for line in sample("README.md", "board") if f"default-{model}-1m" in line]
        assert f" {expected}% " in line


def test_the_forecast_of_the_tutorial_is_that_of_a_model_on_its_board() -> None:
    shown = sample("docs/own-data.md", "forecast")
    name = shown[0].removeprefix("$ cbi-queue show ")
    assert any(name in line for line in sample("docs/own-data.md", "board"))
    assert any(re.match(r"Forecast for 20\d\d-\d\d-\d\d: [\d.]+ \([+-][\d.]+ % from ", line) for line in shown)

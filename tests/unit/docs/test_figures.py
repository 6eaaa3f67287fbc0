"""The tables of `docs/forecasting.md` are what their commands write: the cheap rows to the last digit, the others in kind."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import accuracy, false_discoveries, mixture_walks, net_rules
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.views.board_words import TOLD_APART_WORDS
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from types import ModuleType

PAGE = Path(__file__).parents[3] / "docs" / "forecasting.md"
SKILL = r"(0|[+-]0\.\d{3}( ± 0\.\d{3})?)"


def table_between(mark: str) -> list[str]:
    """The rows of the table between the marks, without its head."""
    found = re.search(rf"<!-- {mark} -->\n(.*?)<!-- end of {mark} -->", PAGE.read_text(), re.DOTALL)
    assert found, f"no marks for {mark}"
    rows = [line for line in found[1].splitlines() if line.startswith("| ")]
    return rows[1:]


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_figures", PAGE.with_name("make_figures.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_what_to_expect_is_what_the_models_score(figures: ModuleType, tmp_path: Path) -> None:
    rows = table_between(figures.MARK)
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(figures.MODELS.values())
    for row in rows:
        assert re.fullmatch(rf"\| .+( \| \d\.\d\d % \| {SKILL} \| (no|better|worse|)){{2}} \|", row), row

    baselines = ("naive", "seasonal_naive", "drift")
    by_horizon = [figures.backtests(tmp_path, horizon, baselines) for horizon in figures.HORIZONS]
    made = [figures.row(figures.MODELS[name], [scores[name] for scores in by_horizon]).strip() for name in baselines]
    assert made == rows[:3], "run docs/make_figures.py"


def test_the_random_walks_hold_to_their_rules() -> None:
    """No skill beyond 3 standard errors, few called better, no net that loses more than 0.02."""
    text = PAGE.read_text()
    walks, most = re.search(
        r"(\d+) random walks of \d+ days, at most (\d+) of them may be called better:", text
    ).groups()
    assert int(walks) >= 20
    assert int(most) == false_discoveries.most_called(int(walks))
    rows = table_between(false_discoveries.MARK)
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(false_discoveries.FAMILY_WORDS.values())
    for name, row in zip(false_discoveries.FAMILY_WORDS, rows, strict=True):
        for cells in re.findall(r"([+-][\d.]+) ± ([\d.]+) \| (\d+) \| \d+ \| \d+", row):
            mean, se, better = float(cells[0]), float(cells[1]), int(cells[2])
            assert mean <= 3 * se, row
            assert better <= int(most), row
            assert name not in false_discoveries.NETS or mean >= -0.02, row


def test_mixtures_and_variances_hold_to_the_rules_of_random_walks() -> None:
    """Nothing is better than naive, or than the true variance, beyond luck."""
    rows = table_between(mixture_walks.MARK)
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(mixture_walks.MODEL_WORDS.values())
    (walks,) = re.findall(
        r"(\d+) random walks of \d+ days, at most \d+ of them may be called better. The", PAGE.read_text()
    )
    assert int(walks) >= 20
    for row in rows:
        for mean, se, better in re.findall(r"([+-][\d.]+) ± ([\d.]+) \| (\d+) \| \d+", row):
            assert float(mean) <= 3 * float(se), row
            assert int(better) <= false_discoveries.most_called(int(walks)), row


def test_the_rules_for_nets_are_told_for_both_windows() -> None:
    rows = table_between(net_rules.MARK)
    expected = [(window, horizon) for window in net_rules.WINDOWS for horizon in net_rules.HORIZONS]
    assert [tuple(row.removeprefix("| ").split(" | ")[:2]) for row in rows] == expected
    for row in rows:
        assert f"| {net_rules.SERIES} |" in row
        assert len(re.findall(r"[+-]\d\.\d{3} ± \d\.\d{3}", row)) == len(net_rules.RULES)


def test_the_accuracy_table_has_every_horizon_and_each_reference_beside_the_chosen() -> None:
    rows = [row.strip("| ").split(" | ") for row in table_between(accuracy.MARK)[1:]]
    assert {len(row) for row in rows} == {len(accuracy.HEAD)}
    told = [(horizon, model.partition(":")[0]) for horizon, model, *_ in rows]
    assert told == [(horizon, role) for horizon in HORIZONS for role in accuracy.ROLES]
    absent = {model for _, model, mase, *_ in rows if mase == UNKNOWN}
    assert absent <= {f"{accuracy.AUTOGLUON}: not measured (`--autogluon PYTHON`)"}, "ours are all measured"
    assert {row[4] for row in rows} <= {"baseline", UNKNOWN, *TOLD_APART_WORDS.values()}

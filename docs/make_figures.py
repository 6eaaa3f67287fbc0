"""Write the table of "What to expect" in `docs/forecasting.md`: the models with their defaults, walked forward on the sample.

`python docs/make_figures.py --folder DIR` takes two minutes of a quiet core. DIR keeps the runs: one that is there is not
repeated, so the command may be stopped and started again, and a new DIR trains all anew. A test holds the cheap rows current.
"""

# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.pipeline import Pipeline
from benchmarks.report import write_markdown

TARGET = Path(__file__).with_name("forecasting.md")
MARK = "what to expect"
HORIZONS = ("1w", "1m")
LEVEL = 0.05
MODELS = {
    "naive": "naive (baseline)",
    "seasonal_naive": "seasonal naive (baseline)",
    "drift": "drift (baseline)",
    "lightgbm_dart": "LightGBM DART",
    "xgboost_dart": "XGBoost DART",
    "ets": "ETS",
    "auto_arima": "automatic ARIMA",
    "feed_forward": "feed-forward net",
}
HEAD = """| model | 1w MAPE | 1w skill | told apart | 1m MAPE | 1m skill | told apart |
|---|---|---|---|---|---|---|
"""


def backtests(folder: Path, horizon: str, models: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the scores of *models* on the backtest; what *folder* does not have is trained."""
    pipeline = Pipeline(folder / horizon, horizon)
    pipeline.build_sample()
    found = {}
    for model in models:
        metrics = pipeline.run_dir(model) / "metrics.json"
        if not metrics.exists():
            pipeline.train(model, {"scheme": "walk_forward"})
        found[model] = json.loads(metrics.read_text())["backtest"]
    return found


def row(words: str, by_horizon: list[dict[str, Any]]) -> str:
    """Return one row of the table."""
    cells = [cell for score in by_horizon for cell in (_percent(score), _skill(score), _apart(score))]
    return f"| {words} | {' | '.join(cells)} |\n"


def _percent(score: dict[str, Any]) -> str:
    return f"{score['mape_pct']:.2f} %"


def _skill(score: dict[str, Any]) -> str:
    if score["skill_se"] is None:
        return f"{score['skill_mae']:+.3f}" if score["skill_mae"] else "0"
    return f"{score['skill_mae']:+.3f} ± {score['skill_se']:.3f}"


def _apart(score: dict[str, Any]) -> str:
    """Say whether the model is told apart from naive, as the board does."""
    p_values = [score["skill_p_value"], score["skill_dm_p_value"]]
    if None in p_values:
        return ""
    if max(p_values) > LEVEL / (len(MODELS) - 1):
        return "no"
    return "better" if score["skill_mae"] > 0 else "worse"


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="keeps the runs")
    options = parser.parse_args()
    by_horizon = [backtests(options.folder, horizon, tuple(MODELS)) for horizon in HORIZONS]
    table = HEAD + "".join(row(words, [scores[model] for scores in by_horizon]) for model, words in MODELS.items())
    write_markdown(TARGET, table, MARK)
    print(table)


if __name__ == "__main__":
    main()

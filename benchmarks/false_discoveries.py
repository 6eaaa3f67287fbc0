"""What the pipeline says about random walks, which nothing can forecast: how often is luck called skill?

Every family goes through the real pipeline (feature job, walk-forward, shrinkage, scores, verdicts) on walks that share
nothing but their kind: daily log returns are independent draws, the covariate is another walk. With `--label difference`
the daily differences are, and the prices pass 0. The models are small, so
that a walk takes seconds; the rules are those of the full ones:

- the mean skill of a family is at most 3 standard errors above zero;
- it is told apart from naive, as the better one, at most at the nominal rate: 2.5 % (5 % two-sided), within what the
  number of walks allows (99 of 100 such counts);
- a net, which may fall back to naive, has a mean skill of at least -0.02.

`python -m benchmarks.false_discoveries --markdown docs/forecasting.md` puts the table into the docs. With
`--store FILE`, a walk that is in the file is not computed again, so the command may be stopped and started.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import Line, Target
from benchmarks.pipeline import NETS, Pipeline
from benchmarks.report import write_markdown
from cbi_queue.datasets.description import DataSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

HORIZONS = ("1w", "1m")
ROWS = 1500
DAILY_SD = 0.012
"""Of the log returns: about that of a liquid price."""
NOMINAL = 0.05
FEATURES = {"lags": [1, 5, 21], "windows": [5, 21]}
EVALUATION: dict[str, Any] = {
    "scheme": "walk_forward",
    "validation_rows": 252,
    "backtest_rows": 504,
    "refit_every_rows": 126,
    "final_block_rows": 0,
}
ROLLING = {"history_rows": 250, "refit_every_rows": 126}
NET = {"epochs": 15, "patience": 4, "batch_size": 64}
FAMILIES: dict[str, dict[str, Any]] = {
    "drift": {},
    "seasonal_naive": {},
    "lightgbm_dart": {"n_estimators": 100, "num_leaves": 15, "early_stopping_rounds": 30},
    "xgboost_dart": {"n_estimators": 60, "max_depth": 4, "early_stopping_rounds": 20},
    "auto_arima": {**ROLLING, "max_p": 2, "max_q": 2},
    "ets": ROLLING,
    "feed_forward": {**NET, "sequence_length": 8, "hidden": [32]},
    "lstm": {**NET, "sequence_length": 16, "hidden_size": 8, "epochs": 6},
}
MARK = "random walks"
Row = dict[str, Any]
"""One family on one walk: walk, family, horizon, skill, better, worse, vetoed, shrinkage."""


def walk_of(seed: int, label: str = "log_return", rows: int = ROWS) -> pl.DataFrame:
    """Return a random walk of *rows* days as an export: date, price, and another walk as covariate."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(seed)
    days = np.busday_offset("2005-01-03", np.arange(rows))
    walks = np.cumsum(DAILY_SD * rng.standard_normal((2, rows)), axis=1)
    price, other = 50 * (walks if label == "difference" else np.exp(walks))
    return pl.DataFrame({"date": days, "price": price, "other": other})


def rows_of(seed: int, horizon: str, label: str = "log_return") -> list[Row]:
    """Walk every family forward on the walk of *seed*."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder), horizon)
        pipeline.build(walk_of(seed, label), DataSet.model_validate({"label": label}), **FEATURES)
        return [_row(pipeline, seed, family) for family in FAMILIES]


def _row(pipeline: Pipeline, seed: int, family: str) -> Row:
    finished = pipeline.train(family, {**EVALUATION, **FAMILIES[family], "seed": seed})
    backtest = finished.metrics["backtest"]
    p_values = [backtest["skill_p_value"], backtest["skill_dm_p_value"]]
    apart = all(p is not None and p <= NOMINAL for p in p_values)
    skill = backtest["skill_mae"]
    return {
        "walk": seed,
        "horizon": pipeline.horizon,
        "family": family,
        "skill": skill,
        "better": apart and skill > 0,
        "worse": apart and skill < 0,
        "vetoed": finished.veto is not None,
        "shrinkage": finished.metrics["shrinkage"],
    }


def measured(walks: int, store: Path | None = None, label: str = "log_return") -> list[Row]:
    """Return the rows of *walks* walks, from *store* as far as they are there."""
    rows: list[Row] = []
    known = [json.loads(line) for line in store.read_text().splitlines()] if store and store.exists() else []
    for seed in range(walks):
        for horizon in HORIZONS:
            done = [row for row in known if (row["walk"], row["horizon"]) == (seed, horizon)]
            if len(done) < len(FAMILIES):
                done = rows_of(seed, horizon, label)
                if store:
                    with store.open("a") as file:
                        file.write("".join(f"{json.dumps(row)}\n" for row in done))
            rows += done
    return rows


def most_called(walks: int) -> int:
    """Return the count that no more than 1 in 100 such trials passes where the nominal rate is the true one."""
    rate, passed, count = NOMINAL / 2, 0.0, 0
    while (passed := passed + math.comb(walks, count) * rate**count * (1 - rate) ** (walks - count)) < 0.99:
        count += 1
    return count


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* walks."""
    rows, said = measured(rounds), []
    for horizon, family, own in _groups(rows):
        mean, se = mean_and_se(own)
        apart = sum(row["better"] for row in own)
        note = f"mean {mean:+.4f} ± {se:.4f} on {len(own)} walks; told apart: better {apart}, "
        note += f"worse {sum(row['worse'] for row in own)}; vetoed {sum(row['vetoed'] for row in own)}"
        words = f"{family} on random walks, {horizon}"
        beyond = mean / se if se else 0.0
        said.append(Line(f"{words}: mean skill, standard errors above 0", "x", (beyond,), Target(3.0), note))
        said.append(Line(f"{words}: called better than naive", "walks", (apart,), Target(most_called(len(own)))))
        if family in NETS:
            said.append(Line(f"{words}: mean skill", "", (mean,), Target(-0.02, at_most=False)))
    return said


def mean_and_se(rows: list[Row]) -> tuple[float, float]:
    """Return the mean skill and its standard error; 0 for a single walk."""
    skills = [row["skill"] for row in rows]
    return statistics.fmean(skills), statistics.stdev(skills) / math.sqrt(len(skills)) if len(skills) > 1 else 0.0


def as_table(rows: list[Row]) -> str:
    """Write the rows as a Markdown table, a line a family."""
    walks = len({row["walk"] for row in rows})
    text = [
        f"{walks} random walks of {ROWS} days, at most {most_called(walks)} of them may be called better:\n",
        "| family | " + " | ".join(f"{h} mean skill | better | worse | vetoed" for h in HORIZONS) + " |",
        "|---" * (1 + 4 * len(HORIZONS)) + "|",
    ]
    groups = {(family, horizon): own for horizon, family, own in _groups(rows)}
    for family in FAMILIES:
        cells = [_cells(groups[family, horizon]) for horizon in HORIZONS]
        text.append(f"| {FAMILY_WORDS[family]} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


FAMILY_WORDS = {
    "drift": "drift",
    "seasonal_naive": "seasonal naive",
    "lightgbm_dart": "LightGBM",
    "xgboost_dart": "XGBoost",
    "auto_arima": "automatic ARIMA",
    "ets": "ETS",
    "feed_forward": "feed-forward net",
    "lstm": "LSTM",
}


def _cells(own: list[Row]) -> str:
    mean, se = mean_and_se(own)
    counts = [sum(row[what] for row in own) for what in ("better", "worse", "vetoed")]
    return f"{mean:+.4f} ± {se:.4f} | {' | '.join(map(str, counts))}"


def _groups(rows: list[Row]) -> Iterable[tuple[str, str, list[Row]]]:
    for horizon in HORIZONS:
        for family in FAMILIES:
            own = [row for row in rows if (row["horizon"], row["family"]) == (horizon, family)]
            if own:
                yield horizon, family, own


def main() -> None:
    """Measure, print the table, put it into a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--walks", type=int, default=40)
    parser.add_argument("--label", choices=("log_return", "difference"), default="log_return")
    parser.add_argument("--store", type=Path, help="file that keeps what is done")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help=f"put the table between its marks ({MARK})")
    options = parser.parse_args()
    table = as_table(measured(options.walks, options.store, options.label))
    print(table)
    if options.markdown:
        write_markdown(options.markdown, table, MARK)


if __name__ == "__main__":
    main()

"""What the mixture over regimes and the models of variance say about random walks: no skill, or luck is called skill.

The mixture goes through the real pipeline as in a plan: classifier, a net of each regime, the mixture, which is judged
against naive (`false_discoveries` has the walks and the rules). Daily returns of these walks have one variance, which is
known: no forecast of variance can be better than it. So the quantile net and GARCH are judged against the truth,
h `DAILY_SD` squared, by QLIKE on the rows of the backtest; that they beat EWMA, which forgets, is no luck here.

`python -m benchmarks.mixture_walks --markdown docs/forecasting.md` puts the table into the docs. With `--store FILE`, a walk
that is in the file is not computed again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.false_discoveries import (
    DAILY_SD,
    EVALUATION,
    FEATURES,
    NET,
    NOMINAL,
    ROWS,
    mean_and_se,
    most_called,
    walk_of,
)
from benchmarks.measuring import Line, Target
from benchmarks.pipeline import Pipeline
from benchmarks.report import write_markdown
from cbi_queue.models.kinds import HORIZON_DAYS, REGIMES
from cbi_queue.models.mixtures import CLASSIFIER

HORIZONS = ("1w", "1m")
MARK = "mixture walks"
CLASSES: dict[str, Any] = {"n_estimators": 60, "early_stopping_rounds": 15}
REGIME_NET: dict[str, Any] = {**NET, "sequence_length": 8, "hidden_size": 8, "epochs": 6}
VARIANCE: dict[str, dict[str, Any]] = {
    "quantile_net": {**NET, "epochs": 15},
    "garch": {"history_rows": 500, "refit_every_rows": 126},
}
MODEL_WORDS = {
    "regime_mixture": "mixture over regimes",
    "mixture, not shrunk": "the same, not shrunk",
    "quantile_net": "quantile net, its variance",
    "garch": "GARCH",
}
Row = dict[str, Any]
"""One model on one walk: walk, horizon, model, skill, better, worse; share (classifier) or coverage_90 (quantile net)."""


def rows_of(seed: int, horizon: str) -> list[Row]:
    """Walk the models forward on the walk of *seed*."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder), horizon)
        pipeline.build(walk_of(seed), **FEATURES)
        rows = [*_mixtures(pipeline, seed), *(_variance(pipeline, model, seed) for model in VARIANCE)]
        return [{"walk": seed, "horizon": horizon, **row} for row in rows]


def _mixtures(pipeline: Pipeline, seed: int) -> list[Row]:
    """Train classifier and nets once, mix them twice."""
    common = {**EVALUATION, "seed": seed}
    share = pipeline.train(CLASSIFIER, {**common, **CLASSES}).metrics["regime_share"]
    for regime in REGIMES:
        pipeline.train("regime_gru", {**common, **REGIME_NET, "regime": regime}, name=regime)
    rows = []
    for model, shrink in (("regime_mixture", True), ("mixture, not shrunk", False)):
        own = {**EVALUATION, "shrink": shrink}
        backtest = pipeline.train("regime_mixture", own, needs=(CLASSIFIER, *REGIMES)).metrics["backtest"]
        skill = backtest["skill_mae"]
        apart = all(p is not None and p <= NOMINAL for p in (backtest["skill_p_value"], backtest["skill_dm_p_value"]))
        rows.append(_row(model, skill, apart=apart, share=share))
    return rows


def _variance(pipeline: Pipeline, model: str, seed: int) -> Row:
    """Train a model of variance, and compare it with the variance that the walk was drawn with."""
    import polars as pl

    from jobs.evaluation.significance import skill_test
    from jobs.evaluation.volatility import qlike

    finished = pipeline.train(model, {**EVALUATION, **VARIANCE[model], "seed": seed})
    table = pl.read_parquet(pipeline.run_dir(model) / "predictions.parquet").filter(pl.col("block") == "backtest")
    realised, forecast = (table[name].to_numpy() for name in ("realised_variance", "predicted_variance"))
    h = HORIZON_DAYS[pipeline.horizon]
    own, truth = qlike(realised, forecast), qlike(realised, 0.0 * realised + h * DAILY_SD**2)
    tested = skill_test(own, truth, h)
    apart = all(p is not None and p <= NOMINAL for p in (tested.p_value, tested.dm_p_value))
    found = finished.metrics["volatility"]["backtest"]["model"]
    return _row(model, 1.0 - float(own.sum() / truth.sum()), apart=apart, coverage_90=found.get("coverage_90"))


def _row(model: str, skill: float, *, apart: bool, **more: float | None) -> Row:
    return {"model": model, "skill": skill, "better": apart and skill > 0, "worse": apart and skill < 0, **more}


def measured(walks: int, store: Path | None = None) -> list[Row]:
    """Return the rows of *walks* walks, from *store* as far as they are there."""
    known = [json.loads(line) for line in store.read_text().splitlines()] if store and store.exists() else []
    rows: list[Row] = []
    for seed in range(walks):
        for horizon in HORIZONS:
            done = [row for row in known if (row["walk"], row["horizon"]) == (seed, horizon)]
            if len(done) < len(MODEL_WORDS):
                done = rows_of(seed, horizon)
                if store:
                    with store.open("a") as file:
                        file.write("".join(f"{json.dumps(row)}\n" for row in done))
            rows += done
    return rows


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* walks."""
    rows, said = measured(rounds), []
    for horizon in HORIZONS:
        for model, called in MODEL_WORDS.items():
            own = _of(rows, model, horizon)
            mean, se = mean_and_se(own)
            words = f"{called} on random walks, {horizon}"
            note = f"mean skill {mean:+.4f} ± {se:.4f} on {len(own)} walks; worse {sum(row['worse'] for row in own)}"
            beyond = mean / se if se else 0.0
            said.append(Line(f"{words}: mean skill, standard errors above 0", "x", (beyond,), Target(3.0), note))
            better = sum(row["better"] for row in own)
            said.append(Line(f"{words}: called better", "walks", (better,), Target(most_called(len(own)))))
    return said


def as_table(rows: list[Row]) -> str:
    """Write the rows as a Markdown table, a line a model."""
    walks = len({row["walk"] for row in rows})
    shares = sum(row["share"] > 0 for row in rows if row["model"] == "regime_mixture")
    inside = [row["coverage_90"] for row in rows if row["model"] == "quantile_net"]
    head = (
        f"{walks} random walks of {ROWS} days, at most {most_called(walks)} of them may be called better. The classifier "
        f"got a share on {shares} of {walks * len(HORIZONS)} walks and horizons; {100 * sum(inside) / len(inside):.0f} % of "
        "the returns came inside the net's 90 % intervals:\n"
    )
    text = [
        head,
        "| model | against | " + " | ".join(f"{h} mean skill | better | worse" for h in HORIZONS) + " |",
        "|---" * (2 + 3 * len(HORIZONS)) + "|",
    ]
    for model, words in MODEL_WORDS.items():
        cells = [_cells(_of(rows, model, horizon)) for horizon in HORIZONS]
        bar = "the true variance" if model in VARIANCE else "naive"
        text.append(f"| {words} | {bar} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def _cells(own: list[Row]) -> str:
    mean, se = mean_and_se(own)
    return f"{mean:+.4f} ± {se:.4f} | {sum(row['better'] for row in own)} | {sum(row['worse'] for row in own)}"


def _of(rows: list[Row], model: str, horizon: str) -> list[Row]:
    return [row for row in rows if (row["model"], row["horizon"]) == (model, horizon)]


def main() -> None:
    """Measure, print the table, put it into a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--walks", type=int, default=40)
    parser.add_argument("--store", type=Path, help="file that keeps what is done")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help=f"put the table between its marks ({MARK})")
    options = parser.parse_args()
    table = as_table(measured(options.walks, options.store))
    print(table)
    if options.markdown:
        write_markdown(options.markdown, table, MARK)


if __name__ == "__main__":
    main()

"""What ensembles of models without skill say about random walks: nothing, or the combination would make skill of luck.

Four members go through the real pipeline on each walk (`false_discoveries` has the walks and the rules), then the four
ensembles combine what they left. `python -m benchmarks.ensemble_walks --walks 20` prints the table of the documentation.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.false_discoveries import EVALUATION, FAMILIES, FEATURES, NOMINAL, mean_and_se, most_called, walk_of
from benchmarks.measuring import Line, Target
from benchmarks.pipeline import Pipeline
from cbi_queue.models.kinds import PLAIN_ENSEMBLES

HORIZONS = ("1w", "1m")
ROLLING = {"history_rows": 250, "refit_every_rows": 126}
MEMBERS: dict[str, dict[str, Any]] = {
    "drift": {},
    "ets": ROLLING,
    "theta": ROLLING,
    "lightgbm_dart": FAMILIES["lightgbm_dart"],
}
ENSEMBLES = (*PLAIN_ENSEMBLES, "lightgbm_stacker")
Row = dict[str, Any]
"""One ensemble on one walk: horizon, model, skill, better, worse (than naive), beats (the best member), share."""


def rows_of(seed: int, horizon: str) -> list[Row]:
    """Train the members and the ensembles on the walk of *seed*."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder), horizon)
        pipeline.build(walk_of(seed), **FEATURES)
        for model, own in MEMBERS.items():
            pipeline.train(model, {**EVALUATION, **own, "seed": seed})
        return [_row(pipeline, model) for model in ENSEMBLES]


def _row(pipeline: Pipeline, model: str) -> Row:
    metrics = pipeline.train(model, {**EVALUATION, "refit_every_rows": 21}, tuple(MEMBERS)).metrics
    backtest, best = metrics["backtest"], metrics["against_best"]
    skill = backtest["skill_mae"]
    apart = _is_sure(backtest["skill_p_value"], backtest["skill_dm_p_value"])
    return {
        "horizon": pipeline.horizon,
        "model": model,
        "skill": skill,
        "better": apart and skill > 0,
        "worse": apart and skill < 0,
        "beats": best["skill"] > 0 and _is_sure(best["p_value"], best["dm_p_value"]),
        "share": metrics.get("stacker_share", 0.0),
    }


def _is_sure(*p_values: float | None) -> bool:
    return all(p is not None and p <= NOMINAL for p in p_values)


def measured(walks: int) -> list[Row]:
    """Return the rows of *walks* walks."""
    return [row for seed in range(walks) for horizon in HORIZONS for row in rows_of(1000 + seed, horizon)]


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* walks."""
    rows, said = measured(rounds), []
    for horizon in HORIZONS:
        for model in ENSEMBLES:
            own = [row for row in rows if (row["horizon"], row["model"]) == (horizon, model)]
            mean, se = mean_and_se(own)
            words = f"{model} on random walks, {horizon}"
            note = f"mean skill {mean:+.4f} ± {se:.4f} on {len(own)} walks; worse {sum(row['worse'] for row in own)}"
            beyond = mean / se if se else 0.0
            said.append(Line(f"{words}: mean skill, standard errors above 0", "x", (beyond,), Target(3.0), note))
            better = sum(row["better"] for row in own)
            said.append(Line(f"{words}: called better than naive", "walks", (better,), Target(most_called(len(own)))))
    return said


def as_table(rows: list[Row]) -> str:
    """Write the rows as a Markdown table, a line an ensemble and horizon."""
    text = [
        "| ensemble | horizon | mean skill | better | worse | beats the best member | trees count |",
        "|---" * 7 + "|",
    ]
    for model in ENSEMBLES:
        for horizon in HORIZONS:
            own = [row for row in rows if (row["horizon"], row["model"]) == (horizon, model)]
            mean, se = mean_and_se(own)
            counts = [sum(row[what] for row in own) for what in ("better", "worse", "beats")]
            counts.append(sum(row["share"] > 0 for row in own))
            text.append(f"| `{model}` | {horizon} | {mean:+.4f} ± {se:.4f} | {' | '.join(map(str, counts))} |")
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--walks", type=int, default=20)
    print(as_table(measured(parser.parse_args().walks)))


if __name__ == "__main__":
    main()

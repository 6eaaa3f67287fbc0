"""What is said of the regimes of random walks, in which nothing but their present state can be known.

- The classifier goes through the real pipeline on walks of 2600 days: the validation block should give it a share on at
  most one walk of twenty, and without that rule it is worse than persistence.
- Whether the test that the share rests on keeps its level: the regimes of a walk are forecast by the persistence of two
  other walks, of which neither is better. Neighbouring regimes share most of their days whatever the horizon is, so
  numbers of rows that count as one independent row are compared.

`python -m benchmarks.regime_walks` prints the figures of the documentation. `jobs.evaluation.regimes.SHARED_ROWS` was
chosen on them, and seen to hold on others.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.false_discoveries import DAILY_SD, FEATURES, walk_of
from benchmarks.pipeline import Pipeline
from cbi_queue.models.kinds import HORIZON_DAYS

HORIZONS = ("1w", "1m", "3m")
ROWS, BLOCK = 2600, 504
SEEDS_FROM = 5000
COUNTED = (1, 63, 84)
"""Rows that count as one independent row, where the horizon is not longer; 126 would leave too few to say anything."""
LEVEL = 0.05


def trained(seed: int, horizon: str) -> tuple[float, float]:
    """Return the classifier's share on the walk of *seed*, and its skill over persistence on the backtest without it."""
    blocks = {"validation_rows": BLOCK, "backtest_rows": BLOCK, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder), horizon)
        pipeline.build(walk_of(SEEDS_FROM + seed, rows=ROWS), **FEATURES)
        share = pipeline.train("regime_lightgbm", blocks).metrics["regime_share"]
        alone = pipeline.train("regime_lightgbm", {**blocks, "shrink": False}).metrics
        return share, alone["regimes"]["backtest"]["model"]["skill"]


def called(seed: int) -> dict[tuple[int, int], bool]:
    """Return whether two forecasts of which neither is better are told apart at 5 %, two-sided.

    Returns:
        (h, rows that count as one) -> called.
    """
    import numpy as np

    from jobs.evaluation.regimes import changes, fit_rule, later, log_losses, persistence, regimes
    from jobs.evaluation.significance import skill_test

    rng, told = np.random.default_rng((SEEDS_FROM, seed)), []
    for _ in range(3):
        change = changes(np.exp(np.cumsum(DAILY_SD * rng.standard_normal(ROWS))))
        told.append(regimes(change, fit_rule(change, np.arange(ROWS - 2 * BLOCK))))
    found = {}
    for h in (HORIZON_DAYS[horizon] for horizon in HORIZONS):
        actual, rows = later(told[0], h), np.arange(ROWS - BLOCK - h, ROWS - h)
        ours, theirs = (log_losses(persistence(other, h)[rows], actual[rows]) for other in told[1:])
        for counted in COUNTED:
            p_value = skill_test(ours, theirs, max(h, counted)).p_value
            found[h, counted] = p_value is not None and p_value <= LEVEL
    return found


def as_tables(walks: int, trained_walks: int) -> str:
    """Measure, and write both tables in Markdown."""
    text = ["| h | share above 0 | skill without the rule |", "|---" * 3 + "|"]
    for horizon in HORIZONS:
        shares, skills = zip(*(trained(seed, horizon) for seed in range(trained_walks)), strict=True)
        kept = sum(share > 0 for share in shares)
        text.append(f"| {horizon} | {kept} of {trained_walks} | {min(skills):+.2f} to {max(skills):+.2f} |")
    heads = [f"{counted} rows count as one" if counted > 1 else "h rows" for counted in COUNTED]
    text += ["", f"| h | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    calls = [called(seed) for seed in range(walks)]
    for h in (HORIZON_DAYS[horizon] for horizon in HORIZONS):
        cells = [f"{100 * sum(call[h, counted] for call in calls) / walks:.1f} %" for counted in COUNTED]
        text.append(f"| {h} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--walks", type=int, default=1000, help="of the test alone")
    parser.add_argument("--trained", type=int, default=16, help="walks on which the classifier is trained")
    options = parser.parse_args()
    print(as_tables(options.walks, options.trained))


if __name__ == "__main__":
    main()

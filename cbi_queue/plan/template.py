"""A commented plan for any data set: the baselines, two kinds of trees, ETS and a small net, at any horizons."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_PREFIX = 60
"""Letters; a job's name has at most 80."""
_TEMPLATE = """\
# Models for the data set @DATASET@.
#
#   cbi-queue plan check FILE    every fault of this plan and of its data, before anything is trained
#   cbi-queue run FILE           train it here, or `cbi-queue enqueue FILE` for the background service
#   cbi-queue leaderboard        what is told apart from luck
#
# Every key: docs/day-plans.md. Every parameter of a model: cbi-queue plan show FILE.
day: 0 # outside the week: nothing here counts towards its 60 to 70 models
title: First models for @DATASET@
dataset: "@DATASET@"

# How every model is judged: fitted on what was known by then, it forecasts the next window, again and again.
evaluation:
  scheme: walk_forward
  validation_rows: 504 # rows that choose: rounds, epochs, and the order of the leaderboard
  windows: 8 # of the backtest, which judges: 8 x 63 rows, two years of trading days
  refit_every_rows: 63 # rows that one fit forecasts
  final_block_rows: 252 # the last rows stay closed until `cbi-queue leaderboard --final`; 0 for none

defaults:
  retries: 1
  timeout: 2h

jobs:
  # Once for each horizon; every other job reads what it writes, so it names it under `needs`.
  - name: "@PREFIX@-features-{horizon}"
    family: features
    priority: 10 # higher runs first
    matrix:
      horizon: [@HORIZONS@]

  # The baselines. A model that is not told apart from them is worth nothing.
  - name: "@PREFIX@-{model}-{horizon}"
    family: statistical
    needs: ["@PREFIX@-features-{horizon}"]
    matrix:
      model: [naive, drift]
      horizon: [@HORIZONS@]

  # Exponential smoothing of the price alone.
  - name: "@PREFIX@-ets-{horizon}"
    family: statistical
    model: ets
    needs: ["@PREFIX@-features-{horizon}"]
    params:
      history_rows: 500
    matrix:
      horizon: [@HORIZONS@]

  # Trees. Validation chooses the number of rounds, up to n_estimators.
  - name: "@PREFIX@-lightgbm-{horizon}"
    family: trees
    model: lightgbm_dart
    needs: ["@PREFIX@-features-{horizon}"]
    params:
      n_estimators: 200
      early_stopping_rounds: 50
    matrix:
      horizon: [@HORIZONS@]
  - name: "@PREFIX@-xgboost-{horizon}"
    family: trees
    model: xgboost_dart
    needs: ["@PREFIX@-features-{horizon}"]
    params:
      n_estimators: 60
      early_stopping_rounds: 30
    matrix:
      horizon: [@HORIZONS@]

  # A small net over the last 32 rows.
  - name: "@PREFIX@-net-{horizon}"
    family: simple_neural
    model: feed_forward
    needs: ["@PREFIX@-features-{horizon}"]
    params:
      epochs: 10
      patience: 4
    matrix:
      horizon: [@HORIZONS@]
"""


def plan_text(dataset: str, horizons: Sequence[str]) -> str:
    """Return the plan as YAML.

    Args:
        dataset: name of a data set; its first letters begin the name of every job.
        horizons: out of `kinds.HORIZONS`, at least one.
    """
    begun = _TEMPLATE.replace("@DATASET@", dataset).replace("@PREFIX@", dataset[:_LONGEST_PREFIX])
    return begun.replace("@HORIZONS@", ", ".join(horizons))

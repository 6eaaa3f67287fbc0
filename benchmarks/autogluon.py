"""AutoGluon's fast preset on the held-out rows of a board: a rival of the accuracy table, in an environment of its own.

The preset is that of AutoGluon 1.5, the last release that has one: naive, seasonal naive, ETS, Theta, a recursive and a direct
LightGBM, weighed on the last h rows. In 1.6 `fast_training` stands for `medium_quality`, which downloads pretrained nets. Its
target is the log price alone. It is fitted again where the queue's models are, every `refit_every_rows` rows of the backtest, on
all prices up to that row, and forecasts each row from all prices up to it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from cbi_queue.artifacts import write_atomic
from cbi_queue.wording import counted
from workers.trainer.environment import trainer_environment

if TYPE_CHECKING:
    from cbi_queue.models.parameters.common import EvaluationParams

PYTHON = Path(platformdirs.user_cache_dir("cbi-queue-benchmarks")) / "autogluon" / "bin" / "python"
FIT = Path(__file__).with_name("autogluon_fit.py")


@dataclass(frozen=True, slots=True)
class Found:
    """What it forecast, or why not."""

    prices: dict[str, float]
    """Date of each backtest row -> the price h rows later, the predicted median."""
    words: str
    """What was fitted, or why nothing was; no full stop."""


def forecast(python: Path | None, processed: Path, horizon: str, evaluation: EvaluationParams, kept: Path) -> Found:
    """Walk it forward over the backtest rows of *horizon*.

    Args:
        python: a Python that has AutoGluon; None: what is kept is all that is used.
        processed: folder of the feature cache, which holds dates and prices.
        horizon: one of the catalogue's names.
        evaluation: how the models beside it were split and refitted.
        kept: file for what was found: the same work is not done twice.
    """
    from jobs.data.series import load_frame
    from jobs.evaluation.scoring import MASE_SEASON_ROWS
    from jobs.evaluation.splits import split_by

    frame = load_frame(processed, horizon)
    rows, every = split_by(frame, evaluation).backtest, evaluation.refit_every_rows
    work = json.dumps(
        {
            "levels": frame.label.level(frame.price).tolist(),
            "blocks": [rows[first : first + every].tolist() for first in range(0, len(rows), every)],
            "rows_ahead": frame.horizon_days,
            "season_rows": MASE_SEASON_ROWS,
        }
    )
    identity = hashlib.sha256(work.encode()).hexdigest()
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    if found.get("identity") != identity:
        if python is None or not python.is_file():
            return Found({}, "not measured (`--autogluon PYTHON`)")
        environ = {**trainer_environment(1), "LOKY_MAX_CPU_COUNT": "1"}
        done = subprocess.run([python, FIT], input=work, env=environ, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            return Found({}, f"not measured, `{FIT.name}` ended with code {done.returncode}")
        found = {**json.loads(done.stdout), "identity": identity}
        write_atomic(kept, json.dumps(found).encode())
    price = frame.price[rows]
    later = frame.label.price_from(price, np.array(found["forecasts"]) - frame.label.level(price))
    told = {str(date): float(value) for date, value in zip(frame.dates[rows], later, strict=True)}
    return Found(told, f"{found['version']}, {counted(len(found['members']), 'fit')}")

"""A stored model asked for new rows, and the mixture over regimes, which asks five of them.

Letters as in `jobs.data.series`. The mixture's probabilities are those of the stored classifier, mixed with persistence by the
share that its run found; persistence counts what the new rows have shown, as along the walk. The regimes' limits are those
of the training.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.models.kinds import REGIMES
from cbi_queue.models.mixtures import CLASSIFIER, NETS, wrong_parts
from jobs.evaluation.regimes import Rule, changes, mixed, persistence, regimes
from jobs.exporting.finished_run import FinishedRun, told_by
from jobs.exporting.package.forecast import Preprocessing
from jobs.exporting.writing import steps_of
from jobs.families.regime_mixture import mixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.data.series import ForecastFrame
    from jobs.exporting.kinds import NativeModel

ROWS_AT_ONCE = 256
Asked = dict[str, Any]
"""A run as the ledger knows it: "job", "model", "backend", "interpreter", "run_dir", "params"; of an ensemble or a mixture
also "members"."""


def by_windows(run: FinishedRun, native: NativeModel) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives f of rows, (n,) -> (n,), by *native* on the windows that end there."""
    steps = Preprocessing(steps_of(run, native.window_rows), list(run.frame.feature_names))
    back = np.arange(native.window_rows) - native.window_rows + 1

    def forecast(rows: np.ndarray) -> np.ndarray:
        parts = np.array_split(rows, max(1, -(-len(rows) // ROWS_AT_ONCE)))
        return np.concatenate(
            [steps.scaled(native.run(steps.inputs(run.frame.x[part[:, None] + back]))) for part in parts]
        )

    return forecast


def by_regimes(
    parts: list[Asked], frame_for: Callable[[list[str], str], ForecastFrame]
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what gives the mixture of rows, not yet shrunk, (n,) -> (n,); None where a part is not there.

    Args:
        parts: the runs that were mixed, as far as they are still what they were.
        frame_for: the present rows with the features that are named, for the job of that name.
    """
    if wrong_parts([(part["model"], part["params"].get("regime")) for part in parts]):
        return None
    told = next(part for part in parts if part["model"] == CLASSIFIER)
    by_regime = {part["params"]["regime"]: part for part in parts if part["model"] in NETS}
    probabilities = classifier(read_run_of(told, frame_for))
    nets = [_net(read_run_of(by_regime[regime], frame_for)) for regime in REGIMES]

    def forecast(rows: np.ndarray) -> np.ndarray:
        return mixture(probabilities(rows), np.column_stack([net(rows) for net in nets]))

    return forecast


def read_run_of(part: Asked, frame_for: Callable[[list[str], str], ForecastFrame]) -> FinishedRun:
    """Read the run of a model that forecasts no price by itself; *frame_for* as in `by_regimes`."""
    told = told_by(Path(part["run_dir"]))
    frame = frame_for(told["preproc"].get("features") or [], part["job"])
    return FinishedRun(
        **told,
        model=part["model"],
        backend=part["backend"],
        frame=frame,
        recorded=np.full(frame.rows, np.nan),
        held_out=np.empty(0, dtype=np.int64),
        label_sd=1.0,
        interpreter=part.get("interpreter", ""),
    )


def _net(run: FinishedRun) -> Callable[[np.ndarray], np.ndarray]:
    from jobs.exporting.nets import TorchNet

    return by_windows(run, TorchNet(run, "jobs.families.recurrent:RecurrentNet"))


def classifier(run: FinishedRun) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives the probabilities of the regimes h rows later: rows, (n,) -> (n, regimes)."""
    from jobs.exporting.trees import LightGBM

    steps = Preprocessing(steps_of(run, 1), list(run.frame.feature_names))
    booster = LightGBM(run, "")
    regime = regimes(changes(run.frame.price), Rule(**run.preproc["rule"]))
    persisting = persistence(regime, run.frame.horizon_days)

    def probabilities(rows: np.ndarray) -> np.ndarray:
        told = booster.run(steps.inputs(run.frame.x[rows, None, :])).reshape(len(rows), len(REGIMES))
        return mixed(told, persisting[rows], float(run.preproc["share"]))

    return probabilities

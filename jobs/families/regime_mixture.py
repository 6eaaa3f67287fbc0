"""The mixture of the nets of the four regimes: f[t] = sum over k of P(regime k at t + h | x[t]) f_k[t].

The probabilities are the classifier's, the forecasts f_k those of the net of regime k; all were made without the row's
label, and are read from the runs that the job needs. Nothing is trained but the factor towards no change, on the
validation block as for every net. Where the same net without regimes is needed as well, the two are compared on the
backtest, row by row.
"""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cbi_queue.models.kinds import REGIMES
from cbi_queue.models.mixtures import CLASSIFIER, FALLS_BACK, NETS, NO_BETTER, wrong_parts
from cbi_queue.protocol import EpochReport, Started
from jobs.data.series import load_frame
from jobs.evaluation.guardrails import Verdict
from jobs.evaluation.significance import shrinkage_of, skill_test
from jobs.evaluation.splits import split_of
from jobs.results.needed_runs import read_needed_runs
from jobs.results.regime_folder import PROBABILITIES
from jobs.results.run_folder import record_run
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.models.parameters.regimes import RegimeMixtureParams
    from cbi_queue.protocol import Finished
    from jobs.results.needed_runs import NeededRun
    from jobs.trainer import Task

PARTS, MODEL_FILE = "model-parts.parquet", "model.json"
FORECASTS = tuple(f"f_{regime}" for regime in REGIMES)


class RegimeMixture:
    """Evaluates `regime_mixture`."""

    walks_forward = True  # with the rows of its parts

    def prepare(self, task: Task) -> Started:
        """Load the rows, read the runs.

        Raises:
            BrokenSpec: when a part is missing, or was judged on other rows.
        """
        self.params = cast("RegimeMixtureParams", task.spec.typed_params)
        self.frame = load_frame(task.processed_dir, task.spec.horizon)
        self.split = split_of(task, self.frame)
        runs = read_needed_runs(task, self.frame)
        self.classifier, self.nets = chosen_parts(runs)
        plain = NETS[self.nets[0].model]
        self.plain = next((run for run in runs if run.model == plain), None)
        name = f"{task.spec.model} {task.spec.horizon} {self.frame.rows} rows"
        return Started(total_epochs=1, unit="fit", one_shot=True, samples=self.frame.rows, fingerprint=name)

    def train(self, task: Task) -> Finished:
        """Weight the forecasts, compare, fill the folder."""
        task.channel.safe_point(0)
        started_s = time.monotonic()
        probability = self.classifier.columns(self.frame, self.split, PROBABILITIES)  # (rows, regimes)
        forecast = np.hstack([net.columns(self.frame, self.split, ["predicted_return"]) for net in self.nets])
        predicted = mixture(probability, forecast)
        found = self._found(predicted)
        done_s = time.monotonic()
        task.channel.report(
            EpochReport(1, 1, done_s - started_s, samples=self.frame.rows, resumed=task.channel.take_was_paused())
        )
        task.channel.safe_point(1)
        return record_run(
            task,
            self.frame,
            self.split,
            predicted,
            fit_s=0.0,
            predict_s=done_s - started_s,
            model_files={MODEL_FILE: self._description(), PARTS: self._parts(probability, forecast)},
            preproc={"scaler": None, "features": []},
            details=found["details"],
            more_verdicts=found["verdicts"],
        )

    def _found(self, predicted: np.ndarray) -> dict[str, Any]:
        """Say which parts fell back to all rows, and how the mixture compares with the same net without regimes."""
        short = [net for net in self.nets if net.metrics.get("falls_back")]
        verdicts = []
        if short:
            told = (f"{net.name} ({net.metrics['regime_rows']} training rows of its regime)" for net in short)
            verdicts.append(Verdict(FALLS_BACK, "warn", f"learned from all rows alike: {', '.join(told)}"))
        details: dict[str, Any] = {"parts": [self.classifier.name, *(net.name for net in self.nets)]}
        details["part_runs"] = [{"name": part.name, "run": part.run} for part in (self.classifier, *self.nets)]
        details["fell_back"] = [net.name for net in short]
        if self.plain:
            compared = self._compared(self.plain, predicted)
            details["without_regimes"] = {"name": self.plain.name, **compared}
            if words := _no_better(self.plain.name, compared):
                verdicts.append(Verdict(NO_BETTER, "warn", words))
        return {"details": details, "verdicts": verdicts}

    def _compared(self, plain: NeededRun, predicted: np.ndarray) -> dict[str, Any]:
        """Compare absolute errors in price on the backtest: skill = 1 - mixture's / plain net's, as it is judged."""
        frame, rows = self.frame, self.split.backtest
        shrunk = shrinkage_of(frame, self.split.validation, predicted) if self.params.shrink else 1.0
        own, other = shrunk * predicted, plain.columns(frame, self.split, ["predicted_return"])[:, 0]
        kept = rows[np.isfinite(own[rows]) & np.isfinite(other[rows])]
        actual = frame.price[kept] * np.exp(frame.y[kept])
        miss, plain_miss = (np.abs(frame.price[kept] * np.exp(f[kept]) - actual) for f in (own, other))
        tested = skill_test(miss, plain_miss, frame.horizon_days)
        total = float(plain_miss.sum())
        return {
            "rows": len(kept),
            "is_same": bool(np.array_equal(own[kept], other[kept])),
            "skill": 1.0 - float(miss.sum()) / total if total > 0 else None,
            "low": tested.low,
            "high": tested.high,
            "p_value": tested.p_value,
        }

    def _description(self) -> bytes:
        nets = {regime: net.name for regime, net in zip(REGIMES, self.nets, strict=True)}
        told = {"model": "regime_mixture", "classifier": self.classifier.name, "nets": nets, "parts": PARTS}
        return json.dumps(told, indent=2, sort_keys=True).encode() + b"\n"

    def _parts(self, probability: np.ndarray, forecast: np.ndarray) -> bytes:
        """Return what was mixed, by date: probabilities and forecasts, null where there is none."""
        import polars as pl

        columns = {"date": self.frame.dates}
        columns |= dict(zip(PROBABILITIES, probability.T, strict=True)) | dict(zip(FORECASTS, forecast.T, strict=True))
        stream = io.BytesIO()
        pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None)).write_parquet(stream)
        return stream.getvalue()


def mixture(probability: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Return f[t], NaN where a part is missing: (rows, regimes) twice -> (rows,) float64."""
    f: np.ndarray = (probability * forecast).sum(axis=1)
    return f


def chosen_parts(runs: list[NeededRun]) -> tuple[NeededRun, list[NeededRun]]:
    """Return the classifier and the net of each regime, in the order of `REGIMES`.

    Raises:
        BrokenSpec: when one is missing or there are two of it, or the nets are of different kinds.
    """
    if words := wrong_parts([(run.model, run.params.get("regime")) for run in runs]):
        raise BrokenSpec(f"{words}: mend the plan, and enqueue it again")
    by_regime = {run.params["regime"]: run for run in runs if run.model in NETS}
    classifier = next(run for run in runs if run.model == CLASSIFIER)
    return classifier, [by_regime[regime] for regime in REGIMES]


def _no_better(name: str, compared: dict[str, Any]) -> str | None:
    """Return in words that a mixture is not better than *name*; None when it is, beyond luck."""
    skill, low, high = compared["skill"], compared["low"], compared["high"]
    if skill is None:
        return None
    if compared["is_same"]:
        return f"its forecasts are those of {name} on all {compared['rows']} rows"
    told = f"{skill:+.3f} against {name} on the same {compared['rows']} rows"
    if low is None:
        return f"skill {told}: too few independent rows to say whether that is luck"
    if low > 0:
        return None
    verdict = "worse beyond luck" if high < 0 else "not told apart from it"
    return f"skill {told} ({low:+.3f} to {high:+.3f}): {verdict}"

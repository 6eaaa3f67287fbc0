"""`prophet`: the curve of a stored fit is the library's own, no later price is seen, and nothing is printed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cbi_queue.models.parameters.statistical import ProphetParams
from jobs.data.series import load_frame

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("prophet")
pytestmark = pytest.mark.slow
SMALL = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5, "history_rows": 700, "refit_every_rows": 60}


def fitted(dates: np.ndarray, log_price: np.ndarray) -> dict[str, Any]:
    from jobs.families.prophet_fits import ProphetPrice

    trainer = ProphetPrice()
    trainer.params, trainer.dates = ProphetParams(), dates
    return trainer.fit(log_price)


def test_the_curve_of_a_stored_fit_is_the_library_s_forecast(feature_dir: Path) -> None:
    """To rounding: both evaluate the same parameters, on three years of real prices and the year after them."""
    import pandas as pd
    from prophet import Prophet

    from jobs.families.prophet_fits import curve

    frame = load_frame(feature_dir, "1w")
    dates, log_price = frame.dates[2000:2800], np.log(frame.price[2000:2800])
    fit = fitted(dates, log_price)
    theirs = Prophet(weekly_seasonality=False, daily_seasonality=False, uncertainty_samples=0)
    theirs.fit(pd.DataFrame({"ds": dates, "y": log_price}), seed=0)
    asked = frame.dates[2800:3050]

    told = theirs.predict(pd.DataFrame({"ds": asked}))["yhat"].to_numpy()

    assert len(fit["year"]) == 20, "three years are enough for a season"
    assert curve(fit, asked) == pytest.approx(told, abs=1e-9)


def test_a_year_of_prices_has_no_season(feature_dir: Path) -> None:
    frame = load_frame(feature_dir, "1w")
    assert fitted(frame.dates[2000:2250], np.log(frame.price[2000:2250]))["year"] == []


def test_a_forecast_does_not_change_when_later_prices_do(tmp_path: Path, feature_dir: Path) -> None:
    from support.fakes import ScriptedChannel, make_task

    from jobs.families.prophet_fits import ProphetPrice

    frame, row = load_frame(feature_dir, "1w"), 4000
    price = frame.price.copy()
    price[row + 1 :] *= 3.0
    told = []
    for seen in (frame, replace(frame, price=price)):
        spec = {"family": "statistical", "model": "prophet", "horizon": "1w", "params": SMALL}
        trainer = ProphetPrice()
        trainer.prepare(make_task(tmp_path / "run", spec, feature_dir, feature_dir, ScriptedChannel()))
        trainer.frame = seen
        fit = trainer.fit_before(row - 7)
        told.append(trainer.forecast_rows(fit, seen, np.array([row]))[0])

    assert told[0] == told[1]


@pytest.mark.process
def test_the_library_prints_nothing_and_needs_no_network() -> None:
    """Its optimiser announces each chain, and it reports at every start that plotly is absent."""
    code = (
        "import socket; socket.socket.connect = None\n"
        "import numpy as np\n"
        "from jobs.families.prophet_fits import ProphetPrice\n"
        "from cbi_queue.models.parameters.statistical import ProphetParams\n"
        "t = ProphetPrice(); t.params = ProphetParams()\n"
        "t.dates = np.datetime64('2020-01-01') + np.arange(300)\n"
        "t.fit(np.cumsum(np.random.default_rng(0).standard_normal(300)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.process
def test_without_the_package_the_job_is_told_what_to_install() -> None:
    code = (
        "import sys; sys.modules['prophet'] = None\n"
        "from jobs.registry import trainer_for\n"
        "from jobs.trainer import BrokenRuntime\n"
        "try:\n    trainer_for('prophet', 'native')\n"
        "except BrokenRuntime as exc:\n    print(exc)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)

    assert done.stdout.startswith(
        f"{sys.executable} cannot import prophet: `{sys.executable} -m pip install 'cbi-queue["
    )
    assert "`cbi-queue retry` the job" in done.stdout

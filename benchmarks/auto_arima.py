"""Automatic ARIMA and ETS on 1,000 real daily log prices: the fits of our families against pmdarima's `auto_arima`.

Processor time of one fit with one thread, on the same prices and with the same limits of the orders; the first fit of each
process, which compiles and loads, does not count. pmdarima has no ETS, so both are held against its search. It lives in an
environment of its own, because cbi-queue does not need it; without that a row says how to make it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from benchmarks.measuring import Line, Target, in_seconds, ratios
from benchmarks.pipeline import Pipeline
from cbi_queue.models.parameters.statistical import AutoARIMAParams, ETSParams
from jobs.data.series import load_frame
from workers.trainer.environment import trainer_environment

if TYPE_CHECKING:
    from jobs.rolling.walk import RollingFit

RIVAL: Path | None = Path(platformdirs.user_cache_dir("cbi-queue-benchmarks")) / "pmdarima" / "bin" / "python"
"""Python that has pmdarima; None: only ours is measured."""
ROWS = 1000
MOST = 5
"""Most terms of each kind that a search tries."""
WANTED = 4.0
"""Times faster than pmdarima."""
_RIVAL_CODE = """
import json, sys, time, warnings
import numpy as np, pmdarima
warnings.simplefilter("ignore")
prices, rounds, most = np.loadtxt(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
taken = []
for number in range(rounds + 1):
    started = time.process_time()
    pmdarima.auto_arima(prices, seasonal=False, max_p=most, max_q=most, information_criterion="aicc")
    taken.append(time.process_time() - started)
print(json.dumps(taken[1:]))
"""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds."""
    from jobs.families.rolling_fits import ETS, AutoARIMA

    with tempfile.TemporaryDirectory() as raw:
        pipeline = Pipeline(Path(raw), "1w")
        pipeline.build_sample()
        log_price = np.log(load_frame(pipeline.processed, "1w").price[-ROWS:])
        arima, ets = AutoARIMA(), ETS()
        arima.params, ets.params = AutoARIMAParams(max_p=MOST, max_q=MOST), ETSParams()
        ours = {"auto-ARIMA": _taken(arima, log_price, rounds), "ETS": _taken(ets, log_price, rounds)}
        if RIVAL is None:
            return [Line(f"{name}, one fit of ours", "s", tuple(taken)) for name, taken in ours.items()]
        if not RIVAL.exists():
            how = f"`{sys.executable} -m venv {RIVAL.parents[1]} && {RIVAL} -m pip install pmdarima`"
            note = f"pmdarima is not there; {how}"
            return [Line(f"{name}, pmdarima / ours", "x", (), Target(WANTED, at_most=False), note) for name in ours]
        prices = Path(raw) / "prices.txt"
        np.savetxt(prices, log_price)
        command = [RIVAL, "-P", "-c", _RIVAL_CODE, str(prices), str(rounds), str(MOST)]
        done = subprocess.run(command, env=trainer_environment(1), capture_output=True, text=True, check=True)
        theirs: list[float] = json.loads(done.stdout.splitlines()[-1])
    return [
        Line(
            f"{name}, pmdarima's auto_arima / ours",
            "x",
            ratios(theirs, taken),
            Target(WANTED, at_most=False),
            f"ours {in_seconds(taken)}, pmdarima {in_seconds(theirs)} of processor time, {ROWS} prices",
        )
        for name, taken in ours.items()
    ]


def _taken(family: RollingFit, log_price: np.ndarray, rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds + 1):
        started_s = time.process_time()
        family.fit(log_price)
        taken.append(time.process_time() - started_s)
    return taken[1:]

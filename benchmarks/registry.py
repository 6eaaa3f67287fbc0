"""The list of the benchmarks, in the order in which they run; each module is imported only when it runs."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.measuring import Line


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark: a module of this package with a function `lines(rounds)`."""

    name: str
    module: str
    words: str
    rounds: int
    slow: bool = False
    """Runs only when it is named."""
    smallest: Mapping[str, object] = field(default_factory=dict)
    """Constants of its module, with values that let it run in seconds and say nothing."""

    def run(self, rounds: int | None = None) -> list[Line]:
        """Measure; by default as many rounds as the benchmark needs for a steady median."""
        lines: list[Line] = importlib.import_module(f"benchmarks.{self.module}").lines(rounds or self.rounds)
        return lines

    def run_smallest(self) -> list[Line]:
        """Run one round at the smallest size: to know that it runs, not to measure.

        Raises:
            AttributeError: when its module no longer has a constant of `smallest`.
        """
        module = importlib.import_module(f"benchmarks.{self.module}")
        with contextlib.ExitStack() as changes:
            for name, value in self.smallest.items():
                changes.enter_context(patch.object(module, name, value))
            return self.run(1)


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark("enqueue", "enqueue_jobs", "70 jobs into the ledger, against the bare transaction", 30),
    Benchmark(
        "claim", "claim_to_settle", "claim to settle of a no-op job, against stock Huey", 12, smallest={"BATCH": 10}
    ),
    Benchmark("status", "quick_verbs", "`cbi-queue status --json`, `--help` and `add`, against a bare interpreter", 15),
    Benchmark(
        "large-queue",
        "large_queue",
        "verbs and page on a queue of 10,000 jobs, in processor time and memory",
        3,
        smallest={"JOBS": 50},
    ),
    Benchmark(
        "eta",
        "finish_time",
        "finish times said in simulated weeks, against the real end; `cbi-queue eta` on 70 jobs",
        3,
        slow=True,
        smallest={"WEEKS": 1},
    ),
    Benchmark("board", "board", "the leaderboard over 1,000 scored runs, in processor time", 5, smallest={"RUNS": 10}),
    Benchmark(
        "own-script",
        "own_script",
        "a script in the slot against the bare command, and a report of it",
        3,
        slow=True,
        smallest={"WORK": 1000},
    ),
    Benchmark("pick-up", "pick_up", "how long a job waits for an idle daemon", 15),
    Benchmark(
        "handover",
        "handover",
        "one job's end to the next trainer's first line, against a bare start",
        6,
        smallest={"JOBS": 2},
    ),
    Benchmark(
        "crash",
        "crash_recovery",
        "from a crash of trainer or daemon to training again",
        3,
        slow=True,
        smallest={"MOST_CRASHES": 1, "EPOCHS_BEFORE": 2, "SIZE": {"sequence_length": 4, "hidden_size": 8}},
    ),
    Benchmark("idle-page", "idle_page", "memory of `cbi-queue serve` after a few requests", 3, smallest={"TIMES": 1}),
    Benchmark(
        "page-speed",
        "page_speed",
        "p99 of page and API at 50 requests a second, on a week and on 100,000 jobs with 5 million telemetry rows",
        3,
        slow=True,
        smallest={"PAST_JOBS": 20, "TELEMETRY_ROWS": 100, "NAMED_JOBS": 20, "ASKED_S": 0.1},
    ),
    Benchmark(
        "page-training",
        "page_training",
        "what it costs a training that somebody asks for page and API 50 times a second",
        26,
        slow=True,
        smallest={"STRETCH_S": 0.1},
    ),
    Benchmark(
        "live-change",
        "live_change",
        "from a change in the ledger to the open page that shows it, p95",
        3,
        smallest={"CHANGES": 2, "OTHER_TABS": 1},
    ),
    Benchmark(
        "idle-daemon",
        "idle_daemon",
        "memory and CPU of the daemon with nothing to do, over a minute",
        1,
        smallest={"SETTLING_S": 0.1, "WATCHED_S": 0.5},
    ),
    Benchmark(
        "monitor",
        "monitor_cost",
        "processor time of the monitor while a model trains, over a minute",
        1,
        smallest={"SETTLING_S": 0.1, "WATCHED_S": 0.5},
    ),
    Benchmark(
        "lightgbm",
        "lightgbm_direct",
        "LightGBM through the queue, against a direct call",
        5,
        smallest={"TREES": 5},
    ),
    Benchmark(
        "walk-forward",
        "walk_forward_cost",
        "LightGBM walked forward with eight refits, against the same fits made directly",
        5,
        smallest={"TREES": 5, "REFITS": 1},
    ),
    Benchmark(
        "luck",
        "false_discoveries",
        "what the whole pipeline says about random walks: skill, told apart, vetoes; a round is a walk",
        40,
        slow=True,
        smallest={"HORIZONS": ("1w",)},
    ),
    Benchmark(
        "ensemble-luck",
        "ensemble_walks",
        "what ensembles of models without skill say about random walks; a round is a walk",
        20,
        slow=True,
        smallest={"HORIZONS": ("1w",)},
    ),
    Benchmark(
        "mixture-luck",
        "mixture_walks",
        "what the mixture over regimes and the models of variance say about random walks; a round is a walk",
        20,
        slow=True,
        smallest={
            "HORIZONS": ("1w",),
            "EVALUATION": {"validation_rows": 252, "backtest_rows": 252},
            "CLASSES": {"n_estimators": 5, "early_stopping_rounds": None},
            "REGIME_NET": {"epochs": 1, "sequence_length": 4, "hidden_size": 4},
            "VARIANCE": {
                "quantile_net": {"epochs": 1},
                "garch": {"history_rows": 500, "refit_every_rows": 504},
            },
        },
    ),
    Benchmark(
        "skill-test",
        "skill_test_size",
        "how often noise is called skill by each test, and a real skill is seen; a round is a walk",
        2000,
        slow=True,
        smallest={"HORIZON_DAYS": (5,)},
    ),
    Benchmark(
        "leaks",
        "planted_columns",
        "columns that know the future, planted and honest, on real stocks; a round is a stock",
        8,
        slow=True,
        smallest={"HORIZON_DAYS": (5,), "ROWS": 1500},
    ),
    Benchmark(
        "net-rules",
        "net_rules",
        "skill of a net on 20 real series with and without the rules for nets",
        1,
        slow=True,
        smallest={"SERIES": 1, "HORIZONS": ("1w",), "WINDOWS": {"last": 8313}},
    ),
    Benchmark("detector", "detector_recall", "slow-downs found, delays and false alarms on recorded trainings", 1),
    Benchmark(
        "week",
        "simulated_week.weeks",
        "a week of 65 jobs in simulated time and heat, with and without us",
        1,
        slow=True,
        smallest={"MOST_SCENARIOS": 1},
    ),
    Benchmark(
        "mini-week",
        "mini_week",
        "the mini week through the queue, against the same fits made one after another by a plain script",
        1,
        slow=True,
        smallest={"ONLY": frozenset({"features-1w", "naive-1w"})},
    ),
    Benchmark(
        "tracker",
        "tracker",
        "processor time of the tracker, which writes ended runs to MLflow's store",
        3,
        slow=True,
        smallest={"EPOCHS": 2, "MORE": 0},
    ),
    Benchmark(
        "accuracy",
        "accuracy",
        "MASE of the best model and the best ensemble of each horizon, beside naive, drift, automatic ARIMA and AutoGluon",
        1,
        slow=True,
        smallest={"ONLY": frozenset({"features-1w", "drift-1w", "ets-1w"}), "AUTOGLUON_PYTHON": None},
    ),
    Benchmark(
        "week-sweep",
        "simulated_week.sweep",
        "the same week, swept over heat sinks, rooms, fans, sensors and their faults; a round is 60 of 1152 weeks",
        3,
        slow=True,
        smallest={"FRACTIONS": 1152},
    ),
    Benchmark(
        "checkpoints",
        "checkpoint_cost",
        "share of training that checkpoints take",
        1,
        slow=True,
        smallest={"EPOCHS": 12},
    ),
    Benchmark(
        "loop",
        "loop_overhead",
        "training with monitor, channel and reports, against the same loop without",
        40,
        smallest={"SMALLEST": {"hidden_size": 2}},
    ),
    Benchmark(
        "lstm", "lstm_rivals", "an LSTM, against neuralforecast and darts", 5, slow=True, smallest={"RIVALS": ()}
    ),
    Benchmark(
        "auto-arima",
        "auto_arima",
        "automatic ARIMA and ETS on 1,000 daily prices, against pmdarima",
        5,
        slow=True,
        smallest={"RIVAL": None, "ROWS": 200},
    ),
    Benchmark(
        "m3",
        "m3_monthly",
        "Theta, ETS and automatic ARIMA on the monthly series of the M3 competition, against papers",
        1,
        slow=True,
        smallest={"EVERY": 700},
    ),
    Benchmark(
        "own-data",
        "own_data",
        "import of a million rows, against pandas; `plan check` with and without data",
        3,
        slow=True,
        smallest={"ROWS": 2_000},
    ),
    Benchmark(
        "quarantine",
        "feature_quarantine",
        "skill of LightGBM with `quarantine_psi` and without, on 20 daily series",
        20,
        slow=True,
        smallest={"ROUNDS": 2, "HORIZONS": ("1w",)},
    ),
    Benchmark(
        "feature-rival",
        "feature_rival",
        "the features of the sample, against Polars' own rolling functions: time and peak memory",
        5,
        slow=True,
        smallest={"BUILDS": 1},
    ),
    Benchmark(
        "features",
        "feature_streaming",
        "memory of the feature cache on a million rows, and on 1,000 columns",
        1,
        slow=True,
        smallest={"ROWS": 10_000, "WIDE_ROWS": 400, "WIDE_COLUMNS": 20},
    ),
    Benchmark(
        "waiting-threads",
        "waiting_threads",
        "steps of a net whose threads wait as a trainer's do, against threads that sleep at once; alone, and in company",
        5,
        smallest={"STEPS": 2},
    ),
    Benchmark(
        "grains",
        "grains",
        "an epoch of each net in pieces of a fixed size, against whole batches",
        7,
        slow=True,
        smallest={"ONLY": "feed_forward"},
    ),
)


def chosen(names: list[str]) -> list[Benchmark]:
    """Return the named benchmarks, or every one that is not slow.

    Raises:
        KeyError: for a name that none has.
    """
    known = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    return [known[name] for name in names] or [benchmark for benchmark in BENCHMARKS if not benchmark.slow]

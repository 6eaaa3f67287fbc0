"""A day of regimes through a real daemon: the mixture finds the runs that it needs, also after kills."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from cbi_queue.ledger import queries
from cbi_queue.models.kinds import REGIMES

if TYPE_CHECKING:
    from support.installation import Installation

BLOCKS = {"validation_rows": 120, "backtest_rows": 120, "embargo_rows": 5}
NET = BLOCKS | {"epochs": 3, "patience": 3, "sequence_length": 4, "batch_size": 256, "hidden_size": 4}


def day_of(batch: str) -> list[dict[str, Any]]:
    """A classifier, a net of each regime, one without, and the mixture."""
    classifier = {
        "name": f"{batch}-regimes", "family": "regime_classifier", "model": "regime_lightgbm",
        "params": BLOCKS | {"n_estimators": 20},
    }  # fmt: skip
    nets = [
        {
            "name": f"{batch}-{regime}", "family": "regime_specific", "model": "regime_gru",
            "needs": [f"{batch}-regimes"], "params": NET | {"regime": regime},
        }
        for regime in REGIMES
    ]  # fmt: skip
    plain = {"name": f"{batch}-gru", "family": "simple_neural", "model": "gru", "params": NET | {"shrink": False}}
    parts = [classifier, *nets, plain]
    mixture = {
        "name": f"{batch}-mixture", "family": "regime_specific", "model": "regime_mixture",
        "needs": [part["name"] for part in parts], "params": BLOCKS | {"shrink": False},
    }  # fmt: skip
    return [{"horizon": "1w", **job} for job in [*parts, mixture]]


def killed_again() -> list[dict[str, Any]]:
    """The classifier and the mixture once more; the nets between them are those of the whole day."""
    classifier, *_, mixture = day_of("killed")
    needs = ["killed-regimes", *(f"whole-{part}" for part in (*REGIMES, "gru"))]
    return [classifier, {**mixture, "needs": needs}]


def forecast(installation: Installation, name: str) -> pl.DataFrame:
    return pl.read_parquet(Path(installation.job(name).run_dir or "") / "predictions.parquet")


@pytest.mark.timeout(600)
def test_a_day_of_regimes_that_is_killed_ends_with_the_same_mixture(installation: Installation) -> None:
    installation.enqueue(*day_of("whole"))
    assert installation.start_daemon("--until-empty", wait=False).wait(300) == 0
    installation.enqueue(*killed_again())

    for victim in ("killed-regimes", "killed-mixture"):
        daemon = installation.start_daemon("--until-empty")
        installation.until_state(victim, "running", within_s=240)
        trainer = installation.trainer_at_work(victim)
        daemon.kill()
        trainer.signal_group(signal.SIGKILL)
        daemon.wait(60)
    assert installation.start_daemon("--until-empty", wait=False).wait(300) == 0

    for part in ("regimes", "mixture"):
        assert installation.job(f"killed-{part}").state == "succeeded", installation.story(f"killed-{part}")
        whole, killed = (forecast(installation, f"{batch}-{part}") for batch in ("whole", "killed"))
        assert killed.equals(whole), part
    metrics = installation.job("whole-mixture").metrics or {}
    assert metrics["without_regimes"]["name"] == "whole-gru"
    assert metrics["without_regimes"]["rows"] == 120
    board = installation.cli("leaderboard")
    assert "Horizon 1w regimes (holdout): ranked by validation, skill of the backtest" in board
    assert "whole-mixture" in board
    assert "whole-bear" not in board, "a net of one regime is on no board"
    assert "Regime bear: " in installation.cli("show", "whole-bear")
    with installation.ledger() as ledger:
        needed = queries.needed_runs(ledger, installation.job("whole-mixture").id)
    assert list(needed) == [f"whole-{part}" for part in ("regimes", *REGIMES, "gru")]
    assert all(Path(folder).is_dir() for folder in needed.values())

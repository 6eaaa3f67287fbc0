"""Shared by the tests of the command line: an installation with a job in every state that needs no trainer."""

from __future__ import annotations

import shutil
from datetime import date
from typing import TYPE_CHECKING

import polars as pl
import pytest
from support.command_installation import Home
from support.ledger_rows import NET, add, add_in

from cbi_queue.ledger.claims import claim, record_trainer
from cbi_queue.ledger.settlement import requeue
from cbi_queue.lifecycle import JobState, Outcome, Reason

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """An installation with a job in every state that needs no trainer, with attempts, logs and events."""
    home = Home(tmp_path_factory.mktemp("home"))
    (home.root / "config.toml").touch()
    home.settings.make_layout()
    for horizon in ("1w", "1m"):
        days = pl.date_range(date(2000, 1, 3), date(2008, 1, 1), "1d", eager=True)
        export = pl.DataFrame({"date": days.filter(days.dt.weekday() < 6)}).with_columns(
            price=pl.int_range(1, pl.len() + 1)
        )
        export.write_parquet(home.settings.exports_dir / f"production_training_data_{horizon}.parquet")
        (home.settings.processed_dir / f"{horizon}_features.parquet").touch()
    with home.ledger() as ledger:
        for state in (JobState.SUCCEEDED, JobState.VETOED, JobState.FAILED, JobState.CANCELLED):
            add_in(ledger, state, f"naive-{state}-1w")
        number = add(ledger, "net-1w", **NET)
        log = home.settings.training_log_dir / "net-1w.log"
        log.write_bytes("first line\nümlaut\n\x1b[2Jcleared\nlast line\n".encode())
        attempt = claim(ledger, number)
        record_trainer(ledger, attempt.id, pid=1, started=0.0, log_path=str(log), run_dir="/run", settings={})
        requeue(ledger, number, Outcome.EVICTED, Reason.EVICTED, "made room for a very long explanation of why")
        add(ledger, "naive-next-1w", needs=["net-1w"], priority=5)
        add_in(ledger, JobState.HELD, "naive-held-1w")
        ledger.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home.root


@pytest.fixture
def home(prepared, tmp_path) -> Home:
    """A copy of the prepared installation."""
    shutil.copytree(prepared, tmp_path / "home")
    return Home(tmp_path / "home")

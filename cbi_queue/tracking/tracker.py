"""Writes every ended run that MLflow's store does not have yet; one tracker at a time, killed at any point without harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.ledger import Ledger
from cbi_queue.regular_files import file_lock
from cbi_queue.telemetry.reader import TelemetryReader
from cbi_queue.tracking.reading import TrackingFailed, known_runs, store_dir
from cbi_queue.tracking.runs import ended_runs, record_of
from cbi_queue.tracking.store import MlflowStore, is_installed, to_write
from cbi_queue.tracking_state import read_state, write_state
from cbi_queue.wording import span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cbi_queue.settings import Settings
    from cbi_queue.tracking.runs import EndedRun, RunRecord

BUSY = "another tracker is writing to MLflow's store at the moment"


@dataclass(frozen=True, slots=True)
class Tracked:
    """What one tracking did."""

    written: int
    in_store: int
    """Runs of this ledger in the store before it."""


def track(settings: Settings, *, everything: bool = False, on_run: Callable[[int, int], None] | None = None) -> Tracked:
    """Write the runs that the store does not have as they are now, and keep how it ended.

    Args:
        settings: name the store, the ledger and the telemetry.
        everything: write every run again.
        on_run: called with the number of the run and of all, before each.

    Raises:
        TrackingFailed: when it ended early; the runs before are in the store.
        VolumeMissing: when the store's disk is not mounted.
    """
    settings.require_volume()
    written = 0
    with (
        file_lock(settings.state_dir / "tracking.lock") as is_alone,
        Ledger.open_readonly(settings.ledger_path) as ledger,
    ):
        if not is_alone:
            raise TrackingFailed(BUSY, hint="it writes the same runs; look again in a minute")
        runs = ended_runs(ledger)
        try:
            known = known_runs(settings)
            wanted = to_write(runs, known, everything=everything)
            store = MlflowStore(store_dir(settings)) if wanted else None
            for number, (run, record) in enumerate(_records(settings, ledger, wanted), 1):
                if on_run is not None:
                    on_run(number, len(wanted))
                if store is not None:
                    store.write(record, known.get(run.key))
                written += 1
        except TrackingFailed as exc:
            write_state(settings, written, f"{exc.message}; {exc.hint}")
            raise
        write_state(settings, written, None)
    return Tracked(written, sum(run.key in known for run in runs))


def tracking_words(settings: Settings) -> tuple[bool, str, str | None]:
    """Return whether tracking is well, what was seen, and what to do, for `doctor`."""
    if settings.tracking == "off":
        return True, "switched off: the daemon writes no run to MLflow's store", None
    if not is_installed():
        return False, "MLflow is not installed: no run is written to its store", "pip install 'cbi-queue[tracking]'"
    state = read_state(settings)
    if state is not None and state.failure:
        seen, _, advice = state.failure.partition("; ")
        return False, seen, advice
    age = "no run has been written yet" if state is None else f"up to date {span(clock.epoch_s() - state.at)} ago"
    return True, f"MLflow's store in {store_dir(settings)}: {age}", None


def records(settings: Settings) -> Iterator[RunRecord]:
    """Yield every ended run, oldest first."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        for _, record in _records(settings, ledger, ended_runs(ledger)):
            yield record


def _records(settings: Settings, ledger: Ledger, runs: list[EndedRun]) -> Iterator[tuple[EndedRun, RunRecord]]:
    for run in runs:
        with TelemetryReader(settings.telemetry_path) as telemetry:
            yield run, record_of(ledger, telemetry, run)

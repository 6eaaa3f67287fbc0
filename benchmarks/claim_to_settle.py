"""From the claim of a no-op job to its settled row, through our Huey storage, against stock Huey's dequeue and execute.

Both are driven by one loop in this process, each on a database of its own. Stock Huey, with `fsync=True`, deletes the
message in one commit and forgets it. Ours commits at the claim, unflushed as always, and at the ending, flushed, and
writes an attempt and two events beside the job. The commit that records a trainer before it begins is not in it: a
no-op has none. Every batch starts on new files.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from huey import SqliteHuey

from benchmarks.installation import installation, plan_of
from benchmarks.measuring import Line, Target, alternate, ratios, seconds
from cbi_queue.huey_queue import LedgerHuey
from cbi_queue.ledger import Ledger, queries, settlement
from cbi_queue.ledger.enqueue import enqueue

if TYPE_CHECKING:
    from pathlib import Path

    from huey import Huey

BATCH = 200
"""Jobs a measurement."""


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds."""
    our_cpu_ms: list[float] = []
    stock_cpu_ms: list[float] = []
    ours, stock = alternate(lambda: _ours_per_s(our_cpu_ms), lambda: _stock_per_s(stock_cpu_ms), rounds)
    note = f"ours {_words(ours, our_cpu_ms)}; stock {_words(stock, stock_cpu_ms)}"
    what = "rate of claim to settle / stock Huey's dequeue and execute"
    return [Line(what, "x", ratios(ours, stock), Target(0.5, at_most=False), note)]


def _ours_per_s(cpu_ms: list[float]) -> float:
    jobs = [
        {"name": f"naive-{number}", "family": "statistical", "model": "naive", "horizon": "1w"}
        for number in range(BATCH)
    ]
    with installation() as home:
        path = home.settings.ledger_path
        with Ledger.open(path) as ledger:
            enqueue(ledger, [plan_of(*jobs)])
        huey = LedgerHuey(
            path,
            admit=lambda _ledger, _job: True,
            train=lambda ledger, job_id, _attempt_id: settlement.finish(ledger, job_id, metrics={"rmse": 0.5}),
        )
        rate = _drain(huey, cpu_ms)
        done = queries.state_counts(huey.ledger())
        _close(huey)
    if done != {"succeeded": BATCH}:
        msg = f"not every job was settled: {done}"
        raise RuntimeError(msg)
    return rate


def _stock_per_s(cpu_ms: list[float]) -> float:
    with installation() as home:
        path: Path = home.root / "stock.db"
        huey = SqliteHuey("stock", filename=str(path), fsync=True)
        task = huey.task()(_nothing)
        for _ in range(BATCH):
            task()
        rate = _drain(huey, cpu_ms)
        huey.storage.close()
    return rate


def _nothing() -> None:
    """Do what a no-op task does."""


def _drain(huey: Huey, cpu_ms: list[float]) -> float:
    """Work off BATCH tasks as a worker would; return tasks a second, and note the processor time of each."""

    def work() -> None:
        for _ in range(BATCH):
            huey.execute(huey.dequeue())

    cpu_before_s = time.process_time()
    wall_s = seconds(work)
    cpu_ms.append(1000 * (time.process_time() - cpu_before_s) / BATCH)
    return BATCH / wall_s


def _words(rates: list[float], cpu_ms: list[float]) -> str:
    return f"{min(rates):.0f}..{max(rates):.0f}/s, {statistics.median(cpu_ms):.2f} ms of processor time each"


def _close(huey: LedgerHuey) -> None:
    huey.ledger().close()
    huey.storage.close()

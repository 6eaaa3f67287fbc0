"""How long a job waits for an idle daemon: from the instant it was enqueued to the instant it was claimed.

The real daemon process with its default settings; both instants are those of the job's own events. The jobs have no
data and end at once: what happens after the claim does not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.installation import installation, until
from benchmarks.measuring import Line, Target, in_ms
from cbi_queue.ledger import Ledger, queries
from cbi_queue.slot_lock import SlotLock

if TYPE_CHECKING:
    from benchmarks.installation import Installation


def lines(rounds: int) -> list[Line]:
    """Enqueue *rounds* jobs, each one when the daemon is idle again."""
    with installation() as home:
        home.settings.make_layout()
        with home.process("-m", "workers", "--quiet"):
            until(lambda: SlotLock(home.settings.lock_path).holder() is not None, "the daemon to hold the slot")
            waits = tuple(_wait_s(home, f"job-{number}") for number in range(rounds + 1))[
                1:
            ]  # the first meets it booting
    return [Line("a job's wait for an idle daemon", "s", waits, Target(0.5), in_ms(waits))]


def _wait_s(home: Installation, name: str) -> float:
    home.enqueue({"name": name, "family": "statistical", "model": "naive", "horizon": "1w", "retries": 0})
    with Ledger.open_readonly(home.settings.ledger_path) as ledger:
        until(lambda: queries.find_job(ledger, name).state.is_final, f"{name} to end")
        enqueued, claimed = queries.events_of(ledger, queries.find_job(ledger, name).id)[:2]
    if (enqueued.event, claimed.event) != ("enqueue", "claim"):
        msg = f"the story of {name} begins with {enqueued.event}, {claimed.event}"
        raise RuntimeError(msg)
    return claimed.at - enqueued.at

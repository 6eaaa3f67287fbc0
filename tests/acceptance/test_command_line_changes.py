"""The verbs that change something, through the real `cbi-queue`."""

from __future__ import annotations

from support.ledger_rows import add, dump

from cbi_queue.ledger.claims import claim
from cbi_queue.ledger.settlement import fail, finish
from cbi_queue.lifecycle import Outcome, Reason


def test_the_slot_is_paused_and_resumed_in_words(home):
    assert home.run("pause") == (
        "Paused. `cbi-queue resume` lifts this hold.\nNo daemon is running; the hold applies when one starts.\n"
    )
    assert "Slot closed: too hot" in home.run("pause", "--reason", "too hot", "--for", "2h") + home.run("status")
    assert home.json("pause", "--evict")["mode"] == "evict"
    assert home.json("resume") == {"lifted": True, "holds": []}
    assert home.run("resume") == "The queue was not paused by the user.\n"
    assert "is not a length of time" in home.run("pause", "--for", "soon", code=2)


def test_jobs_are_held_released_called_off_and_retried(home):
    assert home.run("hold", "net-1w") == "Held net-1w (job 5): held\n"
    assert home.run("release", "net-1w", "naive-held-1w").splitlines()[1].endswith("(job 7): queued")
    assert home.json("cancel", "net-1w", "naive-held-1w") == [
        {"id": 5, "name": "net-1w", "state": "cancelled", "reason": "user"},
        {"id": 7, "name": "naive-held-1w", "state": "cancelled", "reason": "user"},
    ]
    assert [entry["state"] for entry in home.json("retry", "net-1w")] == ["queued"]
    assert "it is queued" in home.run("retry", "net-1w", code=2)
    assert "cannot cancel job 1" in home.run("cancel", "net-1w", "naive-succeeded-1w", code=2)
    assert home.json("show", "net-1w")["state"] == "queued", "refused as a whole"


def test_every_failed_job_is_retried_except_where_a_later_one_took_its_place(home):
    with home.ledger() as ledger:
        number = add(ledger, "naive-again-1w", priority=100)
        claim(ledger, number)
        fail(ledger, number, Outcome.ERROR, Reason.RETRIES_SPENT, "it broke")
        add(ledger, "naive-again-1w", params={"seed": 7})

    assert [entry["name"] for entry in home.json("retry", "--failed")] == ["naive-failed-1w"]
    home.run("cancel", "naive-failed-1w")
    assert home.run("retry", "--failed") == "No job has failed.\n"
    assert "name the jobs, or use --failed" in home.run("retry", code=2)


def test_priorities_and_parameters_are_changed(home):
    assert home.json("priority", "net-1w", "naive-next-1w", "-5") == [
        {"id": 5, "name": "net-1w", "priority": -5},
        {"id": 6, "name": "naive-next-1w", "priority": -5},
    ]
    edited = home.json("edit", "net-1w", "params.epochs=7", "params.hidden=[8, 4]", "timeout_s=null", "retries=2")
    assert (edited["spec"]["params"]["epochs"], edited["spec"]["params"]["hidden"]) == (7, [8, 4])
    assert (edited["priority"], edited["retries"]) == (-5, 2)
    before = dump(home.settings.ledger_path)
    for wrong in ("params.epochs=0", "=5", "params.hidden=[", "retries=!!python/name:os.system"):
        assert "cannot" in home.run("edit", "net-1w", wrong, code=2)
    home.run("priority", "net-1w", "1001", code=2)
    assert dump(home.settings.ledger_path) == before


def test_waiting_ends_with_the_jobs_and_prints_how_they_ended(home):
    assert home.run("wait", "naive-succeeded-1w") == ""
    said = home.run("wait", "naive-succeeded-1w", "naive-failed-1w", code=1)
    assert "naive-failed-1w" in said
    assert "is failed: it ended without success" in said
    assert "naive-succeeded-1w" not in said
    assert "Gave up waiting" in home.run("wait", "net-1w", "--timeout", "0.3s", code=75)
    waiting = home.start("wait", "net-1w")
    with home.ledger() as ledger:
        claim(ledger, 5)
        finish(ledger, 5, metrics={})
    assert waiting.wait(60) == 0
    waiting.communicate()


def test_waiting_ends_when_the_jobs_cannot_start_without_the_user(home):
    """A script that waits for a held job, or one behind a failed one, must not wait for ever."""
    home.run("cancel", "net-1w")

    assert "naive-next-1w (job 6) is waiting: it cannot start without you" in home.run("wait", "naive-next-1w", code=1)
    assert "is held" in home.run("wait", "naive-held-1w", code=1)
    home.run("wait", code=1)

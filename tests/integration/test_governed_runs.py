"""The governor over real trainings in the real slot: scripted sensors bring the heat, everything else is real."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.governed_installation import (
    COOL,
    HEAVY,
    LONG_NET,
    ROOMY,
    SHORT_NET,
    TIGHT,
    TRAPPING,
    script,
    until_decision,
)
from support.telemetry_rows import decisions_of, last_standing, samples_between
from support.waiting import until

from cbi_queue.ledger import Ledger
from cbi_queue.ledger.holds import holds_in_force
from cbi_queue.ledger.queries import last_events
from cbi_queue.lifecycle import HoldMode, HoldReason, JobState, Outcome

if TYPE_CHECKING:
    from support.installation import Installation


UP_WAIT_S = 3.0
"""What the quick profile waits, with a clear sensor, before a step up."""


def holds(installation: Installation) -> dict[str, HoldMode]:
    with Ledger.open_readonly(installation.settings.ledger_path) as ledger:
        return {hold.reason: hold.mode for hold in holds_in_force(ledger)}


def slot_events(installation: Installation) -> set[tuple[str, str]]:
    """Names and reasons of what happened to the slot itself."""
    with Ledger.open_readonly(installation.settings.ledger_path) as ledger:
        return {(event.event, event.reason) for event in last_events(ledger, 1000)}


def silent_for_s(installation: Installation) -> float:
    """Seconds over which the stored samples call the heat unknown."""
    at, _ = last_standing(installation.settings.telemetry_path)
    samples = samples_between(installation.settings.telemetry_path, at - 3600, at)
    silent = [when for when, readings in samples if "unknown" in readings["thermal"]]
    return silent[-1] - silent[0] if silent else 0.0


@pytest.mark.timeout(900)  # two whole trainings
def test_a_heat_wave_is_paced_paused_and_left_behind_with_the_same_weights(governed: Installation) -> None:
    """The whole ladder over a real training must not change one bit of its result; and `governor why` tells it, to be trusted."""
    governed.enqueue({**SHORT_NET, "name": "hot"}, {**SHORT_NET, "name": "plain", "priority": -1})
    script(governed, (0.0, HEAVY), (2.5, TRAPPING), (6.0, COOL))
    governed.start_daemon()

    paced = until_decision(governed, "pace")
    paused = until_decision(governed, "pause")
    until_decision(governed, "resume", upward=True)
    until_decision(governed, "pace", upward=True)
    governed.until_state("plain", "succeeded", within_s=600)

    assert paced.value < 1.0
    assert paused.cause == "heat"
    assert not holds(governed)
    assert ("hold_placed", "thermal") in slot_events(governed)
    assert governed.job("hot").metrics["backtest"] == governed.job("plain").metrics["backtest"]
    assert {"pause", "resume"} <= {e.event for e in governed.events("hot")}

    told = json.loads(governed.cli("governor", "why", "hot", "--json"))["story"]
    words = " ".join(line["words"] for line in told)
    picture = governed.root / "why.svg"
    governed.cli("governor", "why", "hot", "--plot", str(picture))
    assert "trapping" in words
    assert "paused until it has cooled" in words
    assert told[-1]["kind"] == "end"
    assert "pause" in picture.read_text()
    assert "pause" in governed.cli("governor", "history")


def test_critical_memory_evicts_and_the_job_comes_back_when_there_is_room(governed: Installation) -> None:
    """The last rung: checkpoint, leave, wait for room, go on."""
    governed.enqueue({**LONG_NET, "name": "big", "params": {**LONG_NET["params"], "batch_size": 2}})
    script(governed, (0.0, TIGHT), (18.0, ROOMY))
    governed.start_daemon()

    until_decision(governed, "evict")
    governed.until_state("big", "queued")
    assert holds(governed).get(HoldReason.MEMORY) is HoldMode.EVICT
    until(lambda: not holds(governed), "the memory hold is lifted", 90)
    governed.until_state("big", "running")

    assert governed.attempts("big")[0].outcome is Outcome.EVICTED
    assert "restored" in until(
        lambda: {e.event for e in governed.events("big")} & {"restored"}, "it goes on from its checkpoint"
    )


def test_sensors_that_go_silent_are_never_good_news_and_never_stop_the_queue(governed: Installation) -> None:
    """A paced trainer whose sensors fall silent stays paced until its own work shows that all is well."""
    (number,) = governed.enqueue(governed.lasting("blind"))
    script(governed, (0.0, HEAVY), (8.0, {"thermal": {"unknown": "the sensor is gone"}}))
    governed.start_daemon()

    paced = until_decision(governed, "pace")
    until(lambda: silent_for_s(governed) > UP_WAIT_S, "the sensor has been silent for longer than a clear one needs")

    risen = [row for row in decisions_of(governed.settings.telemetry_path, number) if row.upward and not row.undo]
    assert paced.value < 1.0
    assert governed.job("blind").state is JobState.RUNNING
    assert all("cold cost" in row.words for row in risen), "only the work itself may speak for a step up"


def test_watching_decides_and_writes_down_but_touches_nothing(governed: Installation) -> None:
    """`CBI_GOVERNOR=watch` is how a careful user tries it."""
    governed.overrides["CBI_GOVERNOR"] = "watch"
    governed.enqueue(governed.lasting("watched"))
    script(governed, (0.0, TRAPPING))
    governed.start_daemon()

    until_decision(governed, "pause")
    governed.let_end("watched")
    governed.until_state("watched", "succeeded")

    assert not any(row.acted for row in decisions_of(governed.settings.telemetry_path))
    assert "pause" not in {e.event for e in governed.events("watched")}


def test_the_status_shows_readings_rung_and_mode(governed: Installation) -> None:
    """What the sensors say now, with age and source, and what the governor makes of it."""
    governed.enqueue(governed.lasting("seen"))
    script(governed, (0.0, HEAVY))
    governed.start_daemon()
    until_decision(governed, "pace")

    def shown() -> dict[str, Any] | None:
        status = json.loads(governed.cli("governor", "status", "--json"))
        return status if status["standing"] and status["standing"].get("duty", 1.0) < 1.0 else None

    status = until(shown, "the status tells the pace")
    text = governed.cli("governor", "status")

    assert status["job"] == "seen"
    assert status["standing"]["readings"]["thermal"]["level"] == "heavy"
    assert "heavy" in text
    assert "unknown" in text, "sensors that the script leaves out are unknown, not fine"
    assert last_standing(governed.settings.telemetry_path)
    at = last_standing(governed.settings.telemetry_path)[0]
    assert samples_between(governed.settings.telemetry_path, at - 60, at + 60)


def test_baselines_are_kept_for_the_next_run_of_the_same_kind(governed: Installation) -> None:
    """A run that starts hot is only seen when an earlier run has told what cold means."""
    names = [f"run-{n}" for n in range(10)]  # one that others disturb too often teaches nothing, and must not
    governed.enqueue(*({**SHORT_NET, "name": name} for name in names))
    script(governed, (0.0, COOL))
    governed.start_daemon()
    rows, probes = [], []
    for name in names:
        governed.until_state(name, "succeeded", within_s=120)
        with Ledger.open_readonly(governed.settings.ledger_path) as ledger:
            rows = ledger.conn.execute("SELECT fingerprint, micro_batch, seconds_per_sample FROM baselines").fetchall()
            probes = ledger.conn.execute("SELECT device, wall_s FROM probes").fetchall()
        if rows:
            break

    assert len(rows) == 1
    assert "feed_forward" in rows[0][0]
    assert rows[0][2] > 0
    assert [row[0] for row in probes] == ["cpu"]

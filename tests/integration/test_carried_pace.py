"""A pace that the job before was given: the next one is told it, and nobody calls that a step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support.api_installation import BROWSER
from support.telemetry_rows import decisions_of

from cbi_queue.cli import cli
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.ledger.settlement import cancel_in_slot
from cbi_queue.readings.values import HeatLevel
from cbi_queue.telemetry.governor_log import record_decision
from cbi_queue.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.testclient import TestClient
    from support.api_installation import ApiInstallation
    from support.scripted_slot import ScriptedSlot


def test_the_next_job_begins_at_the_pace_in_force_and_its_row_says_so(slot: ScriptedSlot) -> None:
    hot = slot.attempt_governor()
    slot.heat(HeatLevel.HEAVY)
    slot.check(hot, 4)
    hot.ended()
    cancel_in_slot(slot.ledger, 1)

    slot.check(slot.attempt_governor(name="next"), 1)

    slot.telemetry.commit()
    of_first, of_second = (decisions_of(slot.telemetry_path, number) for number in (1, 2))
    assert [(row.value, row.carried) for row in of_first] == [(0.7, False)]
    assert [(row.value, row.carried, row.acted) for row in of_second] == [(0.7, True, True)]


@pytest.fixture
def paced(site: ApiInstallation) -> Iterator[ApiInstallation]:
    """A queue whose running job began at a pace that was in force before it."""
    site.enqueue({"name": "net"})
    site.start_next()
    telemetry = Telemetry(site.settings.telemetry_path)
    words = "the pace in force goes on: works 60% of the time"
    decision = Decision(0.0, Action.PACE, Cause.HEAT, words, value=0.6, carried=True)
    record_decision(telemetry, decision, job_id=1, attempt=1, epoch=0, acted=True)
    telemetry.close()
    site.report("net", [0.5, 0.4, 0.3])
    site.stand(1, rung="works 60% of the time", duty=0.6)
    with site.daemon():
        yield site


def test_the_page_marks_it_and_counts_no_step(paced: ApiInstallation, client: TestClient) -> None:
    page = client.get("/status", headers=BROWSER).text

    assert '<line class="carried" x1="3.0"' in page
    assert "steps: 0" in page
    assert "pace carried over" in page
    assert "step down" not in page


def test_the_api_the_history_and_the_story_tell_it(paced: ApiInstallation, client: TestClient) -> None:
    kept = {name: value for name, value in paced.environ.items() if name.startswith("CBI_")}

    (decision,) = client.get("/api/v1/governor").json()["governor"]["decisions"]
    (row,) = json.loads(CliRunner().invoke(cli, ["governor", "history", "--json"], env=kept).output)
    table = CliRunner().invoke(cli, ["governor", "history"], env=kept).output
    story = client.get("/api/v1/jobs/net/why").json()["story"]

    assert decision["carried"] is True
    assert (row["carried"], row["value"]) == (True, 0.6)
    assert "pace 0.6 (continued)" in table
    assert "the governor took no step" in story[-1]["words"]

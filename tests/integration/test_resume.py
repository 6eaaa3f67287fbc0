"""`cbi-queue resume`: whose holds it lifts, and that the governor notices."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cbi_queue.cli import cli
from cbi_queue.ledger.holds import holds_in_force, place_hold
from cbi_queue.ledger.queries import last_events
from cbi_queue.lifecycle import HoldMode, HoldReason
from workers.governor.slot_governor import SlotGovernor


@pytest.fixture
def resume(site):
    """Run the verb as a shell does; return what it printed."""

    def run(*arguments: str) -> str:
        kept = {name: value for name, value in site.environ.items() if name.startswith("CBI_")}
        said = CliRunner().invoke(cli, ["resume", *arguments], env=kept)
        assert said.exit_code == 0, said.output
        return said.output

    return run


def close_for(site, *reasons: HoldReason) -> None:
    with site.ledger() as ledger:
        for reason in reasons:
            place_hold(ledger, reason, HoldMode.PAUSE, f"held for {reason}")


def left(site) -> list[str]:
    with site.ledger() as ledger:
        return [hold.reason for hold in holds_in_force(ledger)]


def test_alone_it_lifts_the_users_hold_and_says_what_would_lift_the_governors(site, resume):
    close_for(site, HoldReason.USER, HoldReason.THERMAL, HoldReason.VOLUME)

    said = resume()

    assert left(site) == ["thermal", "volume"]
    assert "Still held [thermal]: held for thermal" in said
    assert "resume --all" in said


def test_all_lifts_the_governors_holds_too_and_no_other(site, resume):
    close_for(site, HoldReason.USER, HoldReason.THERMAL, HoldReason.MEMORY, HoldReason.VOLUME)

    said = resume("--all")

    assert left(site) == ["volume"]
    assert "thermal and memory; it places them again if the cause persists" in said
    with site.ledger() as ledger:
        lifted = [event.reason for event in last_events(ledger, 3)]
    assert set(lifted) == {"user", "thermal", "memory"}


def test_with_nothing_to_lift_it_says_so(site, resume):
    assert resume("--all") == "The queue was not paused by the user or the governor.\n"
    assert json.loads(resume("--all", "--json")) == {"lifted": False, "holds": []}


def test_the_governor_forgets_a_hold_that_was_lifted_so(site, resume):
    """Else it would wait for a hold that is gone, and never place another."""
    close_for(site, HoldReason.THERMAL)
    slot_governor = SlotGovernor(site.settings)
    with site.ledger() as ledger:
        slot_governor.take_over(ledger)
        slot_governor.update_hold_row(ledger)
        assert slot_governor.state.hold is not None
        resume("--all")
        slot_governor.update_hold_row(ledger)

    assert slot_governor.state.hold is None

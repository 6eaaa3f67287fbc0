"""The table of states and transitions, walked whole."""

from __future__ import annotations

import pytest

from cbi_queue.lifecycle import (
    FINAL_STATES,
    HOLD_MODES_WEAKEST_FIRST,
    IN_SLOT_STATES,
    REASON_WORDS,
    TRANSITIONS,
    HoldMode,
    JobState,
    Reason,
    event_title,
)

ARROWS = {
    "satisfy": ("waiting", "queued"),
    "hold": ("queued waiting", "held"),
    "release": ("held", "queued"),
    "await_needs": ("queued held failed cancelled vetoed succeeded", "waiting"),
    "claim": ("queued", "running"),
    "pause": ("running", "paused"),
    "resume": ("paused", "running"),
    "finish": ("running paused", "succeeded"),
    "veto": ("running paused", "vetoed"),
    "fail": ("running paused", "failed"),
    "requeue": ("running paused", "queued"),
    "cancel": ("queued waiting held running paused", "cancelled"),
    "retry": ("failed cancelled vetoed succeeded", "queued"),
    "accept": ("vetoed", "succeeded"),
}
"""The diagram of the module, written a second time."""


def test_people_read_ready_where_the_ledger_stores_satisfy():
    titles = {t.name: event_title(t.name) for t in TRANSITIONS}

    assert titles.pop("satisfy") == "ready"
    assert all(title == name for name, title in titles.items())


def test_the_table_holds_the_arrows_of_the_diagram_and_no_other():
    drawn = {(name, frozenset(sources.split()), target) for name, (sources, target) in ARROWS.items()}

    assert {(t.name, t.sources, t.target) for t in TRANSITIONS} == drawn
    assert len(TRANSITIONS) == len(ARROWS)


@pytest.mark.parametrize("state", JobState)
def test_every_state_is_reached_and_left(state):
    reached = {JobState.QUEUED, JobState.WAITING} | {t.target for t in TRANSITIONS}

    assert state in reached
    assert [t for t in TRANSITIONS if state in t.sources]


def test_between_two_states_there_is_at_most_one_arrow():
    """Or the story told by the events would depend on who changed the state."""
    arrows = [(source, t.target) for t in TRANSITIONS for source in t.sources]

    assert len(arrows) == len(set(arrows))


def test_only_a_claim_and_a_resume_lead_to_running():
    assert {t.name for t in TRANSITIONS if t.target is JobState.RUNNING} == {"claim", "resume"}


def test_no_transition_stays_where_it_is():
    assert not [t.name for t in TRANSITIONS if t.target in t.sources]


def test_states_are_final_in_the_slot_or_neither():
    facts = {state: (state.is_final, state.is_in_slot) for state in JobState}

    assert {state for state, (final, _) in facts.items() if final} == FINAL_STATES
    assert {state for state, (_, in_slot) in facts.items() if in_slot} == IN_SLOT_STATES == {"running", "paused"}
    assert (True, True) not in facts.values()
    assert {"succeeded", "vetoed", "failed", "cancelled"} == FINAL_STATES


def test_every_reason_has_words_of_its_own():
    assert set(REASON_WORDS) == set(Reason)
    assert all(words and words == words.strip() for words in REASON_WORDS.values())
    assert len(set(REASON_WORDS.values())) == len(Reason)


def test_modes_of_holds_are_ordered_completely():
    assert sorted(HOLD_MODES_WEAKEST_FIRST) == sorted(HoldMode)
    assert list(HOLD_MODES_WEAKEST_FIRST) == ["drain", "pause", "evict"]
